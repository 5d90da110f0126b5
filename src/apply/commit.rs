//! The committer: brings one epoch at a time into the target and moves the checkpoint.
//!
//! 1. Encode every table's rows; that gives the loads and their labels.
//! 2. Write the intent with the labels.
//! 3. Send the loads, tables side by side, the parts of one table in turn. `Target::load` returns when a
//!    load's fate is known, so after this step no load of the epoch is under way.
//! 4. Write the checkpoint and drop the intent, in one transaction.
//!
//! A crash between 2 and 4 leaves the intent. [`settle`] then asks the target for each label until its fate
//! is decided; only after that may rows be sent again, else a late load could write old values over new ones.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel as channel;
use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::batch::TableBatch;
use super::encode::{BinaryText, Encoder, Part};
use super::flush::Epoch;
use super::label::{Content, load_label};
use crate::metrics::{LoadResult, Phase};
use crate::progress::Progress;
use crate::schema::TargetTable;
use crate::state::{Checkpoint, Intent, LoadName, Store, now_micros};
use crate::target::{LabelState, Load, Loaded, Target};
use crate::{Error, Result};

/// How rows become loads.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub job: String,
    pub binary: BinaryText,
    /// A body is cut when it reaches this size.
    pub part_bytes: usize,
    /// Loads on their way at once.
    pub parallel: usize,
}

impl LoadOptions {
    /// Makes a load of one part. `epoch` tells this epoch's (or chunk's) loads from all others of the job.
    pub fn load(&self, epoch: &str, table: &TargetTable, encoder: &Encoder, number: usize, part: Part) -> Load {
        let columns = encoder.columns(&part);
        let content = Content { columns, format: part.format, body: &part.body };
        Load {
            label: load_label(&self.job, epoch, &table.name, number, &content),
            table: table.name.clone(),
            columns: columns.to_vec(),
            partial: part.is_partial(),
            format: part.format,
            body: part.body,
            rows: part.rows,
        }
    }
}

pub struct Committer<T> {
    pub target: Arc<T>,
    pub store: Arc<Store>,
    pub options: LoadOptions,
    pub progress: Arc<Progress>,
    pub runtime: Handle,
    /// When cancelled, loads that are on their way are left to their intent.
    pub leave: CancellationToken,
    /// The last checkpoint.
    pub checkpoint: Checkpoint,
}

impl<T: Target> Committer<T> {
    /// Takes epochs until the sender is gone. Blocks its thread.
    pub fn run(mut self, epochs: &channel::Receiver<Epoch>, done: &channel::Sender<()>) -> Result<()> {
        for epoch in epochs {
            self.commit(epoch)?;
            if done.send(()).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let number = self.checkpoint.epoch + 1;
        let Epoch { begin, end, committed_at, mut batch } = epoch;
        let read = batch.read();
        // The bodies take the events' place in memory, so they keep the events' share of the budget.
        let held = batch.take_held();
        let tables: Vec<TableBatch> = batch.into_tables();
        let metrics = self.progress.metrics();
        let loads = metrics.timed(Phase::Encode, || encode(&self.options, number, &tables))?;
        drop(tables);
        let mut rows = 0;
        if !loads.is_empty() {
            let names: Vec<LoadName> = loads.iter().flatten().map(name).collect();
            rows = loads.iter().flatten().map(|load| load.rows).sum();
            let intent = Intent { epoch: number, begin, end: end.clone() };
            metrics.timed(Phase::Intent, || self.store.open_epoch(&intent, &names))?;
            metrics.timed(Phase::Send, || self.send(loads))?;
        }
        drop(held);
        let last = &self.checkpoint;
        self.checkpoint = Checkpoint {
            epoch: number,
            position: end,
            committed_at: if committed_at == 0 { last.committed_at } else { committed_at },
            saved_at: now_micros(),
            read: last.read + read,
            loaded: last.loaded + rows,
        };
        self.progress.metrics().timed(Phase::Checkpoint, || self.store.close_epoch(&self.checkpoint))?;
        self.progress.committed(&self.checkpoint);
        Ok(())
    }

    /// Sends all loads and waits for every one of them, also when one has failed.
    fn send(&self, loads: Vec<Vec<Load>>) -> Result<()> {
        let sending = stream::iter(loads)
            .map(|table| async move {
                for load in &table {
                    observed(self.target.as_ref(), load, &self.progress)
                        .await
                        .map_err(|error| error.context(&load.table))?;
                }
                Ok(())
            })
            .buffer_unordered(self.options.parallel.max(1))
            .fold(Ok(()), |all, one: Result<()>| async move { all.and(one) });
        self.runtime.block_on(async {
            tokio::select! {
                sent = sending => sent,
                () = self.leave.cancelled() => {
                    Err(Error::transient("stopped while loads were on their way")
                        .hint("their labels are kept; the next start finds out what became of them"))
                }
            }
        })
    }
}

/// Sends one load and counts it.
pub(crate) async fn observed<T: Target>(target: &T, load: &Load, progress: &Progress) -> Result<Loaded> {
    let began = Instant::now();
    let loaded = target.load(load).await;
    let (result, retries) = match &loaded {
        Ok(Loaded { already: true, retries }) => (LoadResult::AlreadyIn, *retries),
        Ok(Loaded { retries, .. }) => (LoadResult::Success, *retries),
        Err(_) => (LoadResult::Failed, 0),
    };
    progress.metrics().load(result, retries, load.body.len(), began.elapsed());
    loaded
}

fn name(load: &Load) -> LoadName {
    LoadName { database: load.table.database.clone(), label: load.label.clone() }
}

/// The loads of an epoch, by table. Tables are encoded side by side when there are several.
fn encode(options: &LoadOptions, epoch: u64, tables: &[TableBatch]) -> Result<Vec<Vec<Load>>> {
    let epoch = epoch.to_string();
    let one = |table: &TableBatch| -> Result<Vec<Load>> {
        let target = &table.mapping().target;
        let mut encoder = Encoder::new(target, options.binary, options.part_bytes);
        table.encode(&mut encoder)?;
        let parts = encoder.finish().into_iter().enumerate();
        Ok(parts.map(|(number, part)| options.load(&epoch, target, &encoder, number, part)).collect())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(options.parallel.max(1));
    if tables.len() < 2 || threads < 2 {
        return tables.iter().map(one).collect();
    }
    let share = tables.len().div_ceil(threads);
    thread::scope(|scope| {
        let workers: Vec<_> =
            tables.chunks(share).map(|share| scope.spawn(move || share.iter().map(one).collect())).collect();
        let mut loads = Vec::with_capacity(tables.len());
        for worker in workers {
            let share: Result<Vec<_>> =
                worker.join().unwrap_or_else(|_| Err(Error::definite("a thread that encoded rows has panicked")));
            loads.extend(share?);
        }
        Ok(loads)
    })
}

/// Waits until the target has decided about every load that an earlier run left open, then forgets them.
pub async fn settle<T: Target>(target: &T, store: &Store) -> Result<()> {
    let open = store.open_loads()?;
    for load in &open {
        let mut pause = Duration::from_millis(200);
        while target.label_state(&load.database, &load.label).await? == LabelState::Running {
            tracing::info!(label = load.label, "a load of the last run is still under way at the target; waiting");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }
    store.forget_loads(&open)
}

#[cfg(test)]
mod tests;
