//! `towpath run`

use std::path::Path;

use super::{Outcome, progress_bar, signal};
use crate::config::Job;
use crate::job::{self, Corrector, Ended, RunOptions, connect};
use crate::{Result, http};

pub(super) async fn run(path: &Path, stop_at_end: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let options = RunOptions { stop_at_end, ..RunOptions::default() };
    signal::cancel_on_signal(options.stop.clone())?;
    let _http = http::serve(&job, &options.progress).await?;
    let target = connect(&job).await?;
    let shown = tokio::spawn(progress_bar::show(options.progress.clone()));
    let corrector = Corrector::new(&job, target.client(), options.errands.clone());
    let ended = tokio::select! {
        ended = job::run(&job, target.client(), &options) => ended,
        never = corrector.run() => match never {},
    };
    shown.abort();
    target.stop().await;
    match ended? {
        Ended::CaughtUp => tracing::info!("caught up with the log's end"),
        Ended::Stopped => tracing::info!("stopped; everything up to the checkpoint is in"),
    }
    Ok(Outcome::Done)
}
