//! Statements over the FE's MySQL port, in the text protocol: StarRocks prepares only SELECTs.
//!
//! One connection serves all statements in turn and is opened again when it is lost. Every statement sent
//! here may run twice without harm, so a connection that died while resting costs one silent second try.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::answer::{Again, classify};
use crate::config::{self, Address};
use crate::{Error, Result};

/// `ER_ACCESS_DENIED_ERROR`: the login itself failed.
const ACCESS_DENIED: u16 = 1045;

pub(super) struct Sql {
    address: Address,
    opts: Opts,
    statement_timeout: Duration,
    resting: Mutex<Option<Conn>>,
}

/// A result set as text.
#[derive(Debug, Default)]
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RowText<'_>> {
        self.rows.iter().map(|cells| RowText { columns: &self.columns, cells })
    }

    /// The first cell of the first row.
    pub(super) fn single(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RowText<'a> {
    columns: &'a [String],
    cells: &'a [Option<String>],
}

impl<'a> RowText<'a> {
    /// The cell under that heading, whatever its case; `None` for NULL and for no such column.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let index = self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        self.cells.get(index)?.as_deref()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &'a str> {
        self.cells.iter().filter_map(Option::as_deref)
    }
}

impl Sql {
    pub(super) fn new(target: &config::Target, statement_timeout: Duration) -> Self {
        let opts = OptsBuilder::default()
            .ip_or_hostname(target.client_address.host.clone())
            .tcp_port(target.client_address.port)
            .user(Some(target.username.clone()))
            .pass(Some(target.password.reveal()))
            .prefer_socket(false)
            .stmt_cache_size(0)
            // Given here, they are not asked of the server at every connect.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800));
        Sql { address: target.client_address.clone(), opts: opts.into(), statement_timeout, resting: Mutex::new(None) }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn run(&self, statement: &str) -> Result<()> {
        self.rows(statement).await.map(drop)
    }

    /// Runs one statement. Transient errors: no connection, a time-out, a busy server; all others are definite.
    pub(super) async fn rows(&self, statement: &str) -> Result<Rows> {
        let rested = self.resting.lock().await.take();
        if let Some(conn) = rested {
            match self.rows_over(conn, statement).await {
                Err(Failure::Lost(_)) => {}
                Err(Failure::Told(error) | Failure::Silent(error)) => return Err(error),
                Ok(rows) => return Ok(rows),
            }
        }
        let conn = self.connect().await?;
        self.rows_over(conn, statement).await.map_err(|failure| match failure {
            Failure::Lost(error) | Failure::Told(error) | Failure::Silent(error) => error,
        })
    }

    /// Runs a statement that must not run twice: only over a connection that has just answered.
    pub(super) async fn once(&self, statement: &str) -> Sent {
        let rested = self.resting.lock().await.take();
        let alive = match rested {
            Some(mut conn) => match timeout(self.statement_timeout, conn.ping()).await {
                Ok(Ok(())) => Some(conn),
                _ => None,
            },
            None => None,
        };
        let conn = match alive {
            Some(conn) => conn,
            None => match self.connect().await {
                Ok(conn) => conn,
                Err(error) => return Sent::Refused(error),
            },
        };
        match self.rows_over(conn, statement).await {
            Ok(_) => Sent::Done,
            Err(Failure::Told(error)) => Sent::Refused(error),
            Err(Failure::Lost(error) | Failure::Silent(error)) => Sent::Lost(error),
        }
    }

    async fn rows_over(&self, mut conn: Conn, statement: &str) -> Result<Rows, Failure> {
        let rows = match timeout(self.statement_timeout, read(&mut conn, statement)).await {
            Ok(rows) => rows,
            // The connection goes with it: the server may still be at work on the statement.
            Err(_) => {
                let seconds = self.statement_timeout.as_secs();
                return Err(Failure::Silent(
                    Error::transient(format!("{}: no answer to a statement within {seconds} s", self.address))
                        .hint("raise params.soTimeoutSec"),
                ));
            }
        };
        match rows {
            Ok(rows) => {
                *self.resting.lock().await = Some(conn);
                Ok(rows)
            }
            Err(mysql_async::Error::Server(error)) => {
                *self.resting.lock().await = Some(conn);
                Err(Failure::Told(self.told(&error)))
            }
            Err(error) => Err(Failure::Lost(self.lost(error))),
        }
    }

    async fn connect(&self) -> Result<Conn> {
        match timeout(self.statement_timeout, Conn::new(self.opts.clone())).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(mysql_async::Error::Server(error))) => Err(self.told(&error)),
            Ok(Err(error)) => Err(self.lost(error)),
            Err(_) => Err(Error::transient(format!("cannot log in to {}: no answer", self.address))
                .hint("is target.clientAddress the FE's MySQL port (9030 by default)?")),
        }
    }

    fn told(&self, error: &mysql_async::ServerError) -> Error {
        let text = format!("{}: {} (error {})", self.address, error.message, error.code);
        if error.code == ACCESS_DENIED {
            return Error::definite(text).hint("check target.username and target.password");
        }
        if error.message.to_lowercase().contains("access denied") {
            return Error::definite(text).hint(GRANT_HINT);
        }
        match classify(&error.message) {
            Again::Yes | Again::Exhausted(_) => Error::transient(text),
            Again::No | Again::Perhaps => Error::definite(text),
        }
    }

    fn lost(&self, error: mysql_async::Error) -> Error {
        let message = format!("cannot speak MySQL's protocol with {}", self.address);
        let lost = match error {
            mysql_async::Error::Io(mysql_async::IoError::Io(cause)) => Error::transient(message).caused_by(cause),
            // Its text holds its causes' texts already.
            other => Error::transient(message).caused_by(other.to_string()),
        };
        lost.hint("is target.clientAddress the FE's MySQL port (9030 by default), and is the FE running?")
    }
}

pub(super) const GRANT_HINT: &str = "grant the user SELECT, INSERT and ALTER on the tables, and CREATE TABLE on the \
     database (CREATE DATABASE on the catalog if the database is not there yet)";

pub(super) const DROP_HINT: &str = "grant the user DROP on the tables, or drop the table yourself";

/// What became of a statement.
pub(super) enum Sent {
    Done,
    /// It was not carried out.
    Refused(Error),
    /// Nobody knows, so far.
    Lost(Error),
}

enum Failure {
    /// The connection broke.
    Lost(Error),
    /// The server said no.
    Told(Error),
    /// It took too long.
    Silent(Error),
}

async fn read(conn: &mut Conn, statement: &str) -> mysql_async::Result<Rows> {
    let mut result = conn.query_iter(statement).await?;
    let columns: Vec<String> = result.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let rows: Vec<mysql_async::Row> = result.collect().await?;
    result.drop_result().await?;
    let rows =
        rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(|value| value.and_then(text)).collect()).collect();
    Ok(Rows { columns, rows })
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // The text protocol has no other kinds.
        other => Some(other.as_sql(true)),
    }
}

/// A string constant by StarRocks' rules, which are MySQL's: backslash escapes.
pub(super) fn quote_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for char in text.chars() {
        match char {
            '\'' => quoted.push_str("\\'"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}
