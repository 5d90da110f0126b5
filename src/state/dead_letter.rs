//! Dead letters: rows that the target refused and that were set aside for it.
//!
//! A letter is *live* while it stands for the newest change of its key: `open`, or `retry` once somebody has asked for
//! it to be sent again. It is *settled* when a later change of the key has made it obsolete (`superseded`) or a retry
//! has brought it in (`resolved`); settled letters are kept to look at. An index holds the keys of live letters only.
//!
//! Letters are written together with what makes them final: an epoch's with its checkpoint, a chunk's before the chunk is
//! done, a retry's with the end of its loads. Writing one again (a piece of a large transaction is read again after a
//! crash, and so is a chunk) finds it by its place and content: none is lost, none is there twice.
//!
//! `towpath dead-letters` writes here beside a running job, which looks at `retry` between two epochs.

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Row, Transaction, params_from_iter};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::store::json;
use super::{LetterMove, Store, now_micros};
use crate::mysql::position::Position;
use crate::schema::TableName;
use crate::target::{Format, LoadColumn};
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    Open,
    /// To be sent again.
    Retry,
    /// A later change of its key is in.
    Superseded,
    /// A retry has brought it in.
    Resolved,
}

impl LetterState {
    pub fn as_str(self) -> &'static str {
        match self {
            LetterState::Open => "open",
            LetterState::Retry => "retry",
            LetterState::Superseded => "superseded",
            LetterState::Resolved => "resolved",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [LetterState::Open, LetterState::Retry, LetterState::Superseded, LetterState::Resolved];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// How a letter's body is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterShape {
    /// The body is one row of a load, to be sent as it is. `None`: a value could not be written for the target; the body
    /// is a JSON list of the cells, to look at.
    pub format: Option<Format>,
    /// `__op` is the last.
    pub columns: Vec<LoadColumn>,
    /// Only some of the table's columns.
    pub partial: bool,
}

/// A row that was refused.
#[derive(Debug, Clone)]
pub struct NewLetter {
    /// As at the target.
    pub table: TableName,
    /// A JSON list of the key's cells as text.
    pub key: String,
    pub delete: bool,
    pub column: Option<String>,
    pub reason: String,
    pub shape: LetterShape,
    pub body: Bytes,
    /// It adds to an earlier letter of its key and does not replace it.
    pub behind: bool,
}

/// A row's key, in its table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LetterKey {
    pub table: TableName,
    pub key: String,
}

/// How a retry ended.
#[derive(Debug, Clone)]
pub enum Settled {
    Resolved {
        id: u64,
    },
    /// The same letter is open again.
    RefusedAgain {
        id: u64,
        column: Option<String>,
        reason: String,
    },
}

/// What an epoch, a load of the full copy or a retry changes.
#[derive(Debug, Clone, Default)]
pub struct LetterChanges {
    /// Keys that a later change has written.
    pub superseded: Vec<LetterKey>,
    pub new: Vec<NewLetter>,
    pub settled: Vec<Settled>,
    /// Between which positions the new letters' rows are in the log.
    pub origin: Option<(Position, Position)>,
    /// Settled letters that are kept, the newest; `None`: all.
    pub keep: Option<u64>,
}

impl LetterChanges {
    pub fn is_empty(&self) -> bool {
        self.superseded.is_empty() && self.new.is_empty() && self.settled.is_empty()
    }

    pub fn merge(&mut self, other: LetterChanges) {
        self.superseded.extend(other.superseded);
        self.new.extend(other.new);
        self.settled.extend(other.settled);
    }
}

/// A letter as it is stored.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: u64,
    pub table: TableName,
    pub key: String,
    pub delete: bool,
    pub state: LetterState,
    pub column: Option<String>,
    pub reason: String,
    pub begin: Position,
    pub end: Position,
    /// Microseconds since 1970, ours.
    pub refused_at: u64,
    pub settled_at: Option<u64>,
    pub tries: u64,
    pub shape: LetterShape,
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetterCounts {
    pub open: u64,
    pub retry: u64,
    pub superseded: u64,
    pub resolved: u64,
}

/// Which letters a command is about; empty: all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `db.table`, or the table alone.
    pub tables: Vec<String>,
    pub ids: Vec<u64>,
    /// Only live ones.
    pub live: bool,
}

impl Filter {
    /// A condition over `dead_letter`, and its parameters.
    fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = vec!["1".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        if !self.tables.is_empty() {
            let marks = vec!["?"; self.tables.len()].join(", ");
            parts.push(format!("(database || '.' || name IN ({marks}) OR name IN ({marks}))"));
            for _ in 0..2 {
                values.extend(self.tables.iter().map(|table| Value::Text(table.clone())));
            }
        }
        if !self.ids.is_empty() {
            parts.push(format!("id IN ({})", vec!["?"; self.ids.len()].join(", ")));
            values.extend(self.ids.iter().map(|id| Value::Integer(*id as i64)));
        }
        if self.live {
            parts.push("state IN ('open', 'retry')".to_owned());
        }
        (parts.join(" AND "), values)
    }
}

const COLUMNS: &str = "id, database, name, key, deletes, state, column_name, reason, begin_position, end_position, \
                       refused_at, settled_at, tries, shape, body";

/// The oldest live letter of its key: a row that adds to another one is not sent before that.
const FIRST_OF_ITS_KEY: &str = "id = (SELECT min(first.id) FROM dead_letter first WHERE first.database = \
     dead_letter.database AND first.name = dead_letter.name AND first.key = dead_letter.key AND first.state IN ('open', 'retry'))";

/// Its table has, at the target, the columns that the letter has.
const NOT_LAGGING: &str = "NOT EXISTS (SELECT 1 FROM lagging WHERE target_database = dead_letter.database AND \
     target_name = dead_letter.name)";

/// Writes the changes: first what is obsolete, then what is new.
pub(super) fn apply(transaction: &Transaction<'_>, changes: &LetterChanges) -> rusqlite::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let now = now_micros() as i64;
    let mut supersede = transaction.prepare_cached(
        "UPDATE dead_letter SET state = 'superseded', settled_at = ?4
         WHERE database = ?1 AND name = ?2 AND key = ?3 AND state IN ('open', 'retry')",
    )?;
    for LetterKey { table, key } in &changes.superseded {
        supersede.execute((&table.database, &table.table, key, now))?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO dead_letter (database, name, key, deletes, state, column_name, reason, begin_position, end_position,
                                  refused_at, tries, shape, body, digest)
         VALUES (?1, ?2, ?3, ?4, 'open', ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12)
         ON CONFLICT DO UPDATE SET state = 'open', settled_at = NULL, column_name = excluded.column_name,
                                   reason = excluded.reason, end_position = excluded.end_position",
    )?;
    let origin = |of: fn(&(Position, Position)) -> &Position| changes.origin.as_ref().map(of).map(json).transpose();
    let (begin, end) = (origin(|(begin, _)| begin)?.unwrap_or_default(), origin(|(_, end)| end)?.unwrap_or_default());
    for letter in &changes.new {
        let shape = json(&letter.shape)?;
        let mut digest = XxHash3_128::new();
        digest.write(shape.as_bytes());
        digest.write(&letter.body);
        let (database, name) = (&letter.table.database, &letter.table.table);
        if !letter.behind {
            supersede.execute((database, name, &letter.key, now))?;
        }
        insert.execute((
            database,
            name,
            &letter.key,
            letter.delete,
            &letter.column,
            &letter.reason,
            &begin,
            &end,
            now,
            &shape,
            &letter.body[..],
            format!("{:032x}", digest.finish_128()),
        ))?;
    }
    for settled in &changes.settled {
        match settled {
            // One that was superseded or dropped in the meantime is left as it is.
            Settled::Resolved { id } => transaction.execute(
                "UPDATE dead_letter SET state = 'resolved', settled_at = ?2, tries = tries + 1
                 WHERE id = ?1 AND state = 'retry'",
                (*id as i64, now),
            )?,
            Settled::RefusedAgain { id, column, reason } => transaction.execute(
                "UPDATE dead_letter SET state = 'open', tries = tries + 1, column_name = ?2, reason = ?3
                 WHERE id = ?1 AND state = 'retry'",
                (*id as i64, column, reason),
            )?,
        };
    }
    if let Some(keep) = changes.keep {
        transaction.execute(
            "DELETE FROM dead_letter WHERE state IN ('superseded', 'resolved') AND id <=
             (SELECT id FROM dead_letter WHERE state IN ('superseded', 'resolved') ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            [keep as i64],
        )?;
    }
    Ok(())
}

/// What a schema change does to a table's letters: those that are live still have to be sent.
pub(super) fn follow(transaction: &Transaction<'_>, change: &LetterMove) -> rusqlite::Result<()> {
    match change {
        LetterMove::Renamed { from, to } => {
            transaction.execute(
                "UPDATE OR REPLACE dead_letter SET database = ?3, name = ?4 WHERE database = ?1 AND name = ?2",
                (&from.database, &from.table, &to.database, &to.table),
            )?;
        }
        LetterMove::Emptied(table) => {
            transaction.execute(
                "UPDATE dead_letter SET state = 'superseded', settled_at = ?3
                 WHERE database = ?1 AND name = ?2 AND state IN ('open', 'retry')",
                (&table.database, &table.table, now_micros() as i64),
            )?;
        }
        LetterMove::Altered { table, renamed, dropped } => {
            let letters: Vec<(i64, String, Vec<u8>)> = transaction
                .prepare(
                    "SELECT id, shape, body FROM dead_letter
                     WHERE database = ?1 AND name = ?2 AND state IN ('open', 'retry')",
                )?
                .query_map((&table.database, &table.table), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (id, shape, body) in letters {
                let failed = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
                let shape: LetterShape = serde_json::from_str(&shape).map_err(failed)?;
                if let Some((shape, body)) = altered(shape, body, renamed, dropped)? {
                    transaction.execute(
                        "UPDATE dead_letter SET shape = ?2, body = ?3,
                                state = iif(json_extract(?2, '$.format') IS NULL, 'open', state)
                         WHERE id = ?1",
                        (id, json(&shape)?, body),
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// A letter as it has to be sent to a table with other columns; `None`: it tells none of them. One that tells a column
/// that is no more, or names columns in its body, can only be looked at from then on.
fn altered(
    mut shape: LetterShape,
    body: Vec<u8>,
    renamed: &[(String, String)],
    dropped: &[String],
) -> rusqlite::Result<Option<(LetterShape, Vec<u8>)>> {
    let is = |column: &LoadColumn, name: &str| column.name.eq_ignore_ascii_case(name);
    let loses = shape.columns.iter().any(|column| dropped.iter().any(|name| is(column, name)));
    let renames = shape.columns.iter().any(|column| renamed.iter().any(|(from, _)| is(column, from)));
    if !loses && !renames {
        return Ok(None);
    }
    let format = shape.format;
    let sent = match format {
        Some(format) if loses || format == Format::JsonLines => {
            let failed = |error: Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
            let cells = crate::apply::body::cells(format, &shape.columns, &body).map_err(failed)?;
            shape.format = None;
            json(&cells)?.into_bytes()
        }
        _ => body,
    };
    for column in &mut shape.columns {
        if let Some((_, to)) = renamed.iter().find(|(from, _)| column.name.eq_ignore_ascii_case(from)) {
            column.name.clone_from(to);
        }
    }
    Ok(Some((shape, sent)))
}

impl Store {
    /// How many letters there are, by state.
    pub fn letter_counts(&self) -> Result<LetterCounts> {
        self.with(|connection| {
            // A store that was last written by an older program has no such table.
            if !connection.table_exists(None, "dead_letter")? {
                return Ok(LetterCounts::default());
            }
            let mut counts = LetterCounts::default();
            let mut statement = connection.prepare("SELECT state, count(*) FROM dead_letter GROUP BY state")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count = row.get::<_, i64>(1)? as u64;
                match LetterState::parse(&row.get::<_, String>(0)?) {
                    Some(LetterState::Open) => counts.open = count,
                    Some(LetterState::Retry) => counts.retry = count,
                    Some(LetterState::Superseded) => counts.superseded = count,
                    Some(LetterState::Resolved) => counts.resolved = count,
                    None => {}
                }
            }
            Ok(counts)
        })
    }

    /// The keys of all live letters.
    pub fn live_letter_keys(&self) -> Result<Vec<LetterKey>> {
        self.with(|connection| {
            connection
                .prepare("SELECT database, name, key FROM dead_letter WHERE state IN ('open', 'retry')")?
                .query_map([], |row| {
                    Ok(LetterKey {
                        table: TableName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?),
                        key: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// The keys of a table's live letters that stand for rows, not for deletes.
    pub(crate) fn live_letter_rows(&self, table: &TableName) -> Result<Vec<String>> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT key FROM dead_letter
                     WHERE database = ?1 AND name = ?2 AND deletes = 0 AND state IN ('open', 'retry')",
                )?
                .query_map((&table.database, &table.table), |row| row.get(0))?
                .collect()
        })
    }

    /// The shapes of the key's live letters.
    pub fn live_letters_of(&self, key: &LetterKey) -> Result<Vec<LetterShape>> {
        let texts: Vec<String> = self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT shape FROM dead_letter
                     WHERE database = ?1 AND name = ?2 AND key = ?3 AND state IN ('open', 'retry')",
                )?
                .query_map((&key.table.database, &key.table.table, &key.key), |row| row.get(0))?
                .collect()
        })?;
        texts.iter().map(|text| self.parse("dead_letter.shape", text)).collect()
    }

    /// Letters behind `after`, by id, until their bodies have so many bytes.
    pub fn letters(&self, filter: &Filter, after: u64, bytes: usize) -> Result<Vec<DeadLetter>> {
        let (condition, mut values) = filter.condition();
        values.push(Value::Integer(after as i64));
        self.select_letters(
            &format!("SELECT {COLUMNS} FROM dead_letter WHERE {condition} AND id > ? ORDER BY id"),
            &values,
            bytes,
        )
    }

    /// Letters that were asked to be sent again, at most one a key, until their bodies have so many bytes.
    pub fn letters_to_retry(&self, bytes: usize) -> Result<Vec<DeadLetter>> {
        self.select_letters(
            &format!(
                "SELECT {COLUMNS} FROM dead_letter WHERE state = 'retry' AND {FIRST_OF_ITS_KEY} AND {NOT_LAGGING} ORDER BY id"
            ),
            &[],
            bytes,
        )
    }

    /// Letters of which somebody asked to be sent again although one before it was not, or was refused again.
    pub fn put_back_blocked_retries(&self) -> Result<()> {
        self.transaction(|transaction| {
            transaction.execute(
                &format!(
                    "UPDATE dead_letter SET state = 'open'
                     WHERE state = 'retry' AND NOT {FIRST_OF_ITS_KEY} AND {NOT_LAGGING}"
                ),
                [],
            )
        })?;
        Ok(())
    }

    /// Asks for letters to be sent again. How many were marked, and how many live ones cannot be sent.
    pub fn ask_for_retry(&self, filter: &Filter) -> Result<(u64, u64)> {
        let (condition, values) = Filter { live: true, ..filter.clone() }.condition();
        self.transaction(|transaction| {
            let marked = transaction.execute(
                &format!(
                    "UPDATE dead_letter SET state = 'retry' WHERE {condition} AND json_extract(shape, '$.format') IS NOT NULL"
                ),
                params_from_iter(&values),
            )?;
            let unfit: i64 = transaction.query_row(
                &format!(
                    "SELECT count(*) FROM dead_letter WHERE {condition} AND json_extract(shape, '$.format') IS NULL"
                ),
                params_from_iter(&values),
                |row| row.get(0),
            )?;
            Ok((marked as u64, unfit as u64))
        })
    }

    /// Forgets letters, with those that only add to one of them. Returns how many.
    pub fn drop_letters(&self, filter: &Filter) -> Result<u64> {
        let (condition, values) = filter.condition();
        let dropped = self.transaction(|transaction| {
            transaction.execute(
                "CREATE TEMP TABLE IF NOT EXISTS dropped (id INTEGER PRIMARY KEY)",
                [],
            )?;
            transaction.execute("DELETE FROM dropped", [])?;
            transaction.execute(
                &format!("INSERT INTO dropped SELECT id FROM dead_letter WHERE {condition}"),
                params_from_iter(&values),
            )?;
            transaction.execute(
                "INSERT OR IGNORE INTO dropped SELECT later.id FROM dead_letter later JOIN dead_letter gone
                 ON (gone.database, gone.name, gone.key) = (later.database, later.name, later.key) AND gone.id < later.id
                 WHERE gone.id IN (SELECT id FROM dropped) AND gone.state IN ('open', 'retry')
                 AND later.state IN ('open', 'retry')",
                [],
            )?;
            transaction.execute("DELETE FROM dead_letter WHERE id IN (SELECT id FROM dropped)", [])
        })?;
        Ok(dropped as u64)
    }

    fn select_letters(&self, sql: &str, values: &[Value], bytes: usize) -> Result<Vec<DeadLetter>> {
        let found: Vec<Stored> = self.with(|connection| {
            if !connection.table_exists(None, "dead_letter")? {
                return Ok(Vec::new());
            }
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            let (mut found, mut total) = (Vec::new(), 0);
            while total < bytes
                && let Some(row) = rows.next()?
            {
                let stored = Stored::read(row)?;
                total += stored.body.len() + size_of::<Stored>();
                found.push(stored);
            }
            Ok(found)
        })?;
        found.into_iter().map(|stored| stored.parse(self)).collect()
    }
}

/// A row of the table, before its texts are understood.
struct Stored {
    id: i64,
    table: TableName,
    key: String,
    delete: bool,
    state: String,
    column: Option<String>,
    reason: String,
    begin: String,
    end: String,
    refused_at: i64,
    settled_at: Option<i64>,
    tries: i64,
    shape: String,
    body: Vec<u8>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
        Ok(Stored {
            id: row.get(0)?,
            table: TableName::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?),
            key: row.get(3)?,
            delete: row.get(4)?,
            state: row.get(5)?,
            column: row.get(6)?,
            reason: row.get(7)?,
            begin: row.get(8)?,
            end: row.get(9)?,
            refused_at: row.get(10)?,
            settled_at: row.get(11)?,
            tries: row.get(12)?,
            shape: row.get(13)?,
            body: row.get(14)?,
        })
    }

    fn parse(self, store: &Store) -> Result<DeadLetter> {
        let state = LetterState::parse(&self.state)
            .ok_or_else(|| Error::definite(format!("dead letter {}: unknown state {:?}", self.id, self.state)))?;
        Ok(DeadLetter {
            id: self.id as u64,
            table: self.table,
            key: self.key,
            delete: self.delete,
            state,
            column: self.column,
            reason: self.reason,
            begin: store.parse("dead_letter.begin_position", &self.begin)?,
            end: store.parse("dead_letter.end_position", &self.end)?,
            refused_at: self.refused_at as u64,
            settled_at: self.settled_at.map(|at| at as u64),
            tries: self.tries as u64,
            shape: store.parse("dead_letter.shape", &self.shape)?,
            body: self.body.into(),
        })
    }
}

impl DeadLetter {
    /// The row: names and values as text, `None` for NULL.
    ///
    /// # Errors
    /// Definite: the body is not what its shape says.
    pub fn row(&self) -> Result<Vec<(&str, Option<String>)>> {
        let cells: Vec<Option<String>> = match self.shape.format {
            Some(format) => crate::apply::body::cells(format, &self.shape.columns, &self.body)?,
            None => serde_json::from_slice(&self.body)
                .map_err(|error| Error::definite(format!("dead letter {} cannot be read", self.id)).caused_by(error))?,
        };
        let (_, columns) = self.shape.columns.split_last().unzip();
        let names = columns.unwrap_or_default().iter().map(|column| column.name.as_str());
        Ok(names.zip(cells).collect())
    }
}
