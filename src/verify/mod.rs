//! `towpath verify`: is it really the same?
//!
//! Reads both sides by plain SELECTs and compares them row by row, while the job runs. It shares nothing with what
//! carries the data: no row images, no Stream Load, no formatter. [`canonical`] gives each cell one form by its meaning.
//!
//! [`checksum`] lets both servers add up what they can. [`table`] tells how all rows of a table are compared in bounded memory,
//! [`multiset`] how those of a table without a key; [`settle`] how rows that differ are told from rows that are on their way,
//! [`moved`] how that is proved, [`visible`] what that takes of a source without GTIDs, and [`pending`] how it is known of a job that
//! does not go on. [`definition`] sees to it that both sides' definitions are of
//! one moment. What is found goes into the state store at the run's end ([`crate::state`]); before
//! that it is in files without a name, so a run that is killed leaves nothing behind.

pub mod canonical;
mod checksum;
mod clock;
mod definition;
mod keyed;
mod layout;
mod literal;
mod moved;
mod multiset;
mod pace;
mod pending;
mod recheck;
mod report;
mod servers;
mod settle;
mod table;
mod visible;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

pub use self::recheck::{Rechecked, recheck};
pub use self::report::{Report, TableReport, Way};

pub(crate) use self::canonical::Rules;
use self::clock::Clock;
use self::definition::OneTable;
pub(crate) use self::keyed::Keyed;
use crate::config::{NoKeyTables, ZeroDate};
use crate::mysql::connect::{Connect, Patience, ServerInfo};
use crate::mysql::snapshot::SnapshotTable;
use crate::schema::{Mapping, MappingOptions};
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
    /// Whose rows are read.
    pub server: ServerInfo,
    /// How the tables' definitions are read and mapped.
    pub no_key: NoKeyTables,
    pub mapping: MappingOptions,
    /// The job's zone and what it writes for zero dates.
    pub zone: TimeZone,
    pub zero_date: ZeroDate,
    pub state_dir: PathBuf,
    pub job: String,
}

impl Subject<'_> {
    /// What cells mean, with the tolerance that was asked for.
    fn rules(&self, options: &Options) -> Rules {
        Rules {
            float_digits: options.float_digits,
            time_digits: options.time_digits,
            empty_equals_null: options.empty_equals_null,
            ..Rules::exact(self.zone.clone(), self.zero_date.clone())
        }
    }
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
    let mut clock = Clock::new(subject, options)?;
    if subject.replica && clock.now().await?.gtids.is_none() {
        return Err(Error::definite("the source runs without GTIDs, so nobody can tell how far its replica is")
            .hint("verify without --source-host"));
    }
    let mut conn = subject.connect.sql(None).await?;
    for mapping in &subject.mappings {
        // What is wrong with a table is told when its turn comes.
        let described = SnapshotTable::describe(&mut conn, &mapping.source).await;
        progress.estimated.fetch_add(described.map_or(0, |table| table.estimated_rows()), Relaxed);
    }
    drop(conn);
    tracing::info!(job = subject.job, tables = subject.mappings.len(), "comparison begins");
    let mut tables = Vec::with_capacity(subject.mappings.len());
    for mapping in &subject.mappings {
        progress.begins(mapping);
        let began = Instant::now();
        let mut report = TableReport::new(&mapping.source.name, &mapping.target.name);
        let mut table = OneTable { subject, store, options, progress, clock: &mut clock, name: &mapping.source.name };
        if let Err(error) = table.compare(&mut report).await {
            tracing::error!("{error}");
            report.error = Some(error.to_string());
        }
        report.seconds = began.elapsed().as_secs_f64();
        tables.push(report);
    }
    Ok(Report { tables })
}
