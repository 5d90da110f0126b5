//! Rows into load bodies, straight from their bytes.
//!
//! A row goes into the CSV body (`\x01` between cells, `\x02` behind rows). When one of its values cannot be
//! carried there exactly (it holds a separator, or is the text `\N`, which CSV reads as NULL), the row is
//! taken back and goes into the JSON body. Keys are disjoint within an epoch, so it does not matter which
//! of an epoch's bodies a row travels in.
//!
//! A row of which only some columns are known goes into a load of its own kind, a *partial update*: a body names its
//! columns once for all rows, so each set of columns has its own two bodies.

mod csv;
mod json;

use bytes::Bytes;

pub use csv::CsvWriter;
pub(crate) use csv::{CELL_END, ROW_END};
pub use json::JsonWriter;

use crate::mysql::value::ValueWriter;
use crate::schema::{TargetColumn, TargetTable, TargetType};
use crate::target::{Carried, Format, LoadColumn, OP_COLUMN};

/// What a row does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Upsert,
    Delete,
}

impl Op {
    /// StarRocks' `__op`.
    fn digit(self) -> u8 {
        match self {
            Op::Upsert => b'0',
            Op::Delete => b'1',
        }
    }
}

/// How the target reads a VARBINARY cell of a CSV body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryText {
    /// StarRocks 3.2 and later.
    Base64,
    /// StarRocks 3.0 and 3.1.
    Hex,
}

/// A finished body.
#[derive(Debug, Clone)]
pub struct Part {
    pub format: Format,
    /// Which of the encoder's sets of columns it has; 0 is all of them.
    set: usize,
    pub body: Bytes,
    pub rows: u64,
}

/// Something that can write one row's cells, twice with the same result.
pub trait EncodeRow {
    type Error;
    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), Self::Error>;
}

/// Encodes the rows of one table. Bodies are cut when they reach `max_bytes`; the same rows in the same
/// order always give the same parts.
pub struct Encoder {
    whole: Bodies,
    partial: Vec<(Box<[u64]>, Bodies)>,
    binary: BinaryText,
    max_bytes: usize,
    parts: Vec<Part>,
}

/// The bodies under way of rows with the same columns.
struct Bodies {
    set: usize,
    csv: CsvWriter,
    json: JsonWriter,
    csv_columns: Vec<LoadColumn>,
    json_columns: Vec<LoadColumn>,
    json_only: bool,
}

impl Encoder {
    pub fn new(table: &TargetTable, binary: BinaryText, max_bytes: usize) -> Self {
        let columns = |format| load_columns(table, format);
        Encoder {
            whole: Bodies::new(0, columns(Format::Csv), columns(Format::JsonLines), binary),
            partial: Vec::new(),
            binary,
            max_bytes: max_bytes.max(1),
            parts: Vec::new(),
        }
    }

    /// From now on every row travels as JSON, also one that CSV could carry. Not for partial rows.
    #[must_use]
    pub fn json_only(mut self) -> Self {
        self.whole.json_only = true;
        self
    }

    /// The columns of one of this encoder's bodies, `__op` last.
    pub fn columns(&self, part: &Part) -> &[LoadColumn] {
        let partial = part.set.checked_sub(1).and_then(|index| self.partial.get(index));
        let bodies = partial.map_or(&self.whole, |(_, bodies)| bodies);
        match part.format {
            Format::Csv => &bodies.csv_columns,
            Format::JsonLines => &bodies.json_columns,
        }
    }

    /// The parts that have reached their size; what is still being written stays.
    pub fn take_full_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    pub fn has_full_part(&self) -> bool {
        !self.parts.is_empty()
    }

    /// A row that writes every column.
    pub fn row<R: EncodeRow>(&mut self, op: Op, row: R) -> Result<(), R::Error> {
        self.whole.row(op, row, self.max_bytes, &mut self.parts)
    }

    /// A row that writes only some columns, all of the key among them. `columns`: a bit for each column of the table.
    pub fn partial_row<R: EncodeRow>(&mut self, columns: &[u64], op: Op, row: R) -> Result<(), R::Error> {
        let found = self.partial.iter().position(|(set, _)| **set == *columns);
        let index = found.unwrap_or_else(|| {
            let some = |all: &[LoadColumn]| -> Vec<LoadColumn> {
                let (op, all) = all.split_last().map_or((None, all), |(op, all)| (Some(op), all));
                let known = all.iter().enumerate().filter(|(index, _)| columns[index / 64] >> (index % 64) & 1 == 1);
                known.map(|(_, column)| column).chain(op).cloned().collect()
            };
            let (csv, json) = (some(&self.whole.csv_columns), some(&self.whole.json_columns));
            let bodies = Bodies::new(self.partial.len() + 1, csv, json, self.binary);
            self.partial.push((columns.into(), bodies));
            self.partial.len() - 1
        });
        self.partial[index].1.row(op, row, self.max_bytes, &mut self.parts)
    }

    /// All parts since the last call.
    pub fn finish(&mut self) -> Vec<Part> {
        let Encoder { whole, partial, parts, .. } = self;
        for bodies in std::iter::once(whole).chain(partial.iter_mut().map(|(_, bodies)| bodies)) {
            let set = bodies.set;
            parts.extend(bodies.csv.take(set));
            parts.extend(bodies.json.take(set));
        }
        std::mem::take(parts)
    }
}

impl Bodies {
    fn new(set: usize, csv_columns: Vec<LoadColumn>, json_columns: Vec<LoadColumn>, binary: BinaryText) -> Bodies {
        let json = JsonWriter::new(&json_columns);
        Bodies { set, csv: CsvWriter::new(binary), json, csv_columns, json_columns, json_only: false }
    }

    fn row<R: EncodeRow>(
        &mut self,
        op: Op,
        mut row: R,
        max_bytes: usize,
        parts: &mut Vec<Part>,
    ) -> Result<(), R::Error> {
        if !self.json_only {
            self.csv.begin_row();
            if let Err(error) = row.write(&mut self.csv) {
                self.csv.take_back_row();
                return Err(error);
            }
            if self.csv.end_row(op) {
                if self.csv.len() >= max_bytes {
                    parts.extend(self.csv.take(self.set));
                }
                return Ok(());
            }
            self.csv.take_back_row();
        }
        self.json.begin_row();
        row.write(&mut self.json)?;
        self.json.end_row(op);
        if self.json.len() >= max_bytes {
            parts.extend(self.json.take(self.set));
        }
        Ok(())
    }
}

impl Part {
    /// Whether it has only some of the table's columns.
    pub fn is_partial(&self) -> bool {
        self.set > 0
    }
}

/// The columns of a table's bodies of one format.
fn load_columns(table: &TargetTable, format: Format) -> Vec<LoadColumn> {
    let carried = |ty| match (format, ty) {
        (Format::JsonLines, TargetType::Varbinary { .. }) => Carried::Base64,
        (Format::JsonLines, TargetType::Json) => Carried::JsonText,
        _ => Carried::Plain,
    };
    let column = |column: &TargetColumn| LoadColumn { name: column.name.clone(), carried: carried(column.ty) };
    table.columns.iter().map(column).chain([LoadColumn::plain(OP_COLUMN)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Fill, TableName};

    fn table() -> TargetTable {
        let column = |name: &str, ty| TargetColumn {
            name: name.into(),
            ty,
            nullable: true,
            default: None,
            comment: String::new(),
            fill: Fill::Unknown,
            source: 0,
        };
        TargetTable {
            name: TableName::new("shop", "t"),
            columns: vec![column("id", TargetType::BigInt), column("te\"xt", TargetType::Varchar { bytes: 100 })],
            key_columns: 1,
            comment: String::new(),
        }
    }

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

    fn encode(rows: &[(Op, i64, Option<&str>)], max_bytes: usize) -> Vec<(Format, String, u64)> {
        let mut encoder = Encoder::new(&table(), BinaryText::Base64, max_bytes);
        for &(op, id, text) in rows {
            encoder.row(op, Row(id, text)).unwrap();
        }
        let text = |part: Part| (part.format, String::from_utf8(part.body.to_vec()).unwrap(), part.rows);
        encoder.finish().into_iter().map(text).collect()
    }

    #[test]
    fn rows_travel_as_csv() {
        let parts = encode(&[(Op::Upsert, 1, Some("a")), (Op::Delete, -2, None), (Op::Upsert, 3, Some(""))], 1000);
        assert_eq!(parts, [(Format::Csv, "1\x01a\x010\x02-2\x01\\N\x011\x023\x01\x010\x02".to_owned(), 3)]);
    }

    #[test]
    fn a_row_that_csv_cannot_carry_travels_as_json() {
        for text in ["a\x01b", "a\x02b", "\\N"] {
            let parts = encode(&[(Op::Upsert, 1, Some("a")), (Op::Delete, 2, Some(text))], 1000);
            assert_eq!(parts[0], (Format::Csv, "1\x01a\x010\x02".to_owned(), 1));
            let (format, body, rows) = &parts[1];
            assert_eq!((*format, *rows), (Format::JsonLines, 1));
            let object: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(object, serde_json::json!({"id": 2, "te\"xt": text, "__op": 1}));
        }
    }

    #[test]
    fn a_json_body_carries_the_document_null_and_bare_arrays() {
        struct Row;
        impl EncodeRow for Row {
            type Error = ();
            fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), ()> {
                out.text(b"\x01");
                out.json(b"null");
                out.json(b"[1.5]");
                Ok(())
            }
        }
        let mut table = table();
        table.columns = ["t", "j", "v"]
            .map(|name| TargetColumn { name: name.into(), ..table.columns[1].clone() })
            .into_iter()
            .zip([TargetType::Varchar { bytes: 9 }, TargetType::Json, TargetType::FloatArray])
            .map(|(column, ty)| TargetColumn { ty, ..column })
            .collect();
        let mut encoder = Encoder::new(&table, BinaryText::Base64, 1000);
        encoder.row(Op::Upsert, Row).unwrap();
        let body = String::from_utf8(encoder.finish()[0].body.to_vec()).unwrap();
        let object: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(object, serde_json::json!({"t": "\u{1}", "__json_j": "null", "v": [1.5], "__op": 0}));
    }

    #[test]
    fn bodies_are_cut_by_size_and_always_alike() {
        let rows: Vec<_> = (0..10).map(|id| (Op::Upsert, id, Some("abc"))).collect();
        let parts = encode(&rows, 20);
        assert_eq!(parts.len(), 4);
        assert_eq!(parts.iter().map(|part| part.2).sum::<u64>(), 10);
        assert_eq!(parts, encode(&rows, 20));
    }
}
