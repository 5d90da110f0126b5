//! Comparisons by the clock (`verify.cron`), beside a running job and in its process.
//!
//! ```text
//! plan the next time ─▶ wait for it ─▶ wait until the tables are copied ─▶ compare ─▶ correct, if asked ─┐
//!        ▲                                                                                               │
//!        └────────────── times that have passed meanwhile are counted, told, and left out ◀──────────────┘
//! ```
//!
//! One loop does all of it, so no comparison can meet the one before it. It does what `towpath verify` and `towpath correct`
//! do, through the same functions; what it finds is in the state store like any other run, where commands, metrics and
//! `towpath status` see it. Whatever fails is written down as a failed run, and the next time is another try: the job itself is
//! not concerned. A time that passes while the job is down is not made up for.
//!
//! It has a thread of its own, because comparing keeps a processor busy and writes to the state store, and the task that
//! drives the job must not wait for either. The thread touches the store only once the job is past its first stage: until
//! then another process may be running the job.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::correct::{CorrectOptions, correct, plan};
use super::verify::{Verified, VerifyOptions, verify};
use crate::config::{self, Schedule};
use crate::progress::Progress;
use crate::state::{RunOutcome, Stage, Store};
use crate::target::starrocks::StarRocks;
use crate::{Error, Result, step, verify};

/// The clock may be set while the next time is waited for, so it is looked at so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(20);
/// Between two looks at the job's stage.
const LOOK_AT_STAGE: Duration = Duration::from_millis(500);
/// Times that were left out are counted one by one up to this.
const MOST: u64 = 10_000;

/// Compares by the clock until it is dropped.
pub struct Scheduler {
    _stop: DropGuard,
}

impl Scheduler {
    /// `jobs` has the job file as it is now: another schedule in it holds at once, also while a comparison runs, which
    /// ends as it began.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        jobs: watch::Receiver<config::Job>,
        starrocks: Arc<StarRocks>,
        progress: Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<Scheduler> {
        let stop = stop.child_token();
        let (stopped, runtime) = (stop.clone(), Handle::current());
        let scheduling = Scheduling { jobs, starrocks, progress };
        thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || runtime.block_on(stopped.run_until_cancelled(scheduling.run())))
            .map_err(|error| Error::definite("cannot start the scheduler thread").caused_by(error))?;
        Ok(Scheduler { _stop: stop.drop_guard() })
    }
}

struct Scheduling {
    jobs: watch::Receiver<config::Job>,
    starrocks: Arc<StarRocks>,
    progress: Arc<Progress>,
}

impl Scheduling {
    async fn run(mut self) {
        self.stage_is(&[Stage::Full, Stage::Incremental]).await;
        loop {
            let job = self.jobs.borrow_and_update().clone();
            let planned = job.verify.as_ref().and_then(|verify| {
                let from = Timestamp::now();
                Some((verify, next(&verify.schedule, from)?))
            });
            let Some((verify, due)) = planned else {
                told(&job, Store::forget_verification_plan);
                if self.jobs.changed().await.is_err() {
                    return;
                }
                continue;
            };
            told(&job, |store| store.plan_verification(&verify.schedule, micros(due)));
            tokio::select! {
                () = until(due) => {}
                changed = self.jobs.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            if self.progress.stage() != Stage::Incremental {
                tracing::info!("a comparison is due and waits until the tables are copied");
                self.stage_is(&[Stage::Incremental]).await;
            }
            told(&job, Store::verification_begins);
            self.compare(&job, verify).await;
            let skipped = times(&verify.schedule, due, Timestamp::now());
            if skipped > 0 {
                tracing::warn!(
                    skipped,
                    schedule = %verify.schedule,
                    "the comparison took longer than the time between two of them: the times in between were left out"
                );
                told(&job, |store| store.verification_skipped(skipped));
            }
        }
    }

    /// Waits until the job is in one of these stages.
    async fn stage_is(&self, stages: &[Stage]) {
        while !stages.contains(&self.progress.stage()) {
            tokio::time::sleep(LOOK_AT_STAGE).await;
        }
    }

    async fn compare(&self, job: &config::Job, verify: &config::Verify) {
        tracing::info!("comparing both sides by the clock");
        let options = VerifyOptions::scheduled(verify);
        let verified = self::verify(job, &self.starrocks, &options, &verify::Progress::default()).await;
        let Verified { run, outcome, report } = match verified {
            Ok(verified) => verified,
            Err(error) => {
                tracing::error!(%error, "the comparison has failed; the next one comes by the clock");
                return;
            }
        };
        let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
        let differences: u64 = report.tables.iter().map(verify::TableReport::differences).sum();
        let tables = report.tables.len();
        match outcome {
            RunOutcome::Equal => tracing::info!(run, tables, rows, "both sides are equal"),
            RunOutcome::Different => tracing::error!(
                run,
                tables,
                rows,
                differences,
                "both sides differ: `towpath verify JOB --history --run {run}` shows how"
            ),
            RunOutcome::Failed => tracing::error!(
                run,
                tables,
                rows,
                "not everything could be compared: `towpath verify JOB --history --run {run}` shows why"
            ),
        }
        if differences > 0
            && verify.auto_correct
            && let Err(error) = self.correct(job, run).await
        {
            tracing::error!(run, %error, "the differences are not corrected");
        }
    }

    /// As `towpath correct --run` does.
    async fn correct(&self, job: &config::Job, run: u64) -> Result<()> {
        let plan = match plan(job, &CorrectOptions { run: Some(run), yes: false }) {
            Ok(plan) => plan,
            Err(error) => {
                told(job, Store::correction_refused);
                return Err(error);
            }
        };
        let corrected = correct(job, &self.starrocks, &plan, &mut |_| ()).await?;
        let (counts, left) = (&corrected.counts, &corrected.left);
        tracing::info!(
            run,
            corrected = counts.sent,
            overtaken = counts.overtaken,
            failed = counts.failed,
            still_different = left.differences.len(),
            "the differences were corrected"
        );
        if let Some(reason) = &counts.reason {
            return Err(Error::definite(format!("{} rows could not be corrected: {reason}", counts.failed)));
        }
        Ok(())
    }
}

/// The first time of the schedule behind `after`.
fn next(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    match step::each_second() {
        true => after.checked_add(Duration::from_secs(1)).ok(),
        false => schedule.next(after),
    }
}

/// How many times have come behind `due`, up to `now`.
fn times(schedule: &Schedule, due: Timestamp, now: Timestamp) -> u64 {
    match step::each_second() {
        true => u64::try_from(now.duration_since(due).as_secs()).unwrap_or(0),
        false => schedule.times(due, now, MOST),
    }
}

/// Sleeps until the clock shows this time.
async fn until(due: Timestamp) {
    loop {
        let left = due.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await,
            _ => return,
        }
    }
}

fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.as_microsecond()).unwrap_or(0)
}

/// Writes into the state store what others are shown. Should that fail, the comparison is made all the same.
fn told(job: &config::Job, tell: impl FnOnce(&Store) -> Result<()>) {
    let told = match Store::amend(&job.state_dir, &job.name) {
        Ok(Some(store)) => tell(&store),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the schedule of comparisons cannot be written down");
    }
}
