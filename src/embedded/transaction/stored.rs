//! Load transactions as the store keeps them: those that have ended, and those that a restart must not forget.

use rusqlite::{Transaction as Write, params};

use super::{Part, State, Transaction};
use crate::embedded::store::Store;
use crate::{Error, Result};

/// What is kept of one.
pub(super) struct Stored<'a> {
    pub(super) id: u64,
    pub(super) database: &'a str,
    pub(super) label: &'a str,
    pub(super) state: State,
    pub(super) reason: &'a str,
    pub(super) parts: &'a [Part],
    /// Unix milliseconds of the end; 0 before it.
    pub(super) finished: u64,
}

impl Stored<'_> {
    /// In place of what was kept of it before.
    pub(super) fn put(&self, tx: &Write<'_>) -> Result<()> {
        let parts = serde_json::to_string(self.parts)
            .map_err(|error| Error::definite("the parts cannot be written").caused_by(error))?;
        let (id, finished) = (self.id as i64, self.finished as i64);
        tx.prepare_cached(
            "INSERT OR REPLACE INTO load_transaction (id, database, label, state, reason, parts, finished)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![id, self.database, self.label, self.state.name(), self.reason, parts, finished])?;
        Ok(())
    }
}

pub(super) fn delete(tx: &Write<'_>, ids: &[u64]) -> Result<()> {
    let mut statement = tx.prepare_cached("DELETE FROM load_transaction WHERE id = ?")?;
    for id in ids {
        statement.execute([*id as i64])?;
    }
    Ok(())
}

/// All of them, those that ended first before the others.
pub(super) fn read_all(store: &Store) -> Result<Vec<(u64, Transaction)>> {
    store.write(|tx| {
        tx.execute_batch(
            "CREATE TABLE IF NOT EXISTS load_transaction (
                 id INTEGER PRIMARY KEY, database TEXT NOT NULL, label TEXT NOT NULL, state TEXT NOT NULL,
                 reason TEXT NOT NULL, parts TEXT NOT NULL, finished INTEGER NOT NULL)",
        )?;
        let mut statement = tx.prepare(
            "SELECT id, database, label, state, reason, parts, finished FROM load_transaction ORDER BY finished, id",
        )?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get::<_, i64>(0)? as u64;
            let parts: String = row.get(5)?;
            let transaction = Transaction {
                database: row.get(1)?,
                label: row.get(2)?,
                state: State::parse(&row.get::<_, String>(3)?).unwrap_or(State::Aborted),
                reason: row.get(4)?,
                committing: false,
                parts: serde_json::from_str(&parts)
                    .map_err(|error| Error::definite(format!("transaction {id}")).caused_by(error))?,
                finished: row.get::<_, i64>(6)? as u64,
                deadline: None,
            };
            all.push((id, transaction));
        }
        Ok(all)
    })
}
