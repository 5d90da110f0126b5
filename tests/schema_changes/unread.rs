//! Statements that cannot be read, with no row behind them that would tell what they did, in logs that tell no names.

use mysql_async::prelude::Queryable as _;

use super::following::{assert_same_columns, run};
use crate::harness::{Job, Target, assert_equal};
use crate::servers::{self, Shared};

const SETTINGS: &str =
    "params: {realFlushPauseSec: 0, fullBatchSize: 20, fullParallel: 1}\nddl: {onImpossible: recopy}";

async fn without_rows(source: &'static Shared) {
    let database = source.database("unread").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let rows: Vec<String> = (1..=60).map(|id| format!("({id}, {id}, -{id}, 'x')")).collect();
    run(
        &mut conn,
        &[
            // What becomes of such an ENUM in another character set no text tells.
            "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, e ENUM('x','é')) CHARSET latin1",
            &format!("INSERT INTO t VALUES {}", rows.join(", ")),
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    // Some of the rows are copied before the columns exchange their names, and some behind it.
    let mut held = job.start_held_at("chunk-read", 1).await;
    run(&mut conn, &["ALTER TABLE t CONVERT TO CHARACTER SET latin2, CHANGE a b INT, CHANGE b a INT"]).await;
    held.kill().await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(job.status().await["copies"].as_array().map(Vec::len), Some(0));

    // Long behind the copy.
    run(&mut conn, &["ALTER TABLE t CONVERT TO CHARACTER SET latin1, ADD c INT DEFAULT 5"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    run(&mut conn, &["INSERT INTO t VALUES (61, 1, 2, 'x', 3)", "ALTER TABLE t DROP b", "UPDATE t SET c = id"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;

    // While the job runs.
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    run(&mut conn, &["ALTER TABLE t CONVERT TO CHARACTER SET latin2, ADD d INT DEFAULT 6"]).await;
    let columns = format!(
        "SELECT COUNT(*) FROM information_schema.columns WHERE TABLE_SCHEMA = '{database}' AND COLUMN_NAME = 'd'"
    );
    let settled = tokio::time::timeout(std::time::Duration::from_secs(120), async {
        while target.text(&columns).await != "1" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    settled.await.unwrap_or_else(|_| panic!("nobody asked the catalogue: {}", job.log()));
    assert!(job.stop(child).await.success(), "{}", job.log());
    run(&mut conn, &["UPDATE t SET d = id WHERE id < 30"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_cannot_be_read_is_settled_by_the_catalogue_when_no_row_comes_on_mysql() {
    without_rows(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_cannot_be_read_is_settled_by_the_catalogue_when_no_row_comes_on_mariadb() {
    without_rows(servers::mariadb().await).await;
}
