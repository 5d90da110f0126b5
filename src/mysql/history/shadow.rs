//! Online schema changes: gh-ost and pt-online-schema-change change a copy of a table and put it in the table's place.
//!
//! ```text
//! gh-ost   CREATE _t_gho LIKE t   ALTER _t_gho …   (rows)   RENAME t TO _t_del, _t_gho TO t     DROP _t_del
//!          or, with --cut-over two-step:                     ALTER t RENAME _t_del; ALTER _t_gho RENAME t
//! pt-osc   CREATE _t_new (…)      ALTER _t_new …   (rows)   RENAME t TO _t_old, _t_new TO t     DROP _t_old
//! ```
//!
//! The copy, the *shadow*, has a name by which it is known. It is not replicated; its definition is followed. When it
//! takes the place of the real table, that table is altered, once: the rows are the same, for the tools see to that, and
//! its columns are matched by name, as the tools match them. What a run leaves behind that never comes so far is a
//! definition, forgotten with the shadow's DROP.
//!
//! In doubt the table is copied anew:
//! - A column of the shadow was renamed. Whether its values came along (`--approve-renamed-columns`) or not
//!   (`--skip-renamed-columns`) the log does not tell.
//! - Nobody altered the shadow. Then it may be no tool's at all but somebody's new table with other rows, put in the old
//!   one's place.

use std::sync::Arc;

use globset::{Glob, GlobMatcher};

use super::known::Shadow;
use crate::schema::{Altered, SchemaChange, Table};
use crate::{Error, Result};

/// The names of the tools' tables: `*` in a pattern stands for the real table's name.
#[derive(Debug, Clone, Default)]
pub struct ShadowNames(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    glob: GlobMatcher,
    before: String,
    behind: String,
}

impl ShadowNames {
    /// # Errors
    /// Usage: a pattern has not exactly one `*`, or nothing but it.
    pub fn new(patterns: &[String]) -> Result<Self> {
        patterns.iter().map(|text| Pattern::new(text)).collect::<Result<_>>().map(ShadowNames)
    }

    /// Whether a table of this name belongs to a tool.
    pub fn is_shadow(&self, table: &str) -> bool {
        self.original(table).is_some()
    }

    /// The real table's name.
    pub fn original<'a>(&self, table: &'a str) -> Option<&'a str> {
        self.0.iter().filter(|pattern| pattern.glob.is_match(table)).find_map(|pattern| {
            let inside = table.strip_prefix(pattern.before.as_str())?.strip_suffix(pattern.behind.as_str())?;
            // pt-osc puts more underscores before a name that is taken.
            Some(inside.trim_start_matches('_')).filter(|name| !name.is_empty())
        })
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::usage(format!("ddl.shadowTables: {text:?} {why}"));
        let (before, behind) = text.split_once('*').ok_or_else(|| wrong("has no * for the table's name"))?;
        if behind.contains('*') || before.is_empty() && behind.is_empty() {
            return Err(wrong("must have one * for the table's name, and something beside it"));
        }
        let literal = globset::escape(before) + "*" + &globset::escape(behind);
        let glob = Glob::new(&literal).map_err(|error| wrong(&error.to_string()))?.compile_matcher();
        Ok(Pattern { glob, before: before.to_owned(), behind: behind.to_owned() })
    }
}

/// How well the way from one definition to the other is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lineage {
    /// Columns of the same name are the same, the others came or went.
    ByName,
    /// Nothing but both ends.
    Unknown,
    /// Something that makes it doubtful whether the rows are the same.
    Doubtful(&'static str),
}

impl Lineage {
    pub(super) fn of(shadow: &Shadow) -> Self {
        if shadow.renames {
            Lineage::Doubtful(
                "a column was renamed by an online schema change, which may or may not have kept its values",
            )
        } else if !shadow.altered {
            Lineage::Doubtful("a table that nobody had altered took its place, whose rows may be others")
        } else {
            Lineage::ByName
        }
    }
}

/// What it means that `after` is what has become of `before`.
pub(super) fn by_names(before: Arc<Table>, after: Arc<Table>, lineage: Lineage) -> Vec<SchemaChange> {
    let was: Vec<Option<usize>> = after.columns.iter().map(|column| before.column_index(&column.name)).collect();
    let gone = (0..before.columns.len()).any(|index| !was.contains(&Some(index)));
    let refill = |reason: &str| vec![SchemaChange::Refill { table: Arc::clone(&after), reason: reason.to_owned() }];
    if let Lineage::Doubtful(reason) = lineage {
        return refill(reason);
    }
    if lineage == Lineage::Unknown && gone && was.contains(&None) {
        return refill("columns came and others went, which may be the same ones renamed");
    }
    let key: Vec<Option<usize>> = after.key.iter().map(|&index| was.get(index).copied().flatten()).collect();
    if key != before.key.iter().copied().map(Some).collect::<Vec<_>>() {
        return refill("its key has other columns");
    }
    if after.reads_like(&before) {
        return Vec::new();
    }
    vec![SchemaChange::Alter(Altered { before, after, was })]
}
