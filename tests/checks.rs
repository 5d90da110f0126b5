//! What `towpath check` judges: a job that has not begun by the source's catalogue, one that has begun by what it will do.

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Target, text};
use crate::servers;

/// `check` of a job that can run; what it prints.
async fn passes(job: &Job) -> String {
    let output = job.command("check", &[]).await;
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_begun_is_judged_by_its_own_definitions_and_place() {
    let source = servers::mysql().await;
    let database = source.database("judged").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    let said = passes(&job).await;
    assert!(said.contains("judged   the job's first start: by the source's tables as they are now"), "{said}");
    job.run_to_end().await;

    // Today's catalogue would be refused: a table without a key. For the job it is a statement that it has not read yet.
    source
        .run([format!("CREATE TABLE {database}.keyless (v INT)"), format!("RENAME TABLE {database}.t TO {database}.u")])
        .await;
    let said = passes(&job).await;
    assert!(said.contains("judged   the job's next start, in its incremental stage at binlog."), "{said}");
    assert!(said.contains("by its tables as they were defined there"), "{said}");
    assert!(
        said.contains(&format!("table    {database}.t -> {database}.t\n")) && said.contains("1 table(s)"),
        "{said}"
    );

    // A new job of the same tables sees them as they are.
    let other = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    let refused = other.command("check", &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains(&format!("{database}.keyless")), "{}", text(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_from_the_target_and_another_selection_are_told() {
    let source = servers::mysql().await;
    let database = source.database("gone").await;
    let table = |name: &str| format!("CREATE TABLE {database}.{name} (id INT PRIMARY KEY)");
    source.run([table("a"), table("b"), table("c")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.[ab]"), "", "");
    job.run_to_end().await;
    let file = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), file.replace("[ab]", "[bc]")).unwrap();
    let said = passes(&job).await;
    assert!(said.contains(&format!("warning  table {database}.c is selected and not in the job yet")), "{said}");
    assert!(said.contains(&format!("warning  table {database}.a is no longer selected")), "{said}");
    assert!(!text(&job.command("status", &[]).await).contains("to copy"), "check has changed something");

    target.connect().await.query_drop(format!("DROP TABLE {database}.b")).await.unwrap();
    let refused = job.command("check", &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    assert!(said.contains(&format!("PROBLEM  the target has no table {database}.b")), "{said}");
}

/// Statements of `docs/setup.md`, with other names and a password.
fn documented(section: &str, database: &str) -> Vec<String> {
    let page = include_str!("../docs/setup.md");
    let section = page.split("\n## ").find(|part| part.starts_with(section)).unwrap();
    let statements = section.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(';')).map(|(sql, _)| sql);
    let statements = statements.filter(|sql| sql.starts_with("CREATE ") || sql.starts_with("GRANT "));
    let named = |sql: &str| {
        sql.replace("shop", database).replace("'towpath'", &format!("'{database}'")).replace("...", "s3cret")
    };
    let statements: Vec<String> = statements.map(named).collect();
    assert!(statements.len() >= 4, "{statements:?}");
    statements
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_that_the_documents_make_may_do_all_that_a_job_does() {
    let source = servers::mysql().await;
    let database = source.database("documented").await;
    source
        .run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"), format!("CREATE TABLE {database}.k (v INT)")])
        .await;
    source
        .run([format!("INSERT INTO {database}.t VALUES (1)"), format!("INSERT INTO {database}.k VALUES (1), (1)")])
        .await;
    source.run(documented("MySQL", &database)).await;
    let target = Target::start().await;
    let mut admin = target.connect().await;
    for statement in documented("StarRocks", &database) {
        admin.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let user = format!("username: {database}, password: s3cret");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), &user, "noKeyTables: rowHash");
    let file = std::fs::read_to_string(job.path()).unwrap();
    let file = file.replace("  username: root\n", &format!("  username: {database}\n  password: s3cret\n"));
    std::fs::write(job.path(), file).unwrap();
    let said = passes(&job).await;
    assert!(!said.contains("XA"), "{said}");
    job.run_to_end().await;
    source
        .run([
            format!("UPDATE {database}.k SET v = 2 LIMIT 1"),
            format!("ALTER TABLE {database}.t ADD COLUMN more INT DEFAULT 3"),
            format!("INSERT INTO {database}.t VALUES (2, 4)"),
            format!("DELETE FROM {database}.t WHERE id = 1"),
        ])
        .await;
    job.run_to_end().await;
    assert_eq!(target.text(&format!("SELECT concat(count(*), ' ', sum(more)) FROM {database}.t")).await, "1 4");
    assert_eq!(target.text(&format!("SELECT concat(count(*), ' ', sum(v)) FROM {database}.k")).await, "2 3");
}
