//! `towpath check`

use std::path::Path;

use super::Outcome;
use crate::Result;
use crate::config::Job;
use crate::job::{self, Checked, connect_beside};
use crate::output::sayln;

pub(super) async fn run(path: &Path) -> Result<Outcome> {
    let job = Job::load(path)?;
    let target = connect_beside(&job).await?;
    let checked = job::check(&job, target.client().as_ref()).await;
    target.stop().await;
    let Checked { prepared, basis } = match checked {
        Ok(checked) => checked,
        Err(problems) => {
            for problem in &problems.0 {
                sayln!("PROBLEM  {problem}");
            }
            sayln!("{} problem(s): the job cannot run", problems.0.len());
            return Ok(Outcome::Failed);
        }
    };
    sayln!("judged   {basis}");
    for warning in &prepared.warnings {
        sayln!("warning  {warning}");
    }
    for mapping in &prepared.mappings {
        let key = if mapping.is_row_hash() { ", without a key: a hash of the row stands for it" } else { "" };
        sayln!("table    {} -> {}{key}", mapping.source.name, mapping.target.name);
    }
    sayln!(
        "ready: {} table(s), source {}, target StarRocks {}",
        prepared.mappings.len(),
        prepared.server.version_text,
        prepared.target_version
    );
    Ok(Outcome::Done)
}
