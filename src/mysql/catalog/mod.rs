//! The tables a job replicates, as `information_schema` tells them now.
//!
//! One query names the tables; then each database that has some of them costs two more, for columns and for
//! unique keys, whatever the number of tables. Everything that is wrong with any table is told in one error.
//!
//! `information_schema` shows only what the user may see. A table it may not see at all is not there; of a table
//! with privileges on single columns, only those columns are. The latter is found out by the gaps in
//! `ORDINAL_POSITION`, and by `preflight`, which selects from every table.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::connect::{ServerInfo, optional, select, text};
use crate::config::{NoKeyTables, TableFilter, is_system};
use crate::schema::{Column, Generated, Index, Table, TableName};
use crate::{Error, Result};

pub(super) mod column_type;
pub(super) mod default;
mod moment;

pub use moment::{shows, table_at};

/// Above this many tables of one database the query reads all of its columns instead of naming tables.
const NAMED_TABLES: usize = 300;

/// A definition is read by several statements, which show several moments: a table that is renamed between two of them has
/// no columns, say. So what looks wrong is looked at again, after these pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// Reads the definitions of all tables that `filter` matches, ordered by name. Views, sequences and temporary
/// tables never match.
///
/// With `NoKeyTables::Skip` a table without a primary key is left out, with a line in the log.
///
/// With `NoKeyTables::RowHash` a table without any key has none here either.
///
/// # Errors
/// *Definite*: no table matches; a type that cannot be replicated; a table without a key. *Transient*: the connection.
pub async fn tables(
    conn: &mut Conn,
    info: &ServerInfo,
    filter: &TableFilter,
    no_key: NoKeyTables,
) -> Result<Vec<Table>> {
    for pause in PAUSES {
        match tables_now(conn, info, filter, no_key).await {
            Err(error) if !error.is_transient() => tokio::time::sleep(pause).await,
            read => return read,
        }
    }
    tables_now(conn, info, filter, no_key).await
}

async fn tables_now(
    conn: &mut Conn,
    info: &ServerInfo,
    filter: &TableFilter,
    no_key: NoKeyTables,
) -> Result<Vec<Table>> {
    show_generated_keys(conn).await;
    let listing = Listing::read(conn, filter).await?;
    if listing.matched.is_empty() && listing.problems.is_empty() {
        return Err(nothing_matches(filter, &listing.others));
    }
    let mut problems = listing.problems;
    let mut tables = Vec::new();
    for (database, listed) in listing.matched {
        let names: Vec<&str> = listed.keys().map(String::as_str).collect();
        let mut columns = read_columns(conn, info, &database, &names).await?;
        let mut keys = read_keys(conn, &database, &names).await?;
        for (name, listed) in listed {
            let name = TableName::new(database.clone(), name);
            let columns = columns.remove(&name.table).unwrap_or_default();
            let keys = keys.remove(&name.table).unwrap_or_default();
            let columns = match columns.finish(&name) {
                Ok(columns) => columns,
                Err(mut found) => {
                    problems.append(&mut found);
                    continue;
                }
            };
            let (primary, indexes) = keys.finish(&columns);
            if is_torn(&columns, primary.as_deref()) {
                problems.push(format!("{name}: it was altered while its definition was read"));
                continue;
            }
            match choose_key(&columns, primary, &indexes, no_key) {
                Some((key, primary)) => tables.push(listed.table(name, columns, (key, primary), indexes)),
                None if no_key == NoKeyTables::RowHash => {
                    tables.push(listed.table(name, columns, (Vec::new(), false), indexes));
                }
                None if no_key == NoKeyTables::Skip => {
                    tracing::warn!(table = %name, "left out: it has no primary key (noKeyTables: skip)");
                }
                None => problems.push(format!("{name}: {}", no_key_text(no_key))),
            }
        }
    }
    if !problems.is_empty() {
        let count = if problems.len() == 1 { "a table".to_owned() } else { format!("{} things", problems.len()) };
        return Err(Error::definite(format!("{count} cannot be replicated:\n  {}", problems.join("\n  ")))
            .hint("change the tables, or leave them out with source.excludeTables"));
    }
    if tables.is_empty() {
        return Err(Error::definite("every table that source.tables matches is without a primary key")
            .hint("give the tables primary keys, or set noKeyTables: rowHash"));
    }
    tables.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(tables)
}

/// The names of the tables that `filter` matches.
pub async fn names(conn: &mut Conn, filter: &TableFilter) -> Result<Vec<TableName>> {
    let listing = Listing::read(conn, filter).await?;
    let tables = listing.matched.into_iter();
    Ok(tables
        .flat_map(|(database, tables)| tables.into_keys().map(move |table| TableName::new(database.clone(), table)))
        .collect())
}

/// Reads one table's definition as it is now. `None`: it is not there, or no table.
///
/// # Errors
/// As [`tables`]; a table without a key has an empty one here.
pub async fn table(conn: &mut Conn, info: &ServerInfo, name: &TableName, no_key: NoKeyTables) -> Result<Option<Table>> {
    for pause in PAUSES {
        match table_now(conn, info, name, no_key).await {
            Err(error) if !error.is_transient() => tokio::time::sleep(pause).await,
            read => return read,
        }
    }
    table_now(conn, info, name, no_key).await
}

async fn table_now(conn: &mut Conn, info: &ServerInfo, name: &TableName, no_key: NoKeyTables) -> Result<Option<Table>> {
    show_generated_keys(conn).await;
    let rows = rows(
        conn,
        &format!(
            "SELECT TABLE_TYPE, TABLE_COMMENT, TABLE_COLLATION FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&name.database),
            literal(&name.table)
        ),
    )
    .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    match text(row, 0).as_str() {
        "BASE TABLE" => {}
        "SYSTEM VERSIONED" => {
            return Err(Error::definite(versioned(name)).hint("leave it out with source.excludeTables"));
        }
        _ => return Ok(None),
    }
    let listed = Listed { comment: text(row, 1), charset: charset_of(optional(row, 2)) };
    let columns = read_columns(conn, info, &name.database, &[&name.table]).await?.remove(&name.table);
    let keys = read_keys(conn, &name.database, &[&name.table]).await?.remove(&name.table).unwrap_or_default();
    let columns = columns.unwrap_or_default().finish(name).map_err(|problems| {
        Error::definite(format!("a table cannot be replicated:\n  {}", problems.join("\n  ")))
            .hint("change the table, or leave it out with source.excludeTables")
    })?;
    let (primary, indexes) = keys.finish(&columns);
    if is_torn(&columns, primary.as_deref()) {
        return Err(
            Error::definite(format!("table {name}: it was altered while its definition was read")).hint("start again")
        );
    }
    let key = choose_key(&columns, primary, &indexes, no_key).unwrap_or_default();
    Ok(Some(listed.table(name.clone(), columns, key, indexes)))
}

/// The default character set of each database.
pub async fn databases(conn: &mut Conn) -> Result<HashMap<String, String>> {
    let statement = "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA";
    Ok(rows(conn, statement).await?.iter().map(|row| (text(row, 0), text(row, 1))).collect())
}

/// The character set of a collation: the part before the first underscore.
fn charset_of(collation: Option<String>) -> Option<String> {
    collation.map(|name| name.split('_').next().unwrap_or_default().to_owned())
}

fn no_key_text(no_key: NoKeyTables) -> &'static str {
    match no_key {
        NoKeyTables::UniqueKey => {
            "no primary key, and no unique key whose columns are all NOT NULL; add one, or set noKeyTables: rowHash or skip"
        }
        NoKeyTables::RowHash | NoKeyTables::Skip | NoKeyTables::Error => {
            "no primary key; add one, or set noKeyTables to uniqueKey, rowHash or skip"
        }
    }
}

/// MySQL can hide the invisible primary keys it makes itself, which rows in the binlog have all the same.
async fn show_generated_keys(conn: &mut Conn) {
    // Not known before 8.0.30 and on MariaDB, which have no such keys.
    let _ = conn.query_drop("SET SESSION show_gipk_in_create_table_and_information_schema = ON").await;
}

/// What is there, before columns are read.
#[derive(Default)]
struct Listing {
    /// Database → table.
    matched: BTreeMap<String, BTreeMap<String, Listed>>,
    /// Tables that do not match, for the message when none does.
    others: Vec<TableName>,
    problems: Vec<String>,
}

struct Listed {
    comment: String,
    charset: Option<String>,
}

impl Listed {
    fn table(self, name: TableName, columns: Vec<Column>, key: (Vec<usize>, bool), indexes: Vec<Index>) -> Table {
        let (key, primary) = key;
        Table { name, columns, key, primary, comment: self.comment, charset: self.charset, indexes }
    }
}

impl Listing {
    async fn read(conn: &mut Conn, filter: &TableFilter) -> Result<Self> {
        let rows = rows(
            conn,
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_COMMENT, TABLE_COLLATION FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
        )
        .await?;
        let mut listing = Listing::default();
        for row in rows {
            let name = TableName::new(text(&row, 0), text(&row, 1));
            let kind = text(&row, 2);
            if is_system(&name.database) || !matches!(kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED") {
                continue;
            }
            if !filter.matches(&name) {
                if filter.is_shadow(&name) {
                    tracing::warn!(table = %name, "left out: by its name an online schema-change tool made it (source.shadowTables)");
                }
                listing.others.push(name);
            } else if kind == "SYSTEM VERSIONED" {
                listing.problems.push(versioned(&name));
            } else {
                let listed = Listed { comment: text(&row, 3), charset: charset_of(optional(&row, 4)) };
                listing.matched.entry(name.database).or_default().insert(name.table, listed);
            }
        }
        Ok(listing)
    }
}

fn versioned(name: &TableName) -> String {
    format!("{name}: a system-versioned table keeps old rows beside the present ones")
}

fn nothing_matches(filter: &TableFilter, others: &[TableName]) -> Error {
    let patterns: Vec<&str> = filter.patterns().collect();
    let shown: Vec<String> = others.iter().map(ToString::to_string).collect();
    let mut near: Vec<(usize, &str)> = shown
        .iter()
        .map(|name| {
            let distance = |pattern: &&str| {
                let plain: String = pattern.chars().filter(|c| !matches!(c, '*' | '\\')).collect();
                strsim::damerau_levenshtein(&plain.to_lowercase(), &name.to_lowercase())
            };
            (patterns.iter().map(distance).min().unwrap_or(usize::MAX), name.as_str())
        })
        .collect();
    near.sort_unstable();
    let error = Error::definite(format!("no table of the source matches source.tables ({})", patterns.join(", ")));
    if near.is_empty() {
        return error.hint("the user sees no table at all; a table shows only to who may SELECT from it: GRANT SELECT ON db.* TO the user");
    }
    let names: Vec<&str> = near.iter().take(5).map(|(_, name)| *name).collect();
    error.hint(format!(
        "the nearest that the user can see: {}; a table shows only to who may SELECT from it",
        names.join(", ")
    ))
}

/// A table's columns as they come, with what is wrong with them.
#[derive(Default)]
struct Columns {
    columns: Vec<Column>,
    problems: Vec<String>,
    gaps: bool,
}

impl Columns {
    fn finish(self, name: &TableName) -> Result<Vec<Column>, Vec<String>> {
        if self.columns.is_empty() && self.problems.is_empty() || self.gaps {
            return Err(vec![format!(
                "{name}: the user may not see all of its columns; GRANT SELECT ON {} TO the user",
                name.quoted()
            )]);
        }
        if !self.problems.is_empty() {
            return Err(self.problems.into_iter().map(|problem| format!("{name}.{problem}")).collect());
        }
        Ok(self.columns)
    }
}

async fn read_columns(
    conn: &mut Conn,
    info: &ServerInfo,
    database: &str,
    names: &[&str],
) -> Result<HashMap<String, Columns>> {
    let statement = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, CHARACTER_SET_NAME, IS_NULLABLE, COLUMN_DEFAULT, \
         EXTRA, COLUMN_COMMENT FROM information_schema.COLUMNS WHERE {} ORDER BY TABLE_NAME, ORDINAL_POSITION",
        condition(database, names)
    );
    let mut tables: HashMap<String, Columns> = HashMap::new();
    for row in rows(conn, &statement).await? {
        let table = tables.entry(text(&row, 0)).or_default();
        let (name, extra) = (text(&row, 1), text(&row, 7));
        let seen = table.columns.len() + table.problems.len() + 1;
        table.gaps |= text(&row, 2).parse() != Ok(seen);
        let ty = match column_type::parse(&text(&row, 3), optional(&row, 4).as_deref()) {
            Ok(ty) => ty,
            Err(problem) => {
                table.problems.push(format!("{name}: {problem}"));
                continue;
            }
        };
        let default = default::parse(info, &ty, optional(&row, 6).as_deref(), &extra);
        let extra = extra.to_ascii_uppercase();
        let generated = if extra.contains("VIRTUAL") {
            Generated::Virtual
        } else if extra.contains("STORED") || extra.contains("PERSISTENT") {
            Generated::Stored
        } else {
            Generated::No
        };
        table.columns.push(Column {
            name,
            ty,
            nullable: text(&row, 5) == "YES",
            default: default.filter(|_| generated == Generated::No),
            comment: text(&row, 8),
            generated,
            invisible: extra.contains("INVISIBLE"),
        });
    }
    Ok(tables)
}

/// A table's indexes as they come: names, whether they are unique, their columns with `None` for an expression.
#[derive(Default)]
struct Keys(Vec<(String, bool, Vec<Option<String>>)>);

impl Keys {
    /// The primary key's columns, and the other indexes.
    fn finish(self, columns: &[Column]) -> (Option<Vec<usize>>, Vec<Index>) {
        let find = |name: &Option<String>| {
            let name = name.as_deref()?;
            columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
        };
        let mut primary = None;
        let mut indexes = Vec::new();
        for (name, unique, names) in self.0 {
            let columns: Vec<Option<usize>> = names.iter().map(find).collect();
            match name == "PRIMARY" {
                true => primary = columns.into_iter().collect(),
                false => indexes.push(Index { name, unique, columns }),
            }
        }
        indexes.sort_by(|left, right| left.name.cmp(&right.name));
        (primary, indexes)
    }
}

async fn read_keys(conn: &mut Conn, database: &str, names: &[&str]) -> Result<HashMap<String, Keys>> {
    let statement = format!(
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, NON_UNIQUE FROM information_schema.STATISTICS \
         WHERE {} ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        condition(database, names)
    );
    let mut tables: HashMap<String, Keys> = HashMap::new();
    for row in rows(conn, &statement).await? {
        let keys = &mut tables.entry(text(&row, 0)).or_default().0;
        let name = text(&row, 1);
        match keys.last_mut().filter(|key| key.0 == name) {
            Some(key) => key.2.push(optional(&row, 2)),
            None => keys.push((name, text(&row, 3) == "0", vec![optional(&row, 2)])),
        }
    }
    Ok(tables)
}

/// A primary key's columns are never NULL: these were read before a statement that has made the key, and that behind it.
fn is_torn(columns: &[Column], primary: Option<&[usize]>) -> bool {
    primary.is_some_and(|primary| primary.iter().any(|&part| columns.get(part).is_some_and(|column| column.nullable)))
}

/// The primary key's columns; else, where allowed, those of the unique key without NULLs that has the fewest
/// columns and then the first name. A key over prefixes serves: what differs in a prefix differs as a whole.
/// `true`: it is the primary key.
pub(super) fn choose_key(
    columns: &[Column],
    primary: Option<Vec<usize>>,
    indexes: &[Index],
    no_key: NoKeyTables,
) -> Option<(Vec<usize>, bool)> {
    if let Some(primary) = primary {
        return Some((primary, true));
    }
    if !matches!(no_key, NoKeyTables::UniqueKey | NoKeyTables::RowHash) {
        return None;
    }
    let whole = |index: &Index| -> Option<Vec<usize>> { index.columns.iter().copied().collect() };
    indexes
        .iter()
        .filter(|index| index.unique)
        .filter_map(|index| Some((index, whole(index)?)))
        .filter(|(_, parts)| parts.iter().all(|&part| columns.get(part).is_some_and(|column| !column.nullable)))
        .min_by(|(left, a), (right, b)| a.len().cmp(&b.len()).then_with(|| left.name.cmp(&right.name)))
        .map(|(_, parts)| (parts, false))
}

/// Of rows of `information_schema`: those of the database's tables of these names, or of all where these are very many.
pub(super) fn condition(database: &str, names: &[&str]) -> String {
    // An equality lets servers without a data dictionary read one database's folder only.
    let schema = format!("TABLE_SCHEMA = {}", literal(database));
    if names.len() > NAMED_TABLES {
        return schema;
    }
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    format!("{schema} AND TABLE_NAME IN ({})", names.join(", "))
}

/// A string literal; sessions run without NO_BACKSLASH_ESCAPES (see `connect`).
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

async fn rows(conn: &mut Conn, statement: &str) -> Result<Vec<Row>> {
    select(conn, "reading the catalogue", statement).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ColumnType;

    fn column(name: &str, nullable: bool) -> Column {
        Column {
            name: name.to_owned(),
            ty: ColumnType::Date,
            nullable,
            default: None,
            comment: String::new(),
            generated: Generated::No,
            invisible: false,
        }
    }

    fn keys(keys: &[(&str, bool, &[Option<&str>])]) -> Keys {
        let owned = |parts: &[Option<&str>]| parts.iter().map(|part| part.map(str::to_owned)).collect();
        Keys(keys.iter().map(|(name, unique, parts)| ((*name).to_owned(), *unique, owned(parts))).collect())
    }

    #[test]
    fn a_primary_key_with_a_column_that_may_be_null_was_never_there() {
        let columns = [column("a", false), column("b", true)];
        assert!(is_torn(&columns, Some(&[0, 1])));
        assert!(!is_torn(&columns, Some(&[0])));
        assert!(!is_torn(&columns, None));
    }

    fn chosen(columns: &[Column], keys: Keys, no_key: NoKeyTables) -> Option<(Vec<usize>, bool)> {
        let (primary, indexes) = keys.finish(columns);
        choose_key(columns, primary, &indexes, no_key)
    }

    #[test]
    fn the_primary_key_wins_in_its_own_order() {
        let columns = [column("a", false), column("b", false), column("c", false)];
        let keys = keys(&[("A", true, &[Some("a")]), ("PRIMARY", true, &[Some("c"), Some("A")])]);
        assert_eq!(chosen(&columns, keys, NoKeyTables::Error), Some((vec![2, 0], true)));
    }

    #[test]
    fn of_unique_keys_the_shortest_without_nulls_is_taken() {
        let columns = [column("a", true), column("b", false), column("c", false)];
        let unfit: [(&str, bool, &[Option<&str>]); 3] =
            [("n", true, &[Some("a")]), ("f", true, &[None]), ("i", false, &[Some("b")])];
        let fit: [(&str, bool, &[Option<&str>]); 3] =
            [("x", true, &[Some("b"), Some("c")]), ("z", true, &[Some("c")]), ("y", true, &[Some("b")])];
        let all = || keys(&[unfit, fit].concat());
        assert_eq!(chosen(&columns, all(), NoKeyTables::UniqueKey), Some((vec![1], false)));
        assert_eq!(chosen(&columns, all(), NoKeyTables::Skip), None);
        assert_eq!(chosen(&columns, keys(&unfit), NoKeyTables::UniqueKey), None);
    }
}
