//! A table as the snapshot reads it: its key, and the index that orders it.

use std::collections::{BTreeMap, HashMap};

use super::key::KeyColumn;
use crate::mysql::catalog::condition;
use crate::mysql::connect::{Session, optional, text};
use crate::schema::{Table, TableName, quote};
use crate::{Error, Result};

/// What chunks of one table are planned and read with.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    pub(super) name: TableName,
    /// The key's columns in order; empty for a table that can only be read as one chunk.
    pub(super) key: Vec<KeyColumn>,
    /// ` FORCE INDEX (…)`: the optimizer must not prefer another index and sort.
    pub(super) index: String,
    /// Behind the condition of a chunk.
    pub(super) lock: &'static str,
    estimated_rows: u64,
}

impl SnapshotTable {
    /// Looks up what the schema does not tell: collations, the index, the server's estimate of rows.
    ///
    /// # Errors
    /// Definite when the table is gone or its key cannot be ordered.
    pub async fn describe(conn: &mut impl Session, table: &Table) -> Result<Self> {
        let described = Self::describe_all(conn, &[table]).await.map_err(|error| error.context(&table.name))?;
        described.into_iter().next().unwrap_or_else(|| Err(gone(&table.name)))
    }

    /// As [`SnapshotTable::describe`] for many tables, in three statements a database; an error of a table by itself is its own.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn describe_all(conn: &mut impl Session, tables: &[&Table]) -> Result<Vec<Result<Self>>> {
        let mut databases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for table in tables {
            databases.entry(&table.name.database).or_default().push(&table.name.table);
        }
        let mut catalogues = HashMap::with_capacity(databases.len());
        for (database, names) in databases {
            catalogues.insert(database, Catalogue::read(conn, database, &names).await?);
        }
        let described = |table: &&Table| {
            let name = &table.name;
            let catalogue = catalogues.get(name.database.as_str());
            catalogue.and_then(|catalogue| catalogue.of(name)).ok_or_else(|| gone(name))?.describe(table)
        };
        Ok(tables.iter().map(described).collect())
    }

    /// Each chunk is read with a lock on its rows, as long as that takes, and so waits for transactions that have
    /// written to it and are in the log but not yet committed.
    #[must_use]
    pub fn locking(self) -> Self {
        SnapshotTable { lock: " LOCK IN SHARE MODE", ..self }
    }

    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The server's estimate, for a progress bar: it may be wrong by half.
    pub fn estimated_rows(&self) -> u64 {
        self.estimated_rows
    }

    pub(super) fn order(&self) -> String {
        let names: Vec<&str> = self.key.iter().map(KeyColumn::name).collect();
        if names.is_empty() { String::new() } else { format!(" ORDER BY {}", names.join(", ")) }
    }

    /// The table with the index that its key is in, for a FROM clause.
    pub(crate) fn source(&self) -> String {
        format!("{}{}", self.name.quoted(), self.index)
    }
}

/// What the catalogue tells of the tables of a database.
#[derive(Default)]
struct Catalogue(HashMap<String, Described>);

#[derive(Default)]
struct Described {
    estimated_rows: u64,
    /// Column, its character set, its collation.
    collations: Vec<(String, String, String)>,
    indexes: Vec<IndexPart>,
}

impl Catalogue {
    async fn read(conn: &mut impl Session, database: &str, names: &[&str]) -> Result<Catalogue> {
        let failed = |error| connection_error("reading the catalogue", error);
        let here = condition(database, names);
        let estimates = format!("SELECT TABLE_NAME, TABLE_ROWS FROM information_schema.TABLES WHERE {here}");
        let mut tables = HashMap::new();
        for row in conn.rows(&estimates).await.map_err(failed)? {
            let estimated_rows = optional(&row, 1).and_then(|rows| rows.parse().ok()).unwrap_or(0);
            tables.insert(text(&row, 0), Described { estimated_rows, ..Described::default() });
        }
        let collations = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS \
             WHERE {here} AND COLLATION_NAME IS NOT NULL"
        );
        for row in conn.rows(&collations).await.map_err(failed)? {
            let of = optional(&row, 2).zip(optional(&row, 3));
            if let (Some(table), Some((charset, collation))) = (tables.get_mut(&text(&row, 0)), of) {
                table.collations.push((text(&row, 1), charset, collation));
            }
        }
        let indexes = format!(
            "SELECT TABLE_NAME, INDEX_NAME, COALESCE(COLUMN_NAME, ''), SUB_PART FROM information_schema.STATISTICS \
             WHERE {here} ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        );
        for row in conn.rows(&indexes).await.map_err(failed)? {
            if let Some(table) = tables.get_mut(&text(&row, 0)) {
                table.indexes.push((text(&row, 1), text(&row, 2), optional(&row, 3).is_some()));
            }
        }
        Ok(Catalogue(tables))
    }

    /// Where the server does not mind the case of names, they may be written in another one here.
    fn of(&self, name: &TableName) -> Option<&Described> {
        let alike = || self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(&name.table)).map(|(_, table)| table);
        self.0.get(&name.table).or_else(alike)
    }
}

impl Described {
    fn describe(&self, table: &Table) -> Result<SnapshotTable> {
        let name = &table.name;
        let collation = |column: &str| {
            let found = self.collations.iter().find(|(name, ..)| name == column);
            found.map(|(_, charset, collation)| (charset.clone(), collation.clone()))
        };
        let mut key = Vec::new();
        // A NULL is neither above nor below a bound, so such a key cannot be cut.
        if table.key_columns().all(|column| !column.nullable) {
            for column in table.key_columns() {
                let column = KeyColumn::new(column, collation(&column.name));
                key.push(column.map_err(|error| error.context(format!("table {name}")))?);
            }
        }
        let (index, estimated_rows) = (index_hint(table, &self.indexes), self.estimated_rows);
        Ok(SnapshotTable { name: name.clone(), index, key, lock: "", estimated_rows })
    }
}

fn gone(table: &TableName) -> Error {
    Error::definite(format!("table {table} does not exist at the source any more"))
}

/// An index's name, one of its columns, and whether it has only the column's beginning.
type IndexPart = (String, String, bool);

/// The index whose columns are the key, whole and in order; the primary key before others.
fn index_hint(table: &Table, indexes: &[IndexPart]) -> String {
    let wanted: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
    let mut names: Vec<&str> = indexes.iter().map(|(name, ..)| name.as_str()).collect();
    names.dedup();
    names.sort_by_key(|&name| name != "PRIMARY");
    let fits = |index: &&&str| {
        let parts: Vec<_> = indexes.iter().filter(|(name, ..)| name == **index).collect();
        parts.len() == wanted.len()
            && parts.iter().zip(&wanted).all(|((_, column, prefix), wanted)| column == wanted && !prefix)
    };
    match names.iter().find(fits) {
        Some(index) if !wanted.is_empty() => format!(" FORCE INDEX ({})", quote(index)),
        _ => String::new(),
    }
}

/// Prepares a connection for planning and reading: text in the columns' own character sets, times in UTC, no
/// mode that changes what is shown or compared, no lock and no picture kept from one statement to the next.
///
/// # Errors
/// Those of the connection.
pub async fn prepare_session(conn: &mut impl Session) -> Result<()> {
    for statement in [
        "SET NAMES utf8mb4",
        "SET SESSION character_set_results = NULL, time_zone = '+00:00', sql_mode = '', autocommit = 1",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        // A loader that is busy makes us stop reading for a while.
        "SET SESSION net_write_timeout = 3600, net_read_timeout = 3600",
    ] {
        conn.rows(statement).await.map_err(|error| connection_error("preparing a session", error))?;
    }
    // A limit on statements' time: MySQL's name, MariaDB's name.
    for statement in ["SET SESSION max_execution_time = 0", "SET SESSION max_statement_time = 0"] {
        match conn.rows(statement).await {
            Ok(_) | Err(mysql_async::Error::Server(_)) => {}
            Err(error) => return Err(connection_error("preparing a session", error)),
        }
    }
    Ok(())
}

pub(super) fn read_error(table: &TableName, error: mysql_async::Error) -> Error {
    connection_error(&format!("reading table {table}"), error)
}

fn connection_error(what: &str, error: mysql_async::Error) -> Error {
    match &error {
        mysql_async::Error::Server(server) => match server.code {
            // Shut down, killed, a lock or a limit that passes, a table being changed right now.
            1040
            | 1053
            | 1152
            | 1158..=1161
            | 1203
            | 1205
            | 1213
            | 1317
            | 1412
            | 1927
            | 1969
            | 2006
            | 2013
            | 3024
            | 3169
            | 4031 => Error::transient(what).caused_by(error),
            1044 | 1045 | 1142 | 1143 => {
                Error::definite(what).caused_by(error).hint("GRANT SELECT on the replicated tables to the job's user")
            }
            _ => Error::definite(what).caused_by(error),
        },
        _ => Error::transient(what).caused_by(error),
    }
}
