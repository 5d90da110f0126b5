//! kill -9 at every step of a table that lags while the target alters it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::embedded::fault::{Fault, Mode};

use crate::harness::{self, Job, Target, assert_equal};
use crate::servers::{self, Shared};

/// Beside each step how often it is passed first.
pub(super) const STEPS: &[(&str, u32)] = &[
    ("lag-begun", 0),
    ("lag-altered", 0),
    ("lag-load-named", 0),
    ("load-sent", 0),
    ("lag-load-in", 1),
    ("lag-part-in", 0),
    ("lag-over", 0),
];

const ON_MARIADB: &[(&str, u32)] = &[("lag-begun", 0), ("lag-load-in", 0), ("lag-part-in", 1)];

const ROWS: u32 = 300;
/// Of one transaction, so that nothing goes out in pieces.
const TOGETHER: u32 = 30;
/// What is parked goes in by several loads.
const SETTINGS: &str = "params: {realFlushPauseSec: 0, totalDataInMemMb: 8, flushBatchMb: 1}";

async fn killed(source: &'static Shared, steps: &[(&str, u32)]) {
    let database = source.database("killed_lag").await;
    let mut conn = source.connect().await;
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 0, '')")).collect();
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(3000)); CREATE TABLE u (id INT PRIMARY KEY, n INT);
         INSERT INTO t VALUES {}; INSERT INTO u VALUES (1, 0)",
        rows.join(", ")
    ))
    .await
    .unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;

    // Every change makes `n` larger, so a row that turns back makes the sum smaller.
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut shown) = (Arc::clone(&stop), harness::connect(target.server.mysql_addr.port()).await);
    let sum = format!("SELECT SUM(n) FROM {database}.t");
    let watcher = tokio::spawn(async move {
        let mut last = 0;
        while !stopped.load(Ordering::Relaxed) {
            let now: i64 = shown.query_first(&sum).await.unwrap().unwrap();
            assert!(now >= last, "rows have turned back: {last}, then {now}");
            last = now;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        last
    });
    for (round, &(step, passed)) in steps.iter().enumerate() {
        let hold = target.inject(Fault::new(Mode::AlterHeld).table(format!("{database}.t")));
        conn.query_drop(format!(
            "ALTER TABLE t ADD a{round} INT NOT NULL DEFAULT 5; ALTER TABLE t MODIFY a{round} BIGINT NOT NULL DEFAULT 5"
        ))
        .await
        .unwrap();
        for first in (0..ROWS).step_by(TOGETHER as usize) {
            conn.query_drop(format!(
                "UPDATE t SET n = n + 1, a{round} = 6000000000 + id, v = REPEAT('{round}', 2000 + {round})
                 WHERE id BETWEEN {first} AND {}; UPDATE u SET n = n + 1",
                first + TOGETHER - 1
            ))
            .await
            .unwrap();
        }
        // The target is done when something is parked, or when the job has come to its step by what an earlier round left.
        let parked = async {
            while job.status().await["parkedBytes"].as_u64() < Some(500_000) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            target.mend(hold);
            std::future::pending::<()>().await;
        };
        let mut child = tokio::select! {
            child = job.start_held_at(step, passed) => child,
            () = parked => unreachable!(),
        };
        target.mend(hold);
        child.kill().await.unwrap();
    }
    job.run_to_end().await;
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 0);
    assert_equal(source.port(), &target, &database).await;
    let status = job.status().await;
    assert_eq!((status["lagging"].as_array().map(Vec::len), &status["parkedBytes"]), (Some(0), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_table_that_lags_loses_nothing_and_turns_nothing_back_on_mysql() {
    killed(servers::mysql().await, STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_a_step_of_a_table_that_lags_loses_nothing_and_turns_nothing_back_on_mariadb() {
    killed(servers::mariadb().await, ON_MARIADB).await;
}
