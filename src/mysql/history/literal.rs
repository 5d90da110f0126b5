//! A DEFAULT's constant as the server stores it, and the catalogue shows it: `1` of a DECIMAL(5,2) is `1.00`.
//!
//! What is written in a form whose stored one is not certain is taken for an expression: it is then carried nowhere, which
//! is no worse than not knowing it.

use crate::schema::{ColumnType, DefaultValue};

pub(super) fn as_stored(ty: &ColumnType, text: &str) -> DefaultValue {
    match stored(ty, text) {
        Some(stored) => DefaultValue::Literal(stored),
        None => DefaultValue::Expression(text.to_owned()),
    }
}

fn stored(ty: &ColumnType, text: &str) -> Option<String> {
    match ty {
        ColumnType::Integer { .. } => match text.trim().parse::<i128>() {
            Ok(number) => Some(number.to_string()),
            Err(_) => decimal(text.trim(), 0),
        },
        ColumnType::Decimal { scale, .. } => decimal(text.trim(), usize::from(*scale)),
        ColumnType::Float => {
            text.trim().parse::<f32>().ok().and_then(|number| plain(f64::from(number), number.to_string()))
        }
        ColumnType::Double => text.trim().parse::<f64>().ok().and_then(|number| plain(number, number.to_string())),
        ColumnType::Date => {
            date(text).then(|| text.to_owned()).or_else(|| (text == "0").then(|| "0000-00-00".to_owned()))
        }
        ColumnType::DateTime { digits } | ColumnType::Timestamp { digits } => moment(text, usize::from(*digits)),
        ColumnType::Year => match text.len() {
            4 if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(text.to_owned()),
            _ => None,
        },
        ColumnType::Time { digits } => time(text).then(|| fraction(text, usize::from(*digits)))?,
        ColumnType::Set { members } => {
            let named: Vec<&str> = text.split(',').filter(|part| !part.is_empty()).collect();
            let known = named.iter().all(|name| members.iter().any(|member| member == name));
            let ordered = members.iter().map(String::as_str).filter(|member| named.contains(member));
            known.then(|| ordered.collect::<Vec<_>>().join(","))
        }
        ColumnType::Enum { members } => members.iter().any(|member| member == text).then(|| text.to_owned()),
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => None,
        _ => Some(text.to_owned()),
    }
}

/// Rounded to `scale` digits behind the point, half away from zero.
fn decimal(text: &str, scale: usize) -> Option<String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let valid = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !valid(whole) || !valid(part) || whole.len() + part.len() == 0 || whole.len() + scale > 65 {
        return None;
    }
    let mut kept: Vec<u8> = whole.bytes().chain(part.bytes().chain(std::iter::repeat(b'0')).take(scale)).collect();
    if part.as_bytes().get(scale).is_some_and(|&digit| digit >= b'5') {
        let mut carry = true;
        for digit in kept.iter_mut().rev() {
            carry = *digit == b'9';
            *digit = if carry { b'0' } else { *digit + 1 };
            if !carry {
                break;
            }
        }
        if carry {
            kept.insert(0, b'1');
        }
    }
    let all: String = kept.into_iter().map(char::from).collect();
    let (whole, part) = all.split_at(all.len() - scale);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let zero = whole == "0" && part.bytes().all(|digit| digit == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

/// A number's text where no exponent is in question.
fn plain(number: f64, text: String) -> Option<String> {
    (number == 0.0 || (1e-4..1e15).contains(&number.abs())).then_some(text)
}

fn shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'9' => byte.is_ascii_digit(),
            shape => byte == shape,
        })
}

fn date(text: &str) -> bool {
    shaped(text, "9999-99-99")
}

fn time(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = text.split('.').next().unwrap_or_default();
    shaped(whole, "99:99:99") || shaped(whole, "999:99:99")
}

fn moment(text: &str, digits: usize) -> Option<String> {
    let text = match text {
        "0" => "0000-00-00 00:00:00".to_owned(),
        text if date(text) => format!("{text} 00:00:00"),
        text => text.replacen('T', " ", 1),
    };
    shaped(text.split('.').next().unwrap_or_default(), "9999-99-99 99:99:99").then(|| fraction(&text, digits))?
}

/// With so many digits of a second; `None` if some are lost.
fn fraction(text: &str, digits: usize) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let (kept, rest) = part.split_at_checked(digits).unwrap_or((part, ""));
    let valid = kept.bytes().all(|byte| byte.is_ascii_digit()) && rest.bytes().all(|byte| byte == b'0');
    valid.then(|| if digits == 0 { whole.to_owned() } else { format!("{whole}.{kept:0<digits$}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::IntegerSize;

    #[test]
    fn constants_get_their_types_form() {
        let integer = ColumnType::Integer { size: IntegerSize::Int, unsigned: false };
        let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
        let set = ColumnType::Set { members: vec!["a".into(), "b".into()] };
        for (ty, written, kept) in [
            (&integer, "007", Some("7")),
            (&integer, "1.5", Some("2")),
            (&integer, "x", None),
            (&decimal, "1", Some("1.00")),
            (&decimal, "-0.005", Some("-0.01")),
            (&decimal, "-0.001", Some("0.00")),
            (&decimal, "99.995", Some("100.00")),
            (&decimal, ".5", Some("0.50")),
            (&decimal, "1e2", None),
            (&ColumnType::Double, "1.50", Some("1.5")),
            (&ColumnType::Double, "1e30", None),
            (&ColumnType::Date, "2024-01-31", Some("2024-01-31")),
            (&ColumnType::Date, "24-1-31", None),
            (&ColumnType::DateTime { digits: 3 }, "2024-01-31", Some("2024-01-31 00:00:00.000")),
            (&ColumnType::DateTime { digits: 0 }, "2024-01-31T10:20:30.0", Some("2024-01-31 10:20:30")),
            (&ColumnType::DateTime { digits: 0 }, "2024-01-31 10:20:30.5", None),
            (&ColumnType::Time { digits: 1 }, "-10:20:30", Some("-10:20:30.0")),
            (&ColumnType::Year, "24", None),
            (&set, "b,a", Some("a,b")),
            (&set, "", Some("")),
        ] {
            assert_eq!(stored(ty, written).as_deref(), kept, "{ty:?} {written}");
        }
    }
}
