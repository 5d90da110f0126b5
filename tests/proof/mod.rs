//! The proof: reads both sides by plain SELECTs and compares them cell by cell. It shares nothing with the decoders
//! that carry the data (no row images, no Stream Load), so that a fault there cannot hide here.
//!
//! # How
//! Servers disagree about order: collations, ENUM (by index or by text), decimals that are text at the target. So
//! nothing here relies on it. The source's rows stream into a temporary SQLite table, keyed by the key's canonical
//! bytes; the target's rows stream past it and take out what they match. What stays is missing at the target.
//! Memory holds one row and SQLite's page cache; the rest is in an unnamed temporary file.
//!
//! A table without a key has none at the target that the source could show. Then whole rows are counted: both sides must
//! have each the same number of times.
//!
//! Each cell is brought to one canonical form by its *source* type (see `towpath::verify`), so `1.50` and `1.5` are equal
//! for a DECIMAL and different for a VARCHAR.
//!
//! Both sides must be at rest. A TIMESTAMP is read in the session time zone that the caller names.

mod report;

use std::path::Path;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Row, Value};
use rusqlite::{Connection, OptionalExtension as _, params};

pub(crate) use report::{Report, TableReport};
use towpath::config::ZeroDate;
use towpath::schema::TableName;
use towpath::verify::canonical::{Cell, Dialect, Form, Meaning, Rules, canonical};
use towpath::{Error, Result};

/// A table and what should be the same at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) source: TableName,
    pub(crate) target: TableName,
}

impl Pair {
    /// A table that has the same name on both sides.
    pub(crate) fn same(database: &str, table: &str) -> Self {
        let name = TableName::new(database, table);
        Pair { source: name.clone(), target: name }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The session time zone in which the source's TIMESTAMP values are read, `+00:00`: the job's `timezone`.
    pub(crate) timezone: String,
    /// What stands for zero and impossible dates at the target: the job's `defaultZeroDate`; `None` is NULL.
    pub(crate) zero_date: Option<String>,
    /// Differences described per table, at most.
    pub(crate) examples: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { timezone: "+00:00".to_owned(), zero_date: None, examples: 5 }
    }
}

/// Compares every pair, one after the other.
///
/// # Errors
/// A server cannot be reached or asked, or a table is not there or has no key. Differences are no error: they are
/// in the report.
pub(crate) async fn compare(source: &Opts, target: &Opts, pairs: &[Pair], options: &Options) -> Result<Report> {
    let mut source = Side::connect("source", source).await?;
    let mut target = Side::connect("target", target).await?;
    if source.dialect != Dialect::StarRocks {
        let zone = options.timezone.replace('\'', "''");
        source.run(&format!("SET SESSION time_zone = '{zone}'")).await?;
    }
    if target.dialect != Dialect::StarRocks {
        let zone = options.timezone.replace('\'', "''");
        target.run(&format!("SET SESSION time_zone = '{zone}'")).await?;
    }
    let mut tables = Vec::with_capacity(pairs.len());
    for pair in pairs {
        tables.push(compare_table(&mut source, &mut target, pair, options).await?);
    }
    source.close().await;
    target.close().await;
    Ok(Report { tables })
}

async fn compare_table(source: &mut Side, target: &mut Side, pair: &Pair, options: &Options) -> Result<TableReport> {
    let source_columns = source.columns(&pair.source).await?;
    let target_columns = target.columns(&pair.target).await?;
    let mut report = TableReport::new(pair.clone());
    let plan = Plan::new(source, &source_columns, target, &target_columns, options, &mut report)?;

    let rows = Rows::create()?;
    let mut results = source.query(plan.source_sql(&pair.source)).await?;
    while let Some(row) = results.next().await.map_err(|error| source_error("source", &pair.source, error))? {
        let (key, cells) = plan.read(row, |column| &column.source);
        rows.add(&key, &cells)?;
        report.source_rows += 1;
    }
    drop(results);

    let mut results = target.query(plan.target_sql(&pair.target)).await?;
    while let Some(row) = results.next().await.map_err(|error| source_error("target", &pair.target, error))? {
        let (key, cells) = plan.read(row, |column| &column.target);
        report.target_rows += 1;
        match rows.take(&key)? {
            None => {
                report.extra += 1;
                report.example(options, || format!("only at the target: {}", plan.describe_key(&key)));
            }
            Some(wanted) if wanted != cells => {
                report.different += 1;
                report.example(options, || plan.describe_difference(&key, &wanted, &cells));
            }
            Some(_) => {}
        }
    }
    drop(results);

    report.missing = rows.count()?;
    for key in rows.first(options.examples)? {
        report.example(options, || format!("only at the source: {}", plan.describe_key(&key)));
    }
    Ok(report)
}

/// What both sides are asked for a table, in the same order.
struct Plan {
    /// Key columns first.
    columns: Vec<PlannedColumn>,
    keys: usize,
    rules: Rules,
}

struct PlannedColumn {
    name: String,
    meaning: Meaning,
    source: Selected,
    target: Selected,
}

/// A column as one side gives it.
struct Selected {
    expression: String,
    form: Form,
}

impl Plan {
    fn new(
        source: &Side,
        source_columns: &[CatalogColumn],
        target: &Side,
        target_columns: &[CatalogColumn],
        options: &Options,
        report: &mut TableReport,
    ) -> Result<Self> {
        // The target's key decides: it may be a unique key of a source table without a primary one.
        let is_key = |name: &str| {
            let of = |columns: &[CatalogColumn]| {
                columns.iter().any(|column| column.is_key && column.name.eq_ignore_ascii_case(name))
            };
            if target_columns.iter().any(|column| column.is_key) { of(target_columns) } else { of(source_columns) }
        };
        let (mut keys, mut rest) = (Vec::new(), Vec::new());
        for from in source_columns {
            let Some(to) = target_columns.iter().find(|to| to.name.eq_ignore_ascii_case(&from.name)) else {
                report.missing_columns.push(from.name.clone());
                continue;
            };
            let meaning = Meaning::of(&from.data_type, &to.data_type);
            let column = PlannedColumn {
                name: from.name.clone(),
                meaning,
                source: select(source.dialect, from, meaning),
                target: select(target.dialect, to, meaning),
            };
            if is_key(&from.name) { keys.push(column) } else { rest.push(column) }
        }
        if keys.is_empty() {
            // Neither side's key is on both: whole rows are compared.
            std::mem::swap(&mut keys, &mut rest);
        }
        let zero_date = options.zero_date.clone().map_or(ZeroDate::Null, ZeroDate::Value);
        let rules = Rules::exact(jiff::tz::TimeZone::UTC, zero_date);
        let key_count = keys.len();
        keys.append(&mut rest);
        Ok(Plan { columns: keys, keys: key_count, rules })
    }

    fn source_sql(&self, table: &TableName) -> String {
        select_statement(table, self.columns.iter().map(|column| &column.source))
    }

    fn target_sql(&self, table: &TableName) -> String {
        select_statement(table, self.columns.iter().map(|column| &column.target))
    }

    /// The canonical key and the canonical other cells of a row.
    fn read(&self, row: Row, side: impl Fn(&PlannedColumn) -> &Selected) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut cells) = (Vec::new(), Vec::new());
        for (index, (column, value)) in self.columns.iter().zip(row.unwrap()).enumerate() {
            let bytes = match value {
                Value::NULL => None,
                Value::Bytes(bytes) => Some(bytes),
                // The text protocol sends nothing else.
                other => Some(other.as_sql(true).into_bytes()),
            };
            let cell = canonical(column.meaning, side(column).form, bytes, &self.rules);
            cell.write(if index < self.keys { &mut key } else { &mut cells });
        }
        (key, cells)
    }

    fn describe_key(&self, key: &[u8]) -> String {
        let columns = self.columns[..self.keys].iter().zip(Cell::read_all(key));
        columns.map(|(column, cell)| format!("{}={cell}", column.name)).collect::<Vec<_>>().join(", ")
    }

    fn describe_difference(&self, key: &[u8], source: &[u8], target: &[u8]) -> String {
        let cells = Cell::read_all(source).into_iter().zip(Cell::read_all(target));
        let differences =
            self.columns[self.keys..].iter().zip(cells).filter(|(_, (source, target))| source != target).map(
                |(column, (source, target))| format!("{}: {source} at the source, {target} at the target", column.name),
            );
        format!("{}: {}", self.describe_key(key), differences.collect::<Vec<_>>().join("; "))
    }
}

fn select(dialect: Dialect, column: &CatalogColumn, meaning: Meaning) -> Selected {
    let (expression, form) = dialect.select(&quote(&column.name), &column.data_type, meaning);
    Selected { expression, form }
}

fn select_statement<'a>(table: &TableName, columns: impl Iterator<Item = &'a Selected>) -> String {
    let columns: Vec<&str> = columns.map(|column| column.expression.as_str()).collect();
    format!("SELECT {} FROM {}", columns.join(", "), table.quoted())
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// One column of `information_schema.COLUMNS`.
struct CatalogColumn {
    name: String,
    /// Lower case, without length: `decimal`, `varbinary`, `array<float>`.
    data_type: String,
    is_key: bool,
}

/// A connection to one of the two servers.
struct Side {
    name: &'static str,
    conn: Conn,
    dialect: Dialect,
}

impl Side {
    async fn connect(name: &'static str, options: &Opts) -> Result<Self> {
        let address = format!("{}:{}", options.ip_or_hostname(), options.tcp_port());
        let failed = |error| Error::transient(format!("proof: {name} {address}")).caused_by(error);
        let mut conn = Conn::new(options.clone()).await.map_err(failed)?;
        let about: Option<(String, String)> =
            conn.query_first("SELECT @@version, @@version_comment").await.map_err(failed)?;
        let (version, comment) = about.unwrap_or_default();
        Ok(Side { name, conn, dialect: Dialect::of(&version, &comment) })
    }

    async fn close(self) {
        // All is read; what goes wrong now changes nothing.
        let _ = self.conn.disconnect().await;
    }

    async fn run(&mut self, sql: &str) -> Result<()> {
        let failed = |error| Error::definite(format!("proof: {}: {sql}", self.name)).caused_by(error);
        self.conn.query_drop(sql).await.map_err(failed)
    }

    async fn query<'s>(
        &'s mut self,
        sql: String,
    ) -> Result<mysql_async::QueryResult<'s, 'static, mysql_async::TextProtocol>> {
        let what = format!("proof: {}: {sql}", self.name);
        self.conn.query_iter(sql).await.map_err(|error| Error::definite(what).caused_by(error))
    }

    async fn columns(&mut self, table: &TableName) -> Result<Vec<CatalogColumn>> {
        let text = |text: &str| text.replace('\\', "\\\\").replace('\'', "''");
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_KEY FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{}' ORDER BY ORDINAL_POSITION",
            text(&table.database),
            text(&table.table)
        );
        let failed = |error| Error::definite(format!("proof: {}: {sql}", self.name)).caused_by(error);
        let rows: Vec<(String, String, Option<String>)> = self.conn.query(&sql).await.map_err(failed)?;
        if rows.is_empty() {
            return Err(Error::definite(format!("proof: the {} has no table {table}", self.name)));
        }
        let column = |(name, data_type, key): (String, String, Option<String>)| CatalogColumn {
            name,
            data_type: data_type.to_ascii_lowercase(),
            is_key: key.is_some_and(|key| key == "PRI"),
        };
        Ok(rows.into_iter().map(column).collect())
    }
}

fn source_error(side: &str, table: &TableName, error: mysql_async::Error) -> Error {
    Error::transient(format!("proof: reading {table} at the {side}")).caused_by(error)
}

/// The source's rows, in a temporary database that SQLite removes by itself.
struct Rows {
    sqlite: Connection,
}

impl Rows {
    fn create() -> Result<Self> {
        // An empty name is SQLite's own temporary file.
        let sqlite = Connection::open(Path::new("")).map_err(sqlite_error)?;
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
                 CREATE TABLE source (key BLOB PRIMARY KEY, cells BLOB NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
                 BEGIN;",
            )
            .map_err(sqlite_error)?;
        Ok(Rows { sqlite })
    }

    /// One more row. Only rows that are keys as a whole may come more than once.
    fn add(&self, key: &[u8], cells: &[u8]) -> Result<()> {
        let mut statement = self
            .sqlite
            .prepare_cached(
                "INSERT INTO source VALUES (?1, ?2, 1)
                 ON CONFLICT (key) DO UPDATE SET rows = CASE WHEN cells = ?2 THEN rows + 1 END",
            )
            .map_err(sqlite_error)?;
        statement.execute(params![key, cells]).map(drop).map_err(sqlite_error)
    }

    /// The cells under a key; one row less is there then.
    fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut statement = self
            .sqlite
            .prepare_cached("UPDATE source SET rows = rows - 1 WHERE key = ?1 AND rows > 0 RETURNING cells")
            .map_err(sqlite_error)?;
        statement.query_row([key], |row| row.get(0)).optional().map_err(sqlite_error)
    }

    fn count(&self) -> Result<u64> {
        let count = self.sqlite.query_row("SELECT coalesce(sum(rows), 0) FROM source", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(sqlite_error)
    }

    fn first(&self, limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut statement =
            self.sqlite.prepare("SELECT key FROM source WHERE rows > 0 ORDER BY key LIMIT ?1").map_err(sqlite_error)?;
        let keys = statement.query_map([limit as i64], |row| row.get(0)).map_err(sqlite_error)?;
        keys.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
    }
}

fn sqlite_error(error: rusqlite::Error) -> Error {
    Error::definite("proof: temporary table").caused_by(error)
}
