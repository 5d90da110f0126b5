//! Asynchronous ALTER jobs: `PENDING → WAITING_TXN → RUNNING → FINISHED` or `CANCELLED`.
//!
//! A job takes a transaction id when it starts waiting, and waits until every load transaction of its database
//! with a smaller id has ended (G36). Then it runs for the configured time while loads and queries go on with
//! the old columns, and at its end the rows are rewritten and the catalogue changes in one transaction (G37).
//! Jobs are kept in the store: an unfinished one starts its wait again after a restart. Fast changes leave a
//! finished job behind as well, since clients look for one (G40).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::answer::{SqlError, SqlResult};
use super::builtin::now_text;
use super::rebuild::rebuild;
use crate::embedded::catalog::{Change, TableDef, next_id};
use crate::embedded::engine::Engine;
use crate::embedded::fault::Mode;
use crate::embedded::store::Store;
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Pending,
    WaitingTxn,
    Running,
    Finished,
    Cancelled,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::WaitingTxn => "WAITING_TXN",
            State::Running => "RUNNING",
            State::Finished => "FINISHED",
            State::Cancelled => "CANCELLED",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, State::Finished | State::Cancelled)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) id: u64,
    /// The table as it will be; its id and name are those of the table now.
    pub(super) table: TableDef,
    pub(super) created: String,
    pub(super) finished: Option<String>,
    pub(super) index_id: u64,
    /// The load transaction id from which on loads need not be waited for.
    pub(super) transaction: Option<u64>,
    pub(super) state: State,
    pub(super) message: String,
    /// Seconds.
    pub(super) timeout: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Held for a step or a cancel as a whole. Taken before the store's writer, never within it.
    steps: Mutex<()>,
    /// Held for moments only, within the store's writer too.
    state: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: BTreeMap<u64, Job>,
    running_since: HashMap<u64, Instant>,
}

/// Finished jobs kept in the list.
const KEEP: usize = 1000;

impl Jobs {
    pub(crate) fn load(store: &Store) -> Result<Jobs> {
        let jobs = store.write(|tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS alter_job (id INTEGER PRIMARY KEY, job TEXT NOT NULL)")?;
            let mut jobs = BTreeMap::new();
            let mut statement = tx.prepare("SELECT job FROM alter_job ORDER BY id")?;
            for row in statement.query_map([], |row| row.get::<_, String>(0))? {
                let mut job: Job = serde_json::from_str(&row?).map_err(|error| {
                    Error::definite("the data folder holds an ALTER job this version cannot read").caused_by(error)
                })?;
                if !job.state.is_over() {
                    // No load survives a restart, so the wait begins anew.
                    job.state = State::Pending;
                    job.transaction = None;
                }
                jobs.insert(job.id, job);
            }
            Ok::<_, Error>(jobs)
        })?;
        let state = Mutex::new(Inner { jobs, running_since: HashMap::new() });
        Ok(Jobs { steps: Mutex::new(()), state })
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs of a database, oldest first.
    pub(super) fn of_database(&self, database: &str) -> Vec<Job> {
        self.inner().jobs.values().filter(|job| job.table.database == database).cloned().collect()
    }

    /// G35: one change of a table at a time.
    pub(super) fn check_idle(&self, table: &TableDef) -> SqlResult<()> {
        let busy = self.inner().jobs.values().any(|job| job.table.id == table.id && !job.state.is_over());
        if !busy {
            return Ok(());
        }
        Err(SqlError::ddl(format!(
            "A schema change operation is in progress on the table \"{}\". Please wait until the current operation completes.\n\
             To check the status of the operation, see \
             https://docs.starrocks.io/docs/sql-reference/sql-statements/table_bucket_part_index/SHOW_ALTER/",
            table.name
        )))
    }

    /// Starts a job; it is on disk when this returns.
    pub(super) fn submit(&self, engine: &Engine, table: TableDef, timeout: u64) -> Result<u64> {
        let job = engine.store.write(|tx| {
            let job = new_job(tx, table, State::Pending, timeout)?;
            save(tx, &job)?;
            Ok::<_, Error>(job)
        })?;
        let id = job.id;
        self.inner().jobs.insert(id, job);
        Ok(id)
    }

    /// Makes a metadata change within `change` and leaves a finished job. The caller has changed the rows.
    pub(super) fn record_finished(&self, change: &mut Change<'_, '_>, table: TableDef) -> Result<()> {
        let mut job = new_job(change.tx, table, State::Finished, 86_400)?;
        job.finished = Some(job.created.clone());
        save(change.tx, &job)?;
        self.inner().jobs.insert(job.id, job);
        Ok(())
    }

    /// `CANCEL ALTER TABLE COLUMN`.
    pub(super) fn cancel(&self, engine: &Engine, table: &TableDef) -> SqlResult<()> {
        let _step = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.inner().jobs.values().find(|job| job.table.id == table.id && !job.state.is_over()).cloned();
        let Some(mut job) = open else {
            return Err(SqlError::ddl(format!("Table[{}] is not under SCHEMA_CHANGE.", table.name)));
        };
        finish(engine, &mut job, State::Cancelled, "user cancelled".into())?;
        self.inner().jobs.insert(job.id, job);
        Ok(())
    }

    /// No job is waiting to move on.
    pub(crate) fn is_idle(&self) -> bool {
        self.inner().jobs.values().all(|job| job.state.is_over())
    }

    /// Moves every open job on by one state, if it can go on now.
    pub(crate) fn step(&self, engine: &Engine) -> Result<()> {
        let _step = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<Job> = self.inner().jobs.values().filter(|job| !job.state.is_over()).cloned().collect();
        for mut job in open {
            self.step_one(engine, &mut job)?;
            self.inner().jobs.insert(job.id, job);
        }
        Ok(())
    }

    fn step_one(&self, engine: &Engine, job: &mut Job) -> Result<()> {
        match job.state {
            State::Pending => {
                job.transaction = Some(engine.transactions.next_id(&engine.store)?);
                job.state = State::WaitingTxn;
                engine.store.write(|tx| save(tx, job))
            }
            State::WaitingTxn => {
                let watermark = job.transaction.unwrap_or(u64::MAX);
                if engine.transactions.open_in(&job.table.database).iter().any(|&open| open < watermark) {
                    return Ok(());
                }
                job.state = State::Running;
                self.inner().running_since.insert(job.id, Instant::now());
                engine.store.write(|tx| save(tx, job))
            }
            State::Running => {
                let since = self.inner().running_since.get(&job.id).copied();
                let names = engine.names([job.table.id]);
                let delayed = since.is_some_and(|since| since.elapsed() < engine.options.alter_delay);
                if delayed || engine.faults.strikes(&names, &Mode::AlterHeld) {
                    return Ok(());
                }
                let cancelled = engine.faults.take(&names, |mode| match mode {
                    Mode::AlterCancelled { reason } => Some(reason.clone()),
                    _ => None,
                });
                self.inner().running_since.remove(&job.id);
                match cancelled {
                    Some(reason) => finish(engine, job, State::Cancelled, reason),
                    None => complete(engine, job),
                }
            }
            State::Finished | State::Cancelled => Ok(()),
        }
    }
}

/// Rewrites the rows and changes the catalogue, or cancels the job with the reason.
fn complete(engine: &Engine, job: &mut Job) -> Result<()> {
    let done = engine.catalog.change(&engine.store, |change| {
        let Some(old) = change.databases.all_tables().find(|table| table.id == job.table.id).cloned() else {
            return Err(SqlError::ddl(format!("table {} does not exist", job.table.name)));
        };
        rebuild(change.tx, &old, &job.table)?;
        change.put_table(job.table.clone())?;
        let mut finished = job.clone();
        finished.state = State::Finished;
        finished.finished = Some(now_text());
        save(change.tx, &finished)?;
        Ok(finished)
    });
    match done {
        Ok(finished) => {
            *job = finished;
            Ok(())
        }
        Err(error) => finish(engine, job, State::Cancelled, error.message),
    }
}

fn finish(engine: &Engine, job: &mut Job, state: State, message: String) -> Result<()> {
    job.state = state;
    job.message = message;
    job.finished = Some(now_text());
    engine.store.write(|tx| save(tx, job))
}

fn new_job(tx: &Transaction<'_>, table: TableDef, state: State, timeout: u64) -> Result<Job> {
    Ok(Job {
        id: next_id(tx)?,
        table,
        created: now_text(),
        finished: None,
        index_id: next_id(tx)?,
        transaction: None,
        state,
        message: String::new(),
        timeout,
    })
}

fn save(tx: &Transaction<'_>, job: &Job) -> Result<()> {
    let text = serde_json::to_string(job)
        .map_err(|error| Error::definite(format!("ALTER job {}", job.id)).caused_by(error))?;
    tx.execute(
        "INSERT INTO alter_job (id, job) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET job = excluded.job",
        params![job.id as i64, text],
    )?;
    tx.execute("DELETE FROM alter_job WHERE id <= (SELECT max(id) FROM alter_job) - ?", params![(KEEP * 4) as i64])?;
    Ok(())
}
