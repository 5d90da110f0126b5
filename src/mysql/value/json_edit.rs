//! Changes of MySQL's binary JSON, as `binlog_row_value_options=PARTIAL_JSON` logs them.
//!
//! A changed document is logged as a list of changes, each an operation, a path and, but for a removal, a value:
//!
//! ```text
//! operation 1 (0 replace, 1 insert, 2 remove) | length, path | length, binary JSON
//! ```
//!
//! with lengths as MySQL's protocol has them. They apply one after another; each path is one of the document as the
//! changes before have left it, exact, without wildcards. An insertion into an array moves what is behind it, one
//! behind the array's end goes to the end. All this is the server's `apply_json_diff`.
//!
//! The result is binary JSON again, always in the large form (offsets of 4 bytes), which says the same. An object's keys
//! keep the server's order, by length and then by bytes.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ValueError;
use super::json::{MAX_DEPTH, counted, head, number};

/// The document after the changes.
///
/// # Errors
/// The document or the changes are damaged, or do not fit each other.
pub(crate) fn apply(document: &[u8], changes: &[u8]) -> Result<Vec<u8>, ValueError> {
    let damaged = || ValueError::new("a JSON document that is damaged");
    let mut root = parse(document).ok_or_else(damaged)?;
    let mut changes = Changes(changes);
    while !changes.0.is_empty() {
        let unfit = || ValueError::new("a change of a JSON value that does not fit the value before it");
        let change = changes.next().ok_or_else(|| ValueError::new("a change of a JSON value that is damaged"))?;
        change.apply(&mut root).ok_or_else(unfit)?;
    }
    let mut out = Vec::with_capacity(document.len() + 64);
    let kind = root.kind();
    out.push(kind);
    root.write(&mut out, 0).ok_or_else(damaged)?;
    Ok(out)
}

enum Node<'a> {
    /// A type and its bytes, as they stand in a document.
    Scalar(u8, &'a [u8]),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

const OBJECT: u8 = 0x01;
const ARRAY: u8 = 0x03;
/// Offsets and counts in the large form.
const WIDTH: usize = 4;

fn parse(document: &[u8]) -> Option<Node<'_>> {
    // Empty for a `null` that a non-strict session wrote.
    let Some((&kind, value)) = document.split_first() else { return Some(Node::Scalar(0x04, &[0])) };
    Parser { budget: document.len() + 16 }.node(kind, value, 0)
}

/// Offsets may point at one place many times: what is read is counted, as when a document is printed.
struct Parser {
    budget: usize,
}

impl Parser {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }

    fn node<'a>(&mut self, kind: u8, bytes: &'a [u8], depth: usize) -> Option<Node<'a>> {
        let length = match kind {
            0x00..=0x03 => return self.container(kind, bytes, depth),
            0x04 => 1,
            0x05 | 0x06 => 2,
            0x07 | 0x08 => 4,
            0x09..=0x0b => 8,
            0x0c => length_with_count(bytes)?,
            0x0f => 1 + length_with_count(bytes.get(1..)?)?,
            _ => return None,
        };
        // Small ones are paid for by the entry that names them.
        self.spend(length.saturating_sub(8))?;
        Some(Node::Scalar(kind, bytes.get(..length)?))
    }

    fn container<'a>(&mut self, kind: u8, bytes: &'a [u8], depth: usize) -> Option<Node<'a>> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let large = kind & 1 == 1;
        let is_object = kind < 0x02;
        let width = if large { 4 } else { 2 };
        let count = number(bytes, 0, width)?;
        let bytes = bytes.get(..number(bytes, width, width)?)?;
        let key_entry = if is_object { width + 2 } else { 0 };
        let value_entry = 1 + width;
        let entries = count.checked_mul(key_entry + value_entry)?;
        bytes.get(..entries.checked_add(2 * width)?)?;
        self.spend(2 * width + entries)?;
        let values = 2 * width + count * key_entry;
        let mut nodes = Vec::with_capacity(if is_object { 0 } else { count });
        let mut members = Vec::with_capacity(if is_object { count } else { 0 });
        for index in 0..count {
            let entry = values + index * value_entry;
            let kind = *bytes.get(entry)?;
            let inline = matches!(kind, 0x04..=0x06) || (large && matches!(kind, 0x07 | 0x08));
            let value = if inline {
                bytes.get(entry + 1..entry + value_entry)?
            } else {
                bytes.get(number(bytes, entry + 1, width)?..)?
            };
            let node = self.node(kind, value, depth + 1)?;
            if is_object {
                let entry = 2 * width + index * key_entry;
                let start = number(bytes, entry, width)?;
                let length = number(bytes, entry + width, 2)?;
                self.spend(length)?;
                let key = bytes.get(start..start.checked_add(length)?)?;
                members.push((Cow::Borrowed(key), node));
            } else {
                nodes.push(node);
            }
        }
        Some(if is_object { Node::Object(members) } else { Node::Array(nodes) })
    }
}

/// The bytes of a length of seven bits a byte and of what it counts.
fn length_with_count(bytes: &[u8]) -> Option<usize> {
    let content = counted(bytes)?;
    let digits = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    Some(digits + content.len())
}

impl<'a> Node<'a> {
    fn kind(&self) -> u8 {
        match self {
            Node::Scalar(kind, _) => *kind,
            Node::Array(_) => ARRAY,
            Node::Object(_) => OBJECT,
        }
    }

    /// Appends everything but the type.
    fn write(&self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        let (count, members) = match self {
            Node::Scalar(_, bytes) => {
                out.extend_from_slice(bytes);
                return Some(());
            }
            _ if depth >= MAX_DEPTH => return None,
            Node::Array(nodes) => (nodes.len(), None),
            Node::Object(members) => (members.len(), Some(members)),
        };
        let start = out.len();
        let key_entry = if members.is_some() { WIDTH + 2 } else { 0 };
        let values = start + 2 * WIDTH + count * key_entry;
        out.resize(values + count * (1 + WIDTH), 0);
        put(out, start, count)?;
        for (index, (key, _)) in members.into_iter().flatten().enumerate() {
            let entry = start + 2 * WIDTH + index * key_entry;
            let offset = out.len() - start;
            put(out, entry, offset)?;
            let length = u16::try_from(key.len()).ok()?;
            out[entry + WIDTH..entry + key_entry].copy_from_slice(&length.to_le_bytes());
            out.extend_from_slice(key);
        }
        for index in 0..count {
            let node = match self {
                Node::Array(nodes) => nodes.get(index)?,
                Node::Object(members) => &members.get(index)?.1,
                Node::Scalar(..) => return None,
            };
            let entry = values + index * (1 + WIDTH);
            out[entry] = node.kind();
            match node {
                Node::Scalar(0x04..=0x08, bytes) => {
                    out[entry + 1..entry + 1 + bytes.len()].copy_from_slice(bytes);
                    // A signed number of two bytes is read as one of two, whatever follows.
                }
                _ => {
                    let offset = out.len() - start;
                    put(out, entry + 1, offset)?;
                    node.write(out, depth + 1)?;
                }
            }
        }
        let size = out.len() - start;
        put(out, start + WIDTH, size)
    }

    /// Without wrapping scalars into arrays, as some of the server's functions do.
    fn step(&mut self, leg: &Leg) -> Option<&mut Node<'a>> {
        match (self, leg) {
            (Node::Array(nodes), Leg::Cell(index)) => {
                let index = index.of(nodes.len())?;
                nodes.get_mut(index)
            }
            (Node::Object(members), Leg::Member(name)) => {
                let index = find(members, name).ok()?;
                members.get_mut(index).map(|(_, node)| node)
            }
            _ => None,
        }
    }
}

/// Where a key stands, or would.
fn find(members: &[(Cow<'_, [u8]>, Node<'_>)], name: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(key, _)| match key.len().cmp(&name.len()) {
        Ordering::Equal => key.as_ref().cmp(name),
        unequal => unequal,
    })
}

fn put(out: &mut [u8], at: usize, value: usize) -> Option<()> {
    let value = u32::try_from(value).ok()?;
    out.get_mut(at..at + WIDTH)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

struct Changes<'a>(&'a [u8]);

enum Operation<'a> {
    Replace(Node<'a>),
    Insert(Node<'a>),
    Remove,
}

struct Change<'a> {
    operation: Operation<'a>,
    /// Never empty: a whole document is logged as a whole.
    path: Vec<Leg>,
}

enum Leg {
    Cell(Index),
    Member(Vec<u8>),
}

enum Index {
    Front(usize),
    /// `last` is 0.
    Back(usize),
}

impl Index {
    /// `None`: before the first.
    fn of(&self, length: usize) -> Option<usize> {
        match self {
            Index::Front(index) => Some(*index),
            Index::Back(index) => length.checked_sub(1)?.checked_sub(*index),
        }
    }
}

impl<'a> Changes<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = match *self.bytes(1)?.first()? {
            short @ 0..=250 => usize::from(short),
            252 => usize::from(u16::from_le_bytes(head(self.bytes(2)?)?)),
            253 => self.bytes(3)?.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)),
            254 => usize::try_from(u64::from_le_bytes(head(self.bytes(8)?)?)).ok()?,
            _ => return None,
        };
        self.bytes(length)
    }

    fn next(&mut self) -> Option<Change<'a>> {
        let operation = *self.bytes(1)?.first()?;
        let path = path(self.counted()?)?;
        let operation = match operation {
            0 => Operation::Replace(parse(self.counted()?)?),
            1 => Operation::Insert(parse(self.counted()?)?),
            2 => Operation::Remove,
            _ => return None,
        };
        Some(Change { operation, path })
    }
}

impl<'a> Change<'a> {
    fn apply(self, root: &mut Node<'a>) -> Option<()> {
        let (last, parents) = self.path.split_last()?;
        let mut parent = root;
        for leg in parents {
            parent = parent.step(leg)?;
        }
        match (self.operation, parent, last) {
            (Operation::Replace(value), parent, leg) => *parent.step(leg)? = value,
            (Operation::Insert(value), Node::Array(nodes), Leg::Cell(index)) => {
                let at = index.of(nodes.len()).unwrap_or(0).min(nodes.len());
                nodes.insert(at, value);
            }
            (Operation::Insert(value), Node::Object(members), Leg::Member(name)) => {
                let at = find(members, name).err()?;
                members.insert(at, (Cow::Owned(name.clone()), value));
            }
            (Operation::Remove, Node::Array(nodes), Leg::Cell(index)) => {
                let at = index.of(nodes.len()).filter(|&at| at < nodes.len())?;
                nodes.remove(at);
            }
            (Operation::Remove, Node::Object(members), Leg::Member(name)) => {
                let at = find(members, name).ok()?;
                members.remove(at);
            }
            _ => return None,
        }
        Some(())
    }
}

/// `$.name."quoted \" name"[3][last-1]`
fn path(text: &[u8]) -> Option<Vec<Leg>> {
    let mut rest = std::str::from_utf8(text).ok()?.trim_ascii().strip_prefix('$')?.trim_ascii_start();
    let mut legs = Vec::new();
    while !rest.is_empty() {
        let leg;
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside.split_once(']')?;
            leg = Leg::Cell(self::index(index.trim_ascii())?);
            rest = behind;
        } else {
            let name = rest.strip_prefix('.')?.trim_ascii_start();
            let end = match name.as_bytes().first()? {
                b'"' => quoted_length(name.as_bytes())?,
                _ => name.find(|c: char| matches!(c, '.' | '[') || c.is_ascii_whitespace()).unwrap_or(name.len()),
            };
            let (name, behind) = name.split_at_checked(end)?;
            let name = match name.starts_with('"') {
                true => serde_json::from_str(name).ok()?,
                false => name.to_owned(),
            };
            if name.is_empty() && end == 0 {
                return None;
            }
            leg = Leg::Member(name.into_bytes());
            rest = behind;
        }
        legs.push(leg);
        rest = rest.trim_ascii_start();
    }
    Some(legs)
}

fn index(text: &str) -> Option<Index> {
    match text.strip_prefix("last") {
        None => text.parse().ok().map(Index::Front),
        Some("") => Some(Index::Back(0)),
        Some(rest) => rest.trim_ascii().strip_prefix('-')?.trim_ascii().parse().ok().map(Index::Back),
    }
}

/// A JSON string's length, with both quotes.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::print;
    use super::*;

    /// `{"a": [1, "x", true], "bb": {"k y": null}}` as the server stores it, written by hand here through `Node`.
    fn document() -> Vec<u8> {
        let inner = Node::Object(vec![(Cow::Borrowed(&b"k y"[..]), Node::Scalar(4, &[0]))]);
        let list = Node::Array(vec![Node::Scalar(5, &[1, 0]), Node::Scalar(12, b"\x01x"), Node::Scalar(4, &[1])]);
        let root = Node::Object(vec![(Cow::Borrowed(&b"a"[..]), list), (Cow::Borrowed(&b"bb"[..]), inner)]);
        let mut out = vec![root.kind()];
        root.write(&mut out, 0).unwrap();
        out
    }

    fn change(operation: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let mut out = vec![operation, path.len() as u8];
        out.extend_from_slice(path.as_bytes());
        if let Some(value) = value {
            out.push(value.len() as u8);
            out.extend_from_slice(value);
        }
        out
    }

    fn changed(changes: &[Vec<u8>]) -> Result<String, String> {
        let document = apply(&document(), &changes.concat()).map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        print(&document, &mut text).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(text).unwrap())
    }

    const SEVEN: &[u8] = b"\x05\x07\0";

    #[test]
    fn without_changes_it_is_the_same() {
        assert_eq!(changed(&[]).unwrap(), r#"{"a": [1, "x", true], "bb": {"k y": null}}"#);
    }

    #[test]
    fn members_and_cells_are_replaced_inserted_and_removed() {
        for (operation, path, value, expected) in [
            (0, "$.a[1]", Some(SEVEN), r#"{"a": [1, 7, true], "bb": {"k y": null}}"#),
            (0, "$.a[last-2]", Some(SEVEN), r#"{"a": [7, "x", true], "bb": {"k y": null}}"#),
            (0, "$.bb.\"k y\"", Some(SEVEN), r#"{"a": [1, "x", true], "bb": {"k y": 7}}"#),
            (1, "$.a[1]", Some(SEVEN), r#"{"a": [1, 7, "x", true], "bb": {"k y": null}}"#),
            (1, "$.a[9]", Some(SEVEN), r#"{"a": [1, "x", true, 7], "bb": {"k y": null}}"#),
            (1, "$.b", Some(SEVEN), r#"{"a": [1, "x", true], "b": 7, "bb": {"k y": null}}"#),
            (1, "$.ccc", Some(SEVEN), r#"{"a": [1, "x", true], "bb": {"k y": null}, "ccc": 7}"#),
            (1, "$.bb.\"\\\"\"", Some(SEVEN), r#"{"a": [1, "x", true], "bb": {"\"": 7, "k y": null}}"#),
            (2, "$.a[0]", None, r#"{"a": ["x", true], "bb": {"k y": null}}"#),
            (2, "$.a", None, r#"{"bb": {"k y": null}}"#),
        ] {
            assert_eq!(changed(&[change(operation, path, value)]).unwrap(), expected, "{operation} {path}");
        }
    }

    #[test]
    fn each_change_finds_what_those_before_have_left() {
        let changes = [change(2, "$.a[0]", None), change(0, "$.a[0]", Some(SEVEN)), change(2, "$.bb", None)];
        assert_eq!(changed(&changes).unwrap(), r#"{"a": [7, true]}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (operation, path, value) in [
            (0, "$", Some(SEVEN)),
            (0, "$.c", Some(SEVEN)),
            (0, "$.a.b", Some(SEVEN)),
            (0, "$.a[3]", Some(SEVEN)),
            (1, "$.a", Some(SEVEN)),
            (1, "$.c.d", Some(SEVEN)),
            (2, "$.c", None),
            (2, "$.a[3]", None),
            (2, "$.a[last-3]", None),
            (0, "$.a[*]", Some(SEVEN)),
            (0, "$.", Some(SEVEN)),
            (0, "a", Some(SEVEN)),
            (3, "$.a", None),
            (0, "$.a", None),
        ] {
            assert!(changed(&[change(operation, path, value)]).is_err(), "{operation} {path}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_applied_or_refused(at in 0..80_usize, byte: u8, changes: Vec<u8>, path in "[$.a\\[\\]0-9last\"-]{0,12}") {
            let mut broken = document();
            let at = at % broken.len();
            broken[at] = byte;
            for changes in [changes, change(byte % 3, &path, Some(SEVEN)), change(2, &path, None)] {
                if let Ok(result) = apply(&broken, &changes) {
                    prop_assert!(result.len() <= 64 + 8 * (broken.len() + changes.len()));
                }
                let _ = apply(&document(), &changes);
            }
        }
    }
}
