//! A statement's answer: OK, or rows of text.
//!
//! ```text
//! OK | number of columns, a packet a column, EOF, a packet a row, EOF
//! ```
//! (We do not ask for CLIENT_DEPRECATE_EOF, so each list ends with an EOF packet.)

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Result, Row, Value};
use mysql_common::row::new_row;
use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::Channel;
use super::{END, OK, malformed, unexpected};

/// Nothing that we ask has more.
const MOST_COLUMNS: u64 = 4096;

pub(super) async fn rows<T: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<T>) -> Result<Vec<Row>> {
    let head = channel.answer().await?;
    if head.first() == Some(&OK) {
        return Ok(Vec::new());
    }
    let columns = columns(count(&head)?);
    while !is_end(&channel.answer().await?) {}
    let mut rows = Vec::new();
    loop {
        let packet = channel.answer().await?;
        if is_end(&packet) {
            return Ok(rows);
        }
        let values = values(&packet, columns.len()).ok_or_else(|| malformed("a row of an answer cannot be read"))?;
        rows.push(new_row(values, Arc::clone(&columns)));
    }
}

/// Of an answer with rows: how many columns they have.
pub(super) fn count(head: &Bytes) -> Result<usize> {
    match length(&mut &head[..]) {
        Some(Some(columns @ 1..=MOST_COLUMNS)) => Ok(columns as usize),
        _ => Err(unexpected(head)),
    }
}

/// Who asks knows the columns; they need to be there, and no more.
pub(super) fn columns(count: usize) -> Arc<[Column]> {
    vec![Column::new(ColumnType::MYSQL_TYPE_VAR_STRING); count].into()
}

pub(super) fn is_end(packet: &Bytes) -> bool {
    packet.first() == Some(&END) && packet.len() < 9
}

fn values(mut packet: &[u8], columns: usize) -> Option<Vec<Value>> {
    let values = (0..columns).map(|_| match length(&mut packet)? {
        None => Some(Value::NULL),
        Some(length) => Some(Value::Bytes(packet.split_off(..usize::try_from(length).ok()?)?.to_vec())),
    });
    let values: Vec<Value> = values.collect::<Option<_>>()?;
    packet.is_empty().then_some(values)
}

/// A length-encoded integer; `Some(None)` is the mark for NULL.
#[inline]
pub(super) fn length(bytes: &mut &[u8]) -> Option<Option<u64>> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    let width = match *first {
        short @ 0..=250 => return Some(Some(short.into())),
        251 => return Some(None),
        252 => 2,
        253 => 3,
        254 => 8,
        255 => return None,
    };
    bytes.try_get_uint_le(width).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_texts_and_nulls_and_nothing_behind() {
        let row = [&b"\x03abc\xfb\0\xfc\x2c\x01"[..], &[b'x'; 300]].concat();
        let read = values(&row, 4).unwrap();
        assert_eq!(read[..3], [Value::Bytes(b"abc".to_vec()), Value::NULL, Value::Bytes(Vec::new())]);
        assert_eq!(read[3], Value::Bytes(vec![b'x'; 300]));
        for columns in [0, 3, 5] {
            assert!(values(&row, columns).is_none());
        }
        assert!(values(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffx", 1).is_none());
    }
}
