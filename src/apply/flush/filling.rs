//! The epoch that is being filled, and the transaction that is being read into it.

use std::sync::Arc;
use std::time::Instant;

use super::super::batch::Batch;
use crate::mysql::binlog::{Place, RowsEvent, Slot};
use crate::mysql::position::{Gtid, GtidSet, Position};
use crate::ring::Entry;
use crate::{Error, Result};

/// The epoch being filled.
pub(super) struct Filling {
    pub(super) batch: Batch,
    pub(super) begin: Position,
    /// The last transaction boundary read.
    pub(super) position: Position,
    pub(super) committed_at: u64,
    /// A place outside transactions was read, by this run.
    pub(super) heard: bool,
    /// `position` is another one since it was compared with the end that was asked for. Sets of GTIDs take their time.
    pub(super) moved: bool,
    pub(super) at_end: bool,
    /// Rows after `position` that are not in the batch: the open transaction's.
    pub(super) open: Vec<Entry<RowsEvent>>,
    pub(super) open_bytes: usize,
    /// Where the first of the open transaction's rows stand.
    pub(super) open_at: Option<RowsAt>,
    /// Rows after `position` are in the batch.
    pub(super) in_transaction: bool,
    /// Rows after `begin` have gone out.
    pub(super) in_pieces: bool,
    /// A transaction of which pieces have gone out was cut off.
    pub(super) torn: Option<Torn>,
    /// The next epoch is the first since that.
    pub(super) anew: bool,
    pub(super) closed_at: Instant,
    pub(super) in_flight: bool,
    /// Read, and not looked at before some table has caught up.
    pub(super) held: Option<Entry<Slot>>,
    /// One has.
    pub(super) held_again: bool,
}

/// File and offset of a rows event.
pub(super) type RowsAt = (Arc<str>, u64);

pub(super) struct Torn {
    pub(super) gtid: Option<Gtid>,
    pub(super) at: Option<RowsAt>,
}

impl Filling {
    pub(super) fn new(start: Position) -> Filling {
        Filling {
            batch: Batch::default(),
            begin: start.clone(),
            position: start,
            committed_at: 0,
            heard: false,
            moved: true,
            at_end: false,
            open: Vec::new(),
            open_bytes: 0,
            open_at: None,
            in_transaction: false,
            in_pieces: false,
            torn: None,
            anew: false,
            closed_at: Instant::now(),
            in_flight: false,
            held: None,
            held_again: false,
        }
    }

    /// The open transaction's rows do not count.
    pub(super) fn cut_off(&mut self, gtid: Option<Gtid>) {
        self.open.clear();
        self.open_bytes = 0;
        let at = self.open_at.take();
        if self.in_transaction {
            // An epoch was closed before it, so the batch has nothing else.
            self.batch = Batch::default();
            self.in_transaction = false;
            if self.in_pieces {
                self.torn = Some(Torn { gtid, at });
                self.anew = true;
            }
        }
    }

    /// A transaction has ended: after a torn one, the torn one itself, read again.
    pub(super) fn comes_again(&mut self, place: &Place) -> Result<()> {
        match self.torn.take() {
            Some(torn) if torn.gtid != place.gtid || torn.gtid.is_none() && torn.at != self.open_at => Err(lost(&torn)),
            _ => Ok(()),
        }
    }

    /// A place was passed: without GTIDs, not one behind a torn transaction.
    pub(super) fn passes(&self, place: &Place) -> Result<()> {
        match &self.torn {
            Some(torn)
                if torn.gtid.is_none()
                    && (self.position.file.as_str(), self.position.offset) != (&*place.file, place.offset) =>
            {
                Err(lost(torn))
            }
            _ => Ok(()),
        }
    }

    /// No transaction is open.
    pub(super) fn is_between(&self) -> bool {
        !self.in_transaction && self.open.is_empty()
    }

    pub(super) fn has_news(&self) -> bool {
        !self.batch.is_empty() || self.begin != self.position
    }
}

pub(super) fn advance(position: &mut Position, place: &Place, passed: Option<&GtidSet>) {
    if *position.file != *place.file {
        position.file = place.file.to_string();
    }
    position.offset = place.offset;
    if let Some(gtids) = &mut position.gtids {
        if let Some(gtid) = &place.gtid {
            gtids.add(gtid);
        }
        if let Some(passed) = passed {
            gtids.union(passed);
        }
    }
}

pub(super) fn lost(torn: &Torn) -> Error {
    let at = torn.at.as_ref().map(|(file, offset)| format!(" at {file}:{offset}")).unwrap_or_default();
    let gtid = torn.gtid.as_ref().map(|gtid| format!(" ({gtid})")).unwrap_or_default();
    Error::definite(format!(
        "the source has lost the transaction{at}{gtid}: it was read in part before the connection was lost, larger than memory, \
         so a part of its rows is in the target"
    ))
    .hint(
        "copy the tables again: start a new job (another `name`, startup: initial) with empty target tables. A source with \
         sync_binlog=1, and a failover that loses nothing, keep this from happening",
    )
}
