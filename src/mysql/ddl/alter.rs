//! ALTER TABLE.

use super::column::{charset, collate, default_clause, definition, references};
use super::cursor::Cursor;
use super::{
    AlterTable, Charset, ColumnPlace, Ddl, IfThere, KeyDefinition, KeyKind, Other, TableChange, Unlogged, Unread,
    if_exists, if_not_exists, wait,
};

/// Behind ALTER. `None`: neither of a table nor of a database.
pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Option<Ddl>, Unread> {
    if cursor.any_word(&["DATABASE", "SCHEMA"]) {
        return alter_database(cursor).map(Some);
    }
    let mut ignores = false;
    loop {
        if cursor.words(&["IGNORE"]) {
            ignores = true;
        } else if !cursor.any_word(&["ONLINE", "OFFLINE"]) {
            break;
        }
    }
    if !cursor.words(&["TABLE"]) {
        return Ok(None);
    }
    let if_exists = if_exists(cursor);
    let table = cursor.table()?;
    wait(cursor);
    let start = cursor.position();
    let mut changes = Vec::new();
    // Partition options follow the clauses without a comma.
    while !cursor.done() && !cursor.peek_symbol(';') {
        clause(cursor, &mut changes)?;
        cursor.symbol(',');
    }
    if ignores && (changes.iter().any(TableChange::may_lose_rows) || cursor.contains_word(start, "PARTITION")) {
        changes.push(unlogged("ALTER IGNORE".to_owned(), None));
    }
    Ok(Some(Ddl::AlterTable(AlterTable { table, if_exists, changes })))
}

fn alter_database(cursor: &mut Cursor<'_>) -> Result<Ddl, Unread> {
    let option = ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ", "COMMENT"];
    let named = !option.iter().any(|word| cursor.peek_word(word));
    let name = if named { Some(cursor.name()?) } else { None };
    Ok(Ddl::AlterDatabase { name, charset: database_options(cursor)? })
}

/// What stands behind a database's name.
pub(super) fn database_options(cursor: &mut Cursor<'_>) -> Result<Option<Charset>, Unread> {
    let mut found: Option<Charset> = None;
    while !cursor.done() && !cursor.peek_symbol(';') {
        if let Some(charset) = charset_clause(cursor)? {
            found = Some(charset);
        } else if cursor.words(&["COMMENT"]) {
            cursor.symbol('=');
            cursor.string().ok_or_else(|| cursor.unexpected("a comment's text"))?;
        } else if cursor.words(&["DEFAULT", "ENCRYPTION"])
            || cursor.words(&["ENCRYPTION"])
            || cursor.words(&["READ", "ONLY"])
        {
            cursor.symbol('=');
            cursor.skip(1);
        } else {
            return Err(cursor.unexpected("a database's character set"));
        }
    }
    Ok(found)
}

fn clause(cursor: &mut Cursor<'_>, changes: &mut Vec<TableChange>) -> Result<(), Unread> {
    let change = match cursor.upper().as_str() {
        "ADD" => {
            cursor.skip(1);
            return add(cursor, changes);
        }
        "DROP" => {
            cursor.skip(1);
            drop_clause(cursor)?
        }
        "CHANGE" => {
            cursor.skip(1);
            cursor.words(&["COLUMN"]);
            let if_exists = if_exists(cursor);
            let old = cursor.name()?;
            let column = definition(cursor)?;
            TableChange::ChangeColumn { old, column, place: place(cursor)?, if_exists }
        }
        "MODIFY" => {
            cursor.skip(1);
            cursor.words(&["COLUMN"]);
            let if_exists = if_exists(cursor);
            let column = definition(cursor)?;
            TableChange::ChangeColumn { old: column.name.clone(), column, place: place(cursor)?, if_exists }
        }
        "ALTER" => {
            cursor.skip(1);
            alter_clause(cursor)?
        }
        "RENAME" => {
            cursor.skip(1);
            rename_clause(cursor)?
        }
        "CONVERT" if cursor.peek_words(&["CONVERT", "PARTITION"]) || cursor.peek_words(&["CONVERT", "TABLE"]) => {
            rows_unlogged(cursor)?
        }
        "CONVERT" => {
            cursor.skip(1);
            cursor.expect_word("TO")?;
            TableChange::ConvertCharset(charset_clause(cursor)?.ok_or_else(|| cursor.unexpected("CHARACTER SET"))?)
        }
        "IMPORT" | "TRUNCATE" | "EXCHANGE" => rows_unlogged(cursor)?,
        "DISCARD" => {
            let start = cursor.position();
            cursor.skip_rest();
            TableChange::Discard(cursor.text(start, cursor.position()))
        }
        "ORDER" => {
            cursor.skip_rest();
            TableChange::Nothing
        }
        "PARTITION" => {
            // Anew: every row stays.
            cursor.skip_rest();
            TableChange::Nothing
        }
        _ => return option(cursor, changes),
    };
    changes.push(change);
    Ok(())
}

fn unlogged(clause: String, other: Option<Other>) -> TableChange {
    TableChange::RowsUnlogged(Unlogged { clause, other })
}

/// A clause after which rows are there, or gone, that no row event tells of.
fn rows_unlogged(cursor: &mut Cursor<'_>) -> Result<TableChange, Unread> {
    let start = cursor.position();
    let mut other = None;
    if cursor.words(&["EXCHANGE", "PARTITION"]) {
        cursor.name()?;
        cursor.expect_word("WITH")?;
        cursor.expect_word("TABLE")?;
        other = Some(Other::Exchanged(cursor.table()?));
        let _ = cursor.words(&["WITH", "VALIDATION"]) || cursor.words(&["WITHOUT", "VALIDATION"]);
    } else if cursor.words(&["CONVERT", "PARTITION"]) {
        cursor.name()?;
        cursor.expect_word("TO")?;
        cursor.expect_word("TABLE")?;
        other = Some(Other::Made(cursor.table()?));
    } else if cursor.words(&["CONVERT", "TABLE"]) {
        other = Some(Other::Taken(cursor.table()?));
        cursor.skip_rest();
    } else {
        // TRUNCATE PARTITION p0, p1: the commas belong to it.
        cursor.skip_rest();
    }
    Ok(unlogged(cursor.text(start, cursor.position()), other))
}

fn add(cursor: &mut Cursor<'_>, changes: &mut Vec<TableChange>) -> Result<(), Unread> {
    if key_clause(cursor, changes)? {
        return Ok(());
    }
    if cursor.peek_words(&["PARTITION"]) {
        cursor.skip_rest();
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    if system_versioning(cursor)? {
        changes.push(TableChange::SystemVersioning);
        return Ok(());
    }
    cursor.words(&["COLUMN"]);
    let if_not_exists = if_not_exists(cursor);
    if cursor.symbol('(') {
        loop {
            if !key_clause(cursor, changes)? {
                let column = definition(cursor)?;
                changes.push(TableChange::AddColumn { column, place: ColumnPlace::Unsaid, if_not_exists });
            }
            if !cursor.symbol(',') {
                return cursor.expect_symbol(')');
            }
        }
    }
    let column = definition(cursor)?;
    changes.push(TableChange::AddColumn { column, place: place(cursor)?, if_not_exists });
    Ok(())
}

/// An index, key or constraint, as it stands in ADD and in CREATE TABLE. `false`: something else stands here.
pub(super) fn key_clause(cursor: &mut Cursor<'_>, changes: &mut Vec<TableChange>) -> Result<bool, Unread> {
    let mut name = None;
    let mut if_there = IfThere::Refused;
    if cursor.words(&["CONSTRAINT"]) {
        if_there = or_kept(cursor);
        let kinds = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"];
        if !kinds.iter().any(|kind| cursor.peek_word(kind)) {
            name = Some(cursor.name()?);
        }
        if !kinds.iter().any(|kind| cursor.peek_word(kind)) {
            return Err(cursor.unexpected("PRIMARY, UNIQUE, FOREIGN or CHECK"));
        }
    }
    if cursor.words(&["FOREIGN", "KEY"]) {
        if_not_exists(cursor);
        if !cursor.peek_symbol('(') {
            cursor.name()?;
        }
        cursor.parentheses()?;
        cursor.expect_word("REFERENCES")?;
        references(cursor)?;
        changes.push(TableChange::Nothing);
        return Ok(true);
    }
    if cursor.peek_word("CHECK") {
        cursor.skip(1);
        cursor.parentheses()?;
        let _ = cursor.words(&["NOT", "ENFORCED"]) || cursor.words(&["ENFORCED"]);
        changes.push(TableChange::Nothing);
        return Ok(true);
    }
    let Some(kind) = key_kind(cursor) else { return Ok(false) };
    if if_there == IfThere::Refused {
        if_there = or_kept(cursor);
    }
    let own = index_type_and_name(cursor)?;
    let columns = cursor.key_parts()?;
    if kind == KeyKind::Primary && columns.iter().any(Option::is_none) {
        return Err(cursor.unexpected("a primary key over columns"));
    }
    index_options(cursor)?;
    let name = match kind {
        KeyKind::Primary => None,
        KeyKind::Unique => own.or(name),
        KeyKind::Plain => own,
    };
    changes.push(TableChange::AddKey(KeyDefinition { kind, name, columns, if_there }));
    Ok(true)
}

/// `SYSTEM VERSIONING` or `PERIOD FOR SYSTEM_TIME (…)`, which belongs to it.
///
/// # Errors
/// A period of another name, which is one of an application's own.
pub(super) fn system_versioning(cursor: &mut Cursor<'_>) -> Result<bool, Unread> {
    if cursor.words(&["SYSTEM", "VERSIONING"]) {
        return Ok(true);
    }
    if cursor.words(&["PERIOD", "FOR", "SYSTEM_TIME"]) {
        cursor.parentheses()?;
        return Ok(true);
    }
    match cursor.peek_words(&["PERIOD", "FOR"]) {
        true => Err(cursor.unexpected("a column or a key (periods are not followed)")),
        false => Ok(false),
    }
}

fn key_kind(cursor: &mut Cursor<'_>) -> Option<KeyKind> {
    if cursor.words(&["PRIMARY", "KEY"]) {
        return Some(KeyKind::Primary);
    }
    if cursor.words(&["UNIQUE"]) {
        let _ = cursor.any_word(&["INDEX", "KEY"]);
        return Some(KeyKind::Unique);
    }
    let special = cursor.any_word(&["FULLTEXT", "SPATIAL"]) || {
        let vector = cursor.peek_words(&["VECTOR", "INDEX"]) || cursor.peek_words(&["VECTOR", "KEY"]);
        cursor.skip(usize::from(vector));
        vector
    };
    (cursor.any_word(&["INDEX", "KEY"]) || special).then_some(KeyKind::Plain)
}

/// `IF NOT EXISTS`, where it stands.
fn or_kept(cursor: &mut Cursor<'_>) -> IfThere {
    if if_not_exists(cursor) { IfThere::Kept } else { IfThere::Refused }
}

/// `name USING BTREE`, in either order, both optional.
fn index_type_and_name(cursor: &mut Cursor<'_>) -> Result<Option<String>, Unread> {
    let mut name = None;
    while !cursor.peek_symbol('(') {
        if cursor.any_word(&["USING", "TYPE"]) {
            cursor.skip(1);
        } else if name.is_none() {
            name = Some(cursor.name()?);
        } else {
            return Err(cursor.unexpected("the key's columns"));
        }
    }
    Ok(name)
}

/// What follows an index's columns.
fn index_options(cursor: &mut Cursor<'_>) -> Result<(), Unread> {
    loop {
        if cursor.words(&["WITH", "PARSER"]) || cursor.any_word(&["USING", "TYPE"]) {
            cursor.skip(1);
        } else if cursor.any_word(&["VISIBLE", "INVISIBLE", "IGNORED"]) || cursor.words(&["NOT", "IGNORED"]) {
        } else if cursor.words(&["COMMENT"]) {
            cursor.symbol('=');
            cursor.string().ok_or_else(|| cursor.unexpected("a comment's text"))?;
        } else if cursor.any_word(&[
            "KEY_BLOCK_SIZE",
            "ENGINE_ATTRIBUTE",
            "SECONDARY_ENGINE_ATTRIBUTE",
            "CLUSTERING",
            "DISTANCE",
            "M",
        ]) {
            cursor.symbol('=');
            cursor.skip(1);
        } else {
            return Ok(());
        }
    }
}

fn place(cursor: &mut Cursor<'_>) -> Result<ColumnPlace, Unread> {
    if cursor.words(&["FIRST"]) {
        return Ok(ColumnPlace::First);
    }
    if cursor.words(&["AFTER"]) {
        return cursor.name().map(ColumnPlace::After);
    }
    Ok(ColumnPlace::Unsaid)
}

fn drop_clause(cursor: &mut Cursor<'_>) -> Result<TableChange, Unread> {
    if cursor.words(&["PRIMARY", "KEY"]) {
        return Ok(TableChange::DropPrimaryKey);
    }
    if cursor.any_word(&["INDEX", "KEY"]) {
        if_exists(cursor);
        return cursor.name().map(key_or_primary);
    }
    if cursor.words(&["FOREIGN", "KEY"]) || cursor.words(&["CHECK"]) {
        if_exists(cursor);
        cursor.name()?;
        return Ok(TableChange::Nothing);
    }
    if cursor.words(&["CONSTRAINT"]) {
        let if_exists = if_exists(cursor);
        return cursor.name().map(|name| match key_or_primary(name) {
            TableChange::DropKey(name) => TableChange::DropConstraint { name, if_exists },
            primary => primary,
        });
    }
    if cursor.peek_word("PARTITION") {
        cursor.skip_back_to(cursor.position() - 1);
        return rows_unlogged(cursor);
    }
    if cursor.peek_words(&["SYSTEM", "VERSIONING"]) || cursor.peek_words(&["PERIOD", "FOR"]) {
        return Err(cursor.unexpected("a column or a key (system versioning is not followed)"));
    }
    cursor.words(&["COLUMN"]);
    let if_exists = if_exists(cursor);
    let name = cursor.name()?;
    let _ = cursor.any_word(&["RESTRICT", "CASCADE"]);
    Ok(TableChange::DropColumn { name, if_exists })
}

fn key_or_primary(name: String) -> TableChange {
    if name.eq_ignore_ascii_case("PRIMARY") { TableChange::DropPrimaryKey } else { TableChange::DropKey(name) }
}

fn alter_clause(cursor: &mut Cursor<'_>) -> Result<TableChange, Unread> {
    if cursor.any_word(&["INDEX", "KEY", "CHECK", "CONSTRAINT"]) {
        if_exists(cursor);
        cursor.name()?;
        let known = cursor.any_word(&["VISIBLE", "INVISIBLE", "IGNORED", "ENFORCED"])
            || cursor.words(&["NOT", "IGNORED"])
            || cursor.words(&["NOT", "ENFORCED"]);
        return if known { Ok(TableChange::Nothing) } else { Err(cursor.unexpected("VISIBLE or ENFORCED")) };
    }
    cursor.words(&["COLUMN"]);
    let if_exists = if_exists(cursor);
    let column = cursor.name()?;
    if cursor.words(&["DROP", "DEFAULT"]) {
        return Ok(TableChange::SetDefault { column, default: None, if_exists });
    }
    cursor.expect_word("SET")?;
    if cursor.words(&["VISIBLE"]) {
        return Ok(TableChange::SetVisible { column, visible: true });
    }
    if cursor.words(&["INVISIBLE"]) {
        return Ok(TableChange::SetVisible { column, visible: false });
    }
    cursor.expect_word("DEFAULT")?;
    Ok(TableChange::SetDefault { column, default: Some(default_clause(cursor)?), if_exists })
}

fn rename_clause(cursor: &mut Cursor<'_>) -> Result<TableChange, Unread> {
    if cursor.words(&["COLUMN"]) {
        let if_exists = if_exists(cursor);
        let old = cursor.name()?;
        cursor.expect_word("TO")?;
        return Ok(TableChange::RenameColumn { old, new: cursor.name()?, if_exists });
    }
    if cursor.any_word(&["INDEX", "KEY"]) {
        if_exists(cursor);
        let old = cursor.name()?;
        cursor.expect_word("TO")?;
        return Ok(TableChange::RenameKey { old, new: cursor.name()? });
    }
    if !cursor.symbol('=') {
        let _ = cursor.any_word(&["TO", "AS"]);
    }
    cursor.table().map(TableChange::RenameTo)
}

/// `[DEFAULT] CHARACTER SET x [COLLATE y]`, `[DEFAULT] COLLATE y`, in either order.
fn charset_clause(cursor: &mut Cursor<'_>) -> Result<Option<Charset>, Unread> {
    let mut found = Charset::default();
    let mut any = false;
    loop {
        let words = cursor.peek_words(&["DEFAULT", "CHARACTER"])
            || cursor.peek_words(&["DEFAULT", "CHARSET"])
            || cursor.peek_words(&["DEFAULT", "COLLATE"]);
        cursor.skip(usize::from(words));
        if let Some(name) = charset(cursor)? {
            found.charset = (name != "default").then_some(name);
        } else if let Some(name) = collate(cursor)? {
            found.collation = (name != "default").then_some(name);
        } else {
            return Ok(any.then_some(found));
        }
        any = true;
    }
}

/// Options that stand as `NAME [=] value`.
const OPTIONS: &[&str] = &[
    "AUTO_INCREMENT",
    "AUTOEXTEND_SIZE",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "TABLE_CHECKSUM",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "ENCRYPTION",
    "ENCRYPTED",
    "ENCRYPTION_KEY_ID",
    "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE",
    "IETF_QUOTES",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PASSWORD",
    "ROW_FORMAT",
    "SEQUENCE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
    "STORAGE",
    "TRANSACTIONAL",
    "ALGORITHM",
    "LOCK",
    "START",
    "WITH",
];

/// A table option, as in ALTER and behind CREATE TABLE's parentheses.
pub(super) fn option(cursor: &mut Cursor<'_>, changes: &mut Vec<TableChange>) -> Result<(), Unread> {
    if let Some(charset) = charset_clause(cursor)? {
        changes.push(TableChange::DefaultCharset(charset));
        return Ok(());
    }
    if cursor.words(&["COMMENT"]) {
        cursor.symbol('=');
        let text = cursor.string().ok_or_else(|| cursor.unexpected("a comment's text"))?;
        changes.push(TableChange::Comment(text));
        return Ok(());
    }
    if cursor.words(&["WITH", "SYSTEM", "VERSIONING"]) {
        changes.push(TableChange::SystemVersioning);
        return Ok(());
    }
    if cursor.any_word(&["SECONDARY_LOAD", "SECONDARY_UNLOAD"]) {
        // Of the table or of PARTITION (p0, p1).
        cursor.skip_rest();
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    let alone = cursor.words(&["FORCE"])
        || cursor.words(&["ENABLE", "KEYS"])
        || cursor.words(&["DISABLE", "KEYS"])
        || cursor.words(&["WITH", "VALIDATION"])
        || cursor.words(&["WITHOUT", "VALIDATION"])
        || cursor.words(&["REMOVE", "PARTITIONING"])
        || cursor.words(&["NOWAIT"]);
    if alone {
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    if cursor.any_word(&["COALESCE", "REORGANIZE", "REBUILD", "OPTIMIZE", "ANALYZE", "CHECK", "REPAIR"]) {
        // Of partitions: the same rows, elsewhere.
        cursor.expect_word("PARTITION")?;
        cursor.skip_rest();
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    if cursor.peek_word("ENGINE") || cursor.peek_word("TYPE") {
        let start = cursor.position();
        cursor.skip(1);
        cursor.symbol('=');
        let engine = match cursor.string() {
            Some(engine) => engine,
            None => cursor.name()?,
        };
        changes.push(match engine.eq_ignore_ascii_case("BLACKHOLE") {
            // It has no rows.
            true => unlogged(cursor.text(start, cursor.position()), None),
            false => TableChange::Nothing,
        });
        return Ok(());
    }
    if cursor.words(&["DATA", "DIRECTORY"]) || cursor.words(&["INDEX", "DIRECTORY"]) || cursor.any_word(OPTIONS) {
        cursor.symbol('=');
        cursor.skip(1);
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    if cursor.words(&["UNION"]) {
        cursor.symbol('=');
        cursor.parentheses()?;
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    if let Some(option) = cursor.unknown_option() {
        // MariaDB's engines take options of their own: `name = value`, which are no columns.
        tracing::debug!(option, "table option passed over");
        changes.push(TableChange::Nothing);
        return Ok(());
    }
    Err(cursor.unexpected("a clause of ALTER TABLE"))
}
