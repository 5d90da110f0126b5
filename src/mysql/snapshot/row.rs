//! Rows of a SELECT: the binlog decoder's counterpart.
//!
//! Rows come over the binary protocol (a prepared statement), so that numbers and dates need no parsing and FLOAT is
//! exact, on a session with `character_set_results = NULL`, so that text comes as the column stores it and both
//! decoders convert it by the same tables, and `time_zone = '+00:00'`, so that a TIMESTAMP is a moment.

use mysql_async::{Row, Value};

use crate::Result;
use crate::mysql::value::{Civil, Clock, Formatter, RowError, ValueError, ValueOptions, ValueWriter};
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

/// How a table's rows are read from a SELECT of all its columns, for one target table.
#[derive(Debug, Clone)]
pub struct SnapshotPlan {
    columns: usize,
    /// In the target's order: source column, its name, its formatter.
    cells: Vec<(usize, String, Formatter)>,
}

impl SnapshotPlan {
    /// # Errors
    /// A definite error that names table and column when a column's type or character set cannot be read, or the
    /// target's type cannot take its values.
    pub fn new(mapping: &Mapping, options: &ValueOptions) -> Result<SnapshotPlan> {
        let source = &mapping.source;
        let mut cells = Vec::with_capacity(mapping.carried().len());
        for target in mapping.carried() {
            let column = source.columns.get(target.source).ok_or_else(|| {
                let message = format!("table {}: no source column for {} of the target", source.name, target.name);
                crate::Error::definite(message)
            })?;
            let formatter = Formatter::new(column, target, source.key.contains(&target.source), options)
                .map_err(|error| error.context(format_args!("table {}", source.name)))?;
            cells.push((target.source, column.name.clone(), formatter));
        }
        Ok(SnapshotPlan { columns: source.columns.len(), cells })
    }

    /// Writes a row whose first values are all the table's columns, in its order; more may follow them.
    ///
    /// # Errors
    /// The row has too few values, or one cannot be written; it names the column. `out` may then hold a part of it.
    pub fn write(&self, row: &Row, out: &mut impl ValueWriter) -> Result<(), RowError> {
        if row.len() < self.columns {
            return Err(RowError::row(format!("a row of {} values for {} columns", row.len(), self.columns)));
        }
        for (source, name, formatter) in &self.cells {
            let value = row.as_ref(*source).ok_or_else(|| RowError::column(name, "the value was taken already"))?;
            match cell(formatter, value, out) {
                Err(error) if !out.unwritable(raw(value)) => return Err(RowError::column(name, error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What there is to show of a value that cannot be written.
fn raw(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        _ => b"",
    }
}

fn cell(formatter: &Formatter, value: &Value, out: &mut impl ValueWriter) -> Result<(), ValueError> {
    match *value {
        Value::NULL => {
            out.null();
            Ok(())
        }
        Value::Int(value) => formatter.signed(value, out),
        Value::UInt(value) => formatter.unsigned(value, out),
        Value::Float(value) => formatter.float(value, out),
        Value::Double(value) => formatter.double(value, out),
        Value::Bytes(ref bytes) => formatter.bytes(bytes, out),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let civil = Civil {
                year: year.into(),
                month: month.into(),
                day: day.into(),
                hour: hour.into(),
                minute: minute.into(),
                second: second.into(),
                micros,
            };
            formatter.civil(&civil, out)
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let hours = days.saturating_mul(24).saturating_add(hours.into());
            let clock = Clock { negative, hours, minutes: minutes.into(), seconds: seconds.into(), micros };
            formatter.clock(&clock, out)
        }
    }
}
