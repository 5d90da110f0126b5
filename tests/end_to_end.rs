//! The main job: a live source into the target, and both sides equal at the end.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::Rng as _;

use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};
use crate::sysbench::{self, Writers};

const ROWS: usize = 50_000;
const QUICK: &str = "params: {realFlushPauseSec: 0.2, fullBatchSize: 7000}";

/// Copies and follows four tables while eight writers run transactions on them.
async fn copied_and_followed(source: &Shared) {
    let database = source.database("copied").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, ROWS).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);

    let writers = Writers::start(source.port(), &database, ROWS, 8);
    let child = job.start();
    job.wait_for("incremental with rows", |status| {
        status["stage"] == "incremental" && status["updates"].as_u64() > Some(1000)
    })
    .await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(writers.stop().await > 100, "the writers have hardly written");

    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let status = job.status().await;
    assert_eq!(status["fullData"].as_array().unwrap().len(), sysbench::TABLES);
    assert_eq!(status["openEpoch"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_tables_are_copied_and_followed_from_mysql() {
    copied_and_followed(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_tables_are_copied_and_followed_from_mariadb() {
    copied_and_followed(servers::mariadb().await).await;
}

/// Starts from a place in the log that the test noted before the rows came: all of them come by the log.
async fn from_a_noted_place(source: &Shared, startup: impl AsyncFn(&mut Conn) -> String) {
    let database = source.database("noted").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    let startup = startup(&mut conn).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), &format!("startup: {startup}"), QUICK);
    sysbench::fill(&mut conn, &database, 5_000).await;
    let writers = Writers::start(source.port(), &database, 5_000, 8);
    while writers.committed() < 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    job.run_to_end().await;
    writers.stop().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(job.status().await["fullData"], serde_json::json!([]), "nothing is copied");
}

async fn file_and_position(conn: &mut Conn) -> String {
    let statement = if conn.server_version().0 >= 10 { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let row: mysql_async::Row = conn.query_first(statement).await.unwrap().unwrap();
    let (file, position): (String, u64) = (row.get(0).unwrap(), row.get(1).unwrap());
    format!("{{file: {file}, position: {position}}}")
}

async fn gtid(conn: &mut Conn) -> String {
    let variable = if conn.server_version().0 >= 10 { "@@gtid_binlog_pos" } else { "@@gtid_executed" };
    let set: String = conn.query_first(format!("SELECT {variable}")).await.unwrap().unwrap();
    format!("{{gtid: '{}'}}", set.replace('\n', ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_from_file_and_position_on_mysql() {
    from_a_noted_place(servers::mysql().await, file_and_position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_from_file_and_position_on_mariadb() {
    from_a_noted_place(servers::mariadb().await, file_and_position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_from_a_gtid_set_on_mysql() {
    from_a_noted_place(servers::mysql().await, gtid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_from_a_gtid_position_on_mariadb() {
    from_a_noted_place(servers::mariadb().await, gtid).await;
}

/// Kills the job over and over, in the full copy and after it, and lets it go on.
async fn killed(source: &Shared) {
    let database = source.database("killed").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, 30_000).await;
    let target = Target::start().await;
    let params = "params: {realFlushPauseSec: 0, fullBatchSize: 250, increBatchSize: 500, fullParallel: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", params);
    let writers = Writers::start(source.port(), &database, 30_000, 4);

    let mut done_before = 0;
    for kill in 1..=4 {
        let mut child = job.start();
        job.wait_for("more chunks done", |status| chunks_done(status) >= 20 * kill).await;
        child.kill().await.unwrap();
        let status = job.status().await;
        assert!(chunks_done(&status) >= done_before, "finished chunks are forgotten: {status}");
        done_before = chunks_done(&status);
        assert_eq!(status["stage"], "full", "the kill came too late to show anything");
    }
    for _ in 0..6 {
        let mut child = job.start();
        let epochs = job.status().await["epochs"].as_u64().unwrap_or(0);
        job.wait_for("more epochs", |status| status["epochs"].as_u64() > Some(epochs + 3)).await;
        let pause = rand::rng().random_range(0..100);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        child.kill().await.unwrap();
    }
    writers.stop().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;

    // A chunk that was in before a kill is not copied again by the next run.
    let log = job.log();
    let mut chunks: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("chunk is in ")).map(|(_, chunk)| chunk).collect();
    let copies = chunks.len();
    chunks.sort_unstable();
    chunks.dedup_by_key(|chunk| chunk.split(" rows=").next());
    assert!(copies >= 100, "{copies} chunks:\n{log}");
    assert_eq!(chunks.len(), copies, "a finished chunk was copied again");
}

fn chunks_done(status: &serde_json::Value) -> u64 {
    status["fullData"].as_array().into_iter().flatten().filter_map(|table| table["chunksDone"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_job_goes_on_without_loss_on_mysql() {
    killed(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_job_goes_on_without_loss_on_mariadb() {
    killed(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_memory_budget_goes_through() {
    let source = servers::mysql().await;
    let database = source.database("large").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    let target = Target::start().await;
    let params = "params: {realFlushPauseSec: 0, totalDataInMemMb: 8, flushBatchMb: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "startup: latest", params);
    job.run_to_end().await;
    conn.query_drop("BEGIN").await.unwrap();
    sysbench::fill(&mut conn, &database, 25_000).await;
    conn.query_drop(format!("UPDATE {database}.sbtest1 SET k = k + 1")).await.unwrap();
    conn.query_drop(format!("DELETE FROM {database}.sbtest2 WHERE id % 3 = 0")).await.unwrap();
    conn.query_drop("COMMIT").await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert!(job.status().await["epochs"].as_u64() > Some(5), "it went out in pieces");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_the_same_job_is_refused() {
    let source = servers::mysql().await;
    let database = source.database("second").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental" && status["running"] == true).await;
    let second = job.command("run", &["--stop-at-end"]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains("is running already"), "{}", text(&second));
    assert!(job.stop(child).await.success(), "{}", job.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_stay_out_of_state_log_and_status() {
    const SECRET: &str = "s3cr3t-of-the-source";
    let source = servers::mysql().await;
    let database = source.database("secret").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("CREATE USER {database} IDENTIFIED BY '{SECRET}'"),
            format!("GRANT ALL ON *.* TO {database}"),
        ])
        .await;
    let target = Target::start().await;
    let user = format!("username: {database}, password: {SECRET}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), &user, QUICK);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    assert!(!text(&job.command("status", &[]).await).contains(SECRET));
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(!job.log().contains(SECRET), "{}", job.log());
    for file in std::fs::read_dir(job.state_dir()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&bytes, SECRET.as_bytes()).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begun_anew_does_not_take_its_former_loads_for_its_own() {
    let source = servers::mysql().await;
    let database = source.database("anew").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(10))"),
            format!("INSERT INTO {database}.t VALUES (1, 'one'), (2, 'two')"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    target.connect().await.query_drop(format!("DROP TABLE {database}.t FORCE")).await.unwrap();
    std::fs::remove_dir_all(job.state_dir()).unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_that_is_an_error_stops_the_job_behind_everything_before_it() {
    let source = servers::mysql().await;
    let database = source.database("altered").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let target = Target::start().await;
    let more = format!("{QUICK}\nddl: {{default: error}}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    source
        .run([
            format!("INSERT INTO {database}.t VALUES (1)"),
            format!("ALTER TABLE {database}.t ADD COLUMN v INT"),
            format!("INSERT INTO {database}.t VALUES (2, 2)"),
        ])
        .await;
    assert_eq!(child.wait().await.unwrap().code(), Some(1), "{}", job.log());
    let log = job.log();
    assert!(log.contains("ADD COLUMN v INT"), "{log}");
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t")).await, "1", "what came before is in");
}

/// A row that was copied and the same row that came by the log are the same at the target, whatever zone the source's
/// sessions have.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_and_a_followed_row_are_alike() {
    for source in [servers::mysql().await, servers::mariadb().await] {
        let database = source.database("alike").await;
        let columns = "ts, dt, d, tm, y, f, n, bits, word, blb, js, e, s";
        source
            .run([
                format!(
                    "CREATE TABLE {database}.t (id INT PRIMARY KEY, ts TIMESTAMP(6) NULL, dt DATETIME(3), d DATE, tm TIME(2),
                     y YEAR, f FLOAT, n DECIMAL(20,5), bits BIT(9), word CHAR(9) CHARACTER SET latin1, blb BLOB, js JSON,
                     e ENUM('a','b'), s SET('x','y'))"
                ),
                "SET time_zone = '+05:00'".to_owned(),
                format!(
                    "INSERT INTO {database}.t VALUES (1, '2024-03-31 02:30:00.123456', '2024-02-29 23:59:59.999', '1000-01-01',
                     '-838:59:59', 2155, 0.1, -123456789012345.00001, b'100000001', 'na\u{ef}ve', X'00015C4E02FF',
                     '{{\"b\": [1.5, null, \"\\\\u0001\"], \"a\": 1e100}}', 'b', 'x,y')"
                ),
            ])
            .await;
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
        job.run_to_end().await;
        source.run([format!("INSERT INTO {database}.t SELECT 2, {columns} FROM {database}.t")]).await;
        job.run_to_end().await;
        let mut conn = target.connect().await;
        let select = format!("SELECT {columns} FROM {database}.t WHERE id = ");
        let copied: mysql_async::Row = conn.query_first(format!("{select}1")).await.unwrap().unwrap();
        let followed: mysql_async::Row = conn.query_first(format!("{select}2")).await.unwrap().unwrap();
        assert_eq!(copied.clone().unwrap(), followed.unwrap());
        assert_eq!(copied.get::<String, _>(0).unwrap(), "2024-03-30 21:30:00.123456");
    }
}
