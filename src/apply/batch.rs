//! The last image per key, undecoded.
//!
//! A batch holds the row images of one epoch. Each image is walked once, to find its end and its key; then
//! only the newest image of a key is kept, in the order in which keys first appeared. A row overwritten ten
//! times costs one encode and one row in the load, and a key is in a load at most once.
//!
//! An UPDATE that changes the key is a delete of the old key and an upsert of the new one. Deletes stay in
//! the batch: the key may be in the target from before.
//!
//! Rows of a table without a key are merged by their hash: [`super::row_hash`].
//!
//! # Images that lack columns
//! With `binlog_row_image` NOBLOB or MINIMAL an image may tell only some columns. An INSERT is a whole row all the same
//! (the rest are defaults), a DELETE needs only the key. An UPDATE's image is laid *over* what the batch has of the row:
//! its row then heads a chain of images, the newest first, still undecoded. If the chain tells every column, because
//! it ends in an INSERT or a whole image, the row goes out like any other. Else it goes out with the columns that are
//! known, as a partial update. So in an epoch a key is still in one load only:
//!
//! ```text
//! whole + partial = whole    partial + partial = the union    anything + delete = delete    delete + insert = insert
//! ```
//!
//! A change of the key moves the row to a key under which the target has nothing that a partial update could keep. If
//! batch and images do not tell the whole row, the job stops: what is missing is in no log, and reading it from the
//! target would not be exact, for after a crash, or during the catch-up behind a copy, the target may be ahead of the log.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::encode::{EncodeRow, Encoder, Op};
use super::row_hash::HashedRows;
use super::unwritable::Unwritable;
use crate::config::OnError;
use crate::mysql::binlog::{EventPlan, Overlay, RowPlan, RowsEvent, RowsKind};
use crate::mysql::value::{RowError, ValueWriter};
use crate::ring::Held;
use crate::schema::{Mapping, TableName, TargetTable};
use crate::state::{NewLetter, RowCounts};
use crate::{Error, Result};

/// What a row takes besides its image and its key: `Row`, its place in the index, and room to grow.
pub(super) const MERGED_ROW_BYTES: usize = 2 * size_of::<Row>();
/// And what each image under its newest one takes.
const LAYER_BYTES: usize = 2 * size_of::<Image>();

/// Rows of one epoch, by table.
#[derive(Default)]
pub struct Batch {
    /// In the order in which they first appeared.
    tables: Vec<TableBatch>,
    /// Where they are in it.
    by_name: HashMap<TableName, usize, FixedState>,
    /// The same by their mapping's address, which costs less to look up than a name. The mappings are kept with it, so the
    /// addresses stay their own.
    by_mapping: HashMap<usize, (Arc<Mapping>, usize), FixedState>,
    /// What keeps the images' share of the memory budget: one, as long as all are of the same.
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
    pub fn add(&mut self, mapping: &Arc<Mapping>, plan: &EventPlan, event: &RowsEvent, held: Held) -> Result<()> {
        let table = match self.by_mapping.get(&(Arc::as_ptr(mapping) as usize)) {
            Some((_, table)) => *table,
            None => self.table(mapping),
        };
        let table = &mut self.tables[table];
        let before = (table.rows(), table.keys.len(), table.layers.len());
        let counts = table.add(plan, event.kind, &event.images).map_err(|refusal| {
            let at = format!("{} at {}:{}", mapping.source.name, event.file, event.offset);
            refusal.into_error(&at, &mapping.target)
        })?;
        let (rows, keys) = (table.rows() - before.0, table.keys.len() - before.1);
        let layers = table.layers.len() - before.2;
        self.rows += rows;
        self.bytes += held.bytes() + rows * MERGED_ROW_BYTES + keys + layers * LAYER_BYTES;
        let apart = match self.held.last_mut() {
            Some(all) => all.join(held),
            None => Some(held),
        };
        self.held.extend(apart);
        self.read.inserts += counts.inserts;
        self.read.updates += counts.updates;
        self.read.deletes += counts.deletes;
        Ok(())
    }

    fn table(&mut self, mapping: &Arc<Mapping>) -> usize {
        let table = *self.by_name.entry(mapping.source.name.clone()).or_insert_with(|| {
            self.tables.push(TableBatch::new(Arc::clone(mapping)));
            self.tables.len() - 1
        });
        self.by_mapping.insert(Arc::as_ptr(mapping) as usize, (Arc::clone(mapping), table));
        table
    }

    /// The budget's shares; whoever takes them answers for the memory.
    pub fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// The tables, in the order in which they first appeared.
    pub fn into_tables(self) -> Vec<TableBatch> {
        self.tables
    }
}

/// One table's rows.
pub struct TableBatch {
    mapping: Arc<Mapping>,
    plans: Vec<Arc<RowPlan>>,
    events: Vec<Bytes>,
    rows: Vec<Row>,
    /// The older images of rows that are told by several.
    layers: Vec<Image>,
    /// The rows, by key.
    index: HashTable<Indexed>,
    /// The raw key bytes of all rows, one after another.
    keys: Vec<u8>,
    scratch: Vec<u8>,
    /// The key before an UPDATE.
    old_key: Vec<u8>,
    hasher: FixedState,
    /// Of a table without a key; then the rest has nothing.
    hashed: Option<Box<HashedRows>>,
}

struct Row {
    /// The newest.
    image: Image,
    key_start: usize,
    key_len: u32,
    op: Op,
}

/// A place in `rows`, and the key's hash beside it: an index that grows does not read all keys again, and of most keys that
/// are not the one looked for the hash tells it.
#[derive(Clone, Copy)]
struct Indexed {
    hash: u32,
    row: u32,
}

impl Indexed {
    /// The index takes places from the low bits and marks from the highest.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) | u64::from(hash) << 32
    }
}

/// A row image, and what it is laid over.
#[derive(Clone, Copy)]
struct Image {
    event: u32,
    start: u32,
    plan: u32,
    /// The next older image in `layers`, or `NOTHING`.
    over: u32,
}

const NOTHING: u32 = u32::MAX;

/// Why an event's row cannot be taken.
enum Refusal {
    Row(RowError),
    /// The target's column that nobody tells.
    KeyChange(usize),
    Gone,
}

impl From<RowError> for Refusal {
    fn from(error: RowError) -> Self {
        Refusal::Row(error)
    }
}

impl Refusal {
    fn into_error(self, at: &str, target: &TargetTable) -> Error {
        match self {
            Refusal::Row(error) => Error::definite(format!("{at}: row does not fit the table's definition: {error}"))
                .hint(
                    "the definition in the job's state differs from the one the row was written with; see `towpath status`",
                ),
            Refusal::KeyChange(column) => Error::definite(format!(
                "{at}: an UPDATE gives a row another key, and neither its row image nor what was read with it tells column {}",
                target.columns.get(column).map_or("?", |column| column.name.as_str())
            ))
            .hint(
                "sessions that change keys must log whole rows: SET GLOBAL binlog_row_image = 'FULL' at the source, \
                 connect its clients anew, then start a new job (another `name`)",
            ),
            Refusal::Gone => Error::definite(format!("{at}: an UPDATE of a row that an event before it has deleted"))
                .hint("the log contradicts itself: compare with mysqlbinlog at the source, then start a new job"),
        }
    }
}

impl TableBatch {
    fn new(mapping: Arc<Mapping>) -> Self {
        TableBatch {
            hashed: mapping.is_row_hash().then(Box::default),
            mapping,
            plans: Vec::new(),
            events: Vec::new(),
            rows: Vec::new(),
            layers: Vec::new(),
            index: HashTable::new(),
            keys: Vec::new(),
            scratch: Vec::new(),
            old_key: Vec::new(),
            hasher: FixedState::default(),
        }
    }

    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    pub fn rows(&self) -> usize {
        self.hashed.as_ref().map_or(self.rows.len(), |hashed| hashed.len())
    }

    pub(super) fn hashed_mut(&mut self) -> Option<&mut HashedRows> {
        self.hashed.as_deref_mut()
    }

    fn add(&mut self, plan: &EventPlan, kind: RowsKind, images: &Bytes) -> Result<RowCounts, Refusal> {
        if let Some(hashed) = &mut self.hashed {
            return Ok(hashed.add(plan, kind, images)?);
        }
        let (before_plan, after_plan) = (self.plan(plan.before()), self.plan(plan.after()));
        let event = self.events.len() as u32;
        self.events.push(images.clone());
        let image = |plan, start: usize, over| Image { event, start: start as u32, plan, over };
        let mut counts = RowCounts::default();
        let whole = plan.after().tells_all();
        let mut at = 0;
        // An INSERT of nothing but defaults has an image of no bytes; its key is a default too, so there is only one.
        let mut left = !images.is_empty() || plan.after().has_no_columns();
        while left {
            let start = at;
            let rest = images.get(start..).unwrap_or_default();
            self.scratch.clear();
            match kind {
                RowsKind::Insert => {
                    counts.inserts += 1;
                    at += plan.after().walk(rest, &mut self.scratch)?;
                    self.put(image(after_plan, start, NOTHING), Op::Upsert);
                }
                RowsKind::Delete => {
                    counts.deletes += 1;
                    at += plan.before().walk(rest, &mut self.scratch)?;
                    self.put(image(before_plan, start, NOTHING), Op::Delete);
                }
                RowsKind::Update => {
                    counts.updates += 1;
                    self.old_key.clear();
                    let (before, after) = plan.walk_update(rest, &mut self.old_key, &mut self.scratch)?;
                    at += before + after;
                    let moved = self.old_key != self.scratch;
                    let over = match whole {
                        true => NOTHING,
                        false => self.under(plan, after_plan, image(before_plan, start, NOTHING))?,
                    };
                    let newest = image(after_plan, start + before, over);
                    if moved {
                        if let Some(column) = if whole { None } else { self.untold(newest) } {
                            return Err(Refusal::KeyChange(column));
                        }
                        std::mem::swap(&mut self.old_key, &mut self.scratch);
                        self.put(image(before_plan, start, NOTHING), Op::Delete);
                        std::mem::swap(&mut self.old_key, &mut self.scratch);
                    }
                    self.put(newest, Op::Upsert);
                }
            }
            left = at < images.len();
            if left && at == start {
                return Err(RowError::row("bytes behind an image without columns").into());
            }
        }
        Ok(counts)
    }

    /// The plan's index in `plans`.
    fn plan(&mut self, plan: &Arc<RowPlan>) -> u32 {
        // Events of few kinds take turns, so it is one of the latest.
        const LATEST: usize = 16;
        let latest = self.plans.iter().enumerate().rev().take(LATEST);
        let found = latest.into_iter().find(|(_, known)| Arc::ptr_eq(known, plan)).map(|(index, _)| index);
        found.unwrap_or_else(|| {
            self.plans.push(Arc::clone(plan));
            self.plans.len() - 1
        }) as u32
    }

    /// What an after image that lacks columns is laid over: its before image, and what the batch has of the old key.
    fn under(&mut self, plan: &EventPlan, after_plan: u32, before: Image) -> Result<u32, Refusal> {
        let older = match self.find(&self.old_key).map(|at| (self.rows[at].op, self.rows[at].image)) {
            Some((Op::Delete, _)) => return Err(Refusal::Gone),
            // The same columns once more: nothing of that image would show. Chains stay short.
            Some((_, image)) if image.plan == after_plan => image.over,
            Some((_, image)) => self.layer(image),
            None => NOTHING,
        };
        // A row of the batch has the key already.
        if if older == NOTHING { plan.before_adds() } else { plan.before_adds_values() } {
            return Ok(self.layer(Image { over: older, ..before }));
        }
        Ok(older)
    }

    fn layer(&mut self, image: Image) -> u32 {
        self.layers.push(image);
        self.layers.len() as u32 - 1
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.find_hashed(self.hasher.hash_one(key) as u32, key)
    }

    fn find_hashed(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let found = self.index.find(Indexed::spread(hash), |indexed| {
            indexed.hash == hash && {
                let Row { key_start, key_len, .. } = self.rows[indexed.row as usize];
                &self.keys[key_start..key_start + key_len as usize] == key
            }
        });
        found.map(|indexed| indexed.row as usize)
    }

    /// The image and those it is laid over, the newest first.
    fn chain(&self, newest: Image) -> impl Iterator<Item = Image> {
        std::iter::successors(Some(newest), |image| self.layers.get(image.over as usize).copied())
    }

    /// The first column of the target that none of the chain's images tells.
    fn untold(&self, newest: Image) -> Option<usize> {
        let mut untold: Option<Vec<usize>> = None;
        for image in self.chain(newest) {
            let here = self.plans[image.plan as usize].untold();
            let left: Vec<usize> = match untold {
                None => here.collect(),
                Some(before) => here.filter(|column| before.contains(column)).collect(),
            };
            if left.is_empty() {
                return None;
            }
            untold = Some(left);
        }
        untold.and_then(|columns| columns.first().copied())
    }

    /// Makes the image the newest of the key in `scratch`.
    fn put(&mut self, image: Image, op: Op) {
        let hash = self.hasher.hash_one(self.scratch.as_slice()) as u32;
        if let Some(at) = self.find_hashed(hash, &self.scratch) {
            let row = &mut self.rows[at];
            (row.image, row.op) = (image, op);
            return;
        }
        let indexed = Indexed { hash, row: self.rows.len() as u32 };
        self.index.insert_unique(Indexed::spread(hash), indexed, |indexed| Indexed::spread(indexed.hash));
        let (key_start, key_len) = (self.keys.len(), self.scratch.len() as u32);
        self.keys.extend_from_slice(&self.scratch);
        self.rows.push(Row { image, key_start, key_len, op });
    }

    /// Writes every row, in the order in which the keys first appeared.
    ///
    /// # Errors
    /// A definite error naming table, key and column when a value cannot be written.
    pub fn encode(&self, encoder: &mut Encoder) -> Result<()> {
        self.encode_or_keep(encoder, OnError::Exit).map(drop)
    }

    /// As [`TableBatch::encode`]; those that cannot be written are returned, if the
    /// job is to go on without them.
    pub(crate) fn encode_or_keep(&self, encoder: &mut Encoder, on_error: OnError) -> Result<Vec<NewLetter>> {
        let mut overlay = Overlay::default();
        let mut unwritable = Unwritable::new(&self.mapping.target, on_error);
        if let Some(hashed) = &self.hashed {
            hashed.encode(&self.mapping.target, encoder, &mut unwritable)?;
        }
        for row in &self.rows {
            self.encode_row(row, &mut overlay, encoder, &mut unwritable)?;
        }
        Ok(unwritable.into_letters())
    }

    fn encode_row<'a>(
        &'a self,
        row: &Row,
        overlay: &mut Overlay<'a>,
        encoder: &mut Encoder,
        unwritable: &mut Unwritable<'_>,
    ) -> Result<()> {
        let (plan, image) = self.image(row.image);
        if row.op == Op::Delete || plan.tells_all() {
            return unwritable.encode(encoder, None, row.op, OneImage { plan, image });
        }
        overlay.begin(self.mapping.target.columns.len());
        for image in self.chain(row.image) {
            let (plan, image) = self.image(image);
            let whole = overlay.lay(plan, image).map_err(|error| {
                Error::definite(format!("{}: cannot decode a row: {error}", self.mapping.target.name))
            })?;
            if whole {
                return unwritable.encode(encoder, None, row.op, ManyImages(overlay));
            }
        }
        unwritable.encode(encoder, Some(overlay.known()), row.op, ManyImages(overlay))
    }

    /// The bytes go on behind the image.
    fn image(&self, image: Image) -> (&RowPlan, &[u8]) {
        (&self.plans[image.plan as usize], &self.events[image.event as usize][image.start as usize..])
    }
}

#[derive(Clone, Copy)]
struct OneImage<'a> {
    plan: &'a RowPlan,
    image: &'a [u8],
}

impl EncodeRow for OneImage<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.plan.write(self.image, out)
    }
}

#[derive(Clone, Copy)]
struct ManyImages<'a, 'i>(&'a Overlay<'i>);

impl EncodeRow for ManyImages<'_, '_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.0.write(out)
    }
}

#[cfg(test)]
mod tests;
