//! Kinds of statements that end in a copy of the table, while rows are being written.
//!
//! The sources' logs tell definitions: otherwise a table that comes from outside the job and goes on is not known when the job is late.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::demo::server::Product;

use super::following::{Writer, assert_same_columns, run};
use crate::harness::{Job, Target, assert_equal};
use crate::servers::{self, Shared};

const SETTINGS: &str =
    "params: {realFlushPauseSec: 0, fullBatchSize: 50}\nddl: {onImpossible: recopy, dropTable: apply}";

async fn each_kind(source: &'static Shared) {
    let database = source.database("copied_kinds").await;
    let outside = source.database("copied_outside").await;
    let mut conn = source.connect().await;
    let rows: Vec<String> = (1..=300).map(|id| format!("({id}, {id}, 'row {id}')")).collect();
    let columns = "id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0, v VARCHAR(40)";
    let begin = format!(
        "USE {database}; SET sql_mode = ''; CREATE TABLE t ({columns}); INSERT INTO t VALUES {}",
        rows.join(", ")
    );
    conn.query_drop(begin).await.unwrap();
    let parts = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN MAXVALUE)";
    conn.query_drop(format!("CREATE TABLE p LIKE t; ALTER TABLE p {parts}; INSERT INTO p SELECT * FROM t"))
        .await
        .unwrap();
    conn.query_drop(format!("CREATE TABLE {outside}.x LIKE t; INSERT INTO {outside}.x VALUES (7, 70, 'exchanged')"))
        .await
        .unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let writer = Writer::start(source, &database).await;
    for statement in [
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)",
        "ALTER TABLE t MODIFY v VARCHAR(60) NOT NULL DEFAULT 'nothing'",
        "ALTER TABLE t MODIFY v VARCHAR(60) NULL",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
        "ALTER TABLE t MODIFY n DECIMAL(12,3) NOT NULL DEFAULT 0.5",
        "ALTER TABLE t CHANGE n v VARCHAR(60), CHANGE v n VARCHAR(60)",
        "ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE {outside}.x",
        "ALTER TABLE p TRUNCATE PARTITION p0",
        "ALTER TABLE p DROP PARTITION p0",
        // Out of the selection, and back with rows that the log does not tell again.
        "RENAME TABLE t TO {outside}.t",
        "ALTER TABLE {outside}.t ADD outside INT DEFAULT 3",
        "RENAME TABLE {outside}.t TO t",
        "RENAME TABLE t TO aside, p TO t, aside TO p",
    ] {
        run(&mut conn, &[&statement.replace("{outside}", &outside)]).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    writer.stop().await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    let tables = format!("SELECT COUNT(*) FROM information_schema.tables WHERE TABLE_SCHEMA = '{database}'");
    assert_eq!(target.text(&tables).await, "2", "a copy was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_statement_that_is_a_copy_is_followed_under_write_load_on_mysql() {
    each_kind(servers::telling(Product::Mysql).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_statement_that_is_a_copy_is_followed_under_write_load_on_mariadb() {
    each_kind(servers::telling(Product::Mariadb).await).await;
}
