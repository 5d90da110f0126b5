//! An epoch's rows of one table without a key: for each hash how often it was inserted and deleted.

use bytes::Bytes;
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use std::sync::Arc;

use super::RowHasher;
use crate::apply::encode::{EncodeRow, Encoder, Op};
use crate::apply::unwritable::Unwritable;
use crate::mysql::binlog::{EventPlan, RowPlan, RowsKind, write_any};
use crate::mysql::value::{RowError, ValueWriter};
use crate::schema::TargetTable;
use crate::state::RowCounts;
use crate::{Error, Result};

/// The rows, undecoded, and what is to be written of them once they have their copy numbers.
#[derive(Default)]
pub(crate) struct HashedRows {
    plan: Option<Arc<RowPlan>>,
    plans: Vec<Arc<RowPlan>>,
    events: Vec<Bytes>,
    nets: IndexMap<i128, Net, FixedState>,
    writes: Vec<Write>,
    hasher: RowHasher,
    no_key: Vec<u8>,
}

/// What an epoch does to the rows of one hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Net {
    /// One of them; all have the same cells.
    image: Image,
    pub(crate) inserts: u64,
    pub(crate) deletes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Image {
    event: u32,
    start: u32,
    plan: u32,
}

/// One row of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    /// The place of its hash in [`HashedRows::nets`].
    pub(crate) row: u32,
    pub(crate) copy: i64,
    pub(crate) op: Op,
}

impl HashedRows {
    /// Different hashes.
    pub(crate) fn len(&self) -> usize {
        self.nets.len()
    }

    /// In the order in which they first appeared.
    pub(crate) fn nets(&self) -> impl ExactSizeIterator<Item = (i128, &Net)> {
        self.nets.iter().map(|(hash, net)| (*hash, net))
    }

    pub(crate) fn set_writes(&mut self, writes: Vec<Write>) {
        self.writes = writes;
    }

    /// Adds all rows of one event.
    pub(crate) fn add(&mut self, plan: &EventPlan, kind: RowsKind, images: &Bytes) -> Result<RowCounts, RowError> {
        let plan = plan.after();
        if !self.plan.as_ref().is_some_and(|last| Arc::ptr_eq(last, plan)) {
            self.plan = Some(Arc::clone(plan));
            self.plans.push(Arc::clone(plan));
        }
        let event = self.events.len() as u32;
        self.events.push(images.clone());
        let mut counts = RowCounts::default();
        let mut at = 0;
        while at < images.len() {
            let (hash, image, end) = self.row(plan, event, images, at)?;
            match kind {
                RowsKind::Insert => {
                    counts.inserts += 1;
                    self.net(hash, image).inserts += 1;
                    at = end;
                }
                RowsKind::Delete => {
                    counts.deletes += 1;
                    self.net(hash, image).deletes += 1;
                    at = end;
                }
                RowsKind::Update => {
                    counts.updates += 1;
                    let (after_hash, after, end) = self.row(plan, event, images, end)?;
                    // Else nothing that the target could show has changed.
                    if hash != after_hash {
                        self.net(hash, image).deletes += 1;
                        self.net(after_hash, after).inserts += 1;
                    }
                    at = end;
                }
            }
        }
        Ok(counts)
    }

    /// The row at `start`: its hash, its place, and its end.
    fn row(
        &mut self,
        plan: &RowPlan,
        event: u32,
        images: &Bytes,
        start: usize,
    ) -> Result<(i128, Image, usize), RowError> {
        let row = images.get(start..).unwrap_or_default();
        let length = plan.walk(row, &mut self.no_key)?;
        if length == 0 {
            return Err(RowError::row("an image without columns"));
        }
        let hash = self.hasher.hash(|hasher| plan.write(row, hasher))?;
        Ok((hash, Image { event, start: start as u32, plan: self.plans.len() as u32 - 1 }, start + length))
    }

    fn net(&mut self, hash: i128, image: Image) -> &mut Net {
        self.nets.entry(hash).or_insert(Net { image, inserts: 0, deletes: 0 })
    }

    /// Writes what [`HashedRows::set_writes`] has said.
    pub(crate) fn encode(
        &self,
        table: &TargetTable,
        encoder: &mut Encoder,
        unwritable: &mut Unwritable<'_>,
    ) -> Result<()> {
        for write in &self.writes {
            let Some((hash, net)) = self.nets.get_index(write.row as usize) else {
                return Err(Error::definite(format!("{}: a row that is not there is to be written", table.name))
                    .hint("this is a fault of towpath; please report it"));
            };
            let (hash, copy) = (*hash, write.copy);
            match write.op {
                Op::Delete => unwritable.encode(encoder, None, Op::Delete, Gone { hash, copy, table })?,
                Op::Upsert => {
                    let plan = &self.plans[net.image.plan as usize];
                    let image = &self.events[net.image.event as usize][net.image.start as usize..];
                    let cells = ImageCells { plan, image };
                    unwritable.encode(encoder, None, Op::Upsert, Keyed { hash, copy, cells })?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct ImageCells<'a> {
    plan: &'a RowPlan,
    image: &'a [u8],
}

impl EncodeRow for ImageCells<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        self.plan.write(self.image, out)
    }
}

/// A row behind its key.
#[derive(Clone, Copy)]
pub(crate) struct Keyed<R> {
    pub(crate) hash: i128,
    pub(crate) copy: i64,
    pub(crate) cells: R,
}

impl<R: EncodeRow<Error = RowError>> EncodeRow for Keyed<R> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        write_key(self.hash, self.copy, out);
        self.cells.write(out)
    }
}

/// A row to be deleted: nobody will see the cells behind the key, but they must be valid.
#[derive(Clone, Copy)]
struct Gone<'a> {
    hash: i128,
    copy: i64,
    table: &'a TargetTable,
}

impl EncodeRow for Gone<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        write_key(self.hash, self.copy, out);
        self.table.columns.iter().skip(self.table.key_columns).for_each(|column| write_any(column, out));
        Ok(())
    }
}

fn write_key(hash: i128, copy: i64, out: &mut impl ValueWriter) {
    out.number(itoa::Buffer::new().format(hash).as_bytes());
    out.integer(copy);
}
