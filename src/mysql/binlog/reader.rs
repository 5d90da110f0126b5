//! The reader thread: keeps a binlog stream open and puts its slots on the ring.
//!
//! The thread has a runtime of its own, because the ring's `send` blocks it: that is the back-pressure, and
//! nothing else runs there that would mind.
//!
//! # When the connection fails
//! A failure is either definite, and the reader ends with it, or transient: then it connects again, with growing
//! pauses, and asks for the log from the last transaction boundary it read, not from the checkpoint, which may be far
//! behind. A transaction that had come in part comes again from its start. Its first rows are then on the
//! ring twice, one time more than the commit that follows; that is harmless, because the flusher keeps the last
//! image of each key and the second pass writes the same images.
//!
//! A server that falls silent is noticed too: it was asked to send heartbeats, and a connection without any
//! event for several periods counts as lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use mysql_async::BinlogStream;
use mysql_async::binlog::events::Event as DriverEvent;
use tokio_util::sync::CancellationToken;

use super::Slot;
use super::follower::{Follower, Stop, Wanted};
use super::stream::{self, Connect, HEARTBEAT_SECS, Request};
use crate::mysql::connect::Flavor;
use crate::mysql::position::Position;
use crate::ring;
use crate::{Error, Result};

const SILENCE: Duration = Duration::from_secs(HEARTBEAT_SECS * 6);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a place that was passed is held back when nothing else comes.
const TICK: Duration = Duration::from_millis(100);

/// What to read, and from where.
pub struct ReaderOptions {
    pub connect: Connect,
    pub flavor: Flavor,
    /// The first transaction is the one behind this place.
    pub start: Position,
    /// Ask by `start.gtids`, which must then be there; else by file and offset.
    pub by_gtid: bool,
    /// The replica id shown to the source: unique among its replicas.
    pub server_id: u32,
    /// The host name shown to the source beside it: pre-flight knows the job's own connection by it.
    pub replica_host: String,
    /// Which tables' rows and statements are sent on. It is asked for every new table map, so it should be quick.
    pub wanted: Wanted,
    /// Kept up to date by the reader, for whoever watches.
    pub heard: Heard,
}

/// When the source last sent anything, heartbeats included.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Option<Instant>>>);

impl Heard {
    fn now(&self) -> Instant {
        let now = Instant::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        now
    }

    /// How long ago it was; `None` before the first event.
    pub fn silence(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|heard| heard.elapsed())
    }
}

/// Starts the reader. It ends with `Ok` when `cancel` is triggered or nobody reads the ring any more, and with an error
/// that is always definite.
pub fn spawn(
    options: ReaderOptions,
    sender: ring::Sender<Slot>,
    cancel: CancellationToken,
) -> Result<JoinHandle<Result<()>>> {
    if options.by_gtid && options.start.gtids.is_none() {
        return Err(Error::definite(format!("start by GTID from {}, which has no GTID set", options.start)));
    }
    let run = move || {
        // The driver's own parsing of events trusts the server more than we do.
        catch_unwind(AssertUnwindSafe(|| run(&options, &sender, &cancel))).unwrap_or_else(|_| {
            Err(Error::definite("the binlog reader met an event that the driver cannot bear")
                .hint("the log may be damaged: compare with mysqlbinlog at the source, and report this"))
        })
    };
    std::thread::Builder::new()
        .name("binlog".into())
        .spawn(run)
        .map_err(|error| Error::transient("cannot start the binlog reader's thread").caused_by(error))
}

fn run(options: &ReaderOptions, sender: &ring::Sender<Slot>, cancel: &CancellationToken) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::transient("cannot start the binlog reader").caused_by(error))?;
    let ended = runtime.block_on(follow(options, sender, cancel));
    // A look-up of the source's name may still be under way, and dropping the runtime would wait for it.
    runtime.shutdown_background();
    ended
}

async fn follow(options: &ReaderOptions, sender: &ring::Sender<Slot>, cancel: &CancellationToken) -> Result<()> {
    let mut follower = Follower::new(options.start.clone(), options.wanted.clone());
    let mut pause = FIRST_PAUSE;
    loop {
        let mut progress = false;
        match session(options, &mut follower, sender, cancel, &mut progress).await {
            Ok(()) | Err(Stop::Closed) => return Ok(()),
            Err(Stop::Failed(error)) if error.is_transient() => {
                pause = if progress { FIRST_PAUSE } else { pause };
                let boundary = follower.boundary();
                tracing::warn!(%error, from = %boundary, ?pause, "binlog connection lost, connecting again");
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
        if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection's life. `progress` is set when it brought an event.
async fn session(
    options: &ReaderOptions,
    follower: &mut Follower,
    sender: &ring::Sender<Slot>,
    cancel: &CancellationToken,
    progress: &mut bool,
) -> Result<(), Stop> {
    let from = follower.boundary().clone();
    let by_gtid = options.by_gtid;
    let request = Request {
        flavor: options.flavor,
        server_id: options.server_id,
        replica_host: &options.replica_host,
        from: &from,
        by_gtid,
        to_end: false,
    };
    let Some(opened) = cancel.run_until_cancelled(stream::open(&options.connect, &request)).await else {
        return Ok(());
    };
    let mut stream = opened?;
    follower.restart(!by_gtid && stream::first_offset(&from) < from.offset);
    let mut out = |slot, bytes| sender.send(slot, bytes);
    let mut heard = Instant::now();
    while !cancel.is_cancelled() {
        let wait = if follower.holds_passed() { TICK } else { SILENCE };
        match next_within(&mut stream, options.server_id, wait, cancel).await {
            Next::Event(event) => {
                heard = options.heard.now();
                *progress = true;
                let event = stream::take(event, || follower.here())?;
                follower.event(&event, &mut out)?;
            }
            Next::Nothing => {
                follower.idle(&mut out)?;
                if heard.elapsed() >= SILENCE {
                    return Err(Error::transient(format!("the source was silent for {SILENCE:?}")).into());
                }
            }
            Next::Failed(error) => return Err(error.into()),
            Next::Ended => return Err(Error::transient("the source closed the binlog connection").into()),
            Next::Cancelled => break,
        }
    }
    Ok(())
}

#[allow(clippy::large_enum_variant)]
enum Next {
    Event(DriverEvent),
    Nothing,
    Failed(Error),
    Ended,
    Cancelled,
}

async fn next_within(stream: &mut BinlogStream, server_id: u32, wait: Duration, cancel: &CancellationToken) -> Next {
    // Most events are there already; a timer for each would cost more than reading it.
    let ready = stream::next(stream, server_id).now_or_never();
    let next = match ready {
        Some(next) => next,
        None => {
            let next = tokio::time::timeout(wait, stream::next(stream, server_id));
            match cancel.run_until_cancelled(next).await {
                None => return Next::Cancelled,
                Some(Err(_)) => return Next::Nothing,
                Some(Ok(next)) => next,
            }
        }
    };
    match next {
        Ok(Some(event)) => Next::Event(event),
        Ok(None) => Next::Ended,
        Err(error) => Next::Failed(error),
    }
}
