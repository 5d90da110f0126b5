//! Tables without a key that are copied while the log is followed: altered, copied anew, new to the job.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::embedded::fault::{Fault, Mode};

use super::{QUICK, Writer, fill, insert, run};
use crate::harness::{Job, Target, assert_equal, send, text, towpath};
use crate::servers::{self, Shared};

fn recopying() -> String {
    format!("{QUICK}\nddl: {{onImpossible: recopy, dropTable: apply}}")
}

/// Nothing is being copied, or is to be.
fn idle(status: &serde_json::Value) -> bool {
    let none = |key: &str| status[key].as_array().is_some_and(Vec::is_empty);
    status["stage"] == "incremental" && none("copies") && none("copiesAsked")
}

async fn altered(source: &Shared) {
    let database = fill(source, "hashed_altered", 3_000).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &recopying());
    job.run_to_end().await;
    let child = job.start();
    job.wait_for("a run", |status| status["running"] == true).await;
    let writers = [1, 2].map(|seed| Writer::start(source.port(), &database, seed));
    for statement in [
        "ALTER TABLE t ADD COLUMN w INT NOT NULL DEFAULT 7",
        // In the middle of that copy.
        "ALTER TABLE t MODIFY n DECIMAL(12,2)",
        "CREATE TABLE made (a INT, b TEXT)",
        "INSERT INTO made VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL)",
        "DELETE FROM made WHERE a = 1 LIMIT 1",
    ] {
        run(&mut conn, &[statement]).await;
    }
    job.wait_for("the copy", |status| idle(status) && job.log().contains("its copy is whole")).await;
    // No row's hash is another one then.
    for statement in [
        "ALTER TABLE t CHANGE d e DECIMAL(5,2) DEFAULT 2.5 COMMENT 'renamed'",
        "ALTER TABLE t MODIFY v VARCHAR(60) FIRST",
        "ALTER TABLE made MODIFY a BIGINT",
        "UPDATE made SET b = 'y' WHERE a = 1 LIMIT 1",
    ] {
        run(&mut conn, &[statement]).await;
    }
    let inserts = job.status().await["inserts"].as_u64();
    job.wait_for("the log behind them", |status| status["inserts"].as_u64() > inserts).await;
    job.wait_for("the end of the changes", |status| {
        idle(status) && status["lagging"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    for statement in [
        "ALTER TABLE t ADD COLUMN id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST",
        "ALTER TABLE t DROP COLUMN w",
        "ALTER TABLE t DROP COLUMN id",
    ] {
        run(&mut conn, &[statement]).await;
    }
    for writer in writers {
        writer.stop().await;
    }
    run(
        &mut conn,
        &[
            "RENAME TABLE t TO moved, made TO t",
            "DELETE FROM moved LIMIT 5",
            "INSERT INTO moved SELECT * FROM moved LIMIT 7",
            "DELETE FROM t LIMIT 1",
        ],
    )
    .await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    run(&mut conn, &["DELETE FROM moved LIMIT 3", "ALTER TABLE moved DROP COLUMN e", "INSERT INTO t SELECT * FROM t"])
        .await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let tables = format!("SELECT COUNT(*) FROM information_schema.tables WHERE TABLE_SCHEMA = '{database}'");
    assert_eq!(target.text(&tables).await, "2", "a copy was left behind");
    assert_eq!(job.status().await["parkedBytes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_altered_under_writers_of_mysql() {
    altered(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_altered_under_writers_of_mariadb() {
    altered(servers::mariadb().await).await;
}

/// Where a copy beside the stream is held and killed; `crash::steps` sees that every step is in a table.
pub(crate) const COPY_STEPS: &[&str] = &[
    "copy-anew",
    "copy-placed",
    "copy-load-named",
    "copy-load-in",
    "copy-chunk-in",
    "copy-read",
    "copy-whole",
    "lag-load-named",
    "lag-load-in",
    "lag-part-in",
    "copy-marked",
    "copy-finished",
];

/// Starts the job, asks for copies of `t` until one stands at the step, and kills it there.
async fn kill_at(job: &Job, step: &str) {
    let former = job.log().len();
    let mut run = towpath("run");
    // Meanwhile rows are parked.
    let slow = if step == "copy-read" { "" } else { "copy-read=sleep(150);" };
    run.env("FAILPOINTS", format!("{slow}{step}=return"));
    let mut child = job.start_as(run);
    let held = async {
        while !job.log()[former..].contains(&towpath::step::held_at(step)) {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the job has ended before it came to {step}: {status}\n{}", job.log());
            }
            if idle(&job.status().await) {
                assert!(job.command("recopy", &["t"]).await.status.success());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(120), held).await;
    held.unwrap_or_else(|_| panic!("never came to {step}\n{}", job.log()));
    child.kill().await.unwrap();
}

async fn copied_anew_with_kills(source: &Shared, steps: &[&str]) {
    let database = fill(source, "hashed_recopied", 2_000).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    // It went wrong.
    target.connect().await.query_drop(format!("DELETE FROM {database}.t WHERE n = 3")).await.unwrap();
    let writer = Writer::start(source.port(), &database, 31);
    for step in steps {
        kill_at(&job, step).await;
    }
    writer.stop().await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    let status = job.status().await;
    assert!(idle(&status) && status["parkedBytes"] == 0, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_copy_loses_and_doubles_no_row_without_a_key() {
    copied_anew_with_kills(servers::mysql().await, COPY_STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_a_step_of_a_copy_loses_and_doubles_no_row_without_a_key_on_mariadb() {
    copied_anew_with_kills(servers::mariadb().await, &["copy-chunk-in", "copy-whole", "lag-load-in"]).await;
}

async fn joined(source: &Shared) {
    let database = fill(source, "hashed_joined", 1_500).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, &["CREATE TABLE k (id INT PRIMARY KEY)", "CREATE TABLE s LIKE t", "INSERT INTO s SELECT * FROM t"])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.k"), "", QUICK);
    job.run_to_end().await;
    let select = |from: &str, to: &str| {
        let text = std::fs::read_to_string(job.path()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(job.path(), text.replacen(from, to, 1)).unwrap();
    };
    let writer = Writer::start(source.port(), &database, 41);
    let copied = |status: &serde_json::Value, tables: usize| {
        idle(status) && status["fullData"].as_array().is_some_and(|all| all.len() == tables)
    };
    // While it is stopped, and while it runs.
    select(&format!("'{database}.k'"), &format!("'{database}.k', '{database}.s'"));
    let child = job.start();
    job.wait_for("the first", |status| copied(status, 2)).await;
    select(&format!("'{database}.s'"), &format!("'{database}.s', '{database}.t'"));
    send(&child, "HUP");
    job.wait_for("the second", |status| copied(status, 3)).await;
    run(&mut conn, &["INSERT INTO s SELECT * FROM s LIMIT 10", "DELETE FROM s WHERE n = 2 LIMIT 20"]).await;
    writer.stop().await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_come_into_a_stopped_and_a_running_job_on_mysql() {
    joined(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_come_into_a_stopped_and_a_running_job_on_mariadb() {
    joined(servers::mariadb().await).await;
}

async fn given_up(source: &Shared) {
    let database = fill(source, "hashed_given_up", 60).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, &["CREATE TABLE u LIKE t", "INSERT INTO u SELECT * FROM t"]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let mut held = job.start_held_at("tables-made", 0).await;
    // One cannot be read any more; of the other the copy shows what the job does not know yet.
    run(&mut conn, &["ALTER TABLE t DROP COLUMN d", "ALTER TABLE u MODIFY n DECIMAL(9,1)", "DELETE FROM u LIMIT 3"])
        .await;
    held.kill().await.unwrap();
    let mut held = job.start_held_at("table-given-up", 0).await;
    run(&mut conn, &["INSERT INTO t SELECT * FROM t LIMIT 9", "DELETE FROM t LIMIT 4"]).await;
    held.kill().await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_that_changes_during_the_full_copy_is_copied_again_on_mysql() {
    given_up(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_that_changes_during_the_full_copy_is_copied_again_on_mariadb() {
    given_up(servers::mariadb().await).await;
}

/// Nothing of it can be parked. One that the copy shows goes out in pieces, one behind it waits for the copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_and_transactions_too_large_for_memory_do_not_wait_for_each_other() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_large", 500).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}; CREATE TABLE u (id INT PRIMARY KEY AUTO_INCREMENT, v TEXT)"))
        .await
        .unwrap();
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0, flushBatchMb: 1, totalDataInMemMb: 8}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    let large = async |conn: &mut mysql_async::Conn| {
        let rows = vec!["(REPEAT('x', 10000))"; 60].join(", ");
        run(conn, &["BEGIN", "INSERT INTO t (n, v) VALUES (1, 'large'), (1, 'large')"]).await;
        for _ in 0..4 {
            run(conn, &[&format!("INSERT INTO u (v) VALUES {rows}"), "DELETE FROM t WHERE n = 2 LIMIT 3"]).await;
        }
        run(conn, &["INSERT INTO t SELECT * FROM t LIMIT 50", "COMMIT"]).await;
    };
    large(&mut conn).await;
    assert!(job.command("recopy", &["t"]).await.status.success());
    let mut run_slowly = towpath("run");
    run_slowly.env("FAILPOINTS", "copy-read=sleep(1500)");
    let child = job.start_as(run_slowly);
    job.wait_for("rows of the copy", |_| job.log().contains("chunk is in")).await;
    large(&mut conn).await;
    run(&mut conn, &["DELETE FROM t WHERE n = 3 LIMIT 4"]).await;
    job.wait_for("the copy", |status| idle(status) && status["inserts"].as_u64() >= Some(480)).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// What is prepared is in no picture, and counts from its commit. On MySQL it keeps the table from being locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_prepared_while_a_table_without_a_key_is_copied_counts_once() {
    for source in [servers::mysql().await, servers::mariadb().await] {
        let database = fill(source, "hashed_copy_xa", 200).await;
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
        job.run_to_end().await;
        let mut conn = source.connect().await;
        conn.query_drop(format!("USE {database}")).await.unwrap();
        let mariadb = conn.server_version().0 >= 10;
        let name = format!("'{database}'");
        let (start, end, prepare) =
            (format!("XA START {name}"), format!("XA END {name}"), format!("XA PREPARE {name}"));
        run(&mut conn, &[&start, "INSERT INTO t (n, v) VALUES (50, 'xa'), (50, 'xa')", &end, &prepare]).await;
        assert!(job.command("recopy", &["t"]).await.status.success());
        let child = job.start();
        match mariadb {
            true => job.wait_for("the copy", idle).await,
            false => {
                let waits =
                    |_: &serde_json::Value| job.log().contains("without an open transaction that has written to it");
                job.wait_for("the lock", waits).await;
            }
        }
        run(&mut conn, &[&format!("XA COMMIT {name}"), "DELETE FROM t WHERE n = 50 LIMIT 1"]).await;
        job.wait_for("the copy", idle).await;
        assert!(job.stop(child).await.success(), "{}", job.log());
        job.run_to_end().await;
        assert_equal(source.port(), &target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_not_to_be_added_changes_no_row_and_one_that_is_stops_the_job_with_the_choices() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_policy", 40).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let target = Target::start().await;
    let ignoring = format!("{QUICK}\nddl: {{addColumn: ignore}}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &ignoring);
    job.run_to_end().await;
    run(
        &mut conn,
        &[
            "ALTER TABLE t ADD COLUMN w INT DEFAULT 1",
            "INSERT INTO t (n, v, w) VALUES (1, 'v1', 5), (1, 'v1', 6)",
            "UPDATE t SET w = 9 WHERE n = 1 LIMIT 2",
            "DELETE FROM t WHERE n = 1 AND w = 1 LIMIT 1",
            "DELETE FROM t WHERE n = 2 LIMIT 2",
        ],
    )
    .await;
    job.run_to_end().await;
    let rows = "SELECT GROUP_CONCAT(line ORDER BY line) FROM (SELECT CONCAT_WS(':', n, v, COUNT(*)) AS line";
    let query = format!("{rows} FROM {database}.t GROUP BY n, v) AS counted");
    let there: Vec<(i64, String, i64)> = target
        .connect()
        .await
        .query(format!("SELECT n, v, COUNT(*) FROM {database}.t GROUP BY n, v ORDER BY n, v"))
        .await
        .unwrap();
    let there: Vec<String> = there.into_iter().map(|(n, v, count)| format!("{n}:{v}:{count}")).collect();
    let wanted: String = conn.query_first(query).await.unwrap().unwrap();
    assert_eq!(there.join(","), wanted);

    let file = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), file.replace("addColumn: ignore", "addColumn: apply")).unwrap();
    run(&mut conn, &["ALTER TABLE t ADD COLUMN x INT DEFAULT 1"]).await;
    let refused = text(&job.command("run", &["--stop-at-end"]).await);
    assert!(refused.contains("it has no key, and the hash that stands for one"), "{refused}");
    assert!(refused.contains("set ddl.onImpossible to `recopy`"), "{refused}");
    std::fs::write(job.path(), file.replace("addColumn: ignore", "addColumn: apply, onImpossible: recopy")).unwrap();
    insert(&mut conn, &database, 30).await;
    job.run_to_end().await;
    let columns = format!(
        "SELECT COUNT(*) FROM information_schema.columns WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't'"
    );
    assert_eq!(target.text(&columns).await, "6", "the two of its own, three, and x");
    let counts = |side: &str| format!("SELECT CONCAT(COUNT(*), ' ', SUM(x)) FROM {side}");
    let wanted: String = conn.query_first(counts("t")).await.unwrap().unwrap();
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.t")).await, wanted.split(' ').next().unwrap());
}

/// They wait while the target alters their table, and are numbered once, however often they are sent.
#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_that_wait_for_an_alter_are_sent_again_as_they_were() {
    let source = servers::mysql().await;
    let database = fill(source, "hashed_lag", 400).await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    job.run_to_end().await;
    let hold = target.inject(Fault::new(Mode::AlterHeld).table(format!("{database}.t")));
    run(&mut conn, &["ALTER TABLE t MODIFY n BIGINT", "DELETE FROM t WHERE n = 1 LIMIT 20"]).await;
    insert(&mut conn, &database, 200).await;
    run(&mut conn, &["UPDATE t SET n = n + 5000000000 WHERE n = 2 LIMIT 30", "DELETE FROM t LIMIT 70"]).await;
    let mut child = job.start();
    job.wait_for("rows that wait", |status| status["parkedBytes"].as_u64() > Some(0)).await;
    // They wait as soon as the target takes long, which it may do before it has come to the fault.
    target.until_struck(hold).await;
    child.kill().await.unwrap();
    target.mend(hold);
    for step in ["lag-load-named", "lag-load-in", "lag-load-in"] {
        let mut held = job.start_held_at(step, 0).await;
        held.kill().await.unwrap();
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_eq!(job.status().await["parkedBytes"], 0);
}
