//! `towpath status`

use std::path::Path;

use super::Outcome;
use crate::config::Job;
use crate::output::{say, sayln};
use crate::state::{Status, Store};
use crate::{Error, Result};

pub(super) fn run(path: &Path, as_json: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let status = Status::read(&job.state_dir, &job.name)?.ok_or_else(|| {
        if Store::is_running(&job.state_dir, &job.name) {
            return Error::transient(format!("job {} is starting: it has not recorded anything yet", job.name))
                .hint("ask again in a moment; its log says what it waits for");
        }
        Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
            .hint("start it with `towpath run`, or name the right `stateDir`")
    })?;
    if as_json {
        sayln!("{:#}", status.json());
    } else {
        say!("{status}");
    }
    Ok(Outcome::Done)
}
