//! A column's DEFAULT, from what the two servers' catalogues say in their own ways.
//!
//! MySQL gives a constant unquoted and marks expressions with `DEFAULT_GENERATED` in `EXTRA` (before 8.0.13 there
//! were none but CURRENT_TIMESTAMP). MariaDB since 10.2.7 gives SQL text: constants quoted, numbers and expressions not,
//! `NULL` as a word.

use super::column_type::unquote;
use crate::mysql::connect::{Flavor, ServerInfo};
use crate::schema::{ColumnType, DefaultValue};

/// `text` is `COLUMN_DEFAULT`, `extra` is `EXTRA`. `None`: no default, or NULL.
pub(super) fn parse(info: &ServerInfo, ty: &ColumnType, text: Option<&str>, extra: &str) -> Option<DefaultValue> {
    let text = text?;
    let value = if info.flavor == Flavor::Mariadb && info.version >= (10, 2, 7) {
        sql_text(text)?
    } else if is_current_timestamp(text) && time(ty) {
        DefaultValue::CurrentTimestamp
    } else if extra.to_ascii_uppercase().contains("DEFAULT_GENERATED") {
        DefaultValue::Expression(text.to_owned())
    } else {
        DefaultValue::Literal(text.to_owned())
    };
    Some(of_type(value, ty))
}

/// What the value's column makes of it.
pub(in crate::mysql) fn of_type(value: DefaultValue, ty: &ColumnType) -> DefaultValue {
    match (value, ty) {
        (DefaultValue::Literal(text) | DefaultValue::Expression(text), ColumnType::Bit { .. }) => bits(text),
        // Shown as 0x61, and not always: it cannot be told from the same text.
        (
            DefaultValue::Literal(text),
            ColumnType::Binary { .. } | ColumnType::Varbinary { .. } | ColumnType::Blob { .. },
        ) => DefaultValue::Expression(text),
        // ZEROFILL shows in the default too.
        (DefaultValue::Literal(text), ColumnType::Integer { .. }) => {
            DefaultValue::Literal(text.parse::<i128>().map_or(text, |number| number.to_string()))
        }
        (value, _) => value,
    }
}

fn sql_text(text: &str) -> Option<DefaultValue> {
    if text.eq_ignore_ascii_case("NULL") {
        return None;
    }
    if let Some((value, "")) = unquote(text) {
        return Some(DefaultValue::Literal(value));
    }
    if is_current_timestamp(text) {
        return Some(DefaultValue::CurrentTimestamp);
    }
    let number = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'))
        && text.parse::<f64>().is_ok();
    Some(if number { DefaultValue::Literal(text.to_owned()) } else { DefaultValue::Expression(text.to_owned()) })
}

fn time(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::DateTime { .. } | ColumnType::Timestamp { .. })
}

/// `CURRENT_TIMESTAMP`, `current_timestamp()`, `CURRENT_TIMESTAMP(6)`
fn is_current_timestamp(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("current_timestamp") else { return false };
    rest.is_empty()
        || rest
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `b'101'` as the number 5; anything else stays an expression.
fn bits(text: String) -> DefaultValue {
    let inside = text.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\''));
    match inside.map(|digits| u64::from_str_radix(digits, 2)) {
        Some(Ok(number)) => DefaultValue::Literal(number.to_string()),
        _ if text.parse::<u64>().is_ok() => DefaultValue::Literal(text),
        _ => DefaultValue::Expression(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_text_is_told_apart() {
        let literal = |text: &str| Some(DefaultValue::Literal(text.to_owned()));
        assert_eq!(sql_text("NULL"), None);
        assert_eq!(sql_text("'NULL'"), literal("NULL"));
        assert_eq!(sql_text("'it''s'"), literal("it's"));
        assert_eq!(sql_text("-1.50"), literal("-1.50"));
        assert_eq!(sql_text("current_timestamp(3)"), Some(DefaultValue::CurrentTimestamp));
        assert_eq!(sql_text("uuid()"), Some(DefaultValue::Expression("uuid()".to_owned())));
        assert_eq!(sql_text("'a' + 'b'"), Some(DefaultValue::Expression("'a' + 'b'".to_owned())));
        assert_eq!(sql_text("e"), Some(DefaultValue::Expression("e".to_owned())));
    }

    #[test]
    fn bits_become_their_number() {
        assert_eq!(bits("b'101'".to_owned()), DefaultValue::Literal("5".to_owned()));
        assert_eq!(bits(format!("b'{}'", "1".repeat(64))), DefaultValue::Literal(u64::MAX.to_string()));
    }
}
