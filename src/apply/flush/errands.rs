//! What the flusher does for tables that are being copied ([`crate::apply::join`]), between two transactions.

use crossbeam_channel as channel;
use tokio::sync::oneshot;

use super::{Epoch, Filling, Flusher, committer_gone};
use crate::Result;
use crate::apply::change::Origin;
use crate::apply::join::{Begin, Begun, Copied, Errand, Finish, Left, Loaded, Loading, Task, Watch, Watched, Watching};
use crate::mysql::binlog::{Place, Statement};
use crate::mysql::history::History;
use crate::schema::{SchemaChange, TableName};
use crate::state::WaitsFor;

impl Flusher {
    /// Does what is due.
    pub(super) fn errands(&mut self, filling: &mut Filling, first: Option<Errand>) -> Result<()> {
        self.errands.take_up(first);
        // Between two transactions, and not inside the epoch of an earlier run.
        while !filling.in_transaction
            && filling.torn.is_none()
            && self.replay_until.is_none()
            && !self.tables.is_inside()
            && (filling.open.is_empty() || self.errands.next().is_some_and(|errand| self.cannot_wait(errand)))
        {
            let is_due =
                self.errands.until().is_none_or(|until| until.is_none_or(|until| self.has_passed(filling, until)));
            let Some(errand) = (if is_due { self.errands.take() } else { None }) else { return Ok(()) };
            match errand {
                Errand::Watch { table, reply } => self.watch(filling, &table, reply),
                Errand::Pass { table, number, reply, .. } => _ = reply.send(self.has_copy(&table, number)),
                Errand::Load(loading) => self.load(filling, loading)?,
                Errand::Begin(begin) => self.begin(filling, begin)?,
                Errand::Finish(finish) => self.end_copy(filling, finish)?,
                Errand::Settle(settle) => self.settle(filling, settle)?,
                Errand::Anew { table, reply } => self.copy_anew(filling, &table, reply)?,
                Errand::Still(still) => self.stand_still(filling, still),
                Errand::Part(part) => self.part(filling, part)?,
                Errand::Whole(whole) => self.whole(filling, whole)?,
                Errand::Fail(error) => {
                    self.close_before_change(filling)?;
                    return Err(error);
                }
            }
            self.errands.take_up(None);
        }
        Ok(())
    }

    pub(super) fn has_copy(&self, table: &TableName, number: u64) -> bool {
        self.tables.followed.join(table).is_some_and(|join| join.number == number)
    }

    fn watch(&mut self, filling: &Filling, table: &TableName, reply: oneshot::Sender<Watching>) {
        let followed = &self.tables.followed;
        let (Some(join), Some(mapping)) = (followed.join(table), followed.mapping(table)) else {
            _ = reply.send(Watching::Gone);
            return;
        };
        let undecided = if join.new { self.errands.undecided(&self.xa) } else { 0 };
        if undecided > 0 {
            _ = reply.send(Watching::Waits(undecided));
            return;
        }
        let (at, mapping, number) = (filling.position.clone(), mapping.clone(), join.number);
        self.errands.watch = (!mapping.is_row_hash()).then(|| Watch::new(table.clone()));
        let watched = Watched { at, mapping, number, attempt: 0 };
        _ = reply.send(Watching::Begun(watched));
    }

    fn load(&mut self, filling: &mut Filling, loading: Loading) -> Result<()> {
        let Loading { number, chunk, held, reply, .. } = loading;
        let watch = self.errands.watch.take();
        let mapping = self.tables.followed.mapping(&chunk.table).cloned();
        let (Some(mapping), true) = (mapping, self.has_copy(&chunk.table, number)) else {
            _ = reply.send(Loaded::Gone);
            return Ok(());
        };
        let left = watch.map_or(Left::Unknown, Watch::end);
        if matches!(left, Left::Unknown) {
            _ = reply.send(Loaded::Again);
            return Ok(());
        }
        self.close_before_change(filling)?;
        let (rows, reply) = match left {
            Left::Rows(rows) => (rows, reply),
            // The stream stands still until the copier has read it again.
            Left::InPart | Left::Unknown => {
                let (to, rows) = channel::bounded(1);
                let (answer, answered) = oneshot::channel();
                _ = reply.send(Loaded::InPart(to, answered));
                let Some(rows) = self.await_rows(&rows) else { return Ok(()) };
                (rows, answer)
            }
        };
        self.task(filling, Task::Load(Copied { mapping, number, chunk, rows, held }))?;
        _ = reply.send(Loaded::Done);
        Ok(())
    }

    /// `None`: the copier does not bring any, or the job is to stop.
    pub(super) fn await_rows<R>(&self, rows: &channel::Receiver<R>) -> Option<R> {
        loop {
            match rows.recv_timeout(super::LOOK) {
                Ok(rows) => return Some(rows),
                Err(channel::RecvTimeoutError::Disconnected) => return None,
                Err(channel::RecvTimeoutError::Timeout) if self.stop.is_cancelled() => return None,
                Err(channel::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn begin(&mut self, filling: &mut Filling, begin: Begin) -> Result<()> {
        let Begin { table, new, reason, reply } = begin;
        let mut history = self.tables.history.clone();
        let known = self.tables.followed.mapping(&table).map(|mapping| mapping.source.clone());
        let change = match (known, new) {
            (Some(_), Some(_)) => {
                _ = reply.send(Begun::NotNeeded);
                return Ok(());
            }
            (Some(source), None) => SchemaChange::Refill { table: source.into(), reason: reason.clone() },
            (None, Some((source, _))) => {
                self.errands.wait_for_prepared(&self.xa);
                history.arrive(source.clone());
                SchemaChange::Arrive(source)
            }
            (None, None) => {
                _ = reply.send(Begun::Unknown);
                return Ok(());
            }
        };
        self.change_of_job(filling, reason, vec![change], history, Origin::Asked)?;
        _ = reply.send(Begun::Yes);
        Ok(())
    }

    /// A change that no statement of the log tells, at the place that has been read.
    pub(super) fn change_of_job(
        &mut self,
        filling: &mut Filling,
        text: String,
        changes: Vec<SchemaChange>,
        history: History,
        origin: Origin,
    ) -> Result<()> {
        self.close_before_change(filling)?;
        let position = &filling.position;
        let place = Place {
            file: position.file.as_str().into(),
            offset: position.offset,
            gtid: None,
            committed_at: filling.committed_at,
        };
        let heard = filling.heard;
        self.change(filling, Statement::of_job(place, text), changes, history, origin)?;
        // A table that lagged may be copied instead.
        self.lagging.left()?;
        filling.held_again = filling.held.is_some();
        filling.heard = heard;
        Ok(())
    }

    fn end_copy(&mut self, filling: &mut Filling, finish: Finish) -> Result<()> {
        let Finish { table, number, reply, .. } = finish;
        if self.has_copy(&table, number) {
            let is_row_hash = self.tables.followed.mapping(&table).is_some_and(|mapping| mapping.is_row_hash());
            if is_row_hash && !self.tables.has_picture(&table, number) {
                _ = reply.send(false);
                return Ok(());
            }
            self.close_before_change(filling)?;
            if is_row_hash {
                self.send_parked(filling, &table, &WaitsFor::Copy(table.clone()), None)?;
            }
            let (to, followed) = channel::bounded(1);
            self.task(filling, Task::Finish(table, to))?;
            self.tables.follow(followed.recv().map_err(|_| committer_gone())?);
            self.lagging.left()?;
            filling.held_again = filling.held.is_some();
        }
        _ = reply.send(true);
        Ok(())
    }

    /// Has the committer do something by itself. All before it is in.
    pub(super) fn task(&self, filling: &mut Filling, task: Task) -> Result<()> {
        let here = &filling.position;
        let epoch = Epoch { task: Some(task), ..Epoch::between(here.clone(), here.clone()) };
        self.hand_over(filling, epoch)?;
        self.wait_for_flight(filling)
    }
}
