//! Statements over either of the two kinds of connection.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Result, Row};

/// A connection to the source that takes statements.
pub trait Session: Send {
    /// All rows of a statement's answer; none where it has none. The values are texts or NULL.
    fn rows(&mut self, statement: &str) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// The first row of a SELECT, each value in its own type; `None` where there is no row.
    fn first(&mut self, statement: &str) -> impl Future<Output = Result<Option<Row>>> + Send;

    /// `(10, 11, 19)`
    fn server_version(&self) -> (u16, u16, u16);
}

impl Session for Conn {
    async fn rows(&mut self, statement: &str) -> Result<Vec<Row>> {
        self.query(statement).await
    }

    async fn first(&mut self, statement: &str) -> Result<Option<Row>> {
        let prepared = self.prep(statement).await?;
        let row = self.exec_first(&prepared, ()).await?;
        self.close(prepared).await?;
        Ok(row)
    }

    fn server_version(&self) -> (u16, u16, u16) {
        Conn::server_version(self)
    }
}
