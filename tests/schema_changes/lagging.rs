//! The target takes its time for an ALTER: the other tables go on.

use mysql_async::prelude::Queryable as _;
use towpath::embedded::fault::{Fault, Mode};

use super::following::{SETTINGS, assert_same_columns, run};
use crate::harness::{Job, Target, assert_equal, text};
use crate::servers::{self, Shared};

/// The target works on the table's next change until this is mended.
fn held(target: &Target, table: &str) -> u64 {
    target.inject(Fault::new(Mode::AlterHeld).table(table))
}

async fn until_shown(target: &Target, job: &Job, query: &str, wanted: &str) {
    for _ in 0..1200 {
        if target.text(query).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{query} never gives {wanted}: {}\n{}", target.text(query).await, job.log());
}

async fn others_go_on(source: &'static Shared) {
    let database = source.database("lagging").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, gone INT)",
            "CREATE TABLE s (id INT PRIMARY KEY, n INT)",
            "CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(20))",
            "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
            "INSERT INTO s VALUES (1, 1)",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let (t, s) = (format!("{database}.t"), format!("{database}.s"));
    let holds = [held(&target, &t), held(&target, &s)];
    run(
        &mut conn,
        &[
            "ALTER TABLE t MODIFY n BIGINT, DROP gone, ADD added VARCHAR(9) DEFAULT 'd'",
            "UPDATE t SET n = 5000000000 WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "INSERT INTO t VALUES (4, 4, 'new')",
            "ALTER TABLE s MODIFY n BIGINT",
            "BEGIN",
            "INSERT INTO s VALUES (2, 6000000000)",
            "INSERT INTO u VALUES (1, 'one')",
            "COMMIT",
        ],
    )
    .await;
    // Both tables are being altered, and the third has what was written behind their statements.
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "1").await;
    let status = job.status().await;
    assert_eq!(status["lagging"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["schemaChange"], serde_json::Value::Null);
    assert_eq!(target.text(&format!("SELECT sum(n) FROM {t}")).await, "6");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {s}")).await, "1");
    // Their rows wait behind the checkpoint, so nothing can be said of them.
    let verified = job.command("verify", &["--patience", "1"]).await;
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    for table in [&t, &s] {
        let left_out = format!("table {table} was left out: the job is altering it");
        assert!(text(&verified).contains(&left_out), "{}", text(&verified));
    }

    // A crash forgets nothing of what waits, and the log before the checkpoint is not read again.
    child.kill().await.unwrap();
    let child = job.start();
    run(&mut conn, &["UPDATE t SET n = n + 1 WHERE id = 1", "INSERT INTO u VALUES (2, 'two')"]).await;
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "2").await;
    target.mend(holds[1]);
    until_shown(&target, &job, &format!("SELECT sum(n) FROM {s}"), "6000000001").await;
    // One that names a table that lags waits for it, and what comes behind it waits too.
    run(&mut conn, &["ALTER TABLE t ADD more INT DEFAULT 7 NOT NULL", "INSERT INTO u VALUES (3, 'three')"]).await;
    job.wait_for("one that lags", |status| status["lagging"].as_array().map(Vec::len) == Some(1)).await;
    target.until_struck(holds[0]).await;
    target.mend(holds[0]);
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "3").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    let status = job.status().await;
    assert_eq!((status["lagging"].as_array().map(Vec::len), &status["parkedBytes"]), (Some(0), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_tables_go_on_while_the_target_alters_some_on_mysql() {
    others_go_on(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_tables_go_on_while_the_target_alters_some_on_mariadb() {
    others_go_on(servers::mariadb().await).await;
}

/// With `atomicTransactions` a reader must never see one table behind another.
#[tokio::test(flavor = "multi_thread")]
async fn all_tables_wait_for_all_where_transactions_become_visible_whole() {
    let source = servers::mysql().await;
    let database = source.database("lag_atomic").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1, 1)",
        ],
    )
    .await;
    let target = Target::of(4, 0).await;
    let settings = format!("{SETTINGS}\natomicTransactions: true");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &settings);
    job.run_to_end().await;
    let hold = held(&target, &format!("{database}.t"));
    run(
        &mut conn,
        &[
            "ALTER TABLE t MODIFY n BIGINT",
            "BEGIN",
            "INSERT INTO t VALUES (2, 6000000000)",
            "INSERT INTO u VALUES (1)",
            "COMMIT",
        ],
    )
    .await;
    let child = job.start();
    job.wait_for("the change", |status| !status["schemaChange"].is_null()).await;
    job.wait_for("the target's work", |_| target.server.faults()[0].struck > 3).await;
    assert_eq!(job.status().await["lagging"].as_array().map(Vec::len), Some(0));
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.u")).await, "0");
    target.mend(hold);
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "1").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_equal(source.port(), &target, &database).await;
}

/// It can never do what it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_target_cancels_stops_the_job_and_a_recopy_is_the_way_on() {
    let source = servers::mysql().await;
    let database = source.database("lag_cancelled").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(&mut conn, &["CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1), (2, 2)"]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    let cancelled = Mode::AlterCancelled { reason: "no disk has room".into() };
    let fault = target.inject(Fault::new(cancelled).table(format!("{database}.t")));
    run(&mut conn, &["ALTER TABLE t MODIFY n BIGINT", "INSERT INTO t VALUES (3, 7000000000)"]).await;
    for _ in 0..2 {
        let output = job.command("run", &["--stop-at-end"]).await;
        let said = crate::harness::text(&output);
        assert!(!output.status.success());
        assert!(said.contains("ALTER TABLE t MODIFY n BIGINT") && said.contains("no disk has room"), "{said}");
        assert!(said.contains(&format!("`towpath recopy JOB {database}.t`")), "{said}");
    }
    assert!(target.mend(fault) > 0);
    assert!(job.command("recopy", &["t"]).await.status.success());
    run(&mut conn, &["UPDATE t SET n = 8000000000 WHERE id = 1"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
    assert_same_columns(source, &target, &database).await;
    assert_eq!(job.status().await["lagging"].as_array().map(Vec::len), Some(0));
}

/// What may be parked has a limit; behind it everything waits, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_more_rows_than_may_wait_catches_up_and_so_do_the_others() {
    let source = servers::mysql().await;
    let database = source.database("lag_limit").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    run(
        &mut conn,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, v TEXT)",
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (0, 1, '')",
        ],
    )
    .await;
    let target = Target::start().await;
    let settings = "params: {realFlushPauseSec: 0, totalDataInMemMb: 8, flushBatchMb: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    let hold = held(&target, &format!("{database}.t"));
    run(&mut conn, &["ALTER TABLE t MODIFY n BIGINT"]).await;
    let child = job.start();
    job.wait_for("the lag", |status| status["lagging"][0].is_object()).await;
    // Each row is written twice, so some parts have what others write over.
    for n in ["6000000000", "7000000000"] {
        for part in 0..60 {
            let rows: Vec<String> =
                (0..10).map(|row| format!("({}, {n}, REPEAT('x', 10000))", part * 10 + row)).collect();
            conn.query_drop(format!("REPLACE INTO t VALUES {}", rows.join(", "))).await.unwrap();
        }
    }
    conn.query_drop("INSERT INTO u VALUES (1)").await.unwrap();
    job.wait_for("the limit", |status| status["parkedBytes"].as_u64() >= Some(8 << 20)).await;
    let parked = job.status().await["parkedBytes"].as_u64().unwrap();
    assert!(parked < 9 << 20, "{parked} bytes are parked");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.u")).await, "0");
    target.mend(hold);
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "1").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_equal(source.port(), &target, &database).await;
}

/// It goes out in pieces, and the checkpoint stays before it meanwhile: nothing could be parked.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_too_large_for_memory_waits_for_the_tables_that_lag() {
    let source = servers::mysql().await;
    let database = source.database("lag_large").await;
    let mut conn = source.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let columns = "(id INT PRIMARY KEY, n INT, v TEXT)";
    run(&mut conn, &[&format!("CREATE TABLE t {columns}"), &format!("CREATE TABLE u {columns}")]).await;
    let target = Target::start().await;
    let settings = "params: {realFlushPauseSec: 0, totalDataInMemMb: 8, flushBatchMb: 1}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    job.run_to_end().await;
    let hold = held(&target, &format!("{database}.t"));
    let rows = |from: u32| -> String {
        let rows: Vec<String> = (from..from + 50).map(|row| format!("({row}, 1, REPEAT('x', 10000))")).collect();
        rows.join(", ")
    };
    run(&mut conn, &["ALTER TABLE t MODIFY n BIGINT", "INSERT INTO u VALUES (0, 0, '')", "BEGIN"]).await;
    for table in ["u", "t", "u", "t"] {
        let from: u32 = conn.query_first(format!("SELECT COUNT(*) + 1 FROM {table}")).await.unwrap().unwrap();
        conn.query_drop(format!("INSERT INTO {table} VALUES {}", rows(from))).await.unwrap();
    }
    run(&mut conn, &["UPDATE t SET n = 9000000000 WHERE id = 1", "COMMIT"]).await;
    let child = job.start();
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.u"), "1").await;
    target.mend(hold);
    until_shown(&target, &job, &format!("SELECT count(*) FROM {database}.t WHERE n = 9000000000"), "1").await;
    job.wait_for("its end", |status| status["inserts"] == 201).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_equal(source.port(), &target, &database).await;
}
