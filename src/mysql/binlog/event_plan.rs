//! How the rows of one event are read: a plan for each of its two images.

use std::sync::Arc;

use super::row::{Absent, KeyParts, RowPlan};
use super::{Overlay, RowsEvent, RowsKind};
use crate::mysql::value::{RowError, ValueOptions, ValueWriter};
use crate::schema::{Generated, Mapping};
use crate::{Error, Result};

/// The plans of an event's images. Of an INSERT or DELETE both are that of its only image.
#[derive(Debug, Clone)]
pub struct EventPlan {
    before: Arc<RowPlan>,
    after: Arc<RowPlan>,
    /// The before image tells something that the after image does not; at least the key.
    before_adds: bool,
    /// Something but the key.
    before_adds_values: bool,
}

impl EventPlan {
    /// For events whose images have all columns.
    pub fn whole(plan: Arc<RowPlan>) -> EventPlan {
        EventPlan { before: Arc::clone(&plan), after: plan, before_adds: false, before_adds_values: false }
    }

    /// # Errors
    /// As [`RowPlan::new`]. Also definite: the images lack what is needed to know a row, or to know what it has become.
    pub fn new(mapping: &Mapping, event: &RowsEvent, options: &ValueOptions) -> Result<EventPlan> {
        let Some(present) = &event.columns else {
            return Ok(EventPlan::whole(Arc::new(RowPlan::new(mapping, &event.table, options)?)));
        };
        if mapping.is_row_hash() {
            return Err(not_whole(mapping));
        }
        let plan = |bits, absent| RowPlan::with_columns(mapping, &event.table, options, Some((bits, absent)));
        if event.kind == RowsKind::Insert {
            let absent = Absent::Default { mariadb: present.mariadb };
            return Ok(EventPlan::whole(Arc::new(plan(&present.after, absent)?)));
        }
        let before = Arc::new(plan(&present.before, Absent::Untold)?);
        if !before.has_whole_key() {
            return Err(without_key(mapping, event));
        }
        if event.kind == RowsKind::Delete {
            return Ok(EventPlan::whole(before));
        }
        let after = Arc::new(plan(&present.after, Absent::Untold)?);
        if present.mariadb {
            let columns = mapping.source.columns.iter().enumerate();
            for (_, column) in columns.filter(|(index, _)| !present.after.has(*index)) {
                if column.generated != Generated::No {
                    return Err(without_generated(mapping, &column.name));
                }
            }
        }
        let added: Vec<usize> =
            after.untold().filter(|&index| present.before.has(mapping.target.columns[index].source)).collect();
        let before_adds_values = added.iter().any(|&index| index >= mapping.target.key_columns);
        Ok(EventPlan { before, after, before_adds: !added.is_empty(), before_adds_values })
    }

    /// The first image's: before, or the only one.
    pub fn before(&self) -> &Arc<RowPlan> {
        &self.before
    }

    pub fn after(&self) -> &Arc<RowPlan> {
        &self.after
    }

    pub fn before_adds(&self) -> bool {
        self.before_adds
    }

    pub fn before_adds_values(&self) -> bool {
        self.before_adds_values
    }

    /// Walks the two images of an UPDATE that stand at the begin of `images`: appends the row's key before and after to
    /// `old` and `new` and returns the images' lengths.
    ///
    /// # Errors
    /// As [`RowPlan::walk`].
    pub fn walk_update(&self, images: &[u8], old: &mut Vec<u8>, new: &mut Vec<u8>) -> Result<(usize, usize), RowError> {
        if self.after.has_whole_key() {
            let before = self.before.walk(images, old)?;
            let after = self.after.walk(images.get(before..).unwrap_or_default(), new)?;
            return Ok((before, after));
        }
        // What the after image lacks of the key has not changed.
        let mut parts = KeyParts::default();
        let count = self.before.key_columns();
        let before = self.before.walk_parts(images, &mut parts)?;
        parts.write(count, old)?;
        let after = self.after.walk_parts(images.get(before..).unwrap_or_default(), &mut parts)?;
        parts.write(count, new)?;
        Ok((before, after))
    }

    /// Writes the row that an UPDATE has made, of so many target columns: what its after image lacks has not changed. What
    /// neither image tells is left out, which the key never is.
    ///
    /// # Errors
    /// As [`RowPlan::write`].
    pub(crate) fn write_updated(
        &self,
        columns: usize,
        before: &[u8],
        after: &[u8],
        out: &mut impl ValueWriter,
    ) -> Result<(), RowError> {
        if self.after.tells_all() {
            return self.after.write(after, out);
        }
        let mut overlay = Overlay::default();
        overlay.begin(columns);
        if !overlay.lay(&self.after, after)? {
            overlay.lay(&self.before, before)?;
        }
        overlay.write(out)
    }
}

const FULL: &str = "SET GLOBAL binlog_row_image = 'FULL' at the source, connect its clients anew, then start a new job \
                    (another `name`)";

/// A row that is known by a hash of all its columns.
fn not_whole(mapping: &Mapping) -> Error {
    Error::definite(format!(
        "table {}: a row image lacks columns; the table has no key, so a row is known only by all of its columns",
        mapping.source.name
    ))
    .hint(format!("give the table a primary key; or {FULL}"))
}

fn without_key(mapping: &Mapping, event: &RowsEvent) -> Error {
    let key: Vec<&str> = mapping.source.key_columns().map(|column| column.name.as_str()).collect();
    let what = if event.kind == RowsKind::Update { "an UPDATE" } else { "a DELETE" };
    Error::definite(format!(
        "table {}: the row image of {what} lacks a part of the key ({}): the server tells rows apart by another unique key",
        mapping.source.name,
        key.join(", ")
    ))
    .hint(format!("give the table a primary key; or {FULL}"))
}

fn without_generated(mapping: &Mapping, column: &str) -> Error {
    Error::definite(format!(
        "table {}: the row image of an UPDATE lacks the generated column {column}: MariaDB logs virtual columns in minimal \
         images only if they have an index, so it cannot be known whether this one has changed",
        mapping.source.name
    ))
    .hint(format!("give the column an index; or {FULL}; 'NOBLOB' does as well"))
}
