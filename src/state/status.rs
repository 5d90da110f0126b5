//! Where a job stands, as its state store tells: for `towpath status` and for `/status`.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::{
    Asked, ChangeCount, Checkpoint, Identity, Intent, Join, Lag, LastRun, LetterCounts, PaceRecord, RunningChange,
    Settings, Store, TableProgress, Verification, now_micros,
};
use crate::Result;
use crate::mysql::position::Position;
use crate::schema::TableName;

/// A job's state at one moment; it may be running.
#[derive(Debug, Clone)]
pub struct Status {
    pub running: bool,
    pub identity: Identity,
    pub checkpoint: Option<Checkpoint>,
    pub intent: Option<Intent>,
    /// XA transactions that are prepared at the checkpoint.
    pub prepared: u64,
    /// `None`: the job file's pause holds.
    pub pace: Option<PaceRecord>,
    pub tables: Vec<TableProgress>,
    pub letters: LetterCounts,
    /// What differs from the job file.
    pub settings: Settings,
    /// Tables that are copied while the log is followed.
    pub joins: Vec<(TableName, Join)>,
    /// Tables whose copy was asked for and has not begun.
    pub asked: Vec<(TableName, Asked)>,
    /// The schema change that the target works on, or did when the job ended.
    pub change: Option<RunningChange>,
    /// Tables that the target alters while the others go on.
    pub lags: Vec<(TableName, Lag)>,
    /// Bytes of their rows that wait.
    pub parked_bytes: u64,
    pub changes: Vec<ChangeCount>,
    /// Tables that match the job's patterns and are not replicated (`noKeyTables: skip`).
    pub left_out: Vec<TableName>,
    pub verification: Verification,
}

impl Status {
    /// `None` when the job has not begun.
    pub fn read(dir: &Path, job: &str) -> Result<Option<Status>> {
        let Some(store) = Store::read(dir, job)? else { return Ok(None) };
        let Some(identity) = store.identity()? else { return Ok(None) };
        Ok(Some(Status {
            running: Store::is_running(dir, job),
            identity,
            checkpoint: store.checkpoint()?,
            intent: store.intent()?,
            prepared: store.prepared_count()?,
            pace: store.pace()?,
            tables: store.snapshot_tables()?,
            letters: store.letter_counts()?,
            settings: store.settings()?,
            joins: store.joins()?,
            asked: store.asked_copies()?,
            change: store.running_change()?,
            lags: store.lags()?,
            parked_bytes: store.parked_bytes()?,
            changes: store.change_counts()?,
            left_out: store.left_out()?,
            verification: store.verification()?,
        }))
    }

    /// Everything before it is in the target, once the rows have been copied.
    pub fn position(&self) -> &Position {
        self.checkpoint.as_ref().map_or(&self.identity.start, |checkpoint| &checkpoint.position)
    }

    pub fn json(&self) -> Value {
        let table = |table: &TableProgress| {
            json!({"table": table.table.to_string(), "rows": table.rows_done, "rowsEstimated": table.estimated,
                   "chunks": table.chunks, "chunksDone": table.chunks_done, "done": table.done()})
        };
        let checkpoint = self.checkpoint.as_ref();
        json!({
            "job": self.identity.name,
            "running": self.running,
            "stage": self.identity.stage.as_str(),
            "position": self.position(),
            "checkpointAgeSeconds": checkpoint.map(|checkpoint| age(checkpoint.saved_at)),
            "lastCommitAgeSeconds": checkpoint.filter(|at| at.committed_at > 0).map(|at| age(at.committed_at)),
            "epochs": checkpoint.map_or(0, |checkpoint| checkpoint.epoch),
            "widenedPause": self.pace.as_ref().map(|pace| {
                json!({"seconds": pace.pause_millis as f64 / 1e3, "reason": pace.reason, "ageSeconds": age(pace.since)})
            }),
            "paused": self.settings.paused,
            "settings": self.settings.params,
            "openEpoch": self.intent.as_ref().map(|intent| intent.epoch),
            "preparedXa": self.prepared,
            "inserts": checkpoint.map_or(0, |checkpoint| checkpoint.read.inserts),
            "updates": checkpoint.map_or(0, |checkpoint| checkpoint.read.updates),
            "deletes": checkpoint.map_or(0, |checkpoint| checkpoint.read.deletes),
            "rowsLoaded": checkpoint.map_or(0, |checkpoint| checkpoint.loaded),
            "deadLetters": {"open": self.letters.open, "retry": self.letters.retry,
                            "superseded": self.letters.superseded, "resolved": self.letters.resolved},
            "schemaChange": self.change.as_ref().map(|change| {
                json!({"statement": change.statement, "ageSeconds": age(change.since), "position": change.position,
                       "tables": change.tables.iter().map(ToString::to_string).collect::<Vec<_>>()})
            }),
            "lagging": self.lags.iter().map(|(table, lag)| {
                json!({"table": table.to_string(), "statement": lag.statement, "ageSeconds": age(lag.begun),
                       "position": lag.since})
            }).collect::<Vec<_>>(),
            "parkedBytes": self.parked_bytes,
            "schemaChanges": self.changes.iter().map(|count| {
                json!({"kind": count.kind, "outcome": count.outcome, "number": count.number})
            }).collect::<Vec<_>>(),
            "leftOut": self.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "copies": self.joins.iter().map(|(table, join)| {
                json!({"table": table.to_string(), "beside": join.serves.is_some(), "reason": join.reason})
            }).collect::<Vec<_>>(),
            "copiesAsked": self.asked.iter().map(|(table, _)| table.to_string()).collect::<Vec<_>>(),
            "verification": self.verification_json(),
            "fullData": self.tables.iter().map(table).collect::<Vec<_>>(),
        })
    }
}

impl Status {
    /// When the job compares both sides next; only a running one will.
    fn next_comparison(&self) -> Option<String> {
        self.verification.plan.as_ref().filter(|_| self.running).map(|plan| shown(plan.next_at))
    }

    fn verification_json(&self) -> Value {
        let known = &self.verification;
        json!({
            "last": known.last.as_ref().map(|run| {
                json!({"run": run.id, "scheduled": run.scheduled, "outcome": run.outcome.as_str(), "rows": run.rows,
                       "differences": run.differences, "error": run.error, "seconds": seconds(run),
                       "ageSeconds": age(run.ended_at)})
            }),
            "lastGoodAgeSeconds": known.good_at.map(age),
            "openDifferences": known.open(),
            "skipped": known.skipped,
            "schedule": known.plan.as_ref().map(|plan| plan.schedule.to_string()),
            "running": self.running && known.plan.as_ref().is_some_and(|plan| plan.begun_at.is_some()),
            "next": self.next_comparison(),
        })
    }

    fn write_verification(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = &self.verification;
        if let Some(run) = &known.last {
            let by = if run.scheduled { ", by the clock" } else { "" };
            let found = match (&run.error, run.differences) {
                (Some(error), _) => format!(": {error}"),
                (None, 0) => format!(", {} rows", run.rows),
                (None, differences) => {
                    format!(", {} rows, {differences} differences, {} not mended", run.rows, known.open())
                }
            };
            writeln!(
                f,
                "compared    run {}{by}, {:.0} s ago: {}{found}",
                run.id,
                age(run.ended_at),
                run.outcome.as_str()
            )?;
            if let Some(good) = known.good_at.filter(|good| *good != run.ended_at) {
                writeln!(f, "            equal {:.0} s ago", age(good))?;
            }
        }
        if let (Some(plan), Some(next)) = (&known.plan, self.next_comparison()) {
            match plan.begun_at {
                Some(since) => writeln!(f, "comparing   since {:.0} s ({})", age(since), plan.schedule)?,
                None => writeln!(f, "compares    at {next} ({})", plan.schedule)?,
            }
        }
        Ok(())
    }
}

/// How long a comparison took.
fn seconds(run: &LastRun) -> f64 {
    run.ended_at.saturating_sub(run.begun_at) as f64 / 1e6
}

/// A moment in microseconds since 1970, in UTC.
fn shown(micros: u64) -> String {
    jiff::Timestamp::from_microsecond(micros as i64).map_or_else(|_| micros.to_string(), |at| at.to_string())
}

/// Seconds since a moment in microseconds since 1970.
fn age(micros: u64) -> f64 {
    now_micros().saturating_sub(micros) as f64 / 1e6
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position();
        let running = match (self.running, self.settings.paused) {
            (true, true) => "running, paused",
            (true, false) => "running",
            (false, true) => "not running, paused",
            (false, false) => "not running",
        };
        writeln!(f, "job         {} ({running})", self.identity.name)?;
        writeln!(f, "stage       {}", self.identity.stage.as_str())?;
        writeln!(f, "position    {}:{}", position.file, position.offset)?;
        if let Some(gtids) = &position.gtids {
            writeln!(f, "gtids       {gtids}")?;
        }
        if let Some(at) = &self.checkpoint {
            writeln!(f, "checkpoint  epoch {}, {:.0} s ago", at.epoch, age(at.saved_at))?;
            if at.committed_at > 0 {
                writeln!(f, "last change committed at the source {:.0} s ago", age(at.committed_at))?;
            }
            writeln!(
                f,
                "rows        {} inserts, {} updates, {} deletes read; {} rows loaded",
                at.read.inserts, at.read.updates, at.read.deletes, at.loaded
            )?;
        }
        for (key, value) in &self.settings.params {
            writeln!(f, "set         {key} = {value}, instead of the job file's")?;
        }
        if let Some(pace) = &self.pace {
            let seconds = pace.pause_millis as f64 / 1e3;
            let since = age(pace.since);
            writeln!(f, "pause       {seconds} s between epochs: the target has {} ({since:.0} s ago)", pace.reason)?;
        }
        if let Some(intent) = &self.intent {
            writeln!(
                f,
                "open epoch  {} ({}:{} to {}:{})",
                intent.epoch, intent.begin.file, intent.begin.offset, intent.end.file, intent.end.offset
            )?;
        }
        if let Some(change) = &self.change {
            let tables: Vec<String> = change.tables.iter().map(ToString::to_string).collect();
            let (tables, since) = (tables.join(", "), age(change.since));
            writeln!(f, "waiting     for a schema change of {tables}, begun {since:.0} s ago: {}", change.statement)?;
        }
        for (table, lag) in &self.lags {
            let since = age(lag.begun);
            writeln!(
                f,
                "lagging     {table}: its rows wait for a schema change, begun {since:.0} s ago: {}",
                lag.statement
            )?;
        }
        if self.parked_bytes > 0 {
            writeln!(f, "parked      {} bytes of rows", self.parked_bytes)?;
        }
        if !self.changes.is_empty() {
            let counts = self.changes.iter().map(|count| format!("{} {} {}", count.number, count.kind, count.outcome));
            writeln!(f, "changes     {}", counts.collect::<Vec<_>>().join(", "))?;
        }
        if self.letters != LetterCounts::default() {
            let LetterCounts { open, retry, superseded, resolved } = self.letters;
            writeln!(
                f,
                "dead letters {open} open, {retry} to be sent again, {superseded} superseded, {resolved} resolved"
            )?;
        }
        if self.prepared > 0 {
            writeln!(f, "XA          {} prepared, waiting for XA COMMIT or XA ROLLBACK", self.prepared)?;
        }
        self.write_verification(f)?;
        for table in &self.left_out {
            writeln!(f, "left out    {table}: it has no primary key (noKeyTables: skip)")?;
        }
        for (table, join) in &self.joins {
            let how = if join.serves.is_some() { ", beside the one that serves" } else { "" };
            writeln!(f, "copying     {table} while the log is followed{how}: {}", join.reason)?;
        }
        for (table, _) in &self.asked {
            writeln!(f, "to copy     {table}")?;
        }
        for table in &self.tables {
            let state = if table.done() { "done" } else { "copying" };
            writeln!(
                f,
                "full data   {}: {state}, {} of about {} rows, {} of {} chunks",
                table.table, table.rows_done, table.estimated, table.chunks_done, table.chunks
            )?;
        }
        Ok(())
    }
}
