//! kill -9 at every named step of a job: each start is held at one step and killed there, the next one goes on from
//! what it left.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::demo::server::Product;
use towpath::step;

use super::changes::OF_A_CHANGE;
use super::history::{Observer, Shop, Writer};
use super::link::Link;
use super::outside::Outside;
use super::wait_until;
use crate::harness::{Job, assert_equal_at};
use crate::servers::{self, Shared};

/// From nothing to the end of the copy; beside each step how often it is passed first.
const OF_THE_COPY: &[(&str, u32)] = &[
    ("position-found", 0),
    ("job-begun", 0),
    ("table-made", 0),
    ("tables-made", 0),
    ("stage-entered", 0),
    ("chunk-planned", 0),
    ("chunk-read", 0),
    ("chunk-load-named", 0),
    ("settle-begun", 0),
    ("load-begun", 1),
    ("settle-asked", 0),
    ("load-sent", 0),
    ("settle-done", 0),
    ("load-answered", 1),
    ("chunk-load-in", 1),
    ("chunk-load-forgotten", 0),
    ("chunk-in", 1),
    ("table-planned", 0),
    // Where the log is followed from now on.
    ("stage-entered", 0),
];

/// An epoch has two loads, so the first, the second and a later one of each step of a load are all met.
const OF_AN_EPOCH: &[(&str, u32)] = &[
    ("epoch-closed", 1),
    ("epoch-encoded", 1),
    ("intent-written", 1),
    ("settle-begun", 0),
    ("settle-asked", 1),
    ("settle-done", 0),
    ("load-begun", 0),
    ("load-begun", 3),
    ("load-sent", 0),
    ("load-sent", 1),
    ("load-answered", 0),
    ("load-answered", 3),
    ("loads-in", 0),
    ("loads-in", 2),
    ("checkpoint-begun", 0),
    ("checkpoint-begun", 2),
    ("checkpoint-written", 0),
    ("checkpoint-written", 2),
    ("epoch-in", 0),
];

const ON_MARIADB: &[(&str, u32)] = &[
    ("intent-written", 1),
    ("load-sent", 1),
    ("load-answered", 1),
    ("checkpoint-begun", 1),
    ("checkpoint-written", 1),
];

#[test]
fn every_step_is_in_a_table() {
    let tried = OF_THE_COPY.iter().chain(OF_AN_EPOCH).chain(crate::row_hash::STEPS).map(|&(step, _)| step);
    let tried = tried.chain(crate::schema_changes::while_copying::STEPS.iter().map(|&(step, _)| step));
    let tried = tried.chain(super::copies::STEPS.iter().map(|&(step, _)| step));
    let tried = tried.chain(crate::row_hash::COPY_STEPS.iter().copied());
    let tried = tried.chain(super::lagging::STEPS.iter().map(|&(step, ..)| step));
    let tried: BTreeSet<&str> = tried.chain(OF_A_CHANGE.iter().map(|&(step, ..)| step)).collect();
    assert_eq!(tried, BTreeSet::from(step::ALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_the_copy_loses_nothing() {
    let source = servers::mysql().await;
    let database = source.database("copy_steps").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i, 0 FROM n"
    ))
    .await
    .unwrap();
    let target = Outside::start().await;
    let settings = "params: {realFlushPauseSec: 0, fullBatchSize: 20, fullParallel: 1, writeParallel: 1}";
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", settings);
    for (number, &(step, passed)) in OF_THE_COPY.iter().enumerate() {
        let mut child = job.start_held_at(step, passed).await;
        let status = job.status().await;
        let recorded = status["fullData"][0]["rows"].as_u64().unwrap_or(0);
        child.kill().await.unwrap();
        if recorded > 0 {
            let there: u64 = target
                .connect()
                .await
                .query_first(format!("SELECT COUNT(*) FROM {database}.t"))
                .await
                .unwrap()
                .unwrap();
            assert!(there >= recorded, "{step}: {recorded} rows are recorded, {there} are there");
        }
        // The rows change on both sides of where the copy is.
        let id = 1 + 15 * number;
        conn.query_drop(format!(
            "UPDATE t SET v = v + 1; DELETE FROM t WHERE id = {id}; UPDATE t SET id = {id} + 1000 WHERE id = {id} + 1"
        ))
        .await
        .unwrap();
    }
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_an_epoch_loses_nothing_doubles_nothing_and_turns_nothing_back() {
    killed_at(Product::Mysql, servers::mysql().await, OF_AN_EPOCH, async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_a_step_of_an_epoch_loses_nothing_doubles_nothing_and_turns_nothing_back_on_mariadb() {
    killed_at(Product::Mariadb, servers::mariadb().await, ON_MARIADB, async |_| {}).await;
}

/// `then` is done to what each killed process has left.
pub(super) async fn killed_at(product: Product, source: &Shared, steps: &[(&str, u32)], then: impl AsyncFn(&Job)) {
    let database = source.database("epoch_steps").await;
    let shop = Shop::open(product, &mut source.connect().await, &database).await;
    let target = Outside::start().await;
    let settings = "params: {realFlushPauseSec: 0, increBatchSize: 40}";
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", settings);
    // Nothing to copy: whatever the target shows comes from the log.
    job.run_to_end().await;
    let writer = Writer::start(&shop, source.port());
    let observer = Observer::start(&shop, target.mysql_port());
    for &(step, passed) in steps {
        let mut child = job.start_held_at(step, passed).await;
        shop.assert_not_behind(&mut target.connect().await, &job.status().await).await;
        child.kill().await.unwrap();
        then(&job).await;
        shop.assert_not_behind(&mut target.connect().await, &job.status().await).await;
        assert!(!observer.has_failed(), "at {step}: {:?}", observer.stop().await);
    }
    writer.stop().await;
    job.run_to_end().await;
    observer.stop().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
    shop.assert_counted_once(&job.status().await);
    let mut loads = target.loads_of_epochs();
    let all = loads.len();
    loads.sort();
    loads.dedup();
    assert_eq!(loads.len(), all, "a load is in twice");
}

/// A load of the killed process that is still on its way must not come in after newer rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_outlives_its_process_writes_nothing_old_over_new_rows() {
    let source = servers::mysql().await;
    let database = source.database("outlives").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 0), (2, 0)"),
        ])
        .await;
    let target = Outside::start().await;
    let link = Link::to(target.be_port()).await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", "");
    job.add_to_target(&format!("hostMap: {{'localhost:{}': '127.0.0.1:{}'}}", target.be_port(), link.port()));
    link.hold_next_body();
    let mut child = job.start_held_at("load-sent", 0).await;
    wait_until("a body on its way", || link.holds_a_body()).await;
    child.kill().await.unwrap();
    source.run([format!("UPDATE {database}.t SET v = 1")]).await;
    let former = job.log().len();
    let child = job.start();
    // Either it waits, as it should, or it has copied and followed past the rows that are on their way.
    while !job.log()[former..].contains("is still under way") {
        if job.status().await["updates"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    link.release();
    job.wait_for("the update", |status| status["updates"] == 2).await;
    let both = || target.loads().iter().filter(|label| label.contains("_f0_")).count() == 2;
    wait_until("both loads of the chunk", both).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

/// The pieces that went in before the crash are of no transaction's end: all of it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_among_the_pieces_of_a_large_transaction_loses_nothing_and_counts_nothing_twice() {
    const ROWS: u64 = 6_000;
    let source = servers::mysql().await;
    let database = source.database("pieces").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000))")).await.unwrap();
    let target = Outside::start().await;
    let settings = "params: {realFlushPauseSec: 0, flushBatchMb: 1, totalDataInMemMb: 8}";
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    conn.query_drop("SET SESSION cte_max_recursion_depth = 10000").await.unwrap();
    conn.query_drop(format!(
        "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i, REPEAT(CHAR(65 + i % 26), 1500) FROM n"
    ))
    .await
    .unwrap();
    for (step, passed) in [("checkpoint-written", 1), ("loads-in", 2)] {
        let mut child = job.start_held_at(step, passed).await;
        let status = job.status().await;
        child.kill().await.unwrap();
        assert_eq!(status["inserts"], 0, "the transaction's end is not in: {status}");
    }
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
    let status = job.status().await;
    assert_eq!((&status["inserts"], &status["rowsLoaded"]), (&ROWS.into(), &ROWS.into()), "{status}");
    assert!(status["epochs"].as_u64() > Some(4), "it did not go out in pieces: {status}");
}
