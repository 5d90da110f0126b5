//! The grammar of CREATE TABLE and ALTER TABLE.

use sqlparser::tokenizer::Token;

use super::answer::SqlResult;
use super::statement::{
    AlterTable, ColumnClause, ColumnSpec, CreateTable, DefaultSpec, Distribution, KeyKind, Position, Qualified,
    Statement, TypeSpec,
};
use super::tokens::Cursor;

pub(super) fn create_table(cursor: &mut Cursor<'_>, table: Qualified, if_not_exists: bool) -> SqlResult<CreateTable> {
    let mut create = CreateTable {
        table,
        if_not_exists,
        columns: Vec::new(),
        engine: None,
        key: None,
        comment: String::new(),
        partition_by: None,
        distribution: None,
        order_by: Vec::new(),
        properties: Vec::new(),
    };
    cursor.expect_token(&Token::LParen)?;
    loop {
        create.columns.push(column(cursor)?);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    if cursor.take("ENGINE") {
        cursor.expect_token(&Token::Eq)?;
        create.engine = Some(cursor.name()?);
    }
    create.key = key(cursor)?;
    if cursor.take("COMMENT") {
        create.comment = cursor.string()?;
    }
    if cursor.take("PARTITION BY") {
        create.partition_by = Some(skip_partitions(cursor)?);
    }
    if cursor.take("DISTRIBUTED BY") {
        create.distribution = Some(distribution(cursor)?);
    }
    if cursor.take("ORDER BY") {
        create.order_by = cursor.names()?;
    }
    if cursor.take("PROPERTIES") {
        create.properties = cursor.properties()?;
    }
    Ok(create)
}

fn key(cursor: &mut Cursor<'_>) -> SqlResult<Option<(KeyKind, Vec<String>)>> {
    for (keywords, kind) in [
        ("PRIMARY KEY", KeyKind::Primary),
        ("DUPLICATE KEY", KeyKind::Duplicate),
        ("UNIQUE KEY", KeyKind::Unique),
        ("AGGREGATE KEY", KeyKind::Aggregate),
    ] {
        if cursor.take(keywords) {
            return Ok(Some((kind, cursor.names()?)));
        }
    }
    Ok(None)
}

fn distribution(cursor: &mut Cursor<'_>) -> SqlResult<Distribution> {
    let columns = if cursor.take("RANDOM") {
        Vec::new()
    } else {
        cursor.expect("HASH")?;
        cursor.names()?
    };
    let buckets = if cursor.take("BUCKETS") { Some(cursor.number()?) } else { None };
    Ok(Distribution { columns, buckets })
}

/// Partitions have no effect here; their text is kept for the column check.
fn skip_partitions(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    let text = cursor.rest();
    let before = text.len();
    while !["DISTRIBUTED", "ORDER", "PROPERTIES"].iter().any(|keyword| cursor.is(keyword)) {
        if cursor.next().is_none() {
            break;
        }
    }
    let taken = before - cursor.rest().len();
    Ok(text.get(..taken).unwrap_or_default().trim().to_owned())
}

/// `name type [KEY] [NOT NULL | NULL] [AUTO_INCREMENT] [DEFAULT …] [COMMENT "…"]`.
pub(super) fn column(cursor: &mut Cursor<'_>) -> SqlResult<ColumnSpec> {
    let name = cursor.name()?;
    let ty = data_type(cursor)?;
    if cursor.take("CHARACTER SET") || cursor.take("CHARSET") {
        cursor.name()?;
    }
    let key = cursor.take("KEY");
    let mut nullable = nullability(cursor);
    let auto_increment = cursor.take("AUTO_INCREMENT");
    let default = if cursor.take("DEFAULT") { Some(default(cursor)?) } else { None };
    if nullable.is_none() {
        nullable = nullability(cursor);
    }
    let comment = if cursor.take("COMMENT") { Some(cursor.string()?) } else { None };
    Ok(ColumnSpec { name, ty, key, nullable, default, comment, auto_increment })
}

fn nullability(cursor: &mut Cursor<'_>) -> Option<bool> {
    if cursor.take("NOT NULL") {
        Some(false)
    } else if cursor.take("NULL") {
        Some(true)
    } else {
        None
    }
}

fn data_type(cursor: &mut Cursor<'_>) -> SqlResult<TypeSpec> {
    let Some(Token::Word(word)) = cursor.peek() else { return Err(cursor.unexpected("a data type")) };
    let name = word.value.clone();
    if word.quote_style.is_some() {
        return Err(cursor.unexpected("a data type"));
    }
    cursor.next();
    let mut element = None;
    let mut arguments = Vec::new();
    if name.eq_ignore_ascii_case("ARRAY") {
        cursor.expect_token(&Token::Lt)?;
        element = Some(Box::new(data_type(cursor)?));
        // Two closing brackets at once read as a shift.
        if cursor.peek() == Some(&Token::ShiftRight) {
            return Err(cursor.error("Nested arrays are not supported by this server"));
        }
        cursor.expect_token(&Token::Gt)?;
    } else if cursor.take_token(&Token::LParen) {
        loop {
            arguments.push(cursor.number()?);
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(TypeSpec { name, arguments, element })
}

fn default(cursor: &mut Cursor<'_>) -> SqlResult<DefaultSpec> {
    if cursor.is_string() {
        return Ok(DefaultSpec::Literal(cursor.string()?));
    }
    if cursor.take("NULL") {
        return Ok(DefaultSpec::Null);
    }
    if cursor.take("CURRENT_TIMESTAMP") {
        if cursor.take_token(&Token::LParen) {
            if cursor.peek() != Some(&Token::RParen) {
                cursor.number()?;
            }
            cursor.expect_token(&Token::RParen)?;
        }
        return Ok(DefaultSpec::CurrentTimestamp);
    }
    if cursor.take_token(&Token::LParen) {
        let name = cursor.name()?;
        cursor.expect_token(&Token::LParen)?;
        cursor.expect_token(&Token::RParen)?;
        cursor.expect_token(&Token::RParen)?;
        return Ok(DefaultSpec::Expression(format!("{name}()")));
    }
    Err(cursor.unexpected("a string, NULL or CURRENT_TIMESTAMP"))
}

pub(super) fn alter_table(cursor: &mut Cursor<'_>) -> SqlResult<Statement> {
    let table = cursor.qualified()?;
    let change = change(cursor)?;
    Ok(Statement::AlterTable { table, change })
}

fn change(cursor: &mut Cursor<'_>) -> SqlResult<AlterTable> {
    if cursor.take("RENAME COLUMN") {
        let from = cursor.name()?;
        cursor.take("TO");
        return Ok(AlterTable::RenameColumn { from, to: cursor.name()? });
    }
    if cursor.take("RENAME") {
        return Ok(AlterTable::Rename { to: cursor.name()? });
    }
    if cursor.take("SWAP WITH") {
        return Ok(AlterTable::Swap { with: cursor.name()? });
    }
    if cursor.take("COMMENT") {
        cursor.expect_token(&Token::Eq)?;
        return Ok(AlterTable::Comment { comment: cursor.string()? });
    }
    if cursor.take("ORDER BY") {
        return Ok(AlterTable::OrderBy { columns: cursor.names()? });
    }
    if cursor.take("SET") {
        return Ok(AlterTable::SetProperties { properties: cursor.properties()? });
    }
    let mut clauses = Vec::new();
    let mut properties = Vec::new();
    loop {
        clauses.push(clause(cursor, &mut properties)?);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    Ok(AlterTable::Columns { clauses, properties })
}

fn clause(cursor: &mut Cursor<'_>, properties: &mut Vec<(String, String)>) -> SqlResult<ColumnClause> {
    let clause = if cursor.take("ADD COLUMN") {
        if cursor.take_token(&Token::LParen) {
            let mut columns = vec![column(cursor)?];
            while cursor.take_token(&Token::Comma) {
                columns.push(column(cursor)?);
            }
            cursor.expect_token(&Token::RParen)?;
            ColumnClause::Add { columns, position: None }
        } else {
            ColumnClause::Add { columns: vec![column(cursor)?], position: position(cursor)? }
        }
    } else if cursor.take("DROP COLUMN") {
        ColumnClause::Drop { name: cursor.name()? }
    } else if cursor.take("MODIFY COLUMN") {
        if cursor.is_at(1, "COMMENT") {
            let name = cursor.name()?;
            cursor.expect("COMMENT")?;
            ColumnClause::ModifyComment { name, comment: cursor.string()? }
        } else {
            ColumnClause::Modify { column: column(cursor)?, position: position(cursor)? }
        }
    } else {
        return Err(cursor.unexpected("{'ADD', 'DROP', 'MODIFY', 'RENAME', 'SWAP', 'COMMENT', 'ORDER', 'SET'}"));
    };
    if cursor.take("FROM") {
        cursor.name()?;
    }
    if cursor.take("PROPERTIES") {
        properties.extend(cursor.properties()?);
    }
    Ok(clause)
}

fn position(cursor: &mut Cursor<'_>) -> SqlResult<Option<Position>> {
    if cursor.take("FIRST") {
        Ok(Some(Position::First))
    } else if cursor.take("AFTER") {
        Ok(Some(Position::After(cursor.name()?)))
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::statement::parse;
    use super::*;

    fn refused(sql: &str) {
        let error = parse(sql).unwrap_err();
        assert!(error.message.starts_with("Getting syntax error"), "{sql}: {}", error.message);
    }

    #[test]
    fn a_whole_create_table_is_read() {
        let sql = "CREATE TABLE IF NOT EXISTS `shop`.`t` (`id` BIGINT NOT NULL COMMENT \"key\",
            `name` VARCHAR(80) NULL DEFAULT \"it's\" COMMENT 'n', `at` DATETIME DEFAULT CURRENT_TIMESTAMP,
            v ARRAY<FLOAT>) ENGINE=OLAP PRIMARY KEY(`id`) COMMENT \"c\" DISTRIBUTED BY HASH(`id`) BUCKETS 4
            ORDER BY(`name`) PROPERTIES(\"replication_num\"=\"1\", 'compression' = 'LZ4');";
        let Statement::CreateTable(create) = parse(sql).unwrap() else { panic!() };
        assert_eq!(create.table, (Some("shop".into()), "t".into()));
        assert_eq!(create.columns.len(), 4);
        assert_eq!(create.columns[1].default, Some(DefaultSpec::Literal("it's".into())));
        assert_eq!(create.columns[2].default, Some(DefaultSpec::CurrentTimestamp));
        assert_eq!(create.key, Some((KeyKind::Primary, vec!["id".into()])));
        assert_eq!(create.distribution, Some(Distribution { columns: vec!["id".into()], buckets: Some(4) }));
        assert_eq!(create.properties.len(), 2);
    }

    #[test]
    fn mysql_only_syntax_is_refused() {
        refused("CREATE TABLE d.t (a INT UNSIGNED NOT NULL) PRIMARY KEY(a)");
        refused("CREATE TABLE d.t (a ENUM('x') NOT NULL) PRIMARY KEY(a)");
        refused("CREATE TABLE d.t (a INT DEFAULT 5) PRIMARY KEY(a)");
        refused("CREATE TABLE d.t (a DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) PRIMARY KEY(a)");
        refused("CREATE TABLE d.t (a INT, PRIMARY KEY (a))");
        refused("ALTER TABLE d.t CHANGE COLUMN a b INT");
    }

    #[test]
    fn several_clauses_are_read_in_order() {
        let sql = "ALTER TABLE t ADD COLUMN a INT AFTER k, DROP COLUMN b, MODIFY COLUMN c COMMENT 'x', ADD COLUMN (d INT, e DATE)";
        let Statement::AlterTable { change: AlterTable::Columns { clauses, .. }, .. } = parse(sql).unwrap() else {
            panic!()
        };
        assert_eq!(clauses.len(), 4);
        assert!(matches!(&clauses[0], ColumnClause::Add { position: Some(Position::After(k)), .. } if k == "k"));
        assert!(matches!(&clauses[3], ColumnClause::Add { columns, .. } if columns.len() == 2));
    }
}
