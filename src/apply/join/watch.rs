//! Which keys of a table the stream has changed since a place.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::KeyHasher;
use crate::mysql::binlog::{Changed, EventPlan, RowWalk, RowsEvent};
use crate::mysql::value::RowError;
use crate::mysql::wire::KeptRow;
use crate::schema::{Mapping, TableName};
use crate::{Error, Result};

/// So many keys are noted while a chunk is being read. The stream is then far ahead of what the chunk is worth.
const MOST_KEYS: usize = 1 << 20;

/// A chunk's row with the hash of its key ([`KeyHasher`]).
#[derive(Debug)]
pub(crate) struct CopiedRow<R = KeptRow> {
    pub(crate) key: u128,
    pub(crate) row: R,
}

/// How the stream has changed a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// The stream has the row as it is, or its delete.
    Whole,
    /// The stream has some of its columns.
    Part,
}

/// The keys of one table that were changed since the watch began.
#[derive(Debug)]
pub(in crate::apply) struct Watch<R = KeptRow> {
    table: TableName,
    seen: Seen<R>,
    hasher: KeyHasher,
    walk: RowWalk,
}

#[derive(Debug)]
enum Seen<R> {
    /// The chunk is being read.
    All(HashMap<u128, How>),
    TooMany,
    /// The chunk is here. Nothing but its own keys is of interest any more, so memory has its bound.
    Chunk {
        rows: IndexMap<u128, R>,
        in_part: HashSet<u128>,
    },
}

/// What is left of a chunk.
#[derive(Debug)]
pub(in crate::apply) enum Left<R = KeptRow> {
    Rows(Vec<R>),
    /// Of some of its rows the stream has changed only some columns.
    InPart,
    /// Too many keys were changed to remember them.
    Unknown,
}

impl<R> Watch<R> {
    pub(in crate::apply) fn new(table: TableName) -> Watch<R> {
        let seen = Seen::All(HashMap::new());
        Watch { table, seen, hasher: KeyHasher::default(), walk: RowWalk::default() }
    }

    pub(in crate::apply) fn is_of(&self, table: &TableName) -> bool {
        self.table == *table
    }

    /// Notes what an event of the table changes.
    ///
    /// # Errors
    /// Definite: a row does not fit the table's definition.
    pub(in crate::apply) fn note(&mut self, mapping: &Mapping, plan: &EventPlan, event: &RowsEvent) -> Result<()> {
        self.rows(mapping, plan, event).map_err(|error| {
            Error::definite(format!(
                "{} at {}:{}: row does not fit the table's definition: {error}",
                mapping.source.name, event.file, event.offset
            ))
        })
    }

    fn rows(&mut self, mapping: &Mapping, plan: &EventPlan, event: &RowsEvent) -> Result<(), RowError> {
        let mut walk = std::mem::take(&mut self.walk);
        let walked = walk.each(plan, event, |row| self.row(mapping, plan, row));
        self.walk = walk;
        walked
    }

    fn row(&mut self, mapping: &Mapping, plan: &EventPlan, row: Changed<'_>) -> Result<(), RowError> {
        let (keys, columns) = (mapping.target.key_columns, mapping.target.columns.len());
        let old = match row {
            Changed::Inserted(image) => self.hasher.hash(keys, |out| plan.after().write(image, out))?,
            Changed::Deleted(image) | Changed::Updated { before: image, .. } => {
                self.hasher.hash(keys, |out| plan.before().write(image, out))?
            }
        };
        match row {
            Changed::Inserted(_) | Changed::Deleted(_) => self.mark(old, How::Whole),
            // A row that gets another key is whole, or the job stops.
            Changed::Updated { before, after, moved: true } => {
                self.mark(old, How::Whole);
                let new = self.hasher.hash(keys, |out| plan.write_updated(columns, before, after, out))?;
                self.mark(new, How::Whole);
            }
            Changed::Updated { .. } if plan.after().tells_all() => self.mark(old, How::Whole),
            Changed::Updated { .. } => self.mark(old, How::Part),
        }
        Ok(())
    }

    fn mark(&mut self, key: u128, how: How) {
        match (&mut self.seen, how) {
            (Seen::All(keys), how) => {
                let known = keys.entry(key).or_insert(how);
                if how == How::Whole {
                    *known = how;
                }
                if keys.len() > MOST_KEYS {
                    self.seen = Seen::TooMany;
                }
            }
            (Seen::Chunk { rows, in_part }, How::Whole) => {
                rows.swap_remove(&key);
                in_part.remove(&key);
            }
            (Seen::Chunk { rows, in_part }, How::Part) => {
                if rows.contains_key(&key) {
                    in_part.insert(key);
                }
            }
            (Seen::TooMany, _) => {}
        }
    }

    /// The chunk was read; from here on only its own keys are noted.
    pub(in crate::apply) fn take(&mut self, chunk: Vec<CopiedRow<R>>) {
        let Seen::All(keys) = &self.seen else { return };
        let (mut rows, mut in_part) = (IndexMap::with_capacity(chunk.len()), HashSet::new());
        for CopiedRow { key, row } in chunk {
            match keys.get(&key) {
                Some(How::Whole) => continue,
                Some(How::Part) => _ = in_part.insert(key),
                None => {}
            }
            rows.insert(key, row);
        }
        self.seen = Seen::Chunk { rows, in_part };
    }

    /// The stream has come to where the chunk goes in.
    pub(in crate::apply) fn end(self) -> Left<R> {
        match self.seen {
            Seen::Chunk { in_part, .. } if !in_part.is_empty() => Left::InPart,
            Seen::Chunk { rows, .. } => Left::Rows(rows.into_values().collect()),
            Seen::All(_) | Seen::TooMany => Left::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch<()> {
        Watch::new(TableName::new("shop", "t"))
    }

    fn chunk(keys: &[u128]) -> Vec<CopiedRow<()>> {
        keys.iter().map(|&key| CopiedRow { key, row: () }).collect()
    }

    fn left(watch: Watch<()>) -> Option<usize> {
        match watch.end() {
            Left::Rows(rows) => Some(rows.len()),
            Left::InPart => None,
            Left::Unknown => panic!("the chunk is there"),
        }
    }

    #[test]
    fn a_key_that_was_changed_before_or_after_the_chunk_came_is_dropped() {
        let mut watch = watch();
        watch.mark(1, How::Whole);
        watch.take(chunk(&[1, 2, 3]));
        watch.mark(3, How::Whole);
        watch.mark(9, How::Whole);
        assert_eq!(left(watch), Some(1));
    }

    #[test]
    fn a_key_that_was_changed_in_part_needs_another_look_unless_the_stream_gets_it_whole() {
        for (before, after, wanted) in [
            (Some(How::Part), None, None),
            (None, Some(How::Part), None),
            (Some(How::Part), Some(How::Whole), Some(0)),
            (Some(How::Whole), Some(How::Part), Some(0)),
        ] {
            let mut watch = watch();
            before.into_iter().for_each(|how| watch.mark(1, how));
            watch.take(chunk(&[1]));
            after.into_iter().for_each(|how| watch.mark(1, how));
            assert_eq!(left(watch), wanted, "{before:?} {after:?}");
        }
        let mut elsewhere = watch();
        elsewhere.mark(7, How::Part);
        elsewhere.take(chunk(&[1]));
        elsewhere.mark(8, How::Part);
        assert_eq!(left(elsewhere), Some(1), "only the chunk's own keys count");
    }

    #[test]
    fn more_keys_than_memory_has_room_for_make_the_chunk_worth_nothing() {
        let mut watch = watch();
        (0..=MOST_KEYS as u128).for_each(|key| watch.mark(key, How::Whole));
        watch.take(chunk(&[1]));
        assert!(matches!(watch.end(), Left::Unknown));
    }
}
