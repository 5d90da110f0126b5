//! The last image per key, undecoded.
//!
//! A batch holds the row images of one epoch. Each image is walked once, to find its end and its key; then
//! only the newest image of a key is kept, in the order in which keys first appeared. A row overwritten ten
//! times costs one encode and one row in the load, and a key is in a load at most once.
//!
//! An UPDATE that changes the key is a delete of the old key and an upsert of the new one. Deletes stay in
//! the batch: the key may be in the target from before.

use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use indexmap::IndexMap;

use super::encode::{EncodeRow, Encoder, Op};
use crate::mysql::binlog::{RowPlan, RowsEvent, RowsKind};
use crate::mysql::value::{RowError, ValueWriter};
use crate::ring::Held;
use crate::schema::{Mapping, TableName};
use crate::state::RowCounts;
use crate::{Error, Result};

/// What a row takes besides its image and its key: `Row`, its place in the index, and room to grow.
pub(super) const MERGED_ROW_BYTES: usize = 2 * size_of::<Row>();

/// Rows of one epoch, by table.
#[derive(Default)]
pub struct Batch {
    tables: IndexMap<TableName, TableBatch>,
    /// What keeps the images' share of the memory budget.
    held: Vec<Held>,
    rows: usize,
    bytes: usize,
    read: RowCounts,
}

impl Batch {
    /// Rows after merging.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the events that are held, and of the index over their rows: of an event of many tiny rows the index is
    /// the larger part.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn read(&self) -> RowCounts {
        self.read
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds all rows of one event.
    ///
    /// # Errors
    /// A definite error naming table, file and offset when a row does not fit its table's definition.
    pub fn add(&mut self, mapping: &Arc<Mapping>, plan: &Arc<RowPlan>, event: &RowsEvent, held: Held) -> Result<()> {
        let table = match self.tables.get_mut(&mapping.source.name) {
            Some(table) => table,
            None => {
                self.tables.entry(mapping.source.name.clone()).or_insert_with(|| TableBatch::new(Arc::clone(mapping)))
            }
        };
        let before = (table.rows.len(), table.keys.len());
        let counts = table.add(plan, event.kind, &event.images).map_err(|error| {
            Error::definite(format!(
                "{} at {}:{}: row does not fit the table's definition: {error}",
                mapping.source.name, event.file, event.offset
            ))
            .hint(
                "the definition in the job's state differs from the one the row was written with; see `towpath status`",
            )
        })?;
        let (rows, keys) = (table.rows.len() - before.0, table.keys.len() - before.1);
        self.rows += rows;
        self.bytes += held.bytes() + rows * MERGED_ROW_BYTES + keys;
        self.held.push(held);
        self.read.inserts += counts.inserts;
        self.read.updates += counts.updates;
        self.read.deletes += counts.deletes;
        Ok(())
    }

    /// The budget's shares; whoever takes them answers for the memory.
    pub fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// The tables, in the order in which they first appeared.
    pub fn into_tables(self) -> Vec<TableBatch> {
        self.tables.into_values().collect()
    }
}

/// One table's rows.
pub struct TableBatch {
    mapping: Arc<Mapping>,
    plans: Vec<Arc<RowPlan>>,
    events: Vec<Bytes>,
    rows: Vec<Row>,
    /// Positions in `rows`, by key.
    index: HashTable<u32>,
    /// The raw key bytes of all rows, one after another.
    keys: Vec<u8>,
    scratch: Vec<u8>,
    hasher: FixedState,
}

struct Row {
    event: u32,
    start: u32,
    end: u32,
    plan: u32,
    key_start: usize,
    key_len: u32,
    op: Op,
}

impl TableBatch {
    fn new(mapping: Arc<Mapping>) -> Self {
        TableBatch {
            mapping,
            plans: Vec::new(),
            events: Vec::new(),
            rows: Vec::new(),
            index: HashTable::new(),
            keys: Vec::new(),
            scratch: Vec::new(),
            hasher: FixedState::default(),
        }
    }

    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    fn add(&mut self, plan: &Arc<RowPlan>, kind: RowsKind, images: &Bytes) -> Result<RowCounts, RowError> {
        let plan_index = match self.plans.last() {
            Some(last) if Arc::ptr_eq(last, plan) => self.plans.len() - 1,
            _ => {
                self.plans.push(Arc::clone(plan));
                self.plans.len() - 1
            }
        } as u32;
        let event = self.events.len() as u32;
        self.events.push(images.clone());
        let mut counts = RowCounts::default();
        let mut old_key = Vec::new();
        let mut at = 0;
        while at < images.len() {
            let start = at;
            let end = self.walk(plan, images, start)?;
            at = end;
            match kind {
                RowsKind::Insert => {
                    counts.inserts += 1;
                    self.put(event, plan_index, start, end, Op::Upsert);
                }
                RowsKind::Delete => {
                    counts.deletes += 1;
                    self.put(event, plan_index, start, end, Op::Delete);
                }
                RowsKind::Update => {
                    counts.updates += 1;
                    std::mem::swap(&mut old_key, &mut self.scratch);
                    let after_end = self.walk(plan, images, end)?;
                    at = after_end;
                    if old_key != self.scratch {
                        std::mem::swap(&mut old_key, &mut self.scratch);
                        self.put(event, plan_index, start, end, Op::Delete);
                        std::mem::swap(&mut old_key, &mut self.scratch);
                    }
                    self.put(event, plan_index, end, after_end, Op::Upsert);
                }
            }
        }
        Ok(counts)
    }

    /// Finds the end of the image at `start` and leaves its key in `scratch`.
    fn walk(&mut self, plan: &RowPlan, images: &[u8], start: usize) -> Result<usize, RowError> {
        self.scratch.clear();
        let length = plan.walk(images.get(start..).unwrap_or_default(), &mut self.scratch)?;
        Ok(start + length)
    }

    /// Makes the image the newest of the key in `scratch`.
    fn put(&mut self, event: u32, plan: u32, start: usize, end: usize, op: Op) {
        let TableBatch { rows, index, keys, scratch, hasher, .. } = self;
        let (start, end) = (start as u32, end as u32);
        let hash = hasher.hash_one(scratch.as_slice());
        let key_of = |row: &Row| &keys[row.key_start..row.key_start + row.key_len as usize];
        let found = index.find(hash, |&at| key_of(&rows[at as usize]) == scratch.as_slice());
        if let Some(&at) = found {
            let row = &mut rows[at as usize];
            (row.event, row.plan, row.start, row.end, row.op) = (event, plan, start, end, op);
            return;
        }
        let at = rows.len() as u32;
        index.insert_unique(hash, at, |&at| hasher.hash_one(key_of(&rows[at as usize])));
        let (key_start, key_len) = (keys.len(), scratch.len() as u32);
        keys.extend_from_slice(scratch);
        rows.push(Row { event, start, end, plan, key_start, key_len, op });
    }

    /// Writes every row, in the order in which the keys first appeared.
    ///
    /// # Errors
    /// A definite error naming table and column when a value cannot be decoded.
    pub fn encode(&self, encoder: &mut Encoder) -> Result<()> {
        for row in &self.rows {
            let image = &self.events[row.event as usize][row.start as usize..row.end as usize];
            let plan = &self.plans[row.plan as usize];
            encoder.row(row.op, Image { plan, image }).map_err(|error| {
                Error::definite(format!("{}: cannot decode a row: {error}", self.mapping.source.name))
            })?;
        }
        Ok(())
    }
}

struct Image<'a> {
    plan: &'a RowPlan,
    image: &'a [u8],
}

impl EncodeRow for Image<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.plan.write(self.image, out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::encode::BinaryText;
    use super::super::sample::Sample;
    use super::*;
    use crate::ring::Budget;

    /// What a batch sends after these events: `id`, `v`, `__op` a line.
    fn sent(events: &[(RowsKind, Vec<(i32, &str)>)]) -> Vec<String> {
        let sample = Sample::new();
        let mut batch = Batch::default();
        for (kind, rows) in events {
            let event = sample.event(*kind, rows);
            batch.add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap();
        }
        let rows = batch.rows();
        let mut encoder = Encoder::new(&sample.mapping.target, BinaryText::Base64, 1 << 20);
        batch.into_tables().iter().for_each(|table| table.encode(&mut encoder).unwrap());
        let parts = encoder.finish();
        let body: String = parts.iter().map(|part| String::from_utf8(part.body.to_vec()).unwrap()).collect();
        let lines: Vec<String> = body.split_terminator('\x02').map(|line| line.replace('\x01', " ")).collect();
        assert_eq!(lines.len(), rows);
        lines
    }

    #[test]
    fn the_last_image_of_a_key_is_sent() {
        let rows = sent(&[
            (RowsKind::Insert, vec![(1, "a"), (2, "b")]),
            (RowsKind::Update, vec![(1, "a"), (1, "c")]),
            (RowsKind::Insert, vec![(3, "d")]),
            (RowsKind::Update, vec![(1, "c"), (1, "e")]),
        ]);
        assert_eq!(rows, ["1 e 0", "2 b 0", "3 d 0"]);
    }

    #[test]
    fn key_change_deletes_the_old_row() {
        assert_eq!(sent(&[(RowsKind::Update, vec![(1, "a"), (2, "b")])]), ["1 a 1", "2 b 0"]);
        // Two rows change places through a third key.
        let rows = sent(&[
            (RowsKind::Update, vec![(1, "a"), (9, "a")]),
            (RowsKind::Update, vec![(2, "b"), (1, "b")]),
            (RowsKind::Update, vec![(9, "a"), (2, "a")]),
        ]);
        assert_eq!(rows, ["1 b 0", "9 a 1", "2 a 0"]);
    }

    #[test]
    fn a_deleted_row_stays_a_delete() {
        let rows = sent(&[(RowsKind::Insert, vec![(1, "a")]), (RowsKind::Delete, vec![(1, "a")])]);
        assert_eq!(rows, ["1 a 1"]);
        let rows = sent(&[(RowsKind::Delete, vec![(1, "a")]), (RowsKind::Insert, vec![(1, "b")])]);
        assert_eq!(rows, ["1 b 0"]);
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error_with_table_and_place() {
        let sample = Sample::new();
        let mut event = sample.event(RowsKind::Insert, &[(1, "abc")]);
        event.images = event.images.slice(..event.images.len() - 1);
        let error = Batch::default().add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap_err();
        assert!(error.to_string().starts_with("shop.t at binlog.000001:4:"), "{error}");
        assert!(!error.is_transient());
    }

    #[test]
    fn the_index_over_tiny_rows_counts_and_dead_images_do_too() {
        let sample = Sample::new();
        let budget = Budget::new(1000);
        let mut batch = Batch::default();
        let rows: Vec<(i32, &str)> = (0..100).map(|id| (id, "")).collect();
        batch.add(&sample.mapping, &sample.plan, &sample.event(RowsKind::Insert, &rows), budget.hold(600)).unwrap();
        assert_eq!(batch.bytes(), 600 + 100 * (MERGED_ROW_BYTES + 4));
        batch.add(&sample.mapping, &sample.plan, &sample.event(RowsKind::Insert, &rows), budget.hold(600)).unwrap();
        assert_eq!((batch.rows(), batch.bytes()), (100, 1200 + 100 * (MERGED_ROW_BYTES + 4)));
    }

    proptest! {
        /// Whatever happens to a few keys, each is sent at most once, and with what happened to it last.
        #[test]
        fn a_key_is_sent_once_and_as_it_was_last(
            changes in proptest::collection::vec((0..3_u8, 0..6_i32, 0..6_i32, "[a-c]{0,3}"), 1..60)
        ) {
            let mut events = Vec::new();
            let mut expected = BTreeMap::new();
            for (kind, old, new, text) in &changes {
                match kind {
                    0 => {
                        events.push((RowsKind::Insert, vec![(*new, text.as_str())]));
                        expected.insert(*new, format!("{new} {text} 0"));
                    }
                    1 => {
                        events.push((RowsKind::Update, vec![(*old, "old"), (*new, text.as_str())]));
                        expected.insert(*old, format!("{old} old 1"));
                        expected.insert(*new, format!("{new} {text} 0"));
                    }
                    _ => {
                        events.push((RowsKind::Delete, vec![(*old, text.as_str())]));
                        expected.insert(*old, format!("{old} {text} 1"));
                    }
                }
            }
            let mut rows = sent(&events);
            rows.sort();
            let mut expected: Vec<String> = expected.into_values().collect();
            expected.sort();
            prop_assert_eq!(rows, expected);
        }
    }
}
