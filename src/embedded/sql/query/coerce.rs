//! From one kind of value to another, and what two kinds have in common.

use super::super::builtin::{date_text, datetime_text};
use super::{Bound, Kind};
use crate::embedded::store::quote_text;

/// The kind both can be compared in.
pub(super) fn comparable(left: Kind, right: Kind) -> Kind {
    match (left, right) {
        (Kind::Date | Kind::DateTime, Kind::Text) => Kind::DateTime,
        (Kind::Text, Kind::Date | Kind::DateTime) => Kind::DateTime,
        (number, Kind::Text) | (Kind::Text, number) if number.is_number() => Kind::Double,
        _ => common(left, right),
    }
}

/// The kind that can hold both: of CASE's branches, of UNION's sides.
pub(super) fn common(left: Kind, right: Kind) -> Kind {
    match (left, right) {
        (a, b) if a == b => a,
        (Kind::Null, other) | (other, Kind::Null) => other,
        (Kind::Bool, Kind::Int(width)) | (Kind::Int(width), Kind::Bool) => Kind::Int(width),
        (Kind::Int(a), Kind::Int(b)) => Kind::Int(a.max(b)),
        (a, b) if (a.is_real() || b.is_real()) && a.is_number() && b.is_number() => Kind::Double,
        (Kind::Decimal(a), Kind::Decimal(b)) => Kind::Decimal(a.max(b)),
        (Kind::Decimal(scale), other) | (other, Kind::Decimal(scale)) if other.is_number() => Kind::Decimal(scale),
        (a, b) if a.is_number() && b.is_number() => Kind::LargeInt,
        (Kind::Date, Kind::DateTime) | (Kind::DateTime, Kind::Date) => Kind::DateTime,
        (Kind::Bytes, Kind::Text) | (Kind::Text, Kind::Bytes) => Kind::Bytes,
        _ => Kind::Text,
    }
}

/// Two operands of a comparison in one kind; a string literal takes the other side's.
pub(super) fn compared(left: &Bound, right: &Bound) -> (String, String, Kind) {
    if let Some(fitted) = fit_literal(right, left.kind) {
        return (left.sql.clone(), fitted, left.kind);
    }
    if let Some(fitted) = fit_literal(left, right.kind) {
        return (fitted, right.sql.clone(), right.kind);
    }
    let kind = comparable(left.kind, right.kind);
    (coerce(left, kind), coerce(right, kind), kind)
}

/// A string literal as a value of `kind`, when its text is one exactly.
pub(super) fn fit_literal(literal: &Bound, kind: Kind) -> Option<String> {
    let text = literal.literal.as_ref()?;
    match kind {
        Kind::Int(_) | Kind::Bool => text.trim().parse::<i64>().ok().map(|number| number.to_string()),
        Kind::Date => date_text(text).filter(|_| text.trim().len() <= 10).map(|text| quote_text(&text)),
        Kind::DateTime => datetime_text(text).map(|text| quote_text(&text)),
        Kind::LargeInt | Kind::Decimal(_) => {
            text.trim().parse::<bigdecimal::BigDecimal>().ok().map(|number| quote_text(&number.to_plain_string()))
        }
        Kind::Bytes => Some(format!("CAST({} AS BLOB)", quote_text(text))),
        _ => None,
    }
}

/// `value` as `to`. A text that is no such value gives NULL, as CAST does.
pub(super) fn coerce(value: &Bound, to: Kind) -> String {
    let sql = &value.sql;
    let from = value.kind;
    if from == to || from == Kind::Null {
        return sql.clone();
    }
    match (from, to) {
        (_, Kind::Null) => sql.clone(),
        (Kind::Bool | Kind::Int(_), Kind::Bool | Kind::Int(_)) if to != Kind::Bool => sql.clone(),
        (from, Kind::Bool) if from.is_real() || from.is_integer() => format!("({sql} <> 0)"),
        (_, Kind::Bool) => format!("sr_to_bool({sql})"),
        (Kind::Float | Kind::Double, Kind::Float | Kind::Double) => sql.clone(),
        (_, Kind::Int(width)) => format!("sr_to_int({sql}, {width})"),
        (Kind::Bool | Kind::Int(_), Kind::LargeInt) => format!("CAST({sql} AS TEXT)"),
        (_, Kind::LargeInt) => format!("sr_to_decimal({sql}, 39, 0)"),
        (_, Kind::Decimal(scale)) => format!("sr_to_decimal({sql}, 76, {scale})"),
        (from, Kind::Float | Kind::Double) if from.is_number() => format!("CAST({sql} AS REAL)"),
        (_, Kind::Float | Kind::Double) => format!("sr_to_double({sql})"),
        (Kind::DateTime, Kind::Date) => format!("substr({sql}, 1, 10)"),
        (_, Kind::Date) => format!("sr_to_date({sql})"),
        (Kind::Date, Kind::DateTime) => format!("({sql} || ' 00:00:00')"),
        (_, Kind::DateTime) => format!("sr_to_datetime({sql})"),
        (_, Kind::Bytes) => format!("CAST({sql} AS BLOB)"),
        (_, Kind::Json) => format!("sr_parse_json({sql})"),
        (Kind::Float, Kind::Text) => format!("sr_float_text({sql})"),
        (Kind::Double, Kind::Text) => format!("sr_double_text({sql})"),
        (Kind::Bool | Kind::Int(_) | Kind::Bytes, Kind::Text) => format!("CAST({sql} AS TEXT)"),
        (_, Kind::Text | Kind::Array) => sql.clone(),
    }
}

/// With the collation where the kind needs one, for ORDER BY, MIN, MAX and comparisons.
pub(super) fn collated(sql: &str, kind: Kind) -> String {
    if kind.is_exact_text() { format!("{sql} COLLATE numeric_text") } else { sql.to_owned() }
}
