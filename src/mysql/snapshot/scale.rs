//! Keys as numbers, so that a bound between two of them can be guessed.
//!
//! Only the key's first column is looked at: whole numbers are numbers; of text and of bytes the first that differ between the
//! smallest key and the largest are read as digits. Text counts as ASCII without case, as which most of it is sorted nearly
//! everywhere. Where that is not the order of the column's collation, guesses are bad, and nothing else: what lies up to a guess
//! the server says. The key's other columns get any value at all, for a bound need not be a row's key.

use super::key::{Key, KeyColumn, KeyValue, hex, unhex};

/// Characters and bytes that fit into a number.
const CHARACTERS: usize = 19;
const BYTES: usize = 15;
/// From the blank to what lies behind the last printable character.
const FIRST: u8 = 0x20;
const LAST: u8 = 0x7f;

#[derive(Debug, Clone)]
pub(super) enum Scale {
    Number,
    /// All keys begin with this.
    Text {
        prefix: Vec<u8>,
    },
    Bytes {
        prefix: Vec<u8>,
    },
}

impl Scale {
    /// Between two keys' first columns. `None`: keys of this kind cannot be guessed.
    pub(super) fn between(column: &KeyColumn, ends: [&KeyValue; 2]) -> Option<Scale> {
        let [KeyValue::Bytes(first), KeyValue::Bytes(last)] = ends else {
            return column.is_whole_number().then_some(Scale::Number);
        };
        let (first, last) = (unhex(first), unhex(last));
        let common = first.iter().zip(&last).take_while(|(first, last)| first == last).count();
        let prefix = first[..common].to_vec();
        match column.text_is_ascii()? {
            // A part of a character would be no text.
            true if !prefix.is_ascii() => None,
            true => Some(Scale::Text { prefix }),
            false => Some(Scale::Bytes { prefix }),
        }
    }

    /// Where on the scale the value lies. `None`: beside it.
    pub(super) fn number(&self, value: &KeyValue) -> Option<i128> {
        let (prefix, count, base) = match self {
            Scale::Number => return value.whole_number(),
            Scale::Text { prefix } => (prefix, CHARACTERS, i128::from(LAST - FIRST) + 1),
            Scale::Bytes { prefix } => (prefix, BYTES, 256),
        };
        let KeyValue::Bytes(hex) = value else { return None };
        let bytes = unhex(hex);
        let rest = bytes.strip_prefix(prefix.as_slice())?;
        let digit = |at: usize| {
            let byte = rest.get(at).copied().unwrap_or(0);
            match self {
                Scale::Text { .. } => byte.to_ascii_lowercase().clamp(FIRST, LAST) - FIRST,
                _ => byte,
            }
        };
        Some((0..count).fold(0, |number, at| number * base + i128::from(digit(at))))
    }

    /// A key whose first column lies there. `None`: there is none.
    pub(super) fn key(&self, columns: &[KeyColumn], number: i128) -> Option<Key> {
        let value = match self {
            Scale::Number => KeyValue::of_whole_number(number)?,
            Scale::Text { prefix } => KeyValue::Bytes(hex(&written(prefix, number, CHARACTERS, FIRST..=LAST)?)),
            Scale::Bytes { prefix } => KeyValue::Bytes(hex(&written(prefix, number, BYTES, 0..=u8::MAX)?)),
        };
        let others = columns.get(1..)?.iter().map(KeyColumn::any_value);
        std::iter::once(Some(value)).chain(others).collect::<Option<Vec<_>>>().map(Key)
    }
}

/// The number's digits behind the prefix, without zeros at their end.
fn written(prefix: &[u8], number: i128, count: usize, digits: std::ops::RangeInclusive<u8>) -> Option<Vec<u8>> {
    let (zero, base) = (*digits.start(), i128::from(digits.end() - digits.start()) + 1);
    let (mut rest, mut bytes) = (number, vec![zero; count]);
    for byte in bytes.iter_mut().rev() {
        *byte = zero + u8::try_from(rest.rem_euclid(base)).ok()?;
        rest = rest.div_euclid(base);
    }
    if rest != 0 {
        return None;
    }
    let length = bytes.iter().rposition(|byte| *byte != zero).map_or(0, |at| at + 1);
    bytes.truncate(length);
    Some([prefix, &bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Column, ColumnType, IntegerSize};

    fn column(ty: ColumnType, charset: &str) -> KeyColumn {
        KeyColumn::new(&Column::new("k", ty), Some((charset.into(), format!("{charset}_general_ci")))).unwrap()
    }

    fn text(charset: &str) -> KeyColumn {
        column(ColumnType::Varchar { chars: 40, charset: charset.into() }, charset)
    }

    fn bytes(text: &[u8]) -> KeyValue {
        KeyValue::Bytes(hex(text))
    }

    fn middle(column: &KeyColumn, ends: [&[u8]; 2]) -> Vec<u8> {
        let ends = ends.map(bytes);
        let scale = Scale::between(column, [&ends[0], &ends[1]]).unwrap();
        let [first, last] = [&ends[0], &ends[1]].map(|end| scale.number(end).unwrap());
        assert!(first < last, "{first} {last}");
        let key = scale.key(std::slice::from_ref(column), first + (last - first) / 2).unwrap();
        key.values().next().unwrap()
    }

    #[test]
    fn the_middle_of_two_texts_lies_between_them() {
        let utf8 = text("utf8mb4");
        assert!(middle(&utf8, [b"1f0c", b"3e99"]).starts_with(b"2"));
        assert!(middle(&utf8, [b"user-0001", b"user-9999"]).starts_with(b"user-4"));
        // The case does not matter.
        let between = middle(&utf8, [b"Alice", b"carol"]);
        assert!((&b"b"[..]..b"c").contains(&between.as_slice()), "{between:?}");
        let binary = column(ColumnType::Binary { bytes: 16 }, "binary");
        let half = middle(&binary, [&[0; 16], &[255; 16]]);
        assert_eq!((half[0], half.len()), (0x7f, 15));
    }

    #[test]
    fn numbers_are_themselves_and_other_columns_have_any_value() {
        let id = column(ColumnType::Integer { size: IntegerSize::Int, unsigned: false }, "binary");
        let scale = Scale::between(&id, [&KeyValue::Integer(-5), &KeyValue::Integer(9)]).unwrap();
        assert_eq!(scale.number(&KeyValue::Integer(-5)), Some(-5));
        let columns = [id, text("latin1")];
        assert_eq!(scale.key(&columns, 7), Some(Key(vec![KeyValue::Integer(7), bytes(b"")])));
        assert_eq!(scale.key(&columns, i128::MAX), None);
        // No value fits all of what is shown as text.
        let dated = [columns[0].clone(), column(ColumnType::Date, "binary")];
        assert_eq!(scale.key(&dated, 7), None);
    }

    #[test]
    fn what_is_no_text_of_ascii_letters_is_not_guessed() {
        assert!(Scale::between(&text("utf16"), [&bytes(b"a"), &bytes(b"b")]).is_none());
        assert!(Scale::between(&text("utf8mb4"), [&bytes("äa".as_bytes()), &bytes("äb".as_bytes())]).is_none());
        let ends = [bytes(b"user-1"), bytes(b"user-9")];
        let scale = Scale::between(&text("utf8mb4"), [&ends[0], &ends[1]]).unwrap();
        assert_eq!(scale.number(&bytes(b"zoe")), None, "it came later");
    }
}
