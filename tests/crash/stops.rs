//! SIGTERM while something does not answer. The job leaves by itself with exit code 0; after nine seconds it would be
//! made to leave, with code 1.

use serde_json::Value;
use tokio::process::Child;

use super::link::Link;
use super::outside::Outside;
use super::wait_until;
use crate::harness::{Job, assert_equal_at, interrupt, towpath};
use crate::servers;

const SLOW_COPY: &str = "params: {realFlushPauseSec: 0, fullBatchSize: 10, fullParallel: 1, writeParallel: 1}";
const LITTLE_MEMORY: &str =
    "params: {realFlushPauseSec: 0, fullBatchSize: 2, fullParallel: 1, flushBatchMb: 1, totalDataInMemMb: 8}";

/// `rows` rows, numbered from 1, with `bytes` bytes each.
async fn table(source: &servers::Shared, prefix: &str, rows: u32, bytes: u32) -> String {
    let database = source.database(prefix).await;
    source
        .run([format!(
            "USE {database}; SET SESSION cte_max_recursion_depth = 100000;
             CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, v LONGTEXT);
             INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT i, 0, REPEAT('v', {bytes}) FROM n"
        )])
        .await;
    database
}

fn chunks_done(status: &Value) -> u64 {
    status["fullData"][0]["chunksDone"].as_u64().unwrap_or(0)
}

fn follows(status: &Value) -> bool {
    status["stage"] == "incremental"
}

async fn leaves(job: &Job, child: Child) {
    let status = job.stop(child).await;
    assert!(status.success(), "{status}\n{}", job.log());
}

/// Waits until the job has logged `text` behind the first `former` bytes of its log.
async fn logs(job: &Job, text: &str, former: usize) {
    wait_until(&format!("{text:?} in the log"), || job.log()[former..].contains(text)).await;
}

/// Loads are sent, or asked about, in vain; meanwhile the readers fill what memory there is.
async fn tries_again_and_again(job: &Job, former: usize) {
    let failures = || job.log()[former..].matches("WARN").count();
    for _ in 0..2400 {
        if failures() >= 3 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("only {} failures\n{}", failures(), job.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heeded_while_the_source_is_silent_or_away() {
    let source = servers::mysql().await;
    let database = table(source, "stops", 2000, 10).await;
    let target = Outside::start().await;
    let link = Link::to(source.port()).await;
    let job = Job::at(link.port(), target.job_ports(), &format!("{database}.*"), "", SLOW_COPY);

    link.silence();
    let child = job.start();
    wait_until("a connection to the source", || link.accepted() > 0).await;
    leaves(&job, child).await;

    for silent in [true, false] {
        link.open();
        let before = chunks_done(&job.status().await);
        // Far from its end for seconds, however busy the machine is.
        let mut run = towpath("run");
        run.env("FAILPOINTS", "chunk-in=sleep(30)");
        let child = job.start_as(run);
        job.wait_for("chunks", |status| chunks_done(status) > before + 3).await;
        let former = job.log().len();
        if silent {
            link.silence();
        } else {
            link.cut();
            logs(&job, "trying again", former).await;
        }
        leaves(&job, child).await;
        assert_eq!(job.status().await["stage"], "full", "the stop came too late to show anything\n{}", job.log());
    }

    for silent in [true, false] {
        link.open();
        let former = job.log().len();
        let child = job.start();
        job.wait_for("incremental", follows).await;
        logs(&job, "stage=\"incremental\"", former).await;
        let former = job.log().len();
        if silent {
            link.silence();
        } else {
            link.cut();
            logs(&job, "again", former).await;
        }
        leaves(&job, child).await;
    }

    link.open();
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heeded_while_the_tables_are_made_and_the_target_is_silent() {
    let source = servers::mysql().await;
    let database = source.database("stops").await;
    source.run((0..20).map(|number| format!("CREATE TABLE {database}.t{number} (id INT PRIMARY KEY)"))).await;
    let target = Outside::start().await;
    let (mysql, fe) = target.job_ports();
    let link = Link::to(mysql).await;
    let job = Job::at(source.port(), (link.port(), fe), &format!("{database}.*"), "", "");
    let mut run = towpath("run");
    run.env("FAILPOINTS", "table-made=sleep(50)");
    let child = job.start_as(run);
    logs(&job, "created table", 0).await;
    link.silence();
    leaves(&job, child).await;
    assert!(job.log().matches("created table").count() < 20, "the stop came too late to show anything\n{}", job.log());
    link.open();
    job.run_to_end().await;
    assert_equal_at(source.port(), mysql, &database).await;
}

/// The readers wait for memory that nothing will give back any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heeded_while_the_target_is_away_and_the_memory_is_spent() {
    let source = servers::mysql().await;
    let database = table(source, "stops", 300, 100_000).await;
    let mut target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", LITTLE_MEMORY);

    let child = job.start();
    job.wait_for("a chunk", |status| chunks_done(status) > 0).await;
    let former = job.log().len();
    target.die().await;
    tries_again_and_again(&job, former).await;
    assert_eq!(job.status().await["stage"], "full");
    leaves(&job, child).await;

    target.come_back().await;
    let child = job.start();
    job.wait_for("incremental", follows).await;
    let former = job.log().len();
    target.die().await;
    for _ in 0..3 {
        source.run([format!("UPDATE {database}.t SET n = n + 1")]).await;
    }
    tries_again_and_again(&job, former).await;
    leaves(&job, child).await;

    target.come_back().await;
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once() {
    let source = servers::mysql().await;
    let database = table(source, "stops", 10, 10).await;
    let mut target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", SLOW_COPY);
    let mut child = job.start();
    job.wait_for("incremental", follows).await;
    let former = job.log().len();
    target.die().await;
    source.run([format!("UPDATE {database}.t SET n = n + 1")]).await;
    logs(&job, "WARN", former).await;
    interrupt(&child);
    logs(&job, "stopping:", 0).await;
    interrupt(&child);
    assert_eq!(child.wait().await.unwrap().code(), Some(130), "{}", job.log());
    target.come_back().await;
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}

/// A stage that blocks, as none should.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_does_not_heed_a_stop_does_not_keep_the_process() {
    let source = servers::mysql().await;
    let database = table(source, "stops", 10, 10).await;
    let target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", SLOW_COPY);
    let child = job.start_held_at("loads-in", 0);
    let update = async {
        job.wait_for("incremental", follows).await;
        source.run([format!("UPDATE {database}.t SET n = n + 1")]).await;
    };
    let (child, ()) = tokio::join!(child, update);
    let status = job.stop(child).await;
    assert_eq!(status.code(), Some(1), "{}", job.log());
    assert!(job.log().contains("a stage has not ended"), "{}", job.log());
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
}
