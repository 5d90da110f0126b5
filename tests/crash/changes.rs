//! kill -9 at every step of a schema change.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::outside::Outside;
use crate::harness::{Job, assert_equal_at};
use crate::servers::{self, Shared};

/// Beside each step how often it is passed first, and what the source does meanwhile: changes between rows.
pub(super) const OF_A_CHANGE: &[(&str, u32, &[&str])] = &[
    ("change-planned", 0, &["ALTER TABLE t ADD a INT DEFAULT 5", "UPDATE t SET a = id WHERE id < 3"]),
    ("change-begun", 0, &["ALTER TABLE t DROP a, ADD b VARCHAR(9)", "UPDATE t SET b = 'b'"]),
    ("change-step-done", 0, &["TRUNCATE TABLE t", "INSERT INTO t VALUES (1, 'new'), (2, NULL)"]),
    // Of three renames the second is done and not written down; then all, and only that is missing.
    ("change-step-done", 1, &["RENAME TABLE t TO x, u TO t, x TO u", "INSERT INTO t VALUES (70, 70)"]),
    ("change-step-written", 2, &["RENAME TABLE t TO x, u TO t, x TO u", "INSERT INTO u VALUES (71, 71)"]),
    (
        "change-step-written",
        0,
        &["DROP TABLE u", "CREATE TABLE u (id INT PRIMARY KEY, w INT)", "INSERT INTO u VALUES (1, 1)"],
    ),
    ("change-done", 0, &["ALTER TABLE t CHANGE b bb VARCHAR(90)", "UPDATE t SET bb = CONCAT(bb, bb)"]),
    ("change-written", 0, &["TRUNCATE TABLE u", "INSERT INTO u VALUES (2, 2)"]),
    ("change-waits", 0, &["CREATE TABLE c0 (id INT PRIMARY KEY) AS SELECT id, bb FROM t", "UPDATE c0 SET bb = 'c'"]),
    (
        "change-step-done",
        0,
        &["CREATE TABLE c1 (id INT PRIMARY KEY) AS SELECT id, bb FROM t", "DELETE FROM c1 WHERE id = 1"],
    ),
];

async fn killed(source: &'static Shared) {
    let database = source.database("change_steps").await;
    let mut conn: Conn = source.connect().await;
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE u (id INT PRIMARY KEY, n INT);
         INSERT INTO t VALUES (1), (2), (3); INSERT INTO u VALUES (1, 1), (2, 2)"
    ))
    .await
    .unwrap();
    let target = Outside::start().await;
    let settings = "params: {realFlushPauseSec: 0}";
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    for &(step, passed, statements) in OF_A_CHANGE {
        for statement in statements {
            conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let mut child = job.start_held_at(step, passed).await;
        child.kill().await.unwrap();
        // The next start is held elsewhere, or ends.
    }
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_schema_change_is_gone_on_from_on_mysql() {
    killed(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_schema_change_is_gone_on_from_on_mariadb() {
    killed(servers::mariadb().await).await;
}
