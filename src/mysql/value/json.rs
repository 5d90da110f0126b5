//! MySQL's binary JSON, printed as the server itself prints it (`SELECT column`).
//!
//! The format is described in the server's `json_binary.h`: one type byte, then the value. An object or array holds
//! its element count and its size, then entries (for an object first the keys': offset and length; then the values':
//! type and offset, or the value itself where it fits), then the keys and values they point to. Offsets count from
//! the count's first byte, in 2 bytes (small) or 4 (large).
//!
//! The bytes are not trusted. Offsets may point anywhere, also many times at the same place, so the printer counts
//! what it reads: a document cannot make it read more than its own size, nor nest deeper than the server allows.

use base64::Engine as _;

use super::number::{json_double, packed_decimal, packed_length};
use super::temporal::{Civil, Clock, json_date, time};
use super::{ValueError, ValueWriter};

/// The server's own limit of nested arrays and objects.
pub(super) const MAX_DEPTH: usize = 100;

/// Appends the document's text to `out`.
pub(crate) fn print(document: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    // The server stores an empty value for a JSON `null` written by a non-strict session.
    let Some((&kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let mut printer = Printer { out, budget: document.len() + 16 };
    printer.value(kind, value, 0).ok_or_else(|| ValueError::new("a JSON document that is damaged"))
}

struct Printer<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes that may still be read.
    budget: usize,
}

impl Printer<'_> {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }

    /// The value of type `kind` that begins at `bytes`' first byte.
    fn value(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Option<()> {
        match kind {
            0x00..=0x03 => self.container(kind, bytes, depth),
            0x04 => self.literal(*bytes.first()?),
            0x05 => self.integer(i64::from(i16::from_le_bytes(head(bytes)?))),
            0x06 => self.integer(i64::from(u16::from_le_bytes(head(bytes)?))),
            0x07 => self.integer(i64::from(i32::from_le_bytes(head(bytes)?))),
            0x08 => self.integer(i64::from(u32::from_le_bytes(head(bytes)?))),
            0x09 => self.integer(i64::from_le_bytes(head(bytes)?)),
            0x0a => {
                self.out.extend_from_slice(itoa::Buffer::new().format(u64::from_le_bytes(head(bytes)?)).as_bytes());
                Some(())
            }
            0x0b => {
                self.out.extend_from_slice(json_double(f64::from_le_bytes(head(bytes)?))?.as_bytes());
                Some(())
            }
            0x0c => {
                let text = counted(bytes)?;
                self.spend(text.len())?;
                self.string(text)
            }
            0x0f => {
                let (&kind, bytes) = bytes.split_first()?;
                let content = counted(bytes)?;
                self.spend(content.len())?;
                self.opaque(kind, content)
            }
            _ => None,
        }
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        self.out.extend_from_slice(match byte {
            0 => b"null".as_slice(),
            1 => b"true",
            2 => b"false",
            _ => return None,
        });
        Some(())
    }

    fn integer(&mut self, value: i64) -> Option<()> {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Some(())
    }

    fn container(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let large = kind & 1 == 1;
        let is_object = kind < 0x02;
        let width = if large { 4 } else { 2 };
        let count = number(bytes, 0, width)?;
        let bytes = bytes.get(..number(bytes, width, width)?)?;
        let key_entry = if is_object { width + 2 } else { 0 };
        let value_entry = 1 + width;
        let entries = count.checked_mul(key_entry + value_entry)?;
        bytes.get(..entries.checked_add(2 * width)?)?;
        self.spend(2 * width + entries)?;
        let values = 2 * width + count * key_entry;
        self.out.push(if is_object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            if is_object {
                let entry = 2 * width + index * key_entry;
                let start = number(bytes, entry, width)?;
                let length = number(bytes, entry + width, 2)?;
                self.spend(length)?;
                self.string(bytes.get(start..start.checked_add(length)?)?)?;
                self.out.extend_from_slice(b": ");
            }
            let entry = values + index * value_entry;
            let kind = *bytes.get(entry)?;
            // Literals and what fits into an offset's bytes stand in the entry itself.
            let inline = matches!(kind, 0x04..=0x06) || (large && matches!(kind, 0x07 | 0x08));
            if inline {
                self.value(kind, bytes.get(entry + 1..entry + value_entry)?, depth + 1)?;
            } else {
                let offset = number(bytes, entry + 1, width)?;
                self.value(kind, bytes.get(offset..)?, depth + 1)?;
            }
        }
        self.out.push(if is_object { b'}' } else { b']' });
        Some(())
    }

    fn string(&mut self, text: &[u8]) -> Option<()> {
        std::str::from_utf8(text).ok()?;
        self.out.push(b'"');
        let mut rest = text;
        while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.out.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                0x08 => self.out.extend_from_slice(b"\\b"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                0x0c => self.out.extend_from_slice(b"\\f"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                control => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    let digits = [HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]];
                    self.out.extend_from_slice(b"\\u00");
                    self.out.extend_from_slice(&digits);
                }
            }
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
        Some(())
    }

    /// A value of a column type that JSON does not have.
    fn opaque(&mut self, kind: u8, content: &[u8]) -> Option<()> {
        match kind {
            // NEWDECIMAL: precision, scale, packed digits.
            246 => {
                let (&precision, &scale) = (content.first()?, content.get(1)?);
                let packed = content.get(2..2 + packed_length(precision, scale))?;
                self.out.extend_from_slice(packed_decimal(packed, precision, scale).ok()?.as_bytes());
            }
            // TIMESTAMP, DATE, DATETIME: the server's packed form with six digits. They are printed whatever
            // they are: the policy for zero dates is for columns.
            7 | 10 | 12 => {
                let packed = i64::from_le_bytes(head(content)?);
                let civil = Civil::from_packed((packed >> 24) as u64, (packed & 0xff_ffff) as u32);
                let quoted = &mut Quoted(self.out);
                if packed <= 0 {
                    let zero = if kind == 10 { "0000-00-00" } else { "0000-00-00 00:00:00.000000" };
                    quoted.plain(zero.as_bytes());
                } else {
                    json_date(&civil, kind != 10, quoted).ok()?;
                }
            }
            // TIME.
            11 => time(&Clock::from_packed(i64::from_le_bytes(head(content)?)), 6, &mut Quoted(self.out)).ok()?,
            _ => {
                self.out.extend_from_slice(b"\"base64:type");
                self.out.extend_from_slice(itoa::Buffer::new().format(kind).as_bytes());
                self.out.push(b':');
                let encoded = base64::engine::general_purpose::STANDARD.encode(content);
                // The server breaks base64 into lines of 76 characters, and prints a line's end escaped.
                for (index, line) in encoded.as_bytes().chunks(76).enumerate() {
                    if index > 0 {
                        self.out.extend_from_slice(b"\\n");
                    }
                    self.out.extend_from_slice(line);
                }
                self.out.push(b'"');
            }
        }
        Some(())
    }
}

/// Takes the one date or time that is written to it, in quotes.
struct Quoted<'a>(&'a mut Vec<u8>);

impl ValueWriter for Quoted<'_> {
    fn null(&mut self) {}
    fn integer(&mut self, _: i64) {}
    fn unsigned(&mut self, _: u64) {}
    fn number(&mut self, _: &[u8]) {}
    fn plain(&mut self, text: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }
    fn text(&mut self, _: &[u8]) {}
    fn binary(&mut self, _: &[u8]) {}
    fn json(&mut self, _: &[u8]) {}
}

pub(super) fn head<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

/// A little-endian number of 2 or 4 bytes.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |value, &byte| (value << 8) | usize::from(byte)))
}

/// Bytes behind a length of seven bits a byte, the lowest first.
pub(super) fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0usize;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.get(..length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(document: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        print(document, &mut out).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_object_prints_its_keys_in_stored_order() {
        // {"a": 1, "b": "x"}
        let document = b"\x00\x02\x00\x16\x00\x12\x00\x01\x00\x13\x00\x01\x00\x05\x01\x00\x0c\x14\x00ab\x01x";
        assert_eq!(text(document).unwrap(), r#"{"a": 1, "b": "x"}"#);
    }

    #[test]
    fn strings_are_escaped_as_the_server_does() {
        assert_eq!(text(b"\x0c\x08\"\\\x08\t\n\x0c\r\x01").unwrap(), r#""\"\\\b\t\n\f\r\u0001""#);
        assert_eq!(text("\x0c\x03\u{7f}é".as_bytes()).unwrap(), "\"\u{7f}é\"");
    }

    #[test]
    fn offsets_that_point_backwards_or_at_one_place_often_end_in_an_error() {
        // An array whose element is the array itself.
        assert_eq!(text(b"\x02\x01\x00\x07\x00\x02\x00\x00"), None);
        // Levels of ten elements that all point to the next level.
        let mut document = vec![0x02];
        for level in 0..8u16 {
            let start = level * 34;
            document.extend_from_slice(&10u16.to_le_bytes());
            document.extend_from_slice(&(34 * 9 - start).to_le_bytes());
            for _ in 0..10 {
                document.push(0x02);
                document.extend_from_slice(&34u16.to_le_bytes());
            }
        }
        document.extend_from_slice(&[0; 40]);
        assert_eq!(text(&document), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_document_or_an_error(kind in 0u8..16, bytes: Vec<u8>) {
            let mut document = vec![kind];
            document.extend_from_slice(&bytes);
            if let Some(text) = text(&document) {
                prop_assert!(text.len() < 64 + 40 * document.len());
            }
        }
    }
}
