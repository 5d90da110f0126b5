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
//! On a replica (`--source-host`) `before` and `after` may be old. So before `after` is read, the replica must have come
//! to where the target was when it was read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::canonical::Cell;
use super::clock::{Clock, Waited};
use super::layout::Layout;
use super::report::Difference;
use super::servers::{Digest, LOOKUP, SourceReader, TargetReader, digest};
use crate::mysql::connect::Flavor;
use crate::mysql::position::Position;
use crate::mysql::snapshot::SnapshotTable;
use crate::state::DifferenceKind;
use crate::{Error, Result};

const ROUNDS: u32 = 10;
/// Between two rounds: what has been committed at the target becomes visible.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks at a replica that lags.
const REPLICA_PAUSE: Duration = Duration::from_millis(100);

/// What rows are settled with.
pub(crate) struct Settling<'s, 'a> {
    pub(crate) layout: &'s Layout,
    pub(crate) table: &'s SnapshotTable,
    pub(crate) source: &'s mut SourceReader,
    pub(crate) target: &'s mut TargetReader<'a>,
    pub(crate) clock: &'s mut Clock,
    /// The source that is read is a replica of the job's.
    pub(crate) replica: Option<Flavor>,
    pub(crate) patience: Duration,
}

/// What has become of the suspects.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) differences: Vec<Difference>,
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
    Differs(DifferenceKind, Vec<(usize, Cell, Cell)>),
}

/// A difference that one round has found.
#[derive(PartialEq)]
struct Found {
    kind: DifferenceKind,
    columns: Vec<usize>,
}

impl Settling<'_, '_> {
    pub(crate) async fn settle(&mut self, suspects: Vec<Vec<u8>>) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut open: HashMap<Vec<u8>, Option<Found>> = suspects.into_iter().map(|key| (key, None)).collect();
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
                let mut found = self.source.lookup(self.layout, self.table, keys).await?;
                let cells = |cells: Vec<Cell>| cells.iter().map(|cell| digest(std::slice::from_ref(cell))).collect();
                before.extend(keys.iter().map(|key| (key.clone(), found.remove(key).map(cells))));
            }
            let position = self.clock.now().await?;
            let waited = self.clock.wait(&position).await?;
            let mut moving = 0;
            for keys in keys.chunks(LOOKUP) {
                let there = self.target.lookup(self.layout, keys).await?;
                self.replica_follows().await?;
                let after = self.source.lookup(self.layout, self.table, keys).await?;
                for key in keys {
                    let before = before.remove(key).flatten();
                    let verdict = judge(before.as_deref(), after.get(key), there.get(key));
                    match (verdict, &waited) {
                        (Verdict::Equal, _) => drop(open.remove(key)),
                        (_, Waited::NotYet(_)) => settled.unjudged += 1,
                        (Verdict::Moving, _) => {
                            moving += 1;
                            open.insert(key.clone(), None);
                        }
                        (Verdict::Differs(kind, columns), _) => {
                            let found = Found { kind, columns: columns.iter().map(|column| column.0).collect() };
                            if open.get(key).is_some_and(|last| last.as_ref().is_some_and(|last| last.again(&found))) {
                                open.remove(key);
                                let position = position.clone();
                                let key = key.clone();
                                settled.differences.push(Difference {
                                    kind,
                                    key,
                                    columns,
                                    position,
                                    dead_letter: false,
                                });
                            } else {
                                open.insert(key.clone(), Some(found));
                            }
                        }
                    }
                }
            }
            tracing::debug!(table = %self.layout.source, round, rows = keys.len(), moving, left = open.len(), "settling");
            if let Waited::NotYet(because) = waited {
                settled.because = Some(because);
                return Ok(settled);
            }
        }
        settled.unjudged += open.len() as u64;
        settled.because = Some(format!("they changed each of {ROUNDS} times that they were looked at"));
        Ok(settled)
    }

    /// A replica has to show at least what the target has.
    async fn replica_follows(&mut self) -> Result<()> {
        let Some(flavor) = self.replica else { return Ok(()) };
        let wanted = self.clock.checkpoint()?;
        let deadline = tokio::time::Instant::now() + self.patience;
        loop {
            let there = self.source.position(flavor).await?;
            if comes_to(&there, &wanted) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::transient(format!(
                    "the replica of --source-host is behind the job: {there}, not {wanted}"
                ))
                .hint("does it still replicate? Verify without --source-host"));
            }
            tokio::time::sleep(REPLICA_PAUSE).await;
        }
    }
}

/// Files and offsets of two servers have nothing to do with each other.
fn comes_to(replica: &Position, wanted: &Position) -> bool {
    replica.gtids.is_some() && wanted.gtids.is_some() && replica.reached(wanted)
}

impl Found {
    /// The same difference, in at least one column.
    fn again(&self, other: &Found) -> bool {
        let columns: HashSet<usize> = self.columns.iter().copied().collect();
        self.kind == other.kind && (columns.is_empty() || other.columns.iter().any(|column| columns.contains(column)))
    }
}

fn judge(before: Option<&[Digest]>, after: Option<&Vec<Cell>>, there: Option<&Vec<Cell>>) -> Verdict {
    match (before, after, there) {
        (_, None, None) => Verdict::Equal,
        (_, Some(after), Some(there)) if after == there => Verdict::Equal,
        (Some(_), Some(_), None) => Verdict::Differs(DifferenceKind::Missing, Vec::new()),
        (None, None, Some(_)) => Verdict::Differs(DifferenceKind::Extra, Vec::new()),
        (Some(before), Some(after), Some(there)) => {
            let cells = before.iter().zip(after).zip(there).enumerate();
            let differ = |(_, ((before, after), there)): &(usize, ((&Digest, &Cell), &Cell))| {
                **before == digest(std::slice::from_ref(*after)) && after != there
            };
            let columns: Vec<_> = cells
                .filter(differ)
                .map(|(index, ((_, after), there))| (index, after.clone(), there.clone()))
                .collect();
            if columns.is_empty() { Verdict::Moving } else { Verdict::Differs(DifferenceKind::Different, columns) }
        }
        _ => Verdict::Moving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(texts: &[&str]) -> Vec<Cell> {
        texts.iter().map(|text| Cell::Value(text.as_bytes().to_vec())).collect()
    }

    fn says(before: Option<&[&str]>, after: Option<&[&str]>, there: Option<&[&str]>) -> String {
        let digests: Option<Vec<Digest>> =
            before.map(|texts| row(texts).iter().map(|cell| digest(std::slice::from_ref(cell))).collect());
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
