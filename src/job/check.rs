//! What `towpath check` judges, without changing anything at either side or in the state store.
//!
//! A job that has not begun is judged as its first start would be: by the source's catalogue of today. A job that has begun
//! goes on with what its state store knows, so that is what counts: the place in the log, the tables as they were defined
//! there, and the target's tables, which must be there. Today's catalogue may differ; the statements behind that place will
//! tell how.

use std::fmt;

use super::definitions::{self, Reselected};
use super::prepare::prepare_again;
use super::{Prepared, Problems, check_made, prepare};
use crate::config;
use crate::mysql::position::{self, Position};
use crate::mysql::preflight;
use crate::schema::TargetTable;
use crate::state::{Identity, Stage, Store};
use crate::target::Target;
use crate::{Error, Result};

/// A job that can run, and by what it was judged.
pub struct Checked {
    pub prepared: Prepared,
    pub basis: Basis,
}

/// What a job was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// The source's catalogue of today.
    FirstStart,
    /// What its state store knows.
    Begun { stage: Stage, position: Position, running: bool },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Basis::Begun { stage, position, running } = self else {
            return f.write_str("the job's first start: by the source's tables as they are now");
        };
        let what = if *running { "the running job" } else { "the job's next start" };
        let (stage, Position { file, offset, .. }) = (stage.as_str(), position);
        write!(f, "{what}, in its {stage} stage at {file}:{offset}: by its tables as they were defined there")
    }
}

/// # Errors
/// Every problem that would keep the job from running, or from going on.
pub async fn check<T: Target>(job: &config::Job, target: &T) -> Result<Checked, Problems> {
    if let Some(store) = Store::read(&job.state_dir, &job.name)?
        && let Some(identity) = store.identity()?
    {
        return check_begun(job, target, &store, &identity).await;
    }
    let prepared = prepare(job, target).await?;
    // Those that are there already must be able to take the rows; the others will be made.
    let tables: Vec<&TargetTable> = prepared.mappings.iter().map(|mapping| &mapping.target).collect();
    let problems = match target.check_tables(&tables).await {
        Ok(checked) => checked.into_iter().filter_map(Result::err).collect(),
        Err(error) => vec![error],
    };
    judged(prepared, Basis::FirstStart, problems)
}

async fn check_begun<T: Target>(
    job: &config::Job,
    target: &T,
    store: &Store,
    identity: &Identity,
) -> Result<Checked, Problems> {
    let stage = identity.stage;
    let mut prepared = prepare_again(job, target, store).await?;
    let position = prepared.belongs(store, identity)?;
    let mut problems = Vec::new();
    if stage != Stage::Done {
        problems.extend(check_place(&mut prepared, store, &position).await.err());
    }
    problems.extend(tell_reselected(&mut prepared, store).await.err());
    // Before the copy begins they may not have been made yet.
    if stage != Stage::Schema {
        let changing = store.running_change()?.map(|change| change.tables).unwrap_or_default();
        match check_made(&prepared, &changing, target).await {
            Ok(found) => problems.extend(found),
            Err(error) => problems.push(error),
        }
    }
    let running = Store::is_running(&job.state_dir, &job.name);
    judged(prepared, Basis::Begun { stage, position, running }, problems)
}

fn judged(prepared: Prepared, basis: Basis, problems: Vec<Error>) -> Result<Checked, Problems> {
    if problems.is_empty() { Ok(Checked { prepared, basis }) } else { Err(Problems(problems)) }
}

/// The source still has the log from there on, and for how long.
async fn check_place(prepared: &mut Prepared, store: &Store, position: &Position) -> Result<()> {
    let Prepared { connection, server, warnings, .. } = prepared;
    position::check(connection, server.flavor, position).await?;
    let committed_at = store.checkpoint()?.map_or(0, |checkpoint| checkpoint.committed_at);
    warnings.extend(preflight::check_retention(connection, server, position, committed_at).await?);
    Ok(())
}

/// Other patterns than those that the job has.
async fn tell_reselected(prepared: &mut Prepared, store: &Store) -> Result<()> {
    let ignore_case = prepared.server.lower_case_table_names != 0;
    let Prepared { connection, filter, warnings, .. } = prepared;
    let Reselected { coming, leaving } =
        definitions::reselected(&store.definitions()?, filter, ignore_case, connection).await?;
    warnings.extend(coming.iter().map(|name| {
        format!(
            "table {name} is selected and not in the job yet: a start or SIGHUP has it copied while the log is followed"
        )
    }));
    warnings.extend(leaving.iter().map(|name| {
        format!(
            "table {name} is no longer selected: a start or SIGHUP takes it out of the job, the target's stays as it is"
        )
    }));
    Ok(())
}
