//! Tables that come into `tables` of a job, stopped or running, and leave it.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::{SETTINGS, SLOW_CHUNKS, Writer, fill};
use crate::harness::{Job, Target, assert_equal, send, towpath};
use crate::servers::{self, Shared};

fn select(job: &Job, from: &str, to: &str) {
    let text = std::fs::read_to_string(job.path()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(job.path(), text.replacen(from, to, 1)).unwrap();
}

async fn joined_under_writes(source: &Shared) {
    let database = source.database("new").await;
    for table in ["t", "stopped", "running"] {
        fill(source.port(), &database, table).await;
    }
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.t"), "", SETTINGS);
    job.run_to_end().await;
    let writer = Writer::start(source.port(), &database, &["t", "stopped", "running"]);
    select(&job, &format!("['{database}.t']"), &format!("['{database}.t', '{database}.stopped']"));
    let mut run = towpath("run");
    run.env("FAILPOINTS", SLOW_CHUNKS);
    let child = job.start_as(run);
    let copied = |status: &serde_json::Value, table: &str| {
        let name = format!("{database}.{table}");
        let tables = status["fullData"].as_array().cloned().unwrap_or_default();
        tables.iter().any(|one| one["table"] == *name && one["done"] == true)
            && status["copies"].as_array().is_some_and(Vec::is_empty)
    };
    job.wait_for("the first new table", |status| copied(status, "stopped")).await;
    // What needs a restart is not taken over, and stops nothing.
    select(&job, "realFlushPauseSec: 0", "realFlushPauseSec: 1");
    send(&child, "HUP");
    while !job.log().contains("has other settings than the running job") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    select(&job, "realFlushPauseSec: 1", "realFlushPauseSec: 0");
    select(&job, &format!("'{database}.stopped']"), &format!("'{database}.stopped', '{database}.running']"));
    send(&child, "HUP");
    job.wait_for("the second", |status| copied(status, "running")).await;
    writer.stop().await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;

    // One that leaves and comes back has missed changes: it is copied beside what is there.
    select(&job, &format!(", '{database}.running']"), "]");
    job.run_to_end().await;
    source.run([format!("DELETE FROM {database}.running WHERE id < 4000")]).await;
    job.run_to_end().await;
    select(&job, &format!("'{database}.stopped']"), &format!("'{database}.stopped', '{database}.running']"));
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_into_a_stopped_and_a_running_job_under_writes_on_mysql() {
    joined_under_writes(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_into_a_stopped_and_a_running_job_under_writes_on_mariadb() {
    joined_under_writes(servers::mariadb().await).await;
}

/// Its rows were not kept when it was prepared, for the table was not the job's.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_waits_for_transactions_that_were_prepared_before_it_came() {
    let source = servers::mysql().await;
    let database = source.database("new_xa").await;
    fill(source.port(), &database, "t").await;
    fill(source.port(), &database, "late").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.t"), "", SETTINGS);
    job.run_to_end().await;
    let mut other = source.connect().await;
    for statement in [
        format!("XA START '{database}'"),
        format!("UPDATE {database}.late SET n = 77 WHERE id < 100"),
        format!("XA END '{database}'"),
        format!("XA PREPARE '{database}'"),
    ] {
        other.query_drop(statement).await.unwrap();
    }
    drop(other);
    job.run_to_end().await;
    select(&job, &format!("['{database}.t']"), &format!("['{database}.*']"));
    let child = job.start();
    let former = job.log().len();
    while !job.log()[former..].contains("the copy waits until") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    source.run([format!("XA COMMIT '{database}'")]).await;
    job.wait_for("the table", |status| {
        status["copies"].as_array().is_some_and(Vec::is_empty) && status["fullData"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}
