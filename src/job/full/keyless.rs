//! The copy of a table without a key.
//!
//! A change of such a table must not be applied to rows that have it already, and a row must not be sent twice under
//! two numbers. So the table is read in one transaction, as it was at one place of the log ([`snapshot::at_one_place`]); its
//! rows are numbered as they come; and the place is written down before the copy counts as done, for the incremental
//! stage to take the table's rows from there on.
//!
//! That picture is gone with its connection. Then the copy begins anew, at another place: the attempt is written down
//! first, because it is part of the loads' labels (the target would take an equal load of the attempt before for this
//! one); the loads of the attempt before are waited for; the target's table is emptied. After a crash it is the same,
//! for the start has waited for all loads that were open.
//!
//! The first attempt finds the table empty, or made by this job. One with rows is refused: nobody could tell them from
//! the job's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Body, ChunkWork, Pending, Selected, Sending, Shared, Work, left};
use crate::apply::encode::{Encoder, Op};
use crate::apply::row_hash::{Keyed, RowHasher};
use crate::apply::unwritable::Unwritable;
use crate::mysql::position::Position;
use crate::mysql::snapshot::{self, SnapshotPlan};
use crate::mysql::wire::{Connection, Page};
use crate::ring::Sender;
use crate::target::Target;
use crate::{Error, Result, step};

/// Between two looks whether the loads of a failed attempt are in.
const LOOK: Duration = Duration::from_millis(50);

impl Shared {
    pub(super) fn copy_keyless<T: Target>(&self, work: &Work, bodies: &Sender<Body>, target: &T) -> Result<()> {
        let mut pauses = self.patience.pauses();
        // Of the attempt before. Its own share of `open` is never given back, so the chunk cannot become done by it.
        let mut failed: Option<Arc<ChunkWork>> = None;
        loop {
            let opened =
                self.wait_for(snapshot::at_one_place(&self.connect, &self.start, self.flavor, &work.pending.table));
            let attempt = opened.and_then(|(connection, place)| {
                self.wait_for_loads(failed.as_deref())?;
                let attempt = self.make_room(work, target)?;
                let chunk = ChunkWork::of(work);
                failed = Some(Arc::clone(&chunk));
                self.read_whole(connection, &place, work, attempt, &chunk, bodies)
            });
            match attempt {
                Ok(()) => return Ok(()),
                Err(error) if self.again(&error, &mut pauses) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_for_loads(&self, failed: Option<&ChunkWork>) -> Result<()> {
        let Some(failed) = failed else { return Ok(()) };
        self.wait_for(async {
            while failed.open.load(Ordering::Acquire) > 1 {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        })
    }

    /// Begins an attempt and empties the target's table; returns how many attempts were begun before.
    fn make_room<T: Target>(&self, work: &Work, target: &T) -> Result<u64> {
        let Pending { mapping, .. } = work.pending.as_ref();
        let table = &mapping.target.name;
        let first = self.store.whole_copies_begun(&mapping.source.name)? == 0;
        if first && self.wait_for(target.has_rows(table))? {
            return Err(Error::definite(format!(
                "table {table}: the target's table has rows already, and rows without a key cannot be told from those that are \
                 copied"
            ))
            .hint(format!("TRUNCATE TABLE {} at the target", table.quoted())));
        }
        let attempt = self.store.begin_whole_copy(&mapping.source.name, table)?;
        step::reached("whole-copy-begun");
        if !first {
            self.wait_for(target.truncate_table(table))?;
        }
        Ok(attempt)
    }

    fn read_whole(
        &self,
        mut connection: Connection,
        place: &Position,
        work: &Work,
        attempt: u64,
        chunk: &Arc<ChunkWork>,
        bodies: &Sender<Body>,
    ) -> Result<()> {
        let Pending { mapping, table, .. } = work.pending.as_ref();
        let plan = SnapshotPlan::new(mapping, &self.values)?;
        let mut encoder = Encoder::new(&mapping.target, self.loads.binary, self.loads.part_bytes);
        let mut unwritable = Unwritable::new(&mapping.target, self.letters.on_error());
        let mut hasher = RowHasher::default();
        let mut copy = 0;
        let mut sending = Sending { epoch: format!("f{attempt}"), chunk, bodies, sent: 0 };
        let mut write = |page: Page| -> Result<()> {
            if self.leaving() {
                return Err(left());
            }
            for row in page.rows() {
                let hash = hasher.hash(|hasher| plan.write(row, hasher)).map_err(|error| {
                    Error::definite(format!("{}: cannot decode a row: {error}", mapping.target.name))
                })?;
                let cells = Selected { plan: &plan, row };
                unwritable.encode(&mut encoder, None, Op::Upsert, Keyed { hash, copy, cells })?;
                copy += 1;
            }
            self.set_aside(unwritable.take_letters())?;
            let parts = encoder.take_full_parts();
            sending.send(parts, &encoder, &mapping.target, &self.loads)
        };
        let reading = snapshot::read_chunk(&mut connection, table, &work.chunk, plan.select(), async |page| {
            self.limiter.pass().await;
            self.limiter.took(page.count() as u64, page.size() as u64);
            write(page)
        });
        self.wait_for(reading)?;
        self.runtime.block_on(connection.quit());
        step::reached("chunk-read");
        let parts = encoder.finish();
        sending.send(parts, &encoder, &mapping.target, &self.loads)?;
        self.store.whole_copy_read(&mapping.source.name, place, copy)?;
        step::reached("whole-copy-read");
        self.one_load_less(chunk)
    }
}
