//! The JSON body: one object a row, one row a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Op, Part};
use crate::mysql::value::ValueWriter;
use crate::target::{Carried, Format, LoadColumn};

pub struct JsonWriter {
    body: Vec<u8>,
    /// `"name":` of every field, `__op` the last.
    names: Vec<Vec<u8>>,
    /// Of every field: a document is carried as its text.
    json_texts: Vec<bool>,
    cell: usize,
    rows: u64,
}

impl JsonWriter {
    pub(super) fn new(columns: &[LoadColumn]) -> Self {
        let names = columns.iter().map(|column| {
            let mut text = Vec::new();
            write_string(&mut text, column.field().as_bytes());
            text.push(b':');
            text
        });
        let json_texts = columns.iter().map(|column| column.carried == Carried::JsonText);
        JsonWriter { body: Vec::new(), names: names.collect(), json_texts: json_texts.collect(), cell: 0, rows: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    pub(super) fn begin_row(&mut self) {
        self.cell = 0;
        self.body.push(b'{');
    }

    pub(super) fn end_row(&mut self, op: Op) {
        self.plain_number(&[op.digit()]);
        self.body.extend_from_slice(b"}\n");
        self.rows += 1;
    }

    pub(super) fn take(&mut self, set: usize) -> Option<Part> {
        if self.rows == 0 {
            return None;
        }
        let body = std::mem::take(&mut self.body).into();
        Some(Part { format: Format::JsonLines, set, body, rows: std::mem::take(&mut self.rows) })
    }

    fn name(&mut self) {
        if self.cell > 0 {
            self.body.push(b',');
        }
        if let Some(name) = self.names.get(self.cell) {
            self.body.extend_from_slice(name);
        }
        self.cell += 1;
    }

    fn plain_number(&mut self, digits: &[u8]) {
        self.name();
        self.body.extend_from_slice(digits);
    }
}

impl ValueWriter for JsonWriter {
    fn null(&mut self) {
        self.plain_number(b"null");
    }

    fn integer(&mut self, value: i64) {
        self.plain_number(itoa::Buffer::new().format(value).as_bytes());
    }

    fn unsigned(&mut self, value: u64) {
        self.plain_number(itoa::Buffer::new().format(value).as_bytes());
    }

    fn number(&mut self, digits: &[u8]) {
        // Quoted: every parser on the way then keeps all digits.
        self.plain(digits);
    }

    fn plain(&mut self, text: &[u8]) {
        self.name();
        self.body.push(b'"');
        self.body.extend_from_slice(text);
        self.body.push(b'"');
    }

    fn text(&mut self, text: &[u8]) {
        self.name();
        write_string(&mut self.body, text);
    }

    fn binary(&mut self, bytes: &[u8]) {
        let encoded = BASE64.encode(bytes);
        self.plain(encoded.as_bytes());
    }

    fn json(&mut self, document: &[u8]) {
        if self.json_texts.get(self.cell).is_some_and(|is_text| *is_text) {
            self.text(document);
        } else {
            self.plain_number(document);
        }
    }
}

/// A JSON string of UTF-8 text: RFC 8259 §7, only what must be escaped.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut copied = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
    out.extend_from_slice(&text[copied..]);
    out.push(b'"');
}
