//! Statements between rows.

use super::*;
use crate::mysql::binlog::{Statement, StatementSession};

impl Scene {
    pub(super) fn says(&self, offset: u64, sql: &str, inside: bool) {
        let statement = Statement {
            place: place(offset),
            database: "shop".into(),
            sql: sql.into(),
            inside,
            session: StatementSession::default(),
        };
        self.slots.send(Slot::Statement(Box::new(statement)), 0).unwrap();
    }

    /// The next epoch is a statement: begin, end, and how many changes it has. The target then has `mappings`.
    fn change(&self, mappings: impl IntoIterator<Item = Arc<Mapping>>) -> (u64, u64, usize) {
        let epoch = self.epochs.recv_timeout(LONG).expect("an epoch");
        let change = epoch.change.expect("a statement");
        assert!(epoch.batch.is_empty());
        change.reply.send(Arc::new(Followed::new(mappings, [], []))).unwrap();
        self.done.send(()).unwrap();
        (epoch.begin.offset, epoch.end.offset, change.changes.len())
    }
}

#[test]
fn a_statement_goes_out_by_itself_between_what_is_before_and_behind_it() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.until = Some(position(400));
    });
    scene.row(1);
    scene.commit(100);
    // Not every statement is a barrier.
    scene.says(200, "CREATE INDEX i ON t (v)", false);
    scene.says(300, "TRUNCATE TABLE t", false);
    scene.row(2);
    scene.commit(400);
    assert_eq!(scene.epoch(), (0, 200, 1));
    assert_eq!(scene.change([Arc::clone(&scene.sample.mapping)]), (200, 300, 1));
    assert_eq!(scene.epoch(), (300, 400, 1));
}

#[test]
fn rows_behind_a_statement_are_read_with_the_tables_as_they_are_then() {
    let scene = Scene::new(|_| {});
    scene.says(200, "DROP TABLE t", false);
    assert_eq!(scene.change([]), (0, 200, 1));
    scene.row(1);
    scene.commit(300);
    let error = scene.flusher.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("rows of a table the job does not know"), "{error}");
}

#[test]
fn rows_of_a_table_that_is_passed_over_are_in_no_epoch() {
    let scene = Scene::new(|flusher| {
        let name = Sample::new().mapping.source.name.clone();
        flusher.tables.follow(Arc::new(Followed::new([], [name], [])));
    });
    scene.row(1);
    scene.commit(100);
    assert_eq!(scene.epoch(), (0, 100, 0));
}

#[test]
fn a_statement_that_cannot_be_followed_stops_the_job_behind_what_came_before_it() {
    let scene = Scene::new(|flusher| flusher.pace = pace(LONG * 10));
    scene.row(1);
    scene.commit(100);
    scene.says(200, "ALTER TABLE t FROBNICATE", false);
    assert_eq!(scene.epoch(), (0, 100, 1));
    let error = scene.flusher.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("binlog.000001:200") && error.contains("ALTER TABLE t FROBNICATE"), "{error}");
}

/// CREATE OR REPLACE TABLE … SELECT of MariaDB.
#[test]
fn a_statement_inside_a_transaction_moves_no_checkpoint_and_is_taken_back_with_it() {
    let mapping = Sample::new().mapping;
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.until = Some(position(300));
    });
    scene.row(1);
    scene.commit(100);
    scene.says(100, "CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, v VARCHAR(10)) CHARSET utf8mb4", true);
    assert_eq!(scene.epoch(), (0, 100, 1));
    assert_eq!(scene.change([Arc::clone(&mapping)]), (100, 100, 2));
    scene.row(2);
    scene.slots.send(Slot::CutOff(None), 0).unwrap();
    // It comes again.
    scene.says(100, "CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, v VARCHAR(10)) CHARSET utf8mb4", true);
    let epoch = scene.epochs.recv_timeout(LONG).unwrap();
    assert!(epoch.anew, "what the statement did before does not count");
    let change = epoch.change.unwrap();
    assert_eq!(change.changes.len(), 2, "the history was taken back too");
    change.reply.send(Arc::new(Followed::new([mapping], [], []))).unwrap();
    scene.done.send(()).unwrap();
    scene.row(2);
    scene.commit(300);
    assert_eq!(scene.epoch(), (100, 300, 1));
}

#[test]
fn an_index_and_another_databases_end_are_places_like_any_other() {
    for sql in ["CREATE INDEX i ON t (v)", "DROP DATABASE IF EXISTS shop2", "DROP SCHEMA `crm`"] {
        let scene = Scene::new(|flusher| {
            flusher.pace = pace(LONG * 10);
            flusher.until = Some(position(200));
        });
        scene.row(1);
        scene.commit(100);
        scene.says(200, sql, false);
        assert_eq!(scene.epoch(), (0, 200, 1), "{sql}");
        assert_eq!(scene.flusher.join().unwrap().unwrap(), Ended::CaughtUp);
    }
}

#[test]
fn the_end_of_the_tables_database_is_a_change_of_each() {
    let scene = Scene::new(|_| {});
    scene.says(200, "DROP DATABASE shop", false);
    assert_eq!(scene.change([]), (0, 200, 1));
}

/// A restart at the checkpoint behind it has to know the index.
#[test]
fn what_only_the_history_has_to_know_goes_with_the_epoch_behind_it() {
    let scene = Scene::new(|flusher| {
        flusher.pace = pace(LONG * 10);
        flusher.until = Some(position(200));
    });
    scene.row(1);
    scene.commit(100);
    scene.says(200, "CREATE INDEX i ON t (v)", false);
    let epoch = scene.epochs.recv_timeout(LONG).unwrap();
    assert_eq!((epoch.end.offset, epoch.history.is_some()), (200, true));
    scene.done.send(()).unwrap();
}
