//! One connection's session: who, in which database, and how a statement is run.

use std::sync::Arc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use sqlparser::ast;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::{Parser, ParserError};
use tokio::sync::mpsc::Sender;

use super::answer::{Cell, OutputColumn, Part, SqlError, SqlResult};
use super::builtin::{double_text, float_text};
use super::information_schema::VirtualTable;
use super::query::{Binder, BoundQuery, Kind};
use super::statement::{Statement, parse};
use crate::embedded::engine::Engine;
use crate::embedded::fault::Mode;
use crate::embedded::store::quote;
use crate::schema::TableName;

pub(super) struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) user: String,
    pub(super) database: Option<String>,
    pub(super) id: u32,
    /// On the second FE's port.
    pub(super) second: bool,
}

/// Rows sent at once.
const CHUNK: usize = 256;

impl Session {
    /// Runs one statement and sends its answer. Blocks; not for a runtime's own threads.
    pub(super) fn execute(&mut self, sql: &str, answer: &Sender<Part>) {
        if let Some(last) = self.fe_fails(sql) {
            let _gone = answer.blocking_send(last);
            return;
        }
        let result = self.dispatch(sql, answer);
        let last = match result {
            Ok(Some(_)) if self.answer_is_lost(sql) => Part::Cut,
            Ok(Some(affected)) => Part::Done { affected },
            Ok(None) => return,
            Err(error) => Part::Failed(error),
        };
        // The client is gone when this fails.
        let _gone = answer.blocking_send(last);
    }

    /// What the first FE answers while it is down, or follows a leader that it cannot reach.
    fn fe_fails(&mut self, sql: &str) -> Option<Part> {
        if self.second || self.engine.faults.is_empty() {
            return None;
        }
        if self.engine.faults.strikes(&[], &Mode::SqlGone) {
            return Some(Part::Cut);
        }
        if matches!(parse(sql), Ok(Statement::Nothing | Statement::Use { .. })) {
            return None;
        }
        let about = self.changed_table(sql);
        let carried_out = self.engine.faults.take(about.as_slice(), |mode| match mode {
            Mode::LeaderLost { carried_out } => Some(*carried_out),
            _ => None,
        })?;
        if !carried_out {
            return Some(Part::Failed(SqlError::ddl(
                "java.net.ConnectException: Connection refused (Connection refused)",
            )));
        }
        let (nobody, _) = tokio::sync::mpsc::channel(1);
        // What the leader refuses is told: a client could not go on in any way otherwise.
        if let Err(error) = self.dispatch(sql, &nobody) {
            return Some(Part::Failed(error));
        }
        Some(Part::Failed(SqlError::ddl("java.net.SocketTimeoutException: Read timed out")))
    }

    /// Asked after a statement that was carried out.
    fn answer_is_lost(&self, sql: &str) -> bool {
        if self.engine.faults.is_empty() {
            return false;
        }
        self.changed_table(sql).is_some_and(|name| self.engine.faults.strikes(&[name], &Mode::DdlAnswerLost))
    }

    /// Of an ALTER, a TRUNCATE or a DROP.
    fn changed_table(&self, sql: &str) -> Option<TableName> {
        let (Statement::AlterTable { table, .. } | Statement::Truncate { table } | Statement::DropTable { table, .. }) =
            parse(sql).ok()?
        else {
            return None;
        };
        self.qualify(&table).ok().map(|(database, name)| TableName::new(database, name))
    }

    /// `None`: rows were sent.
    fn dispatch(&mut self, sql: &str, answer: &Sender<Part>) -> SqlResult<Option<u64>> {
        match parse(sql)? {
            Statement::Query => {
                let query = parse_query(sql)?;
                let mut binder = Binder::new(self);
                let bound = binder.query(&query)?;
                let virtuals = binder.virtuals;
                self.send_rows(&bound, &virtuals, answer)?;
                Ok(None)
            }
            Statement::Change => self.change(sql).map(Some),
            Statement::Show(show) => {
                let (table, filter) = self.show(&show)?;
                self.send_shown(table, &filter, answer)?;
                Ok(None)
            }
            Statement::Describe { table } => {
                let table = self.describe(&table)?;
                self.send_shown(table, "", answer)?;
                Ok(None)
            }
            other => self.run(other).map(|()| Some(0)),
        }
    }

    /// Selects from a made-up table with the text that stood behind SHOW.
    fn send_shown(&self, table: VirtualTable, filter: &str, answer: &Sender<Part>) -> SqlResult<()> {
        let query = parse_query(&format!("SELECT * FROM `{}`.`rows` {filter}", super::query::SHOWN))?;
        let mut binder = Binder::for_show(self, table);
        let bound = binder.query(&query)?;
        let virtuals = binder.virtuals;
        self.send_rows(&bound, &virtuals, answer)
    }

    fn send_rows(&self, query: &BoundQuery, virtuals: &[VirtualTable], answer: &Sender<Part>) -> SqlResult<()> {
        self.engine.store.read(|connection| with_virtuals(connection, virtuals, || stream(connection, query, answer)))
    }

    /// `3.5.0 embedded`: what `current_version()` says.
    pub(super) fn version_text(&self) -> String {
        let version = self.engine.options.version;
        format!("{}.{}.{} embedded", version.major, version.minor, version.patch)
    }
}

/// Makes the tables for one query, runs `work`, and takes them away again.
pub(super) fn with_virtuals<T>(
    connection: &Connection,
    virtuals: &[VirtualTable],
    work: impl FnOnce() -> SqlResult<T>,
) -> SqlResult<T> {
    for (index, table) in virtuals.iter().enumerate() {
        let name = format!("temp.v{}", index + 1);
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|(column, kind)| {
                format!("{} {}", quote(column), if matches!(kind, Kind::Int(_)) { "INTEGER" } else { "TEXT" })
            })
            .collect();
        connection
            .execute_batch(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({})", columns.join(", ")))?;
        let marks = vec!["?"; columns.len()].join(", ");
        let mut insert = connection.prepare(&format!("INSERT INTO {name} VALUES ({marks})"))?;
        for row in &table.rows {
            insert.execute(params_from_iter(row))?;
        }
    }
    let result = work();
    for index in 0..virtuals.len() {
        connection.execute_batch(&format!("DROP TABLE temp.v{}", index + 1))?;
    }
    result
}

fn stream(connection: &Connection, query: &BoundQuery, answer: &Sender<Part>) -> SqlResult<()> {
    let mut statement = connection.prepare(&query.sql)?;
    let mut rows = statement.query([])?;
    let mut chunk: Vec<Vec<Cell>> = Vec::new();
    let mut started = false;
    loop {
        // The first row is fetched before the columns go out, so that most errors come as errors.
        let row = rows.next()?;
        if !started {
            started = true;
            if answer.blocking_send(Part::Columns(query.columns.clone())).is_err() {
                return Ok(());
            }
        }
        let Some(row) = row else { break };
        let mut cells = Vec::with_capacity(query.columns.len());
        for (index, column) in query.columns.iter().enumerate() {
            cells.push(cell(row.get_ref(index)?, column));
        }
        chunk.push(cells);
        if chunk.len() == CHUNK && answer.blocking_send(Part::Rows(std::mem::take(&mut chunk))).is_err() {
            return Ok(());
        }
    }
    if !chunk.is_empty() {
        let _gone = answer.blocking_send(Part::Rows(chunk));
    }
    Ok(())
}

fn cell(value: ValueRef<'_>, column: &OutputColumn) -> Cell {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) if column.kind == Kind::Float => float_text(number).into_bytes(),
        ValueRef::Real(number) => double_text(number).into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    })
}

/// A value as a made-up table holds it.
pub(super) fn text_value(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// Reads one SELECT by sqlparser.
pub(super) fn parse_query(sql: &str) -> SqlResult<ast::Query> {
    match parse_statement(sql)? {
        ast::Statement::Query(query) => Ok(*query),
        _ => Err(SqlError::syntax(1, 1, "a query is expected")),
    }
}

/// Reads exactly one statement by sqlparser.
pub(super) fn parse_statement(sql: &str) -> SqlResult<ast::Statement> {
    let mut statements = Parser::parse_sql(&MySqlDialect {}, sql).map_err(|error| match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => SqlError::syntax(1, 1, text),
        ParserError::RecursionLimitExceeded => SqlError::syntax(1, 1, "the statement is nested too deeply"),
    })?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(SqlError::syntax(1, 1, "one statement at a time")),
    }
}

/// A system variable and whether it is a number.
pub(super) fn variable(session: &Session, name: &str) -> Option<(String, bool)> {
    let name = name.to_lowercase();
    let found = variables(session).into_iter().find(|(known, _)| *known == name)?;
    let number = found.1.parse::<i64>().is_ok();
    Some((found.1, number))
}

/// What clients ask at login, in order of name.
pub(super) fn variables(session: &Session) -> Vec<(&'static str, String)> {
    let fixed = [
        ("auto_increment_increment", "1"),
        ("autocommit", "1"),
        ("character_set_client", "utf8mb4"),
        ("character_set_connection", "utf8mb4"),
        ("character_set_database", "utf8mb4"),
        ("character_set_results", "utf8mb4"),
        ("character_set_server", "utf8mb4"),
        ("collation_connection", "utf8mb4_general_ci"),
        ("collation_database", "utf8mb4_general_ci"),
        ("collation_server", "utf8mb4_general_ci"),
        ("default_storage_engine", "OLAP"),
        ("init_connect", ""),
        ("interactive_timeout", "3600"),
        ("license", "Apache License 2.0"),
        ("lower_case_table_names", "0"),
        ("max_allowed_packet", "67108864"),
        ("net_buffer_length", "16384"),
        ("net_read_timeout", "60"),
        ("net_write_timeout", "60"),
        ("performance_schema", "0"),
        ("protocol_version", "10"),
        ("query_cache_size", "0"),
        ("query_cache_type", "0"),
        ("query_timeout", "300"),
        ("socket", ""),
        ("sql_auto_is_null", "0"),
        ("sql_mode", "ONLY_FULL_GROUP_BY"),
        ("sql_safe_updates", "0"),
        ("sql_select_limit", "9223372036854775807"),
        ("system_time_zone", "UTC"),
        ("time_zone", "UTC"),
        ("transaction_isolation", "REPEATABLE-READ"),
        ("transaction_read_only", "0"),
        ("tx_isolation", "REPEATABLE-READ"),
        ("tx_read_only", "0"),
        ("version", "8.0.33"),
        ("wait_timeout", "28800"),
    ];
    let mut all: Vec<(&'static str, String)> =
        fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    all.push(("version_comment", format!("StarRocks version {}", session.version_text())));
    all.sort_unstable();
    all
}
