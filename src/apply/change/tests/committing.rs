//! What a target is asked for, and what the state store says meanwhile.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::Error;
use crate::apply::batch::Batch;
use crate::apply::commit::{Committer, LoadOptions, Pieces};
use crate::apply::dead_letter::{DeadLetters, Policy};
use crate::apply::encode::BinaryText;
use crate::apply::flush::Epoch;
use crate::apply::pace::Pace;
use crate::apply::row_hash::Numbers;
use crate::apply::sample::position;
use crate::config::OnError;
use crate::schema::{Mapping, TargetTable};
use crate::state::{Checkpoint, PreparedChanges, Store};
use crate::target::{LabelState, Load, Loaded, Target, Version};

/// A target that notes what it is asked for, and fails when it is told to.
struct Noting {
    asked: Mutex<Vec<String>>,
    /// The answers to the next calls; none: done.
    answers: Mutex<VecDeque<Result<()>>>,
    cannot: Vec<String>,
}

impl Noting {
    fn note(&self, what: String) -> Result<()> {
        self.asked.lock().unwrap().push(what);
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

impl Target for Noting {
    async fn check(&self, _: &[String]) -> Vec<Error> {
        Vec::new()
    }

    async fn version(&self) -> Result<Version> {
        Ok(Version { major: 3, minor: 5, patch: 0 })
    }

    fn ddl(&self, _: &TargetTable) -> Vec<String> {
        Vec::new()
    }

    async fn ensure_table(&self, table: &TargetTable) -> Result<bool> {
        self.note(format!("create {}", table.name)).map(|()| true)
    }

    async fn check_table(&self, _: &TargetTable) -> Result<bool> {
        Ok(true)
    }

    async fn load(&self, _: &Load) -> Result<Loaded> {
        Ok(Loaded::default())
    }

    async fn label_state(&self, _: &str, _: &str) -> Result<LabelState> {
        Ok(LabelState::Finished)
    }

    async fn alter_table(&self, before: &TargetTable, after: &TargetTable, _: &[Option<usize>]) -> Result<()> {
        self.note(format!("alter {}: {} to {} columns", before.name, before.columns.len(), after.columns.len()))
    }

    fn cannot_alter(&self, _: &TargetTable, _: &TargetTable, _: &[Option<usize>]) -> Vec<String> {
        self.cannot.clone()
    }

    async fn truncate_table(&self, table: &TableName) -> Result<()> {
        self.note(format!("truncate {table}"))
    }

    async fn drop_table(&self, table: &TableName) -> Result<()> {
        self.note(format!("drop {table}"))
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.note(format!("rename {from} to {to}"))
    }
}

struct Scene {
    runtime: tokio::runtime::Runtime,
    target: Arc<Noting>,
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(cannot: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "it").unwrap());
        let cannot = cannot.iter().map(|&why| why.to_owned()).collect();
        let target = Noting { asked: Mutex::default(), answers: Mutex::default(), cannot };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Scene { runtime, target: Arc::new(target), store, _folder: folder }
    }

    /// As a start makes it: with the tables that the store has, or with these.
    fn committer(&self, first: &[&Arc<Table>]) -> Committer<Noting> {
        let stored = self.store.definitions().unwrap();
        let followed = match stored.since {
            None => followed(first),
            Some(_) => Followed::new(
                stored.tables.into_iter().map(|(source, at)| {
                    let at = at.unwrap();
                    Arc::new(Mapping { source, target: at.target, unfed: at.unfed })
                }),
                stored.passed,
                stored.left,
            ),
        };
        let policy = Policy { on_error: OnError::Exit, max_letters: 0, halve: true };
        Committer {
            target: Arc::clone(&self.target),
            store: Arc::clone(&self.store),
            options: LoadOptions {
                job: "it_0".into(),
                binary: BinaryText::Base64,
                part_bytes: 1 << 20,
                parallel: 1,
                together: false,
            },
            progress: Arc::default(),
            pace: Pace::of(std::time::Duration::ZERO, 1000),
            runtime: self.runtime.handle().clone(),
            leave: CancellationToken::new(),
            letters: Arc::new(DeadLetters::new(&self.store, policy, followed.mappings()).unwrap()),
            checkpoint: self.store.checkpoint().unwrap().unwrap_or_else(|| Checkpoint::at(position(0))),
            pieces: Pieces::default(),
            numbers: Numbers::default(),
            changer: Changer::new(rules(&[]), Patience::default(), Arc::new(followed)),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.target.asked.lock().unwrap())
    }

    fn answer(&self, answers: impl IntoIterator<Item = Result<()>>) {
        self.target.answers.lock().unwrap().extend(answers);
    }
}

fn epoch(begin: u64, end: u64) -> Epoch {
    Epoch {
        begin: position(begin),
        end: position(end),
        committed_at: 7,
        batch: Batch::default(),
        anew: false,
        prepared: PreparedChanges::default(),
        change: None,
        history: Some("{}".into()),
    }
}

/// A statement between the two places, and what the flusher is told of it.
fn statement(sql: &str, changes: &[SchemaChange]) -> (Change, channel::Receiver<Arc<Followed>>) {
    let (reply, replied) = channel::bounded(1);
    (Change { statement: said(sql), changes: changes.to_vec(), reply }, replied)
}

fn swap() -> (Arc<Table>, Arc<Table>, [SchemaChange; 2]) {
    let (a, b) = (table("a", vec![int("id")]), table("b", vec![int("id"), int("n")]));
    let renamed = |from: &str, table: &Arc<Table>, to: &str| SchemaChange::Rename {
        from: name(from),
        table: Arc::new(Table { name: name(to), ..table.as_ref().clone() }),
    };
    let changes = [renamed("a", &a, "c"), renamed("b", &b, "a")];
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
    scene.committer(&[&t]).change(epoch(0, 100), statement("ALTER TABLE t ADD n INT", &change).0).unwrap();
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
