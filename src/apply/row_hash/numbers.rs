//! Gives an epoch's rows their numbers.

use std::collections::{HashMap, HashSet};

use super::counts::Counts;
use super::line::{Line, victims_needed};
use super::rows::{HashedRows, Write};
use crate::apply::batch::TableBatch;
use crate::apply::dead_letter::DeadLetters;
use crate::mysql::position::Position;
use crate::schema::{Mapping, TableName};
use crate::state::{Numbered, Numbering, Store, Victim};
use crate::target::Target;
use crate::{Error, Result, step};

/// What is known of tables without a key from one epoch to the next.
#[derive(Default)]
pub struct Numbers {
    /// Those of which pieces have gone out in this run since the last whole epoch.
    runs: HashMap<TableName, Run>,
    /// Those of which pieces have gone out, in this run or an earlier one, and whose transaction has not ended. `None`: not
    /// asked for yet.
    open: Option<HashSet<TableName>>,
    /// Pieces have gone out in this run since the last whole epoch.
    pieces: bool,
}

struct Run {
    replay: bool,
    counts: Counts,
}

/// Which epoch it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpochOf<'a> {
    pub(crate) begin: &'a Position,
    pub(crate) is_piece: bool,
    /// The pieces since the last whole epoch come again.
    pub(crate) anew: bool,
    /// Its rows had been parked ([`crate::apply::lag`]), up to this part; `begin` is where the first of them stands.
    pub(crate) part: Option<u64>,
}

impl Numbers {
    /// Numbers the rows of the tables without a key, and writes down what a replay has to know. To be called once for
    /// each epoch and each piece, before any of its loads is sent and after the one before it is in.
    ///
    /// # Errors
    /// The state store's and the target's.
    pub(crate) async fn number<T: Target>(
        &mut self,
        store: &Store,
        target: &T,
        letters: &DeadLetters,
        epoch: EpochOf<'_>,
        tables: &mut [TableBatch],
    ) -> Result<()> {
        if epoch.anew {
            self.runs.clear();
            self.pieces = false;
        }
        let open = match &mut self.open {
            Some(open) => open,
            unknown => unknown.insert(store.open_numberings()?.into_iter().collect()),
        };
        let mut numbered = Vec::new();
        for table in tables.iter_mut() {
            let mapping = std::sync::Arc::clone(table.mapping());
            let Some(rows) = table.hashed_mut() else { continue };
            let name = &mapping.source.name;
            let numbering = store.numbering(name)?;
            let goes_on = numbering.open || numbering.begin.as_ref() == Some(epoch.begin);
            let run = self.runs.remove(name).filter(|_| goes_on);
            let mut one = OneTable {
                mapping: &mapping,
                base: if goes_on { numbering.base } else { numbering.next },
                replay: run.as_ref().map_or(goes_on, |run| run.replay),
                counts: run.map(|run| run.counts),
            };
            if epoch.is_piece && one.counts.is_none() {
                one.counts = Some(Counts::create()?);
            }
            let known = if goes_on { store.victims(name, rows.nets().map(|(hash, _)| hash))? } else { HashMap::new() };
            let victims = one.find_victims(target, letters, rows, known).await?;
            let (next, new) = one.number(rows, &victims)?;
            numbered.push(Numbered {
                table: name.clone(),
                numbering: Numbering {
                    begin: Some(epoch.begin.clone()),
                    base: one.base,
                    next: next.max(numbering.next),
                    open: epoch.is_piece,
                    part: epoch.part,
                },
                anew: !goes_on,
                victims: new,
            });
            if let (true, Some(counts)) = (epoch.is_piece, one.counts) {
                self.runs.insert(name.clone(), Run { replay: one.replay, counts });
            }
        }
        if epoch.is_piece {
            self.pieces = true;
            open.extend(numbered.iter().map(|one| one.table.clone()));
        } else if epoch.part.is_none() && (self.pieces || !tables.is_empty()) {
            // The transaction has ended; of some tables the last piece has no rows. (An epoch without rows before
            // which no piece went out is one that other transactions have moved, while a torn one is waited for.)
            for table in
                open.drain().filter(|table| !numbered.iter().any(|one| one.table == *table)).collect::<Vec<_>>()
            {
                let numbering = Numbering { begin: Some(epoch.begin.clone()), open: false, ..store.numbering(&table)? };
                numbered.push(Numbered { table, numbering, anew: false, victims: Vec::new() });
            }
            self.runs.clear();
            self.pieces = false;
        }
        if !numbered.is_empty() {
            store.number(&numbered)?;
            step::reached("rows-numbered");
        }
        Ok(())
    }
}

struct OneTable<'a> {
    mapping: &'a Mapping,
    base: i64,
    replay: bool,
    counts: Option<Counts>,
}

/// By hash, with how many of them were known before.
type Victims = HashMap<i128, (usize, Vec<i64>)>;

impl OneTable<'_> {
    fn before(&self, hash: i128) -> Result<(u64, u64)> {
        self.counts.as_ref().map_or(Ok((0, 0)), |counts| counts.get(hash))
    }

    /// Which rows the deletes remove that find none of their own epoch.
    async fn find_victims<T: Target>(
        &self,
        target: &T,
        letters: &DeadLetters,
        rows: &HashedRows,
        known: HashMap<i128, Vec<i64>>,
    ) -> Result<Victims> {
        let mut victims: Victims = known.into_iter().map(|(hash, copies)| (hash, (copies.len(), copies))).collect();
        let table = &self.mapping.target.name;
        let of_letters = letters.copies(table)?;
        let mut wants = Vec::new();
        for (hash, net) in rows.nets().filter(|(_, net)| net.deletes > 0) {
            let (inserts, deletes) = self.before(hash)?;
            let needed = victims_needed((inserts + net.inserts, deletes + net.deletes)) as usize;
            let (_, copies) = victims.entry(hash).or_default();
            let of_letters = of_letters.get(&hash).map(Vec::as_slice).unwrap_or_default();
            for copy in of_letters.iter().filter(|copy| **copy < self.base) {
                if copies.len() < needed && !copies.contains(copy) {
                    copies.push(*copy);
                }
            }
            if copies.len() < needed {
                wants.push((hash, needed));
            }
        }
        if wants.is_empty() {
            return Ok(victims);
        }
        // As many as are needed in all: those that are known may be there still.
        let found = target.copies(table, self.base, &wants).await.map_err(|error| error.context(table))?;
        let mut missing = 0;
        for (&(hash, needed), found) in wants.iter().zip(found) {
            let (_, copies) = victims.entry(hash).or_default();
            for copy in found {
                if copies.len() < needed && !copies.contains(&copy) {
                    copies.push(copy);
                }
            }
            missing += needed - copies.len();
        }
        if missing > 0 {
            tracing::warn!(
                %table,
                "{missing} rows were deleted at the source that the target does not have: they are older than the job, or were \
                 deleted at the target"
            );
        }
        Ok(victims)
    }

    /// Says what is to be written. Returns the first number that is free after it, and the victims that were not known.
    fn number(&self, rows: &mut HashedRows, victims: &Victims) -> Result<(i64, Vec<Victim>)> {
        let (mut writes, mut new, mut next) = (Vec::new(), Vec::new(), self.base);
        for (row, (hash, net)) in rows.nets().enumerate() {
            let before = self.before(hash)?;
            let after = (before.0 + net.inserts, before.1 + net.deletes);
            let (known, copies) = match victims.get(&hash) {
                Some((known, copies)) => (*known, copies.as_slice()),
                None => (0, [].as_slice()),
            };
            let line = Line { base: self.base, before, after, replay: self.replay, victims: copies };
            line.write(|copy, op| writes.push(Write { row: row as u32, copy, op }));
            let ordinals = copies.iter().enumerate().skip(known);
            new.extend(ordinals.map(|(ordinal, &copy)| Victim { hash, ordinal: ordinal as u64, copy }));
            next = i64::try_from(after.0)
                .ok()
                .and_then(|inserts| self.base.checked_add(inserts))
                .ok_or_else(full)?
                .max(next);
            if let Some(counts) = &self.counts {
                counts.set(hash, after)?;
            }
        }
        rows.set_writes(writes);
        Ok((next, new))
    }
}

fn full() -> Error {
    Error::definite("a table without a key has used all numbers for its rows")
        .hint("start a new job (another `name`) with an empty target table")
}
