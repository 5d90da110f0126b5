//! Tables that get other names, through other databases and in them, and what else the same statement does to them.

use mysql_async::prelude::Queryable as _;

use super::following::{assert_same_columns, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

const PAUSE: &str = "params: {realFlushPauseSec: 0}";

/// Writes other policies into the job file.
fn set_ddl(job: &Job, ddl: &str) {
    let file = std::fs::read_to_string(job.path()).unwrap();
    let lines = file.lines().filter(|line| !line.starts_with("ddl:"));
    let file: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(job.path(), format!("{file}ddl: {ddl}\n")).unwrap();
}

/// Runs the job, which has to stop and say all this.
async fn stops(job: &Job, parts: &[&str]) {
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for part in parts {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

async fn tables(target: &Target, database: &str) -> Vec<String> {
    target.connect().await.query(format!("SHOW TABLES FROM {database}")).await.unwrap()
}

async fn across_databases(source: &'static Shared) {
    let (here, there) = (source.database("across").await, source.database("across").await);
    let outside = source.database("beyond").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {here}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
            "CREATE TABLE p (id INT PRIMARY KEY, n INT)",
            &format!("CREATE TABLE {there}.x (id INT PRIMARY KEY, w INT)"),
            "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO p VALUES (1, 10)",
            &format!("INSERT INTO {there}.x VALUES (7, 70)"),
        ],
    )
    .await;
    let target = Target::start().await;
    let settings = format!("{PAUSE}\nddl: {{dropTable: apply}}");
    let job = Job::new(source.port(), &target, &format!("{{{here},{there}}}.*"), "", &settings);
    job.run_to_end().await;
    run(
        &mut conn,
        &[
            // They end where they were; in the middle nobody replicates them.
            &format!("RENAME TABLE t TO {outside}.t, p TO t, {outside}.t TO p"),
            "INSERT INTO t VALUES (2, 20)",
            "INSERT INTO p VALUES (3, 'three')",
            &format!("RENAME TABLE t TO {there}.tmp, p TO t, {there}.tmp TO p"),
            "INSERT INTO t VALUES (4, 'four')",
            &format!("RENAME TABLE t TO {outside}.t, {outside}.t TO t"),
        ],
    )
    .await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &here).await;
    assert_same_columns(source, &target, &here).await;

    run(&mut conn, &[&format!("RENAME TABLE t TO {there}.t"), &format!("INSERT INTO {there}.t VALUES (5, 'five')")])
        .await;
    stops(&job, &["cannot move a table to another database", "set ddl.onImpossible to `recopy` and start again"]).await;
    set_ddl(&job, "{dropTable: apply, onImpossible: recopy}");
    // Two more exchange their databases.
    run(
        &mut conn,
        &[
            &format!("RENAME TABLE p TO {outside}.p, {there}.x TO p, {outside}.p TO {there}.x"),
            "INSERT INTO p VALUES (8, 80)",
            &format!("INSERT INTO {there}.x VALUES (9, 90)"),
        ],
    )
    .await;
    job.run_to_end().await;
    for database in [&here, &there] {
        assert_equal(source.port(), &target, database).await;
        assert_same_columns(source, &target, database).await;
    }
    assert_eq!(
        (tables(&target, &here).await, tables(&target, &there).await),
        (vec!["p".into()], vec!["t".into(), "x".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_renamed_through_and_into_other_databases_are_followed_on_mysql() {
    across_databases(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_renamed_through_and_into_other_databases_are_followed_on_mariadb() {
    across_databases(servers::mariadb().await).await;
}

/// Impossible in place and renamed, in one statement.
async fn altered_too(source: &'static Shared) {
    let database = source.database("altered_too").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &["CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(20))", "INSERT INTO t VALUES (1, 10, 'one')"],
    )
    .await;
    let policies = ["{onImpossible: recopy}", "{onImpossible: recopy, renameTable: ignore}", "{}"];
    let mut jobs = Vec::new();
    for ddl in policies {
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &format!("{PAUSE}\nddl: {ddl}"));
        job.run_to_end().await;
        jobs.push((job, target));
    }
    run(
        &mut conn,
        &[
            "ALTER TABLE t MODIFY n DECIMAL(12,3) NOT NULL, RENAME TO u",
            "INSERT INTO u VALUES (2, 2.5, 'two')",
            "ALTER TABLE u ADD w INT, DROP v, RENAME TO x",
            "UPDATE x SET w = id",
            "ALTER TABLE x DROP PRIMARY KEY, ADD PRIMARY KEY (n, id), RENAME TO y",
            "INSERT INTO y (id, n) VALUES (3, 3.5)",
        ],
    )
    .await;
    let (job, target) = &jobs[0];
    job.run_to_end().await;
    assert_equal(source.port(), target, &database).await;
    assert_same_columns(source, target, &database).await;
    assert_eq!(tables(target, &database).await, ["y"], "a copy was left behind");
    // Its name stays; what it is made of follows.
    let (job, target) = &jobs[1];
    job.run_to_end().await;
    assert_eq!(tables(target, &database).await, ["t"]);
    let sums = format!("SELECT CONCAT(COUNT(*), ' ', SUM(id), ' ', SUM(w)) FROM {database}.t");
    assert_eq!(target.text(&sums).await, "3 6 3");
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t WHERE n = 2.5 AND id = 2")).await, "1");
    // Nobody has said what to do: the job stops before anything is done, and goes on with what it says.
    let (job, target) = &jobs[2];
    stops(job, &[&format!("the target cannot follow: table {database}.u"), "ddl.onImpossible"]).await;
    assert_eq!(tables(target, &database).await, ["t"]);
    set_ddl(job, "{onImpossible: recopy}");
    job.run_to_end().await;
    assert_equal(source.port(), target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_and_altered_beyond_the_target_is_copied_under_its_new_name_on_mysql() {
    altered_too(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_and_altered_beyond_the_target_is_copied_under_its_new_name_on_mariadb() {
    altered_too(servers::mariadb().await).await;
}
