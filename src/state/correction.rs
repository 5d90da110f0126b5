//! Rows that somebody wants mended (`towpath correct`): asked for by a command, taken up by the running job.

use super::store::json;
use super::verification::{Counted, count};
use super::{DifferenceRecord, Store, now_micros};
use crate::Result;
use crate::schema::TableName;

/// The store's step that makes room for corrections.
pub(super) const TABLES: &str = "
    CREATE TABLE correction (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,          -- the comparison that found the row
        database TEXT NOT NULL,        -- the table as at the source
        name TEXT NOT NULL,
        key BLOB NOT NULL,             -- verify::canonical cells
        asked_at INTEGER NOT NULL,     -- microseconds since 1970, ours
        outcome TEXT                   -- JSON CorrectionOutcome; NULL: not taken up yet
    ) STRICT;
    CREATE INDEX asked_correction ON correction (id) WHERE outcome IS NULL;
";

/// Corrections that are kept to look at.
const KEPT: i64 = 100_000;

/// A row to be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    pub id: u64,
    pub run: u64,
    /// As at the source.
    pub table: TableName,
    /// The key's canonical cells.
    pub key: Vec<u8>,
}

/// What has become of a correction.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CorrectionOutcome {
    /// The row as it stood at the source was written, or deleted because it was not there any more.
    Sent,
    /// The stream has written the row since.
    Overtaken,
    /// It could not be done, for this reason.
    Failed(String),
}

/// How far the corrections of a command are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorrectionCounts {
    pub asked: u64,
    pub sent: u64,
    pub overtaken: u64,
    pub failed: u64,
    /// The first reason.
    pub reason: Option<String>,
}

impl Store {
    /// Asks for rows to be mended. Returns the ids, of the first and behind the last.
    pub fn ask_for_correction(&self, run: u64, differences: &[DifferenceRecord]) -> Result<std::ops::Range<u64>> {
        let now = now_micros() as i64;
        self.transaction(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO correction (run, database, name, key, asked_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let mut first = None;
            for DifferenceRecord { table, key, .. } in differences {
                insert.execute((run as i64, &table.database, &table.table, key, now))?;
                first.get_or_insert(transaction.last_insert_rowid() as u64);
            }
            let behind = transaction.last_insert_rowid() as u64 + 1;
            Ok(first.unwrap_or(behind)..behind)
        })
    }

    /// Those that nobody has taken up, of the first of them's table.
    pub fn corrections_asked(&self, limit: u64) -> Result<Vec<Correction>> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, run, database, name, key FROM correction WHERE outcome IS NULL AND (database, name) =
                     (SELECT database, name FROM correction WHERE outcome IS NULL ORDER BY id LIMIT 1) ORDER BY id LIMIT ?1",
                )?
                .query_map([limit as i64], |row| {
                    Ok(Correction {
                        id: row.get::<_, i64>(0)? as u64,
                        run: row.get::<_, i64>(1)? as u64,
                        table: TableName::new(row.get::<_, String>(2)?, row.get::<_, String>(3)?),
                        key: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// What has become of corrections.
    pub fn corrected(&self, ids: &[u64], outcome: &CorrectionOutcome) -> Result<()> {
        self.transaction(|transaction| {
            let mut update = transaction.prepare_cached("UPDATE correction SET outcome = ?2 WHERE id = ?1")?;
            for id in ids {
                update.execute((*id as i64, json(outcome)?))?;
            }
            let counted = match outcome {
                CorrectionOutcome::Sent => Counted::Sent,
                CorrectionOutcome::Overtaken => Counted::Overtaken,
                CorrectionOutcome::Failed(_) => Counted::NotCorrected,
            };
            count(transaction, counted, ids.len() as u64, now_micros())?;
            transaction.execute(
                "DELETE FROM correction WHERE outcome IS NOT NULL AND id <= (SELECT max(id) FROM correction) - ?1",
                [KEPT],
            )?;
            Ok(())
        })
    }

    /// How far the corrections with these ids are.
    pub fn correction_counts(&self, ids: &std::ops::Range<u64>) -> Result<CorrectionCounts> {
        let rows: Vec<(Option<String>, i64)> = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT outcome, count(*) FROM correction WHERE id >= ?1 AND id < ?2 GROUP BY outcome ORDER BY min(id)",
                )?
                .query_map((ids.start as i64, ids.end as i64), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let mut counts = CorrectionCounts::default();
        for (outcome, number) in rows {
            let number = number as u64;
            match outcome.map(|text| self.parse("correction.outcome", &text)).transpose()? {
                None => counts.asked += number,
                Some(CorrectionOutcome::Sent) => counts.sent += number,
                Some(CorrectionOutcome::Overtaken) => counts.overtaken += number,
                Some(CorrectionOutcome::Failed(reason)) => {
                    counts.failed += number;
                    counts.reason.get_or_insert(reason);
                }
            }
        }
        Ok(counts)
    }

    /// Forgets what nobody has taken up: the command that asked for it waits no longer.
    pub fn withdraw_corrections(&self, ids: &std::ops::Range<u64>) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                "DELETE FROM correction WHERE outcome IS NULL AND id >= ?1 AND id < ?2",
                (ids.start as i64, ids.end as i64),
            )
        })?;
        Ok(())
    }
}
