//! `towpath verify`: is it really the same?
//!
//! Reads both sides by plain SELECTs and compares them row by row, while the job runs. It shares nothing with what
//! carries the data: no row images, no Stream Load, no formatter. [`canonical`] gives each cell one form by its meaning.
//!
//! [`table`] tells how all rows of a table are compared in bounded memory; [`settle`] how rows that differ are told
//! from rows that are on their way. What is found goes into the state store at the run's end ([`crate::state`]); before
//! that it is in a file without a name, so a run that is killed leaves nothing behind.

pub(crate) mod canonical;
mod clock;
mod layout;
mod literal;
mod report;
mod servers;
mod settle;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

pub use self::report::{Report, TableReport, Way};

use self::canonical::Rules;
use self::clock::Clock;
use self::layout::Layout;
use self::table::TableComparison;
use crate::config::ZeroDate;
use crate::mysql::connect::{Connect, Flavor, Patience};
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::Mapping;
use crate::state::Store;
use crate::target::starrocks::StarRocks;
use crate::{Error, Result};

/// How to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// Columns to compare, beside the key; empty: all.
    pub columns: Vec<String>,
    /// A condition that both servers understand: only rows that meet it are compared.
    pub condition: Option<String>,
    /// The share of the rows to compare, above 0 and up to 1; `None`: all.
    pub sample: Option<f64>,
    /// Rows of the source a second, at most.
    pub rate_limit: Option<u64>,
    /// Significant digits of FLOAT and DOUBLE that count.
    pub float_digits: Option<u8>,
    /// Digits of a second's fraction that count.
    pub time_digits: Option<u8>,
    /// An empty text is a NULL.
    pub empty_equals_null: bool,
    /// Differences of one table after which the rest is not looked for.
    pub max_differences: u64,
    /// How long the job, or a replica, may take to come to where the source was read.
    pub patience: Duration,
    /// Pauses between the tries of a read that failed.
    pub read_patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            columns: Vec::new(),
            condition: None,
            sample: None,
            rate_limit: None,
            float_digits: None,
            time_digits: None,
            empty_equals_null: false,
            max_differences: 10_000,
            patience: Duration::from_secs(300),
            read_patience: Patience::default(),
        }
    }
}

/// What is compared.
pub struct Subject<'a> {
    pub mappings: Vec<Arc<Mapping>>,
    pub starrocks: &'a StarRocks,
    /// The server whose rows are read.
    pub connect: Connect,
    /// The job's own source, whose log the job follows.
    pub job_connect: Connect,
    /// `connect` leads to a replica of it.
    pub replica: bool,
    pub flavor: Flavor,
    /// The job's zone and what it writes for zero dates.
    pub zone: TimeZone,
    pub zero_date: ZeroDate,
    pub state_dir: PathBuf,
    pub job: String,
}

/// How far a comparison is; anyone may look.
#[derive(Debug, Default)]
pub struct Progress {
    estimated: AtomicU64,
    rows: AtomicU64,
    table: Mutex<String>,
}

impl Progress {
    fn rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
    }

    fn begins(&self, table: &Mapping) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = table.source.name.to_string();
    }

    /// Rows of the source that were read, about how many there are, and the table.
    pub fn now(&self) -> (u64, u64, String) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.rows.load(Relaxed), self.estimated.load(Relaxed), table)
    }
}

/// Compares all tables of `subject`, one after the other. Differences are added to the run that was begun in `store`.
///
/// # Errors
/// The job has not copied its tables; a server cannot be reached at all. What keeps a single table from being compared
/// is in its report.
pub async fn run(subject: &Subject<'_>, store: &Store, options: &Options, progress: &Progress) -> Result<Report> {
    let job_connect = Arc::clone(&subject.job_connect);
    let (state_dir, job) = (subject.state_dir.clone(), subject.job.clone());
    let mut clock = Clock::new(state_dir, job, job_connect, subject.flavor, options.patience)?;
    if subject.replica && clock.now().await?.gtids.is_none() {
        return Err(Error::definite("the source runs without GTIDs, so nobody can tell how far its replica is")
            .hint("verify without --source-host"));
    }
    let mut conn = (subject.connect)(None).await?;
    let mut snapshots = Vec::with_capacity(subject.mappings.len());
    for mapping in &subject.mappings {
        let snapshot = SnapshotTable::describe(&mut conn, &mapping.source).await?;
        progress.estimated.fetch_add(snapshot.estimated_rows(), Relaxed);
        snapshots.push(Arc::new(snapshot));
    }
    let mut tables = Vec::with_capacity(subject.mappings.len());
    for (mapping, snapshot) in subject.mappings.iter().zip(snapshots) {
        progress.begins(mapping);
        let began = Instant::now();
        let mut report = TableReport::new(&mapping.source.name, &mapping.target.name);
        let mut table = OneTable { subject, store, options, progress, clock: &mut clock, mapping, snapshot };
        if let Err(error) = table.compare(&mut report).await {
            tracing::error!("{error}");
            report.error = Some(error.to_string());
        }
        report.seconds = began.elapsed().as_secs_f64();
        tables.push(report);
    }
    Ok(Report { tables })
}

struct OneTable<'r, 's> {
    subject: &'r Subject<'s>,
    store: &'r Store,
    options: &'r Options,
    progress: &'r Progress,
    clock: &'r mut Clock,
    mapping: &'r Mapping,
    snapshot: Arc<SnapshotTable>,
}

impl OneTable<'_, '_> {
    async fn compare(&mut self, report: &mut TableReport) -> Result<()> {
        let starrocks = self.subject.starrocks;
        let Some(differences) = starrocks.schema_differences(&self.mapping.target).await? else {
            report.schema.push("the table is not there at the target".to_owned());
            return Ok(());
        };
        report.schema = differences;
        let stored = starrocks.stored_columns(&self.mapping.target.name).await?;
        let rules = Rules {
            float_digits: self.options.float_digits,
            time_digits: self.options.time_digits,
            empty_equals_null: self.options.empty_equals_null,
            ..Rules::exact(self.subject.zone.clone(), self.subject.zero_date.clone())
        };
        let mut conn = (self.subject.connect)(None).await?;
        let columns = &self.options.columns;
        let layout = Layout::new(&mut conn, self.subject.flavor, self.mapping, &stored, columns, &rules).await?;
        drop(conn);
        let mut comparison = TableComparison {
            layout,
            snapshot: Arc::clone(&self.snapshot),
            connect: Arc::clone(&self.subject.connect),
            starrocks,
            clock: self.clock,
            replica: self.subject.replica.then_some(self.subject.flavor),
            store: self.store,
            options: self.options,
            progress: self.progress,
        };
        comparison.run(report).await
    }
}
