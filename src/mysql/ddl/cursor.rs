//! A statement's tokens, and the questions a parser asks of them.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::{Session, Unread};
use crate::mysql::binlog::statement::expand_comments;
use crate::schema::TableName;

/// MySQL's words, with or without backslash escapes.
#[derive(Debug)]
struct Words {
    backslash_escapes: bool,
}

impl Dialect for Words {
    fn dialect(&self) -> TypeId {
        MySqlDialect {}.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_delimited_identifier_start(ch)
    }

    fn supports_numeric_prefix(&self) -> bool {
        true
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        self.backslash_escapes
    }
}

pub(super) struct Cursor<'a> {
    tokens: Vec<Token>,
    at: usize,
    session: Session<'a>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(sql: &str, session: Session<'a>) -> Result<Self, Unread> {
        let text = expand_comments(sql);
        let dialect = Words { backslash_escapes: !session.no_backslash_escapes };
        let mut tokens = Tokenizer::new(&dialect, &text)
            .tokenize()
            .map_err(|error| Unread { reason: format!("it cannot be cut into words: {error}") })?;
        tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
        Ok(Cursor { tokens, at: 0, session })
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    pub(super) fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The unquoted word `ahead`, as it is written.
    fn word_at(&self, ahead: usize) -> Option<&str> {
        match self.token(ahead)? {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    fn is_word(&self, ahead: usize, expected: &str) -> bool {
        self.word_at(ahead).is_some_and(|word| word.eq_ignore_ascii_case(expected))
    }

    pub(super) fn peek_word(&self, expected: &str) -> bool {
        self.is_word(0, expected)
    }

    /// Whether these words stand here.
    pub(super) fn peek_words(&self, expected: &[&str]) -> bool {
        expected.iter().enumerate().all(|(ahead, word)| self.is_word(ahead, word))
    }

    /// The unquoted word here in capitals.
    pub(super) fn upper(&self) -> String {
        self.word_at(0).map(str::to_ascii_uppercase).unwrap_or_default()
    }

    /// Takes these words when they stand here.
    pub(super) fn words(&mut self, expected: &[&str]) -> bool {
        let found = self.peek_words(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Takes one of these words.
    pub(super) fn any_word(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.words(&[word]))
    }

    pub(super) fn skip(&mut self, tokens: usize) {
        self.at += tokens;
    }

    pub(super) fn skip_rest(&mut self) {
        self.at = self.tokens.len();
    }

    pub(super) fn peek_symbol(&self, symbol: char) -> bool {
        self.symbol_at(0, symbol)
    }

    pub(super) fn symbol_at(&self, ahead: usize, symbol: char) -> bool {
        let expected = match symbol {
            ',' => Token::Comma,
            '(' => Token::LParen,
            ')' => Token::RParen,
            '=' => Token::Eq,
            ';' => Token::SemiColon,
            '.' => Token::Period,
            '-' => Token::Minus,
            '+' => Token::Plus,
            _ => return false,
        };
        self.token(ahead) == Some(&expected)
    }

    pub(super) fn symbol(&mut self, symbol: char) -> bool {
        let found = self.peek_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn number_at(&self, ahead: usize) -> Option<&str> {
        match self.token(ahead)? {
            Token::Number(number, _) => Some(number),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<String> {
        let number = self.number_at(0)?.to_owned();
        self.at += 1;
        Some(number)
    }

    /// String literals that stand side by side are one.
    pub(super) fn string(&mut self) -> Option<String> {
        let mut text: Option<String> = None;
        loop {
            let part = match self.token(0) {
                Some(Token::SingleQuotedString(part) | Token::NationalStringLiteral(part)) => part,
                Some(Token::DoubleQuotedString(part)) if !self.session.ansi_quotes => part,
                _ => return text,
            };
            let part = part.clone();
            text.get_or_insert_default().push_str(&part);
            self.at += 1;
        }
    }

    /// Whether a string literal stands `ahead`.
    pub(super) fn string_at(&self, ahead: usize) -> bool {
        match self.token(ahead) {
            Some(Token::SingleQuotedString(_)) => true,
            Some(Token::DoubleQuotedString(_)) => !self.session.ansi_quotes,
            _ => false,
        }
    }

    /// `b'101'`, as the number it is.
    pub(super) fn bits(&mut self) -> Option<String> {
        let digits = match self.token(0)? {
            Token::SingleQuotedByteStringLiteral(digits) => digits.clone(),
            // `0b101` is cut as a number and a word, or as one word.
            Token::Word(word) if word.quote_style.is_none() => word.value.strip_prefix("0b")?.to_owned(),
            _ => return None,
        };
        let number = u64::from_str_radix(&digits, 2).ok()?;
        self.at += 1;
        Some(number.to_string())
    }

    /// `x'6162'` as text.
    pub(super) fn hex_text(&mut self) -> Option<String> {
        let Token::HexStringLiteral(digits) = self.token(0)? else { return None };
        let bytes: Option<Vec<u8>> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
        // Others mean what the column's character set makes of them.
        let text = String::from_utf8(bytes?).ok().filter(|text| text.is_ascii())?;
        self.at += 1;
        Some(text)
    }

    /// An identifier, quoted or not.
    pub(super) fn name(&mut self) -> Result<String, Unread> {
        let name = match self.token(0) {
            Some(Token::Word(word)) => word.value.clone(),
            // ANSI_QUOTES is not told by every log.
            Some(Token::DoubleQuotedString(text)) => text.clone(),
            _ => return Err(self.unexpected("a name")),
        };
        self.at += 1;
        Ok(name)
    }

    /// `table` or `database.table`.
    pub(super) fn table(&mut self) -> Result<TableName, Unread> {
        // `.table`, from the days of ODBC, means the default database.
        let first = if self.symbol('.') { None } else { Some(self.name()?) };
        if first.is_none() || self.symbol('.') {
            let table = self.name()?;
            return match first {
                Some(database) => Ok(TableName::new(database, table)),
                None => self.here(table),
            };
        }
        self.here(first.unwrap_or_default())
    }

    fn here(&self, table: String) -> Result<TableName, Unread> {
        if self.session.database.is_empty() {
            return Err(Unread { reason: format!("the table {table} is named without a database") });
        }
        Ok(TableName::new(self.session.database, table))
    }

    /// `(a, b(10) DESC, (expression))`: the columns of a key, `None` for an expression.
    pub(super) fn key_parts(&mut self) -> Result<Vec<Option<String>>, Unread> {
        self.expect_symbol('(')?;
        let mut parts = Vec::new();
        loop {
            if self.peek_symbol('(') {
                self.parentheses()?;
                parts.push(None);
            } else {
                parts.push(Some(self.name()?));
                if self.peek_symbol('(') {
                    self.parentheses()?;
                }
            }
            let _ = self.any_word(&["ASC", "DESC"]);
            if !self.symbol(',') {
                self.expect_symbol(')')?;
                return Ok(parts);
            }
        }
    }

    /// Takes what stands in parentheses, and them.
    pub(super) fn parentheses(&mut self) -> Result<String, Unread> {
        let start = self.at;
        self.expect_symbol('(')?;
        let mut depth = 1;
        while depth > 0 {
            match self.token(0) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth -= 1,
                Some(_) => {}
                None => return Err(self.unexpected("a closing parenthesis")),
            }
            self.at += 1;
        }
        Ok(self.text(start, self.at))
    }

    /// Takes `name = value`, which no clause of a table begins with.
    pub(super) fn unknown_option(&mut self) -> Option<String> {
        if !self.symbol_at(1, '=') {
            return None;
        }
        let name = self.name().ok()?;
        self.at += 2;
        Some(name)
    }

    /// Whether this word stands behind the token here.
    pub(super) fn word_after_is(&self, word: &str) -> bool {
        self.is_word(1, word)
    }

    /// Whether this word stands anywhere from `start` on.
    pub(super) fn contains_word(&self, start: usize, expected: &str) -> bool {
        self.tokens.iter().skip(start).any(|token| {
            matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
        })
    }

    pub(super) fn skip_back_to(&mut self, position: usize) {
        self.at = position;
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The tokens from one position to another, as text.
    pub(super) fn text(&self, start: usize, end: usize) -> String {
        let tokens = self.tokens.get(start..end).unwrap_or_default();
        tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), Unread> {
        if self.words(&[word]) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    pub(super) fn expect_symbol(&mut self, symbol: char) -> Result<(), Unread> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected(&symbol.to_string())) }
    }

    pub(super) fn expect_end(&self) -> Result<(), Unread> {
        if self.done() { Ok(()) } else { Err(self.unexpected("the statement's end")) }
    }

    pub(super) fn unexpected(&self, expected: &str) -> Unread {
        let found = match self.token(0) {
            Some(token) => format!("`{token}`"),
            None => "the statement's end".to_owned(),
        };
        Unread { reason: format!("expected {expected}, found {found}") }
    }
}
