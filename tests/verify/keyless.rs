//! Tables without a key: each row has to be there as often as at the source.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target, text};
use crate::servers::{self, Shared};

const SETTINGS: &str = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}";

async fn counted_under_writers(source: &Shared) {
    let database = source.database("counted").await;
    source
        .run([
            format!("USE {database}"),
            "CREATE TABLE t (n INT, v VARCHAR(20), f FLOAT, b VARBINARY(4), at TIMESTAMP(2) NULL)".to_owned(),
            "CREATE TABLE plain (n INT, v VARCHAR(20))".to_owned(),
            "INSERT INTO t VALUES (1, 'a', 0.1, X'00FF', '2024-07-01 12:00:00.5'), (1, 'a', 0.1, X'00FF', '2024-07-01 12:00:00.5'), \
             (1, 'a', 0.1, X'00FF', '2024-07-01 12:00:00.5'), (2, 'b', NULL, NULL, NULL), (2, 'B', NULL, NULL, NULL), (3, '', 1, '', NULL)"
                .to_owned(),
            "INSERT INTO plain VALUES (1, 'x'), (1, 'x'), (2, NULL)".to_owned(),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "timezone: Europe/Berlin", SETTINGS);
    let running = follow(&job).await;
    let clean = verify(&job, &[]).await;
    clean.expect(0, []);
    for (table, way, rows) in [("t", "counts", 6), ("plain", "checksums", 3)] {
        let report = clean.table(table);
        assert_eq!((&report["way"], &report["rows"]), (&way.into(), &rows.into()), "{}", clean.all);
    }

    let mut there = target.connect().await;
    for statement in [
        "DELETE FROM {d}.t WHERE n = 1 AND __towpath_copy = (SELECT MAX(__towpath_copy) FROM {d}.t WHERE n = 1)",
        "UPDATE {d}.t SET v = 'b' WHERE v = 'B'",
        "UPDATE {d}.t SET v = NULL WHERE n = 3",
        "INSERT INTO {d}.plain (__towpath_row_hash, __towpath_copy, n, v) VALUES (1, 1000000, 1, 'x')",
    ] {
        let statement = statement.replace("{d}", &database);
        there.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let mut conn = source.connect().await;
    let name = database.clone();
    let writing = tokio::spawn(async move {
        for n in 10_u32.. {
            for statement in [
                format!("INSERT INTO {name}.t (n, v) VALUES ({n}, 'new'), ({n}, 'new')"),
                format!("UPDATE {name}.t SET v = 'old' WHERE n = {} LIMIT 1", n - 1),
                format!("DELETE FROM {name}.t WHERE n = {}", n.saturating_sub(4)),
                format!("INSERT INTO {name}.plain VALUES ({n}, 'new')"),
            ] {
                conn.query_drop(statement).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let differences = [
        "missing t n=1, v=a, f=1e-1, b=0x00ff, at=2024-07-01 14:00:00.5 (3, 2)",
        "extra t n=2, v=b, f=null, b=null, at=null (1, 2)",
        "missing t n=2, v=B, f=null, b=null, at=null (1, 0)",
        "missing t n=3, v=, f=1e0, b=, at=null (1, 0)",
        "extra t n=3, v=null, f=1e0, b=, at=null (0, 1)",
        "extra plain n=1, v=x (2, 3)",
    ];
    for _ in 0..2 {
        let found = verify(&job, &[]).await;
        found.expect(3, differences);
        let report = found.table("t");
        assert_eq!([&report["missing"], &report["extra"], &report["unjudged"]], [3, 2, 0], "{}", found.all);
        assert_eq!(found.table("plain")["way"], "counts");
    }
    writing.abort();
    let _ = writing.await;

    // Fewer columns make rows equal; a condition leaves rows out; a tolerance counts.
    verify(&job, &["--tables", "*.t", "--columns", "n", "--where", "n <> 1"]).await.expect(0, []);
    verify(&job, &["--tables", "*.t", "--where", "n = 3", "--empty-equals-null"]).await.expect(0, []);
    let some = verify(&job, &["--tables", "*.t", "--sample", "50%", "--where", "n >= 10"]).await;
    some.expect(0, []);
    assert_eq!(some.table("t")["sampled"], true);

    let corrected = job.command("correct", &["--run", "2"]).await;
    let said = text(&corrected);
    assert_eq!(corrected.status.code(), Some(3), "{said}");
    assert!(
        said.contains(&format!("{database}.t: has no key"))
            && said.contains(&format!("have it copied anew: `towpath recopy JOB {database}.t`")),
        "{said}"
    );
    assert!(job.stop(running).await.success(), "{}", job.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_tables_without_a_key_are_counted_under_writers_on_mysql() {
    counted_under_writers(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_tables_without_a_key_are_counted_under_writers_on_mariadb() {
    counted_under_writers(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_rows_that_differ_no_more_are_told_than_was_asked_for() {
    let source = servers::mysql().await;
    let database = source.database("many").await;
    let rows: Vec<String> = (0..2000).map(|n| format!("({n}, 0.5)")).collect();
    source
        .run([
            format!("CREATE TABLE {database}.t (n INT, f DOUBLE)"),
            format!("INSERT INTO {database}.t VALUES {}", rows.join(", ")),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    target.connect().await.query_drop(format!("DELETE FROM {database}.t WHERE n >= 500")).await.unwrap();
    let found = verify(&job, &["--max-differences", "100"]).await;
    assert_eq!((found.code, &found.table("t")["gaveUp"]), (Some(3), &true.into()), "{}", found.all);
    assert!((100..=101).contains(&found.differences.len()), "{}", found.differences.len());
    let all = verify(&job, &[]).await;
    assert_eq!((all.differences.len(), &all.table("t")["missing"]), (1500, &1500.into()));
}
