//! Holds a parsed job file against the table of fields: unknown keys, shapes, ranges, defaults, variables.
//!
//! Nothing stops at the first mistake. A value that is wrong is reported and left out, and reading goes on,
//! so that one run shows them all.

use std::collections::{BTreeMap, HashSet};

use super::document::{Node, Value};
use super::fields::{Default, Field, JOB, STARTUP_WORDS, Shape};
use super::model::{Startup, ZeroDate};
use super::variables::expand;

/// One mistake. Line 0 = not known.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: u64,
    pub(super) path: String,
    pub(super) message: String,
}

/// A group of keys, checked, with defaults filled in.
#[derive(Debug, Default)]
pub(super) struct Group {
    line: u64,
    path: String,
    values: BTreeMap<&'static str, (u64, Checked)>,
}

#[derive(Debug)]
enum Checked {
    Text(String),
    Integer(u64),
    Number(f64),
    Flag(bool),
    Texts(Vec<(u64, String)>),
    TextMap(BTreeMap<String, String>),
    Group(Group),
    Startup(Startup),
    ZeroDate(ZeroDate),
}

impl Group {
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The line of `key`'s value, or of the group when the value is a default.
    pub(super) fn line(&self, key: &str) -> u64 {
        self.values.get(key).map_or(self.line, |(line, _)| *line)
    }

    /// It has a value, its own or a default.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of a text, secret or word.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.values.get(key) {
            Some((_, Checked::Text(text))) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn integer(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some((_, Checked::Integer(number))) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((_, Checked::Flag(true))))
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.values.get(key) {
            Some((_, Checked::Number(number))) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn texts(&self, key: &str) -> Vec<(u64, String)> {
        match self.values.get(key) {
            Some((_, Checked::Texts(texts))) => texts.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn text_map(&self, key: &str) -> BTreeMap<String, String> {
        match self.values.get(key) {
            Some((_, Checked::TextMap(map))) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn group(&mut self, key: &str) -> Group {
        match self.values.remove(key) {
            Some((_, Checked::Group(group))) => group,
            _ => Group::default(),
        }
    }

    pub(super) fn startup(&self, key: &str) -> Option<Startup> {
        match self.values.get(key) {
            Some((_, Checked::Startup(startup))) => Some(startup.clone()),
            _ => None,
        }
    }

    pub(super) fn zero_date(&self, key: &str) -> Option<ZeroDate> {
        match self.values.get(key) {
            Some((_, Checked::ZeroDate(date))) => Some(date.clone()),
            _ => None,
        }
    }
}

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<Problem>,
    /// Texts with variables: what they became, and how they stand in the file.
    expanded: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Reader { lookup, problems: Vec::new(), expanded: Vec::new() }
    }

    pub(super) fn problem(&mut self, line: u64, path: impl Into<String>, message: impl Into<String>) {
        // What a variable holds may be a password, wherever it was put by mistake: the file's text is shown.
        let hide = |message: String, (became, stands): &(String, String)| {
            message.replace(&format!("{became:?}"), &format!("{stands:?}")).replace(became, stands)
        };
        let message = self.expanded.iter().fold(message.into(), hide);
        self.problems.push(Problem { line, path: path.into(), message });
    }

    /// Reads the whole file's tree.
    pub(super) fn job(&mut self, node: &Node) -> Group {
        self.group(JOB, node, "")
    }

    fn group(&mut self, fields: &'static [Field], node: &Node, path: &str) -> Group {
        let mut group = Group { line: node.line, path: path.to_owned(), values: BTreeMap::new() };
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null if !path.is_empty() => &[],
            other => {
                self.problem(node.line, path, format!("must be a group of keys, not {}", other.kind()));
                return group;
            }
        };
        let mut seen = HashSet::new();
        for entry in entries {
            let Some(field) = fields.iter().find(|field| field.key == entry.key) else {
                self.problem(entry.line, join(path, &entry.key), unknown_key(&entry.key, fields));
                continue;
            };
            if !seen.insert(field.key) {
                self.problem(entry.line, join(path, field.key), "given twice");
                continue;
            }
            if matches!(entry.node.value, Value::Null) && !matches!(field.shape, Shape::ZeroDate | Shape::Group(_)) {
                // `key:` without a value is an absent key.
                seen.remove(field.key);
                continue;
            }
            if let Some(checked) = self.value(field, &entry.node, &join(path, field.key)) {
                group.values.insert(field.key, (entry.node.line, checked));
            }
        }
        for field in fields.iter().filter(|field| !seen.contains(field.key)) {
            self.fill(field, &mut group);
        }
        group
    }

    /// Gives an absent key its default.
    fn fill(&mut self, field: &'static Field, group: &mut Group) {
        let path = join(&group.path, field.key);
        let checked = match (&field.shape, &field.default) {
            (_, Default::Required) => {
                self.problem(0, path, format!("missing. {}", field.doc));
                return;
            }
            (Shape::Group(fields), _) => {
                let empty = Node { line: group.line, value: Value::Null };
                Checked::Group(self.group(fields, &empty, &path))
            }
            (Shape::Startup, _) => Checked::Startup(Startup::Initial),
            (Shape::ZeroDate, _) => Checked::ZeroDate(ZeroDate::Null),
            (Shape::Texts(_), Default::Text(text)) => Checked::Texts(vec![(group.line, (*text).to_owned())]),
            (Shape::Number(..), Default::Integer(number)) => Checked::Number(*number as f64),
            (_, Default::Flag(flag)) => Checked::Flag(*flag),
            (_, Default::Text(text)) => Checked::Text((*text).to_owned()),
            (_, Default::Integer(number)) => Checked::Integer(*number),
            (_, Default::None) => return,
        };
        group.values.insert(field.key, (group.line, checked));
    }

    fn value(&mut self, field: &'static Field, node: &Node, path: &str) -> Option<Checked> {
        match &field.shape {
            Shape::Text | Shape::Secret => self.text(node, path).map(Checked::Text),
            Shape::Integer(low, high) => {
                let number = self.digits(node, path, "a whole number")?;
                match number.parse::<u64>() {
                    Ok(number) if (*low..=*high).contains(&number) => Some(Checked::Integer(number)),
                    _ => {
                        self.problem(node.line, path, format!("{number} must be a whole number from {low} to {high}"));
                        None
                    }
                }
            }
            Shape::Flag => self.flag(node, path).map(Checked::Flag),
            Shape::Number(low, high) => {
                let number = self.digits(node, path, "a number")?;
                match number.parse::<f64>() {
                    Ok(value) if (*low as f64..=*high as f64).contains(&value) => Some(Checked::Number(value)),
                    _ => {
                        self.problem(node.line, path, format!("{number} must be a number from {low} to {high}"));
                        None
                    }
                }
            }
            Shape::Word(words) => {
                let text = self.text(node, path)?;
                if words.contains(&text.as_str()) {
                    return Some(Checked::Text(text));
                }
                self.problem(node.line, path, later_word(path, &text).unwrap_or_else(|| wrong_word(&text, words)));
                None
            }
            Shape::Texts(needed) => self.texts(node, path, *needed).map(Checked::Texts),
            Shape::TextMap => self.text_map(node, path).map(Checked::TextMap),
            Shape::Group(fields) => Some(Checked::Group(self.group(fields, node, path))),
            Shape::Startup => self.startup(node, path).map(Checked::Startup),
            Shape::ZeroDate => self.zero_date(node, path).map(Checked::ZeroDate),
        }
    }

    fn expanded(&mut self, text: &str, line: u64, path: &str) -> Option<String> {
        match expand(text, self.lookup) {
            Ok(became) => {
                if became != text && !became.is_empty() {
                    self.expanded.push((became.clone(), text.to_owned()));
                }
                Some(became)
            }
            Err(message) => {
                self.problem(line, path, message);
                None
            }
        }
    }

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => self.expanded(text, node.line, path),
            // YAML reads 007 as a number: the text that was meant is gone, a password would be wrong.
            other @ (Value::Number(_) | Value::Bool(_)) => {
                let message = format!("must be text, not {}; put it in quotes", other.kind());
                self.problem(node.line, path, message);
                None
            }
            other => {
                self.problem(node.line, path, format!("must be text, not {}", other.kind()));
                None
            }
        }
    }

    /// A number's digits, from a number or from a text (`${PORT}`).
    fn digits(&mut self, node: &Node, path: &str, wanted: &str) -> Option<String> {
        match &node.value {
            Value::Number(number) => Some(number.clone()),
            Value::Text(text) => {
                let text = self.expanded(text, node.line, path)?;
                if text.trim().parse::<f64>().is_ok() {
                    return Some(text.trim().to_owned());
                }
                self.problem(node.line, path, format!("must be {wanted}, not text"));
                None
            }
            other => {
                self.problem(node.line, path, format!("must be {wanted}, not {}", other.kind()));
                None
            }
        }
    }

    /// From true or false, or from a text (`${NAME}`).
    fn flag(&mut self, node: &Node, path: &str) -> Option<bool> {
        let kind = match &node.value {
            Value::Bool(flag) => return Some(*flag),
            Value::Text(text) => match self.expanded(text, node.line, path)?.trim() {
                "true" => return Some(true),
                "false" => return Some(false),
                _ => "text",
            },
            other => other.kind(),
        };
        self.problem(node.line, path, format!("must be true or false, not {kind}"));
        None
    }

    fn texts(&mut self, node: &Node, path: &str, needed: bool) -> Option<Vec<(u64, String)>> {
        let texts: Vec<(u64, String)> = match &node.value {
            Value::Text(_) => vec![(node.line, self.text(node, path)?)],
            Value::List(items) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| Some((item.line, self.text(item, &format!("{path}[{index}]"))?)))
                .collect(),
            other => {
                self.problem(node.line, path, format!("must be a list of texts, not {}", other.kind()));
                return None;
            }
        };
        if needed && matches!(&node.value, Value::List(items) if items.is_empty()) {
            self.problem(node.line, path, "the list is empty; give at least one");
        }
        Some(texts)
    }

    fn text_map(&mut self, node: &Node, path: &str) -> Option<BTreeMap<String, String>> {
        let Value::Map(entries) = &node.value else {
            self.problem(node.line, path, format!("must be a group of keys with texts, not {}", node.value.kind()));
            return None;
        };
        let mut map = BTreeMap::new();
        for entry in entries {
            let text = match &entry.node.value {
                Value::Number(number) => Some(number.clone()),
                Value::Bool(value) => Some(value.to_string()),
                _ => self.text(&entry.node, &join(path, &entry.key)),
            };
            if let Some(text) = text
                && map.insert(entry.key.clone(), text).is_some()
            {
                self.problem(entry.line, join(path, &entry.key), "given twice");
            }
        }
        Some(map)
    }

    fn startup(&mut self, node: &Node, path: &str) -> Option<Startup> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            _ => {
                let word = self.text(node, path)?;
                return match word.as_str() {
                    "initial" => Some(Startup::Initial),
                    "full" => Some(Startup::Full),
                    "latest" => Some(Startup::Latest),
                    "earliest" => Some(Startup::Earliest),
                    _ => {
                        let words = wrong_word(&word, STARTUP_WORDS);
                        let message = format!("{words}, or {{file, position}}, {{gtid}} or {{timestamp}}");
                        self.problem(node.line, path, message);
                        None
                    }
                };
            }
        };
        let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        keys.sort_unstable();
        let part = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
        match (keys.as_slice(), part("file"), part("position"), part("gtid"), part("timestamp")) {
            (["file", "position"], Some(file), Some(position), ..) => {
                let file = self.text(file, &join(path, "file"));
                let digits = self.digits(position, &join(path, "position"), "a whole number");
                let (file, digits) = (file?, digits?);
                match digits.parse::<u64>() {
                    // A binlog file begins with four magic bytes.
                    Ok(number) if number >= 4 => Some(Startup::Position { file, position: number }),
                    _ => {
                        let message =
                            format!("{digits} must be a whole number from 4 (where a binlog file's events begin)");
                        self.problem(position.line, join(path, "position"), message);
                        None
                    }
                }
            }
            (["gtid"], _, _, Some(gtid), _) => {
                let text = self.text(gtid, &join(path, "gtid"))?;
                let text: String = text.split_whitespace().collect();
                if text.is_empty() {
                    self.problem(
                        gtid.line,
                        join(path, "gtid"),
                        "is empty; use `earliest` to begin with the oldest log",
                    );
                    return None;
                }
                Some(Startup::Gtid(text))
            }
            (["timestamp"], _, _, _, Some(timestamp)) => {
                let text = self.text(timestamp, &join(path, "timestamp"))?;
                let seconds = seconds_since_1970(&text);
                if seconds.is_none() {
                    let message =
                        format!("{text:?} must be like 2026-01-31T12:00:00+01:00, or 2026-01-31 12:00:00 (UTC)");
                    self.problem(timestamp.line, join(path, "timestamp"), message);
                }
                seconds.map(Startup::Timestamp)
            }
            _ => {
                let message = format!(
                    "must have the keys {{file, position}}, {{gtid}} or {{timestamp}}, and has {{{}}}",
                    keys.join(", ")
                );
                self.problem(node.line, path, message);
                None
            }
        }
    }

    fn zero_date(&mut self, node: &Node, path: &str) -> Option<ZeroDate> {
        if matches!(node.value, Value::Null) {
            return Some(ZeroDate::Null);
        }
        let text = self.text(node, path)?;
        match text.as_str() {
            "error" => return Some(ZeroDate::Error),
            "null" => return Some(ZeroDate::Null),
            _ => {}
        }
        match text.parse::<jiff::civil::Date>() {
            Ok(date) if date.to_string() == text && date.year() >= 0 => Some(ZeroDate::Value(text)),
            _ => {
                self.problem(node.line, path, format!("{text:?} must be null, error, or a date like 1970-01-01"));
                None
            }
        }
    }
}

fn seconds_since_1970(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_second());
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn wrong_word(word: &str, words: &[&str]) -> String {
    match nearest(word, words.iter().copied()) {
        Some(near) => format!("{word:?} is not known; did you mean `{near}`? Allowed: {}", words.join(", ")),
        None => format!("{word:?} is not known. Allowed: {}", words.join(", ")),
    }
}

/// What to say of a value that a later version will take.
fn later_word(path: &str, word: &str) -> Option<String> {
    let say = |text: &str| Some(format!("`{word}` is not in this version: {text}"));
    match (path, word) {
        ("target.type", "doris") => say("use `starrocks` or `embedded`"),
        _ => None,
    }
}

fn unknown_key(key: &str, fields: &'static [Field]) -> String {
    let known = fields.iter().map(|field| field.key);
    if let Some(near) = nearest(key, known.clone()) {
        return format!("no such key; did you mean `{near}`?");
    }
    if let Some(place) = find(key, JOB, "") {
        return format!("no such key here; did you mean `{place}`?");
    }
    format!("no such key. Known here: {}", known.collect::<Vec<_>>().join(", "))
}

/// Where in the whole file a key of this name stands.
fn find(key: &str, fields: &'static [Field], path: &str) -> Option<String> {
    fields.iter().find_map(|field| {
        let place = join(path, field.key);
        match &field.shape {
            _ if field.key.eq_ignore_ascii_case(key) => Some(place),
            Shape::Group(fields) => find(key, fields, &place),
            _ => None,
        }
    })
}

/// The known word nearest to a mistyped one, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let word = plain(word);
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
