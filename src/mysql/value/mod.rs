//! One formatter a type. The binlog's row decoder and the snapshot's row decoder both end here, so the
//! same row gives the same bytes whichever way it came.
//!
//! A [`Formatter`] is made once per column, from the column's type, the target's type and the job's options; making
//! it is where a column that cannot be replicated is refused. It then takes a value in the few physical forms in
//! which the two decoders meet it (an integer, packed or printed digits, date parts, bytes) and writes one cell.

use std::borrow::Cow;
use std::fmt;

use crate::config::ZeroDate;
use crate::schema::{Column, ColumnType, Mapping};

mod charset;
mod charset_table;
mod formatter;
mod geometry;
mod json;
mod json_edit;
mod network;
mod number;
mod temporal;

pub(crate) use charset::{Charset, max_bytes as charset_max_bytes};
pub(crate) use formatter::Formatter;
#[cfg(test)]
pub(crate) use formatter::tests;
pub(crate) use json_edit::apply as apply_json_changes;
pub(crate) use number::packed_length as packed_decimal_bytes;
pub(crate) use number::{Digits, double as double_digits, float as float_digits};
pub(crate) use temporal::{Civil, Clock};

/// Where a decoder writes one row's cells, in the order of the target's columns. The body formats
/// (CSV, JSON) implement it; a decoder never knows which one it feeds.
pub trait ValueWriter {
    fn null(&mut self);
    fn integer(&mut self, value: i64);
    fn unsigned(&mut self, value: u64);
    /// Digits of an exact or shortest decimal number: ASCII, valid as a JSON number (`-0.5`, `1e300`).
    fn number(&mut self, digits: &[u8]);
    /// ASCII text without separators, quotes, backslashes or control characters: dates, times, hex.
    fn plain(&mut self, text: &[u8]);
    /// Any UTF-8 text.
    fn text(&mut self, text: &[u8]);
    /// As [`ValueWriter::text`], for bytes that nobody has looked at. `false`: they are no UTF-8, and nothing was written.
    fn utf8(&mut self, bytes: &[u8]) -> bool {
        let text = std::str::from_utf8(bytes);
        text.iter().for_each(|text| self.text(text.as_bytes()));
        text.is_ok()
    }

    /// Any bytes, for a VARBINARY column.
    fn binary(&mut self, bytes: &[u8]);
    /// One JSON document's text; `[1.5,2]` for an array column.
    fn json(&mut self, document: &[u8]);

    /// A value that cannot be written, as the source has it. `true`: it was taken, as some cell; else the row is an error.
    fn unwritable(&mut self, _raw: &[u8]) -> bool {
        false
    }
}

/// What a job decides about values.
#[derive(Debug, Clone)]
pub struct ValueOptions {
    /// Zone in which TIMESTAMP values are written.
    pub zone: jiff::tz::TimeZone,
    /// What stands for dates that no calendar has.
    pub zero_date: ZeroDate,
}

impl Default for ValueOptions {
    fn default() -> Self {
        ValueOptions { zone: jiff::tz::TimeZone::UTC, zero_date: ZeroDate::Null }
    }
}

/// What `check` tells about a table's values: those that will stop the job.
pub(crate) fn warnings(mapping: &Mapping, options: &ValueOptions) -> Vec<String> {
    let key = mapping.source.key_columns().filter(|column| matches!(column.ty, ColumnType::Timestamp { .. }));
    let columns = key.filter(|_| temporal::will_set_back(&options.zone));
    let zone = options.zone.iana_name().unwrap_or("the job's time zone");
    let warning = |column: &Column| {
        format!(
            "table {} column {}: a TIMESTAMP in the key, and the clocks of {zone} are set back once a year; a key from the hour \
             that they show twice stops the job, because two rows could become one. Set source.timezone to an offset such as \
             +00:00",
            mapping.source.name, column.name
        )
    };
    columns.map(warning).collect()
}

/// Why one value cannot be written. The decoders put the column before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueError(Cow<'static, str>);

impl ValueError {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        ValueError(reason.into())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why one row cannot be written: the column and the reason. The caller adds table and position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// `None` when the row as a whole is damaged.
    pub column: Option<String>,
    pub reason: String,
}

impl RowError {
    pub(crate) fn row(reason: impl Into<String>) -> Self {
        RowError { column: None, reason: reason.into() }
    }

    pub(crate) fn column(column: &str, reason: impl fmt::Display) -> Self {
        RowError { column: Some(column.to_owned()), reason: reason.to_string() }
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "column {column}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for RowError {}
