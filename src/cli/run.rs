//! `towpath run`

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::reload::{self, Reloaded};
use super::{Outcome, progress_bar, signal};
use crate::config::Job;
use crate::job::{self, Corrector, Ended, RunOptions, Scheduler, connect};
use crate::state::Store;
use crate::{Result, http};

pub(super) async fn run(path: &Path, stop_at_end: bool) -> Result<Outcome> {
    let mut job = Job::load(path)?;
    let options = RunOptions { stop_at_end, ..RunOptions::default() };
    // Before the job shows itself running: whoever sees that may stop it.
    signal::cancel_on_signal(options.stop.clone())?;
    // Before any port: a second process of the job is to be told that, and not that its ports are taken.
    let store = Arc::new(Store::open(&job.state_dir, &job.name)?);
    let mut hangups = signal::hangups()?;
    let _http = http::serve(&job, &options.progress).await?;
    let target = connect(&job).await?;
    let shown = tokio::spawn(progress_bar::show(options.progress.clone()));
    let (jobs, told) = watch::channel(job.clone());
    let _scheduler = Scheduler::start(told, target.client(), options.progress.clone(), &options.stop)?;
    let ended = loop {
        let corrector = Corrector::new(&job, target.client(), options.corrections.clone());
        let run = RunOptions { stop: options.stop.child_token(), ..options.clone() };
        let mut other = None;
        let ended = {
            let mut running = std::pin::pin!(job::run_with(&job, Arc::clone(&store), target.client(), &run));
            let mut correcting = std::pin::pin!(corrector.run());
            loop {
                tokio::select! {
                    ended = &mut running => break ended,
                    never = &mut correcting => match never {},
                    _ = hangups.recv() => {
                        // What is borrowed of it would keep the new one out.
                        let now = jobs.borrow().clone();
                        match reload::again(path, &now, &options.progress) {
                            Some(Reloaded::Schedule(read)) => drop(jobs.send_replace(*read)),
                            Some(Reloaded::Tables(read)) => {
                                jobs.send_replace((*read).clone());
                                other = Some(*read);
                                run.stop.cancel();
                            }
                            None => {}
                        }
                    }
                }
            }
        };
        match other {
            Some(read) if ended.is_ok() && !options.stop.is_cancelled() => {
                reload::until_free(&store).await;
                job = read;
            }
            _ => break ended,
        }
    };
    shown.abort();
    target.stop().await;
    match ended? {
        Ended::CaughtUp => tracing::info!("caught up with the log's end"),
        Ended::Stopped => tracing::info!("stopped; everything up to the checkpoint is in"),
    }
    Ok(Outcome::Done)
}
