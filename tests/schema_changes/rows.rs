//! Statements by which rows come or go that no row event tells of, and rows that are no table's.

use std::path::Path;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::following::run;
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

const SETTINGS: &str = "params: {realFlushPauseSec: 0}\nddl: {onImpossible: recopy, dropTable: apply}";

/// A job of one database, which has caught up with these statements.
async fn begun(source: &'static Shared, statements: &[&str]) -> (String, Conn, Target, Job) {
    let database = source.database("unlogged").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, statements).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    (database, conn, target, job)
}

/// A table gets the rows back that it had before.
async fn imported(source: &'static Shared) {
    let (database, mut conn, target, job) = begun(
        source,
        &["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"],
    )
    .await;
    let folder = source.data().join(&database);
    let copy = |from: &Path, to: &Path| {
        for file in ["t.ibd", "t.cfg"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    };
    let aside = tempfile::tempdir().unwrap();
    run(&mut conn, &["FLUSH TABLES t FOR EXPORT"]).await;
    copy(&folder, aside.path());
    run(
        &mut conn,
        &["UNLOCK TABLES", "UPDATE t SET v = 'changed'", "DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (3, 'c')"],
    )
    .await;
    run(&mut conn, &["ALTER TABLE t DISCARD TABLESPACE"]).await;
    // Nothing is there that could be copied, and nothing is lost that the target has.
    job.run_to_end().await;
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t")).await, "2");
    copy(aside.path(), &folder);
    run(&mut conn, &["ALTER TABLE t IMPORT TABLESPACE", "INSERT INTO t VALUES (4, 'd')"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_imported_are_copied_on_mysql() {
    imported(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_imported_are_copied_on_mariadb() {
    imported(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_become_tables_and_rows_that_are_in_the_way_of_a_key_are_followed() {
    let source = servers::mariadb().await;
    let rows: Vec<String> = (1..300).map(|id| format!("({id}, {})", id % 100)).collect();
    let rows = rows.join(", ");
    let (database, mut conn, target, job) = begun(
        source,
        &[
            "CREATE TABLE p (id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), \
             PARTITION p1 VALUES LESS THAN (200), PARTITION p2 VALUES LESS THAN (300))",
            "CREATE TABLE d (id INT PRIMARY KEY, a INT)",
            &format!("INSERT INTO p VALUES {rows}"),
            &format!("INSERT INTO d VALUES {rows}"),
        ],
    )
    .await;
    run(&mut conn, &["ALTER TABLE p CONVERT PARTITION p2 TO TABLE q", "UPDATE q SET a = -1 WHERE id < 250"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.q")).await, "100");
    run(
        &mut conn,
        &[
            "ALTER TABLE p CONVERT TABLE q TO PARTITION p2 VALUES LESS THAN (300)",
            "DELETE FROM p WHERE id > 280",
            "ALTER IGNORE TABLE d ADD UNIQUE (a)",
            "INSERT INTO d VALUES (1000, 1000)",
        ],
    )
    .await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let left: Vec<String> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    assert_eq!(left, ["d", "p"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_are_passed_over_and_tables_that_keep_their_old_rows_stop_the_job() {
    let source = servers::mariadb().await;
    let (database, mut conn, target, job) = begun(
        source,
        &["CREATE SEQUENCE early", "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1)"],
    )
    .await;
    run(
        &mut conn,
        &[
            "INSERT INTO t VALUES (2, NEXTVAL(early))",
            "CREATE SEQUENCE s START WITH 100 INCREMENT BY 10 CACHE 2",
            "CREATE TABLE u (id INT PRIMARY KEY DEFAULT (NEXT VALUE FOR s), v INT)",
            "INSERT INTO u (v) VALUES (1), (2), (3), (4), (5)",
            "SELECT SETVAL(s, 900)",
            "ALTER SEQUENCE s INCREMENT BY 2",
            "RENAME TABLE s TO s2",
            "SELECT NEXTVAL(s2)",
            "DROP SEQUENCE s2",
            "INSERT INTO t VALUES (3, 3)",
        ],
    )
    .await;
    job.run_to_end().await;
    assert_equal_of(source, &target, &database, &["t", "u"]).await;
    run(&mut conn, &["ALTER TABLE t ADD SYSTEM VERSIONING", "UPDATE t SET v = 7"]).await;
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(!output.status.success() && said.contains("keeps old rows beside the present ones"), "{said}");
    assert_eq!(target.text(&format!("SELECT v FROM {database}.t WHERE id = 1")).await, "1");
}

/// For a database that has more than tables.
async fn assert_equal_of(source: &'static Shared, target: &Target, database: &str, tables: &[&str]) {
    let all: Vec<String> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    assert_eq!(all, tables);
    for table in tables {
        let sql = format!("SELECT CONCAT(COUNT(*), ' ', SUM(id), ' ', SUM(v)) FROM {database}.{table}");
        let here: Option<String> = source.connect().await.query_first(&sql).await.unwrap();
        assert_eq!(Some(target.text(&sql).await), here, "{table}");
    }
}
