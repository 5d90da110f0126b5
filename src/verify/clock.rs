//! How far the job has come, seen from outside: its state store tells, whichever process runs it.

use std::path::PathBuf;
use std::time::Duration;

use mysql_async::Conn;

use crate::mysql::connect::{Connect, Flavor};
use crate::mysql::position::{self, Position};
use crate::state::{Stage, Store};
use crate::{Error, Result};

/// Between two looks at the state store.
const LOOK: Duration = Duration::from_millis(100);
/// A paused job brings in what it has read, and then nothing.
const PAUSED_PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Clock {
    state_dir: PathBuf,
    job: String,
    /// The job's own source: its log is the one that positions are of.
    connect: Connect,
    flavor: Flavor,
    conn: Option<Conn>,
    patience: Duration,
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
    /// It is not, and will not be soon: in words, why.
    NotYet(String),
}

impl Clock {
    /// # Errors
    /// The job has never run, or is still copying its tables.
    pub(crate) fn new(
        state_dir: PathBuf,
        job: String,
        connect: Connect,
        flavor: Flavor,
        patience: Duration,
    ) -> Result<Clock> {
        let clock = Clock { state_dir, job, connect, flavor, conn: None, patience };
        let stage = clock.stand()?.stage;
        if matches!(stage, Stage::Schema | Stage::Full) {
            return Err(Error::definite(format!(
                "job {} has not copied its tables yet (stage {}): there is nothing to compare",
                clock.job,
                stage.as_str()
            ))
            .hint("`towpath status` shows how far the copy is; verify once it is done"));
        }
        Ok(clock)
    }

    /// Everything before this place is in the target.
    pub(crate) fn checkpoint(&self) -> Result<Position> {
        self.stand().map(|stand| stand.checkpoint)
    }

    fn stand(&self) -> Result<Stand> {
        let never = || {
            Error::definite(format!("job {} has not been run yet: no state in {}", self.job, self.state_dir.display()))
                .hint("start it with `towpath run`, or name the right `stateDir`")
        };
        let store = Store::read(&self.state_dir, &self.job)?.ok_or_else(never)?;
        let identity = store.identity()?.ok_or_else(never)?;
        let checkpoint = store.checkpoint()?.map_or(identity.start, |checkpoint| checkpoint.position);
        let lags_at = store.lags()?.into_iter().next().map(|(_, lag)| lag.since);
        Ok(Stand { stage: identity.stage, checkpoint, lags_at, paused: store.settings()?.paused })
    }

    /// The end of the source's log at this moment: whatever was read before lies before it.
    pub(crate) async fn now(&mut self) -> Result<Position> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect.sql(None).await?,
        };
        let position = position::current(&mut conn, self.flavor).await?;
        self.conn = Some(conn);
        Ok(position)
    }

    /// Waits until everything before `position` is in the target.
    pub(crate) async fn wait(&self, position: &Position) -> Result<Waited> {
        let began = tokio::time::Instant::now();
        loop {
            // Asked first: a job that stops in between has written its last checkpoint before.
            let running = Store::is_running(&self.state_dir, &self.job);
            let Stand { stage, checkpoint, lags_at, paused } = self.stand()?;
            let checkpoint = lags_at.unwrap_or(checkpoint);
            if checkpoint.reached(position) {
                return Ok(Waited::Reached);
            }
            if stage == Stage::Done {
                return Ok(Waited::NotYet("the job only copies, and the source has been written to since".into()));
            }
            if !running {
                return Ok(Waited::NotYet(format!("the job does not run, and stands at {checkpoint}")));
            }
            if paused && began.elapsed() > PAUSED_PATIENCE {
                return Ok(Waited::NotYet(format!("the job is paused, and stands at {checkpoint}")));
            }
            if began.elapsed() > self.patience {
                let seconds = self.patience.as_secs();
                return Ok(Waited::NotYet(format!("the job stands at {checkpoint} and was waited for {seconds} s")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
