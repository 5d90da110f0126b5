//! What a statement answers: OK, rows, or an error with its MySQL code.

use opensrv_mysql::ErrorKind;

use super::query::Kind;
use crate::Error;

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqlError {
    pub(super) code: ErrorKind,
    pub(super) message: String,
}

pub(super) type SqlResult<T> = Result<T, SqlError>;

impl SqlError {
    pub(super) fn new(code: ErrorKind, message: impl Into<String>) -> SqlError {
        SqlError { code, message: message.into() }
    }

    /// What the statement means is wrong: the most common kind.
    pub(super) fn analyzing(detail: impl AsRef<str>) -> SqlError {
        let detail = detail.as_ref().trim_end_matches('.');
        SqlError::new(ErrorKind::ER_PARSE_ERROR, format!("Getting analyzing error. Detail message: {detail}."))
    }

    /// The statement cannot be read.
    pub(super) fn syntax(line: u64, column: u64, detail: impl AsRef<str>) -> SqlError {
        let detail = detail.as_ref().trim_end_matches('.');
        SqlError::new(
            ErrorKind::ER_PARSE_ERROR,
            format!("Getting syntax error at line {line}, column {column}. Detail message: {detail}."),
        )
    }

    /// DDL that cannot be done in the present state.
    pub(super) fn ddl(message: impl Into<String>) -> SqlError {
        SqlError::new(ErrorKind::ER_PARSE_ERROR, message)
    }

    pub(super) fn unknown_database(name: &str) -> SqlError {
        SqlError::new(ErrorKind::ER_BAD_DB_ERROR, format!("Unknown database '{name}'"))
    }

    pub(super) fn no_database() -> SqlError {
        SqlError::new(ErrorKind::ER_NO_DB_ERROR, "No database selected")
    }

    pub(super) fn unknown_table(database: &str, table: &str) -> SqlError {
        SqlError::new(
            ErrorKind::ER_BAD_TABLE_ERROR,
            format!("Getting analyzing error. Detail message: Unknown table '{database}.{table}'."),
        )
    }

    pub(super) fn unknown_column(name: &str) -> SqlError {
        SqlError::new(
            ErrorKind::ER_BAD_FIELD_ERROR,
            format!("Getting analyzing error. Detail message: Column '{name}' cannot be resolved."),
        )
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        SqlError::new(ErrorKind::ER_UNKNOWN_ERROR, error.to_string())
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => SqlError::new(ErrorKind::ER_UNKNOWN_ERROR, message),
            other => Error::from(other).into(),
        }
    }
}

/// One cell in the text protocol; `None` is NULL.
pub(super) type Cell = Option<Vec<u8>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputColumn {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Parts of an answer in the order they are sent: `Done`, `Failed`, or `Columns`, `Rows`…, end.
#[derive(Debug)]
pub(super) enum Part {
    Done {
        affected: u64,
    },
    Columns(Vec<OutputColumn>),
    Rows(Vec<Vec<Cell>>),
    Failed(SqlError),
    /// The connection ends in place of the answer.
    Cut,
}
