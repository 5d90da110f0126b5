//! The pause between epochs, while the target has it widened: for `status`.

use rusqlite::OptionalExtension;

use super::Store;
use super::checkpoint::now_micros;
use crate::Result;

/// A pause longer than the job file's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceRecord {
    pub pause_millis: u64,
    /// What the target has too much or too little of.
    pub reason: String,
    /// When the pause became what it is, microseconds since 1970 by this machine's clock.
    pub since: u64,
}

impl Store {
    /// Records the widened pause and why; `None`: the job file's pause holds again.
    pub fn set_pace(&self, widened: Option<(u64, &str)>) -> Result<()> {
        self.transaction(|transaction| {
            match widened {
                Some((millis, reason)) => transaction.execute(
                    "INSERT OR REPLACE INTO pace (id, pause_ms, reason, since) VALUES (1, ?1, ?2, ?3)",
                    (millis as i64, reason, now_micros() as i64),
                )?,
                None => transaction.execute("DELETE FROM pace", [])?,
            };
            Ok(())
        })
    }

    /// `None`: the job file's pause holds, or the store is older than this record.
    pub fn pace(&self) -> Result<Option<PaceRecord>> {
        self.with(|connection| {
            let known = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pace'";
            if connection.query_row(known, [], |_| Ok(())).optional()?.is_none() {
                return Ok(None);
            }
            let record = |row: &rusqlite::Row<'_>| {
                let number = |at: usize| row.get::<_, i64>(at).map(|value| value as u64);
                Ok(PaceRecord { pause_millis: number(0)?, reason: row.get(1)?, since: number(2)? })
            };
            connection.query_row("SELECT pause_ms, reason, since FROM pace", [], record).optional()
        })
    }
}
