//! The copier: reads the chunks of tables that are copied while the stream goes on ([`crate::apply::join`] tells how they
//! and the stream come together), and takes up what `towpath recopy` and a changed job file ask for.
//!
//! One table after the other, one chunk at a time: the stream comes first. A chunk is read whole into memory, so it is
//! small; one that is too large is read again as a smaller one. Tables without a key are read another way: [`whole`].

mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel as channel;
use mysql_async::Conn;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Context;
use super::incremental::named;
use crate::apply::join::{Begin, Begun, CopiedRow, Errand, Finish, KeyHasher, Loaded, Loading, Watched, Watching};
use crate::config::NoKeyTables;
use crate::live::{Limiter, Live};
use crate::mysql::catalog;
use crate::mysql::connect::{Connect, Flavor, Patience, ServerInfo, Session};
use crate::mysql::position::{self, Position};
use crate::mysql::snapshot::{self, Chunk, ChunkPlanner, SnapshotPlan, SnapshotTable};
use crate::mysql::value::ValueOptions;
use crate::mysql::wire::{Connection, Page};
use crate::progress::Progress;
use crate::ring::Budget;
use crate::schema::{Mapping, Table, TableName};
use crate::state::{Asked, Store};
use crate::{Error, Result, step};

/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// A chunk has no more rows than this, whatever `fullBatchSize` says: the stream waits while it goes in.
const MOST_ROWS: u64 = 10_000;
/// How long the source may take to show what its log has already.
const VISIBLE: Duration = Duration::from_secs(60);
/// Between two looks at that.
const VISIBLE_LOOK: Duration = Duration::from_millis(50);

/// Begins to look for something to do, until what is returned is dropped. What it asks of the flusher goes to `errands`;
/// `busy` says that there is something.
pub(super) fn copy_beside<T>(
    context: &Context<'_, T>,
    budget: &Budget,
    errands: channel::Sender<Errand>,
    busy: Arc<AtomicBool>,
) -> Result<DropGuard> {
    let copier = Copier {
        connect: context.prepared.connect.clone(),
        patience: context.patience(),
        server: context.prepared.server.clone(),
        no_key: context.job.no_key_tables,
        values: context.prepared.values.clone(),
        store: Arc::clone(&context.store),
        progress: Arc::clone(&context.options.progress),
        live: Arc::clone(&context.live),
        limiter: Limiter::new(Arc::clone(&context.live)),
        budget: budget.clone(),
        errands,
        busy,
    };
    let (stop, runtime) = (CancellationToken::new(), Handle::current());
    let stopped = stop.clone();
    // Of its own: it asks the state store, and whoever reads chunks cannot be moved from thread to thread.
    named("copier", move || runtime.block_on(stopped.run_until_cancelled(copier.run())))?;
    Ok(stop.drop_guard())
}

struct Copier {
    connect: Connect,
    patience: Patience,
    server: ServerInfo,
    no_key: NoKeyTables,
    values: ValueOptions,
    store: Arc<Store>,
    progress: Arc<Progress>,
    live: Arc<Live>,
    limiter: Limiter,
    budget: Budget,
    errands: channel::Sender<Errand>,
    busy: Arc<AtomicBool>,
}

/// How far a table's copy came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It is whole, or there is none any more.
    ToItsEnd,
    /// XA transactions have to be decided first.
    Nowhere,
}

/// Where chunks are read.
struct Source {
    connection: Connection,
    table: Arc<SnapshotTable>,
    plan: SnapshotPlan,
    /// Of the copy it was made for.
    number: u64,
}

/// A chunk that was read.
struct Read {
    chunk: Chunk,
    rows: Vec<CopiedRow>,
    bytes: usize,
    /// All that the chunk shows lies before it.
    until: Position,
}

impl Copier {
    async fn run(self) {
        if let Err(error) = self.work().await {
            // A flusher that is gone has failed or ended by itself.
            let _ = self.errands.send(Errand::Fail(error));
        }
    }

    async fn work(&self) -> Result<()> {
        loop {
            let (asked, mut joins) = (self.store.asked_copies()?, self.store.joins()?);
            // What is whole ends first: a transaction that waits for it keeps everything else waiting.
            let whole = self.store.copied_at()?;
            joins.sort_by_key(|(table, _)| !whole.contains_key(table));
            let is_whole = joins.first().is_some_and(|(table, _)| whole.contains_key(table));
            self.busy.store(!asked.is_empty() || !joins.is_empty(), Ordering::Release);
            let mut came = Came::Nowhere;
            if let Some((table, kind)) = asked.into_iter().next().filter(|_| !is_whole) {
                self.begin(&table, kind).await?;
                continue;
            }
            for (table, _) in joins {
                came = self.copy(&table).await?;
                if came == Came::ToItsEnd {
                    break;
                }
            }
            if came == Came::Nowhere {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Has the flusher do something, and waits for its answer.
    async fn ask<R>(&self, errand: impl FnOnce(oneshot::Sender<R>) -> Errand) -> Result<R> {
        let (reply, answer) = oneshot::channel();
        self.errands.send(errand(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// A connection over which tables can be read.
    async fn connection(&self) -> Result<Connection> {
        let mut connection = self.connect.tables(None).await?;
        snapshot::prepare_session(&mut connection).await?;
        Ok(connection)
    }

    async fn here(&self, connection: &mut impl Session) -> Result<Position> {
        position::current(connection, self.server.flavor).await
    }

    /// Something was asked for.
    async fn begin(&self, table: &TableName, kind: Asked) -> Result<()> {
        let reason = match kind {
            Asked::New => format!("the job file selects {table} now"),
            Asked::Again => format!("towpath recopy {table}"),
        };
        let ask = |new| {
            let (table, reason) = (table.clone(), reason.clone());
            self.ask(|reply| Errand::Begin(Begin { table, new, reason, reply }))
        };
        let begun = match kind {
            Asked::Again => ask(None).await?,
            Asked::New => Begun::Unknown,
        };
        if begun == Begun::Unknown {
            match self.definition(table).await? {
                Some((found, _)) if found.key.is_empty() && self.no_key == NoKeyTables::Skip => {
                    tracing::warn!(%table, "it has no key: it is left out");
                }
                Some(new) => _ = ask(Some(new)).await?,
                None => tracing::warn!(%table, "the source has no such table any more: it is not copied"),
            }
        }
        self.store.forget_asked_copy(table)
    }

    /// A table's definition, and a place at which it holds.
    async fn definition(&self, table: &TableName) -> Result<Option<(Arc<Table>, Position)>> {
        let mut pauses = self.patience.pauses();
        loop {
            let looked = async {
                let mut connection: Conn = self.connect.sql(None).await?;
                snapshot::prepare_session(&mut connection).await?;
                catalog::table_at(&mut connection, &self.server, table, self.no_key).await
            };
            match looked.await {
                Ok((found, at)) => return Ok(found.map(|found| (Arc::new(found), at))),
                Err(error) if error.is_transient() => self.pause(&error, pauses.take()).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn pause(&self, error: &Error, pause: Duration) {
        tracing::warn!(%error, ?pause, "copying a table beside the stream failed, trying again");
        tokio::time::sleep(pause).await;
    }

    fn waits(&self, table: &TableName, number: usize) {
        tracing::warn!(
            %table,
            "the copy waits until {number} XA transactions are committed or rolled back that were prepared before"
        );
    }

    /// Copies a table to its end.
    async fn copy(&self, table: &TableName) -> Result<Came> {
        let mut source: Option<Source> = None;
        let mut last: Option<Chunk> = None;
        let mut most_rows = MOST_ROWS;
        let mut pauses = self.patience.pauses();
        loop {
            let name = table.clone();
            let watched = match self.ask(|reply| Errand::Watch { table: name, reply }).await? {
                Watching::Begun(watched) => watched,
                Watching::Gone => return Ok(Came::ToItsEnd),
                Watching::Waits(number) => {
                    self.waits(table, number);
                    return Ok(Came::Nowhere);
                }
            };
            if watched.mapping.is_row_hash() {
                return self.copy_whole(table, &watched).await;
            }
            if source.as_ref().is_some_and(|source| source.number != watched.number) {
                source = None;
            }
            let read = async {
                let here = match &mut source {
                    Some(here) => here,
                    none => {
                        let (opened, stored) = self.open(table, &watched).await?;
                        last = stored;
                        none.insert(opened)
                    }
                };
                if last.as_ref().is_some_and(Chunk::is_last) {
                    return Ok(Next::Finish(self.here(&mut here.connection).await?));
                }
                let rows = self.live.full_batch_rows().min(most_rows);
                self.read(here, &watched, last.as_ref(), rows).await
            };
            match read.await {
                Ok(Next::Finish(until)) => {
                    let (name, number) = (table.clone(), watched.number);
                    self.ask(|reply| Errand::Finish(Finish { table: name, number, until, reply })).await?;
                    return Ok(Came::ToItsEnd);
                }
                Ok(Next::Smaller(rows)) => {
                    // The rest of it may still be on its way.
                    (source, most_rows) = (None, rows);
                    continue;
                }
                Ok(Next::Load(read)) => {
                    step::reached("copy-read");
                    pauses.reset();
                    let chunk = read.chunk.clone();
                    match self.load(watched.number, read, &mut source).await {
                        Ok(Some(Loaded::Done)) => last = Some(chunk),
                        Ok(Some(Loaded::Gone)) => return Ok(Came::ToItsEnd),
                        Ok(_) => most_rows = (most_rows / 2).max(1),
                        Err(error) => {
                            self.failed(table, watched.number, error, &mut pauses).await?;
                            source = None;
                        }
                    }
                }
                Err(error) => {
                    self.failed(table, watched.number, error, &mut pauses).await?;
                    source = None;
                }
            }
        }
    }

    /// After a failure. One that does not pass may come from a statement that the stream has not come to.
    async fn failed(
        &self,
        table: &TableName,
        number: u64,
        error: Error,
        pauses: &mut crate::mysql::connect::Pauses,
    ) -> Result<()> {
        if error.is_transient() {
            self.pause(&error, pauses.take()).await;
            return Ok(());
        }
        let until = loop {
            let here = async { self.here(&mut self.connection().await?).await };
            match here.await {
                Err(error) if error.is_transient() => self.pause(&error, pauses.take()).await,
                here => break here?,
            }
        };
        let name = table.clone();
        match self.ask(|reply| Errand::Pass { table: name, number, until, reply }).await? {
            true => Err(error.context(format!("copying table {table} beside the stream"))),
            false => Ok(()),
        }
    }

    /// With the last chunk that is in.
    async fn open(&self, table: &TableName, watched: &Watched) -> Result<(Source, Option<Chunk>)> {
        let Watched { mapping, number, .. } = watched;
        let mut connection = self.connection().await?;
        let mut described = SnapshotTable::describe(&mut connection, &mapping.source).await?;
        if self.server.flavor == Flavor::Mysql && !self.server.gtids {
            // Without a set of transactions the source does not tell which of those in its log it shows.
            described = described.locking();
        }
        self.begins(&described)?;
        let last = self.store.chunks(table)?.pop().map(|record| record.chunk);
        let plan = SnapshotPlan::new(mapping, &self.values)?;
        Ok((Source { connection, table: Arc::new(described), plan, number: *number }, last))
    }

    /// Says how much there is.
    fn begins(&self, described: &SnapshotTable) -> Result<()> {
        self.store.estimate_join(described.name(), described.estimated_rows())?;
        let tables = self.store.snapshot_tables()?;
        self.progress.full_begins(
            tables.len() as u64,
            tables.iter().filter(|table| table.done()).count() as u64,
            tables.iter().map(|table| table.estimated).sum(),
            tables.iter().map(|table| table.rows_done).sum(),
        );
        Ok(())
    }

    async fn read(&self, source: &mut Source, watched: &Watched, last: Option<&Chunk>, most_rows: u64) -> Result<Next> {
        self.until_visible(&mut source.connection, &watched.at).await?;
        let planner = ChunkPlanner::new(Arc::clone(&source.table));
        let mut planner = match last {
            Some(last) => planner.resume(last),
            None => planner,
        };
        let Some(chunk) = planner.next(&mut source.connection, most_rows).await? else {
            return Err(Error::definite("a chunk behind the last one"));
        };
        let most_bytes = if most_rows > 1 { self.budget.total() / 6 } else { usize::MAX };
        let Some((rows, bytes)) = self.rows(source, &watched.mapping, &chunk, most_bytes).await? else {
            return Ok(Next::Smaller((most_rows / 2).max(1)));
        };
        let until = self.here(&mut source.connection).await?;
        Ok(Next::Load(Read { chunk, rows, bytes, until }))
    }

    /// All that lies before `at` is seen by SELECTs from here on.
    async fn until_visible(&self, connection: &mut Connection, at: &Position) -> Result<()> {
        let seen = async {
            while !self.here(connection).await?.reached(at) {
                tokio::time::sleep(VISIBLE_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(VISIBLE, seen).await.unwrap_or_else(|_| {
            Err(Error::transient(format!(
                "the source's log has been read up to {at}, and its tables do not show that yet"
            )))
        })
    }

    /// A chunk's rows and their bytes; `None`: it has more than `most_bytes`, and the connection cannot be used again.
    async fn rows(
        &self,
        source: &mut Source,
        mapping: &Mapping,
        chunk: &Chunk,
        most_bytes: usize,
    ) -> Result<Option<(Vec<CopiedRow>, usize)>> {
        let Source { connection, table, plan, .. } = source;
        let (mut rows, mut bytes, mut hasher) = (Vec::new(), 0, KeyHasher::default());
        let keys = mapping.target.key_columns;
        let mut is_too_large = false;
        let reading = snapshot::read_chunk(connection, table, chunk, plan.select(), async |page: Page| {
            self.limiter.pass().await;
            self.limiter.took(page.count() as u64, page.size() as u64);
            for row in page.kept_rows() {
                bytes += row.size();
                if bytes > most_bytes {
                    is_too_large = true;
                    return Err(Error::transient("the chunk is too large"));
                }
                let key = hasher.hash(keys, |out| plan.write(row.packed(), out)).map_err(|error| {
                    Error::definite(format!("{}: cannot decode a row: {error}", mapping.source.name))
                })?;
                rows.push(CopiedRow { key, row });
            }
            Ok(())
        });
        match reading.await {
            Err(_) if is_too_large => Ok(None),
            read => read.map(|_| Some((rows, bytes))),
        }
    }

    /// Brings a chunk in when the stream has come to it. `None`: it was not read a second time.
    async fn load(&self, number: u64, read: Read, source: &mut Option<Source>) -> Result<Option<Loaded>> {
        let Read { chunk, rows, bytes, until } = read;
        let held = self.budget.hold_at_once(bytes);
        let again = chunk.clone();
        let answer = self.ask(|reply| Errand::Load(Loading { number, chunk, rows, until, held, reply })).await?;
        let Loaded::InPart(to, done) = answer else { return Ok(Some(answer)) };
        // The stream stands still: what is read now is not older than it.
        let Some(source) = source else { return Ok(None) };
        let mut rows = Vec::new();
        let Source { connection, table, plan, .. } = source;
        snapshot::read_chunk(connection, table, &again, plan.select(), async |page: Page| {
            rows.extend(page.kept_rows());
            Ok(())
        })
        .await?;
        to.send(rows).map_err(|_| gone())?;
        done.await.map(Some).map_err(|_| gone())
    }
}

/// What comes next in a copy.
enum Next {
    Load(Read),
    /// The chunk has too many bytes; so many rows are enough.
    Smaller(u64),
    /// All chunks are in; it ends when the stream has come to this place.
    Finish(Position),
}

/// The flusher has ended, and with it the copier's work.
fn gone() -> Error {
    Error::transient("the stream has ended")
}
