//! The reader's memory: from one event to the next it knows the file and offset, the open transaction and the
//! tables' maps, and it turns events into slots. It does no I/O, so every rule here is tested without a server.
//!
//! # Places
//! A checkpoint may stand only between two transactions, so only those places are remembered (`boundary`), with
//! the GTIDs of all that was read before. Offsets are counted by the events' sizes: the header holds only the
//! low 32 bits of an offset, and a log file may be larger than 4 GB. Events that the dump thread makes up
//! (`log_pos` 0 or the ARTIFICIAL flag) take no space in the file.
//!
//! # Transactions
//! ```text
//! MySQL    GTID  QUERY "BEGIN"  (TABLE_MAP ROWS+)*  XID | QUERY "COMMIT"         GTID  QUERY <DDL>
//! MariaDB  GTID                 (TABLE_MAP ROWS+)*  XID | QUERY "COMMIT"         GTID(standalone)  QUERY <DDL>
//! XA       GTID  QUERY "XA START"  …  QUERY "XA END"  XA_PREPARE     later:      GTID  QUERY "XA COMMIT"
//! ```
//! An XA transaction's rows stand at its prepare, and a later XA COMMIT or XA ROLLBACK, behind any number of other
//! transactions, decides about them: they are sent as what they are (`Slot::XaRows`), and so is each step of every XA
//! transaction, for whoever keeps the rows must also know of those that had none. (MariaDB's GTID event says that a group
//! is one of XA. It logs a commit in one phase as an ordinary transaction, MySQL as an XA_PREPARE with a flag.)
//! A transaction that ends with ROLLBACK (a mix of transactional and other tables) is refused if it has rows of replicated
//! tables: they are in the log and do not all count.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use foldhash::fast::FixedState;

use super::stream::cannot_expand;
use super::{ImageColumns, Place, Slot, TableMap, XaStep, event, event::kind};
use crate::mysql::position::{Gtid, GtidSet, Position, order_places};
use crate::ring::Closed;
use crate::schema::TableName;
use crate::{Error, Result};

mod query;
mod rows;
#[cfg(test)]
mod tests;

/// How often `Passed` is sent at most.
const PASSED_EVERY: Duration = Duration::from_millis(300);
/// Table maps that are kept from one transaction to the next.
const MOST_TABLES: usize = 10_000;
/// What a slot costs besides its bytes: its place in a parcel, and whatever its bytes' memory is kept by.
const SLOT_BYTES: usize = size_of::<(Slot, usize)>() + 16;

/// An event as the stream gives it, its checksum checked.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) timestamp: u32,
    pub(super) server_id: u32,
    /// Low 32 bits of the offset behind it; 0 for one that is not in the file.
    pub(super) log_pos: u32,
    /// Bytes in the file, header and checksum included.
    pub(super) size: u32,
    pub(super) body: Bytes,
    /// It comes out of a compressed transaction and has no place of its own.
    pub(super) inner: bool,
    /// For MySQL's GTID events.
    pub(super) gtid: Option<MysqlGtid>,
}

impl Event {
    /// The dump thread made it: it is not in the file.
    fn made_up(&self) -> bool {
        self.log_pos == 0 || self.flags & event::FLAG_ARTIFICIAL != 0
    }
}

#[derive(Debug, Clone)]
pub(super) struct MysqlGtid {
    /// `None` for an anonymous transaction.
    pub(super) gtid: Option<Gtid>,
    /// Microseconds since 1970; 0 before MySQL 8.0.
    pub(super) committed_at: u64,
}

/// Why no further event is taken.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Error),
    /// Nobody reads the ring any more.
    Closed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Stop::Closed
    }
}

/// Where slots go, with their cost in bytes.
pub(super) type Out<'a> = &'a mut dyn FnMut(Slot, usize) -> Result<(), Closed>;

pub(super) type Wanted = Arc<dyn Fn(&TableName) -> bool + Send + Sync>;

pub(super) struct Follower {
    wanted: Wanted,
    noticed: Wanted,
    file: Arc<str>,
    offset: u64,
    /// Behind the last whole transaction that was read.
    boundary: Position,
    transaction: Option<Transaction>,
    tables: HashMap<u64, KnownTable, FixedState>,
    /// Where rows are kept that came in a buffer with others.
    kept: BytesMut,
    /// MariaDB wrote the log.
    mariadb: bool,
    passed: Option<(Place, GtidSet)>,
    passed_at: Instant,
    /// Bytes of a compressed transaction's events that are still to come.
    payload_left: u64,
    /// Transactions that end at or before this offset of this file are not ours: the server could only be
    /// asked to begin before it.
    skip_until: Option<(String, u64)>,
}

struct Transaction {
    begin: (Arc<str>, u64),
    gtid: Option<Gtid>,
    committed_at: u64,
    /// A BEGIN was seen, or the GTID event stands for it; else the next statement is the whole transaction.
    begun: bool,
    /// It is an XA transaction.
    xa: bool,
    /// Rows of ours were sent.
    rows: bool,
}

struct KnownTable {
    body: Bytes,
    map: Option<Arc<TableMap>>,
    /// The sets of columns that its events have had, the latest last.
    columns: Vec<Arc<ImageColumns>>,
}

impl Follower {
    pub(super) fn new(start: Position, wanted: Wanted) -> Self {
        Follower {
            wanted,
            noticed: Arc::new(|_| false),
            file: start.file.as_str().into(),
            offset: start.offset,
            boundary: start,
            transaction: None,
            tables: HashMap::default(),
            kept: BytesMut::new(),
            mariadb: false,
            passed: None,
            passed_at: Instant::now(),
            payload_left: 0,
            skip_until: None,
        }
    }

    /// Sends on the statements on these tables too.
    pub(super) fn noticing(self, noticed: Wanted) -> Self {
        Follower { noticed, ..self }
    }

    /// Where to ask the server to begin again.
    pub(super) fn boundary(&self) -> &Position {
        &self.boundary
    }

    /// Forgets the connection's state. The next event is the first of a new stream from `boundary`, or, with `skip`, from
    /// somewhere before it.
    pub(super) fn restart(&mut self, skip: bool) {
        self.file = self.boundary.file.as_str().into();
        self.offset = if skip { 4 } else { self.boundary.offset };
        self.skip_until = skip.then(|| (self.boundary.file.clone(), self.boundary.offset));
        self.transaction = None;
        self.tables.clear();
        self.payload_left = 0;
    }

    /// File and offset behind the last event.
    pub(super) fn behind(&self) -> (&str, u64) {
        (&self.file, self.offset)
    }

    /// No transaction is open.
    pub(super) fn is_outside(&self) -> bool {
        self.transaction.is_none()
    }

    /// The connection is lost. If rows of a transaction were sent and not its end: what says so.
    pub(super) fn cut_off(&mut self) -> Option<Slot> {
        let transaction = self.transaction.take()?;
        transaction.rows.then_some(Slot::CutOff(transaction.gtid))
    }

    /// `file:offset` of the event being read, for messages.
    pub(super) fn here(&self) -> String {
        format!("binlog {}:{}", self.file, self.offset)
    }

    /// The stream was silent for a while: sends what was held back.
    pub(super) fn idle(&mut self, out: Out<'_>) -> Result<(), Stop> {
        self.send_passed(out)
    }

    pub(super) fn holds_passed(&self) -> bool {
        self.passed.is_some()
    }

    pub(super) fn event(&mut self, event: &Event, out: Out<'_>) -> Result<(), Stop> {
        self.check_payload(event)?;
        let at = self.advance(event);
        match event.kind {
            kind::ROTATE => self.rotate(event, out)?,
            kind::FORMAT_DESCRIPTION => {
                // A file's own one, not the copy at the start of a connection: a server that died in the middle
                // of a transaction began this file without ending it.
                if event.log_pos != 0 {
                    self.abandon()?;
                }
                self.tables.clear();
                self.mariadb = event::is_mariadb(&event.body);
            }
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => {
                let gtid = event.gtid.clone().ok_or_else(|| self.malformed(event, at))?;
                self.begin(at, gtid.gtid, gtid.committed_at, false)?;
            }
            kind::MARIADB_GTID => {
                let read =
                    event::mariadb_gtid(&event.body, event.server_id).ok_or_else(|| self.malformed(event, at))?;
                self.begin(at, Some(read.gtid), 0, !read.standalone)?.xa = read.xa;
            }
            kind::QUERY | kind::EXECUTE_LOAD_QUERY | kind::MARIADB_QUERY_COMPRESSED => self.query(event, at, out)?,
            kind::XID => self.end(event, out)?,
            kind::XA_PREPARE => self.xa_prepare(event, at, out)?,
            kind::TABLE_MAP => self.table_map(event, at)?,
            kind::WRITE_ROWS_V1
            | kind::UPDATE_ROWS_V1
            | kind::DELETE_ROWS_V1
            | kind::WRITE_ROWS
            | kind::UPDATE_ROWS
            | kind::DELETE_ROWS
            | kind::PARTIAL_UPDATE_ROWS
            | kind::MARIADB_WRITE_ROWS_COMPRESSED_V1..=kind::MARIADB_DELETE_ROWS_COMPRESSED => {
                self.rows(event, at, out)?;
            }
            kind::TRANSACTION_PAYLOAD => {
                self.payload_left = event::payload(&event.body).ok_or_else(|| self.cannot_expand(at))?.plain;
            }
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => self.heartbeat(event, out)?,
            kind::INCIDENT => {
                return Err(Error::definite(format!(
                    "{}: the server reports an incident: its log may lack changes from here on",
                    self.place(at)
                ))
                .hint("copy the tables again: start a new job with startup: initial")
                .into());
            }
            kind::MARIADB_START_ENCRYPTION => {
                return Err(Error::definite(format!("{}: the log is sent encrypted", self.place(at)))
                    .hint("set encrypt_binlog=OFF at the source")
                    .into());
            }
            kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD_QUERY
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::IGNORABLE
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::MARIADB_ANNOTATE_ROWS
            | kind::MARIADB_BINLOG_CHECKPOINT
            | kind::MARIADB_GTID_LIST => {}
            _ if event.flags & event::FLAG_IGNORABLE != 0 => {}
            unknown => {
                return Err(Error::definite(format!("{}: event type {unknown} is not known", self.place(at)))
                    .hint("this server writes events that this version of Towpath cannot read: nothing was skipped; look for a newer Towpath")
                    .into());
            }
        }
        if self.passed.is_some() && self.passed_at.elapsed() >= PASSED_EVERY {
            self.send_passed(out)?;
        }
        Ok(())
    }

    /// What comes out of a compressed transaction is as long as it announced, or the stream would have gone on too early.
    fn check_payload(&mut self, event: &Event) -> Result<()> {
        if event.inner {
            self.payload_left =
                self.payload_left.checked_sub(u64::from(event.size)).ok_or_else(|| self.cannot_expand(self.offset))?;
        } else if self.payload_left > 0 {
            return Err(self.cannot_expand(self.offset));
        }
        Ok(())
    }

    fn cannot_expand(&self, at: u64) -> Error {
        cannot_expand(&self.place(at))
    }

    fn place(&self, at: u64) -> String {
        format!("binlog {}:{at}", self.file)
    }

    fn malformed(&self, event: &Event, at: u64) -> Error {
        Error::definite(format!("{}: the event of type {} is malformed", self.place(at), event.kind))
            .hint("the log may be damaged: compare with mysqlbinlog at the source")
    }

    /// Moves the offset behind an event that is in the file. Returns where the event begins.
    fn advance(&mut self, event: &Event) -> u64 {
        let heartbeat = matches!(event.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2);
        if event.inner || event.made_up() || heartbeat {
            return self.offset;
        }
        // By GTID the server leaves out what is known, so the offset may jump.
        self.offset = widen(self.offset + u64::from(event.size), event.log_pos);
        self.offset - u64::from(event.size)
    }

    fn rotate(&mut self, event: &Event, out: Out<'_>) -> Result<(), Stop> {
        let at = self.offset;
        let (file, offset) = event::rotate(&event.body).ok_or_else(|| self.malformed(event, at))?;
        let file: Arc<str> = file.into();
        if event.made_up() {
            // Names the file that the next events are from; nothing ends here.
            if self.file != file {
                self.tables.clear();
            }
            (self.file, self.offset) = (file, offset);
            return Ok(());
        }
        self.abandon()?;
        self.tables.clear();
        (self.file, self.offset) = (file, offset);
        if self.skip_until.as_ref().is_some_and(|(file, _)| **file != *self.file) {
            self.skip_until = None;
        }
        self.outside(event.timestamp, out)
    }

    /// A place outside transactions at which nothing of ours ended.
    fn outside(&mut self, timestamp: u32, out: Out<'_>) -> Result<(), Stop> {
        let place = Place {
            file: Arc::clone(&self.file),
            offset: self.offset,
            gtid: None,
            committed_at: u64::from(timestamp) * 1_000_000,
        };
        self.pass(place, None, out)
    }

    fn pass(&mut self, place: Place, gtid: Option<&Gtid>, out: Out<'_>) -> Result<(), Stop> {
        if self.skipped() {
            return Ok(());
        }
        self.remember(gtid);
        let (latest, gtids) = self.passed.get_or_insert_with(|| (place.clone(), GtidSet::default()));
        // Events that the server makes up carry no time.
        let committed_at = latest.committed_at.max(place.committed_at);
        *latest = Place { committed_at, ..place };
        if let Some(gtid) = gtid {
            gtids.add(gtid);
        }
        if self.passed_at.elapsed() >= PASSED_EVERY {
            self.send_passed(out)?;
        }
        Ok(())
    }

    fn send_passed(&mut self, out: Out<'_>) -> Result<(), Stop> {
        if let Some((place, gtids)) = self.passed.take() {
            self.passed_at = Instant::now();
            out(Slot::Passed(place, gtids), SLOT_BYTES)?;
        }
        Ok(())
    }

    /// The present place is behind everything that was read.
    fn remember(&mut self, gtid: Option<&Gtid>) {
        if self.boundary.file != *self.file {
            self.boundary.file = self.file.to_string();
        }
        self.boundary.offset = self.offset;
        if let (Some(gtids), Some(gtid)) = (&mut self.boundary.gtids, gtid) {
            gtids.add(gtid);
        }
    }

    fn skipped(&self) -> bool {
        self.skip_until.as_ref().is_some_and(|(file, until)| **file == *self.file && self.offset <= *until)
    }

    /// What the open transaction's events, of which the last was just read, must not be sent.
    fn skipping(&self) -> bool {
        self.skip_until.as_ref().is_some_and(|(file, until)| match &self.transaction {
            Some(transaction) => **file == *transaction.begin.0 && transaction.begin.1 < *until,
            None => **file == *self.file && self.offset <= *until,
        })
    }

    fn begin(&mut self, at: u64, gtid: Option<Gtid>, committed_at: u64, begun: bool) -> Result<&mut Transaction> {
        self.abandon()?;
        let begin = (Arc::clone(&self.file), at);
        Ok(self.transaction.insert(Transaction { begin, gtid, committed_at, begun, xa: false, rows: false }))
    }

    /// Another transaction or file begins: the open one, if any, never ended.
    fn abandon(&mut self) -> Result<()> {
        match self.transaction.take() {
            // Rows that were not prepared never count.
            Some(transaction) if transaction.rows && !transaction.xa => Err(Error::definite(format!(
                "binlog {}:{}: the transaction that begins here was cut off, probably by a crash of the server, and its \
                 rows may not count",
                transaction.begin.0, transaction.begin.1
            ))
            .hint("compare both sides and start a new job behind this place")),
            _ => Ok(()),
        }
    }

    /// The open transaction, or the implicit one of this statement, ended with `event`.
    fn end(&mut self, event: &Event, out: Out<'_>) -> Result<(), Stop> {
        self.end_with(event, None, out)
    }

    /// With a step it was one of XA.
    fn end_with(&mut self, event: &Event, step: Option<XaStep>, out: Out<'_>) -> Result<(), Stop> {
        let skipping = self.skipping();
        let transaction = self.transaction.take();
        // A transaction brings the maps of all its tables, and a server that opens its tables again and again
        // numbers them anew each time.
        if self.tables.len() > MOST_TABLES {
            self.tables.clear();
        }
        let (gtid, committed_at, rows) = match transaction {
            Some(transaction) => (transaction.gtid, transaction.committed_at, transaction.rows),
            None => (None, 0, false),
        };
        if skipping {
            return Ok(());
        }
        let committed_at = if committed_at == 0 { u64::from(event.timestamp) * 1_000_000 } else { committed_at };
        let mut place = Place { file: Arc::clone(&self.file), offset: self.offset, gtid: None, committed_at };
        if !rows && step.is_none() {
            return self.pass(place, gtid.as_ref(), out);
        }
        self.remember(gtid.as_ref());
        self.clear_passed(out)?;
        place.gtid = gtid;
        let slot = match step {
            Some(step) => Slot::Xa(place, step),
            None => Slot::Commit(place),
        };
        out(slot, SLOT_BYTES)?;
        Ok(())
    }

    /// Something of ours comes, and what was passed before it must be told before: only its GTIDs matter then.
    fn clear_passed(&mut self, out: Out<'_>) -> Result<(), Stop> {
        match &self.passed {
            Some((_, gtids)) if gtids.is_empty() => self.passed = None,
            Some(_) => self.send_passed(out)?,
            None => {}
        }
        Ok(())
    }

    fn heartbeat(&mut self, event: &Event, out: Out<'_>) -> Result<(), Stop> {
        if self.transaction.is_none() && event.log_pos != 0 && !self.file.is_empty() {
            self.offset = widen(self.offset, event.log_pos);
            // By GTID the stream begins at the file's first event, behind which the job may be long since.
            let behind = order_places((&self.boundary.file, self.boundary.offset), (&self.file, self.offset));
            if behind != Some(Ordering::Greater) {
                self.outside(event.timestamp, out)?;
            }
        }
        Ok(())
    }

    fn xa_prepare(&mut self, event: &Event, at: u64, out: Out<'_>) -> Result<(), Stop> {
        let (xid, one_phase) = event::xa_prepare(&event.body).ok_or_else(|| self.malformed(event, at))?;
        let rows = self.transaction.as_ref().is_some_and(|transaction| transaction.rows);
        match (one_phase, rows) {
            (true, false) => self.end(event, out),
            (true, true) => self.end_with(event, Some(XaStep::OnePhase), out),
            (false, rows) => self.end_with(event, Some(XaStep::Prepared { name: xid, rows }), out),
        }
    }
}

/// The offset at or behind `least` whose low 32 bits are `low`.
fn widen(least: u64, low: u32) -> u64 {
    let same_page = (least & !0xffff_ffff) | u64::from(low);
    if same_page >= least { same_page } else { same_page + (1 << 32) }
}
