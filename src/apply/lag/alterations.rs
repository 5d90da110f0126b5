//! The committer's part: ALTERs that the target works on, and the rows that have waited for them.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel as channel;
use tokio::task::{JoinError, JoinHandle};

use super::{Altered, GRACE};
use crate::apply::batch::Batch;
use crate::apply::change::{Followed, shortened};
use crate::apply::commit::{Committer, encode, name};
use crate::apply::join::swap::patiently;
use crate::apply::row_hash::EpochOf;
use crate::mysql::position::Position;
use crate::schema::{TableName, TargetTable};
use crate::state::{Asked, Checkpoint, Lag, LoadName, ParkedChanges, PreparedChanges, WaitsFor, now_micros};
use crate::target::{Load, Target};
use crate::{Error, Result, step};

/// ALTERs on their way, each by its lag's number. They end with this.
pub struct Alterations {
    ends: channel::Sender<Altered>,
    running: HashMap<u64, Running<()>>,
}

/// A task that ends with what holds it.
pub(in crate::apply) struct Running<R>(JoinHandle<R>);

impl<R> Drop for Running<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Alterations {
    pub(crate) fn new(ends: channel::Sender<Altered>) -> Alterations {
        Alterations { ends, running: HashMap::new() }
    }

    /// Those of tables that do not lag any more are of no interest.
    pub(in crate::apply) fn keep(&mut self, followed: &Followed) {
        self.running.retain(|number, _| followed.lags().any(|(_, lag)| lag.number == *number));
    }
}

/// Rows that were parked.
pub(crate) struct CatchUp {
    /// As the source calls it.
    pub(crate) table: TableName,
    pub(crate) of: WaitsFor,
    pub(crate) batch: Batch,
    /// Where the first of them stands.
    pub(crate) begin: Option<Position>,
    /// The last part of the state store that is in the batch, with all before it; `None`: there is none.
    pub(crate) part: Option<u64>,
    /// Behind the last one of a lag the table lags no more: gets the tables as they are then.
    pub(crate) last: Option<channel::Sender<Arc<Followed>>>,
}

impl<T: Target> Committer<T> {
    /// Has the target alter a table, again and again while the failure is a passing one.
    pub(in crate::apply) fn alter(
        &self,
        before: &TargetTable,
        after: &TargetTable,
        was: &[Option<usize>],
    ) -> Running<Result<()>> {
        let (target, patience) = (Arc::clone(&self.target), self.changer.patience());
        let (before, after, was) = (before.clone(), after.clone(), was.to_vec());
        Running(
            self.runtime.spawn(async move { patiently(patience, || target.alter_table(&before, &after, &was)).await }),
        )
    }

    /// Waits a moment for an ALTER; it is given back if it goes on.
    pub(in crate::apply) fn soon(&self, mut altering: Running<Result<()>>) -> Result<Option<Running<Result<()>>>> {
        let waited =
            async { tokio::time::timeout(GRACE, &mut altering.0).await.map_or(Ok(None), |done| ended(done).map(Some)) };
        let is_done = self.unless_leaving(waited)?.is_some();
        Ok(if is_done { None } else { Some(altering) })
    }

    /// The stream goes on; its flusher is told of the ALTER's end.
    pub(in crate::apply) fn goes_on(&mut self, table: &TableName, lag: &Lag, mut altering: Running<Result<()>>) {
        let (store, ends) = (Arc::clone(&self.store), self.changer.alterations.ends.clone());
        let (table, number) = (table.clone(), lag.number);
        let at = format!("{}:{}: {}", lag.since.file, lag.since.offset, shortened(&lag.statement));
        let target = lag.after.name.clone();
        let watching = async move {
            let result = ended((&mut altering.0).await).map_err(|error| hinted(error.context(at), &table));
            let result = result.and_then(|()| store.lag_is_altered(number));
            if result.is_ok() {
                step::reached("lag-altered");
                tracing::info!(table = %target, "the target has altered it");
            }
            // A flusher that is gone has ended by itself.
            let _ = ends.send(Altered { table, number, result });
        };
        let watching = Running(self.runtime.spawn(watching));
        self.changer.alterations.running.insert(number, watching);
    }

    /// Goes on with what an earlier run has left to the target.
    pub(in crate::apply) fn alter_again(&mut self) -> Result<()> {
        let followed = Arc::clone(self.changer.followed_now());
        let asked = self.store.asked_copies()?;
        for (table, lag) in followed.lags() {
            if self.store.is_lag_altered(lag.number)? {
                let altered = Altered { table: table.clone(), number: lag.number, result: Ok(()) };
                // A flusher that is gone has ended by itself.
                let _ = self.changer.alterations.ends.send(altered);
            } else if !asked.contains(&(table.clone(), Asked::Again)) {
                tracing::info!(table = %lag.after.name, "the target goes on altering it");
                let altering = self.alter(&lag.before, &lag.after, &lag.was);
                self.goes_on(table, lag, altering);
            }
        }
        self.show_changing();
        Ok(())
    }

    /// Since when the target works on a change.
    pub(in crate::apply) fn show_changing(&self) {
        self.progress.changing(self.changer.followed().lags().map(|(_, lag)| lag.begun).min());
    }

    /// Brings rows in that were parked. All before `at` is in, and the checkpoint stands there.
    pub(in crate::apply) fn catch_up(&mut self, at: &Position, rows: CatchUp) -> Result<()> {
        let CatchUp { table, of, mut batch, begin, part, last } = rows;
        let followed = Arc::clone(self.changer.followed_now());
        let waited = match &of {
            WaitsFor::Lag(_) => followed.lag(&table).map(|lag| (format!("l{}", lag.number), lag.since.clone())),
            WaitsFor::Copy(_) => {
                // Behind a copy that was begun anew the same rows may have the same numbers.
                let attempt = self.store.whole_copies_begun(&table)?;
                followed.join(&table).map(|join| (format!("p{}a{attempt}", join.number), at.clone()))
            }
        };
        let (epoch, since) = waited.ok_or_else(|| {
            Error::definite(format!("table {table}: it is to catch up and does not lag"))
                .hint("this is a fault of Towpath; please report it")
        })?;
        let context = |error: Error| error.context(format!("table {table}: its rows behind {since}"));
        let (read, held) = (batch.read(), batch.take_held());
        let mut tables = batch.into_tables();
        if let (Some(begin), Some(_)) = (&begin, part) {
            self.number(EpochOf { begin, is_piece: false, anew: false, part }, &mut tables).map_err(context)?;
        }
        let epoch = format!("{epoch}x{}", part.unwrap_or(0));
        let (mut loads, unwritable) =
            encode(&self.options, &epoch, &tables, self.letters.on_error()).map_err(context)?;
        drop(tables);
        self.corrections.note(&loads, |table| self.letters.key_columns(table))?;
        let mut changes = self.letters.prepare(&mut loads, unwritable).map_err(context)?;
        let names: Vec<LoadName> = loads.iter().flatten().map(name).collect();
        let mut sent: u64 = loads.iter().flatten().map(|load: &Load| load.rows).sum();
        if !names.is_empty() {
            self.store.open_more_loads(&names)?;
            step::reached("lag-load-named");
            let refused = self.send(loads).map_err(context)?;
            sent -= refused.new.len() as u64;
            changes.merge(refused);
            step::reached("lag-load-in");
        }
        drop(held);
        self.letters.complete(&mut changes, &since, at);
        let before = &self.checkpoint;
        self.checkpoint = Checkpoint {
            saved_at: now_micros(),
            read: before.read + read,
            loaded: before.loaded + sent,
            ..before.clone()
        };
        let next = last.as_ref().map(|_| Arc::new(followed.caught_up(&table)));
        let definitions = next.as_ref().map(|next| followed.changes(next));
        let parked = ParkedChanges { gone: part.map(|part| (of, part)), ..ParkedChanges::default() };
        let prepared = PreparedChanges::default();
        self.store.close_epoch_with(&self.checkpoint, &changes, &prepared, &parked, definitions.as_ref())?;
        self.letters.written(&changes)?;
        self.progress.committed(&self.checkpoint);
        let (Some(next), Some(reply)) = (next, last) else {
            step::reached("lag-part-in");
            return Ok(());
        };
        step::reached("lag-over");
        self.changer.now_follows(&next);
        self.changer.alterations.keep(&next);
        self.show_changing();
        tracing::info!(%table, "it has caught up");
        // A flusher that is gone has failed by itself.
        let _ = reply.send(next);
        Ok(())
    }
}

fn ended(ended: Result<Result<()>, JoinError>) -> Result<()> {
    ended.unwrap_or_else(|error| Err(Error::definite("altering a table has panicked").caused_by(error)))
}

fn hinted(error: Error, table: &TableName) -> Error {
    if error.is_transient() {
        return error;
    }
    error.or(format!(
        "have the table copied anew instead: `towpath recopy JOB {table}`, then start the job; the rows that wait for it are \
         kept until then"
    ))
}
