//! Rows of XA transactions that are prepared and not decided.
//!
//! Rows are written ahead, part by part, and mean nothing until a checkpoint is written that lies behind their prepare:
//! [`PreparedChanges`] go with it, in its transaction. So what `prepared` tells is always what is prepared at the
//! checkpoint, whatever a run has done behind it before it died.

use rusqlite::OptionalExtension as _;

use super::Store;
use crate::Result;

/// How the prepared transactions at one checkpoint differ from those at the checkpoint before.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PreparedChanges {
    /// Number and name of those that came.
    pub came: Vec<(u64, String)>,
    /// Numbers of those that were decided, or whose rows were written and do not count.
    pub gone: Vec<u64>,
}

impl PreparedChanges {
    pub fn is_empty(&self) -> bool {
        self.came.is_empty() && self.gone.is_empty()
    }
}

/// A prepared transaction at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedTransaction {
    pub number: u64,
    pub name: String,
    /// Of rows; 0 without rows of replicated tables.
    pub parts: u64,
}

/// Some of a transaction's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedPart {
    /// The transaction's.
    pub number: u64,
    /// From 0 on.
    pub part: u64,
    pub rows: Vec<u8>,
}

impl Store {
    /// What is prepared at the checkpoint. Rows that a run wrote behind it are forgotten.
    pub fn prepared(&self) -> Result<Vec<PreparedTransaction>> {
        self.transaction(|transaction| {
            transaction.execute("DELETE FROM xa_rows WHERE number NOT IN (SELECT number FROM xa)", [])?;
            transaction
                .prepare("SELECT number, name, (SELECT count(*) FROM xa_rows r WHERE r.number = xa.number) FROM xa")?
                .query_map([], |row| {
                    Ok(PreparedTransaction {
                        number: row.get::<_, i64>(0)? as u64,
                        name: row.get(1)?,
                        parts: row.get::<_, i64>(2)? as u64,
                    })
                })?
                .collect()
        })
    }

    /// Numbers of those that have rows, and of how many parts, for whoever looks on.
    pub fn prepared_parts(&self) -> Result<Vec<(u64, u64)>> {
        self.with(|connection| {
            connection
                .prepare(
                    "SELECT number, count(*) FROM xa_rows WHERE number IN (SELECT number FROM xa) GROUP BY number",
                )?
                .query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))?
                .collect()
        })
    }

    /// How many are prepared at the checkpoint.
    pub fn prepared_count(&self) -> Result<u64> {
        self.with(|connection| connection.query_row("SELECT count(*) FROM xa", [], |row| row.get::<_, i64>(0)))
            .map(|count| count as u64)
    }

    /// Forgets everything: the job begins.
    pub fn forget_prepared(&self) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("DELETE FROM xa_rows", [])?;
            transaction.execute("DELETE FROM xa", [])?;
            Ok(())
        })
    }

    /// Writes rows ahead.
    pub fn write_prepared(&self, parts: &[PreparedPart]) -> Result<()> {
        self.transaction(|transaction| {
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO xa_rows (number, part, rows) VALUES (?1, ?2, ?3)")?;
            parts
                .iter()
                .try_for_each(|part| insert.execute((part.number as i64, part.part as i64, &part.rows)).map(|_| ()))
        })
    }

    pub fn read_prepared(&self, number: u64, part: u64) -> Result<Option<Vec<u8>>> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT rows FROM xa_rows WHERE number = ?1 AND part = ?2")?
                .query_row((number as i64, part as i64), |row| row.get(0))
                .optional()
        })
    }

    /// Makes the changes without a checkpoint: before the first one.
    pub fn change_prepared(&self, changes: &PreparedChanges) -> Result<()> {
        self.transaction(|transaction| change(transaction, changes))
    }
}

pub(super) fn change(transaction: &rusqlite::Transaction<'_>, changes: &PreparedChanges) -> rusqlite::Result<()> {
    for (number, name) in &changes.came {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO xa (number, name) VALUES (?1, ?2)")?
            .execute((*number as i64, name))?;
    }
    for number in &changes.gone {
        transaction.prepare_cached("DELETE FROM xa WHERE number = ?1")?.execute([*number as i64])?;
        transaction.prepare_cached("DELETE FROM xa_rows WHERE number = ?1")?.execute([*number as i64])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::position::Position;
    use crate::state::{Checkpoint, LetterChanges};

    #[test]
    fn rows_are_kept_by_the_checkpoint_behind_their_prepare_and_gone_with_the_one_behind_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let checkpoint = Checkpoint::at(Position { file: "binlog.000001".into(), offset: 4, gtids: None });
        for (number, part) in [(1, 0), (1, 1), (2, 0)] {
            let rows = vec![number as u8, part as u8];
            store.write_prepared(&[PreparedPart { number, part, rows }]).unwrap();
        }
        store
            .close_epoch(
                &checkpoint,
                &LetterChanges::default(),
                &PreparedChanges { came: vec![(1, "a".into())], gone: Vec::new() },
            )
            .unwrap();
        assert_eq!(store.prepared().unwrap(), [PreparedTransaction { number: 1, name: "a".into(), parts: 2 }]);
        assert_eq!(store.read_prepared(1, 1).unwrap(), Some(vec![1, 1]));
        assert_eq!(store.prepared_parts().unwrap(), [(1, 2)]);
        assert_eq!(store.read_prepared(2, 0).unwrap(), None, "its prepare is behind the checkpoint");
        store
            .close_epoch(&checkpoint, &LetterChanges::default(), &PreparedChanges { came: Vec::new(), gone: vec![1] })
            .unwrap();
        assert_eq!((store.prepared_count().unwrap(), store.read_prepared(1, 0).unwrap()), (0, None));
    }
}
