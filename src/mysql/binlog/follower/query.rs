//! Query events: where transactions begin and end, and statements that matter to the job.

use std::sync::Arc;

use super::super::event::{self, kind};
use super::super::statement::{self, Change, Effect};
use super::super::{Place, Slot, Statement, StatementSession, XaStep, text};
use super::{Event, Follower, Out, SLOT_BYTES, Stop};
use crate::schema::TableName;
use crate::{Error, Result};

impl Follower {
    pub(super) fn query(&mut self, event: &Event, at: u64, out: Out<'_>) -> Result<(), Stop> {
        let query = event::query(&event.body, event.kind == kind::EXECUTE_LOAD_QUERY)
            .ok_or_else(|| self.malformed(event, at))?;
        if query.sql == b"BEGIN" {
            // Almost all of them: nothing else in the event matters.
            return self.transaction_begins(at, false);
        }
        let plain;
        let sql = if event.kind == kind::MARIADB_QUERY_COMPRESSED {
            plain = event::mariadb_uncompress(query.sql).ok_or_else(|| self.malformed(event, at))?;
            plain.as_slice()
        } else {
            query.sql
        };
        let status = event::query_status(query.status_vars);
        let decoded = text::decode(sql, status.client);
        let lossy = String::from_utf8_lossy(sql);
        let sql = decoded.as_deref().unwrap_or(&lossy);
        let database = String::from_utf8_lossy(query.database);
        let effect = statement::classify(sql, &database);
        match &effect {
            Effect::Begin | Effect::XaBegin => return self.transaction_begins(at, effect == Effect::XaBegin),
            Effect::Commit => return self.end(event, out),
            Effect::XaCommit(xid) | Effect::XaRollback(xid) => {
                let xid = xid.clone().ok_or_else(|| self.malformed(event, at))?;
                let commit = matches!(effect, Effect::XaCommit(_));
                let step = if commit { XaStep::Commit(xid) } else { XaStep::Rollback(xid) };
                return self.end_with(event, Some(step), out);
            }
            Effect::Rollback | Effect::RollbackTo => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.rows) {
                    return Err(Error::definite(format!(
                        "{}: a transaction with rows of a replicated table was rolled back in part, because it also touched tables \
                         that cannot roll back",
                        self.place(at)
                    ))
                    .hint("its rows in the log do not all count: start a new job with startup: initial, and keep temporary and non-transactional tables out of such transactions")
                    .into());
                }
                return if effect == Effect::Rollback { self.end(event, out) } else { Ok(()) };
            }
            _ => {}
        }
        if matches!(effect, Effect::Tables(Change::Create, _)) && goes_on(sql) {
            match &mut self.transaction {
                Some(transaction) => transaction.begun = true,
                None => self.begin(at, None, 0, true).map(|_| ())?,
            }
        }
        let inside = self.transaction.as_ref().is_some_and(|transaction| transaction.begun);
        if !self.matters(&effect) || self.skipping() {
            return if inside { Ok(()) } else { self.end(event, out) };
        }
        if let Err(charset) = &decoded {
            return Err(Error::definite(format!(
                "{}: a statement that may touch a replicated table cannot be read as {charset}",
                self.place(at)
            ))
            .into());
        }
        let mut place = Place {
            file: Arc::clone(&self.file),
            offset: self.offset,
            gtid: None,
            committed_at: u64::from(event.timestamp) * 1_000_000,
        };
        if let Some(transaction) = &self.transaction {
            if transaction.committed_at > 0 {
                place.committed_at = transaction.committed_at;
            }
            if inside {
                (place.file, place.offset) = transaction.begin.clone();
            } else {
                place.gtid = transaction.gtid.clone();
            }
        }
        self.clear_passed(out)?;
        if inside {
            // Its transaction goes on, and its end must be told even without rows.
            if let Some(transaction) = &mut self.transaction {
                transaction.rows = true;
            }
        } else {
            self.transaction = None;
            self.remember(place.gtid.as_ref());
        }
        let session = StatementSession {
            sql_mode: status.sql_mode,
            server_charset: status.server.map(text::charset),
            explicit_timestamps: status.explicit_timestamps,
        };
        let statement = Statement { place, database: database.into_owned(), sql: sql.to_owned(), inside, session };
        let bytes = statement.sql.len() + SLOT_BYTES;
        out(Slot::Statement(Box::new(statement)), bytes)?;
        Ok(())
    }

    fn transaction_begins(&mut self, at: u64, xa: bool) -> Result<(), Stop> {
        let transaction = match &mut self.transaction {
            Some(transaction) => transaction,
            None => self.begin(at, None, 0, true)?,
        };
        (transaction.begun, transaction.xa) = (true, xa);
        Ok(())
    }

    fn matters(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Tables(change, tables) => tables.iter().any(|table| {
                // With lower_case_table_names the log's rows have small letters, the text what was typed.
                let lower = TableName::new(table.database.to_lowercase(), table.table.to_lowercase());
                (self.wanted)(table)
                    || (self.wanted)(&lower)
                    || *change != Change::Rows && ((self.noticed)(table) || (self.noticed)(&lower))
            }),
            Effect::Database(name) => {
                [name.clone(), name.to_lowercase()].into_iter().any(|name| (self.noticed)(&TableName::new(name, "")))
            }
            Effect::DropDatabase(_) | Effect::Unknown => true,
            _ => false,
        }
    }
}

/// Since 8.0.21 MySQL writes CREATE TABLE … SELECT as one transaction: the statement with these words behind it, the
/// rows, and the transaction's end.
fn goes_on(create: &str) -> bool {
    const WORDS: &str = "START TRANSACTION";
    let create = create.trim_end();
    let tail = create.len().checked_sub(WORDS.len()).and_then(|at| create.get(at..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(WORDS))
}
