//! Which of MySQL's DEFAULTs StarRocks takes, and how they are written there.

use super::charset::may_be_lossy;
use super::{Column, ColumnType, DefaultValue, TargetDefault, TargetType};

/// The column's default for a target column of type `ty`; `None` where there is none or it cannot be carried:
/// expressions, zero dates, values of VARBINARY, JSON and ARRAY columns, what does not fit the type, and moments: in which
/// zone the catalogue shows a TIMESTAMP's default depends on the server (MySQL: as it was written, MariaDB: the session's);
/// and texts of which the catalogue may have lost characters.
pub(super) fn carried_default(column: &Column, ty: TargetType) -> Option<TargetDefault> {
    match column.default.as_ref()? {
        DefaultValue::CurrentTimestamp => (ty == TargetType::DateTime).then_some(TargetDefault::CurrentTimestamp),
        DefaultValue::Expression(_) => None,
        DefaultValue::Literal(_) if matches!(column.ty, ColumnType::Timestamp { .. }) => None,
        DefaultValue::Literal(literal) if text_may_be_lossy(&column.ty, literal) => None,
        DefaultValue::Literal(literal) => {
            let literal = match column.ty {
                ColumnType::Bit { .. } => bit_number(literal)?,
                _ => literal.clone(),
            };
            carried_literal(&literal, ty).map(TargetDefault::Literal)
        }
    }
}

fn text_may_be_lossy(ty: &ColumnType, literal: &str) -> bool {
    match ty {
        ColumnType::Char { charset, .. } | ColumnType::Varchar { charset, .. } | ColumnType::Text { charset, .. } => {
            may_be_lossy(charset, literal)
        }
        _ => false,
    }
}

fn carried_literal(literal: &str, ty: TargetType) -> Option<String> {
    let integer = |min: i128, max: i128| {
        let number: i128 = literal.trim().parse().ok()?;
        (min..=max).contains(&number).then(|| number.to_string())
    };
    match ty {
        TargetType::Boolean => integer(0, 1),
        TargetType::TinyInt => integer(i8::MIN.into(), i8::MAX.into()),
        TargetType::SmallInt => integer(i16::MIN.into(), i16::MAX.into()),
        TargetType::Int => integer(i32::MIN.into(), i32::MAX.into()),
        TargetType::BigInt => integer(i64::MIN.into(), i64::MAX.into()),
        TargetType::LargeInt => integer(i128::MIN + 1, i128::MAX),
        TargetType::Decimal { precision, scale } => decimal(literal, precision, scale),
        TargetType::Float | TargetType::Double => {
            literal.parse::<f64>().is_ok_and(f64::is_finite).then(|| literal.to_owned())
        }
        TargetType::Date => date(literal),
        TargetType::DateTime => date_time(literal),
        TargetType::Varchar { bytes } => (literal.len() <= bytes as usize).then(|| literal.to_owned()),
        TargetType::Varbinary { .. } | TargetType::Json | TargetType::FloatArray => None,
    }
}

/// `b'101'` as the catalogue writes the default of a BIT column; a plain number is taken too.
fn bit_number(literal: &str) -> Option<String> {
    let Some(digits) = literal.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\'')) else {
        return Some(literal.to_owned());
    };
    u64::from_str_radix(digits, 2).ok().map(|number| number.to_string())
}

fn decimal(literal: &str, precision: u8, scale: u8) -> Option<String> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    let whole = whole.trim_start_matches('0');
    let fits = whole.len() <= usize::from(precision - scale.min(precision)) && fraction.len() <= usize::from(scale);
    (numeric && fits).then(|| literal.to_owned())
}

/// `0000-00-00`, with or without a time, and dates whose month or day is zero: dates that StarRocks has not.
pub(super) fn is_zero_date(literal: &str) -> bool {
    let part = |range| literal.get(range).is_some_and(|digits: &str| digits.bytes().all(|byte| byte == b'0'));
    part(5..7) || part(8..10)
}

fn date(literal: &str) -> Option<String> {
    let day = literal.get(..10)?;
    day.parse::<jiff::civil::Date>().is_ok().then(|| day.to_owned())
}

/// A fraction other than zero is not carried: not every version takes one in a DEFAULT.
fn date_time(literal: &str) -> Option<String> {
    let day = date(literal)?;
    let time = match literal.get(10..)?.trim_start() {
        "" => "00:00:00",
        time => time,
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let exact = fraction.bytes().all(|byte| byte == b'0') && time.len() == 8;
    (exact && time.parse::<jiff::civil::Time>().is_ok()).then(|| format!("{day} {time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_must_fit_and_lose_their_padding() {
        assert_eq!(carried_literal("0000", TargetType::SmallInt).as_deref(), Some("0"));
        assert_eq!(carried_literal("-7", TargetType::TinyInt).as_deref(), Some("-7"));
        assert_eq!(carried_literal("18446744073709551615", TargetType::BigInt), None);
        assert_eq!(
            carried_literal("18446744073709551615", TargetType::LargeInt).as_deref(),
            Some("18446744073709551615")
        );
    }

    #[test]
    fn bit_literals_become_numbers() {
        assert_eq!(bit_number("b'101'").as_deref(), Some("5"));
        assert_eq!(bit_number("b'2'"), None);
    }

    #[test]
    fn zero_dates_are_dropped_and_real_ones_kept() {
        assert!(is_zero_date("0000-00-00"));
        assert!(is_zero_date("2020-00-10 00:00:00"));
        assert!(!is_zero_date("2020-01-01"));
        assert_eq!(carried_literal("0000-00-00 00:00:00", TargetType::DateTime), None);
        assert_eq!(
            carried_literal("2020-01-01 00:00:00.000000", TargetType::DateTime).as_deref(),
            Some("2020-01-01 00:00:00")
        );
        assert_eq!(carried_literal("2020-01-01 00:00:00.5", TargetType::DateTime), None);
        assert_eq!(carried_literal("2020-02-30", TargetType::Date), None);
    }

    #[test]
    fn a_moment_is_no_default() {
        let mut column = Column::new("at", ColumnType::DateTime { digits: 0 });
        column.default = Some(DefaultValue::Literal("2020-01-01 00:00:00".into()));
        assert!(carried_default(&column, TargetType::DateTime).is_some());
        column.ty = ColumnType::Timestamp { digits: 0 };
        assert_eq!(carried_default(&column, TargetType::DateTime), None);
    }

    #[test]
    fn a_text_that_the_catalogue_may_show_wrongly_is_no_default() {
        for (charset, carried) in [("utf8mb4", false), ("latin1", true)] {
            let mut column = Column::new("c", ColumnType::Varchar { chars: 9, charset: charset.into() });
            column.default = Some(DefaultValue::Literal("a?".into()));
            assert_eq!(carried_default(&column, TargetType::Varchar { bytes: 9 }).is_some(), carried);
        }
    }

    #[test]
    fn decimals_must_fit_their_digits() {
        let ty = TargetType::Decimal { precision: 5, scale: 2 };
        assert_eq!(carried_literal("-123.45", ty).as_deref(), Some("-123.45"));
        assert_eq!(carried_literal("1234.5", ty), None);
        assert_eq!(carried_literal("1e3", ty), None);
    }

    #[test]
    fn texts_must_fit_in_bytes() {
        assert_eq!(carried_literal("né", TargetType::Varchar { bytes: 3 }).as_deref(), Some("né"));
        assert_eq!(carried_literal("né", TargetType::Varchar { bytes: 2 }), None);
        assert_eq!(carried_literal("{}", TargetType::Json), None);
    }
}
