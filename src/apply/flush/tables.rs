//! The tables as they are at the place that is being read, and how their events are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::super::change::Followed;
use crate::mysql::binlog::{EventPlan, ImageColumns, RowsEvent, RowsKind, TableMap};
use crate::mysql::history::History;
use crate::mysql::value::ValueOptions;
use crate::schema::{Mapping, TableName};
use crate::state::WaitsFor;
use crate::{Error, Result};

/// The tables of the job at the place that is being read, with the plan for each table map, and set of columns in its
/// events, that was seen.
pub struct Tables {
    /// Their definitions.
    pub(super) history: History,
    /// The history's revision that went out last.
    pub(super) stored: u64,
    pub(super) followed: Arc<Followed>,
    pub(super) values: ValueOptions,
    known: Vec<Known>,
    /// Where they are in it.
    seen: HashMap<Seen, usize, FixedState>,
    /// Some table has no key.
    pub(super) row_hashes: bool,
    /// Tables without a key whose copy shows a place of the log, with the copy's number.
    pictures: HashMap<TableName, u64>,
    pub(super) before: Option<Before>,
    /// MariaDB's, whose rows are no table's.
    pub(super) sequences: HashSet<TableName>,
    /// The history's revision of which is known whether it awaits any table's rows, and whether it does.
    awaits: Option<(u64, bool)>,
}

/// The tables as they were before a statement inside the transaction that is being read.
pub(super) struct Before {
    pub(super) history: History,
    pub(super) stored: u64,
    pub(super) followed: Arc<Followed>,
}

/// What an event's plan depends on: the addresses of its table map and its columns, and with columns its kind.
/// `Known` keeps both alive, so the addresses stay their own.
type Seen = (usize, Option<(usize, RowsKind)>);

pub(super) struct Known {
    pub(super) _map: Arc<TableMap>,
    pub(super) _columns: Option<Arc<ImageColumns>>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) plan: EventPlan,
    pub(super) way: Way,
}

/// Where a table's rows go.
pub(super) enum Way {
    Batch,
    Parked(WaitsFor),
    /// Nowhere: a copy that is to begin will show them.
    Left,
}

fn seen(event: &RowsEvent) -> Seen {
    let columns = event.columns.as_ref().map(|columns| (Arc::as_ptr(columns) as usize, event.kind));
    (Arc::as_ptr(&event.table) as usize, columns)
}

impl Tables {
    pub fn new(history: History, followed: Arc<Followed>, values: ValueOptions) -> Self {
        let (stored, row_hashes) = (history.revision(), followed.has_row_hashes());
        Tables {
            history,
            stored,
            followed,
            values,
            known: Vec::new(),
            seen: HashMap::default(),
            row_hashes,
            pictures: HashMap::new(),
            before: None,
            awaits: None,
            sequences: HashSet::new(),
        }
    }

    /// As [`History::awaits_rows`], which hardly ever has to be asked.
    pub(super) fn awaits_rows(&mut self, table: &TableName) -> bool {
        let revision = self.history.revision();
        let any = match self.awaits {
            Some((of, any)) if of == revision => any,
            _ => self.awaits.insert((revision, self.history.awaits_any_rows())).1,
        };
        any && self.history.awaits_rows(table)
    }

    /// `None`: the table's rows are not replicated.
    pub(super) fn of(&mut self, event: &RowsEvent) -> Result<Option<&Known>> {
        let seen = seen(event);
        if let Some(&known) = self.seen.get(&seen) {
            return Ok(self.known.get(known));
        }
        if self.known.len() >= 4 * self.followed.mappings().len() + 256 {
            self.forget();
        }
        let name = &event.table.name;
        let Some(mapping) = self.followed.mapping(name).cloned() else {
            if self.followed.passes(name) || self.sequences.contains(name) {
                return Ok(None);
            }
            if self.history.is_sequence(&event.table)? {
                tracing::info!(sequence = %name, "passed over: the target has no sequences");
                self.sequences.insert(name.clone());
                return Ok(None);
            }
            return Err(Error::definite(format!(
                "{name} at {}:{}: rows of a table the job does not know",
                event.file, event.offset
            ))
            .hint("the table came by a way that the log does not tell; exclude it with `source.excludeTables`, or begin a new job (another `name`)"));
        };
        let plan = EventPlan::new(&mapping, event, &self.values)
            .map_err(|error| error.context(format!("{}:{}", event.file, event.offset)))?;
        let known = Known {
            _map: Arc::clone(&event.table),
            _columns: event.columns.clone(),
            way: self.way(name, &mapping),
            mapping,
            plan,
        };
        self.seen.insert(seen, self.known.len());
        self.known.push(known);
        Ok(self.known.last())
    }

    fn way(&self, table: &TableName, mapping: &Mapping) -> Way {
        if let Some(lag) = self.followed.lag(table) {
            return Way::Parked(WaitsFor::Lag(lag.number));
        }
        match self.followed.join(table) {
            Some(_) if mapping.is_row_hash() && self.parks(table) => Way::Parked(WaitsFor::Copy(table.clone())),
            Some(_) if mapping.is_row_hash() => Way::Left,
            _ => Way::Batch,
        }
    }

    /// The target shows the tables so from here on.
    pub(super) fn follow(&mut self, followed: Arc<Followed>) {
        self.row_hashes = followed.has_row_hashes();
        self.pictures.retain(|table, number| followed.join(table).is_some_and(|join| join.number == *number));
        self.followed = followed;
        self.forget();
    }

    fn forget(&mut self) {
        self.known.clear();
        self.seen.clear();
        // The name may be a table's now.
        self.sequences.clear();
    }

    /// Of these tables without a key, which are being copied, it is known which place the copy shows.
    #[must_use]
    pub fn with_pictures(mut self, tables: impl IntoIterator<Item = TableName>) -> Self {
        for table in tables {
            let join = self.followed.join(&table).map(|join| join.number);
            let is_row_hash = self.followed.mapping(&table).is_some_and(|mapping| mapping.is_row_hash());
            self.pictures.extend(join.filter(|_| is_row_hash).map(|number| (table, number)));
        }
        self
    }

    /// Rows of the table wait for its copy to be whole.
    pub(super) fn parks(&self, table: &TableName) -> bool {
        self.pictures.contains_key(table)
    }

    /// Whether the copy of this number shows a place.
    pub(super) fn has_picture(&self, table: &TableName, number: u64) -> bool {
        self.pictures.get(table) == Some(&number)
    }

    pub(super) fn pictures(&self) -> impl ExactSizeIterator<Item = &TableName> {
        self.pictures.keys()
    }

    /// From here on the table's rows wait for the copy of this number.
    pub(super) fn begin_parking(&mut self, table: TableName, number: u64) {
        self.pictures.insert(table, number);
        self.forget();
    }

    /// What the copy shows is of no use.
    pub(super) fn stop_parking(&mut self, table: &TableName) {
        self.pictures.remove(table);
        self.forget();
    }

    /// Some table lags.
    pub(super) fn lag(&self) -> bool {
        self.followed.lags().len() > 0
    }

    /// A statement stands inside the transaction that is being read.
    pub(super) fn is_inside(&self) -> bool {
        self.before.is_some()
    }

    /// What the history has to be stored as, if it is not stored so yet.
    pub(super) fn unstored(&mut self) -> Result<Option<String>> {
        if self.history.revision() == self.stored {
            return Ok(None);
        }
        self.stored = self.history.revision();
        self.history.state()
    }

    /// The transaction that is being read does not count; it had a statement inside if this is `true`.
    pub(super) fn undo(&mut self) -> bool {
        let Some(Before { history, stored, followed }) = self.before.take() else { return false };
        (self.history, self.stored) = (history, stored);
        // Its next revision is another one of the same number.
        self.awaits = None;
        self.follow(followed);
        true
    }
}
