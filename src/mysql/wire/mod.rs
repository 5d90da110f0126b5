//! Our own connection to the source: the client side of MySQL's protocol, as far as is needed by those that read much.
//!
//! Statements elsewhere go through `mysql_async`. Its binlog stream copies every event several times and expands a
//! compressed transaction as a whole, beside every bound on memory, with no way to ask for less; and its rows are a value
//! with memory of its own for each cell. So the binlog and the rows of a copy come over a connection of our own:
//!
//! ```text
//! login     greeting ─▶ [TLS] ─▶ who we are ─▶ plugin's questions and answers
//! channel   bytes of the socket ─▶ packets, joined where they are longer than 16 MB
//! answer    statements and their rows of text, for what is asked in passing
//! prepared  a SELECT's rows as they came, many packets at once
//! row       the values in such a row
//! ```
//! What a replica asks is in [`super::dump`], how tables are read in [`super::snapshot`].
//!
//! Failures are `mysql_async`'s errors, so that what they mean to the job is said at one place for both connections
//! (`connect`, `binlog::stream`). Nothing that the server sends is trusted: lengths are bounded by what has come, and no
//! bytes make the code panic (`fuzz`).

use bytes::Bytes;
use mysql_async::{DriverError, Error, Result, Row};
use mysql_common::proto::MySerialize;
use mysql_common::row::new_row;
use tokio::net::TcpStream;

mod answer;
mod channel;
#[cfg(test)]
mod fuzz;
mod greeting;
mod login;
mod prepared;
mod public_key;
mod row;
mod tls;

use channel::Channel;
pub(super) use login::Login;
pub use prepared::{KeptRow, Page, Selecting};
pub(crate) use row::Cell;
pub use row::{Form, PackedRow};
pub(super) use tls::Check;

use super::connect::Session;

/// A packet longer than this is read into memory of its own.
pub(super) const SLICED: usize = channel::SLICED;

/// Commands' first bytes.
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// First bytes of a server's packets.
pub(super) const OK: u8 = 0;
const MORE: u8 = 1;
pub(super) const END: u8 = 0xfe;
const FAILED: u8 = 0xff;

/// A signed-in connection.
pub struct Connection {
    channel: Channel<TcpStream>,
    id: u32,
    version: (u16, u16, u16),
}

impl Connection {
    /// Connects to the first of the login's addresses that answers, and signs in.
    pub(super) async fn open(login: &Login<'_>) -> Result<Connection> {
        let channel = Channel::new(login.connect().await?);
        let (channel, greeting) = login.sign_in(channel).await?;
        Ok(Connection { channel, id: greeting.connection_id, version: greeting.version })
    }

    /// The server's number for this connection, as in SHOW PROCESSLIST.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Asks for something new.
    pub(super) async fn command(&mut self, command: &impl MySerialize) -> Result<()> {
        self.channel.command(&serialized(command)).await
    }

    /// The next packet of the answer. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// The server's own error where the packet is one.
    pub(super) async fn answer(&mut self) -> Result<Bytes> {
        self.channel.answer().await
    }

    /// The next packet, if it is a short one that begins with [`OK`], as rows and events do, and was read already.
    ///
    /// # Errors
    /// It is out of order.
    pub(super) fn row_ahead(&mut self) -> Result<Option<Bytes>> {
        self.channel.row_ahead()
    }

    /// Begins to read the rows of a SELECT.
    pub async fn select(&mut self, statement: &str) -> Result<Selecting<'_, TcpStream>> {
        Selecting::begin(&mut self.channel, statement).await
    }

    /// Says goodbye, so that the server does not note a client that has gone without a word. What becomes of it changes
    /// nothing.
    pub(crate) async fn quit(mut self) {
        let _ = self.channel.command(&[COM_QUIT]).await;
    }
}

impl Session for Connection {
    async fn rows(&mut self, statement: &str) -> Result<Vec<Row>> {
        self.channel.command(&[&[COM_QUERY], statement.as_bytes()].concat()).await?;
        answer::rows(&mut self.channel).await
    }

    async fn first(&mut self, statement: &str) -> Result<Option<Row>> {
        let mut selecting = self.select(statement).await?;
        let mut first = None;
        while let Some(page) = selecting.next().await? {
            if let (None, Some(row)) = (&first, page.rows().next()) {
                first = Some(row.values().map_err(|_| malformed("a row of an answer cannot be read"))?);
            }
        }
        Ok(first.map(|values| {
            let columns = answer::columns(values.len());
            new_row(values, columns)
        }))
    }

    fn server_version(&self) -> (u16, u16, u16) {
        self.version
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

fn serialized(command: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.serialize(&mut bytes);
    bytes
}

pub(super) fn unexpected(packet: &[u8]) -> Error {
    // Its first bytes are enough for whoever looks into it.
    DriverError::UnexpectedPacket { payload: packet.iter().take(64).copied().collect() }.into()
}

/// The server sent what the protocol does not have.
fn malformed(what: &'static str) -> Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what).into()
}
