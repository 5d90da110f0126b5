//! JSON documents, by their structure.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::double;

/// Writes a document's canonical text: members by name, no blanks, numbers by value. Of FLOATs and DOUBLEs `digits` significant
/// digits count; `None`: all bits.
pub(super) fn write(json: &Json, digits: Option<u8>, out: &mut String) {
    match json {
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Json::String(name.clone()));
                write(value, digits, out);
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, digits, out);
            }
            out.push(']');
        }
        Json::Number(number) => out.push_str(&json_number(&number.to_string(), digits)),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Integers of 64 bits by value, everything else as a DOUBLE: what both servers can hold in a JSON value.
fn json_number(text: &str, digits: Option<u8>) -> String {
    if let Ok(integer) = text.parse::<i128>()
        && (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer)
    {
        return integer.to_string();
    }
    match text.parse::<f64>() {
        // Up to 2^53 a whole DOUBLE and an integer cannot be told apart by value.
        Ok(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => (value as i64).to_string(),
        Ok(value) => double(value, digits),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Meaning;
    use super::super::tests::same;

    #[test]
    fn json_is_equal_by_structure() {
        assert!(same(Meaning::Json, r#"{"a": 1.0, "b": [1, 2]}"#, r#"{"b":[1,2],"a":1}"#));
        assert!(!same(Meaning::Json, "[1, 2]", "[2, 1]"));
        assert!(!same(Meaning::Json, "18446744073709551615", "18446744073709551614"));
        assert!(!same(Meaning::Json, "\"1\"", "1"));
        assert!(same(Meaning::Json, r#""é""#, r#""\u00e9""#));
    }
}
