//! What waits while tables lag, and how they catch up ([`crate::apply::lag`]).

use crossbeam_channel as channel;

use super::{Filling, Flusher, committer_gone, cut_replay};
use crate::apply::batch::{Batch, MERGED_ROW_BYTES};
use crate::apply::join::Task;
use crate::apply::lag::{Altered, CatchUp};
use crate::mysql::binlog::{Slot, StoredRows, XaStep};
use crate::ring::Entry;
use crate::schema::{SchemaChange, TableName};
use crate::{Error, Result};

impl Flusher {
    /// Whether what was read has to wait until some table that lags has caught up.
    pub(super) fn has_to_wait(&self, filling: &Filling, entry: &Entry<Slot>) -> Result<bool> {
        let history = &self.tables.history;
        let too_large = |bytes: usize| filling.open_bytes + bytes >= self.limits.bytes / 2;
        Ok(match &entry.item {
            // It would go out in pieces, and nothing comes between those.
            Slot::Rows(event) => {
                history.awaits_rows(&event.table.name) || too_large(entry.held.bytes() + MERGED_ROW_BYTES)
            }
            Slot::Xa(_, step @ (XaStep::Commit(_) | XaStep::OnePhase)) => {
                let mut tables = self.tables.followed.mappings().map(|mapping| &mapping.source.name);
                tables.any(|table| history.awaits_rows(table)) || too_large(self.xa.weight(step))
            }
            Slot::Statement(statement) => match history.clone().read(statement) {
                Ok(changes) if statement.inside => !changes.is_empty(),
                Ok(changes) => changes.iter().any(|change| self.concerns_what_lags(change)),
                // It stops the job, whatever the target is doing.
                Err(_) => false,
            },
            _ => false,
        })
    }

    fn concerns_what_lags(&self, change: &SchemaChange) -> bool {
        change.tables().into_iter().any(|table| self.tables.followed.lag(table).is_some())
    }

    pub(super) fn hold(&mut self, filling: &mut Filling, entry: Entry<Slot>) -> Result<()> {
        // A replay that comes here has another order, or another limit, than the run that began it.
        if self.replay_until.take().is_some() && self.tables.row_hashes {
            return Err(cut_replay());
        }
        filling.held = Some(entry);
        Ok(())
    }

    /// Nothing more may be parked. A replay has room: it is as long as it was.
    pub(super) fn parks_too_much(&self) -> bool {
        self.tables.lag() && self.lagging.is_full() && self.replay_until.is_none()
    }

    /// Looks after the tables that the target has altered.
    pub(super) fn let_catch_up(&mut self, filling: &mut Filling) -> Result<()> {
        // Between two transactions, and not inside the epoch of an earlier run.
        while self.lagging.look() && !filling.in_transaction && self.replay_until.is_none() && !self.tables.is_inside()
        {
            let Some(Altered { table, number, result }) = self.lagging.ended.pop_front() else { return Ok(()) };
            // A copy may have taken its place.
            if self.tables.followed.lag(&table).is_some_and(|lag| lag.number == number) {
                self.close_before_change(filling)?;
                result?;
                self.catch_up(filling, &table, number)?;
                filling.held_again = filling.held.is_some();
            }
        }
        Ok(())
    }

    fn catch_up(&mut self, filling: &mut Filling, table: &TableName, number: u64) -> Result<()> {
        let damaged = || {
            Error::definite(format!("state store: the rows of {table} that wait for the target are damaged"))
                .hint(format!("`towpath recopy JOB {table}`, then start the job: the table is copied anew"))
        };
        let (reply, followed) = channel::bounded(1);
        let (mut batch, mut part, mut stored) = (Batch::default(), None, StoredRows::default());
        loop {
            let next = self.lagging.store.parked_rows(number, part)?;
            let last = next.is_none().then(|| reply.clone());
            if let Some((read, rows)) = next {
                stored.add(&rows);
                part = Some(read);
                while let Some(event) = stored.next_event().map_err(|_| damaged())? {
                    // Nothing of the budget may be free, and nothing becomes so before this row is in.
                    let held = self.lagging.budget.hold_at_once(event.images.len());
                    let known = self.tables.of(&event)?.ok_or_else(damaged)?;
                    batch.add(&known.mapping, &known.plan, &event, held)?;
                }
                if !stored.is_empty() {
                    return Err(damaged());
                }
                if batch.bytes() < self.limits.bytes / 2 {
                    continue;
                }
            }
            let is_last = last.is_some();
            let batch = std::mem::take(&mut batch);
            self.task(filling, Task::CatchUp(CatchUp { table: table.clone(), batch, part, last }))?;
            if is_last {
                break;
            }
        }
        self.tables.follow(followed.recv().map_err(|_| committer_gone())?);
        self.lagging.left()
    }
}
