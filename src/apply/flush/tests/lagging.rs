//! A table that lags.

use super::*;
use crate::state::{Checkpoint, LetterChanges};

/// The sample's table lags; another one does not.
fn lags(sample: &Sample) -> Tables {
    let mut other = Mapping::clone(&sample.mapping);
    for name in [&mut other.source.name, &mut other.target.name] {
        name.table = "other".into();
    }
    let mappings = [Arc::clone(&sample.mapping), Arc::new(other)];
    let lags = [(sample.mapping.source.name.clone(), sample.lag(7))];
    let mut tables = tables(mappings.clone());
    tables.follow(Arc::new(Followed::new(mappings, [], []).with_lags(lags)));
    tables
}

impl Scene {
    /// The next epoch, of which the rows that are parked are kept, as the committer does.
    fn kept(&self) -> Epoch {
        let epoch = self.epochs.recv_timeout(LONG).expect("an epoch");
        let (letters, prepared) = (LetterChanges::default(), PreparedChanges::default());
        let checkpoint = Checkpoint::at(epoch.end.clone());
        self.store.close_epoch_with(&checkpoint, &letters, &prepared, &epoch.parked.changes, None).unwrap();
        epoch
    }

    /// The table catches up; how many rows that brings.
    fn catches_up(&self) -> usize {
        let Some(Task::CatchUp(rows)) = self.kept().task else { panic!("it does not catch up") };
        let followed = Followed::new([Arc::clone(&self.sample.mapping)], [], []);
        rows.last.expect("one batch holds all").send(Arc::new(followed)).unwrap();
        self.done.send(()).unwrap();
        rows.batch.rows()
    }

    fn is_altered(&self) {
        let table = self.sample.mapping.source.name.clone();
        self.altered.send(Altered { table, number: 7, result: Ok(()) }).unwrap();
    }
}

#[test]
fn rows_of_a_table_that_lags_are_parked_and_nothing_is_read_when_too_many_are() {
    // The limit is one byte.
    let scene = Scene::new(|flusher| flusher.tables = lags(&Sample::new()));
    scene.row(1);
    scene.row(1);
    scene.commit(100);
    let epoch = scene.kept();
    assert_eq!((epoch.end.offset, epoch.batch.rows(), epoch.parked.changes.came.len()), (100, 0, 1));
    scene.done.send(()).unwrap();
    scene.row(2);
    scene.commit(200);
    scene.no_epoch();
    // The end of another change of the table is of no interest.
    let table = scene.sample.mapping.source.name.clone();
    scene.altered.send(Altered { table, number: 6, result: Ok(()) }).unwrap();
    scene.no_epoch();
    scene.is_altered();
    assert_eq!(scene.catches_up(), 1, "the last image per key");
    assert_eq!(scene.epoch(), (100, 200, 1), "it lags no more");
}

#[test]
fn a_statement_on_a_table_that_lags_waits_until_it_has_caught_up() {
    let scene = Scene::new(|flusher| {
        flusher.tables = lags(&Sample::new());
    });
    // One on another table does not.
    scene.says(100, "TRUNCATE TABLE other", false);
    let change = scene.kept().change.expect("a change");
    change.reply.send(lags(&scene.sample).followed).unwrap();
    scene.done.send(()).unwrap();
    scene.says(200, "TRUNCATE TABLE t", false);
    scene.commit(300);
    scene.no_epoch();
    scene.is_altered();
    assert_eq!(scene.catches_up(), 0);
    let epoch = scene.kept();
    assert_eq!((epoch.end.offset, epoch.change.is_some()), (200, true));
}

#[test]
fn a_target_that_refuses_an_alter_ends_the_flusher_behind_an_epoch() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.tables = lags(&Sample::new());
    });
    scene.row(1);
    scene.commit(100);
    scene.no_epoch();
    let table = scene.sample.mapping.source.name.clone();
    scene.altered.send(Altered { table, number: 7, result: Err(Error::definite("cancelled")) }).unwrap();
    assert_eq!(scene.kept().parked.changes.came.len(), 1, "what was read is kept");
    scene.done.send(()).unwrap();
    assert_eq!(scene.flusher.join().unwrap().unwrap_err().message(), "cancelled");
}
