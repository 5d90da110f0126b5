//! Cuts a byte stream into JSON rows, and a row into the raw text of its fields.
//!
//! Top-level values are found by counting brackets outside strings, so a body is never held as a whole; each
//! value is then parsed for itself. Nothing turns a number into a float: values stay raw text until their
//! column's type is known.

use std::borrow::Cow;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::embedded::value::json_string;

/// How a JSON body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonFormat {
    pub(super) strip_outer_array: bool,
    /// Steps from a top-level value to its row or rows; empty without `json_root`.
    pub(super) root: Vec<Step>,
    /// One path a field, in field order; empty: fields are found by name.
    pub(super) paths: Vec<Vec<Step>>,
}

/// One step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

const ARRAY_WITHOUT_STRIP: &str = "The value is array type in json document stream, you can set \
     strip_outer_array=true to parse each element of the array as individual rows";

/// Reads `$.a.b[0]` or `a.b`.
///
/// # Errors
/// The text for the load's `Message`.
pub(super) fn parse_path(path: &str) -> Result<Vec<Step>, String> {
    let invalid = || format!("Invalid json path: {path}");
    let mut rest = path.trim();
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']').ok_or_else(invalid)?;
            match index.trim_matches(['\'', '"']) {
                key if key.len() != index.len() => steps.push(Step::Key(key.to_owned())),
                _ => steps.push(Step::Index(index.trim().parse().map_err(|_| invalid())?)),
            }
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (key, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or_else(invalid)?
        } else {
            rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
        };
        if key.is_empty() {
            return Err(invalid());
        }
        steps.push(Step::Key(key.to_owned()));
        rest = after;
    }
    Ok(steps)
}

/// Reads the `jsonpaths` header, an array of paths.
///
/// # Errors
/// The text for the load's `Message`.
pub(super) fn parse_paths(header: &str) -> Result<Vec<Vec<Step>>, String> {
    let paths: Vec<String> = serde_json::from_str(header).map_err(|_| format!("Invalid json path: {header}"))?;
    paths.iter().map(|path| parse_path(path)).collect()
}

/// Turns chunks into rows.
#[derive(Debug)]
pub(super) struct JsonReader {
    format: JsonFormat,
    /// Bytes from the start of the value that is not complete yet.
    carry: Vec<u8>,
    /// How far `carry` was looked at.
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    place: Place,
}

/// Where between top-level values the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks so far.
    Start,
    /// In a stream of objects.
    Stream,
    /// Behind `[` of an outer array, before its first element.
    ArrayStart,
    /// Behind an element: a comma or the end.
    ArrayNext,
    /// Behind a comma: an element.
    ArrayElement,
    /// Behind the outer array's `]`.
    ArrayEnd,
}

/// A row handler: gets the text of one object.
pub(super) type OnRow<'a> = dyn FnMut(&JsonFormat, &str) -> Result<(), String> + 'a;

impl JsonReader {
    pub(super) fn new(format: JsonFormat) -> JsonReader {
        JsonReader {
            format,
            carry: Vec::new(),
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            place: Place::Start,
        }
    }

    /// Hands every row that is complete now to `row`.
    ///
    /// # Errors
    /// The text that fails the load: a syntax error, an array where objects are expected, or the reverse.
    pub(super) fn feed(&mut self, chunk: &[u8], row: &mut OnRow<'_>) -> Result<(), String> {
        self.carry.extend_from_slice(chunk);
        let carry = std::mem::take(&mut self.carry);
        let used = self.values(&carry, row)?;
        self.carry = carry;
        self.carry.drain(..used);
        self.scanned -= used;
        Ok(())
    }

    /// The end of one body. A new body may follow, as in a transaction.
    pub(super) fn finish(&mut self, row: &mut OnRow<'_>) -> Result<(), String> {
        let rest = std::mem::take(&mut self.carry);
        let complete = match self.place {
            Place::Start | Place::Stream | Place::ArrayEnd => true,
            Place::ArrayStart | Place::ArrayNext | Place::ArrayElement => false,
        };
        if !complete || !rest.trim_ascii().is_empty() {
            // What is left is no complete value; parsing it gives the reason.
            let reason = match serde_json::from_slice::<&RawValue>(&rest) {
                Err(error) => error.to_string(),
                Ok(_) => "EOF while parsing a list".into(),
            };
            return Err(format!("Failed to parse json as document stream, error: {reason}"));
        }
        let _ = row;
        *self = JsonReader::new(self.format.clone());
        Ok(())
    }

    fn values(&mut self, input: &[u8], row: &mut OnRow<'_>) -> Result<usize, String> {
        let mut used = 0;
        let mut at = self.scanned;
        while at < input.len() {
            if self.depth > 0 {
                at = self.skip_inside(input, at);
                if self.depth == 0 {
                    self.value(&input[used..at], row)?;
                    used = at;
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                used = at;
                continue;
            }
            match (self.place, byte) {
                (Place::Start, b'[') if self.format.strip_outer_array || !self.format.root.is_empty() => {
                    self.place = Place::ArrayStart;
                    used = at;
                }
                (Place::Start | Place::Stream, b'[') if !self.format.strip_outer_array => {
                    return Err(ARRAY_WITHOUT_STRIP.into());
                }
                (Place::Start | Place::Stream, b'{') => {
                    if self.format.strip_outer_array && self.format.root.is_empty() {
                        let shown: String = String::from_utf8_lossy(&input[at - 1..]).chars().take(64).collect();
                        return Err(format!(
                            "the value should be array type with strip_outer_array=true, value: {shown}"
                        ));
                    }
                    self.place = Place::Stream;
                    self.depth = 1;
                    used = at - 1;
                }
                (Place::Start, other) => {
                    return Err(format!("illegal json started with {}", char::from(other)));
                }
                (Place::ArrayStart | Place::ArrayElement, b'{') => {
                    self.depth = 1;
                    used = at - 1;
                }
                (Place::ArrayStart | Place::ArrayNext, b']') => {
                    self.place = Place::ArrayEnd;
                    used = at;
                }
                (Place::ArrayNext, b',') => {
                    self.place = Place::ArrayElement;
                    used = at;
                }
                (Place::ArrayStart | Place::ArrayElement, _) => {
                    let shown: String = String::from_utf8_lossy(&input[at - 1..]).chars().take(64).collect();
                    return Err(format!("the value should be object type in json array, value: {shown}"));
                }
                _ => {
                    return Err("Failed to iterate document stream sources, error: TAPE_ERROR: The JSON document \
                                has an improper structure"
                        .into());
                }
            }
        }
        self.scanned = at;
        Ok(used)
    }

    /// Goes on inside a value until it ends or the input does.
    fn skip_inside(&mut self, input: &[u8], mut at: usize) -> usize {
        while at < input.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', &input[at..]) {
                    None => return input.len(),
                    Some(offset) => {
                        at += offset + 1;
                        if input[at - 1] == b'"' {
                            self.in_string = false;
                        } else {
                            self.escaped = true;
                        }
                    }
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return at;
                    }
                }
                _ => {}
            }
        }
        at
    }

    fn value(&mut self, value: &[u8], row: &mut OnRow<'_>) -> Result<(), String> {
        if self.place != Place::Stream {
            self.place = Place::ArrayNext;
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| "Failed to parse json as document stream, error: UTF8_ERROR: The input is not valid UTF-8")?;
        if self.format.root.is_empty() {
            return row(&self.format, text);
        }
        let Some(rooted) = extract(text, &self.format.root)? else {
            return Err("cannot find json_root in the json document".into());
        };
        if !self.format.strip_outer_array {
            return match rooted.trim_ascii_start().starts_with('{') {
                true => row(&self.format, rooted),
                false => Err(format!("the value under json_root should be object type, value: {rooted}")),
            };
        }
        let elements: Vec<&RawValue> = serde_json::from_str(rooted)
            .map_err(|_| format!("the value should be array type with strip_outer_array=true, value: {rooted}"))?;
        elements.iter().try_for_each(|element| row(&self.format, element.get()))
    }
}

/// Calls `field` with each key and the raw text of its value.
///
/// # Errors
/// A syntax error's text.
pub(super) fn for_each_field<'a>(object: &'a str, field: &mut dyn FnMut(&str, &'a str)) -> Result<(), String> {
    struct Fields<'f>(&'f mut dyn FnMut(&str, &str));
    impl<'de> Visitor<'de> for Fields<'_> {
        type Value = ();

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<&RawValue>()? {
                let value: &'de RawValue = map.next_value()?;
                let key = json_string(key.get()).unwrap_or(Cow::Borrowed(key.get()));
                (self.0)(&key, value.get());
            }
            Ok(())
        }
    }
    // The visitor's lifetime cannot name 'a, so the pieces are put back as spans of `object`.
    let base = object.as_ptr() as usize;
    let mut respan = |key: &str, value: &str| {
        let start = value.as_ptr() as usize - base;
        field(key, &object[start..start + value.len()]);
    };
    let mut reader = serde_json::Deserializer::from_str(object);
    reader
        .deserialize_map(Fields(&mut respan))
        .and_then(|()| reader.end())
        .map_err(|error| format!("Failed to parse json as document stream, error: {error}"))
}

/// The raw text a path leads to; `None` when there is nothing.
///
/// # Errors
/// A syntax error's text.
pub(super) fn extract<'a>(value: &'a str, path: &[Step]) -> Result<Option<&'a str>, String> {
    let mut now = value.trim_ascii();
    for step in path {
        match step {
            Step::Key(wanted) => {
                if !now.starts_with('{') {
                    return Ok(None);
                }
                let mut found = None;
                for_each_field(now, &mut |key, value| {
                    if key == wanted && found.is_none() {
                        found = Some(value);
                    }
                })?;
                match found {
                    Some(value) => now = value.trim_ascii(),
                    None => return Ok(None),
                }
            }
            Step::Index(index) => {
                let elements: Vec<&RawValue> = match serde_json::from_str(now) {
                    Ok(elements) => elements,
                    Err(_) => return Ok(None),
                };
                match elements.get(*index) {
                    Some(element) => now = element.get(),
                    None => return Ok(None),
                }
            }
        }
    }
    Ok(Some(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(strip: bool, root: &str) -> JsonFormat {
        JsonFormat { strip_outer_array: strip, root: parse_path(root).unwrap(), paths: Vec::new() }
    }

    fn rows(format: &JsonFormat, body: &str, chunk: usize) -> Result<Vec<String>, String> {
        let mut reader = JsonReader::new(format.clone());
        let mut out = Vec::new();
        let mut take = |_: &JsonFormat, row: &str| {
            out.push(row.to_owned());
            Ok(())
        };
        for chunk in body.as_bytes().chunks(chunk) {
            reader.feed(chunk, &mut take)?;
        }
        reader.finish(&mut take)?;
        Ok(out)
    }

    #[test]
    fn objects_follow_each_other_with_or_without_blanks() {
        let body = "{\"a\":\"}\\\"{\"}{\"a\":[{}]}\n {\"a\":1} ";
        for chunk in 1..=body.len() {
            let found = rows(&format(false, ""), body, chunk).unwrap();
            assert_eq!(found, ["{\"a\":\"}\\\"{\"}", "{\"a\":[{}]}", "{\"a\":1}"], "{chunk}");
        }
    }

    #[test]
    fn an_outer_array_is_stripped_only_when_asked_for() {
        let body = " [{\"a\":1}, {\"a\":2}]\n";
        for chunk in 1..=body.len() {
            assert_eq!(rows(&format(true, ""), body, chunk).unwrap(), ["{\"a\":1}", "{\"a\":2}"]);
            assert!(rows(&format(false, ""), body, chunk).unwrap_err().starts_with("The value is array type"));
        }
        assert_eq!(rows(&format(true, ""), "[]", 1).unwrap(), Vec::<String>::new());
        let object = rows(&format(true, ""), "{\"a\":1}", 99).unwrap_err();
        assert_eq!(object, "the value should be array type with strip_outer_array=true, value: {\"a\":1}");
    }

    #[test]
    fn broken_bodies_fail() {
        for body in ["x", "{\"a\":1", "{\"a\":1},{\"a\":2}", "{\"a\":1} x"] {
            assert!(rows(&format(false, ""), body, 3).is_err(), "{body}");
        }
        for body in ["[{\"a\":1}", "[1]", "[{\"a\":1},]", "[{\"a\":1}] {}"] {
            assert!(rows(&format(true, ""), body, 3).is_err(), "{body}");
        }
        assert_eq!(rows(&format(false, ""), "x", 1).unwrap_err(), "illegal json started with x");
    }

    #[test]
    fn root_leads_to_the_rows() {
        let body = "{\"data\":{\"rows\":[{\"a\":1},{\"a\":2}]}}";
        assert_eq!(rows(&format(true, "$.data.rows"), body, 5).unwrap(), ["{\"a\":1}", "{\"a\":2}"]);
        assert_eq!(rows(&format(false, "$.data"), body, 5).unwrap(), ["{\"rows\":[{\"a\":1},{\"a\":2}]}"]);
    }

    #[test]
    fn paths_reach_into_objects_and_arrays() {
        let paths = parse_paths("[\"$.a.b[1]\", \"$.c\"]").unwrap();
        let text = "{\"a\":{\"b\":[1, 2.50]}}";
        assert_eq!(extract(text, &paths[0]).unwrap(), Some("2.50"));
        assert_eq!(extract(text, &paths[1]).unwrap(), None);
        assert!(parse_paths("nope").is_err());
    }

    #[test]
    fn keys_may_have_escapes() {
        let mut found = Vec::new();
        for_each_field("{\"a\\u0062\": 12345678901234567890}", &mut |key, value| {
            found.push((key.to_owned(), value.to_owned()));
        })
        .unwrap();
        assert_eq!(found, [("ab".to_owned(), "12345678901234567890".to_owned())]);
    }
}
