//! A compressed transaction, expanded event by event.
//!
//! The server writes all events of a transaction but its GTID into one TRANSACTION_PAYLOAD event, compressed together. In
//! memory are the compressed bytes, which came as one packet, and what has been expanded of them and not yet been taken:
//! about `PIECE`, or one event where that is larger. How much all of it would be does not matter: who does not take the next
//! event stops the expansion.
//!
//! The event tells how long its events are together. What comes out shorter, longer or not at all is [`Damaged`].
//!
//! The decoder looks back over a window of its own besides: 2 MB of what MySQL compresses by default, 128 MB at most (at
//! `binlog_transaction_compression_level_zstd` 22).
//!
//! The compressed bytes have a share of the byte budget, of a quarter at most. (With the whole, nothing would be left for
//! the rows, and only they, by going on, can give the bytes back. The flusher holds two thirds at most and gives one back
//! by itself.)

use bytes::{Buf as _, Bytes, BytesMut};
use zstd::stream::raw::{Decoder, Operation as _};

use super::event::{self, HEADER};
use crate::ring::{Budget, Held};

/// How much is expanded at once.
const PIECE: usize = 64 << 10;

pub(super) struct Payload {
    packed: Bytes,
    /// `None`: it is not compressed.
    decoder: Option<Decoder<'static>>,
    expanded: BytesMut,
    /// Bytes of events that were not taken yet.
    left: u64,
    _held: Option<Held>,
}

/// Its events cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

impl Payload {
    /// Of a TRANSACTION_PAYLOAD event's body.
    pub(super) fn open(body: &Bytes, budget: Option<&Budget>) -> Result<Payload, Damaged> {
        let header = event::payload(body).ok_or(Damaged)?;
        let packed = body.slice(header.start..);
        if packed.len() as u64 != header.packed {
            return Err(Damaged);
        }
        let decoder = if header.zstd { Some(Decoder::new().map_err(|_| Damaged)?) } else { None };
        let held = budget.map(|budget| budget.hold_at_once(packed.len().min(budget.total() / 4)));
        Ok(Payload { packed, decoder, expanded: BytesMut::new(), left: header.plain, _held: held })
    }

    /// All events were taken.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The next event with its header; not to be called when it is done.
    pub(super) fn take(&mut self) -> Result<Bytes, Damaged> {
        loop {
            if let Some(header) = self.expanded.first_chunk::<HEADER>() {
                let size = event::size(header);
                if (size as usize) < HEADER || u64::from(size) > self.left {
                    return Err(Damaged);
                }
                if self.expanded.len() >= size as usize {
                    self.left -= u64::from(size);
                    return Ok(self.expanded.split_to(size as usize).freeze());
                }
            }
            self.expand()?;
        }
    }

    fn expand(&mut self) -> Result<(), Damaged> {
        let before = self.expanded.len();
        self.expanded.resize(before + PIECE, 0);
        let out = &mut self.expanded[before..];
        let (read, written) = match &mut self.decoder {
            Some(decoder) => {
                let status = decoder.run_on_buffers(&self.packed, out).map_err(|_| Damaged)?;
                (status.bytes_read, status.bytes_written)
            }
            None => {
                let length = out.len().min(self.packed.len());
                out[..length].copy_from_slice(&self.packed[..length]);
                (length, length)
            }
        };
        self.expanded.truncate(before + written);
        self.packed.advance(read);
        if read == 0 && written == 0 { Err(Damaged) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::BufMut as _;

    use super::*;

    /// An event of this size and number.
    pub(in super::super) fn inner(number: u8, size: usize) -> Vec<u8> {
        let mut event = vec![number; size];
        event[9..13].copy_from_slice(&(size as u32).to_le_bytes());
        event
    }

    /// The body of an event that has these.
    pub(in super::super) fn packed(plain: &[u8], zstd: bool) -> Vec<u8> {
        let bytes = if zstd { zstd::stream::encode_all(plain, 3).unwrap() } else { plain.to_vec() };
        let mut body = Vec::new();
        for (field, value) in [(1, bytes.len()), (2, if zstd { 0 } else { 255 }), (3, plain.len())] {
            body.extend_from_slice(&[field, 9, 254]);
            body.put_u64_le(value as u64);
        }
        body.push(0);
        body.extend_from_slice(&bytes);
        body
    }

    fn taken(body: Vec<u8>) -> Result<Vec<Bytes>, Damaged> {
        let mut payload = Payload::open(&body.into(), None)?;
        let mut events = Vec::new();
        while !payload.is_done() {
            events.push(payload.take()?);
        }
        Ok(events)
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let sizes = [19, 200, PIECE - 1, PIECE, 5 * PIECE + 1, 20, 19];
        let events: Vec<Vec<u8>> = sizes.iter().zip(1..).map(|(&size, number)| inner(number, size)).collect();
        for zstd in [true, false] {
            assert!(taken(packed(&events.concat(), zstd)).unwrap() == events);
        }
    }

    #[test]
    fn what_is_expanded_ahead_does_not_grow_with_the_transaction() {
        let events = inner(7, 8000).repeat(20_000);
        let body = Bytes::from(packed(&events, true));
        // A thousandth of its 160 MB.
        assert!(body.len() < 160_000, "{}", body.len());
        let budget = Budget::new(1_000_000);
        let mut payload = Payload::open(&body, Some(&budget)).unwrap();
        assert!(budget.used() > body.len() - 100 && budget.used() < body.len());
        let mut count = 0;
        while !payload.is_done() {
            assert_eq!(payload.take().unwrap().len(), 8000);
            assert!(payload.expanded.len() <= PIECE + 8000);
            assert!(payload.expanded.capacity() <= 4 * PIECE, "{}", payload.expanded.capacity());
            count += 1;
        }
        assert_eq!(count, 20_000);
        drop(payload);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_large_one_leaves_some_of_the_budget_for_its_rows() {
        let noise: Vec<u8> = (0..50_000).map(|_| rand::random::<u8>()).collect();
        let mut event = inner(0, 19);
        event.extend_from_slice(&noise);
        event[9..13].copy_from_slice(&50_019_u32.to_le_bytes());
        let budget = Budget::new(20_000);
        let payload = Payload::open(&packed(&event, true).into(), Some(&budget)).unwrap();
        assert_eq!(budget.used(), 5_000);
        drop(payload);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_cut_longer_or_damaged_is_refused() {
        let plain = [inner(1, 500), inner(2, 400)].concat();
        for zstd in [true, false] {
            let whole = packed(&plain, zstd);
            for end in 0..whole.len() - 1 {
                assert_eq!(taken(whole[..end].to_vec()), Err(Damaged), "{end}");
            }
            let mut more = whole.clone();
            more.push(0);
            assert_eq!(taken(more), Err(Damaged));
        }
        let announced = |length: u64| {
            let mut body = packed(&plain, true);
            body[25..33].copy_from_slice(&length.to_le_bytes());
            body
        };
        assert_eq!(taken(announced(900)).unwrap().len(), 2);
        for length in [899, 901, 501, u64::MAX] {
            assert_eq!(taken(announced(length)), Err(Damaged), "{length}");
        }
        // An event that is no event, and another kind of compression.
        assert_eq!(taken(packed(&inner(1, 30).repeat(2)[..40], true)), Err(Damaged));
        let mut body = packed(&plain, true);
        body[14..22].copy_from_slice(&1_u64.to_le_bytes());
        assert_eq!(taken(body), Err(Damaged));
    }
}
