//! `towpath set`, `towpath pause`, `towpath resume`

use std::path::Path;

use super::Outcome;
use crate::config::{Job, Setting};
use crate::output::sayln;
use crate::state::{Settings, Store};
use crate::{Error, Result};

/// Changes parameters, then shows all that differ from the job file.
pub(super) fn set(path: &Path, settings: &[String]) -> Result<Outcome> {
    let settings: Vec<Setting> = settings.iter().map(|text| Setting::parse(text)).collect::<Result<_>>()?;
    let store = open(path)?;
    store.change_settings(&settings)?;
    let Settings { paused, params } = store.settings()?;
    for (key, value) in &params {
        sayln!("{key} = {value}");
    }
    if params.is_empty() {
        sayln!("all parameters are those of the job file");
    }
    if paused {
        sayln!("the job is paused");
    }
    Ok(Outcome::Done)
}

pub(super) fn pause(path: &Path, paused: bool) -> Result<Outcome> {
    open(path)?.set_paused(paused)?;
    sayln!("{}", if paused { "paused: what is read goes on into the target, nothing new is read" } else { "resumed" });
    Ok(Outcome::Done)
}

fn open(path: &Path) -> Result<Store> {
    let job = Job::load(path)?;
    Store::amend(&job.state_dir, &job.name)?.ok_or_else(|| never_run(&job))
}

/// There is no state store.
pub(super) fn never_run(job: &Job) -> Error {
    Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
        .hint("start it with `towpath run`, or name the right `stateDir`")
}
