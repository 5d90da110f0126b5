//! What the flusher does for tables without a key that are being copied ([`crate::apply::join`]): their copy shows them as
//! they were at one place, a *picture*, and their rows behind it are parked.

use crossbeam_channel as channel;
use tokio::sync::oneshot;

use super::{Filling, Flusher, committer_gone};
use crate::apply::join::{Errand, PartRead, Stands, Still, Task, Watched, Watching, Whole};
use crate::schema::TableName;
use crate::{Result, step};

impl Flusher {
    /// Whether the errand is done although a transaction is being read. One that is too large for memory waits for the copy
    /// to be whole, so nothing that makes it whole may wait for the transaction. Its rows go where the table's rows go when it
    /// is read to its end.
    pub(super) fn cannot_wait(&self, errand: &Errand) -> bool {
        let is_row_hash = |table| self.tables.followed.mapping(table).is_some_and(|mapping| mapping.is_row_hash());
        match errand {
            Errand::Anew { .. } | Errand::Part(_) | Errand::Whole(_) => true,
            Errand::Watch { table, .. } => is_row_hash(table),
            Errand::Finish(finish) => is_row_hash(&finish.table),
            Errand::Pass { .. }
            | Errand::Load(_)
            | Errand::Begin(_)
            | Errand::Still(_)
            | Errand::Settle(_)
            | Errand::Fail(_) => false,
        }
    }

    /// The copy's table is emptied, and what was parked is forgotten. The table's rows are left out until there is a picture,
    /// which will be of a place behind them.
    pub(super) fn copy_anew(
        &mut self,
        filling: &mut Filling,
        table: &TableName,
        reply: oneshot::Sender<Watching>,
    ) -> Result<()> {
        let followed = &self.tables.followed;
        let (Some(join), Some(mapping)) = (followed.join(table), followed.mapping(table).cloned()) else {
            _ = reply.send(Watching::Gone);
            return Ok(());
        };
        let (number, new) = (join.number, join.new);
        let undecided = if new { self.errands.undecided(&self.xa) } else { 0 };
        if undecided > 0 {
            _ = reply.send(Watching::Waits(undecided));
            return Ok(());
        }
        self.tables.stop_parking(table);
        self.copied_at.forget(table);
        let (to, begun) = channel::bounded(1);
        self.beside(filling, Task::Anew(table.clone(), to))?;
        let attempt = begun.recv().map_err(|_| committer_gone())?;
        self.lagging.forget_copy(table);
        self.lagging.left()?;
        filling.held_again = filling.held.is_some();
        let at = filling.position.clone();
        _ = reply.send(Watching::Begun(Watched { at, mapping, number, attempt }));
        Ok(())
    }

    /// Reads nothing until the place of the picture is told. It is not before this one, so rows that were left out until now
    /// are in the picture; of those that come, the place tells which.
    pub(super) fn stand_still(&mut self, filling: &Filling, still: Still) {
        let Still { table, number, reply } = still;
        if !self.has_copy(&table, number) {
            _ = reply.send(None);
            return;
        }
        let (tell, told) = channel::bounded(1);
        _ = reply.send(Some(Stands { at: filling.position.clone(), tell }));
        if let Some(place) = self.await_rows(&told) {
            self.copied_at.set(table.clone(), place);
            self.tables.begin_parking(table, number);
            step::reached("copy-placed");
        }
    }

    pub(super) fn part(&self, filling: &mut Filling, part: PartRead) -> Result<()> {
        let PartRead { rows, reply } = part;
        let goes_in = self.tables.has_picture(&rows.mapping.source.name, rows.number);
        if goes_in {
            self.beside(filling, Task::Part(rows))?;
        }
        _ = reply.send(goes_in);
        Ok(())
    }

    pub(super) fn whole(&self, filling: &mut Filling, whole: Whole) -> Result<()> {
        let Whole { table, number, at, rows, reply } = whole;
        let goes_on = self.tables.has_picture(&table, number);
        if goes_on {
            self.beside(filling, Task::Whole { table, at, rows })?;
        }
        _ = reply.send(goes_on);
        Ok(())
    }

    /// Has the committer do something that does not concern the epoch that is being filled, which closes when it would.
    fn beside(&self, filling: &mut Filling, task: Task) -> Result<()> {
        self.wait_for_flight(filling)?;
        let closed_at = filling.closed_at;
        self.task(filling, task)?;
        filling.closed_at = closed_at;
        Ok(())
    }
}
