//! The committer's part of a copy: a chunk goes in, a copy takes the other table's place.

use std::sync::Arc;

use super::swap;
use super::whole::WholeRows;
use crate::apply::change::Followed;
use crate::apply::commit::{Committer, name};
use crate::apply::encode::{Encoder, Op};
use crate::apply::lag::CatchUp;
use crate::apply::selected::Selected;
use crate::apply::unwritable::Unwritable;
use crate::mysql::position::Position;
use crate::mysql::snapshot::{Chunk, SnapshotPlan};
use crate::mysql::wire::KeptRow;
use crate::ring::Held;
use crate::schema::{Mapping, TableName};
use crate::state::{LetterChanges, LoadName, NewLetter};
use crate::target::{Load, Target};
use crate::{Error, Result, step};

/// What the committer does for one table between two epochs.
pub(crate) enum Task {
    Load(Copied),
    /// All of a table's chunks are in; gets the tables as they are from here on.
    Finish(TableName, crossbeam_channel::Sender<Arc<Followed>>),
    /// Rows that were parked.
    CatchUp(CatchUp),
    /// The copy of a table without a key begins anew; gets how often it was begun before.
    Anew(TableName, crossbeam_channel::Sender<u64>),
    Part(WholeRows),
    /// All parts are in: so many rows, as they were at this place.
    Whole {
        table: TableName,
        at: Position,
        rows: i64,
    },
}

/// What has become of rows that were copied.
pub(super) struct Sent {
    pub(super) rows: u64,
    pub(super) names: Vec<LoadName>,
    pub(super) letters: LetterChanges,
}

/// A chunk's rows that are to go in.
pub(crate) struct Copied {
    pub(crate) mapping: Arc<Mapping>,
    /// The copy's.
    pub(crate) number: u64,
    pub(crate) chunk: Chunk,
    pub(crate) rows: Vec<KeptRow>,
    /// The rows' share of the memory budget.
    pub(crate) held: Held,
}

impl<T: Target> Committer<T> {
    /// All before `at` is in, and the checkpoint stands there.
    pub(in crate::apply) fn task(&mut self, at: &Position, task: Task) -> Result<()> {
        match task {
            Task::Load(copied) => self.load_chunk(at, copied),
            Task::CatchUp(rows) => self.catch_up(at, rows),
            Task::Anew(table, begun) => self.copy_anew(&table, &begun),
            Task::Part(rows) => self.load_part(at, rows),
            Task::Whole { table, at, rows } => self.copy_is_whole(&table, &at, rows),
            Task::Finish(table, reply) => {
                let followed = self.finish_copy(&table)?;
                // A flusher that is gone has failed by itself.
                let _ = reply.send(followed);
                Ok(())
            }
        }
    }

    fn load_chunk(&mut self, at: &Position, copied: Copied) -> Result<()> {
        let Copied { mapping, number, chunk, rows, held } = copied;
        let context = |error: Error| error.context(format!("copying table {}", mapping.source.name));
        let plan = SnapshotPlan::new(&mapping, self.changer.values())?;
        let mut encoder = Encoder::new(&mapping.target, self.options.binary, self.options.part_bytes);
        let mut unwritable = Unwritable::new(&mapping.target, self.letters.on_error());
        for row in &rows {
            let row = Selected { plan: &plan, row: row.packed() };
            unwritable.encode(&mut encoder, None, Op::Upsert, row).map_err(context)?;
        }
        drop(rows);
        let letters = unwritable.into_letters();
        let epoch = format!("c{number}x{}", chunk.number);
        let sent = self.send_copied(at, &mapping, &epoch, encoder, letters).map_err(context)?;
        drop(held);
        self.store.copied_chunk(&chunk, sent.rows, &sent.names, &sent.letters)?;
        self.is_in(&chunk, &sent)
    }

    /// Sends rows of a copy. `epoch` tells their loads from all others of the table.
    pub(super) fn send_copied(
        &self,
        at: &Position,
        mapping: &Mapping,
        epoch: &str,
        mut encoder: Encoder,
        letters: Vec<NewLetter>,
    ) -> Result<Sent> {
        let mut letters = self.letters.prepare(&mut Vec::new(), letters)?;
        let parts = encoder.finish().into_iter().enumerate();
        let loads: Vec<Load> =
            parts.map(|(part, body)| self.options.load(epoch, &mapping.target, &encoder, part, body)).collect();
        let names: Vec<LoadName> = loads.iter().map(name).collect();
        let mut rows: u64 = loads.iter().map(|load| load.rows).sum();
        if !names.is_empty() {
            self.store.open_more_loads(&names)?;
            step::reached("copy-load-named");
            let refused = self.send(vec![loads])?;
            rows -= refused.new.len() as u64;
            letters.merge(refused);
        }
        step::reached("copy-load-in");
        self.letters.complete(&mut letters, at, at);
        Ok(Sent { rows, names, letters })
    }

    /// The chunk is written down.
    pub(super) fn is_in(&self, chunk: &Chunk, sent: &Sent) -> Result<()> {
        step::reached("copy-chunk-in");
        self.letters.written(&sent.letters)?;
        self.progress.full_rows(sent.rows);
        tracing::debug!(table = %chunk.table, chunk = chunk.number, rows = sent.rows, "chunk is in");
        Ok(())
    }

    /// The copy is whole: from here on it is the table.
    fn finish_copy(&mut self, table: &TableName) -> Result<Arc<Followed>> {
        let followed = Arc::clone(self.changer.followed_now());
        let (Some(mapping), Some(join)) = (followed.mapping(table), followed.join(table)) else {
            return Err(Error::definite(format!("table {table}: a copy that nobody began is to end")));
        };
        let patience = self.changer.patience();
        self.unless_leaving(swap::patiently(patience, || {
            swap::take_place(self.target.as_ref(), &self.store, table, &mapping.target.name, join)
        }))
        .map_err(|error| error.context(format!("table {table}: its copy takes its place")))?;
        let (next, moves) = followed.copied(table);
        let next = Arc::new(next);
        let definitions = crate::state::DefinitionChanges { letters: moves, ..followed.changes(&next) };
        self.store.change_definitions(&definitions, &self.checkpoint.position)?;
        step::reached("copy-finished");
        self.letters.follow(next.mappings())?;
        self.changer.now_follows(&next);
        self.progress.full_table_done();
        tracing::info!(table = %table, "copied");
        Ok(next)
    }
}
