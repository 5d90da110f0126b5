//! Reading tables: what `verify` asks of the target. Rows come in the text protocol, as they arrive.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{QueryResult, TextProtocol, Value};
use tokio::time::timeout;

use super::sql::{Session, Sql, lost, told};
use super::{StarRocks, existing};
use crate::config::Address;
use crate::schema::{TableName, TargetTable, TargetType};
use crate::{Error, Result};

/// A column of a table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    /// As the table spells it.
    pub(crate) name: String,
    /// `varchar`, `bigint unsigned`, `array<float>`.
    pub(crate) data_type: String,
    /// `None`: a type that the mapping never gives.
    pub(crate) ty: Option<TargetType>,
}

impl StarRocks {
    /// A connection of its own for reading rows.
    pub(crate) async fn reader(&self) -> Result<RowReader<'_>> {
        let mut session = self.sql.connect().await?;
        // A scan of a large table takes longer than the server's five minutes, and we may read it slowly.
        for statement in ["SET query_timeout = 86400", "SET net_write_timeout = 3600"] {
            let set = session.conn.query_drop(statement).await;
            set.map_err(|error| failed(session.address(), error))?;
        }
        Ok(RowReader { sql: &self.sql, session })
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
    session: Session,
}

impl RowReader<'_> {
    /// Begins a SELECT. The reader must not be used again before all of its rows were taken.
    pub(crate) async fn select(&mut self, statement: &str) -> Result<Selected<'_>> {
        let patience = self.sql.statement_timeout();
        let address = self.session.address().clone();
        let begun = timeout(patience, self.session.conn.query_iter(statement.to_owned())).await;
        let result = begun.map_err(|_| silent(&address, patience))?.map_err(|error| failed(&address, error))?;
        Ok(Selected { address, patience, result })
    }
}

/// The rows of a SELECT, on their way.
pub(crate) struct Selected<'r> {
    address: Address,
    patience: Duration,
    result: QueryResult<'r, 'static, TextProtocol>,
}

impl Selected<'_> {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let row = timeout(self.patience, self.result.next()).await;
        let row =
            row.map_err(|_| silent(&self.address, self.patience))?.map_err(|error| failed(&self.address, error))?;
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

fn failed(address: &Address, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => told(address, &error),
        error => lost(address, error),
    }
}

fn silent(address: &Address, patience: Duration) -> Error {
    Error::transient(format!("{address}: no row within {} s", patience.as_secs())).hint("raise params.soTimeoutSec")
}
