//! Joins what a comparison needs: the job file's source and target, its tables as they are now, its state store.

use std::sync::Arc;

use crate::config::{self, Address, NoKeyTables, TableFilter};
use crate::mysql::catalog;
use crate::mysql::connect::{self, Patience, source_zone};
use crate::schema::{MappingOptions, map_table};
use crate::state::{RunOutcome, RunRecord, Store, now_micros};
use crate::target::starrocks::StarRocks;
use crate::target::{Target as _, mapping_options};
use crate::verify::{self, Progress, Report, Subject};
use crate::{Error, Result};

/// Which tables, and from where.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Patterns over the source's `database.table`; empty: all of the job's.
    pub tables: Vec<String>,
    /// A replica of the source to read from.
    pub source_host: Option<Address>,
    pub compare: verify::Options,
    /// The job makes it by itself.
    pub scheduled: bool,
}

impl VerifyOptions {
    /// What the job file asks for.
    pub fn scheduled(verify: &config::Verify) -> Self {
        VerifyOptions {
            tables: verify.tables.clone(),
            source_host: verify.source_host.clone(),
            compare: verify::Options {
                sample: verify.sample,
                rate_limit: verify.rate_limit,
                float_digits: verify.float_digits,
                time_digits: verify.time_digits,
                empty_equals_null: verify.empty_equals_null,
                ..verify::Options::default()
            },
            scheduled: true,
        }
    }

    /// Somebody chose a part of what the job would compare.
    fn is_narrowed(&self) -> bool {
        let compare = &self.compare;
        let chosen = !self.tables.is_empty() || !compare.columns.is_empty();
        !self.scheduled && (chosen || compare.condition.is_some() || compare.sample.is_some())
    }
}

/// A comparison that has ended. Its differences are in the state store.
#[derive(Debug)]
pub struct Verified {
    pub run: u64,
    pub outcome: RunOutcome,
    pub report: Report,
}

/// Compares the job's tables on both sides. The job may run meanwhile, in any process. A scheduled comparison that fails
/// as a whole is recorded too: nobody sits before it.
///
/// # Errors
/// The job has never run or still copies; a server cannot be reached; no table is left to compare.
pub async fn verify(
    job: &config::Job,
    starrocks: &StarRocks,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Verified> {
    let store = store(job)?;
    let run = RunRecord {
        begun_at: now_micros(),
        scheduled: options.scheduled,
        narrowed: options.is_narrowed(),
        ..RunRecord::default()
    };
    store.begin_run()?;
    let report = match compare(job, starrocks, options, &store, progress).await {
        Err(error) if options.scheduled => {
            let failed = RunRecord { ended_at: now_micros(), error: Some(error.to_string()), ..run };
            store.end_run(&failed)?;
            return Err(error);
        }
        compared => compared?,
    };
    let outcome = report.outcome();
    let text = serde_json::to_string(&report).map_err(|error| Error::definite("the report").caused_by(error))?;
    let run = store.end_run(&RunRecord { ended_at: now_micros(), outcome, report: text, ..run })?;
    Ok(Verified { run, outcome, report })
}

async fn compare(
    job: &config::Job,
    starrocks: &StarRocks,
    options: &VerifyOptions,
    store: &Store,
    progress: &Progress,
) -> Result<Report> {
    let subject = subject(job, starrocks, options).await?;
    let compare = verify::Options { read_patience: Patience::of(&job.params), ..options.compare.clone() };
    verify::run(&subject, store, &compare, progress).await
}

pub(super) fn store(job: &config::Job) -> Result<Store> {
    Store::amend(&job.state_dir, &job.name)?.ok_or_else(|| {
        Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
            .hint("start it with `towpath run`, or name the right `stateDir`")
    })
}

/// Both sides, and the tables.
pub(super) async fn subject<'a>(
    job: &config::Job,
    starrocks: &'a StarRocks,
    options: &VerifyOptions,
) -> Result<Subject<'a>> {
    let patience = Patience::of(&job.params);
    let job_connect = connect::connector(&job.source, patience);
    let connect = match &options.source_host {
        None => job_connect.clone(),
        Some(host) => {
            let source = config::Source { hosts: vec![host.clone()], ..job.source.clone() };
            connect::connector(&source, patience)
        }
    };
    let mut connection = connect.sql(None).await?;
    let server = connect::server_info(&mut connection).await?;
    let filter = job.source.table_filter(server.lower_case_table_names)?;
    let mut tables = catalog::tables(&mut connection, &server, &filter, job.no_key_tables).await?;
    if !options.tables.is_empty() {
        let wanted = TableFilter::new(&options.tables, &[], server.lower_case_table_names != 0)?;
        tables.retain(|table| wanted.matches(&table.name));
    }
    if tables.is_empty() {
        let which = if options.scheduled { "verify.tables" } else { "--tables" };
        return Err(Error::usage(format!("{which} {}: no table of the job matches", options.tables.join(" "))));
    }
    let mapping = MappingOptions {
        row_hash: job.no_key_tables == NoKeyTables::RowHash,
        ..mapping_options(&job.target, &job.zero_date, starrocks.version().await?)
    };
    Ok(Subject {
        mappings: tables.iter().map(|table| map_table(table, &mapping).map(Arc::new)).collect::<Result<_>>()?,
        mapping,
        no_key: job.no_key_tables,
        starrocks,
        connect,
        job_connect,
        replica: options.source_host.is_some(),
        zone: source_zone(&server, job.source.timezone.as_deref())?,
        zero_date: job.zero_date.clone(),
        state_dir: job.state_dir.clone(),
        job: job.name.clone(),
        server,
    })
}
