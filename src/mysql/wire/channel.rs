//! Packets over a socket.
//!
//! ```text
//! packet   length 3 | sequence 1 | payload        a payload of 0xffffff bytes goes on in the next packet
//! ```
//!
//! Bytes are read ahead into one buffer, and a packet that lies in it as a whole is handed out as a slice of it, without
//! a copy. The buffer is used again as soon as no slice of it is left, so whoever keeps a packet should copy a small one
//! rather than hold the buffer. A longer packet is read straight into memory of its own.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use mysql_async::{DriverError, Error, Result, ServerError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{END, FAILED, OK};

pub(super) const HEADER: usize = 4;
/// The length that says that the payload goes on.
const PART: usize = 0xff_ffff;
/// At least so much is asked for in one read.
const READ_AHEAD: usize = 128 << 10;
/// Packets up to this size are slices of the read-ahead.
pub(super) const SLICED: usize = 32 << 10;
/// The protocol's own limit of a joined payload, and a little, for the byte before an event.
const LONGEST: usize = (1 << 30) + 1024;

pub(super) struct Channel<T> {
    socket: Socket<T>,
    ahead: BytesMut,
    /// A packet with memory of its own, as far as it has come.
    long: Option<Long>,
    /// The number that the next packet must have.
    sequence: u8,
}

/// Packets that were taken together.
#[derive(Debug)]
pub(super) enum Packets {
    /// One behind the other, each with its header.
    Framed { bytes: Bytes, count: usize },
    /// A payload alone.
    One(Bytes),
}

struct Long {
    bytes: BytesMut,
    /// Bytes of the present part that are still to come.
    missing: usize,
    /// Another part follows.
    more: bool,
}

pub(super) enum Socket<T> {
    Plain(T),
    Tls(Box<TlsStream<T>>),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    pub(super) fn new(socket: T) -> Channel<T> {
        Channel { socket: Socket::Plain(socket), ahead: BytesMut::new(), long: None, sequence: 0 }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    /// Goes on over TLS.
    pub(super) async fn secure(self, connector: &TlsConnector, name: ServerName<'static>) -> Result<Channel<T>> {
        if !self.ahead.is_empty() {
            // Somebody on the way put them there; they must not count as the server's once the line is safe.
            return Err(super::malformed("the server sent more before TLS than it may"));
        }
        let Socket::Plain(socket) = self.socket else { return Ok(self) };
        let tls = connector.connect(name, socket).await?;
        Ok(Channel { socket: Socket::Tls(Box::new(tls)), ..self })
    }

    /// Sends a packet of what is going on.
    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() >= PART {
            return Err(DriverError::PacketTooLarge.into());
        }
        let mut packet = Vec::with_capacity(HEADER + payload.len());
        packet.put_uint_le(payload.len() as u64, 3);
        packet.push(self.sequence);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.write_all(&packet).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// Sends a packet that begins something new.
    pub(super) async fn command(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence = 0;
        self.write(payload).await
    }

    /// The next packet, which may be empty.
    ///
    /// # Errors
    /// The server's own error where the packet is one. A call that is dropped loses nothing.
    pub(super) async fn answer(&mut self) -> Result<Bytes> {
        let packet = loop {
            if let Some(packet) = self.whole()? {
                break packet;
            }
            self.fill().await?;
        };
        if packet.first() == Some(&FAILED) { Err(server_error(&packet)) } else { Ok(packet) }
    }

    /// Packets of rows that have come, at least one; `None` at the end of them. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// As those of [`Channel::answer`].
    pub(super) async fn rows(&mut self) -> Result<Option<Packets>> {
        loop {
            if self.long.is_none()
                && let Some(packets) = self.framed_rows()?
            {
                return Ok(Some(packets));
            }
            let Some(packet) = self.whole()? else {
                self.fill().await?;
                continue;
            };
            return match packet.first() {
                Some(&OK) => Ok(Some(Packets::One(packet))),
                Some(&END) if packet.len() < 9 => Ok(None),
                Some(&FAILED) => Err(server_error(&packet)),
                _ => Err(super::unexpected(&packet)),
            };
        }
    }

    /// The next packet, if it lies in the read-ahead as a whole and begins with [`OK`].
    ///
    /// # Errors
    /// It is out of order.
    pub(super) fn row_ahead(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.length().filter(|length| self.long.is_none() && *length <= SLICED) else {
            return Ok(None);
        };
        if self.ahead.len() < HEADER + length || self.ahead[HEADER..HEADER + length].first() != Some(&OK) {
            return Ok(None);
        }
        self.header()?;
        Ok(Some(self.ahead.split_to(length).freeze()))
    }

    /// All rows that lie in the read-ahead as a whole, up to the first that is a long one.
    fn framed_rows(&mut self) -> Result<Option<Packets>> {
        let (mut end, mut count) = (0, 0);
        while let Some(head) = self.ahead[end..].first_chunk::<HEADER>() {
            let length = payload_length(*head);
            let behind = end + HEADER + length;
            if length > SLICED || self.ahead.len() < behind || self.ahead[end + HEADER..behind].first() != Some(&OK) {
                break;
            }
            if head[3] != self.sequence {
                return Err(DriverError::PacketOutOfOrder.into());
            }
            self.sequence = self.sequence.wrapping_add(1);
            (end, count) = (behind, count + 1);
        }
        Ok((count > 0).then(|| Packets::Framed { bytes: self.ahead.split_to(end).freeze(), count }))
    }

    /// The next packet, if all of it has come.
    fn whole(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(long) = &mut self.long {
                let here = long.missing.min(self.ahead.len());
                long.bytes.extend_from_slice(&self.ahead[..here]);
                self.ahead.advance(here);
                long.missing -= here;
                if long.missing > 0 {
                    return Ok(None);
                }
                if !long.more {
                    return Ok(self.long.take().map(|long| long.bytes.freeze()));
                }
                let Some(length) = self.header()? else { return Ok(None) };
                if let Some(long) = &mut self.long {
                    if long.bytes.len() + length > LONGEST {
                        return Err(DriverError::PacketTooLarge.into());
                    }
                    long.bytes.reserve(length);
                    (long.missing, long.more) = (length, length == PART);
                }
                continue;
            }
            let Some(length) = self.length() else { return Ok(None) };
            if length > SLICED {
                self.header()?;
                self.long =
                    Some(Long { bytes: BytesMut::with_capacity(length), missing: length, more: length == PART });
            } else if self.ahead.len() < HEADER + length {
                return Ok(None);
            } else {
                self.header()?;
                return Ok(Some(self.ahead.split_to(length).freeze()));
            }
        }
    }

    /// The length that the next header tells.
    fn length(&self) -> Option<usize> {
        self.ahead.first_chunk::<HEADER>().map(|head| payload_length(*head))
    }

    /// Takes the next header.
    fn header(&mut self) -> Result<Option<usize>> {
        let Some(length) = self.length() else { return Ok(None) };
        if self.ahead[3] != self.sequence {
            return Err(DriverError::PacketOutOfOrder.into());
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.ahead.advance(HEADER);
        Ok(Some(length))
    }

    async fn fill(&mut self) -> Result<()> {
        let read = match &mut self.long {
            Some(long) if long.missing > 0 => self
                .socket
                .read_buf(&mut (&mut long.bytes).limit(long.missing))
                .await
                .inspect(|read| long.missing -= read)?,
            _ => {
                if self.ahead.capacity() - self.ahead.len() < READ_AHEAD / 2 {
                    self.ahead.reserve(READ_AHEAD);
                }
                self.socket.read_buf(&mut self.ahead).await?
            }
        };
        if read == 0 {
            let closed = IoError::new(ErrorKind::UnexpectedEof, "the server closed the connection");
            return Err(closed.into());
        }
        Ok(())
    }
}

pub(super) fn payload_length([low, middle, high, _]: [u8; HEADER]) -> usize {
    u32::from_le_bytes([low, middle, high, 0]) as usize
}

/// `255 | code 2 | ['#' state 5] | message`
fn server_error(packet: &[u8]) -> Error {
    let Some((code, rest)) = packet.get(1..).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return super::unexpected(packet);
    };
    let (state, message) = match rest {
        [b'#', a, b, c, d, e, message @ ..] => (String::from_utf8_lossy(&[*a, *b, *c, *d, *e]).into_owned(), message),
        // Before the greeting there is none.
        message => ("HY000".to_owned(), message),
    };
    let message = String::from_utf8_lossy(message).into_owned();
    ServerError { code: u16::from_le_bytes(*code), message, state }.into()
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as a server sends them.
    fn packets(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut sequence = 0_u8;
        for payload in payloads {
            let mut rest = payload.as_slice();
            loop {
                let (part, after) = rest.split_at(rest.len().min(PART));
                sent.put_uint_le(part.len() as u64, 3);
                sent.push(sequence);
                sent.extend_from_slice(part);
                sequence = sequence.wrapping_add(1);
                rest = after;
                if part.len() < PART {
                    break;
                }
            }
        }
        sent
    }

    async fn read(sent: &[u8], mut each: impl FnMut(Bytes)) -> Error {
        // Pieces of a size that meets headers and payloads at every place.
        let (mut writer, reader) = tokio::io::duplex(4093);
        let sent = sent.to_vec();
        tokio::spawn(async move { writer.write_all(&sent).await });
        let mut channel = Channel::new(reader);
        loop {
            match channel.answer().await {
                Ok(packet) => each(packet),
                Err(error) => return error,
            }
        }
    }

    #[tokio::test]
    async fn packets_of_any_length_come_whole_and_in_order() {
        let lengths = [0, 1, 7, SLICED, SLICED + 1, 300_000, 3, PART - 1, PART, PART + 5, 2, 2 * PART, 0, 9];
        let payloads: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(number, &length)| vec![number as u8 + 1; length]).collect();
        let mut got = Vec::new();
        let error = read(&packets(&payloads), |packet| got.push(packet)).await;
        assert_eq!(got.len(), payloads.len());
        for (got, sent) in got.iter().zip(&payloads) {
            assert!(got == sent, "{} bytes", sent.len());
        }
        assert!(error.to_string().contains("closed the connection"), "{error}");
    }

    #[tokio::test]
    async fn many_small_packets_use_one_buffer() {
        let payloads: Vec<Vec<u8>> =
            (0..50_000_u32).map(|number| [&[1], &number.to_le_bytes()[..]].concat().repeat(16)).collect();
        let mut expected = payloads.iter();
        let mut addresses = std::collections::BTreeSet::new();
        read(&packets(&payloads), |packet| {
            assert_eq!(packet, expected.next().unwrap());
            addresses.insert(packet.as_ptr() as usize);
        })
        .await;
        assert!(expected.next().is_none());
        // 4 MB have come through it. A buffer of its own for each piece of them would leave many more addresses than fit
        // into the two that there may be: the first one, and the larger one that took its place.
        assert!(addresses.len() * payloads[0].len() <= 4 * READ_AHEAD, "{}", addresses.len());
    }

    #[tokio::test]
    async fn a_packet_out_of_order_and_one_too_long_are_refused() {
        let mut sent = packets(&[vec![1], vec![2]]);
        sent[HEADER + 1 + 3] = 7;
        let mut got = 0;
        let error = read(&sent, |_| got += 1).await;
        assert!(matches!((got, error), (1, Error::Driver(DriverError::PacketOutOfOrder))));

        let mut channel = Channel::new(tokio::io::duplex(1).0);
        channel.long = Some(Long { bytes: BytesMut::zeroed(10), missing: 0, more: true });
        channel.long.as_mut().unwrap().bytes = BytesMut::zeroed(LONGEST - PART + 1);
        channel.ahead.extend_from_slice(&[0xff, 0xff, 0xff, 0]);
        assert!(matches!(channel.whole(), Err(Error::Driver(DriverError::PacketTooLarge))));
    }

    #[tokio::test]
    async fn the_servers_errors_are_told_with_their_code() {
        for (payload, code, text) in [
            (&b"\xff\x15\x04#28000Access denied"[..], 1045, "ERROR 1045 (28000): Access denied"),
            (b"\xff\x10\x04Too many connections", 1040, "ERROR 1040 (HY000): Too many connections"),
        ] {
            let error = read(&packets(&[payload.to_vec()]), |_| panic!("it is an error")).await;
            let Error::Server(server) = error else { panic!("{error}") };
            assert_eq!((server.code, server.to_string().as_str()), (code, text));
        }
        let error = read(&packets(&[vec![0xff, 1]]), |_| panic!("it is an error")).await;
        assert!(matches!(error, Error::Driver(DriverError::UnexpectedPacket { .. })));
    }
}
