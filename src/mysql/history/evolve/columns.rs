//! The new list of columns, as both servers make it (MySQL's `prepare_fields_and_keys`, MariaDB's
//! `mysql_prepare_alter_table`).
//!
//! ```text
//! 1  The old columns in their order, looked for by their old names: the dropped ones leave; a changed one stands where the
//!    old one stood, under its new name, even if it is to be moved; of the others, ALTER and RENAME change one thing at most.
//! 2  The defined ones in their clauses' order. What is added, and what is changed and has a place, is put there: taken out
//!    of the list, if it is in it, then last, FIRST, or behind the column that has the name *in the list as it is by then*,
//!    which has new names in it, and columns that a later clause will move.
//! 3  What is left over of the ALTERs, CHANGEs and DROPs names no column.
//! ```
//!
//! MariaDB does two things more: a CHANGE whose old column is not there takes the place of the column that an ADD before it
//! made under the new name, and an ALTER … DEFAULT works on a column that step 2 has just placed.

use super::clauses::{Altered, Clauses, Defined, What};
use super::definition::{Charsets, column, converted, default_value, resized};
use super::{Rules, no_column, same};
use crate::mysql::ddl::{ColumnPlace, DefaultClause};
use crate::schema::{Column, ColumnType, DefaultValue, Generated, IntegerSize, Table};

/// A column of the new list.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) column: Column,
    /// Index of the old column that it was.
    pub(super) was: Option<usize>,
    /// The old name that a clause named it by: keys find it by that, and by its name if there is none.
    pub(super) change: Option<&'a str>,
    /// The clause that defines it, as an index.
    pub(super) clause: Option<usize>,
}

/// # Errors
/// Why the columns cannot be known.
pub(super) fn place<'a>(
    before: &'a Table,
    clauses: &Clauses<'a>,
    charsets: &Charsets,
    rules: Rules<'_>,
) -> Result<Vec<Placed<'a>>, String> {
    let mut list = List { placed: Vec::with_capacity(before.columns.len() + 1), altered: clauses.altered.clone() };
    let mut dropped = clauses.dropped.clone();
    let mut old_columns: Vec<Option<usize>> = vec![None; clauses.defined.len()];
    for (was, old) in before.columns.iter().enumerate() {
        if let Some(index) = dropped.iter().position(|name| same(name, &old.name)) {
            dropped.remove(index);
            continue;
        }
        let changes = |defined: &Defined<'_>| defined.change.is_some_and(|name| same(name, &old.name));
        if let Some(clause) = clauses.defined.iter().position(changes) {
            let Some(defined) = clauses.defined.get(clause) else { continue };
            if let Some(was_clause) = old_columns.get_mut(clause) {
                *was_clause = Some(was);
            }
            let mut new = column(defined.definition, charsets, rules)?;
            if !rules.mariadb && charsets.conversion().is_some() && !defined.definition.ty.text.contains('(') {
                new.ty = resized(new.ty, &old.ty)?;
            }
            let change = defined.change;
            list.placed.push(Placed { column: new, was: Some(was), change, clause: Some(clause) });
            continue;
        }
        let mut kept = Placed { column: old.clone(), was: Some(was), change: None, clause: None };
        if let Some(charset) = charsets.conversion() {
            kept.column.ty = converted(&kept.column.ty, charset, rules)?;
        }
        list.alter(&mut kept, &old.name);
        list.placed.push(kept);
    }
    for (clause, defined) in clauses.defined.iter().enumerate() {
        let was = old_columns.get(clause).copied().flatten();
        if let Some(old) = defined.change.filter(|_| was.is_none()) {
            list.take_added(&defined.definition.name, rules.mariadb).ok_or_else(|| no_column(old))?;
        } else if defined.change.is_some() && *defined.place == ColumnPlace::Unsaid {
            continue;
        }
        let mut new = match list.take(clause) {
            Some(there) => there,
            None => Placed {
                column: column(defined.definition, charsets, rules)?,
                was,
                change: defined.change,
                clause: Some(clause),
            },
        };
        if rules.mariadb {
            let name = new.column.name.clone();
            list.alter(&mut new, &name);
        }
        list.put(new, defined.place)?;
    }
    if let Some(left) = list.altered.first().map(|altered| altered.column).or_else(|| dropped.first().copied()) {
        return Err(no_column(left));
    }
    let mut columns = list.placed;
    if !rules.mariadb && has_generated_key(before) {
        // It stays first.
        columns.sort_by_key(|placed| placed.was != Some(0));
    }
    let twice = columns
        .iter()
        .enumerate()
        .find(|(index, placed)| columns.iter().take(*index).any(|other| same(&other.column.name, &placed.column.name)));
    if let Some((_, twice)) = twice {
        return Err(format!("column {} would be there twice", twice.column.name));
    }
    Ok(columns)
}

struct List<'a> {
    placed: Vec<Placed<'a>>,
    /// Not yet used.
    altered: Vec<Altered<'a>>,
}

impl<'a> List<'a> {
    /// Does to a column what the first clause says that names it so.
    fn alter(&mut self, placed: &mut Placed<'a>, name: &str) {
        let Some(index) = self.altered.iter().position(|altered| same(altered.column, name)) else { return };
        let altered = self.altered.remove(index);
        let column = &mut placed.column;
        match altered.what {
            What::Rename(new) => {
                new.clone_into(&mut column.name);
                placed.change = Some(altered.column);
            }
            What::Default(default) => {
                column.default = default.and_then(|default| default_value(&column.ty, default));
            }
            What::Visible(visible) => column.invisible = !visible,
        }
    }

    /// Takes out the column that an ADD made, of which a CHANGE speaks as of an old one.
    fn take_added(&mut self, name: &str, mariadb: bool) -> Option<()> {
        let index = self.placed.iter().position(|placed| same(&placed.column.name, name))?;
        if !mariadb || self.placed.get(index)?.was.is_some() {
            return None;
        }
        self.placed.remove(index);
        Some(())
    }

    fn take(&mut self, clause: usize) -> Option<Placed<'a>> {
        let index = self.placed.iter().position(|placed| placed.clause == Some(clause))?;
        Some(self.placed.remove(index))
    }

    fn put(&mut self, new: Placed<'a>, place: &ColumnPlace) -> Result<(), String> {
        let at = match place {
            ColumnPlace::Unsaid => self.placed.len(),
            ColumnPlace::First => 0,
            ColumnPlace::After(name) => {
                let behind = self.placed.iter().position(|placed| same(&placed.column.name, name));
                behind.ok_or_else(|| no_column(name))? + 1
            }
        };
        self.placed.insert(at, new);
        Ok(())
    }
}

/// MySQL's `sql_generate_invisible_primary_key` made its key.
fn has_generated_key(table: &Table) -> bool {
    let unsigned = ColumnType::Integer { size: IntegerSize::Big, unsigned: true };
    table.primary
        && table.key == [0]
        && table
            .columns
            .first()
            .is_some_and(|column| column.name == "my_row_id" && column.invisible && column.ty == unsigned)
}

/// Without `explicit_defaults_for_timestamp` a TIMESTAMP that a clause defines NOT NULL and without a default gets one:
/// CURRENT_TIMESTAMP if it is the table's first (`promote_first_timestamp_column`), else zero, but for some.
pub(super) fn imply_timestamps(columns: &mut [Placed<'_>], clauses: &Clauses<'_>, never_zero: &[usize]) {
    let mut first = true;
    for (index, placed) in columns.iter_mut().enumerate() {
        let column = &mut placed.column;
        if !matches!(column.ty, ColumnType::Timestamp { .. }) {
            continue;
        }
        let definition = placed.clause.and_then(|clause| clauses.defined.get(clause)).map(|defined| defined.definition);
        let plain = !column.nullable && column.default.is_none() && column.generated == Generated::No;
        if let Some(definition) = definition.filter(|_| plain) {
            column.default = match first && !definition.on_update {
                true => Some(DefaultValue::CurrentTimestamp),
                false if never_zero.contains(&index) => None,
                false => default_value(&column.ty, &DefaultClause::Literal("0".to_owned())),
            };
        }
        first = false;
    }
}
