//! A job that is behind has the definitions of its own place, not today's.

use mysql_async::prelude::Queryable as _;

use super::following::{SETTINGS, STATEMENTS, TABLES, assert_same_columns, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers;

async fn behind(source: &'static servers::Shared) {
    let database = source.database("behind").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, TABLES).await;
    let targets = [Target::start().await, Target::start().await];
    let jobs = targets
        .iter()
        .map(|target| Job::new(source.port(), target, &format!("{database}.*"), "", SETTINGS))
        .collect::<Vec<_>>();
    for job in &jobs {
        job.run_to_end().await;
    }
    // Values that would read as others with any of the later definitions.
    for three in [
        "ALTER TABLE t ADD first INT FIRST",
        "ALTER TABLE t CHANGE a aa BIGINT, CHANGE b bbb VARCHAR(40)",
        "ALTER TABLE t DROP first, ADD b VARCHAR(20) DEFAULT 'b'",
    ] {
        let id = three.len();
        run(&mut conn, &[&format!("INSERT INTO t (id, c) VALUES ({id}, 2.5)"), three]).await;
    }
    run(
        &mut conn,
        &["INSERT INTO t (id, b) VALUES (9, 'nine')", "ALTER TABLE t DROP b, DROP aa, CHANGE bbb b VARCHAR(40)"],
    )
    .await;
    run(&mut conn, &["ALTER TABLE t ADD a INT AFTER id", "UPDATE t SET a = id"]).await;
    jobs[0].run_to_end().await;
    assert_equal(source.port(), &targets[0], &database).await;
    run(&mut conn, STATEMENTS).await;
    jobs[0].run_to_end().await;
    // The same log, all of it at once and into a target that has seen none of it.
    jobs[1].run_to_end().await;
    for target in &targets {
        assert_equal(source.port(), target, &database).await;
        assert_same_columns(source, target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_many_statements_behind_reads_each_row_with_the_definition_of_its_time_on_mysql() {
    behind(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_many_statements_behind_reads_each_row_with_the_definition_of_its_time_on_mariadb() {
    behind(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_table_that_is_missing_is_not_made_anew_without_its_rows() {
    let source = servers::mysql().await;
    let database = source.database("missing").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    target.connect().await.query_drop(format!("DROP TABLE {database}.t")).await.unwrap();
    let output = job.command("run", &["--stop-at-end"]).await;
    assert!(!output.status.success());
    let said = text(&output);
    assert!(said.contains(&format!("the target has no table {database}.t")) && said.contains("hint:"), "{said}");
    assert!(target.connect().await.query_drop(format!("SELECT * FROM {database}.t")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_the_job_file_selects_later_are_told_and_those_it_no_longer_does_are_left() {
    let source = servers::mysql().await;
    let database = source.database("selection").await;
    source
        .run([
            format!("CREATE TABLE {database}.a (id INT PRIMARY KEY)"),
            format!("CREATE TABLE {database}.b (id INT PRIMARY KEY)"),
            format!("CREATE TABLE {database}.other (id INT PRIMARY KEY)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.[ab]"), "", SETTINGS);
    job.run_to_end().await;
    let select = |patterns: &str| {
        let file = std::fs::read_to_string(job.path()).unwrap();
        let (before, rest) = file.split_once("tables: ['").unwrap();
        let behind = rest.split_once("']").unwrap().1;
        std::fs::write(job.path(), format!("{before}tables: ['{patterns}']{behind}")).unwrap();
    };
    // A new table that the patterns matched all along is met in the log.
    source
        .run([format!("DROP TABLE {database}.b"), format!("CREATE TABLE {database}.b (id INT PRIMARY KEY, n INT)")])
        .await;
    source
        .run([format!("INSERT INTO {database}.b VALUES (1, 2)"), format!("INSERT INTO {database}.a VALUES (1)")])
        .await;
    job.run_to_end().await;
    assert_eq!(target.text(&format!("SELECT n FROM {database}.b")).await, "2");
    select(&format!("{database}.*"));
    let output = job.command("run", &["--stop-at-end"]).await;
    assert!(text(&output).contains("the job file selects it now"), "{}", text(&output));
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.other")).await, "0");
    select(&format!("{database}.a"));
    source
        .run([format!("ALTER TABLE {database}.b ADD x INT"), format!("INSERT INTO {database}.b VALUES (3, 4, 5)")])
        .await;
    source.run([format!("INSERT INTO {database}.a VALUES (2)")]).await;
    job.run_to_end().await;
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.a")).await, "2");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.b")).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_moved_back_to_before_a_schema_change() {
    let source = servers::mysql().await;
    let database = source.database("moved").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; CREATE TABLE t (id INT PRIMARY KEY)")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    let place = |status: &serde_json::Value| {
        format!("{}:{}", status["position"]["file"].as_str().unwrap(), status["position"]["offset"])
    };
    let before = place(&job.status().await);
    run(&mut conn, &["INSERT INTO t VALUES (1)", "ALTER TABLE t ADD n INT", "INSERT INTO t VALUES (2, 2)"]).await;
    job.run_to_end().await;
    let refused = job.command("reposition", &[&before]).await;
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("lies before a schema change"), "{said}");
    run(&mut conn, &["INSERT INTO t VALUES (3, 3)"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}
