//! A table that is there already: its columns as `information_schema.columns` tells them, and whether it can
//! take every value of the table we would have created.
//!
//! A column may be wider than ours (a longer VARCHAR, a larger integer), may allow NULL where we do not need
//! it, and the table may have more columns, if these fill themselves. Nothing else is taken: a type that is
//! merely convertible would change values on their way in.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ddl::define;
use super::read::StoredColumn;
use super::sql::{RowText, Rows, Sql, quote_text};
use crate::schema::{Fill, TableName, TargetColumn, TargetDefault, TargetTable, TargetType, quote};
use crate::{Error, Result};

/// What a VARBINARY without a length holds.
const VARBINARY_BYTES: u32 = 1_048_576;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExistingColumn {
    name: String,
    /// `None`: a type that no mapping gives; `type_text` names it.
    ty: Option<TargetType>,
    type_text: String,
    nullable: bool,
    /// Its DEFAULT as the catalogue writes it.
    default: Option<String>,
    /// It has a default, or fills itself in another way.
    fills_itself: bool,
    key: bool,
    comment: String,
}

impl ExistingColumn {
    /// One that a table made by the mapping has.
    #[cfg(test)]
    pub(super) fn like(column: &TargetColumn, key: bool) -> ExistingColumn {
        let default = column.default.as_ref().map(|default| match default {
            TargetDefault::Literal(text) => text.clone(),
            TargetDefault::CurrentTimestamp => "CURRENT_TIMESTAMP".to_owned(),
        });
        ExistingColumn {
            name: column.name.clone(),
            ty: Some(column.ty),
            type_text: column.ty.to_string().to_lowercase(),
            nullable: column.nullable,
            fills_itself: default.is_some(),
            default,
            key,
            comment: column.comment.clone(),
        }
    }

    /// As the table spells it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        same_name(&self.name, name)
    }

    pub(super) fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether it takes every value of `wanted` unchanged.
    pub(super) fn takes(&self, wanted: &TargetColumn) -> bool {
        self.ty.is_some_and(|ty| holds(ty, wanted.ty)) && (self.nullable || !wanted.nullable)
    }

    /// The column with this type and these NULLs, as MODIFY COLUMN needs it: StarRocks takes what is not written as gone,
    /// and refuses another default, so it is repeated. With an equal comment a longer VARCHAR is no rewrite.
    pub(super) fn redefined(&self, ty: TargetType, nullable: bool) -> String {
        let mut column = TargetColumn {
            name: self.name.clone(),
            ty,
            nullable: self.nullable || nullable,
            default: None,
            comment: self.comment.clone(),
            fill: Fill::Unknown,
            source: 0,
        };
        column.default = self.default.as_ref().map(|text| match self.ty {
            Some(TargetType::DateTime) if text.eq_ignore_ascii_case("CURRENT_TIMESTAMP") => {
                TargetDefault::CurrentTimestamp
            }
            _ => TargetDefault::Literal(text.clone()),
        });
        define(&column)
    }

    /// `None`: a type that no mapping gives.
    pub(super) fn ty(&self) -> Option<TargetType> {
        self.ty
    }

    pub(super) fn type_text(&self) -> &str {
        &self.type_text
    }
}

/// Column names compare without case.
pub(super) fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right) || left.to_lowercase() == right.to_lowercase()
}

/// The table's columns in its own order; empty when there is no such table.
pub(super) async fn read(sql: &Sql, name: &TableName) -> Result<Vec<ExistingColumn>> {
    let rows = ask(sql, &name.database, Some(&name.table)).await?;
    // Both names are compared here too: a collation may find a table that only differs by case.
    let ours = rows.iter().filter(|row| {
        row.get("TABLE_SCHEMA") == Some(name.database.as_str()) && row.get("TABLE_NAME") == Some(name.table.as_str())
    });
    Ok(ours.map(column).collect())
}

/// Up to so many tables of a database are looked up one by one.
const ONE_BY_ONE: usize = 8;

/// As [`read`] for many tables, each of which is there.
///
/// StarRocks takes an equality to one table at once. For anything else a BE has the FE describe every table of the database,
/// in turn, and then looks which of them were asked for: for a few tables that is more, for many it is much less.
pub(super) async fn read_all(sql: &Sql, names: &[&TableName]) -> Result<HashMap<TableName, Vec<ExistingColumn>>> {
    let mut databases: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    for name in names {
        databases.entry(&name.database).or_default().insert(&name.table);
    }
    let mut found: HashMap<TableName, Vec<ExistingColumn>> = HashMap::new();
    for (database, tables) in databases {
        if tables.len() <= ONE_BY_ONE {
            for table in tables {
                let name = TableName::new(database, table);
                found.insert(name.clone(), read(sql, &name).await?);
            }
            continue;
        }
        for row in ask(sql, database, None).await?.iter() {
            let (here, table) = (row.get("TABLE_SCHEMA"), row.get("TABLE_NAME").unwrap_or_default());
            if here == Some(database) && tables.contains(table) {
                found.entry(TableName::new(database, table)).or_default().push(column(row));
            }
        }
    }
    found.retain(|_, columns| !columns.is_empty());
    Ok(found)
}

async fn ask(sql: &Sql, database: &str, table: Option<&str>) -> Result<Rows> {
    let table = table.map_or_else(String::new, |table| format!(" AND TABLE_NAME = {}", quote_text(table)));
    sql.rows(&format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, DATA_TYPE, \
         COLUMN_TYPE, COLUMN_KEY, EXTRA, COLUMN_COMMENT, COLUMN_SIZE, DECIMAL_DIGITS FROM information_schema.columns \
         WHERE TABLE_SCHEMA = {}{table} ORDER BY ORDINAL_POSITION",
        quote_text(database),
    ))
    .await
}

fn column(row: RowText<'_>) -> ExistingColumn {
    let text = |name: &str| row.get(name).unwrap_or_default().to_lowercase();
    let (data_type, column_type, extra) = (text("DATA_TYPE"), text("COLUMN_TYPE"), text("EXTRA"));
    let size = row.get("COLUMN_SIZE").and_then(|size| size.parse().ok());
    let digits = row.get("DECIMAL_DIGITS").and_then(|digits| digits.parse().ok());
    ExistingColumn {
        name: row.get("COLUMN_NAME").unwrap_or_default().to_owned(),
        ty: read_type(&data_type, &column_type, size, digits),
        type_text: if column_type.is_empty() { data_type } else { column_type },
        nullable: text("IS_NULLABLE") == "yes",
        default: row.get("COLUMN_DEFAULT").map(str::to_owned),
        fills_itself: row.get("COLUMN_DEFAULT").is_some()
            || extra.contains("auto_increment")
            || extra.contains("generated"),
        key: text("COLUMN_KEY") == "pri",
        comment: row.get("COLUMN_COMMENT").unwrap_or_default().to_owned(),
    }
}

/// A BOOLEAN says `tinyint` and has no size; a LARGEINT says `bigint unsigned`.
fn read_type(data_type: &str, column_type: &str, size: Option<u32>, digits: Option<u8>) -> Option<TargetType> {
    // Where COLUMN_SIZE says nothing, `varchar(40)` still does.
    let length = size.or_else(|| column_type.split_once('(')?.1.trim_end_matches(')').parse().ok());
    Some(match data_type {
        "boolean" => TargetType::Boolean,
        "tinyint" if size.is_none() => TargetType::Boolean,
        "tinyint" => TargetType::TinyInt,
        "smallint" => TargetType::SmallInt,
        "int" => TargetType::Int,
        "bigint" => TargetType::BigInt,
        "bigint unsigned" | "largeint" => TargetType::LargeInt,
        "float" => TargetType::Float,
        "double" => TargetType::Double,
        "date" => TargetType::Date,
        "datetime" => TargetType::DateTime,
        "json" => TargetType::Json,
        "varchar" => TargetType::Varchar { bytes: length? },
        "varbinary" | "binary" => TargetType::Varbinary { bytes: length.unwrap_or(VARBINARY_BYTES) },
        _ if data_type.starts_with("decimal") => {
            TargetType::Decimal { precision: u8::try_from(size?).ok()?, scale: digits.unwrap_or(0) }
        }
        _ if data_type.starts_with("array") && column_type.starts_with("array<float") => TargetType::FloatArray,
        _ => return None,
    })
}

/// The table's columns by name and bare type (`varchar`), lower case.
pub(super) fn stored(existing: &[ExistingColumn]) -> Vec<StoredColumn> {
    let bare = |text: &str| match text.split_once('(') {
        Some((name, _)) if !text.starts_with("array") => name.to_owned(),
        _ => text.to_owned(),
    };
    let column = |column: &ExistingColumn| StoredColumn {
        name: column.name.clone(),
        data_type: bare(&column.type_text),
        ty: column.ty,
    };
    existing.iter().map(column).collect()
}

/// A definite error that lists every difference and what to do about it.
pub(super) fn check(wanted: &TargetTable, existing: &[ExistingColumn]) -> Result<()> {
    let differences = differences(wanted, existing);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::definite(format!(
        "table {} is there already and cannot take every value:\n  - {}",
        wanted.name,
        differences.join("\n  - ")
    ))
    .hint("change the table as said, or drop or rename it and let towpath create it (towpath ddl shows how)"))
}

pub(super) fn differences(wanted: &TargetTable, existing: &[ExistingColumn]) -> Vec<String> {
    let mut found = Vec::new();
    let alter = format!("ALTER TABLE {}", wanted.name.quoted());
    let names = |names: Vec<&str>| names.join(", ");
    let key = names(existing.iter().filter(|column| column.key).map(|column| column.name.as_str()).collect());
    let wanted_key = names(wanted.key().iter().map(|column| column.name.as_str()).collect());
    if key.is_empty() {
        found
            .push(format!("it is no PRIMARY KEY table; PRIMARY KEY ({wanted_key}) is needed, which needs a new table"));
    } else if !key.eq_ignore_ascii_case(&wanted_key) {
        found.push(format!(
            "its key is ({key}), the source's is ({wanted_key}); a key cannot be changed, so a new table is needed"
        ));
    }
    for column in &wanted.columns {
        match existing.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) {
            None => found.push(format!("column {} is missing: {alter} ADD COLUMN {}", column.name, define(column))),
            Some(other) => found.extend(column_difference(column, other, &alter)),
        }
    }
    for column in existing {
        let known = wanted.columns.iter().any(|other| other.name.eq_ignore_ascii_case(&column.name));
        if !known && !column.nullable && !column.fills_itself {
            found.push(format!(
                "column {} is not in the source, NOT NULL and without a default: {alter} MODIFY COLUMN {} {} NULL",
                column.name,
                quote(&column.name),
                column.type_text
            ));
        }
    }
    found
}

fn column_difference(wanted: &TargetColumn, existing: &ExistingColumn, alter: &str) -> Option<String> {
    let modify = format!("{alter} MODIFY COLUMN {}", define(wanted));
    if !existing.ty.is_some_and(|ty| holds(ty, wanted.ty)) {
        let text = existing.ty.map_or_else(|| existing.type_text.clone(), |ty| ty.to_string());
        return Some(format!("column {} is {text}, {} is needed: {modify}", wanted.name, wanted.ty));
    }
    if wanted.nullable && !existing.nullable {
        return Some(format!("column {} is NOT NULL, the source has NULLs: {modify}", wanted.name));
    }
    None
}

/// Whether `existing` takes every value of `wanted` unchanged.
pub(super) fn holds(existing: TargetType, wanted: TargetType) -> bool {
    use TargetType::{Boolean, Decimal, Double, Float, Varbinary, Varchar};
    match (existing, wanted) {
        (Varchar { bytes: has }, Varchar { bytes: needs }) | (Varbinary { bytes: has }, Varbinary { bytes: needs }) => {
            has >= needs
        }
        (Decimal { precision: has, scale: has_scale }, Decimal { precision: needs, scale: needs_scale }) => {
            has_scale >= needs_scale
                && i16::from(has) - i16::from(has_scale) >= i16::from(needs) - i16::from(needs_scale)
        }
        (Double, Float) => true,
        (existing, Boolean) if integer_rank(existing).is_some() => true,
        (existing, wanted) => match (integer_rank(existing), integer_rank(wanted)) {
            (Some(has), Some(needs)) => has >= needs,
            _ => existing == wanted,
        },
    }
}

pub(super) fn integer_rank(ty: TargetType) -> Option<u8> {
    match ty {
        TargetType::TinyInt => Some(1),
        TargetType::SmallInt => Some(2),
        TargetType::Int => Some(3),
        TargetType::BigInt => Some(4),
        TargetType::LargeInt => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(columns: &[(&str, TargetType, bool)]) -> TargetTable {
        let column = |(name, ty, nullable): &(&str, TargetType, bool)| TargetColumn {
            name: (*name).into(),
            ty: *ty,
            nullable: *nullable,
            default: None,
            comment: String::new(),
            fill: Fill::Unknown,
            source: 0,
        };
        TargetTable {
            name: TableName::new("shop", "t"),
            columns: columns.iter().map(column).collect(),
            key_columns: 1,
            comment: String::new(),
        }
    }

    fn existing(name: &str, ty: TargetType, nullable: bool, key: bool) -> ExistingColumn {
        let type_text = ty.to_string().to_lowercase();
        let (default, comment) = (None, String::new());
        ExistingColumn {
            name: name.into(),
            ty: Some(ty),
            type_text,
            nullable,
            default,
            fills_itself: false,
            key,
            comment,
        }
    }

    const TEXT: TargetType = TargetType::Varchar { bytes: 40 };

    #[test]
    fn wider_columns_and_columns_that_fill_themselves_fit() {
        let wanted = wanted(&[("id", TargetType::Int, false), ("name", TEXT, true), ("price", decimal(10, 2), false)]);
        let mut extra = existing("loaded_at", TargetType::DateTime, false, false);
        extra.fills_itself = true;
        let table = [
            existing("ID", TargetType::BigInt, false, true),
            existing("price", decimal(12, 4), true, false),
            existing("name", TargetType::Varchar { bytes: 1000 }, true, false),
            extra,
            existing("note", TEXT, true, false),
        ];
        assert!(check(&wanted, &table).is_ok(), "{:?}", differences(&wanted, &table));
    }

    fn decimal(precision: u8, scale: u8) -> TargetType {
        TargetType::Decimal { precision, scale }
    }

    #[test]
    fn every_difference_is_listed_with_its_cure() {
        let wanted = wanted(&[
            ("id", TargetType::BigInt, false),
            ("name", TEXT, true),
            ("at", TargetType::DateTime, true),
            ("x", TEXT, true),
        ]);
        let table = [
            existing("id", TargetType::Int, false, true),
            existing("name", TargetType::Varchar { bytes: 10 }, true, false),
            existing("at", TargetType::DateTime, false, false),
            existing("must", TEXT, false, false),
        ];
        let error = check(&wanted, &table).unwrap_err();
        assert!(!error.is_transient());
        let text = error.to_string();
        for part in [
            "column id is INT, BIGINT is needed: ALTER TABLE `shop`.`t` MODIFY COLUMN `id` BIGINT NOT NULL",
            "column name is VARCHAR(10), VARCHAR(40) is needed",
            "column at is NOT NULL, the source has NULLs: ALTER TABLE `shop`.`t` MODIFY COLUMN `at` DATETIME NULL",
            "column x is missing: ALTER TABLE `shop`.`t` ADD COLUMN `x` VARCHAR(40) NULL",
            "column must is not in the source, NOT NULL and without a default",
            "hint:",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn another_key_or_no_key_is_refused() {
        let wanted = wanted(&[("id", TargetType::Int, false), ("b", TargetType::Int, false)]);
        let table = |keys: [bool; 2]| {
            [existing("id", TargetType::Int, false, keys[0]), existing("b", TargetType::Int, false, keys[1])]
        };
        assert!(differences(&wanted, &table([true, true]))[0].contains("its key is (id, b), the source's is (id)"));
        assert!(differences(&wanted, &table([false, false]))[0].contains("no PRIMARY KEY table"));
        assert!(differences(&wanted, &table([true, false])).is_empty());
    }

    #[test]
    fn types_are_read_as_the_catalogue_spells_them() {
        let of = |data: &str, column: &str, size, digits| read_type(data, column, size, digits);
        assert_eq!(of("tinyint", "tinyint(1)", None, None), Some(TargetType::Boolean));
        assert_eq!(of("tinyint", "tinyint(4)", Some(3), Some(0)), Some(TargetType::TinyInt));
        assert_eq!(of("bigint unsigned", "bigint(20) unsigned", Some(39), Some(0)), Some(TargetType::LargeInt));
        assert_eq!(of("decimal", "decimal(10,2)", Some(10), Some(2)), Some(decimal(10, 2)));
        assert_eq!(of("varchar", "varchar(40)", Some(40), None), Some(TEXT));
        assert_eq!(of("varchar", "varchar(40)", None, None), Some(TEXT));
        assert_eq!(of("varbinary", "varbinary", None, None), Some(TargetType::Varbinary { bytes: VARBINARY_BYTES }));
        assert_eq!(of("array", "array<float>", None, None), Some(TargetType::FloatArray));
        assert_eq!(of("char", "char(4)", Some(4), None), None);
        assert_eq!(of("array", "array<int(11)>", None, None), None);
    }

    #[test]
    fn what_is_merely_convertible_does_not_hold() {
        assert!(!holds(TargetType::Double, TargetType::Int));
        assert!(!holds(TEXT, TargetType::Json));
        assert!(!holds(TargetType::Date, TargetType::DateTime));
        assert!(!holds(TargetType::Boolean, TargetType::TinyInt));
        assert!(holds(TargetType::TinyInt, TargetType::Boolean));
        assert!(!holds(decimal(10, 4), decimal(10, 2)));
    }
}
