//! A SELECT by a prepared statement: its rows come in the binary protocol, so that numbers and dates need no parsing and
//! FLOAT is exact.
//!
//! ```text
//! PREPARE   OK, statement 4, columns 2, parameters 2, … | a packet a column, EOF
//! EXECUTE   number of columns, a packet a column, EOF, a packet a row, EOF
//! ```
//! Rows are not taken apart here. All packets that have come are handed on together, as a *page*: the bytes as they were
//! read from the socket, without a copy. Whoever walks a page's rows meets them in memory that is still in the cache.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use mysql_async::Result;
use mysql_common::constants::ColumnType;
use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::{Channel, HEADER, Packets, payload_length};
use super::row::{Form, PackedRow};
use super::{OK, answer, malformed, unexpected};

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// In a column's flags.
const UNSIGNED: u16 = 32;

/// A SELECT whose rows are being read, by [`Connection::select`](super::Connection::select). When it is dropped before [`Selecting::next`] has said that there are no more, the
/// connection cannot be used again: the rest may still be on its way.
pub struct Selecting<'a, T> {
    channel: &'a mut Channel<T>,
    statement: [u8; 4],
    forms: Arc<[Form]>,
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin> Selecting<'a, T> {
    pub(super) async fn begin(channel: &'a mut Channel<T>, statement: &str) -> Result<Selecting<'a, T>> {
        channel.command(&[&[COM_STMT_PREPARE], statement.as_bytes()].concat()).await?;
        let head = channel.answer().await?;
        let (statement, columns) = match head[..] {
            [OK, a, b, c, d, low, high, 0, 0, ..] => ([a, b, c, d], u16::from_le_bytes([low, high])),
            _ => return Err(unexpected(&head)),
        };
        if columns > 0 {
            while !answer::is_end(&channel.answer().await?) {}
        }
        // No cursor, once.
        let [a, b, c, d] = statement;
        channel.command(&[COM_STMT_EXECUTE, a, b, c, d, 0, 1, 0, 0, 0]).await?;
        let head = channel.answer().await?;
        let count = answer::count(&head)?;
        let mut forms = Vec::with_capacity(count);
        loop {
            let packet = channel.answer().await?;
            if answer::is_end(&packet) {
                break;
            }
            forms.push(form(&packet).ok_or_else(|| malformed("a column of an answer cannot be read"))?);
        }
        if forms.len() != count {
            return Err(malformed("an answer with another number of columns than it tells"));
        }
        Ok(Selecting { channel, statement, forms: forms.into() })
    }

    /// Rows that have come, at least one; `None`: there are no more.
    ///
    /// # Errors
    /// The connection's, and the server's own in the midst of rows.
    pub async fn next(&mut self) -> Result<Option<Page>> {
        if let Some(packets) = self.channel.rows().await? {
            return Ok(Some(Page { forms: Arc::clone(&self.forms), packets }));
        }
        let [a, b, c, d] = self.statement;
        // There is no answer to it.
        self.channel.command(&[COM_STMT_CLOSE, a, b, c, d]).await?;
        Ok(None)
    }
}

/// `catalog, schema, table, its own name, name, its own name | 12 | charset 2 | length 4 | type 1 | flags 2 | …`
fn form(mut packet: &[u8]) -> Option<Form> {
    for _ in 0..6 {
        let text = answer::length(&mut packet)??;
        packet.split_off(..usize::try_from(text).ok()?)?;
    }
    packet.split_off(..7)?;
    let ty = ColumnType::try_from(packet.try_get_u8().ok()?).ok()?;
    let flags = packet.try_get_u16_le().ok()?;
    Some(Form::of(ty, flags & UNSIGNED != 0))
}

/// Rows as they came. It holds on to what was read from the socket.
#[derive(Debug)]
pub struct Page {
    forms: Arc<[Form]>,
    packets: Packets,
}

impl Page {
    /// The number of rows.
    pub fn count(&self) -> usize {
        match &self.packets {
            Packets::Framed { count, .. } => *count,
            Packets::One(_) => 1,
        }
    }

    /// The rows' bytes.
    pub fn size(&self) -> usize {
        match &self.packets {
            Packets::Framed { bytes, .. } | Packets::One(bytes) => bytes.len(),
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = PackedRow<'_>> {
        let (mut framed, one) = match &self.packets {
            Packets::Framed { bytes, .. } => (&bytes[..], None),
            Packets::One(bytes) => (&[][..], Some(&bytes[..])),
        };
        let next = move || {
            let (head, rest) = framed.split_first_chunk::<HEADER>()?;
            let (row, rest) = rest.split_at_checked(payload_length(*head))?;
            framed = rest;
            Some(row)
        };
        one.into_iter().chain(std::iter::from_fn(next)).map(|bytes| PackedRow::new(&self.forms, bytes))
    }

    /// The rows one by one, without a copy; each keeps the whole page's memory.
    pub fn kept_rows(&self) -> impl Iterator<Item = KeptRow> {
        let (Packets::Framed { bytes, .. } | Packets::One(bytes)) = &self.packets;
        self.rows().map(|row| KeptRow { forms: Arc::clone(&self.forms), bytes: bytes.slice_ref(row.bytes()) })
    }
}

/// A row that is kept for later.
#[derive(Debug, Clone)]
pub struct KeptRow {
    forms: Arc<[Form]>,
    bytes: Bytes,
}

impl KeptRow {
    pub fn packed(&self) -> PackedRow<'_> {
        PackedRow::new(&self.forms, &self.bytes)
    }

    /// What it takes in memory.
    pub(crate) fn size(&self) -> usize {
        size_of::<KeptRow>() + self.bytes.len()
    }
}
