//! JSON paths: `$.a.b[0]`, with or without the `$`.

use rusqlite::types::Value;
use rusqlite::{Connection, Result};
use serde_json::value::RawValue;

use super::super::rebuild::owned;
use super::{failed, strict, text};
use crate::embedded::types::ColumnType;
use crate::embedded::value;

pub(super) fn register(connection: &Connection) -> Result<()> {
    strict(connection, "sr_parse_json", 1, |context| {
        let value = text(context, 0);
        let parsed: std::result::Result<&RawValue, _> = serde_json::from_str(&value);
        Ok(if parsed.is_ok() { Value::Text(value) } else { Value::Null })
    })?;
    strict(connection, "sr_json_query", 2, |context| {
        Ok(find(&text(context, 0), &text(context, 1)).map_or(Value::Null, |value| Value::Text(value.to_string())))
    })?;
    strict(connection, "sr_json_string", 2, |context| {
        Ok(match find(&text(context, 0), &text(context, 1)) {
            None | Some(serde_json::Value::Null) => Value::Null,
            Some(serde_json::Value::String(text)) => Value::Text(text),
            Some(other) => Value::Text(other.to_string()),
        })
    })?;
    strict(connection, "sr_to_array", 2, |context| {
        let ty: ColumnType = serde_json::from_str(&text(context, 1)).map_err(|error| failed(error.to_string()))?;
        let value = text(context, 0);
        match value::from_text(&ty, "", value.as_bytes()) {
            Ok(cell) => owned(&cell).map_err(failed),
            Err(_) => Ok(Value::Null),
        }
    })?;
    strict(connection, "sr_json_length", 1, |context| {
        Ok(match serde_json::from_str(&text(context, 0)) {
            Ok(serde_json::Value::Array(items)) => Value::Integer(items.len() as i64),
            Ok(serde_json::Value::Object(members)) => Value::Integer(members.len() as i64),
            Ok(_) => Value::Integer(1),
            Err(_) => Value::Null,
        })
    })
}

/// The value at a path; `None` when there is none or the path or document cannot be read.
fn find(document: &str, path: &str) -> Option<serde_json::Value> {
    let mut value: serde_json::Value = serde_json::from_str(document).ok()?;
    let mut rest = path.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']')?;
            value = value.get_mut(index.trim().parse::<usize>().ok()?)?.take();
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        if name.is_empty() {
            return None;
        }
        value = value.get_mut(name)?.take();
        rest = after;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_members_and_items() {
        let document = r#"{"a": {"b.c": [1, {"d": "x"}]}, "n": 1.50}"#;
        assert_eq!(find(document, "$.a.\"b.c\"[1].d"), Some("x".into()));
        assert_eq!(find(document, "n").unwrap().to_string(), "1.50");
        assert_eq!(find(document, "$.a.z"), None);
        assert_eq!(find(document, "$.a.\"b.c\"[7]"), None);
    }
}
