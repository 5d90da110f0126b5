//! Our own connection for the binlog: the client side of MySQL's protocol, as far as a replica needs it.
//!
//! Statements elsewhere go through `mysql_async`. Its binlog stream copies every event several times and expands a
//! compressed transaction as a whole, beside every bound on memory, with no way to ask for less; so the binlog has a
//! connection of its own:
//!
//! ```text
//! login     greeting ─▶ [TLS] ─▶ who we are ─▶ plugin's questions and answers
//! channel   bytes of the socket ─▶ packets, joined where they are longer than 16 MB
//! answer    statements and their rows (which server is it, has it what the job needs)
//! mod       COM_REGISTER_SLAVE, COM_BINLOG_DUMP[_GTID], then a packet an event
//! ```
//!
//! Failures are `mysql_async`'s errors, so that what they mean to the job is said at one place for both connections
//! (`connect`, `binlog::stream`). Nothing that the server sends is trusted: lengths are bounded by what has come, and no
//! bytes make the code panic (`fuzz`).

use bytes::Bytes;
use mysql_async::{DriverError, Error, Result, Row};
use mysql_common::packets::ComRegisterSlave;
use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::proto::MySerialize;
use tokio::net::TcpStream;

mod answer;
mod channel;
#[cfg(test)]
mod fuzz;
mod greeting;
mod login;
mod public_key;
mod tls;

use channel::Channel;
pub(super) use login::Login;
pub(super) use tls::Check;

use super::connect::Session;

/// Commands' first bytes.
const COM_QUERY: u8 = 3;

/// First bytes of a server's packets.
const OK: u8 = 0;
const MORE: u8 = 1;
const END: u8 = 0xfe;
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

    /// Shows us among the server's replicas.
    pub(super) async fn register(&mut self, server_id: u32, host: &str) -> Result<()> {
        let command = ComRegisterSlave::new(server_id).with_hostname(host.as_bytes());
        self.channel.command(&serialized(&command)).await?;
        let answer = self.channel.answer().await?;
        if answer.first() == Some(&OK) { Ok(()) } else { Err(unexpected(&answer)) }
    }

    /// Asks for the binlog. From now on there are only events.
    pub(super) async fn dump(&mut self, request: &BinlogRequest<'_>) -> Result<()> {
        self.channel.command(&serialized(&request.as_cmd())).await
    }

    /// The next event with its header and its checksum; `None` at the end of a dump that was asked to end. A call that is
    /// dropped loses nothing.
    pub(super) async fn event(&mut self) -> Result<Option<Bytes>> {
        let mut packet = self.channel.answer().await?;
        match packet.first() {
            Some(&OK) => Ok(Some(packet.split_off(1))),
            Some(&END) if packet.len() < 9 => Ok(None),
            _ => Err(unexpected(&packet)),
        }
    }
}

impl Session for Connection {
    async fn rows(&mut self, statement: &str) -> Result<Vec<Row>> {
        let mut command = vec![COM_QUERY];
        command.extend_from_slice(statement.as_bytes());
        self.channel.command(&command).await?;
        answer::rows(&mut self.channel).await
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

fn unexpected(packet: &[u8]) -> Error {
    // Its first bytes are enough for whoever looks into it.
    DriverError::UnexpectedPacket { payload: packet.iter().take(64).copied().collect() }.into()
}

/// The server sent what the protocol does not have.
fn malformed(what: &'static str) -> Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what).into()
}
