//! The rows that one event changes, one after the other, for those who need no more of most of them than the key: a copy
//! beside the stream, which must know what the stream has changed meanwhile, and the comparison of both sides.

use super::{EventPlan, RowsEvent, RowsKind};
use crate::mysql::value::RowError;

/// A row of an event. An image reaches to the end of the event's; its own end is the plan's affair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Changed<'e> {
    Inserted(&'e [u8]),
    Deleted(&'e [u8]),
    Updated {
        before: &'e [u8],
        after: &'e [u8],
        /// To another key.
        moved: bool,
    },
}

/// Walks events; its room for keys serves one after the other.
#[derive(Debug, Default)]
pub(crate) struct RowWalk {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl RowWalk {
    /// # Errors
    /// An image is damaged; and what `take` returns.
    pub(crate) fn each<'e>(
        &mut self,
        plan: &EventPlan,
        event: &'e RowsEvent,
        mut take: impl FnMut(Changed<'e>) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        let images: &'e [u8] = &event.images;
        let mut at = 0;
        // An INSERT of nothing but defaults has an image of no bytes.
        let mut left = !images.is_empty() || plan.after().has_no_columns();
        while left {
            let rest = images.get(at..).unwrap_or_default();
            self.old.clear();
            self.new.clear();
            let (row, length) = match event.kind {
                RowsKind::Insert => (Changed::Inserted(rest), plan.after().walk(rest, &mut self.new)?),
                RowsKind::Delete => (Changed::Deleted(rest), plan.before().walk(rest, &mut self.old)?),
                RowsKind::Update => {
                    let (before, after) = plan.walk_update(rest, &mut self.old, &mut self.new)?;
                    let moved = self.old != self.new;
                    let image = rest.get(before..).unwrap_or_default();
                    (Changed::Updated { before: rest, after: image, moved }, before + after)
                }
            };
            take(row)?;
            at += length;
            left = at < images.len();
            if left && length == 0 {
                return Err(RowError::row("bytes behind an image without columns"));
            }
        }
        Ok(())
    }
}
