//! Databases and tables: what exists, kept in the store and cached for every query and load.
//!
//! A change is made inside a write transaction of the store on a copy of the catalogue; the copy takes effect
//! right after the commit and before the next writer starts. So whoever is inside `Store::write` and asks the
//! catalogue sees exactly the tables of the committed state.
//!
//! Database and table names are case-sensitive, column names are not (G32).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::store::{Store, create_storage, storage_name};
use super::types::ColumnType;
use crate::{Error, Result};

/// How rows with the same key are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Model {
    Primary,
    Duplicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DefaultValue {
    /// In canonical form, unquoted.
    Literal(String),
    CurrentTimestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) ty: ColumnType,
    pub(crate) nullable: bool,
    pub(crate) default: Option<DefaultValue>,
    pub(crate) comment: String,
    /// Unique within the table, for ever; a renamed column keeps it, a re-added one gets a new one.
    pub(crate) id: u32,
    pub(crate) is_key: bool,
    /// What it was called at first, if it was renamed since: StarRocks' `ColumnId`, which no other column may have.
    #[serde(default)]
    pub(crate) first_name: Option<String>,
}

impl ColumnDef {
    pub(crate) fn is_named(&self, name: &str) -> bool {
        same_name(&self.name, name)
    }
}

/// Column names compare without case.
pub(crate) fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right) || left.to_lowercase() == right.to_lowercase()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableDef {
    pub(crate) id: u64,
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) model: Model,
    /// Key columns first, in key order.
    pub(crate) columns: Vec<ColumnDef>,
    /// How many of `columns` are the key.
    pub(crate) key_columns: usize,
    pub(crate) comment: String,
    /// Columns of `DISTRIBUTED BY HASH`; empty is random distribution.
    pub(crate) distribution: Vec<String>,
    pub(crate) buckets: Option<u32>,
    pub(crate) order_by: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
    /// Grows with every change of the columns.
    pub(crate) schema_version: u32,
    pub(crate) next_column_id: u32,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub(crate) created: String,
}

impl TableDef {
    pub(crate) fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|column| column.is_named(name))
    }

    pub(crate) fn keys(&self) -> &[ColumnDef] {
        self.columns.get(..self.key_columns).unwrap_or(&self.columns)
    }

    pub(crate) fn values(&self) -> &[ColumnDef] {
        self.columns.get(self.key_columns..).unwrap_or_default()
    }
}

/// One state of the catalogue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Databases {
    databases: BTreeMap<String, Database>,
}

#[derive(Debug, Clone)]
struct Database {
    id: u64,
    tables: BTreeMap<String, Arc<TableDef>>,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    current: RwLock<Arc<Databases>>,
}

impl Catalog {
    /// Makes the catalogue's own tables if they are not there, and reads what is stored.
    pub(crate) fn load(store: &Store) -> Result<Catalog> {
        let databases = store.write(|tx| {
            tx.execute_batch(
                "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
                 CREATE TABLE IF NOT EXISTS database_def (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
                 CREATE TABLE IF NOT EXISTS table_def (id INTEGER PRIMARY KEY, definition TEXT NOT NULL);",
            )?;
            read(tx)
        })?;
        Ok(Catalog { current: RwLock::new(Arc::new(databases)) })
    }

    /// The state now; it does not change under the holder.
    pub(crate) fn now(&self) -> Arc<Databases> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Case-sensitive.
    pub(crate) fn table(&self, database: &str, name: &str) -> Option<Arc<TableDef>> {
        self.now().table(database, name)
    }

    pub(crate) fn table_by_id(&self, id: u64) -> Option<Arc<TableDef>> {
        self.now().all_tables().find(|table| table.id == id).cloned()
    }

    /// Runs `work` on a copy of the catalogue within one write transaction; both take effect, or neither.
    pub(crate) fn change<T, E: From<Error>>(
        &self,
        store: &Store,
        work: impl FnOnce(&mut Change<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        store.write_then(
            |tx| {
                let mut change = Change { tx, databases: (*self.now()).clone() };
                let value = work(&mut change)?;
                Ok::<_, E>((value, change.databases))
            },
            |(value, databases)| {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(databases);
                value
            },
        )
    }
}

impl Databases {
    pub(crate) fn has(&self, database: &str) -> bool {
        self.databases.contains_key(database)
    }

    pub(crate) fn id(&self, database: &str) -> Option<u64> {
        self.databases.get(database).map(|found| found.id)
    }

    /// Names in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.databases.keys().map(String::as_str)
    }

    pub(crate) fn table(&self, database: &str, name: &str) -> Option<Arc<TableDef>> {
        self.databases.get(database)?.tables.get(name).cloned()
    }

    /// Tables of one database by name; none when it does not exist.
    pub(crate) fn tables(&self, database: &str) -> impl Iterator<Item = &Arc<TableDef>> {
        self.databases.get(database).into_iter().flat_map(|found| found.tables.values())
    }

    pub(crate) fn all_tables(&self) -> impl Iterator<Item = &Arc<TableDef>> {
        self.databases.values().flat_map(|database| database.tables.values())
    }
}

/// A change under way: the transaction, and the state as it will be.
pub(crate) struct Change<'a, 'conn> {
    pub(crate) tx: &'a Transaction<'conn>,
    pub(crate) databases: Databases,
}

impl Change<'_, '_> {
    /// The next id of databases, tables and jobs.
    pub(crate) fn next_id(&self) -> Result<u64> {
        next_id(self.tx)
    }

    /// `false`: it was there.
    pub(crate) fn create_database(&mut self, name: &str) -> Result<bool> {
        if self.databases.has(name) {
            return Ok(false);
        }
        let id = self.next_id()?;
        self.tx.execute("INSERT INTO database_def (id, name) VALUES (?, ?)", params![id as i64, name])?;
        self.databases.databases.insert(name.to_owned(), Database { id, tables: BTreeMap::new() });
        Ok(true)
    }

    /// Drops the database with its tables. `false`: it was not there.
    pub(crate) fn drop_database(&mut self, name: &str) -> Result<bool> {
        let names: Vec<String> = self.databases.tables(name).map(|table| table.name.clone()).collect();
        for table in names {
            self.drop_table(name, &table)?;
        }
        self.tx.execute("DELETE FROM database_def WHERE name = ?", [name])?;
        Ok(self.databases.databases.remove(name).is_some())
    }

    /// Stores a new table, with storage for its rows. Its id is given here.
    pub(crate) fn create_table(&mut self, mut table: TableDef) -> Result<Arc<TableDef>> {
        table.id = self.next_id()?;
        create_storage(self.tx, &table, &storage_name(&table))?;
        self.put_table(table)
    }

    /// Stores the definition of a table that exists under this id; the rows are the caller's business.
    pub(crate) fn put_table(&mut self, table: TableDef) -> Result<Arc<TableDef>> {
        let definition = serde_json::to_string(&table)
            .map_err(|error| Error::definite(format!("table {}", table.name)).caused_by(error))?;
        self.tx.execute(
            "INSERT INTO table_def (id, definition) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET definition = excluded.definition",
            params![table.id as i64, definition],
        )?;
        let table = Arc::new(table);
        for database in self.databases.databases.values_mut() {
            database.tables.retain(|_, other| other.id != table.id);
        }
        match self.databases.databases.get_mut(&table.database) {
            Some(database) => database.tables.insert(table.name.clone(), table.clone()),
            None => return Err(Error::definite(format!("database {} does not exist", table.database))),
        };
        Ok(table)
    }

    /// Drops a table and its rows. `false`: it was not there.
    pub(crate) fn drop_table(&mut self, database: &str, name: &str) -> Result<bool> {
        let Some(table) = self.databases.databases.get_mut(database).and_then(|found| found.tables.remove(name)) else {
            return Ok(false);
        };
        self.tx.execute_batch(&format!("DROP TABLE {}", storage_name(&table)))?;
        self.tx.execute("DELETE FROM table_def WHERE id = ?", [table.id as i64])?;
        Ok(true)
    }
}

/// The next id of databases, tables and jobs; it starts at 10001 as on a real server.
pub(crate) fn next_id(tx: &Transaction<'_>) -> Result<u64> {
    reserve(tx, "id", 10_001, 1)
}

/// Takes `count` numbers of a counter and returns the first.
pub(crate) fn reserve(tx: &Transaction<'_>, counter: &str, start: u64, count: u64) -> Result<u64> {
    let last: i64 = tx.query_row(
        "INSERT INTO counter (name, value) VALUES (?1, ?2 + ?3 - 1)
         ON CONFLICT (name) DO UPDATE SET value = value + ?3 RETURNING value",
        params![counter, start as i64, count as i64],
        |row| row.get(0),
    )?;
    Ok(last as u64 + 1 - count)
}

fn read(tx: &Transaction<'_>) -> Result<Databases> {
    let mut databases = BTreeMap::new();
    let mut statement = tx.prepare("SELECT id, name FROM database_def")?;
    for row in statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))? {
        let (id, name) = row?;
        databases.insert(name, Database { id: id as u64, tables: BTreeMap::new() });
    }
    let mut statement = tx.prepare("SELECT definition FROM table_def")?;
    for row in statement.query_map([], |row| row.get::<_, String>(0))? {
        let table: TableDef = serde_json::from_str(&row?).map_err(|error| {
            Error::definite("the data folder holds a table this version cannot read").caused_by(error)
        })?;
        if let Some(database) = databases.get_mut(&table.database) {
            database.tables.insert(table.name.clone(), Arc::new(table));
        }
    }
    Ok(Databases { databases })
}
