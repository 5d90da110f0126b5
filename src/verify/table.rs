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
//! Where both servers can compute the same checksum of a range ([`checksum`]), they do, and only ranges whose checksums
//! differ are read.
//!
//! # By keys
//! Otherwise (a collation, decimals that are text at the target, ENUM) a range of one is no range of the other. Then the
//! source's rows are looked up at the target by lists of their keys, which finds what is missing and different; and
//! the target's keys are looked up at the source, which finds what is extra.
//!
//! Memory holds the keys and digests of two chunks, and the suspects.
//!
//! [`settle`]: super::settle
//! [`checksum`]: super::checksum

use std::sync::Arc;

use mysql_async::Conn;
use tokio::sync::mpsc;

use super::checksum::{Sum, Sums};
use super::clock::Clock;
use super::layout::{Layout, Row, Side};
use super::pace::{Pace, Sample};
use super::report::{TableReport, Way};
use super::servers::{Digest, Digests, Keys, LOOKUP, SourceReader, TargetReader, Tries, digest};
use super::settle::{Settled, Settling};
use super::{Options, Progress};
use crate::mysql::connect::Connect;
use crate::mysql::snapshot::{Chunk, ChunkPlanner, SnapshotTable, prepare_session};
use crate::state::{DifferenceRecord, Store};
use crate::target::starrocks::StarRocks;
use crate::{Error, Result};

/// Rows of the source in one chunk.
const CHUNK: u64 = 10_000;
/// Rows in a chunk whose rows are only fetched when its checksums differ.
const SUMMED_CHUNK: u64 = 50_000;
/// Rows in a chunk of a sample: small, so that the sample is spread out.
const SAMPLED_CHUNK: u64 = 1_000;
/// Suspects that are settled together.
const SUSPECTS: usize = 10_000;

/// One table's comparison.
pub(crate) struct TableComparison<'a, 'c> {
    pub(crate) layout: Layout,
    pub(crate) snapshot: Arc<SnapshotTable>,
    pub(crate) connect: Connect,
    pub(crate) starrocks: &'a StarRocks,
    pub(crate) clock: &'a mut Clock<'c>,
    pub(crate) store: &'a Store,
    pub(crate) options: &'a Options,
    pub(crate) progress: &'a Progress,
}

/// A chunk at the source.
struct SourceChunk {
    chunk: Chunk,
    read: Read,
}

enum Read {
    Rows(Digests),
    Sum(Sum),
}

impl TableComparison<'_, '_> {
    pub(crate) async fn run(&mut self, report: &mut TableReport) -> Result<()> {
        report.way = if self.layout.is_ordered_alike() { Way::Ranges } else { Way::Keys };
        let patience = self.options.read_patience;
        let mut source = SourceReader::new(&self.connect, patience);
        let mut target = TargetReader::new(self.starrocks, patience);
        let sums = match report.way {
            Way::Ranges => Sums::of(&self.layout, &self.snapshot, &mut source, &mut target).await?,
            _ => None,
        };
        if sums.is_some() {
            report.way = Way::Checksums;
        }
        report.sampled = self.options.sample.is_some();
        let reading = Reading {
            layout: &self.layout,
            snapshot: &self.snapshot,
            connect: &self.connect,
            options: self.options,
            progress: self.progress,
            sums: sums.as_ref(),
        };
        let mut comparing = Comparing {
            layout: &self.layout,
            snapshot: &self.snapshot,
            source,
            target,
            starrocks: self.starrocks,
            clock: self.clock,
            store: self.store,
            options: self.options,
            sums: sums.as_ref(),
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
    sums: Option<&'c Sums>,
}

impl Reading<'_> {
    async fn run(&self, send: mpsc::Sender<SourceChunk>) -> Result<()> {
        let size = match (self.options.sample, self.sums) {
            (Some(_), _) => SAMPLED_CHUNK,
            (None, Some(_)) => SUMMED_CHUNK,
            (None, None) => CHUNK,
        };
        let mut planner = ChunkPlanner::new(Arc::clone(self.snapshot));
        let estimated = self.snapshot.estimated_rows() / size;
        let sample = self.options.sample.map(|share| Sample::new(share, estimated));
        let mut reader = SourceReader::new(self.connect, self.options.read_patience);
        let mut planning = None;
        let mut pace = Pace::new(self.options.rate_limit);
        while let Some(chunk) = self.plan(&mut planner, &mut planning, size).await? {
            if sample.as_ref().is_some_and(|sample| !sample.takes(chunk.number)) {
                continue;
            }
            let clause = with(&chunk.condition(self.snapshot)?, self.options.condition.as_deref());
            let (read, count) = match self.sums {
                Some(sums) => {
                    let sum = reader.sum(self.layout, self.snapshot, &sums.source, &clause).await?;
                    let rows = sum.rows;
                    (Read::Sum(sum), rows)
                }
                None => {
                    let rows = reader.rows(self.layout, self.snapshot, &clause).await?;
                    let count = rows.len() as u64;
                    (Read::Rows(rows), count)
                }
            };
            self.progress.rows(count);
            if send.send(SourceChunk { chunk, read }).await.is_err() {
                // The comparison has seen enough.
                return Ok(());
            }
            pace.keep(count).await;
        }
        Ok(())
    }

    async fn plan(&self, planner: &mut ChunkPlanner, planning: &mut Option<Conn>, size: u64) -> Result<Option<Chunk>> {
        let mut tries = Tries::new(self.options.read_patience);
        loop {
            match self.planned(planner, planning.take(), size).await {
                Ok((chunk, conn)) => {
                    *planning = Some(conn);
                    return Ok(chunk);
                }
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn planned(
        &self,
        planner: &mut ChunkPlanner,
        conn: Option<Conn>,
        size: u64,
    ) -> Result<(Option<Chunk>, Conn)> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => {
                let mut conn = self.connect.sql(None).await?;
                prepare_session(&mut conn).await?;
                conn
            }
        };
        Ok((planner.next(&mut conn, size).await?, conn))
    }
}

/// A WHERE clause with the user's condition too.
pub(super) fn with(clause: &str, condition: Option<&str>) -> String {
    match condition {
        None => clause.to_owned(),
        Some(condition) if clause.is_empty() => format!(" WHERE ({condition})"),
        Some(condition) => format!("{clause} AND ({condition})"),
    }
}

struct Comparing<'c, 'a, 's> {
    layout: &'c Layout,
    snapshot: &'c SnapshotTable,
    source: SourceReader,
    target: TargetReader<'a>,
    starrocks: &'a StarRocks,
    clock: &'c mut Clock<'s>,
    store: &'c Store,
    options: &'c Options,
    sums: Option<&'c Sums>,
    suspects: Vec<Vec<u8>>,
    /// So many of them wait at most: memory has a bound, and more differences than that are not listed.
    limit: usize,
    report: &'c mut TableReport,
}

impl Comparing<'_, '_, '_> {
    async fn run(&mut self, mut chunks: mpsc::Receiver<SourceChunk>) -> Result<()> {
        while let Some(SourceChunk { chunk, read }) = chunks.recv().await {
            match read {
                Read::Sum(sum) => {
                    self.report.rows += sum.rows;
                    if !self.adds_up(&chunk, &sum).await? {
                        self.compare_range(&chunk, None).await?;
                    }
                }
                Read::Rows(rows) => {
                    self.report.rows += rows.len() as u64;
                    match self.report.way {
                        Way::Keys => self.look_up(rows).await?,
                        _ => self.compare_range(&chunk, Some(rows)).await?,
                    }
                }
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

    /// Whether the target's rows of the chunk have the same checksum.
    async fn adds_up(&mut self, chunk: &Chunk, wanted: &Sum) -> Result<bool> {
        let Some(sums) = self.sums else { return Ok(false) };
        let clause = self.target_clause(chunk)?;
        let found = self.target.sum(self.layout, &sums.target, &clause).await?;
        if found != *wanted {
            tracing::debug!(table = %self.layout.source, chunk = chunk.number, "checksums differ");
        }
        Ok(found == *wanted)
    }

    /// The chunk's rows at the target, as a WHERE clause.
    fn target_clause(&self, chunk: &Chunk) -> Result<String> {
        let lower = chunk.lower.as_ref().map(|key| self.layout.bound(key));
        let upper = chunk.upper.as_ref().map(|key| self.layout.bound(key));
        let Some(range) = self.layout.range(lower.as_deref(), upper.as_deref()) else {
            return Err(Error::definite(format!(
                "table {}: a key of it is no bound at the target",
                self.layout.source
            )));
        };
        let clause = if range.is_empty() { String::new() } else { format!(" WHERE {range}") };
        Ok(with(&clause, self.options.condition.as_deref()))
    }

    /// `rows`: the source's; `None`: they have to be read first.
    async fn compare_range(&mut self, chunk: &Chunk, mut rows: Option<Digests>) -> Result<()> {
        let mut tries = self.source.tries();
        loop {
            let wanted = match rows.take() {
                Some(rows) => rows,
                // Not read yet, or used up by a try that failed.
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
        let clause = self.target_clause(chunk)?;
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
            let found = self.target.lookup(self.layout, &keys, digest).await?;
            for (key, wanted) in some {
                if found.get(&key) != Some(&wanted) {
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
        };
        let Settled { mut differences, in_flight, unjudged, because } = settling.settle(suspects).await?;
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
        self.report.in_flight += in_flight;
        self.report.unjudged += unjudged;
        self.report.unjudged_because = because.or(self.report.unjudged_because.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_condition_is_taken_as_a_whole() {
        assert_eq!(with("", None), "");
        assert_eq!(with("", Some("a OR b")), " WHERE (a OR b)");
        assert_eq!(with(" WHERE id > 1", Some("a OR b")), " WHERE id > 1 AND (a OR b)");
    }
}
