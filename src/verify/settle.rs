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
//! A value may have gone and come back between the two, in every round, and a row may be seen a moment before its position can
//! be named. So of a row that two rounds in a row have found different the log is asked whether it has stood still since
//! P ([`super::moved`]); only that proves the difference. A row that changes in every round is looked at again, up to
//! [`ROUNDS`] times; then it is *unjudged*, which the report says.
//!
//! A MySQL without GTIDs may have named a P behind a transaction that cannot be seen yet; from the second round on its `after`
//! is read so that it shows everything before P ([`super::visible`]).
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
use super::visible::{Look, may_hide};
use crate::Result;
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;
use crate::state::DifferenceKind;

/// So many that a row which is written all the time, and equal half of the times that it is looked at, is found equal.
const ROUNDS: u32 = 16;
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

/// A difference that one round has found, with both values of each column.
struct Found {
    kind: DifferenceKind,
    columns: Vec<(usize, Value, Value)>,
}

/// The rows that are not decided, each with what the last round has found.
type Open = HashMap<Vec<u8>, Option<Found>>;

impl Settling<'_, '_, '_> {
    pub(crate) async fn settle(&mut self, suspects: Vec<Vec<u8>>) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut open: Open = suspects.into_iter().map(|key| (key, None)).collect();
        let mut waited = None;
        let mut unproved = None;
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
            let (mut left, mut unseen) = (Vec::new(), None);
            for keys in keys.chunks(LOOKUP) {
                let there = self.target.lookup(self.layout, keys, marks).await?;
                self.clock.replica_follows(self.source).await?;
                let after = match round > 0 && may_hide(&position) {
                    false => Look::All(self.source.lookup(self.layout, self.table, keys, marks).await?),
                    true => self.source.lookup_all(self.layout, self.table, keys, marks).await?,
                };
                let after = match after {
                    Look::All(after) => after,
                    Look::Not(why) => {
                        unseen = Some(why.to_owned());
                        left.extend(keys.iter().map(|key| (key.clone(), Verdict::Moving)));
                        continue;
                    }
                };
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
            let found_again = left.into_iter().filter_map(|(key, verdict)| take(key, verdict, &mut open)).collect();
            unproved = self.prove(found_again, &position, &mut open, &mut settled).await?.or(unseen);
            tracing::debug!(table = %self.layout.source, round, rows = keys.len(), moving, left = open.len(), "settling");
        }
        if !open.is_empty() {
            settled.unjudged += open.len() as u64;
            let changed = || format!("they changed each of {ROUNDS} times that they were looked at");
            settled.because = Some(unproved.unwrap_or_else(changed));
        }
        Ok(settled)
    }

    /// Takes out those of the rows that have stood still since `position`: they differ. Why nothing can be said of any row,
    /// if that is so.
    async fn prove(
        &mut self,
        found: Vec<Vec<u8>>,
        position: &Position,
        open: &mut Open,
        settled: &mut Settled,
    ) -> Result<Option<String>> {
        if found.is_empty() {
            return Ok(None);
        }
        let moved = match self.clock.moved_since(position, &self.layout.source).await {
            Ok(moved) => moved,
            Err(error) => {
                settled.because = Some(format!(
                    "the source's log, which tells whether they have changed meanwhile, cannot be read: {error}"
                ));
                settled.unjudged += found.len() as u64;
                found.iter().for_each(|key| drop(open.remove(key)));
                return Ok(None);
            }
        };
        for key in found {
            if !moved.has(&key)?
                && let Some(Found { kind, columns }) = open.remove(&key).flatten()
            {
                let position = position.clone();
                settled.differences.push(Difference { kind, key, columns, position, dead_letter: false });
            }
        }
        Ok(moved.whole().map(str::to_owned))
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

/// Keeps what one round says of a row. Its key, if the round before has found the same.
fn take(key: Vec<u8>, verdict: Verdict, open: &mut Open) -> Option<Vec<u8>> {
    let found = match verdict {
        Verdict::Differs(kind, columns) => Some(Found { kind, columns }),
        _ => None,
    };
    let last = open.get(&key).and_then(Option::as_ref);
    let again = found.as_ref().zip(last).is_some_and(|(found, last)| last.again(found));
    open.insert(key.clone(), found);
    again.then_some(key)
}

impl Found {
    /// The same difference, in at least one column.
    fn again(&self, other: &Found) -> bool {
        let columns: HashSet<usize> = self.columns.iter().map(|column| column.0).collect();
        self.kind == other.kind
            && (columns.is_empty() || other.columns.iter().any(|column| columns.contains(&column.0)))
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
