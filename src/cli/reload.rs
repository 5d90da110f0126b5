//! SIGHUP: a running job reads its job file again.
//!
//! Other `source.tables` and `source.excludeTables` take effect: the job brings in what it has, and goes on with them in
//! the same process, as if it had been started again. Another `verify` holds from then on, and nothing else notices.
//! Everything else needs a restart, and the log says so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Job;
use crate::progress::Progress;
use crate::state::{Stage, Store};

/// What is other than before.
pub(super) enum Reloaded {
    /// Only when, and how, the job compares both sides by itself.
    Schedule(Box<Job>),
    /// The tables, and perhaps the schedule.
    Tables(Box<Job>),
}

/// The job to go on with; `None`: as before.
pub(super) fn again(path: &Path, job: &Job, progress: &Progress) -> Option<Reloaded> {
    let read = match Job::load(path) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!("the job file cannot be read again, the job goes on as before: {error}");
            return None;
        }
    };
    let mut as_before = read.clone();
    as_before.source.tables.clone_from(&job.source.tables);
    as_before.source.exclude_tables.clone_from(&job.source.exclude_tables);
    as_before.verify.clone_from(&job.verify);
    if as_before != *job {
        tracing::warn!(
            "the job file has other settings than the running job: only source.tables, source.excludeTables and verify are taken \
             over without a restart (params: `towpath set`); the job goes on as before"
        );
        return None;
    }
    if read == *job {
        tracing::info!("the job file is as before");
        return None;
    }
    if read.source == job.source {
        tracing::info!("the job file has another schedule of comparisons, which holds from now on");
        return Some(Reloaded::Schedule(Box::new(read)));
    }
    if progress.snapshot().stage != Stage::Incremental {
        tracing::warn!(
            "the job file selects other tables, which is taken over once the log is followed: send SIGHUP again then"
        );
        return None;
    }
    tracing::info!("the job file selects other tables: the job goes on with them");
    Some(Reloaded::Tables(Box::new(read)))
}

/// Waits until the last of the former run has let go of the state store, which the process keeps.
pub(super) async fn until_free(store: &Arc<Store>) {
    const LOOK: Duration = Duration::from_millis(20);
    const LOOKS: u32 = 500;
    for _ in 0..LOOKS {
        if Arc::strong_count(store) == 1 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
