//! `towpath correct`

use std::path::Path;

use indicatif::ProgressBar;

use super::Outcome;
use crate::Result;
use crate::config::Job;
use crate::job::{CorrectOptions, Corrected, connect_beside, copy_anew, correct, plan};
use crate::output::sayln;

/// Differences that are shown below the counts.
const SHOWN: usize = 10;

pub(super) async fn run(path: &Path, options: &CorrectOptions, dry_run: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let plan = plan(&job, &CorrectOptions { yes: options.yes || dry_run, ..options.clone() })?;
    sayln!("comparison {}:", plan.run);
    for (table, [missing, extra, different]) in plan.tables() {
        sayln!("  {table}: {} to write, {extra} to delete if the source still lacks them", missing + different);
    }
    for table in &plan.without_key {
        sayln!("  {table}: has no key, so no single row of it can be corrected; {}", copy_anew(table));
    }
    if dry_run {
        plan.differences.iter().for_each(|difference| sayln!("{}", difference.detail));
        return Ok(Outcome::Done);
    }
    if plan.differences.is_empty() && !plan.without_key.is_empty() {
        return Ok(Outcome::Differences);
    }
    let target = connect_beside(&job).await?;
    let bar = ProgressBar::new(plan.differences.len() as u64);
    let corrected = correct(&job, &target.client(), &plan, &mut |counts| {
        bar.set_position(counts.sent + counts.overtaken + counts.failed);
    })
    .await;
    bar.finish_and_clear();
    target.stop().await;
    let Corrected { counts, left } = corrected?;
    sayln!("{} corrected, {} written by the stream meanwhile, {} failed", counts.sent, counts.overtaken, counts.failed);
    if let Some(reason) = &counts.reason {
        sayln!("the first that failed: {reason}");
    }
    if left.unjudged > 0 {
        sayln!("{} rows change all the time and could not be compared again", left.unjudged);
    }
    if left.differences.is_empty() && counts.failed == 0 {
        sayln!("compared again: equal");
        return Ok(if plan.without_key.is_empty() { Outcome::Done } else { Outcome::Differences });
    }
    sayln!("compared again: {} rows still differ", left.differences.len());
    left.differences.iter().take(SHOWN).for_each(|difference| sayln!("{difference}"));
    Ok(Outcome::Differences)
}
