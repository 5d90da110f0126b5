//! The CSV body: `\x01` between cells, `\x02` behind rows, `\N` for NULL, nothing quoted or escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memchr2;

use super::{BinaryText, Op, Part};
use crate::mysql::value::ValueWriter;
use crate::target::Format;

pub(crate) const CELL_END: u8 = 0x01;
pub(crate) const ROW_END: u8 = 0x02;

pub struct CsvWriter {
    body: Vec<u8>,
    binary: BinaryText,
    rows: u64,
    row_start: usize,
    /// The row has a value that this format cannot carry.
    refused: bool,
}

impl CsvWriter {
    pub(super) fn new(binary: BinaryText) -> Self {
        CsvWriter { body: Vec::new(), binary, rows: 0, row_start: 0, refused: false }
    }

    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    pub(super) fn begin_row(&mut self) {
        self.row_start = self.body.len();
        self.refused = false;
    }

    /// `false`: the row cannot travel as CSV and must be taken back.
    pub(super) fn end_row(&mut self, op: Op) -> bool {
        if self.refused {
            return false;
        }
        self.body.extend_from_slice(&[op.digit(), ROW_END]);
        self.rows += 1;
        true
    }

    pub(super) fn take_back_row(&mut self) {
        self.body.truncate(self.row_start);
    }

    pub(super) fn take(&mut self, set: usize) -> Option<Part> {
        if self.rows == 0 {
            return None;
        }
        let body = std::mem::take(&mut self.body).into();
        Some(Part { format: Format::Csv, set, body, rows: std::mem::take(&mut self.rows) })
    }
}

impl ValueWriter for CsvWriter {
    fn null(&mut self) {
        self.body.extend_from_slice(&[b'\\', b'N', CELL_END]);
    }

    fn integer(&mut self, value: i64) {
        self.plain(itoa::Buffer::new().format(value).as_bytes());
    }

    fn unsigned(&mut self, value: u64) {
        self.plain(itoa::Buffer::new().format(value).as_bytes());
    }

    fn number(&mut self, digits: &[u8]) {
        self.plain(digits);
    }

    fn plain(&mut self, text: &[u8]) {
        self.body.extend_from_slice(text);
        self.body.push(CELL_END);
    }

    fn text(&mut self, text: &[u8]) {
        self.refused |= text == b"\\N" || memchr2(CELL_END, ROW_END, text).is_some();
        self.plain(text);
    }

    fn binary(&mut self, bytes: &[u8]) {
        let start = self.body.len();
        match self.binary {
            BinaryText::Base64 => {
                self.body.resize(start + bytes.len().div_ceil(3) * 4, 0);
                // The slice has exactly the encoded length, so this cannot fail; a refused row is safe if it did.
                self.refused |= BASE64.encode_slice(bytes, &mut self.body[start..]).is_err();
            }
            BinaryText::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let pairs =
                    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
                self.body.extend(pairs);
            }
        }
        self.body.push(CELL_END);
    }

    fn json(&mut self, document: &[u8]) {
        self.text(document);
    }
}
