//! Comparing one table.
//!
//! # First all rows, then those that look different
//! The first pass reads every row of both sides and keeps of each only its key and a digest of its other cells. It ends
//! with *suspects*: keys that one side lacks, or whose digests differ. While people write there are always some. [`settle`]
//! then looks their rows up again, by key, and tells which differ for good.
//!
//! # By ranges
//! Where both servers order the key alike, the source's key is walked in chunks ([`ChunkPlanner`]), and each chunk's range
//! is read on both sides. Ranges touch and the outer ones are open, so every row of either side falls into one.
//!
//! # By keys
//! Otherwise (a collation, decimals that are text at the target, ENUM) a range of one is no range of the other. Then the
//! source's rows are looked up at the target by lists of their keys, which finds what is missing and different; and
//! the target's keys are looked up at the source, which finds what is extra.
//!
//! Memory holds the keys and digests of two chunks, and the suspects.
//!
//! [`settle`]: super::settle

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::layout::{Layout, Row, Side};
use super::report::{TableReport, Way};
use super::servers::{Digest, Digests, Keys, LOOKUP, SourceReader, TargetReader, Tries, digest};
use super::settle::{Settled, Settling};
use super::{Options, Progress};
use crate::mysql::connect::{Connect, Flavor};
use crate::mysql::snapshot::{Chunk, ChunkPlanner, SnapshotTable, prepare_session};
use crate::state::{DifferenceRecord, Store};
use crate::target::starrocks::StarRocks;
use crate::{Error, Result};

/// Rows of the source in one chunk.
const CHUNK: u64 = 10_000;
/// Rows in a chunk of a sample: small, so that the sample is spread out.
const SAMPLED_CHUNK: u64 = 1_000;
/// Suspects that are settled together.
const SUSPECTS: usize = 10_000;

/// One table's comparison.
pub(crate) struct TableComparison<'a> {
    pub(crate) layout: Layout,
    pub(crate) snapshot: Arc<SnapshotTable>,
    pub(crate) connect: Connect,
    pub(crate) starrocks: &'a StarRocks,
    pub(crate) clock: &'a mut Clock,
    pub(crate) replica: Option<Flavor>,
    pub(crate) store: &'a Store,
    pub(crate) options: &'a Options,
    pub(crate) progress: &'a Progress,
}

/// A chunk of the source's rows, read.
struct SourceChunk {
    chunk: Chunk,
    rows: Digests,
}

impl TableComparison<'_> {
    pub(crate) async fn run(&mut self, report: &mut TableReport) -> Result<()> {
        report.way = if self.layout.is_ordered_alike() { Way::Ranges } else { Way::Keys };
        report.sampled = self.options.sample.is_some();
        let patience = self.options.read_patience;
        let reading = Reading {
            layout: &self.layout,
            snapshot: &self.snapshot,
            connect: &self.connect,
            options: self.options,
            progress: self.progress,
        };
        let mut comparing = Comparing {
            layout: &self.layout,
            snapshot: &self.snapshot,
            source: SourceReader::new(&self.connect, patience),
            target: TargetReader::new(self.starrocks, patience),
            starrocks: self.starrocks,
            clock: self.clock,
            replica: self.replica,
            store: self.store,
            options: self.options,
            suspects: Vec::new(),
            limit: usize::try_from(self.options.max_differences).unwrap_or(usize::MAX).saturating_add(SUSPECTS),
            report,
        };
        let (send, chunks) = mpsc::channel(1);
        tokio::try_join!(reading.run(send), comparing.run(chunks))?;
        Ok(())
    }
}

/// Walks the source's key, reads chunk after chunk and hands them over; one is read while another is compared.
struct Reading<'c> {
    layout: &'c Layout,
    snapshot: &'c Arc<SnapshotTable>,
    connect: &'c Connect,
    options: &'c Options,
    progress: &'c Progress,
}

impl Reading<'_> {
    async fn run(&self, send: mpsc::Sender<SourceChunk>) -> Result<()> {
        let size = self.chunk_rows();
        let mut planner = ChunkPlanner::new(Arc::clone(self.snapshot));
        let estimated = self.snapshot.estimated_rows() / size;
        let sample = self.options.sample.map(|share| Sample::new(share, estimated));
        let mut reader = SourceReader::new(self.connect, self.options.read_patience);
        let mut planning = None;
        let mut pace = Pace::new(self.options.rate_limit);
        while let Some(chunk) = self.plan(&mut planner, &mut planning).await? {
            if sample.as_ref().is_some_and(|sample| !sample.takes(chunk.number)) {
                continue;
            }
            let clause = with(&chunk.condition(self.snapshot)?, self.options.condition.as_deref());
            let rows = reader.rows(self.layout, self.snapshot, &clause).await?;
            let count = rows.len() as u64;
            self.progress.rows(count);
            if send.send(SourceChunk { chunk, rows }).await.is_err() {
                // The comparison has seen enough.
                return Ok(());
            }
            pace.keep(count).await;
        }
        Ok(())
    }

    fn chunk_rows(&self) -> u64 {
        if self.options.sample.is_some() { SAMPLED_CHUNK } else { CHUNK }
    }

    async fn plan(&self, planner: &mut ChunkPlanner, planning: &mut Option<Conn>) -> Result<Option<Chunk>> {
        let mut tries = Tries::new(self.options.read_patience);
        loop {
            match self.planned(planner, planning.take()).await {
                Ok((chunk, conn)) => {
                    *planning = Some(conn);
                    return Ok(chunk);
                }
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn planned(&self, planner: &mut ChunkPlanner, conn: Option<Conn>) -> Result<(Option<Chunk>, Conn)> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => {
                let mut conn = (self.connect)(None).await?;
                prepare_session(&mut conn).await?;
                conn
            }
        };
        Ok((planner.next(&mut conn, self.chunk_rows()).await?, conn))
    }
}

/// Keeps to a number of rows a second.
struct Pace {
    rate: Option<u64>,
    began: Instant,
    rows: u64,
}

impl Pace {
    fn new(rate: Option<u64>) -> Self {
        Pace { rate, began: Instant::now(), rows: 0 }
    }

    async fn keep(&mut self, rows: u64) {
        let Some(rate) = self.rate else { return };
        self.rows += rows;
        let due = Duration::from_secs_f64(self.rows as f64 / rate.max(1) as f64);
        tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
    }
}

/// A WHERE clause with the user's condition too.
fn with(clause: &str, condition: Option<&str>) -> String {
    match condition {
        None => clause.to_owned(),
        Some(condition) if clause.is_empty() => format!(" WHERE ({condition})"),
        Some(condition) => format!("{clause} AND ({condition})"),
    }
}

/// Every n-th chunk, from one that is drawn.
struct Sample {
    stride: u64,
    first: u64,
}

impl Sample {
    fn new(share: f64, chunks: u64) -> Sample {
        let stride = (1.0 / share.clamp(1e-6, 1.0)).round() as u64;
        // Of a small table one chunk at least.
        let first = rand::random_range(0..stride.min(chunks.max(1)));
        Sample { stride, first }
    }

    fn takes(&self, number: u64) -> bool {
        number >= self.first && (number - self.first).is_multiple_of(self.stride)
    }
}

struct Comparing<'c, 'a> {
    layout: &'c Layout,
    snapshot: &'c SnapshotTable,
    source: SourceReader,
    target: TargetReader<'a>,
    starrocks: &'a StarRocks,
    clock: &'c mut Clock,
    replica: Option<Flavor>,
    store: &'c Store,
    options: &'c Options,
    suspects: Vec<Vec<u8>>,
    /// So many of them wait at most: memory has a bound, and more differences than that are not listed.
    limit: usize,
    report: &'c mut TableReport,
}

impl Comparing<'_, '_> {
    async fn run(&mut self, mut chunks: mpsc::Receiver<SourceChunk>) -> Result<()> {
        while let Some(SourceChunk { chunk, rows }) = chunks.recv().await {
            self.report.rows += rows.len() as u64;
            match self.report.way {
                Way::Keys => self.look_up(rows).await?,
                _ => self.compare_range(&chunk, rows).await?,
            }
            if self.suspects.len() >= SUSPECTS {
                self.settle().await?;
            }
            if self.gives_up() {
                break;
            }
        }
        if !self.report.gave_up && self.report.way == Way::Keys {
            self.find_extra().await?;
        }
        self.settle().await?;
        self.gives_up();
        Ok(())
    }

    /// Whether there are more differences than anybody wants to see.
    fn gives_up(&mut self) -> bool {
        self.report.gave_up |= self.report.differences() >= self.options.max_differences;
        self.report.gave_up
    }

    async fn compare_range(&mut self, chunk: &Chunk, rows: Digests) -> Result<()> {
        let mut rows = Some(rows);
        let mut tries = self.source.tries();
        loop {
            let wanted = match rows.take() {
                Some(rows) => rows,
                // A try that failed has used them up.
                None => {
                    let clause = with(&chunk.condition(self.snapshot)?, self.options.condition.as_deref());
                    self.source.rows(self.layout, self.snapshot, &clause).await?
                }
            };
            let before = self.suspects.len();
            match self.compare_with(chunk, wanted).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.suspects.truncate(before);
                    tries.again(error).await?;
                }
            }
        }
    }

    async fn compare_with(&mut self, chunk: &Chunk, mut wanted: Digests) -> Result<()> {
        let layout = self.layout;
        let lower = chunk.lower.as_ref().map(|key| layout.bound(key));
        let upper = chunk.upper.as_ref().map(|key| layout.bound(key));
        let Some(range) = layout.range(lower.as_deref(), upper.as_deref()) else {
            return Err(Error::definite(format!("table {}: a key of it is no bound at the target", layout.source)));
        };
        let clause = if range.is_empty() { String::new() } else { format!(" WHERE {range}") };
        let clause = with(&clause, self.options.condition.as_deref());
        let statement = format!("SELECT {} FROM {}{clause}", layout.expressions(Side::Target), layout.target.quoted());
        let (suspects, limit) = (&mut self.suspects, self.limit);
        self.target
            .each(layout, &statement, &mut |row| {
                let Row { key, cells } = layout.read(row, Side::Target);
                if wanted.remove(&key) != Some(digest(&cells)) {
                    suspects.push(key);
                }
                suspects.len() < limit
            })
            .await?;
        self.suspects.extend(wanted.into_keys());
        self.report.gave_up |= self.suspects.len() >= limit;
        Ok(())
    }

    async fn look_up(&mut self, rows: Digests) -> Result<()> {
        let mut rows: Vec<(Vec<u8>, Digest)> = rows.into_iter().collect();
        while !rows.is_empty() {
            let some = rows.split_off(rows.len().saturating_sub(LOOKUP));
            let keys: Vec<Vec<u8>> = some.iter().map(|(key, _)| key.clone()).collect();
            let found = self.target.lookup(self.layout, &keys).await?;
            for (key, wanted) in some {
                if found.get(&key).map(|cells| digest(cells)) != Some(wanted) {
                    self.suspects.push(key);
                }
            }
        }
        Ok(())
    }

    /// The target's keys that the source does not have.
    async fn find_extra(&mut self) -> Result<()> {
        let mut tries = self.source.tries();
        loop {
            let before = self.suspects.len();
            match self.scan_target().await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.suspects.truncate(before);
                    tries.again(error).await?;
                }
            }
        }
    }

    async fn scan_target(&mut self) -> Result<()> {
        let mut reader = self.starrocks.reader().await?;
        let condition = with("", self.options.condition.as_deref());
        let mut scan = Keys::begin(&mut reader, self.layout, &condition).await?;
        let sample = self.options.sample.map(|share| Sample::new(share, 1));
        for batch in 0.. {
            let keys = scan.next(self.layout).await?;
            self.report.gave_up |= self.suspects.len() >= self.limit;
            if keys.is_empty() || self.report.gave_up {
                break;
            }
            if sample.as_ref().is_none_or(|sample| sample.takes(batch)) {
                let found = self.source.keys(self.layout, self.snapshot, &keys).await?;
                self.suspects.extend(keys.into_iter().filter(|key| !found.contains(key)));
            }
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        if self.suspects.is_empty() {
            return Ok(());
        }
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.sort_unstable();
        suspects.dedup();
        let mut settling = Settling {
            layout: self.layout,
            table: self.snapshot,
            source: &mut self.source,
            target: &mut self.target,
            clock: self.clock,
            replica: self.replica,
            patience: self.options.patience,
        };
        let Settled { mut differences, unjudged, because } = settling.settle(suspects).await?;
        let refused = if differences.is_empty() { Default::default() } else { self.layout.refused_keys(self.store)? };
        differences.sort_by(|left, right| left.key.cmp(&right.key));
        for mut difference in differences {
            difference.dead_letter = refused.contains(&difference.key);
            self.report.count(difference.kind);
            self.report.dead_letters += u64::from(difference.dead_letter);
            if self.report.differences() <= self.options.max_differences {
                let record: DifferenceRecord = difference.record(self.layout);
                self.store.draft_difference(&record)?;
            }
        }
        self.report.unjudged += unjudged;
        self.report.unjudged_because = because.or(self.report.unjudged_because.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_takes_every_nth_chunk_and_at_least_one() {
        for _ in 0..100 {
            let sample = Sample::new(0.1, 1000);
            assert_eq!((0..1000).filter(|number| sample.takes(*number)).count(), 100);
            let small = Sample::new(0.01, 3);
            assert_eq!((0..3).filter(|number| small.takes(*number)).count(), 1);
        }
        let all = Sample::new(1.0, 5);
        assert!((0..5).all(|number| all.takes(number)));
    }

    #[test]
    fn a_users_condition_is_taken_as_a_whole() {
        assert_eq!(with("", None), "");
        assert_eq!(with("", Some("a OR b")), " WHERE (a OR b)");
        assert_eq!(with(" WHERE id > 1", Some("a OR b")), " WHERE id > 1 AND (a OR b)");
    }
}
