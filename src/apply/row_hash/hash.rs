//! A row's hash.
//!
//! ```text
//! the first 16 bytes of SHA-256 over, for each column of the source's table in its order:
//!   NULL                              0
//!   a value                           1, its length in 8 bytes (little-endian), the cell as the target gets it
//!   a value that cannot be written    2
//! ```
//! Of the cell it is the text (for VARBINARY the bytes), whatever body it travels in. Each cell says where it ends, so two
//! rows with other cells have other bytes. The hash is read as a big-endian number with a sign: a LARGEINT.
//!
//! The format must never change: the rows at targets carry it. A test holds known hashes.

use sha2::{Digest as _, Sha256};

use crate::mysql::value::ValueWriter;

/// Takes a row's cells; one for many rows.
#[derive(Debug, Default)]
pub(crate) struct RowHasher(Vec<u8>);

impl RowHasher {
    /// The hash of the cells that `write` writes.
    pub(crate) fn hash<E>(&mut self, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<i128, E> {
        self.0.clear();
        write(self)?;
        let digest = Sha256::digest(&self.0);
        Ok(digest.first_chunk().map_or(0, |first| i128::from_be_bytes(*first)))
    }

    fn cell(&mut self, cell: &[u8]) {
        self.0.push(1);
        self.0.extend_from_slice(&(cell.len() as u64).to_le_bytes());
        self.0.extend_from_slice(cell);
    }
}

impl ValueWriter for RowHasher {
    fn null(&mut self) {
        self.0.push(0);
    }

    fn integer(&mut self, value: i64) {
        self.cell(itoa::Buffer::new().format(value).as_bytes());
    }

    fn unsigned(&mut self, value: u64) {
        self.cell(itoa::Buffer::new().format(value).as_bytes());
    }

    fn number(&mut self, digits: &[u8]) {
        self.cell(digits);
    }

    fn plain(&mut self, text: &[u8]) {
        self.cell(text);
    }

    fn text(&mut self, text: &[u8]) {
        self.cell(text);
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.cell(bytes);
    }

    fn json(&mut self, document: &[u8]) {
        self.cell(document);
    }

    /// The row does not get into the target, so nothing there needs to be told from it; and the source's two ways of
    /// showing such a value differ.
    fn unwritable(&mut self, _raw: &[u8]) -> bool {
        self.0.push(2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(write: impl FnOnce(&mut RowHasher)) -> i128 {
        let hashed: Result<i128, ()> = RowHasher::default().hash(|hasher| {
            write(hasher);
            Ok(())
        });
        hashed.unwrap()
    }

    fn texts(cells: &[&str]) -> i128 {
        hash(|hasher| cells.iter().for_each(|cell| hasher.text(cell.as_bytes())))
    }

    /// `printf '\x01\x02\0\0\0\0\0\0\0ab\0' | sha256sum`, and so on.
    #[test]
    fn rows_have_the_hashes_that_targets_carry() {
        assert_eq!(
            hash(|hasher| {
                hasher.text(b"ab");
                hasher.null();
            }),
            133135540723959632639252003068376280079
        );
        assert_eq!(
            hash(|hasher| {
                hasher.integer(-5);
                hasher.unsigned(u64::MAX);
                hasher.number(b"1.50");
                hasher.plain(b"2024-02-29");
                hasher.binary(b"\x00\xff");
                hasher.json(b"{}");
                hasher.unwritable(b"raw");
            }),
            74147761851153507366563927148724378096
        );
    }

    #[test]
    fn cells_do_not_run_into_each_other() {
        let rows: [&[&str]; 6] =
            [&["ab", "c"], &["a", "bc"], &["abc"], &["abc", ""], &["", "abc"], &["a", "\x01\x02\0\0\0\0\0\0\0bc"]];
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[index + 1..] {
                assert_ne!(texts(row), texts(other), "{row:?} {other:?}");
            }
        }
        assert_ne!(texts(&[""]), hash(ValueWriter::null));
        assert_ne!(texts(&[""]), hash(|hasher| assert!(hasher.unwritable(b""))));
    }

    #[test]
    fn a_number_hashes_as_its_text() {
        assert_eq!(hash(|hasher| hasher.integer(7)), texts(&["7"]));
        assert_eq!(hash(|hasher| hasher.number(b"7")), hash(|hasher| hasher.unsigned(7)));
    }
}
