//! A table that is dropped and made again under its name, alike, with `dropTable: ignore`: rows of two tables are never mixed.

use mysql_async::prelude::Queryable as _;

use super::following::run;
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

const SETTINGS: &str = "params: {realFlushPauseSec: 0, fullBatchSize: 20, fullParallel: 1}";
const CREATE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))";

async fn rows_of(target: &Target, table: &str) -> Vec<(i64, String)> {
    target.connect().await.query(format!("SELECT id, v FROM {table} ORDER BY id")).await.unwrap()
}

/// What was put aside.
async fn aside(target: &Target, database: &str) -> Vec<String> {
    let tables: Vec<String> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    tables
        .into_iter()
        .filter(|table| table.starts_with("t__dropped_"))
        .map(|table| format!("{database}.{table}"))
        .collect()
}

async fn made_again(source: &'static Shared) {
    let database = source.database("made_again").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let old: Vec<String> = (1..=60).map(|id| format!("({id}, 'old')")).collect();
    let again = ["DROP TABLE t", CREATE, "INSERT INTO t VALUES (2, 'new'), (99, 'new')"];
    run(&mut conn, &[CREATE, &format!("INSERT INTO t VALUES {}", old.join(", "))]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    // In the middle of the copy: some of the old rows are in, and then all of the new ones.
    let mut held = job.start_held_at("chunk-read", 1).await;
    run(&mut conn, &again).await;
    held.kill().await.unwrap();
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(output.status.success() && said.contains("what was copied under that name"), "{said}");
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(rows_of(&target, &format!("{database}.t")).await.len(), 2);
    let first = aside(&target, &database).await;
    assert_eq!(first.len(), 1);

    // Behind the copy the old rows are exactly what they were.
    run(
        &mut conn,
        &["INSERT INTO t VALUES (3, 'newer')", "DROP TABLE t", CREATE, "INSERT INTO t VALUES (2, 'newest')"],
    )
    .await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(rows_of(&target, &format!("{database}.t")).await, [(2, "newest".to_owned())]);
    let second: Vec<String> =
        aside(&target, &database).await.into_iter().filter(|table| !first.contains(table)).collect();
    let kept = [(2, "new"), (3, "newer"), (99, "new")].map(|(id, v)| (id, v.to_owned()));
    assert_eq!(rows_of(&target, &second[0]).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_again_has_its_own_rows_only_on_mysql() {
    made_again(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_again_has_its_own_rows_only_on_mariadb() {
    made_again(servers::mariadb().await).await;
}
