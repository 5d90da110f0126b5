//! A table that the target takes its time to alter *lags*: its rows wait, those of the other tables go on.
//!
//! ```text
//! stream    rows of t, u │ ALTER t │ rows of t, u …                         │ rows of t, u …
//! target    ── epoch ───▶│ begins ═══════════ alters t ══════════▶ altered  │
//! u         ────────────▶│──────────▶────────▶────────▶────────▶──────────▶ │ ───────▶
//! t         ────────────▶│ its rows wait in the state store … ─────▶ all in │ ───────▶
//! ```
//!
//! The statement is a barrier as ever ([`super::change`]): all before it is in, and the target has taken the ALTER on. If it
//! is not done after [`GRACE`], the checkpoint moves behind the statement all the same, with the definitions that hold from
//! there on, and with the note that the table lags ([`crate::state::Lag`]). From then on the table's events are *parked*: each
//! epoch takes them into the state store in the transaction that moves its checkpoint. When the target is done, which
//! is written down at once, an epoch is closed, and what is parked goes in, the last image per key as ever, in as many
//! loads as memory wants; then the table is where the others are.
//!
//! # Why each row is right
//! What is parked is, at every checkpoint, exactly what the table lacks there: it comes and goes in the transactions that
//! write checkpoints. So the log is never read again from an older place, and every table has one position, or
//! one position and a rest. No row of the table is sent while anything is parked, and rows that are parked are sent in their
//! order, so none is overwritten by an older one, and a key is in a load once. Rows are read with the definition behind the
//! statement, the only one that holds while the table lags, for the next statement on it waits.
//!
//! # Crashes
//! - Before the checkpoint has moved: the statement is read again, like any other.
//! - While the target alters: the next run finds the lag and asks for the change once more, which compares first. No row of
//!   the new shape has been sent, so that is harmless.
//! - When it is done: that was written down before the first row, so it is not asked for again. Loads of parked rows are
//!   written down before they are sent and are waited for by the next run; it sends their rows once more, from the
//!   state store, in the same order, and nothing newer is in.
//!
//! # What waits
//! Everything waits when more than the limit is parked; at a transaction too large for memory, which goes out in pieces; at
//! a statement within a transaction. A statement on a table that lags waits until it has caught up, and whatever comes
//! behind it waits too. Dead letters and corrections of the table wait for it. `towpath recopy` does not: the copy has
//! all that is parked, which is forgotten; that is the way on when the target can never do what it was asked.
//! Rows behind the copy of a table without a key are parked in the same way ([`super::join`]); sixteen times as many of them may be.
//! With `atomicTransactions` no table may be older than another, so there all wait for all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel as channel;

use crate::Result;
use crate::mysql::binlog::RowsEvent;
use crate::ring::{Budget, Held};
use crate::schema::TableName;
use crate::state::{ParkedChanges, ParkedRows, Store, WaitsFor};

mod alterations;

pub use alterations::Alterations;
pub(crate) use alterations::CatchUp;
pub(in crate::apply) use alterations::Running;

/// So long everything waits for an ALTER: most take less, and then nothing has to be written down.
pub(super) const GRACE: Duration = Duration::from_millis(300);

/// Parts of rows in the state store have about this size.
const PART: usize = 1 << 20;

/// The target has ended an ALTER, or refuses it.
pub(crate) struct Altered {
    /// As the source calls it.
    pub(crate) table: TableName,
    /// The lag's.
    pub(crate) number: u64,
    pub(crate) result: Result<()>,
}

/// The flusher's part: rows that wait, and tables for which they need no longer.
pub(crate) struct Lagging {
    pub(super) store: Arc<Store>,
    pub(super) budget: Budget,
    ends: channel::Receiver<Altered>,
    /// Keeps the channel open.
    _open: channel::Sender<Altered>,
    /// Those that were not looked after yet.
    pub(super) ended: VecDeque<Altered>,
    /// Rows behind the last epoch's end, in parts.
    parts: Vec<ParkedRows>,
    held: Vec<Held>,
    /// Bytes in `parts`.
    bytes: usize,
    /// Bytes in the state store, and on their way there, of tables that lag.
    stored: u64,
    /// The same, behind copies of tables without a key.
    behind_copies: u64,
    limit: u64,
}

/// Reading a table takes longer than altering it: so many times the limit may be parked behind a copy.
const COPIES_TAKE: u64 = 16;

/// Rows on their way into the state store.
#[derive(Default)]
pub struct Parked {
    pub(super) changes: ParkedChanges,
    /// Their share of the memory budget, until they are there.
    held: Vec<Held>,
}

impl Parked {
    /// They are in the store.
    pub(super) fn written(self) {
        drop(self.held);
    }
}

impl Lagging {
    /// With where the ends of ALTERs are told. `limit` bytes may be parked.
    ///
    /// # Errors
    /// The state store's.
    pub(crate) fn open(store: &Arc<Store>, budget: &Budget, limit: u64) -> Result<(Lagging, channel::Sender<Altered>)> {
        let (open, ends) = channel::unbounded();
        let lagging = Lagging {
            store: Arc::clone(store),
            budget: budget.clone(),
            ends,
            _open: open.clone(),
            ended: VecDeque::new(),
            parts: Vec::new(),
            held: Vec::new(),
            bytes: 0,
            stored: store.bytes_of_lags()?,
            behind_copies: store.bytes_behind_copies()?,
            limit,
        };
        Ok((lagging, open))
    }

    pub(super) fn ends(&self) -> &channel::Receiver<Altered> {
        &self.ends
    }

    /// Takes note of what has ended.
    pub(super) fn look(&mut self) -> bool {
        self.ended.extend(self.ends.try_iter());
        !self.ended.is_empty()
    }

    /// Bytes that wait in memory for the epoch's end.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No more rows of tables that lag should come.
    pub(super) fn is_full(&self) -> bool {
        self.stored + self.bytes as u64 >= self.limit
    }

    /// No more rows behind a copy should come.
    pub(super) fn copies_are_full(&self) -> bool {
        self.behind_copies + self.bytes as u64 >= self.limit.saturating_mul(COPIES_TAKE)
    }

    /// An event of a table whose rows wait.
    pub(super) fn park(&mut self, of: &WaitsFor, event: &RowsEvent, held: Held) {
        let open = self.parts.iter().rposition(|part| part.of == *of && part.rows.len() < PART);
        let open = open.unwrap_or_else(|| {
            self.parts.push(ParkedRows { of: of.clone(), rows: Vec::new() });
            self.parts.len() - 1
        });
        let part = &mut self.parts[open];
        let before = part.rows.len();
        event.store(&mut part.rows);
        self.bytes += part.rows.len() - before;
        let apart = match self.held.last_mut() {
            Some(all) => all.join(held),
            None => Some(held),
        };
        self.held.extend(apart);
    }

    /// For the checkpoint that comes next.
    pub(super) fn close(&mut self) -> Parked {
        self.bytes = 0;
        for part in &self.parts {
            let stored = match part.of {
                WaitsFor::Lag(_) => &mut self.stored,
                WaitsFor::Copy(_) => &mut self.behind_copies,
            };
            *stored += part.rows.len() as u64;
        }
        let came = std::mem::take(&mut self.parts);
        Parked { changes: ParkedChanges { came, gone: None }, held: std::mem::take(&mut self.held) }
    }

    /// What is parked behind the copy of the table is of no use: the copy begins anew.
    pub(super) fn forget_copy(&mut self, table: &TableName) {
        self.parts.retain(|part| !matches!(&part.of, WaitsFor::Copy(other) if other == table));
        self.bytes = self.parts.iter().map(|part| part.rows.len()).sum();
    }

    /// Rows have left the store.
    ///
    /// # Errors
    /// The state store's.
    pub(super) fn left(&mut self) -> Result<()> {
        self.stored = self.store.bytes_of_lags()?;
        self.behind_copies = self.store.bytes_behind_copies()?;
        Ok(())
    }
}
