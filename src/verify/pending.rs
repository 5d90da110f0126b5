//! What the job has still to bring: the rows that the source's log has behind the checkpoint.
//!
//! A job that runs is waited for. One that is stopped or paused, or far behind, does not come to the place at which the
//! source was read. Then the log itself tells which rows can differ for that reason:
//!
//! ```text
//! source's log ──── C ───────────────────────────── E ────▶
//!                   │ the checkpoint                │ asked for after the source's rows were read
//!                   └── rows that the log names here are in flight ──┘
//! ```
//! Everything before C is in the target. A row that no event between C and E names has not changed since C at the source;
//! and nothing behind C that the job may have begun to bring can have touched it at the target. So where its two sides
//! differ, they differ for good. Of rows that are named nothing can be said: they are *in flight*.
//!
//! The log is read once for all tables, and a second time only from where the first reading ended. Of each row its key's
//! digest is kept, in a temporary file without a name, of which a few megabytes are in memory. It is the job's decoder that reads the keys here:
//! a fault there can make a row count as in flight that is not, or show one as different that is on its way, but hides none
//! without saying so.
//!
//! Rows of XA transactions that were prepared before C are in the state store, and are in flight too. A statement on a
//! table makes all of its rows so; the table is left out then.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use twox_hash::XxHash3_128;

use super::layout::Layout;
use super::moved::Moved;
use super::servers::{Digest, Tries};
use super::{Options, Subject};
use crate::mysql::binlog::statement::{Effect, classify};
use crate::mysql::binlog::{
    self, Changed, EventPlan, ImageColumns, RowWalk, RowsEvent, RowsKind, Slot, Statement, StoredRows, TableMap,
    XaStep, Xid,
};
use crate::mysql::position::Position;
use crate::mysql::value::{RowError, ValueOptions, ValueWriter};
use crate::schema::{Mapping, TableName};
use crate::state::Store;
use crate::{Error, Result};

/// Replica ids from here on are ours; the job's own, which may be connected, is another one.
const REPLICA_IDS: std::ops::RangeInclusive<u32> = 1_000_000_000..=3_999_999_999;
/// Of a statement that is shown.
const SHOWN: usize = 120;

pub(crate) struct Pending<'s> {
    subject: &'s Subject<'s>,
    options: &'s Options,
    /// `None`: nobody has asked yet.
    log: Option<Log>,
}

/// What was read of the log.
pub(super) struct Log {
    tables: HashMap<TableName, Logged>,
    named: Named,
    values: ValueOptions,
    /// Everything from where it was begun to this place was read.
    read_to: Position,
    /// XA transactions that were prepared behind where it was begun.
    prepared: HashSet<Xid>,
    /// One that was committed and not prepared there: its rows are not among those that were read.
    unknown: Option<Xid>,
}

/// One table in the log.
struct Logged {
    number: usize,
    mapping: Arc<Mapping>,
    layout: Layout,
    plan: Option<Plan>,
    /// Why every row of it may be in flight.
    whole: Option<String>,
}

/// How events with one table map and one set of columns are read.
struct Plan {
    table: Arc<TableMap>,
    columns: Option<Arc<ImageColumns>>,
    kind: RowsKind,
    plan: EventPlan,
}

impl<'s> Pending<'s> {
    pub(super) fn new(subject: &'s Subject<'s>, options: &'s Options) -> Pending<'s> {
        Pending { subject, options, log: None }
    }

    /// Reads the log from `checkpoint` to its present end, or from where the last call has come to. `end` is a place that the
    /// log's end has passed already.
    ///
    /// # Errors
    /// The log cannot be read, or not in the time that the job is waited for.
    pub(crate) async fn read_on(&mut self, checkpoint: &Position, end: &Position) -> Result<()> {
        let (subject, options) = (self.subject, self.options);
        let log = match &mut self.log {
            Some(log) => log,
            none => {
                let mut log = Log::begin(subject, options, &subject.mappings, checkpoint).await?;
                if let Some(store) = Store::read(&subject.state_dir, &subject.job)? {
                    log.note_prepared(&store)?;
                }
                none.insert(log)
            }
        };
        log.read(subject, options).await?;
        log.read_to = end.clone();
        Ok(())
    }

    /// Which rows of the table the log names from a place to its present end.
    ///
    /// # Errors
    /// As those of `read_on`.
    pub(crate) async fn moved_since(&self, from: &Position, table: &TableName) -> Result<Moved> {
        Moved::since(self.subject, self.options, from, table).await
    }

    /// Whether the log names the row with this key, as far as it was read.
    pub(crate) fn has(&self, table: &TableName, key: &[u8]) -> Result<bool> {
        self.has_digest(table, digest(key))
    }

    /// The same, for the digest of a key; of a table without one the key is the whole row.
    pub(crate) fn has_digest(&self, table: &TableName, key: Digest) -> Result<bool> {
        self.log.as_ref().map_or(Ok(false), |log| log.has(table, key))
    }

    /// What the log does to the table as a whole, in words.
    pub(crate) fn change_of(&self, table: &TableName) -> Option<&str> {
        self.log.as_ref()?.change_of(table)
    }
}

impl Log {
    /// Nothing is read yet.
    pub(super) async fn begin(
        subject: &Subject<'_>,
        options: &Options,
        mappings: &[Arc<Mapping>],
        from: &Position,
    ) -> Result<Log> {
        let mut conn = subject.connect.sql(None).await?;
        let mut tables = HashMap::with_capacity(mappings.len());
        for (number, mapping) in mappings.iter().enumerate() {
            let stored = subject.starrocks.stored_columns(&mapping.target.name).await?;
            let rules = subject.rules(options);
            let layout = Layout::new(&mut conn, subject.server.flavor, mapping, &stored, &options.columns, &rules);
            // A table that cannot be compared has no rows to be judged.
            let Ok(layout) = layout.await else { continue };
            let mapping = Arc::clone(mapping);
            let logged = Logged { number, mapping, layout, plan: None, whole: None };
            tables.insert(logged.mapping.source.name.clone(), logged);
        }
        let values = ValueOptions { zone: subject.zone.clone(), zero_date: subject.zero_date.clone() };
        let (named, read_to) = (Named::create()?, from.clone());
        Ok(Log { tables, named, values, read_to, prepared: HashSet::new(), unknown: None })
    }

    /// Reads from where it has come to, to the log's present end.
    pub(super) async fn read(&mut self, subject: &Subject<'_>, options: &Options) -> Result<()> {
        let limit = options.patience;
        let reading = tokio::time::timeout(limit, self.read_to_end(subject, options));
        reading.await.unwrap_or_else(|_| {
            Err(Error::transient(format!("it is longer than can be read in {} s", limit.as_secs()))
                .hint("give it more time with --patience, or run the job"))
        })
    }

    async fn read_to_end(&mut self, subject: &Subject<'_>, options: &Options) -> Result<()> {
        let mut tries = Tries::new(options.read_patience);
        // As the job does: a set of transactions means the same on every server.
        let from = match &self.read_to.gtids {
            Some(gtids) => Position { file: String::new(), offset: 4, gtids: Some(gtids.clone()) },
            None => self.read_to.clone(),
        };
        loop {
            let ours: Vec<TableName> = self.tables.keys().cloned().collect();
            let wanted = Arc::new(move |name: &TableName| ours.contains(name));
            let noticed = Arc::new(|_: &TableName| false);
            let id = rand::random_range(REPLICA_IDS);
            let mut noted = Ok(());
            let flavor = subject.server.flavor;
            let mut note = |slot: Slot| {
                if noted.is_ok() {
                    noted = self.note(slot);
                }
            };
            let scanned = binlog::scan(&subject.job_connect, flavor, id, &from, (wanted, noticed), &mut note).await;
            match scanned.and(noted) {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Whether the row with the key of this digest was named.
    pub(super) fn has(&self, table: &TableName, key: Digest) -> Result<bool> {
        let Some(logged) = self.tables.get(table) else { return Ok(false) };
        Ok(logged.whole.is_some() || self.named.has(logged.number, key)?)
    }

    /// Why every row of the table has to be taken for named, in words.
    pub(super) fn change_of(&self, table: &TableName) -> Option<&str> {
        self.tables.get(table)?.whole.as_deref()
    }

    /// A committed XA transaction whose rows were not read.
    pub(super) fn unknown(&self) -> Option<&Xid> {
        self.unknown.as_ref()
    }

    /// Rows of XA transactions whose commit may come behind the checkpoint.
    fn note_prepared(&mut self, store: &Store) -> Result<()> {
        for (number, parts) in store.prepared_parts()? {
            let mut stored = StoredRows::default();
            for part in 0..parts {
                let Some(bytes) = store.read_prepared(number, part)? else { break };
                stored.add(&bytes);
                loop {
                    match stored.next_event() {
                        Ok(Some(event)) => self.note_rows(&event)?,
                        Ok(None) => break,
                        Err(_) => {
                            return Err(Error::definite(
                                "the rows of an XA transaction in the state store are damaged",
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, slot: Slot) -> Result<()> {
        match slot {
            Slot::Rows(event) | Slot::XaRows { event, .. } => self.note_rows(&event)?,
            Slot::Statement(statement) => self.note_statement(&statement),
            Slot::Xa(_, XaStep::Prepared { name, .. }) => {
                self.prepared.insert(name);
            }
            Slot::Xa(_, XaStep::Commit(name)) if !self.prepared.contains(&name) => self.unknown = Some(name),
            // What was cut off comes again, and a row too many does no harm.
            Slot::CutOff(_) | Slot::Commit(_) | Slot::Passed(..) | Slot::Xa(..) => {}
        }
        Ok(())
    }

    fn note_rows(&mut self, event: &RowsEvent) -> Result<()> {
        let Some(logged) = self.tables.get_mut(&event.table.name).filter(|logged| logged.whole.is_none()) else {
            return Ok(());
        };
        let mut kept = Ok(());
        let (named, number) = (&mut self.named, logged.number);
        let read = logged.keys(event, &self.values, &mut |key| {
            if kept.is_ok() {
                kept = named.add(number, key);
            }
        });
        if let Err(error) = read {
            logged.whole = Some(format!("its rows at {}:{} cannot be read: {error}", event.file, event.offset));
        }
        kept
    }

    fn note_statement(&mut self, statement: &Statement) {
        let effect = classify(&statement.sql, &statement.database);
        let concerns = |table: &TableName| {
            let same = |left: &str, right: &str| left.eq_ignore_ascii_case(right) || left.to_lowercase() == right;
            match &effect {
                Effect::Tables(_, names) => {
                    names.iter().any(|name| same(&name.database, &table.database) && same(&name.table, &table.table))
                }
                Effect::DropDatabase(database) => same(database, &table.database),
                Effect::Unknown => true,
                _ => false,
            }
        };
        let place = &statement.place;
        let shown: String =
            statement.sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
        for (_, logged) in self.tables.iter_mut().filter(|(name, _)| concerns(name)) {
            let whole =
                || format!("the job has still to follow a statement at {}:{}: {shown}", place.file, place.offset);
            logged.whole.get_or_insert_with(whole);
        }
    }
}

impl Logged {
    /// Gives `take` the keys of the rows that the event changes, as they are and as they become.
    fn keys(&mut self, event: &RowsEvent, values: &ValueOptions, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let same = |columns: &Option<Arc<ImageColumns>>| match (columns, &event.columns) {
            (Some(known), Some(columns)) => Arc::ptr_eq(known, columns),
            (None, None) => true,
            _ => false,
        };
        let fits =
            |plan: &&Plan| plan.kind == event.kind && Arc::ptr_eq(&plan.table, &event.table) && same(&plan.columns);
        let known = self.plan.take_if(|plan| !fits(&&*plan));
        drop(known);
        let plan = match &self.plan {
            Some(plan) => &plan.plan,
            None => {
                let plan = EventPlan::new(&self.mapping, event, values)?;
                let (table, columns, kind) = (Arc::clone(&event.table), event.columns.clone(), event.kind);
                &self.plan.insert(Plan { table, columns, kind, plan }).plan
            }
        };
        let mut reading = Reading { mapping: &self.mapping, layout: &self.layout, take };
        reading.rows(plan, event).map_err(|error| Error::definite(error.to_string()))
    }
}

/// The keys of one event's rows.
struct Reading<'r> {
    mapping: &'r Mapping,
    layout: &'r Layout,
    take: &'r mut dyn FnMut(&[u8]),
}

impl Reading<'_> {
    fn rows(&mut self, plan: &EventPlan, event: &RowsEvent) -> Result<(), RowError> {
        let columns = self.mapping.target.columns.len();
        RowWalk::default().each(plan, event, |row| match row {
            Changed::Inserted(image) => self.row(|cells| plan.after().write(image, cells)),
            Changed::Deleted(image) => self.row(|cells| plan.before().write(image, cells)),
            Changed::Updated { before, after, moved } => {
                self.row(|cells| plan.before().write(before, cells))?;
                // Of a table without a key the key is the whole row.
                if moved || self.layout.is_keyless() {
                    self.row(|cells| plan.write_updated(columns, before, after, cells))?;
                }
                Ok(())
            }
        })
    }

    fn row(&mut self, write: impl FnOnce(&mut Cells) -> Result<(), RowError>) -> Result<(), RowError> {
        let wanted = if self.layout.is_keyless() { usize::MAX } else { self.layout.keys };
        let mut cells = Cells { wanted, ..Cells::default() };
        let written = write(&mut cells);
        if cells.unwritable {
            return Err(RowError::row("a value that cannot be written for the target"));
        }
        match self.layout.written_key(&cells.cells) {
            Some(key) => (self.take)(&key),
            None => return written.and(Err(RowError::row("a row without its whole key"))),
        }
        Ok(())
    }
}

/// The first cells of a row as they are written for the target.
#[derive(Default)]
struct Cells {
    wanted: usize,
    cells: Vec<Option<Vec<u8>>>,
    unwritable: bool,
}

impl Cells {
    fn put(&mut self, cell: Option<&[u8]>) {
        if self.cells.len() < self.wanted {
            self.cells.push(cell.map(<[u8]>::to_vec));
        }
    }
}

impl ValueWriter for Cells {
    fn null(&mut self) {
        self.put(None);
    }

    fn integer(&mut self, value: i64) {
        self.put(Some(itoa::Buffer::new().format(value).as_bytes()));
    }

    fn unsigned(&mut self, value: u64) {
        self.put(Some(itoa::Buffer::new().format(value).as_bytes()));
    }

    fn number(&mut self, digits: &[u8]) {
        self.put(Some(digits));
    }

    fn plain(&mut self, text: &[u8]) {
        self.put(Some(text));
    }

    fn text(&mut self, text: &[u8]) {
        self.put(Some(text));
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.put(Some(bytes));
    }

    fn json(&mut self, document: &[u8]) {
        self.put(Some(document));
    }

    fn unwritable(&mut self, raw: &[u8]) -> bool {
        self.unwritable |= self.cells.len() < self.wanted;
        self.put(Some(raw));
        true
    }
}

/// The rows that the log names, by their keys' digests.
struct Named(Connection);

impl Named {
    fn create() -> Result<Named> {
        // An empty name is SQLite's own temporary file, which it removes by itself.
        let sqlite = Connection::open(Path::new("")).map_err(failed)?;
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
                 CREATE TABLE named (place INTEGER, digest BLOB, PRIMARY KEY (place, digest)) WITHOUT ROWID;
                 BEGIN;",
            )
            .map_err(failed)?;
        Ok(Named(sqlite))
    }

    fn add(&mut self, place: usize, key: &[u8]) -> Result<()> {
        let mut insert = self.0.prepare_cached("INSERT OR IGNORE INTO named VALUES (?1, ?2)").map_err(failed)?;
        insert.execute(params![place as i64, digest(key).to_be_bytes()]).map(drop).map_err(failed)
    }

    fn has(&self, place: usize, key: Digest) -> Result<bool> {
        let mut select =
            self.0.prepare_cached("SELECT 1 FROM named WHERE place = ?1 AND digest = ?2").map_err(failed)?;
        select.exists(params![place as i64, key.to_be_bytes()]).map_err(failed)
    }
}

pub(super) fn digest(key: &[u8]) -> Digest {
    XxHash3_128::oneshot(key)
}

fn failed(error: rusqlite::Error) -> Error {
    Error::definite("the temporary file with the rows that the job has still to bring cannot be used")
        .caused_by(error)
        .hint("make room in the system's folder for temporary files (TMPDIR)")
}
