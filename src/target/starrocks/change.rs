//! Changes of whole tables, and of their columns: sending and waiting.
//!
//! StarRocks answers an ALTER when it has taken it on. What needs no rewrite of rows is done by then, the rest is a job
//! that `SHOW ALTER TABLE COLUMN` lists, hours long for a large table. It first waits for all load transactions of the
//! *database* that are older than it, so the caller must have none open. There is one change of a table at a time, and
//! somebody else may have begun one. So every round waits until no job is under way, asks for the columns, and sends the
//! one statement that [`alter::next`] names; the round after it sees what has become of it. Nothing depends on the answer,
//! which may be lost.
//!
//! ```text
//!   ┌─▶ job under way? ──wait──▶ columns ──▶ next step ──none──▶ done
//!   └──────────── wait for its job ◀── send ◀──┘
//! ```

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::alter::{self, Change, Kind, Progress, Step};
use super::sql::{DROP_HINT, Sent, quote_text};
use super::stream_load::{Asked, Backoff};
use super::{StarRocks, existing};
use crate::schema::{TableName, TargetTable, quote};
use crate::{Error, Result};

const FIRST_POLL: Duration = Duration::from_millis(20);
const MAX_POLL: Duration = Duration::from_secs(3);
/// How often a statement that was carried out, as StarRocks says, may be named again by what its catalogue shows.
const UNSEEN: u32 = 8;

/// What became of a statement.
enum Outcome {
    Done,
    /// It may have been carried out or not; the columns tell.
    Unsure,
}

/// A schema change job.
struct Job {
    id: u64,
    state: String,
    message: String,
}

impl Job {
    fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "FINISHED" | "CANCELLED")
    }
}

/// One call's waiting: for jobs up to the limit, for failures as loads do.
struct Waiting<'a> {
    target: &'a StarRocks,
    table: &'a TableName,
    what: &'static str,
    since: Instant,
    poll: Backoff,
    asked: Asked,
}

impl<'a> Waiting<'a> {
    fn new(target: &'a StarRocks, table: &'a TableName, what: &'static str) -> Self {
        let poll = Backoff::new(FIRST_POLL, MAX_POLL);
        Waiting { target, table, what, since: Instant::now(), poll, asked: Asked::default() }
    }

    fn at(&self) -> String {
        format!("target table {}: {}", self.table, self.what)
    }

    /// After a transient failure.
    async fn after(&mut self, error: Error) -> Result<()> {
        self.check_limit(error.message())?;
        let at = self.at();
        self.target.load.patience(&mut self.asked, &at, error).await
    }

    /// For something that somebody else ends.
    async fn for_others(&mut self, what: &str) -> Result<()> {
        self.check_limit(what)?;
        tokio::time::sleep(self.poll.next()).await;
        Ok(())
    }

    fn check_limit(&self, what: &str) -> Result<()> {
        let limit = self.target.alter_timeout;
        if self.since.elapsed() < limit {
            return Ok(());
        }
        Err(Error::definite(format!("{}: not done after {} s: {what}", self.at(), limit.as_secs())).hint(
            "SHOW ALTER TABLE COLUMN tells what StarRocks is doing; a job in WAITING_TXN waits for load transactions of its \
             database (SHOW TRANSACTION). Raise params.alterTimeoutSec, or start the job again later: it goes on from there",
        ))
    }

    async fn rows(&mut self, statement: &str) -> Result<super::sql::Rows> {
        loop {
            match self.target.sql.rows(statement).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.after(error).await?,
            }
        }
    }

    async fn columns(&mut self) -> Result<Vec<existing::ExistingColumn>> {
        loop {
            match existing::read(&self.target.sql, self.table).await {
                Ok(columns) => return Ok(columns),
                Err(error) => self.after(error).await?,
            }
        }
    }

    /// The newest job of the table.
    async fn job(&mut self) -> Result<Option<Job>> {
        let statement = format!(
            "SHOW ALTER TABLE COLUMN FROM {} WHERE TableName = {} ORDER BY JobId DESC LIMIT 1",
            quote(&self.table.database),
            quote_text(&self.table.table)
        );
        let rows = self.rows(&statement).await?;
        Ok(rows.iter().next().map(|row| Job {
            id: row.get("JobId").and_then(|id| id.parse().ok()).unwrap_or_default(),
            state: row.get("State").unwrap_or_default().to_owned(),
            message: row.get("Msg").unwrap_or_default().to_owned(),
        }))
    }

    /// Waits until no job is under way and gives the newest one's number.
    async fn for_jobs(&mut self) -> Result<u64> {
        loop {
            match self.job().await? {
                Some(job) if !job.is_over() => self.for_others(&format!("a schema change is {}", job.state)).await?,
                job => return Ok(job.map_or(0, |job| job.id)),
            }
        }
    }

    /// Waits for the end of the job that came after `before`; there may be none.
    ///
    /// # Errors
    /// Definite: it was cancelled.
    async fn for_job_after(&mut self, before: u64) -> Result<()> {
        loop {
            match self.job().await? {
                Some(job) if job.id > before && job.state == "CANCELLED" => {
                    return Err(Error::definite(format!("{}: StarRocks has cancelled it: {}", self.at(), job.message))
                        .hint("mend what the message says, then start the job again: it tries the change once more"));
                }
                Some(job) if job.id > before && !job.is_over() => {
                    self.for_others(&format!("the schema change is {}: {}", job.state, job.message)).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Sends a statement; waits and says `Unsure` where another may come of another try.
    async fn send(&mut self, statement: &str) -> Result<Outcome> {
        match self.target.sql.once(statement).await {
            Sent::Done => Ok(Outcome::Done),
            Sent::Refused(error) if is_busy(error.message()) => {
                self.for_others(error.message()).await?;
                Ok(Outcome::Unsure)
            }
            Sent::Refused(error) if !error.is_transient() || is_final(error.message()) => Err(error.into_definite()),
            Sent::Refused(error) | Sent::Lost(error) => {
                self.after(error).await?;
                Ok(Outcome::Unsure)
            }
        }
    }
}

/// Another change of the table is under way, or loads that it has to wait for.
fn is_busy(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "operation is in progress",
        "state is not normal",
        "is not in normal state",
        "waiting to be completed",
        "unfinished",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Its advice to "try again" is for people.
fn is_final(message: &str) -> bool {
    message.to_lowercase().contains("already exists")
}

/// See [`crate::target::Target::alter_table`].
pub(super) async fn alter_table(
    target: &StarRocks,
    before: &TargetTable,
    after: &TargetTable,
    was: &[Option<usize>],
) -> Result<()> {
    let mut waiting = Waiting::new(target, &after.name, "altering it");
    let version = loop {
        match target.facts().await {
            Ok(facts) => break facts.version,
            Err(error) => waiting.after(error).await?,
        }
    };
    let change = Change { before, after, was, version };
    let cannot = alter::cannot(&change);
    if !cannot.is_empty() {
        return Err(Error::definite(format!(
            "target table {} cannot be altered in place:\n  - {}",
            after.name,
            cannot.join("\n  - ")
        ))
        .hint("the table has to be copied again"));
    }
    let mut progress = Progress::default();
    let mut last: Option<(Step, u32)> = None;
    loop {
        let newest = waiting.for_jobs().await?;
        let columns = waiting.columns().await?;
        if columns.is_empty() {
            return Err(Error::definite(format!("target table {} is not there, so it cannot be altered", after.name))
                .hint("RECOVER TABLE brings back one that was dropped less than a day ago; otherwise it has to be copied again"));
        }
        let Some(step) = alter::next(&change, &columns, &progress)? else { return Ok(()) };
        let seen = match &last {
            Some((done, seen)) if *done == step => seen + 1,
            _ => 0,
        };
        if seen > UNSEEN {
            return Err(Error::definite(format!(
                "{}: StarRocks has taken the statement, and its columns are as before: {}",
                waiting.at(),
                alter::statement(&after.name, &step)
            ))
            .hint("look at SHOW ALTER TABLE COLUMN and DESC, then start the job again"));
        }
        if seen > 0 {
            waiting.for_others("the change does not show yet").await?;
            // It may show only now; sending it again would be an error.
            if alter::next(&change, &waiting.columns().await?, &progress)?.as_ref() != Some(&step) {
                continue;
            }
        }
        if carry_out(&mut waiting, &step, newest, &mut progress).await? {
            last = Some((step, seen));
        }
    }
}

/// Sends one step and waits for its job. `true`: StarRocks says it is done.
async fn carry_out(waiting: &mut Waiting<'_>, step: &Step, newest: u64, progress: &mut Progress) -> Result<bool> {
    let statement = alter::statement(waiting.table, step);
    info!("{statement}");
    waiting.poll = Backoff::new(FIRST_POLL, MAX_POLL);
    let error = match waiting.send(&statement).await {
        Ok(Outcome::Unsure) => return Ok(false),
        Ok(Outcome::Done) => {
            waiting.for_job_after(newest).await?;
            match &step.kind {
                Kind::Drop(names) => progress.dropped.extend(names.iter().cloned()),
                Kind::Comment => progress.commented.push(step.clauses.clone()),
                Kind::Rename | Kind::Add(_) | Kind::Modify => {}
            }
            return Ok(true);
        }
        Err(error) => error,
    };
    match &step.kind {
        Kind::Comment => {
            warn!("{}: {error}; it keeps the old comment", waiting.at());
            progress.commented.push(step.clauses.clone());
            Ok(false)
        }
        Kind::Add(names) if kept_name(names, error.message()).is_some() => {
            progress.refused_names.extend(kept_name(names, error.message()).cloned());
            Ok(false)
        }
        _ => Err(error.context(waiting.at())),
    }
}

/// The name that a column had at first which is called otherwise now.
fn kept_name<'a>(names: &'a [String], message: &str) -> Option<&'a String> {
    names.iter().find(|name| message.contains(&format!("already exists in column id: {name},")))
}

/// See [`crate::target::Target::truncate_table`].
pub(super) async fn truncate_table(target: &StarRocks, table: &TableName) -> Result<()> {
    let mut waiting = Waiting::new(target, table, "removing its rows");
    let statement = format!("TRUNCATE TABLE {}", table.quoted());
    until_done(&mut waiting, &statement).await
}

/// See [`crate::target::Target::drop_table`].
pub(super) async fn drop_table(target: &StarRocks, table: &TableName) -> Result<()> {
    let mut waiting = Waiting::new(target, table, "dropping it");
    if waiting.columns().await?.is_empty() {
        return Ok(());
    }
    // Without FORCE, RECOVER TABLE can bring it back for a day.
    let statement = format!("DROP TABLE IF EXISTS {}", table.quoted());
    until_done(&mut waiting, &statement).await.map_err(|error| {
        if error.to_string().to_lowercase().contains("access denied") { error.hint(DROP_HINT) } else { error }
    })
}

async fn until_done(waiting: &mut Waiting<'_>, statement: &str) -> Result<()> {
    loop {
        waiting.for_jobs().await?;
        match waiting.send(statement).await {
            Ok(Outcome::Done) => return Ok(()),
            Ok(Outcome::Unsure) => {}
            Err(error) => return Err(error.context(waiting.at())),
        }
    }
}

/// See [`crate::target::Target::rename_table`].
pub(super) async fn rename_table(target: &StarRocks, from: &TableName, to: &TableName) -> Result<()> {
    if from == to {
        return Ok(());
    }
    if from.database != to.database {
        return Err(Error::definite(format!(
            "target table {from} is to be called {to}, and StarRocks renames tables within a database only"
        ))
        .hint(
            "map both source databases to one with target.databases, or let the job copy the table under its new name",
        ));
    }
    let mut old = Waiting::new(target, from, "renaming it");
    let mut new = Waiting::new(target, to, "renaming another one to it");
    let statement = format!("ALTER TABLE {} RENAME {}", from.quoted(), quote(&to.table));
    loop {
        old.for_jobs().await?;
        match (old.columns().await?.is_empty(), new.columns().await?.is_empty()) {
            (false, true) => match old.send(&statement).await {
                Ok(_) => {}
                Err(error) => return Err(error.context(old.at())),
            },
            (true, false) => return Ok(()),
            (true, true) => {
                return Err(Error::definite(format!("target table {from} is to be called {to}, and neither is there"))
                    .hint("RECOVER TABLE brings back one that was dropped less than a day ago; otherwise it has to be copied again"));
            }
            (false, false) => {
                return Err(Error::definite(format!("target table {from} is to be called {to}, and both are there"))
                    .hint("drop or rename the one that is not wanted"));
            }
        }
    }
}

/// See [`crate::target::Target::swap_tables`].
pub(super) async fn swap_tables(target: &StarRocks, table: &TableName, with: &TableName) -> Result<()> {
    if table.database != with.database {
        return Err(Error::definite(format!(
            "target tables {table} and {with} are of two databases and cannot be swapped"
        )));
    }
    let mut waiting = Waiting::new(target, table, "swapping it with another one");
    let mut other = Waiting::new(target, with, "swapping it with another one");
    let statement = format!("ALTER TABLE {} SWAP WITH {}", table.quoted(), quote(&with.table));
    let first = ids(&mut waiting, with).await?;
    loop {
        waiting.for_jobs().await?;
        other.for_jobs().await?;
        match waiting.send(&statement).await {
            Ok(Outcome::Done) => return Ok(()),
            Ok(Outcome::Unsure) => {}
            Err(error) => return Err(error.context(waiting.at())),
        }
        let (old, new) = &first;
        let now = ids(&mut waiting, with).await?;
        if (&now.0, &now.1) == (new, old) {
            return Ok(());
        }
        if now != first {
            return Err(Error::definite(format!(
                "target tables {table} and {with} are not those that were to be swapped"
            ))
            .hint("somebody else has dropped or renamed one of them meanwhile"));
        }
    }
}

/// The tables' numbers, which tell them apart whatever they are called.
async fn ids(waiting: &mut Waiting<'_>, with: &TableName) -> Result<(String, String)> {
    let table = waiting.table;
    let gone = |name: &TableName| {
        Error::definite(format!("target tables {table} and {with} are to be swapped, and {name} is not there"))
            .hint("if they were swapped already, and one dropped since, nothing is left to do")
    };
    let of_table = id(waiting, table).await?.ok_or_else(|| gone(table))?;
    let of_with = id(waiting, with).await?.ok_or_else(|| gone(with))?;
    Ok((of_table, of_with))
}

async fn id(waiting: &mut Waiting<'_>, name: &TableName) -> Result<Option<String>> {
    let rows = waiting
        .rows(&format!(
            "SELECT TABLE_NAME, TABLE_ID FROM information_schema.tables_config WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            quote_text(&name.database),
            quote_text(&name.table)
        ))
        .await?;
    let row = rows.iter().find(|row| row.get("TABLE_NAME") == Some(name.table.as_str()));
    Ok(row.and_then(|row| row.get("TABLE_ID")).map(str::to_owned))
}

/// See [`crate::target::Target::table_id`].
pub(super) async fn table_id(target: &StarRocks, table: &TableName) -> Result<Option<String>> {
    id(&mut Waiting::new(target, table, "looking for it"), table).await
}
