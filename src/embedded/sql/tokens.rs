//! A cursor over a statement's tokens, for the grammar that is StarRocks' own.

use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError};

use super::answer::{SqlError, SqlResult};

pub(super) struct Cursor<'a> {
    sql: &'a str,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Without white space, comments and the `;` at the end.
    pub(super) fn new(sql: &'a str) -> SqlResult<Cursor<'a>> {
        let mut tokens = Tokenizer::new(&MySqlDialect {}, sql).tokenize_with_location().map_err(
            |TokenizerError { message, location }| SqlError::syntax(location.line, location.column, message),
        )?;
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        while tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
            tokens.pop();
        }
        Ok(Cursor { sql, tokens, at: 0 })
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|token| &token.token)
    }

    /// Where the next token stands.
    fn location(&self) -> Location {
        match (self.tokens.get(self.at), self.tokens.last()) {
            (Some(token), _) => token.span.start,
            (None, Some(last)) => last.span.end,
            (None, None) => Location { line: 1, column: 1 },
        }
    }

    /// The text from the next token on.
    pub(super) fn rest(&self) -> &'a str {
        if self.at_end() {
            return "";
        }
        let Location { line, column } = self.location();
        let mut lines = self.sql.split_inclusive('\n');
        let before: usize = lines.by_ref().take(line.saturating_sub(1) as usize).map(str::len).sum();
        let in_line = lines.next().unwrap_or_default();
        let within = in_line.char_indices().nth(column.saturating_sub(1) as usize).map_or(in_line.len(), |(at, _)| at);
        self.sql.get(before + within..).unwrap_or_default().trim_end().trim_end_matches(';')
    }

    /// The error that names the next token.
    pub(super) fn unexpected(&self, wanted: &str) -> SqlError {
        let found = match self.peek() {
            Some(token) => format!("Unexpected input '{token}'"),
            None => "Unexpected input '<EOF>'".to_owned(),
        };
        let wanted = if wanted.is_empty() { String::new() } else { format!(", the most similar input is {wanted}") };
        self.error(format!("{found}{wanted}"))
    }

    pub(super) fn error(&self, detail: impl AsRef<str>) -> SqlError {
        let location = self.location();
        SqlError::syntax(location.line, location.column, detail)
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.is_at(0, keyword)
    }

    pub(super) fn is_at(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.peek_at(ahead), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
    }

    /// Takes all of `keywords` (separated by blanks) or none.
    pub(super) fn take(&mut self, keywords: &str) -> bool {
        let mut count = 0;
        for keyword in keywords.split(' ') {
            if !self.is_at(count, keyword) {
                return false;
            }
            count += 1;
        }
        self.at += count;
        true
    }

    pub(super) fn expect(&mut self, keywords: &str) -> SqlResult<()> {
        if self.take(keywords) { Ok(()) } else { Err(self.unexpected(&format!("'{keywords}'"))) }
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> SqlResult<()> {
        if self.take_token(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}'"))) }
    }

    pub(super) fn expect_end(&self) -> SqlResult<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("{<EOF>, ';'}")) }
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|token| token.token.clone());
        self.at += 1;
        token
    }

    /// A name, back-quoted or bare.
    pub(super) fn name(&mut self) -> SqlResult<String> {
        match self.peek() {
            Some(Token::Word(word)) if word.quote_style.is_some() || !is_reserved(&word.value) => {
                let name = word.value.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("an identifier")),
        }
    }

    /// A bare word, reserved or not.
    pub(super) fn name_of_type(&mut self) -> SqlResult<String> {
        match self.next() {
            Some(Token::Word(word)) if word.quote_style.is_none() => Ok(word.value),
            _ => Err(self.error("a data type is expected")),
        }
    }

    /// `[db.]name`.
    pub(super) fn qualified(&mut self) -> SqlResult<(Option<String>, String)> {
        let first = self.name()?;
        if self.take_token(&Token::Period) {
            let second = self.name()?;
            // `default_catalog.db.name`
            if self.take_token(&Token::Period) {
                return Ok((Some(second), self.name()?));
            }
            return Ok((Some(first), second));
        }
        Ok((None, first))
    }

    /// `(a, b, …)`.
    pub(super) fn names(&mut self) -> SqlResult<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.name()?];
        while self.take_token(&Token::Comma) {
            names.push(self.name()?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// A string in either kind of quotes.
    pub(super) fn string(&mut self) -> SqlResult<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(text) | Token::DoubleQuotedString(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("a string")),
        }
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self.peek(), Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)))
    }

    pub(super) fn number(&mut self) -> SqlResult<u64> {
        match self.peek() {
            Some(Token::Number(text, _)) => match text.parse() {
                Ok(number) => {
                    self.at += 1;
                    Ok(number)
                }
                Err(_) => Err(self.unexpected("a whole number")),
            },
            _ => Err(self.unexpected("a whole number")),
        }
    }

    /// `("key" = "value", …)`.
    pub(super) fn properties(&mut self) -> SqlResult<Vec<(String, String)>> {
        self.expect_token(&Token::LParen)?;
        let mut properties = Vec::new();
        loop {
            let key = self.string()?;
            self.expect_token(&Token::Eq)?;
            properties.push((key, self.string()?));
            if !self.take_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(properties)
    }
}

/// Words that cannot stand as a bare name (from StarRocks' list of reserved keywords, those that matter here).
fn is_reserved(word: &str) -> bool {
    const RESERVED: [&str; 66] = [
        "ADD",
        "ALL",
        "ALTER",
        "ANALYZE",
        "AND",
        "ARRAY",
        "AS",
        "ASC",
        "BETWEEN",
        "BIGINT",
        "BITMAP",
        "BOTH",
        "BY",
        "CASE",
        "CHAR",
        "CHARACTER",
        "CHECK",
        "COLLATE",
        "COLUMN",
        "CONVERT",
        "CREATE",
        "CROSS",
        "DATABASE",
        "DECIMAL",
        "DEFAULT",
        "DELETE",
        "DESC",
        "DESCRIBE",
        "DISTINCT",
        "DOUBLE",
        "DROP",
        "ELSE",
        "EXISTS",
        "EXPLAIN",
        "FLOAT",
        "FOR",
        "FROM",
        "FULL",
        "GRANT",
        "GROUP",
        "HAVING",
        "IF",
        "IN",
        "INDEX",
        "INSERT",
        "INT",
        "INTO",
        "IS",
        "JOIN",
        "JSON",
        "KEY",
        "LARGEINT",
        "LIKE",
        "LIMIT",
        "NOT",
        "NULL",
        "ON",
        "OR",
        "ORDER",
        "PRIMARY",
        "SELECT",
        "SET",
        "TABLE",
        "UPDATE",
        "VALUES",
        "WHERE",
    ];
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_starts_at_the_next_token() {
        let mut cursor = Cursor::new("SHOW /* x */ TABLES\n  LIKE 'a%' ;").unwrap();
        assert!(cursor.take("SHOW TABLES"));
        assert_eq!(cursor.rest().trim(), "LIKE 'a%'");
    }

    #[test]
    fn errors_tell_line_and_column() {
        let mut cursor = Cursor::new("DROP\nTABLE 5").unwrap();
        assert!(cursor.take("DROP TABLE"));
        let error = cursor.name().unwrap_err();
        assert!(error.message.starts_with("Getting syntax error at line 2, column 7."), "{}", error.message);
    }

    #[test]
    fn reserved_words_need_back_quotes() {
        assert!(Cursor::new("order").unwrap().name().is_err());
        assert_eq!(Cursor::new("`order`").unwrap().name().unwrap(), "order");
    }
}
