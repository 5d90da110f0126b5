//! Rows with a value that cannot be written for the target: too long, a zero date that is an error, bytes that are no
//! text in their character set.
//!
//! A delete needs nothing but its key ([`super::key_only`]). Any other such row stops the job or becomes a dead letter, by `strategyOnError`. A row that is damaged as a whole always stops the
//! job, for what stands behind it in the log cannot be trusted either.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::body;
use super::encode::{EncodeRow, Encoder, Op};
use super::key_only::KeyOnly;
use crate::config::OnError;
use crate::mysql::value::{RowError, ValueWriter};
use crate::schema::TargetTable;
use crate::state::{LetterShape, NewLetter};
use crate::target::{LoadColumn, OP_COLUMN};
use crate::{Error, Result};

/// Encodes rows of one table, and keeps those that cannot be.
pub(crate) struct Unwritable<'a> {
    table: &'a TargetTable,
    on_error: OnError,
    letters: Vec<NewLetter>,
}

impl<'a> Unwritable<'a> {
    pub(crate) fn new(table: &'a TargetTable, on_error: OnError) -> Self {
        Unwritable { table, on_error, letters: Vec::new() }
    }

    pub(crate) fn into_letters(self) -> Vec<NewLetter> {
        self.letters
    }

    pub(crate) fn take_letters(&mut self) -> Vec<NewLetter> {
        std::mem::take(&mut self.letters)
    }

    /// Encodes a row that writes every column, or those of `partial`, a bit for each column of the table.
    ///
    /// # Errors
    /// Definite: the row is damaged; or a value cannot be written and the job is to stop for it.
    #[inline]
    pub(crate) fn encode<R>(&mut self, encoder: &mut Encoder, partial: Option<&[u64]>, op: Op, row: R) -> Result<()>
    where
        R: EncodeRow<Error = RowError> + Copy,
    {
        let encoded = match partial {
            None => encoder.row(op, row),
            Some(columns) => encoder.partial_row(columns, op, row),
        };
        encoded.or_else(|error| self.take(encoder, partial, op, row, error))
    }

    #[cold]
    fn take<R>(
        &mut self,
        encoder: &mut Encoder,
        partial: Option<&[u64]>,
        op: Op,
        mut row: R,
        error: RowError,
    ) -> Result<()>
    where
        R: EncodeRow<Error = RowError> + Copy,
    {
        let table = self.table;
        let damaged = |error: &RowError| Error::definite(format!("{}: cannot decode a row: {error}", table.name));
        if error.column.is_none() {
            return Err(damaged(&error));
        }
        if op == Op::Delete && encoder.row(op, KeyOnly { row, table }).is_ok() {
            return Ok(());
        }
        let mut texts = CellTexts::default();
        row.write(&mut texts).map_err(|error| damaged(&error))?;
        let mut cells = texts.0;
        let key = body::key(&cells, table.key_columns);
        let RowError { column, reason } = error;
        if self.on_error == OnError::Exit {
            let column = column.unwrap_or_default();
            return Err(Error::definite(format!(
                "{}: the row with key {key} cannot be written: column {column}: {reason}",
                table.name
            ))
            .hint(
                "change the row at the source so that the target can take it; with `strategyOnError: batchDirtyData` \
                 such rows are set aside as dead letters",
            ));
        }
        cells.push(Some(if op == Op::Delete { "1" } else { "0" }.to_owned()));
        let known = |index: usize| partial.is_none_or(|bits| bits[index / 64] >> (index % 64) & 1 == 1);
        let names = table.columns.iter().enumerate().filter(|(index, _)| known(*index));
        let columns = names.map(|(_, column)| LoadColumn::plain(&column.name)).chain([LoadColumn::plain(OP_COLUMN)]);
        self.letters.push(NewLetter {
            table: table.name.clone(),
            key,
            delete: op == Op::Delete,
            column,
            reason,
            shape: LetterShape { format: None, columns: columns.collect(), partial: partial.is_some() },
            body: serde_json::Value::from(cells).to_string().into_bytes().into(),
            behind: false,
        });
        Ok(())
    }
}

/// Every cell as a load would carry it; one that cannot be written as the hexadecimal digits of its bytes at the source.
#[derive(Default)]
struct CellTexts(Vec<Option<String>>);

impl ValueWriter for CellTexts {
    fn null(&mut self) {
        self.0.push(None);
    }

    fn integer(&mut self, value: i64) {
        self.0.push(Some(value.to_string()));
    }

    fn unsigned(&mut self, value: u64) {
        self.0.push(Some(value.to_string()));
    }

    fn number(&mut self, digits: &[u8]) {
        self.text(digits);
    }

    fn plain(&mut self, text: &[u8]) {
        self.text(text);
    }

    fn text(&mut self, text: &[u8]) {
        self.0.push(Some(String::from_utf8_lossy(text).into_owned()));
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.0.push(Some(BASE64.encode(bytes)));
    }

    fn json(&mut self, document: &[u8]) {
        self.text(document);
    }

    fn unwritable(&mut self, raw: &[u8]) -> bool {
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push(Some(format!("0x{digits}")));
        true
    }
}
