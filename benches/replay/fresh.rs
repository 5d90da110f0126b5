//! How fresh the target is: from the commit at MySQL to the moment when a reader of the target sees the row; and what a job
//! costs that has nothing to do.
//!
//! One writer commits 500 transactions a second, each with the next number, and notes when. One reader asks the embedded
//! target for the highest number, again and again: a number that is there has been readable since the last question at the
//! latest.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::job::{Job, Work};
use crate::process;
use crate::report::{Report, percentile};
use crate::source::Source;

const EVERY: Duration = Duration::from_millis(2);

pub(crate) fn measure(report: &mut Report, runtime: &Runtime, source: &Source) {
    for (pause, seconds) in [(0, 15), (10, 45)] {
        let (mut times, idle) = runtime.block_on(run(source, pause, seconds));
        let what = format!("freshness in ms at 500 transactions/s, realFlushPauseSec {pause}: p50, p99, highest");
        report.note(what, json!([0.5, 0.99, 1.0].map(|share| percentile(&mut times, share))));
        report.note(format!("idle CPU in % of a core, realFlushPauseSec {pause}"), json!(idle));
    }
}

async fn run(source: &Source, pause: u64, seconds: u64) -> (Vec<Duration>, f64) {
    // What earlier measurements have written and the disk has not is not to be waited for in this one.
    assert!(std::process::Command::new("sync").status().unwrap().success());
    let database = format!("fresh{pause}");
    let mut conn = source.connect().await;
    conn.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    conn.query_drop(format!("CREATE TABLE {database}.t (id BIGINT PRIMARY KEY, v VARCHAR(100) NOT NULL)"))
        .await
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let target = towpath::embedded::Server::start(towpath::embedded::Options::new(folder.path())).await.unwrap();
    let ports = (target.mysql_addr.port(), target.fe_addr.port());
    let params = format!("realFlushPauseSec: {pause}");
    let job = Job::new(source.port(), ports, &format!("{database}.*"), &Work::Follow, &params);
    let running = Running(job.command("run").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let reader = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(ports.0).user(Some("root"));
    let mut reader = Conn::new(reader.prefer_socket(false)).await.unwrap();
    let highest = format!("SELECT MAX(id) FROM {database}.t");
    // Until the first row is there, the job is beginning.
    conn.query_drop(format!("INSERT INTO {database}.t VALUES (0, '')")).await.unwrap();
    while !matches!(reader.query_first::<Option<u64>, _>(&highest).await, Ok(Some(Some(0)))) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let begun = Instant::now();
    let count = seconds * 500;
    // Of each number, microseconds after the begin.
    let committed: Arc<Vec<AtomicU64>> = Arc::new((0..=count).map(|_| AtomicU64::new(0)).collect());
    let writer = {
        let committed = Arc::clone(&committed);
        tokio::spawn(async move {
            for number in 1..=count {
                tokio::time::sleep_until((begun + EVERY * number as u32).into()).await;
                conn.query_drop(format!("INSERT INTO {database}.t VALUES ({number}, REPEAT('v', 80))")).await.unwrap();
                committed[number as usize].store(begun.elapsed().as_micros() as u64, Ordering::Release);
            }
        })
    };
    let (mut seen, mut times) = (0, Vec::new());
    while seen < count {
        let now: u64 = reader.query_first::<Option<u64>, _>(&highest).await.unwrap().flatten().unwrap();
        let at = begun.elapsed().as_micros() as u64;
        for number in seen + 1..=now {
            // The target may have it before the writer is told that it is committed.
            let committed = committed[number as usize].load(Ordering::Acquire);
            times.push(Duration::from_micros(if committed == 0 { 0 } else { at.saturating_sub(committed) }));
        }
        seen = now;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    writer.await.unwrap();

    // Its last epoch has gone out, and its sockets are quiet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, from) = (process::cpu(running.0.id()).unwrap(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let spent = process::cpu(running.0.id()).unwrap() - before;
    let idle = 100.0 * spent.as_secs_f64() / from.elapsed().as_secs_f64();
    drop(running);
    target.stop().await;
    (times, (idle * 100.0).round() / 100.0)
}

/// A job that ends with the measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
