//! `towpath recopy`: a table is copied anew beside the one that serves.

use mysql_async::prelude::Queryable as _;
use rand::seq::SliceRandom as _;
use towpath::demo::server::{Options, Product, ScratchServer};

use super::{ROWS, SETTINGS, SLOWLY, Watcher, Writer, fill};
use crate::harness::{Job, Target, assert_equal, text, towpath};
use crate::servers::{self, Shared};

/// The stream changes rows of every chunk between the place where it was read and the place where it goes in.
async fn recopied_under_writes(source: &Shared) {
    let database = source.database("recopy").await;
    fill(source.port(), &database, "t").await;
    fill(source.port(), &database, "other").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    // It went wrong: rows that are not the source's, and rows that are missing.
    let mut wrong = target.connect().await;
    for statement in ["DELETE FROM {}.t WHERE id < 1000", "INSERT INTO {}.t VALUES (-1, 0, 'nobody''s')"] {
        wrong.query_drop(statement.replace("{}", &database)).await.unwrap();
    }
    let mut run = towpath("run");
    let begun = job.gate("copy-read");
    run.env("FAILPOINTS", begun.after(0, SLOWLY));
    let child = job.start_as(run);
    job.wait_for("a run", |status| status["running"] == true).await;
    let writer = Writer::start(source.port(), &database, &["t", "other"]);
    let watcher = Watcher::start(target.server.mysql_addr.port(), format!("{database}.other"));
    let asked = job.command("recopy", &[&format!("{database}.t"), &format!("{database}.other")]).await;
    assert!(asked.status.success() && text(&asked).contains("within seconds"), "{}", text(&asked));
    begun.reached(&job).await;
    let status = job.status().await;
    assert_eq!(status["copies"][0]["beside"], true, "{status}");
    begun.open();
    job.wait_for("both copies", |status| {
        status["copies"].as_array().is_some_and(Vec::is_empty)
            && status["copiesAsked"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    watcher.stop().await;
    assert!(writer.stop().await > 20);
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t")).await, ROWS.to_string());
    let tables = format!("SELECT COUNT(*) FROM information_schema.tables WHERE TABLE_SCHEMA = '{database}'");
    assert_eq!(target.text(&tables).await, "2", "a copy was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_went_wrong_is_copied_anew_under_writes_while_it_serves_on_mysql() {
    recopied_under_writes(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_went_wrong_is_copied_anew_under_writes_while_it_serves_on_mariadb() {
    recopied_under_writes(servers::mariadb().await).await;
}

/// Without GTIDs the source does not tell which transactions of its log it shows; with minimal images the stream does not
/// have the whole row that it changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_exact_without_gtids_and_with_images_of_some_columns() {
    let options = Options::new(Product::Mysql);
    let options = options.argument("--gtid-mode=OFF").argument("--enforce-gtid-consistency=OFF");
    let source = ScratchServer::start(&options.argument("--binlog-row-image=MINIMAL")).await.unwrap();
    let database = "minimal";
    source.connect().await.unwrap().query_drop("CREATE DATABASE minimal").await.unwrap();
    fill(source.port(), database, "t").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    let mut run = towpath("run");
    let begun = job.gate("copy-read");
    run.env("FAILPOINTS", begun.after(0, SLOWLY));
    let child = job.start_as(run);
    let port = source.port();
    let table = format!("{database}.t");
    let stop = tokio_util::sync::CancellationToken::new();
    let (stopped, written) = (stop.clone(), table.clone());
    let writing = tokio::spawn(async move {
        let mut conn = crate::harness::connect(port).await;
        // Each row once: no later change hides what went wrong.
        let mut rows: Vec<u64> = (1..=ROWS).collect();
        rows.shuffle(&mut rand::rng());
        let mut number = 0;
        while let Some(row) = rows.pop().filter(|_| !stopped.is_cancelled()) {
            number += 1;
            conn.query_drop(format!("UPDATE {written} SET n = {number} WHERE id = {row} * 10")).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        number
    });
    job.wait_for("a run", |status| status["running"] == true).await;
    assert!(job.command("recopy", &["t"]).await.status.success());
    begun.reached(&job).await;
    let status = job.status().await;
    assert_eq!(status["copies"][0]["beside"], true, "{status}");
    begun.open();
    job.wait_for("its end", |status| status["copies"].as_array().is_some_and(Vec::is_empty)).await;
    stop.cancel();
    assert!(writing.await.unwrap() > 20);
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_anew_is_refused() {
    let source = servers::mysql().await;
    let database = source.database("refused_copy").await;
    fill(source.port(), &database, "t").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let never = job.command("recopy", &["t"]).await;
    assert!(!never.status.success() && text(&never).contains("has not been run yet"), "{}", text(&never));
    job.run_to_end().await;
    let unknown = job.command("recopy", &["t", "nothing"]).await;
    assert!(!unknown.status.success() && text(&unknown).contains("the job has no table nothing"), "{}", text(&unknown));
    assert_eq!(job.status().await["copiesAsked"].as_array().map(Vec::len), Some(0), "all or nothing");
    let asked = job.command("recopy", &["t"]).await;
    assert!(text(&asked).contains("when the job is started"), "{}", text(&asked));
    assert_eq!(job.status().await["copiesAsked"][0], format!("{database}.t"));
    job.run_to_end().await;
    let status = job.status().await;
    assert_eq!(status["copiesAsked"].as_array().map(Vec::len), Some(0), "a run to the end makes the copy: {status}");
    assert_equal(source.port(), &target, &database).await;
}
