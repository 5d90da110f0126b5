//! What an ALTER TABLE of the source does to rows that exist: no row event tells it.
//!
//! A target follows such a statement by altering its own table. That is enough only if every value that exists reads the
//! same afterwards, or if the target's ALTER makes the same new one. What it makes of a *new* column, the column's
//! [`super::Fill`] says; here are the changes that only the source knows of. Everything that is not known to keep its
//! values counts as changing them: then the table has to be copied.
//!
//! Values are compared as they are written for the target: UTF-8 text, a number's value, a date with six digits. So an
//! ENUM whose members change places keeps its values (both servers convert it by its members' texts), while one more digit
//! for a TIME, which is a text at the target, changes them.

use super::charset::Utf8Growth;
use super::{Altered, Column, ColumnType, DefaultValue, Generated, IntegerSize, LobSize};

/// Columns whose existing values the statement changed, or made up in a way that a target's ALTER cannot repeat, each with
/// the reason. Empty: a target that alters its table has the same rows.
///
/// `strict`: the statement ran in a strict SQL mode (and was no ALTER IGNORE), so a value that does not fit its new type
/// made it fail, and it would not be in the log. `false` where that is not known.
pub fn rewrites_rows(altered: &Altered, strict: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (column, was) in altered.after.columns.iter().zip(&altered.was) {
        let reason = match was.and_then(|index| altered.before.columns.get(index)) {
            None => made_up(column),
            Some(before) => converted(before, column, strict),
        };
        found.extend(reason.map(|reason| format!("column {}: {reason}", column.name)));
    }
    found
}

fn made_up(column: &Column) -> Option<&'static str> {
    if column.generated != Generated::No {
        return Some("it is new and generated: every row that exists has its own value");
    }
    match &column.default {
        Some(DefaultValue::CurrentTimestamp) => Some("it is new, and rows that exist hold the time of the statement"),
        Some(DefaultValue::Expression(_)) => {
            Some("it is new, and rows that exist hold values of its default's expression")
        }
        Some(DefaultValue::Literal(_)) | None => None,
    }
}

fn converted(before: &Column, after: &Column, strict: bool) -> Option<&'static str> {
    if before.generated == Generated::No && after.generated != Generated::No {
        return Some("it is generated now: every row that exists has a new value");
    }
    if before.nullable && !after.nullable && !strict {
        return Some("it is NOT NULL now, and outside strict SQL mode its NULLs have become other values");
    }
    (!keeps(&before.ty, &after.ty, strict))
        .then_some("its values are converted to the new type, and the log has them only as they were")
}

/// Whether every value of `before` reads the same in `after`, or (`strict`) cannot be in a statement that succeeded.
fn keeps(before: &ColumnType, after: &ColumnType, strict: bool) -> bool {
    use ColumnType::*;
    if before == after {
        return true;
    }
    match (before, after) {
        (Integer { .. }, Integer { .. }) => strict || range_within(before, after),
        (Integer { .. }, Decimal { precision, scale }) => strict || digits(before) <= precision.saturating_sub(*scale),
        (Integer { size, .. }, Double) => *size != IntegerSize::Big,
        (Decimal { precision, scale }, Decimal { precision: wide, scale: fine }) => {
            // A scale that shrinks rounds, in every mode. What is too long for a DECIMAL of the target is a text there,
            // which has as many digits behind the point as the scale says.
            let as_number = (*precision).max(*wide) <= 38;
            (scale == fine || (scale < fine && as_number))
                && (strict || wide.saturating_sub(*fine) >= precision.saturating_sub(*scale))
        }
        (Bit { bits }, Bit { bits: more }) => strict || more >= bits,
        (DateTime { digits }, DateTime { digits: more }) | (Timestamp { digits }, Timestamp { digits: more }) => {
            more >= digits
        }
        (Date, DateTime { .. }) => true,
        (Varbinary { bytes }, Varbinary { bytes: more }) => more >= bytes,
        (Varbinary { bytes }, Blob { size }) => lob_bytes(*size) >= u64::from(*bytes),
        (Blob { size }, Blob { size: more }) => lob_bytes(*more) >= lob_bytes(*size),
        (Enum { members }, Enum { members: others }) => strict || members.iter().all(|member| others.contains(member)),
        (Set { members }, Set { members: others }) => keeps_order(members, others),
        (Enum { members }, _) => holds_texts(after, members.iter().map(|member| member.chars().count()).max()),
        (Set { members }, _) => {
            let commas = members.len().saturating_sub(1);
            holds_texts(after, Some(members.iter().map(|member| member.chars().count()).sum::<usize>() + commas))
        }
        _ => keeps_text(before, after),
    }
}

/// A CHAR gives up the spaces at a value's end, so nothing but a CHAR goes into one.
fn keeps_text(before: &ColumnType, after: &ColumnType) -> bool {
    use ColumnType::{Char, Text, Varchar};
    let (Some(from), Some(to)) = (charset(before), charset(after)) else { return false };
    if from != to && !has_all_characters(to) {
        return false;
    }
    match (before, after) {
        (Char { chars, .. }, Char { chars: more, .. })
        | (Char { chars, .. } | Varchar { chars, .. }, Varchar { chars: more, .. }) => more >= chars,
        (Char { chars, .. } | Varchar { chars, .. }, Text { size, .. }) => {
            u64::from(*chars) * MOST_BYTES_PER_CHARACTER <= lob_bytes(*size)
        }
        // A TEXT is limited in bytes: as many fit, counted in the new character set.
        (Text { size, .. }, Text { size: more, .. }) if from == to => lob_bytes(*more) >= lob_bytes(*size),
        (Text { size, .. }, Text { size: more, .. }) => lob_bytes(*more) >= grown(lob_bytes(*size), from, to),
        (Text { size, .. }, Varchar { chars, .. }) => u64::from(*chars) >= lob_bytes(*size),
        _ => false,
    }
}

const MOST_BYTES_PER_CHARACTER: u64 = 4;

/// Bytes that a text can have in the new character set.
fn grown(bytes: u64, from: &str, to: &str) -> u64 {
    let in_utf8 = Utf8Growth::of(from).of_bytes(bytes);
    if to == "utf8mb4" { in_utf8 } else { in_utf8 * MOST_BYTES_PER_CHARACTER }
}

fn has_all_characters(charset: &str) -> bool {
    matches!(charset, "utf8mb4" | "utf16" | "utf16le" | "utf32")
}

fn charset(ty: &ColumnType) -> Option<&str> {
    match ty {
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } | ColumnType::Text { charset, .. } => {
            Some(charset)
        }
        _ => None,
    }
}

/// Whether a VARCHAR or TEXT holds every text of `chars` characters. (A member's character set is not known.)
fn holds_texts(ty: &ColumnType, chars: Option<usize>) -> bool {
    let chars = chars.unwrap_or(0) as u64;
    charset(ty).is_some_and(has_all_characters)
        && match ty {
            ColumnType::Varchar { chars: most, .. } => u64::from(*most) >= chars,
            ColumnType::Text { size, .. } => lob_bytes(*size) >= chars * MOST_BYTES_PER_CHARACTER,
            _ => false,
        }
}

/// A SET's text names the chosen members in their order.
fn keeps_order(members: &[String], others: &[String]) -> bool {
    let mut rest = others.iter();
    members.iter().all(|member| rest.any(|other| other == member))
}

fn range_within(before: &ColumnType, after: &ColumnType) -> bool {
    let (ColumnType::Integer { size, unsigned }, ColumnType::Integer { size: more, unsigned: positive }) =
        (before, after)
    else {
        return false;
    };
    match (unsigned, positive) {
        (false, true) => false,
        (true, false) => more.bytes() > size.bytes(),
        _ => more.bytes() >= size.bytes(),
    }
}

/// Most decimal digits of an integer type.
fn digits(ty: &ColumnType) -> u8 {
    let ColumnType::Integer { size, unsigned } = ty else { return u8::MAX };
    match (size, unsigned) {
        (IntegerSize::Tiny, _) => 3,
        (IntegerSize::Small, _) => 5,
        (IntegerSize::Medium, false) => 7,
        (IntegerSize::Medium, true) => 8,
        (IntegerSize::Int, _) => 10,
        (IntegerSize::Big, false) => 19,
        (IntegerSize::Big, true) => 20,
    }
}

fn lob_bytes(size: LobSize) -> u64 {
    (1 << (8 * size.length_bytes())) - 1
}

#[cfg(test)]
mod tests;
