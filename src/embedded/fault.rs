//! Faults on demand: what goes wrong in a cluster, switched on and off while the server runs.
//!
//! A [`Fault`] is a mode with how often, for which table and for how long. It comes in by [`super::Server::inject`] or
//! over the FE port (`/api/towpath/faults`, see `http/admin.rs`) and *strikes* where the server asks for it:
//! [`Faults::take`] is called at every place where a mode can show, costs one atomic read while there is no fault, and
//! counts the strike. So a test can say how often a fault really struck, and one that never did is no proof.
//!
//! Texts and states are those of StarRocks; nothing here is kinder than the real thing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::schema::TableName;

/// What goes wrong. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// The load is committed and visible, then the connection is cut in place of the answer.
    AnswerLost,
    /// The connection is cut once the body is in. The label stays PREPARE for `for_ms`; then the load is committed
    /// (`lands`) or aborted.
    LabelRunning { for_ms: u64, lands: bool },
    /// The BE loses its commit call to the FE and says `Transaction status unknown`. The label goes on as with
    /// `label_running`.
    StatusUnknown { for_ms: u64, lands: bool },
    /// The load is committed and durable, and answered with `Publish Timeout`; its rows show after `visible_after_ms`.
    /// A later load of the table waits for that, as versions are published in order.
    PublishTimeout { visible_after_ms: u64 },
    /// Of the labels that have ended, only `keep` a database are remembered.
    LabelsForgotten { keep: usize },
    /// Loads are refused while their table has `limit` versions or more; 0 refuses all.
    TooManyVersions { limit: u64 },
    /// Transactions are refused while their database has `limit` running ones or more; 0 refuses all.
    TooManyTransactions { limit: usize },
    /// The BE runs out of memory over the body.
    MemoryLimit,
    /// The plan of a load is refused: no room on the tablets' disks.
    DiskFull,
    /// The BE is killed: its connections break, its open transactions are lost and their labels ABORTED. While the fault
    /// lasts its port takes no connection, and the FE, which has not noticed, goes on naming it.
    BeGone,
    /// The FE has noticed that no BE is alive.
    NoBackend,
    /// The FE names the BE by a host that cannot be resolved.
    UnresolvableBe,
    /// The FE's HTTP port hangs up on every request. The second FE leads meanwhile, where there is one.
    FeGone,
    /// The first FE's MySQL port closes its connections and takes no new ones.
    SqlGone,
    /// The first FE is a follower that cannot reach its leader: what it would have to forward, which is everything but a
    /// session's own settings, fails with the text of a Java exception. `carried_out`: the leader has got the statement, and
    /// only its answer does not come back.
    LeaderLost { carried_out: bool },
    /// The second FE leads: the first one sends there whoever asks it, loads too. (Real followers do so for transactions
    /// and label states only; the longer way is the harder one for a client.)
    LeaderElsewhere,
    /// The FE answers after `ms`.
    SlowFe { ms: u64 },
    /// The BE says `100 Continue` after `ms`.
    SlowBe { ms: u64 },
    /// The connection breaks in the middle of the body; the BE rolls back.
    ResetInBody,
    /// Rows whose `column` has one of `values`, as text, are filtered with a reason. Deletes too, as StarRocks' sink does.
    FilteredValues { column: String, values: Vec<String> },
    /// About every `nth` row is filtered with a reason: always the same ones, chosen by their keys.
    FilteredRows { nth: u64 },
    /// All deletes of a load are applied after all its upserts, as shared-data clusters did up to 2026.
    DeletesAfterUpserts,
    /// An ALTER, a TRUNCATE or a DROP is carried out (or its job taken on), and the connection is cut in place of the answer.
    DdlAnswerLost,
    /// A schema change job stays RUNNING.
    AlterHeld,
    /// A schema change job is cancelled in place of its end.
    AlterCancelled { reason: String },
}

/// A mode, and when it strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub mode: Mode,
    /// Only for `database.table`. Such a fault does not strike calls that are about no table (label states) or where the
    /// table is not known (too many transactions, forgotten labels).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// At every nth occasion.
    #[serde(default = "one")]
    pub every: u64,
    /// So often at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Over after so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

fn one() -> u64 {
    1
}

impl Fault {
    /// At every occasion until it is mended.
    pub fn new(mode: Mode) -> Fault {
        Fault { mode, table: None, every: 1, times: None, for_ms: None }
    }

    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Fault {
        self.table = Some(table.into());
        self
    }

    #[must_use]
    pub fn every(mut self, every: u64) -> Fault {
        self.every = every;
        self
    }

    #[must_use]
    pub fn times(mut self, times: u64) -> Fault {
        self.times = Some(times);
        self
    }

    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Fault {
        self.for_ms = Some(time.as_millis() as u64);
        self
    }
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Injected {
    pub id: u64,
    #[serde(flatten)]
    pub fault: Fault,
    /// Its time is not over and its strikes are not used up.
    pub on: bool,
    /// How often it could have struck.
    pub occasions: u64,
    pub struck: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    fault: Fault,
    since: Instant,
    occasions: u64,
    struck: u64,
}

impl Entry {
    fn is_on(&self) -> bool {
        let spent = self.fault.times.is_some_and(|times| self.struck >= times);
        let over = self.fault.for_ms.is_some_and(|time| self.since.elapsed() >= Duration::from_millis(time));
        !spent && !over
    }

    fn is_about(&self, tables: &[TableName]) -> bool {
        let Some(wanted) = &self.fault.table else { return true };
        tables.iter().any(|name| {
            wanted.split_once('.').is_some_and(|(database, table)| name.database == database && name.table == table)
        })
    }
}

/// The faults of one server.
#[derive(Debug)]
pub(crate) struct Faults {
    any: AtomicBool,
    entries: Mutex<Vec<Entry>>,
    next: Mutex<u64>,
    /// Rises when the BE is killed.
    kills: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            any: AtomicBool::new(false),
            entries: Mutex::default(),
            next: Mutex::new(1),
            kills: watch::Sender::new(0),
        }
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> u64 {
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next - 1
        };
        let kills = fault.mode == Mode::BeGone;
        self.entries().push(Entry { id, fault, since: Instant::now(), occasions: 0, struck: 0 });
        self.any.store(true, Ordering::Release);
        if kills {
            self.kills.send_modify(|count| *count += 1);
        }
        id
    }

    /// `false`: there is none of that number.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut entries = self.entries();
        let before = entries.len();
        entries.retain(|entry| entry.id != id);
        self.any.store(!entries.is_empty(), Ordering::Release);
        entries.len() < before
    }

    pub(crate) fn clear(&self) {
        self.entries().clear();
        self.any.store(false, Ordering::Release);
    }

    pub(crate) fn list(&self) -> Vec<Injected> {
        let injected = |entry: &Entry| Injected {
            id: entry.id,
            fault: entry.fault.clone(),
            on: entry.is_on(),
            occasions: entry.occasions,
            struck: entry.struck,
        };
        self.entries().iter().map(injected).collect()
    }

    /// Asks the faults about `tables` in order; the first that is on and that `choose` takes strikes, unless it is
    /// not yet its turn (`every`). What `choose` refuses is no occasion.
    pub(crate) fn take<T>(&self, tables: &[TableName], mut choose: impl FnMut(&Mode) -> Option<T>) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        for entry in self.entries().iter_mut() {
            if !entry.is_on() || !entry.is_about(tables) {
                continue;
            }
            let Some(chosen) = choose(&entry.fault.mode) else { continue };
            entry.occasions += 1;
            if entry.occasions.is_multiple_of(entry.fault.every.max(1)) {
                entry.struck += 1;
                return Some(chosen);
            }
        }
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// For modes without more to say.
    pub(crate) fn strikes(&self, tables: &[TableName], mode: &Mode) -> bool {
        self.take(tables, |one| (one == mode).then_some(())).is_some()
    }

    /// Whether such a fault is on; nothing is counted.
    pub(crate) fn holds(&self, such: impl Fn(&Mode) -> bool) -> bool {
        !self.is_empty() && self.entries().iter().any(|entry| entry.is_on() && such(&entry.fault.mode))
    }

    /// Changes when the BE is killed.
    pub(crate) fn kills(&self) -> watch::Receiver<u64> {
        self.kills.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_says_and_where_it_says() {
        let faults = Faults::default();
        let (orders, items) = (TableName::new("shop", "orders"), TableName::new("shop", "items"));
        assert!(!faults.strikes(std::slice::from_ref(&orders), &Mode::MemoryLimit));
        let id = faults.add(Fault::new(Mode::MemoryLimit).table("shop.orders").every(2).times(2));
        let struck: Vec<bool> =
            (0..6).map(|_| faults.strikes(&[items.clone(), orders.clone()], &Mode::MemoryLimit)).collect();
        assert_eq!(struck, [false, true, false, true, false, false]);
        assert!(!faults.strikes(&[items], &Mode::MemoryLimit) && !faults.strikes(&[], &Mode::MemoryLimit));
        let listed = faults.list();
        assert_eq!((listed[0].id, listed[0].on, listed[0].occasions, listed[0].struck), (id, false, 4, 2));
        assert!(faults.remove(id) && !faults.remove(id));
    }

    #[test]
    fn a_fault_ends_with_its_time() {
        let faults = Faults::default();
        faults.add(Fault::new(Mode::DiskFull).lasting(Duration::ZERO));
        assert!(!faults.strikes(&[], &Mode::DiskFull));
        faults.add(Fault::new(Mode::DiskFull).lasting(Duration::from_secs(3600)));
        assert!(faults.strikes(&[], &Mode::DiskFull));
        faults.clear();
        assert!(!faults.strikes(&[], &Mode::DiskFull));
    }

    #[test]
    fn faults_are_written_as_json() {
        let read = |text: &str| serde_json::from_str::<Fault>(text);
        let fault =
            read(r#"{"mode": {"publish_timeout": {"visible_after_ms": 500}}, "table": "a.b", "times": 3}"#).unwrap();
        assert_eq!(fault, Fault::new(Mode::PublishTimeout { visible_after_ms: 500 }).table("a.b").times(3));
        assert_eq!(read(r#"{"mode": "answer_lost"}"#).unwrap(), Fault::new(Mode::AnswerLost));
        for wrong in [r#"{"mode": "answer_los"}"#, r#"{"mode": "answer_lost", "tabel": "x"}"#, r#"{"table": "a.b"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
