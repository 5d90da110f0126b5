//! Statements that end in a copy, and statements in the middle of one.

use mysql_async::prelude::Queryable as _;

use super::{ROWS, SLOWLY, Watcher, Writer, fill};
use crate::harness::{Job, Target, assert_equal, towpath};
use crate::servers::{self, Shared};

const SETTINGS: &str = "params: {realFlushPauseSec: 0, fullBatchSize: 100}\nddl: {onImpossible: recopy}";

async fn copied_by_statements(source: &Shared) {
    let database = source.database("copied_by").await;
    fill(source.port(), &database, "t").await;
    let outside = source.database("outside_of").await;
    fill(source.port(), &outside, "comes").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    let mut run = towpath("run");
    // The first copy stands in its middle until a statement has come.
    let middle = job.gate("copy-read");
    run.env("FAILPOINTS", middle.after(3, SLOWLY));
    let child = job.start_as(run);
    job.wait_for("a run", |status| status["running"] == true).await;
    let writer = Writer::start(source.port(), &database, &["t"]);
    let watcher = Watcher::start(target.server.mysql_addr.port(), format!("{database}.t"));
    let copying = |status: &serde_json::Value| status["fullData"][0]["rows"].as_u64() > Some(200);
    let idle = |status: &serde_json::Value| status["copies"].as_array().is_some_and(Vec::is_empty);
    let mut conn = source.connect().await;
    // The target cannot turn an INT into a DECIMAL.
    conn.query_drop(format!("ALTER TABLE {database}.t MODIFY n DECIMAL(12,2) NOT NULL")).await.unwrap();
    middle.reached(&job).await;
    let status = job.status().await;
    assert!(!idle(&status) && copying(&status), "{status}");
    // In the middle of it: another definition, twice.
    conn.query_drop(format!("ALTER TABLE {database}.t ADD w INT NOT NULL DEFAULT 7, ADD d DATETIME")).await.unwrap();
    middle.open();
    conn.query_drop(format!("UPDATE {database}.t SET w = 8 WHERE id < 2000")).await.unwrap();
    job.wait_for("it to begin anew", |_| job.log().matches("is given up").count() >= 1).await;
    job.wait_for("the copy again", copying).await;
    conn.query_drop(format!("ALTER TABLE {database}.t DROP d")).await.unwrap();
    job.wait_for("the end", |status| idle(status) && status["fullData"][0]["done"] == true).await;
    watcher.stop().await;
    // With rows that are in no log.
    conn.query_drop(format!("RENAME TABLE {outside}.comes TO {database}.comes")).await.unwrap();
    job.wait_for("the table", |status| idle(status) && status["fullData"].as_array().map(Vec::len) == Some(2)).await;
    writer.stop().await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.comes")).await, ROWS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_the_target_cannot_do_is_a_copy_and_a_statement_in_its_middle_begins_it_anew_on_mysql() {
    copied_by_statements(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_the_target_cannot_do_is_a_copy_and_a_statement_in_its_middle_begins_it_anew_on_mariadb() {
    copied_by_statements(servers::mariadb().await).await;
}
