use std::sync::{Arc, Mutex};

use super::super::batch::Batch;
use super::super::commit::settle;
use super::super::flush::Epoch;
use super::super::label::is_transaction;
use super::super::sample::{Sample, position};
use super::super::scripted::{self, Script, Scripted};
use super::*;
use crate::mysql::binlog::RowsKind;
use crate::ring::Budget;
use crate::state::Store;
use crate::target::{Format, Loaded, NameTry};

/// A target that notes what it is asked for, and what is written down at that moment.
struct Noting {
    store: Arc<Store>,
    /// Tries of the next transactions that are out.
    failing: Mutex<u32>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Plain(String),
    Try { label: String, written: Vec<String>, formats: Vec<Format> },
    Ended(String),
}

impl Script for Noting {
    fn load(&self, load: &Load) -> Result<Loaded> {
        self.seen.lock().unwrap().push(Seen::Plain(load.label.clone()));
        Ok(Loaded::default())
    }

    fn load_together(&self, loads: &[Load], name: NameTry<'_>) -> Result<Loaded> {
        let failing = std::mem::take(&mut *self.failing.lock().unwrap());
        for number in 0..=failing {
            let label = name(number)?;
            assert!(self.store.intent()?.is_some());
            let written = self.store.open_loads()?.into_iter().map(|load| load.label).collect();
            let formats = loads.iter().map(|load| load.format).collect();
            self.seen.lock().unwrap().push(Seen::Try { label, written, formats });
        }
        if failing > 0 { Err(Error::definite("too many filtered rows")) } else { Ok(Loaded::default()) }
    }

    fn end_transaction(&self, label: &str) -> Result<()> {
        self.seen.lock().unwrap().push(Seen::Ended(label.to_owned()));
        Ok(())
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
        let target = Noting { store: Arc::clone(&store), failing: Mutex::default(), seen: Mutex::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Scene { runtime, target: Arc::new(Scripted(target)), store, _folder: folder }
    }

    /// Commits an epoch whose bodies are cut at `part_bytes`.
    fn commit(&self, part_bytes: usize, begin: u64, end: u64, rows: &[(i32, &str)]) -> Result<()> {
        let (epochs, epochs_in) = crossbeam_channel::bounded(1);
        let (done, _done_in) = crossbeam_channel::bounded(1);
        let sample = Sample::new();
        let mut batch = Batch::default();
        let event = sample.event(RowsKind::Insert, rows);
        batch.add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap();
        epochs.send(Epoch { committed_at: end, batch, ..Epoch::between(position(begin), position(end)) }).unwrap();
        drop(epochs);
        let mut committer = scripted::committer(&self.target, &self.store, self.runtime.handle());
        (committer.options.part_bytes, committer.options.together) = (part_bytes, true);
        committer.run(&epochs_in, &done)
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.target.seen.lock().unwrap())
    }
}

#[test]
fn the_loads_of_an_epoch_go_together_under_a_label_that_is_written_down_before() {
    let scene = Scene::new();
    scene.commit(1, 0, 100, &[(1, "a"), (2, "b")]).unwrap();
    let seen = scene.seen();
    let [Seen::Try { label, written, formats }] = &seen[..] else { panic!("{seen:?}") };
    assert!(is_transaction(label));
    assert_eq!((written, formats.len()), (&vec![label.clone()], 2));
    assert_eq!(scene.store.checkpoint().unwrap().unwrap().position, position(100));
    assert_eq!(scene.store.open_loads().unwrap(), []);
}

#[test]
fn one_load_alone_is_no_transaction() {
    let scene = Scene::new();
    scene.commit(1 << 20, 0, 100, &[(1, "a"), (2, "b")]).unwrap();
    assert!(matches!(&scene.seen()[..], [Seen::Plain(label)] if !is_transaction(label)));
}

#[test]
fn every_try_is_ended_by_the_next_run_and_the_same_rows_get_the_same_labels() {
    let scene = Scene::new();
    *scene.target.failing.lock().unwrap() = 2;
    assert!(scene.commit(1, 0, 100, &[(1, "a"), (2, "b")]).is_err());
    let tries = |seen: Vec<Seen>| -> Vec<(String, usize)> {
        let label = |seen| match seen {
            Seen::Try { label, written, .. } => (label, written.len()),
            other => panic!("{other:?}"),
        };
        seen.into_iter().map(label).collect()
    };
    let first = tries(scene.seen());
    assert_eq!(first.iter().map(|(_, written)| *written).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(scene.store.checkpoint().unwrap(), None);

    scene.runtime.block_on(settle(scene.target.as_ref(), &scene.store)).unwrap();
    let mut ended: Vec<_> = scene.seen();
    ended.sort_by_key(|seen| format!("{seen:?}"));
    let mut all: Vec<_> = first.iter().map(|(label, _)| Seen::Ended(label.clone())).collect();
    all.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(ended, all);
    assert_eq!(scene.store.open_loads().unwrap(), []);

    scene.commit(1, 0, 100, &[(1, "a"), (2, "b")]).unwrap();
    assert_eq!(tries(scene.seen())[0].0, first[0].0);
}

#[test]
fn a_table_with_one_row_that_csv_cannot_carry_travels_as_json_whole() {
    let scene = Scene::new();
    scene.commit(1, 0, 100, &[(1, "a"), (2, "\\N"), (3, "c")]).unwrap();
    let seen = scene.seen();
    let [Seen::Try { formats, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(formats[..], [Format::JsonLines; 3]);
}

#[test]
fn a_piece_of_a_transaction_is_refused_before_anything_is_sent() {
    let scene = Scene::new();
    let error = scene.commit(1, 100, 100, &[(1, "a"), (2, "b")]).unwrap_err();
    assert!(!error.is_transient());
    assert!(error.to_string().contains("params.totalDataInMemMb"), "{error}");
    assert!(error.to_string().contains("binlog.000001:100"), "{error}");
    assert_eq!(scene.seen(), []);
}
