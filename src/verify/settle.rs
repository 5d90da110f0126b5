//! Whether rows that looked different differ for good, or were only on their way.
//!
//! # One round
//! ```text
//! source's log  ──── a ──────── P ───────────────────────── b ────▶
//!                    │ before    │ the log's end             │ after
//!                    └ source    └ wait for the checkpoint   └ source again
//!                                              └ target
//! ```
//! The source's rows are read (`before`), then the position P, and the job is waited for until everything before P is
//! in the target. Then the target's rows are read, and the source's once more (`after`). What a cell was in `before`
//! lies before P, so it has reached the target; where `after` shows the same, it did not change since. So a cell that is
//! equal in `before` and `after` and different at the target differs. A cell that changed in between says nothing.
//!
//! A counter may come back to its old value between the two, and a row may be seen a moment before its position can be
//! named. So a difference counts when two rounds in a row find it, each with a position of its own. A row that changes
//! in every round is looked at again, up to [`ROUNDS`] times; then it is *unjudged*, which the report says.
//!
//! A job that does not come to P is no longer waited for. Then the log tells which of the rows it has still to bring
//! ([`super::pending`]); those are *in flight*, and the others are judged as if the job had come there: what it has still
//! to bring does not touch them.
//!
//! On a replica (`--source-host`) `before` and `after` may be old. So before `after` is read, the replica must have come
//! to where the target was when it was read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use super::clock::{Clock, Waited};
use super::layout::Layout;
use super::report::Difference;
use super::servers::{Digest, LOOKUP, Mark, SourceReader, TargetReader, marks};
use crate::Result;
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;
use crate::state::DifferenceKind;

const ROUNDS: u32 = 10;
/// Between two rounds: what has been committed at the target becomes visible.
const PAUSE: Duration = Duration::from_millis(200);

/// What rows are settled with.
pub(crate) struct Settling<'s, 'a, 'c> {
    pub(crate) layout: &'s Layout,
    pub(crate) table: &'s SnapshotTable,
    pub(crate) source: &'s mut SourceReader,
    pub(crate) target: &'s mut TargetReader<'a>,
    pub(crate) clock: &'s mut Clock<'c>,
}

/// What has become of the suspects.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) differences: Vec<Difference>,
    /// Rows that differ now and that the job has still to bring.
    pub(crate) in_flight: u64,
    /// Rows that differ now and cannot be judged.
    pub(crate) unjudged: u64,
    pub(crate) because: Option<String>,
}

/// A source row's cells, each by its digest; `None`: no such row.
type Before = Option<Vec<Digest>>;

/// What one round says of a row.
enum Verdict {
    Equal,
    /// It changed meanwhile.
    Moving,
    Differs(DifferenceKind, Vec<(usize, Value, Value)>),
}

/// A difference that one round has found.
#[derive(PartialEq)]
struct Found {
    kind: DifferenceKind,
    columns: Vec<usize>,
}

/// The rows that are not decided, each with what the last round has found.
type Open = HashMap<Vec<u8>, Option<Found>>;

impl Settling<'_, '_, '_> {
    pub(crate) async fn settle(&mut self, suspects: Vec<Vec<u8>>) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut open: Open = suspects.into_iter().map(|key| (key, None)).collect();
        let mut waited = None;
        for round in 0..ROUNDS {
            if open.is_empty() {
                return Ok(settled);
            }
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let keys: Vec<Vec<u8>> = open.keys().cloned().collect();
            let mut before: HashMap<Vec<u8>, Before> = HashMap::with_capacity(keys.len());
            for keys in keys.chunks(LOOKUP) {
                let mut found = self.source.lookup(self.layout, self.table, keys, marks).await?;
                let digests = |marks: Vec<Mark>| marks.iter().map(|mark| mark.digest).collect();
                before.extend(keys.iter().map(|key| (key.clone(), found.remove(key).map(digests))));
            }
            let position = self.clock.now().await?;
            let now = self.clock.wait(&position, waited.as_ref()).await?;
            let now = waited.insert(now);
            let mut left = Vec::new();
            for keys in keys.chunks(LOOKUP) {
                let there = self.target.lookup(self.layout, keys, marks).await?;
                self.clock.replica_follows(self.source).await?;
                let after = self.source.lookup(self.layout, self.table, keys, marks).await?;
                for key in keys {
                    let before = before.remove(key).flatten();
                    match judge(before.as_deref(), after.get(key), there.get(key)) {
                        Verdict::Equal => drop(open.remove(key)),
                        verdict => left.push((key.clone(), verdict)),
                    }
                }
            }
            if let Waited::NotYet { because, checkpoint } = now {
                settled.because = Some(because.clone());
                left = self.not_in_flight(left, checkpoint, &mut open, &mut settled).await?;
            }
            let moving = left.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Moving)).count();
            for (key, verdict) in left {
                settled.take(key, verdict, &position, &mut open);
            }
            tracing::debug!(table = %self.layout.source, round, rows = keys.len(), moving, left = open.len(), "settling");
        }
        if !open.is_empty() {
            settled.unjudged += open.len() as u64;
            settled.because = Some(format!("they changed each of {ROUNDS} times that they were looked at"));
        }
        Ok(settled)
    }

    /// Those of the rows that the job has not still to bring. The others are decided.
    async fn not_in_flight(
        &mut self,
        left: Vec<(Vec<u8>, Verdict)>,
        checkpoint: &Position,
        open: &mut Open,
        settled: &mut Settled,
    ) -> Result<Vec<(Vec<u8>, Verdict)>> {
        if left.is_empty() {
            return Ok(left);
        }
        let end = self.clock.now().await?;
        if let Err(error) = self.clock.pending.read_on(checkpoint, &end).await {
            let because = settled.because.take().unwrap_or_default();
            settled.because = Some(format!("{because}; the source's log from there on cannot be read: {error}"));
            settled.unjudged += left.len() as u64;
            open.clear();
            return Ok(Vec::new());
        }
        let mut judged = Vec::with_capacity(left.len());
        for (key, verdict) in left {
            if self.clock.pending.has(&self.layout.source, &key)? {
                settled.in_flight += 1;
                open.remove(&key);
            } else {
                judged.push((key, verdict));
            }
        }
        Ok(judged)
    }
}

impl Settled {
    /// A difference that is found for the second time in a row is one.
    fn take(&mut self, key: Vec<u8>, verdict: Verdict, position: &Position, open: &mut Open) {
        let found = match verdict {
            Verdict::Differs(kind, columns) => {
                let found = Found { kind, columns: columns.iter().map(|column| column.0).collect() };
                if open.get(&key).is_some_and(|last| last.as_ref().is_some_and(|last| last.again(&found))) {
                    open.remove(&key);
                    let position = position.clone();
                    self.differences.push(Difference { kind, key, columns, position, dead_letter: false });
                    return;
                }
                Some(found)
            }
            _ => None,
        };
        open.insert(key, found);
    }
}

impl Found {
    /// The same difference, in at least one column.
    fn again(&self, other: &Found) -> bool {
        let columns: HashSet<usize> = self.columns.iter().copied().collect();
        self.kind == other.kind && (columns.is_empty() || other.columns.iter().any(|column| columns.contains(column)))
    }
}

fn judge(before: Option<&[Digest]>, after: Option<&Vec<Mark>>, there: Option<&Vec<Mark>>) -> Verdict {
    match (before, after, there) {
        (_, None, None) => Verdict::Equal,
        (_, Some(after), Some(there)) if equal(after, there) => Verdict::Equal,
        (Some(_), Some(_), None) => Verdict::Differs(DifferenceKind::Missing, Vec::new()),
        (None, None, Some(_)) => Verdict::Differs(DifferenceKind::Extra, Vec::new()),
        (Some(before), Some(after), Some(there)) => {
            let cells = before.iter().zip(after).zip(there).enumerate();
            let stood = cells.filter(|(_, ((before, after), _))| **before == after.digest);
            let differ = stood.filter(|(_, ((_, after), there))| after.digest != there.digest);
            let columns: Vec<_> =
                differ.map(|(index, ((_, after), there))| (index, after.shown.clone(), there.shown.clone())).collect();
            if columns.is_empty() { Verdict::Moving } else { Verdict::Differs(DifferenceKind::Different, columns) }
        }
        _ => Verdict::Moving,
    }
}

fn equal(left: &[Mark], right: &[Mark]) -> bool {
    left.iter().map(|mark| mark.digest).eq(right.iter().map(|mark| mark.digest))
}

#[cfg(test)]
mod tests {
    use super::super::canonical::Cell;
    use super::*;

    fn row(texts: &[&str]) -> Vec<Mark> {
        let cells: Vec<Cell> = texts.iter().map(|text| Cell::Value(text.as_bytes().to_vec())).collect();
        marks(&cells)
    }

    fn says(before: Option<&[&str]>, after: Option<&[&str]>, there: Option<&[&str]>) -> String {
        let digests: Option<Vec<Digest>> = before.map(|texts| row(texts).iter().map(|mark| mark.digest).collect());
        let (after, there) = (after.map(row), there.map(row));
        match judge(digests.as_deref(), after.as_ref(), there.as_ref()) {
            Verdict::Equal => "equal".into(),
            Verdict::Moving => "moving".into(),
            Verdict::Differs(kind, columns) => {
                format!("{} {:?}", kind.as_str(), columns.iter().map(|column| column.0).collect::<Vec<_>>())
            }
        }
    }

    #[test]
    fn only_what_stood_still_at_the_source_can_differ() {
        assert_eq!(says(Some(&["1"]), Some(&["2"]), Some(&["2"])), "equal");
        assert_eq!(says(Some(&["1"]), None, None), "equal");
        assert_eq!(says(Some(&["1"]), Some(&["2"]), Some(&["1"])), "moving");
        assert_eq!(says(Some(&["1", "x"]), Some(&["2", "x"]), Some(&["1", "y"])), "different [1]");
        assert_eq!(says(None, Some(&["1"]), None), "moving");
        assert_eq!(says(Some(&["1"]), Some(&["9"]), None), "missing []");
        assert_eq!(says(Some(&["1"]), None, Some(&["1"])), "moving");
        assert_eq!(says(None, None, Some(&["1"])), "extra []");
    }
}
