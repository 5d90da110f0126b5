//! The tables as they are at the place that is being read, and how their events are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::super::change::Followed;
use crate::mysql::binlog::{EventPlan, ImageColumns, RowsEvent, RowsKind, TableMap};
use crate::mysql::history::History;
use crate::mysql::value::ValueOptions;
use crate::schema::{Mapping, TableName};
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
    pub(super) known: HashMap<Seen, Known, FixedState>,
    /// Some table has no key.
    pub(super) row_hashes: bool,
    pub(super) before: Option<Before>,
    /// MariaDB's, whose rows are no table's.
    pub(super) sequences: HashSet<TableName>,
}

/// The tables as they were before a statement inside the transaction that is being read.
pub(super) struct Before {
    pub(super) history: History,
    pub(super) stored: u64,
    pub(super) followed: Arc<Followed>,
}

/// What an event's plan depends on: the addresses of its table map and its columns, and with columns its kind.
/// `Known` keeps both alive, so the addresses stay their own.
pub(super) type Seen = (usize, Option<(usize, RowsKind)>);

pub(super) struct Known {
    pub(super) _map: Arc<TableMap>,
    pub(super) _columns: Option<Arc<ImageColumns>>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) plan: EventPlan,
    /// The table lags: the lag's number.
    pub(super) lag: Option<u64>,
}

impl Tables {
    pub fn new(history: History, followed: Arc<Followed>, values: ValueOptions) -> Self {
        let (stored, row_hashes) = (history.revision(), followed.has_row_hashes());
        Tables {
            history,
            stored,
            followed,
            values,
            known: HashMap::default(),
            row_hashes,
            before: None,
            sequences: HashSet::new(),
        }
    }

    /// `None`: the table's rows are not replicated.
    pub(super) fn of(&mut self, event: &RowsEvent) -> Result<Option<&Known>> {
        let columns = event.columns.as_ref().map(|columns| (Arc::as_ptr(columns) as usize, event.kind));
        let seen = (Arc::as_ptr(&event.table) as usize, columns);
        if self.known.contains_key(&seen) {
            return Ok(self.known.get(&seen));
        }
        let name = &event.table.name;
        let Some(mapping) = self.followed.mapping(name) else {
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
        let plan = EventPlan::new(mapping, event, &self.values)
            .map_err(|error| error.context(format!("{}:{}", event.file, event.offset)))?;
        if self.known.len() >= 4 * self.followed.mappings().len() + 256 {
            self.known.clear();
        }
        let known = Known {
            _map: Arc::clone(&event.table),
            _columns: event.columns.clone(),
            mapping: Arc::clone(mapping),
            plan,
            lag: self.followed.lag(name).map(|lag| lag.number),
        };
        Ok(Some(self.known.entry(seen).or_insert(known)))
    }

    /// The target shows the tables so from here on.
    pub(super) fn follow(&mut self, followed: Arc<Followed>) {
        self.row_hashes = followed.has_row_hashes();
        self.followed = followed;
        self.known.clear();
        // The name may be a table's now.
        self.sequences.clear();
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
        self.follow(followed);
        true
    }
}
