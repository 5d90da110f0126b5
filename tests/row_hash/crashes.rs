//! kill -9: no row is lost and none is doubled.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rand::Rng as _;

use super::{QUICK, Writer, fill, insert, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

/// Where the job is held and killed; `crash::steps` sees that every step is in a table.
pub(crate) const STEPS: &[(&str, u32)] = &[
    ("whole-copy-begun", 0),
    ("chunk-read", 0),
    ("chunk-load-in", 1),
    ("whole-copy-begun", 0),
    ("whole-copy-read", 0),
    ("chunk-in", 0),
    ("rows-numbered", 0),
    ("intent-written", 0),
    ("load-sent", 0),
    ("load-answered", 0),
    ("loads-in", 1),
    ("rows-numbered", 1),
    ("checkpoint-begun", 1),
    ("load-sent", 1),
    ("checkpoint-written", 1),
];

async fn killed_at(source: &Shared, steps: &[(&str, u32)]) {
    let database = fill(source, "hashed_steps", 0).await;
    // Wide enough for several loads of the copy.
    source.run([format!("ALTER TABLE {database}.t ADD COLUMN f CHAR(250) DEFAULT '{}'", "f".repeat(250))]).await;
    insert(&mut source.connect().await, &database, 8_000).await;
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0, increBatchSize: 40, flushBatchMb: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    let writer = Writer::start(source.port(), &database, 5);
    for &(step, passed) in steps {
        let mut child = job.start_held_at(step, passed).await;
        child.kill().await.unwrap();
    }
    writer.stop().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_and_doubles_no_row_without_a_key() {
    killed_at(servers::mysql().await, STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_a_step_loses_and_doubles_no_row_without_a_key_on_mariadb() {
    let steps: Vec<(&str, u32)> = STEPS.iter().copied().skip(3).step_by(2).collect();
    killed_at(servers::mariadb().await, &steps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_and_double_no_row_without_a_key() {
    let kills = std::env::var("TOWPATH_SOAK_KILLS").map_or(8, |text| text.parse().unwrap());
    let source = servers::mysql().await;
    let database = fill(source, "hashed_kills", 2_000).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let writers = [11, 12].map(|seed| Writer::start(source.port(), &database, seed));
    for _ in 0..kills {
        let mut child = job.start();
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..1500))).await;
        assert!(child.try_wait().unwrap().is_none(), "the job has ended by itself\n{}", job.log());
        child.kill().await.unwrap();
    }
    for writer in writers {
        writer.stop().await;
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// A transaction larger than memory, of which pieces are in when the job dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_among_the_pieces_of_a_transaction_leaves_the_rows_it_should() {
    let source = servers::mysql().await;
    let database = source.database("hashed_pieces").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; SET SESSION cte_max_recursion_depth = 10000")).await.unwrap();
    run(&mut conn, &["CREATE TABLE t (n INT, v VARCHAR(2000)); CREATE TABLE k (id INT PRIMARY KEY, v VARCHAR(2000))"])
        .await;
    let rows = |n: &str| {
        format!(
            "INSERT INTO t WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 2500)
             SELECT {n}, REPEAT(CHAR(65 + i % 26), 1500) FROM s"
        )
    };
    run(&mut conn, &[&rows("i % 13")]).await;
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0, flushBatchMb: 1, totalDataInMemMb: 8}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    // Rows come, go and come back, each a thousand times over and in several pieces.
    let statements = [
        rows("i % 13"),
        "DELETE FROM t WHERE n < 4 LIMIT 1500".into(),
        rows("i % 7"),
        "UPDATE t SET n = n + 1 WHERE n < 3".into(),
        "DELETE FROM t WHERE n = 3 LIMIT 700".into(),
        "INSERT INTO k VALUES (1, 'k')".into(),
    ];
    run(&mut conn, &["BEGIN"]).await;
    for statement in &statements {
        run(&mut conn, &[statement]).await;
    }
    run(&mut conn, &["COMMIT"]).await;
    for (step, passed) in [("checkpoint-written", 1), ("loads-in", 2), ("load-sent", 4), ("rows-numbered", 3)] {
        let mut child = job.start_held_at(step, passed).await;
        let status = job.status().await;
        child.kill().await.unwrap();
        assert_eq!(status["inserts"], 0, "the transaction's end is not in: {status}");
    }
    // With more memory it is fewer and larger pieces; with much more it would be one.
    let file = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), file.replace("totalDataInMemMb: 8", "totalDataInMemMb: 12")).unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let status = job.status().await;
    assert!(status["epochs"].as_u64() > Some(6), "it did not go out in pieces: {status}");
    run(&mut conn, &["DELETE FROM t WHERE n = 5 LIMIT 100; INSERT INTO t SELECT * FROM t LIMIT 300"]).await;
    job.run_to_end().await;
    let verified = job.command("verify", &[]).await;
    assert!(verified.status.success(), "rows are counted where there is no key: {}", text(&verified));
    assert_equal(source.port(), &target, &database).await;
}
