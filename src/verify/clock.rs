//! How far the job has come, seen from outside: its state store tells, whichever process runs it.

use std::time::Duration;

use mysql_async::Conn;

use super::moved::Moved;
use super::pending::Pending;
use super::servers::SourceReader;
use super::{Options, Subject};
use crate::mysql::position::{self, Position};
use crate::schema::TableName;
use crate::state::{Stage, Store};
use crate::{Error, Result};

/// Between two looks at the state store.
const LOOK: Duration = Duration::from_millis(100);
/// A paused job brings in what it has read, and then nothing.
const PAUSED_PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Clock<'s> {
    subject: &'s Subject<'s>,
    conn: Option<Conn>,
    patience: Duration,
    /// What the job has still to bring.
    pub(crate) pending: Pending<'s>,
}

/// Where the job stands.
struct Stand {
    stage: Stage,
    checkpoint: Position,
    /// Of a table that lags behind the checkpoint while the target alters it: everything before is in, in all tables.
    lags_at: Option<Position>,
    paused: bool,
}

/// What a wait for the job has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Everything before the position is in the target.
    Reached,
    /// It is not, and will not be soon.
    NotYet {
        /// In words.
        because: String,
        /// Everything before this place is.
        checkpoint: Position,
    },
}

impl<'s> Clock<'s> {
    /// # Errors
    /// The job has never run, or is still copying its tables.
    pub(crate) fn new(subject: &'s Subject<'s>, options: &'s Options) -> Result<Clock<'s>> {
        let pending = Pending::new(subject, options);
        let clock = Clock { subject, conn: None, patience: options.patience, pending };
        let stage = clock.stand()?.stage;
        if matches!(stage, Stage::Schema | Stage::Full) {
            return Err(Error::definite(format!(
                "job {} has not copied its tables yet (stage {}): there is nothing to compare",
                subject.job,
                stage.as_str()
            ))
            .hint("`towpath status` shows how far the copy is; verify once it is done"));
        }
        Ok(clock)
    }

    fn stand(&self) -> Result<Stand> {
        let Subject { job, state_dir, .. } = self.subject;
        let never = || {
            Error::definite(format!("job {job} has not been run yet: no state in {}", state_dir.display()))
                .hint("start it with `towpath run`, or name the right `stateDir`")
        };
        let store = Store::read(state_dir, job)?.ok_or_else(never)?;
        let identity = store.identity()?.ok_or_else(never)?;
        let checkpoint = store.checkpoint()?.map_or(identity.start, |checkpoint| checkpoint.position);
        let lags_at = store.lags()?.into_iter().next().map(|(_, lag)| lag.since);
        Ok(Stand { stage: identity.stage, checkpoint, lags_at, paused: store.settings()?.paused })
    }

    /// The end of the source's log at this moment: whatever was read before lies before it.
    pub(crate) async fn now(&mut self) -> Result<Position> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.subject.job_connect.sql(None).await?,
        };
        let position = position::current(&mut conn, self.subject.server.flavor).await?;
        self.conn = Some(conn);
        Ok(position)
    }

    /// Waits until everything before `position` is in the target; only looks where the job was waited for before.
    pub(crate) async fn wait(&mut self, position: &Position, before: Option<&Waited>) -> Result<Waited> {
        let patience = if matches!(before, Some(Waited::NotYet { .. })) { Duration::ZERO } else { self.patience };
        let began = tokio::time::Instant::now();
        loop {
            // Asked first: a job that stops in between has written its last checkpoint before.
            let running = Store::is_running(&self.subject.state_dir, &self.subject.job);
            let Stand { stage, checkpoint, lags_at, paused } = self.stand()?;
            let checkpoint = lags_at.unwrap_or(checkpoint);
            if checkpoint.reached(position) {
                return Ok(Waited::Reached);
            }
            let because = if stage == Stage::Done {
                Some("the job only copies, and the source has been written to since".to_owned())
            } else if !running {
                Some(format!("the job does not run, and stands at {checkpoint}"))
            } else if paused && began.elapsed() > PAUSED_PATIENCE.min(patience) {
                Some(format!("the job is paused, and stands at {checkpoint}"))
            } else if began.elapsed() > patience {
                let seconds = self.patience.as_secs();
                Some(format!("the job stands at {checkpoint} and was waited for {seconds} s"))
            } else {
                None
            };
            if let Some(because) = because {
                return Ok(Waited::NotYet { because, checkpoint });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Which rows of the table the source has changed since `position`, which the job was waited for.
    pub(crate) async fn moved_since(&mut self, position: &Position, table: &TableName) -> Result<Moved> {
        // A job that only copies reads no log, so its user may not be allowed to; and then it brings nothing.
        if self.stand()?.stage == Stage::Done && self.now().await? == *position {
            return Ok(Moved::none(table));
        }
        self.pending.moved_since(position, table).await
    }

    /// A replica has to show at least what the target has: waits until it does.
    pub(crate) async fn replica_follows(&mut self, replica: &mut SourceReader) -> Result<()> {
        if !self.subject.replica {
            return Ok(());
        }
        let wanted = self.stand()?.checkpoint;
        let deadline = tokio::time::Instant::now() + self.patience;
        loop {
            let there = replica.position(self.subject.server.flavor).await?;
            if comes_to(&there, &wanted) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::transient(format!(
                    "the replica of --source-host is behind the job: {there}, not {wanted}"
                ))
                .hint("does it still replicate? Verify without --source-host"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Files and offsets of two servers have nothing to do with each other.
fn comes_to(replica: &Position, wanted: &Position) -> bool {
    replica.gtids.is_some() && wanted.gtids.is_some() && replica.reached(wanted)
}
