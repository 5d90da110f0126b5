//! Rows whose events do not fit into one packet of the protocol (16 MB).

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Target, text};
use crate::servers::{self, Shared};

const BYTES: usize = 20 << 20;

/// One that is not the job's is passed by; one that is, is read whole, and stops the job because its target's column is
/// too short for it.
async fn large_events(server: &Shared) {
    let database = server.database("large_events").await;
    let mut conn = server.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    for table in ["ours", "others"] {
        conn.query_drop(format!("CREATE TABLE {table} (id INT PRIMARY KEY, v LONGBLOB)")).await.unwrap();
    }
    let target = Target::start().await;
    let job = Job::new(server.port(), &target, &format!("{database}.ours"), "", "params: {realFlushPauseSec: 0}");
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;

    conn.query_drop(format!("INSERT INTO others VALUES (1, REPEAT('x', {BYTES}))")).await.unwrap();
    conn.query_drop("INSERT INTO ours VALUES (1, 'small')").await.unwrap();
    job.wait_for("the row behind", |status| status["inserts"] == 1).await;

    conn.query_drop(format!("INSERT INTO ours VALUES (2, REPEAT('y', {BYTES}))")).await.unwrap();
    let status = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait()).await;
    let log = job.log();
    assert_eq!(status.unwrap_or_else(|_| panic!("it goes on\n{log}")).unwrap().code(), Some(1), "{log}");
    assert!(log.contains(&format!("{database}.ours")) && log.contains(&BYTES.to_string()), "{log}");

    // Without it the job goes on from where it stopped: nothing before the row was lost.
    let again = job.command("run", &["--stop-at-end"]).await;
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.ours")).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_over_16_mb_are_read_whole_on_mysql() {
    large_events(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_over_16_mb_are_read_whole_on_mariadb() {
    large_events(servers::mariadb().await).await;
}
