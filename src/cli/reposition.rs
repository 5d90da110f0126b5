//! `towpath reposition`

use std::path::Path;

use super::Outcome;
use crate::Result;
use crate::config::Job;
use crate::job::{Moved, reposition};
use crate::output::sayln;

pub(super) async fn run(path: &Path, place: &str, accept_loss: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let Moved { from, to } = reposition(&job, place, accept_loss).await?;
    sayln!("job {}: from {from} to {to}", job.name);
    Ok(Outcome::Done)
}
