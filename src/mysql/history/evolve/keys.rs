//! The keys behind the new list of columns.
//!
//! The old ones stay without their dropped columns, or leave with the last of them; their clauses name them as they were.
//! Then come the new ones in the clauses' order, whose names must be free by then; columns of a primary key become NOT NULL.
//!
//! Indexes that the servers make for foreign keys by themselves are not followed: they decide about no rows.

use super::clauses::KeyClauses;
use super::columns::Placed;
use super::{no_column, same};
use crate::mysql::ddl::{KeyDefinition, KeyKind};
use crate::schema::{Index, Table};

/// Over indexes into the new columns.
pub(super) struct Keys {
    pub(super) primary: Option<Vec<usize>>,
    /// As the catalogue tells them: by name.
    pub(super) indexes: Vec<Index>,
}

/// # Errors
/// A key over a column that is not there.
pub(super) fn keys(before: &Table, clauses: &KeyClauses<'_>, columns: &[Placed<'_>]) -> Result<Keys, String> {
    let mut keys = kept(before, clauses, columns);
    for key in &clauses.added {
        keys.add(key, columns)?;
    }
    keys.indexes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(keys)
}

fn kept(before: &Table, clauses: &KeyClauses<'_>, columns: &[Placed<'_>]) -> Keys {
    // A part is looked for by its old column's name, and the first of the new list that had it or has it is taken: a column
    // that is dropped and added anew keeps its place in a key.
    let now = |old: usize| {
        let name = before.columns.get(old).map_or("", |column| column.name.as_str());
        columns.iter().position(|placed| same(placed.change.unwrap_or(&placed.column.name), name))
    };
    let primary: Vec<usize> = before.key.iter().filter_map(|&old| now(old)).collect();
    let stays = before.primary && !clauses.drops_primary && !primary.is_empty();
    let indexes = before.indexes.iter().filter_map(|index| {
        let is = |name: &&str| same(name, &index.name);
        if clauses.dropped.iter().any(is) || index.unique && clauses.constraints_dropped.iter().any(is) {
            return None;
        }
        let parts: Vec<Option<usize>> = index
            .columns
            .iter()
            .filter_map(|part| match part {
                None => Some(None),
                Some(old) => now(*old).map(Some),
            })
            .collect();
        let renamed = clauses.renamed.iter().find(|(old, _)| same(old, &index.name));
        let name = renamed.map_or_else(|| index.name.clone(), |(_, new)| (*new).to_owned());
        (!parts.is_empty()).then_some(Index { name, unique: index.unique, columns: parts })
    });
    Keys { primary: stays.then_some(primary), indexes: indexes.collect() }
}

impl Keys {
    fn add(&mut self, key: &KeyDefinition, columns: &[Placed<'_>]) -> Result<(), String> {
        let find = |name: &str| {
            let index = columns.iter().position(|placed| same(&placed.column.name, name));
            index.ok_or_else(|| no_column(name))
        };
        let parts = key.columns.iter().map(|part| part.as_deref().map(find).transpose());
        let parts: Vec<Option<usize>> = parts.collect::<Result<_, _>>()?;
        if key.kind == KeyKind::Primary {
            self.primary = parts.into_iter().collect();
            return Ok(());
        }
        let name = match &key.name {
            Some(name) => name.clone(),
            None => {
                let first = parts.first().copied().flatten().and_then(|index| columns.get(index));
                self.free_name(first.map_or("functional_index", |placed| placed.column.name.as_str()))
            }
        };
        self.indexes.push(Index { name, unique: key.kind == KeyKind::Unique, columns: parts });
        Ok(())
    }

    /// The server's name for an index without one: its first column's, and a number from 2 on where that is taken.
    fn free_name(&self, base: &str) -> String {
        let taken = |name: &str| same(name, "PRIMARY") || self.indexes.iter().any(|index| same(&index.name, name));
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }
}
