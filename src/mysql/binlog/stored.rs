//! Rows events as bytes, to be kept over a restart: with what is needed to read them again long after the log that had
//! them is gone.
//!
//! ```text
//! length of the rest 8 | kind 1 | offset 8 | file | table map | flags 1 [before bits, after bits] | images
//! ```
//! All integers are little-endian; what has no length here has one of 4 bytes before it, the images go to the end. The
//! flags say whether the images lack columns (1) and whether MariaDB wrote them (2). The table map is the event's body as
//! the server wrote it.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::{ColumnBits, ImageColumns, RowsEvent, RowsKind, TableMap};

const LACKS_COLUMNS: u8 = 1;
const MARIADB: u8 = 2;

impl RowsEvent {
    pub fn store(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.push(match self.kind {
            RowsKind::Insert => 0,
            RowsKind::Update => 1,
            RowsKind::Delete => 2,
        });
        out.extend_from_slice(&self.offset.to_le_bytes());
        put(out, self.file.as_bytes());
        put(out, self.table.body());
        match &self.columns {
            None => out.push(0),
            Some(columns) => {
                out.push(LACKS_COLUMNS | if columns.mariadb { MARIADB } else { 0 });
                put(out, columns.before.bytes());
                put(out, columns.after.bytes());
            }
        }
        out.extend_from_slice(&self.images);
        let length = (out.len() - start - 8) as u64;
        out[start..start + 8].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads stored events one after another.
#[derive(Default)]
pub struct StoredRows {
    bytes: Vec<u8>,
    read: usize,
    /// Those of the last event, which the next one mostly has too: what is derived from them is found by their address.
    table: Option<Arc<TableMap>>,
    columns: Option<Arc<ImageColumns>>,
}

impl StoredRows {
    /// More bytes; they may end anywhere in an event.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.read));
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether everything that was added has been read.
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// The next event; `Ok(None)` when it is not there to its end.
    ///
    /// # Errors
    /// The bytes are not those of a stored event.
    pub fn next_event(&mut self) -> Result<Option<RowsEvent>, Damaged> {
        let rest = &self.bytes[self.read..];
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Damaged)?;
        let Some(stored) = rest.get(..length) else { return Ok(None) };
        let stored = Bytes::copy_from_slice(stored);
        self.read += 8 + length;
        self.event(stored).ok_or(Damaged).map(Some)
    }

    fn event(&mut self, mut stored: Bytes) -> Option<RowsEvent> {
        let kind = match stored.try_get_u8().ok()? {
            0 => RowsKind::Insert,
            1 => RowsKind::Update,
            2 => RowsKind::Delete,
            _ => return None,
        };
        let offset = stored.try_get_u64_le().ok()?;
        let file = take(&mut stored)?;
        let body = take(&mut stored)?;
        let table = match &self.table {
            Some(table) if table.body() == body => Arc::clone(table),
            _ => Arc::clone(self.table.insert(Arc::new(TableMap::parse(&body).ok()?))),
        };
        let flags = stored.try_get_u8().ok()?;
        let columns = if flags & LACKS_COLUMNS == 0 {
            None
        } else {
            let (before, after) = (ColumnBits::new(&take(&mut stored)?), ColumnBits::new(&take(&mut stored)?));
            let columns = ImageColumns { before, after, mariadb: flags & MARIADB != 0 };
            Some(match &self.columns {
                Some(known) if **known == columns => Arc::clone(known),
                _ => Arc::clone(self.columns.insert(Arc::new(columns))),
            })
        };
        let file = std::str::from_utf8(&file).ok()?.into();
        Some(RowsEvent { table, kind, columns, images: stored, file, offset, gtid: None })
    }
}

/// What was stored is not what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take(from: &mut Bytes) -> Option<Bytes> {
    let length = from.try_get_u32_le().ok()? as usize;
    (length <= from.len()).then(|| from.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table_map::tests::body;
    use super::*;

    fn event(kind: RowsKind, columns: Option<ImageColumns>, images: &[u8]) -> RowsEvent {
        let table = TableMap::parse(&body(&[(3, vec![], false), (252, vec![2], true)], &[])).unwrap();
        RowsEvent {
            table: Arc::new(table),
            kind,
            columns: columns.map(Arc::new),
            images: Bytes::copy_from_slice(images),
            file: "binlog.000007".into(),
            offset: u64::from(u32::MAX) + 5,
            gtid: None,
        }
    }

    fn shown(event: &RowsEvent) -> String {
        format!("{event:?}")
    }

    proptest! {
        /// In pieces of any size, all of it comes back.
        #[test]
        fn stored_events_come_back_as_they_were(
            events in proptest::collection::vec((0..3_usize, proptest::option::of(any::<[u8; 2]>()), any::<bool>(), any::<Vec<u8>>()), 1..8),
            piece in 1..200_usize,
        ) {
            let kinds = [RowsKind::Insert, RowsKind::Update, RowsKind::Delete];
            let events: Vec<RowsEvent> = events
                .iter()
                .map(|(kind, bits, mariadb, images)| {
                    let columns = bits.map(|[before, after]| ImageColumns {
                        before: ColumnBits::new(&[before]),
                        after: ColumnBits::new(&[after]),
                        mariadb: *mariadb,
                    });
                    event(kinds[*kind], columns, images)
                })
                .collect();
            let mut bytes = Vec::new();
            events.iter().for_each(|event| event.store(&mut bytes));
            let mut stored = StoredRows::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                stored.add(piece);
                while let Some(event) = stored.next_event().unwrap() {
                    found.push(event);
                }
            }
            prop_assert!(stored.is_empty());
            prop_assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), events.iter().map(shown).collect::<Vec<_>>());
            prop_assert!(found.windows(2).all(|pair| Arc::ptr_eq(&pair[0].table, &pair[1].table)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut stored = StoredRows::default();
            stored.add(&(bytes.len() as u64).to_le_bytes());
            stored.add(&bytes);
            let _ = stored.next_event();
        }
    }
}
