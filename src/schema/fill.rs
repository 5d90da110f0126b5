//! What rows that exist already hold in a column that is added to their table.
//!
//! No row event tells it: the source makes the value up once, from the definition, while it alters the table. So the
//! target has to make up the same one, in ALTER TABLE … ADD COLUMN … DEFAULT, and where it cannot the table has to be
//! copied. A value counts as known only if it is certain how the source would write it: the definition may come from a
//! statement's text, where a default stands as somebody typed it (`'10:0'`, `'b,a'`, `1.5` for a DECIMAL(10, 2)).

use serde::{Deserialize, Serialize};

use super::default::{carried_default, is_zero_date};
use super::{Column, ColumnType, DefaultValue, Generated, MappingOptions, TargetDefault, TargetType};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fill {
    Null,
    /// As a DEFAULT of the target's column writes it.
    Value(String),
    /// It differs from row to row, or the target cannot make it up.
    #[default]
    Unknown,
}

/// For a column that becomes a target column of type `ty`.
pub(super) fn of_rows(column: &Column, ty: TargetType, options: &MappingOptions) -> Fill {
    if column.generated != Generated::No {
        return Fill::Unknown;
    }
    match &column.default {
        None if column.nullable => Fill::Null,
        None => implicit(&column.ty, ty, options),
        Some(DefaultValue::CurrentTimestamp | DefaultValue::Expression(_)) => Fill::Unknown,
        Some(DefaultValue::Literal(literal)) => explicit(column, literal, ty, options),
    }
}

fn explicit(column: &Column, literal: &str, ty: TargetType, options: &MappingOptions) -> Fill {
    let certain = match &column.ty {
        ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } if is_zero_date(literal) => {
            return zero_date(options);
        }
        ColumnType::Decimal { .. } => matches!(ty, TargetType::Decimal { .. }),
        // Single precision: both sides read the same number from six digits.
        ColumnType::Float => digits(literal) <= 6,
        // Spaces at its end are not read back.
        ColumnType::Char { .. } => !literal.ends_with(' '),
        ColumnType::Time { digits } => is_plain_time(literal, *digits),
        // Two digits mean another year, and zero reads as it is.
        ColumnType::Year => literal.len() == 4 && literal != "0000",
        ColumnType::Enum { members } => members.iter().any(|member| member == literal),
        ColumnType::Set { members } => is_plain_set(literal, members),
        ColumnType::Uuid | ColumnType::Inet4 | ColumnType::Inet6 => false,
        _ => true,
    };
    match carried_default(column, ty) {
        Some(TargetDefault::Literal(value)) if certain => Fill::Value(value),
        _ => Fill::Unknown,
    }
}

/// What a NOT NULL column without a default holds: the manual's "implicit default".
fn implicit(ty: &ColumnType, target: TargetType, options: &MappingOptions) -> Fill {
    let value = match ty {
        ColumnType::Integer { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Year => "0".to_owned(),
        ColumnType::Decimal { scale, .. } => match target {
            TargetType::Varchar { .. } if *scale > 0 => format!("0.{}", "0".repeat(usize::from(*scale))),
            _ => "0".to_owned(),
        },
        ColumnType::Char { .. }
        | ColumnType::Varchar { .. }
        | ColumnType::Text { .. }
        | ColumnType::Varbinary { .. }
        | ColumnType::Blob { .. }
        | ColumnType::Set { .. } => String::new(),
        ColumnType::Enum { members } => match members.first() {
            Some(member) => member.clone(),
            None => return Fill::Unknown,
        },
        ColumnType::Time { digits: 0 } => "00:00:00".to_owned(),
        ColumnType::Time { digits } => format!("00:00:00.{}", "0".repeat(usize::from(*digits))),
        ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => return zero_date(options),
        // BINARY's zero bytes and JSON's null have no DEFAULT at the target; the others' values differ by server.
        ColumnType::Binary { .. }
        | ColumnType::Json
        | ColumnType::Geometry
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => return Fill::Unknown,
    };
    Fill::Value(value)
}

fn zero_date(options: &MappingOptions) -> Fill {
    if options.zero_date_is_null { Fill::Null } else { Fill::Unknown }
}

/// Digits of a number without its exponent and without leading zeros.
fn digits(number: &str) -> usize {
    let digits: String =
        number.split(['e', 'E']).next().unwrap_or_default().replace(|char: char| !char.is_ascii_digit(), "");
    digits.trim_start_matches('0').len()
}

/// `hh:mm:ss` with exactly the column's digits behind it.
fn is_plain_time(literal: &str, digits: u8) -> bool {
    let (clock, fraction) = literal.split_once('.').unwrap_or((literal, ""));
    let clock = clock.as_bytes();
    let pair = |at: usize, below: u8| {
        let (tens, units) = (clock[at].wrapping_sub(b'0'), clock[at + 1].wrapping_sub(b'0'));
        tens < 10 && units < 10 && tens * 10 + units < below
    };
    clock.len() == 8
        && clock[2] == b':'
        && clock[5] == b':'
        && pair(0, 100)
        && pair(3, 60)
        && pair(6, 60)
        && fraction.len() == usize::from(digits)
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// Members in their own order, each once: as the server writes the value.
fn is_plain_set(literal: &str, members: &[String]) -> bool {
    let mut rest = members.iter();
    literal.is_empty() || literal.split(',').all(|chosen| rest.any(|member| member == chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{IntegerSize, LobSize, Table, TableName, map_table};

    const INT: ColumnType = ColumnType::Integer { size: IntegerSize::Int, unsigned: false };

    fn text(chars: u32) -> ColumnType {
        ColumnType::Varchar { chars, charset: "utf8mb4".into() }
    }

    fn members() -> Vec<String> {
        vec!["a".into(), "b".into(), "c".into()]
    }

    fn fill(column: Column) -> Fill {
        fill_with(column, &MappingOptions::for_version(3, 5))
    }

    /// Through the mapping, as a job asks for it.
    fn fill_with(column: Column, options: &MappingOptions) -> Fill {
        let columns = vec![Column::new("id", INT), column];
        let name = TableName::new("shop", "t");
        let table = Table {
            name,
            columns,
            key: vec![0],
            primary: true,
            comment: String::new(),
            charset: None,
            indexes: Vec::new(),
        };
        map_table(&table, options).unwrap().target.columns.remove(1).fill
    }

    fn without_default(ty: ColumnType) -> Fill {
        fill(Column::new("c", ty))
    }

    fn with_default(ty: ColumnType, literal: &str) -> Fill {
        fill(Column { default: Some(DefaultValue::Literal(literal.into())), ..Column::new("c", ty) })
    }

    fn value(text: &str) -> Fill {
        Fill::Value(text.into())
    }

    #[test]
    fn a_column_that_may_be_null_is_null_in_rows_that_exist() {
        assert_eq!(fill(Column { nullable: true, ..Column::new("c", INT) }), Fill::Null);
        assert_eq!(fill(Column { nullable: true, ..Column::new("c", ColumnType::Json) }), Fill::Null);
    }

    #[test]
    fn a_column_without_a_default_holds_its_types_zero() {
        let lob = |size| ColumnType::Blob { size };
        for (ty, expected) in [
            (INT, value("0")),
            (ColumnType::Decimal { precision: 10, scale: 2 }, value("0")),
            (ColumnType::Decimal { precision: 60, scale: 2 }, value("0.00")),
            (ColumnType::Double, value("0")),
            (ColumnType::Bit { bits: 1 }, value("0")),
            (text(9), value("")),
            (lob(LobSize::Plain), value("")),
            (ColumnType::Enum { members: members() }, value("a")),
            (ColumnType::Set { members: members() }, value("")),
            (ColumnType::Time { digits: 0 }, value("00:00:00")),
            (ColumnType::Time { digits: 3 }, value("00:00:00.000")),
            (ColumnType::Year, value("0")),
            (ColumnType::Date, Fill::Null),
            (ColumnType::DateTime { digits: 0 }, Fill::Null),
            (ColumnType::Binary { bytes: 4 }, Fill::Unknown),
            (ColumnType::Json, Fill::Unknown),
            (ColumnType::Uuid, Fill::Unknown),
        ] {
            assert_eq!(without_default(ty.clone()), expected, "{ty:?}");
        }
    }

    #[test]
    fn a_zero_date_is_known_only_where_it_becomes_null() {
        let options = MappingOptions { zero_date_is_null: false, ..MappingOptions::for_version(3, 5) };
        assert_eq!(fill_with(Column::new("c", ColumnType::Date), &options), Fill::Unknown);
        assert_eq!(with_default(ColumnType::Date, "0000-00-00"), Fill::Null);
        assert_eq!(with_default(ColumnType::Date, "2020-01-02"), value("2020-01-02"));
    }

    #[test]
    fn a_default_counts_if_the_source_writes_it_as_it_was_typed() {
        let set = ColumnType::Set { members: members() };
        let time = |digits| ColumnType::Time { digits };
        for (ty, literal, known) in [
            (INT, "7", true),
            (INT, "1.5", false),
            (text(9), "it's", true),
            (text(9), "a?", false),
            (ColumnType::Char { chars: 9, charset: "latin1".into() }, "a ", false),
            (ColumnType::Decimal { precision: 10, scale: 2 }, "1.5", true),
            (ColumnType::Decimal { precision: 60, scale: 2 }, "1.5", false),
            (ColumnType::Float, "0.5", true),
            (ColumnType::Float, "0.12345678", false),
            (ColumnType::Enum { members: members() }, "b", true),
            (ColumnType::Enum { members: members() }, "B", false),
            (set.clone(), "a,c", true),
            (set.clone(), "c,a", false),
            (set, "", true),
            (time(0), "10:00:00", true),
            (time(0), "10:00", false),
            (time(2), "10:00:00", false),
            (time(2), "10:00:00.50", true),
            (time(0), "10:61:00", false),
            (ColumnType::Year, "1999", true),
            (ColumnType::Year, "99", false),
            (ColumnType::Timestamp { digits: 0 }, "2020-01-01 00:00:00", false),
            (ColumnType::Varbinary { bytes: 4 }, "abc", false),
        ] {
            let expected = if known { value(literal) } else { Fill::Unknown };
            assert_eq!(with_default(ty.clone(), literal), expected, "{ty:?} {literal}");
        }
    }

    #[test]
    fn what_is_computed_row_by_row_is_not_known() {
        let with =
            |default| fill(Column { default: Some(default), ..Column::new("c", ColumnType::DateTime { digits: 0 }) });
        assert_eq!(with(DefaultValue::CurrentTimestamp), Fill::Unknown);
        assert_eq!(with(DefaultValue::Expression("uuid()".into())), Fill::Unknown);
        let generated = Column { generated: Generated::Stored, nullable: true, ..Column::new("c", INT) };
        assert_eq!(fill(generated), Fill::Unknown);
    }
}
