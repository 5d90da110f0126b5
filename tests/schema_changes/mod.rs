//! Statements on replicated tables, on real servers.

mod copied;
mod dropped;
mod following;
mod lagging;
pub(crate) use following::assert_same_columns;
mod policies;
mod renames;
mod restarts;
mod rows;
mod unread;
pub(crate) mod while_copying;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::mysql::ddl::{self, Session};

use crate::harness::{Job, Target, assert_equal};
use crate::servers;

/// What leaves a table's rows, columns and key as they are.
const HARMLESS: &[&str] = &[
    "CREATE INDEX i ON t (v)",
    "CREATE UNIQUE INDEX u ON t (v, id)",
    "ALTER TABLE t ADD KEY k (v, n), ADD CONSTRAINT c CHECK (n < 1000)",
    "ALTER TABLE t DROP INDEX u",
    "DROP INDEX i ON t",
    "ALTER TABLE t ENGINE=InnoDB",
    "ALTER TABLE t FORCE, ALGORITHM=COPY",
    "ALTER TABLE t AUTO_INCREMENT=1000",
    "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 3",
    "ALTER TABLE t COALESCE PARTITION 1",
    "ALTER TABLE t REMOVE PARTITIONING",
    "ANALYZE TABLE t",
    "OPTIMIZE TABLE t",
    "LOCK TABLES t WRITE",
    "UNLOCK TABLES",
];

async fn harmless(source: &servers::Shared) {
    let database = source.database("harmless").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), n INT)").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)").await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    for (number, statement) in HARMLESS.iter().enumerate() {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        conn.query_drop(format!("INSERT INTO t VALUES ({}, 'new', 5)", number + 10)).await.unwrap();
        conn.query_drop("UPDATE t SET n = n + 1 WHERE id < 3").await.unwrap();
    }
    job.wait_for("the last row", |status| status["inserts"] == HARMLESS.len()).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    // And again from the checkpoint: the tables are those that the job was begun with.
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_does_not_stop_the_job_on_mysql() {
    harmless(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_does_not_stop_the_job_on_mariadb() {
    harmless(servers::mariadb().await).await;
}

/// Everyday statements and the manual's corners; the tables are as the earlier ones left them.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE a (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(100) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'it''s', \
     PRIMARY KEY (id), UNIQUE KEY u (name), KEY k (name(10))) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COMMENT='x'",
    "CREATE TABLE IF NOT EXISTS b LIKE a",
    "CREATE TABLE p (id INT NOT NULL, d DATE NOT NULL, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d)) \
     (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE f (id INT PRIMARY KEY, a BIGINT UNSIGNED, CONSTRAINT fk FOREIGN KEY (a) REFERENCES a (id) ON DELETE SET NULL ON UPDATE CASCADE)",
    "ALTER TABLE a ADD COLUMN (x INT, y INT DEFAULT 5), ADD COLUMN z ENUM('a','b,c','d''e') NOT NULL DEFAULT 'a' COMMENT 'comma, (paren)' AFTER id",
    "ALTER TABLE a ADD w INT, ADD g INT GENERATED ALWAYS AS (w + (w * 2)) VIRTUAL, ADD s INT AS (w + 1) STORED, ADD INDEX (g)",
    "ALTER TABLE a MODIFY x BIGINT UNSIGNED ZEROFILL, CHANGE y yy DECIMAL(10,2) NOT NULL DEFAULT '1.50' FIRST",
    "ALTER TABLE a ALTER yy SET DEFAULT 2.25, ALTER x DROP DEFAULT",
    "ALTER TABLE a RENAME COLUMN yy TO y, RENAME INDEX k TO k2, DROP COLUMN s",
    "ALTER TABLE a CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "ALTER TABLE a ADD created DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), ADD j JSON, ADD pt POINT, ADD bits BIT(3) DEFAULT b'101'",
    "ALTER TABLE a ADD u CHAR(36) DEFAULT (concat('a', 'b')), ADD big BOOLEAN DEFAULT TRUE, ADD txt TEXT(1000), ADD bl BLOB(70000), ADD l LONG VARCHAR, ADD dp DOUBLE PRECISION",
    "ALTER TABLE a ADD CONSTRAINT chk CHECK (y >= 0), ADD FULLTEXT INDEX ft (name), ENGINE = InnoDB",
    "ALTER TABLE f DROP FOREIGN KEY fk, DROP INDEX fk",
    "ALTER TABLE b ADD `select` INT, ADD `we``ird` INT, ADD größe INT, ADD 1st INT",
    "ALTER TABLE p ADD INDEX (d)",
    "ALTER TABLE p TRUNCATE PARTITION p0",
    "ALTER TABLE p REORGANIZE PARTITION p1 INTO (PARTITION p1 VALUES LESS THAN (2030), PARTITION p2 VALUES LESS THAN MAXVALUE)",
    "ALTER TABLE p DROP PARTITION p0",
    "ALTER TABLE b DROP PRIMARY KEY, MODIFY id INT, ADD PRIMARY KEY (id)",
    "ALTER TABLE b RENAME TO b2, COMMENT 'renamed'",
    "RENAME TABLE b2 TO b, f TO f2",
    "TRUNCATE TABLE b",
    "TRUNCATE b",
    "/*!50000 ALTER TABLE b ADD c1 INT /* inner */ */",
    "ALTER TABLE b -- why\n ADD c2 INT # because",
    "CREATE TABLE q (id INT PRIMARY KEY) AS SELECT 1 AS id",
    "DROP TABLE IF EXISTS q, nothing_here",
    "DROP TABLE f2",
];

const MARIADB: &[&str] = &[
    "ALTER TABLE b ADD COLUMN IF NOT EXISTS c1 INT, DROP COLUMN IF EXISTS nothing, ADD INDEX IF NOT EXISTS k3 (c1)",
    "ALTER TABLE b MODIFY COLUMN IF EXISTS c1 INT NOT NULL DEFAULT (1 + 2)",
    "ALTER TABLE b NOWAIT ADD ip INET6, ADD id2 UUID DEFAULT uuid(), ADD i4 INET4",
    "ALTER TABLE b WAIT 5 DROP COLUMN c2",
    "CREATE OR REPLACE TABLE r (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB ROW_FORMAT=DYNAMIC PAGE_COMPRESSED=0",
    "RENAME TABLE IF EXISTS r TO r2",
    "ALTER TABLE r2 ADD h INT INVISIBLE DEFAULT 3, ADD p INT AS (id + 1) PERSISTENT",
    "DROP TABLE r2 NOWAIT",
];

const MYSQL: &[&str] = &[
    "ALTER TABLE b ALTER COLUMN c1 SET INVISIBLE, ADD v VECTOR(3), ADD INDEX fi ((c1 + 1))",
    "ALTER TABLE b ALTER INDEX fi INVISIBLE",
    "ALTER TABLE b ALTER c1 SET DEFAULT (1 + 2), ADD pt POINT SRID 4326, ADD CHECK (c1 > 0) NOT ENFORCED",
    "ALTER TABLE b COMMENT 'x', STATS_PERSISTENT=DEFAULT",
    "ALTER TABLE b ADD UNIQUE (c2), ALGORITHM=INPLACE, LOCK=NONE",
];

async fn statements_of_the_log(product: Product, more: &[&str]) {
    let source = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn: Conn = source.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE d").await.unwrap();
    conn.query_drop("USE d").await.unwrap();
    for statement in STATEMENTS.iter().chain(more) {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let logs: Vec<Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let mut read = 0;
    for log in logs {
        let name: String = log.get(0).unwrap();
        let events: Vec<Row> = conn.query(format!("SHOW BINLOG EVENTS IN '{name}'")).await.unwrap();
        for event in events {
            let (kind, info): (String, String) = (event.get(2).unwrap(), event.get(5).unwrap());
            let Some(sql) = info.strip_prefix("use `d`; ").filter(|_| kind == "Query") else { continue };
            // MySQL shows the transaction's number behind a statement.
            let sql = sql.rsplit_once(" /* xid=").map_or(sql, |(sql, _)| sql);
            match ddl::parse(sql, Session { database: "d", ..Session::default() }) {
                Ok(Some(_)) => read += 1,
                Ok(None) => {}
                Err(unread) => panic!("{sql}: {unread}"),
            }
        }
    }
    assert!(read >= STATEMENTS.len() + more.len() - 2, "only {read} statements were about tables");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_mysql_log_is_understood() {
    statements_of_the_log(Product::Mysql, MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_mariadb_log_is_understood() {
    statements_of_the_log(Product::Mariadb, MARIADB).await;
}
