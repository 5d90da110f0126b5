//! `towpath status`

use std::path::Path;

use serde_json::json;

use super::Outcome;
use crate::config::Job;
use crate::state::{Store, now_micros};
use crate::{Error, Result};

pub(super) fn run(path: &Path, as_json: bool) -> Result<Outcome> {
    let job = Job::load(path)?;
    let running = Store::is_running(&job.state_dir, &job.name);
    let never = || {
        if running {
            return Error::transient(format!("job {} is starting: it has not recorded anything yet", job.name))
                .hint("ask again in a moment; its log says what it waits for");
        }
        Error::definite(format!("job {} has not been run yet: no state in {}", job.name, job.state_dir.display()))
            .hint("start it with `towpath run`, or name the right `stateDir`")
    };
    let store = Store::read(&job.state_dir, &job.name)?.ok_or_else(never)?;
    let identity = store.identity()?.ok_or_else(never)?;
    let checkpoint = store.checkpoint()?;
    let tables = store.snapshot_tables()?;
    let intent = store.intent()?;
    let position = checkpoint.as_ref().map_or(&identity.start, |checkpoint| &checkpoint.position);
    let age = |micros: u64| now_micros().saturating_sub(micros) as f64 / 1e6;

    if as_json {
        let table = |table: &crate::state::TableProgress| {
            json!({"table": table.table.to_string(), "rows": table.rows_done, "rowsEstimated": table.estimated,
                   "chunks": table.chunks, "chunksDone": table.chunks_done, "done": table.done()})
        };
        let status = json!({
            "job": identity.name,
            "running": running,
            "stage": identity.stage.as_str(),
            "position": position,
            "checkpointAgeSeconds": checkpoint.as_ref().map(|checkpoint| age(checkpoint.saved_at)),
            "lastCommitAgeSeconds": checkpoint.as_ref().filter(|at| at.committed_at > 0).map(|at| age(at.committed_at)),
            "epochs": checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.epoch),
            "openEpoch": intent.as_ref().map(|intent| intent.epoch),
            "inserts": checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.read.inserts),
            "updates": checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.read.updates),
            "deletes": checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.read.deletes),
            "rowsLoaded": checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.loaded),
            "fullData": tables.iter().map(table).collect::<Vec<_>>(),
        });
        println!("{status:#}");
        return Ok(Outcome::Done);
    }

    println!("job         {} ({})", identity.name, if running { "running" } else { "not running" });
    println!("stage       {}", identity.stage.as_str());
    println!("position    {}:{}", position.file, position.offset);
    if let Some(gtids) = &position.gtids {
        println!("gtids       {gtids}");
    }
    if let Some(at) = &checkpoint {
        println!("checkpoint  epoch {}, {:.0} s ago", at.epoch, age(at.saved_at));
        if at.committed_at > 0 {
            println!("last change committed at the source {:.0} s ago", age(at.committed_at));
        }
        println!(
            "rows        {} inserts, {} updates, {} deletes read; {} rows loaded",
            at.read.inserts, at.read.updates, at.read.deletes, at.loaded
        );
    }
    if let Some(intent) = &intent {
        println!(
            "open epoch  {} ({}:{} to {}:{})",
            intent.epoch, intent.begin.file, intent.begin.offset, intent.end.file, intent.end.offset
        );
    }
    for table in &tables {
        let state = if table.done() { "done" } else { "copying" };
        println!(
            "full data   {}: {state}, {} of about {} rows, {} of {} chunks",
            table.table, table.rows_done, table.estimated, table.chunks_done, table.chunks
        );
    }
    Ok(Outcome::Done)
}
