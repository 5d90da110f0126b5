//! Tables that the job is copying or altering are left out, and named.

use mysql_async::prelude::Queryable as _;

use super::verify;
use crate::harness::{Job, Target, text};
use crate::servers;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_being_copied_is_neither_compared_nor_corrected() {
    let source = servers::mysql().await;
    let database = source.database("copied").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)"),
            format!("CREATE TABLE {database}.u (id INT PRIMARY KEY, v INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 1), (2, 2)"),
            format!("INSERT INTO {database}.u VALUES (1, 1), (2, 2)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    job.run_to_end().await;
    let mut there = target.connect().await;
    for table in ["t", "u"] {
        there.query_drop(format!("UPDATE {database}.{table} SET v = 7 WHERE id = 1")).await.unwrap();
    }
    let differences = ["different t id=1: v", "different u id=1: v"];
    verify(&job, &[]).await.expect(3, differences);
    assert!(job.command("recopy", &[&format!("{database}.t")]).await.status.success());

    let held = job.start_held_at("copy-read", 0).await;
    let found = verify(&job, &[]).await;
    found.expect(3, [differences[1]]);
    let error = found.table("t")["error"].as_str().unwrap();
    assert!(error.contains(&format!("table {database}.t was left out: it is being copied")), "{error}");
    assert_eq!(found.table("t")["rows"], 0);
    let alone = verify(&job, &["--tables", "*.t"]).await;
    assert_eq!(alone.code, Some(1), "what was left out is not equal\n{}", alone.all);
    let corrected = job.command("correct", &["--run", "1"]).await;
    let said = text(&corrected);
    assert!(said.contains("1 corrected") && said.contains("1 failed") && said.contains("it is being copied"), "{said}");
    drop(held);

    job.run_to_end().await;
    job.wait_for("no copy", |status| status["copies"].as_array().is_some_and(Vec::is_empty)).await;
    verify(&job, &[]).await.expect(0, []);
}
