//! What a comparison finds is mended, in order with the stream.

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target, assert_equal, text, towpath};
use crate::servers::{self, Shared};

async fn mended(source: &Shared) {
    let database = source.database("mended").await;
    let rows: Vec<String> = (1..=300).map(|id| format!("({id}, 'row {id}', X'00{:02x}', {id}.50)", id % 256)).collect();
    source
        .run([
            format!(
                "CREATE TABLE {database}.t (id INT, v VARCHAR(20), b VARBINARY(4), n DECIMAL(9,2), PRIMARY KEY (id, n))"
            ),
            format!("INSERT INTO {database}.t VALUES {}", rows.join(", ")),
            format!("CREATE TABLE {database}.names (name VARCHAR(10) CHARACTER SET utf8mb4 PRIMARY KEY, hits INT)"),
            format!("INSERT INTO {database}.names VALUES ('anna', 0), ('Bert', 0), ('zoë', 0)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let running = follow(&job).await;

    let mut there = target.connect().await;
    for damage in [
        "UPDATE t SET v = 'wrong' WHERE id IN (3, 4, 5)",
        "DELETE FROM t WHERE id > 290",
        "INSERT INTO t VALUES (1000, '7.00', 'extra', NULL), (1001, '7.00', 'extra', NULL)",
        "INSERT INTO names VALUES ('ANNA', 5)",
        "DELETE FROM names WHERE name = 'zoë'",
    ] {
        there.query_drop(format!("USE {database}")).await.unwrap();
        there.query_drop(damage).await.unwrap_or_else(|error| panic!("{damage}: {error}"));
    }
    let found = verify(&job, &[]).await;
    assert_eq!((found.code, found.differences.len()), (Some(3), 17), "{}", found.all);

    let shown = text(&job.command("correct", &["--dry-run"]).await);
    assert!(
        shown.contains("t: 13 to write, 2 to delete") && shown.contains("names: 1 to write, 1 to delete"),
        "{shown}"
    );
    assert_eq!(
        target.text(&format!("SELECT COUNT(*) FROM {database}.t WHERE v = 'wrong'")).await,
        "3",
        "nothing was done"
    );

    // Rows change while they are mended, again and again.
    let mut conn = source.connect().await;
    let table = format!("{database}.t");
    let writing = tokio::spawn(async move {
        for round in 0.. {
            conn.query_drop(format!("UPDATE {table} SET v = 'round {round}' WHERE id IN (3, 291, 292)")).await.unwrap();
            conn.query_drop(format!("UPDATE {table} SET n = n + 1 WHERE id = 4")).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let corrected = job.command("correct", &[]).await;
    writing.abort();
    let _ = writing.await;
    assert_eq!(corrected.status.code(), Some(0), "{}\n{}", text(&corrected), job.log());
    assert!(text(&corrected).contains("compared again: equal"), "{}", text(&corrected));
    verify(&job, &[]).await.expect(0, []);
    assert!(job.stop(running).await.success());
    let again = text(&job.command("correct", &["--run", "1"]).await);
    assert!(again.contains("does not run"), "{again}");
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_mended_under_writers_on_mysql() {
    mended(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_mended_under_writers_on_mariadb() {
    mended(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletes_have_to_be_asked_for() {
    let source = servers::mysql().await;
    let database = source.database("many_deletes").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1), (2)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let _running = follow(&job).await;
    let extra: Vec<String> = (100..150).map(|id| format!("({id})")).collect();
    target.connect().await.query_drop(format!("INSERT INTO {database}.t VALUES {}", extra.join(", "))).await.unwrap();
    let none = job.command("correct", &[]).await;
    assert!(none.status.code() == Some(2) && text(&none).contains("run `towpath verify JOB` first"), "{}", text(&none));
    assert_eq!(verify(&job, &[]).await.code, Some(3));
    let refused = job.command("correct", &[]).await;
    let said = text(&refused);
    assert!(refused.status.code() == Some(2) && said.contains("50 rows of") && said.contains("--yes"), "{said}");
    let done = job.command("correct", &["--yes"]).await;
    assert_eq!(done.status.code(), Some(0), "{}\n{}", text(&done), job.log());
    assert_equal(source.port(), &target, &database).await;
}

/// The row changes between the moment at which it is read for the correction and the one at which that may be sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_never_overwrites_a_newer_change() {
    let source = servers::mysql().await;
    let database = source.database("newer").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT, w INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 1, 1), (2, 0, 1)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let running = follow(&job).await;
    let mut there = target.connect().await;
    there.query_drop(format!("UPDATE {database}.t SET w = 7 WHERE id = 1")).await.unwrap();
    verify(&job, &[]).await.expect(3, ["different t id=1: w"]);

    assert!(job.command("pause", &[]).await.status.success());
    while !job.log().contains("paused=true") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Whoever waited for something to read takes one thing more. What comes behind that stays behind the checkpoint, and the
    // correction has to wait for it.
    source.run([format!("UPDATE {database}.t SET v = 1 WHERE id = 2")]).await;
    let query = format!("SELECT v FROM {database}.t WHERE id = 2");
    let _came = tokio::time::timeout(std::time::Duration::from_secs(4), async {
        while target.text(&query).await != "1" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    source.run([format!("UPDATE {database}.t SET v = 2 WHERE id = 2")]).await;
    let mut correcting = towpath("correct");
    let correcting = correcting.arg(job.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    while !job.log().contains("read anew to be corrected") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    source.run([format!("UPDATE {database}.t SET w = 5 WHERE id = 1")]).await;
    assert!(job.command("resume", &[]).await.status.success());
    let corrected = correcting.wait_with_output().await.unwrap();
    assert_eq!(corrected.status.code(), Some(0), "{}\n{}", text(&corrected), job.log());
    assert!(text(&corrected).contains("0 corrected, 1 written by the stream meanwhile"), "{}", text(&corrected));
    let rows = target.text(&format!("SELECT GROUP_CONCAT(w ORDER BY id SEPARATOR ',') FROM {database}.t")).await;
    assert_eq!(rows, "5,1");
    assert!(job.stop(running).await.success(), "{}", job.log());
}
