//! The binlog: the stream of events, table maps, and the rows in them.

use std::sync::Arc;

use bytes::Bytes;

use super::position::{Gtid, GtidSet};

mod agreement;
mod cell;
mod columns;
mod event;
mod event_plan;
mod filler;
mod follower;
#[cfg(test)]
mod fuzz;
mod overlay;
mod partial_json;
mod payload;
mod reader;
mod row;
mod row_walk;
mod start;
pub mod statement;
mod stored;
mod stream;
mod table_map;
mod text;
mod undecided;
mod xid;

pub(in crate::mysql) use agreement::{check as agrees, member_text};
pub use columns::{ColumnBits, ImageColumns};
pub use event_plan::EventPlan;
pub(crate) use filler::write_any;
pub use overlay::Overlay;
pub use reader::{Heard, ReaderOptions, spawn};
pub use row::RowPlan;
pub(crate) use row_walk::{Changed, RowWalk};
pub use start::{resolve, scan, with_gtids};
pub use stored::{Damaged, StoredRows};
pub use table_map::TableMap;
#[cfg(test)]
pub(in crate::mysql) use table_map::tests::{of as table_map_of, whole as full_table_map_of};
pub(in crate::mysql) use table_map::{MapColumn, Wire};
pub use undecided::{Moment, Undecided};
pub use xid::Xid;

/// What the reader puts on the ring, in binlog order.
#[derive(Debug)]
pub enum Slot {
    /// Rows of one replicated table, undecoded.
    Rows(RowsEvent),
    /// The connection was lost within a transaction: its rows that came do not count. It comes again, whole, unless the
    /// source has lost it. The GTID is the transaction's, where it has one.
    CutOff(Option<Gtid>),
    /// A transaction ended here.
    Commit(Place),
    /// A place outside any transaction with nothing of ours before it: a rotated log, a heartbeat,
    /// another database's transaction. The checkpoint may move here, and all transactions of the set, which
    /// lie before the place, count as done. At most a few a second.
    Passed(Place, GtidSet),
    /// Rows of an XA transaction. They count when it is committed, and not before.
    XaRows {
        /// The first of their transaction: what came before it without being prepared never will be.
        first: bool,
        event: RowsEvent,
    },
    /// What became of an XA transaction at this place, be it with rows of ours or without.
    Xa(Place, XaStep),
    /// A statement that touches a replicated table's definition or content and is not rows.
    /// It ends its own implicit transaction and `Place` is behind it, except for a statement inside a transaction
    /// (CREATE TABLE … SELECT, rows as text): its `Place` is where that transaction begins.
    /// It is the largest, and the rarest: by itself it does not make the others as large.
    Statement(Box<Statement>),
}

/// One WRITE, UPDATE or DELETE rows event.
#[derive(Debug)]
pub struct RowsEvent {
    pub table: Arc<TableMap>,
    pub kind: RowsKind,
    /// Which columns the images have; `None`: all of them. Events with the same columns share one.
    pub columns: Option<Arc<ImageColumns>>,
    /// The row images only, one after another: for an UPDATE before and after in turn.
    pub images: Bytes,
    /// File and offset of the event.
    pub file: Arc<str>,
    pub offset: u64,
    /// Its transaction's; `None` without GTIDs, and of an XA transaction's rows that were kept.
    pub gtid: Option<Gtid>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XaStep {
    /// The rows since the `first` one are prepared under this name.
    Prepared {
        name: Xid,
        /// There are some: what came before is not a part of something that was cut off.
        rows: bool,
    },
    /// The rows since the `first` one are committed without having been prepared.
    OnePhase,
    /// What was prepared under this name, long ago maybe, is committed.
    Commit(Xid),
    Rollback(Xid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowsKind {
    Insert,
    Update,
    Delete,
}

/// A place between two transactions, as the binlog tells it.
#[derive(Debug, Clone)]
pub struct Place {
    pub file: Arc<str>,
    /// Offset behind the last event.
    pub offset: u64,
    /// The transaction's own, to be added to the set; `None` without GTIDs or outside a transaction.
    pub gtid: Option<Gtid>,
    /// When the source committed, in microseconds since 1970 (to the second where the server tells no more).
    pub committed_at: u64,
}

#[derive(Debug, Clone)]
pub struct Statement {
    pub place: Place,
    /// Default database of the session that ran it.
    pub database: String,
    pub sql: String,
    /// It stands inside a transaction, which goes on behind it.
    pub inside: bool,
    pub session: StatementSession,
}

/// What the log tells of the session that ran a statement, as far as it decides what the statement means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatementSession {
    pub sql_mode: u64,
    /// Of `collation_server`, which new databases get.
    pub server_charset: Option<&'static str>,
    /// `explicit_defaults_for_timestamp`, where the log tells it.
    pub explicit_timestamps: Option<bool>,
}

impl StatementSession {
    /// `"a"` is a name.
    pub fn ansi_quotes(self) -> bool {
        self.sql_mode & 0x4 != 0
    }

    pub fn no_backslash_escapes(self) -> bool {
        self.sql_mode & 0x10_0000 != 0
    }

    /// REAL is a FLOAT.
    pub fn real_as_float(self) -> bool {
        self.sql_mode & 0x1 != 0
    }

    /// MariaDB's words mean what Oracle's mean: DATE has a time.
    pub fn oracle(self) -> bool {
        self.sql_mode & 0x200 != 0
    }
}

impl Statement {
    /// No statement of the log, but something that the job does at a place of it.
    pub(crate) fn of_job(place: Place, sql: String) -> Statement {
        Statement { place, database: String::new(), sql, inside: false, session: StatementSession::default() }
    }
}
