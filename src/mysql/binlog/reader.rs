//! The reader thread: keeps a binlog stream open and puts its slots on the ring.
//!
//! The thread has a runtime of its own, because the ring's `send` blocks it: that is the back-pressure, and
//! nothing else runs there that would mind.
//!
//! # When the connection fails
//! A failure is either definite, and the reader ends with it, or transient: then it connects again, with growing
//! pauses, and asks for the log from the last transaction boundary it read, not from the checkpoint, which may be far
//! behind. A transaction that had come in part comes again from its start; so the part that came is taken back first
//! (`Slot::CutOff`). The source may have lost the transaction with its crash, or another server may go on that never
//! had it: then its rows must not be sent on with the next one's.
//!
//! A server that falls silent is noticed too: it was asked to send heartbeats, and a connection without any
//! event for several periods counts as lost.
//!
//! # What fails again and again
//! An event that cannot be had (too large for something on the way, or one that crashes its server) looks like a lost
//! network each time. So failures are counted while they happen at one place, with more of the log behind it. The silence
//! that is borne doubles with each, because a large event on a slow line looks like silence too; after `TRIES` the
//! failure is definite.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::Slot;
use super::follower::{Event, Follower, Stop, Wanted};
use super::stream::{self, Request, Stream};
use crate::mysql::connect::{Connect, Flavor, Patience};
use crate::mysql::position::{self, Position, order_places};
use crate::ring;
use crate::{Error, Result};

/// Failures at one place after which there is no point in another try.
const TRIES: u32 = 8;
/// How long a place that was passed is held back when nothing else comes.
const TICK: Duration = Duration::from_millis(100);

/// Of events that come without a pause, so many are taken between two looks at the clock, and at what asks to stop.
const CLOCK_EVERY: u32 = 64;

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
    /// Of which other tables the statements are sent on; a database is asked about as one with an empty table's name.
    pub noticed: Wanted,
    pub patience: Patience,
    /// Kept up to date by the reader, for whoever watches.
    pub heard: Heard,
}

/// When the source last sent anything, heartbeats included, how much, and over which connection.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    bytes: u64,
    connection: Option<u32>,
}

impl Heard {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes more.
    fn now(&self, bytes: u64) {
        let mut line = self.line();
        (line.last, line.bytes) = (Some(Instant::now()), line.bytes + bytes);
    }

    fn connected(&self, id: u32) {
        self.line().connection = Some(id);
    }

    /// How long ago it was; `None` before the first event.
    pub fn silence(&self) -> Option<Duration> {
        self.line().last.map(|heard| heard.elapsed())
    }

    /// Bytes of events so far, as they came over the line: those of a compressed transaction count as they were packed.
    pub fn bytes(&self) -> u64 {
        self.line().bytes
    }

    /// The latest connection's number at the source, as in SHOW PROCESSLIST there.
    pub fn connection(&self) -> Option<u32> {
        self.line().connection
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
        // The thread's result is all that the job hears of it.
        catch_unwind(AssertUnwindSafe(|| run(&options, &sender, &cancel))).unwrap_or_else(|_| {
            Err(Error::definite("the binlog reader met an event that it cannot bear")
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
    let mut follower = Follower::new(options.start.clone(), options.wanted.clone()).noticing(options.noticed.clone());
    let mut pauses = options.patience.pauses();
    let mut stuck = Stuck::default();
    loop {
        let ended = session(options, &mut follower, sender, cancel, &mut stuck).await;
        if sender.flush().is_err() {
            return Ok(());
        }
        match ended {
            Ok(()) | Err(Stop::Closed) => return Ok(()),
            Err(Stop::Failed(error)) if error.is_transient() => {
                if let Some(cut_off) = follower.cut_off()
                    && sender.send(cut_off, 0).is_err()
                {
                    return Ok(());
                }
                let error = stuck.count(follower.boundary(), follower.behind(), error)?;
                if stuck.open && stuck.times == 1 {
                    pauses.reset();
                }
                let pause = pauses.take();
                tracing::warn!(%error, from = %follower.boundary(), ?pause, "binlog connection lost, connecting again");
                if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(());
                }
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
}

/// Failures at one place of the log.
#[derive(Default)]
struct Stuck {
    /// Where the last stream that failed would have gone on.
    boundary: Option<Position>,
    /// How far any stream has come from there.
    furthest: Option<(String, u64)>,
    /// Streams that failed since, not further than that.
    times: u32,
    /// This session's stream has been opened.
    open: bool,
    /// The log went on behind the last boundary when this session began.
    unread: bool,
}

impl Stuck {
    /// Counts a failure behind the event at `(file, offset)`; gives it back unless it was one too many.
    fn count(&mut self, boundary: &Position, (file, offset): (&str, u64), error: Error) -> Result<Error> {
        if !self.open {
            // No connection says nothing about the place.
            return Ok(error);
        }
        let same = self.boundary.as_ref() == Some(boundary);
        let no_further = self.furthest.as_ref().is_some_and(|(furthest, reached)| {
            order_places((file, offset), (furthest, *reached)).is_some_and(Ordering::is_le)
        });
        if !(same && no_further && self.unread) {
            self.boundary = Some(boundary.clone());
            (self.furthest, self.times, self.unread) = (Some((file.to_owned(), offset)), 1, false);
            return Ok(error);
        }
        self.times += 1;
        if self.times < TRIES {
            return Ok(error);
        }
        let (file, offset) = self.furthest.as_ref().map_or((file, offset), |(file, offset)| (file, *offset));
        Err(Error::definite(format!("binlog {file}:{offset}: the binlog connection broke here {TRIES} times in a row"))
            .caused_by(error)
            .hint(
                "look at the next event with mysqlbinlog at the source: it may be damaged, or larger than a proxy on the way lets \
                 through (connect without it); the source's error log may tell more. The job goes on here when started again",
            ))
    }
}

/// One connection's life.
async fn session(
    options: &ReaderOptions,
    follower: &mut Follower,
    sender: &ring::Sender<Slot>,
    cancel: &CancellationToken,
    stuck: &mut Stuck,
) -> Result<(), Stop> {
    stuck.open = false;
    let from = follower.boundary().clone();
    let by_gtid = options.by_gtid;
    let request = Request {
        flavor: options.flavor,
        server_id: options.server_id,
        replica_host: &options.replica_host,
        from: &from,
        by_gtid,
        to_end: false,
        heartbeat: options.patience.heartbeat(),
        budget: Some(sender.budget()),
    };
    let opening = async {
        let mut connection = options.connect.dump(Some(&from)).await?;
        if stuck.times > 0 {
            stuck.unread = !from.reached(&position::current(&mut connection, options.flavor).await?);
        }
        options.heard.connected(connection.id());
        Stream::open(connection, &request).await
    };
    let Some(opened) = cancel.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let mut stream = opened?;
    stuck.open = true;
    follower.restart(!by_gtid && stream::first_offset(&from) < from.offset);
    let silence = options.patience.silence * 2_u32.pow(stuck.times.min(TRIES));
    let mut out = |slot, bytes| sender.gather(slot, bytes);
    let mut heard = Instant::now();
    // Events since the clock was last asked, which costs more than most of them; and bytes that nobody has been told of.
    let (mut unheard, mut untold) = (0, 0);
    loop {
        if unheard % CLOCK_EVERY == 0 && cancel.is_cancelled() {
            break;
        }
        // Most events were read with others; to wait for one, and a timer for it, would cost more than the event.
        let next = match stream.next_ahead(&|| follower.here())? {
            Some(event) => Next::Event(event),
            None => match stream.next(|| follower.here()).now_or_never() {
                Some(next) => Next::of(next),
                None => {
                    sender.flush()?;
                    // Not before: a full ring is our silence, not the source's.
                    if unheard > 0 {
                        options.heard.now(std::mem::take(&mut untold));
                        (heard, unheard) = (Instant::now(), 0);
                    }
                    let wait = if follower.holds_passed() { TICK.min(silence) } else { silence };
                    next_within(&mut stream, || follower.here(), wait, cancel).await
                }
            },
        };
        match next {
            Next::Event(event) => {
                if !event.inner {
                    untold += u64::from(event.size);
                }
                if unheard % CLOCK_EVERY == 0 {
                    options.heard.now(std::mem::take(&mut untold));
                }
                unheard += 1;
                follower.event(&event, &mut out)?;
            }
            Next::Nothing => {
                follower.idle(&mut out)?;
                if heard.elapsed() >= silence {
                    return Err(Error::transient(format!("the source was silent for {silence:?}")).into());
                }
            }
            Next::Failed(error) => return Err(error.into()),
            Next::Ended => return Err(Error::transient("the source closed the binlog connection").into()),
            Next::Cancelled => break,
        }
    }
    Ok(())
}

enum Next {
    Event(Event),
    Nothing,
    Failed(Error),
    Ended,
    Cancelled,
}

async fn next_within(
    stream: &mut Stream,
    here: impl Fn() -> String,
    wait: Duration,
    cancel: &CancellationToken,
) -> Next {
    let next = tokio::time::timeout(wait, stream.next(&here));
    match cancel.run_until_cancelled(next).await {
        None => Next::Cancelled,
        Some(Err(_)) => Next::Nothing,
        Some(Ok(next)) => Next::of(next),
    }
}

impl Next {
    fn of(next: Result<Option<Event>>) -> Next {
        match next {
            Ok(Some(event)) => Next::Event(event),
            Ok(None) => Next::Ended,
            Err(error) => Next::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(offset: u64) -> Position {
        Position { file: "binlog.000001".into(), offset, gtids: None }
    }

    fn fail(stuck: &mut Stuck, offset: u64, unread: bool) -> Result<Error> {
        (stuck.open, stuck.unread) = (true, unread);
        stuck.count(&boundary(4), ("binlog.000001", offset), Error::transient("cut"))
    }

    #[test]
    fn failures_that_come_no_further_become_definite() {
        let mut stuck = Stuck::default();
        for offset in [4, 900, 4, 900, 4, 700, 900, 4] {
            fail(&mut stuck, offset, true).unwrap();
        }
        let error = fail(&mut stuck, 4, true).unwrap_err();
        assert!(!error.is_transient());
        let start = "binlog binlog.000001:900: the binlog connection broke here 8 times in a row: cut";
        assert!(error.to_string().starts_with(start), "{error}");
    }

    #[test]
    fn progress_an_idle_source_and_no_connection_do_not_count() {
        let mut stuck = Stuck::default();
        for offset in 4..24 {
            fail(&mut stuck, offset, true).unwrap();
            assert_eq!(stuck.times, 1);
        }
        for _ in 0..20 {
            fail(&mut stuck, 4, false).unwrap();
        }
        fail(&mut stuck, 4, true).unwrap();
        for _ in 0..20 {
            stuck.open = false;
            stuck.count(&boundary(4), ("binlog.000001", 4), Error::transient("refused")).unwrap();
        }
        assert_eq!(stuck.times, 2);
        // Another server's offsets may be lower.
        stuck.open = true;
        stuck.count(&boundary(5), ("binlog.000001", 4), Error::transient("cut")).unwrap();
        assert_eq!(stuck.times, 1);
    }
}
