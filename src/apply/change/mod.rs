//! Schema changes: the target follows a statement, and so does the job.
//!
//! ```text
//! flusher    rows … │ statement │ rows …
//! committer  epoch  │ change    │ epoch      nothing of one is at the target beside anything of another
//!            ───────▶ checkpoint ▶ steps at the target ▶ checkpoint + definitions ▶───────
//! ```
//!
//! A statement is a barrier. Everything before it is in and the checkpoint stands before it, when the first step is done;
//! the checkpoint moves behind it, together with the definitions that hold from there on, when the last one is; only then
//! the next row is encoded, with the new mapping. So wherever a job dies it has, in one place, the position and
//! the definitions that are true there:
//!
//! - before the checkpoint behind it, the statement is read again and judged alike. Steps that are written down as done are
//!   not done again ([`crate::state::RunningChange`]); the one in doubt is, and each kind of step may be: it compares
//!   first. In particular a TRUNCATE can never remove rows that were written after it, for none is before its
//!   checkpoint.
//! - behind it, the statement is not read again.
//!
//! Some statements stand inside a transaction, with rows of it behind them (CREATE TABLE … SELECT). The checkpoint cannot
//! move between the two, so the definitions wait for the transaction's end, and with them the record of the steps.
//!
//! What is to be done is worked out first, for all clauses of a statement, by the policies of the job file ([`plan`],
//! [`columns`]): a statement that stops the job has changed nothing.
//!
//! An ALTER that the target takes its time for is waited for by its table alone: [`super::lag`].
//!
//! A statement that the full copy may have seen the effect of is another matter: [`unsettled`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel as channel;

use super::join::swap::in_place;
use super::lag::Alterations;
use crate::config::Ddl;
use crate::mysql::binlog::Statement;
use crate::mysql::connect::Patience;
use crate::mysql::value::ValueOptions;
use crate::schema::{Mapping, MappingOptions, SchemaChange, TableName};
use crate::state::{DefinitionChanges, Join, Lag, LetterMove};

mod columns;
mod copy;
mod plan;
mod rename;
mod run;
#[cfg(test)]
mod tests;
mod unsettled;

pub(in crate::apply) use rename::in_order;
pub use unsettled::Unsettled;

pub(in crate::apply) use run::shortened;

/// The tables of the job at one place of the log.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// By the source's name.
    mappings: HashMap<TableName, Arc<Mapping>>,
    /// Tables of the source that match the patterns and whose rows are not replicated.
    passed: HashSet<TableName>,
    /// Tables of the target whose source is gone: they keep their rows, and nobody else's may come among them.
    left: HashSet<TableName>,
    /// Tables that are being copied while the stream goes on ([`super::join`]).
    joins: HashMap<TableName, Join>,
    /// Tables that the target is still altering ([`super::lag`]); their mappings are what they become.
    lags: HashMap<TableName, Lag>,
    /// Tables whose copy the stream has not passed yet.
    unsettled: HashMap<TableName, Unsettled>,
}

impl Followed {
    pub fn new(
        mappings: impl IntoIterator<Item = Arc<Mapping>>,
        passed: impl IntoIterator<Item = TableName>,
        left: impl IntoIterator<Item = TableName>,
    ) -> Followed {
        let mappings = mappings.into_iter().map(|mapping| (mapping.source.name.clone(), mapping)).collect();
        Followed {
            mappings,
            passed: passed.into_iter().collect(),
            left: left.into_iter().collect(),
            joins: HashMap::new(),
            lags: HashMap::new(),
            unsettled: HashMap::new(),
        }
    }

    #[must_use]
    pub fn with_joins(mut self, joins: impl IntoIterator<Item = (TableName, Join)>) -> Followed {
        self.joins = joins.into_iter().collect();
        self
    }

    #[must_use]
    pub fn with_lags(mut self, lags: impl IntoIterator<Item = (TableName, Lag)>) -> Followed {
        self.lags = lags.into_iter().collect();
        self
    }

    /// Why the table is not where the others are.
    pub(super) fn lag(&self, table: &TableName) -> Option<&Lag> {
        self.lags.get(table)
    }

    pub(super) fn lags(&self) -> impl ExactSizeIterator<Item = (&TableName, &Lag)> {
        self.lags.iter()
    }

    /// As it is when the table has caught up.
    pub(super) fn caught_up(&self, table: &TableName) -> Followed {
        let mut next = self.clone();
        next.lags.remove(table);
        next
    }

    /// The copy of the table that is under way.
    pub(crate) fn join(&self, table: &TableName) -> Option<&Join> {
        self.joins.get(table)
    }

    pub(super) fn joins(&self) -> impl ExactSizeIterator<Item = (&TableName, &Join)> {
        self.joins.iter()
    }

    pub(super) fn has_copies(&self) -> bool {
        !self.joins.is_empty()
    }

    /// As it is when the table's copy has taken its place.
    pub(super) fn copied(&self, table: &TableName) -> (Followed, Vec<LetterMove>) {
        let mut next = self.clone();
        let (Some(join), Some(mapping)) = (next.joins.remove(table), self.mappings.get(table)) else {
            return (next, Vec::new());
        };
        let (mapping, moves) = in_place(mapping, &join);
        next.mappings.insert(table.clone(), Arc::new(mapping));
        (next, moves)
    }

    pub fn mapping(&self, table: &TableName) -> Option<&Arc<Mapping>> {
        self.mappings.get(table)
    }

    pub fn mappings(&self) -> impl ExactSizeIterator<Item = &Arc<Mapping>> {
        self.mappings.values()
    }

    /// Whether some table has no key.
    pub(super) fn has_row_hashes(&self) -> bool {
        self.mappings.values().any(|mapping| mapping.is_row_hash())
    }

    /// Whether the table's rows are not replicated, on purpose.
    pub fn passes(&self, table: &TableName) -> bool {
        self.passed.contains(table)
    }

    /// What has to be stored for `next` to be what is found after a restart.
    pub(super) fn changes(&self, next: &Followed) -> DefinitionChanges {
        let gone = self.mappings.keys().filter(|name| !next.mappings.contains_key(*name));
        let now = next.mappings.iter().filter(|(name, mapping)| self.mappings.get(*name) != Some(*mapping));
        let tables = gone
            .map(|name| (name.clone(), None))
            .chain(now.map(|(name, mapping)| (name.clone(), Some(Arc::clone(mapping)))));
        let differing = |before: &HashSet<TableName>, after: &HashSet<TableName>| {
            let gone = before.difference(after).map(|name| (name.clone(), false));
            gone.chain(after.difference(before).map(|name| (name.clone(), true))).collect()
        };
        let over = self.joins.keys().filter(|name| !next.joins.contains_key(*name));
        let begun = next.joins.iter().filter(|(name, join)| self.joins.get(*name) != Some(*join));
        let joins =
            over.map(|name| (name.clone(), None)).chain(begun.map(|(name, join)| (name.clone(), Some(join.clone()))));
        let over = self.lags.keys().filter(|name| !next.lags.contains_key(*name));
        let begun = next.lags.iter().filter(|(name, lag)| self.lags.get(*name) != Some(*lag));
        let lags =
            over.map(|name| (name.clone(), None)).chain(begun.map(|(name, lag)| (name.clone(), Some(lag.clone()))));
        DefinitionChanges {
            tables: tables.collect(),
            passed: differing(&self.passed, &next.passed),
            left: differing(&self.left, &next.left),
            joins: joins.collect(),
            lags: lags.collect(),
            settled: self.unsettled.keys().filter(|name| !next.unsettled.contains_key(*name)).cloned().collect(),
            ..DefinitionChanges::default()
        }
    }
}

/// A statement that changes the job's tables, on its way to the target.
pub struct Change {
    pub statement: Statement,
    pub changes: Vec<SchemaChange>,
    /// Gets the tables as they are behind the statement, when the target shows them.
    pub reply: channel::Sender<Arc<Followed>>,
    pub origin: Origin,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A statement of the log.
    Log,
    /// The source's catalogue, of a statement somewhere before that could not be read.
    Catalogue,
    /// Somebody has asked for a copy of a table. No policy counts.
    Asked,
}

/// What the job file and the target say about every change.
#[derive(Debug, Clone)]
pub struct Rules {
    pub ddl: Ddl,
    pub mapping: MappingOptions,
    pub values: ValueOptions,
}

/// The committer's part: the tables as they are at the target.
pub struct Changer {
    rules: Rules,
    patience: Patience,
    /// At the checkpoint.
    followed: Arc<Followed>,
    /// Behind a statement whose transaction has not ended.
    pending: Option<(Arc<Followed>, DefinitionChanges)>,
    /// What the target does while the stream goes on.
    pub(super) alterations: Alterations,
}

impl Changer {
    pub fn new(rules: Rules, patience: Patience, followed: Arc<Followed>, alterations: Alterations) -> Changer {
        Changer { rules, patience, followed, pending: None, alterations }
    }

    /// The tables at the checkpoint.
    pub(super) fn followed(&self) -> &Followed {
        &self.followed
    }

    pub(super) fn followed_now(&self) -> &Arc<Followed> {
        &self.followed
    }

    /// The definitions have been written.
    pub(super) fn now_follows(&mut self, followed: &Arc<Followed>) {
        self.followed = Arc::clone(followed);
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn values(&self) -> &ValueOptions {
        &self.rules.values
    }

    /// The transaction that had a statement inside comes again.
    pub(super) fn forget_pending(&mut self) {
        self.pending = None;
    }

    /// What goes with the next checkpoint, and the history as it is there if it is not what was stored.
    pub(super) fn take_pending(&mut self, history: Option<String>) -> Option<DefinitionChanges> {
        let Some((followed, definitions)) = self.pending.take() else {
            return history.map(|history| DefinitionChanges { history: Some(history), ..DefinitionChanges::default() });
        };
        self.followed = followed;
        Some(DefinitionChanges { history: history.or(definitions.history), ..definitions })
    }
}
