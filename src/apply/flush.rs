//! The flusher: takes slots off the ring, fills the batch and closes epochs.
//!
//! An epoch closes on a transaction's end, when `realFlushPauseSec` has passed since the last one closed and
//! that one is in, or when the batch is full. While epoch N is being loaded, N+1 fills; only one is ever on
//! its way, so epochs commit in order. The longer a target takes, the larger the next epoch may become: a batch that would
//! be full goes on filling to more than three times that size while the epoch before it is on its way. So loads that take long are few,
//! and a target that is quick is not kept waiting.
//!
//! The rows of the transaction that is being read wait beside the batch and join it at the transaction's end: until
//! then the connection may be lost, and the transaction with it (`Slot::CutOff`).
//!
//! A transaction that outgrows its share of the memory budget joins the batch before its end, after the epoch before
//! it was closed, and is sent in pieces: a piece is an epoch whose end is its begin, so the checkpoint stays before the
//! transaction until its last row is in. Its end closes the epoch at once: a busy log of such transactions would else
//! hold the checkpoint back for ever. When such a transaction is cut off, its rows are in the target already; then the
//! next transaction has to be the same one, which writes them again, or the job stops.
//!
//! A statement that changes tables is a barrier ([`super::change`]): an epoch is closed before it, it goes to the committer
//! by itself, and the next row is read with the tables as they are behind it.
//!
//! While the target alters a table, the rows of that table are parked ([`super::lag`]); so are those of a table without a
//! key while it is copied ([`super::join`]).
//!
//! After a crash the first epoch is a *replay*: it closes exactly where the intent said, whatever the limits
//! say, so its loads have the labels they had.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel as channel;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, MERGED_ROW_BYTES};
use super::change::Change;
use super::join::{Errand, Errands, Task};
use super::lag::{Altered, Lagging, Parked};
use super::pace::Pace;
use super::row_hash::CopiedAt;
use super::xa::{Replay, Waiting, XaRows};
use crate::live::Limiter;
use crate::metrics::Phase;
use crate::mysql::binlog::{Place, RowsEvent, Slot, XaStep};
use crate::mysql::position::{GtidSet, Position, order_places};
use crate::progress::Progress;
use crate::ring::{Budget, Closed, Entry, Receiver};
use crate::state::PreparedChanges;
use crate::{Error, Result, step};
use filling::{Filling, advance};
pub use settle::Open;
pub use tables::Tables;
use tables::{Known, Way};

/// Rows between two positions, ready to be loaded.
pub struct Epoch {
    pub begin: Position,
    /// Equal to `begin` for a piece of a large transaction.
    pub end: Position,
    /// The source's commit time of the last transaction, microseconds since 1970; 0 = none.
    pub committed_at: u64,
    pub batch: Batch,
    /// The pieces that have gone out since the checkpoint do not count: their transaction was cut off and comes again.
    pub anew: bool,
    /// What is prepared at `end` and was not at `begin`, or the other way round.
    pub prepared: PreparedChanges,
    /// A statement between the two; then there are no rows. `begin` = `end` if its transaction goes on.
    pub change: Option<Change>,
    /// Something for a table that is being copied; then there is nothing else, and `begin` = `end`.
    pub(crate) task: Option<Task>,
    /// What the history remembers at `end`, if that is not what it did at `begin`.
    pub history: Option<String>,
    /// Rows of tables that lag behind `end`.
    pub parked: Parked,
}

impl Epoch {
    /// One with nothing in it.
    pub(super) fn between(begin: Position, end: Position) -> Epoch {
        Epoch {
            begin,
            end,
            committed_at: 0,
            batch: Batch::default(),
            anew: false,
            prepared: PreparedChanges::default(),
            change: None,
            task: None,
            history: None,
            parked: Parked::default(),
        }
    }
}

/// When a batch is full.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory. A batch that has reached half of it closes at the next transaction's end, if no epoch is on its way
    /// ([`Limits::in_flight`]); one that reaches it inside a transaction goes out as a piece.
    pub bytes: usize,
}

impl Limits {
    /// A third of the budget.
    pub fn new(budget: &Budget) -> Self {
        Limits { bytes: (budget.total() / 3).max(2) }
    }

    /// Of a batch while an epoch is on its way: three fifths of the budget. That epoch's events were as many; its bodies,
    /// which have no images of rows as they were before, mostly take less. The ring has the rest, and where nothing is left
    /// the reader waits until the epoch is in.
    fn in_flight(&self) -> usize {
        self.bytes * 9 / 5
    }
}

/// Why a run of the flusher ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// `until` was reached and everything before it is in.
    CaughtUp,
    /// It was asked to stop; everything up to the checkpoint is in.
    Stopped,
}

/// How long a stop waits for the end of the transaction that is being read.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// A stop is noticed within this time even when nothing happens.
const LOOK: Duration = Duration::from_millis(200);
/// A checkpoint that only moves the position is written at most this often.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(1);

/// Events of a transaction for which room is kept.
const OPEN_ROOM: usize = 1024;

pub struct Flusher {
    pub receiver: Receiver<Slot>,
    pub tables: Tables,
    /// Which rows of tables without a key are in with their copy.
    pub copied_at: CopiedAt,
    /// As at the position where it begins.
    pub xa: XaRows,
    pub limits: Limits,
    /// How long it waits between epochs.
    pub pace: Arc<Pace>,
    /// Says when to read on.
    pub limiter: Limiter,
    /// To the committer; it takes one epoch at a time.
    pub epochs: channel::Sender<Epoch>,
    /// One message for each epoch that is in.
    pub done: channel::Receiver<()>,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
    /// Cancelled when a stop must wait no longer, not even for the end of the transaction that is being read.
    pub leave: CancellationToken,
    /// Stop once everything before this place is in.
    pub until: Option<Position>,
    /// `until`'s file and offset are of the log that is read: whoever has passed them has read all before them, also where
    /// the server counts transactions as executed that its log does not have.
    pub until_by_place: bool,
    /// The end of an open intent: the first epoch closes here and nowhere else.
    pub replay_until: Option<Position>,
    /// What tables that are being copied ask for.
    pub(crate) errands: Errands,
    pub(crate) lagging: Lagging,
    /// Tables whose definitions the source's catalogue is asked for.
    pub open: Open,
}

enum Woken {
    Slot(Entry<Slot>),
    EpochIsIn,
    Errand(Errand),
    Altered(Altered),
    Timer,
}

impl Flusher {
    /// Runs until `until` is reached or a stop is asked for. Blocks its thread.
    ///
    /// # Errors
    /// Definite, when a row cannot be taken or the committer has failed (its own error says why).
    pub fn run(mut self, start: Position) -> Result<Ended> {
        let mut filling = Filling::new(start);
        let mut stop_asked: Option<Instant> = None;
        self.ask_catalogue();
        let mut look = true;
        loop {
            if std::mem::take(&mut filling.moved) {
                filling.at_end = self.is_at_end(&filling);
            }
            if filling.at_end
                && !filling.in_transaction
                && !self.copies()
                && !self.tables.lag()
                && !self.awaits_catalogue()
            {
                return self.finish(filling, Ended::CaughtUp);
            }
            if look && self.stop.is_cancelled() {
                let since = *stop_asked.get_or_insert_with(Instant::now);
                if !filling.in_transaction {
                    return self.finish(filling, Ended::Stopped);
                }
                if since.elapsed() > STOP_PATIENCE || self.leave.is_cancelled() {
                    // The batch holds half a transaction: it cannot go out; it is read again next time.
                    filling.batch = Batch::default();
                    filling.position = filling.begin.clone();
                    return self.finish(filling, Ended::Stopped);
                }
            }
            let woken = match filling.held.take_if(|_| std::mem::take(&mut filling.held_again)) {
                Some(entry) => Woken::Slot(entry),
                None => self.wait(&filling)?,
            };
            // What others ask for is looked at behind a parcel: while it goes on, nothing is waited for.
            look = !matches!(woken, Woken::Slot(_)) || !self.receiver.has_open();
            match woken {
                Woken::Slot(entry) if self.parks() && self.has_to_wait(&filling, &entry)? => {
                    self.hold(&mut filling, entry)?
                }
                Woken::Slot(Entry { item, held }) => match item {
                    Slot::Rows(item) if self.copied_at.has(&item)? => {}
                    Slot::Rows(item) => self.rows(&mut filling, Entry { item, held })?,
                    Slot::CutOff(gtid) => {
                        filling.cut_off(gtid);
                        filling.anew |= self.tables.undo();
                    }
                    Slot::Commit(place) => self.commit(&mut filling, &place)?,
                    Slot::Passed(place, gtids) => {
                        filling.passes(&place)?;
                        self.boundary(&mut filling, &place, Some(&gtids))?;
                    }
                    Slot::XaRows { first, event } => self.xa.add(first, event, held)?,
                    Slot::Xa(place, step) => self.xa(&mut filling, &place, &step)?,
                    Slot::Statement(statement) => self.statement(&mut filling, *statement)?,
                },
                Woken::EpochIsIn => {
                    filling.in_flight = false;
                    self.close_if_due(&mut filling)?;
                }
                Woken::Errand(errand) => self.errands(&mut filling, Some(errand))?,
                Woken::Altered(altered) => self.lagging.ended.push_back(altered),
                Woken::Timer => self.close_if_due(&mut filling)?,
            }
            if look || filling.is_between() {
                self.let_catch_up(&mut filling)?;
                if self.errands.any() {
                    self.errands(&mut filling, None)?;
                }
            }
        }
    }

    fn wait(&self, filling: &Filling) -> Result<Woken> {
        let held_back = self.limiter.held_back();
        let reads = held_back.is_none() && filling.held.is_none() && !self.parks_too_much();
        if reads && let Some(entry) = self.receiver.take() {
            return Ok(Woken::Slot(entry));
        }
        let mut patience = held_back.unwrap_or(LOOK);
        if !filling.in_flight && filling.has_news() {
            patience = patience.min(self.due_at(filling).saturating_duration_since(Instant::now()));
        }
        let (nothing, no_errand) = (channel::never(), channel::never());
        channel::select! {
            recv(if reads { self.receiver.inner() } else { &nothing }) -> parcel => {
                self.receiver.open(parcel.map_err(|_| reader_gone())?);
                Ok(self.receiver.take().map_or(Woken::Timer, Woken::Slot))
            },
            recv(self.done) -> done => done.map(|()| Woken::EpochIsIn).map_err(|_| committer_gone()),
            recv(if self.errands.is_free() { self.errands.inbox() } else { &no_errand }) -> errand => errand.map(Woken::Errand).map_err(|_| reader_gone()),
            recv(self.lagging.ends()) -> altered => altered.map(Woken::Altered).map_err(|_| committer_gone()),
            default(patience) => Ok(Woken::Timer),
        }
    }

    fn is_at_end(&self, filling: &Filling) -> bool {
        self.until.as_ref().is_some_and(|until| self.has_passed(filling, until))
    }

    /// Tables are being copied, or will be: that is a part of what is to be done before the end.
    fn copies(&self) -> bool {
        self.errands.are_open() || self.tables.followed.has_copies()
    }

    fn has_passed(&self, filling: &Filling, until: &Position) -> bool {
        let here = &filling.position;
        here.reached(until)
            || self.until_by_place
                && filling.heard
                && order_places((&here.file, here.offset), (&until.file, until.offset)).is_some_and(Ordering::is_ge)
    }

    fn rows(&mut self, filling: &mut Filling, entry: Entry<RowsEvent>) -> Result<()> {
        if filling.open_at.is_none() {
            filling.open_at = Some((Arc::clone(&entry.item.file), entry.item.offset));
        }
        if self.tables.awaits_rows(&entry.item.table.name) {
            self.rows_tell(filling, &entry.item)?;
        }
        if filling.in_transaction {
            return self.join(filling, entry);
        }
        // At least a row.
        filling.open_bytes += entry.held.bytes() + MERGED_ROW_BYTES;
        filling.open.push(entry);
        // The batch has the other half.
        if filling.open_bytes < self.limits.bytes / 2 {
            return Ok(());
        }
        if filling.has_news() {
            // A replay that comes here was begun under another limit: it cannot have the same loads anyway.
            if self.replay_until.take().is_some() && self.tables.row_hashes {
                return Err(cut_replay());
            }
            self.close(filling)?;
        }
        filling.in_transaction = true;
        self.join_open(filling)
    }

    /// The open transaction's rows join the batch.
    fn join_open(&mut self, filling: &mut Filling) -> Result<()> {
        filling.open_bytes = 0;
        let mut open = std::mem::take(&mut filling.open);
        open.drain(..).try_for_each(|entry| self.join(filling, entry))?;
        // Its room is used again, unless one transaction was much larger than most are.
        open.shrink_to(OPEN_ROOM);
        filling.open = open;
        Ok(())
    }

    fn join(&mut self, filling: &mut Filling, Entry { item: event, held }: Entry<RowsEvent>) -> Result<()> {
        let Some(Known { mapping, plan, way, .. }) = self.tables.of(&event)? else { return Ok(()) };
        match way {
            Way::Batch => {}
            Way::Parked(of) => {
                self.limiter.took(0, held.bytes() as u64);
                self.lagging.park(of, &event, held);
                return Ok(());
            }
            Way::Left => return Ok(()),
        }
        if let Some(watch) = self.errands.watch_of(&mapping.source.name) {
            watch.note(mapping, plan, &event)?;
        }
        let (read, bytes) = (filling.batch.read().total(), held.bytes() as u64);
        filling.batch.add(mapping, plan, &event, held)?;
        self.limiter.took(filling.batch.read().total() - read, bytes);
        // A transaction that joins as a whole, at its end, is no more than half of the limit, and has room behind any batch.
        let most =
            if filling.in_transaction { self.limits.bytes } else { self.limits.in_flight() + self.limits.bytes / 2 };
        if filling.batch.bytes() >= most {
            self.send_piece(filling)?;
        }
        Ok(())
    }

    /// What the batch has of a transaction that goes on.
    fn send_piece(&mut self, filling: &mut Filling) -> Result<()> {
        self.wait_for_flight(filling)?;
        let piece = Epoch {
            committed_at: filling.committed_at,
            batch: std::mem::take(&mut filling.batch),
            anew: std::mem::take(&mut filling.anew),
            ..Epoch::between(filling.begin.clone(), filling.begin.clone())
        };
        filling.in_pieces = true;
        self.hand_over(filling, piece)
    }

    fn commit(&mut self, filling: &mut Filling, place: &Place) -> Result<()> {
        filling.comes_again(place)?;
        self.join_open(filling)?;
        filling.committed_at = place.committed_at;
        (filling.in_transaction, filling.open_at) = (false, None);
        self.tables.before = None;
        self.boundary(filling, place, None)
    }

    /// A step of an XA transaction. A commit is where its rows enter the batch.
    fn xa(&mut self, filling: &mut Filling, place: &Place, step: &XaStep) -> Result<()> {
        filling.comes_again(place)?;
        match step {
            XaStep::Prepared { name, rows } => self.xa.prepare(name.clone(), *rows),
            XaStep::OnePhase => {
                if let Some(waiting) = self.xa.one_phase() {
                    self.replay(filling, waiting, place)?;
                }
            }
            XaStep::Commit(name) => {
                let waiting = self.xa.decide(name).ok_or_else(|| {
                    Error::definite(format!(
                        "binlog {}:{}: XA transaction {name} is committed, and was prepared before the place where the job began: \
                         its rows were not read",
                        place.file, place.offset
                    ))
                    .hint(
                        "start a new job (another `name`) with startup: initial, or with a place before the prepare; for a copy to \
                         see prepared transactions, the job's user needs XA_RECOVER_ADMIN at a MySQL source",
                    )
                })?;
                self.replay(filling, waiting, place)?;
            }
            XaStep::Rollback(name) => {
                if let Some(waiting) = self.xa.decide(name) {
                    self.xa.forget(waiting);
                }
            }
        }
        match step {
            XaStep::OnePhase | XaStep::Commit(_) => self.commit(filling, place),
            XaStep::Prepared { .. } | XaStep::Rollback(_) => self.boundary(filling, place, None),
        }
    }

    fn replay(&mut self, filling: &mut Filling, waiting: Waiting, commit: &Place) -> Result<()> {
        let mut replay = Replay::from(waiting);
        while let Some((item, held)) = self.xa.next_row(&mut replay)? {
            if self.copied_at.has_at(&item, commit)? {
                continue;
            }
            self.rows(filling, Entry { item, held })?;
        }
        Ok(())
    }

    fn boundary(&mut self, filling: &mut Filling, place: &Place, passed: Option<&GtidSet>) -> Result<()> {
        advance(&mut filling.position, place, passed);
        (filling.heard, filling.moved) = (true, true);
        if filling.in_transaction {
            return Ok(());
        }
        self.progress.read_to(place.committed_at, filling.batch.read().total());
        if let Some(end) = &self.replay_until {
            if !filling.position.reached(end) {
                return Ok(());
            }
            self.replay_until = None;
            return self.close(filling);
        }
        if filling.in_pieces || self.is_full(filling) {
            return self.close(filling);
        }
        self.close_if_due(filling)
    }

    /// Whether the batch closes at a transaction's end, whatever the pause says.
    fn is_full(&self, filling: &Filling) -> bool {
        let bytes = if filling.in_flight { self.limits.in_flight() } else { self.limits.bytes / 2 };
        self.pace.is_full(filling.batch.rows()) || filling.batch.bytes() + self.lagging.bytes() >= bytes
    }

    fn due_at(&self, filling: &Filling) -> Instant {
        let pause = self.pace.pause();
        filling.closed_at + if filling.batch.is_empty() { pause.max(IDLE_CHECKPOINT) } else { pause }
    }

    fn close_if_due(&mut self, filling: &mut Filling) -> Result<()> {
        if filling.in_flight && self.done.try_recv().is_ok() {
            filling.in_flight = false;
        }
        let closable = !filling.in_transaction && !filling.in_flight && self.replay_until.is_none();
        if closable && filling.has_news() && (self.is_full(filling) || Instant::now() >= self.due_at(filling)) {
            self.close(filling)?;
        }
        Ok(())
    }

    /// Hands the batch over as a whole epoch, waiting for the one before it.
    fn close(&mut self, filling: &mut Filling) -> Result<()> {
        self.wait_for_flight(filling)?;
        step::reached("epoch-closed");
        filling.in_pieces = false;
        let begin = std::mem::replace(&mut filling.begin, filling.position.clone());
        let epoch = Epoch {
            committed_at: filling.committed_at,
            batch: std::mem::take(&mut filling.batch),
            anew: std::mem::take(&mut filling.anew),
            prepared: self.xa.close()?,
            history: self.tables.unstored()?,
            parked: self.lagging.close(),
            ..Epoch::between(begin, filling.position.clone())
        };
        self.hand_over(filling, epoch)
    }

    fn hand_over(&self, filling: &mut Filling, epoch: Epoch) -> Result<()> {
        filling.closed_at = Instant::now();
        filling.in_flight = true;
        self.progress.closed();
        self.epochs.send(epoch).map_err(|_| committer_gone())
    }

    fn wait_for_flight(&self, filling: &mut Filling) -> Result<()> {
        if filling.in_flight {
            let waited = self.progress.metrics().timed(Phase::Wait, || self.done.recv());
            waited.map_err(|_| committer_gone())?;
            filling.in_flight = false;
        }
        Ok(())
    }

    fn finish(mut self, mut filling: Filling, ended: Ended) -> Result<Ended> {
        if self.replay_until.is_some() && self.tables.row_hashes {
            // Half a replay would number the other half's rows anew: it is read again next time.
            filling.batch = Batch::default();
            filling.position = filling.begin.clone();
        }
        if filling.has_news() {
            self.close(&mut filling)?;
        }
        self.wait_for_flight(&mut filling)?;
        Ok(ended)
    }
}

/// Why a replay of rows without a key may not end early.
fn cut_replay() -> Error {
    Error::definite(
        "the epoch that is open does not fit into memory as a whole, and rows of tables without a key cannot be sent again in \
         other parts",
    )
    .hint("set params.totalDataInMemMb to what it was when the job ran last, at least until the epoch is in (`towpath status` shows none)")
}

fn reader_gone() -> Error {
    Error::transient("the binlog reader has ended")
}

fn committer_gone() -> Error {
    Error::transient("the committer has ended")
}

impl From<Closed> for Error {
    fn from(_: Closed) -> Self {
        reader_gone()
    }
}

mod changes;
mod errands;
mod filling;
mod lagging;
mod pictures;
mod settle;
mod tables;
#[cfg(test)]
mod tests;
