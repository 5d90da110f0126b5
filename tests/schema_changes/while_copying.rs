//! Statements while the full copy runs: whatever a chunk was read by, both sides are equal behind it.
//!
//! Tables are copied in the order of their names, one chunk after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::following::assert_same_columns;
use crate::harness::{Job, Target, assert_equal, text, towpath};
use crate::servers::{self, Shared};

/// Rows of each table, and of a chunk.
const ROWS: u64 = 60;
const SETTINGS: &str = "params: {realFlushPauseSec: 0, fullBatchSize: 20, fullParallel: 1, writeParallel: 1}\n\
                        ddl: {dropTable: apply}";

/// A table and what is done to it in the middle of its copy. All begin as `(id, a, b, v)`; those that follow a table that is
/// half copied when their own copy has not begun are changed before it begins.
const CHANGES: &[(&str, &[&str])] = &[
    ("a_swapped", &["ALTER TABLE a_swapped CHANGE a b INT, CHANGE b a INT"]),
    ("b_added", &["ALTER TABLE b_added ADD c INT NOT NULL DEFAULT 7 FIRST", "UPDATE b_added SET c = 8 WHERE id < 30"]),
    ("c_dropped", &["ALTER TABLE c_dropped DROP a", "UPDATE c_dropped SET b = 3 WHERE id > 30"]),
    ("d_wider", &["ALTER TABLE d_wider MODIFY v VARCHAR(300)", "UPDATE d_wider SET v = REPEAT('x', 250)"]),
    ("e_typed", &["ALTER TABLE e_typed MODIFY a VARCHAR(20)", "UPDATE e_typed SET a = CONCAT('n', id)"]),
    ("f_keyed", &["ALTER TABLE f_keyed DROP PRIMARY KEY, ADD PRIMARY KEY (v, id)"]),
    ("g_renamed", &["RENAME TABLE g_renamed TO g_other", "UPDATE g_other SET a = 5 WHERE id < 20"]),
    ("h_one", &["RENAME TABLE h_one TO h_x, i_two TO h_one, h_x TO i_two", "UPDATE h_one SET a = a + 1 WHERE id < 40"]),
    ("j_emptied", &["TRUNCATE TABLE j_emptied", "INSERT INTO j_emptied VALUES (1, 2, 3, 'new'), (70, 2, 3, 'new')"]),
    ("k_gone", &["DROP TABLE k_gone"]),
    (
        "l_again",
        &[
            "DROP TABLE l_again",
            "CREATE TABLE l_again (id INT PRIMARY KEY, w TEXT)",
            "INSERT INTO l_again VALUES (9, 'w')",
        ],
    ),
    (
        "m_like",
        &[
            "CREATE TABLE m_made LIKE m_like",
            "INSERT INTO m_made VALUES (1, 2, 3, 'four')",
            "ALTER TABLE m_made DROP b",
        ],
    ),
    (
        "n_back",
        &["ALTER TABLE n_back DROP a", "ALTER TABLE n_back ADD a INT AFTER id", "UPDATE n_back SET a = 4 WHERE id < 9"],
    ),
    ("o_last", &["ALTER TABLE o_last CHANGE a b INT, CHANGE b a INT, ADD c INT DEFAULT 9"]),
];

async fn make(conn: &mut Conn, database: &str) {
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 1, 2, 'row {id}')")).collect();
    let names = CHANGES.iter().map(|(table, _)| *table).chain(["i_two"]);
    for table in names {
        let columns = "id INT PRIMARY KEY, a INT, b INT, v VARCHAR(20)";
        conn.query_drop(format!("CREATE TABLE {table} ({columns}); INSERT INTO {table} VALUES {}", rows.join(", ")))
            .await
            .unwrap();
    }
    // Rows that tell the two apart.
    conn.query_drop("UPDATE i_two SET a = 10, b = 20, v = CONCAT('two', id)").await.unwrap();
}

/// Both sides are equal, now and behind a later statement.
async fn assert_right(source: &'static Shared, target: &Target, job: &Job, database: &str) {
    job.run_to_end().await;
    assert_equal(source.port(), target, database).await;
    assert_same_columns(source, target, database).await;
    let status = job.status().await;
    assert_eq!(status["copies"].as_array().map(Vec::len), Some(0), "{status}");
    let mut conn = source.connect().await;
    let more = "ALTER TABLE a_swapped ADD z INT; UPDATE a_swapped SET z = a; UPDATE g_other SET b = 77";
    conn.query_drop(format!("USE {database}; {more}")).await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), target, database).await;
}

/// All of it in one run: the first table is half copied, the others are not begun.
async fn in_one_run(source: &'static Shared) {
    let database = source.database("while_copying").await;
    let mut conn = source.connect().await;
    make(&mut conn, &database).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let mut run = towpath("run");
    let half = job.gate("chunk-read");
    run.env("FAILPOINTS", half.after(2, "off"));
    let child = job.start_as(run);
    half.reached(&job).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(source.connect().await, database.clone(), Arc::clone(&stop)));
    for (_, statements) in CHANGES {
        for statement in *statements {
            conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    half.open();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let came = tokio::time::timeout(Duration::from_secs(120), async {
        while !job.log().contains("it is copied again") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    came.await.unwrap_or_else(|_| panic!("no statement had a table copied again: {}", job.log()));
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(job.log().contains("is left to the stream"), "{}", job.log());
    assert_right(source, &target, &job, &database).await;
}

/// Rows of all tables change, whatever they are made of for the moment.
async fn write(mut conn: Conn, database: String, stop: Arc<AtomicBool>) {
    conn.query_drop(format!("USE {database}")).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        for (table, _) in CHANGES {
            let id = rand::random_range(1..=ROWS);
            // The table or the column may be gone.
            let _ = conn.query_drop(format!("UPDATE {table} SET b = b + 1 WHERE id = {id}")).await;
            let _ = conn.query_drop(format!("DELETE FROM {table} WHERE id = {id} + 3")).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The job is killed in the middle of each table, when it has read a chunk that is not in, and statements come then.
async fn with_kills(source: &'static Shared) {
    let database = source.database("killed_copying").await;
    let mut conn = source.connect().await;
    make(&mut conn, &database).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    for (number, (table, statements)) in CHANGES.iter().enumerate() {
        // The chunk that was read is read again; a table that is given up has no other.
        let mut child = job.start_held_at("chunk-read", if number == 0 { 1 } else { 2 }).await;
        let _ = conn
            .query_drop(format!("UPDATE {table} SET b = b + 1 WHERE id > 10; DELETE FROM {table} WHERE id = 5"))
            .await;
        for statement in *statements {
            conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        child.kill().await.unwrap();
    }
    assert_right(source, &target, &job, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_during_the_copy_put_no_wrong_value_on_mysql() {
    in_one_run(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_during_the_copy_put_no_wrong_value_on_mariadb() {
    in_one_run(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_kills_during_the_copy_put_no_wrong_value_on_mysql() {
    with_kills(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_kills_during_the_copy_put_no_wrong_value_on_mariadb() {
    with_kills(servers::mariadb().await).await;
}

/// A statement between the place that is noted and the first row that is read, and one that is there when the definitions are
/// read and not yet when the place is noted.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_change_while_the_job_begins_are_known_as_they_are_at_its_place() {
    let source = servers::mysql().await;
    let database = source.database("beginning").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, 10, 100), (2, 20, 200)"
    ))
    .await
    .unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let mut run = towpath("run");
    // Once only: the second look finds nothing new.
    let between = job.gate("position-found");
    run.env("FAILPOINTS", between.after(0, "off"));
    let child = job.start_as(run);
    between.reached(&job).await;
    conn.query_drop("ALTER TABLE t ADD c1 INT DEFAULT 1; ALTER TABLE t ADD c2 INT DEFAULT 2").await.unwrap();
    between.open();
    conn.query_drop("ALTER TABLE t DROP a; INSERT INTO t (id, b) VALUES (3, 300)").await.unwrap();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(job.log().contains("looking at them again"), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// Beside each step how often it is passed first.
pub(crate) const STEPS: &[(&str, u32)] =
    &[("table-given-up", 0), ("given-up-emptied", 0), ("given-up-emptied", 0), ("stage-entered", 0), ("copy-read", 0)];

/// A table that cannot be copied on, and a kill at each step of what becomes of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_table_is_given_up_loses_nothing() {
    let source = servers::mysql().await;
    let database = source.database("giving_up").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, 10, 100), (2, 20, 200)"
    ))
    .await
    .unwrap();
    // What is given up is emptied, so the target has to outlive the job.
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let mut held = job.start_held_at("tables-made", 0).await;
    conn.query_drop("ALTER TABLE t DROP a; INSERT INTO t VALUES (3, 300)").await.unwrap();
    held.kill().await.unwrap();
    for &(step, passed) in STEPS {
        let mut held = job.start_held_at(step, passed).await;
        held.kill().await.unwrap();
        conn.query_drop("UPDATE t SET b = b + 1 WHERE id = 1").await.unwrap();
    }
    assert_eq!(job.status().await["copies"].as_array().map(Vec::len), Some(1), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// Without the log nobody would mend it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_while_it_is_copied_without_the_log_fails_the_job() {
    let source = servers::mysql().await;
    let database = source.database("only_full").await;
    let mut conn = source.connect().await;
    make(&mut conn, &database).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.a_swapped"), "startup: full", SETTINGS);
    let mut run = towpath("run");
    let half = job.gate("chunk-read");
    run.env("FAILPOINTS", half.after(1, "off"));
    let mut child = job.start_as(run);
    half.reached(&job).await;
    conn.query_drop(CHANGES[0].1[0]).await.unwrap();
    half.open();
    assert!(!child.wait().await.unwrap().success(), "{}", job.log());
    let output = job.command("run", &[]).await;
    let said = text(&output);
    assert!(!output.status.success() && said.contains("have changed while they were copied"), "{said}");
    assert!(said.contains("a_swapped: it has another definition"), "{said}");
}

/// What was emptied before the place at which a table without a key was copied is not emptied again.
async fn emptied_before(source: &'static Shared) {
    let database = source.database("keyless_emptied").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!(
        "USE {database}; CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 1), (1, 1), (2, 2)"
    ))
    .await
    .unwrap();
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    let mut held = job.start_held_at("job-begun", 0).await;
    conn.query_drop("TRUNCATE TABLE t; INSERT INTO t VALUES (3, 3), (3, 3), (4, 4)").await.unwrap();
    held.kill().await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    conn.query_drop("INSERT INTO t VALUES (3, 3); TRUNCATE TABLE t; INSERT INTO t VALUES (5, 5), (5, 5)")
        .await
        .unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_not_emptied_by_what_its_copy_has_seen_on_mysql() {
    emptied_before(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_not_emptied_by_what_its_copy_has_seen_on_mariadb() {
    emptied_before(servers::mariadb().await).await;
}
