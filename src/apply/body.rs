//! A load's body read again: its rows, their cells and their keys.
//!
//! Needed only where a load was refused or dead letters exist. What [`super::encode`] writes can be taken apart without
//! knowing types: no cell holds a separator in CSV, and a JSON row has no newline but its last byte.

use std::ops::Range;

use memchr::memchr_iter;

use super::encode::{CELL_END, ROW_END};
use crate::target::{Format, Load, LoadColumn};
use crate::{Error, Result};

/// Where the rows of a body are, each with its end mark.
///
/// # Errors
/// Definite: the body has another number of rows than the load says.
pub(super) fn rows(load: &Load) -> Result<Vec<Range<usize>>> {
    let end = match load.format {
        Format::Csv => ROW_END,
        Format::JsonLines => b'\n',
    };
    let mut start = 0;
    let rows: Vec<Range<usize>> =
        memchr_iter(end, &load.body).map(|at| std::mem::replace(&mut start, at + 1)..at + 1).collect();
    if start != load.body.len() || rows.len() as u64 != load.rows {
        return Err(Error::definite(format!(
            "load {}: {} rows where {} were written",
            load.label,
            rows.len(),
            load.rows
        ))
        .hint("this is a fault of towpath; please report it"));
    }
    Ok(rows)
}

/// The row's cells as text, `None` for NULL, one for each of `columns`.
///
/// # Errors
/// Definite: it is no row of these columns.
pub(crate) fn cells(format: Format, columns: &[LoadColumn], row: &[u8]) -> Result<Vec<Option<String>>> {
    let cells = match format {
        Format::Csv => csv_cells(row),
        Format::JsonLines => json_cells(columns, row),
    };
    cells.filter(|cells| cells.len() == columns.len()).ok_or_else(|| {
        Error::definite("a row of a load's body cannot be read again")
            .hint("this is a fault of towpath; please report it")
    })
}

fn csv_cells(row: &[u8]) -> Option<Vec<Option<String>>> {
    let row = row.strip_suffix(&[ROW_END])?;
    let cell = |cell: &[u8]| (cell != b"\\N").then(|| String::from_utf8_lossy(cell).into_owned());
    Some(row.split(|byte| *byte == CELL_END).map(cell).collect())
}

fn json_cells(columns: &[LoadColumn], row: &[u8]) -> Option<Vec<Option<String>>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(row).ok()?;
    let cell = |column: &LoadColumn| match object.get(column.field().as_ref())? {
        serde_json::Value::Null => Some(None),
        serde_json::Value::String(text) => Some(Some(text.clone())),
        other => Some(Some(other.to_string())),
    };
    columns.iter().map(cell).collect()
}

/// The key's cells as a JSON list: equal keys have equal texts, in whichever format the row travels.
pub(super) fn key(cells: &[Option<String>], key_columns: usize) -> String {
    serde_json::Value::from(cells.get(..key_columns).unwrap_or(cells).to_vec()).to_string()
}

/// Whether the row deletes its key; `__op` is the last cell.
pub(super) fn deletes(cells: &[Option<String>]) -> bool {
    cells.last().is_some_and(|op| op.as_deref() == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::super::encode::{BinaryText, EncodeRow, Encoder, Op};
    use super::super::sample::Sample;
    use super::*;
    use crate::mysql::value::ValueWriter;
    use crate::schema::TableName;

    struct Row<'a>(i64, Option<&'a str>);

    impl EncodeRow for Row<'_> {
        type Error = ();
        fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), ()> {
            out.integer(self.0);
            match self.1 {
                Some(text) => out.text(text.as_bytes()),
                None => out.null(),
            }
            Ok(())
        }
    }

    #[test]
    fn what_was_encoded_is_read_again_in_both_formats_alike() {
        let sample = Sample::new();
        let written = [(1, Some("a\"\n")), (-2, None), (3, Some("\\N")), (4, Some("a\x01b\x02\n")), (5, Some(""))];
        let mut encoder = Encoder::new(&sample.mapping.target, BinaryText::Base64, 1 << 20);
        for (id, text) in written {
            let op = if id == 5 { Op::Delete } else { Op::Upsert };
            encoder.row(op, Row(id, text)).unwrap();
        }
        let mut read = Vec::new();
        for part in encoder.finish() {
            let columns = encoder.columns(&part).to_vec();
            let load = Load {
                table: TableName::new("shop", "t"),
                label: String::new(),
                columns,
                partial: false,
                format: part.format,
                body: part.body,
                rows: part.rows,
            };
            for row in rows(&load).unwrap() {
                let cells = cells(load.format, &load.columns, &load.body[row]).unwrap();
                read.push((key(&cells, 1), cells[1].clone(), deletes(&cells)));
            }
            assert!(rows(&Load { rows: load.rows + 1, ..load }).is_err());
        }
        read.sort();
        let mut expected: Vec<_> =
            written.map(|(id, text)| (format!("[\"{id}\"]"), text.map(str::to_owned), id == 5)).into();
        expected.sort();
        assert_eq!(read, expected);
    }
}
