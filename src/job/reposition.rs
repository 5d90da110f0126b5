//! Moving a stopped job to another place of the log.
//!
//! A move back is harmless: what lies between is applied once more, and ends as it was. A move forward, or to a place of
//! which nobody can say that it lies before the old one, leaves changes out, so it needs the operator's word. The
//! open epoch, if there is one, is given up; the next start still waits for the end of its loads. A move to before a schema
//! change that was followed is refused: the target's tables are those behind it.
//!
//! Rows of tables without a key are not applied once more: what lies before the old place counts as in for them.

use std::cmp::Ordering;

use crate::config::{self, Startup};
use crate::mysql::binlog;
use crate::mysql::connect::{self, Patience};
use crate::mysql::position::{self, GtidSet, Position};
use crate::state::{Checkpoint, Stage, Store, now_micros};
use crate::{Error, Result};

/// From where to where a job was moved.
#[derive(Debug)]
pub struct Moved {
    pub from: Position,
    pub to: Position,
}

/// Moves the job to `place`: `FILE:POS`, a GTID set, `earliest` or `latest`.
///
/// # Errors
/// The job runs, or has not copied its tables yet; the source does not have the place; the move leaves changes out and
/// `accept_loss` is not set.
pub async fn reposition(job: &config::Job, place: &str, accept_loss: bool) -> Result<Moved> {
    let store = Store::open(&job.state_dir, &job.name)?;
    let identity = store.identity()?.ok_or_else(|| {
        Error::definite(format!("job {} has not been run yet", job.name)).hint("set source.startup and run it")
    })?;
    if identity.stage != Stage::Incremental {
        return Err(Error::definite(format!(
            "job {} does not follow the log yet (stage {}): its copy goes with the place at which it was begun",
            job.name,
            identity.stage.as_str()
        ))
        .hint("run it to the end of the copy, or begin a new job (another `name`)"));
    }
    let checkpoint = store.checkpoint()?.unwrap_or_else(|| Checkpoint::at(identity.start.clone()));
    let connect = connect::connector(&job.source, Patience::of(&job.params));
    let mut connection = connect.sql(None).await?;
    let server = connect::server_info(&mut connection).await?;
    let to = match parse(place)? {
        Startup::Position { file, position } => {
            let wanted = Position { file, offset: position, gtids: None };
            position::check(&mut connection, server.flavor, &wanted).await?;
            binlog::with_gtids(&connect, server.flavor, job.replica_id(), &wanted.file, wanted.offset).await?
        }
        startup => binlog::resolve(&startup, &connect, server.flavor, job.replica_id()).await?,
    };
    let from = checkpoint.position.clone();
    let same_log = identity.server == server.identity() || server.gtids;
    let back = same_log && matches!(to.order(&from), Some(Ordering::Less | Ordering::Equal));
    if !back && !accept_loss {
        return Err(Error::definite(format!(
            "{to} is not known to lie before the job's position {from}: changes between them would be missing in the target"
        ))
        .hint("if that does not matter, or the tables are mended afterwards, say --accept-loss"));
    }
    let since = store.definitions()?.since.filter(|since| *since != identity.start);
    if let Some(since) = since
        && to.order(&since) == Some(Ordering::Less)
    {
        return Err(Error::definite(format!(
            "{to} lies before a schema change that the job has followed, at {since}: rows from there on were written with \
             other definitions, which the target's tables no longer have"
        ))
        .hint("choose a place behind that, or begin a new job (another `name`) with empty target tables"));
    }
    if !accept_loss && store.has_numberings()? && (store.intent()?.is_some() || !store.open_numberings()?.is_empty()) {
        return Err(Error::definite(
            "an epoch is open, and of its rows in tables without a key nobody could tell any more which are in",
        )
        .hint("run the job until that epoch is in (`towpath status` shows none), or say --accept-loss and mend these tables"));
    }
    let moved = Checkpoint { position: to.clone(), saved_at: now_micros(), ..checkpoint };
    store.reposition(&moved, &server.identity(), &from)?;
    Ok(Moved { from, to })
}

fn parse(place: &str) -> Result<Startup> {
    match place {
        "earliest" => return Ok(Startup::Earliest),
        "latest" => return Ok(Startup::Latest),
        _ => {}
    }
    if !place.trim().is_empty() && place.parse::<GtidSet>().is_ok() {
        return Ok(Startup::Gtid(place.to_owned()));
    }
    let parsed = place.rsplit_once(':').and_then(|(file, offset)| Some((file, offset.parse().ok()?)));
    match parsed {
        Some((file, position)) if !file.is_empty() && position >= 4 => {
            Ok(Startup::Position { file: file.to_owned(), position })
        }
        _ => Err(Error::usage(format!("{place:?} is not a place of the log"))
            .hint("give FILE:POSITION, such as binlog.000042:157, a GTID set, earliest or latest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_and_offset_a_gtid_set_or_a_word() {
        assert_eq!(
            parse("binlog.000042:157").unwrap(),
            Startup::Position { file: "binlog.000042".into(), position: 157 }
        );
        for set in ["3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", "0-1-270,3-2-9"] {
            assert_eq!(parse(set).unwrap(), Startup::Gtid(set.to_owned()));
        }
        assert_eq!(parse("latest").unwrap(), Startup::Latest);
        for text in ["", "now", "binlog.000042", "binlog.000042:x", "binlog.000042:3", ":4"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
