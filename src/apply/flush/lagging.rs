//! What waits while tables lag, and how they catch up ([`crate::apply::lag`]).

use std::sync::Arc;

use crossbeam_channel as channel;

use super::{Filling, Flusher, committer_gone, cut_replay};
use crate::apply::batch::{Batch, MERGED_ROW_BYTES};
use crate::apply::change::Followed;
use crate::apply::join::Task;
use crate::apply::lag::{Altered, CatchUp};
use crate::mysql::binlog::{Slot, StoredRows, XaStep};
use crate::mysql::position::{Gtid, Position};
use crate::ring::Entry;
use crate::schema::{SchemaChange, TableName};
use crate::state::WaitsFor;
use crate::{Error, Result};

impl Flusher {
    /// Rows of some table wait.
    pub(super) fn parks(&self) -> bool {
        self.tables.lag() || self.tables.pictures().len() > 0
    }

    /// Whether what was read has to wait until some table that lags has caught up, or some copy is whole.
    pub(super) fn has_to_wait(&self, filling: &Filling, entry: &Entry<Slot>) -> Result<bool> {
        let (history, lag) = (&self.tables.history, self.tables.lag());
        // It would go out in pieces, and nothing comes between those.
        let too_large = |bytes: usize| filling.open_bytes + bytes >= self.limits.bytes / 2;
        Ok(match &entry.item {
            Slot::Rows(event) => {
                let large = too_large(entry.held.bytes() + MERGED_ROW_BYTES);
                lag && (large || history.awaits_rows(&event.table.name))
                    || large && self.lies_behind_a_picture(event.gtid.as_ref(), (&event.file, event.offset))?
            }
            Slot::Xa(place, step @ (XaStep::Commit(_) | XaStep::OnePhase)) => {
                let mut tables = self.tables.followed.mappings().map(|mapping| &mapping.source.name);
                let large = too_large(self.xa.weight(step));
                let within = (&*place.file, place.offset.saturating_sub(1));
                lag && (large || tables.any(|table| history.awaits_rows(table)))
                    || large && self.lies_behind_a_picture(place.gtid.as_ref(), within)?
            }
            Slot::Statement(statement) if lag => match history.clone().read(statement) {
                Ok(changes) if statement.inside => !changes.is_empty(),
                Ok(changes) => changes.iter().any(|change| self.concerns_what_lags(change)),
                // It stops the job, whatever the target is doing.
                Err(_) => false,
            },
            _ => false,
        })
    }

    /// Whether a transaction may have rows that have to be parked behind a copy. One that the copies show waits for none of
    /// them: they would wait for it.
    fn lies_behind_a_picture(&self, gtid: Option<&Gtid>, at: (&str, u64)) -> Result<bool> {
        for table in self.tables.pictures() {
            if self.copied_at.lacks(table, gtid, at)? {
                return Ok(true);
            }
        }
        Ok(false)
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
        let is_full = self.tables.lag() && self.lagging.is_full()
            || self.tables.pictures().len() > 0 && self.lagging.copies_are_full();
        is_full && self.replay_until.is_none()
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
        let (reply, followed) = channel::bounded(1);
        self.send_parked(filling, table, &WaitsFor::Lag(number), Some(&reply))?;
        self.tables.follow(followed.recv().map_err(|_| committer_gone())?);
        self.lagging.left()
    }

    /// Brings the rows in that are parked, in as many loads as memory wants; `last` goes with the last of them. All that was
    /// read before is in.
    pub(super) fn send_parked(
        &mut self,
        filling: &mut Filling,
        table: &TableName,
        of: &WaitsFor,
        last: Option<&channel::Sender<Arc<Followed>>>,
    ) -> Result<()> {
        let damaged = || {
            Error::definite(format!("state store: the rows of {table} that wait for the target are damaged"))
                .hint(format!("`towpath recopy JOB {table}`, then start the job: the table is copied anew"))
        };
        let numbering = self.lagging.store.numbering(table)?;
        let (mut batch, mut begin, mut part, mut stored) = (Batch::default(), None, None, StoredRows::default());
        loop {
            let next = self.lagging.store.parked_rows(of, part)?;
            let last = last.filter(|_| next.is_none()).cloned();
            if let Some((read, rows)) = next {
                stored.add(&rows);
                part = Some(read);
                while let Some(event) = stored.next_event().map_err(|_| damaged())? {
                    // Nothing of the budget may be free, and nothing becomes so before this row is in.
                    let held = self.lagging.budget.hold_at_once(event.images.len());
                    let known = self.tables.of(&event)?.ok_or_else(damaged)?;
                    batch.add(&known.mapping, &known.plan, &event, held)?;
                    let at = || Position { file: event.file.to_string(), offset: event.offset, gtids: None };
                    begin.get_or_insert_with(at);
                }
                if !stored.is_empty() {
                    return Err(damaged());
                }
                // Rows without a key were numbered together up to `end` by an earlier run: so they are sent again, whatever room
                // there is now.
                let goes_on = match numbering.part {
                    Some(end) if numbering.begin == begin && read <= end => read < end,
                    _ => batch.bytes() < self.limits.bytes / 2,
                };
                if goes_on {
                    continue;
                }
            }
            let is_last = begin.is_none() || last.is_some();
            if begin.is_some() || last.is_some() {
                let (table, of, batch, begin) = (table.clone(), of.clone(), std::mem::take(&mut batch), begin.take());
                self.task(filling, Task::CatchUp(CatchUp { table, of, batch, begin, part, last }))?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
