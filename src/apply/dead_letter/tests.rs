//! Epochs with bad rows, against a target that refuses what it is told to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::batch::Batch;
use super::super::commit::{Committer, settle};
use super::super::flush::Epoch;
use super::super::sample::{Sample, position};
use super::super::scripted::{self, Script, Scripted};
use super::*;
use crate::mysql::binlog::RowsKind;
use crate::ring::Budget;
use crate::state::{DeadLetter, DefinitionChanges, Filter, LetterCounts, LetterState};
use crate::target::{LabelState, Loaded, Reason};

/// Refuses every load with a row whose text begins with `bad`, unless mended. Keeps what it takes, by key.
#[derive(Default)]
struct Picky {
    rows: Mutex<BTreeMap<String, String>>,
    labels: Mutex<BTreeSet<String>>,
    mended: Mutex<bool>,
    /// How often each key was written.
    written: Mutex<BTreeMap<String, usize>>,
    loads: Mutex<usize>,
    /// It dies at this load: before it takes it, or after it.
    dies: Mutex<Option<(usize, bool)>>,
    /// It counts all rows that it refuses, as StarRocks does when it looks at the whole load.
    counts: bool,
    store: Mutex<Option<Arc<Store>>>,
}

impl Script for Picky {
    fn load(&self, load: &Load) -> Result<Loaded> {
        let open = self.store.lock().unwrap().as_ref().unwrap().open_loads()?;
        assert!(open.iter().any(|name| name.label == load.label), "a load that is not written down goes out");
        *self.loads.lock().unwrap() += 1;
        if self.labels.lock().unwrap().contains(&load.label) {
            return Ok(Loaded { already: true, ..Loaded::default() });
        }
        let dies = self.dies.lock().unwrap().filter(|(at, _)| *at == *self.loads.lock().unwrap());
        if dies.is_some_and(|(_, after)| !after) {
            return Err(Error::definite("died"));
        }
        let rows: Vec<Vec<Option<String>>> = body::rows(load)?
            .into_iter()
            .map(|row| body::cells(load.format, &load.columns, &load.body[row]).unwrap())
            .collect();
        let mended = *self.mended.lock().unwrap();
        let is_bad =
            |row: &&Vec<Option<String>>| !mended && row[1].as_ref().is_some_and(|text| text.starts_with("bad"));
        let bad = rows.iter().filter(is_bad).count() as u64;
        if bad > 0 {
            let text = "String is too long".to_owned();
            let reasons = vec![Reason { text, column: Some("v".into()), row: String::new() }];
            let found = self.counts.then_some(bad);
            return Err(Error::definite("too many filtered rows").caused_by(RefusedRows { found, reasons }));
        }
        for row in rows {
            let key = row[0].clone().unwrap();
            *self.written.lock().unwrap().entry(key.clone()).or_default() += 1;
            match row[2].as_deref() {
                Some("1") => self.rows.lock().unwrap().remove(&key),
                _ => self.rows.lock().unwrap().insert(key, row[1].clone().unwrap()),
            };
        }
        self.labels.lock().unwrap().insert(load.label.clone());
        if dies.is_some() {
            return Err(Error::definite("died"));
        }
        Ok(Loaded::default())
    }

    fn label_state(&self, label: &str) -> Result<LabelState> {
        Ok(if self.labels.lock().unwrap().contains(label) { LabelState::Finished } else { LabelState::Unknown })
    }
}

struct Scene {
    runtime: tokio::runtime::Runtime,
    target: Arc<Scripted<Picky>>,
    store: Arc<Store>,
    policy: Policy,
    _folder: tempfile::TempDir,
}

/// A change: `true` for a delete.
type Change<'a> = (i32, &'a str, bool);

impl Scene {
    fn new(policy: Policy, counts: bool) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "it").unwrap());
        let target = Picky { counts, store: Mutex::new(Some(Arc::clone(&store))), ..Picky::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Scene { runtime, target: Arc::new(Scripted(target)), store, policy, _folder: folder }
    }

    fn committer(&self) -> Committer<Scripted<Picky>> {
        let letters = DeadLetters::new(&self.store, self.policy, [&Sample::new().mapping]).unwrap();
        let committer = scripted::committer(&self.target, &self.store, self.runtime.handle());
        Committer { letters: Arc::new(letters), ..committer }
    }

    /// One epoch, as a job that was started for it would bring it in.
    fn commit(&self, number: u64, changes: &[Change<'_>]) -> Result<()> {
        self.runtime.block_on(settle(self.target.as_ref(), &self.store))?;
        self.run(Some(epoch(number, changes)))
    }

    /// A job that finds nothing new.
    fn run(&self, epoch: Option<Epoch>) -> Result<()> {
        let (epochs, epochs_in) = crossbeam_channel::bounded(1);
        let (done, _done_in) = crossbeam_channel::bounded(1);
        epoch.into_iter().for_each(|epoch| epochs.send(epoch).unwrap());
        drop(epochs);
        self.committer().run(&epochs_in, &done)
    }

    fn rows(&self) -> Vec<(String, String)> {
        self.target.rows.lock().unwrap().clone().into_iter().collect()
    }

    fn letters(&self) -> Vec<DeadLetter> {
        self.store.letters(&Filter::default(), 0, usize::MAX).unwrap()
    }

    fn live(&self) -> Vec<String> {
        let live = Filter { live: true, ..Filter::default() };
        self.store.letters(&live, 0, usize::MAX).unwrap().into_iter().map(|letter| letter.key).collect()
    }

    fn ask_for_retry(&self) -> u64 {
        self.store.ask_for_retry(&Filter::default()).unwrap().0
    }
}

fn epoch(number: u64, changes: &[Change<'_>]) -> Epoch {
    let sample = Sample::new();
    let mut batch = Batch::default();
    for (id, text, delete) in changes {
        let kind = if *delete { RowsKind::Delete } else { RowsKind::Insert };
        let event = sample.event(kind, &[(*id, text)]);
        batch.add(&sample.mapping, &sample.plan, &event, Budget::new(1).hold(0)).unwrap();
    }
    Epoch { committed_at: 1, batch, ..Epoch::between(position(number * 100), position(number * 100 + 100)) }
}

const BATCH: Policy = Policy { on_error: OnError::BatchDirtyData, max_letters: 0, halve: true };

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn bad_rows_become_letters_and_the_others_are_loaded_once() {
    let scene = Scene::new(BATCH, false);
    scene
        .commit(0, &[(1, "a", false), (2, "bad", false), (3, "c", false), (4, "bad", false), (5, "e", false)])
        .unwrap();
    assert_eq!(scene.rows(), pairs(&[("1", "a"), ("3", "c"), ("5", "e")]));
    assert!(scene.target.written.lock().unwrap().values().all(|times| *times == 1));
    let letters = scene.letters();
    assert_eq!(scene.live(), ["[\"2\"]", "[\"4\"]"]);
    let letter = &letters[0];
    assert_eq!((letter.column.as_deref(), letter.reason.as_str()), (Some("v"), "String is too long"));
    assert_eq!((letter.begin.offset, letter.end.offset, letter.delete), (0, 100, false));
    assert_eq!(letter.row().unwrap(), [("id", Some("2".to_owned())), ("v", Some("bad".to_owned()))]);
    let checkpoint = scene.store.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.loaded, checkpoint.position.offset), (3, 100));
    assert_eq!(scene.store.open_loads().unwrap(), []);
}

#[test]
fn a_refused_delete_is_sent_by_its_key_alone() {
    for policy in [BATCH, Policy { on_error: OnError::Exit, ..BATCH }] {
        let scene = Scene::new(policy, false);
        scene.commit(0, &[(1, "a", false), (2, "b", false), (3, "c", false)]).unwrap();
        scene.commit(1, &[(1, "bad", true), (3, "bad", true), (4, "d", false)]).unwrap();
        assert_eq!(scene.rows(), pairs(&[("2", "b"), ("4", "d")]));
        assert_eq!((scene.letters().len(), scene.store.open_loads().unwrap().len()), (0, 0));
    }
}

#[test]
fn a_load_that_may_not_be_halved_is_an_error_and_nothing_of_it_is_in() {
    let scene = Scene::new(Policy { halve: false, ..BATCH }, false);
    let error = scene.commit(0, &[(1, "a", false), (2, "bad", false)]).unwrap_err().to_string();
    assert!(error.contains("shop.t: too many filtered rows") && error.contains("String is too long"), "{error}");
    assert_eq!((scene.rows().len(), *scene.target.loads.lock().unwrap()), (0, 1));
}

#[test]
fn exit_stops_with_table_key_column_and_reason_and_makes_no_letter() {
    let policy = Policy { on_error: OnError::Exit, max_letters: 0, halve: true };
    for counts in [false, true] {
        let scene = Scene::new(policy, counts);
        let changes: Vec<Change<'_>> = (1..=9).map(|id| (id, if id >= 7 { "bad" } else { "a" }, false)).collect();
        let text = scene.commit(0, &changes).unwrap_err().to_string();
        for part in ["shop.t", "key [\"7\"]", "column v", "String is too long", "binlog.000001:0 and binlog.000001:100"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(scene.letters().len(), 0);
        assert_eq!(scene.store.checkpoint().unwrap(), None);
    }
}

#[test]
fn a_target_that_counts_every_row_bad_is_believed_at_once() {
    let scene = Scene::new(BATCH, true);
    let changes: Vec<Change<'_>> = (0..1000).map(|id| (id, "bad", false)).collect();
    scene.commit(0, &changes).unwrap();
    assert_eq!((scene.live().len(), *scene.target.loads.lock().unwrap()), (1000, 1));
}

#[test]
fn too_many_letters_stop_the_job_and_none_is_kept() {
    let scene = Scene::new(Policy { max_letters: 3, ..BATCH }, false);
    scene.commit(0, &[(1, "bad", false), (2, "bad", false)]).unwrap();
    let error = scene.commit(1, &[(3, "bad", false), (4, "bad", false)]).unwrap_err().to_string();
    assert!(error.contains("more than 3 rows") && error.contains("key [\"4\"]"), "{error}");
    assert_eq!(scene.live(), ["[\"1\"]", "[\"2\"]"]);
    // Room is made, and the epoch goes through.
    scene.store.drop_letters(&Filter { ids: vec![1], ..Filter::default() }).unwrap();
    scene.commit(1, &[(3, "bad", false), (4, "bad", false)]).unwrap();
    assert_eq!(scene.live().len(), 3);
}

#[test]
fn settled_letters_are_kept_up_to_the_limit() {
    let scene = Scene::new(Policy { max_letters: 3, ..BATCH }, false);
    for number in 0..10 {
        scene.commit(number, &[(1, &format!("bad{number}"), false)]).unwrap();
    }
    let counts = scene.store.letter_counts().unwrap();
    assert_eq!(counts, LetterCounts { open: 1, superseded: 3, ..LetterCounts::default() });
    assert_eq!(scene.letters().last().unwrap().row().unwrap()[1].1.as_deref(), Some("bad9"));
}

#[test]
fn a_later_change_supersedes_a_letter_and_a_retry_does_not_write_over_it() {
    let scene = Scene::new(BATCH, false);
    scene.commit(0, &[(1, "bad", false), (2, "bad", false), (3, "bad", false)]).unwrap();
    assert_eq!(scene.ask_for_retry(), 3);
    *scene.target.mended.lock().unwrap() = true;
    // In the epoch that comes first: a good row, and a delete. The job looks at retries before it and after it, and both
    // times it must not send what is obsolete; so the first look is made blind by an open intent.
    scene.target.dies.lock().unwrap().replace((*scene.target.loads.lock().unwrap() + 1, true));
    let later = [(1, "good", false), (2, "x", true)];
    scene.store.ask_for_retry(&Filter::default()).unwrap();
    let intent = crate::state::Intent { epoch: 2, begin: position(100), end: position(200) };
    scene.store.open_epoch(&intent, &[]).unwrap();
    assert_eq!(
        scene.commit(1, &later).unwrap_err().to_string().lines().next().unwrap().rsplit(": ").next().unwrap(),
        "died"
    );
    scene.commit(1, &later).unwrap();
    assert_eq!(scene.rows(), pairs(&[("1", "good"), ("3", "bad")]));
    let states: Vec<LetterState> = scene.letters().iter().map(|letter| letter.state).collect();
    assert_eq!(states, [LetterState::Superseded, LetterState::Superseded, LetterState::Resolved]);
}

#[test]
fn what_is_refused_again_is_open_again_and_the_rest_is_in() {
    let scene = Scene::new(BATCH, false);
    scene.commit(0, &[(1, "bad", false), (2, "bad", false)]).unwrap();
    scene.ask_for_retry();
    scene.run(None).unwrap();
    assert_eq!(scene.store.letter_counts().unwrap(), LetterCounts { open: 2, ..LetterCounts::default() });
    assert!(scene.letters().iter().all(|letter| letter.tries == 1));
    *scene.target.mended.lock().unwrap() = true;
    scene.store.ask_for_retry(&Filter { ids: vec![2], ..Filter::default() }).unwrap();
    scene.run(None).unwrap();
    assert_eq!(scene.rows(), pairs(&[("2", "bad")]));
    let counts = scene.store.letter_counts().unwrap();
    assert_eq!(counts, LetterCounts { open: 1, resolved: 1, ..LetterCounts::default() });
    assert_eq!(scene.store.open_loads().unwrap(), []);
}

#[test]
fn letters_of_a_table_that_lags_are_sent_again_when_it_has_caught_up() {
    let scene = Scene::new(BATCH, false);
    scene.commit(0, &[(1, "bad", false)]).unwrap();
    let sample = Sample::new();
    let lags = |lag| DefinitionChanges {
        lags: vec![(sample.mapping.source.name.clone(), lag)],
        ..DefinitionChanges::default()
    };
    scene.store.change_definitions(&lags(Some(sample.lag(2))), &position(100)).unwrap();
    scene.ask_for_retry();
    *scene.target.mended.lock().unwrap() = true;
    scene.run(None).unwrap();
    assert_eq!(scene.store.letter_counts().unwrap(), LetterCounts { retry: 1, ..LetterCounts::default() });
    scene.store.change_definitions(&lags(None), &position(100)).unwrap();
    scene.run(None).unwrap();
    assert_eq!(scene.store.letter_counts().unwrap(), LetterCounts { resolved: 1, ..LetterCounts::default() });
}

#[test]
fn a_retry_that_died_is_made_once_more_and_found() {
    for after in [false, true] {
        let scene = Scene::new(BATCH, false);
        scene.commit(0, &[(1, "bad", false), (2, "bad", false)]).unwrap();
        scene.ask_for_retry();
        *scene.target.mended.lock().unwrap() = true;
        *scene.target.dies.lock().unwrap() = Some((*scene.target.loads.lock().unwrap() + 1, after));
        assert!(scene.run(None).is_err());
        assert_eq!(scene.store.open_loads().unwrap().len(), 1);
        scene.run(None).unwrap();
        assert_eq!(scene.rows(), pairs(&[("1", "bad"), ("2", "bad")]));
        assert!(scene.target.written.lock().unwrap().values().all(|times| *times == 1));
        assert_eq!(scene.store.letter_counts().unwrap(), LetterCounts { resolved: 2, ..LetterCounts::default() });
    }
}

#[test]
fn one_bad_row_of_many_costs_two_loads_a_halving() {
    for bad in [0, 1, 511, 777, 1023] {
        let scene = Scene::new(BATCH, true);
        let changes: Vec<Change<'_>> = (0..1024).map(|id| (id, if id == bad { "bad" } else { "a" }, false)).collect();
        scene.commit(0, &changes).unwrap();
        assert_eq!(scene.rows().len(), 1023);
        assert!(*scene.target.loads.lock().unwrap() <= 21, "{}", scene.target.loads.lock().unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is bad, and wherever the job dies: the target has what a target without bad rows would have, less them;
    /// each bad change that is the last of its key has one live letter; and the loads are few.
    #[test]
    fn the_target_has_the_good_rows_and_the_letters_are_the_bad_ones(
        epochs in proptest::collection::vec(
            proptest::collection::vec((0..40_i32, 0..4_u8), 1..40), 1..5),
        deaths in proptest::collection::vec(proptest::option::of((1..12_usize, any::<bool>())), 5),
        counts in any::<bool>(),
    ) {
        let scene = Scene::new(BATCH, counts);
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        let mut live: BTreeSet<String> = BTreeSet::new();
        let mut letters = 0;
        for (number, changes) in epochs.iter().enumerate() {
            let text = |id: i32, kind: u8| match kind {
                0 => format!("bad{number}"),
                // A deleted row's values do not matter.
                3 if id % 2 == 0 => format!("bad{number}"),
                _ => format!("good{number}"),
            };
            let texts: Vec<(i32, String, bool)> =
                changes.iter().map(|&(id, kind)| (id, text(id, kind), kind == 3)).collect();
            let changes: Vec<Change<'_>> = texts.iter().map(|(id, text, delete)| (*id, text.as_str(), *delete)).collect();
            let before = *scene.target.loads.lock().unwrap();
            if let Some((at, after)) = deaths[number] {
                *scene.target.dies.lock().unwrap() = Some((before + at, after));
            }
            let died = scene.commit(number as u64, &changes).is_err();
            if died {
                prop_assert_eq!(scene.letters().len(), letters, "a letter before its epoch is in");
                scene.commit(number as u64, &changes).unwrap();
            }
            *scene.target.dies.lock().unwrap() = None;
            let last: BTreeMap<i32, &Change<'_>> = changes.iter().map(|change| (change.0, change)).collect();
            let (mut bad, mut refused) = (0, 0);
            for (id, (_, text, delete)) in &last {
                let key = format!("[\"{id}\"]");
                refused += usize::from(text.starts_with("bad"));
                if text.starts_with("bad") && !delete {
                    bad += 1;
                    live.insert(key);
                    continue;
                }
                live.remove(&key);
                match delete {
                    true => rows.remove(&id.to_string()),
                    false => rows.insert(id.to_string(), (*text).to_owned()),
                };
            }
            letters += bad;
            let loads = *scene.target.loads.lock().unwrap() - before;
            let halvings = usize::BITS as usize - last.len().leading_zeros() as usize;
            prop_assert!(loads <= (2 + 2 * refused * halvings) * (1 + usize::from(died)), "{} loads", loads);
            prop_assert_eq!(scene.rows(), rows.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(scene.live().into_iter().collect::<BTreeSet<_>>(), live.clone());
            prop_assert_eq!(scene.letters().len(), letters, "each bad change has one letter");
        }
    }
}
