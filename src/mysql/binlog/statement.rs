//! What a statement of the log is about, as far as the reader must know: does it end a transaction, can it
//! touch a replicated table, or does it not matter.
//!
//! The text is cut by sqlparser's tokenizer and only its head is understood: the verb, what kind of thing it
//! works on, and the names. The rule is one-sided: a statement counts as harmless only when its verb is known
//! to be; text that is not understood is passed on. Names are found generously: what may be a table's name
//! counts as one, and the caller asks whether it is replicated.
//!
//! `/*! … */` and `/*M! … */` are read as the statements' text, whatever version they name, because the server
//! that logged the statement may have executed it so.

use std::borrow::Cow;

use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::Xid;
use crate::schema::TableName;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// XA START.
    XaBegin,
    Commit,
    Rollback,
    /// ROLLBACK TO SAVEPOINT: rows before it in the same transaction do not count.
    RollbackTo,
    /// XA COMMIT: a transaction counts that was prepared earlier. `None`: it has no name that we can read.
    XaCommit(Option<Xid>),
    /// XA ROLLBACK: likewise, and it does not.
    XaRollback(Option<Xid>),
    /// Cannot touch a table's definition or rows: accounts, views, routines, SET, FLUSH, ANALYZE, SAVEPOINT …
    Nothing,
    /// Works on these tables. Some names may be none.
    Tables(Change, Vec<TableName>),
    /// DROP DATABASE.
    DropDatabase(String),
    /// CREATE or ALTER DATABASE: the character set of tables to come.
    Database(String),
    /// Not understood: it may touch anything.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Create,
    Alter,
    Drop,
    Truncate,
    Rename,
    /// CREATE INDEX, DROP INDEX.
    Index,
    /// INSERT, UPDATE, DELETE, REPLACE, LOAD DATA as text: rows that the log does not carry.
    Rows,
}

/// Classifies one statement that ran with `database` as its default.
pub fn classify(sql: &str, database: &str) -> Effect {
    // What ends most transactions is decided without cutting.
    match sql.trim() {
        "BEGIN" => return Effect::Begin,
        "COMMIT" => return Effect::Commit,
        _ => {}
    }
    // Written by the server, always in this form.
    if let Some(xid) = sql.strip_prefix("XA COMMIT ") {
        return Effect::XaCommit(Xid::parse(xid));
    }
    if let Some(xid) = sql.strip_prefix("XA ROLLBACK ") {
        return Effect::XaRollback(Xid::parse(xid));
    }
    let Some(tokens) = tokens(sql) else { return Effect::Unknown };
    let mut words = Words { tokens: &tokens, at: 0, database };
    words.statement()
}

/// The statement's tokens without white space and comments, executable comments expanded. `None` if it cannot be cut.
fn tokens(sql: &str) -> Option<Vec<Token>> {
    let text = expand_comments(sql);
    let dialect = MySqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, &text).tokenize().ok()?;
    tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
    Some(tokens)
}

/// Replaces the marks of `/*!50100 … */` and `/*M!100100 … */` by blanks, so that their content is read.
pub(crate) fn expand_comments(sql: &str) -> Cow<'_, str> {
    if !sql.contains("/*!") && !sql.contains("/*M!") {
        return Cow::Borrowed(sql);
    }
    let mut bytes = sql.as_bytes().to_vec();
    let mut at = 0;
    let mut open = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest[0] {
            quote @ (b'\'' | b'"' | b'`') => at += quoted_length(rest, quote),
            b'#' => at += line_length(rest),
            b'-' if rest.starts_with(b"-- ") || rest.starts_with(b"--\n") => at += line_length(rest),
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                let mark = if rest[2] == b'!' { 3 } else { 4 };
                let digits = rest[mark..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
                bytes[at..at + mark + digits].fill(b' ');
                at += mark + digits;
                open += 1;
            }
            b'/' if rest.starts_with(b"/*") => {
                at += memchr::memmem::find(&rest[2..], b"*/").map_or(rest.len(), |end| end + 4);
            }
            b'*' if open > 0 && rest.starts_with(b"*/") => {
                bytes[at..at + 2].fill(b' ');
                open -= 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    // Only ASCII was replaced by ASCII.
    String::from_utf8(bytes).map_or(Cow::Borrowed(sql), Cow::Owned)
}

fn quoted_length(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'`' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1)
}

struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
    database: &'a str,
}

impl Words<'_> {
    /// The token here as an unquoted word in capitals, or "".
    fn peek(&self) -> String {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> String {
        match self.tokens.get(self.at + ahead) {
            Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn accept(&mut self, words: &[&str]) -> bool {
        let found = words.contains(&self.peek().as_str());
        self.at += usize::from(found);
        found
    }

    fn skip(&mut self, words: &[&str]) {
        while self.accept(words) {}
    }

    fn is(&self, token: &Token) -> bool {
        self.tokens.get(self.at) == Some(token)
    }

    fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// An identifier, quoted or not; double quotes may be ANSI_QUOTES'.
    fn identifier(&mut self) -> Option<String> {
        let name = match self.tokens.get(self.at)? {
            Token::Word(word) => word.value.clone(),
            Token::DoubleQuotedString(text) => text.clone(),
            // `1st` is cut as a number and a word; as a name of its own it is too odd to follow.
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// `table` or `database.table`.
    fn table(&mut self) -> Option<TableName> {
        let first = self.identifier()?;
        if self.is(&Token::Period) {
            self.at += 1;
            let second = self.identifier()?;
            return Some(TableName::new(first, second));
        }
        (!self.database.is_empty()).then(|| TableName::new(self.database, first))
    }

    /// `a, b.c, …`
    fn tables(&mut self) -> Option<Vec<TableName>> {
        let mut tables = vec![self.table()?];
        while self.is(&Token::Comma) {
            self.at += 1;
            tables.push(self.table()?);
        }
        Some(tables)
    }

    fn if_exists(&mut self) {
        if self.accept(&["IF"]) {
            self.skip(&["NOT", "EXISTS"]);
        }
    }

    fn statement(&mut self) -> Effect {
        while self.is(&Token::LParen) || self.is(&Token::SemiColon) {
            self.at += 1;
        }
        let verb = self.peek();
        self.at += 1;
        match verb.as_str() {
            "BEGIN" | "START" => Effect::Begin,
            "COMMIT" => Effect::Commit,
            "ROLLBACK" => self.rollback(),
            "XA" => match self.peek().as_str() {
                "START" | "BEGIN" => Effect::XaBegin,
                "COMMIT" => Effect::XaCommit(None),
                "ROLLBACK" => Effect::XaRollback(None),
                _ => Effect::Nothing,
            },
            "CREATE" => self.create().unwrap_or(Effect::Unknown),
            "ALTER" => self.alter().unwrap_or(Effect::Unknown),
            "DROP" => self.drop().unwrap_or(Effect::Unknown),
            "TRUNCATE" => {
                self.accept(&["TABLE"]);
                self.table().map_or(Effect::Unknown, |table| Effect::Tables(Change::Truncate, vec![table]))
            }
            "RENAME" => self.rename().unwrap_or(Effect::Unknown),
            "INSERT" | "REPLACE" => {
                self.skip(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"]);
                self.table().map_or(Effect::Unknown, |table| Effect::Tables(Change::Rows, vec![table]))
            }
            "UPDATE" => self.names_up_to(&["SET"]),
            "DELETE" => self.names_up_to(&["WHERE", "ORDER", "LIMIT", "RETURNING"]),
            "LOAD" => self.load(),
            "GRANT" | "REVOKE" | "SET" | "FLUSH" | "RESET" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK"
            | "INSTALL" | "UNINSTALL" | "LOCK" | "UNLOCK" | "USE" | "DO" | "SAVEPOINT" | "RELEASE" | "KILL"
            | "SHOW" | "PURGE" | "CHANGE" | "STOP" | "BACKUP" => Effect::Nothing,
            _ => Effect::Unknown,
        }
    }

    fn rollback(&mut self) -> Effect {
        self.accept(&["WORK"]);
        if self.accept(&["TO"]) { Effect::RollbackTo } else { Effect::Rollback }
    }

    /// What a CREATE, ALTER or DROP is of: the first word that names a kind of thing, before any name.
    /// In front of it stand OR REPLACE, DEFINER = …, ALGORITHM = …, UNIQUE and their like.
    fn noun(&mut self) -> Option<String> {
        const NOUNS: [&str; 23] = [
            "TABLE",
            "TABLES",
            "INDEX",
            "DATABASE",
            "SCHEMA",
            "VIEW",
            "TRIGGER",
            "PROCEDURE",
            "FUNCTION",
            "EVENT",
            "USER",
            "ROLE",
            "SERVER",
            "TABLESPACE",
            "LOGFILE",
            "RESOURCE",
            "SEQUENCE",
            "PACKAGE",
            "INSTANCE",
            "REFERENCE",
            "PREPARE",
            "CATALOG",
            "LIBRARY",
        ];
        while !self.done() {
            let word = self.peek();
            self.at += 1;
            if NOUNS.contains(&word.as_str()) {
                return Some(word);
            }
        }
        None
    }

    /// `TEMPORARY` right behind the verb or behind OR REPLACE.
    fn temporary(&mut self) -> bool {
        self.skip(&["OR", "REPLACE"]);
        self.accept(&["TEMPORARY"])
    }

    fn create(&mut self) -> Option<Effect> {
        let temporary = self.temporary();
        Some(match self.noun()?.as_str() {
            "TABLE" if temporary => Effect::Nothing,
            "TABLE" => {
                self.if_exists();
                Effect::Tables(Change::Create, vec![self.table()?])
            }
            "INDEX" => self.index()?,
            "DATABASE" | "SCHEMA" => {
                self.if_exists();
                Effect::Database(self.identifier()?)
            }
            _ => Effect::Nothing,
        })
    }

    fn index(&mut self) -> Option<Effect> {
        while !self.done() {
            if self.accept(&["ON"]) {
                return Some(Effect::Tables(Change::Index, vec![self.table()?]));
            }
            self.at += 1;
        }
        None
    }

    fn alter(&mut self) -> Option<Effect> {
        match self.noun()?.as_str() {
            "TABLE" => {}
            "DATABASE" | "SCHEMA" => {
                // Without a name, which then none of these words is, it is the session's.
                const OPTIONS: [&str; 6] = ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ"];
                let unnamed = OPTIONS.contains(&self.peek().as_str());
                let name = if unnamed { self.database.to_owned() } else { self.identifier()? };
                return Some(Effect::Database(name));
            }
            _ => return Some(Effect::Nothing),
        }
        self.if_exists();
        let mut tables = vec![self.table()?];
        let mut depth = 0_i32;
        while !self.done() {
            match &self.tokens[self.at] {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ if depth > 0 => {}
                // RENAME [TO | AS | =] name, EXCHANGE PARTITION p WITH TABLE name, and MariaDB's CONVERT PARTITION p TO
                // TABLE name and CONVERT TABLE name TO PARTITION.
                _ if self.peek() == "RENAME" && !["COLUMN", "INDEX", "KEY"].contains(&self.peek_at(1).as_str()) => {
                    self.at += 1;
                    self.accept(&["TO", "AS"]);
                    self.at += usize::from(self.is(&Token::Eq));
                    tables.push(self.table()?);
                    continue;
                }
                _ if ["WITH", "TO", "CONVERT"].contains(&self.peek().as_str()) && self.peek_at(1) == "TABLE" => {
                    self.at += 2;
                    tables.push(self.table()?);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        Some(Effect::Tables(Change::Alter, tables))
    }

    fn drop(&mut self) -> Option<Effect> {
        let temporary = self.temporary();
        Some(match self.noun()?.as_str() {
            "TABLE" | "TABLES" if temporary => Effect::Nothing,
            "TABLE" | "TABLES" => {
                self.if_exists();
                Effect::Tables(Change::Drop, self.tables()?)
            }
            "INDEX" => self.index()?,
            "DATABASE" | "SCHEMA" => {
                self.if_exists();
                Effect::DropDatabase(self.identifier()?)
            }
            _ => Effect::Nothing,
        })
    }

    fn rename(&mut self) -> Option<Effect> {
        if self.accept(&["USER"]) {
            return Some(Effect::Nothing);
        }
        if !self.accept(&["TABLE", "TABLES"]) {
            return None;
        }
        self.if_exists();
        let mut tables = Vec::new();
        loop {
            tables.push(self.table()?);
            // MariaDB: WAIT n | NOWAIT.
            while !self.done() && !self.accept(&["TO"]) {
                self.at += 1;
            }
            tables.push(self.table()?);
            if !self.is(&Token::Comma) {
                return Some(Effect::Tables(Change::Rename, tables));
            }
            self.at += 1;
        }
    }

    fn load(&mut self) -> Effect {
        if self.peek() == "INDEX" {
            return Effect::Nothing;
        }
        while !self.done() {
            if self.peek() == "INTO" && self.peek_at(1) == "TABLE" {
                self.at += 2;
                return self.table().map_or(Effect::Unknown, |table| Effect::Tables(Change::Rows, vec![table]));
            }
            self.at += 1;
        }
        Effect::Unknown
    }

    /// Every name up to one of `ends` outside parentheses: tables, aliases, join words. A sub-query's too.
    fn names_up_to(&mut self, ends: &[&str]) -> Effect {
        let mut tables = Vec::new();
        let mut depth = 0_i32;
        while !self.done() {
            if depth == 0 && ends.contains(&self.peek().as_str()) {
                break;
            }
            match &self.tokens[self.at] {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::Word(_) | Token::DoubleQuotedString(_) => {
                    if let Some(table) = self.table() {
                        tables.push(table);
                    }
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        if tables.is_empty() { Effect::Unknown } else { Effect::Tables(Change::Rows, tables) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(sql: &str) -> (Change, Vec<String>) {
        match classify(sql, "shop") {
            Effect::Tables(change, tables) => (change, tables.iter().map(ToString::to_string).collect()),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn ddl_names_its_tables() {
        use Change::{Alter, Create, Drop, Index, Rename, Truncate};
        for (sql, change, tables) in [
            ("CREATE TABLE orders (id int)", Create, &["shop.orders"][..]),
            ("create table if not exists `crm`.`a``b` like x", Create, &["crm.a`b"]),
            ("CREATE OR REPLACE TABLE t SELECT 1", Create, &["shop.t"]),
            ("ALTER TABLE orders ADD COLUMN (a INT, b INT)", Alter, &["shop.orders"]),
            ("ALTER ONLINE IGNORE TABLE orders RENAME COLUMN a TO b", Alter, &["shop.orders"]),
            ("ALTER TABLE orders ADD c int, RENAME TO old.orders", Alter, &["shop.orders", "old.orders"]),
            ("ALTER TABLE p EXCHANGE PARTITION p1 WITH TABLE q", Alter, &["shop.p", "shop.q"]),
            ("ALTER TABLE p CONVERT PARTITION p1 TO TABLE x.q", Alter, &["shop.p", "x.q"]),
            ("ALTER TABLE p CONVERT TABLE q TO PARTITION p1 VALUES LESS THAN (5)", Alter, &["shop.p", "shop.q"]),
            ("ALTER TABLE p CONVERT TO CHARACTER SET utf8mb4", Alter, &["shop.p"]),
            ("DROP TABLE IF EXISTS a, `b`.c /* generated by server */", Drop, &["shop.a", "b.c"]),
            ("TRUNCATE orders", Truncate, &["shop.orders"]),
            ("TRUNCATE TABLE crm.orders", Truncate, &["crm.orders"]),
            ("RENAME TABLE a TO b, c.d TO e", Rename, &["shop.a", "shop.b", "c.d", "shop.e"]),
            ("CREATE UNIQUE INDEX i USING BTREE ON orders (id)", Index, &["shop.orders"]),
            ("DROP INDEX `PRIMARY` ON crm.orders", Index, &["crm.orders"]),
            ("/*!40000 ALTER TABLE `orders` DISABLE KEYS */", Alter, &["shop.orders"]),
            ("ALTER TABLE \"orders\" COMMENT 'x'", Alter, &["shop.orders"]),
            ("# note\nALTER /* why */ TABLE orders ENGINE=InnoDB", Alter, &["shop.orders"]),
        ] {
            assert_eq!(names(sql), (change, tables.iter().map(|name| (*name).to_owned()).collect()), "{sql}");
        }
    }

    #[test]
    fn rows_as_text_name_their_tables_generously() {
        assert_eq!(names("INSERT IGNORE INTO orders VALUES (1)").1, ["shop.orders"]);
        assert_eq!(names("REPLACE crm.orders SET a = 1").1, ["crm.orders"]);
        assert!(names("UPDATE a JOIN crm.b ON a.x = b.x SET a.y = 1").1.contains(&"crm.b".to_owned()));
        assert!(names("DELETE FROM orders WHERE id = 1").1.contains(&"shop.orders".to_owned()));
        assert!(names("DELETE a, b FROM a JOIN b USING (id)").1.contains(&"shop.b".to_owned()));
        assert_eq!(names("LOAD DATA LOCAL INFILE 'x' INTO TABLE orders").1, ["shop.orders"]);
    }

    #[test]
    fn transaction_control_is_known() {
        assert_eq!(classify("BEGIN", ""), Effect::Begin);
        assert_eq!(classify("START TRANSACTION", ""), Effect::Begin);
        assert_eq!(classify("commit", ""), Effect::Commit);
        assert_eq!(classify("ROLLBACK", ""), Effect::Rollback);
        assert_eq!(classify("ROLLBACK TO `a`", ""), Effect::RollbackTo);
        assert_eq!(classify("XA START X'61',X'',1", ""), Effect::XaBegin);
        let xid = Xid::new(1, b"a", b"");
        assert_eq!(classify("XA COMMIT X'61',X'',1", ""), Effect::XaCommit(xid.clone()));
        assert_eq!(classify("XA ROLLBACK X'61',X'',1", ""), Effect::XaRollback(xid));
        assert_eq!(classify("xa commit 'a'", ""), Effect::XaCommit(None));
    }

    #[test]
    fn a_database_has_a_name() {
        for sql in [
            "CREATE DATABASE d",
            "CREATE SCHEMA IF NOT EXISTS `d` CHARACTER SET latin1",
            "ALTER DATABASE d COLLATE utf8mb4_bin",
            "ALTER DATABASE CHARACTER SET latin1",
        ] {
            assert_eq!(classify(sql, "d"), Effect::Database("d".into()), "{sql}");
        }
    }

    #[test]
    fn what_cannot_matter_is_nothing() {
        for sql in [
            "GRANT ALL ON *.* TO a",
            "CREATE USER 'a'@'%' IDENTIFIED BY 'x'",
            "CREATE DEFINER=`root`@`%` SQL SECURITY INVOKER VIEW orders AS SELECT 1",
            "CREATE DEFINER=`table`@`%` TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET @a = 1",
            "DROP VIEW IF EXISTS orders",
            "CREATE TEMPORARY TABLE orders (id int)",
            "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS orders",
            "ANALYZE TABLE orders",
            "SAVEPOINT `s`",
            "FLUSH TABLES",
            "ALTER USER a IDENTIFIED BY 'x'",
        ] {
            assert_eq!(classify(sql, "shop"), Effect::Nothing, "{sql}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said_so() {
        for sql in
            ["", "CALL something()", "ALTER TABLE 'x", "TRUNCATE TABLE 'a'", "WITH a AS (SELECT 1) DELETE FROM b"]
        {
            assert_eq!(classify(sql, "shop"), Effect::Unknown, "{sql}");
        }
        assert_eq!(classify("DROP TABLE orders", ""), Effect::Unknown);
        assert_eq!(classify("DROP SCHEMA IF EXISTS `shop`", ""), Effect::DropDatabase("shop".into()));
    }

    #[test]
    fn quoted_text_is_not_taken_for_a_comment() {
        assert_eq!(expand_comments("SELECT '/*!1 */', /*!50100 2 */"), "SELECT '/*!1 */',          2   ");
        assert_eq!(expand_comments("a /*M!100100 b */"), format!("a {:10} b   ", ""));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(sql in "[A-Za-z0-9 `'\"(),./*!;=-]{0,80}") {
            let _ = classify(&sql, "d");
        }

        #[test]
        fn no_known_verb_makes_it_panic(
            verb in "(CREATE|ALTER TABLE|DROP TABLE|RENAME TABLE|UPDATE|DELETE|LOAD|/\\*!)", rest in "[a-z `,.()'TO=]{0,40}",
        ) {
            let _ = classify(&format!("{verb} {rest}"), "");
        }
    }
}
