//! Load transactions: labels, their states, and the commit that makes rows and label durable together.
//!
//! ```text
//! begin ─▶ PREPARE ─────────────▶ VISIBLE      (plain load, or commit without prepare)
//!             │  └──▶ PREPARED ──▶ VISIBLE      (two-phase; survives a restart)
//!             │  └──▶ COMMITTED ─▶ VISIBLE      (a publish that takes its time: a fault)
//!             └──────────┴──────▶ ABORTED       (failure, rollback, timeout; the label is free again)
//! ```
//!
//! The rows of a load and its label's state are one SQLite transaction, so after a kill either both are there
//! or neither. A PREPARE transaction is not stored: a restart forgets it, as a StarRocks FE does. Labels belong
//! to a database and are forgotten by count and by age; then nobody knows any more that a load was in.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::fault::Mode;
use super::load::apply::{Target, apply};
use super::load::stage::Stage;
use super::store::Store;
use crate::{Error, Result};

mod late;
mod stored;

use late::{Late, store_parts};
use stored::{Stored, delete};

/// A transaction's state, by the names of `get_load_state`. COMMITTED is passed through at once, unless a fault holds the
/// publish up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Prepare,
    Prepared,
    Committed,
    Visible,
    Aborted,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Prepare => "PREPARE",
            State::Prepared => "PREPARED",
            State::Committed => "COMMITTED",
            State::Visible => "VISIBLE",
            State::Aborted => "ABORTED",
        }
    }

    /// `ExistingJobStatus` of a label in this state.
    pub(crate) fn job_status(self) -> &'static str {
        match self {
            State::Prepare | State::Prepared => "RUNNING",
            State::Committed | State::Visible | State::Aborted => "FINISHED",
        }
    }

    fn parse(name: &str) -> Option<State> {
        [State::Prepared, State::Committed, State::Visible, State::Aborted]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// What is known of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: u64,
    pub(crate) state: State,
    /// Why it was aborted.
    pub(crate) reason: String,
}

/// Why a transaction does not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The label is in use.
    LabelUsed(State),
    Other(String),
}

/// A part of a prepared or unseen transaction: one table's rows, in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    target: Target,
    file: PathBuf,
}

#[derive(Debug)]
struct Transaction {
    database: String,
    label: String,
    state: State,
    reason: String,
    /// A commit has begun: it cannot be aborted any more.
    committing: bool,
    parts: Vec<Part>,
    /// Unix milliseconds of the end, once there is one.
    finished: u64,
    /// When a prepared one is aborted.
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    transactions: HashMap<u64, Transaction>,
    /// The newest transaction of a label, by database.
    labels: HashMap<String, HashMap<String, u64>>,
    /// Ended ones, oldest first, by database.
    finished: HashMap<String, VecDeque<u64>>,
    versions: HashMap<u64, Versions>,
}

/// Versions of one table since its last compaction.
#[derive(Debug)]
struct Versions {
    count: u64,
    compacted: Instant,
}

#[derive(Debug)]
pub(crate) struct Labels {
    inner: Mutex<Inner>,
    /// Locked before `inner`, where both are.
    late: Mutex<Vec<Late>>,
    /// Nobody waits for a publish any more.
    stopping: AtomicBool,
    /// Where loads stage their rows.
    folder: PathBuf,
}

impl Labels {
    /// Reads what is stored; staged rows that belong to no prepared transaction are removed.
    pub(crate) fn load(store: &Store, data_dir: &Path) -> Result<Labels> {
        let mut inner = Inner::default();
        for (id, transaction) in stored::read_all(store)? {
            inner.insert(id, transaction);
        }
        let folder = data_dir.join("staging");
        if let Ok(files) = std::fs::read_dir(&folder) {
            let kept: Vec<&Path> = inner
                .transactions
                .values()
                .filter(|transaction| matches!(transaction.state, State::Prepared | State::Committed))
                .flat_map(|transaction| transaction.parts.iter().map(|part| part.file.as_path()))
                .collect();
            for file in files.flatten() {
                if !kept.contains(&file.path().as_path()) {
                    let _ = std::fs::remove_file(file.path());
                }
            }
        }
        let labels =
            Labels { inner: Mutex::new(inner), late: Mutex::default(), stopping: AtomicBool::new(false), folder };
        labels.publish_after_restart();
        Ok(labels)
    }

    /// Stored transactions that have not ended and their databases, for those that wait for open transactions.
    pub(crate) fn unended(&self) -> Vec<(u64, String)> {
        let inner = self.lock();
        let unended = |transaction: &Transaction| matches!(transaction.state, State::Prepared | State::Committed);
        let open = inner.transactions.iter().filter(|(_, transaction)| unended(transaction));
        open.map(|(id, transaction)| (*id, transaction.database.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the rows of one load of transaction `id`.
    pub(crate) fn stage(&self, id: u64, part: usize) -> Stage {
        Stage::new(self.folder.join(format!("{id}.{part}.rows")))
    }

    pub(crate) fn known(&self, database: &str, label: &str) -> Option<Known> {
        let inner = self.lock();
        let id = *inner.labels.get(database)?.get(label)?;
        let transaction = inner.transactions.get(&id)?;
        Some(Known { id, state: transaction.state, reason: transaction.reason.clone() })
    }

    /// Begins a transaction under a label.
    ///
    /// # Errors
    /// The label's format, a label in use, too many running transactions.
    pub(crate) fn begin(&self, engine: &Engine, database: &str, label: &str) -> std::result::Result<u64, Refusal> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if label.is_empty() || label.len() > 128 || !label.bytes().all(allowed) {
            return Err(Refusal::Other(format!("Label format error. regex: ^[-\\w]{{1,128}}$, label: {label}")));
        }
        let id =
            engine.transactions.begin(&engine.store, database).map_err(|error| Refusal::Other(error.to_string()))?;
        let refused = self.enter(engine, database, label, id);
        if refused.is_err() {
            engine.transactions.end(id);
        }
        refused.map(|()| id)
    }

    fn enter(&self, engine: &Engine, database: &str, label: &str, id: u64) -> std::result::Result<(), Refusal> {
        let mut inner = self.lock();
        let used = inner.labels.get(database).and_then(|labels| labels.get(label));
        if let Some(transaction) = used.and_then(|id| inner.transactions.get(id))
            && transaction.state != State::Aborted
        {
            return Err(Refusal::LabelUsed(transaction.state));
        }
        let running = inner
            .transactions
            .values()
            .filter(|transaction| transaction.database == database)
            .filter(|transaction| !matches!(transaction.state, State::Visible | State::Aborted))
            .count();
        let limit = engine.options.max_running_txn_num_per_db;
        let lowered = engine.faults.take(&[], |mode| match mode {
            Mode::TooManyTransactions { limit } if running >= *limit => Some(*limit),
            _ => None,
        });
        if let Some(limit) = lowered.or((running >= limit).then_some(limit)) {
            let database = engine.catalog.now().id(database).unwrap_or_default();
            return Err(Refusal::Other(format!(
                "current running txns on db {database} is {running}, larger than limit {limit}"
            )));
        }
        let transaction = Transaction {
            database: database.to_owned(),
            label: label.to_owned(),
            state: State::Prepare,
            reason: String::new(),
            committing: false,
            parts: Vec::new(),
            finished: 0,
            deadline: None,
        };
        inner.insert(id, transaction);
        Ok(())
    }

    /// Whether the BE can write what it was sent: the table has fewer versions than a tablet may have (G44), and there is
    /// memory.
    pub(crate) fn check_room(&self, engine: &Engine, table: u64) -> std::result::Result<(), String> {
        let count = {
            let mut inner = self.lock();
            let fresh = || Versions { count: 0, compacted: Instant::now() };
            let versions = inner.versions.entry(table).or_insert_with(fresh);
            if versions.compacted.elapsed() >= engine.options.compaction_interval {
                *versions = Versions { count: versions.count.min(1), compacted: Instant::now() };
            }
            versions.count
        };
        let limit = engine.options.tablet_max_versions;
        let names = engine.names([table]);
        if engine.faults.strikes(&names, &Mode::MemoryLimit) {
            return Err(
                "Memory of process exceed limit. Pipeline Backend: 127.0.0.1, fragment: 0-0 Used: 8589934592, \
                        Limit: 8589934592. Mem usage has exceed the limit of BE"
                    .into(),
            );
        }
        let lowered = engine.faults.take(&names, |mode| match mode {
            Mode::TooManyVersions { limit } if count >= *limit => Some(*limit),
            _ => None,
        });
        let Some(limit) = lowered.or((count >= limit).then_some(limit)) else { return Ok(()) };
        Err(format!(
            "Failed to load data into tablet {table}, because of too many versions, current/limit: {count}/{limit}. \
             You can reduce the loading job concurrency, or increase loading data batch size. If you are loading data \
             with Routine Load, you can increase FE configs routine_load_task_consume_second and \
             max_routine_load_batch_size."
        ))
    }

    /// One more version of a table: each load and each DML statement makes one.
    pub(crate) fn count_version(&self, table: u64) {
        let mut inner = self.lock();
        let fresh = || Versions { count: 0, compacted: Instant::now() };
        inner.versions.entry(table).or_insert_with(fresh).count += 1;
    }

    /// Commits: rows and label in one write. Then the label is VISIBLE.
    ///
    /// # Errors
    /// When the transaction is not open any more, or the rows cannot be written; then it is ABORTED.
    pub(crate) fn commit(
        &self,
        engine: &Engine,
        id: u64,
        parts: &[(Target, Stage)],
    ) -> std::result::Result<(), String> {
        let tables: Vec<u64> = parts.iter().map(|(target, _)| target.table).collect();
        self.wait_published(engine, &tables)?;
        let Claim { database, label, evicted } = self.claim(engine, id)?;
        let finished = now_millis();
        let written = engine.store.write(|tx| {
            for (target, stage) in parts {
                apply(tx, &engine.catalog, target, stage, engine.deletes_last(target.table))?;
            }
            let (database, label) = (&database, &label);
            Stored { id, database, label, state: State::Visible, reason: "", parts: &[], finished }.put(tx)?;
            delete(tx, &evicted)
        });
        match written {
            Ok(()) => {
                self.finish(engine, id, State::Visible, "", finished);
                count_once(self, tables);
                Ok(())
            }
            Err(error) => {
                let reason = error.to_string();
                self.abandon(engine, id, &reason);
                Err(reason)
            }
        }
    }

    /// Marks an open transaction as being committed: nobody can abort it any more.
    fn claim(&self, engine: &Engine, id: u64) -> std::result::Result<Claim, String> {
        let mut inner = self.lock();
        let Some(transaction) = inner.transactions.get_mut(&id) else {
            return Err(format!("transaction {id} not found"));
        };
        match transaction.state {
            State::Prepare | State::Prepared if !transaction.committing => transaction.committing = true,
            State::Aborted => {
                return Err(format!("transaction [{id}] is already aborted. abort reason: {}", transaction.reason));
            }
            _ => return Err(format!("Transaction {id} is already committing, label is {}", transaction.label)),
        }
        let (database, label) = (transaction.database.clone(), transaction.label.clone());
        let evicted = inner.evict(&database, engine.labels_kept().saturating_sub(1));
        Ok(Claim { database, label, evicted })
    }

    /// Makes a transaction durable without making it visible. It is aborted after `keep`.
    ///
    /// # Errors
    /// As for [`Labels::commit`].
    pub(crate) fn prepare(
        &self,
        engine: &Engine,
        id: u64,
        mut parts: Vec<(Target, Stage)>,
        keep: Duration,
    ) -> std::result::Result<(), String> {
        let stored = self.store_prepared(engine, id, &mut parts);
        if stored.is_err() {
            parts.iter_mut().for_each(|(_, stage)| stage.discard());
        }
        let stored = stored?;
        let mut inner = self.lock();
        if let Some(transaction) = inner.transactions.get_mut(&id) {
            transaction.state = State::Prepared;
            transaction.parts = stored;
            transaction.deadline = Some(Instant::now() + keep);
        }
        Ok(())
    }

    fn store_prepared(
        &self,
        engine: &Engine,
        id: u64,
        parts: &mut [(Target, Stage)],
    ) -> std::result::Result<Vec<Part>, String> {
        let (database, label) = {
            let inner = self.lock();
            match inner.transactions.get(&id) {
                Some(open) if open.state == State::Prepare => (open.database.clone(), open.label.clone()),
                Some(other) => return Err(format!("transaction [{id}] is {}", other.state.name())),
                None => return Err(format!("transaction {id} not found")),
            }
        };
        let stored = store_parts(parts).map_err(|error| error.to_string())?;
        let (database, label, state) = (&database, &label, State::Prepared);
        let kept = Stored { id, database, label, state, reason: "", parts: &stored, finished: 0 };
        engine.store.write(|tx| kept.put(tx)).map_err(|error: Error| error.to_string())?;
        Ok(stored)
    }

    /// Commits a prepared transaction from its files.
    ///
    /// # Errors
    /// As for [`Labels::commit`].
    pub(crate) fn commit_prepared(&self, engine: &Engine, id: u64) -> std::result::Result<(), String> {
        let parts = self.lock().transactions.get(&id).map(|open| open.parts.clone()).unwrap_or_default();
        let mut staged = Vec::with_capacity(parts.len());
        for part in parts {
            staged.push((part.target, Stage::reopen(&part.file).map_err(|error| error.to_string())?));
        }
        self.commit(engine, id, &staged)?;
        staged.iter_mut().for_each(|(_, stage)| stage.discard());
        Ok(())
    }

    /// Aborts an open transaction; one that has ended, or is being committed, stays as it is (`false`).
    pub(crate) fn abort(&self, engine: &Engine, id: u64, reason: &str) -> bool {
        {
            let inner = self.lock();
            match inner.transactions.get(&id) {
                Some(open) if matches!(open.state, State::Prepare | State::Prepared) && !open.committing => {}
                _ => return false,
            }
        }
        self.abandon(engine, id, reason);
        true
    }

    fn abandon(&self, engine: &Engine, id: u64, reason: &str) {
        let (database, label, parts, evicted) = {
            let mut inner = self.lock();
            let Some(open) = inner.transactions.get_mut(&id) else { return };
            let parts = std::mem::take(&mut open.parts);
            let (database, label) = (open.database.clone(), open.label.clone());
            let evicted = inner.evict(&database, engine.labels_kept().saturating_sub(1));
            (database, label, parts, evicted)
        };
        let finished = now_millis();
        // Should this fail, the label is forgotten by a restart, which frees it as the abort does.
        let _ = engine.store.write(|tx| {
            let (database, label) = (&database, &label);
            Stored { id, database, label, state: State::Aborted, reason, parts: &[], finished }.put(tx)?;
            delete(tx, &evicted)
        });
        self.finish(engine, id, State::Aborted, reason, finished);
        for part in parts {
            let _ = std::fs::remove_file(part.file);
        }
    }

    fn finish(&self, engine: &Engine, id: u64, state: State, reason: &str, finished: u64) {
        let mut inner = self.lock();
        if let Some(transaction) = inner.transactions.get_mut(&id) {
            transaction.state = state;
            transaction.reason = reason.to_owned();
            transaction.finished = finished;
            transaction.deadline = None;
            transaction.parts.clear();
            let database = transaction.database.clone();
            inner.finished.entry(database).or_default().push_back(id);
        }
        drop(inner);
        engine.transactions.end(id);
    }

    /// Aborts every transaction that is still being loaded: the BE that coordinates them is gone. What is prepared is
    /// durable and stays.
    pub(crate) fn abort_loading(&self, engine: &Engine) {
        let loading: Vec<u64> = {
            let inner = self.lock();
            let open = inner.transactions.iter().filter(|(_, open)| open.state == State::Prepare && !open.committing);
            open.map(|(id, _)| *id).collect()
        };
        for id in loading {
            self.abort(engine, id, "coordinate BE is down");
        }
    }

    /// Aborts prepared transactions whose time is over and forgets labels that are too old. To be called now
    /// and then.
    pub(crate) fn sweep(&self, engine: &Engine) {
        let now = Instant::now();
        let (late, old) = {
            let mut inner = self.lock();
            let late: Vec<u64> = inner
                .transactions
                .iter()
                .filter(|(_, open)| open.state == State::Prepared && open.deadline.is_some_and(|at| at <= now))
                .map(|(id, _)| *id)
                .collect();
            let keep = engine.options.label_keep_max_age.as_millis() as u64;
            let oldest = now_millis().saturating_sub(keep);
            let databases: Vec<String> = inner.finished.keys().cloned().collect();
            let most = engine.labels_kept();
            let mut old = Vec::new();
            for database in databases {
                old.extend(inner.evict(&database, most));
                let fresh = inner.finished.get(&database).map_or(0, |ids| {
                    let is_old = |id: &&u64| inner.transactions.get(id).is_none_or(|ended| ended.finished < oldest);
                    ids.len() - ids.iter().take_while(is_old).count()
                });
                old.extend(inner.evict(&database, fresh));
            }
            (late, old)
        };
        for id in late {
            self.abort(engine, id, "timeout by txn manager");
        }
        if !old.is_empty() {
            // What stays in the store is swept after the next restart.
            let _ = engine.store.write(|tx| delete(tx, &old));
        }
    }
}

impl Inner {
    fn insert(&mut self, id: u64, transaction: Transaction) {
        let labels = self.labels.entry(transaction.database.clone()).or_default();
        let newest = labels.entry(transaction.label.clone()).or_default();
        *newest = id.max(*newest);
        if matches!(transaction.state, State::Visible | State::Aborted) {
            self.finished.entry(transaction.database.clone()).or_default().push_back(id);
        }
        self.transactions.insert(id, transaction);
    }

    /// Forgets the oldest ended transactions of a database down to `keep`.
    fn evict(&mut self, database: &str, keep: usize) -> Vec<u64> {
        let mut evicted = Vec::new();
        let Some(finished) = self.finished.get_mut(database) else { return evicted };
        while finished.len() > keep {
            let Some(id) = finished.pop_front() else { break };
            if let Some(ended) = self.transactions.remove(&id)
                && let Some(labels) = self.labels.get_mut(database)
                && labels.get(&ended.label) == Some(&id)
            {
                labels.remove(&ended.label);
            }
            evicted.push(id);
        }
        evicted
    }
}

/// A transaction that is being committed, and the labels that are forgotten with it.
struct Claim {
    database: String,
    label: String,
    evicted: Vec<u64>,
}

/// One version of each table, however many parts it has.
fn count_once(labels: &Labels, tables: impl IntoIterator<Item = u64>) {
    let tables: std::collections::BTreeSet<u64> = tables.into_iter().collect();
    tables.into_iter().for_each(|table| labels.count_version(table));
}

fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time as DATETIME text, UTC, without a fraction.
pub(crate) fn now_text() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}
