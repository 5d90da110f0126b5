//! What a target is asked for, and what the state store says meanwhile.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::*;
use crate::Error;
use crate::apply::batch::Batch;
use crate::apply::commit::Committer;
use crate::apply::flush::Epoch;
use crate::apply::lag::{Alterations, Altered, CatchUp, GRACE, Parked};
use crate::apply::sample::position;
use crate::apply::scripted::{self, Script, Scripted};
use crate::schema::Mapping;
use crate::state::{ParkedRows, Store, WaitsFor};

/// A target that notes what it is asked for, and fails when it is told to.
struct Noting {
    asked: Mutex<Vec<String>>,
    /// The answers to the next calls; none: done.
    answers: Mutex<VecDeque<Result<()>>>,
    /// What an ALTER waits for.
    gate: Semaphore,
    cannot: Vec<String>,
}

impl Script for Noting {
    fn change(&self, what: String) -> Result<()> {
        self.asked.lock().unwrap().push(what);
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }

    async fn altering(&self) {
        drop(self.gate.acquire().await);
    }

    fn cannot_alter(&self) -> Vec<String> {
        self.cannot.clone()
    }
}

struct Scene {
    runtime: tokio::runtime::Runtime,
    target: Arc<Scripted<Noting>>,
    store: Arc<Store>,
    ends: channel::Sender<Altered>,
    altered: channel::Receiver<Altered>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(cannot: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "it").unwrap());
        let cannot = cannot.iter().map(|&why| why.to_owned()).collect();
        let target = Noting { asked: Mutex::default(), answers: Mutex::default(), gate: Semaphore::new(1), cannot };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (ends, altered) = channel::unbounded();
        Scene { runtime, target: Arc::new(Scripted(target)), store, ends, altered, _folder: folder }
    }

    /// As a start makes it: with the tables that the store has, or with these.
    fn committer(&self, first: &[&Arc<Table>]) -> Committer<Scripted<Noting>> {
        let stored = self.store.definitions().unwrap();
        let followed = match stored.since {
            None => followed(first),
            Some(_) => Followed::new(
                stored.tables.into_iter().map(|(source, at)| {
                    let at = at.unwrap();
                    Arc::new(Mapping { source, target: at.target, unfed: at.unfed, twin: None })
                }),
                stored.passed,
                stored.left,
            )
            .with_lags(self.store.lags().unwrap()),
        };
        let mut committer = scripted::committer(&self.target, &self.store, self.runtime.handle());
        committer.letters.follow(followed.mappings()).unwrap();
        let alterations = Alterations::new(self.ends.clone());
        committer.changer = Changer::new(rules(&[]), Patience::default(), Arc::new(followed), alterations);
        committer
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.target.asked.lock().unwrap())
    }

    fn answer(&self, answers: impl IntoIterator<Item = Result<()>>) {
        self.target.answers.lock().unwrap().extend(answers);
    }
}

fn epoch(begin: u64, end: u64) -> Epoch {
    Epoch { committed_at: 7, history: Some("{}".into()), ..Epoch::between(position(begin), position(end)) }
}

/// A statement between the two places, and what the flusher is told of it.
fn statement(sql: &str, changes: &[SchemaChange]) -> (Change, channel::Receiver<Arc<Followed>>) {
    let (reply, replied) = channel::bounded(1);
    (Change { statement: said(sql), changes: changes.to_vec(), reply, origin: Origin::Log }, replied)
}

fn swap() -> (Arc<Table>, Arc<Table>, [SchemaChange; 1]) {
    let (a, b) = (table("a", vec![int("id")]), table("b", vec![int("id"), int("n")]));
    let changes = [renamed(&[("a", &a, "c"), ("b", &b, "a")])];
    (a, b, changes)
}

#[test]
fn the_checkpoint_and_the_definitions_move_together_behind_the_last_step() {
    let scene = Scene::new(&[]);
    let (a, b, changes) = swap();
    let (change, replied) = statement("RENAME TABLE a TO c, b TO a", &changes);
    let mut committer = scene.committer(&[&a, &b]);
    committer.change(epoch(0, 100), change).unwrap();
    assert_eq!(scene.asked(), ["rename shop.a to shop.c", "rename shop.b to shop.a"]);
    let checkpoint = scene.store.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.epoch, checkpoint.position, checkpoint.committed_at), (1, position(100), 7));
    let stored = scene.store.definitions().unwrap();
    let names: Vec<_> =
        stored.tables.iter().map(|(table, _)| (table.name.table.as_str(), table.columns.len())).collect();
    assert_eq!(names, [("a", 2), ("c", 1)]);
    assert_eq!((stored.since, stored.history.as_deref()), (Some(position(100)), Some("{}")));
    assert_eq!(scene.store.running_change().unwrap(), None);
    assert_eq!(scene.store.change_counts().unwrap()[0].number, 2);
    assert_eq!(replied.try_recv().unwrap().mapping(&name("a")).unwrap().source.columns.len(), 2);
}

#[test]
fn a_step_that_is_done_is_not_done_again_and_the_one_in_doubt_is() {
    let scene = Scene::new(&[]);
    let (a, b, changes) = swap();
    let sql = "RENAME TABLE a TO c, b TO a";
    scene.answer([Ok(()), Err(Error::definite("no such privilege"))]);
    let error = scene.committer(&[&a, &b]).change(epoch(0, 100), statement(sql, &changes).0).unwrap_err().to_string();
    assert!(error.starts_with("binlog.000001:1570: RENAME TABLE a TO c, b TO a: no such privilege"), "{error}");
    assert_eq!(scene.asked().len(), 2);
    assert_eq!((scene.store.checkpoint().unwrap(), scene.store.definitions().unwrap().since), (None, None));
    let running = scene.store.running_change().unwrap().unwrap();
    assert_eq!((running.done, running.tables.len()), (1, 3));
    // The next run reads the statement again.
    scene.committer(&[&a, &b]).change(epoch(0, 100), statement(sql, &changes).0).unwrap();
    assert_eq!(scene.asked(), ["rename shop.b to shop.a"]);
}

#[test]
fn steps_that_another_statement_or_another_policy_left_are_not_taken_for_done() {
    let scene = Scene::new(&[]);
    let (a, b, changes) = swap();
    scene.answer([Ok(()), Err(Error::definite("no"))]);
    let first = statement("RENAME TABLE a TO c, b TO a", &changes).0;
    assert!(scene.committer(&[&a, &b]).change(epoch(0, 100), first).is_err());
    scene.asked();
    let truncate = [SchemaChange::Truncate(name("a")), SchemaChange::Truncate(name("b"))];
    scene.committer(&[&a, &b]).change(epoch(0, 100), statement("TRUNCATE", &truncate).0).unwrap();
    assert_eq!(scene.asked(), ["truncate shop.a", "truncate shop.b"]);
}

#[test]
fn a_passing_failure_of_a_step_is_tried_again() {
    let scene = Scene::new(&[]);
    let t = table("t", vec![int("id")]);
    scene.answer([Err(Error::transient("restarting")), Err(Error::transient("restarting"))]);
    let change = [alter(&t, vec![int("id"), int("n")], &[("n", "")])];
    let mut committer = scene.committer(&[&t]);
    committer.change(epoch(0, 100), statement("ALTER TABLE t ADD n INT", &change).0).unwrap();
    // The pauses are longer than what everybody waits for.
    assert!(scene.altered.recv().unwrap().result.is_ok());
    assert_eq!(scene.asked(), ["alter shop.t: 1 to 2 columns"; 3]);
}

#[test]
fn what_the_target_cannot_do_stops_the_job_before_anything_is_done() {
    let scene = Scene::new(&["column n: INT cannot become DECIMAL"]);
    let t = table("t", vec![int("id"), int("n")]);
    let changes = [SchemaChange::Truncate(name("t")), alter(&t, vec![int("id"), big("n")], &[])];
    let error = scene.committer(&[&t]).change(epoch(0, 100), statement("…", &changes).0).unwrap_err().to_string();
    assert!(
        error.contains("shop.t: column n: INT cannot become DECIMAL") && error.contains("ddl.modifyColumn"),
        "{error}"
    );
    assert_eq!((scene.asked().len(), scene.store.running_change().unwrap()), (0, None));
}

/// CREATE TABLE … SELECT: the rows come behind the statement, in its transaction.
#[test]
fn definitions_of_a_statement_inside_a_transaction_wait_for_its_end() {
    let scene = Scene::new(&[]);
    let t = table("t", vec![int("id")]);
    let create = [SchemaChange::Create(Arc::clone(&t))];
    let sql = "CREATE TABLE t (id INT PRIMARY KEY) START TRANSACTION";
    let mut committer = scene.committer(&[]);
    let (change, replied) = statement(sql, &create);
    committer.change(epoch(0, 0), change).unwrap();
    assert!(replied.try_recv().unwrap().mapping(&name("t")).is_some(), "its rows can be read at once");
    assert_eq!((scene.store.checkpoint().unwrap(), scene.store.definitions().unwrap().since), (None, None));
    assert_eq!(scene.store.running_change().unwrap().unwrap().done, 1);
    // The connection is lost, and all of it comes again: what is done is known.
    committer.change(Epoch { anew: true, ..epoch(0, 0) }, statement(sql, &create).0).unwrap();
    assert_eq!(scene.asked(), ["create shop.t"]);
    committer.commit(epoch(0, 200)).unwrap();
    let stored = scene.store.definitions().unwrap();
    assert_eq!((stored.tables.len(), stored.since), (1, Some(position(200))));
    assert_eq!(scene.store.running_change().unwrap(), None);
}

#[test]
fn a_statement_of_a_transaction_that_was_lost_leaves_no_definition() {
    let scene = Scene::new(&[]);
    let create = [SchemaChange::Create(table("t", vec![int("id")]))];
    let mut committer = scene.committer(&[]);
    committer.change(epoch(0, 0), statement("CREATE TABLE t …", &create).0).unwrap();
    committer.commit(Epoch { anew: true, ..epoch(0, 200) }).unwrap();
    assert!(scene.store.definitions().unwrap().tables.is_empty());
}

#[test]
fn a_table_whose_alter_takes_its_time_lags_and_an_end_that_is_written_down_is_not_asked_for_again() {
    let scene = Scene::new(&[]);
    let (t, u) = (table("t", vec![int("id")]), table("u", vec![int("id")]));
    let change = [alter(&t, vec![int("id"), int("n")], &[("n", "")])];
    let mut committer = scene.committer(&[&t, &u]);
    let gate = scene.runtime.block_on(scene.target.gate.acquire()).unwrap();
    let (change, replied) = statement("ALTER TABLE t ADD n INT", &change);
    committer.change(epoch(0, 100), change).unwrap();
    let followed = replied.try_recv().unwrap();
    assert!(followed.lag(&name("t")).is_some_and(|lag| lag.number == 1 && lag.since == position(100)));
    assert!(followed.lag(&name("u")).is_none());
    assert_eq!(scene.store.checkpoint().unwrap().unwrap().position, position(100));
    let columns: Vec<_> =
        scene.store.definitions().unwrap().tables.iter().map(|(table, _)| table.columns.len()).collect();
    assert_eq!(columns, [2], "the rows behind the statement are read with it");
    assert_eq!((scene.store.running_change().unwrap(), scene.store.lags().unwrap().len()), (None, 1));
    assert!(committer.progress.snapshot().changing > std::time::Duration::ZERO);
    assert_eq!(scene.asked(), ["alter shop.t: 1 to 2 columns"]);

    // The process dies here, and the next one finds out what the target has done.
    drop(committer);
    let mut committer = scene.committer(&[]);
    committer.alter_again().unwrap();
    drop(gate);
    let altered = scene.altered.recv().unwrap();
    assert!(altered.result.is_ok() && altered.number == 1 && altered.table == name("t"));
    assert_eq!(scene.asked(), ["alter shop.t: 1 to 2 columns"]);
    drop(committer);
    let mut committer = scene.committer(&[]);
    committer.alter_again().unwrap();
    assert!(scene.altered.try_recv().unwrap().result.is_ok());
    assert_eq!(scene.asked().len(), 0, "rows of the new shape may be in");

    let (reply, caught_up) = channel::bounded(1);
    let rows = CatchUp {
        table: name("t"),
        of: WaitsFor::Lag(1),
        batch: Batch::default(),
        begin: None,
        part: None,
        last: Some(reply),
    };
    committer.catch_up(&position(100), rows).unwrap();
    assert!(caught_up.recv().unwrap().lag(&name("t")).is_none());
    assert_eq!(scene.store.lags().unwrap(), []);
    assert_eq!(committer.progress.snapshot().changing, std::time::Duration::ZERO);
}

#[test]
fn everything_waits_for_an_alter_inside_a_transaction_and_where_epochs_become_visible_whole() {
    for (together, begin) in [(false, 100), (true, 0)] {
        let scene = Scene::new(&[]);
        let t = table("t", vec![int("id")]);
        let change = [alter(&t, vec![int("id"), int("n")], &[("n", "")])];
        let mut committer = scene.committer(&[&t]);
        committer.options.together = together;
        let gate = scene.runtime.block_on(scene.target.gate.acquire()).unwrap();
        let (change, replied) = statement("ALTER TABLE t ADD n INT", &change);
        let changing = std::thread::spawn(move || committer.change(epoch(begin, 100), change));
        assert!(replied.recv_timeout(GRACE * 2).is_err(), "it did not wait");
        drop(gate);
        assert!(replied.recv().unwrap().lag(&name("t")).is_none());
        changing.join().unwrap().unwrap();
    }
}

#[test]
fn a_table_that_lags_and_is_to_be_copied_is_altered_no_more() {
    let scene = Scene::new(&[]);
    let t = table("t", vec![int("id")]);
    let mut committer = scene.committer(&[&t]);
    let _gate = scene.runtime.block_on(scene.target.gate.acquire()).unwrap();
    let change = [alter(&t, vec![int("id"), int("n")], &[("n", "")])];
    committer.change(epoch(0, 100), statement("ALTER TABLE t ADD n INT", &change).0).unwrap();
    let mut parked = Parked::default();
    parked.changes.came.push(ParkedRows { of: WaitsFor::Lag(1), rows: vec![0] });
    committer.commit(Epoch { parked, ..epoch(100, 200) }).unwrap();
    assert_eq!(scene.store.parked_bytes().unwrap(), 1);
    scene.store.ask_for_copies(&[(name("t"), crate::state::Asked::Again)]).unwrap();
    let mut committer = scene.committer(&[]);
    scene.asked();
    committer.alter_again().unwrap();
    let now = Arc::new(committer.changer.followed().mapping(&name("t")).unwrap().source.clone());
    let refill = [SchemaChange::Refill { table: now, reason: "towpath recopy".into() }];
    let (change, replied) = statement("towpath recopy", &refill);
    committer.change(epoch(200, 200), Change { origin: Origin::Asked, ..change }).unwrap();
    assert_eq!(scene.asked(), ["drop shop.t__towpath_new", "create shop.t__towpath_new"]);
    let followed = replied.try_recv().unwrap();
    let join = followed.join(&name("t")).unwrap();
    assert_eq!((join.serves.as_ref(), join.live), (Some(&name("t")), false), "nobody knows its columns");
    assert_eq!((scene.store.lags().unwrap().len(), scene.store.parked_bytes().unwrap()), (0, 0));
}
