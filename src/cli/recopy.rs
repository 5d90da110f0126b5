//! `towpath recopy`

use std::path::Path;

use super::Outcome;
use super::settings::never_run;
use crate::config::Job;
use crate::output::sayln;
use crate::schema::TableName;
use crate::state::{Asked, Definitions, Stage, Store};
use crate::{Error, Result};

/// Asks for copies; the job takes them up.
pub(super) fn run(path: &Path, tables: &[String]) -> Result<Outcome> {
    let job = Job::load(path)?;
    let store = Store::amend(&job.state_dir, &job.name)?.ok_or_else(|| never_run(&job))?;
    let stage = store.identity()?.map(|identity| identity.stage);
    if stage != Some(Stage::Incremental) {
        let stage = stage.map_or("not begun", Stage::as_str);
        return Err(Error::definite(format!("job {} does not follow the log (stage {stage})", job.name))
            .hint("a table is copied anew while the log is followed: run the job to the end of its first copy"));
    }
    let definitions = store.definitions()?;
    let asked = tables.iter().map(|text| one(&definitions, text)).collect::<Result<Vec<_>>>()?;
    store.ask_for_copies(&asked)?;
    let when = if Store::is_running(&job.state_dir, &job.name) { "within seconds" } else { "when the job is started" };
    for (table, _) in &asked {
        sayln!("{table} is copied anew {when}; the target's table serves until that is done");
    }
    Ok(Outcome::Done)
}

/// `database.table`, or a table's name where only one database has it.
fn one(definitions: &Definitions, text: &str) -> Result<(TableName, Asked)> {
    let is = |name: &TableName| name.to_string() == *text || name.table == *text;
    let ours = definitions.tables.iter().map(|(table, _)| (&table.name, Asked::Again));
    let passed = definitions.passed.iter().map(|name| (name, Asked::New));
    let mut found = ours.chain(passed).filter(|(name, _)| is(name));
    let (Some((name, kind)), other) = (found.next(), found.next()) else {
        return Err(Error::definite(format!("the job has no table {text}")).hint(
            "name it as at the source, `database.table`; a table that is new to the job is added to source.tables",
        ));
    };
    if let Some((other, _)) = other {
        return Err(Error::usage(format!("{text} may be {name} or {other}")).hint("name its database too"));
    }
    Ok((name.clone(), kind))
}
