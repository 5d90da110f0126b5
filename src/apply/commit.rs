//! The committer: brings one epoch at a time into the target and moves the checkpoint.
//!
//! 1. Number the rows of tables without a key ([`super::row_hash`]); encode every table's rows; that gives the loads
//!    and their labels.
//! 2. Write the intent with the labels.
//! 3. Send the loads, tables side by side, the parts of one table in turn. `Target::load` returns when a
//!    load's fate is known, so after this step no load of the epoch is under way.
//! 4. Write the checkpoint and drop the intent, in one transaction, with what became of refused rows
//!    ([`super::dead_letter`]).
//!
//! A statement that changes tables is brought in by [`super::change`], as an epoch of its own.
//!
//! A crash between 2 and 4 leaves the intent. [`settle`] then asks the target for each label until its fate
//! is decided; only after that may rows be sent again, else a late load could write old values over new ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel as channel;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::TableBatch;
use super::change::Changer;
use super::correction::{Correction, Corrections, Done};
use super::dead_letter::DeadLetters;
use super::encode::{BinaryText, Encoder, Part};
use super::flush::Epoch;
use super::label::{Content, is_transaction, load_label};
use super::pace::Pace;
use super::row_hash::{EpochOf, Numbers};
use super::together;
use crate::config::OnError;
use crate::metrics::{LoadResult, Phase};
use crate::progress::Progress;
use crate::ring::Held;
use crate::schema::{TableName, TargetTable};
use crate::state::{Checkpoint, Intent, LetterChanges, LoadName, NewLetter, RowCounts, Store, now_micros};
use crate::target::{LabelState, Load, Loaded, RefusedRows, Target};
use crate::{Error, Result, step};

/// How rows become loads.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub job: String,
    pub binary: BinaryText,
    /// A body is cut when it reaches this size.
    pub part_bytes: usize,
    /// Loads on their way at once.
    pub parallel: usize,
    /// An epoch becomes visible whole (`atomicTransactions`).
    pub together: bool,
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
    pub pace: Arc<Pace>,
    pub runtime: Handle,
    /// When cancelled, loads that are on their way are left to their intent.
    pub leave: CancellationToken,
    pub letters: Arc<DeadLetters>,
    pub corrections: Corrections,
    /// The last checkpoint.
    pub checkpoint: Checkpoint,
    /// What went out in pieces since.
    pub pieces: Pieces,
    pub changer: Changer,
    pub numbers: Numbers,
}

/// Rows of a transaction whose end is not in yet. The checkpoint stays before them and counts them with its next
/// move: after a crash they come again.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pieces {
    read: RowCounts,
    loaded: u64,
}

/// How often it looks for letters and corrections while no epoch comes.
const LOOK: Duration = Duration::from_secs(1);

impl<T: Target> Committer<T> {
    /// Takes epochs until the sender is gone. Blocks its thread.
    pub fn run(mut self, epochs: &channel::Receiver<Epoch>, done: &channel::Sender<()>) -> Result<()> {
        self.alter_again()?;
        self.between_epochs()?;
        while let Some(epoch) = self.next(epochs)? {
            self.commit(epoch)?;
            if done.send(()).is_err() {
                break;
            }
            step::reached("epoch-in");
            self.between_epochs()?;
        }
        Ok(())
    }

    /// `None`: the sender is gone.
    fn next(&self, epochs: &channel::Receiver<Epoch>) -> Result<Option<Epoch>> {
        loop {
            match epochs.recv_timeout(LOOK) {
                Ok(epoch) => return Ok(Some(epoch)),
                Err(channel::RecvTimeoutError::Timeout) => self.between_epochs()?,
                Err(channel::RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// What goes out in order with the stream and is not of it.
    fn between_epochs(&self) -> Result<()> {
        if self.letters.any() {
            self.unless_leaving(self.letters.take_up(self.target.as_ref(), &self.options, &self.progress))?;
        }
        let lags = |table: &TableName| self.changer.followed().lags().any(|(_, lag)| lag.after.name == *table);
        for correction in self.corrections.due(&self.checkpoint.position, lags) {
            self.correct(correction)?;
        }
        Ok(())
    }

    fn correct(&self, mut correction: Correction) -> Result<()> {
        let mut done = Done { overtaken: correction.drop_overtaken()?, ..Done::default() };
        for (number, load) in correction.loads.iter_mut().enumerate() {
            let content = Content { columns: &load.columns, format: load.format, body: &load.body };
            // The same rows may have to be sent again some day, so the label is of this moment.
            load.label = load_label(&self.options.job, &format!("c{}", now_micros()), &load.table, number, &content);
            let name = name(load);
            self.store.open_load(&name)?;
            let sent = self.unless_leaving(self.letters.send(self.target.as_ref(), load, &self.progress));
            let changes = match sent {
                Err(error) if error.cause::<RefusedRows>().is_some() => {
                    done.refused = Some(error.to_string());
                    LetterChanges::default()
                }
                sent => {
                    done.sent += load.rows;
                    sent?
                }
            };
            self.letters.record(&[name], changes, &self.checkpoint.position)?;
        }
        correction.finish(done);
        Ok(())
    }

    pub(super) fn commit(&mut self, mut epoch: Epoch) -> Result<()> {
        if let Some(change) = epoch.change.take() {
            return self.change(epoch, change);
        }
        if let Some(task) = epoch.task.take() {
            return self.task(&epoch.end, task);
        }
        let began = Instant::now();
        let number = self.checkpoint.epoch + 1;
        let Epoch { begin, end, committed_at, mut batch, anew, prepared, parked, change: _, history, task: _ } = epoch;
        if anew {
            self.pieces = Pieces::default();
            self.changer.forget_pending();
        }
        if self.options.together && begin == end && !batch.is_empty() {
            return Err(together::too_large(&begin, batch.bytes()));
        }
        let read = batch.read();
        let mut held = batch.take_held();
        let mut tables: Vec<TableBatch> = batch.into_tables();
        self.number(EpochOf { begin: &begin, is_piece: begin == end, anew, part: None }, &mut tables)?;
        let metrics = self.progress.metrics();
        let on_error = self.letters.on_error();
        let encoded = metrics.timed(Phase::Encode, || encode(&self.options, &number.to_string(), &tables, on_error));
        let at = |error: Error| error.context(format!("in the log between {begin} and {end}"));
        let (mut loads, unwritable) = encoded.map_err(at)?;
        drop(tables);
        keep_for_bodies(&mut held, &loads);
        self.corrections.note(&loads, |table| self.letters.key_columns(table))?;
        step::reached("epoch-encoded");
        let mut changes = self.letters.prepare(&mut loads, unwritable).map_err(at)?;
        let is_piece = begin == end;
        let mut rows = 0;
        if !loads.is_empty() {
            rows = loads.iter().flatten().map(|load| load.rows).sum();
            let intent = Intent { epoch: number, begin: begin.clone(), end: end.clone() };
            if self.options.together {
                metrics.timed(Phase::Send, || self.send_together(&intent, loads)).map_err(at)?;
            } else {
                let names: Vec<LoadName> = loads.iter().flatten().map(name).collect();
                metrics.timed(Phase::Intent, || self.store.open_epoch(&intent, &names))?;
                step::reached("intent-written");
                let refused = metrics.timed(Phase::Send, || self.send(loads)).map_err(at)?;
                rows -= refused.new.len() as u64;
                changes.merge(refused);
            }
            step::reached("loads-in");
        }
        drop(held);
        self.letters.complete(&mut changes, &begin, &end);
        let last = &self.checkpoint;
        let gone = Pieces { read: self.pieces.read + read, loaded: self.pieces.loaded + rows };
        let counted = if is_piece { Pieces::default() } else { gone };
        self.pieces = if is_piece { gone } else { Pieces::default() };
        self.checkpoint = Checkpoint {
            epoch: number,
            position: end,
            committed_at: if committed_at == 0 { last.committed_at } else { committed_at },
            saved_at: now_micros(),
            read: last.read + counted.read,
            loaded: last.loaded + counted.loaded,
        };
        let metrics = self.progress.metrics();
        let definitions = if is_piece { None } else { self.changer.take_pending(history) };
        metrics.timed(Phase::Checkpoint, || {
            self.store.close_epoch_with(&self.checkpoint, &changes, &prepared, &parked.changes, definitions.as_ref())
        })?;
        parked.written();
        step::reached("checkpoint-written");
        self.letters.written(&changes)?;
        if definitions.is_some_and(|changes| changes.ends_change) {
            self.letters.follow(self.changer.followed().mappings())?;
        }
        if rows > 0 {
            let (file, offset) = (&self.checkpoint.position.file, self.checkpoint.position.offset);
            let ms = began.elapsed().as_millis() as u64;
            tracing::info!(epoch = number, position = %format_args!("{file}:{offset}"), rows, ms, "epoch is in");
        }
        // Shown at once, recorded with the end.
        self.progress.committed(&Checkpoint {
            read: self.checkpoint.read + self.pieces.read,
            loaded: self.checkpoint.loaded + self.pieces.loaded,
            ..self.checkpoint.clone()
        });
        self.pace.epoch_is_in(self.target.pressure(), &self.store, &self.progress)
    }

    pub(super) fn number(&mut self, epoch: EpochOf<'_>, tables: &mut [TableBatch]) -> Result<()> {
        let mut numbers = std::mem::take(&mut self.numbers);
        self.unless_leaving(numbers.number(&self.store, self.target.as_ref(), &self.letters, epoch, tables))?;
        self.numbers = numbers;
        Ok(())
    }

    /// Sends all loads and waits for every one of them, also when one has failed. Returns what became of refused rows.
    ///
    /// Tasks of the runtime send them, each a table after the other, and not this thread: a load has several waits, and each
    /// would wake a thread on its way here and back.
    pub(super) fn send(&self, loads: Vec<Vec<Load>>) -> Result<LetterChanges> {
        let senders = self.options.parallel.max(1).min(loads.len());
        let tables = Arc::new(Mutex::new(loads.into_iter()));
        let next = move || tables.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.unless_leaving(async {
            let mut sending = JoinSet::new();
            for _ in 0..senders {
                let (target, letters, progress) =
                    (Arc::clone(&self.target), Arc::clone(&self.letters), Arc::clone(&self.progress));
                let next = next.clone();
                sending.spawn(async move {
                    let mut all = Ok(LetterChanges::default());
                    while let Some(table) = next() {
                        all = both(all, send_table(&table, target.as_ref(), &letters, &progress).await);
                    }
                    all
                });
            }
            let mut all = Ok(LetterChanges::default());
            while let Some(sent) = sending.join_next().await {
                let panicked = |error| Error::definite("a task that sends loads has panicked").caused_by(error);
                all = both(all, sent.map_err(panicked).flatten());
            }
            all
        })
    }

    pub(super) fn unless_leaving<R>(&self, sending: impl Future<Output = Result<R>>) -> Result<R> {
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

/// Sends the loads of a table one after the other.
async fn send_table<T: Target>(
    table: &[Load],
    target: &T,
    letters: &DeadLetters,
    progress: &Progress,
) -> Result<LetterChanges> {
    let mut changes = LetterChanges::default();
    for load in table {
        changes.merge(letters.send(target, load, progress).await?);
    }
    Ok(changes)
}

fn both(all: Result<LetterChanges>, one: Result<LetterChanges>) -> Result<LetterChanges> {
    let mut all = all?;
    all.merge(one?);
    Ok(all)
}

/// Sends one load and counts it.
pub(crate) async fn observed<T: Target>(target: &T, load: &Load, progress: &Progress) -> Result<Loaded> {
    let began = Instant::now();
    let loaded = target.load(load).await;
    note(progress, &loaded, load.body.len(), began);
    loaded
}

/// Counts what was sent at once: a load, or all loads of a transaction.
pub(super) fn note(progress: &Progress, loaded: &Result<Loaded>, bytes: usize, began: Instant) {
    let result = match loaded {
        Ok(Loaded { already: true, .. }) => LoadResult::AlreadyIn,
        Ok(_) => LoadResult::Success,
        Err(_) => LoadResult::Failed,
    };
    progress.metrics().load(result, bytes, began.elapsed());
    if let Some(publish) = loaded.as_ref().ok().and_then(|loaded| loaded.publish) {
        progress.metrics().published(publish);
    }
}

/// The bodies have taken the events' place in memory, and take over so much of their share of the budget.
fn keep_for_bodies(held: &mut [Held], loads: &[Vec<Load>]) {
    let mut bytes: usize = loads.iter().flatten().map(|load| load.body.len()).sum();
    for share in held {
        share.shrink(bytes);
        bytes -= share.bytes();
    }
}

pub(super) fn name(load: &Load) -> LoadName {
    LoadName { database: load.table.database.clone(), label: load.label.clone() }
}

/// The loads of an epoch, by table, and rows that cannot be written. Tables are encoded side by side when there are several.
pub(super) fn encode(
    options: &LoadOptions,
    epoch: &str,
    tables: &[TableBatch],
    on_error: OnError,
) -> Result<(Vec<Vec<Load>>, Vec<NewLetter>)> {
    let one = |table: &TableBatch| -> Result<(Vec<Load>, Vec<NewLetter>)> {
        let target = &table.mapping().target;
        let mut encoder = Encoder::new(target, options.binary, options.part_bytes);
        let mut unwritable = table.encode_or_keep(&mut encoder, on_error)?;
        let mut parts = encoder.finish();
        if options.together && parts.iter().any(|part| part.format != parts[0].format) {
            // A transaction reads all loads of a table alike.
            encoder = encoder.json_only();
            unwritable = table.encode_or_keep(&mut encoder, on_error)?;
            parts = encoder.finish();
        }
        let twin = table.mapping().twin.as_ref().map(|twin| TargetTable { name: twin.clone(), ..target.clone() });
        let tables = std::iter::once(target).chain(&twin);
        let loads = tables.flat_map(|target| {
            let parts = parts.iter().cloned().enumerate();
            parts.map(|(number, part)| options.load(epoch, target, &encoder, number, part))
        });
        Ok((loads.collect(), unwritable))
    };
    let all = |tables: Vec<(Vec<Load>, Vec<NewLetter>)>| {
        let (mut loads, letters): (Vec<_>, Vec<_>) = tables.into_iter().unzip();
        // Of a table there may be nothing but rows that cannot be written.
        loads.retain(|table: &Vec<Load>| !table.is_empty());
        (loads, letters.into_iter().flatten().collect())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(options.parallel.max(1));
    if tables.len() < 2 || threads < 2 {
        return tables.iter().map(one).collect::<Result<Vec<_>>>().map(all);
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
        Ok(all(loads))
    })
}

/// Waits until the target has decided about every load that an earlier run left open, then forgets them.
pub async fn settle<T: Target>(target: &T, store: &Store) -> Result<()> {
    let open = store.open_loads()?;
    if open.is_empty() {
        return Ok(());
    }
    step::reached("settle-begun");
    for load in &open {
        if is_transaction(&load.label) {
            target.end_transaction(&load.database, &load.label).await?;
            continue;
        }
        let mut pause = Duration::from_millis(200);
        while target.label_state(&load.database, &load.label).await? == LabelState::Running {
            tracing::info!(label = load.label, "a load of the last run is still under way at the target; waiting");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
        step::reached("settle-asked");
    }
    store.forget_loads(&open)?;
    step::reached("settle-done");
    Ok(())
}

#[cfg(test)]
mod tests;
