//! The socket's reading side: never more than one packet at a time.
//!
//! opensrv-mysql 0.7 keeps what it read behind a packet in a new buffer and frees the old one, in which the packet
//! it returns still lies (`PacketReader::next_async`). A client that sends two packets at once, logged in or not, makes
//! it read freed memory. Here nothing behind a packet's end is handed on before the packet was taken. Its
//! arithmetic on sequence numbers and its buffer have no bounds either; they get them here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead as _, AsyncRead, BufReader, ReadBuf};

/// Length in three bytes, sequence number.
const HEADER: usize = 4;
/// A packet of this length goes on in the next one.
const FULL: usize = 0xff_ffff;
/// What the server tells its clients as `max_allowed_packet`.
const MAX_COMMAND: usize = 64 << 20;

pub(super) struct Packets<R> {
    inner: BufReader<R>,
    header: [u8; HEADER],
    /// Bytes of the header that were read.
    read: usize,
    /// Bytes of the body that are still to come.
    left: usize,
    /// Bytes of the command's packets so far, and the sequence number that its next one must have.
    command: Option<(usize, u8)>,
}

impl<R: AsyncRead> Packets<R> {
    pub(super) fn new(inner: R) -> Self {
        Packets { inner: BufReader::new(inner), header: [0; HEADER], read: 0, left: 0, command: None }
    }

    /// The header is complete.
    fn begin(&mut self) -> io::Result<()> {
        let [low, middle, high, sequence] = self.header;
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        let (before, expected) = self.command.unwrap_or((0, sequence));
        let refuse = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if before + length > MAX_COMMAND {
            return refuse("a command of more than 64 MiB");
        }
        let (Some(next), true) = (sequence.checked_add(1), sequence == expected) else {
            return refuse("packets out of order");
        };
        self.command = (length == FULL).then_some((before + length, next));
        (self.read, self.left) = (0, length);
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Packets<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let there = ready!(Pin::new(&mut this.inner).poll_fill_buf(context))?;
        let wanted = if this.left > 0 { this.left } else { HEADER - this.read };
        let count = wanted.min(there.len()).min(out.remaining());
        let piece = &there[..count];
        out.put_slice(piece);
        if this.left > 0 {
            this.left -= count;
        } else {
            this.header[this.read..this.read + count].copy_from_slice(piece);
            this.read += count;
            if this.read == HEADER {
                this.begin()?;
            }
        }
        Pin::new(&mut this.inner).consume(count);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn packet(length: usize, sequence: u8) -> Vec<u8> {
        let mut packet = (length as u32).to_le_bytes().to_vec();
        packet[3] = sequence;
        packet.resize(HEADER + length, b'x');
        packet
    }

    /// The sizes of the pieces that a reader with room for everything gets.
    async fn pieces(sent: &[u8]) -> io::Result<Vec<usize>> {
        let mut packets = Packets::new(sent);
        let mut buffer = vec![0; 1 << 20];
        let mut sizes = Vec::new();
        loop {
            match packets.read(&mut buffer).await? {
                0 => return Ok(sizes),
                size => sizes.push(size),
            }
        }
    }

    #[tokio::test]
    async fn no_piece_goes_beyond_a_packets_end() {
        let sent = [packet(9, 0), packet(0, 0), packet(5, 0)].concat();
        assert_eq!(pieces(&sent).await.unwrap(), [4, 9, 4, 4, 5]);
    }

    #[tokio::test]
    async fn sequence_numbers_of_one_command_count_up() {
        assert!(pieces(&[packet(FULL, 0), packet(3, 1), packet(1, 0)].concat()).await.is_ok());
        assert!(pieces(&[packet(FULL, 0), packet(3, 2)].concat()).await.is_err());
        assert!(pieces(&packet(3, 255)).await.is_err());
    }

    #[tokio::test]
    async fn a_command_has_a_largest_size() {
        let parts: Vec<Vec<u8>> = (0..5).map(|sequence| packet(FULL, sequence)).collect();
        assert!(pieces(&parts.concat()).await.is_err());
    }
}
