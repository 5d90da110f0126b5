//! What the job file says about each kind of statement.

use mysql_async::prelude::Queryable as _;

use super::following::{SETTINGS, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

/// A job of tables `t (id, v, n)` and `u (id)` with this `ddl`, which has caught up.
async fn job(source: &'static Shared, ddl: &str) -> (String, mysql_async::Conn, Target, Job) {
    let database = source.database("policies").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(10) NOT NULL, n SMALLINT)",
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2)",
            "INSERT INTO u VALUES (1)",
        ],
    )
    .await;
    let target = Target::start().await;
    let settings = format!("{SETTINGS}\nddl: {ddl}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &settings);
    job.run_to_end().await;
    (database, conn, target, job)
}

async fn rows(target: &Target, sql: &str) -> Vec<String> {
    let rows: Vec<mysql_async::Row> = target.connect().await.query(sql).await.unwrap();
    let cell = |value: mysql_async::Value| value.as_sql(true).trim_matches('\'').to_owned();
    rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect::<Vec<_>>().join(" ")).collect()
}

async fn ignored(source: &'static Shared) {
    let all = "{default: ignore}";
    let (database, mut conn, target, job) = job(source, all).await;
    run(
        &mut conn,
        &[
            "ALTER TABLE t ADD added INT, DROP COLUMN v, MODIFY n INT",
            "INSERT INTO t (id, n, added) VALUES (3, 30000, 3)",
            "UPDATE t SET n = 22 WHERE id = 2",
            "ALTER TABLE t RENAME COLUMN n TO m",
            "UPDATE t SET m = 11 WHERE id = 1",
            "CREATE TABLE made (id INT PRIMARY KEY)",
            "INSERT INTO made VALUES (1)",
            "TRUNCATE TABLE u",
            "INSERT INTO u VALUES (2)",
            "RENAME TABLE u TO renamed",
            "INSERT INTO renamed VALUES (3)",
            "RENAME TABLE made TO made2",
            "INSERT INTO made2 VALUES (2)",
        ],
    )
    .await;
    job.run_to_end().await;
    // What changed has no value in the dropped column; what did not keeps its own.
    assert_eq!(
        rows(&target, &format!("SELECT id, v, n FROM {database}.t ORDER BY id")).await,
        ["1 NULL 11", "2 NULL 22", "3 NULL 30000"]
    );
    assert_eq!(rows(&target, &format!("SELECT id FROM {database}.u ORDER BY id")).await, ["1", "2", "3"]);
    assert_eq!(rows(&target, &format!("SHOW TABLES FROM {database}")).await, ["t", "u"]);
    // A value that does not fit the column that was not widened is the row's affair.
    run(&mut conn, &["INSERT INTO t (id, m) VALUES (4, 100000)"]).await;
    let output = job.command("run", &["--stop-at-end"]).await;
    assert!(
        !output.status.success() && text(&output).contains("the target refuses the row with key"),
        "{}",
        text(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_leaves_the_target_as_it_is_and_rows_keep_flowing_on_mysql() {
    ignored(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_leaves_the_target_as_it_is_and_rows_keep_flowing_on_mariadb() {
    ignored(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_stops_the_job_if_its_policy_says_so_and_goes_on_when_that_is_changed() {
    let source = servers::mysql().await;
    let (database, mut conn, target, job) = job(source, "{default: error}").await;
    for (kind, statement) in [
        ("addColumn", "ALTER TABLE t ADD x INT"),
        ("modifyColumn", "ALTER TABLE t MODIFY n INT"),
        ("renameColumn", "ALTER TABLE t RENAME COLUMN n TO m"),
        ("dropColumn", "ALTER TABLE t DROP COLUMN x"),
        ("createTable", "CREATE TABLE made (id INT PRIMARY KEY)"),
        ("renameTable", "RENAME TABLE made TO renamed"),
        ("truncateTable", "TRUNCATE TABLE u"),
        ("dropTable", "DROP TABLE renamed"),
    ] {
        run(&mut conn, &[statement]).await;
        let output = job.command("run", &["--stop-at-end"]).await;
        let said = text(&output);
        assert!(!output.status.success() && said.contains(": error)"), "{statement}: {said}");
        assert!(said.contains(&format!("set ddl.{kind} to")), "{statement}: {said}");
        let file = std::fs::read_to_string(job.path()).unwrap();
        let file = file.replace("default: error", &format!("default: error, {kind}: apply"));
        let file = file.replace(&format!("{kind}: apply, {kind}: apply"), &format!("{kind}: apply"));
        std::fs::write(job.path(), file).unwrap();
        job.run_to_end().await;
    }
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(rows(&target, &format!("SHOW TABLES FROM {database}")).await, ["t", "u"], "the drop was applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_changes_rows_without_a_row_event_stops_the_job_with_the_choices() {
    let source = servers::mysql().await;
    let (database, mut conn, target, job) = job(source, "{default: apply}").await;
    run(&mut conn, &["ALTER TABLE t ADD at DATETIME DEFAULT CURRENT_TIMESTAMP"]).await;
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(
        !output.status.success() && said.contains("column at: it is new") && said.contains("ddl.addColumn"),
        "{said}"
    );
    let file = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), file.replace("default: apply", "addColumn: warn")).unwrap();
    run(&mut conn, &["INSERT INTO t (id, v) VALUES (5, 'five')"]).await;
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(output.status.success() && said.contains("not applied (ddl.addColumn: warn)"), "{said}");
    assert_eq!(rows(&target, &format!("SELECT v FROM {database}.t WHERE id = 5")).await, ["five"]);
    let status = job.status().await;
    assert_eq!(status["schemaChanges"][0]["outcome"], "warned", "{status}");
}
