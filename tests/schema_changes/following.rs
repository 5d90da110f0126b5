//! The target follows each kind of statement, while rows are being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Target, assert_equal};
use crate::servers;

/// Tables to begin with.
pub(super) const TABLES: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), c DECIMAL(8, 2) DEFAULT 1.5)",
    "CREATE TABLE u (id INT PRIMARY KEY, n BIGINT)",
    "INSERT INTO t VALUES (1, 1, 'one', 1), (2, NULL, NULL, NULL)",
    "INSERT INTO u VALUES (1, 1), (2, 2)",
];

/// Each kind of statement, with rows for the tables that come.
pub(super) const STATEMENTS: &[&str] = &[
    "ALTER TABLE t ADD x INT, ADD y VARCHAR(30) NOT NULL DEFAULT 'new' FIRST, ADD z BIGINT NOT NULL AFTER id",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN b TO bb",
    "ALTER TABLE t CHANGE x xx BIGINT COMMENT 'wider', MODIFY bb VARCHAR(200)",
    "ALTER TABLE t ALTER y SET DEFAULT 'newer', ALTER z SET DEFAULT 7",
    "ALTER TABLE t ADD a VARCHAR(10)",
    "ALTER TABLE t MODIFY c DECIMAL(12, 2) NULL FIRST, ADD INDEX (bb)",
    "ALTER TABLE t ADD v INT, DROP xx, RENAME COLUMN a TO xx",
    "CREATE TABLE made (id INT PRIMARY KEY, v TEXT)",
    "INSERT INTO made VALUES (1, 'one')",
    "CREATE TABLE alike LIKE t",
    "INSERT INTO alike (id) VALUES (1)",
    "CREATE TABLE chosen (id INT PRIMARY KEY) AS SELECT id, bb FROM t WHERE id < 3",
    "TRUNCATE TABLE u",
    "INSERT INTO u VALUES (1, 100)",
    "RENAME TABLE made TO renamed",
    "INSERT INTO renamed VALUES (2, 'two')",
    "RENAME TABLE t TO swap, u TO t, swap TO u",
    "INSERT INTO t VALUES (3, 3)",
    "RENAME TABLE t TO swap, u TO t, swap TO u",
    "DROP TABLE alike",
    "CREATE TABLE alike (id INT PRIMARY KEY, other INT)",
    "INSERT INTO alike VALUES (1, 2)",
    "ALTER TABLE u RENAME TO uu, ADD q INT",
    "UPDATE uu SET q = n",
    "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
];

pub(super) const SETTINGS: &str = "params: {realFlushPauseSec: 0}";

pub(super) async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Rows come, change and go in table `t`, whatever it is called and made of for the moment.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    writing: tokio::task::JoinHandle<u64>,
}

impl Writer {
    pub(super) async fn start(source: &'static servers::Shared, database: &str) -> Writer {
        let mut conn = source.connect().await;
        // What a column without a default gets is then what the type says.
        conn.query_drop(format!("USE {database}; SET sql_mode = ''")).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let (mut number, mut written) = (1000, 0);
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                for sql in [
                    format!("INSERT INTO t (id) VALUES ({number})"),
                    format!("UPDATE t SET id = id + 100000 WHERE id = {}", number - 3),
                    format!("DELETE FROM t WHERE id = {}", number - 5),
                ] {
                    // The table may be away, between two statements.
                    written += u64::from(conn.query_drop(sql).await.is_ok());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            written
        });
        Writer { stop, writing }
    }

    pub(super) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.writing.await.unwrap() > 0, "nothing was written");
    }
}

/// The columns of each table of the source are those of the target's, and no others.
pub(crate) async fn assert_same_columns(source: &servers::Shared, target: &Target, database: &str) {
    let mut there = target.connect().await;
    let mut here = source.connect().await;
    let tables: Vec<String> = here.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    for table in tables {
        let sql = format!(
            "SELECT COLUMN_NAME FROM information_schema.columns WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = '{table}'"
        );
        let mut columns: [Vec<String>; 2] = [here.query(&sql).await.unwrap(), there.query(&sql).await.unwrap()];
        columns.iter_mut().for_each(|names| names.sort());
        assert_eq!(columns[0], columns[1], "{table}");
    }
}

async fn each_kind(source: &'static servers::Shared) {
    let database = source.database("following").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, TABLES).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let writer = Writer::start(source, &database).await;
    for statement in STATEMENTS {
        run(&mut conn, &[statement]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writer.stop().await;
    job.wait_for("the last change", |status| {
        let kinds = status["schemaChanges"].as_array().cloned().unwrap_or_default();
        let renamed = kinds.iter().find(|count| count["kind"] == "renameTable");
        // One for each table that has another name behind a statement.
        renamed.is_some_and(|count| count["number"].as_u64() >= Some(6))
    })
    .await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    // And again from the checkpoint.
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    // DROP TABLE is not applied: its rows are still there, beside those of the table that has the name now.
    let kept: Vec<String> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    let aside: Vec<&String> = kept.iter().filter(|name| name.starts_with("alike__dropped_")).collect();
    assert_eq!(aside.len(), 1, "{kept:?}");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.{}", aside[0])).await, "1");
    let status = job.status().await;
    assert_eq!(status["schemaChange"], serde_json::Value::Null);
    let shown = job.command("status", &[]).await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("1 dropTable ignored"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_statement_is_followed_under_write_load_on_mysql() {
    each_kind(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_statement_is_followed_under_write_load_on_mariadb() {
    each_kind(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_changes_in_a_row_are_followed() {
    let source = servers::mysql().await;
    let database = source.database("many_changes").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, &["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await;
    // A job that rewrites the table shows itself running, and no longer than that: there are many.
    let target = Target::with(|options| options.alter_delay = Duration::from_millis(100)).await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    // Adding and dropping in turn, so that the table stays small; every tenth has rows around it.
    for number in 0..500 {
        let sql = match number % 4 {
            0 => format!("ALTER TABLE t ADD c{number} INT DEFAULT {number}"),
            1 => format!("ALTER TABLE t RENAME COLUMN c{} TO d{number}", number - 1),
            // The target rewrites the table for each.
            2 => format!("ALTER TABLE t MODIFY d{} BIGINT", number - 1),
            _ => format!("ALTER TABLE t DROP COLUMN d{}", number - 2),
        };
        conn.query_drop(sql).await.unwrap();
        if number % 10 == 0 {
            conn.query_drop(format!("INSERT INTO t (id) VALUES ({})", number + 2)).await.unwrap();
        }
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
}
