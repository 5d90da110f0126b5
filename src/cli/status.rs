//! `towpath status`

use std::path::Path;

use super::Outcome;
use crate::config::Job;
use crate::state::Status;
use crate::{Error, Result};

pub(super) fn run(path: &Path, as_json: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let status = Status::read(&job.state_dir, &job.name)?.ok_or_else(|| {
        Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
            .hint("start it with `towpath run`, or name the right `stateDir`")
    })?;
    if as_json {
        println!("{:#}", status.json());
    } else {
        print!("{status}");
    }
    Ok(Outcome::Done)
}
