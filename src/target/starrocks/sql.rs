//! Statements over the FEs' MySQL ports, in the text protocol: StarRocks prepares only SELECTs.
//!
//! One connection serves all statements in turn, a few more those that are sent side by side; each is opened again when it is
//! lost. Every statement sent
//! here may run twice without harm, so a connection that died while resting costs one silent second try.
//!
//! Of several FEs the first of the job file that serves is used ([`Addresses`]). Any FE will do: a follower sends what it
//! cannot do itself to the leader. One that is down, or that cannot reach its leader ([`leaderless`]), is left for the next,
//! within the same call. An error that all FEs of the cluster would tell alike (a wrong password, a wrong statement) is told
//! at once.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::addresses::Addresses;
use super::answer::{Again, classify};
use crate::config::{self, Address};
use crate::{Error, Result};

/// `ER_ACCESS_DENIED_ERROR`: the login itself failed.
const ACCESS_DENIED: u16 = 1045;
/// Statements that a caller may send at once; so many connections are kept.
pub(super) const SIDE_BY_SIDE: usize = 4;
/// For a login where there is another FE to go to.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Sql {
    addresses: Addresses,
    /// Without a host.
    opts: OptsBuilder,
    statement_timeout: Duration,
    /// The one that was used last is used next.
    resting: Mutex<Vec<Session>>,
}

/// A connection, and whose it is.
pub(super) struct Session {
    pub(super) conn: Conn,
    address: Address,
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
    /// Usage errors: no address.
    pub(super) fn new(target: &config::Target, statement_timeout: Duration) -> Result<Self> {
        if target.client_addresses.is_empty() {
            return Err(Error::usage("target.clientAddress names no address")
                .hint("give the FE's MySQL port, for example clientAddress: 127.0.0.1:9030"));
        }
        let opts = OptsBuilder::default()
            .user(Some(target.username.clone()))
            .pass(Some(target.password.reveal()))
            .prefer_socket(false)
            .stmt_cache_size(0)
            // Given here, they are not asked of the server at every connect.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800));
        let addresses = Addresses::new(target.client_addresses.clone());
        Ok(Sql { addresses, opts, statement_timeout, resting: Mutex::default() })
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// The FE to speak to now.
    pub(super) fn address(&self) -> &Address {
        self.addresses.current()
    }

    /// Why some of several FEs cannot be logged in to. Nothing of a single one: its first statement tells.
    pub(super) async fn unreachable(&self) -> Vec<Error> {
        let mut unreachable = Vec::new();
        if self.addresses.all().len() == 1 {
            return unreachable;
        }
        for address in self.addresses.all() {
            unreachable.extend(self.open(address).await.err());
        }
        unreachable
    }

    pub(super) async fn run(&self, statement: &str) -> Result<()> {
        self.rows(statement).await.map(drop)
    }

    /// Runs one statement. Transient errors: no connection, a time-out, a busy server; all others are definite.
    pub(super) async fn rows(&self, statement: &str) -> Result<Rows> {
        let rested = self.resting.lock().await.pop();
        if let Some(session) = rested {
            match self.rows_over(session, statement).await {
                Err(Failure::Lost(_) | Failure::Leaderless(_)) => {}
                Err(Failure::Told(error) | Failure::Silent(error)) => return Err(error),
                Ok(rows) => return Ok(rows),
            }
        }
        let mut tried = Vec::new();
        for address in self.addresses.in_order() {
            let session = match self.open(address).await {
                Ok(session) => session,
                Err(error) if error.is_transient() => {
                    tried.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.rows_over(session, statement).await {
                Ok(rows) => return Ok(rows),
                Err(Failure::Told(error) | Failure::Silent(error)) => return Err(error),
                Err(Failure::Lost(error) | Failure::Leaderless(error)) => {
                    self.addresses.failed(address);
                    tried.push(error);
                }
            }
        }
        Err(all_of(tried))
    }

    /// Runs a statement that must not run twice: only over a connection that has just answered.
    pub(super) async fn once(&self, statement: &str) -> Sent {
        let rested = self.resting.lock().await.pop();
        let alive = match rested {
            Some(mut session) => match timeout(self.statement_timeout, session.conn.ping()).await {
                Ok(Ok(())) => Some(session),
                _ => None,
            },
            None => None,
        };
        let session = match alive {
            Some(session) => session,
            None => match self.connect().await {
                Ok(session) => session,
                Err(error) => return Sent::Refused(error),
            },
        };
        match self.rows_over(session, statement).await {
            Ok(_) => Sent::Done,
            Err(Failure::Told(error)) => Sent::Refused(error),
            // The leader may have got it from the follower all the same.
            Err(Failure::Lost(error) | Failure::Silent(error) | Failure::Leaderless(error)) => Sent::Lost(error),
        }
    }

    async fn rows_over(&self, mut session: Session, statement: &str) -> Result<Rows, Failure> {
        let rows = match timeout(self.statement_timeout, read(&mut session.conn, statement)).await {
            Ok(rows) => rows,
            // The connection goes with it: the server may still be at work on the statement.
            Err(_) => {
                self.addresses.failed(&session.address);
                let seconds = self.statement_timeout.as_secs();
                return Err(Failure::Silent(
                    Error::transient(format!("{}: no answer to a statement within {seconds} s", session.address))
                        .hint("raise params.soTimeoutSec"),
                ));
            }
        };
        match rows {
            Ok(rows) => {
                self.addresses.worked(&session.address);
                self.rest(session).await;
                Ok(rows)
            }
            Err(mysql_async::Error::Server(error)) if leaderless(&error.message) => {
                self.addresses.failed(&session.address);
                Err(Failure::Leaderless(told(&session.address, &error)))
            }
            Err(mysql_async::Error::Server(error)) => {
                let told = told(&session.address, &error);
                self.rest(session).await;
                Err(Failure::Told(told))
            }
            Err(error) => Err(Failure::Lost(lost(&session.address, error))),
        }
    }

    async fn rest(&self, session: Session) {
        let mut resting = self.resting.lock().await;
        if resting.len() < SIDE_BY_SIDE {
            resting.push(session);
        }
    }

    /// A new connection, to the first FE that takes one.
    pub(super) async fn connect(&self) -> Result<Session> {
        let mut tried = Vec::new();
        for address in self.addresses.in_order() {
            match self.open(address).await {
                Err(error) if error.is_transient() => tried.push(error),
                opened => return opened,
            }
        }
        Err(all_of(tried))
    }

    async fn open(&self, address: &Address) -> Result<Session> {
        let alone = self.addresses.all().len() == 1;
        let patience = if alone { self.statement_timeout } else { self.statement_timeout.min(LOGIN_TIMEOUT) };
        let opts = self.opts.clone().ip_or_hostname(address.host.clone()).tcp_port(address.port);
        let opened = match timeout(patience, Conn::new(Opts::from(opts))).await {
            Ok(Ok(conn)) => Ok(self.at_the_leader(Session { conn, address: address.clone() }).await),
            Ok(Err(mysql_async::Error::Server(error))) => Err(told(address, &error)),
            Ok(Err(error)) => Err(lost(address, error)),
            Err(_) => Err(Error::transient(format!("cannot log in to {address}: no answer"))
                .hint("is target.clientAddress the FE's MySQL port (9030 by default)?")),
        };
        if opened.as_ref().is_err_and(Error::is_transient) {
            self.addresses.failed(address);
        }
        opened
    }

    /// A follower FE may be behind with what the leader has done for us. Versions before 2.5.20, 3.1.9 and 3.2.4 do not know
    /// the variable.
    async fn at_the_leader(&self, mut session: Session) -> Session {
        // A connection that breaks here is found broken by the statement that it was opened for.
        let forwarded = session.conn.query_drop("SET follower_query_forward_mode = 'leader'");
        let _ = timeout(self.statement_timeout, forwarded).await;
        session
    }
}

impl Session {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

/// What an error that the server has told means.
pub(super) fn told(address: &Address, error: &mysql_async::ServerError) -> Error {
    let text = format!("{address}: {} (error {})", error.message, error.code);
    if error.code == ACCESS_DENIED {
        return Error::definite(text).hint("check target.username and target.password");
    }
    if error.message.to_lowercase().contains("access denied") {
        return Error::definite(text).hint(GRANT_HINT);
    }
    if leaderless(&error.message) {
        return Error::transient(text).hint("this FE cannot reach the leader: SHOW FRONTENDS tells which FE leads");
    }
    match classify(&error.message) {
        Again::Yes | Again::Exhausted(_) => Error::transient(text),
        Again::No | Again::Perhaps => Error::definite(text),
    }
}

/// What a broken connection means.
pub(super) fn lost(address: &Address, error: mysql_async::Error) -> Error {
    let message = format!("cannot speak MySQL's protocol with {address}");
    let lost = match error {
        mysql_async::Error::Io(mysql_async::IoError::Io(cause)) => Error::transient(message).caused_by(cause),
        // Its text holds its causes' texts already.
        other => Error::transient(message).caused_by(other.to_string()),
    };
    lost.hint("is target.clientAddress the FE's MySQL port (9030 by default), and is the FE running?")
}

/// A follower FE passes statements on to its leader over Thrift. When that fails, it answers with the text of the Java
/// exception; `LeaderOpExecutor` and `ThriftRPCRequestExecutor` of StarRocks have these.
fn leaderless(message: &str) -> bool {
    ["java.net.", "Socket is closed by peer", "Call thrift rpc failed", "forward too many times"]
        .iter()
        .any(|words| message.contains(words))
}

/// What every FE said. Not empty.
fn all_of(mut tried: Vec<Error>) -> Error {
    match tried.pop() {
        Some(only) if tried.is_empty() => only,
        Some(last) => {
            tried.push(last);
            let list: String = tried.iter().map(|error| format!("\n- {error}")).collect();
            Error::transient(format!("none of the {} FEs of target.clientAddress serves:{list}", tried.len()))
        }
        None => Error::definite("target.clientAddress names no address"),
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
    /// The server cannot reach the one that leads; the statement may have got there.
    Leaderless(Error),
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
pub(crate) fn quote_text(text: &str) -> String {
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
