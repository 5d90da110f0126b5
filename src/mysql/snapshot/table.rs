//! A table as the snapshot reads it: its key, and the index that orders it.

use super::key::KeyColumn;
use crate::mysql::catalog::literal;
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
        let name = &table.name;
        let failed = |error| read_error(name, error);
        let here = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&name.database), literal(&name.table));
        let estimates = format!("SELECT TABLE_ROWS FROM information_schema.TABLES WHERE {here}");
        let estimates = conn.rows(&estimates).await.map_err(failed)?;
        let Some(estimate) = estimates.first() else {
            return Err(Error::definite(format!("table {name} does not exist at the source any more")));
        };
        let estimated_rows = optional(estimate, 0).and_then(|rows| rows.parse().ok()).unwrap_or(0);
        let collations = format!(
            "SELECT COLUMN_NAME, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS WHERE {here}"
        );
        let collations = conn.rows(&collations).await.map_err(failed)?;
        let collation = |column: &str| {
            let row = collations.iter().find(|row| text(row, 0) == column)?;
            optional(row, 1).zip(optional(row, 2))
        };
        let indexes = format!(
            "SELECT INDEX_NAME, COALESCE(COLUMN_NAME, ''), SUB_PART FROM information_schema.STATISTICS WHERE {here} \
             ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        );
        let indexes = conn.rows(&indexes).await.map_err(failed)?;
        let indexes: Vec<IndexPart> =
            indexes.iter().map(|row| (text(row, 0), text(row, 1), optional(row, 2).is_some())).collect();
        let mut key = Vec::new();
        // A NULL is neither above nor below a bound, so such a key cannot be cut.
        if table.key_columns().all(|column| !column.nullable) {
            for column in table.key_columns() {
                let column = KeyColumn::new(column, collation(&column.name));
                key.push(column.map_err(|error| error.context(format!("table {name}")))?);
            }
        }
        Ok(SnapshotTable { name: name.clone(), index: index_hint(table, &indexes), key, lock: "", estimated_rows })
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
