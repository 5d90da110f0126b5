//! Jobs that begin in the past, with tables that were altered since: the log's own definitions serve.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath::demo::server::Product;

use crate::harness::{Job, Target, assert_equal, text};
use crate::servers;

const SETTINGS: &str = "params: {realFlushPauseSec: 0}\nnoKeyTables: uniqueKey";

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// `{file: …, position: …}`, here and now.
async fn place(conn: &mut Conn) -> String {
    let row: Option<Row> = match conn.query_first("SHOW BINARY LOG STATUS").await {
        Ok(row) => row,
        Err(_) => conn.query_first("SHOW MASTER STATUS").await.unwrap(),
    };
    let (file, position): (String, u64) = row.map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).unwrap();
    format!("{{file: {file}, position: {position}}}")
}

/// Here and now, in each of the forms that `startup` has for it.
async fn moment(conn: &mut Conn, product: Product) -> [String; 3] {
    let place = place(conn).await;
    let gtids = match product {
        Product::Mysql => "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')",
        Product::Mariadb => "SELECT @@GLOBAL.gtid_binlog_pos",
    };
    let gtids: Option<String> = conn.query_first(gtids).await.unwrap();
    // The log's times are whole seconds: what is done next must be of a later one, and what was done of an earlier.
    let second = "SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:%i:%s')";
    let before: Option<String> = conn.query_first(second).await.unwrap();
    let now = loop {
        let now: Option<String> = conn.query_first(second).await.unwrap();
        if now != before {
            break now.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    [place, format!("{{gtid: '{}'}}", gtids.unwrap()), format!("{{timestamp: '{now}'}}")]
}

/// A table with a text and an ENUM of each character set.
async fn of_all_character_sets(conn: &mut Conn) -> String {
    let sets: Vec<String> =
        conn.query("SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1").await.unwrap();
    let columns: String = sets
        .iter()
        .map(|set| format!(", v_{set} VARCHAR(9) CHARACTER SET {set}, e_{set} ENUM('a','b') CHARACTER SET {set}"))
        .collect();
    format!("CREATE TABLE sets (id INT PRIMARY KEY{columns})")
}

const BEFORE: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20) CHARACTER SET latin1, e ENUM('x','é') NOT NULL, s SET('p','q') CHARACTER SET gbk, \
     d DECIMAL(8,3) UNSIGNED, u BIGINT UNSIGNED, b BLOB, tx TEXT CHARACTER SET gbk, dt DATETIME(3), j JSON, bi BIT(3), \
     c CHAR(3) CHARACTER SET utf8mb3, vb VARBINARY(5), y YEAR, g POINT, ti TIME(2), f FLOAT, l LONGTEXT, bin BINARY(3)) CHARSET utf8mb4",
    "CREATE TABLE late (a INT, id INT, PRIMARY KEY (id))",
    "CREATE TABLE quiet (id INT PRIMARY KEY)",
    "CREATE TABLE r1 (id INT PRIMARY KEY, one INT)",
    "CREATE TABLE r2 (id INT PRIMARY KEY, two VARCHAR(5))",
    "CREATE TABLE gone (id INT PRIMARY KEY)",
    // No primary key: the log tells the unique one as if it were.
    "CREATE TABLE k (a INT, b INT NOT NULL, UNIQUE stand_in (b))",
    "CREATE TABLE plain (id INT PRIMARY KEY, v TEXT)",
];

const SINCE: &[&str] = &[
    "INSERT INTO t VALUES (1, 'é', 'é', 'q', 1.5, 18446744073709551615, x'00ff', '你', '2024-01-02 03:04:05.678', '{\"a\": 1}', b'101', \
     'éé', x'0102', 2024, NULL, '10:20:30.45', 1.5, 'long', x'010203')",
    "INSERT INTO sets (id) VALUES (1)",
    "INSERT INTO gone VALUES (1)",
    "INSERT INTO k VALUES (1, 2), (NULL, 3)",
    "INSERT INTO r1 VALUES (1, 10)",
    "INSERT INTO plain VALUES (1, 'as it is')",
    // Values that read as others by any later definition.
    "ALTER TABLE t ADD first INT FIRST, CHANGE v w VARCHAR(40), DROP d",
    "INSERT INTO t (first, id, w, u, tx) VALUES (7, 2, 'two', 2, 'zwei')",
    "UPDATE t SET w = 'one' WHERE id = 1",
    "ALTER TABLE t MODIFY e ENUM('x','é','z') NOT NULL DEFAULT 'z' AFTER id, RENAME COLUMN u TO d, ADD u VARCHAR(9)",
    "INSERT INTO t (id, u, d) VALUES (3, 'drei', 3)",
    "DELETE FROM t WHERE id = 2",
    "ALTER TABLE sets ADD z INT AFTER id",
    "INSERT INTO sets (id, z) VALUES (2, 2)",
    "ALTER TABLE late ADD c INT FIRST, DROP a",
    "ALTER TABLE late ADD d VARCHAR(9) FIRST",
    "INSERT INTO late VALUES ('d', 1, 2)",
    "ALTER TABLE late MODIFY c BIGINT FIRST",
    "INSERT INTO late VALUES (5000000000, 'e', 3)",
    "ALTER TABLE quiet ADD c INT",
    "ALTER TABLE k ADD c INT FIRST",
    "INSERT INTO k VALUES (3, 4, 5)",
    "RENAME TABLE r1 TO r3, r2 TO r1, r3 TO r2",
    "INSERT INTO r1 VALUES (5, 'five')",
    "INSERT INTO r2 VALUES (6, 6)",
    "DROP TABLE gone",
    "CREATE TABLE made (id INT PRIMARY KEY, v TEXT)",
    "INSERT INTO made VALUES (1, 'made')",
    "ALTER TABLE made ADD w INT FIRST",
    "INSERT INTO made VALUES (2, 2, 'made')",
    "ALTER TABLE plain ADD INDEX i (v(10)), ADD INDEX (id)",
    "INSERT INTO plain VALUES (2, 'as it was')",
];

async fn told(product: Product) {
    let source = servers::telling(product).await;
    let database = source.database("past").await;
    let mut conn = source.connect().await;
    run(&mut conn, &[&format!("USE {database}"), "SET sql_mode = ''"]).await;
    run(&mut conn, BEFORE).await;
    let sets = of_all_character_sets(&mut conn).await;
    run(&mut conn, &[&sets]).await;
    let mut startups = moment(&mut conn, product).await.to_vec();
    run(&mut conn, SINCE).await;
    // From there, and once more from the log's beginning, where the statements that make the tables are.
    startups.push("earliest".to_owned());
    let (mut targets, mut jobs) = (Vec::new(), Vec::new());
    for startup in startups {
        let target = Target::start().await;
        let startup = format!("startup: {startup}");
        jobs.push(Job::new(source.port(), &target, &format!("{database}.*"), &startup, SETTINGS));
        targets.push(target);
    }
    for job in &jobs {
        job.run_to_end().await;
    }
    // What had no row to tell it is the job's from its first one on.
    run(
        &mut conn,
        &["INSERT INTO quiet VALUES (1, 2)", "ALTER TABLE quiet ADD d INT", "INSERT INTO quiet VALUES (2, 3, 4)"],
    )
    .await;
    for (job, target) in jobs.iter().zip(&targets) {
        job.run_to_end().await;
        assert_equal(source.port(), target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_in_the_past_with_the_definitions_that_mysqls_log_tells() {
    told(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_in_the_past_with_the_definitions_that_mariadbs_log_tells() {
    told(Product::Mariadb).await;
}

/// A log without names cannot tell what a table was, whichever way the moment is given.
async fn untold(product: Product) {
    let source = match product {
        Product::Mysql => servers::mysql().await,
        Product::Mariadb => servers::mariadb().await,
    };
    let database = source.database("untold").await;
    let mut conn = source.connect().await;
    run(
        &mut conn,
        &[
            &format!("USE {database}"),
            "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE u (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
            "INSERT INTO u VALUES (1)",
        ],
    )
    .await;
    let startups = moment(&mut conn, product).await;
    // An index and other rows leave a definition what it was, so `u` is no obstacle.
    run(&mut conn, &["INSERT INTO t VALUES (1, 1)", "ALTER TABLE u ADD INDEX (id)", "ALTER TABLE t DROP v"]).await;
    for startup in startups {
        let target = Target::start().await;
        let begun = |tables: &str, settings: &str| {
            Job::new(source.port(), &target, &format!("{database}.{tables}"), &format!("startup: {startup}"), settings)
        };
        let output = begun("*", SETTINGS).command("run", &["--stop-at-end"]).await;
        let told = text(&output);
        assert!(!output.status.success(), "{startup}: {told}");
        for part in ["has been changed since", "ALTER TABLE t DROP v", "binlog_row_metadata=FULL"] {
            assert!(told.contains(part), "{startup}: {told}");
        }
        let job = begun("u", SETTINGS);
        job.run_to_end().await;
        assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.u")).await, "0", "{startup}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_definitions_in_the_log_a_job_does_not_begin_before_a_statement_that_altered_its_table_on_mysql() {
    untold(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_definitions_in_the_log_a_job_does_not_begin_before_a_statement_that_altered_its_table_on_mariadb() {
    untold(Product::Mariadb).await;
}
