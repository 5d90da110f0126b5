//! Reading tables: what `verify` asks of the target. Rows come in the text protocol, as they arrive.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, QueryResult, TextProtocol, Value};
use tokio::time::timeout;

use super::sql::Sql;
use super::{StarRocks, existing};
use crate::schema::{TableName, TargetTable};
use crate::{Error, Result};

/// A column of a table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    /// As the table spells it.
    pub(crate) name: String,
    /// `varchar`, `bigint unsigned`, `array<float>`.
    pub(crate) data_type: String,
}

impl StarRocks {
    /// A connection of its own for reading rows.
    pub(crate) async fn reader(&self) -> Result<RowReader<'_>> {
        let mut conn = self.sql.connect().await?;
        // A scan of a large table takes longer than the server's five minutes, and we may read it slowly.
        for statement in ["SET query_timeout = 86400", "SET net_write_timeout = 3600"] {
            let set = conn.query_drop(statement).await;
            set.map_err(|error| failed(&self.sql, error))?;
        }
        Ok(RowReader { sql: &self.sql, conn })
    }

    /// The table's columns; none when it is not there.
    pub(crate) async fn stored_columns(&self, table: &TableName) -> Result<Vec<StoredColumn>> {
        Ok(existing::stored(&existing::read(&self.sql, table).await?))
    }

    /// Why the table that is there cannot take every value of `table`, each reason with the statement that mends it.
    /// `None`: there is no such table.
    pub(crate) async fn schema_differences(&self, table: &TargetTable) -> Result<Option<Vec<String>>> {
        let existing = existing::read(&self.sql, &table.name).await?;
        Ok((!existing.is_empty()).then(|| existing::differences(table, &existing)))
    }
}

pub(crate) struct RowReader<'a> {
    sql: &'a Sql,
    conn: Conn,
}

impl RowReader<'_> {
    /// Begins a SELECT. The reader must not be used again before all of its rows were taken.
    pub(crate) async fn select(&mut self, statement: &str) -> Result<Selected<'_>> {
        let sql = self.sql;
        let begun = timeout(sql.statement_timeout(), self.conn.query_iter(statement.to_owned())).await;
        let result = begun.map_err(|_| silent(sql))?.map_err(|error| failed(sql, error))?;
        Ok(Selected { sql, result })
    }
}

/// The rows of a SELECT, on their way.
pub(crate) struct Selected<'r> {
    sql: &'r Sql,
    result: QueryResult<'r, 'static, TextProtocol>,
}

impl Selected<'_> {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let row = timeout(self.sql.statement_timeout(), self.result.next()).await;
        let row = row.map_err(|_| silent(self.sql))?.map_err(|error| failed(self.sql, error))?;
        Ok(row.map(|row| row.unwrap_raw().into_iter().map(bytes).collect()))
    }
}

fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol has no other kinds.
        other => Some(other.as_sql(true).into_bytes()),
    }
}

fn failed(sql: &Sql, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => sql.told(&error),
        error => sql.lost(error),
    }
}

fn silent(sql: &Sql) -> Error {
    let seconds = sql.statement_timeout().as_secs();
    Error::transient(format!("{}: no row within {seconds} s", sql.address())).hint("raise params.soTimeoutSec")
}
