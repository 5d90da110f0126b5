//! JSON values: numbers keep every digit, strings lose their escapes, nested values become minified text.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Bad, Cell, all_digits, float, from_text, limits, out_of_range, plain_integer};
use crate::embedded::types::ColumnType;

/// One JSON value. The error is the text StarRocks writes into its error log.
pub(crate) fn from_json<'a>(ty: &ColumnType, name: &str, raw: &'a str) -> Result<Cell<'a>, Problem> {
    let raw = raw.trim_ascii();
    let kind = JsonKind::of(raw);
    if kind == JsonKind::Null {
        return Ok(Cell::Null);
    }
    match ty {
        ColumnType::TinyInt
        | ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Float
        | ColumnType::Double => json_number(ty, name, raw, kind),
        ColumnType::Json => {
            canonical_json(raw.as_bytes()).map(Cell::text).ok_or_else(|| unparsable("value as json type", name))
        }
        ColumnType::Array(element) => array(element, name, raw)
            .map(Cell::text)
            .map_err(|_| Problem::invalid(unparsable_text("value as array", name))),
        _ => {
            let text = json_text(raw, kind, name)?;
            let converted = match text {
                Cow::Borrowed(text) => from_text(ty, name, text.as_bytes()),
                Cow::Owned(text) => from_text(ty, name, text.as_bytes()).map(Cell::into_owned),
            };
            converted.map_err(|bad| match bad {
                Bad::Sink(text) => Problem { text, sink: true },
                Bad::Invalid => Problem::invalid(out_of_range(ty, name, &json_text_lossy(raw))),
            })
        }
    }
}

/// A value that was refused, with the line for the error log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) text: String,
    /// Refused by the table sink: filtered whatever `strict_mode` says.
    pub(crate) sink: bool,
}

impl Problem {
    fn invalid(text: String) -> Problem {
        Problem { text, sink: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    Null,
    Boolean,
    Number,
    String,
    Nested,
}

impl JsonKind {
    fn of(raw: &str) -> JsonKind {
        match raw.as_bytes().first() {
            Some(b'"') => JsonKind::String,
            Some(b'{' | b'[') => JsonKind::Nested,
            Some(b't' | b'f') => JsonKind::Boolean,
            Some(b'n') => JsonKind::Null,
            _ => JsonKind::Number,
        }
    }
}

fn json_number<'a>(ty: &ColumnType, name: &str, raw: &'a str, kind: JsonKind) -> Result<Cell<'a>, Problem> {
    let text = match kind {
        JsonKind::Number => Cow::Borrowed(raw),
        JsonKind::String => json_text(raw, kind, name)?,
        _ => {
            return Err(Problem::invalid(format!("Unsupported value type. Numeric type is required. column={name}")));
        }
    };
    let overflow = || Problem::invalid(format!("Value is overflow. column={name}, value={text}"));
    let no_number = || Problem::invalid(format!("Unable to cast string value to BIGINT. value={text}, column={name}"));
    match ty {
        ColumnType::Double => {
            let number: f64 = float(text.as_bytes()).ok_or_else(no_number)?;
            if number.is_finite() { Ok(Cell::Real(number)) } else { Err(overflow()) }
        }
        ColumnType::Float => {
            let number: f32 = float(text.as_bytes()).ok_or_else(no_number)?;
            if number.is_finite() { Ok(Cell::Real(f64::from(number))) } else { Err(overflow()) }
        }
        _ => {
            let (low, high) = limits(ty);
            let trimmed = text.as_bytes().trim_ascii();
            if let Some(number) = plain_integer(trimmed) {
                return if (low..=high).contains(&number) { Ok(Cell::Int(number)) } else { Err(overflow()) };
            }
            if all_digits(trimmed) {
                return Err(overflow());
            }
            // Fractions are cut off, through a double as in the original.
            let number = float::<f64>(trimmed).ok_or_else(no_number)?.trunc();
            // -2^63 is exact as a double, 2^63 - 1 is not: the upper bound is open.
            if number >= low as f64 && number < high as f64 + 1.0 {
                Ok(Cell::Int(number as i64))
            } else {
                Err(overflow())
            }
        }
    }
}

/// What a string-like column sees of a JSON value: the string itself, a number's own digits, `1` or `0` for
/// a boolean, minified text for an object or array.
fn json_text<'a>(raw: &'a str, kind: JsonKind, name: &str) -> Result<Cow<'a, str>, Problem> {
    match kind {
        JsonKind::Number | JsonKind::Null => Ok(Cow::Borrowed(raw)),
        JsonKind::Boolean => Ok(Cow::Borrowed(if raw == "true" { "1" } else { "0" })),
        JsonKind::String => json_string(raw).ok_or_else(|| unparsable("value as string", name)),
        JsonKind::Nested => minified(raw).map(Cow::Owned).ok_or_else(|| unparsable("value as string", name)),
    }
}

fn json_text_lossy(raw: &str) -> Cow<'_, str> {
    json_string(raw).unwrap_or(Cow::Borrowed(raw))
}

/// The content of a JSON string literal, borrowed when it has no escapes.
pub(crate) fn json_string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

fn unparsable(what: &str, name: &str) -> Problem {
    Problem::invalid(unparsable_text(what, name))
}

fn unparsable_text(what: &str, name: &str) -> String {
    format!("Failed to parse {what}, column={name}")
}

/// The same value without white space between its tokens.
fn minified(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in raw.chars() {
        if in_string {
            out.push(character);
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
        } else if !character.is_ascii_whitespace() {
            in_string = character == '"';
            out.push(character);
        }
    }
    (!in_string).then_some(out)
}

/// One spelling a JSON value: `{"a": 1, "b": [2, 3]}`, keys in their order, numbers with all their digits.
pub(super) fn canonical_json(text: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut writer = serde_json::Serializer::with_formatter(&mut out, SpacedJson);
    serde::Serialize::serialize(&value, &mut writer).ok()?;
    Some(out)
}

/// StarRocks prints a blank behind each comma and colon.
struct SpacedJson;

impl serde_json::ser::Formatter for SpacedJson {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// `[1,2,null]`, each element in its own canonical form. An element that does not fit becomes null, as in the
/// original, which never asks for strictness inside an array.
pub(super) fn array(element: &ColumnType, name: &str, raw: &str) -> Result<Vec<u8>, ()> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| ())?;
    let mut out = vec![b'['];
    for (at, raw) in elements.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let cell = from_json(element, name, raw.get()).unwrap_or(Cell::Null);
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::Real(value) if matches!(element, ColumnType::Float) => push_float(&mut out, value as f32),
            Cell::Real(value) => push_float(&mut out, value),
            Cell::Text(text) if matches!(element, ColumnType::Array(_) | ColumnType::Json) => {
                out.extend_from_slice(&text);
            }
            Cell::Text(text) if matches!(element, ColumnType::LargeInt | ColumnType::Decimal { .. }) => {
                out.extend_from_slice(&text);
            }
            Cell::Text(text) | Cell::Blob(text) => {
                let text = String::from_utf8_lossy(&text);
                out.extend_from_slice(&serde_json::to_vec(&text).map_err(|_| ())?);
            }
        }
    }
    out.push(b']');
    Ok(out)
}

/// The shortest digits that read back to the same bits; whole numbers without `.0`.
fn push_float<F: ryu::Float>(out: &mut Vec<u8>, value: F) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::value::from_csv;

    fn text(text: &str) -> Cell<'static> {
        Cell::text(text)
    }

    fn csv<'a>(ty: &ColumnType, field: &'a str) -> Result<Cell<'a>, Bad> {
        from_csv(ty, "c", field.as_bytes(), true)
    }

    #[test]
    fn json_numbers_keep_every_digit() {
        let decimal = ColumnType::Decimal { precision: 38, scale: 4 };
        let digits = "1234567890123456789012345678901234.5678";
        assert_eq!(from_json(&decimal, "c", digits), Ok(text(digits)));
        assert_eq!(from_json(&decimal, "c", &format!("\"{digits}\"")), Ok(text(digits)));
        assert_eq!(from_json(&ColumnType::BigInt, "c", "9007199254740993"), Ok(Cell::Int(9_007_199_254_740_993)));
        assert_eq!(from_json(&ColumnType::Int, "c", "3.7"), Ok(Cell::Int(3)));
        assert_eq!(from_json(&ColumnType::Int, "c", "\"12\""), Ok(Cell::Int(12)));
        let overflow = from_json(&ColumnType::TinyInt, "c", "300").unwrap_err();
        assert_eq!(overflow.text, "Value is overflow. column=c, value=300");
    }

    #[test]
    fn json_booleans_are_refused_by_integers_and_become_digits_in_strings() {
        let refused = from_json(&ColumnType::Int, "c", "true").unwrap_err();
        assert_eq!(refused.text, "Unsupported value type. Numeric type is required. column=c");
        assert_eq!(from_json(&ColumnType::Boolean, "c", "true"), Ok(Cell::Int(1)));
        assert_eq!(from_json(&ColumnType::Varchar(10), "c", "false"), Ok(text("0")));
        assert_eq!(from_json(&ColumnType::Varchar(30), "c", "{ \"a b\" : [1, 2] }"), Ok(text("{\"a b\":[1,2]}")));
        assert_eq!(from_json(&ColumnType::Varchar(30), "c", "\"a\\u00e9\\n\""), Ok(text("aé\n")));
    }

    #[test]
    fn a_json_column_takes_any_value_and_keeps_a_quoted_one_a_string() {
        let spaced = Ok(text("{\"b\": 1, \"a\": [1.50, null]}"));
        assert_eq!(from_json(&ColumnType::Json, "c", "{\"b\":1,\"a\":[1.50,null]}"), spaced);
        assert_eq!(from_json(&ColumnType::Json, "c", "\"{}\""), Ok(text("\"{}\"")));
        assert_eq!(csv(&ColumnType::Json, "{"), Err(Bad::Invalid));
    }
}
