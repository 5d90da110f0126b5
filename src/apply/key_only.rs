//! Deletes by the key alone.
//!
//! StarRocks wants a valid row even where it only deletes, so a value that it cannot hold would keep a row at the target
//! that the source no longer has. Nobody will see the cells behind the key: anything valid may stand there.

use super::encode::EncodeRow;
use crate::mysql::binlog::write_any;
use crate::mysql::value::{RowError, ValueWriter};
use crate::schema::TargetTable;

/// A row to be deleted, of which only the key is written as it is.
#[derive(Clone, Copy)]
pub(super) struct KeyOnly<'a, R> {
    pub(super) row: R,
    pub(super) table: &'a TargetTable,
}

impl<R: EncodeRow<Error = RowError>> EncodeRow for KeyOnly<'_, R> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        let keys = self.table.key_columns;
        let mut key = FirstCells { out, left: keys };
        let written = self.row.write(&mut key);
        if key.left > 0 {
            return written.and(Err(RowError::row("a row without its whole key")));
        }
        self.table.columns.iter().skip(keys).for_each(|column| write_any(column, out));
        Ok(())
    }
}

/// Cells that were read from a load's body.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a>(pub(super) &'a [Option<String>]);

impl EncodeRow for Texts<'_> {
    type Error = RowError;

    fn write(&mut self, out: &mut impl ValueWriter) -> Result<(), RowError> {
        for cell in self.0 {
            match cell {
                Some(text) => out.text(text.as_bytes()),
                None => out.null(),
            }
        }
        Ok(())
    }
}

/// Passes so many cells on.
struct FirstCells<'a, W> {
    out: &'a mut W,
    left: usize,
}

impl<W: ValueWriter> FirstCells<'_, W> {
    fn pass(&mut self, write: impl FnOnce(&mut W)) {
        if self.left > 0 {
            self.left -= 1;
            write(self.out);
        }
    }
}

impl<W: ValueWriter> ValueWriter for FirstCells<'_, W> {
    fn null(&mut self) {
        self.pass(W::null);
    }

    fn integer(&mut self, value: i64) {
        self.pass(|out| out.integer(value));
    }

    fn unsigned(&mut self, value: u64) {
        self.pass(|out| out.unsigned(value));
    }

    fn number(&mut self, digits: &[u8]) {
        self.pass(|out| out.number(digits));
    }

    fn plain(&mut self, text: &[u8]) {
        self.pass(|out| out.plain(text));
    }

    fn text(&mut self, text: &[u8]) {
        self.pass(|out| out.text(text));
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.pass(|out| out.binary(bytes));
    }

    fn json(&mut self, document: &[u8]) {
        self.pass(|out| out.json(document));
    }
}
