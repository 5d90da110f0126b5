//! The incremental stage: reader thread → ring → flusher thread → committer thread, wired together.

use std::sync::Arc;
use std::thread;

use crossbeam_channel as channel;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Context, definitions, join, lag, last_call, settle};
use crate::apply::change::{Changer, Rules};
use crate::apply::commit::{Committer, Pieces};
use crate::apply::flush::{Ended, Flusher, Limits, Open, Tables};
use crate::apply::join::Errands;
use crate::apply::lag::{Alterations, Lagging};
use crate::apply::pace::Pace;
use crate::apply::row_hash::{CopiedAt, Numbers};
use crate::apply::xa::XaRows;
use crate::live::Limiter;
use crate::mysql::binlog::{Heard, ReaderOptions, Slot, spawn};
use crate::mysql::position;
use crate::mysql::preflight::replica_host;
use crate::ring::{Budget, ring_of_parcels};
use crate::state::Checkpoint;
use crate::target::Target;
use crate::{Error, Result};

/// Follows the log from the checkpoint until a stop or, with `stop_at_end`, until the log's present end.
pub(super) async fn follow<T: Target>(context: &Context<'_, T>) -> Result<Ended> {
    let Context { job, options, prepared, store, target, identity, live } = context;
    let checkpoint = store.checkpoint()?.unwrap_or_else(|| Checkpoint::at(identity.start.clone()));
    let replay_until = store.intent()?.filter(|intent| intent.begin != intent.end).map(|intent| intent.end);
    let flavor = prepared.server.flavor;
    let (end, stop_at_end) = (&replay_until, options.stop_at_end);
    let asked = context.ask_source(Some(checkpoint.position.clone()), |mut connection| async move {
        // A place that this server does not have would never be reached.
        if let Some(end) = end {
            position::check(&mut connection, flavor, end).await?;
        }
        match stop_at_end {
            true => position::current(&mut connection, flavor).await.map(Some),
            false => Ok(None),
        }
    });
    let Some(until) = asked.await? else { return Ok(Ended::Stopped) };
    options.progress.log_is_kept(prepared.server.retention());
    options.progress.committed(&checkpoint);
    let _lag = lag::watch(context);

    // The rest is for what the budget cannot see: the bodies while they are encoded, the index over the batch's
    // rows, the connections' buffers, and what the allocator keeps.
    let budget = Budget::new((job.params.total_data_in_mem_mb << 20) * 3 / 8);
    let (slots, receiver) = ring_of_parcels::<Slot>(job.params.incre_ring_buffer_size, &budget);
    // Of its own: after a stop is asked for, the reader goes on until the flusher has its transaction's end.
    let reader_stop = CancellationToken::new();
    let heard = Heard::default();
    options.progress.watch(receiver.gauge(&budget), Some(heard.clone()));
    let reader = spawn(
        ReaderOptions {
            connect: prepared.connect.clone(),
            flavor: prepared.server.flavor,
            start: checkpoint.position.clone(),
            by_gtid: checkpoint.position.gtids.is_some(),
            server_id: job.replica_id(),
            replica_host: replica_host(&job.name),
            wanted: prepared.wanted(),
            noticed: prepared.noticed(),
            patience: context.patience(),
            heard,
        },
        slots,
        reader_stop.clone(),
    )?;

    let followed = definitions::followed(store, &prepared.mapping_options)?;
    let history = definitions::history(context, &followed)?;
    let followed = Arc::new(followed.beginning_at(&checkpoint.position, |table| history.awaits_rows(table)));
    let rules =
        Rules { ddl: job.ddl.clone(), mapping: prepared.mapping_options.clone(), values: prepared.values.clone() };
    let start = checkpoint.position.clone();
    let hurry = options.stop.child_token();
    let ended = hurry.clone().drop_guard();
    let leave = last_call(&hurry);
    // A rendezvous: the committer takes an epoch only when the one before it is in.
    let (epochs, epochs_in) = channel::bounded(0);
    let (done, done_in) = channel::bounded(1);
    let (lagging, ends) = Lagging::open(store, &budget, (job.params.total_data_in_mem_mb as u64) << 20)?;
    let pace = Arc::new(Pace::new(Arc::clone(live), target.pressure()));
    store.set_pace(None)?;
    let committer = Committer {
        target: Arc::clone(target),
        store: Arc::clone(store),
        options: context.load_options(),
        progress: Arc::clone(&options.progress),
        pace: Arc::clone(&pace),
        runtime: Handle::current(),
        leave: leave.clone(),
        letters: Arc::new(context.letters()?),
        corrections: options.corrections.clone(),
        checkpoint,
        pieces: Pieces::default(),
        changer: Changer::new(rules, context.patience(), Arc::clone(&followed), Alterations::new(ends)),
        numbers: Numbers::default(),
    };
    let (errands, outbox, busy) = Errands::new();
    let (open, open_tables) = Open::new();
    let _asking = settle::ask(context, outbox.clone(), open_tables);
    let _copying = join::copy_beside(context, &budget, outbox, busy)?;
    let flusher = Flusher {
        receiver,
        xa: XaRows::open(store, &budget, budget.total() / 12)?,
        tables: Tables::new(history, followed, prepared.values.clone()).with_pictures(store.copied_at()?.into_keys()),
        copied_at: CopiedAt::new(store.copied_at()?, &start),
        limits: Limits::new(&budget),
        pace: Arc::clone(&pace),
        limiter: Limiter::new(Arc::clone(live)),
        epochs,
        done: done_in,
        progress: Arc::clone(&options.progress),
        stop: options.stop.clone(),
        leave,
        until,
        until_by_place: job.source.hosts.len() == 1,
        replay_until,
        errands,
        lagging,
        open,
    };
    let committer = named("committer", move || committer.run(&epochs_in, &done))?;
    let flusher = named("flusher", move || flusher.run(start))?;

    // The flusher is the first to end: well, or because one of its neighbours has failed, whose own error
    // then says more than the flusher's. A load that is tried again and again must not keep that error back.
    let joined = tokio::task::spawn_blocking(move || {
        let flushed = join(flusher);
        reader_stop.cancel();
        drop(ended);
        (flushed, join(committer), join(reader))
    });
    let (flushed, committed, read) =
        joined.await.map_err(|error| Error::definite("a stage has panicked").caused_by(error))?;
    let (ended, flushed) = match flushed {
        Ok(ended) => (ended, Ok(())),
        Err(error) => (Ended::Stopped, Err(error)),
    };
    match [committed, read, flushed].into_iter().fold(Ok(()), first_error) {
        Ok(()) => Ok(ended),
        Err(error) if error.is_transient() && options.stop.is_cancelled() => {
            tracing::warn!("{error}");
            Ok(Ended::Stopped)
        }
        Err(error) => Err(error),
    }
}

/// The first error that is no mere consequence of another one.
pub(super) fn first_error(all: Result<()>, one: Result<()>) -> Result<()> {
    match (all, one) {
        (Ok(()), one) => one,
        (Err(first), Err(second)) if first.is_transient() && !second.is_transient() => Err(second),
        (Err(first), _) => Err(first),
    }
}

pub(super) fn named<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<thread::JoinHandle<R>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::definite(format!("cannot start the {name} thread")).caused_by(error))
}

pub(super) fn join<R>(thread: thread::JoinHandle<Result<R>>) -> Result<R> {
    let name = thread.thread().name().unwrap_or("stage").to_owned();
    thread.join().unwrap_or_else(|_| Err(Error::definite(format!("the {name} thread has panicked"))))
}
