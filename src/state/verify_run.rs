//! Comparisons of both sides: each run with what it found, the newest of them.
//!
//! A run is written at its end, in one transaction: one that was killed leaves nothing. It is written beside a running
//! job, which does not look at it.

use rusqlite::OptionalExtension as _;

use super::Store;
use super::store::json;
use super::verification::{Counted, count};
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::TableName;

/// The store's step that makes room for runs.
pub(super) const TABLES: &str = "
    CREATE TABLE verify_run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        begun_at INTEGER NOT NULL,     -- microseconds since 1970, ours
        ended_at INTEGER NOT NULL,
        outcome TEXT NOT NULL,         -- equal, different, failed
        report TEXT NOT NULL           -- JSON verify::Report
    ) STRICT;
    CREATE TABLE verify_difference (
        run INTEGER NOT NULL REFERENCES verify_run (id),
        number INTEGER NOT NULL,       -- from 0, in the order of discovery
        database TEXT NOT NULL,        -- the table as at the source
        name TEXT NOT NULL,
        kind TEXT NOT NULL,            -- missing, extra, different
        key BLOB NOT NULL,             -- verify::canonical cells
        position TEXT,                 -- JSON Position behind which the source's row was read
        detail TEXT NOT NULL,          -- JSON, as reported
        PRIMARY KEY (run, number)
    ) STRICT;
";

/// Runs that are kept.
const KEPT: u64 = 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunOutcome {
    Equal,
    Different,
    /// Something could not be compared.
    #[default]
    Failed,
}

impl RunOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Equal => "equal",
            RunOutcome::Different => "different",
            RunOutcome::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [RunOutcome::Equal, RunOutcome::Different, RunOutcome::Failed].into_iter().find(|one| one.as_str() == text)
    }
}

/// One comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunRecord {
    pub id: u64,
    /// Microseconds since 1970, ours.
    pub begun_at: u64,
    pub ended_at: u64,
    pub outcome: RunOutcome,
    /// The report as JSON; empty when there is an error.
    pub report: String,
    /// The job made it by itself.
    pub scheduled: bool,
    /// Somebody chose tables, columns or rows for it, so it says nothing of the others.
    pub narrowed: bool,
    /// Why nothing was compared.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    /// Only the source has the row.
    Missing,
    /// Only the target has it.
    Extra,
    /// Both have it, with other values.
    Different,
}

impl DifferenceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            DifferenceKind::Missing => "missing",
            DifferenceKind::Extra => "extra",
            DifferenceKind::Different => "different",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [DifferenceKind::Missing, DifferenceKind::Extra, DifferenceKind::Different];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceRecord {
    /// As at the source.
    pub table: TableName,
    pub kind: DifferenceKind,
    /// The key's canonical cells.
    pub key: Vec<u8>,
    /// Behind which the source's row was read.
    pub position: Option<Position>,
    /// A JSON object: the line of the report.
    pub detail: String,
}

impl Store {
    /// Makes room for a run's differences until its end: a table of this connection, in a file that has no name.
    pub fn begin_run(&self) -> Result<()> {
        self.with(|connection| {
            connection.execute_batch(
                "CREATE TEMP TABLE draft (
                     number INTEGER PRIMARY KEY, database TEXT, name TEXT, kind TEXT, key BLOB, position TEXT, detail TEXT
                 ) STRICT",
            )
        })
    }

    /// Adds a difference to the run that was begun.
    pub fn draft_difference(&self, difference: &DifferenceRecord) -> Result<()> {
        self.with(|connection| {
            let position = difference.position.as_ref().map(json).transpose()?;
            connection
                .prepare_cached(
                    "INSERT INTO temp.draft (number, database, name, kind, key, position, detail)
                     VALUES ((SELECT coalesce(max(number) + 1, 0) FROM temp.draft), ?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    &difference.table.database,
                    &difference.table.table,
                    difference.kind.as_str(),
                    &difference.key,
                    position,
                    &difference.detail,
                ))
                .map(drop)
        })
    }

    /// Takes back what was added of a table.
    pub fn forget_drafts(&self, table: &TableName) -> Result<()> {
        self.with(|connection| {
            let sql = "DELETE FROM temp.draft WHERE database = ?1 AND name = ?2";
            connection.execute(sql, (&table.database, &table.table)).map(drop)
        })
    }

    /// What the job is doing with a table, in words, if neither its rows nor its definition can be judged meanwhile.
    pub fn at_work(&self, source: &TableName, target: &TableName) -> Result<Option<String>> {
        if self.joins()?.iter().any(|(table, _)| table == source) {
            return Ok(Some("it is being copied".to_owned()));
        }
        // Its rows wait behind the checkpoint, whatever that says.
        if let Some((_, lag)) = self.lags()?.into_iter().find(|(table, _)| table == source) {
            return Ok(Some(format!("the job is altering it: {}", lag.statement)));
        }
        let change = self.running_change()?.filter(|change| change.tables.contains(target));
        Ok(change.map(|change| format!("the job is altering it: {}", change.statement)))
    }

    /// Records the run that was begun with its differences, and forgets the oldest. `id` is not looked at; the run's
    /// number is returned.
    pub fn end_run(&self, run: &RunRecord) -> Result<u64> {
        self.transaction(|transaction| {
            transaction.execute(
                "INSERT INTO verify_run (begun_at, ended_at, outcome, report, scheduled, narrowed, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    run.begun_at as i64,
                    run.ended_at as i64,
                    run.outcome.as_str(),
                    &run.report,
                    run.scheduled,
                    run.narrowed,
                    &run.error,
                ),
            )?;
            let id = transaction.last_insert_rowid();
            count(transaction, Counted::Run(run.outcome), 1, run.ended_at)?;
            if run.outcome == RunOutcome::Equal && !run.narrowed {
                count(transaction, Counted::Good, 1, run.ended_at)?;
            }
            transaction.execute(
                "INSERT INTO verify_difference (run, number, database, name, kind, key, position, detail)
                 SELECT ?1, number, database, name, kind, key, position, detail FROM temp.draft",
                [id],
            )?;
            transaction.execute("DROP TABLE temp.draft", [])?;
            let oldest: Option<i64> = transaction
                .query_row("SELECT id FROM verify_run ORDER BY id DESC LIMIT 1 OFFSET ?1", [KEPT as i64], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(oldest) = oldest {
                transaction.execute("DELETE FROM verify_difference WHERE run <= ?1", [oldest])?;
                transaction.execute("DELETE FROM verify_run WHERE id <= ?1", [oldest])?;
            }
            Ok(id as u64)
        })
    }

    /// All runs, the oldest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        let found: Vec<(String, RunRecord)> = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, begun_at, ended_at, outcome, report, scheduled, narrowed, error FROM verify_run ORDER BY id",
                )?
                .query_map([], |row| {
                    let number = |at: usize| row.get::<_, i64>(at).map(|number| number as u64);
                    let run = RunRecord {
                        id: number(0)?,
                        begun_at: number(1)?,
                        ended_at: number(2)?,
                        outcome: RunOutcome::Failed,
                        report: row.get(4)?,
                        scheduled: row.get(5)?,
                        narrowed: row.get(6)?,
                        error: row.get(7)?,
                    };
                    Ok((row.get(3)?, run))
                })?
                .collect()
        })?;
        let record = |(outcome, run): (String, RunRecord)| {
            let outcome = RunOutcome::parse(&outcome).ok_or_else(|| self.corrupt("verify_run.outcome"))?;
            Ok(RunRecord { outcome, ..run })
        };
        found.into_iter().map(record).collect()
    }

    /// A run's differences behind the first `skip`, at most `limit`.
    pub fn differences(&self, run: u64, skip: u64, limit: u64) -> Result<Vec<DifferenceRecord>> {
        type Found = (String, String, String, Vec<u8>, Option<String>, String);
        let found: Vec<Found> = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT database, name, kind, key, position, detail FROM verify_difference
                     WHERE run = ?1 AND number >= ?2 ORDER BY number LIMIT ?3",
                )?
                .query_map((run as i64, skip as i64, limit as i64), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
                })?
                .collect()
        })?;
        let record = |(database, table, kind, key, position, detail): Found| {
            let kind = DifferenceKind::parse(&kind).ok_or_else(|| self.corrupt("verify_difference.kind"))?;
            let position = position.map(|text| self.parse("verify_difference.position", &text)).transpose()?;
            Ok(DifferenceRecord { table: TableName { database, table }, kind, key, position, detail })
        };
        found.into_iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_kept_with_their_differences() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let run = RunRecord {
            begun_at: 1,
            ended_at: 2,
            outcome: RunOutcome::Different,
            report: "{}".into(),
            ..RunRecord::default()
        };
        let difference = DifferenceRecord {
            table: TableName::new("shop", "orders"),
            kind: DifferenceKind::Extra,
            key: vec![1, 0],
            position: Some(Position { file: "binlog.000001".into(), offset: 4, gtids: None }),
            detail: "{}".into(),
        };
        for _ in 0..KEPT + 2 {
            store.begin_run().unwrap();
            store.draft_difference(&difference).unwrap();
            store.draft_difference(&difference).unwrap();
            store.end_run(&run).unwrap();
        }
        let runs = store.runs().unwrap();
        let ids: Vec<u64> = runs.iter().map(|run| run.id).collect();
        assert_eq!(ids, (3..=KEPT + 2).collect::<Vec<_>>());
        assert_eq!(store.differences(2, 0, 9).unwrap(), []);
        assert_eq!(store.differences(3, 1, 9).unwrap(), [difference]);
    }
}
