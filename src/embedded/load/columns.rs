//! The `columns` header: names of the source's fields, and `column = expression` mappings.
//!
//! StarRocks parses it as SQL `COLUMNS (…)`. A load needs few expressions, so this knows literals, fields and
//! the functions that turn text into bytes or fill gaps; an unknown function is refused by name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::embedded::value::decode_hex;

/// One entry of the header, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// `None`: a plain name, which takes the next field of the source.
    pub(super) mapping: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Null,
    /// A literal; numbers keep the text they were written with.
    Literal(String),
    Field(String),
    Call(Function, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    ToBinary,
    FromBase64,
    Unhex,
    ParseJson,
    IfNull,
    Coalesce,
    NullIf,
    Concat,
    Upper,
    Lower,
    Trim,
    Now,
}

const FUNCTIONS: [(&str, Function); 13] = [
    ("to_binary", Function::ToBinary),
    ("from_base64", Function::FromBase64),
    ("unhex", Function::Unhex),
    ("parse_json", Function::ParseJson),
    ("ifnull", Function::IfNull),
    ("coalesce", Function::Coalesce),
    ("nullif", Function::NullIf),
    ("concat", Function::Concat),
    ("upper", Function::Upper),
    ("lower", Function::Lower),
    ("trim", Function::Trim),
    ("now", Function::Now),
    ("current_timestamp", Function::Now),
];

impl Expr {
    /// Names of the fields it reads.
    pub(super) fn fields<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Expr::Null | Expr::Literal(_) => {}
            Expr::Field(name) => out.push(name),
            Expr::Call(_, arguments) => arguments.iter().for_each(|argument| argument.fields(out)),
        }
    }

    /// Computes it; `field` gives a field's text, `None` is NULL. `now` is the load's own time.
    pub(super) fn evaluate<'a>(
        &'a self,
        field: &dyn Fn(&str) -> Option<Cow<'a, [u8]>>,
        now: &'a str,
    ) -> Option<Cow<'a, [u8]>> {
        let (function, arguments) = match self {
            Expr::Null => return None,
            Expr::Literal(text) => return Some(Cow::Borrowed(text.as_bytes())),
            Expr::Field(name) => return field(name),
            Expr::Call(function, arguments) => (*function, arguments),
        };
        let argument = |at: usize| arguments.get(at).and_then(|expr: &'a Expr| expr.evaluate(field, now));
        match function {
            Function::Now => Some(Cow::Borrowed(now.as_bytes())),
            Function::IfNull | Function::Coalesce => (0..arguments.len()).find_map(argument),
            Function::NullIf => {
                let first = argument(0)?;
                if argument(1).as_deref() == Some(&first[..]) { None } else { Some(first) }
            }
            Function::Concat => {
                let mut all = Vec::new();
                for at in 0..arguments.len() {
                    all.extend_from_slice(&argument(at)?);
                }
                Some(Cow::Owned(all))
            }
            Function::Upper => Some(Cow::Owned(String::from_utf8_lossy(&argument(0)?).to_uppercase().into_bytes())),
            Function::Lower => Some(Cow::Owned(String::from_utf8_lossy(&argument(0)?).to_lowercase().into_bytes())),
            Function::Trim => {
                let text = argument(0)?;
                let start = text.iter().take_while(|byte| **byte == b' ').count();
                let end = text.len() - text[start..].iter().rev().take_while(|byte| **byte == b' ').count();
                Some(Cow::Owned(text[start..end].to_vec()))
            }
            Function::FromBase64 => STANDARD.decode(argument(0)?).ok().map(Cow::Owned),
            Function::Unhex => decode_hex(&argument(0)?).map(Cow::Owned),
            // The text of a document is how a JSON cell is made; what is none is NULL.
            Function::ParseJson => {
                argument(0).filter(|text| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok())
            }
            Function::ToBinary => {
                let text = argument(0)?;
                let format = match arguments.len() {
                    1 => Cow::Borrowed(&b"hex"[..]),
                    _ => argument(1)?,
                };
                match format.to_ascii_lowercase().as_slice() {
                    b"encode64" => STANDARD.decode(text).ok().map(Cow::Owned),
                    b"utf8" => Some(text),
                    _ => decode_hex(&text).map(Cow::Owned),
                }
            }
        }
    }
}

/// Reads the header.
///
/// # Errors
/// The text for the load's `Message`.
pub(super) fn parse(header: &str) -> Result<Vec<Entry>, String> {
    let mut parser = Parser { rest: header, whole: header };
    let mut entries = Vec::new();
    loop {
        let name = parser.name()?;
        let mapping = if parser.take('=') { Some(parser.expr()?) } else { None };
        entries.push(Entry { name, mapping });
        if parser.at_end() {
            return Ok(entries);
        }
        if !parser.take(',') {
            return Err(parser.unexpected());
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn at_end(&mut self) -> bool {
        self.skip();
        self.rest.is_empty()
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn unexpected(&self) -> String {
        let near: String = self.rest.chars().take(20).collect();
        let near = if near.is_empty() { "<EOF>".to_owned() } else { near };
        format!("Getting syntax error in columns header '{}'. Detail message: Unexpected input '{near}'.", self.whole)
    }

    /// A bare or back-quoted name.
    fn name(&mut self) -> Result<String, String> {
        self.skip();
        if self.rest.starts_with('`') {
            return self.quoted('`');
        }
        let length = self
            .rest
            .char_indices()
            .find(|(_, character)| !(character.is_alphanumeric() || matches!(character, '_' | '$')))
            .map_or(self.rest.len(), |(at, _)| at);
        if length == 0 {
            return Err(self.unexpected());
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// Text between quotes. A doubled quote stands for itself; in strings a backslash escapes.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                match characters.peek() {
                    Some((_, next)) if *next == quote => {
                        characters.next();
                        text.push(quote);
                        continue;
                    }
                    _ => {}
                }
                self.rest = &self.rest[at + quote.len_utf8()..];
                return Ok(text);
            }
            if character == '\\' && quote != '`' {
                match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, '0')) => text.push('\0'),
                    Some((_, other)) => text.push(other),
                    None => break,
                }
                continue;
            }
            text.push(character);
        }
        Err(self.unexpected())
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.skip();
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote).map(Expr::Literal),
            Some('(') => {
                self.take('(');
                let inner = self.expr()?;
                if self.take(')') { Ok(inner) } else { Err(self.unexpected()) }
            }
            Some('-' | '+' | '0'..='9' | '.') => {
                let length = self
                    .rest
                    .char_indices()
                    .skip(1)
                    .find(|(_, character)| !(character.is_ascii_alphanumeric() || *character == '.'))
                    .map_or(self.rest.len(), |(at, _)| at);
                let (number, rest) = self.rest.split_at(length);
                if number.parse::<f64>().is_err() {
                    return Err(self.unexpected());
                }
                self.rest = rest;
                Ok(Expr::Literal(number.to_owned()))
            }
            Some('`') => self.quoted('`').map(Expr::Field),
            _ => {
                let name = self.name()?;
                if self.take('(') {
                    return self.call(&name);
                }
                Ok(match name.to_ascii_lowercase().as_str() {
                    "null" => Expr::Null,
                    "true" => Expr::Literal("1".into()),
                    "false" => Expr::Literal("0".into()),
                    "current_timestamp" => Expr::Call(Function::Now, Vec::new()),
                    _ => Expr::Field(name),
                })
            }
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr, String> {
        let mut arguments = Vec::new();
        if !self.take(')') {
            loop {
                arguments.push(self.expr()?);
                if self.take(')') {
                    break;
                }
                if !self.take(',') {
                    return Err(self.unexpected());
                }
            }
        }
        let lower = name.to_ascii_lowercase();
        let function = FUNCTIONS.iter().find(|(known, _)| *known == lower).map(|(_, function)| *function);
        let right_count = |function| match function {
            Function::Now => arguments.is_empty(),
            Function::ToBinary => matches!(arguments.len(), 1 | 2),
            Function::IfNull | Function::NullIf => arguments.len() == 2,
            Function::Coalesce | Function::Concat => !arguments.is_empty(),
            _ => arguments.len() == 1,
        };
        match function {
            Some(function) if right_count(function) => Ok(Expr::Call(function, arguments)),
            _ => {
                let types = vec!["VARCHAR"; arguments.len()].join(", ");
                Err(format!("No matching function with signature: {lower}({types})."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_mappings_are_read_in_order() {
        let entries = parse("id, `my col`, __op='delete', b=to_binary(x, 'hex')").unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!((entries[1].name.as_str(), &entries[1].mapping), ("my col", &None));
        assert_eq!(entries[2].mapping, Some(Expr::Literal("delete".into())));
        let hex = Expr::Call(Function::ToBinary, vec![Expr::Field("x".into()), Expr::Literal("hex".into())]);
        assert_eq!(entries[3].mapping, Some(hex));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for header in ["", "a b", "a,", "a=", "a=nope(1)", "a='x", "a==1"] {
            assert!(parse(header).is_err(), "{header}");
        }
    }

    #[test]
    fn functions_turn_text_into_bytes() {
        let value = |header: &str, field: Option<&'static str>| {
            let entries = parse(header).unwrap();
            let expr = entries[0].mapping.clone().unwrap();
            let found = expr.evaluate(&|_| field.map(|text| Cow::Borrowed(text.as_bytes())), "now");
            found.map(Cow::into_owned)
        };
        assert_eq!(value("b=to_binary(x,'hex')", Some("00ff")), Some(vec![0, 255]));
        assert_eq!(value("b=to_binary(x,'hex')", Some("0g")), None);
        assert_eq!(value("b=to_binary(x,'encode64')", Some("AAE=")), Some(vec![0, 1]));
        assert_eq!(value("b=from_base64(x)", Some("AAE=")), Some(vec![0, 1]));
        assert_eq!(value("j=parse_json(x)", Some("null")), Some(b"null".to_vec()));
        assert_eq!(value("j=parse_json(x)", Some("nul")), None);
        assert_eq!(value("b=ifnull(x,'none')", None), Some(b"none".to_vec()));
        assert_eq!(value("b=concat(x,'-',x)", Some("a")), Some(b"a-a".to_vec()));
        assert_eq!(value("b=x", None), None);
    }
}
