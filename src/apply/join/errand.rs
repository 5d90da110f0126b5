//! What the copier asks of the flusher, one thing at a time. The flusher does it between two transactions, at once or when
//! the stream has come to a place.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel as channel;
use tokio::sync::oneshot;

use super::CopiedRow;
use super::watch::Watch;
use super::whole::WholeRows;
use crate::Error;
use crate::apply::xa::XaRows;
use crate::mysql::binlog::Xid;
use crate::mysql::position::Position;
use crate::mysql::snapshot::Chunk;
use crate::mysql::wire::KeptRow;
use crate::ring::Held;
use crate::schema::{Mapping, Table, TableName};

pub(crate) enum Errand {
    /// Note from here on which keys of a table change.
    Watch {
        table: TableName,
        reply: oneshot::Sender<Watching>,
    },
    /// Is copy `number` of the table still the one that is wanted there?
    Pass {
        table: TableName,
        number: u64,
        until: Position,
        reply: oneshot::Sender<bool>,
    },
    Load(Loading),
    Begin(Begin),
    Finish(Finish),
    Settle(Settle),
    /// Begin the copy of a table without a key, or begin it anew.
    Anew {
        table: TableName,
        reply: oneshot::Sender<Watching>,
    },
    Still(Still),
    Part(PartRead),
    Whole(Whole),
    /// The copier cannot go on.
    Fail(Error),
}

pub(crate) enum Watching {
    Begun(Watched),
    /// There is no copy of the table any more.
    Gone,
    /// So many XA transactions have to be decided first.
    Waits(usize),
}

pub(crate) struct Watched {
    /// All that lies behind this place is noted.
    pub(crate) at: Position,
    pub(crate) mapping: Arc<Mapping>,
    /// The copy's.
    pub(crate) number: u64,
    /// How often the copy of a table without a key was begun before.
    pub(crate) attempt: u64,
}

/// Let the stream stand still while it is found out at which place a table without a key is read.
pub(crate) struct Still {
    pub(crate) table: TableName,
    /// The copy's.
    pub(crate) number: u64,
    /// `None`: there is no such copy any more.
    pub(crate) reply: oneshot::Sender<Option<Stands>>,
}

/// The stream stands still until the place is told, or it is clear that nobody will tell it.
pub(crate) struct Stands {
    pub(crate) at: Position,
    pub(crate) tell: channel::Sender<Position>,
}

/// Some rows of a table without a key.
pub(crate) struct PartRead {
    pub(crate) rows: WholeRows,
    pub(crate) reply: oneshot::Sender<bool>,
}

/// All of a table without a key is in, as it was at one place.
pub(crate) struct Whole {
    pub(crate) table: TableName,
    pub(crate) number: u64,
    pub(crate) at: Position,
    /// Rows.
    pub(crate) rows: i64,
    pub(crate) reply: oneshot::Sender<bool>,
}

/// A chunk that was read.
pub(crate) struct Loading {
    pub(crate) number: u64,
    pub(crate) chunk: Chunk,
    pub(crate) rows: Vec<CopiedRow>,
    pub(crate) until: Position,
    pub(crate) held: Held,
    pub(crate) reply: oneshot::Sender<Loaded>,
}

/// What became of a chunk.
pub(crate) enum Loaded {
    /// It is in.
    Done,
    /// There is no such copy any more.
    Gone,
    /// It has to be read again.
    Again,
    /// It has to be read again while the stream stands still; the rows are awaited here.
    InPart(channel::Sender<Vec<KeptRow>>, oneshot::Receiver<Loaded>),
}

/// A copy of a table is wanted.
pub(crate) struct Begin {
    pub(crate) table: TableName,
    /// With a table that is new to the job: its definition at `until`. `None`: as the job knows it.
    pub(crate) new: Option<(Arc<Table>, Position)>,
    pub(crate) reason: String,
    pub(crate) reply: oneshot::Sender<Begun>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// The table came by a statement meanwhile: all its rows are in the log.
    NotNeeded,
    /// The job does not know the table.
    Unknown,
}

/// All chunks are in.
pub(crate) struct Finish {
    pub(crate) table: TableName,
    pub(crate) number: u64,
    pub(crate) until: Position,
    /// `false`: it has to be begun anew.
    pub(crate) reply: oneshot::Sender<bool>,
}

/// What the source's catalogue says of a table whose definition a statement has left open, and where that holds.
pub(crate) struct Settle {
    pub(crate) table: TableName,
    pub(crate) found: Result<(Option<Table>, Position), Error>,
    /// `false`: it has to be asked for again.
    pub(crate) reply: oneshot::Sender<bool>,
}

impl Errand {
    /// When it is due; `None`: at once.
    pub(super) fn until(&self) -> Option<&Position> {
        match self {
            Errand::Watch { .. }
            | Errand::Anew { .. }
            | Errand::Still(_)
            | Errand::Part(_)
            | Errand::Whole(_)
            | Errand::Fail(_) => None,
            Errand::Pass { until, .. } => Some(until),
            Errand::Load(loading) => Some(&loading.until),
            Errand::Begin(begin) => begin.new.as_ref().map(|(_, until)| until),
            Errand::Finish(finish) => Some(&finish.until),
            Errand::Settle(settle) => settle.found.as_ref().ok().map(|(_, until)| until),
        }
    }
}

/// The flusher's side.
pub(crate) struct Errands {
    inbox: channel::Receiver<Errand>,
    /// Keeps the inbox open when the copier is gone.
    _open: channel::Sender<Errand>,
    pending: Option<Errand>,
    pub(in crate::apply) watch: Option<Watch>,
    /// XA transactions whose rows in tables that are new to the job were not kept.
    not_kept: Option<HashSet<Xid>>,
    /// The copier has something to do.
    busy: Arc<AtomicBool>,
}

impl Errands {
    /// With where the copier puts them, and where it says that it has something to do; at first it has.
    pub(crate) fn new() -> (Errands, channel::Sender<Errand>, Arc<AtomicBool>) {
        let (outbox, inbox) = channel::unbounded();
        let busy = Arc::new(AtomicBool::new(true));
        let errands = Errands {
            inbox,
            _open: outbox.clone(),
            pending: None,
            watch: None,
            not_kept: None,
            busy: Arc::clone(&busy),
        };
        (errands, outbox, busy)
    }

    /// Nobody will ask for anything.
    #[cfg(test)]
    pub(in crate::apply) fn none() -> Errands {
        let (errands, _, busy) = Errands::new();
        busy.store(false, Ordering::Relaxed);
        errands
    }

    pub(in crate::apply) fn inbox(&self) -> &channel::Receiver<Errand> {
        &self.inbox
    }

    /// There is something to do, now or later.
    pub(in crate::apply) fn any(&self) -> bool {
        self.pending.is_some() || !self.inbox.is_empty()
    }

    /// Tables are being copied, or will be.
    pub(in crate::apply) fn are_open(&self) -> bool {
        self.any() || self.busy.load(Ordering::Acquire)
    }

    /// Takes up the next one, if the last one is done.
    pub(in crate::apply) fn take_up(&mut self, errand: Option<Errand>) {
        if self.pending.is_none() {
            self.pending = errand.or_else(|| self.inbox.try_recv().ok());
        }
        if let (Some(Errand::Load(loading)), Some(watch)) = (&mut self.pending, &mut self.watch) {
            watch.take(std::mem::take(&mut loading.rows));
        }
    }

    /// When the next one is due; `Some(None)`: at once. `None`: there is none.
    pub(in crate::apply) fn until(&self) -> Option<Option<&Position>> {
        self.pending.as_ref().map(Errand::until)
    }

    /// The next one is to be done.
    pub(in crate::apply) fn take(&mut self) -> Option<Errand> {
        self.pending.take()
    }

    /// What is to be done next.
    pub(in crate::apply) fn next(&self) -> Option<&Errand> {
        self.pending.as_ref()
    }

    /// The last one is done.
    pub(in crate::apply) fn is_free(&self) -> bool {
        self.pending.is_none()
    }

    /// Of what is prepared now, rows of a table that comes into the job were not kept.
    pub(in crate::apply) fn wait_for_prepared(&mut self, xa: &XaRows) {
        self.not_kept.get_or_insert_default().extend(xa.names().cloned());
    }

    /// How many such transactions are not decided. When a run begins nobody knows which of those that are prepared they
    /// are, so all count.
    pub(in crate::apply) fn undecided(&mut self, xa: &XaRows) -> usize {
        let names = self.not_kept.get_or_insert_with(|| xa.names().cloned().collect());
        names.retain(|name| xa.is_prepared(name));
        names.len()
    }

    /// The watch over this table.
    #[inline]
    pub(in crate::apply) fn watch_of(&mut self, table: &TableName) -> Option<&mut Watch> {
        self.watch.as_mut().filter(|watch| watch.is_of(table))
    }
}
