//! The full stage: chunks of every table, read by several threads and loaded by several others.
//!
//! ```text
//! planner ──chunk──▶ readers (fullParallel) ──body──▶ ring ──▶ loaders (writeParallel) ──▶ chunk done
//! ```
//!
//! The planner goes through the tables and writes each chunk's bounds into the state store before anyone reads
//! it. A reader encodes a chunk's rows as they come and cuts them into loads; the ring holds the bodies,
//! bounded by `fullRingBufferSize` and the byte budget, so memory does not grow with the rows or the chunks.
//! Chunks of one table have disjoint keys, so their loads may run side by side. A chunk is recorded as done
//! when its last load is in; a restart reads again only chunks that are not, and plans on from the last bound.
//!
//! Rows that change while they are copied are no concern here: the position was recorded first, so every
//! change after it is applied again, in order, by the incremental stage. Not so in tables without a key: [`keyless`].
//! Tables that change are: [`given_up`].

mod given_up;
mod keyless;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel as channel;
use mysql_async::Conn;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::incremental::{first_error, join, named};
use super::{Context, Ended, last_call};
use crate::apply::commit::LoadOptions;
use crate::apply::dead_letter::DeadLetters;
use crate::apply::encode::{Encoder, Op, Part};
use crate::apply::selected::Selected;
use crate::apply::unwritable::Unwritable;
use crate::config::Startup;
use crate::live::{Limiter, Live};
use crate::mysql::connect::{Connect, Flavor, Patience, Pauses};
use crate::mysql::position::{self, Position};
use crate::mysql::snapshot::{self, Chunk, ChunkPlanner, SnapshotPlan, SnapshotTable};
use crate::mysql::value::ValueOptions;
use crate::mysql::wire::{Connection, Page};
use crate::progress::Progress;
use crate::ring::{Budget, Closed, Receiver, Sender, ring};
use crate::schema::{Mapping, Table, TableName, TargetTable};
use crate::state::{ChunkDone, LetterChanges, LoadName, NewLetter, Store, TableProgress};
use crate::target::{Load, Target};
use crate::{Error, Result, step};
pub(super) use given_up::hand_over;
use given_up::{Lookup, Pending};

/// Copies what is not copied yet.
pub(super) async fn copy<T: Target>(context: &Context<'_, T>) -> Result<Ended> {
    let Context { job, options, prepared, store, target, identity, live } = context;
    let Some(tables) = list_tables(context).await? else { return Ok(Ended::Stopped) };
    let params = &job.params;
    let budget = Budget::new((params.total_data_in_mem_mb << 20) / 2);
    let (bodies, bodies_in) = ring::<Body>(params.full_ring_buffer_size, &budget);
    options.progress.watch(bodies_in.gauge(&budget), None);
    let (chunks, chunks_in) = channel::bounded::<Work>(params.full_parallel);
    let stop = options.stop.child_token();
    let _ended = stop.clone().drop_guard();
    let shared = Arc::new(Shared {
        connect: prepared.connect.clone(),
        flavor: prepared.server.flavor,
        lookup: Lookup { server: prepared.server.clone(), no_key: job.no_key_tables },
        follows: job.source.startup != Startup::Full,
        witnesses: Mutex::default(),
        patience: context.patience(),
        start: identity.start.clone(),
        store: Arc::clone(store),
        progress: Arc::clone(&options.progress),
        values: prepared.values.clone(),
        letters: context.letters()?,
        live: Arc::clone(live),
        limiter: Limiter::new(Arc::clone(live)),
        loads: LoadOptions {
            // Half the budget waits in the ring; the other half is being written by the readers.
            part_bytes: (params.flush_batch_mb << 20).min(budget.total() / params.full_parallel),
            ..context.load_options()
        },
        runtime: Handle::current(),
        leave: last_call(&stop),
        stop,
    });

    let readers = if tables.is_empty() { 0 } else { params.full_parallel };
    let shared_here = Arc::clone(&shared);
    let planner = named("planner", move || shared_here.guard(|shared| shared.plan(tables, &chunks)))?;
    let mut threads = vec![planner];
    for _ in 0..readers {
        let (shared, chunks, bodies) = (Arc::clone(&shared), chunks_in.clone(), bodies.clone());
        let target = Arc::clone(target);
        let read = move || shared.guard(|shared| shared.read(&chunks, &bodies, target.as_ref()));
        threads.push(named("snapshot reader", read)?);
    }
    for _ in 0..params.write_parallel {
        let (shared, bodies, target) = (Arc::clone(&shared), bodies_in.clone(), Arc::clone(target));
        threads.push(named("loader", move || shared.guard(|shared| shared.load(&bodies, target.as_ref())))?);
    }
    drop((chunks_in, bodies, bodies_in));

    let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(join).fold(Ok(()), first_error));
    joined.await.map_err(|error| Error::definite("a stage has panicked").caused_by(error))??;
    let copied = prepared.mappings.iter().map(|mapping| &mapping.source.name);
    let (tables, known) = (store.snapshot_tables()?, store.unsettled()?);
    let done: HashSet<&TableName> = tables.iter().filter(|table| table.done()).map(|table| &table.table).collect();
    if !copied.clone().all(|table| done.contains(table)) {
        return Ok(Ended::Stopped);
    }
    let unknown: Vec<TableName> = copied.filter(|table| !known.contains_key(*table)).cloned().collect();
    if job.source.startup != Startup::Full && !unknown.is_empty() {
        // Of a run before this one.
        let flavor = prepared.server.flavor;
        let here = context.ask_source(Some(identity.start.clone()), |mut connection| async move {
            position::current(&mut connection, flavor).await
        });
        let Some(until) = here.await? else { return Ok(Ended::Stopped) };
        store.read_until(&unknown, &until)?;
    }
    Ok(Ended::CaughtUp)
}

/// This thread is to leave; whoever made it so has said why.
fn left() -> Error {
    Error::transient("stopped")
}

/// Puts the tables on the list, tells the progress bar how much there is, and returns what is to do. `None`: stopped.
async fn list_tables<T>(context: &Context<'_, T>) -> Result<Option<Vec<Pending>>> {
    let Context { job, options, prepared, store, identity, .. } = context;
    let lookup = &Lookup { server: prepared.server.clone(), no_key: job.no_key_tables };
    let done: HashSet<TableName> =
        store.snapshot_tables()?.into_iter().filter(TableProgress::done).map(|table| table.table).collect();
    let done = &done;
    // Without the log from there on a copy is no use; and a server that has not come as far as that (a
    // replica behind its source) would show older rows than those that the log goes on from.
    let described = context.ask_source(Some(identity.start.clone()), |mut connection| async move {
        snapshot::prepare_session(&mut connection).await?;
        let (mut pending, mut changed) = (Vec::new(), Vec::new());
        let open = prepared.mappings.iter().filter(|mapping| !done.contains(&mapping.source.name));
        let open: Vec<&Arc<Mapping>> = open.collect();
        let sources: Vec<&Table> = open.iter().map(|mapping| &mapping.source).collect();
        let described = SnapshotTable::describe_all(&mut connection, &sources).await?;
        for (mapping, described) in open.into_iter().zip(described) {
            match described {
                Ok(table) => pending.push(Pending::new(mapping, table)),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => match lookup.change(&mut connection, mapping).await? {
                    Some(change) => changed.push((mapping.source.name.clone(), change)),
                    None => return Err(error),
                },
            }
        }
        Ok((pending, changed))
    });
    let Some((pending, changed)) = described.await? else { return Ok(None) };
    let mut estimates: Vec<_> = pending.iter().map(|one| (one.name().clone(), one.table.estimated_rows())).collect();
    estimates.extend(changed.iter().map(|(table, _)| (table.clone(), 0)));
    store.add_snapshot_tables(&estimates)?;
    for (table, change) in changed {
        tracing::warn!(%table, change, "it has changed before it was copied, and is left to the stream");
        store.give_up_table(&table, &change)?;
    }
    let listed = store.snapshot_tables()?;
    let sum = |count: fn(&TableProgress) -> u64| listed.iter().map(count).sum();
    options.progress.full_begins(
        listed.len() as u64,
        sum(|table| u64::from(table.done())),
        sum(|table| table.estimated),
        sum(|table| table.rows_done),
    );
    Ok(Some(pending))
}

/// A chunk to read.
struct Work {
    chunk: Chunk,
    pending: Arc<Pending>,
}

/// One load of a chunk.
struct Body {
    load: Load,
    chunk: Arc<ChunkWork>,
}

struct ChunkWork {
    pending: Arc<Pending>,
    number: u64,
    rows: AtomicU64,
    /// Loads not yet in, and one more while the chunk is being read.
    open: AtomicUsize,
}

impl ChunkWork {
    fn of(work: &Work) -> Arc<ChunkWork> {
        Arc::new(ChunkWork {
            pending: Arc::clone(&work.pending),
            number: work.chunk.number,
            rows: AtomicU64::new(0),
            open: AtomicUsize::new(1),
        })
    }
}

/// The loads of one chunk on their way into the ring.
struct Sending<'a> {
    /// Tells them from those of other chunks.
    epoch: String,
    chunk: &'a Arc<ChunkWork>,
    bodies: &'a Sender<Body>,
    sent: usize,
}

impl Sending<'_> {
    fn send(&mut self, parts: Vec<Part>, encoder: &Encoder, table: &TargetTable, loads: &LoadOptions) -> Result<()> {
        for part in parts {
            self.chunk.rows.fetch_add(part.rows, Ordering::Relaxed);
            self.chunk.open.fetch_add(1, Ordering::Relaxed);
            let load = loads.load(&self.epoch, table, encoder, self.sent, part);
            self.sent += 1;
            let bytes = load.body.len();
            self.bodies.send(Body { load, chunk: Arc::clone(self.chunk) }, bytes).map_err(|Closed| left())?;
        }
        Ok(())
    }
}

struct Shared {
    connect: Connect,
    flavor: Flavor,
    lookup: Lookup,
    /// The log is followed behind the copy.
    follows: bool,
    /// For questions about a table as a whole.
    witnesses: Mutex<Vec<Conn>>,
    patience: Patience,
    /// Where the log goes on from: a server that has not come as far, or no longer has it, is not read. Also a dead letter's
    /// place.
    start: Position,
    store: Arc<Store>,
    progress: Arc<Progress>,
    values: ValueOptions,
    letters: DeadLetters,
    live: Arc<Live>,
    limiter: Limiter,
    loads: LoadOptions,
    runtime: Handle,
    /// A stop was asked for, or one of the threads has failed: all of them leave.
    stop: CancellationToken,
    /// Loads leave too.
    leave: CancellationToken,
}

impl Shared {
    /// A thread that fails, also one that panics, makes the others leave: they would wait for it for ever.
    fn guard(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let failed = self.stop.clone().drop_guard();
        work(self)?;
        failed.disarm();
        Ok(())
    }

    fn leaving(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits for the source, which may be slow or silent. An error says that this thread is to leave.
    fn wait_for<R>(&self, answer: impl Future<Output = Result<R>>) -> Result<R> {
        self.runtime.block_on(self.stop.run_until_cancelled(answer)).unwrap_or_else(|| Err(left()))
    }

    /// A connection for tables' rows. `None`: leaving.
    fn connection(&self) -> Result<Option<Connection>> {
        self.connected(async || {
            let mut connection = self.connect.tables(Some(&self.start)).await?;
            snapshot::prepare_session(&mut connection).await?;
            Ok(connection)
        })
    }

    /// Connects, again and again while the failure is a passing one. `None`: leaving.
    fn connected<C>(&self, open: impl AsyncFn() -> Result<C>) -> Result<Option<C>> {
        let mut pauses = self.patience.pauses();
        loop {
            match self.wait_for(open()) {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if !self.again(&error, &mut pauses) => return self.unless_leaving(error),
                Err(_) => {}
            }
        }
    }

    /// Waits before another try after a passing failure; `false`: there is no other try.
    fn again(&self, error: &Error, pauses: &mut Pauses) -> bool {
        if !error.is_transient() || self.leaving() {
            return false;
        }
        let wait = pauses.take();
        tracing::warn!(%error, pause = ?wait, "reading the source failed, trying again");
        // The timer has to be made inside the runtime: this thread is none of its own.
        let waited = async {
            tokio::time::sleep(wait).await;
            Ok(())
        };
        self.wait_for(waited).is_ok()
    }

    fn unless_leaving<R>(&self, error: Error) -> Result<Option<R>> {
        if self.leaving() { Ok(None) } else { Err(error) }
    }

    /// Hands out the chunks that an earlier run left open, then plans on.
    fn plan(&self, tables: Vec<Pending>, chunks: &channel::Sender<Work>) -> Result<()> {
        let mut connection = None;
        for pending in tables {
            let pending = Arc::new(pending);
            if !self.plan_table(&pending, &mut connection, chunks)? {
                return Ok(());
            }
            if !pending.is_given_up() {
                self.table_is_planned(&pending)?;
            }
        }
        if let Some(connection) = connection {
            self.runtime.block_on(connection.quit());
        }
        Ok(())
    }

    /// `false`: leaving.
    fn plan_table(
        &self,
        pending: &Arc<Pending>,
        connection: &mut Option<Connection>,
        chunks: &channel::Sender<Work>,
    ) -> Result<bool> {
        let hand_out = |chunk: Chunk| {
            pending.left.fetch_add(1, Ordering::Relaxed);
            !self.leaving() && chunks.send(Work { chunk, pending: Arc::clone(pending) }).is_ok()
        };
        let mut planner = ChunkPlanner::new(Arc::clone(&pending.table));
        for record in self.store.chunks(pending.name())? {
            planner = planner.resume(&record.chunk);
            if record.rows.is_none() && !hand_out(record.chunk) {
                return Ok(false);
            }
        }
        let mut pauses = self.patience.pauses();
        let mut tried = false;
        while !pending.is_given_up() {
            let mut open = match connection.take() {
                Some(open) => open,
                None => match self.connection()? {
                    Some(open) => open,
                    None => return Ok(false),
                },
            };
            match self.wait_for(planner.next(&mut open, self.live.full_batch_rows())) {
                Ok(Some(chunk)) => {
                    *connection = Some(open);
                    self.store.add_chunk(&chunk)?;
                    step::reached("chunk-planned");
                    if !hand_out(chunk) {
                        return Ok(false);
                    }
                }
                Ok(None) => {
                    *connection = Some(open);
                    break;
                }
                Err(error) if self.again(&error, &mut pauses) => {}
                Err(error) => match self.judge(pending, error)? {
                    Some(error) if std::mem::replace(&mut tried, true) => {
                        return self.unless_leaving(error).map(|_: Option<()>| false);
                    }
                    _ => {}
                },
            }
        }
        Ok(true)
    }

    /// Nothing more of the table is planned.
    fn table_is_planned(&self, pending: &Pending) -> Result<()> {
        self.store.table_planned(pending.name())?;
        step::reached("table-planned");
        if pending.left.fetch_sub(1, Ordering::AcqRel) == 1 { self.table_is_in(pending, false) } else { Ok(()) }
    }

    fn read<T: Target>(&self, chunks: &channel::Receiver<Work>, bodies: &Sender<Body>, target: &T) -> Result<()> {
        // While the first bounds are looked for.
        let mut connection = self.connection()?;
        let mut pauses = self.patience.pauses();
        while let Ok(work) = chunks.recv() {
            let mut tried = false;
            while !work.pending.is_given_up() {
                if self.leaving() {
                    return Ok(());
                }
                if work.pending.mapping.is_row_hash() {
                    match self.copy_keyless(&work, bodies, target) {
                        Ok(()) => break,
                        Err(error) => match self.judge(&work.pending, error)? {
                            None => break,
                            Some(error) => return self.unless_leaving::<()>(error).map(drop),
                        },
                    }
                }
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => match self.connection()? {
                        Some(open) => open,
                        None => return Ok(()),
                    },
                };
                match self.read_chunk(&mut open, &work, bodies) {
                    Ok(()) => {
                        connection = Some(open);
                        pauses.reset();
                        break;
                    }
                    // What has been sent of the chunk is sent once more: the same keys, written again.
                    Err(error) if self.again(&error, &mut pauses) => {}
                    Err(error) => match self.judge(&work.pending, error)? {
                        Some(error) if std::mem::replace(&mut tried, true) => {
                            return self.unless_leaving::<()>(error).map(drop);
                        }
                        _ => {}
                    },
                }
            }
        }
        if let Some(connection) = connection {
            self.runtime.block_on(connection.quit());
        }
        Ok(())
    }

    fn read_chunk(&self, connection: &mut Connection, work: &Work, bodies: &Sender<Body>) -> Result<()> {
        let Pending { mapping, table, .. } = work.pending.as_ref();
        let plan = SnapshotPlan::new(mapping, &self.values)?;
        let mut encoder = Encoder::new(&mapping.target, self.loads.binary, self.loads.part_bytes);
        let mut unwritable = Unwritable::new(&mapping.target, self.letters.on_error());
        let chunk = ChunkWork::of(work);
        let mut sending = Sending { epoch: format!("f{}", chunk.number), chunk: &chunk, bodies, sent: 0 };
        let mut write = |page: Page| -> Result<()> {
            if self.leaving() {
                return Err(left());
            }
            for row in page.rows() {
                unwritable.encode(&mut encoder, None, Op::Upsert, Selected { plan: &plan, row })?;
            }
            self.set_aside(unwritable.take_letters())?;
            let parts = encoder.take_full_parts();
            sending.send(parts, &encoder, &mapping.target, &self.loads)
        };
        let reading = snapshot::read_chunk(connection, table, &work.chunk, plan.select(), async |page| {
            self.limiter.pass().await;
            self.limiter.took(page.count() as u64, page.size() as u64);
            write(page)
        });
        self.wait_for(reading)?;
        step::reached("chunk-read");
        let parts = encoder.finish();
        sending.send(parts, &encoder, &mapping.target, &self.loads)?;
        self.one_load_less(&chunk)
    }

    fn load<T: Target>(&self, bodies: &Receiver<Body>, target: &T) -> Result<()> {
        while let Ok(entry) = bodies.recv() {
            if self.leaving() {
                return Ok(());
            }
            let Body { load, chunk } = entry.item;
            if chunk.pending.is_given_up() {
                continue;
            }
            let name = LoadName { database: load.table.database.clone(), label: load.label.clone() };
            self.store.open_load(&name)?;
            step::reached("chunk-load-named");
            let sent = self.runtime.block_on(async {
                tokio::select! {
                    sent = self.letters.send(target, &load, &self.progress) => Some(sent),
                    () = self.leave.cancelled() => None,
                }
            });
            let Some(sent) = sent else { return Ok(()) };
            let changes = match sent {
                Ok(changes) => changes,
                Err(error) => match self.judge(&chunk.pending, error)? {
                    None => continue,
                    Some(error) => return Err(error),
                },
            };
            step::reached("chunk-load-in");
            self.progress.full_rows(load.rows - changes.new.len() as u64);
            self.load_is_in(&chunk, &[name], changes)?;
        }
        Ok(())
    }

    /// Writes down rows that cannot be written for the target, before their chunk is done.
    fn set_aside(&self, letters: Vec<NewLetter>) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut none = Vec::new();
        let changes = self.letters.prepare(&mut none, letters)?;
        self.letters.record(&[], changes, &self.start)
    }

    /// A chunk is read, or one load of it is in: that is written down, and with the last of them that the chunk is done, and
    /// with the last chunk where its table was read to.
    fn load_is_in(&self, chunk: &ChunkWork, names: &[LoadName], changes: LetterChanges) -> Result<()> {
        let pending = &chunk.pending;
        // Who finds only its own share left knows that the others are written down, and that no other comes.
        let is_last = chunk.open.load(Ordering::Acquire) == 1;
        let ends_table = is_last && pending.left.load(Ordering::Acquire) == 1;
        let until = if ends_table { self.read_to(pending)? } else { None };
        let done = || ChunkDone {
            table: pending.name(),
            number: chunk.number,
            rows: chunk.rows.load(Ordering::Acquire),
            read_until: until.as_ref(),
        };
        self.letters.record_copy(names, changes, &self.start, is_last.then(done).as_ref())?;
        if !names.is_empty() {
            step::reached("chunk-load-forgotten");
        }
        if chunk.open.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let done = done();
        if !is_last {
            self.letters.record_copy(&[], LetterChanges::default(), &self.start, Some(&done))?;
        }
        step::reached("chunk-in");
        tracing::debug!(table = %done.table, chunk = done.number, rows = done.rows, "chunk is in");
        if pending.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.table_is_in(pending, until.is_some())
        } else {
            Ok(())
        }
    }

    fn one_load_less(&self, chunk: &ChunkWork) -> Result<()> {
        self.load_is_in(chunk, &[], LetterChanges::default())
    }
}

#[cfg(test)]
mod tests;
