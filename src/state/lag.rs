//! Tables that lag: the target alters them, and their rows wait here while those of the others go on.
//!
//! A lag begins in the transaction that moves the checkpoint behind its statement, and each checkpoint after it brings the
//! table's rows up to there. So what is parked is always what the table lacks at the checkpoint, and nothing has to
//! be read from the log again. Rows leave with the record that they are in; the lag leaves with the last of them.

use rusqlite::{OptionalExtension as _, Transaction};
use serde::{Deserialize, Serialize};

use super::Store;
use super::store::json;
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::{TableName, TargetTable};

/// Why a table of the job is not where the checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// The epoch that the statement was: tells its rows and loads from those of another change.
    pub number: u64,
    /// Behind the statement: everything of the table before it is in.
    pub since: Position,
    pub statement: String,
    /// When it was begun, microseconds since 1970 by this machine's clock.
    pub begun: u64,
    /// What the target's table was and becomes, as [`crate::target::Target::alter_table`] takes it.
    pub before: TargetTable,
    pub after: TargetTable,
    pub was: Vec<Option<usize>>,
}

/// What rows wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// The lag of this number.
    Lag(u64),
    /// The copy of this table, which has no key; as it is called at the source.
    Copy(TableName),
}

/// Rows that wait, as they are stored ([`crate::mysql::binlog::StoredRows`]); whole events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRows {
    pub of: WaitsFor,
    pub rows: Vec<u8>,
}

/// What a checkpoint changes about the rows that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedChanges {
    /// In their order.
    pub came: Vec<ParkedRows>,
    /// Whose rows are in now, up to this part.
    pub gone: Option<(WaitsFor, u64)>,
}

impl Store {
    /// The tables that lag, by their names at the source, the oldest first.
    pub fn lags(&self) -> Result<Vec<(TableName, Lag)>> {
        let rows: Vec<(TableName, String)> = self.with(|connection| {
            connection
                .prepare("SELECT database, name, lag FROM lagging ORDER BY number")?
                .query_map([], |row| Ok((TableName { database: row.get(0)?, table: row.get(1)? }, row.get(2)?)))?
                .collect()
        })?;
        rows.into_iter().map(|(name, lag)| Ok((name, self.parse("lagging.lag", &lag)?))).collect()
    }

    /// The target has altered the table: from here on its rows may be sent, and it must not be altered again.
    pub fn lag_is_altered(&self, number: u64) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("UPDATE lagging SET altered = 1 WHERE number = ?1", [number as i64]).map(drop)
        })
    }

    /// Whether that was said of it.
    pub fn is_lag_altered(&self, number: u64) -> Result<bool> {
        let found = self.with(|connection| {
            let sql = "SELECT altered FROM lagging WHERE number = ?1";
            connection.query_row(sql, [number as i64], |row| row.get(0)).optional()
        })?;
        Ok(found.unwrap_or(false))
    }

    /// The first part of the rows behind part `after`, with its number.
    pub fn parked_rows(&self, of: &WaitsFor, after: Option<u64>) -> Result<Option<(u64, Vec<u8>)>> {
        let after = after.map_or(-1, |part| part as i64);
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?));
        self.with(|connection| match of {
            WaitsFor::Lag(number) => connection
                .prepare_cached(
                    "SELECT part, rows FROM parked_rows WHERE number = ?1 AND part > ?2 ORDER BY part LIMIT 1",
                )?
                .query_row((*number as i64, after), read)
                .optional(),
            WaitsFor::Copy(table) => connection
                .prepare_cached(
                    "SELECT part, rows FROM copy_rows WHERE database = ?1 AND name = ?2 AND part > ?3 ORDER BY part LIMIT 1",
                )?
                .query_row((&table.database, &table.table, after), read)
                .optional(),
        })
    }

    /// Bytes of all rows that wait.
    pub fn parked_bytes(&self) -> Result<u64> {
        Ok(self.bytes_of_lags()? + self.bytes_behind_copies()?)
    }

    /// Bytes of rows that wait for tables that lag.
    pub(crate) fn bytes_of_lags(&self) -> Result<u64> {
        self.sum("SELECT coalesce(sum(length(rows)), 0) FROM parked_rows")
    }

    /// Bytes of rows that wait for copies of tables without a key.
    pub(crate) fn bytes_behind_copies(&self) -> Result<u64> {
        self.sum("SELECT coalesce(sum(length(rows)), 0) FROM copy_rows")
    }

    fn sum(&self, sql: &str) -> Result<u64> {
        self.with(|connection| connection.query_row(sql, [], |row| row.get::<_, i64>(0))).map(|sum| sum as u64)
    }
}

/// Lags that begin, and those that are over or given up, with their rows.
pub(super) fn change(transaction: &Transaction<'_>, lags: &[(TableName, Option<Lag>)]) -> rusqlite::Result<()> {
    for (name, lag) in lags {
        let at = (&name.database, &name.table);
        transaction.execute("DELETE FROM lagging WHERE database = ?1 AND name = ?2", at)?;
        if let Some(lag) = lag {
            transaction.execute(
                "INSERT INTO lagging (number, database, name, target_database, target_name, lag, altered)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
                (
                    lag.number as i64,
                    &name.database,
                    &name.table,
                    &lag.after.name.database,
                    &lag.after.name.table,
                    json(lag)?,
                ),
            )?;
        }
    }
    if !lags.is_empty() {
        transaction.execute("DELETE FROM parked_rows WHERE number NOT IN (SELECT number FROM lagging)", [])?;
    }
    Ok(())
}

pub(super) fn park(transaction: &Transaction<'_>, changes: &ParkedChanges) -> rusqlite::Result<()> {
    for ParkedRows { of, rows } in &changes.came {
        match of {
            WaitsFor::Lag(number) => transaction
                .prepare_cached(
                    "INSERT INTO parked_rows (number, part, rows)
                     SELECT ?1, coalesce(max(part), -1) + 1, ?2 FROM parked_rows WHERE number = ?1",
                )?
                .execute((*number as i64, rows))?,
            WaitsFor::Copy(TableName { database, table }) => transaction
                .prepare_cached(
                    "INSERT INTO copy_rows (database, name, part, rows)
                     SELECT ?1, ?2, coalesce(max(part), -1) + 1, ?3 FROM copy_rows WHERE database = ?1 AND name = ?2",
                )?
                .execute((database, table, rows))?,
        };
    }
    match &changes.gone {
        Some((WaitsFor::Lag(number), part)) => transaction
            .prepare_cached("DELETE FROM parked_rows WHERE number = ?1 AND part <= ?2")?
            .execute((*number as i64, *part as i64))?,
        Some((WaitsFor::Copy(TableName { database, table }), part)) => transaction
            .prepare_cached("DELETE FROM copy_rows WHERE database = ?1 AND name = ?2 AND part <= ?3")?
            .execute((database, table, *part as i64))?,
        None => 0,
    };
    Ok(())
}

pub(super) const TABLES: &str = "
    CREATE TABLE lagging (             -- tables that the target alters while the others go on
        number INTEGER PRIMARY KEY,
        database TEXT NOT NULL,        -- as at the source
        name TEXT NOT NULL,
        target_database TEXT NOT NULL,
        target_name TEXT NOT NULL,
        lag TEXT NOT NULL,             -- JSON state::Lag
        altered INTEGER NOT NULL,      -- 1: the target has done it
        UNIQUE (database, name)
    ) STRICT;
    CREATE TABLE parked_rows (         -- their rows up to the checkpoint
        number INTEGER NOT NULL,
        part INTEGER NOT NULL,
        rows BLOB NOT NULL,            -- mysql::binlog::stored, whole events
        PRIMARY KEY (number, part)
    ) STRICT;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column, ColumnType, IntegerSize, MappingOptions, Table, map_table};
    use crate::state::{Checkpoint, DefinitionChanges, LetterChanges, PreparedChanges};

    fn lag(number: u64) -> Lag {
        let id = Column::new("id", ColumnType::Integer { size: IntegerSize::Int, unsigned: false });
        let table = Table {
            name: TableName::new("shop", "t"),
            columns: vec![id],
            key: vec![0],
            primary: true,
            comment: String::new(),
            charset: None,
            indexes: Vec::new(),
        };
        let target = map_table(&table, &MappingOptions::for_version(3, 5)).unwrap().target;
        let since = Position { file: "binlog.000001".into(), offset: 4, gtids: None };
        Lag {
            number,
            since,
            statement: String::new(),
            begun: 1,
            before: target.clone(),
            after: target,
            was: vec![Some(0)],
        }
    }

    fn parts(store: &Store, number: u64) -> Vec<(u64, Vec<u8>)> {
        let of = WaitsFor::Lag(number);
        std::iter::successors(store.parked_rows(&of, None).unwrap(), |(part, _)| {
            store.parked_rows(&of, Some(*part)).unwrap()
        })
        .collect()
    }

    #[test]
    fn rows_wait_in_their_order_until_they_are_in_and_are_gone_with_their_lag() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let table = TableName::new("shop", "t");
        let close = |parked: ParkedChanges, lag: Option<Option<Lag>>| {
            let lags = lag.map(|lag| (table.clone(), lag)).into_iter().collect();
            let definitions = DefinitionChanges { lags, ..DefinitionChanges::default() };
            let (letters, prepared) = (LetterChanges::default(), PreparedChanges::default());
            let checkpoint = Checkpoint::at(Position { file: "binlog.000001".into(), offset: 9, gtids: None });
            store.close_epoch_with(&checkpoint, &letters, &prepared, &parked, Some(&definitions)).unwrap();
        };
        let came = |number, rows: &[&[u8]]| ParkedChanges {
            came: rows.iter().map(|rows| ParkedRows { of: WaitsFor::Lag(number), rows: rows.to_vec() }).collect(),
            gone: None,
        };
        close(ParkedChanges::default(), Some(Some(lag(7))));
        assert_eq!(store.lags().unwrap(), [(table.clone(), lag(7))]);
        assert!(!store.is_lag_altered(7).unwrap());
        close(came(7, &[b"a", b"b"]), None);
        close(came(7, &[b"cc"]), None);
        store.lag_is_altered(7).unwrap();
        assert!(store.is_lag_altered(7).unwrap());
        assert_eq!(parts(&store, 7), [(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"cc".to_vec())]);
        assert_eq!(store.parked_bytes().unwrap(), 4);
        close(ParkedChanges { gone: Some((WaitsFor::Lag(7), 1)), ..ParkedChanges::default() }, None);
        assert_eq!(parts(&store, 7), [(2, b"cc".to_vec())]);
        // What comes now is behind what is left.
        close(came(7, &[b"d"]), None);
        assert_eq!(parts(&store, 7), [(2, b"cc".to_vec()), (3, b"d".to_vec())]);
        close(ParkedChanges::default(), Some(Some(lag(9))));
        assert_eq!((parts(&store, 7), store.is_lag_altered(9).unwrap()), (Vec::new(), false), "another change of it");
        close(came(9, &[b"e"]), Some(None));
        assert_eq!((store.lags().unwrap(), store.parked_bytes().unwrap()), (Vec::new(), 0));
    }
}
