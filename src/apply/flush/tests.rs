use std::thread::{self, JoinHandle};

use super::super::batch::MERGED_ROW_BYTES;
use super::super::change::Followed;
use super::super::sample::{Sample, place, position};
use super::*;
use crate::config::Params;
use crate::live::Live;
use crate::mysql::binlog::{RowsKind, Xid};
use crate::mysql::history::History;
use crate::mysql::value::ValueOptions;
use crate::ring::{Sender, ring};
use crate::schema::Mapping;
use crate::state::Store;
use crate::target::Pressure;

/// A flusher with the test at both its ends: it feeds slots and takes epochs.
struct Scene {
    sample: Sample,
    slots: Sender<Slot>,
    epochs: channel::Receiver<Epoch>,
    done: channel::Sender<()>,
    stop: CancellationToken,
    flusher: JoinHandle<Result<Ended>>,
    altered: channel::Sender<Altered>,
    store: Arc<Store>,
    _state: tempfile::TempDir,
}

const LONG: Duration = Duration::from_secs(20);
/// What `Scene::row` costs.
const ROW_BYTES: usize = 10 + MERGED_ROW_BYTES + 4;
const SHORT: Duration = Duration::from_millis(300);

fn pace(pause: Duration) -> Arc<Pace> {
    Pace::of(pause, 1000)
}

fn tables(mappings: impl IntoIterator<Item = Arc<Mapping>>) -> Tables {
    let followed = Followed::new(mappings, [], []);
    let history = History::new(followed.mappings().map(|mapping| Arc::new(mapping.source.clone())));
    Tables::new(history, Arc::new(followed), ValueOptions::default())
}

impl Scene {
    /// A flusher without a pause between epochs that begins at offset 0.
    fn new(adjust: impl FnOnce(&mut Flusher)) -> Scene {
        let sample = Sample::new();
        let budget = Budget::new(1 << 20);
        let (slots, receiver) = ring(64, &budget);
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(state.path(), "shop").unwrap());
        let (epochs_out, epochs) = channel::bounded(0);
        let (done, done_in) = channel::bounded(1);
        let stop = CancellationToken::new();
        let (lagging, altered) = Lagging::open(&store, &budget, 1).unwrap();
        let mut flusher = Flusher {
            receiver,
            tables: tables([Arc::clone(&sample.mapping)]),
            copied_at: CopiedAt::default(),
            xa: XaRows::open(&store, &budget, 1 << 18).unwrap(),
            limits: Limits { bytes: 1 << 20 },
            pace: pace(Duration::ZERO),
            limiter: Limiter::new(Arc::new(Live::new(&Params::default()))),
            epochs: epochs_out,
            done: done_in,
            progress: Arc::default(),
            stop: stop.clone(),
            leave: CancellationToken::new(),
            until: None,
            until_by_place: false,
            replay_until: None,
            errands: Errands::none(),
            lagging,
            open: Open::new().0,
        };
        adjust(&mut flusher);
        let flusher = thread::spawn(move || flusher.run(position(0)));
        Scene { sample, slots, epochs, done, stop, flusher, altered, store, _state: state }
    }

    fn row(&self, id: i32) {
        let event = self.sample.event(RowsKind::Insert, &[(id, "text")]);
        let bytes = event.images.len();
        self.slots.send(Slot::Rows(event), bytes).unwrap();
    }

    fn commit(&self, offset: u64) {
        self.slots.send(Slot::Commit(place(offset)), 0).unwrap();
    }

    /// The next epoch: begin, end and rows. It is in at once.
    fn epoch(&self) -> (u64, u64, usize) {
        let epoch = self.epochs.recv_timeout(LONG).expect("an epoch");
        self.done.send(()).unwrap();
        (epoch.begin.offset, epoch.end.offset, epoch.batch.rows())
    }

    fn no_epoch(&self) {
        assert!(self.epochs.recv_timeout(SHORT).is_err(), "an epoch closed too early");
    }
}

#[test]
fn an_epoch_ends_where_a_transaction_ends() {
    let scene = Scene::new(|_| {});
    scene.row(1);
    scene.no_epoch();
    scene.row(2);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 2));
}

#[test]
fn the_next_epoch_fills_while_one_is_on_its_way() {
    let scene = Scene::new(|_| {});
    scene.row(1);
    scene.commit(100);
    let first = scene.epochs.recv_timeout(LONG).unwrap();
    assert_eq!(first.end.offset, 100);
    for id in 2..5 {
        scene.row(id);
        scene.commit(100 * id as u64);
    }
    scene.no_epoch();
    scene.done.send(()).unwrap();
    assert_eq!(scene.epoch(), (100, 400, 3));
}

#[test]
fn a_full_batch_does_not_wait_for_the_pause() {
    let scene = Scene::new(|flusher| {
        flusher.pace = Pace::of(LONG * 10, 2);
    });
    scene.row(1);
    scene.commit(100);
    scene.no_epoch();
    scene.row(2);
    scene.commit(200);
    assert_eq!(scene.epoch(), (0, 200, 2));
}

/// Rows behind a cut would be numbered anew.
#[test]
fn a_stop_gives_up_a_replay_of_rows_without_a_key_as_a_whole() {
    for row_hashes in [false, true] {
        let scene = Scene::new(|flusher| {
            flusher.replay_until = Some(position(200));
            flusher.tables.row_hashes = row_hashes;
        });
        scene.row(1);
        scene.commit(100);
        scene.no_epoch();
        scene.stop.cancel();
        if !row_hashes {
            assert_eq!(scene.epoch(), (0, 100, 1));
        }
        let Scene { flusher, epochs, .. } = scene;
        assert_eq!(flusher.join().unwrap().unwrap(), Ended::Stopped);
        assert!(epochs.recv().is_err(), "half a replay went out");
    }
}

#[test]
fn a_replay_of_rows_without_a_key_is_not_cut_for_want_of_memory() {
    let scene = Scene::new(|flusher| {
        flusher.replay_until = Some(position(200));
        flusher.tables.row_hashes = true;
        flusher.limits.bytes = 4 * ROW_BYTES;
    });
    scene.row(1);
    scene.commit(100);
    for id in 2..5 {
        scene.row(id);
    }
    let Scene { flusher, epochs, .. } = scene;
    let error = flusher.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("does not fit into memory as a whole") && error.contains("totalDataInMemMb"), "{error}");
    assert!(epochs.recv().is_err());
}

#[test]
fn a_replay_closes_exactly_where_the_intent_says() {
    let scene = Scene::new(|flusher| {
        flusher.pace = Pace::of(Duration::ZERO, 1);
        flusher.replay_until = Some(position(200));
    });
    scene.row(1);
    scene.commit(100);
    scene.no_epoch();
    scene.row(2);
    scene.commit(200);
    assert_eq!(scene.epoch(), (0, 200, 2));
    scene.row(3);
    scene.commit(300);
    assert_eq!(scene.epoch(), (200, 300, 1));
}

#[test]
fn a_large_transaction_goes_out_in_pieces_and_the_checkpoint_stays_before_it() {
    let scene = Scene::new(|flusher| flusher.limits.bytes = 2 * ROW_BYTES);
    for id in 1..=4 {
        scene.row(id);
    }
    // The second and the fourth fill a piece.
    assert_eq!(scene.epoch(), (0, 0, 2));
    assert_eq!(scene.epoch(), (0, 0, 2));
    scene.row(5);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 1));
}

#[test]
fn a_batch_full_of_small_transactions_closes_where_one_of_them_ends() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.limits.bytes = 2 * ROW_BYTES;
    });
    scene.row(1);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 1));
    scene.row(2);
    scene.commit(200);
    assert_eq!(scene.epoch(), (100, 200, 1));
}

#[test]
fn the_end_of_a_transaction_in_pieces_moves_the_checkpoint_at_once() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.limits.bytes = 2 * ROW_BYTES;
    });
    scene.row(1);
    scene.row(2);
    assert_eq!(scene.epoch(), (0, 0, 2));
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 0));
}

#[test]
fn a_place_inside_a_transaction_closes_nothing() {
    let scene = Scene::new(|_| {});
    scene.row(1);
    // The reader has connected again; the transaction comes once more from its start.
    scene.slots.send(Slot::Passed(place(4), GtidSet::default()), 0).unwrap();
    scene.no_epoch();
    scene.row(1);
    scene.row(2);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 2));
}

#[test]
fn a_failed_committer_ends_the_flusher() {
    let Scene { slots, epochs, done, flusher, .. } = Scene::new(|_| {});
    drop((epochs, done));
    assert!(flusher.join().unwrap().unwrap_err().is_transient(), "the committer's own error says more");
    drop(slots);
}

#[test]
fn a_stop_in_a_transaction_sends_nothing_of_it() {
    let scene = Scene::new(|_| {});
    scene.row(1);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 1));
    scene.row(2);
    scene.no_epoch();
    scene.stop.cancel();
    assert_eq!(scene.flusher.join().unwrap().unwrap(), Ended::Stopped);
    assert!(scene.epochs.try_recv().is_err());
}

#[test]
fn it_ends_once_everything_before_the_end_is_in() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.until = Some(position(200));
    });
    scene.row(1);
    scene.commit(100);
    scene.slots.send(Slot::Passed(place(250), GtidSet::default()), 0).unwrap();
    assert_eq!(scene.epoch(), (0, 250, 1));
    assert_eq!(scene.flusher.join().unwrap().unwrap(), Ended::CaughtUp);
}

#[test]
fn rows_of_a_table_the_job_does_not_know_stop_it() {
    let scene = Scene::new(|flusher| flusher.tables = tables([]));
    scene.row(1);
    scene.commit(100);
    let error = scene.flusher.join().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("shop.t at binlog.000001:4: rows of a table the job does not know"), "{error}");
}

#[test]
fn rows_of_a_transaction_that_was_cut_off_leave_the_batch() {
    let scene = Scene::new(|flusher| flusher.pace = pace(Duration::ZERO));
    scene.row(1);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 1));
    scene.row(2);
    scene.row(3);
    scene.slots.send(Slot::CutOff(None), 0).unwrap();
    scene.row(4);
    scene.commit(200);
    assert_eq!(scene.epoch(), (100, 200, 1));
}

#[test]
fn a_batch_goes_on_filling_while_an_epoch_is_on_its_way() {
    // Without and with a wait of the flusher for the epoch: eleven rows are more than a batch may have then.
    for (last, in_the_next) in [(10, 7), (17, 11)] {
        let scene = Scene::new(|flusher| {
            flusher.pace = pace(LONG * 10);
            flusher.limits.bytes = 6 * ROW_BYTES;
        });
        for id in 1..=3 {
            scene.row(id);
            scene.commit(100 * id as u64);
        }
        // Half of the limit.
        let first = scene.epochs.recv_timeout(LONG).unwrap();
        assert_eq!((first.end.offset, first.batch.rows()), (300, 3));
        for id in 4..=last {
            scene.row(id);
            scene.commit(100 * id as u64);
        }
        scene.no_epoch();
        scene.done.send(()).unwrap();
        assert_eq!(scene.epoch(), (300, 300 + 100 * in_the_next as u64, in_the_next), "it is full: no pause is kept");
    }
}

#[test]
fn what_was_read_before_a_large_transaction_is_an_epoch_of_its_own() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.limits = Limits { bytes: 8 * ROW_BYTES };
    });
    scene.row(1);
    scene.commit(100);
    for id in 2..60 {
        scene.row(id);
    }
    assert_eq!(scene.epoch(), (0, 100, 1));
    assert_eq!(scene.epoch().0, 100);
}

/// Two pieces of a transaction are out when it is cut off.
fn torn() -> Scene {
    let scene = Scene::new(|flusher| flusher.limits.bytes = 2 * ROW_BYTES);
    for id in 1..=4 {
        scene.row(id);
    }
    // Rows join when their bytes on the ring are half of the limit.
    assert_eq!(scene.epoch(), (0, 0, 2));
    assert_eq!(scene.epoch(), (0, 0, 2));
    scene.row(5);
    scene.slots.send(Slot::CutOff(None), 0).unwrap();
    scene
}

#[test]
fn a_torn_transaction_that_comes_again_goes_on() {
    let scene = torn();
    for id in 1..=4 {
        scene.row(id);
    }
    assert_eq!(scene.epoch(), (0, 0, 2));
    assert_eq!(scene.epoch(), (0, 0, 2));
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 0));
}

#[test]
fn a_torn_transaction_that_the_source_has_lost_stops_the_job() {
    for passed in [false, true] {
        let scene = torn();
        if passed {
            scene.slots.send(Slot::Passed(place(100), GtidSet::default()), 0).unwrap();
        } else {
            let mut other = scene.sample.event(RowsKind::Insert, &[(6, "text")]);
            other.offset += 1000;
            scene.slots.send(Slot::Rows(other), 1).unwrap();
            scene.commit(100);
        }
        let error = scene.flusher.join().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("the source has lost the transaction at "), "{error}");
    }
}

impl Scene {
    fn xa_row(&self, first: bool, id: i32) {
        let event = self.sample.event(RowsKind::Insert, &[(id, "text")]);
        let bytes = event.images.len();
        self.slots.send(Slot::XaRows { first, event }, bytes).unwrap();
    }

    fn xa(&self, offset: u64, step: XaStep) {
        self.slots.send(Slot::Xa(place(offset), step), 0).unwrap();
    }
}

fn xid() -> Xid {
    Xid::new(1, b"x", b"").unwrap()
}

#[test]
fn prepared_rows_are_in_the_epoch_of_their_commit() {
    let scene = Scene::new(|_| {});
    scene.xa_row(true, 1);
    scene.xa_row(false, 2);
    scene.no_epoch();
    scene.xa(100, XaStep::Prepared { name: xid(), rows: true });
    let epoch = scene.epochs.recv_timeout(LONG).unwrap();
    assert_eq!((epoch.end.offset, epoch.batch.rows()), (100, 0));
    assert_eq!(epoch.prepared.came, [(1, xid().to_string())]);
    scene.done.send(()).unwrap();
    scene.xa(200, XaStep::Commit(xid()));
    let epoch = scene.epochs.recv_timeout(LONG).unwrap();
    assert_eq!((epoch.begin.offset, epoch.end.offset, epoch.batch.rows()), (100, 200, 2));
    assert_eq!(epoch.prepared.gone, [1]);
    scene.done.send(()).unwrap();
}

#[test]
fn rows_rolled_back_are_in_no_epoch_and_a_commit_in_one_phase_is_a_commit() {
    let scene = Scene::new(|_| {});
    scene.xa_row(true, 1);
    scene.xa(100, XaStep::Prepared { name: xid(), rows: true });
    assert_eq!(scene.epoch(), (0, 100, 0));
    scene.xa(200, XaStep::Rollback(xid()));
    assert_eq!(scene.epoch(), (100, 200, 0));
    scene.xa_row(true, 2);
    scene.xa(300, XaStep::OnePhase);
    assert_eq!(scene.epoch(), (200, 300, 1));
}

#[test]
fn an_xa_commit_of_a_name_that_was_never_prepared_is_refused_and_a_rollback_is_not() {
    let scene = Scene::new(|_| {});
    scene.xa(100, XaStep::Rollback(xid()));
    assert_eq!(scene.epoch(), (0, 100, 0));
    scene.xa(200, XaStep::Commit(xid()));
    let error = scene.flusher.join().unwrap().unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains("binlog.000001:200") && text.contains("X'78',X'',1") && text.contains("startup: initial"),
        "{text}"
    );
}

#[test]
fn a_prepared_transaction_larger_than_memory_goes_out_in_pieces_when_it_is_committed() {
    let scene = Scene::new(|flusher| {
        flusher.limits.bytes = 3 * ROW_BYTES;
        flusher.xa = XaRows::open(&flusher.xa.store(), &Budget::new(1 << 20), 20).unwrap();
    });
    for id in 0..8 {
        scene.xa_row(id == 0, id);
    }
    scene.xa(100, XaStep::Prepared { name: xid(), rows: true });
    assert_eq!(scene.epoch(), (0, 100, 0));
    scene.xa(200, XaStep::Commit(xid()));
    let mut rows = 0;
    loop {
        let epoch = scene.epochs.recv_timeout(LONG).unwrap();
        scene.done.send(()).unwrap();
        rows += epoch.batch.rows();
        if epoch.end.offset == 200 {
            assert_eq!(epoch.prepared.gone, [1]);
            break;
        }
        assert!(epoch.prepared.is_empty(), "the checkpoint stays before it");
    }
    assert_eq!(rows, 8);
}

#[test]
fn while_the_pause_is_widened_the_number_of_rows_closes_nothing() {
    let scene = Scene::new(|flusher| {
        flusher.pace = Pace::of(Duration::ZERO, 1);
        flusher.pace.widen(Pressure { refusals: 1, reason: "too many versions" });
        flusher.limits.bytes = 4 * ROW_BYTES;
    });
    scene.row(1);
    scene.commit(100);
    scene.no_epoch();
    scene.row(2);
    scene.commit(200);
    assert_eq!(scene.epoch(), (0, 200, 2), "the bytes still do");
}

mod lagging;
mod statements;
