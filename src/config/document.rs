//! The job file's text as a tree that remembers lines, so that a mistake can be pointed at.
//!
//! JSON is read by the YAML parser, which takes it as it is.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Spanned, options};

/// One value and the line it stands on; 0 when the parser does not know.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// The number as Rust prints it.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) node: Node,
}

/// What is wrong with the text itself, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) line: u64,
    pub(super) message: String,
}

/// Reads YAML or JSON.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    // Snippets would quote the file, and the file may hold a password.
    let options = options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let text = error.without_snippet().to_string();
        // The place is told already, and the parser's advice is for programmers.
        let message = [" at line ", ", set DuplicateKeyPolicy", "; use from_"]
            .into_iter()
            .fold(text.as_str(), |text, end| text.split_once(end).map_or(text, |(message, _)| message))
            .to_owned();
        SyntaxError { line, message }
    })
}

impl Value {
    /// For messages: `text`, `a list`, …
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a group of keys",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node = entries.next_value()?;
            map.push(Entry { line: key.referenced.line(), key: key.value, node });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let value = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.clone(),
            Value::Text(value) => format!("{value:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|entry| format!("{}={}", entry.key, show(&entry.node))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        };
        format!("{value}@{}", node.line)
    }

    #[test]
    fn yaml_keeps_lines_and_kinds() {
        let text = "a: 1\nb:\n  c: ['x', \"y\"]\n  d: null\ne: 0.5\nf: true\ng: 2020-01-02\nh:\n";
        assert_eq!(
            show(&parse(text).unwrap()),
            "{a=1@1 b={c=[\"x\"@3 \"y\"@3]@3 d=null@4}@3 e=0.5@5 f=true@6 g=\"2020-01-02\"@7 h=null@8}@1"
        );
    }

    #[test]
    fn json_is_read_with_tabs_and_escapes() {
        let text = "{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [1, 2],\n\t\"c\": {}\n}\n";
        assert_eq!(show(&parse(text).unwrap()), "{a=\"😀/\"@2 b=[1@3 2@3]@3 c={}@4}@1");
    }

    #[test]
    fn a_syntax_error_names_its_line_and_quotes_nothing() {
        for text in ["a: 1\nb: [secret\n", "password: secret\npassword: secret2\n", "a: *x\n", "a: 'secret\n"] {
            let error = parse(text).unwrap_err();
            assert!(error.line > 0, "{error:?}");
            assert!(!error.message.contains("secret"), "{error:?}");
        }
    }
}
