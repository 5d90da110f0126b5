//! Text functions: positions count characters, `length` is elsewhere and counts bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};
use sha2::{Digest, Sha256, Sha512};

use super::{bytes, int, strict, text};
use crate::embedded::value::decode_hex;

pub(super) fn register(connection: &Connection) -> Result<()> {
    strict(connection, "sr_like", 4, |context| {
        let escape = text(context, 2).chars().next();
        let (value, pattern) = (text(context, 0), text(context, 1));
        let found = if int(context, 3)? == 1 {
            like(&value.to_lowercase(), &pattern.to_lowercase(), escape)
        } else {
            like(&value, &pattern, escape)
        };
        Ok(Value::Integer(found.into()))
    })?;
    strict(connection, "sr_char_length", 1, |context| Ok(Value::Integer(text(context, 0).chars().count() as i64)))?;
    strict(connection, "sr_left", 2, |context| {
        let count = usize::try_from(int(context, 1)?).unwrap_or(0);
        Ok(Value::Text(text(context, 0).chars().take(count).collect()))
    })?;
    strict(connection, "sr_right", 2, |context| {
        let count = usize::try_from(int(context, 1)?).unwrap_or(0);
        let value = text(context, 0);
        let skip = value.chars().count().saturating_sub(count);
        Ok(Value::Text(value.chars().skip(skip).collect()))
    })?;
    strict(connection, "sr_substring", 2, |context| Ok(substring(&text(context, 0), int(context, 1)?, i64::MAX)))?;
    strict(connection, "sr_substring", 3, |context| {
        Ok(substring(&text(context, 0), int(context, 1)?, int(context, 2)?))
    })?;
    strict(connection, "sr_substring_index", 3, |context| {
        Ok(Value::Text(substring_index(&text(context, 0), &text(context, 1), int(context, 2)?)))
    })?;
    strict(connection, "sr_split_part", 3, |context| {
        let (value, separator) = (text(context, 0), text(context, 1));
        let index = usize::try_from(int(context, 2)?).ok().and_then(|index| index.checked_sub(1));
        Ok(index
            .and_then(|index| value.split(&separator).nth(index))
            .map_or(Value::Null, |part| Value::Text(part.into())))
    })?;
    strict(connection, "sr_upper", 1, |context| Ok(Value::Text(text(context, 0).to_uppercase())))?;
    strict(connection, "sr_lower", 1, |context| Ok(Value::Text(text(context, 0).to_lowercase())))?;
    strict(connection, "sr_reverse", 1, |context| Ok(Value::Text(text(context, 0).chars().rev().collect())))?;
    strict(connection, "sr_repeat", 2, |context| {
        let (value, count) = (text(context, 0), usize::try_from(int(context, 1)?).unwrap_or(0));
        let fits = value.len().checked_mul(count).is_some_and(|length| length <= 1_048_576);
        Ok(if fits { Value::Text(value.repeat(count)) } else { Value::Null })
    })?;
    strict(connection, "sr_lpad", 3, |context| pad(context, true))?;
    strict(connection, "sr_rpad", 3, |context| pad(context, false))?;
    strict(connection, "sr_locate", 3, |context| {
        let (needle, value) = (text(context, 0), text(context, 1));
        let Some(skip) = usize::try_from(int(context, 2)?).ok().and_then(|from| from.checked_sub(1)) else {
            return Ok(Value::Integer(0));
        };
        let rest: String = value.chars().skip(skip).collect();
        let at = rest.find(&needle).map_or(0, |at| rest[..at].chars().count() + skip + 1);
        Ok(Value::Integer(at as i64))
    })?;
    strict(connection, "sr_starts_with", 2, |context| {
        Ok(Value::Integer(text(context, 0).starts_with(&text(context, 1)).into()))
    })?;
    strict(connection, "sr_ends_with", 2, |context| {
        Ok(Value::Integer(text(context, 0).ends_with(&text(context, 1)).into()))
    })?;
    strict(connection, "sr_ascii", 1, |context| {
        Ok(Value::Integer(text(context, 0).bytes().next().unwrap_or(0).into()))
    })?;
    strict(connection, "sr_hex_int", 1, |context| Ok(Value::Text(format!("{:X}", int(context, 0)?))))?;
    strict(connection, "sr_unhex", 1, |context| {
        Ok(match decode_hex(text(context, 0).as_bytes()).map(String::from_utf8) {
            Some(Ok(text)) => Value::Text(text),
            Some(Err(error)) => Value::Blob(error.into_bytes()),
            None => Value::Text(String::new()),
        })
    })?;
    strict(connection, "sr_md5", 1, |context| Ok(Value::Text(hex(&Md5::digest(bytes(context.get_raw(0)))))))?;
    strict(connection, "sr_sha2", 2, |context| {
        let value = bytes(context.get_raw(0));
        Ok(match int(context, 1)? {
            0 | 256 => Value::Text(hex(&Sha256::digest(value))),
            512 => Value::Text(hex(&Sha512::digest(value))),
            _ => Value::Null,
        })
    })?;
    strict(connection, "sr_to_base64", 1, |context| Ok(Value::Text(STANDARD.encode(bytes(context.get_raw(0))))))?;
    strict(connection, "sr_from_base64", 1, |context| {
        Ok(match STANDARD.decode(text(context, 0)).map(String::from_utf8) {
            Ok(Ok(text)) => Value::Text(text),
            Ok(Err(error)) => Value::Blob(error.into_bytes()),
            Err(_) => Value::Null,
        })
    })?;
    strict(connection, "sr_to_binary", 2, |context| {
        let value = text(context, 0);
        Ok(match text(context, 1).to_lowercase().as_str() {
            "hex" => decode_hex(value.as_bytes()).map_or(Value::Null, Value::Blob),
            "encode64" => STANDARD.decode(value).map_or(Value::Null, Value::Blob),
            "utf8" => Value::Blob(value.into_bytes()),
            _ => Value::Null,
        })
    })?;
    strict(connection, "sr_from_binary", 2, |context| {
        let value = bytes(context.get_raw(0));
        Ok(match text(context, 1).to_lowercase().as_str() {
            "hex" => Value::Text(hex(&value).to_uppercase()),
            "encode64" => Value::Text(STANDARD.encode(value)),
            "utf8" => Value::Text(String::from_utf8_lossy(&value).into_owned()),
            _ => Value::Null,
        })
    })?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("sr_concat_ws", -1, flags, |context| {
        if context.get_raw(0) == ValueRef::Null {
            return Ok(Value::Null);
        }
        let parts: Vec<String> = (1..context.len())
            .filter(|&index| context.get_raw(index) != ValueRef::Null)
            .map(|index| text(context, index))
            .collect();
        Ok(Value::Text(parts.join(&text(context, 0))))
    })?;
    // One text for several values, told apart by their lengths; NULL when one is NULL.
    strict(connection, "sr_tuple", -1, |context| {
        let mut out = String::new();
        for index in 0..context.len() {
            let value = text(context, index);
            out.push_str(&format!("{}:{value}", value.len()));
        }
        Ok(Value::Text(out))
    })?;
    connection.create_scalar_function("sr_uuid", 0, FunctionFlags::SQLITE_UTF8, |_| {
        let bits = rand::random::<u128>();
        Ok(format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            bits as u32,
            (bits >> 32) as u16,
            (bits >> 48) as u16 & 0xfff,
            (bits >> 64) as u16 & 0x3fff | 0x8000,
            (bits >> 80) as u64 & 0xffff_ffff_ffff
        ))
    })?;
    connection.create_aggregate_function("sr_group_concat_distinct", 2, flags, DistinctConcat)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// LIKE, by characters: `%` any run, `_` one, `escape` takes the next as it is.
fn like(value: &str, pattern: &str, escape: Option<char>) -> bool {
    let value: Vec<char> = value.chars().collect();
    // Each part of the pattern: a literal, or a wildcard.
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Part::Run,
            '_' => Part::One,
            c if Some(c) == escape => Part::Exactly(chars.next().unwrap_or(c)),
            c => Part::Exactly(c),
        });
    }
    let (mut v, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while v < value.len() {
        match parts.get(p) {
            Some(Part::Run) => {
                back = Some((p, v));
                p += 1;
            }
            Some(Part::One) => (v, p) = (v + 1, p + 1),
            Some(Part::Exactly(c)) if *c == value[v] => (v, p) = (v + 1, p + 1),
            _ => match back {
                Some((run, at)) => {
                    back = Some((run, at + 1));
                    (v, p) = (at + 1, run + 1);
                }
                None => return false,
            },
        }
    }
    parts[p..].iter().all(|part| *part == Part::Run)
}

#[derive(PartialEq)]
enum Part {
    Run,
    One,
    Exactly(char),
}

fn substring(value: &str, from: i64, count: i64) -> Value {
    let length = value.chars().count() as i64;
    let start = match from {
        0 => return Value::Text(String::new()),
        1.. => from - 1,
        _ => length + from,
    };
    if start < 0 || count <= 0 {
        return Value::Text(String::new());
    }
    Value::Text(value.chars().skip(start as usize).take(usize::try_from(count).unwrap_or(usize::MAX)).collect())
}

fn substring_index(value: &str, separator: &str, count: i64) -> String {
    if separator.is_empty() || count == 0 {
        return String::new();
    }
    let parts: Vec<&str> = value.split(separator).collect();
    let keep = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(parts.len());
    let kept = if count > 0 { &parts[..keep] } else { &parts[parts.len() - keep..] };
    kept.join(separator)
}

fn pad(context: &Context<'_>, left: bool) -> Result<Value> {
    let (value, fill) = (text(context, 0), text(context, 2));
    let Ok(length) = usize::try_from(int(context, 1)?) else { return Ok(Value::Null) };
    let have = value.chars().count();
    if length > 1_048_576 {
        return Ok(Value::Null);
    }
    if length <= have {
        return Ok(Value::Text(value.chars().take(length).collect()));
    }
    if fill.is_empty() {
        return Ok(Value::Text(value));
    }
    let padding: String = fill.chars().cycle().take(length - have).collect();
    Ok(Value::Text(if left { padding + &value } else { value + &padding }))
}

/// GROUP_CONCAT(DISTINCT value SEPARATOR s), in the order of first sight.
struct DistinctConcat;

impl Aggregate<(Vec<String>, String), Value> for DistinctConcat {
    fn init(&self, _: &mut Context<'_>) -> Result<(Vec<String>, String)> {
        Ok((Vec::new(), String::new()))
    }

    fn step(&self, context: &mut Context<'_>, state: &mut (Vec<String>, String)) -> Result<()> {
        if context.get_raw(0) != ValueRef::Null {
            let value = text(context, 0);
            if !state.0.contains(&value) {
                state.0.push(value);
            }
            state.1 = text(context, 1);
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, state: Option<(Vec<String>, String)>) -> Result<Value> {
        Ok(match state {
            Some((values, separator)) if !values.is_empty() => Value::Text(values.join(&separator)),
            _ => Value::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_runs_single_characters_and_escapes() {
        for (value, pattern, expected) in [
            ("orders", "ord%", true),
            ("orders", "%der%", true),
            ("orders", "Ord%", false),
            ("a_b", "a\\_b", true),
            ("axb", "a\\_b", false),
            ("é", "_", true),
            ("", "%", true),
            ("abc", "a%bc%c", false),
            ("abcc", "a%bc%c", true),
        ] {
            assert_eq!(like(value, pattern, Some('\\')), expected, "{value} LIKE {pattern}");
        }
    }

    #[test]
    fn substrings_count_characters_from_either_end() {
        assert_eq!(substring("héllo", 2, 3), Value::Text("éll".into()));
        assert_eq!(substring("héllo", -2, 9), Value::Text("lo".into()));
        assert_eq!(substring_index("a.b.c", ".", 2), "a.b");
        assert_eq!(substring_index("a.b.c", ".", -1), "c");
    }
}
