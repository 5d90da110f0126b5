//! What a replica asks of its source: COM_REGISTER_SLAVE, COM_BINLOG_DUMP[_GTID], then a packet an event.

use bytes::{Buf as _, Bytes};
use mysql_async::Result;
use mysql_common::packets::ComRegisterSlave;
use mysql_common::packets::binlog_request::BinlogRequest;

use super::wire::{Connection, END, OK, unexpected};

impl Connection {
    /// Shows us among the server's replicas.
    pub(super) async fn register(&mut self, server_id: u32, host: &str) -> Result<()> {
        self.command(&ComRegisterSlave::new(server_id).with_hostname(host.as_bytes())).await?;
        let answer = self.answer().await?;
        if answer.first() == Some(&OK) { Ok(()) } else { Err(unexpected(&answer)) }
    }

    /// Asks for the binlog. From now on there are only events.
    pub(super) async fn dump(&mut self, request: &BinlogRequest<'_>) -> Result<()> {
        self.command(&request.as_cmd()).await
    }

    /// The next event, if it has come as a whole and was read already.
    pub(super) fn event_ahead(&mut self) -> Result<Option<Bytes>> {
        let packet = self.row_ahead()?;
        Ok(packet.map(|mut packet| {
            packet.advance(1);
            packet
        }))
    }

    /// The next event with its header and its checksum; `None` at the end of a dump that was asked to end. A call that is
    /// dropped loses nothing.
    pub(super) async fn event(&mut self) -> Result<Option<Bytes>> {
        let mut packet = self.answer().await?;
        match packet.first() {
            Some(&OK) => {
                packet.advance(1);
                Ok(Some(packet))
            }
            Some(&END) if packet.len() < 9 => Ok(None),
            _ => Err(unexpected(&packet)),
        }
    }
}
