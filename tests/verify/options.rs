//! What the options of `towpath verify` do.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath::demo::server::{Options, Product, ScratchServer};

use super::{follow, scheduled, verify};
use crate::harness::{Job, Target};
use crate::servers;

const QUICK: &str = "params: {realFlushPauseSec: 0}";

/// Whatever is read is compared: in a table of which every row is wrong, the differences are the rows of the sample.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_a_part_of_the_rows_and_every_difference_in_it_is_found() {
    let source = servers::mysql().await;
    let database = source.database("sample").await;
    // The first is compared by ranges of its key, the second by look-ups.
    let mut statements = Vec::new();
    for (table, key) in
        [("ranges", "INT"), ("looked_up", "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")]
    {
        let rows: Vec<String> = (0..5000).map(|n| format!("('{n}', 0.5)")).collect();
        statements.push(format!("CREATE TABLE {database}.{table} (k {key} PRIMARY KEY, v DOUBLE)"));
        statements.push(format!("INSERT INTO {database}.{table} VALUES {}", rows.join(", ")));
        statements.push(format!("ANALYZE TABLE {database}.{table}"));
    }
    source.run(statements).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    let clean = verify(&job, &["--sample", "20%", "--rate-limit", "1000000"]).await;
    clean.expect(0, []);
    let mut conn = target.connect().await;
    for table in ["ranges", "looked_up"] {
        let report = clean.table(table);
        assert!(report["sampled"] == true && (1..5000).contains(&report["rows"].as_u64().unwrap()), "{report}");
        conn.query_drop(format!("UPDATE {database}.{table} SET v = 0.25 WHERE v = 0.5")).await.unwrap();
    }
    let found = verify(&job, &["--sample", "20%"]).await;
    assert_eq!(found.code, Some(3));
    for table in ["ranges", "looked_up"] {
        let report = found.table(table);
        assert_eq!(report["different"], report["rows"], "{report}");
        assert!((1..5000).contains(&report["rows"].as_u64().unwrap()), "{report}");
    }
}

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_from_a_replica_when_it_has_come_to_where_the_job_is() {
    let one = Options::new(Product::Mysql);
    let other = one.clone().argument("--server-id=2");
    let (source, mirror) = tokio::join!(ScratchServer::start(&one), ScratchServer::start(&other));
    let (source, mirror) = (source.unwrap(), mirror.unwrap());
    let mut conn = source.connect().await.unwrap();
    let mut replica = mirror.connect().await.unwrap();
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
        source.port()
    );
    // What each has done for itself is nothing to be replicated.
    run(&mut conn, &["RESET BINARY LOGS AND GTIDS"]).await;
    run(&mut replica, &["RESET BINARY LOGS AND GTIDS", &change, "START REPLICA"]).await;
    run(
        &mut conn,
        &[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, v DOUBLE)",
            "INSERT INTO d.t VALUES (1, 1), (2, 2), (3, 3)",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.*", "", QUICK);
    let running = follow(&job).await;
    let host = format!("127.0.0.1:{}", mirror.port());
    let through = async |more: &[&str]| verify(&job, &[&["--source-host", &host], more].concat()).await;
    // It waits until the replica has the table and its rows.
    loop {
        let there: Option<u64> = replica
            .query_first("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'")
            .await
            .unwrap();
        if there == Some(1) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    through(&[]).await.expect(0, []);

    // A row that only the replica has otherwise: it is the replica that is read.
    run(&mut replica, &["SET sql_log_bin = 0", "UPDATE d.t SET v = 7 WHERE id = 1"]).await;
    through(&[]).await.expect(3, ["different t id=1: v"]);
    verify(&job, &[]).await.expect(0, []);
    run(&mut replica, &["UPDATE d.t SET v = 1 WHERE id = 1"]).await;

    // A replica that lags: its old rows are no differences, and it cannot be compared with until it comes.
    run(&mut replica, &["STOP REPLICA"]).await;
    let before = job.status().await["inserts"].as_u64();
    run(&mut conn, &["UPDATE d.t SET v = 9 WHERE id = 2", "INSERT INTO d.t VALUES (4, 4)"]).await;
    job.wait_for("both changes", |status| status["inserts"].as_u64() > before).await;
    let late = through(&["--patience", "1"]).await;
    late.expect(1, []);
    assert!(late.all.contains("the replica of --source-host is behind the job"), "{}", late.all);
    run(&mut replica, &["START REPLICA"]).await;
    target.connect().await.query_drop("DELETE FROM d.t WHERE id = 3").await.unwrap();
    through(&[]).await.expect(3, ["missing t id=3"]);

    // A job that is stopped: what it has still to bring is in the source's own log.
    assert!(job.stop(running).await.success(), "{}", job.log());
    run(&mut conn, &["UPDATE d.t SET v = 5 WHERE id = 1"]).await;
    let stopped = through(&[]).await;
    stopped.expect(3, ["missing t id=3"]);
    assert_eq!(stopped.table("t")["unjudged"], 0, "{}", stopped.all);

    // By the clock it is the replica too, if the job file says so: only there row 2 is another one.
    run(&mut replica, &["UPDATE d.t SET v = 7 WHERE id = 2"]).await;
    let text = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), format!("{text}verify: {{cron: '0 3 * * *', sourceHost: '{host}'}}\n")).unwrap();
    let running = scheduled::start(&job);
    job.wait_for("both differences", |status| {
        let last = &status["verification"]["last"];
        last["scheduled"] == true && last["differences"] == 2
    })
    .await;
    assert!(job.stop(running).await.success(), "{}", job.log());
}
