//! The statements of our own grammar: DDL, SHOW, accounts, session. Queries and DML go to sqlparser.

use sqlparser::tokenizer::Token;

use super::answer::SqlResult;
use super::tokens::Cursor;

/// `[db.]table`.
pub(super) type Qualified = (Option<String>, String);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    CreateDatabase {
        name: String,
        if_not_exists: bool,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    CreateTable(CreateTable),
    CreateTableLike {
        table: Qualified,
        like: Qualified,
        if_not_exists: bool,
    },
    DropTable {
        table: Qualified,
        if_exists: bool,
    },
    Truncate {
        table: Qualified,
    },
    AlterTable {
        table: Qualified,
        change: AlterTable,
    },
    CancelAlter {
        table: Qualified,
    },
    Show(Show),
    Describe {
        table: Qualified,
    },
    Use {
        database: String,
    },
    /// SET and everything else that is accepted without effect.
    Nothing,
    CreateUser {
        user: String,
        password: String,
        if_not_exists: bool,
    },
    DropUser {
        user: String,
        if_exists: bool,
    },
    Grant {
        privileges: Vec<String>,
        scope: GrantScope,
        user: String,
        revoke: bool,
    },
    /// SELECT, WITH, VALUES.
    Query,
    /// INSERT, UPDATE, DELETE.
    Change,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct CreateTable {
    pub(super) table: Qualified,
    pub(super) if_not_exists: bool,
    pub(super) columns: Vec<ColumnSpec>,
    pub(super) engine: Option<String>,
    /// `PRIMARY KEY(..)`, `DUPLICATE KEY(..)`, ….
    pub(super) key: Option<(KeyKind, Vec<String>)>,
    pub(super) comment: String,
    pub(super) partition_by: Option<String>,
    pub(super) distribution: Option<Distribution>,
    pub(super) order_by: Vec<String>,
    pub(super) properties: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Primary,
    Duplicate,
    Unique,
    Aggregate,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distribution {
    /// Empty: random.
    pub(super) columns: Vec<String>,
    pub(super) buckets: Option<u64>,
}

/// A column as it is written; what is not written is not there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColumnSpec {
    pub(super) name: String,
    pub(super) ty: TypeSpec,
    pub(super) key: bool,
    pub(super) nullable: Option<bool>,
    pub(super) default: Option<DefaultSpec>,
    pub(super) comment: Option<String>,
    pub(super) auto_increment: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct TypeSpec {
    pub(super) name: String,
    pub(super) arguments: Vec<u64>,
    /// The element of `ARRAY<…>`.
    pub(super) element: Option<Box<TypeSpec>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum DefaultSpec {
    Literal(String),
    Null,
    CurrentTimestamp,
    Expression(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum AlterTable {
    Columns { clauses: Vec<ColumnClause>, properties: Vec<(String, String)> },
    RenameColumn { from: String, to: String },
    Rename { to: String },
    Swap { with: String },
    Comment { comment: String },
    OrderBy { columns: Vec<String> },
    SetProperties { properties: Vec<(String, String)> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnClause {
    Add { columns: Vec<ColumnSpec>, position: Option<Position> },
    Drop { name: String },
    Modify { column: ColumnSpec, position: Option<Position> },
    ModifyComment { name: String, comment: String },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Position {
    First,
    After(String),
}

/// What is shown, and the text behind it (`LIKE`, `WHERE`, `ORDER BY`, `LIMIT`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Show {
    pub(super) what: Shown,
    pub(super) filter: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Databases,
    Tables {
        database: Option<String>,
        full: bool,
    },
    TableStatus {
        database: Option<String>,
    },
    Columns {
        table: Qualified,
        full: bool,
    },
    CreateTable(Qualified),
    CreateDatabase(String),
    AlterTableColumn {
        database: Option<String>,
    },
    Backends,
    ComputeNodes,
    Frontends,
    Variables,
    Grants {
        user: Option<String>,
    },
    /// Lists that are always empty or constant here: warnings, engines, ….
    Fixed(&'static str),
    Indexes(Qualified),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum GrantScope {
    /// `ON TABLE db.t`, `ON ALL TABLES IN DATABASE db`, `ON ALL TABLES IN ALL DATABASES`; `None` is all.
    Tables { database: Option<String>, table: Option<String> },
    /// `ON DATABASE db`, `ON ALL DATABASES`.
    Databases { database: Option<String> },
    /// `ON CATALOG …`, `ON SYSTEM`.
    System,
}

/// Reads one statement.
///
/// # Errors
/// A syntax error with its place.
pub(super) fn parse(sql: &str) -> SqlResult<Statement> {
    let mut cursor = Cursor::new(sql)?;
    let statement = read(&mut cursor)?;
    if !matches!(statement, Statement::Query | Statement::Change | Statement::Nothing | Statement::Show(_)) {
        cursor.expect_end()?;
    }
    Ok(statement)
}

fn read(cursor: &mut Cursor<'_>) -> SqlResult<Statement> {
    if cursor.at_end() {
        return Ok(Statement::Nothing);
    }
    for keyword in ["SELECT", "WITH", "VALUES"] {
        if cursor.is(keyword) {
            return Ok(Statement::Query);
        }
    }
    if cursor.peek() == Some(&Token::LParen) {
        return Ok(Statement::Query);
    }
    for keyword in ["INSERT", "UPDATE", "DELETE"] {
        if cursor.is(keyword) {
            return Ok(Statement::Change);
        }
    }
    for keyword in ["SET", "BEGIN", "COMMIT", "ROLLBACK", "START", "KILL", "LOCK", "UNLOCK", "ADMIN", "ANALYZE"] {
        if cursor.is(keyword) {
            return Ok(Statement::Nothing);
        }
    }
    if cursor.take("USE") {
        let (first, last) = cursor.qualified()?;
        let _catalog = first;
        return Ok(Statement::Use { database: last });
    }
    if cursor.take("CREATE") {
        return create(cursor);
    }
    if cursor.take("DROP") {
        return drop(cursor);
    }
    if cursor.take("ALTER TABLE") {
        return super::parse_table::alter_table(cursor);
    }
    if cursor.take("TRUNCATE TABLE") {
        return Ok(Statement::Truncate { table: cursor.qualified()? });
    }
    if cursor.take("CANCEL ALTER TABLE COLUMN FROM") {
        return Ok(Statement::CancelAlter { table: cursor.qualified()? });
    }
    if cursor.take("SHOW") {
        return show(cursor);
    }
    if cursor.take("DESC") || cursor.take("DESCRIBE") {
        return Ok(Statement::Describe { table: cursor.qualified()? });
    }
    if cursor.take("GRANT") {
        return grant(cursor, false);
    }
    if cursor.take("REVOKE") {
        return grant(cursor, true);
    }
    Err(cursor.unexpected(""))
}

fn create(cursor: &mut Cursor<'_>) -> SqlResult<Statement> {
    if cursor.take("DATABASE") || cursor.take("SCHEMA") {
        let if_not_exists = cursor.take("IF NOT EXISTS");
        let name = cursor.name()?;
        if cursor.take("PROPERTIES") {
            cursor.properties()?;
        }
        return Ok(Statement::CreateDatabase { name, if_not_exists });
    }
    if cursor.take("USER") {
        let if_not_exists = cursor.take("IF NOT EXISTS");
        let user = user_name(cursor)?;
        let mut password = String::new();
        if cursor.take("IDENTIFIED BY") {
            password = cursor.string()?;
        } else if cursor.take("IDENTIFIED WITH") {
            cursor.name()?;
            if cursor.take("BY") || cursor.take("AS") {
                password = cursor.string()?;
            }
        }
        return Ok(Statement::CreateUser { user, password, if_not_exists });
    }
    cursor.expect("TABLE")?;
    let if_not_exists = cursor.take("IF NOT EXISTS");
    let table = cursor.qualified()?;
    if cursor.take("LIKE") {
        return Ok(Statement::CreateTableLike { table, like: cursor.qualified()?, if_not_exists });
    }
    super::parse_table::create_table(cursor, table, if_not_exists).map(Statement::CreateTable)
}

fn drop(cursor: &mut Cursor<'_>) -> SqlResult<Statement> {
    if cursor.take("DATABASE") || cursor.take("SCHEMA") {
        let if_exists = cursor.take("IF EXISTS");
        let name = cursor.name()?;
        cursor.take("FORCE");
        return Ok(Statement::DropDatabase { name, if_exists });
    }
    if cursor.take("USER") {
        let if_exists = cursor.take("IF EXISTS");
        return Ok(Statement::DropUser { user: user_name(cursor)?, if_exists });
    }
    cursor.expect("TABLE")?;
    let if_exists = cursor.take("IF EXISTS");
    let table = cursor.qualified()?;
    cursor.take("FORCE");
    Ok(Statement::DropTable { table, if_exists })
}

fn show(cursor: &mut Cursor<'_>) -> SqlResult<Statement> {
    let full = cursor.take("FULL");
    cursor.take("GLOBAL");
    cursor.take("SESSION");
    let what = if cursor.take("DATABASES") || cursor.take("SCHEMAS") {
        if cursor.take("FROM") {
            cursor.name()?;
        }
        Shown::Databases
    } else if cursor.take("TABLES") {
        Shown::Tables { database: from_database(cursor)?, full }
    } else if cursor.take("TABLE STATUS") {
        Shown::TableStatus { database: from_database(cursor)? }
    } else if cursor.take("COLUMNS") || cursor.take("FIELDS") {
        Shown::Columns { table: from_table(cursor)?, full }
    } else if cursor.take("INDEX") || cursor.take("INDEXES") || cursor.take("KEY") || cursor.take("KEYS") {
        Shown::Indexes(from_table(cursor)?)
    } else if cursor.take("CREATE TABLE") {
        Shown::CreateTable(cursor.qualified()?)
    } else if cursor.take("CREATE DATABASE") {
        Shown::CreateDatabase(cursor.name()?)
    } else if cursor.take("ALTER TABLE COLUMN") {
        Shown::AlterTableColumn { database: from_database(cursor)? }
    } else if cursor.take("BACKENDS") {
        Shown::Backends
    } else if cursor.take("COMPUTE NODES") {
        Shown::ComputeNodes
    } else if cursor.take("FRONTENDS") {
        Shown::Frontends
    } else if cursor.take("VARIABLES") {
        Shown::Variables
    } else if cursor.take("GRANTS") {
        let user = if cursor.take("FOR") { Some(user_name(cursor)?) } else { None };
        Shown::Grants { user }
    } else if cursor.take("WARNINGS") {
        Shown::Fixed("warnings")
    } else if cursor.take("ENGINES") {
        Shown::Fixed("engines")
    } else if cursor.take("COLLATION") {
        Shown::Fixed("collation")
    } else if cursor.take("CHARACTER SET") || cursor.take("CHARSET") {
        Shown::Fixed("charset")
    } else if cursor.take("PROCESSLIST") {
        Shown::Fixed("processlist")
    } else if cursor.take("STATUS") {
        Shown::Fixed("status")
    } else if cursor.take("PLUGINS") {
        Shown::Fixed("plugins")
    } else if cursor.take("TRIGGERS") {
        Shown::Fixed("triggers")
    } else if cursor.take("CATALOGS") {
        Shown::Fixed("catalogs")
    } else {
        return Err(cursor.unexpected(""));
    };
    let filtered = ["LIKE", "WHERE", "ORDER", "LIMIT"].iter().any(|keyword| cursor.is(keyword));
    if !filtered {
        cursor.expect_end()?;
    }
    Ok(Statement::Show(Show { what, filter: cursor.rest().to_owned() }))
}

fn from_database(cursor: &mut Cursor<'_>) -> SqlResult<Option<String>> {
    if cursor.take("FROM") || cursor.take("IN") { Ok(Some(cursor.qualified()?.1)) } else { Ok(None) }
}

/// `FROM t [FROM db]`.
fn from_table(cursor: &mut Cursor<'_>) -> SqlResult<Qualified> {
    if !cursor.take("IN") {
        cursor.expect("FROM")?;
    }
    let (database, name) = cursor.qualified()?;
    Ok((from_database(cursor)?.or(database), name))
}

/// `'user'@'host'`, `user@'host'`, `user`; the host is not looked at.
fn user_name(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    if cursor.is_string() {
        let user = cursor.string()?;
        // The tokenizer reads `@` with what follows, unless that is quoted.
        if cursor.take_token(&Token::AtSign) {
            cursor.next();
        } else if matches!(cursor.peek(), Some(Token::Word(word)) if word.value.starts_with('@')) {
            let bare = cursor.is("@");
            cursor.next();
            if bare {
                cursor.next();
            }
        }
        return Ok(user);
    }
    let name = cursor.name()?;
    Ok(match name.split_once('@') {
        Some((user, host)) => {
            if host.is_empty() {
                cursor.next();
            }
            user.to_owned()
        }
        None => {
            if cursor.is("@") {
                cursor.next();
                cursor.next();
            }
            name
        }
    })
}

fn grant(cursor: &mut Cursor<'_>, revoke: bool) -> SqlResult<Statement> {
    let mut privileges = Vec::new();
    loop {
        let mut words = Vec::new();
        while !cursor.is("ON") {
            match cursor.next() {
                Some(Token::Word(word)) => words.push(word.value.to_ascii_uppercase()),
                Some(Token::Comma) => break,
                _ => return Err(cursor.unexpected("'ON'")),
            }
        }
        privileges.push(words.join(" "));
        if cursor.is("ON") {
            break;
        }
    }
    cursor.expect("ON")?;
    let scope = if cursor.take("ALL TABLES IN ALL DATABASES") {
        GrantScope::Tables { database: None, table: None }
    } else if cursor.take("ALL TABLES IN DATABASE") {
        GrantScope::Tables { database: Some(cursor.name()?), table: None }
    } else if cursor.take("ALL DATABASES") {
        GrantScope::Databases { database: None }
    } else if cursor.take("DATABASE") {
        GrantScope::Databases { database: Some(cursor.name()?) }
    } else if cursor.take("SYSTEM") {
        GrantScope::System
    } else if cursor.take("CATALOG") {
        cursor.name()?;
        GrantScope::System
    } else {
        cursor.take("TABLE");
        table_scope(cursor)?
    };
    if revoke {
        cursor.expect("FROM")?
    } else {
        cursor.expect("TO")?
    };
    cursor.take("USER");
    let user = user_name(cursor)?;
    Ok(Statement::Grant { privileges, scope, user, revoke })
}

/// `db.t`, `db.*`, `*.*`.
fn table_scope(cursor: &mut Cursor<'_>) -> SqlResult<GrantScope> {
    if cursor.take_token(&Token::Mul) {
        cursor.expect_token(&Token::Period)?;
        cursor.expect_token(&Token::Mul)?;
        return Ok(GrantScope::Tables { database: None, table: None });
    }
    let first = cursor.name()?;
    cursor.expect_token(&Token::Period)?;
    let table = if cursor.take_token(&Token::Mul) { None } else { Some(cursor.name()?) };
    Ok(GrantScope::Tables { database: Some(first), table })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_a_show_is_kept_as_text() {
        let statement =
            parse("SHOW ALTER TABLE COLUMN FROM `shop` WHERE TableName = \"t\" ORDER BY JobId DESC LIMIT 1").unwrap();
        let Statement::Show(show) = statement else { panic!("{statement:?}") };
        assert_eq!(show.what, Shown::AlterTableColumn { database: Some("shop".into()) });
        assert_eq!(show.filter, "WHERE TableName = \"t\" ORDER BY JobId DESC LIMIT 1");
    }

    #[test]
    fn users_are_read_with_and_without_a_host() {
        for sql in [
            "CREATE USER 'app'@'%' IDENTIFIED BY 'x'",
            "CREATE USER app IDENTIFIED BY 'x'",
            "CREATE USER 'app' IDENTIFIED BY 'x'",
            "CREATE USER app@'%' IDENTIFIED BY 'x'",
        ] {
            let expected = Statement::CreateUser { user: "app".into(), password: "x".into(), if_not_exists: false };
            assert_eq!(parse(sql).as_ref(), Ok(&expected), "{sql}");
        }
    }

    #[test]
    fn grants_name_privileges_of_several_words() {
        let statement = parse("GRANT CREATE TABLE, DROP ON DATABASE shop TO USER 'app'@'%'").unwrap();
        let expected = Statement::Grant {
            privileges: vec!["CREATE TABLE".into(), "DROP".into()],
            scope: GrantScope::Databases { database: Some("shop".into()) },
            user: "app".into(),
            revoke: false,
        };
        assert_eq!(statement, expected);
    }
}
