//! Tables that are copied while the stream goes on: new ones, and those that are copied anew beside the one that serves.

mod recopy;
mod selection;
mod statements;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rand::seq::SliceRandom as _;
use tokio::task::JoinHandle;

use crate::harness;

/// Rows that are there before anything begins.
pub(crate) const ROWS: u64 = 1_200;
/// Chunks of a few rows, and no pause.
pub(crate) const SETTINGS: &str = "params: {realFlushPauseSec: 0, fullBatchSize: 100}";
/// Every chunk waits after it was read: the stream passes changes of its rows, and comes far behind the place where it was read.
const SLOWLY: &str = "sleep(25)";
const SLOW_CHUNKS: &str = "copy-read=sleep(25)";

/// A table `(id, n, v)` of so many rows.
pub(crate) async fn fill(source_port: u16, database: &str, table: &str) {
    let rows: Vec<String> = (1..=ROWS).map(|row| format!("({}, 0, 'row {row}')", row * 10)).collect();
    let mut conn = harness::connect(source_port).await;
    let columns = "id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(40)";
    conn.query_drop(format!("CREATE TABLE {database}.{table} ({columns})")).await.unwrap();
    conn.query_drop(format!("INSERT INTO {database}.{table} VALUES {}", rows.join(", "))).await.unwrap();
}

/// Changes rows, all over the tables, until it is stopped or has changed each once, in any order, and a quarter of them never: so
/// no later change hides what went wrong. The number of rows stays what it is.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(source_port: u16, database: &str, tables: &'static [&'static str]) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&written));
        let (port, database) = (source_port, database.to_owned());
        let task = tokio::spawn(async move {
            let mut conn = harness::connect(port).await;
            let mut turn: Vec<u64> = (1..=ROWS).filter(|row| row % 4 != 0).collect();
            turn.shuffle(&mut rand::rng());
            while !stopped.load(Ordering::Relaxed) {
                let Some(row) = turn.pop() else { return };
                for table in tables {
                    let statements = change(&format!("{database}.{table}"), row);
                    conn.query_drop(&statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
                }
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        });
        Writer { stop, written, task }
    }

    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

/// Of a row: an update, a change of the key, or a delete and the row once more.
fn change(table: &str, row: u64) -> String {
    let id = row * 10;
    match row % 4 {
        1 => format!("UPDATE {table} SET n = n + 1 WHERE id DIV 10 = {row}"),
        2 => format!("UPDATE {table} SET id = id DIV 10 * 10 + (id + 3) % 10 WHERE id DIV 10 = {row}"),
        _ => format!(
            "BEGIN; DELETE FROM {table} WHERE id DIV 10 = {row}; INSERT INTO {table} (id, n, v) VALUES ({id}, 7, 'again'); COMMIT"
        ),
    }
}

/// Looks at a table of the target again and again, and fails when it has not all its rows.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Watcher {
    pub(crate) fn start(target_port: u16, table: String) -> Watcher {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut looks = 0;
            let mut conn = harness::connect(target_port).await;
            while !stopped.load(Ordering::Relaxed) {
                let rows: u64 = conn.query_first(format!("SELECT COUNT(*) FROM {table}")).await.unwrap().unwrap();
                assert_eq!(rows, ROWS, "{table} does not serve all rows");
                looks += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            looks
        });
        Watcher { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.task.await.unwrap() > 10, "it has hardly looked");
    }
}
