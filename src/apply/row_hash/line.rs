//! The slots of one hash: see the drawing in [`super`].

use crate::apply::encode::Op;

/// How the rows of one hash have changed since the epoch's begin.
pub(super) struct Line<'a> {
    pub(super) base: i64,
    /// Inserts and deletes of the pieces that have gone out before.
    pub(super) before: (u64, u64),
    /// With those of this piece, or epoch.
    pub(super) after: (u64, u64),
    /// An earlier try may have written any slot between all deletes and all inserts.
    pub(super) replay: bool,
    /// As many as are known; fewer than are needed if the target had no more rows of this hash.
    pub(super) victims: &'a [i64],
}

/// Victims that are needed after so many inserts and deletes.
pub(super) fn victims_needed((inserts, deletes): (u64, u64)) -> u64 {
    deletes.saturating_sub(inserts)
}

impl Line<'_> {
    /// Gives each number that is to be written to `write`, once, with what becomes of its row.
    pub(super) fn write(&self, mut write: impl FnMut(i64, Op)) {
        let net = |(inserts, deletes): (u64, u64)| inserts as i64 - deletes as i64;
        let (from, to) = (net(self.before), net(self.after));
        let (low, high) = (from.min(to), from.max(to));
        let op = |slot: i64| if slot < to { Op::Upsert } else { Op::Delete };
        let first = self.replay && self.before == (0, 0);
        let lowest = if first { low.min(-(self.victims.len() as i64)) } else { low };
        for slot in lowest..high.min(0) {
            if let Some(&copy) = self.victims.get((-1 - slot) as usize) {
                write(copy, op(slot));
            }
        }
        let highest = if self.replay { self.after.0 as i64 } else { high };
        for slot in low.max(0)..high {
            write(self.base + slot, op(slot));
        }
        // What the pieces before have told of is as they left it.
        for slot in high.max(self.before.0 as i64)..highest {
            write(self.base + slot, op(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BASE: i64 = 100;

    /// The target's rows of one hash, what is written down of them, and a source whose transaction is sent in pieces.
    struct Scene {
        there: BTreeSet<i64>,
        victims: Vec<i64>,
    }

    impl Scene {
        /// Sends the changes (`true`: an insert) in pieces that end at `cuts`, and stops for good before the last `lost`
        /// writes.
        fn send(&mut self, changes: &[bool], cuts: &[usize], replay: bool, lost: Option<usize>) {
            let mut before = (0, 0);
            let mut start = 0;
            let mut writes = Vec::new();
            for &end in cuts {
                let inserts = changes[start..end].iter().filter(|insert| **insert).count() as u64;
                let after = (before.0 + inserts, before.1 + (end - start) as u64 - inserts);
                start = end;
                let needed = victims_needed(after) as usize;
                let mut others: Vec<i64> =
                    self.there.iter().copied().filter(|copy| *copy < BASE && !self.victims.contains(copy)).collect();
                while self.victims.len() < needed && !others.is_empty() {
                    self.victims.push(others.remove(others.len() / 2));
                }
                let mut piece = Vec::new();
                let line = Line { base: BASE, before, after, replay, victims: &self.victims };
                line.write(|copy, op| piece.push((copy, op)));
                let once: BTreeSet<i64> = piece.iter().map(|(copy, _)| *copy).collect();
                assert_eq!(once.len(), piece.len(), "a key is twice in a load");
                // Loads of one table go out in turn, but a try may end anywhere in them.
                for (copy, op) in piece {
                    writes.push((copy, op));
                    if lost.is_none_or(|lost| writes.len() <= lost) {
                        match op {
                            Op::Upsert => drop(self.there.insert(copy)),
                            Op::Delete => drop(self.there.remove(&copy)),
                        }
                    }
                }
                if lost.is_some_and(|lost| writes.len() > lost) {
                    return;
                }
                before = after;
            }
        }
    }

    fn cuts(changes: usize, cuts: &[usize]) -> Vec<usize> {
        let mut cuts: BTreeSet<usize> = cuts.iter().map(|cut| cut % (changes + 1)).collect();
        cuts.insert(changes);
        cuts.into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// However the pieces are cut, and however often the transaction is begun anew, the count is the source's.
        #[test]
        fn the_count_is_right_after_any_number_of_tries(
            there in 0usize..6,
            changes in prop::collection::vec(any::<bool>(), 0..14),
            tries in prop::collection::vec((prop::collection::vec(0usize..20, 0..5), 0usize..12), 0..4),
            last in prop::collection::vec(0usize..20, 0..5),
        ) {
            // The source cannot delete what it has not.
            let mut count = there as i64;
            let changes: Vec<bool> = changes
                .into_iter()
                .filter(|&insert| {
                    let goes = insert || count > 0;
                    count += if !goes { 0 } else if insert { 1 } else { -1 };
                    goes
                })
                .collect();
            let mut scene = Scene { there: (0..there as i64).collect(), victims: Vec::new() };
            for (number, (at, lost)) in tries.iter().enumerate() {
                scene.send(&changes, &cuts(changes.len(), at), number > 0, Some(*lost));
            }
            scene.send(&changes, &cuts(changes.len(), &last), !tries.is_empty(), None);
            prop_assert_eq!(scene.there.len() as i64, count, "{:?}", scene.there);
        }

        /// Transactions that come in another order the second time are the same rows.
        #[test]
        fn the_order_of_changes_does_not_matter(
            changes in prop::collection::vec(any::<bool>(), 0..14),
            seed in any::<u64>(),
            at in prop::collection::vec(0usize..20, 0..5),
            lost in 0usize..12,
        ) {
            let mut other = changes.clone();
            let mut state = seed;
            for index in (1..other.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                other.swap(index, (state >> 33) as usize % (index + 1));
            }
            let there = 14;
            let mut scene = Scene { there: (0..there).collect(), victims: Vec::new() };
            // One epoch at first, since pieces are of one transaction.
            scene.send(&other, &[other.len()], false, Some(lost));
            scene.send(&changes, &cuts(changes.len(), &at), true, None);
            let inserts = changes.iter().filter(|insert| **insert).count() as i64;
            prop_assert_eq!(scene.there.len() as i64, there + 2 * inserts - changes.len() as i64);
        }
    }

    #[test]
    fn what_cancels_out_is_not_written_the_first_time() {
        let written = |after, replay| {
            let mut written = Vec::new();
            let line = Line { base: 7, before: (0, 0), after, replay, victims: &[3] };
            line.write(|copy, op| written.push((copy, op)));
            written
        };
        assert_eq!(written((2, 2), false), []);
        assert_eq!(written((3, 1), false), [(7, Op::Upsert), (8, Op::Upsert)]);
        assert_eq!(written((1, 2), false), [(3, Op::Delete)]);
        assert_eq!(written((1, 1), true), [(3, Op::Upsert), (7, Op::Delete)]);
    }
}
