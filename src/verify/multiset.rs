//! Comparing a table without a key: how often each row is there.
//!
//! No row can be looked up, and no range can be read. So a table is read as a whole, and a row is what its compared cells say:
//! both sides must have each row the same number of times. A row that was changed at one side shows as one that
//! is missing and one that is extra.
//!
//! # First both servers' sums, then counts
//! Where both servers can compute the same checksum ([`checksum`]), one statement on each side answers for a table that is equal.
//! Else every row's digest is put into a temporary file, and those whose counts differ are found by sorting it there, in bounded
//! memory.
//!
//! # Rows on their way
//! ```text
//! source's log ──────────── P0 ─────────────────── P1 ────────────────▶
//!            source S0      │ wait   target T0, S1  │ wait   T1, S2
//! ```
//! As for rows with keys ([`settle`]): what S0 counts of a row lies before P0 and so is in T0. Where S1 counts the same, the row
//! stood still between them, and T0 has to show that count. Of a difference that two such looks in a row find, where S1
//! serves both, the log is asked whether the row was written since P ([`super::moved`]): only if not, it counts. From the second reading on only the rows whose counts differed are counted, in memory.
//!
//! A MySQL without GTIDs may have named a P behind a transaction that cannot be seen yet; from the second round on all that is in the
//! log is waited for before S is read ([`super::visible`]).
//!
//! Of a job that does not come to P the log tells which rows it has still to bring ([`super::pending`]).
//!
//! Each reading is one SELECT, and the source keeps a picture of the table for as long as that takes.
//!
//! [`checksum`]: super::checksum
//! [`settle`]: super::settle

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};
use twox_hash::XxHash3_128;

use super::canonical::Cell;
use super::checksum::Sums;
use super::clock::{Clock, Waited};
use super::layout::{Layout, RawRow, Side};
use super::pace::{Pace, RowSample};
use super::report::{TableReport, Way, shown};
use super::servers::{Digest, SourceReader, TargetReader};
use super::table::with;
use super::visible::{Look, may_hide};
use super::{Options, Progress};
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;
use crate::state::{DifferenceKind, DifferenceRecord, Store};
use crate::{Error, Result};

const ROUNDS: u32 = 10;
/// Between two rounds: what has been committed at the target becomes visible.
const PAUSE: Duration = Duration::from_millis(200);

/// One table's comparison.
pub(crate) struct Multiset<'m, 'a, 'c> {
    pub(crate) layout: &'m Layout,
    pub(crate) snapshot: &'m SnapshotTable,
    pub(crate) source: SourceReader,
    pub(crate) target: TargetReader<'a>,
    pub(crate) clock: &'m mut Clock<'c>,
    pub(crate) store: &'m Store,
    pub(crate) options: &'m Options,
    pub(crate) progress: &'m Progress,
}

/// A row whose counts have differed.
#[derive(Default)]
struct Suspect {
    /// At the source, in the reading before the last one.
    before: u64,
    there: u64,
    /// At the source, in the last reading.
    after: u64,
    /// What the last round has found.
    found: Option<DifferenceKind>,
    /// Its cells.
    shown: Option<Value>,
}

type Suspects = HashMap<Digest, Suspect>;

/// Where a reading's rows are counted.
enum Count<'m> {
    All(&'m mut Seen),
    Only(&'m mut Suspects),
}

impl Multiset<'_, '_, '_> {
    pub(crate) async fn run(&mut self, report: &mut TableReport) -> Result<()> {
        report.sampled = self.options.sample.is_some();
        if let Some(rows) = self.add_up().await? {
            (report.way, report.rows) = (Way::Checksums, rows);
            self.progress.rows(rows);
            return Ok(());
        }
        report.way = Way::Counts;
        let sample = RowSample::new(self.options.sample);
        let mut seen = Seen::create()?;
        report.rows = self.read_source(&mut Count::All(&mut seen), sample).await?;
        let mut position = self.clock.now().await?;
        let mut waited = self.clock.wait(&position, None).await?;
        self.read_target(&mut Count::All(&mut seen), sample).await?;
        // One more than are told.
        let mut open = seen.differing(self.options.max_differences.saturating_add(1))?;
        drop(seen);
        report.gave_up = open.len() as u64 > self.options.max_differences;
        let mut unproved = None;
        for round in 0..ROUNDS {
            if open.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
                position = self.clock.now().await?;
                waited = self.clock.wait(&position, Some(&waited)).await?;
                self.read_target(&mut Count::Only(&mut open), sample).await?;
                if may_hide(&position)
                    && let Look::Not(why) = self.source.all_is_seen(self.layout, self.snapshot).await?
                {
                    unproved = Some(why.to_owned());
                    continue;
                }
            }
            self.clock.replica_follows(&mut self.source).await?;
            self.read_source(&mut Count::Only(&mut open), sample).await?;
            open.retain(|_, suspect| suspect.after != suspect.there);
            if let Waited::NotYet { because, checkpoint } = &waited {
                report.unjudged_because = Some(because.clone());
                self.set_aside(&mut open, checkpoint, report).await?;
            }
            let differing = judge(&mut open);
            unproved = self.prove(differing, &mut open, &position, report).await?;
            tracing::debug!(table = %self.layout.source, round, left = open.len(), "settling");
        }
        if !open.is_empty() {
            report.unjudged += open.values().map(Suspect::rows).sum::<u64>();
            let changed = || format!("they changed each of {ROUNDS} times that they were looked at");
            report.unjudged_because = Some(unproved.unwrap_or_else(changed));
        }
        Ok(())
    }

    /// The number of rows, if both servers can add them up and have the same sum.
    async fn add_up(&mut self) -> Result<Option<u64>> {
        if self.options.sample.is_some() {
            return Ok(None);
        }
        let sums = Sums::of(self.layout, self.snapshot, &mut self.source, &mut self.target).await?;
        let Some(sums) = sums else { return Ok(None) };
        let clause = with("", self.options.condition.as_deref());
        let wanted = self.source.sum(self.layout, self.snapshot, &sums.source, &clause).await?;
        let found = self.target.sum(self.layout, &sums.target, &clause).await?;
        if found != wanted {
            tracing::debug!(table = %self.layout.source, "checksums differ");
        }
        Ok((found == wanted).then_some(wanted.rows))
    }

    /// Reads all rows of the source; how many there are.
    async fn read_source(&mut self, count: &mut Count<'_>, sample: RowSample) -> Result<u64> {
        let condition = with("", self.options.condition.as_deref());
        let expressions = self.layout.expressions(Side::Source);
        let statement = format!("SELECT {expressions} FROM {}{condition}", self.snapshot.source());
        let (layout, progress) = (self.layout, self.progress);
        let mut tries = self.source.tries();
        loop {
            count.begin(Side::Source)?;
            let all = matches!(count, Count::All(_));
            let mut rows = 0;
            let mut take = |row: RawRow| {
                if let Some(row) = Self::row(layout, row, Side::Source, sample) {
                    rows += 1;
                    progress.rows(u64::from(all));
                    count.take(layout, Side::Source, &row)?;
                }
                Ok(())
            };
            let mut pace = Pace::new(self.options.rate_limit);
            match self.source.scan(layout, statement.clone(), &mut pace, &mut take).await {
                Ok(()) => return Ok(rows),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn read_target(&mut self, count: &mut Count<'_>, sample: RowSample) -> Result<()> {
        let condition = with("", self.options.condition.as_deref());
        let expressions = self.layout.expressions(Side::Target);
        let statement = format!("SELECT {expressions} FROM {}{condition}", self.layout.target.quoted());
        let layout = self.layout;
        let mut tries = self.source.tries();
        loop {
            count.begin(Side::Target)?;
            let mut kept = Ok(());
            let mut take = |row: RawRow| {
                if let Some(row) = Self::row(layout, row, Side::Target, sample) {
                    kept = count.take(layout, Side::Target, &row);
                }
                kept.is_ok()
            };
            match self.target.each(layout, &statement, &mut take).await.and(kept) {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// The row's cells, if it is in the sample.
    fn row(layout: &Layout, row: RawRow, side: Side, sample: RowSample) -> Option<ReadRow> {
        let cells = layout.read(row, side).key;
        let digest = XxHash3_128::oneshot(&cells);
        sample.takes(digest).then_some(ReadRow { digest, cells })
    }

    /// Takes out the rows that the job has still to bring.
    async fn set_aside(&mut self, open: &mut Suspects, checkpoint: &Position, report: &mut TableReport) -> Result<()> {
        if open.is_empty() {
            return Ok(());
        }
        let end = self.clock.now().await?;
        if let Err(error) = self.clock.pending.read_on(checkpoint, &end).await {
            let because = report.unjudged_because.take().unwrap_or_default();
            report.unjudged_because =
                Some(format!("{because}; the source's log from there on cannot be read: {error}"));
            report.unjudged += open.drain().map(|(_, suspect)| suspect.rows()).sum::<u64>();
            return Ok(());
        }
        let digests: Vec<Digest> = open.keys().copied().collect();
        for digest in digests {
            if self.clock.pending.has_digest(&self.layout.source, digest)?
                && let Some(suspect) = open.remove(&digest)
            {
                report.in_flight += suspect.rows();
            }
        }
        Ok(())
    }

    /// Takes out those of the rows that nobody has written since `position`: they differ. Why nothing can be said of any
    /// row, if that is so.
    async fn prove(
        &mut self,
        differing: Vec<Digest>,
        open: &mut Suspects,
        position: &Position,
        report: &mut TableReport,
    ) -> Result<Option<String>> {
        if differing.is_empty() {
            return Ok(None);
        }
        let moved = match self.clock.moved_since(position, &self.layout.source).await {
            Ok(moved) => moved,
            Err(error) => {
                report.unjudged_because = Some(format!(
                    "the source's log, which tells whether they have changed meanwhile, cannot be read: {error}"
                ));
                let suspects = differing.iter().filter_map(|digest| open.remove(digest));
                report.unjudged += suspects.map(|suspect| suspect.rows()).sum::<u64>();
                return Ok(None);
            }
        };
        for digest in differing {
            if moved.has_digest(digest)? {
                continue;
            }
            let Some(suspect) = open.remove(&digest) else { continue };
            let kind = suspect.found.unwrap_or(DifferenceKind::Extra);
            match kind {
                DifferenceKind::Missing => report.missing += suspect.rows(),
                _ => report.extra += suspect.rows(),
            }
            self.store.draft_difference(&DifferenceRecord {
                table: self.layout.source.clone(),
                kind,
                key: digest.to_be_bytes().to_vec(),
                position: Some(position.clone()),
                detail: suspect.line(self.layout, kind, position).to_string(),
            })?;
        }
        Ok(moved.whole().map(str::to_owned))
    }
}

/// The rows of which two rounds in a row have found the same, in order. Begins the next round.
fn judge(open: &mut Suspects) -> Vec<Digest> {
    let mut differing = Vec::new();
    for (digest, suspect) in open.iter_mut() {
        let last = suspect.found.take();
        let kind = if suspect.there < suspect.after { DifferenceKind::Missing } else { DifferenceKind::Extra };
        // What changed in between says nothing.
        suspect.found = (suspect.before == suspect.after).then_some(kind);
        if suspect.found.is_some() && suspect.found == last {
            differing.push(*digest);
        }
        suspect.before = suspect.after;
    }
    differing.sort_unstable();
    differing
}

/// A row of either side.
struct ReadRow {
    digest: Digest,
    /// As [`Cell::write`] writes them.
    cells: Vec<u8>,
}

impl Suspect {
    /// So many rows are missing or extra.
    fn rows(&self) -> u64 {
        self.after.abs_diff(self.there)
    }

    fn line(&self, layout: &Layout, kind: DifferenceKind, position: &Position) -> Value {
        json!({
            "table": layout.source.to_string(),
            "target": layout.target.to_string(),
            "difference": kind.as_str(),
            "row": self.shown,
            "atSource": self.after,
            "atTarget": self.there,
            "position": position,
        })
    }
}

fn show(layout: &Layout, cells: &[u8]) -> Value {
    let cells = layout.columns.iter().zip(Cell::read_all(cells));
    Value::Object(cells.map(|(column, cell)| (column.name.clone(), shown(&cell))).collect::<Map<String, Value>>())
}

impl Count<'_> {
    /// A side is read from its first row on.
    fn begin(&mut self, side: Side) -> Result<()> {
        match (self, side) {
            (Count::All(seen), side) => seen.forget(side)?,
            (Count::Only(suspects), Side::Source) => suspects.values_mut().for_each(|suspect| suspect.after = 0),
            (Count::Only(suspects), Side::Target) => suspects.values_mut().for_each(|suspect| suspect.there = 0),
        }
        Ok(())
    }

    fn take(&mut self, layout: &Layout, side: Side, row: &ReadRow) -> Result<()> {
        match self {
            Count::All(seen) => seen.add(side, row.digest)?,
            Count::Only(suspects) => {
                let Some(suspect) = suspects.get_mut(&row.digest) else { return Ok(()) };
                match side {
                    Side::Source => suspect.after += 1,
                    Side::Target => suspect.there += 1,
                }
                if suspect.shown.is_none() {
                    suspect.shown = Some(show(layout, &row.cells));
                }
            }
        }
        Ok(())
    }
}

/// The digests of all rows of both sides, one after another.
struct Seen(Connection);

impl Seen {
    fn create() -> Result<Seen> {
        // An empty name is SQLite's own temporary file, which it removes by itself; so are those that it sorts in.
        let sqlite = Connection::open(Path::new("")).map_err(failed)?;
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
                 CREATE TABLE seen (source INTEGER NOT NULL, digest BLOB NOT NULL);
                 BEGIN;",
            )
            .map_err(failed)?;
        Ok(Seen(sqlite))
    }

    fn forget(&mut self, side: Side) -> Result<()> {
        self.0.execute("DELETE FROM seen WHERE source = ?1", [side == Side::Source]).map(drop).map_err(failed)
    }

    fn add(&mut self, side: Side, digest: Digest) -> Result<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO seen VALUES (?1, ?2)").map_err(failed)?;
        insert.execute(params![side == Side::Source, digest.to_be_bytes()]).map(drop).map_err(failed)
    }

    /// Some of the rows whose counts differ.
    fn differing(&mut self, most: u64) -> Result<Suspects> {
        let mut select = self
            .0
            .prepare(
                "SELECT digest, sum(source), sum(1 - source) FROM seen GROUP BY digest
                 HAVING sum(source) <> sum(1 - source) LIMIT ?1",
            )
            .map_err(failed)?;
        let found = select
            .query_map([most as i64], |row| {
                let count = |at| row.get::<_, i64>(at).map(|count| count as u64);
                let suspect = Suspect { before: count(1)?, there: count(2)?, ..Suspect::default() };
                Ok((u128::from_be_bytes(row.get(0)?), suspect))
            })
            .map_err(failed)?;
        found.collect::<rusqlite::Result<_>>().map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    Error::definite("the temporary file with the rows that are counted cannot be used")
        .caused_by(error)
        .hint("make room in the system's folder for temporary files (TMPDIR)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_whose_counts_differ_are_found_by_both_counts() {
        let mut seen = Seen::create().unwrap();
        for (side, digests) in [(Side::Source, [1, 1, 1, 2, 3]), (Side::Target, [1, 1, 2, 4, 4])] {
            seen.add(side, 9).unwrap();
            // A reading that failed begins anew.
            seen.forget(side).unwrap();
            digests.into_iter().for_each(|digest| seen.add(side, digest).unwrap());
        }
        let found = seen.differing(10).unwrap();
        let mut counts: Vec<_> = found.iter().map(|(digest, row)| (*digest, row.before, row.there)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(1, 3, 2), (3, 1, 0), (4, 0, 2)]);
        assert_eq!(seen.differing(1).unwrap().len(), 1);
    }
}
