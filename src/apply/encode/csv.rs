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

    fn utf8(&mut self, bytes: &[u8]) -> bool {
        if is_plain(bytes) {
            self.plain(bytes);
            return true;
        }
        let is_text = std::str::from_utf8(bytes).is_ok();
        if is_text {
            self.text(bytes);
        }
        is_text
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

/// Whether the bytes are ASCII and may stand in a cell as they are. One look at each eight of them answers what else takes
/// three passes: no byte is beyond ASCII, none is a separator, and it is not the text that reads as NULL. Some texts
/// with other control characters, and those that begin with a backslash and have no more than two bytes, are not told to be.
fn is_plain(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const THREES: u64 = 0x0303_0303_0303_0303;
    // A byte below three borrows from its high bit. It may borrow from the next byte too, but then it is no plain text
    // already.
    let odd = |eight: &[u8; 8]| {
        let word = u64::from_le_bytes(*eight);
        word | word.wrapping_sub(THREES)
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let seen = eights.iter().fold(0, |seen, eight| seen | odd(eight));
    let last = match (rest, bytes.last_chunk::<8>()) {
        ([], _) => 0,
        // Some of these were looked at already.
        (_, Some(eight)) => odd(eight),
        ([b'\\', ..], None) if rest.len() < 3 => HIGH,
        _ => {
            let mut eight = [b' '; 8];
            eight[..rest.len()].copy_from_slice(rest);
            odd(&eight)
        }
    };
    (seen | last) & HIGH == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(bytes: &[u8]) -> Option<(bool, Vec<u8>)> {
        let mut writer = CsvWriter::new(BinaryText::Base64);
        writer.begin_row();
        writer.utf8(bytes).then_some((writer.refused, writer.body))
    }

    proptest! {
        #[test]
        fn bytes_that_nobody_has_looked_at_are_written_as_text_is(
            bytes in prop_oneof![
                prop::collection::vec(0u8..=255, 0..40),
                prop::collection::vec(1u8..=127, 0..40),
                prop::collection::vec(prop::sample::select(&[1u8, 2, 3, b'\\', b'N', 0x7f, 0x80, 0xc3, 0xa9][..]), 0..20),
                "\\PC{0,30}".prop_map(String::into_bytes),
            ]
        ) {
            let expected = std::str::from_utf8(&bytes).is_ok().then(|| {
                let mut writer = CsvWriter::new(BinaryText::Base64);
                writer.begin_row();
                writer.text(&bytes);
                (writer.refused, writer.body)
            });
            prop_assert_eq!(written(&bytes), expected);
        }
    }

    #[test]
    fn the_text_that_reads_as_null_and_separators_anywhere_are_seen() {
        assert!(written(b"\\N").is_some_and(|(refused, _)| refused));
        for length in 1..30 {
            for at in 0..length {
                for separator in [CELL_END, ROW_END] {
                    let mut text = vec![b'x'; length];
                    text[at] = separator;
                    assert!(!is_plain(&text));
                    assert!(written(&text).is_some_and(|(refused, _)| refused));
                    text[at] = 0xff;
                    assert_eq!(written(&text), None);
                }
            }
            assert!(is_plain(&vec![b'x'; length]) && is_plain(&vec![0x7f; length]) && is_plain(&vec![3; length]));
        }
    }
}
