//! Tables whose copy and whose statements met.
//!
//! ```text
//! stream  ──P───────────S───────────────E──────────▶
//!           │ the copy's definitions      │ behind all that the copy's SELECTs may have seen of the table
//!           └── chunk ── chunk ── chunk ──┘
//! ```
//! The full copy reads a table by the definition that it had at P, and what it has read is in the target before the stream
//! begins, at P again. Rows do no harm so ([`crate::mysql::snapshot`]), but statements do: a chunk that was read behind S shows
//! columns by what they are called there, and was written as if they were those of P. Two columns that exchange their names give no
//! error at all. So until the stream has passed E the table is *unsettled*, and a statement that it meets there makes its rows
//! doubtful: they are thrown away, and the table is copied again beside the stream from the statement on
//! ([`crate::apply::join`]), whose chunks belong to one definition each. A statement behind E is one like any other: no chunk has seen
//! it. Which it is, its place tells; where that is not known (rows behind an unreadable statement tell what it did), it is in
//! doubt.
//!
//! Not every statement makes rows doubtful:
//! - Columns that only come leave the others' names and values alone. The rows get what the ALTER gives to rows that were
//!   there, and those that were written since have their own values from the log.
//! - TRUNCATE empties the table, with whatever the copy has brought; what came into it since is in the log behind the
//!   statement.
//! - With DROP there is nothing left to be right about. A table that stays at the target by its policy has what was copied of it
//!   until then.
//!
//! The policies (`ddl`) mean what they always mean, and say what the table looks like that is then filled: `error` stops the
//! job before the statement; a column that is left out stays out; values that the source has no more cannot be
//! copied. `ddl.onImpossible` is not asked: it protects a table that serves, and this one is not whole yet.
//!
//! A table without a key shows in addition all that lies before the place at which it was copied as a whole: a TRUNCATE before that
//! place has been done.

use super::Followed;
use super::copy::Case;
use super::plan::Plan;
use crate::mysql::position::Position;
use crate::schema::{Altered, Column, TableName};
use crate::state::{Join, LetterMove};

/// What is known of an unsettled table's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// All that the copy may have seen lies before it.
    pub until: Position,
    /// Of a table without a key: it was copied as it was here.
    pub copied_at: Option<Position>,
}

/// Where a statement stands.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) begin: Position,
    pub(super) end: Position,
}

impl Followed {
    #[must_use]
    pub fn with_unsettled(mut self, tables: impl IntoIterator<Item = (TableName, Unsettled)>) -> Followed {
        self.unsettled = tables.into_iter().filter(|(table, _)| self.mappings.contains_key(table)).collect();
        self
    }

    /// Without tables whose copy lies before the place where reading begins, but for those that await rows.
    #[must_use]
    pub fn beginning_at(mut self, at: &Position, awaits_rows: impl Fn(&TableName) -> bool) -> Followed {
        self.unsettled.retain(|table, unsettled| !at.reached(&unsettled.until) || awaits_rows(table));
        self
    }

    /// Whether the table's copy may have seen what a statement did.
    pub(super) fn is_in_doubt(&self, table: &TableName, case: &Case) -> bool {
        let before =
            |unsettled: &Unsettled| case.span.as_ref().is_none_or(|span| !span.begin.reached(&unsettled.until));
        self.unsettled.get(table).is_some_and(before)
    }

    /// Whether the copy shows the table as it was behind the statement.
    pub(super) fn shows(&self, table: &TableName, case: &Case) -> bool {
        let copied_at = self.unsettled.get(table).and_then(|unsettled| unsettled.copied_at.as_ref());
        copied_at.zip(case.span.as_ref()).is_some_and(|(copied_at, span)| copied_at.reached(&span.end))
    }
}

impl Plan {
    /// If the table's rows are in doubt, they have to go, and this is the copy that is then begun anew, as if one had been under
    /// way in the table itself.
    pub(super) fn throw_away(&mut self, table: &TableName, case: &Case) -> Option<Join> {
        let in_doubt = self.followed.is_in_doubt(table, case);
        self.followed.unsettled.remove(table);
        if !in_doubt || self.followed.joins.contains_key(table) {
            return None;
        }
        if let Some(mapping) = self.followed.mappings.get(table) {
            self.letters.push(LetterMove::Emptied(mapping.target.name.clone()));
        }
        self.warnings
            .push(format!("table {table} was being copied when this was done at the source: it is copied again"));
        let reason = "it was changed while it was copied".to_owned();
        Some(Join { number: case.number, serves: None, live: false, new: false, reason })
    }
}

/// Whether rows that were read by the names and types before are right behind the statement too.
pub(super) fn only_adds(altered: &Altered) -> bool {
    let Altered { before, after, was } = altered;
    let stays = |(index, column): (usize, &Column)| {
        let now = was.iter().position(|was| *was == Some(index)).and_then(|now| after.columns.get(now));
        now.is_some_and(|now| {
            (&column.name, &column.ty, column.nullable, column.generated)
                == (&now.name, &now.ty, now.nullable, now.generated)
        })
    };
    before.columns.iter().enumerate().all(stays)
}
