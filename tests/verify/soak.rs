//! Heavy load, and comparisons one after another: none of them may find a difference.
//!
//! `TOWPATH_SOAK_SECONDS=600 …`, or `make soak-verify minutes=10`, goes on for that long.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{follow, verify};
use crate::harness::{Job, Target, connect};
use crate::servers::{self, Shared};
use crate::sysbench;

const ROWS: usize = 5000;
/// So many that most of them rest for some seconds.
const KEYS: u32 = 2000;
/// Of an ordinary test run.
const SECONDS: u64 = 10;

/// Changes rows of a table whose keys are looked up, and of one without a key.
async fn change(port: u16, database: String, stop: CancellationToken) -> u64 {
    let mut conn = connect(port).await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    let mut changes = 0;
    while !stop.is_cancelled() {
        let (n, m) = (rand::random_range(0..KEYS), rand::random_range(0..KEYS));
        let statements = [
            format!("REPLACE INTO named (name, d, v) VALUES ('Name {n}', {n}.5, RAND())"),
            format!("DELETE FROM named WHERE name = 'NAME {m}'"),
            format!("UPDATE named SET v = v + 1 WHERE d BETWEEN {m} AND {m} + 3"),
            format!("UPDATE IGNORE named SET name = CONCAT(name, '!') WHERE name = 'name {m}'"),
            format!("INSERT INTO counted VALUES ({n}, RAND()), ({n}, 0.5), ({n}, 0.5)"),
            format!("DELETE FROM counted WHERE n = {m}"),
            format!("UPDATE counted SET v = 0.25 WHERE n = {n} LIMIT 1"),
        ];
        for statement in statements {
            match conn.query_drop(&statement).await {
                Ok(()) => changes += 1,
                // Writers meet.
                Err(mysql_async::Error::Server(error)) if matches!(error.code, 1062 | 1205 | 1213) => {}
                Err(error) => panic!("{statement}: {error}"),
            }
        }
    }
    changes
}

async fn soak(source: &Shared) {
    let seconds = std::env::var("TOWPATH_SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let database = source.database("soak").await;
    let mut conn = source.connect().await;
    sysbench::create(&mut conn, &database).await;
    sysbench::fill(&mut conn, &database, ROWS).await;
    source
        .run([
            format!("CREATE TABLE {database}.named (name VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, \
                 d DECIMAL(9,2), v DOUBLE)"),
            format!("CREATE TABLE {database}.counted (n INT, v DOUBLE)"),
        ])
        .await;
    let target = Target::start().await;
    let settings = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", settings);
    let mut running = Some(follow(&job).await);
    let writers = sysbench::Writers::start(source.port(), &database, ROWS, 3);
    let stop = CancellationToken::new();
    let others: Vec<_> = (0..2).map(|_| tokio::spawn(change(source.port(), database.clone(), stop.clone()))).collect();
    let began = Instant::now();
    let (mut runs, mut unjudged, mut ways) = (0_u64, 0_u64, std::collections::BTreeSet::new());
    let mut told = began;
    while runs == 0 || began.elapsed().as_secs() < seconds {
        // Now and then the job is away: it is stopped or killed, and then rows are in flight, and none is different.
        if let Some(child) = running.take_if(|_| runs % 4 == 2) {
            if rand::random_bool(0.5) {
                assert!(job.stop(child).await.success(), "{}", job.log());
            } else {
                drop(child);
            }
        } else if running.is_none() {
            running = Some(job.start());
        }
        let found = verify(&job, &[]).await;
        let tables = found.report["tables"].as_array().unwrap();
        assert!(found.differences.is_empty() && matches!(found.code, Some(0 | 1)), "run {runs}\n{}", found.all);
        let all = |name: &str| tables.iter().map(|table| table[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!([all("missing"), all("extra"), all("different")], [0; 3], "run {runs}\n{}", found.all);
        assert!(tables.iter().all(|table| table["error"] == Value::Null), "run {runs}\n{}", found.all);
        ways.extend(tables.iter().map(|table| table["way"].to_string()));
        (runs, unjudged) = (runs + 1, unjudged + all("unjudged"));
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            eprintln!("{runs} comparisons in {} s, {unjudged} rows unjudged", began.elapsed().as_secs());
        }
    }
    stop.cancel();
    let mut changes = 0;
    for other in others {
        changes += other.await.unwrap();
    }
    let committed = writers.stop().await;
    assert!(committed > 0 && changes > 0);
    // At rest everything is judged.
    let child = running.unwrap_or_else(|| job.start());
    verify(&job, &[]).await.expect(0, []);
    assert!(job.stop(child).await.success(), "{}", job.log());
    eprintln!(
        "{runs} comparisons, {} s: no difference, {unjudged} rows unjudged, {committed} transactions and {changes} statements \
         meanwhile; ways {ways:?}",
        began.elapsed().as_secs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_comparison_under_heavy_load_finds_a_difference_on_mysql() {
    soak(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_comparison_under_heavy_load_finds_a_difference_on_mariadb() {
    soak(servers::mariadb().await).await;
}
