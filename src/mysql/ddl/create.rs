//! CREATE TABLE and CREATE INDEX.

use super::alter::{database_options, key_clause, option, system_versioning};
use super::column::definition;
use super::cursor::Cursor;
use super::{
    AlterTable, ColumnPlace, Content, CreateTable, Ddl, IfThere, KeyDefinition, KeyKind, TableChange, Unread,
    if_not_exists,
};

/// Behind CREATE. `None`: neither a table that lasts nor an index nor a database.
pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Option<Ddl>, Unread> {
    let or_replace = cursor.words(&["OR", "REPLACE"]);
    let temporary = cursor.words(&["TEMPORARY"]);
    if cursor.words(&["TABLE"]) {
        let create = table(cursor, or_replace)?;
        return Ok((!temporary).then_some(Ddl::CreateTable(create)));
    }
    if temporary {
        return Ok(None);
    }
    if cursor.any_word(&["DATABASE", "SCHEMA"]) {
        let if_not_exists = if_not_exists(cursor);
        let name = cursor.name()?;
        return Ok(Some(Ddl::CreateDatabase { name, if_not_exists, charset: database_options(cursor)? }));
    }
    let _ = cursor.any_word(&["ONLINE", "OFFLINE"]);
    let unique = cursor.words(&["UNIQUE"]);
    let _ = cursor.any_word(&["FULLTEXT", "SPATIAL", "VECTOR"]);
    if !cursor.words(&["INDEX"]) {
        return Ok(None);
    }
    let if_there = match (or_replace, if_not_exists(cursor)) {
        (true, _) => IfThere::Replaced,
        (false, true) => IfThere::Kept,
        (false, false) => IfThere::Refused,
    };
    let name = cursor.name()?;
    if cursor.any_word(&["USING", "TYPE"]) {
        cursor.skip(1);
    }
    cursor.expect_word("ON")?;
    let table = cursor.table()?;
    let columns = cursor.key_parts()?;
    cursor.skip_rest();
    let kind = if unique { KeyKind::Unique } else { KeyKind::Plain };
    let key = KeyDefinition { kind, name: Some(name), columns, if_there };
    Ok(Some(Ddl::AlterTable(AlterTable { table, if_exists: false, changes: vec![TableChange::AddKey(key)] })))
}

fn table(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<CreateTable, Unread> {
    let if_not_exists = if_not_exists(cursor);
    let table = cursor.table()?;
    let like = cursor.words(&["LIKE"]) || {
        let inside = cursor.peek_symbol('(') && cursor.word_after_is("LIKE");
        cursor.skip(2 * usize::from(inside));
        inside
    };
    let content = if like {
        let model = cursor.table()?;
        cursor.symbol(')');
        Content::Like(model)
    } else {
        content(cursor)?
    };
    Ok(CreateTable { table, if_not_exists, or_replace, content })
}

fn content(cursor: &mut Cursor<'_>) -> Result<Content, Unread> {
    let mut changes = Vec::new();
    if cursor.peek_symbol('(') && !cursor.word_after_is("SELECT") && !cursor.word_after_is("WITH") {
        cursor.symbol('(');
        loop {
            if system_versioning(cursor)? {
                changes.push(TableChange::SystemVersioning);
            } else if !key_clause(cursor, &mut changes)? {
                let column = definition(cursor)?;
                changes.push(TableChange::AddColumn { column, place: ColumnPlace::Unsaid, if_not_exists: false });
            }
            if !cursor.symbol(',') {
                break;
            }
        }
        cursor.expect_symbol(')')?;
    }
    while !cursor.done() && !cursor.peek_symbol(';') {
        let query = cursor.peek_symbol('(')
            || ["SELECT", "AS", "IGNORE", "REPLACE", "TABLE", "VALUES"].iter().any(|word| cursor.peek_word(word))
            || cursor.peek_word("WITH") && !cursor.peek_words(&["WITH", "SYSTEM"]);
        if query {
            cursor.skip_rest();
            return Ok(Content::Query);
        }
        if cursor.peek_word("PARTITION") {
            // A query may follow the partitions; the log carries such a table's definition without it.
            let start = cursor.position();
            cursor.skip_rest();
            if cursor.contains_word(start, "SELECT") {
                return Ok(Content::Query);
            }
            break;
        }
        // MySQL's START TRANSACTION: rows of CREATE … SELECT follow in the same transaction.
        if cursor.words(&["START", "TRANSACTION"]) {
            continue;
        }
        option(cursor, &mut changes)?;
        cursor.symbol(',');
    }
    if changes.is_empty() {
        return Err(cursor.unexpected("a table's columns"));
    }
    Ok(Content::Definition(changes))
}
