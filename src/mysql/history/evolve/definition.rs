//! What the words of a column's definition mean. They are read by the code that reads the catalogue's, so that both tell
//! the same.

use super::super::charset::{self, max_bytes};
use super::super::literal;
use super::Rules;
use crate::mysql::catalog::{column_type as catalogue_type, default};
use crate::mysql::ddl::{ColumnDefinition, DefaultClause, TableChange};
use crate::schema::{Column, ColumnType, DefaultValue, Generated, LobSize, Table};

/// The statement's character sets.
pub(super) struct Charsets {
    /// Of columns that name none.
    pub(super) default: Option<String>,
    /// `CONVERT TO CHARACTER SET`.
    convert: Option<String>,
}

impl Charsets {
    pub(super) fn read(before: &Table, changes: &[TableChange], rules: Rules<'_>) -> Result<Self, String> {
        let mut charsets = Charsets { default: before.charset.clone(), convert: None };
        let resolve = |charset: &crate::mysql::ddl::Charset| match charset::of(charset) {
            Some(known) => Ok(known),
            None => rules
                .database_charset
                .map(str::to_owned)
                .ok_or_else(|| format!("the default character set of database {} is not known", before.name.database)),
        };
        for change in changes {
            match change {
                TableChange::DefaultCharset(charset) => charsets.default = Some(resolve(charset)?),
                TableChange::ConvertCharset(charset) => {
                    charsets.convert = Some(resolve(charset)?);
                    // MariaDB keeps a default that the statement names beside it.
                    let named = |change: &TableChange| matches!(change, TableChange::DefaultCharset(_));
                    if !(rules.mariadb && changes.iter().any(named)) {
                        charsets.default.clone_from(&charsets.convert);
                    }
                }
                _ => {}
            }
        }
        Ok(charsets)
    }

    /// What `CONVERT TO` names.
    pub(super) fn conversion(&self) -> Option<&str> {
        self.convert.as_deref()
    }

    /// That of a column with these words.
    fn of(&self, definition: &ColumnDefinition) -> Option<String> {
        let ty = &definition.ty;
        // A collation that is named without a character set's name (`uca1400_ai_ci`) leaves the default's.
        let own = ty
            .charset
            .as_deref()
            .map(charset::canonical)
            .or_else(|| ty.collation.as_deref().and_then(charset::of_collation));
        match (own, &self.convert) {
            (Some(own), _) if own == "binary" => Some(own),
            (_, Some(convert)) => Some(convert.clone()),
            (Some(own), None) => Some(own),
            (None, None) => self.default.clone(),
        }
    }
}

/// # Errors
/// Why its type cannot be known.
pub(super) fn column(definition: &ColumnDefinition, charsets: &Charsets, rules: Rules<'_>) -> Result<Column, String> {
    let charset = match definition.ty.text.as_str() {
        // MariaDB's is a LONGTEXT in this set, and is converted as one.
        "json" if rules.mariadb => charsets.convert.clone().or_else(|| Some("utf8mb4".to_owned())),
        _ => charsets.of(definition),
    };
    let ty = column_type(&definition.ty.text, charset.as_deref(), rules)
        .map_err(|problem| format!("column {}: {problem}", definition.name))?;
    let nullable = match (definition.nullable, &ty) {
        (Some(said), _) => said,
        (None, ColumnType::Timestamp { .. }) if !rules.explicit_timestamps => {
            definition.default == Some(DefaultClause::Null)
        }
        (None, _) => true,
    };
    let value = definition.default.as_ref().and_then(|default| default_value(&ty, default));
    Ok(Column {
        name: definition.name.clone(),
        ty,
        nullable: nullable && !definition.primary,
        default: value.filter(|_| definition.generated == Generated::No),
        comment: definition.comment.clone(),
        generated: definition.generated,
        invisible: definition.invisible,
    })
}

/// A type's words as the server takes them.
fn column_type(text: &str, charset: Option<&str>, rules: Rules<'_>) -> Result<ColumnType, String> {
    let (word, length) = match text.split_once('(') {
        Some((word, rest)) => (word, rest.split(')').next().and_then(|length| length.parse::<u64>().ok())),
        None => (text.split(' ').next().unwrap_or_default(), None),
    };
    let known = || charset.ok_or_else(|| "the table's default character set is not known".to_owned());
    let text = match (word, length) {
        ("json", _) if rules.mariadb => "longtext",
        ("real", _) if rules.real_as_float => "float",
        ("bit", Some(0)) => "bit(1)",
        ("decimal", Some(0)) => "decimal(10,0)",
        ("text", Some(chars)) => {
            let charset = known()?;
            let size = lob_size(chars.saturating_mul(max_bytes(charset)?));
            return Ok(as_binary(ColumnType::Text { size, charset: charset.into() }));
        }
        ("blob", Some(bytes)) => return Ok(ColumnType::Blob { size: lob_size(bytes) }),
        _ => text,
    };
    let ty = match if text == "longtext" { text } else { word } {
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            catalogue_type::parse_written(text, Some(known()?))?
        }
        _ => catalogue_type::parse_written(text, None)?,
    };
    fitting(as_binary(ty))
}

/// Texts in the character set `binary` are bytes.
fn as_binary(ty: ColumnType) -> ColumnType {
    match ty {
        ColumnType::Char { chars, charset } if charset == "binary" => ColumnType::Binary { bytes: chars },
        ColumnType::Varchar { chars, charset } if charset == "binary" => ColumnType::Varbinary { bytes: chars },
        ColumnType::Text { size, charset } if charset == "binary" => ColumnType::Blob { size },
        ColumnType::Enum { members } => ColumnType::Enum { members: members.into_iter().map(trimmed).collect() },
        ColumnType::Set { members } => ColumnType::Set { members: members.into_iter().map(trimmed).collect() },
        other => other,
    }
}

/// The servers keep members without the spaces behind them.
fn trimmed(mut member: String) -> String {
    member.truncate(member.trim_end_matches(' ').len());
    member
}

/// A VARCHAR that is longer than a row becomes a TEXT, where `sql_mode` is not strict.
fn fitting(ty: ColumnType) -> Result<ColumnType, String> {
    match ty {
        ColumnType::Varchar { chars, charset } if u64::from(chars) * max_bytes(&charset)? > 65_535 => {
            Ok(ColumnType::Text { size: lob_size(u64::from(chars) * max_bytes(&charset)?), charset })
        }
        ColumnType::Varbinary { bytes } if bytes > 65_535 => Ok(ColumnType::Blob { size: lob_size(u64::from(bytes)) }),
        other => Ok(other),
    }
}

/// The smallest that holds so many bytes.
fn lob_size(bytes: u64) -> LobSize {
    match bytes {
        0..=0xff => LobSize::Tiny,
        0x100..=0xffff => LobSize::Plain,
        0x1_0000..=0xff_ffff => LobSize::Medium,
        _ => LobSize::Long,
    }
}

/// A column after CONVERT TO that no clause defines: a TEXT grows so that it holds as many characters as before.
///
/// # Errors
/// What becomes of it is not certain.
pub(super) fn converted(ty: &ColumnType, charset: &str, rules: Rules<'_>) -> Result<ColumnType, String> {
    let charset_of = || charset.to_owned();
    let new = match ty {
        ColumnType::Char { chars, .. } => ColumnType::Char { chars: *chars, charset: charset_of() },
        ColumnType::Varchar { chars, .. } => ColumnType::Varchar { chars: *chars, charset: charset_of() },
        // What becomes of them differs with server and version.
        ColumnType::Enum { members } | ColumnType::Set { members }
            if !members.iter().all(|member| member.is_ascii()) =>
        {
            return Err("members of an ENUM or SET beyond ASCII get another character set".to_owned());
        }
        ColumnType::Text { size, charset: old } => {
            let size = lob_size(lob_bytes(*size) / max_bytes(old)? * max_bytes(charset)?);
            ColumnType::Text { size, charset: charset_of() }
        }
        other => other.clone(),
    };
    let fits = fitting(as_binary(new))?;
    match ty {
        ColumnType::Varchar { .. } if !rules.mariadb => resized(fits, ty),
        _ => Ok(fits),
    }
}

/// A TEXT or BLOB without a length of its own, defined for an old column while CONVERT TO is in the statement: MySQL sizes
/// it by the characters that it reckons the old column to have had, whatever type that was (`prepare_blob_field`).
///
/// # Errors
/// What size that is is not certain.
pub(super) fn resized(new: ColumnType, old: &ColumnType) -> Result<ColumnType, String> {
    let each = match &new {
        ColumnType::Text { size, charset } if *size != LobSize::Long => max_bytes(charset)?,
        ColumnType::Blob { size } if *size != LobSize::Long => 1,
        _ => return Ok(new),
    };
    let (least, most) = reckoned_characters(old)?;
    let size = lob_size(least * each);
    if size != lob_size(most * each) {
        return Err("CONVERT TO sizes a TEXT by what an old column of another type was declared with".to_owned());
    }
    Ok(match new {
        ColumnType::Text { charset, .. } => ColumnType::Text { size, charset },
        _ => ColumnType::Blob { size },
    })
}

/// `Field::char_length() / mbmaxlen`, at least and at most: not all that decides it is kept. For texts that is the number
/// of characters divided by a character's bytes once more.
fn reckoned_characters(ty: &ColumnType) -> Result<(u64, u64), String> {
    let sure = |characters: u64| (characters, characters);
    Ok(match ty {
        ColumnType::Char { chars, charset } | ColumnType::Varchar { chars, charset } => {
            sure(u64::from(*chars) / max_bytes(charset)?)
        }
        ColumnType::Text { size, charset } => sure(lob_bytes(*size) / max_bytes(charset)?),
        ColumnType::Blob { size } => sure(lob_bytes(*size)),
        ColumnType::Binary { bytes } | ColumnType::Varbinary { bytes } => sure(u64::from(*bytes)),
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => sure(lob_bytes(LobSize::Long)),
        // A sign and a point.
        ColumnType::Decimal { precision, .. } => (u64::from(*precision), u64::from(*precision) + 2),
        ColumnType::Bit { bits } => sure(u64::from(*bits)),
        ColumnType::Enum { members } => {
            let longest = members.iter().map(|member| member.chars().count() as u64).max().unwrap_or(0);
            (longest / 4, longest)
        }
        ColumnType::Set { members } => {
            let all: u64 = members.iter().map(|member| member.chars().count() as u64 + 1).sum();
            (all / 4, all)
        }
        // Display widths: of numbers and times none is as long as makes a difference.
        ColumnType::Integer { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Date
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Time { .. }
        | ColumnType::Year
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => sure(30),
    })
}

fn lob_bytes(size: LobSize) -> u64 {
    (1 << (8 * size.length_bytes())) - 1
}

pub(super) fn default_value(ty: &ColumnType, clause: &DefaultClause) -> Option<DefaultValue> {
    let value = match clause {
        DefaultClause::Null => return None,
        DefaultClause::CurrentTimestamp => match ty {
            ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => DefaultValue::CurrentTimestamp,
            _ => DefaultValue::Expression("CURRENT_TIMESTAMP".to_owned()),
        },
        DefaultClause::Literal(text) => literal::as_stored(ty, text),
        DefaultClause::Expression(text) => DefaultValue::Expression(text.clone()),
    };
    Some(default::of_type(value, ty))
}
