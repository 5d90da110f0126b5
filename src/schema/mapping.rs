//! Type mapping: which StarRocks table holds every value of a MySQL table.
//!
//! Two rules decide everything. *No value is lost*: unsigned integers move to the next wider type, lengths are
//! counted in UTF-8 bytes ([`super::charset`]), and what has no exact home becomes its text. *A key must be a
//! key*: StarRocks takes only booleans, integers, strings and dates into a primary key, so a DECIMAL, FLOAT,
//! DOUBLE or BINARY key column becomes the VARCHAR of its text (BINARY: hexadecimal), and the key columns move
//! to the front, in key order.
//!
//! A DEFAULT is carried only if StarRocks takes it; replication itself names every column in every load and
//! never needs one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::charset::Utf8Growth;
use super::default::{carried_default, is_zero_date};
use super::row_hash;
use super::{
    Column, ColumnType, DefaultValue, IntegerSize, LobSize, Table, TableName, TargetColumn, TargetTable, TargetType,
};
use crate::{Error, Result};

/// A source table joined with its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub source: Table,
    /// With the columns that rows bring.
    pub target: TargetTable,
    /// What the target's table has besides: columns that the source has dropped and the target keeps (`ddl.dropColumn`).
    /// Their `source` means nothing.
    #[serde(default)]
    pub unfed: Vec<TargetColumn>,
}

/// What the target's version and the job file decide about the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingOptions {
    /// Source database → target database; others keep their name.
    pub databases: BTreeMap<String, String>,
    /// The longest VARCHAR and VARBINARY, in bytes.
    pub max_varchar_bytes: u32,
    /// Digits of the widest DECIMAL: 38, or 76 from 4.0.
    pub max_decimal_precision: u8,
    /// VARBINARY exists (3.0 and later).
    pub varbinary: bool,
    /// `defaultZeroDate: null`: zero dates are written as NULL.
    pub zero_date_is_null: bool,
    /// `noKeyTables: rowHash`: a table without a key gets one made of its rows.
    pub row_hash: bool,
}

impl MappingOptions {
    /// What a StarRocks of this version can hold.
    pub fn for_version(major: u16, minor: u16) -> Self {
        MappingOptions {
            databases: BTreeMap::new(),
            max_varchar_bytes: if (major, minor) < (2, 1) { 65_533 } else { 1_048_576 },
            max_decimal_precision: if major < 4 { 38 } else { 76 },
            varbinary: major >= 3,
            zero_date_is_null: true,
            row_hash: false,
        }
    }

    pub fn target_database<'a>(&'a self, source: &'a str) -> &'a str {
        self.databases.get(source).map_or(source, String::as_str)
    }
}

/// Maps a table. Definite errors: no key, a nullable key, a type or a name that StarRocks cannot take.
pub fn map_table(source: &Table, options: &MappingOptions) -> Result<Mapping> {
    let fail = |error: Error| error.context(format!("table {}", source.name));
    let name = TableName::new(options.target_database(&source.name.database), &source.name.table);
    check_database_name(&name.database).map_err(fail)?;
    if source.key.is_empty() && !options.row_hash {
        return Err(fail(Error::definite("it has no primary key and no unique key over NOT NULL columns").hint(
            "give the table a primary key, set noKeyTables: rowHash, or leave it out with source.excludeTables",
        )));
    }
    let others = (0..source.columns.len()).filter(|index| !source.key.contains(index));
    let mut columns = Vec::with_capacity(source.columns.len() + 2);
    if source.key.is_empty() {
        columns.extend(row_hash::key_columns());
        if let Some(taken) = columns.iter().find(|made| source.column_index(&made.name).is_some()) {
            return Err(fail(
                Error::definite(format!(
                    "its column {} has the name of a key column that noKeyTables: rowHash makes",
                    taken.name
                ))
                .hint("rename the column at the source, or leave the table out with source.excludeTables"),
            ));
        }
    }
    let key_columns = columns.len().max(source.key.len());
    for index in source.key.iter().copied().chain(others) {
        let Some(column) = source.columns.get(index) else {
            return Err(fail(Error::definite(format!("its key names column {index}, which does not exist"))));
        };
        let is_key = columns.len() < source.key.len();
        let mapped = map_column(column, index, is_key, options)
            .map_err(|error| fail(error.context(format!("column {}", column.name))))?;
        columns.push(mapped);
    }
    let target = TargetTable { name, columns, key_columns, comment: source.comment.clone() };
    Ok(Mapping { source: source.clone(), target, unfed: Vec::new() })
}

pub(crate) fn map_column(
    column: &Column,
    index: usize,
    is_key: bool,
    options: &MappingOptions,
) -> Result<TargetColumn> {
    check_column_name(&column.name)?;
    if is_key && column.nullable {
        return Err(Error::definite("a key column that may be NULL cannot be in a StarRocks primary key")
            .hint("declare the column NOT NULL, or give the table another key"));
    }
    if is_key && members_read_alike(&column.ty) {
        return Err(Error::definite("two of its values read the same, so two rows could become one at the target")
            .hint("give the members different texts (and a SET's no empty one), or leave the table out with source.excludeTables"));
    }
    let ty = if is_key { key_type(&column.ty, options)? } else { value_type(&column.ty, options)? };
    Ok(TargetColumn {
        name: column.name.clone(),
        ty,
        nullable: !is_key && (column.nullable || zero_date_becomes_null(column, options)),
        default: if is_key { None } else { carried_default(column, ty) },
        comment: column.comment.clone(),
        fill: super::fill::of_rows(column, ty, options),
        source: index,
    })
}

/// A server without strict mode lets two members have one text, and an empty member of a SET reads as no member does.
/// (An ENUM's empty member reads as an invalid value does; that value is an error when it comes.)
fn members_read_alike(ty: &ColumnType) -> bool {
    let (members, is_set) = match ty {
        ColumnType::Enum { members } => (members, false),
        ColumnType::Set { members } => (members, true),
        _ => return false,
    };
    let mut texts: Vec<&str> = members.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts.windows(2).any(|pair| pair[0] == pair[1]) || (is_set && texts.contains(&""))
}

/// A NOT NULL date column whose default is a zero date holds zero dates, that is, NULLs at the target.
fn zero_date_becomes_null(column: &Column, options: &MappingOptions) -> bool {
    let date = matches!(column.ty, ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. });
    match &column.default {
        Some(DefaultValue::Literal(literal)) => date && options.zero_date_is_null && is_zero_date(literal),
        _ => false,
    }
}

fn value_type(ty: &ColumnType, options: &MappingOptions) -> Result<TargetType> {
    Ok(match ty {
        ColumnType::Integer { size, unsigned } => integer_type(*size, *unsigned),
        ColumnType::Decimal { precision, scale } if *precision <= options.max_decimal_precision => {
            TargetType::Decimal { precision: *precision, scale: *scale }
        }
        ColumnType::Decimal { precision, scale } => varchar(decimal_text_bytes(*precision, *scale), options),
        ColumnType::Float => TargetType::Float,
        ColumnType::Double => TargetType::Double,
        ColumnType::Bit { bits: 1 } => TargetType::Boolean,
        ColumnType::Bit { bits: 64 } => TargetType::LargeInt,
        ColumnType::Bit { .. } => TargetType::BigInt,
        ColumnType::Char { chars, charset } | ColumnType::Varchar { chars, charset } => {
            varchar(u64::from(*chars) * u64::from(Utf8Growth::of(charset).per_char), options)
        }
        ColumnType::Text { size, charset } => varchar(text_bytes(*size, charset), options),
        ColumnType::Binary { bytes } | ColumnType::Varbinary { bytes } => varbinary(u64::from(*bytes), options)?,
        ColumnType::Blob { size } => varbinary(lob_bytes(*size), options)?,
        ColumnType::Date => TargetType::Date,
        ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => TargetType::DateTime,
        // -838:59:59.000000
        ColumnType::Time { .. } => varchar(17, options),
        ColumnType::Year => TargetType::SmallInt,
        ColumnType::Enum { members } => {
            varchar(members.iter().map(|member| member.len() as u64).max().unwrap_or(0), options)
        }
        ColumnType::Set { members } => {
            let commas = members.len().saturating_sub(1) as u64;
            varchar(members.iter().map(|member| member.len() as u64).sum::<u64>() + commas, options)
        }
        ColumnType::Json => TargetType::Json,
        ColumnType::Geometry => varchar(u64::from(options.max_varchar_bytes), options),
        ColumnType::Vector { .. } => TargetType::FloatArray,
        ColumnType::Uuid => varchar(36, options),
        ColumnType::Inet4 => varchar(15, options),
        ColumnType::Inet6 => varchar(39, options),
    })
}

/// Only booleans, integers, strings and dates may be in a key; other types become their text.
fn key_type(ty: &ColumnType, options: &MappingOptions) -> Result<TargetType> {
    Ok(match ty {
        ColumnType::Decimal { precision, scale } => varchar(decimal_text_bytes(*precision, *scale), options),
        // Text without an exponent from 1e-15 on is the longest: a sign, `0.`, 14 zeros, and 9 or 17 digits.
        ColumnType::Float => varchar(26, options),
        ColumnType::Double => varchar(34, options),
        ColumnType::Binary { bytes } | ColumnType::Varbinary { bytes } => varchar(u64::from(*bytes) * 2, options),
        ColumnType::Blob { size } => varchar(lob_bytes(*size) * 2, options),
        ColumnType::Json | ColumnType::Geometry | ColumnType::Vector { .. } => {
            return Err(Error::definite(format!("{} cannot be in a StarRocks primary key", type_word(ty)))
                .hint("leave the table out with source.excludeTables, or give it another key"));
        }
        _ => value_type(ty, options)?,
    })
}

fn integer_type(size: IntegerSize, unsigned: bool) -> TargetType {
    match (size, unsigned) {
        (IntegerSize::Tiny, false) => TargetType::TinyInt,
        (IntegerSize::Tiny, true) | (IntegerSize::Small, false) => TargetType::SmallInt,
        (IntegerSize::Small, true) | (IntegerSize::Medium, _) | (IntegerSize::Int, false) => TargetType::Int,
        (IntegerSize::Int, true) | (IntegerSize::Big, false) => TargetType::BigInt,
        (IntegerSize::Big, true) => TargetType::LargeInt,
    }
}

fn varchar(bytes: u64, options: &MappingOptions) -> TargetType {
    TargetType::Varchar { bytes: bytes.clamp(1, u64::from(options.max_varchar_bytes)) as u32 }
}

fn varbinary(bytes: u64, options: &MappingOptions) -> Result<TargetType> {
    if !options.varbinary {
        return Err(Error::definite("StarRocks has VARBINARY only from 3.0 on")
            .hint("upgrade StarRocks, or leave the table out with source.excludeTables"));
    }
    Ok(TargetType::Varbinary { bytes: bytes.clamp(1, u64::from(options.max_varchar_bytes)) as u32 })
}

/// All digits, a sign, a point, and the zero before the point when all digits are behind it.
fn decimal_text_bytes(precision: u8, scale: u8) -> u64 {
    u64::from(precision) + 2 + u64::from(precision == scale)
}

/// Bytes a TEXT can have in UTF-8, and never less than the round figure for TINYTEXT.
fn text_bytes(size: LobSize, charset: &str) -> u64 {
    let grown = Utf8Growth::of(charset).of_bytes(lob_bytes(size));
    match size {
        LobSize::Tiny => grown.max(1020),
        _ => grown,
    }
}

fn lob_bytes(size: LobSize) -> u64 {
    (1 << (8 * size.length_bytes())) - 1
}

fn type_word(ty: &ColumnType) -> &'static str {
    match ty {
        ColumnType::Json => "JSON",
        ColumnType::Geometry => "GEOMETRY",
        ColumnType::Vector { .. } => "VECTOR",
        _ => "this type",
    }
}

/// StarRocks' rules for column names (its `FeNameFormat`), checked here so that the message names the table.
fn check_column_name(name: &str) -> Result<()> {
    let reserved = name.eq_ignore_ascii_case("__op")
        || name.eq_ignore_ascii_case("__row")
        || name.to_ascii_lowercase().starts_with("__starrocks_shadow_");
    if reserved {
        return Err(Error::definite("the name is reserved by StarRocks")
            .hint("rename the column at the source, or leave the table out with source.excludeTables"));
    }
    if let Some(bad) = name.chars().find(|char| matches!(char, '\0' | '=' | '<' | '>' | '!' | '*')) {
        return Err(Error::definite(format!("StarRocks takes no {bad:?} in a column name"))
            .hint("rename the column at the source, or leave the table out with source.excludeTables"));
    }
    Ok(())
}

fn check_database_name(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_');
    let rest = chars.all(|char| char.is_ascii_alphanumeric() || "_-~!@#$%^&<>=+".contains(char));
    if first && rest && name.len() <= 256 {
        return Ok(());
    }
    Err(Error::definite(format!("StarRocks takes no database named {name:?}"))
        .hint("give it another name at the target with target.databases"))
}

impl Mapping {
    /// The target's table with all of its columns.
    pub fn whole_target(&self) -> TargetTable {
        let mut whole = self.target.clone();
        whole.columns.extend(self.unfed.iter().cloned());
        whole
    }

    /// What `check` tells about this table: attributes that are not carried over, values that may not fit.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let key = self.target.max_key_bytes();
        if key > MAX_KEY_BYTES {
            warnings.push(format!(
                "table {}: its key can take {key} bytes; StarRocks refuses a load with a key longer than {MAX_KEY_BYTES} \
                 (the limit is primary_key_limit_size in be.conf)",
                self.source.name
            ));
        }
        for target in &self.target.columns {
            if let Some(source) = self.source.columns.get(target.source) {
                let at = format!("table {} column {}", self.source.name, source.name);
                warnings.extend(column_warnings(source, target).into_iter().map(|text| format!("{at}: {text}")));
            }
        }
        warnings
    }
}

/// StarRocks' `primary_key_limit_size`, in bytes of the encoded key.
pub const MAX_KEY_BYTES: u64 = 128;

fn column_warnings(source: &Column, target: &TargetColumn) -> Vec<String> {
    let mut warnings = Vec::new();
    if target.nullable && !source.nullable {
        warnings.push("NULL is allowed at the target, because its zero dates are written as NULL".to_owned());
    }
    let (TargetType::Varchar { bytes: limit } | TargetType::Varbinary { bytes: limit }) = target.ty else {
        return warnings;
    };
    let longest = match &source.ty {
        ColumnType::Text { size, charset } => Utf8Growth::of(charset).of_bytes(lob_bytes(*size)),
        ColumnType::Blob { size } => lob_bytes(*size),
        ColumnType::Char { chars, charset } | ColumnType::Varchar { chars, charset } => {
            u64::from(*chars) * u64::from(Utf8Growth::of(charset).per_char)
        }
        _ => return warnings,
    };
    if longest > u64::from(limit) {
        warnings.push(format!("a value longer than {limit} bytes does not fit and stops the job"));
    }
    warnings
}

#[cfg(test)]
mod tests;
