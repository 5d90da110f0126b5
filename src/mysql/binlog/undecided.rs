//! XA transactions that are prepared where a job begins, and not yet decided.
//!
//! Their rows stand in the log before that place, and no copy sees them: they are not committed. When XA COMMIT comes,
//! behind the place, it tells nothing but a name. So before a job begins, the log is read back as far as they go.
//!
//! `XA RECOVER` names those that are prepared at a moment, and no statement tells a moment and a place together. Therefore
//! [`Moment::now`] takes a place first and asks then, both before the job's own place is fixed. A transaction that is
//! prepared and undecided at the job's place was prepared either before the answer, and is named in it, or after it, and
//! stands in the log between the two places. The files are read from the last backwards until each named one was met
//! (prepared, or decided before the job's place); then everything from the earliest prepare on is read forwards, as the
//! job itself would, and what is left undecided at the job's place is what was looked for.
//!
//! Nothing is lost by what is not found, because its log is gone or the server does not say: an XA COMMIT of a name that
//! the job does not know stops it.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::event::kind;
use super::follower::{Follower, Stop, Wanted};
use super::start::to_end;
use super::stream::{self, Stream};
use super::{Place, Slot, XaStep, Xid};
use crate::mysql::connect::{Connect, Flavor};
use crate::mysql::position::{self, Position, order_places};
use crate::{Error, Result};

/// How far back a log is searched at most. (4 GiB take about ten seconds.)
const MOST_BYTES: u64 = 4 << 30;

/// Who was prepared, some time before a job's place.
#[derive(Debug)]
pub struct Moment {
    /// Not behind the moment.
    place: Position,
    /// `None`: the server does not tell this user.
    prepared: Option<HashSet<Xid>>,
}

impl Moment {
    /// # Errors
    /// The server cannot be asked.
    pub async fn now(connect: &Connect, flavor: Flavor) -> Result<Moment> {
        let mut conn = connect.sql(None).await?;
        let place = position::current(&mut conn, flavor).await?;
        Ok(Moment { place: Position { gtids: None, ..place }, prepared: prepared(&mut conn).await? })
    }

    /// The server did not say who is prepared.
    pub fn is_blind(&self) -> bool {
        self.prepared.is_none()
    }
}

async fn prepared(conn: &mut Conn) -> Result<Option<HashSet<Xid>>> {
    let rows: Vec<Row> = match conn.query("XA RECOVER").await {
        Ok(rows) => rows,
        // MySQL says XAER_RMERR to a user without XA_RECOVER_ADMIN.
        Err(mysql_async::Error::Server(server)) if matches!(server.code, 1044 | 1142 | 1227 | 1401) => return Ok(None),
        Err(error) => return Err(Error::transient("cannot ask for prepared XA transactions").caused_by(error)),
    };
    let name = |row: &Row| {
        let format: i64 = row.get_opt(0)?.ok()?;
        let global: usize = row.get_opt(1)?.ok()?;
        let data: Vec<u8> = row.get_opt(3)?.ok()?;
        let (global, branch) = data.split_at_checked(global)?;
        Xid::new(format as u64, global, branch)
    };
    let names = rows.iter().map(|row| {
        name(row).ok_or_else(|| {
            Error::definite("the source's answer to XA RECOVER cannot be read")
                .hint("commit or roll back the XA transactions that it shows, then start the job")
        })
    });
    names.collect::<Result<_>>().map(Some)
}

/// Where to look, and up to where.
pub struct Undecided<'a> {
    pub connect: &'a Connect,
    pub flavor: Flavor,
    pub server_id: u32,
    /// The job's place.
    pub end: &'a Position,
}

/// What one file tells, up to the job's place.
#[derive(Default)]
struct Steps {
    /// Undecided at its end, with the place before each.
    prepared: HashMap<Xid, Position>,
    /// Decided, and prepared in an earlier file.
    decided: HashSet<Xid>,
}

impl Undecided<'_> {
    /// Sends the XA slots of the log (`XaRows`, `Xa`), beginning early enough. Returns the names that were not met.
    ///
    /// # Errors
    /// The log cannot be read; or `out`'s own.
    pub async fn send(
        &self,
        moment: &Moment,
        wanted: Wanted,
        out: &mut (dyn FnMut(Slot) -> Result<()> + Send),
    ) -> Result<HashSet<Xid>> {
        let mut missing = moment.prepared.clone().unwrap_or_default();
        let mut from = moment.place.clone();
        if !missing.is_empty() {
            from = self.look_back(from, &mut missing).await?;
        }
        if before(&from, self.end) {
            self.read(&from, false, wanted, |_, slot| match slot {
                Slot::Xa(place, step) if self.counts(&place, &step) => out(Slot::Xa(place, step)),
                rows @ Slot::XaRows { .. } => out(rows),
                _ => Ok(()),
            })
            .await?;
        }
        Ok(missing)
    }

    /// The earliest place before which one was prepared that is undecided at the end; `from` if there is none earlier.
    /// Takes the names that it meets out of `missing`.
    async fn look_back(&self, mut from: Position, missing: &mut HashSet<Xid>) -> Result<Position> {
        let logs = position::logs(&mut self.connect.sql(None).await?).await?;
        let mut decided_later: HashSet<Xid> = HashSet::new();
        let (mut bytes, mut enough) = (0, false);
        let begin = from.file.clone();
        let up_to_end = logs.iter().rev().skip_while(|log| log.file != self.end.file);
        for log in up_to_end {
            if enough && (missing.is_empty() || bytes > MOST_BYTES) {
                break;
            }
            bytes += log.size;
            enough |= log.file == begin;
            let steps = self.steps_in(&log.file).await?;
            for (xid, place) in steps.prepared {
                missing.remove(&xid);
                if !decided_later.remove(&xid) && before(&place, &from) {
                    from = place;
                }
            }
            for xid in steps.decided {
                missing.remove(&xid);
                decided_later.insert(xid);
            }
        }
        Ok(from)
    }

    async fn steps_in(&self, file: &str) -> Result<Steps> {
        let from = Position { file: file.to_owned(), offset: 4, gtids: None };
        let mut steps = Steps::default();
        self.read(&from, true, Arc::new(|_| false), |group, slot| {
            let Slot::Xa(place, step) = slot else { return Ok(()) };
            if *place.file != *file || !self.counts(&place, &step) {
                return Ok(());
            }
            match step {
                XaStep::Prepared { name, .. } => drop(steps.prepared.insert(name, group.clone())),
                XaStep::Commit(xid) | XaStep::Rollback(xid) => {
                    if steps.prepared.remove(&xid).is_none() {
                        steps.decided.insert(xid);
                    }
                }
                XaStep::OnePhase => {}
            }
            Ok(())
        })
        .await?;
        Ok(steps)
    }

    /// A decision that lies before the end by its offset may lie behind it by its GTID: it will come again.
    fn counts(&self, place: &Place, step: &XaStep) -> bool {
        match (step, &self.end.gtids, &place.gtid) {
            (XaStep::Commit(_) | XaStep::Rollback(_), Some(gtids), Some(gtid)) => gtids.contains(gtid),
            _ => true,
        }
    }

    /// Reads from `from` to the end, with `only_file` at most to the end of the file it begins in. `each` gets the place at
    /// which the slot's transaction begins.
    async fn read(
        &self,
        from: &Position,
        only_file: bool,
        wanted: Wanted,
        mut each: impl FnMut(&Position, Slot) -> Result<()>,
    ) -> Result<()> {
        let connection = self.connect.dump(None).await?;
        let mut stream = Stream::open(connection, &to_end(self.flavor, self.server_id, from)).await?;
        let mut follower = Follower::new(from.clone(), wanted);
        follower.restart(stream::first_offset(from) < from.offset);
        let mut group = from.clone();
        while before(follower.boundary(), self.end) && !(only_file && follower.boundary().file != from.file) {
            let Some(event) = stream.next(|| follower.here()).await? else { break };
            if matches!(event.kind, kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIADB_GTID) {
                group = follower.boundary().clone();
            }
            let mut failed = None;
            let followed = follower.event(&event, &mut |slot, _| {
                failed = each(&group, slot).err();
                Ok(())
            });
            match (failed, followed) {
                (Some(error), _) | (None, Err(Stop::Failed(error))) => return Err(error),
                (None, Ok(()) | Err(Stop::Closed)) => {}
            }
        }
        Ok(())
    }
}

fn before(one: &Position, other: &Position) -> bool {
    order_places((&one.file, one.offset), (&other.file, other.offset)) == Some(Ordering::Less)
}
