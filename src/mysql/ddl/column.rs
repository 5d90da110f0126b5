//! A column's definition as a statement writes it.

use super::Unread;
use super::cursor::Cursor;
use crate::schema::Generated;

/// `name type attributes…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    pub name: String,
    pub ty: TypeClause,
    /// `None`: not said, which means NULL except in a primary key.
    pub nullable: Option<bool>,
    pub default: Option<DefaultClause>,
    /// `ON UPDATE CURRENT_TIMESTAMP`.
    pub on_update: bool,
    pub comment: String,
    pub generated: Generated,
    pub invisible: bool,
    /// `PRIMARY KEY` behind the column.
    pub primary: bool,
    /// `UNIQUE` behind the column, or SERIAL.
    pub unique: bool,
}

/// A type in the catalogue's spelling, aliases resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeClause {
    /// As `information_schema.COLUMNS.COLUMN_TYPE` writes it: `decimal(10,2) unsigned`, `enum('a','b')`, `mediumtext`.
    pub text: String,
    pub charset: Option<String>,
    pub collation: Option<String>,
    /// The `BINARY` attribute: the character set's `_bin` collation.
    pub binary_collation: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultClause {
    Null,
    /// A constant's value.
    Literal(String),
    CurrentTimestamp,
    Expression(String),
}

/// Reads `name type attributes`.
pub(super) fn definition(cursor: &mut Cursor<'_>) -> Result<ColumnDefinition, Unread> {
    let name = cursor.name()?;
    let serial = cursor.words(&["SERIAL"]);
    let ty = if serial { plain("bigint unsigned") } else { type_clause(cursor)? };
    let mut column = ColumnDefinition {
        name,
        ty,
        nullable: serial.then_some(false),
        default: None,
        on_update: false,
        comment: String::new(),
        generated: Generated::No,
        invisible: false,
        primary: false,
        unique: serial,
    };
    while attribute(cursor, &mut column)? {}
    Ok(column)
}

/// Words that begin an attribute; a DEFAULT without parentheses ends before them.
const ATTRIBUTES: &[&str] = &[
    "NOT",
    "NULL",
    "DEFAULT",
    "ON",
    "AUTO_INCREMENT",
    "UNIQUE",
    "PRIMARY",
    "KEY",
    "COMMENT",
    "COLLATE",
    "CHARACTER",
    "CHARSET",
    "COLUMN_FORMAT",
    "STORAGE",
    "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "GENERATED",
    "AS",
    "VIRTUAL",
    "STORED",
    "PERSISTENT",
    "VISIBLE",
    "INVISIBLE",
    "CHECK",
    "CONSTRAINT",
    "REFERENCES",
    "FIRST",
    "AFTER",
    "SRID",
    "REF_SYSTEM_ID",
    "SERIAL",
    "COMPRESSED",
    "WITH",
    "WITHOUT",
];

fn attribute(cursor: &mut Cursor<'_>, column: &mut ColumnDefinition) -> Result<bool, Unread> {
    if cursor.words(&["NOT", "NULL"]) {
        column.nullable = Some(false);
    } else if cursor.words(&["NOT", "SECONDARY"]) {
        // It is not in HeatWave.
    } else if cursor.words(&["NULL"]) {
        column.nullable = Some(true);
    } else if cursor.words(&["DEFAULT"]) {
        column.default = Some(default_clause(cursor)?);
    } else if cursor.words(&["ON", "UPDATE"]) {
        let _ = expression(cursor)?;
        column.on_update = true;
    } else if cursor.words(&["SERIAL", "DEFAULT", "VALUE"]) {
        (column.nullable, column.unique) = (Some(false), true);
    } else if cursor.words(&["PRIMARY", "KEY"]) || cursor.words(&["PRIMARY"]) {
        column.primary = true;
    } else if cursor.words(&["UNIQUE", "KEY"]) || cursor.words(&["UNIQUE"]) {
        column.unique = true;
    } else if cursor.words(&["KEY"]) {
        // A bare KEY behind a column is its primary key.
        column.primary = true;
    } else if cursor.words(&["COMMENT"]) {
        cursor.symbol('=');
        column.comment = cursor.string().ok_or_else(|| cursor.unexpected("a comment's text"))?;
    } else if let Some(collation) = collate(cursor)? {
        column.ty.collation = Some(collation);
    } else if let Some(charset) = charset(cursor)? {
        column.ty.charset = Some(charset);
    } else if cursor.words(&["GENERATED", "ALWAYS", "AS"]) || cursor.words(&["AS"]) {
        if !cursor.peek_symbol('(') {
            // MariaDB: GENERATED ALWAYS AS ROW START | END.
            return Err(cursor.unexpected("an expression in parentheses"));
        }
        cursor.parentheses()?;
        column.generated = Generated::Virtual;
    } else if cursor.any_word(&["STORED", "PERSISTENT"]) {
        column.generated = Generated::Stored;
    } else if cursor.words(&["INVISIBLE"]) {
        column.invisible = true;
    } else if cursor.any_word(&["VIRTUAL", "VISIBLE", "AUTO_INCREMENT"]) {
    } else if cursor.words(&["CONSTRAINT"]) {
        if !cursor.peek_word("CHECK") {
            cursor.name()?;
        }
    } else if cursor.words(&["CHECK"]) {
        cursor.parentheses()?;
        let _ = cursor.words(&["NOT", "ENFORCED"]) || cursor.words(&["ENFORCED"]);
    } else if cursor.words(&["REFERENCES"]) {
        references(cursor)?;
    } else if cursor.any_word(&["COLUMN_FORMAT", "STORAGE"]) {
        cursor.skip(1);
    } else if cursor.any_word(&["ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "SRID", "REF_SYSTEM_ID"]) {
        cursor.symbol('=');
        cursor.skip(1);
    } else if cursor.words(&["COMPRESSED"]) {
        // As the catalogue tells it; its reader refuses such a column.
        if cursor.symbol('=') {
            cursor.skip(1);
        }
        column.ty.text.push_str(" /*M!100301 COMPRESSED*/");
    } else if !cursor.words(&["WITHOUT", "SYSTEM", "VERSIONING"]) {
        return Ok(false);
    }
    Ok(true)
}

/// What stands behind REFERENCES.
pub(super) fn references(cursor: &mut Cursor<'_>) -> Result<(), Unread> {
    cursor.table()?;
    if cursor.peek_symbol('(') {
        cursor.parentheses()?;
    }
    loop {
        if cursor.words(&["MATCH"]) {
            cursor.skip(1);
        } else if cursor.words(&["ON", "DELETE"]) || cursor.words(&["ON", "UPDATE"]) {
            if !(cursor.words(&["SET"]) || cursor.words(&["NO"])) {
                cursor.skip(1);
            } else {
                // SET NULL, SET DEFAULT, NO ACTION
                cursor.skip(1);
            }
        } else {
            return Ok(());
        }
    }
}

/// `CHARACTER SET x`, `CHARSET x`, `CHAR SET x`, with `=` or without, and the attributes ASCII and UNICODE.
pub(super) fn charset(cursor: &mut Cursor<'_>) -> Result<Option<String>, Unread> {
    if cursor.words(&["CHARACTER", "SET"]) || cursor.words(&["CHARSET"]) || cursor.words(&["CHAR", "SET"]) {
        cursor.symbol('=');
        return name_or_string(cursor).map(Some);
    }
    Ok(None)
}

pub(super) fn collate(cursor: &mut Cursor<'_>) -> Result<Option<String>, Unread> {
    if !cursor.words(&["COLLATE"]) {
        return Ok(None);
    }
    cursor.symbol('=');
    name_or_string(cursor).map(Some)
}

fn name_or_string(cursor: &mut Cursor<'_>) -> Result<String, Unread> {
    match cursor.string() {
        Some(text) => Ok(text.to_ascii_lowercase()),
        None => cursor.name().map(|name| name.to_ascii_lowercase()),
    }
}

/// What stands behind DEFAULT.
pub(super) fn default_clause(cursor: &mut Cursor<'_>) -> Result<DefaultClause, Unread> {
    if cursor.words(&["NULL"]) {
        return Ok(DefaultClause::Null);
    }
    let start = cursor.position();
    let literal = literal(cursor)?;
    if let Some(literal) = literal
        && ends_default(cursor)
    {
        return Ok(DefaultClause::Literal(literal));
    }
    cursor.skip_back_to(start);
    for now in ["CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP"] {
        if cursor.words(&[now]) {
            if cursor.peek_symbol('(') {
                cursor.parentheses()?;
            }
            if ends_default(cursor) {
                return Ok(DefaultClause::CurrentTimestamp);
            }
            cursor.skip_back_to(start);
            break;
        }
    }
    expression(cursor).map(DefaultClause::Expression)
}

fn ends_default(cursor: &Cursor<'_>) -> bool {
    cursor.done()
        || [',', ')', ';'].into_iter().any(|symbol| cursor.peek_symbol(symbol))
        || ATTRIBUTES.iter().any(|word| cursor.peek_word(word))
}

/// A constant: text with or without introducer, a number with or without sign, TRUE, FALSE, bits.
fn literal(cursor: &mut Cursor<'_>) -> Result<Option<String>, Unread> {
    if cursor.upper().starts_with('_') && cursor.string_at(1) {
        cursor.skip(1);
    }
    // DATE '2024-01-01' and its like.
    if ["DATE", "TIME", "TIMESTAMP"].iter().any(|word| cursor.peek_word(word)) && cursor.string_at(1) {
        cursor.skip(1);
    }
    if let Some(text) = cursor.string() {
        return Ok(Some(text));
    }
    if cursor.words(&["TRUE"]) {
        return Ok(Some("1".to_owned()));
    }
    if cursor.words(&["FALSE"]) {
        return Ok(Some("0".to_owned()));
    }
    if let Some(bits) = cursor.bits() {
        return Ok(Some(bits));
    }
    let negative = cursor.symbol('-');
    if !negative {
        cursor.symbol('+');
    }
    Ok(cursor.number().map(|number| if negative { format!("-{number}") } else { number }))
}

/// Everything up to the next attribute or the clause's end.
fn expression(cursor: &mut Cursor<'_>) -> Result<String, Unread> {
    let start = cursor.position();
    loop {
        if cursor.peek_symbol('(') {
            cursor.parentheses()?;
        } else if cursor.done() {
            return Err(cursor.unexpected("an expression"));
        } else {
            cursor.skip(1);
        }
        if !cursor.peek_symbol('(') && ends_default(cursor) {
            return Ok(cursor.text(start, cursor.position()));
        }
    }
}

fn plain(text: &str) -> TypeClause {
    TypeClause { text: text.to_owned(), charset: None, collation: None, binary_collation: false }
}

/// A type and what belongs to it: length, sign, character set.
fn type_clause(cursor: &mut Cursor<'_>) -> Result<TypeClause, Unread> {
    let mut ty = plain(&type_text(cursor)?);
    loop {
        if cursor.any_word(&["UNSIGNED"]) {
            ty.text.push_str(" unsigned");
        } else if cursor.words(&["ZEROFILL"]) {
            // ZEROFILL makes a number unsigned.
            if !ty.text.contains(" unsigned") {
                ty.text.push_str(" unsigned");
            }
        } else if cursor.words(&["BINARY"]) {
            ty.binary_collation = true;
        } else if cursor.words(&["ASCII"]) {
            ty.charset = Some("latin1".to_owned());
        } else if cursor.words(&["UNICODE"]) {
            ty.charset = Some("ucs2".to_owned());
        } else if cursor.words(&["BYTE"]) {
            ty.charset = Some("binary".to_owned());
        } else if let Some(charset) = charset(cursor)? {
            ty.charset = Some(charset);
        } else if let Some(collation) = collate(cursor)? {
            ty.collation = Some(collation);
        } else if !cursor.words(&["SIGNED"]) {
            if ty.text.starts_with("national ") {
                ty.text = ty.text["national ".len()..].to_owned();
                ty.charset = Some("utf8mb3".to_owned());
            }
            return Ok(ty);
        }
    }
}

/// The type in the catalogue's words; `national …` for those with a character set of their own.
fn type_text(cursor: &mut Cursor<'_>) -> Result<String, Unread> {
    let national = cursor.words(&["NATIONAL"]);
    let word = cursor.upper();
    if word.is_empty() {
        return Err(cursor.unexpected("a type"));
    }
    cursor.skip(1);
    let (name, national) = match word.as_str() {
        "INT" | "INTEGER" | "INT4" => ("int", national),
        "TINYINT" | "INT1" => ("tinyint", national),
        "SMALLINT" | "INT2" => ("smallint", national),
        "MEDIUMINT" | "MIDDLEINT" | "INT3" => ("mediumint", national),
        "BIGINT" | "INT8" => ("bigint", national),
        "BOOL" | "BOOLEAN" => return Ok("tinyint(1)".to_owned()),
        "DECIMAL" | "DEC" | "FIXED" | "NUMERIC" => ("decimal", national),
        "NUMBER" => ("decimal", national),
        "FLOAT" => return float(cursor),
        "FLOAT4" => ("float", national),
        "DOUBLE" => {
            cursor.words(&["PRECISION"]);
            ("double", national)
        }
        "FLOAT8" => ("double", national),
        // Or a FLOAT, as the session will have it.
        "REAL" => ("real", national),
        "CHAR" | "CHARACTER" => (if cursor.words(&["VARYING"]) { "varchar" } else { "char" }, national),
        "NCHAR" => (if cursor.any_word(&["VARYING", "VARCHAR", "VARCHARACTER"]) { "varchar" } else { "char" }, true),
        "VARCHAR" | "VARCHARACTER" | "VARCHAR2" => {
            cursor.words(&["VARYING"]);
            ("varchar", national)
        }
        "NVARCHAR" => ("varchar", true),
        "LONG" => {
            let binary = cursor.words(&["VARBINARY"]);
            if !binary {
                let _ = cursor.words(&["CHAR", "VARYING"])
                    || cursor.words(&["CHARACTER", "VARYING"])
                    || cursor.words(&["VARCHAR"])
                    || cursor.words(&["VARCHARACTER"]);
            }
            return Ok(if binary { "mediumblob" } else { "mediumtext" }.to_owned());
        }
        "TEXT" | "BLOB" => {
            let length = if cursor.peek_symbol('(') { Some(cursor.parentheses()?) } else { None };
            return lob(cursor, &word, length.as_deref());
        }
        _ => {
            let lower = word.to_ascii_lowercase();
            let arguments = arguments(cursor)?;
            return Ok(format!("{lower}{arguments}"));
        }
    };
    let arguments = arguments(cursor)?;
    Ok(format!("{}{name}{arguments}", if national { "national " } else { "" }))
}

/// `FLOAT(p)` is a DOUBLE from 25 bits on; `FLOAT(m,d)` is not.
fn float(cursor: &mut Cursor<'_>) -> Result<String, Unread> {
    let arguments = arguments(cursor)?;
    let bits =
        arguments.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).and_then(|bits| bits.parse::<u8>().ok());
    Ok(match bits {
        Some(bits) if bits > 24 => "double".to_owned(),
        _ => "float".to_owned(),
    })
}

/// A TEXT or BLOB with a length becomes the smallest type that holds it. How many bytes that are the character set
/// decides, so the length stays: `text(1000)`.
fn lob(cursor: &Cursor<'_>, word: &str, length: Option<&str>) -> Result<String, Unread> {
    let name = word.to_ascii_lowercase();
    let Some(length) = length else { return Ok(name) };
    let length: u64 =
        length.trim_matches(|c: char| !c.is_ascii_digit()).parse().map_err(|_| cursor.unexpected("a length"))?;
    Ok(format!("{name}({length})"))
}

/// `(10,2)`, `('a','b')`, or nothing, in the catalogue's spelling.
fn arguments(cursor: &mut Cursor<'_>) -> Result<String, Unread> {
    if !cursor.symbol('(') {
        return Ok(String::new());
    }
    let mut arguments = Vec::new();
    loop {
        if cursor.upper().starts_with('_') && cursor.string_at(1) {
            cursor.skip(1);
        }
        if let Some(number) = cursor.number() {
            arguments.push(number);
            // Oracle mode: VARCHAR2(10 CHAR).
            let _ = cursor.any_word(&["CHAR", "BYTE"]);
        } else {
            let member = match cursor.string() {
                Some(member) => member,
                None => cursor.hex_text().ok_or_else(|| cursor.unexpected("a number or a text"))?,
            };
            arguments.push(format!(
                "'{}'",
                member
                    .replace('\\', "\\\\")
                    .replace('\'', "''")
                    .replace('\n', "\\n")
                    .replace('\r', "\\r")
                    .replace('\0', "\\0")
            ));
        }
        if !cursor.symbol(',') {
            cursor.expect_symbol(')')?;
            return Ok(format!("({})", arguments.join(",")));
        }
    }
}
