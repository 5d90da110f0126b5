//! Mends rows that a comparison found different, while the job runs.
//!
//! `towpath correct` asks for them in the state store. The corrector, beside the job in its process, reads each row
//! anew at the source and has it sent in order with the stream ([`crate::apply::correction`]): a change that comes meanwhile
//! is never overwritten. A row that the source does not have is deleted at the target. Then the rows are compared once more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::prepare::binary_text;
use super::verify::{self, VerifyOptions};
use crate::apply::correction::{self, Corrections};
use crate::apply::selected::Selected;
use crate::config;
use crate::mysql::connect::{Flavor, Patience};
use crate::mysql::position;
use crate::mysql::snapshot::{self, SnapshotPlan, SnapshotTable};
use crate::mysql::value::ValueOptions;
use crate::mysql::wire::{Connection, Page};
use crate::schema::{Mapping, TableName};
use crate::state::{
    Correction, CorrectionCounts, CorrectionOutcome, DifferenceKind, DifferenceRecord, RunOutcome, RunRecord, Store,
};
use crate::target::starrocks::StarRocks;
use crate::target::{Load, Target as _, Version};
use crate::verify::{Keyed, Rechecked, Report, Way, recheck};
use crate::{Error, Result};

/// How often it looks whether somebody has asked for something.
const LOOK: Duration = Duration::from_secs(1);
/// Rows of one table that are read and sent together.
const ROWS: u64 = 200;

/// What there is to do about a table whose rows have no key.
pub(crate) fn copy_anew(table: &TableName) -> String {
    format!("have it copied anew: `towpath recopy JOB {table}`")
}

/// Beside a running job.
pub struct Corrector {
    job: config::Job,
    starrocks: Arc<StarRocks>,
    corrections: Corrections,
}

impl Corrector {
    /// `corrections` are those of the job's [`super::RunOptions`].
    pub fn new(job: &config::Job, starrocks: Arc<StarRocks>, corrections: Corrections) -> Self {
        Corrector { job: job.clone(), starrocks, corrections }
    }

    /// Until the future is dropped. What fails is written down with the correction; the job is not concerned.
    pub async fn run(self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            while let Err(error) = self.take_up().await {
                tracing::warn!(%error, "corrections cannot be taken up yet");
                tokio::time::sleep(LOOK * 5).await;
            }
        }
    }

    /// Does all that is asked for.
    async fn take_up(&self) -> Result<()> {
        // The job makes the store as it begins.
        let Some(store) = Store::amend(&self.job.state_dir, &self.job.name)? else { return Ok(()) };
        loop {
            let asked = store.corrections_asked(ROWS)?;
            let Some(first) = asked.first() else { return Ok(()) };
            let table = first.table.clone();
            let ids: Vec<u64> = asked.iter().map(|correction| correction.id).collect();
            let outcome = match self.correct(&store, &table, &asked).await {
                Ok(overtaken) if overtaken > 0 && asked.len() > 1 => {
                    // Which of them: they are asked for one by one.
                    for correction in &asked {
                        let outcome = self.outcome(&store, &table, std::slice::from_ref(correction)).await?;
                        store.corrected(&[correction.id], &outcome)?;
                    }
                    continue;
                }
                outcome => told(outcome)?,
            };
            store.corrected(&ids, &outcome)?;
            tracing::info!(%table, rows = ids.len(), ?outcome, "rows corrected");
        }
    }

    async fn outcome(&self, store: &Store, table: &TableName, asked: &[Correction]) -> Result<CorrectionOutcome> {
        told(self.correct(store, table, asked).await)
    }

    /// Reads the rows and has them sent; how many of them the stream has brought meanwhile.
    async fn correct(&self, store: &Store, name: &TableName, asked: &[Correction]) -> Result<u64> {
        let subject = verify::subject(&self.job, &self.starrocks, &VerifyOptions::default()).await?;
        let mapping = subject.mappings.iter().find(|mapping| mapping.source.name == *name).ok_or_else(|| {
            Error::definite(format!("table {name} is none of the job's any more")).hint("compare again")
        })?;
        if mapping.is_row_hash() {
            return Err(Error::definite(format!("table {name} has no key by which a row could be corrected"))
                .hint(copy_anew(name)));
        }
        if let Some(work) = store.at_work(name, &mapping.target.name)? {
            return Err(Error::definite(format!("table {name}: {work}")).hint("correct it once that is done"));
        }
        let keyed = Keyed::new(&subject, mapping, Patience::of(&self.job.params)).await?;
        let values = ValueOptions { zone: subject.zone.clone(), zero_date: subject.zero_date.clone() };
        let version = self.starrocks.version().await?;
        let mut conn = subject.connect.tables(None).await?;

        // From here on the stream is watched.
        let watch = self.corrections.watch(&mapping.target.name);
        let hides = subject.server.flavor == Flavor::Mysql && !subject.server.gtids;
        let loads = self.read(&mut conn, keyed, (mapping, hides), &values, version, asked).await?;
        let until = position::current(&mut conn, subject.server.flavor).await?;
        conn.quit().await;
        tracing::debug!(table = %name, rows = asked.len(), %until, "read anew to be corrected");
        let answer = self.corrections.give(watch, loads, mapping.target.key_columns, until);
        let done = answer.await.map_err(|_| Error::transient("the job ended before the rows were sent"))?;
        match done.refused {
            Some(reason) => Err(Error::definite(reason)),
            None => Ok(done.overtaken),
        }
    }

    /// The rows as they are now: those that are there to be written, the others' keys to be deleted. `hides`: the source may
    /// not show yet what the stream has brought already, unless the rows are locked for as long as it takes to read them.
    async fn read(
        &self,
        conn: &mut Connection,
        mut keyed: Keyed<'_>,
        (mapping, hides): (&Mapping, bool),
        values: &ValueOptions,
        version: Version,
        asked: &[Correction],
    ) -> Result<Vec<Load>> {
        let form = (binary_text(version), self.job.params.flush_batch_mb << 20);
        let mut snapshot = SnapshotTable::describe(conn, &mapping.source).await?;
        if hides {
            snapshot = snapshot.locking();
        }
        snapshot::prepare_session(conn).await?;
        let keys: Vec<Vec<u8>> = asked.iter().map(|correction| correction.key.clone()).collect();
        let plan = SnapshotPlan::new(mapping, values)?;
        let mut pages: Vec<Page> = Vec::new();
        if let Some(clause) = keyed.clause(&keys) {
            snapshot::read_rows(conn, &snapshot, &clause, plan.select(), async |page| {
                pages.push(page);
                Ok(())
            })
            .await?;
        }
        // Behind the rows: whoever has deleted one is waited for there, if need be.
        let gone = keyed.gone(&snapshot, &keys).await?;
        let rows = pages.iter().flat_map(Page::rows).map(|row| Selected { plan: &plan, row });
        let mut loads = correction::upserts(&mapping.target, form, rows)?;
        let gone = keyed.shown_at_the_target(&gone).await?;
        loads.extend(correction::deletes(&mapping.target, form, &gone)?);
        Ok(loads)
    }
}

/// A failure that does not pass by itself is the correction's; another one is tried again.
fn told(corrected: Result<u64>) -> Result<CorrectionOutcome> {
    match corrected {
        Ok(0) => Ok(CorrectionOutcome::Sent),
        Ok(_) => Ok(CorrectionOutcome::Overtaken),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => Ok(CorrectionOutcome::Failed(error.to_string())),
    }
}

/// What [`correct`] is to do.
#[derive(Debug, Clone, Default)]
pub struct CorrectOptions {
    /// The comparison; `None`: the newest that found differences.
    pub run: Option<u64>,
    /// Delete however many rows it takes.
    pub yes: bool,
}

/// The rows that a comparison found different.
#[derive(Debug)]
pub struct Plan {
    pub run: u64,
    pub differences: Vec<DifferenceRecord>,
    /// Tables that differ and have no key: none of their rows can be written or deleted by itself.
    pub without_key: Vec<TableName>,
}

/// What has become of them.
#[derive(Debug, Default)]
pub struct Corrected {
    pub counts: CorrectionCounts,
    pub left: Rechecked,
}

/// Without `--yes` no more than this share of a table's rows is deleted, or [`FEW`].
const SHARE: f64 = 0.01;
const FEW: u64 = 10;
/// Between two looks at what the job has done.
const POLL: Duration = Duration::from_millis(200);

/// Looks up what there is to correct.
///
/// # Errors
/// There is no such comparison, or so many rows would be deleted that somebody has to say so.
pub fn plan(job: &config::Job, options: &CorrectOptions) -> Result<Plan> {
    let store = verify::store(job)?;
    let runs = store.runs()?;
    let wanted = |run: &&RunRecord| match options.run {
        Some(number) => run.id == number,
        None => run.outcome == RunOutcome::Different,
    };
    let run = runs.iter().filter(wanted).max_by_key(|run| run.id).ok_or_else(|| match options.run {
        Some(number) => Error::usage(format!("job {} has no comparison {number}", job.name))
            .hint("`towpath verify JOB --history` lists them"),
        None => Error::usage(format!("no comparison of job {} has found differences", job.name))
            .hint("run `towpath verify JOB` first"),
    })?;
    let mut differences = Vec::new();
    loop {
        let page = store.differences(run.id, differences.len() as u64, 1000)?;
        if page.is_empty() {
            break;
        }
        differences.extend(page);
    }
    let report = report(run)?;
    let without_key: Vec<TableName> =
        report.tables.iter().filter(|table| table.way == Way::Counts).map(|table| table.table.clone()).collect();
    differences.retain(|difference| !without_key.contains(&difference.table));
    let differ = |name: &TableName| report.tables.iter().any(|one| one.table == *name && one.differences() > 0);
    let plan = Plan { run: run.id, differences, without_key: without_key.into_iter().filter(differ).collect() };
    if !options.yes {
        plan.check_deletes(&report)?;
    }
    Ok(plan)
}

fn report(run: &RunRecord) -> Result<Report> {
    serde_json::from_str(&run.report)
        .map_err(|error| Error::definite(format!("the report of run {} cannot be read", run.id)).caused_by(error))
}

impl Plan {
    /// The tables, each with its rows that are missing, extra and different.
    pub fn tables(&self) -> Vec<(&TableName, [u64; 3])> {
        let mut tables: Vec<(&TableName, [u64; 3])> = Vec::new();
        for DifferenceRecord { table, kind, .. } in &self.differences {
            let index = match kind {
                DifferenceKind::Missing => 0,
                DifferenceKind::Extra => 1,
                DifferenceKind::Different => 2,
            };
            match tables.iter_mut().find(|(name, _)| *name == table) {
                Some((_, counts)) => counts[index] += 1,
                None => {
                    let mut counts = [0; 3];
                    counts[index] = 1;
                    tables.push((table, counts));
                }
            }
        }
        tables
    }

    fn check_deletes(&self, report: &Report) -> Result<()> {
        for (table, [_, extra, _]) in self.tables() {
            let rows = report.tables.iter().find(|one| one.table == *table).map_or(0, |one| one.rows);
            if extra > FEW && extra as f64 > SHARE * rows as f64 {
                return Err(Error::usage(format!(
                    "{extra} rows of {table} would be deleted at the target, of {rows} at the source"
                ))
                .hint("look at them with --dry-run; if that is right, say --yes"));
            }
        }
        Ok(())
    }
}

/// Has the running job correct the rows, waits, and compares them again. `shown` is told how far it is.
///
/// # Errors
/// The job does not run, or ends meanwhile; what is not done by then is withdrawn.
pub async fn correct(
    job: &config::Job,
    starrocks: &StarRocks,
    plan: &Plan,
    shown: &mut (dyn FnMut(&CorrectionCounts) + Send),
) -> Result<Corrected> {
    let store = verify::store(job)?;
    let ids = store.ask_for_correction(plan.run, &plan.differences)?;
    let counts = loop {
        let counts = store.correction_counts(&ids)?;
        shown(&counts);
        if counts.asked == 0 {
            break counts;
        }
        if !Store::is_running(&job.state_dir, &job.name) {
            store.withdraw_corrections(&ids)?;
            return Err(Error::definite(format!(
                "job {} does not run: {} rows are not corrected",
                job.name, counts.asked
            ))
            .hint(
                "corrections go in order with its stream: start it with `towpath run`, and say `towpath correct` again",
            ));
        }
        tokio::time::sleep(POLL).await;
    };
    let options = VerifyOptions::default();
    let subject = verify::subject(job, starrocks, &options).await?;
    let mut corrected = Corrected { counts, ..Corrected::default() };
    for (table, _) in plan.tables() {
        let keys = plan.differences.iter().filter(|difference| difference.table == *table);
        let keys = keys.map(|difference| difference.key.clone()).collect();
        let left = recheck(&subject, &options.compare, table, keys).await?;
        corrected.left.differences.extend(left.differences);
        corrected.left.unjudged += left.unjudged;
    }
    Ok(corrected)
}
