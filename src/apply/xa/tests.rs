use super::super::sample::Sample;
use super::*;
use crate::mysql::binlog::RowsKind;
use crate::mysql::position::Position;
use crate::state::{Checkpoint, LetterChanges};

struct Scene {
    sample: Sample,
    store: Arc<Store>,
    budget: Budget,
    rows: XaRows,
    _state: tempfile::TempDir,
}

impl Scene {
    fn new(limit: usize) -> Scene {
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(state.path(), "shop").unwrap());
        let budget = Budget::new(1 << 20);
        let rows = XaRows::open(&store, &budget, limit).unwrap();
        Scene { sample: Sample::new(), store, budget, rows, _state: state }
    }

    fn add(&mut self, first: bool, id: i32) {
        let event = self.sample.event(RowsKind::Insert, &[(id, "text")]);
        let held = self.budget.hold(event.images.len());
        self.rows.add(first, event, held).unwrap();
    }

    /// Ids of the rows that come when `waiting` is committed.
    fn replayed(&mut self, waiting: Waiting) -> Vec<i32> {
        let mut replay = Replay::from(waiting);
        let mut ids = Vec::new();
        while let Some((event, held)) = self.rows.next_row(&mut replay).unwrap() {
            assert_eq!(held.bytes(), event.images.len());
            ids.push(i32::from_le_bytes(*event.images[1..].first_chunk().unwrap()));
        }
        ids
    }

    fn commit(&mut self, name: u8) -> Option<Vec<i32>> {
        let waiting = self.rows.decide(&xid(name))?;
        Some(self.replayed(waiting))
    }

    /// A checkpoint is written.
    fn checkpoint(&mut self) {
        let changes = self.rows.close().unwrap();
        let checkpoint = Checkpoint::at(Position { file: "binlog.000001".into(), offset: 4, gtids: None });
        self.store.close_epoch(&checkpoint, &LetterChanges::default(), &changes).unwrap();
    }

    fn restart(&mut self) {
        self.rows = XaRows::open(&self.store, &self.budget, self.rows.limit).unwrap();
    }
}

fn xid(name: u8) -> Xid {
    Xid::new(1, &[name], b"").unwrap()
}

#[test]
fn rows_come_in_their_order_when_they_are_committed_and_never_when_rolled_back() {
    let mut scene = Scene::new(1 << 20);
    scene.add(true, 1);
    scene.add(false, 2);
    scene.rows.prepare(xid(1), true);
    scene.add(true, 3);
    scene.rows.prepare(xid(2), true);
    scene.rows.prepare(xid(3), false);
    let rolled_back = scene.rows.decide(&xid(2)).unwrap();
    scene.rows.forget(rolled_back);
    assert_eq!(scene.commit(3), Some(vec![]), "known, and without rows");
    assert_eq!(scene.commit(1), Some(vec![1, 2]));
    assert_eq!(scene.commit(1), None);
    assert_eq!((scene.budget.used(), scene.rows.bytes()), (0, 0));
    assert!(scene.rows.close().unwrap().is_empty(), "the store was not needed");
}

#[test]
fn what_was_prepared_at_the_checkpoint_is_there_after_a_restart_and_nothing_else() {
    let mut scene = Scene::new(1 << 20);
    scene.add(true, 1);
    scene.rows.prepare(xid(1), true);
    scene.add(true, 2);
    scene.rows.prepare(xid(2), true);
    scene.checkpoint();
    assert_eq!(scene.budget.used(), 0, "the store has them");
    // Behind the checkpoint: one is decided, one comes, one is half-way.
    assert_eq!(scene.commit(1), Some(vec![1]));
    scene.add(true, 3);
    scene.rows.prepare(xid(3), true);
    scene.rows.close().unwrap();
    scene.add(true, 4);
    scene.restart();
    assert_eq!(scene.commit(3), None);
    assert_eq!((scene.commit(1), scene.commit(2)), (Some(vec![1]), Some(vec![2])));
    scene.checkpoint();
    scene.restart();
    assert_eq!((scene.commit(1), scene.commit(2)), (None, None));
}

#[test]
fn rows_beyond_the_limit_wait_in_the_store() {
    let mut scene = Scene::new(100);
    for id in 0..200 {
        scene.add(id == 0, id);
        assert!(scene.budget.used() <= 100, "{}", scene.budget.used());
    }
    scene.rows.prepare(xid(1), true);
    for id in 200..400 {
        scene.add(id == 200, id);
        assert!(scene.budget.used() <= 100);
    }
    let waiting = scene.rows.one_phase().unwrap();
    assert_eq!(scene.replayed(waiting), (200..400).collect::<Vec<_>>());
    scene.checkpoint();
    scene.restart();
    assert_eq!(scene.commit(1), Some((0..200).collect()));
    scene.checkpoint();
    assert_eq!(scene.store.read_prepared(1, 0).unwrap(), None);
    assert_eq!(scene.budget.used(), 0);
}

#[test]
fn what_was_cut_off_is_forgotten_with_the_next_one() {
    let mut scene = Scene::new(1 << 20);
    scene.add(true, 1);
    scene.rows.prepare(xid(1), false);
    assert_eq!((scene.commit(1), scene.budget.used()), (Some(vec![]), 0), "the next one has no rows of ours");
    let mut scene = Scene::new(20);
    for id in 0..10 {
        scene.add(id == 0, id);
    }
    scene.add(true, 77);
    scene.rows.prepare(xid(1), true);
    assert_eq!(scene.commit(1), Some(vec![77]));
    scene.checkpoint();
    assert_eq!(scene.store.read_prepared(1, 0).unwrap(), None);
}

#[test]
fn damaged_rows_are_an_error() {
    let mut scene = Scene::new(1 << 20);
    scene.add(true, 1);
    scene.rows.prepare(xid(1), true);
    scene.checkpoint();
    let mut rows = scene.store.read_prepared(1, 0).unwrap().unwrap();
    rows.truncate(rows.len() - 1);
    scene.store.write_prepared(&[PreparedPart { number: 1, part: 0, rows }]).unwrap();
    let mut replay = Replay::from(scene.rows.decide(&xid(1)).unwrap());
    let error = scene.rows.next_row(&mut replay).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}
