//! XA transactions between XA PREPARE and XA COMMIT.
//!
//! A prepared transaction's rows wait here, for seconds as a rule, for days if its coordinator died. When it is committed
//! they enter the batch, at the place of the commit; that is their order too, because a prepared transaction keeps its
//! locks. When it is rolled back they are forgotten.
//!
//! # Restarts
//! An epoch's end may lie between a prepare and its commit, and the log before a checkpoint is never read again. So when
//! an epoch closes, the rows of what is prepared then are in the state store, and the epoch carries which names came and
//! which went ([`PreparedChanges`]): both become true in the transaction that moves the checkpoint. A run that died in
//! between finds what was prepared at its checkpoint, and reads the log from there; an epoch that is read again, for its
//! intent is open, gives the same rows in the same order. Most transactions are prepared and committed within one epoch
//! and never reach the store.
//!
//! # Memory
//! Rows that wait hold their share of the budget. At `limit` bytes they are written to the store, and read back part by
//! part.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::batch::MERGED_ROW_BYTES;
use crate::mysql::binlog::{RowsEvent, StoredRows, XaStep, Xid};
use crate::ring::{Budget, Held};
use crate::state::{PreparedChanges, PreparedPart, Store};
use crate::{Error, Result};

/// Rows are written and read back in parts of at most this size.
const PART: usize = 4 << 20;

pub struct XaRows {
    store: Arc<Store>,
    budget: Budget,
    /// Bytes that may wait in memory.
    limit: usize,
    /// What is being prepared.
    open: Option<Waiting>,
    prepared: HashMap<Xid, Waiting>,
    changes: PreparedChanges,
    next_number: u64,
    /// Bytes that wait in memory.
    bytes: usize,
}

/// One transaction's rows: first those in the store, then those in memory.
#[derive(Debug)]
pub struct Waiting {
    number: u64,
    parts: u64,
    rows: VecDeque<(RowsEvent, Held)>,
    bytes: usize,
    /// The store has its name.
    kept: bool,
}

/// Rows on their way into the batch.
pub struct Replay {
    waiting: Waiting,
    stored: StoredRows,
    /// The part that is read next.
    part: u64,
}

impl From<Waiting> for Replay {
    fn from(waiting: Waiting) -> Replay {
        Replay { waiting, stored: StoredRows::default(), part: 0 }
    }
}

impl XaRows {
    /// With what is prepared at the checkpoint.
    ///
    /// # Errors
    /// The state store's.
    pub fn open(store: &Arc<Store>, budget: &Budget, limit: usize) -> Result<XaRows> {
        let mut rows = XaRows {
            store: Arc::clone(store),
            budget: budget.clone(),
            limit,
            open: None,
            prepared: HashMap::new(),
            changes: PreparedChanges::default(),
            next_number: 1,
            bytes: 0,
        };
        for found in store.prepared()? {
            let name = Xid::parse(&found.name)
                .ok_or_else(|| Error::definite(format!("state store: {} is no XA transaction's name", found.name)))?;
            let waiting =
                Waiting { number: found.number, parts: found.parts, rows: VecDeque::new(), bytes: 0, kept: true };
            rows.prepared.insert(name, waiting);
            rows.next_number = rows.next_number.max(found.number + 1);
        }
        Ok(rows)
    }

    /// Rows of the transaction that is being prepared; with `first` it has just begun.
    ///
    /// # Errors
    /// The state store's.
    pub fn add(&mut self, first: bool, event: RowsEvent, held: Held) -> Result<()> {
        if first && let Some(cut_off) = self.open.take() {
            self.forget(cut_off);
        }
        let mut open = self.open.take().unwrap_or_else(|| self.begin());
        open.bytes += held.bytes();
        self.bytes += held.bytes();
        open.rows.push_back((event, held));
        if self.bytes >= self.limit {
            self.write(&mut open)?;
        }
        self.open = Some(open);
        if self.bytes >= self.limit {
            self.write_prepared()?;
        }
        Ok(())
    }

    /// What was added is prepared. Without `rows` it is another transaction that is, which has none of ours: what was
    /// added was cut off.
    pub fn prepare(&mut self, name: Xid, rows: bool) {
        if !rows && let Some(cut_off) = self.open.take() {
            self.forget(cut_off);
        }
        let waiting = self.open.take().unwrap_or_else(|| self.begin());
        // The log from before the reader's connection failed may come again.
        if let Some(former) = self.prepared.insert(name, waiting) {
            self.forget(former);
        }
    }

    /// What was added is committed without being prepared.
    pub fn one_phase(&mut self) -> Option<Waiting> {
        self.open.take()
    }

    /// Takes what is prepared under the name; `None`: nothing is.
    pub fn decide(&mut self, name: &Xid) -> Option<Waiting> {
        self.prepared.remove(name)
    }

    /// About how many bytes a commit brings into the batch at once.
    pub(super) fn weight(&self, step: &XaStep) -> usize {
        let waiting = match step {
            XaStep::OnePhase => self.open.as_ref(),
            XaStep::Commit(name) => self.prepared.get(name),
            XaStep::Prepared { .. } | XaStep::Rollback(_) => None,
        };
        waiting.map_or(0, |waiting| {
            waiting.bytes + waiting.rows.len() * MERGED_ROW_BYTES + (waiting.parts as usize).saturating_mul(PART)
        })
    }

    /// What is prepared at this place, also without rows of ours.
    pub(super) fn names(&self) -> impl Iterator<Item = &Xid> {
        self.prepared.keys()
    }

    pub(super) fn is_prepared(&self, name: &Xid) -> bool {
        self.prepared.contains_key(name)
    }

    /// The next of the rows, in their order; `None` behind the last, and then they are forgotten.
    ///
    /// # Errors
    /// The state store's.
    pub fn next_row(&mut self, replay: &mut Replay) -> Result<Option<(RowsEvent, Held)>> {
        let Waiting { number, parts, .. } = replay.waiting;
        let damaged = || {
            Error::definite(format!("state store: the rows of the prepared XA transaction {number} are damaged"))
                .hint("start a new job (another `name`), which copies the tables again")
        };
        loop {
            if let Some(event) = replay.stored.next_event().map_err(|_| damaged())? {
                // Nothing of the budget may be free, and nothing becomes so before this row is in.
                let held = self.budget.hold_at_once(event.images.len());
                return Ok(Some((event, held)));
            }
            if replay.part == parts {
                break;
            }
            replay.stored.add(&self.store.read_prepared(number, replay.part)?.ok_or_else(damaged)?);
            replay.part += 1;
        }
        if !replay.stored.is_empty() {
            return Err(damaged());
        }
        let waiting = &mut replay.waiting;
        if let Some((event, held)) = waiting.rows.pop_front() {
            self.bytes -= held.bytes();
            waiting.bytes -= held.bytes();
            return Ok(Some((event, held)));
        }
        if waiting.kept || waiting.parts > 0 {
            self.changes.gone.push(waiting.number);
        }
        Ok(None)
    }

    /// Its rows do not count, or are in the batch.
    pub fn forget(&mut self, waiting: Waiting) {
        let Waiting { number, parts, rows, bytes, kept } = waiting;
        drop(rows);
        self.bytes -= bytes;
        if kept || parts > 0 {
            self.changes.gone.push(number);
        }
    }

    /// For the checkpoint that comes next: everything that is prepared now is in the store with its rows.
    ///
    /// # Errors
    /// The state store's.
    pub fn close(&mut self) -> Result<PreparedChanges> {
        self.write_prepared()?;
        for (name, waiting) in &mut self.prepared {
            if !std::mem::replace(&mut waiting.kept, true) {
                self.changes.came.push((waiting.number, name.to_string()));
            }
        }
        Ok(std::mem::take(&mut self.changes))
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Bytes of rows that wait in memory.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn begin(&mut self) -> Waiting {
        let number = self.next_number;
        self.next_number += 1;
        Waiting { number, parts: 0, rows: VecDeque::new(), bytes: 0, kept: false }
    }

    /// In one transaction as far as `PART` goes: with many small ones, each of its own would cost a disk's flush.
    fn write_prepared(&mut self) -> Result<()> {
        let mut parts = Vec::new();
        let mut prepared = std::mem::take(&mut self.prepared);
        let written = prepared.values_mut().try_for_each(|waiting| self.move_out(waiting, &mut parts));
        self.prepared = prepared;
        written.and_then(|()| self.flush(&mut parts))
    }

    fn write(&mut self, waiting: &mut Waiting) -> Result<()> {
        let mut parts = Vec::new();
        self.move_out(waiting, &mut parts)?;
        self.flush(&mut parts)
    }

    /// Moves rows from memory into `parts`, and those into the store when they are enough.
    fn move_out(&mut self, waiting: &mut Waiting, parts: &mut Vec<PreparedPart>) -> Result<()> {
        let mut rows = Vec::new();
        while let Some((event, held)) = waiting.rows.pop_front() {
            event.store(&mut rows);
            self.bytes -= held.bytes();
            waiting.bytes -= held.bytes();
            drop(held);
            while rows.len() >= PART {
                let rest = rows.split_off(PART);
                parts.push(waiting.next_part(std::mem::replace(&mut rows, rest)));
                self.flush(parts)?;
            }
        }
        if !rows.is_empty() {
            parts.push(waiting.next_part(rows));
            if parts.iter().map(|part| part.rows.len()).sum::<usize>() >= PART {
                self.flush(parts)?;
            }
        }
        Ok(())
    }

    fn flush(&self, parts: &mut Vec<PreparedPart>) -> Result<()> {
        if !parts.is_empty() {
            self.store.write_prepared(parts)?;
            parts.clear();
        }
        Ok(())
    }
}

impl Waiting {
    fn next_part(&mut self, rows: Vec<u8>) -> PreparedPart {
        let part = self.parts;
        self.parts += 1;
        PreparedPart { number: self.number, part, rows }
    }
}

#[cfg(test)]
mod tests;
