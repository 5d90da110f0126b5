//! Epochs that become visible whole (`atomicTransactions`).
//!
//! An epoch ends between two transactions of the source, and a target's transaction takes all of its loads: whoever reads
//! the target sees the source as it was after some transaction, never half of one. One load alone needs no such
//! transaction.
//!
//! Each try of the target's transaction has a label of its own. It is written down beside the intent before the try
//! begins, and [`super::commit::settle`] ends each of them before a later run sends anything, so that no try of a killed
//! run can come in behind newer rows. The same epoch then has the same labels again, and a try that is in is found.
//!
//! A transaction too large for the memory budget would go out in pieces, and a reader would see them: the job stops
//! before the first.

use std::fmt;
use std::time::Instant;

use super::commit::{Committer, name, note};
use super::label::transaction_label;
use crate::metrics::Phase;
use crate::mysql::position::Position;
use crate::state::{Intent, LoadName};
use crate::target::{Load, Target};
use crate::{Error, Result};

impl<T: Target> Committer<T> {
    /// Writes the intent and brings all loads of an epoch in, at one moment.
    pub(super) fn send_together(&self, intent: &Intent, loads: Vec<Vec<Load>>) -> Result<()> {
        let all: Vec<Load> = loads.into_iter().flatten().collect();
        let Some(first) = all.first() else { return Ok(()) };
        if all.len() == 1 {
            self.store.open_epoch(intent, &[name(first)])?;
            return self.send(vec![all]).map(drop);
        }
        let database = first.table.database.clone();
        let mut open = |number: u32| {
            let label = transaction_label(&self.options.job, intent.epoch, number, &all);
            let name = LoadName { database: database.clone(), label };
            self.progress.metrics().timed(Phase::Intent, || match number {
                0 => self.store.open_epoch(intent, std::slice::from_ref(&name)),
                _ => self.store.open_load(&name),
            })?;
            Ok(name.label)
        };
        self.unless_leaving(async {
            let began = Instant::now();
            let loaded = self.target.load_together(&all, &mut open).await;
            note(&self.progress, &loaded, all.iter().map(|load| load.body.len()).sum(), began);
            loaded.map(drop)
        })
    }
}

/// Why a piece of a transaction may not go out.
pub(super) fn too_large(begin: &Position, bytes: impl fmt::Display) -> Error {
    Error::definite(format!(
        "the transactions after {begin} do not fit into memory ({bytes} bytes of rows have been read, and the last \
         transaction goes on); with atomicTransactions it must not be sent in pieces"
    ))
    .hint(
        "raise params.totalDataInMemMb (a transaction whose events take a sixteenth of it always fits), or leave atomicTransactions out while this \
         transaction passes; nothing is lost, the job goes on from its checkpoint",
    )
}

#[cfg(test)]
mod tests;
