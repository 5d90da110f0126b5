//! `towpath check`

use std::path::Path;

use super::Outcome;
use crate::Result;
use crate::config::Job;
use crate::job::{Prepared, connect, prepare};
use crate::mysql::{position, preflight};
use crate::state::{Checkpoint, Store};

pub(super) async fn run(path: &Path) -> Result<Outcome> {
    let job = Job::load(path)?;
    let target = connect(&job).await?;
    let mut prepared = prepare(&job, target.client().as_ref()).await;
    target.stop().await;
    if let Ok(ready) = &mut prepared
        && let Err(error) = resumable(&job, ready).await
    {
        prepared = Err(error.into());
    }
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(problems) => {
            for problem in &problems.0 {
                println!("PROBLEM  {problem}");
            }
            println!("{} problem(s): the job cannot run", problems.0.len());
            return Ok(Outcome::Failed);
        }
    };
    for warning in &prepared.warnings {
        println!("warning  {warning}");
    }
    for mapping in &prepared.mappings {
        let key = if mapping.is_row_hash() { ", without a key: a hash of the row stands for it" } else { "" };
        println!("table    {} -> {}{key}", mapping.source.name, mapping.target.name);
    }
    println!(
        "ready: {} table(s), source {}, target StarRocks {}",
        prepared.mappings.len(),
        prepared.server.version_text,
        prepared.target_version
    );
    Ok(Outcome::Done)
}

/// For a job that has been run before: the source still has the log from its checkpoint on, and for how long.
async fn resumable(job: &Job, prepared: &mut Prepared) -> Result<()> {
    let Some(store) = Store::read(&job.state_dir, &job.name)? else { return Ok(()) };
    let Some(identity) = store.identity()? else { return Ok(()) };
    let checkpoint = store.checkpoint()?.unwrap_or_else(|| Checkpoint::at(identity.start));
    let Prepared { connection, server, warnings, .. } = prepared;
    position::check(connection, server.flavor, &checkpoint.position).await?;
    warnings
        .extend(preflight::check_retention(connection, server, &checkpoint.position, checkpoint.committed_at).await?);
    Ok(())
}
