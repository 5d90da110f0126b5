//! DDL text, as far as it touches a table's definition or its rows.
//!
//! A statement of the log is cut by sqlparser's tokenizer and read by a parser that knows MySQL's and MariaDB's
//! `ALTER TABLE`, `CREATE TABLE`, `RENAME`, `DROP`, `TRUNCATE`, `CREATE`/`DROP INDEX` and `CREATE`/`ALTER`/`DROP DATABASE`. The rule is one-sided: what
//! touches columns, keys or names is understood exactly; what cannot matter to a copy elsewhere (indexes, engine and
//! storage options, partitioning as such, foreign keys, checks) is passed over by name; everything else is
//! [`Unread`], and the caller stops rather than guesses.
//!
//! Sources: the MySQL 9.x manual, "ALTER TABLE Statement" and "CREATE TABLE Statement"; MariaDB's "ALTER TABLE" and
//! "CREATE TABLE" pages.

mod alter;
mod column;
mod create;
mod cursor;

use std::fmt;

use cursor::Cursor;

use crate::schema::{Table, TableName};

pub use column::{ColumnDefinition, DefaultClause, TypeClause};

/// A statement that is about tables, or about databases, which have tables and give them their character set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ddl {
    CreateTable(CreateTable),
    AlterTable(AlterTable),
    DropTables {
        tables: Vec<TableName>,
        if_exists: bool,
    },
    /// In order: a swap goes through a third name.
    RenameTables(Vec<(TableName, TableName)>),
    TruncateTable(TableName),
    CreateDatabase {
        name: String,
        if_not_exists: bool,
        charset: Option<Charset>,
    },
    /// Without a name it is the session's.
    AlterDatabase {
        name: Option<String>,
        charset: Option<Charset>,
    },
    DropDatabase(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    pub table: TableName,
    pub if_not_exists: bool,
    /// MariaDB's `CREATE OR REPLACE`.
    pub or_replace: bool,
    pub content: Content,
}

/// What a new table is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The clauses as if they were added to a table without columns.
    Definition(Vec<TableChange>),
    Like(TableName),
    /// `CREATE TABLE … SELECT`: its columns are those of a query, which the text does not tell.
    Query,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTable {
    pub table: TableName,
    pub if_exists: bool,
    pub changes: Vec<TableChange>,
}

impl AlterTable {
    /// Whether rows, columns, name and key of `table` are as before.
    pub fn is_harmless(&self, table: &Table) -> bool {
        self.changes.iter().all(|change| change.is_harmless(table))
    }
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    AddColumn {
        column: ColumnDefinition,
        place: ColumnPlace,
        if_not_exists: bool,
    },
    DropColumn {
        name: String,
        if_exists: bool,
    },
    /// `CHANGE`, and `MODIFY` with the same name twice.
    ChangeColumn {
        old: String,
        column: ColumnDefinition,
        place: ColumnPlace,
        if_exists: bool,
    },
    RenameColumn {
        old: String,
        new: String,
        if_exists: bool,
    },
    /// `None`: DROP DEFAULT.
    SetDefault {
        column: String,
        default: Option<DefaultClause>,
        if_exists: bool,
    },
    SetVisible {
        column: String,
        visible: bool,
    },
    AddKey(KeyDefinition),
    DropPrimaryKey,
    /// Of any kind but the primary one.
    DropKey(String),
    /// `DROP CONSTRAINT`: a unique key, or one of the constraints that matter nothing.
    DropConstraint {
        name: String,
        if_exists: bool,
    },
    RenameKey {
        old: String,
        new: String,
    },
    /// `CONVERT TO CHARACTER SET`: every text column.
    ConvertCharset(Charset),
    /// For columns that are added later.
    DefaultCharset(Charset),
    Comment(String),
    RenameTo(TableName),
    /// Rows come or go without a row event: partitions dropped, truncated or exchanged, tablespaces.
    RowsUnlogged(Unlogged),
    /// `DISCARD TABLESPACE`: rows cannot be read or written until others are imported. The clause's words.
    Discard(String),
    /// MariaDB's system versioning begins: an UPDATE or DELETE adds a row of the same key, which is the old one.
    SystemVersioning,
    /// Storage, statistics, checks, foreign keys, partitioning.
    Nothing,
}

/// A clause after which rows are there, or gone, that no row event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlogged {
    /// Its words.
    pub clause: String,
    /// The other table whose rows they are, or were.
    pub other: Option<Other>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// `EXCHANGE PARTITION`: it has some of the rows, and the other way round.
    Exchanged(TableName),
    /// MariaDB's `CONVERT PARTITION … TO TABLE`: it is new, with rows that were this table's.
    Made(TableName),
    /// MariaDB's `CONVERT TABLE … TO PARTITION`: it is gone, and its rows are this table's.
    Taken(TableName),
}

impl TableChange {
    /// Whether an ALTER with IGNORE (MariaDB) may lose rows by it, which are then in the way of a key.
    fn may_lose_rows(&self) -> bool {
        match self {
            TableChange::AddKey(key) => key.kind != KeyKind::Plain,
            TableChange::AddColumn { column, .. } => column.primary || column.unique,
            TableChange::DropColumn { .. } | TableChange::ChangeColumn { .. } | TableChange::ConvertCharset(_) => true,
            _ => false,
        }
    }

    fn is_harmless(&self, table: &Table) -> bool {
        match self {
            TableChange::Nothing
            | TableChange::Discard(_)
            | TableChange::RenameKey { .. }
            | TableChange::DefaultCharset(_) => true,
            TableChange::AddKey(key) if key.kind == KeyKind::Plain => true,
            // Without a primary key it may be the one that rows are told apart by, or become it.
            TableChange::AddKey(key) if key.kind == KeyKind::Unique => table.primary,
            TableChange::DropKey(_) | TableChange::DropConstraint { .. } => table.primary,
            _ => false,
        }
    }
}

/// `CHARACTER SET … COLLATE …`; both absent: `DEFAULT`, the database's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Charset {
    pub charset: Option<String>,
    pub collation: Option<String>,
}

/// A primary key, unique key or index that a clause adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDefinition {
    pub kind: KeyKind,
    /// `None`: the server finds one.
    pub name: Option<String>,
    /// `None` for a part that is an expression, which no primary key has.
    pub columns: Vec<Option<String>>,
    pub if_there: IfThere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Primary,
    Unique,
    /// Any index that is not unique. It matters by its name only, which no other can have.
    Plain,
}

/// What becomes of a new key whose name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfThere {
    /// The server refuses the statement.
    Refused,
    /// MariaDB's `IF NOT EXISTS`: the old key stays.
    Kept,
    /// MariaDB's `CREATE OR REPLACE INDEX`.
    Replaced,
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnPlace {
    /// Last when it is added, where it was when it is changed.
    Unsaid,
    First,
    After(String),
}

/// Why a statement was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What was expected, and what stood there.
    pub reason: String,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The session's settings that decide how text reads, as the log has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Session<'a> {
    /// The default database; empty: none.
    pub database: &'a str,
    /// `sql_mode` has ANSI_QUOTES: `"a"` is a name.
    pub ansi_quotes: bool,
    /// `sql_mode` has NO_BACKSLASH_ESCAPES.
    pub no_backslash_escapes: bool,
}

/// Reads one statement. `Ok(None)`: it is about neither tables nor databases.
///
/// # Errors
/// A statement about tables that is not understood.
pub fn parse(sql: &str, session: Session<'_>) -> Result<Option<Ddl>, Unread> {
    let mut cursor = Cursor::new(sql, session)?;
    let ddl = statement(&mut cursor)?;
    if ddl.is_some() {
        while cursor.symbol(';') {}
        cursor.expect_end()?;
    }
    Ok(ddl)
}

fn statement(cursor: &mut Cursor<'_>) -> Result<Option<Ddl>, Unread> {
    if cursor.words(&["ALTER"]) {
        return alter::alter(cursor);
    }
    if cursor.words(&["CREATE"]) {
        return create::create(cursor);
    }
    if cursor.words(&["DROP"]) {
        return drop_statement(cursor);
    }
    if cursor.words(&["TRUNCATE"]) {
        cursor.words(&["TABLE"]);
        let table = cursor.table()?;
        wait(cursor);
        return Ok(Some(Ddl::TruncateTable(table)));
    }
    if cursor.words(&["RENAME", "TABLE"]) || cursor.words(&["RENAME", "TABLES"]) {
        if_exists(cursor);
        let mut pairs = Vec::new();
        loop {
            let old = cursor.table()?;
            wait(cursor);
            cursor.expect_word("TO")?;
            pairs.push((old, cursor.table()?));
            if !cursor.symbol(',') {
                return Ok(Some(Ddl::RenameTables(pairs)));
            }
        }
    }
    Ok(None)
}

fn drop_statement(cursor: &mut Cursor<'_>) -> Result<Option<Ddl>, Unread> {
    let temporary = cursor.words(&["TEMPORARY"]);
    if cursor.words(&["TABLE"]) || cursor.words(&["TABLES"]) {
        let if_exists = if_exists(cursor);
        let mut tables = vec![cursor.table()?];
        while cursor.symbol(',') {
            tables.push(cursor.table()?);
        }
        wait(cursor);
        let _ = cursor.words(&["RESTRICT"]) || cursor.words(&["CASCADE"]);
        return Ok((!temporary).then_some(Ddl::DropTables { tables, if_exists }));
    }
    if cursor.any_word(&["DATABASE", "SCHEMA"]) {
        if_exists(cursor);
        return cursor.name().map(|name| Some(Ddl::DropDatabase(name)));
    }
    let _ = cursor.words(&["ONLINE"]) || cursor.words(&["OFFLINE"]);
    if cursor.words(&["INDEX"]) {
        if_exists(cursor);
        let name = cursor.name()?;
        cursor.expect_word("ON")?;
        let table = cursor.table()?;
        cursor.skip_rest();
        let change = match name.eq_ignore_ascii_case("PRIMARY") {
            true => TableChange::DropPrimaryKey,
            false => TableChange::DropKey(name),
        };
        return Ok(Some(Ddl::AlterTable(AlterTable { table, if_exists: false, changes: vec![change] })));
    }
    Ok(None)
}

fn if_exists(cursor: &mut Cursor<'_>) -> bool {
    cursor.words(&["IF", "EXISTS"])
}

fn if_not_exists(cursor: &mut Cursor<'_>) -> bool {
    cursor.words(&["IF", "NOT", "EXISTS"])
}

/// MariaDB's `WAIT n` and `NOWAIT`.
fn wait(cursor: &mut Cursor<'_>) {
    if !cursor.words(&["NOWAIT"]) && cursor.peek_word("WAIT") && cursor.number_at(1).is_some() {
        cursor.skip(2);
    }
}

#[cfg(test)]
mod tests;
