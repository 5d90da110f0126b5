//! The committer's part of copying a table without a key: its rows go in, numbered as they come.

use std::sync::Arc;

use crossbeam_channel as channel;

use super::swap::patiently;
use crate::apply::commit::Committer;
use crate::apply::encode::{Encoder, Op};
use crate::apply::row_hash::{Keyed, RowHasher};
use crate::apply::selected::Selected;
use crate::apply::unwritable::Unwritable;
use crate::mysql::position::Position;
use crate::mysql::snapshot::{Chunk, SnapshotPlan};
use crate::mysql::wire::KeptRow;
use crate::ring::Held;
use crate::schema::{Mapping, TableName};
use crate::target::Target;
use crate::{Error, Result, step};

/// Rows of a picture, which go in together.
pub(crate) struct WholeRows {
    pub(crate) mapping: Arc<Mapping>,
    /// The copy's.
    pub(crate) number: u64,
    pub(crate) attempt: u64,
    /// From 0, of this attempt.
    pub(crate) part: u64,
    /// Of the first row.
    pub(crate) copy: i64,
    pub(crate) rows: Vec<KeptRow>,
    /// The rows' share of the memory budget.
    pub(crate) held: Held,
}

impl<T: Target> Committer<T> {
    /// Nothing of the attempt before is under way: each of its loads was waited for, by this run or by the start of it.
    pub(super) fn copy_anew(&self, table: &TableName, begun: &channel::Sender<u64>) -> Result<()> {
        let followed = self.changer.followed();
        let Some(mapping) = followed.mapping(table).filter(|_| followed.join(table).is_some()) else {
            return Err(Error::definite(format!("table {table}: a copy that nobody began is to begin anew")));
        };
        let copy = &mapping.target.name;
        let attempt = self.store.begin_copy_anew(table, copy)?;
        step::reached("copy-anew");
        self.unless_leaving(patiently(self.changer.patience(), || self.target.truncate_table(copy)))?;
        // A flusher that is gone has failed by itself.
        let _ = begun.send(attempt);
        Ok(())
    }

    pub(super) fn load_part(&mut self, at: &Position, part: WholeRows) -> Result<()> {
        let WholeRows { mapping, number, attempt, part, mut copy, rows, held } = part;
        let table = &mapping.source.name;
        let context = |error: Error| error.context(format!("copying table {table}"));
        let plan = SnapshotPlan::new(&mapping, self.changer.values())?;
        let mut encoder = Encoder::new(&mapping.target, self.options.binary, self.options.part_bytes);
        let mut unwritable = Unwritable::new(&mapping.target, self.letters.on_error());
        let mut hasher = RowHasher::default();
        for row in &rows {
            let row = row.packed();
            let hash = hasher
                .hash(|hasher| plan.write(row, hasher))
                .map_err(|error| Error::definite(format!("{}: cannot decode a row: {error}", mapping.target.name)))?;
            let cells = Selected { plan: &plan, row };
            unwritable.encode(&mut encoder, None, Op::Upsert, Keyed { hash, copy, cells }).map_err(context)?;
            copy += 1;
        }
        drop(rows);
        let letters = unwritable.into_letters();
        let epoch = format!("c{number}a{attempt}x{part}");
        let sent = self.send_copied(at, &mapping, &epoch, encoder, letters).map_err(context)?;
        drop(held);
        let chunk = Chunk { table: table.clone(), number: part, lower: None, upper: None };
        self.store.copied_part(&chunk, sent.rows, &sent.names, &sent.letters)?;
        self.is_in(&chunk, &sent)
    }

    pub(super) fn copy_is_whole(&self, table: &TableName, at: &Position, rows: i64) -> Result<()> {
        self.store.copy_is_whole(table, at, rows)?;
        step::reached("copy-whole");
        tracing::info!(%table, rows, %at, "its copy is whole, and goes on with the log");
        Ok(())
    }
}
