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

use super::known::Shadow;
use crate::schema::{Altered, SchemaChange, Table};

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
    if lineage == Lineage::Unknown && !was.iter().flatten().is_sorted() {
        return refill("columns stand in another order, which may be the same one under each other's names");
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
