//! Statements that change tables: an epoch of their own, behind everything that was read before.

use std::sync::Arc;

use crossbeam_channel as channel;

use super::filling::advance;
use super::tables::Before;
use super::{Epoch, Filling, Flusher, committer_gone};
use crate::Result;
use crate::apply::change::{Change, Origin, in_order};
use crate::mysql::binlog::{Place, RowsEvent, Statement, StatementSession};
use crate::mysql::history::History;
use crate::schema::SchemaChange;
use crate::state::PreparedChanges;

impl Flusher {
    /// A statement that may have changed tables.
    pub(super) fn statement(&mut self, filling: &mut Filling, statement: Statement) -> Result<()> {
        if !statement.inside {
            filling.comes_again(&statement.place)?;
        }
        // What is closed before the statement is stored with the history as it was there.
        let mut history = self.tables.history.clone();
        let revision = history.revision();
        match history.read(&statement) {
            Ok(changes) => {
                let has_changed = history.revision() != revision;
                if changes.is_empty() {
                    self.tables.history = history;
                    self.boundary(filling, &statement.place, None)?;
                } else {
                    self.close_before_change(filling)?;
                    self.change(filling, statement, changes, history, Origin::Log)?;
                }
                if has_changed {
                    self.ask_catalogue();
                }
                Ok(())
            }
            Err(error) => {
                // Everything before the statement is in when the job stops.
                self.close_before_change(filling)?;
                Err(error)
            }
        }
    }

    /// The first rows behind a statement that could not be read tell what it did: it counts from here on.
    pub(super) fn rows_tell(&mut self, filling: &mut Filling, event: &RowsEvent) -> Result<()> {
        let mut history = self.tables.history.clone();
        let changes = history.map(&event.table, &format!("{}:{}", event.file, event.offset))?;
        if changes.is_empty() {
            self.tables.history = history;
            return Ok(());
        }
        self.close_before_change(filling)?;
        let place = Place {
            file: Arc::clone(&event.file),
            offset: event.offset,
            gtid: None,
            committed_at: filling.committed_at,
        };
        let statement = Statement {
            place,
            database: event.table.name.database.clone(),
            sql: format!("{}: a statement that could not be read, as the rows behind it tell", event.table.name),
            inside: true,
            session: StatementSession::default(),
        };
        self.change(filling, statement, changes, history, Origin::Log)
    }

    /// All that was read before is in; of a transaction in pieces, what was read of it.
    pub(super) fn close_before_change(&mut self, filling: &mut Filling) -> Result<()> {
        if filling.in_transaction {
            if !filling.batch.is_empty() {
                self.send_piece(filling)?;
            }
        } else if filling.has_news() {
            // A replay that comes here has another order than the run that began it.
            self.replay_until = None;
            self.close(filling)?;
        }
        self.wait_for_flight(filling)
    }

    /// Sends a statement's changes and waits until the target shows them.
    pub(super) fn change(
        &mut self,
        filling: &mut Filling,
        statement: Statement,
        changes: Vec<SchemaChange>,
        history: History,
        origin: Origin,
    ) -> Result<()> {
        let committed_at = statement.place.committed_at;
        let tables = &mut self.tables;
        if statement.inside {
            // A second one of the same transaction keeps what the first has kept.
            let (stored, followed) = (tables.stored, Arc::clone(&tables.followed));
            let former = std::mem::replace(&mut tables.history, history);
            tables.before.get_or_insert(Before { history: former, stored, followed });
        } else {
            tables.history = history;
            advance(&mut filling.position, &statement.place, None);
            filling.heard = true;
            filling.committed_at = committed_at;
        }
        if origin == Origin::Log {
            self.progress.read_to(committed_at, 1);
        }
        let renames = changes.iter().flat_map(|change| match change {
            SchemaChange::Rename(renamed) => {
                renamed.iter().map(|one| (one.from.clone(), one.table.name.clone())).collect()
            }
            _ => Vec::new(),
        });
        let renames = in_order(renames.collect());
        let parked = self.parks();
        let (reply, followed) = channel::bounded(1);
        let begin = std::mem::replace(&mut filling.begin, filling.position.clone());
        let epoch = Epoch {
            committed_at,
            anew: std::mem::take(&mut filling.anew),
            prepared: if statement.inside { PreparedChanges::default() } else { self.xa.close()? },
            change: Some(Change { statement, changes, reply, origin }),
            history: self.tables.unstored()?,
            ..Epoch::between(begin, filling.position.clone())
        };
        self.hand_over(filling, epoch)?;
        self.wait_for_flight(filling)?;
        self.tables.follow(followed.recv().map_err(|_| committer_gone())?);
        renames.into_iter().for_each(|(from, to)| self.copied_at.rename(&from, to));
        // What the copy before has shown counts no more.
        for (table, _) in self.tables.followed.joins().filter(|(table, _)| !self.tables.parks(table)) {
            self.copied_at.forget(table);
        }
        if parked { self.lagging.left() } else { Ok(()) }
    }
}
