//! Jobs that do not go on: what they have still to bring is told from what differs for good.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use towpath::demo::server::{Options, Product, ScratchServer};

use super::{Verified, follow, read, verify};
use crate::harness::{Job, Target, text};
use crate::servers::{self, Shared};

const SETTINGS: &str = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}";

/// Rows in flight, and those that could not be judged.
fn left(found: &Verified, table: &str) -> [u64; 2] {
    ["inFlight", "unjudged"].map(|name| found.table(table)[name].as_u64().unwrap())
}

async fn at_target(target: &Target, database: &str, statements: &[&str]) {
    let mut conn = target.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn at_source(source: &Shared, database: &str, statements: &[&str]) {
    source.run(std::iter::once(format!("USE {database}")).chain(statements.iter().map(ToString::to_string))).await;
}

async fn stopped(source: &Shared) {
    let database = source.database("stopped").await;
    let rows: Vec<String> = (1..=300).map(|id| format!("({id}, {id}, 1)")).collect();
    at_source(
        source,
        &database,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT)",
            &format!("INSERT INTO t VALUES {}", rows.join(", ")),
            "CREATE TABLE idle (id INT PRIMARY KEY, v INT)",
            "INSERT INTO idle VALUES (1, 1), (2, 2)",
            "CREATE TABLE named (at TIMESTAMP(3) NOT NULL, name VARCHAR(20) CHARACTER SET utf8mb4, d DECIMAL(9,2), v INT, \
             PRIMARY KEY (name, at, d))",
            "INSERT INTO named VALUES ('2024-07-01 12:00:00.25', 'Anna', 1.5, 1), ('2024-07-01 12:00:00', 'zoë', -2, 1)",
            "CREATE TABLE log (n INT, v VARCHAR(20), f DOUBLE, j JSON)",
            "INSERT INTO log VALUES (1, 'a', 0.1, '{\"b\": 1, \"a\": 2}'), (1, 'a', 0.1, '{\"a\": 2, \"b\": 1}'), (2, 'b', NULL, NULL), \
             (3, 'c', 1, '[]'), (3, 'c', 1, '[]')",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "timezone: Europe/Berlin", SETTINGS);
    let early = job.command("verify", &[]).await;
    assert!(early.status.code() == Some(1) && text(&early).contains("has not been run yet"), "{}", text(&early));
    job.run_to_end().await;

    at_target(
        &target,
        &database,
        &[
            "UPDATE t SET w = 2 WHERE id IN (5, 7, 20)",
            "DELETE FROM t WHERE id = 6",
            "INSERT INTO t VALUES (1000, 1, 1)",
            "UPDATE idle SET v = 3 WHERE id = 2",
            "UPDATE named SET v = 2 WHERE name = 'zoë'",
            "DELETE FROM log WHERE n = 2",
            "UPDATE log SET v = 'x' WHERE n = 3",
        ],
    )
    .await;
    // The source goes on without the job; some of it happens to what was damaged.
    at_source(
        source,
        &database,
        &[
            "UPDATE t SET v = 9 WHERE id IN (7, 8)",
            "INSERT INTO t VALUES (4000, 4, 4)",
            "DELETE FROM t WHERE id = 10",
            "UPDATE t SET id = 5000 WHERE id = 11",
            "UPDATE named SET name = 'ANNA' WHERE name = 'anna'",
            "INSERT INTO log VALUES (4, 'd', 1e30, NULL), (4, 'd', 1e30, NULL)",
            "UPDATE log SET v = 'z' WHERE n = 1 LIMIT 1",
        ],
    )
    .await;
    let differences = [
        "different t id=5: w",
        "different t id=20: w",
        "missing t id=6",
        "extra t id=1000",
        "different idle id=2: v",
        "different named name=zoë, at=2024-07-01 14:00:00, d=-2: v",
        "missing log n=2, v=b, f=null, j=null (1, 0)",
        "missing log n=3, v=c, f=1e0, j=[] (2, 0)",
        "extra log n=3, v=x, f=1e0, j=[] (0, 2)",
    ];
    let found = verify(&job, &[]).await;
    found.expect(3, differences);
    for (table, in_flight) in [("t", 6), ("idle", 0), ("named", 2), ("log", 4)] {
        assert_eq!(left(&found, table), [in_flight, 0], "{table} {}", found.all);
    }
    assert!(found.table("t")["unjudgedBecause"].as_str().unwrap().contains("does not run"), "{}", found.all);
    assert!(text(&job.command("verify", &[]).await).contains("6 rows are in flight, changed behind the checkpoint"));

    job.run_to_end().await;
    let found = verify(&job, &[]).await;
    found.expect(3, differences);
    assert_eq!(left(&found, "t"), [0, 0], "{}", found.all);

    // All of it is in the history.
    let history = text(&job.command("verify", &["--history"]).await);
    assert!(
        history.contains("#1 ") && history.contains("different  4 table(s), 311 rows, 11 differences"),
        "{history}"
    );
    assert!(history.contains("#3 ") && history.ends_with("3 run(s)\n"), "{history}");
    let first = read(&job.command("verify", &["--history", "--run", "1", "--json"]).await);
    assert_eq!((first.code, left(&first, "t")), (Some(3), [6, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stopped_job_only_rows_that_the_log_names_are_in_flight_on_mysql() {
    stopped(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stopped_job_only_rows_that_the_log_names_are_in_flight_on_mariadb() {
    stopped(servers::mariadb().await).await;
}

/// Each with half of what there is to know.
#[tokio::test(flavor = "multi_thread")]
async fn rows_in_flight_are_known_by_images_that_lack_columns_and_by_xa_transactions() {
    // What is prepared here, every job that begins on the same server looks for.
    let source = ScratchServer::start(&Options::new(Product::Mysql)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    let mut xa = source.connect().await.unwrap();
    let run = async |conn: &mut Conn, statements: &[&str]| {
        for statement in statements {
            conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    };
    run(
        &mut conn,
        &[
            "CREATE DATABASE images",
            "CREATE TABLE images.t (a INT, v INT, b INT, w INT DEFAULT 7, PRIMARY KEY (b, a))",
            "INSERT INTO images.t (a, b, v) VALUES (1, 1, 1), (1, 2, 1), (1, 3, 1), (1, 4, 1), (9, 9, 1)",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "images.*", "", SETTINGS);
    let prepared = "INSERT INTO images.t (a, b, v) VALUES (8, 8, 8)";
    run(&mut xa, &["XA START 'verify'", prepared, "XA END 'verify'", "XA PREPARE 'verify'"]).await;
    job.run_to_end().await;
    run(&mut xa, &["XA COMMIT 'verify'"]).await;
    run(
        &mut conn,
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'",
            "UPDATE images.t SET v = 2 WHERE b = 2",
            "DELETE FROM images.t WHERE b = 3",
            "INSERT INTO images.t (a, b) VALUES (2, 5)",
            // Of the new key the log tells one half.
            "UPDATE images.t SET a = 3 WHERE b = 4",
        ],
    )
    .await;
    at_target(&target, "images", &["UPDATE t SET v = 2 WHERE b = 1", "UPDATE t SET v = 2 WHERE b = 9"]).await;
    let found = verify(&job, &[]).await;
    found.expect(3, ["different t b=1, a=1: v", "different t b=9, a=9: v"]);
    assert_eq!(left(&found, "t"), [6, 0], "{}", found.all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_stopped_job_has_still_to_alter_is_left_out_and_named() {
    let source = servers::mysql().await;
    let database = source.database("unaltered").await;
    at_source(
        source,
        &database,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "CREATE TABLE u (id INT PRIMARY KEY, v INT)",
            "INSERT INTO u VALUES (1, 1), (2, 2)",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    at_target(&target, &database, &["UPDATE t SET v = 7 WHERE id = 1", "UPDATE u SET v = 7 WHERE id = 1"]).await;
    at_source(source, &database, &["ALTER TABLE t ADD COLUMN w INT DEFAULT 5", "UPDATE u SET v = 3 WHERE id = 2"])
        .await;
    let found = verify(&job, &[]).await;
    found.expect(3, ["different u id=1: v"]);
    assert_eq!(left(&found, "u"), [1, 0], "{}", found.all);
    let error = found.table("t")["error"].as_str().unwrap();
    assert!(error.contains("was left out") && error.contains("ALTER TABLE t ADD COLUMN w"), "{error}");
    assert_eq!(found.table("t")["schema"], Value::Array(Vec::new()));
    job.run_to_end().await;
    verify(&job, &[]).await.expect(3, ["different t id=1: v", "different u id=1: v"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_is_not_waited_for_longer_than_asked_and_its_rows_are_judged() {
    let source = servers::mysql().await;
    let database = source.database("paused").await;
    at_source(
        source,
        &database,
        &["CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2)"],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let running = follow(&job).await;
    assert!(job.command("pause", &[]).await.status.success());
    job.wait_for("a pause", |status| status["paused"] == true).await;
    at_target(&target, &database, &["UPDATE t SET v = 7 WHERE id = 1"]).await;
    // What was read before the pause took hold may still come: it must be gone by, and then something stays behind.
    loop {
        at_source(source, &database, &["UPDATE t SET v = v + 1 WHERE id = 2"]).await;
        // As long as the log may take to be read, of a server that others write to.
        let found = verify(&job, &["--patience", "15"]).await;
        found.expect(3, ["different t id=1: v"]);
        assert_eq!(found.table("t")["unjudged"], 0, "{}", found.all);
        if found.table("t")["inFlight"] == 1 {
            break;
        }
    }
    assert!(job.command("resume", &[]).await.status.success());
    let found = verify(&job, &[]).await;
    found.expect(3, ["different t id=1: v"]);
    assert_eq!(left(&found, "t"), [0, 0], "{}", found.all);
    assert!(job.stop(running).await.success(), "{}", job.log());
}
