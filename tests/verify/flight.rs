//! Comparing while people write: rows on their way are no differences, and real ones are found all the same.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target, text, towpath};
use crate::servers::{self, Shared};
use crate::sysbench;

const QUICK: &str = "params: {realFlushPauseSec: 0}";

async fn under_writers(source: &Shared) {
    let database = source.database("flight").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, 3000).await;
    // Keys that are looked up, and one row that never rests.
    source
        .run([
            format!("CREATE TABLE {database}.named (name VARCHAR(20) PRIMARY KEY, n INT, cold INT)"),
            format!("INSERT INTO {database}.named SELECT CONCAT('Name ', id), 0, 1 FROM {database}.sbtest1 ORDER BY id LIMIT 300"),
            format!("CREATE TABLE {database}.broken LIKE {database}.named"),
            format!("INSERT INTO {database}.broken SELECT * FROM {database}.named WHERE name LIKE 'Name _'"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", QUICK);
    let child = follow(&job).await;

    let mut there = target.connect().await;
    for statement in [
        "UPDATE {d}.broken SET cold = 2 WHERE name = 'Name 7'",
        "DELETE FROM {d}.broken WHERE name = 'Name 8'",
        "INSERT INTO {d}.broken VALUES ('nobody', 1, 1)",
    ] {
        there.query_drop(statement.replace("{d}", &database)).await.unwrap();
    }
    let writers = sysbench::Writers::start(source.port(), &database, 3000, 2);
    let busy = {
        let (mut conn, database) = (source.connect().await, database.clone());
        tokio::spawn(async move {
            for n in 1_u32.. {
                let name = n * 7 % 300 + 1;
                for statement in [
                    format!("UPDATE {database}.named SET n = n + 1 WHERE name = 'Name {name}'"),
                    format!("INSERT INTO {database}.named VALUES ('New {n}', 1, 1)"),
                    format!("DELETE FROM {database}.named WHERE name = 'New {}'", n.saturating_sub(5)),
                ] {
                    conn.query_drop(statement).await.unwrap();
                }
            }
        })
    };
    let until = std::time::Instant::now() + Duration::from_secs(3);
    let mut runs = 0;
    while std::time::Instant::now() < until {
        let found = verify(&job, &[]).await;
        found.expect(
            3,
            ["different broken name=Name 7: cold", "missing broken name=Name 8", "extra broken name=nobody"],
        );
        assert!(found.report["tables"].as_array().unwrap().iter().all(|table| table["unjudged"] == 0), "{}", found.all);
        runs += 1;
    }
    assert!(runs > 0);
    busy.abort();
    writers.stop().await;
    assert!(job.stop(child).await.success(), "{}", job.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_their_way_are_no_differences_on_mysql() {
    under_writers(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_their_way_are_no_differences_on_mariadb() {
    under_writers(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_target_refused_is_told_as_a_dead_letter() {
    let source = servers::mysql().await;
    let database = source.database("letter").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v MEDIUMTEXT)"),
            format!("INSERT INTO {database}.t VALUES (1, 'a'), (2, 'b'), (3, 'c')"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(
        source.port(),
        &target,
        &format!("{database}.*"),
        "",
        &format!("strategyOnError: batchDirtyData\n{QUICK}"),
    );
    job.run_to_end().await;
    target.connect().await.query_drop(format!("DELETE FROM {database}.t WHERE id = 3")).await.unwrap();
    source.run([format!("UPDATE {database}.t SET v = REPEAT('x', 1048577) WHERE id = 2")]).await;
    let _running = follow(&job).await;
    job.wait_for("a dead letter", |status| status["deadLetters"]["open"] == 1).await;
    let found = verify(&job, &[]).await;
    found.expect(3, ["different t id=2: v (dead letter)", "missing t id=3"]);
    assert_eq!(found.table("t")["deadLetters"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_verify_leaves_nothing_behind() {
    let source = servers::mysql().await;
    let database = source.database("killed").await;
    // At one row a second these take minutes.
    let ids = (4..400).map(|id| format!("SELECT {id} AS id")).collect::<Vec<_>>().join(" UNION ");
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t SELECT 3 UNION SELECT id FROM ({ids}) AS ids"),
            // One without a key, with values that only one server prints: its rows are put into a temporary file.
            format!("CREATE TABLE {database}.counted AS SELECT id, id * 1e0 AS v FROM {database}.t"),
        ])
        .await;
    let target = Target::start().await;
    let settings = format!("noKeyTables: rowHash\n{QUICK}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &settings);
    let _running = follow(&job).await;
    target.connect().await.query_drop(format!("DELETE FROM {database}.t WHERE id = 3")).await.unwrap();
    let files = || {
        let names = std::fs::read_dir(job.state_dir()).unwrap().map(|file| file.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().contains("-")).collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for table in ["t", "counted"] {
        let mut child = towpath("verify")
            .arg(job.path())
            .args(["--tables", &format!("*.{table}"), "--rate-limit", "1", "--report"])
            .arg(folder.path())
            .env("TMPDIR", temporary.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // It has read some rows and waits, for the limit's sake, or has not even come so far.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(child.try_wait().unwrap().is_none(), "it was to be killed in the middle");
        child.kill().await.unwrap();
        assert_eq!(files(), before);
        for folder in [&folder, &temporary] {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{table}");
        }
        // This waits for whoever has the table in a transaction, and fails if he stays.
        source
            .run([
                "SET SESSION lock_wait_timeout = 60".to_owned(),
                format!("LOCK TABLES {database}.{table} WRITE"),
                "UNLOCK TABLES".to_owned(),
            ])
            .await;
    }
    assert!(text(&job.command("verify", &["--history"]).await).contains("0 run(s)"));

    let path = folder.path().to_str().unwrap();
    let ended = job.command("verify", &["--report", path]).await;
    assert_eq!(ended.status.code(), Some(3), "{}", text(&ended));
    assert!(text(&ended).contains("DIFFERENT"), "{}", text(&ended));
    let line = std::fs::read_to_string(folder.path().join("run-1-differences.jsonl")).unwrap();
    assert!(line.contains("\"missing\"") && line.lines().count() == 1, "{line}");
    assert!(folder.path().join("run-1.json").exists());
}
