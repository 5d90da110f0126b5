//! What is refused, and what is left out.

use mysql_async::Row;
use mysql_async::prelude::Queryable as _;

use super::{QUICK, fill, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers;

#[tokio::test(flavor = "multi_thread")]
async fn what_would_make_copies_inexact_is_refused() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_refused", 10).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;

    // Another job's rows.
    let other = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let refused = text(&other.command("run", &["--stop-at-end"]).await);
    assert!(refused.contains(&format!("{database}.t: the target's table has rows already")), "{refused}");
    assert!(refused.contains(&format!("TRUNCATE TABLE `{database}`.`t`")), "{refused}");

    // Another zone makes other texts of the same moments.
    let file = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), file.replace("timezone: '+00:00'", "timezone: '+05:00'")).unwrap();
    let refused = text(&job.command("run", &["--stop-at-end"]).await);
    assert!(
        refused.contains("begun with source.timezone UTC") && refused.contains("it has source.timezone +05"),
        "{refused}"
    );
    std::fs::write(job.path(), &file).unwrap();

    // A session that does not log whole rows.
    run(&mut conn, &["SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET v = 'new' LIMIT 1"]).await;
    let refused = text(&job.command("run", &["--stop-at-end"]).await);
    assert!(refused.contains(&format!("table {database}.t: a row image lacks columns")), "{refused}");
    assert!(refused.contains("binlog.0") && refused.contains("SET GLOBAL binlog_row_image = 'FULL'"), "{refused}");

    // A column with the name of ours.
    run(&mut conn, &["CREATE TABLE u (__TOWPATH_COPY INT)"]).await;
    let third = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let checked = text(&third.command("check", &[]).await);
    assert!(checked.contains(&format!("table {database}.u: its column __towpath_copy has the name")), "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_for_the_lock_and_for_an_engine_with_snapshots() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_check", 10).await;
    let user = format!("u_{database}");
    let mut conn = source.connect().await;
    run(
        &mut conn,
        &[
            &format!("CREATE TABLE {database}.m (n INT) ENGINE=MyISAM"),
            &format!("CREATE USER {user} IDENTIFIED BY ''"),
            &format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"),
            &format!("GRANT SELECT ON {database}.* TO {user}"),
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), &format!("username: {user}"), QUICK);
    let checked = text(&job.command("check", &[]).await);
    assert!(checked.contains(&format!("lacks LOCK TABLES on {database}")), "{checked}");
    assert!(checked.contains(&format!("GRANT LOCK TABLES ON `{database}`.* TO '{user}'@'%'")), "{checked}");
    assert!(checked.contains(&format!("table {database}.m has no key and MyISAM has no snapshots")), "{checked}");
    run(&mut conn, &[&format!("GRANT LOCK TABLES ON {database}.* TO {user}"), &format!("DROP TABLE {database}.m")])
        .await;
    let checked = text(&job.command("check", &[]).await);
    assert!(checked.contains("ready: 1 table(s)"), "{checked}");
    assert!(checked.contains(".t, without a key: a hash of the row stands for it"), "{checked}");
    let ddl = text(&job.command("ddl", &[]).await);
    assert!(
        ddl.contains(
            "PRIMARY KEY (`__towpath_row_hash`, `__towpath_copy`)\nDISTRIBUTED BY HASH (`__towpath_row_hash`)"
        ),
        "{ddl}"
    );
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_left_out_is_told_and_comes_in_when_it_is_made_anew_with_a_key() {
    let source = servers::mysql().await;
    let database = fill(source, "left_out", 10).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; CREATE TABLE k (id INT PRIMARY KEY)")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(
        source.port(),
        &target,
        &format!("{database}.*"),
        "",
        "noKeyTables: skip\nparams: {realFlushPauseSec: 0}",
    );
    let checked = text(&job.command("check", &[]).await);
    assert!(checked.contains(&format!("warning  table {database}.t is left out: it has no primary key")), "{checked}");
    job.run_to_end().await;
    run(&mut conn, &["INSERT INTO t (n) VALUES (1)", "INSERT INTO k VALUES (1)", "ALTER TABLE t ADD COLUMN more INT"])
        .await;
    job.run_to_end().await;
    assert_eq!(job.status().await["leftOut"], serde_json::json!([format!("{database}.t")]));
    assert!(text(&job.command("status", &[]).await).contains(&format!("left out    {database}.t")));
    let tables: Vec<Row> = target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.k")).await, "1");
    // Made anew with a key it is a table like any other.
    run(
        &mut conn,
        &[
            "INSERT INTO t (n) VALUES (2)",
            "DROP TABLE t",
            "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
            "INSERT INTO t VALUES (1, 10)",
        ],
    )
    .await;
    job.run_to_end().await;
    run(&mut conn, &["INSERT INTO t VALUES (2, 20)"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(job.status().await["leftOut"], serde_json::json!([]));
}
