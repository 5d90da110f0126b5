//! Tables whose definitions a statement has left open ([`crate::mysql::history`]): whoever asks the source's catalogue is told
//! which they are, and brings its answers, each with the place at which it holds.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::{Filling, Flusher};
use crate::Result;
use crate::apply::change::Origin;
use crate::apply::join::Settle;
use crate::schema::TableName;

/// The tables that the catalogue is asked for.
pub struct Open {
    asked: watch::Sender<Vec<TableName>>,
    /// It has said nothing of these that serves; their rows will.
    left_to_rows: BTreeSet<TableName>,
}

impl Open {
    /// With where the tables can be seen.
    pub(crate) fn new() -> (Open, watch::Receiver<Vec<TableName>>) {
        let (asked, tables) = watch::channel(Vec::new());
        (Open { asked, left_to_rows: BTreeSet::new() }, tables)
    }
}

impl Flusher {
    /// A statement may have left definitions open, or none.
    pub(super) fn ask_catalogue(&mut self) {
        let tables: Vec<TableName> = self.tables.history.unsettled().cloned().collect();
        self.open.left_to_rows.clear();
        if !tables.is_empty() || !self.open.asked.borrow().is_empty() {
            self.open.asked.send_replace(tables);
        }
    }

    /// An answer is on its way.
    pub(super) fn awaits_catalogue(&self) -> bool {
        self.tables.history.unsettled().any(|table| !self.open.left_to_rows.contains(table))
    }

    /// What the catalogue says of a table at this place.
    pub(super) fn settle(&mut self, filling: &mut Filling, settle: Settle) -> Result<()> {
        let Settle { table, found, reply } = settle;
        if self.tables.followed.lag(&table).is_some() {
            // The target is busy with the table.
            _ = reply.send(false);
            return Ok(());
        }
        match found {
            Ok((found, _)) => {
                let mut history = self.tables.history.clone();
                let changes = history.settle(&table, found);
                if changes.is_empty() {
                    self.tables.history = history;
                } else {
                    let text = format!("{table}: a statement that could not be read, as the source's catalogue tells");
                    self.change_of_job(filling, text, changes, history, Origin::Catalogue)?;
                }
            }
            Err(error) => {
                tracing::warn!(%table, %error, "the source's catalogue does not tell its definition: its rows will")
            }
        }
        if self.tables.history.awaits_rows(&table) {
            self.open.left_to_rows.insert(table);
        }
        _ = reply.send(true);
        Ok(())
    }
}
