use std::collections::VecDeque;
use std::sync::Mutex;

use super::super::batch::Batch;
use super::super::sample::{Sample, position};
use super::super::scripted::{self, Script, Scripted};
use super::*;
use crate::mysql::binlog::RowsKind;
use crate::mysql::position::Position;
use crate::ring::Budget;
use crate::target::{Loaded, Pressure};

/// A target that notes, at each load, what the state store says at that moment.
struct Noting {
    store: Arc<Store>,
    /// What `load` answers; empty: it is in.
    answers: Mutex<VecDeque<Error>>,
    /// What `label_state` answers, in turn; then `Finished`.
    states: Mutex<VecDeque<LabelState>>,
    pressure: Mutex<Pressure>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    label: String,
    intent: Option<Intent>,
    announced: bool,
    checkpoint: Option<Position>,
}

impl Script for Noting {
    fn load(&self, load: &Load) -> Result<Loaded> {
        let seen = Seen {
            label: load.label.clone(),
            intent: self.store.intent()?,
            announced: self.store.open_loads()?.contains(&name(load)),
            checkpoint: self.store.checkpoint()?.map(|checkpoint| checkpoint.position),
        };
        self.seen.lock().unwrap().push(seen);
        self.answers.lock().unwrap().pop_front().map_or(Ok(Loaded::default()), Err)
    }

    fn label_state(&self, _: &str) -> Result<LabelState> {
        Ok(self.states.lock().unwrap().pop_front().unwrap_or(LabelState::Finished))
    }

    fn pressure(&self) -> Pressure {
        *self.pressure.lock().unwrap()
    }
}

struct Scene {
    runtime: tokio::runtime::Runtime,
    target: Arc<Scripted<Noting>>,
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "it").unwrap());
        let target = Noting {
            store: Arc::clone(&store),
            answers: Mutex::default(),
            states: Mutex::default(),
            pressure: Mutex::default(),
            seen: Mutex::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Scene { runtime, target: Arc::new(Scripted(target)), store, _folder: folder }
    }

    fn committer(&self) -> Committer<Scripted<Noting>> {
        scripted::committer(&self.target, &self.store, self.runtime.handle())
    }

    fn seen(&self) -> Vec<Seen> {
        self.target.seen.lock().unwrap().clone()
    }
}

fn epoch(begin: u64, end: u64, rows: &[(i32, &str)]) -> Epoch {
    let sample = Sample::new();
    let mut batch = Batch::default();
    let event = sample.event(RowsKind::Insert, rows);
    batch.add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap();
    Epoch { committed_at: end, batch, ..Epoch::between(position(begin), position(end)) }
}

#[test]
fn the_intent_is_there_before_a_load_and_the_checkpoint_moves_after_it() {
    let scene = Scene::new();
    scene.committer().commit(epoch(0, 100, &[(1, "a"), (2, "b")])).unwrap();
    let seen = scene.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].intent, Some(Intent { epoch: 1, begin: position(0), end: position(100) }));
    assert!(seen[0].announced, "the label is written down before the load is sent");
    assert_eq!(seen[0].checkpoint, None, "the checkpoint stays until the load is in");
    let checkpoint = scene.store.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.epoch, checkpoint.position, checkpoint.loaded), (1, position(100), 2));
    assert_eq!(scene.store.intent().unwrap(), None);
    assert_eq!(scene.store.open_loads().unwrap(), []);
}

#[test]
fn a_failed_load_leaves_the_intent_and_the_same_rows_get_the_same_label_again() {
    let scene = Scene::new();
    scene.target.answers.lock().unwrap().push_back(Error::definite("too many filtered rows"));
    let error = scene.committer().commit(epoch(0, 100, &[(1, "a")])).unwrap_err();
    assert!(error.to_string().contains("shop.t: too many filtered rows"), "{error}");
    assert_eq!(scene.store.checkpoint().unwrap(), None);
    assert_eq!(scene.store.intent().unwrap().unwrap().end, position(100));
    assert_eq!(scene.store.open_loads().unwrap().len(), 1);
    // The next run reads the epoch again.
    scene.committer().commit(epoch(0, 100, &[(1, "a")])).unwrap();
    let seen = scene.seen();
    assert_eq!(seen[0].label, seen[1].label);
    assert_eq!(scene.store.checkpoint().unwrap().unwrap().position, position(100));
}

#[test]
fn other_content_and_other_epochs_have_other_labels() {
    let scene = Scene::new();
    let mut committer = scene.committer();
    committer.commit(epoch(0, 100, &[(1, "a")])).unwrap();
    committer.commit(epoch(100, 200, &[(1, "a")])).unwrap();
    scene.committer().commit(epoch(200, 300, &[(1, "b")])).unwrap();
    let mut labels: Vec<String> = scene.seen().into_iter().map(|seen| seen.label).collect();
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), 3);
}

#[test]
fn an_epoch_without_rows_only_moves_the_checkpoint() {
    let scene = Scene::new();
    let empty = Epoch { ..Epoch::between(position(0), position(100)) };
    scene.committer().commit(empty).unwrap();
    assert_eq!(scene.seen(), []);
    assert_eq!(scene.store.checkpoint().unwrap().unwrap().position, position(100));
}

#[test]
fn the_rows_of_a_transaction_in_pieces_are_counted_once_also_when_it_is_read_again() {
    let scene = Scene::new();
    let mut committer = scene.committer();
    committer.commit(epoch(0, 100, &[(1, "a")])).unwrap();
    committer.commit(epoch(100, 100, &[(2, "b"), (3, "c")])).unwrap();
    let counted = |scene: &Scene| {
        let checkpoint = scene.store.checkpoint().unwrap().unwrap();
        (checkpoint.position, checkpoint.read.inserts, checkpoint.loaded)
    };
    assert_eq!(counted(&scene), (position(100), 1, 1), "what comes again after a crash is not counted yet");
    // The process dies here; the next one reads the transaction from its start.
    let mut committer = scene.committer();
    committer.commit(epoch(100, 100, &[(2, "b")])).unwrap();
    committer.commit(epoch(100, 100, &[(3, "c")])).unwrap();
    committer.commit(epoch(100, 200, &[(4, "d")])).unwrap();
    assert_eq!(counted(&scene), (position(200), 4, 4));
    committer.commit(epoch(200, 300, &[(5, "e")])).unwrap();
    assert_eq!(counted(&scene), (position(300), 5, 5));
}

#[test]
fn a_load_of_the_last_run_is_waited_for_until_it_is_decided() {
    let scene = Scene::new();
    let load = LoadName { database: "shop".into(), label: "towpath_it_0_1".into() };
    scene.store.open_load(&load).unwrap();
    scene.target.states.lock().unwrap().extend([LabelState::Running, LabelState::Running]);
    scene.runtime.block_on(settle(scene.target.as_ref(), &scene.store)).unwrap();
    assert!(scene.target.states.lock().unwrap().is_empty(), "it went on while the load was under way");
    assert_eq!(scene.store.open_loads().unwrap(), []);
}

#[test]
fn an_epoch_that_was_refused_for_want_of_room_widens_the_pause_where_everybody_sees_it() {
    let scene = Scene::new();
    let mut committer = scene.committer();
    committer.progress.set_stage(crate::state::Stage::Incremental);
    committer.commit(epoch(0, 100, &[(1, "a")])).unwrap();
    assert_eq!(scene.store.pace().unwrap(), None);
    *scene.target.pressure.lock().unwrap() = Pressure { refusals: 3, reason: "too many versions of a tablet" };
    committer.commit(epoch(100, 200, &[(2, "a")])).unwrap();
    let pace = scene.store.pace().unwrap().unwrap();
    assert_eq!((pace.pause_millis, pace.reason.as_str()), (2000, "too many versions of a tablet"));
    assert_eq!(committer.pace.pause(), Duration::from_secs(2));
    assert!(committer.progress.snapshot().line().contains(", 2 s between epochs"));
    committer.pace.age(Duration::from_secs(60));
    committer.commit(epoch(200, 300, &[(3, "a")])).unwrap();
    assert_eq!(scene.store.pace().unwrap(), None);
    assert_eq!(committer.progress.snapshot().widened_pause, None);
}

#[test]
fn pieces_of_a_transaction_that_comes_again_are_counted_once() {
    let scene = Scene::new();
    let mut committer = scene.committer();
    committer.commit(epoch(0, 0, &[(1, "a"), (2, "b")])).unwrap();
    committer.commit(Epoch { anew: true, ..epoch(0, 0, &[(1, "a")]) }).unwrap();
    committer.commit(epoch(0, 100, &[(2, "b")])).unwrap();
    let checkpoint = scene.store.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.read.inserts, checkpoint.loaded), (2, 2));
}

/// A target that notes how much of the budget is held beside each load.
struct Weighing {
    budget: Budget,
    seen: Mutex<Vec<(usize, usize)>>,
}

impl Script for Weighing {
    fn load(&self, load: &Load) -> Result<Loaded> {
        self.seen.lock().unwrap().push((self.budget.used(), load.body.len()));
        Ok(Loaded::default())
    }
}

#[test]
fn what_bodies_take_less_than_their_events_is_given_back_before_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), "it").unwrap());
    let budget = Budget::new(1 << 20);
    let target = Arc::new(Scripted(Weighing { budget: budget.clone(), seen: Mutex::default() }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut committer = scripted::committer(&target, &store, runtime.handle());
    // An event that is larger than its body, and one that is smaller: then its share is all there is.
    for (number, share, held) in [(1, 1000, None), (2, 3, Some(3))] {
        let sample = Sample::new();
        let mut batch = Batch::default();
        let event = sample.event(RowsKind::Insert, &[(1, "a")]);
        batch.add(&sample.mapping, &sample.plan, &event, budget.hold(share)).unwrap();
        let (begin, end) = (position(100 * number), position(100 * number + 100));
        committer.commit(Epoch { committed_at: 1, batch, ..Epoch::between(begin, end) }).unwrap();
        let (used, body) = target.seen.lock().unwrap().pop().unwrap();
        assert_eq!(used, held.unwrap_or(body));
        assert_eq!(budget.used(), 0, "the load is in");
    }
}

/// A target that takes a load only beside another one, two tables at once, and refuses one of them.
#[derive(Default)]
struct Paired {
    /// Loads that are there at this moment, and the most there were.
    inside: Mutex<(usize, usize)>,
    changed: std::sync::Condvar,
    order: Mutex<Vec<String>>,
}

impl Script for Paired {
    fn load(&self, load: &Load) -> Result<Loaded> {
        self.order.lock().unwrap().push(load.label.clone());
        if load.label.starts_with('a') {
            let mut inside = self.inside.lock().unwrap();
            inside.0 += 1;
            inside.1 = inside.1.max(inside.0);
            self.changed.notify_all();
            let patience = Duration::from_secs(60);
            let (mut inside, _) = self.changed.wait_timeout_while(inside, patience, |inside| inside.1 < 2).unwrap();
            inside.0 -= 1;
        }
        if load.label == "a2" { Err(Error::definite("no room")) } else { Ok(Loaded::default()) }
    }
}

#[test]
fn tables_are_sent_side_by_side_each_in_order_and_the_others_also_when_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), "it").unwrap());
    let target = Arc::new(Scripted(Paired::default()));
    // As many as there are loads at once: each holds its thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let committer = scripted::committer(&target, &store, runtime.handle());
    let load = |label: &str| Load {
        label: label.into(),
        table: TableName::new("shop", &label[1..]),
        columns: Vec::new(),
        partial: false,
        format: crate::target::Format::Csv,
        body: bytes::Bytes::from_static(b"1\x010\x02"),
        rows: 1,
    };
    let tables = ["1", "2", "3", "4", "5"].map(|table| vec![load(&format!("a{table}")), load(&format!("b{table}"))]);
    let error = committer.send(tables.into()).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert_eq!(target.inside.lock().unwrap().1, 2, "as many as `parallel` says");
    let order = target.order.lock().unwrap().clone();
    let place = |label: &str| order.iter().position(|sent| sent == label);
    assert!(order.len() == 9 && place("b2").is_none(), "{order:?}");
    assert!(
        ["1", "3", "4", "5"].iter().all(|table| place(&format!("a{table}")) < place(&format!("b{table}"))),
        "{order:?}"
    );
}
