//! Tables without a key (`noKeyTables: rowHash`): how their copies are numbered, and from where the log counts for them.
//!
//! [`crate::apply::row_hash`] says what for.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Transaction};

use super::Store;
use super::store::json;
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::TableName;

/// The numbers of one table's rows at the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Where the epoch began whose rows were numbered last.
    pub begin: Option<Position>,
    /// The first number of that epoch's new rows.
    pub base: i64,
    /// The first that no row has had yet.
    pub next: i64,
    /// Pieces of a transaction have gone out whose end has not.
    pub open: bool,
    /// These rows had been parked: the last part of the state store that is among them.
    pub part: Option<u64>,
}

/// A row that a delete of an epoch removes: one of those that were in the target before the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victim {
    pub hash: i128,
    /// 0 for the first delete of this hash that finds no row of its own epoch, and so on.
    pub ordinal: u64,
    pub copy: i64,
}

/// What is written down of one table before an epoch's loads are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// At the source.
    pub table: TableName,
    pub numbering: Numbering,
    /// Victims of earlier epochs are forgotten.
    pub anew: bool,
    pub victims: Vec<Victim>,
}

impl Store {
    pub fn numbering(&self, table: &TableName) -> Result<Numbering> {
        let found = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT begin_position, base, next, open, part FROM row_hash_table WHERE database = ?1 AND name = ?2",
                )?
                .query_row((&table.database, &table.table), |row| {
                    let part = row.get::<_, Option<i64>>(4)?.map(|part| part as u64);
                    Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, part))
                })
                .optional()
        })?;
        let Some((begin, base, next, open, part)) = found else { return Ok(Numbering::default()) };
        let begin = begin.map(|begin| self.parse("row_hash_table.begin_position", &begin)).transpose()?;
        Ok(Numbering { begin, base, next, open, part })
    }

    /// Tables of which pieces of a transaction have gone out and not its end.
    pub fn open_numberings(&self) -> Result<Vec<TableName>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, name FROM row_hash_table WHERE open = 1")?
                .query_map([], |row| Ok(TableName { database: row.get(0)?, table: row.get(1)? }))?
                .collect()
        })
    }

    pub fn number(&self, tables: &[Numbered]) -> Result<()> {
        self.transaction(|transaction| tables.iter().try_for_each(|table| write(transaction, table)))
    }

    /// The victims of these hashes, by hash, in the order of their ordinals.
    pub fn victims(
        &self,
        table: &TableName,
        hashes: impl IntoIterator<Item = i128>,
    ) -> Result<HashMap<i128, Vec<i64>>> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT copy FROM row_hash_victim WHERE database = ?1 AND name = ?2 AND hash = ?3 ORDER BY ordinal",
            )?;
            let mut found = HashMap::new();
            for hash in hashes {
                let copies = select
                    .query_map((&table.database, &table.table, hash.to_be_bytes()), |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<i64>>>()?;
                if !copies.is_empty() {
                    found.insert(hash, copies);
                }
            }
            Ok(found)
        })
    }

    /// How often the copy of a table was begun.
    pub fn whole_copies_begun(&self, table: &TableName) -> Result<u64> {
        let found = self.with(|connection| {
            connection
                .query_row(
                    "SELECT attempts FROM row_hash_table WHERE database = ?1 AND name = ?2",
                    (&table.database, &table.table),
                    |row| row.get::<_, i64>(0),
                )
                .optional()
        })?;
        Ok(found.unwrap_or(0) as u64)
    }

    /// Begins to copy a table anew; returns how often that was begun before. To be called before anything is sent.
    /// Dead letters of the attempt before are forgotten with their rows; `target` is the table's name there.
    pub fn begin_whole_copy(&self, table: &TableName, target: &TableName) -> Result<u64> {
        self.transaction(|transaction| begin(transaction, table, target))
    }

    /// As [`Store::begin_whole_copy`], of a table that is copied while the stream goes on: the rows that wait for the attempt
    /// before are forgotten with what was noted of it.
    pub fn begin_copy_anew(&self, table: &TableName, target: &TableName) -> Result<u64> {
        self.transaction(|transaction| {
            let at = (&table.database, &table.table);
            transaction.execute("DELETE FROM copy_rows WHERE database = ?1 AND name = ?2", at)?;
            transaction.execute("DELETE FROM snapshot_chunk WHERE database = ?1 AND name = ?2", at)?;
            transaction.execute("UPDATE snapshot_table SET planned = 0 WHERE database = ?1 AND name = ?2", at)?;
            begin(transaction, table, target)
        })
    }

    /// The copy under way shows the table as it was at this place, and has given its rows the numbers from 0 up to `next`.
    pub fn whole_copy_read(&self, table: &TableName, at: &Position, next: i64) -> Result<()> {
        self.transaction(|transaction| read(transaction, table, at, next))
    }

    /// As [`Store::whole_copy_read`], of a table that is copied while the stream goes on; nothing more of it is to be read.
    pub fn copy_is_whole(&self, table: &TableName, at: &Position, next: i64) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "UPDATE snapshot_table SET planned = 1 WHERE database = ?1 AND name = ?2";
            transaction.execute(sql, (&table.database, &table.table))?;
            read(transaction, table, at, next)
        })
    }

    /// The places up to which the log's rows are in already.
    pub fn copied_at(&self) -> Result<HashMap<TableName, Position>> {
        let found: Vec<(TableName, String)> = self.with(|connection| {
            connection
                .prepare("SELECT database, name, copied_at FROM row_hash_table WHERE copied_at IS NOT NULL")?
                .query_map([], |row| Ok((TableName { database: row.get(0)?, table: row.get(1)? }, row.get(2)?)))?
                .collect()
        })?;
        let parsed = found.into_iter().map(|(table, at)| Ok((table, self.parse("row_hash_table.copied_at", &at)?)));
        parsed.collect()
    }

    pub fn has_numberings(&self) -> Result<bool> {
        self.with(|connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM row_hash_table)", [], |row| row.get(0))
        })
    }

    /// Tables that match and are left out, for whoever asks how the job stands.
    pub fn set_left_out(&self, tables: &[TableName]) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("DELETE FROM left_out", [])?;
            let mut insert = transaction.prepare("INSERT INTO left_out (database, name) VALUES (?1, ?2)")?;
            tables.iter().try_for_each(|table| insert.execute((&table.database, &table.table)).map(drop))
        })
    }

    pub fn left_out(&self) -> Result<Vec<TableName>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, name FROM left_out ORDER BY database, name")?
                .query_map([], |row| Ok(TableName { database: row.get(0)?, table: row.get(1)? }))?
                .collect()
        })
    }

    /// What the job decides about values, while no hash depends on it.
    pub fn will_hash_with(&self, values: &str) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute("INSERT OR REPLACE INTO row_hash_form (id, form) VALUES (1, ?1)", [values]).map(drop)
        })
    }

    /// What the job decides about values, which is a part of every hash. The first call writes it down; returns what is
    /// written.
    pub fn hashed_with(&self, values: &str) -> Result<String> {
        self.transaction(|transaction| {
            transaction.execute("INSERT OR IGNORE INTO row_hash_form (id, form) VALUES (1, ?1)", [values])?;
            transaction.query_row("SELECT form FROM row_hash_form", [], |row| row.get(0))
        })
    }
}

/// The job is moved: what lies before `at` is in, and comes again only for tables with keys.
pub(super) fn reposition(transaction: &Transaction<'_>, at: &Position) -> rusqlite::Result<()> {
    // A copy that is not whole yet takes its own place later.
    let tables: Vec<(String, String, Option<String>)> = transaction
        .prepare(
            "SELECT database, name, copied_at FROM row_hash_table t WHERE copied_at IS NOT NULL OR NOT EXISTS
             (SELECT 1 FROM joining j WHERE j.database = t.database AND j.name = t.name)",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (database, name, copied_at) in tables {
        let copied_at = copied_at.and_then(|text| serde_json::from_str::<Position>(&text).ok());
        // A copy may be ahead of the job.
        let later = copied_at.filter(|copied_at| copied_at.reached(at));
        transaction.execute(
            // Rows that are parked are not read again.
            "UPDATE row_hash_table SET copied_at = ?3, begin_position = iif(part IS NULL, NULL, begin_position), open = 0
             WHERE database = ?1 AND name = ?2",
            (database, name, json(later.as_ref().unwrap_or(at))?),
        )?;
    }
    Ok(())
}

/// A copy of the table begins while the stream goes on, or is given up: nothing is known of its rows.
pub(super) fn forget_copy(transaction: &Transaction<'_>, table: &TableName) -> rusqlite::Result<()> {
    let at = (&table.database, &table.table);
    transaction.execute("DELETE FROM copy_rows WHERE database = ?1 AND name = ?2", at)?;
    transaction
        .execute(
            "UPDATE row_hash_table SET copied_at = NULL, begin_position = NULL, part = NULL, open = 0
             WHERE database = ?1 AND name = ?2",
            at,
        )
        .map(drop)
}

/// The copy has become the table.
pub(super) fn end_copy(transaction: &Transaction<'_>, table: &TableName) -> rusqlite::Result<()> {
    let sql = "DELETE FROM copy_rows WHERE database = ?1 AND name = ?2";
    transaction.execute(sql, (&table.database, &table.table)).map(drop)
}

/// The source's table has another name.
pub(super) fn rename(transaction: &Transaction<'_>, from: &TableName, to: &TableName) -> rusqlite::Result<()> {
    for table in ["row_hash_table", "row_hash_victim"] {
        let sql = format!("DELETE FROM {table} WHERE database = ?1 AND name = ?2");
        transaction.execute(&sql, (&to.database, &to.table))?;
        let sql = format!("UPDATE {table} SET database = ?3, name = ?4 WHERE database = ?1 AND name = ?2");
        transaction.execute(&sql, (&from.database, &from.table, &to.database, &to.table))?;
    }
    Ok(())
}

fn begin(transaction: &Transaction<'_>, table: &TableName, target: &TableName) -> rusqlite::Result<u64> {
    transaction
        .execute("DELETE FROM dead_letter WHERE database = ?1 AND name = ?2", (&target.database, &target.table))?;
    transaction.execute(
        "INSERT INTO row_hash_table (database, name, attempts) VALUES (?1, ?2, 1)
         ON CONFLICT (database, name) DO UPDATE SET attempts = attempts + 1, copied_at = NULL",
        (&table.database, &table.table),
    )?;
    transaction.query_row(
        "SELECT attempts - 1 FROM row_hash_table WHERE database = ?1 AND name = ?2",
        (&table.database, &table.table),
        |row| row.get::<_, i64>(0).map(|attempts| attempts as u64),
    )
}

fn read(transaction: &Transaction<'_>, table: &TableName, at: &Position, next: i64) -> rusqlite::Result<()> {
    transaction
        .execute(
            "UPDATE row_hash_table SET copied_at = ?3, next = ?4, begin_position = NULL, part = NULL, base = 0, open = 0
             WHERE database = ?1 AND name = ?2",
            (&table.database, &table.table, json(at)?, next),
        )
        .map(drop)
}

pub(super) const COPIES: &str = "
    -- the rows that were numbered last had been parked: the last part of parked_rows or copy_rows among them
    ALTER TABLE row_hash_table ADD COLUMN part INTEGER;
    CREATE TABLE copy_rows (           -- rows behind the place that the copy of a table without a key shows
        database TEXT NOT NULL,        -- as at the source
        name TEXT NOT NULL,
        part INTEGER NOT NULL,
        rows BLOB NOT NULL,            -- mysql::binlog::stored, whole events
        PRIMARY KEY (database, name, part)
    ) STRICT;
";

fn write(transaction: &Transaction<'_>, table: &Numbered) -> rusqlite::Result<()> {
    let Numbered { table: TableName { database, table: name }, numbering, anew, victims } = table;
    transaction
        .prepare_cached(
            "INSERT INTO row_hash_table (database, name, begin_position, base, next, open, part)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (database, name) DO UPDATE SET begin_position = ?3, base = ?4, next = ?5, open = ?6, part = ?7",
        )?
        .execute((
            database,
            name,
            numbering.begin.as_ref().map(json).transpose()?,
            numbering.base,
            numbering.next,
            numbering.open,
            numbering.part.map(|part| part as i64),
        ))?;
    if *anew {
        transaction
            .prepare_cached("DELETE FROM row_hash_victim WHERE database = ?1 AND name = ?2")?
            .execute((database, name))?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO row_hash_victim (database, name, hash, ordinal, copy) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    victims.iter().try_for_each(|Victim { hash, ordinal, copy }| {
        insert.execute((database, name, hash.to_be_bytes(), *ordinal as i64, copy)).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PreparedChanges;
    use crate::state::{Checkpoint, DefinitionChanges, Join, LetterChanges, ParkedChanges, ParkedRows, WaitsFor};

    fn position(offset: u64) -> Position {
        Position { file: "binlog.000001".into(), offset, gtids: None }
    }

    fn table(name: &str) -> TableName {
        TableName::new("shop", name)
    }

    fn numbered(name: &str, begin: u64, part: Option<u64>) -> Numbered {
        let numbering = Numbering { begin: Some(position(begin)), base: 10, next: 20, open: false, part };
        let victims = vec![Victim { hash: 5, ordinal: 0, copy: 3 }];
        Numbered { table: table(name), numbering, anew: true, victims }
    }

    fn change(store: &Store, changes: &DefinitionChanges) {
        store.change_definitions(changes, &position(4)).unwrap();
    }

    fn joined(number: u64) -> Option<Join> {
        Some(Join { number, serves: None, live: false, new: false, reason: String::new() })
    }

    fn park(store: &Store, rows: &[u8]) {
        let came = vec![ParkedRows { of: WaitsFor::Copy(table("t")), rows: rows.to_vec() }];
        let parked = ParkedChanges { came, gone: None };
        let (letters, prepared) = (LetterChanges::default(), PreparedChanges::default());
        store.close_epoch_with(&Checkpoint::at(position(9)), &letters, &prepared, &parked, None).unwrap();
    }

    #[test]
    fn what_is_parked_behind_a_copy_lives_as_long_as_its_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        let joins = |join| DefinitionChanges { joins: vec![(table("t"), join)], ..DefinitionChanges::default() };
        change(&store, &joins(joined(3)));
        assert_eq!(store.begin_copy_anew(&table("t"), &table("t")).unwrap(), 0);
        store.copy_is_whole(&table("t"), &position(50), 7).unwrap();
        assert_eq!((store.copied_at().unwrap().len(), store.numbering(&table("t")).unwrap().next), (1, 7));
        park(&store, b"abc");
        assert_eq!(store.parked_rows(&WaitsFor::Copy(table("t")), None).unwrap(), Some((0, b"abc".to_vec())));
        assert_eq!((store.bytes_behind_copies().unwrap(), store.parked_bytes().unwrap()), (3, 3));
        store.number(&[numbered("t", 60, Some(0))]).unwrap();
        assert_eq!(store.numbering(&table("t")).unwrap().part, Some(0));
        assert_eq!(store.begin_copy_anew(&table("t"), &table("t")).unwrap(), 1);
        assert_eq!((store.copied_at().unwrap().len(), store.parked_bytes().unwrap()), (0, 0));
        // Another copy of the table knows nothing of this one.
        store.copy_is_whole(&table("t"), &position(70), 8).unwrap();
        store.number(&[numbered("t", 80, Some(0))]).unwrap();
        park(&store, b"de");
        change(&store, &joins(joined(9)));
        assert_eq!((store.copied_at().unwrap().len(), store.parked_bytes().unwrap()), (0, 0));
        let Numbering { begin, part, .. } = store.numbering(&table("t")).unwrap();
        assert_eq!((begin, part), (None, None));
        // One that is the table now keeps its place.
        store.copy_is_whole(&table("t"), &position(90), 8).unwrap();
        park(&store, b"f");
        change(&store, &joins(None));
        assert_eq!((store.copied_at().unwrap().len(), store.parked_bytes().unwrap()), (1, 0));
    }

    #[test]
    fn numbers_and_victims_go_with_the_tables_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        store.number(&[numbered("a", 1, None), numbered("b", 2, None)]).unwrap();
        let pairs = [("a", "x"), ("b", "a"), ("x", "b")].map(|(from, to)| (table(from), table(to)));
        change(&store, &DefinitionChanges { renumbered: pairs.to_vec(), ..DefinitionChanges::default() });
        let begin = |name: &str| store.numbering(&table(name)).unwrap().begin;
        assert_eq!((begin("a"), begin("b"), begin("x")), (Some(position(2)), Some(position(1)), None));
        assert_eq!(store.victims(&table("b"), [5]).unwrap()[&5], [3]);
        assert!(store.victims(&table("x"), [5]).unwrap().is_empty());
    }

    #[test]
    fn a_job_that_is_moved_leaves_copies_that_are_not_whole_and_rows_that_are_parked_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "shop").unwrap();
        change(&store, &DefinitionChanges { joins: vec![(table("t"), joined(3))], ..DefinitionChanges::default() });
        store.begin_copy_anew(&table("t"), &table("t")).unwrap();
        store.number(&[numbered("lags", 60, Some(2)), numbered("u", 61, None)]).unwrap();
        store.reposition(&Checkpoint::at(position(5)), "server", &position(90)).unwrap();
        let places = store.copied_at().unwrap();
        assert!(!places.contains_key(&table("t")) && places[&table("u")] == position(90), "{places:?}");
        assert_eq!(store.numbering(&table("lags")).unwrap().begin, Some(position(60)));
        assert_eq!(store.numbering(&table("u")).unwrap().begin, None);
    }
}
