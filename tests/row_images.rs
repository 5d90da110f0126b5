//! Row images that lack columns: `binlog_row_image` NOBLOB and MINIMAL, set by the session, changed between transactions.
//! (`random` does the same with random tables and statements.)

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

/// Every transaction is an epoch of its own, so nothing is told by an earlier one.
const ONE_BY_ONE: &str = "params: {realFlushPauseSec: 0, increBatchSize: 1}";
const TOGETHER: &str = "params: {realFlushPauseSec: 5}";

/// Columns with every kind of default.
const DEFAULTS: &str = "id INT PRIMARY KEY, n INT DEFAULT -7, u BIGINT UNSIGNED NOT NULL DEFAULT 18446744073709551615, \
    z INT(6) ZEROFILL DEFAULT 5, t VARCHAR(20) NOT NULL DEFAULT 'it''s \\\\ é', l VARCHAR(5) CHARACTER SET latin1 DEFAULT 'é', \
    c CHAR(4) DEFAULT 'a', must VARCHAR(10) NOT NULL, dc DECIMAL(5,2) DEFAULT 1, big DECIMAL(50,3) NOT NULL DEFAULT -1.5, \
    f FLOAT DEFAULT 0.1, d DOUBLE DEFAULT 0.12345678901234568, b BIT(9) DEFAULT b'101', bi BINARY(3) DEFAULT 'a', \
    vb VARBINARY(4) NOT NULL DEFAULT 'ab', dt DATE DEFAULT '2020-01-02', dtt DATETIME(3) DEFAULT '2020-01-02 03:04:05.120', \
    ti TIME(2) DEFAULT '-10:00:00.25', y YEAR DEFAULT 1999, e ENUM('p','q') NOT NULL, e2 ENUM('p','q') DEFAULT 'q', \
    s SET('a','b','c') DEFAULT 'a,c', now DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6), x INT DEFAULT (1 + 1), \
    up TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, tx TEXT, bl BLOB NOT NULL, j JSON, \
    st INT AS (n * 3) STORED, ix INT AS (n * 4) VIRTUAL, inv INT DEFAULT 3 INVISIBLE, KEY (ix)";

fn tables(mysql: bool) -> Vec<String> {
    let more = if mysql { "v INT AS (n * 2) VIRTUAL" } else { "i4 INET4 DEFAULT '10.0.0.1', un UUID NOT NULL" };
    let mut tables = vec![
        format!("CREATE TABLE t ({DEFAULTS}, {more})"),
        "CREATE TABLE k (v INT, id INT NOT NULL DEFAULT 5, part VARCHAR(9) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'é', \
         PRIMARY KEY (part, id))".into(),
        "CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT DEFAULT 4)".into(),
        "CREATE TABLE u (w TEXT, x INT NOT NULL, y INT NOT NULL, v INT, UNIQUE KEY (x, y))".into(),
    ];
    if mysql {
        tables.push("SET SESSION sql_generate_invisible_primary_key = ON".into());
        tables.push("CREATE TABLE hidden (v INT, w TEXT)".into());
    }
    tables
}

/// Statements that can be followed under every image; keys are new in each round.
fn statements(mysql: bool, round: usize) -> Vec<String> {
    let (one, two, three) = (round * 10 + 1, round * 10 + 2, round * 10 + 3);
    let mut statements: Vec<String> = [
        format!("INSERT INTO t (id) VALUES ({one})"),
        format!("INSERT INTO t (id, n, tx, bl, j, inv) VALUES ({two}, 5, 'text', 'blob', '[1, null]', 9), ({three}, NULL, '', '', '{{}}', 1)"),
        format!("UPDATE t SET n = 8 WHERE id = {one}"),
        format!("UPDATE t SET t = '\\\\N', tx = CHAR(1) WHERE id = {one}"),
        format!("UPDATE t SET bl = X'000102', j = 'null', must = CHAR(2) WHERE id = {two}"),
        format!("UPDATE t SET tx = NULL, e = 'q', s = '', dt = NULL WHERE id IN ({two}, {three})"),
        format!("INSERT INTO t (id, n) VALUES ({two}, 1) ON DUPLICATE KEY UPDATE t = CONCAT(t, n), n = n + 1"),
        format!("DELETE FROM t WHERE id = {three}"),
        // The batch has the whole row when its key changes.
        format!("BEGIN; INSERT INTO t (id, tx) VALUES ({three}, 'moved'); UPDATE t SET id = {three} + 5 WHERE id = {three}; \
                 UPDATE t SET n = 1 WHERE id = {three} + 5; COMMIT"),
        "INSERT INTO k (v) VALUES (1)".into(),
        "DELETE FROM k".into(),
        "INSERT INTO k () VALUES ()".into(),
        "UPDATE k SET v = v + 1 WHERE id = 5".into(),
        "DELETE FROM k WHERE id = 5".into(),
        format!("BEGIN; INSERT INTO k (id) VALUES ({one}); UPDATE k SET id = {two}; UPDATE k SET part = CONCAT(part, id); COMMIT"),
        "DELETE FROM k".into(),
        "INSERT INTO a () VALUES (), ()".into(),
        format!("UPDATE a SET v = {round} ORDER BY id DESC LIMIT 1"),
        "DELETE FROM a ORDER BY id LIMIT 1".into(),
        format!("INSERT INTO u (x, y, v) VALUES ({one}, 2, 3), ({two}, 2, 3)"),
        format!("UPDATE u SET v = 4, w = 'w' WHERE x = {one}"),
        format!("UPDATE u SET w = NULL WHERE x = {one}"),
        format!("DELETE FROM u WHERE x = {two}"),
    ]
    .into();
    if mysql {
        // MariaDB does not log what a REPLACE resets.
        statements.push(format!("REPLACE INTO t (id, t) VALUES ({two}, 'r')"));
        statements.push("INSERT INTO hidden (v) VALUES (1), (2)".into());
        statements.push("UPDATE hidden SET w = 'w' WHERE v = 1".into());
        statements.push("DELETE FROM hidden WHERE v = 2 LIMIT 1".into());
    }
    statements
}

async fn images_of_every_kind(source: &Shared, mysql: bool) {
    let database = source.database("images").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    // Columns without a default may be left out.
    conn.query_drop("SET NAMES utf8mb4, SESSION sql_mode = ''").await.unwrap();
    for table in tables(mysql) {
        conn.query_drop(table).await.unwrap();
    }
    let (first, second) = (Target::start().await, Target::start().await);
    let tables = format!("{database}.*");
    let jobs = [
        Job::new(source.port(), &first, &tables, "", ONE_BY_ONE),
        Job::new(source.port(), &second, &tables, "", TOGETHER),
    ];
    for job in &jobs {
        job.run_to_end().await;
    }
    for (round, image) in ["MINIMAL", "NOBLOB", "FULL"].iter().cycle().take(5).enumerate() {
        conn.query_drop(format!("SET SESSION binlog_row_image = {image}")).await.unwrap();
        for statement in statements(mysql, round) {
            for part in statement.split("; ") {
                conn.query_drop(part).await.unwrap_or_else(|error| panic!("{part}: {error}"));
            }
        }
    }
    for (job, target) in jobs.iter().zip([&first, &second]) {
        job.run_to_end().await;
        assert_equal(source.port(), target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqls_images_of_every_kind_arrive() {
    images_of_every_kind(servers::mysql().await, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadbs_images_of_every_kind_arrive() {
    images_of_every_kind(servers::mariadb().await, false).await;
}

/// The log that a copy overlaps with has updates of rows that the copy did not find any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_update_of_a_row_that_is_not_there_leaves_nothing_behind() {
    let source = servers::mysql().await;
    let database = source.database("ghost").await;
    let mut conn = source.connect().await;
    let create = format!(
        "CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT, a VARCHAR(9) NOT NULL, d DATE NOT NULL, j JSON NOT NULL)"
    );
    conn.query_drop(create).await.unwrap();
    conn.query_drop(format!("INSERT INTO {database}.t VALUES (1, 1, 'a', '2020-01-01', '{{}}')")).await.unwrap();
    // A job that begins here never sees the row come.
    let gtid: String = conn.query_first("SELECT @@gtid_executed").await.unwrap().unwrap();
    conn.query_drop("SET SESSION binlog_row_image = MINIMAL").await.unwrap();
    conn.query_drop(format!("UPDATE {database}.t SET v = 2")).await.unwrap();

    let target = Target::start().await;
    let startup = format!("startup: {{gtid: '{}'}}", gtid.replace('\n', ""));
    let job = Job::new(source.port(), &target, &format!("{database}.*"), &startup, ONE_BY_ONE);
    job.run_to_end().await;
    assert_eq!(target.text(&format!("SELECT CONCAT(id, ' ', v) FROM {database}.t")).await, "1 2");
    conn.query_drop(format!("DELETE FROM {database}.t")).await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

async fn stops(source: &Shared, table: &str, statements: &[&str], texts: &[&str]) {
    let database = source.database("untold").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop(format!("CREATE TABLE t ({table})")).await.unwrap();
    conn.query_drop("INSERT INTO t (id) VALUES (1)").await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    job.run_to_end().await;
    for statement in statements {
        conn.query_drop(*statement).await.unwrap();
    }
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for expected in texts.iter().copied().chain([&*format!("{database}.t"), "binlog_row_image"]) {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_tell_stops_the_job() {
    const MINIMAL: &str = "SET SESSION binlog_row_image = MINIMAL";
    for source in [servers::mysql().await, servers::mariadb().await] {
        let moved = [MINIMAL, "UPDATE t SET id = 2"];
        stops(source, "id INT PRIMARY KEY, v INT", &moved, &["gives a row another key", "column v"]).await;
    }
    let source = servers::mysql().await;
    let inserted = [MINIMAL, "INSERT INTO t (id) VALUES (2)"];
    stops(source, "id INT PRIMARY KEY, v FLOAT DEFAULT 0.1234567", &inserted, &["column v", "default"]).await;
    let two_keys =
        "x INT NOT NULL DEFAULT 1, y INT NOT NULL DEFAULT 1, id INT NOT NULL, UNIQUE KEY (x, y), UNIQUE KEY (id)";
    stops(source, two_keys, &[MINIMAL, "DELETE FROM t"], &["lacks a part of the key (id)", "primary key"]).await;
    let source = servers::mariadb().await;
    let hidden = "id INT PRIMARY KEY, v INT, g INT AS (v * 2) VIRTUAL";
    for statement in ["INSERT INTO t (id) VALUES (2)", "UPDATE t SET v = 2"] {
        stops(source, hidden, &[MINIMAL, statement], &["column g", "MariaDB"]).await;
    }
}
