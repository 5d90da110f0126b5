//! The keys behind the new list of columns.
//!
//! The old ones stay without their dropped columns, or leave with the last of them; their clauses name them as they were.
//! Then come the new ones in the clauses' order, whose names must be free by then; columns of a primary key become NOT NULL.
//!
//! Indexes that the servers make for foreign keys by themselves are not followed: they decide about no rows.

use super::super::charset::max_bytes;
use super::clauses::KeyClauses;
use super::columns::Placed;
use super::{no_column, same};
use crate::mysql::ddl::{KeyDefinition, KeyKind};
use crate::schema::{ColumnType, Index, Table};

/// Over indexes into the new columns.
pub(super) struct Keys {
    pub(super) primary: Option<Vec<usize>>,
    /// As the catalogue tells them: by name.
    pub(super) indexes: Vec<Index>,
}

/// # Errors
/// A key over a column that is not there.
pub(super) fn keys(before: &Table, clauses: &KeyClauses<'_>, columns: &[Placed<'_>]) -> Result<Keys, String> {
    let mut keys = kept(before, clauses, columns)?;
    if !before.knows_indexes() {
        sure(before, clauses, columns, &keys)?;
    }
    for key in &clauses.added {
        keys.add(key, columns)?;
        if key.kind == KeyKind::Primary {
            // Now it is certain which it is.
            let unknown = |index: &&mut Index| index.name.is_empty();
            keys.indexes.iter_mut().filter(unknown).for_each(|index| *index = Index::unknown(false));
        }
    }
    keys.indexes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(keys)
}

fn kept(before: &Table, clauses: &KeyClauses<'_>, columns: &[Placed<'_>]) -> Result<Keys, String> {
    // A part is looked for by its old column's name, and the first of the new list that had it or has it is taken: a column
    // that is dropped and added anew keeps its place in a key.
    let now = |old: usize| {
        let name = before.columns.get(old).map_or("", |column| column.name.as_str());
        columns.iter().position(|placed| same(placed.change.unwrap_or(&placed.column.name), name))
    };
    let primary: Vec<usize> = before.key.iter().filter_map(|&old| now(old)).collect();
    let stays = before.primary && !clauses.drops_primary && !primary.is_empty();
    let mut dropped: Vec<&str> = clauses.dropped.clone();
    for (name, if_exists) in &clauses.constraints_dropped {
        let unique = before.indexes.iter().find(|index| index.unique && same(name, &index.name));
        if *if_exists && unique.is_some_and(|index| may_be_hashed(before, index)) {
            return Err(format!("it is not certain whether DROP CONSTRAINT IF EXISTS {name} finds the unique key"));
        }
        dropped.extend(unique.map(|index| index.name.as_str()));
    }
    let indexes = before.indexes.iter().filter_map(|index| {
        if dropped.iter().any(|name| same(name, &index.name)) {
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
    Ok(Keys { primary: stays.then_some(primary), indexes: indexes.collect() })
}

/// MariaDB keeps unique keys that are too long for an index as hashes, and does not find those as constraints. How much
/// of a column is in a key the definition does not say.
fn may_be_hashed(table: &Table, index: &Index) -> bool {
    const SHORTEST_LIMIT: u64 = 767;
    let bytes = index.columns.iter().map(|part| {
        let column = part.and_then(|part| table.columns.get(part));
        match column.map(|column| &column.ty) {
            Some(ColumnType::Char { chars, charset } | ColumnType::Varchar { chars, charset }) => {
                u64::from(*chars) * max_bytes(charset).unwrap_or(4)
            }
            Some(ColumnType::Binary { bytes } | ColumnType::Varbinary { bytes }) => u64::from(*bytes),
            None
            | Some(ColumnType::Text { .. } | ColumnType::Blob { .. } | ColumnType::Json | ColumnType::Geometry) => {
                u64::MAX / 64
            }
            Some(_) => 30,
        }
    });
    bytes.sum::<u64>() > SHORTEST_LIMIT
}

/// Of a table whose indexes are not all known: whether it is certain what becomes of its key, which may be the primary one or
/// a unique one that stands in for it.
fn sure(before: &Table, clauses: &KeyClauses<'_>, columns: &[Placed<'_>], kept: &Keys) -> Result<(), String> {
    let adds_primary = clauses.added.iter().any(|key| key.kind == KeyKind::Primary);
    if adds_primary {
        return Ok(());
    }
    let known = |name: &str| before.indexes.iter().any(|index| same(&index.name, name));
    let nullable =
        |&part: &usize| columns.get(part).is_some_and(|placed| placed.clause.is_some() && placed.column.nullable);
    let certain = match &kept.primary {
        // There was no key at all, or it is gone and nothing else is known.
        None => !before.primary && !clauses.drops_primary,
        Some(_) if before.knows_key() => true,
        Some(primary) => {
            let constraints = clauses.constraints_dropped.iter().map(|(name, _)| name);
            clauses.dropped.iter().chain(constraints).all(|name| known(name)) && !primary.iter().any(nullable)
        }
    };
    if certain {
        Ok(())
    } else {
        Err("the table's definition is from the log, which does not tell all of its keys".to_owned())
    }
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
