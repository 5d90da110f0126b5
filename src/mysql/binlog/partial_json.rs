//! Partial updates of JSON values (`binlog_row_value_options=PARTIAL_JSON`), made whole.
//!
//! A PARTIAL_UPDATE_ROWS event is an UPDATE_ROWS event but for its after images:
//!
//! ```text
//! value options (length-encoded) | [one bit for each JSON column of the table] | null bitmap | values
//! ```
//!
//! The bits are there if the first option is set, and each says that the column's value, if the image has one, is not a
//! document but a list of changes (see `json_edit`) of the document in the before image. An empty list leaves it as it
//! was. [`whole`] applies them, so that what comes out is an ordinary UPDATE event, and nobody behind the reader knows of
//! any of this. Where the before image lacks the document (`binlog_row_image` other than FULL) its changes say too little,
//! and that is an error.

use super::cell;
use super::columns::ColumnBits;
use super::row::Width;
use super::table_map::{TableMap, Wire};
use crate::mysql::value::apply_json_changes;
use crate::schema::ColumnType;

/// `enum_binlog_row_value_options`
const PARTIAL_JSON: u64 = 1;

/// Why an event cannot be made whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is not of its form.
    Malformed,
    /// A column's changes without the document that they change.
    NoDocument(usize),
    /// A column's changes that do not fit, and why.
    Unfit(usize, String),
}

/// The images of an ordinary UPDATE event. `before` and `after` say which columns the images have.
pub(super) fn whole(
    table: &TableMap,
    before: &ColumnBits,
    after: &ColumnBits,
    images: &[u8],
) -> Result<Vec<u8>, Problem> {
    let mut reader = Reader { bytes: images, at: 0 };
    let mut out = Vec::with_capacity(images.len());
    let columns = table.columns();
    let is_json = |column: usize| matches!(columns[column].wire, Wire::Json { .. });
    let json_columns = (0..columns.len()).filter(|&column| is_json(column)).count();
    // The documents of one before image, by column.
    let mut documents: Vec<Option<&[u8]>> = vec![None; columns.len()];
    while reader.at < images.len() {
        let start = reader.at;
        reader.image(table, before, |column, value, _| {
            documents[column] = value;
            Ok(())
        })?;
        out.extend_from_slice(&images[start..reader.at]);
        let options = reader.length()?;
        let bits = if options & PARTIAL_JSON != 0 { reader.take(json_columns.div_ceil(8))? } else { &[] };
        let bits = ColumnBits::new(bits);
        let nulls = (0..columns.len()).filter(|&column| after.has(column)).count().div_ceil(8);
        out.extend_from_slice(images.get(reader.at..reader.at + nulls).ok_or(Problem::Malformed)?);
        // Which of the JSON columns is the next one; its bit is there also if the image lacks it.
        let number_of = |column: usize| (0..column).filter(|&column| is_json(column)).count();
        reader.image(table, after, |column, value, bytes| {
            let Some(changes) = value.filter(|_| is_json(column) && bits.has(number_of(column))) else {
                out.extend_from_slice(bytes);
                return Ok(());
            };
            let document = documents[column].ok_or(Problem::NoDocument(column))?;
            let changed =
                apply_json_changes(document, changes).map_err(|error| Problem::Unfit(column, error.to_string()))?;
            let Wire::Json { length_bytes } = columns[column].wire else { return Err(Problem::Malformed) };
            let length = (changed.len() as u64).to_le_bytes();
            let (length, beyond) = length.split_at(usize::from(length_bytes).min(8));
            if beyond.iter().any(|&byte| byte != 0) {
                return Err(Problem::Malformed);
            }
            out.extend_from_slice(length);
            out.extend_from_slice(&changed);
            Ok(())
        })?;
    }
    Ok(out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let end = self.at.checked_add(count).ok_or(Problem::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Problem::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    /// A little-endian number of `bytes` bytes, at most 8.
    fn number(&mut self, bytes: usize) -> Result<u64, Problem> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn length(&mut self) -> Result<u64, Problem> {
        match self.number(1)? {
            short @ 0..=250 => Ok(short),
            252 => self.number(2),
            253 => self.number(3),
            254 => self.number(8),
            _ => Err(Problem::Malformed),
        }
    }

    /// One image from its null bitmap on: `each` gets every column that it has, the value (`None`: NULL) without its length
    /// and with it.
    fn image(
        &mut self,
        table: &TableMap,
        present: &ColumnBits,
        mut each: impl FnMut(usize, Option<&'a [u8]>, &'a [u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let count = (0..table.columns().len()).filter(|&column| present.has(column)).count();
        let nulls = ColumnBits::new(self.take(count.div_ceil(8))?);
        let present = (0..table.columns().len()).filter(|&column| present.has(column));
        for (index, column) in present.enumerate() {
            if nulls.has(index) {
                each(column, None, &[])?;
                continue;
            }
            let start = self.at;
            // One that cannot be read is refused downstream with what to do; here its row has no end.
            let length = match cell::width(table.columns()[column].wire, &NO_DIGITS).ok_or(Problem::Malformed)? {
                Width::Fixed(bytes) => bytes as usize,
                Width::Prefixed(bytes) => self.number(usize::from(bytes))? as usize,
            };
            let value = self.take(length)?;
            each(column, Some(value), &self.bytes[start..self.at])?;
        }
        Ok(())
    }
}

/// MySQL's old times have no fraction, and only MySQL writes such rows.
const NO_DIGITS: ColumnType = ColumnType::Date;

#[cfg(test)]
mod tests {
    use super::super::table_map::tests::body;
    use super::*;

    /// `id INT, a JSON, b JSON`
    fn table() -> TableMap {
        let json = || (245, vec![4], true);
        TableMap::parse(&body(&[(3, vec![], false), json(), json()], &[])).unwrap()
    }

    fn bits(byte: u8) -> ColumnBits {
        ColumnBits::new(&[byte])
    }

    fn value(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
    }

    /// `[true]` and, in the form that changes leave, `[7]`.
    const TRUE: &[u8] = b"\x02\x01\0\x07\0\x04\x01\0";
    const SEVEN: &[u8] = b"\x03\x01\0\0\0\x0d\0\0\0\x05\x07\0\0\0";
    /// Puts 7 into its first cell.
    const CHANGES: &[u8] = b"\0\x04$[0]\x03\x05\x07\0";
    const ID: &[u8] = &[9, 0, 0, 0];

    #[test]
    fn changes_are_applied_and_all_else_is_as_it_was() {
        let whole_value = value(b"\x04\0");
        let before = [&[0][..], ID, &value(TRUE), &value(TRUE)].concat();
        for (options, b, expected) in [
            (&[1, 0b10][..], value(CHANGES), value(SEVEN)),
            (&[1, 0b10], value(b""), value(&[b"\x03\x01\0\0\0\x0d\0\0\0\x04\x01\0\0\0"][0][..])),
            (&[1, 0], whole_value.clone(), whole_value.clone()),
            (&[0], whole_value.clone(), whole_value.clone()),
        ] {
            let row = [&before[..], options, &[0], ID, &whole_value, &b].concat();
            let expected = [&before[..], &[0], ID, &whole_value, &expected].concat();
            let two = [&row[..], &row].concat();
            assert_eq!(whole(&table(), &bits(0b111), &bits(0b111), &two).unwrap(), [&expected[..], &expected].concat());
        }
    }

    #[test]
    fn bits_count_columns_that_the_image_lacks_and_null_has_no_changes() {
        let before = [&[0][..], ID, &value(TRUE), &value(TRUE)].concat();
        // The after image has `b` alone.
        let row = [&before[..], &[1, 0b10, 0], &value(CHANGES)].concat();
        let expected = [&before[..], &[0], &value(SEVEN)].concat();
        assert_eq!(whole(&table(), &bits(0b111), &bits(0b100), &row).unwrap(), expected);
        let row = [&before[..], &[1, 0b10, 1]].concat();
        assert_eq!(whole(&table(), &bits(0b111), &bits(0b100), &row).unwrap(), [&before[..], &[1]].concat());
    }

    #[test]
    fn changes_of_a_document_that_is_not_there_are_refused() {
        let row = [&[0][..], ID, &[1, 0b10, 0], &value(CHANGES)].concat();
        assert_eq!(whole(&table(), &bits(1), &bits(0b100), &row), Err(Problem::NoDocument(2)));
        let before = [&[0b110][..], ID].concat();
        let row = [&before[..], &[1, 0b10, 0], &value(CHANGES)].concat();
        assert_eq!(whole(&table(), &bits(0b111), &bits(0b100), &row), Err(Problem::NoDocument(2)));
        let before = [&[0][..], ID, &value(TRUE), &value(b"\x04\0")].concat();
        let row = [&before[..], &[1, 0b10, 0], &value(CHANGES)].concat();
        assert!(matches!(whole(&table(), &bits(0b111), &bits(0b100), &row), Err(Problem::Unfit(2, _))));
        for end in 1..row.len() {
            assert!(whole(&table(), &bits(0b111), &bits(0b100), &row[..end]).is_err(), "{end}");
        }
    }
}
