//! A table's definition and the clauses of a statement make the next definition, by the servers' own rules.
//!
//! An ALTER TABLE is one change, whatever its clauses' order says (`mysql_prepare_alter_table`): all of them name columns
//! as they were before it, except AFTER and the parts of keys, which name them as they will be.
//!
//! ```text
//! 1  the old columns in their order, without the dropped ones; a changed one in its place, unless it is moved
//! 2  added and moved columns in the clauses' order: last, FIRST, or behind a column of the list as it is by then
//! 3  keys: the old ones without dropped columns, then the new ones; a primary key makes its columns NOT NULL
//! 4  character sets: a column's own, else the table's default after the statement; CONVERT TO overrules both
//! ```
//!
//! Indexes that the servers make for foreign keys by themselves are not followed: they decide about no rows.
//!
//! What a column's words mean is read by the code that reads the catalogue's, so that both tell the same.

use super::charset::{self, max_bytes};
use super::literal;
use crate::config::NoKeyTables;
use crate::mysql::catalog::{choose_key, column_type, default};
use crate::mysql::ddl::{ColumnDefinition, ColumnPlace, DefaultClause, TableChange};
use crate::schema::{Column, ColumnType, DefaultValue, Generated, Index, LobSize, Table, TableName};

/// What decides the meaning of a statement's words besides themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) mariadb: bool,
    pub(super) no_key: NoKeyTables,
    /// `explicit_defaults_for_timestamp`: a TIMESTAMP is like any other column.
    pub(super) explicit_timestamps: bool,
    /// `sql_mode` has REAL_AS_FLOAT.
    pub(super) real_as_float: bool,
    /// The default character set of the table's database, where it is known.
    pub(super) database_charset: Option<&'a str>,
}

/// A definition after a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evolved {
    pub(super) table: Table,
    /// For each column the index of what it was before.
    pub(super) was: Vec<Option<usize>>,
    /// The clause after which rows came or went without row events.
    pub(super) rows_unlogged: Option<String>,
    /// There is something to tell rows apart by.
    pub(super) has_key: bool,
}

impl Evolved {
    /// A definition as it is.
    pub(super) fn unchanged(table: Table) -> Self {
        let was = (0..table.columns.len()).map(Some).collect();
        Evolved { has_key: !table.key.is_empty(), was, rows_unlogged: None, table }
    }

    /// The key has other columns, or in another order, than in `before`.
    pub(super) fn has_another_key(&self, before: &Table) -> bool {
        let was: Vec<Option<usize>> = self.table.key.iter().map(|&index| self.was.get(index).copied()?).collect();
        was != before.key.iter().copied().map(Some).collect::<Vec<_>>()
    }
}

/// A new table.
///
/// # Errors
/// Why its definition cannot be known.
pub(super) fn create(name: TableName, changes: &[TableChange], rules: Rules<'_>) -> Result<Evolved, String> {
    let empty = Table {
        name,
        columns: Vec::new(),
        key: Vec::new(),
        primary: true,
        comment: String::new(),
        charset: rules.database_charset.map(str::to_owned),
        indexes: Vec::new(),
    };
    alter(&empty, changes, rules)
}

/// # Errors
/// Why the definition after it cannot be known.
pub(super) fn alter(before: &Table, changes: &[TableChange], rules: Rules<'_>) -> Result<Evolved, String> {
    let charsets = Charsets::read(before, changes, rules)?;
    let definitions = Definitions::read(before, changes, &charsets, rules)?;
    let columns = place(before, changes, &charsets, definitions)?;
    let mut draft = Draft::new(before, columns);
    // What is dropped is dropped before anything is added, whatever the clauses' order.
    changes.iter().for_each(|change| draft.drop_key(change));
    for change in changes {
        draft.add_key(change)?;
    }
    draft.finish(before, changes, &charsets, rules)
}

/// The statement's character sets.
struct Charsets {
    /// Of columns that name none.
    default: Option<String>,
    /// `CONVERT TO CHARACTER SET`.
    convert: Option<String>,
}

impl Charsets {
    fn read(before: &Table, changes: &[TableChange], rules: Rules<'_>) -> Result<Self, String> {
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

/// A column that a clause defines.
struct Defined<'a> {
    column: Column,
    /// Index of the column that it was before.
    was: Option<usize>,
    place: &'a ColumnPlace,
}

struct Definitions<'a>(Vec<Defined<'a>>);

impl<'a> Definitions<'a> {
    fn read(before: &Table, changes: &'a [TableChange], charsets: &Charsets, rules: Rules<'_>) -> Result<Self, String> {
        let mut found: Vec<Defined<'a>> = Vec::new();
        let mut first_timestamp = !rules.explicit_timestamps;
        for change in changes {
            let (definition, was, place) = match change {
                TableChange::AddColumn { column, place, if_not_exists } => {
                    let known = position(&before.columns, &column.name).is_some()
                        || found.iter().any(|other| same(&other.column.name, &column.name));
                    if *if_not_exists && known {
                        if column.primary || column.unique {
                            return Err(format!("column {} is there already, and its key may be new", column.name));
                        }
                        continue;
                    }
                    (column, None, place)
                }
                TableChange::ChangeColumn { old, column, place, if_exists } => {
                    let was = position(&before.columns, old);
                    if *if_exists && was.is_none() {
                        continue;
                    }
                    (column, Some(was.ok_or_else(|| no_column(old))?), place)
                }
                _ => continue,
            };
            let column = column(definition, charsets, rules, &mut first_timestamp)?;
            found.push(Defined { column, was, place });
        }
        Ok(Definitions(found))
    }
}

/// Steps 1 and 2: the columns after the statement, each with what it was.
fn place(
    before: &Table,
    changes: &[TableChange],
    charsets: &Charsets,
    definitions: Definitions<'_>,
) -> Result<Vec<(Column, Option<usize>)>, String> {
    let mut columns: Vec<(Column, Option<usize>)> = Vec::with_capacity(before.columns.len() + 1);
    for (index, old) in before.columns.iter().enumerate() {
        if let Some(changed) = definitions.0.iter().find(|defined| defined.was == Some(index)) {
            if *changed.place == ColumnPlace::Unsaid {
                columns.push((changed.column.clone(), Some(index)));
            }
            continue;
        }
        let mut column = old.clone();
        let mut dropped = false;
        for change in changes {
            match change {
                TableChange::DropColumn { name, .. } => dropped |= same(name, &old.name),
                TableChange::RenameColumn { old: name, new, .. } if same(name, &old.name) => {
                    column.name.clone_from(new)
                }
                TableChange::SetDefault { column: name, default } if same(name, &old.name) => {
                    column.default = default.as_ref().and_then(|default| default_value(&column.ty, default));
                }
                TableChange::SetVisible { column: name, visible } if same(name, &old.name) => {
                    column.invisible = !visible;
                }
                _ => {}
            }
        }
        if !dropped {
            if let Some(charset) = &charsets.convert {
                column.ty = converted(column.ty, charset)?;
            }
            columns.push((column, Some(index)));
        }
    }
    for change in changes {
        let (name, if_exists) = match change {
            TableChange::DropColumn { name, if_exists } => (name, *if_exists),
            TableChange::RenameColumn { old, if_exists, .. } => (old, *if_exists),
            TableChange::SetDefault { column, .. } | TableChange::SetVisible { column, .. } => (column, false),
            _ => continue,
        };
        if !if_exists && position(&before.columns, name).is_none() {
            return Err(no_column(name));
        }
    }
    for defined in definitions.0 {
        let at = match defined.place {
            ColumnPlace::Unsaid if defined.was.is_some() => continue,
            ColumnPlace::Unsaid => columns.len(),
            ColumnPlace::First => 0,
            ColumnPlace::After(name) => {
                let behind = columns.iter().position(|(column, _)| same(&column.name, name));
                behind.ok_or_else(|| no_column(name))? + 1
            }
        };
        columns.insert(at, (defined.column, defined.was));
    }
    for (index, (column, _)) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|(other, _)| same(&other.name, &column.name)) {
            return Err(format!("column {} would be there twice", column.name));
        }
    }
    Ok(columns)
}

/// Step 3, clause by clause. Keys are over indexes into `columns`.
struct Draft {
    columns: Vec<(Column, Option<usize>)>,
    primary: Option<Vec<usize>>,
    indexes: Vec<Index>,
}

impl Draft {
    fn new(before: &Table, columns: Vec<(Column, Option<usize>)>) -> Self {
        // The servers look for a part by its column's name: one that is dropped and added anew keeps its place in a key.
        let now = |old: usize| {
            let name = before.columns.get(old).map_or("", |column| column.name.as_str());
            columns.iter().position(|(column, was)| match was {
                Some(was) => *was == old,
                None => same(&column.name, name),
            })
        };
        let primary: Vec<usize> = before.key.iter().filter_map(|&old| now(old)).collect();
        let indexes = before.indexes.iter().filter_map(|index| {
            let parts: Vec<Option<usize>> = index
                .columns
                .iter()
                .filter_map(|part| match part {
                    None => Some(None),
                    Some(old) => now(*old).map(Some),
                })
                .collect();
            (!parts.is_empty()).then(|| Index { columns: parts, ..index.clone() })
        });
        let indexes = indexes.collect();
        Draft { primary: (before.primary && !primary.is_empty()).then_some(primary), indexes, columns }
    }

    fn drop_key(&mut self, change: &TableChange) {
        match change {
            TableChange::DropPrimaryKey => self.primary = None,
            TableChange::DropKey(name) => self.indexes.retain(|index| !same(&index.name, name)),
            TableChange::RenameKey { old, new } => {
                if let Some(index) = self.indexes.iter_mut().find(|index| same(&index.name, old)) {
                    index.name.clone_from(new);
                }
            }
            _ => {}
        }
    }

    fn add_key(&mut self, change: &TableChange) -> Result<(), String> {
        match change {
            TableChange::AddColumn { column, .. } | TableChange::ChangeColumn { column, .. } => {
                if column.primary {
                    self.primary = Some(vec![self.find(&column.name)?]);
                }
                if column.unique {
                    self.add_index(None, true, &[Some(column.name.clone())])?;
                }
            }
            TableChange::AddPrimaryKey(names) => {
                self.primary = Some(names.iter().map(|name| self.find(name)).collect::<Result<_, _>>()?);
            }
            TableChange::AddUniqueKey { name, columns } => self.add_index(name.as_deref(), true, columns)?,
            TableChange::AddIndex { name, columns } => self.add_index(name.as_deref(), false, columns)?,
            _ => {}
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        self.columns.iter().position(|(column, _)| same(&column.name, name)).ok_or_else(|| no_column(name))
    }

    fn add_index(&mut self, name: Option<&str>, unique: bool, columns: &[Option<String>]) -> Result<(), String> {
        let parts = columns.iter().map(|part| part.as_deref().map(|name| self.find(name)).transpose());
        let columns: Vec<Option<usize>> = parts.collect::<Result<_, _>>()?;
        let name = match name {
            // `IF NOT EXISTS`: without it the server would have refused the name.
            Some(name) if self.indexes.iter().any(|index| same(&index.name, name)) => return Ok(()),
            Some(name) => name.to_owned(),
            None => self.free_name(columns.first().copied().flatten()),
        };
        self.indexes.push(Index { name, unique, columns });
        Ok(())
    }

    /// The server's name for an index without one: its first column's, and a number from 2 on where that is taken.
    fn free_name(&self, first: Option<usize>) -> String {
        let column = first.and_then(|index| self.columns.get(index)).map(|(column, _)| column.name.as_str());
        let base = column.unwrap_or("functional_index");
        let taken = |name: &str| same(name, "PRIMARY") || self.indexes.iter().any(|index| same(&index.name, name));
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }

    fn finish(
        mut self,
        before: &Table,
        changes: &[TableChange],
        charsets: &Charsets,
        rules: Rules<'_>,
    ) -> Result<Evolved, String> {
        for &part in self.primary.iter().flatten() {
            if let Some((column, _)) = self.columns.get_mut(part) {
                column.nullable = false;
            }
        }
        // As the catalogue tells them.
        self.indexes.sort_by(|left, right| left.name.cmp(&right.name));
        let (columns, was): (Vec<Column>, Vec<Option<usize>>) = self.columns.into_iter().unzip();
        let key = choose_key(&columns, self.primary, &self.indexes, rules.no_key);
        let has_key = key.is_some();
        let (key, primary) = key.unwrap_or_default();
        let mut table = Table {
            name: before.name.clone(),
            columns,
            key,
            primary,
            comment: before.comment.clone(),
            charset: charsets.default.clone(),
            indexes: self.indexes,
        };
        let mut rows_unlogged = None;
        for change in changes {
            match change {
                TableChange::Comment(comment) => table.comment.clone_from(comment),
                TableChange::RowsUnlogged(clause) => rows_unlogged = Some(clause.clone()),
                _ => {}
            }
        }
        Ok(Evolved { table, was, rows_unlogged, has_key })
    }
}

fn column(
    definition: &ColumnDefinition,
    charsets: &Charsets,
    rules: Rules<'_>,
    first_timestamp: &mut bool,
) -> Result<Column, String> {
    let charset = charsets.of(definition);
    let ty = column_type(&definition.ty.text, charset.as_deref(), rules)
        .map_err(|problem| format!("column {}: {problem}", definition.name))?;
    let mut nullable = definition.nullable.unwrap_or(true);
    let mut value = definition.default.as_ref().and_then(|default| default_value(&ty, default));
    if matches!(ty, ColumnType::Timestamp { .. }) && !rules.explicit_timestamps {
        nullable = definition.nullable.unwrap_or(definition.default == Some(DefaultClause::Null));
        let plain = !nullable && definition.default.is_none() && definition.generated == Generated::No;
        if plain && *first_timestamp && !definition.on_update {
            value = Some(DefaultValue::CurrentTimestamp);
        } else if plain {
            value = default_value(&ty, &DefaultClause::Literal("0".to_owned()));
        }
        *first_timestamp = false;
    }
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
        ("json", None) if rules.mariadb => {
            return Ok(ColumnType::Text { size: LobSize::Long, charset: "utf8mb4".into() });
        }
        ("real", _) if rules.real_as_float => "float",
        ("bit", Some(0)) => "bit(1)",
        ("decimal", Some(0)) => "decimal(10,0)",
        ("text", Some(chars)) => {
            let charset = known()?;
            return Ok(as_binary(ColumnType::Text {
                size: lob_size(chars * max_bytes(charset)?),
                charset: charset.into(),
            }));
        }
        _ => text,
    };
    let ty = match word {
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            column_type::parse_written(text, Some(known()?))?
        }
        _ => column_type::parse_written(text, None)?,
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

/// A column after CONVERT TO: a TEXT grows so that it holds as many characters as before.
fn converted(ty: ColumnType, charset: &str) -> Result<ColumnType, String> {
    let charset_of = || charset.to_owned();
    let ty = match ty {
        ColumnType::Char { chars, .. } => ColumnType::Char { chars, charset: charset_of() },
        ColumnType::Varchar { chars, .. } => ColumnType::Varchar { chars, charset: charset_of() },
        // What becomes of them differs with server and version.
        ColumnType::Enum { members } | ColumnType::Set { members }
            if !members.iter().all(|member| member.is_ascii()) =>
        {
            return Err("members of an ENUM or SET beyond ASCII get another character set".to_owned());
        }
        ColumnType::Text { size, charset: old } => {
            let bytes = (1_u64 << (8 * size.length_bytes())) - 1;
            let size = lob_size(bytes / max_bytes(&old)? * max_bytes(charset)?);
            ColumnType::Text { size, charset: charset_of() }
        }
        other => other,
    };
    fitting(as_binary(ty))
}

fn default_value(ty: &ColumnType, clause: &DefaultClause) -> Option<DefaultValue> {
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

fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| same(&column.name, name))
}

/// Names of columns and indexes are compared without case.
pub(super) fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right) || !left.is_ascii() && left.to_lowercase() == right.to_lowercase()
}

fn no_column(name: &str) -> String {
    format!("there is no column {name}")
}
