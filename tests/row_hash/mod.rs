//! Tables without a key (`noKeyTables: rowHash`): both sides have each row the same number of times, whatever happens.

mod copies;
mod crashes;
mod refusals;

pub(crate) use copies::COPY_STEPS;
pub(crate) use crashes::STEPS;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use towpath::embedded::fault::{Fault, Mode};

use crate::harness::{Job, Target, assert_equal, connect, text};
use crate::servers::{self, Shared};

const QUICK: &str = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0, increBatchSize: 40}";

/// Sends one row-changing statement after another to a table of very few different rows.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(port: u16, database: &str, seed: u64) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, database) = (Arc::clone(&stop), Arc::clone(&written), database.to_owned());
        let task = tokio::spawn(async move {
            let mut conn = connect(port).await;
            conn.query_drop(format!("USE {database}")).await.unwrap();
            let mut random = StdRng::seed_from_u64(seed);
            while !stopped.load(Ordering::Relaxed) {
                for statement in transaction(&mut random) {
                    match conn.query_drop(&statement).await {
                        Ok(()) => counted.fetch_add(1, Ordering::Relaxed),
                        // Writers meet, and one of them is sent back.
                        Err(mysql_async::Error::Server(error)) if matches!(error.code, 1205 | 1213) => break,
                        Err(error) => panic!("{statement}: {error}"),
                    };
                }
            }
            conn.query_drop("ROLLBACK").await.unwrap();
        });
        Writer { stop, written, task }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

/// Five numbers, some of them NULL, and three texts: every row has equals.
fn transaction(random: &mut StdRng) -> Vec<String> {
    let mut statements = Vec::new();
    let several = random.random_bool(0.4);
    if several {
        statements.push("BEGIN".to_owned());
    }
    for _ in 0..if several { random.random_range(2..6) } else { 1 } {
        let n = if random.random_bool(0.2) { "NULL".to_owned() } else { random.random_range(0..5).to_string() };
        let v = ["''", "'a'", "NULL"][random.random_range(0..3)];
        let most = random.random_range(1..4);
        statements.push(match random.random_range(0..10) {
            0..5 => format!("INSERT INTO t (n, v) VALUES ({n}, {v}), ({n}, {v}), (7, {v})"),
            5..7 => format!("DELETE FROM t WHERE n <=> {n} LIMIT {most}"),
            7 => format!("DELETE FROM t WHERE v <=> {v} LIMIT {most}"),
            8 => format!("UPDATE t SET v = {v} WHERE n <=> {n} LIMIT {most}"),
            _ => format!("UPDATE t SET n = {n} LIMIT {most}"),
        });
    }
    if several {
        statements.push(if random.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" }.to_owned());
    }
    statements
}

/// A table with some rows in it.
async fn fill(source: &Shared, prefix: &str, rows: u32) -> String {
    let database = source.database(prefix).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("CREATE TABLE {database}.t (n INT, v VARCHAR(20), d DECIMAL(5,2) DEFAULT 1.5)"))
        .await
        .unwrap();
    insert(&mut conn, &database, rows).await;
    database
}

async fn insert(conn: &mut Conn, database: &str, rows: u32) {
    for from in (0..rows).step_by(1000) {
        let values: Vec<String> =
            (from..rows.min(from + 1000)).map(|row| format!("({}, 'v{}')", row % 7, row % 5)).collect();
        conn.query_drop(format!("INSERT INTO {database}.t (n, v) VALUES {}", values.join(","))).await.unwrap();
    }
}

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn copied_and_followed(source: &Shared) {
    let database = fill(source, "hashed", 12_000).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    // They write while the table is locked, read, and followed.
    let writers = [1, 2, 3].map(|seed| Writer::start(source.port(), &database, seed));
    let child = job.start();
    job.wait_for("incremental with rows", |status| {
        status["stage"] == "incremental" && status["inserts"].as_u64() > Some(300)
    })
    .await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    for writer in writers {
        assert!(writer.stop().await > 50, "the writers have hardly written");
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let copies = target.text(&format!("SELECT MAX(__towpath_copy) FROM {database}.t")).await;
    assert!(copies.parse::<u64>().unwrap() > 12_000, "{copies}: nothing was numbered behind the copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_copied_and_followed_under_writers_of_mysql() {
    copied_and_followed(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_copied_and_followed_under_writers_of_mariadb() {
    copied_and_followed(servers::mariadb().await).await;
}

/// Rows of the target and how often it has them.
async fn counted(target: &Target, database: &str) -> Vec<String> {
    let query = format!("SELECT n, v, COUNT(*) FROM {database}.t GROUP BY n, v ORDER BY n, v");
    let rows: Vec<(Option<String>, Option<String>, String)> = target.connect().await.query(query).await.unwrap();
    let null = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    rows.into_iter().map(|(n, v, count)| format!("{} {} {count}", null(n), null(v))).collect()
}

async fn one_of_several(source: &Shared) {
    let database = source.database("equals").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (n INT, v VARCHAR(20))",
            "INSERT INTO t VALUES (1, 'a'), (1, 'a'), (1, 'a'), (NULL, ''), (NULL, NULL), (NULL, NULL), (2, 'b')",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    assert_eq!(counted(&target, &database).await, ["NULL NULL 2", "NULL  1", "1 a 3", "2 b 1"]);
    for (statement, expected) in [
        ("DELETE FROM t WHERE n = 1 LIMIT 1", ["NULL NULL 2", "NULL  1", "1 a 2", "2 b 1"].as_slice()),
        ("UPDATE t SET v = 'b', n = 2 WHERE n = 1 LIMIT 1", &["NULL NULL 2", "NULL  1", "1 a 1", "2 b 2"]),
        ("DELETE FROM t WHERE v IS NULL LIMIT 1", &["NULL NULL 1", "NULL  1", "1 a 1", "2 b 2"]),
        ("INSERT INTO t SELECT * FROM t", &["NULL NULL 2", "NULL  2", "1 a 2", "2 b 4"]),
        ("UPDATE t SET n = 9, v = 'z' WHERE n = 2 LIMIT 3", &["NULL NULL 2", "NULL  2", "1 a 2", "2 b 1", "9 z 3"]),
        ("UPDATE t SET v = v", &["NULL NULL 2", "NULL  2", "1 a 2", "2 b 1", "9 z 3"]),
        ("DELETE FROM t", &[]),
        ("INSERT INTO t VALUES (1, 'a'), (1, 'a')", &["1 a 2"]),
    ] {
        run(&mut conn, &[statement]).await;
        job.run_to_end().await;
        assert_eq!(counted(&target, &database).await, expected, "{statement}");
        assert_equal(source.port(), &target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_equal_rows_one_is_changed_on_mysql() {
    one_of_several(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_equal_rows_one_is_changed_on_mariadb() {
    one_of_several(servers::mariadb().await).await;
}

/// What a delete is told about must be what the load before it has brought in.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_waits_for_rows_that_are_committed_and_not_yet_visible() {
    let source = servers::mysql().await;
    let database = source.database("hashed_late").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, &["CREATE TABLE t (n INT, v VARCHAR(20))"]).await;
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0, increBatchSize: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    let fault =
        target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 700 }).table(format!("{database}.t")));
    run(
        &mut conn,
        &[
            "INSERT INTO t VALUES (1, 'a'), (1, 'a'), (2, 'b')",
            "DELETE FROM t WHERE n = 1 LIMIT 1",
            "UPDATE t SET v = 'c' WHERE n = 2",
            "DELETE FROM t WHERE n = 1",
        ],
    )
    .await;
    job.run_to_end().await;
    assert!(target.mend(fault) >= 4, "the loads were visible at once");
    // The last of them shows a while behind the job's end.
    for _ in 0..1200 {
        if counted(&target, &database).await == ["2 c 1"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counted(&target, &database).await, ["2 c 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_known_again_by_its_hash() {
    for source in [servers::mysql().await, servers::mariadb().await] {
        let database = source.database("hashed_types").await;
        let mut conn = source.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        let insert = "INSERT INTO t VALUES
            (-5, 18446744073709551615, 1.50, 0.1, 1e-300, b'101', 'x ', 'y ', 'é', 'text', X'00', X'FF00', X'0102', '2024-02-29',
             '2024-02-29 01:02:03.5', '2024-02-29 01:02:03', '-838:59:59', 2024, 'b', 'a,c', '{\"b\": [1, 2.50, null], \"a\": \"x\"}',
             ST_GeomFromText('POINT(1 2)'), 7),
            (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             NULL, NULL, NULL),
            (0, 0, 0, -0.0, 0, b'0', '', '', '', '', '', '', '', '1000-01-01', '9999-12-31 23:59:59', '1970-01-01 00:00:01',
             '00:00:00', 1901, 'a', '', '[]', ST_GeomFromText('LINESTRING(0 0, 1 1)'), 0)";
        run(
            &mut conn,
            &[
                "SET time_zone = '+00:00'",
                "CREATE TABLE t (a INT, b BIGINT UNSIGNED, c DECIMAL(10,3), d FLOAT, e DOUBLE, f BIT(9), g CHAR(5), h VARCHAR(5),
                 i VARCHAR(5) CHARACTER SET latin1, j TEXT, k BINARY(3), l VARBINARY(5), m BLOB, n DATE, o DATETIME(3), p TIMESTAMP NULL,
                 q TIME, r YEAR, s ENUM('a','b'), t SET('a','b','c'), u JSON, v GEOMETRY, w INT, x INT DEFAULT 4 INVISIBLE)",
                insert,
                insert,
            ],
        )
        .await;
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
        job.run_to_end().await;
        assert_equal(source.port(), &target, &database).await;
        // Rows of the copy, and rows of the log.
        for statement in [
            "DELETE FROM t LIMIT 3",
            insert,
            "UPDATE t SET w = 8 WHERE a = -5",
            "DELETE FROM t LIMIT 2",
            "DELETE FROM t",
        ] {
            run(&mut conn, &[statement]).await;
            job.run_to_end().await;
            assert_equal(source.port(), &target, &database).await;
        }
        assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t")).await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_have_rows_without_a_key_too() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_whole", 500).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; CREATE TABLE k (id INT PRIMARY KEY, v TEXT)")).await.unwrap();
    let target = Target::of(4, 0).await;
    let job =
        Job::new(source.port(), &target, &format!("{database}.*"), "", &format!("{QUICK}\natomicTransactions: true"));
    job.run_to_end().await;
    let writer = Writer::start(source.port(), &database, 21);
    for number in 0..6 {
        let child = job.start();
        // One value that CSV cannot carry makes a table's rows travel twice.
        run(
            &mut conn,
            &[&format!("BEGIN; INSERT INTO k VALUES ({number}, 'k'); INSERT INTO t (n, v) VALUES (1, 'a'), (1, CHAR(1)); COMMIT")],
        )
        .await;
        job.wait_for("the row", |status| status["running"] == true && status["inserts"].as_u64() > Some(3 * number))
            .await;
        assert!(job.stop(child).await.success(), "{}", job.log());
    }
    writer.stop().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_back_applies_nothing_twice_to_a_table_without_a_key() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_back", 100).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    let before = job.status().await["position"].clone();
    run(&mut conn, &["INSERT INTO t (n, v) VALUES (1, 'x'), (1, 'x')", "DELETE FROM t WHERE n = 2 LIMIT 2"]).await;
    job.run_to_end().await;
    let place = before["gtids"].as_str().unwrap().to_owned();
    let moved = job.command("reposition", &[&place]).await;
    assert!(moved.status.success(), "{}", text(&moved));
    run(&mut conn, &["DELETE FROM t WHERE n = 1 LIMIT 1", "INSERT INTO t (n, v) VALUES (1, 'x')"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// A transaction that holds the table keeps the copy waiting, and the copy keeps others waiting only for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_delays_the_copy_and_no_writer_for_long() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_lock", 10).await;
    let (mut long, mut short) = (source.connect().await, source.connect().await);
    run(&mut long, &[&format!("USE {database}"), "BEGIN", "INSERT INTO t (n) VALUES (1)"]).await;
    run(&mut short, &[&format!("USE {database}")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let child = job.start();
    while !job.log().contains("without an open transaction that has written to it") {
        run(&mut short, &["INSERT INTO t (n) VALUES (2)"]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run(&mut long, &["COMMIT"]).await;
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// Rows that the target refuses are rows too.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_takes_a_dead_letter_before_it_takes_a_row() {
    let source = servers::mysql().await;
    let database = source.database("hashed_letters").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &["CREATE TABLE t (n INT, v MEDIUMTEXT)", "INSERT INTO t VALUES (1, 'a'), (2, REPEAT('x', 1100000))"],
    )
    .await;
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nstrategyOnError: batchDirtyData\nparams: {realFlushPauseSec: 0}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    let open = async || job.status().await["deadLetters"]["open"].as_u64().unwrap();
    job.run_to_end().await;
    assert_eq!((open().await, counted(&target, &database).await), (1, vec!["1 a 1".to_owned()]));
    run(&mut conn, &["INSERT INTO t SELECT 2, REPEAT('x', 1100000)", "INSERT INTO t VALUES (1, 'a')"]).await;
    job.run_to_end().await;
    assert_eq!(open().await, 2);
    run(&mut conn, &["DELETE FROM t WHERE n = 2 LIMIT 1", "DELETE FROM t WHERE n = 1 LIMIT 1"]).await;
    job.run_to_end().await;
    assert_eq!((open().await, counted(&target, &database).await), (1, vec!["1 a 1".to_owned()]));
    run(&mut conn, &["UPDATE t SET v = 'short' WHERE n = 2"]).await;
    job.run_to_end().await;
    assert_eq!(
        (open().await, counted(&target, &database).await),
        (0, vec!["1 a 1".to_owned(), "2 short 1".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_counts_from_its_commit() {
    for source in [servers::mysql().await, servers::mariadb().await] {
        let database = fill(source, "hashed_xa", 5).await;
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
        let mut conn = source.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        // On MySQL it would keep its lock on the table, so there it is prepared behind the copy.
        let mariadb = conn.server_version().0 >= 10;
        if !mariadb {
            job.run_to_end().await;
        }
        let name = format!("'{database}'");
        run(
            &mut conn,
            &[
                &format!("XA START {name}"),
                "INSERT INTO t (n, v) VALUES (50, 'xa'), (50, 'xa')",
                &format!("XA END {name}"),
                &format!("XA PREPARE {name}"),
            ],
        )
        .await;
        job.run_to_end().await;
        assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t WHERE n = 50")).await, "0");
        run(&mut conn, &[&format!("XA COMMIT {name}"), "DELETE FROM t WHERE n = 50 LIMIT 1"]).await;
        job.run_to_end().await;
        assert_equal(source.port(), &target, &database).await;
    }
}
