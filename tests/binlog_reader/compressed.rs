//! Compressed transactions: their events come one by one, as the ring takes them.

use super::*;
use crate::faults::peak_kb;
use crate::harness::{Job, Target, assert_equal};

/// Bytes of a row.
const ROW: usize = 8000;
const ROWS: usize = 6000;

/// A transaction of 48 MB that is far smaller in the log, between two small ones.
async fn written(conn: &mut Conn, db: &str) {
    for statement in [
        format!("USE {db}"),
        "SET binlog_transaction_compression = ON, cte_max_recursion_depth = 100000".to_owned(),
        "INSERT INTO ours VALUES (0, '<first>')".to_owned(),
        format!(
            "INSERT INTO ours WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             SELECT i, CONCAT('<', i, '>', REPEAT('same', {})) FROM n",
            ROW / 4
        ),
        "INSERT INTO ours VALUES (100000, '<last>')".to_owned(),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_far_larger_than_the_budget_passes_within_it() {
    let mysql = servers::mysql().await;
    let db = prepare(mysql).await;
    let start = now(mysql, Flavor::Mysql).await;
    written(&mut mysql.connect().await, &db).await;
    let end = now(mysql, Flavor::Mysql).await;
    let budget = Budget::new(256 << 10);
    let mut reading = Reading::with(mysql.port(), Flavor::Mysql, start, true, db, &budget);
    // Nobody takes anything until it is full.
    let full = || budget.used() > 128 << 10;
    for _ in 0..2400 {
        if full() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let most = std::cell::Cell::new(0);
    reading.until_seen(|reading| {
        most.set(most.get().max(budget.used()));
        reading.commits == 3
    });
    reading.until(&end);
    let marks = reading.marks(RowsKind::Insert);
    let expected = ["first".to_owned()].into_iter().chain((1..=ROWS).map(|row| row.to_string())).chain(["last".into()]);
    assert!(marks.iter().copied().eq(expected), "{} rows", marks.len());
    // One event may come on top of what is full.
    let most = most.get();
    assert!(most <= (256 << 10) + 3 * ROW, "{most}");
    assert!(most > 128 << 10, "the budget was never needed: {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_within_a_compressed_transaction_loses_and_repeats_nothing() {
    let mysql = servers::mysql().await;
    for by_gtid in [false, true] {
        let db = prepare(mysql).await;
        let start = now(mysql, Flavor::Mysql).await;
        let mut conn = mysql.connect().await;
        written(&mut conn, &db).await;
        let mut reading =
            Reading::with(mysql.port(), Flavor::Mysql, start, by_gtid, db.clone(), &Budget::new(64 << 10));
        // The ring is full, so the reader stands in the middle of it.
        reading.until_seen(|reading| reading.marks.len() > 200);
        let killed = reading.heard.connection().unwrap();
        conn.query_drop(format!("KILL {killed}")).await.unwrap();
        conn.query_drop(format!("INSERT INTO {db}.ours VALUES (100001, '<behind>')")).await.unwrap();
        let end = now(mysql, Flavor::Mysql).await;
        reading.until(&end);
        let marks = reading.marks(RowsKind::Insert);
        // It was read whole before its rows were sent, so nothing of it has to come again.
        assert_eq!((marks.len(), reading.cut_offs, reading.commits), (ROWS + 3, 0, 4));
        assert_ne!(reading.heard.connection(), Some(killed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_stops_within_a_compressed_transaction() {
    let mysql = servers::mysql().await;
    let db = prepare(mysql).await;
    let start = now(mysql, Flavor::Mysql).await;
    written(&mut mysql.connect().await, &db).await;
    let mut reading = Reading::with(mysql.port(), Flavor::Mysql, start, false, db, &Budget::new(64 << 10));
    reading.until_seen(|reading| reading.marks.len() > 200);
    reading.cancel.cancel();
    let (rows, ended) = tokio::task::spawn_blocking(move || {
        let mut rows = reading.marks.len();
        while let Ok(Some(entry)) = reading.receiver.recv_deadline(Instant::now() + LIMIT) {
            rows += usize::from(matches!(entry.item, Slot::Rows(_)));
        }
        (rows, reading.thread.take().unwrap().join().unwrap())
    })
    .await
    .unwrap();
    ended.unwrap();
    assert!(rows < 1000, "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_cut_on_its_way_comes_again() {
    let mysql = servers::mysql().await;
    let db = prepare(mysql).await;
    let start = now(mysql, Flavor::Mysql).await;
    let mut conn = mysql.connect().await;
    // Nothing that can be packed.
    for statement in [
        format!("USE {db}"),
        "SET binlog_transaction_compression = ON".to_owned(),
        "INSERT INTO ours VALUES (0, '<first>')".to_owned(),
        "BEGIN".to_owned(),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    for row in 1..=40 {
        conn.query_drop(format!("INSERT INTO ours VALUES ({row}, CONCAT('<{row}>', HEX(RANDOM_BYTES(1000))))"))
            .await
            .unwrap();
    }
    conn.query_drop("COMMIT").await.unwrap();
    let end = now(mysql, Flavor::Mysql).await;
    let proxy = crate::proxy::Proxy::to(mysql.port()).await;
    let mut reading = Reading::start(proxy.port(), Flavor::Mysql, start, true, &db);
    proxy.cut_after(20_000);
    while !proxy.has_cut() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.down(false);
    reading.until(&end);
    let expected = ["first".to_owned()].into_iter().chain((1..=40).map(|row| row.to_string()));
    assert!(reading.marks(RowsKind::Insert).iter().copied().eq(expected), "{:?}", reading.marks);
    assert_eq!(reading.commits, 2);
}

/// 300 MB of changes of one row, which fit into a few kilobytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_stays_small_beside_a_compressed_transaction_many_times_its_size() {
    let mysql = servers::mysql().await;
    let db = mysql.database("compressed").await;
    let mut conn = mysql.connect().await;
    for statement in [
        format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v LONGTEXT)"),
        format!("INSERT INTO {db}.t VALUES (1, 'small')"),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let target = Target::start().await;
    let params = "params: {realFlushPauseSec: 0, totalDataInMemMb: 32}";
    let job = Job::new(mysql.port(), &target, &format!("{db}.*"), "", params);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let before = peak_kb(&child);
    conn.query_drop("SET binlog_transaction_compression = ON").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    for round in 0..300 {
        let letter = char::from(b'a' + round as u8 % 26);
        conn.query_drop(format!("UPDATE {db}.t SET v = REPEAT('{letter}', 500000) WHERE id = 1")).await.unwrap();
    }
    conn.query_drop("COMMIT").await.unwrap();
    job.wait_for("all changes", |status| status["updates"] == 300).await;
    let grown = (peak_kb(&child) - before) >> 10;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(grown < 100, "{grown} MB");
    assert_equal(mysql.port(), &target, &db).await;
}
