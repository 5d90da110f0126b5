//! What goes wrong around a job: servers that restart, a stop at the worst moment, rows of a size that memory must
//! not feel.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::process::Child;
use towpath::demo::server::{Options, Product, ScratchServer};

use crate::harness::{Job, Target, assert_equal, text};
use crate::servers;
use crate::sysbench::{self, Writers};

/// A copy of hundreds of chunks, one after the other: it is far from its end when a test has seen it begin.
/// It looks often whether a server is back.
const SMALL_CHUNKS: &str =
    "params: {realFlushPauseSec: 0, fullBatchSize: 100, fullParallel: 1, writeParallel: 1, retryWaitTimeMs: 20}";

/// A source of the test's own, with four filled tables in `d`.
async fn own_source(product: Product, rows: usize) -> ScratchServer {
    let source = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE d").await.unwrap();
    sysbench::create(&mut conn, "d").await;
    sysbench::fill(&mut conn, "d", rows).await;
    source
}

fn chunks_done(status: &serde_json::Value) -> u64 {
    status["fullData"].as_array().into_iter().flatten().filter_map(|table| table["chunksDone"].as_u64()).sum()
}

/// It leaves by itself: one that has not within nine seconds ends with code 1.
async fn ended(child: Child, job: &Job) {
    let status = job.stop(child).await;
    assert!(status.success(), "{}", job.log());
}

/// The source is shut down or killed while the tables are copied, and again while the log is followed; the job, one
/// process all the time, goes on.
async fn source_restarts(product: Product) {
    const ROWS: usize = 20_000;
    let mut source = own_source(product, ROWS).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.*", "", SMALL_CHUNKS);
    let mut child = job.start();
    job.wait_for("chunks", |status| chunks_done(status) > 5).await;
    source.kill();
    tokio::time::sleep(Duration::from_millis(700)).await;
    source.restart().await.unwrap();
    assert_eq!(job.status().await["stage"], "full", "the restart came too late to show anything\n{}", job.log());
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    for orderly in [false, true] {
        let before = job.status().await["updates"].as_u64().unwrap_or(0);
        let writers = Writers::start(source.port(), "d", ROWS, 4);
        job.wait_for("updates", |status| status["updates"].as_u64() > Some(before + 300)).await;
        writers.stop().await;
        let mut conn = source.connect().await.unwrap();
        conn.query_drop("UPDATE d.sbtest1 SET k = k + 1").await.unwrap();
        drop(conn);
        if !orderly {
            source.kill();
        }
        source.restart().await.unwrap();
    }
    assert!(child.try_wait().unwrap().is_none(), "the job has ended\n{}", job.log());
    ended(child, &job).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_source_is_survived_on_mysql() {
    source_restarts(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_source_is_survived_on_mariadb() {
    source_restarts(Product::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_target_is_survived() {
    const ROWS: usize = 20_000;
    let source = servers::mysql().await;
    let database = source.database("target_restart").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, ROWS).await;
    let mut target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SMALL_CHUNKS);
    let mut child = job.start();
    job.wait_for("chunks", |status| chunks_done(status) > 5).await;
    target = target.restart().await;
    assert_eq!(job.status().await["stage"], "full", "the restart came too late to show anything\n{}", job.log());
    let writers = Writers::start(source.port(), &database, ROWS, 4);
    for updates in [300, 2000] {
        job.wait_for("updates", |status| status["updates"].as_u64() > Some(updates)).await;
        target = target.restart().await;
    }
    job.wait_for("updates", |status| status["updates"].as_u64() > Some(3000)).await;
    writers.stop().await;
    assert!(child.try_wait().unwrap().is_none(), "the job has ended\n{}", job.log());
    ended(child, &job).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// With the target away, nothing can be flushed; the job leaves all the same and the next run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_target_is_away_takes_seconds_and_loses_nothing() {
    let source = servers::mysql().await;
    let database = source.database("away").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, 20_000).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SMALL_CHUNKS);

    let child = job.start();
    job.wait_for("chunks", |status| chunks_done(status) > 5).await;
    let away = target.stop().await;
    assert_eq!(job.status().await["stage"], "full");
    ended(child, &job).await;

    let target = away.start().await;
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let away = target.stop().await;
    conn.query_drop(format!("UPDATE {database}.sbtest1 SET k = k + 1")).await.unwrap();
    job.wait_for("an epoch on its way", |status| !status["openEpoch"].is_null()).await;
    conn.query_drop(format!("UPDATE {database}.sbtest2 SET k = k + 1")).await.unwrap();
    ended(child, &job).await;

    let target = away.start().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// What was copied is a mixture of moments, until the changes made during the copy are in too.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_to_the_end_has_what_changed_while_it_copied() {
    const ROWS: usize = 20_000;
    let source = servers::mysql().await;
    let database = source.database("mixture").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, ROWS).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SMALL_CHUNKS);
    let running = job.command("run", &["--stop-at-end"]);
    let writing = async {
        job.wait_for("chunks", |status| chunks_done(status) > 10).await;
        let writers = Writers::start(source.port(), &database, ROWS, 4);
        job.wait_for("more chunks", |status| chunks_done(status) > 60).await;
        writers.stop().await;
        assert_eq!(job.status().await["stage"], "full", "the copy was too quick to show anything");
    };
    let (output, ()) = tokio::join!(running, writing);
    assert!(output.status.success(), "{}", text(&output));
    assert_equal(source.port(), &target, &database).await;
}

/// The log's end may lie behind nothing but a new file, or behind other databases' transactions.
async fn ends(product: Product, arguments: &[&str]) {
    let options = arguments.iter().fold(Options::new(product), |options, argument| options.argument(*argument));
    let source = ScratchServer::start(&options).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    for statement in ["CREATE DATABASE d", "CREATE DATABASE other", "CREATE TABLE d.t (id INT PRIMARY KEY)"] {
        conn.query_drop(statement).await.unwrap();
    }
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.*", "", SMALL_CHUNKS);
    job.run_to_end().await;
    for statements in [
        &["FLUSH BINARY LOGS"][..],
        &["INSERT INTO d.t VALUES (1)", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"],
        &["INSERT INTO d.t VALUES (2)", "CREATE TABLE other.t (id INT PRIMARY KEY)", "INSERT INTO other.t VALUES (1)"],
        &["INSERT INTO other.t VALUES (3)", "FLUSH BINARY LOGS"],
    ] {
        for statement in statements {
            conn.query_drop(*statement).await.unwrap();
        }
        let run = job.command("run", &["--stop-at-end"]);
        let output = tokio::time::timeout(Duration::from_secs(60), run).await;
        let output = output.unwrap_or_else(|_| panic!("it never ended after {statements:?}"));
        assert!(output.status.success(), "{}", text(&output));
        assert_equal(source.port(), &target, "d").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_found_behind_foreign_transactions_and_new_files_by_gtid() {
    ends(Product::Mysql, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_found_behind_foreign_transactions_and_new_files_by_place() {
    ends(Product::Mysql, &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_found_behind_foreign_transactions_and_new_files_on_mariadb() {
    ends(Product::Mariadb, &[]).await;
}

/// The most memory that a process ever had, in kB.
pub(crate) fn peak_kb(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Large rows and many small ones, copied and followed with the default parameters. Either way more bytes of them pass than
/// the process may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_job_stays_within_256_mb() {
    let source = servers::mysql().await;
    let database = source.database("memory").await;
    let mut conn = source.connect().await;
    for statement in [
        format!("CREATE TABLE {database}.large (id INT PRIMARY KEY, v LONGTEXT)"),
        format!("CREATE TABLE {database}.small (id INT PRIMARY KEY, v VARCHAR(40))"),
        "SET SESSION cte_max_recursion_depth = 1000000".to_owned(),
        format!(
            "INSERT INTO {database}.large WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
             SELECT i, REPEAT(CHAR(65 + i % 26), 900000) FROM n"
        ),
        format!(
            "INSERT INTO {database}.small WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) \
             SELECT i, CONCAT('row ', i) FROM n"
        ),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let copied = peak_kb(&child);
    for statement in [
        format!("UPDATE {database}.large SET v = CONCAT('x', v)"),
        format!("UPDATE {database}.small SET v = CONCAT('x', v)"),
        format!("UPDATE {database}.small SET id = id + 1000000"),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    job.wait_for("all changes", |status| status["updates"].as_u64() >= Some(400_300)).await;
    let followed = peak_kb(&child);
    ended(child, &job).await;
    println!("peak after the copy {copied} kB, after the changes {followed} kB");
    assert!(followed < 256 << 10, "peak after the copy {copied} kB, after the changes {followed} kB");
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}
