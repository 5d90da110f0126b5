//! Rows of a SELECT: the binlog decoder's counterpart.
//!
//! Rows come over the binary protocol (a prepared statement), so that numbers and dates need no parsing and FLOAT is
//! exact, on a session with `character_set_results = NULL`, so that text comes as the column stores it and both
//! decoders convert it by the same tables, and `time_zone = '+00:00'`, so that a TIMESTAMP is a moment.
//!
//! The SELECT names the columns in the target's order. So a row is walked once, from its first byte to its last, and each
//! value is written for the target as it is met.

use crate::Result;
use crate::mysql::value::{Formatter, RowError, ValueError, ValueOptions, ValueWriter};
use crate::mysql::wire::{Cell, PackedRow};
use crate::schema::{Column, ColumnType, Mapping};

/// The column as a SELECT names it, for [`SnapshotPlan`] to read.
///
/// An ENUM or SET comes as its number (`CAST`, because `+ 0` makes a signed number of a SET's 64th member), and
/// MariaDB's address types as the bytes of their text.
pub fn select_expression(column: &Column) -> String {
    let name = format!("`{}`", column.name.replace('`', "``"));
    match column.ty {
        ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
        ColumnType::Uuid | ColumnType::Inet6 => format!("CAST({name} AS BINARY(16))"),
        ColumnType::Inet4 => format!("CAST({name} AS BINARY(4))"),
        _ => name,
    }
}

/// How a table's rows are asked for and read, for one target table.
#[derive(Debug, Clone)]
pub struct SnapshotPlan {
    select: String,
    /// In the target's order: the source column's name, its formatter.
    cells: Vec<(String, Formatter)>,
}

impl SnapshotPlan {
    /// # Errors
    /// A definite error that names table and column when a column's type or character set cannot be read, or the
    /// target's type cannot take its values.
    pub fn new(mapping: &Mapping, options: &ValueOptions) -> Result<SnapshotPlan> {
        let source = &mapping.source;
        let mut cells = Vec::with_capacity(mapping.carried().len());
        let mut select = Vec::with_capacity(mapping.carried().len());
        for target in mapping.carried() {
            let column = source.columns.get(target.source).ok_or_else(|| {
                let message = format!("table {}: no source column for {} of the target", source.name, target.name);
                crate::Error::definite(message)
            })?;
            let formatter = Formatter::new(column, target, source.key.contains(&target.source), options)
                .map_err(|error| error.context(format_args!("table {}", source.name)))?;
            select.push(select_expression(column));
            cells.push((column.name.clone(), formatter));
        }
        Ok(SnapshotPlan { select: select.join(", "), cells })
    }

    /// What a SELECT lists for [`SnapshotPlan::write`] to read.
    pub fn select(&self) -> &str {
        &self.select
    }

    /// Writes a row of the columns that [`SnapshotPlan::select`] lists.
    ///
    /// # Errors
    /// The row is not as its columns say, or has others, or a value cannot be written; then it names the column. `out` may
    /// then hold a part of it.
    #[inline]
    pub fn write(&self, row: PackedRow<'_>, out: &mut impl ValueWriter) -> Result<(), RowError> {
        if row.columns() != self.cells.len() {
            return Err(others(row.columns(), self.cells.len()));
        }
        let mut cells = row.cells().map_err(|_| damaged())?;
        for (name, formatter) in &self.cells {
            let value = cells.next().map_err(|_| damaged())?;
            match cell(formatter, &value, out) {
                Err(error) if !out.unwritable(raw(&value)) => return Err(RowError::column(name, error)),
                _ => {}
            }
        }
        cells.end().map_err(|_| damaged())
    }
}

#[cold]
fn damaged() -> RowError {
    RowError::row("the server sent a row that is not as its columns say")
}

#[cold]
fn others(columns: usize, wanted: usize) -> RowError {
    RowError::row(format!("a row of {columns} values for {wanted} columns"))
}

/// What there is to show of a value that cannot be written.
fn raw<'a>(value: &Cell<'a>) -> &'a [u8] {
    match value {
        Cell::Bytes(bytes) => bytes,
        _ => b"",
    }
}

#[inline]
fn cell(formatter: &Formatter, value: &Cell<'_>, out: &mut impl ValueWriter) -> Result<(), ValueError> {
    match value {
        Cell::Null => {
            out.null();
            Ok(())
        }
        Cell::Int(value) => formatter.signed(*value, out),
        Cell::UInt(value) => formatter.unsigned(*value, out),
        Cell::Float(value) => formatter.float(*value, out),
        Cell::Double(value) => formatter.double(*value, out),
        Cell::Bytes(bytes) => formatter.bytes(bytes, out),
        Cell::Date(civil) => formatter.civil(civil, out),
        Cell::Time(clock) => formatter.clock(clock, out),
    }
}
