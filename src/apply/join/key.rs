//! A row's key, the same whether a SELECT or the log brought the row.
//!
//! The two bring a key in different bytes, and both end in the same formatter ([`crate::mysql::value`]): so it is the
//! cells that are written for the target which are compared, each with its length before it, as a hash of 128 bits.

use std::io::Write as _;

use twox_hash::XxHash3_128;

use crate::mysql::value::{RowError, ValueWriter};

/// Hashes the first cells of rows: at the target the key comes first.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher {
    bytes: Vec<u8>,
    cell: Vec<u8>,
    left: usize,
}

impl KeyHasher {
    /// `write` writes at least the first `keys` cells of a row.
    ///
    /// # Errors
    /// The row is damaged, or ends before its key does.
    pub(crate) fn hash(
        &mut self,
        keys: usize,
        write: impl FnOnce(&mut Self) -> Result<(), RowError>,
    ) -> Result<u128, RowError> {
        self.bytes.clear();
        self.left = keys;
        let written = write(self);
        if self.left > 0 {
            return Err(written.err().unwrap_or_else(|| RowError::row("a row without its whole key")));
        }
        Ok(XxHash3_128::oneshot(&self.bytes))
    }

    fn put(&mut self, cell: &[u8]) {
        if self.left > 0 {
            self.left -= 1;
            self.bytes.extend_from_slice(&(cell.len() as u64 + 1).to_le_bytes());
            self.bytes.extend_from_slice(cell);
        }
    }

    fn put_number(&mut self, number: impl std::fmt::Display) {
        if self.left > 0 {
            let mut cell = std::mem::take(&mut self.cell);
            cell.clear();
            // Into memory: it cannot fail.
            let _ = write!(cell, "{number}");
            self.put(&cell);
            self.cell = cell;
        }
    }
}

impl ValueWriter for KeyHasher {
    fn null(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            self.bytes.extend_from_slice(&0_u64.to_le_bytes());
        }
    }

    fn integer(&mut self, value: i64) {
        self.put_number(value);
    }

    fn unsigned(&mut self, value: u64) {
        self.put_number(value);
    }

    fn number(&mut self, digits: &[u8]) {
        self.put(digits);
    }

    fn plain(&mut self, text: &[u8]) {
        self.put(text);
    }

    fn text(&mut self, text: &[u8]) {
        self.put(text);
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.put(bytes);
    }

    fn json(&mut self, document: &[u8]) {
        self.put(document);
    }

    fn unwritable(&mut self, raw: &[u8]) -> bool {
        // What stands for a cell that the target cannot take is told elsewhere; here only the key counts.
        self.put(raw);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(keys: usize, cells: &[Option<&str>]) -> Result<u128, RowError> {
        KeyHasher::default().hash(keys, |out| {
            for cell in cells {
                match cell {
                    Some(text) => out.text(text.as_bytes()),
                    None => out.null(),
                }
            }
            Ok(())
        })
    }

    #[test]
    fn only_the_key_counts_and_cells_do_not_run_into_each_other() {
        assert_eq!(hash(1, &[Some("a"), Some("x")]), hash(1, &[Some("a"), None]));
        assert_ne!(hash(2, &[Some("ab"), Some("c")]), hash(2, &[Some("a"), Some("bc")]));
        assert_ne!(hash(1, &[Some("")]), hash(1, &[None]));
        assert!(hash(2, &[Some("a")]).is_err());
        let number = KeyHasher::default().hash(1, |out| {
            out.integer(-7);
            Ok(())
        });
        assert_eq!(number, hash(1, &[Some("-7")]), "a number is its text, whichever way it came");
    }
}
