//! The SQLite file under the embedded server: one writer, a few readers, and the rows of every table.
//!
//! The rows of table id N live in SQLite table `t<N>`, whose columns carry the table's column names; a rename
//! of the table does not touch them. A commit is on disk before `write` returns (WAL, `synchronous=FULL`), so
//! a kill loses nothing that was acknowledged. Readers work on the last committed state and never wait for the
//! writer.
//!
//! How values are kept: integers up to BIGINT and BOOLEAN as INTEGER; LARGEINT and DECIMAL as canonical TEXT
//! (exactly `scale` digits, no leading zeros) under the collation `numeric_text`, which compares by value;
//! FLOAT and DOUBLE as REAL; DATE `YYYY-MM-DD`, DATETIME `YYYY-MM-DD HH:MM:SS[.ffffff]` (a fraction only when
//! it is not zero), CHAR, VARCHAR, JSON and ARRAY as TEXT; VARBINARY as BLOB.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::catalog::{DefaultValue, Model, TableDef};
use crate::{Error, Result};

pub(crate) struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

/// Readers kept open between queries.
const IDLE_READERS: usize = 8;

impl Store {
    /// Opens or creates `dir/embedded.sqlite`.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file is no database or in use by another server.
    pub(crate) fn open(dir: &Path) -> Result<Store> {
        std::fs::create_dir_all(dir).map_err(|error| {
            Error::definite(format!("cannot create the data folder {}", dir.display())).caused_by(error)
        })?;
        let path = dir.join("embedded.sqlite");
        let writer = connect(&path)?;
        writer.pragma_update(None, "cache_size", -32_768)?;
        Ok(Store { path, writer: Mutex::new(writer), readers: Mutex::new(Vec::new()) })
    }

    /// Runs `work` in the one write transaction there can be; an error rolls back.
    pub(crate) fn write<T, E: From<Error>>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        self.write_then(work, |value| value)
    }

    /// Like [`Store::write`]; `then` runs after the commit, before the next writer can start. Caches follow here.
    pub(crate) fn write_then<T, U, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
        then: impl FnOnce(T) -> U,
    ) -> Result<U, E> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let value = work(&tx)?;
        tx.commit().map_err(Error::from)?;
        Ok(then(value))
    }

    /// Runs `work` on a connection for reading; it sees what was committed when its first statement starts.
    pub(crate) fn read<T, E: From<Error>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.path)?;
                connection.pragma_update(None, "temp_store", "MEMORY").map_err(Error::from)?;
                connection
            }
        };
        let result = work(&connection);
        if connection.is_autocommit() {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < IDLE_READERS {
                readers.push(connection);
            }
        }
        result
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(256);
    connection.create_collation("numeric_text", compare_numbers)?;
    super::sql::register(&connection)?;
    Ok(connection)
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let busy = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy);
        if busy { Error::transient("the store is busy") } else { Error::definite("the store failed") }.caused_by(error)
    }
}

/// Compares two plain decimal texts (`-12.50`) by value; text that is no number sorts after, by bytes.
pub(crate) fn compare_numbers(left: &str, right: &str) -> Ordering {
    match (split_number(left), split_number(right)) {
        (Some(left), Some(right)) => {
            let magnitude = |a: (bool, &[u8], &[u8]), b: (bool, &[u8], &[u8])| {
                a.1.len().cmp(&b.1.len()).then_with(|| a.1.cmp(b.1)).then_with(|| a.2.cmp(b.2))
            };
            match (left.0, right.0) {
                (false, false) => magnitude(left, right),
                (true, true) => magnitude(right, left),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
            }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.as_bytes().cmp(right.as_bytes()),
    }
}

/// Sign, whole digits without leading zeros, fraction without trailing zeros. Zero is never negative.
fn split_number(text: &str) -> Option<(bool, &[u8], &[u8])> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let point = memchr::memchr(b'.', digits);
    let (mut whole, mut fraction) = match point {
        Some(at) => (digits.get(..at)?, digits.get(at + 1..)?),
        None => (digits, &digits[..0]),
    };
    if (whole.is_empty() && fraction.is_empty())
        || !whole.iter().all(u8::is_ascii_digit)
        || !fraction.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    while let [b'0', rest @ ..] = whole {
        whole = rest;
    }
    while let [rest @ .., b'0'] = fraction {
        fraction = rest;
    }
    Some((negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction))
}

/// `"name"`, for a name from anywhere.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, for a text from anywhere.
pub(crate) fn quote_text(text: &str) -> String {
    // SQLite's literals end at a NUL, so such a text goes by its bytes.
    if text.contains('\0') {
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        return format!("CAST(X'{hex}' AS TEXT)");
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// The SQLite table that holds the table's rows.
pub(crate) fn storage_name(table: &TableDef) -> String {
    format!("t{}", table.id)
}

/// Creates the SQLite table `name` for the table's rows.
pub(crate) fn create_storage(tx: &Transaction<'_>, table: &TableDef, name: &str) -> Result<()> {
    let mut parts = Vec::with_capacity(table.columns.len() + 1);
    for column in &table.columns {
        let default = match &column.default {
            Some(DefaultValue::Literal(text)) => format!(" DEFAULT {}", quote_text(text)),
            Some(DefaultValue::CurrentTimestamp) => " DEFAULT CURRENT_TIMESTAMP".to_owned(),
            None => String::new(),
        };
        let null = if column.nullable { "" } else { " NOT NULL" };
        parts.push(format!("{} {}{null}{default}", quote(&column.name), column.ty.storage()));
    }
    let keyed = table.model != Model::Duplicate;
    if keyed {
        let keys: Vec<String> = table.keys().iter().map(|column| quote(&column.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    let without_rowid = if keyed { " WITHOUT ROWID" } else { "" };
    tx.execute_batch(&format!("CREATE TABLE {} ({}){without_rowid}", quote(name), parts.join(", ")))?;
    Ok(())
}

/// Writes rows, each holding canonical values in the order of `columns`. On a keyed table a row whose key is
/// there is replaced; columns that are not listed get their default, or stay as they are with `partial`.
/// Returns the number of rows.
///
/// # Errors
/// A name that is not in the table, NULL in a NOT NULL column, the disk.
pub(crate) fn upsert_rows<R: AsRef<[Value]>>(
    tx: &Transaction<'_>,
    table: &TableDef,
    columns: &[&str],
    partial: bool,
    rows: impl IntoIterator<Item = R>,
) -> Result<u64> {
    let names: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let mut sql = format!("INSERT INTO {} ({}) VALUES ({marks})", storage_name(table), names.join(", "));
    if table.model != Model::Duplicate {
        let keys: Vec<String> = table.keys().iter().map(|column| quote(&column.name)).collect();
        let sets: Vec<String> = table
            .values()
            .iter()
            .filter(|column| !partial || columns.iter().any(|name| column.is_named(name)))
            .map(|column| format!("{0} = excluded.{0}", quote(&column.name)))
            .collect();
        let action = if sets.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", sets.join(", ")) };
        sql.push_str(&format!(" ON CONFLICT ({}) DO {action}", keys.join(", ")));
    }
    run_each(tx, &sql, columns.len(), rows)
}

fn run_each<R: AsRef<[Value]>>(
    tx: &Transaction<'_>,
    sql: &str,
    width: usize,
    rows: impl IntoIterator<Item = R>,
) -> Result<u64> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut count = 0;
    for row in rows {
        let cells = row.as_ref();
        if cells.len() != width {
            return Err(Error::definite(format!("a row has {} values for {width} columns", cells.len())));
        }
        for (index, cell) in cells.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, cell)?;
        }
        statement.raw_execute()?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value_not_by_text() {
        let mut texts = vec!["10", "9", "-1.50", "-10", "0.00", "100000000000000000000", "-0.5", "1.25", "1.3"];
        texts.sort_by(|a, b| compare_numbers(a, b));
        assert_eq!(texts, ["-10", "-1.50", "-0.5", "0.00", "1.25", "1.3", "9", "10", "100000000000000000000"]);
        assert_eq!(compare_numbers("-0.0", "0"), Ordering::Equal);
        assert_eq!(compare_numbers("1.50", "01.5"), Ordering::Equal);
    }

    #[test]
    fn text_with_a_nul_survives_quoting() {
        let connection = Connection::open_in_memory().unwrap();
        let text: String =
            connection.query_row(&format!("SELECT {}", quote_text("a\0'b")), [], |row| row.get(0)).unwrap();
        assert_eq!(text, "a\0'b");
    }
}
