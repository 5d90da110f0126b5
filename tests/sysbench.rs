//! The sysbench layout and its `oltp_write_only` mix, with a generator of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

use crate::harness;

pub(crate) const TABLES: usize = 4;

/// `sbtest1` … `sbtest4`, empty.
pub(crate) async fn create(conn: &mut Conn, database: &str) {
    for table in 1..=TABLES {
        conn.query_drop(format!(
            "CREATE TABLE {database}.sbtest{table} (
                id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT '0',
                c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', KEY k_{table} (k))"
        ))
        .await
        .unwrap();
    }
}

/// Fills every table with `rows` rows, numbered from 1, by doubling what is there.
pub(crate) async fn fill(conn: &mut Conn, database: &str, rows: usize) {
    for table in 1..=TABLES {
        let table = format!("{database}.sbtest{table}");
        conn.query_drop(format!("INSERT INTO {table} (id, k, c, pad) VALUES (1, 1, REPEAT('0-', 50), 'pad')"))
            .await
            .unwrap();
        let mut filled = 1;
        while filled < rows {
            conn.query_drop(format!(
                "INSERT INTO {table} (id, k, c, pad)
                 SELECT id + {filled}, (id + {filled}) * 7919 % {rows}, CONCAT(HEX(id * 104729), '-', LEFT(c, 90)),
                        CONCAT(id + {filled}, '-', LEFT(pad, 40))
                 FROM {table} WHERE id <= {rows} - {filled}"
            ))
            .await
            .unwrap();
            filled = rows.min(filled * 2);
        }
    }
}

/// Writers that run transactions until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(port: u16, database: &str, rows: usize, count: u64) -> Writers {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..count).map(|seed| {
            let (stop, committed, database) = (Arc::clone(&stop), Arc::clone(&committed), database.to_owned());
            tokio::spawn(async move {
                let mut conn = harness::connect(port).await;
                let mut random = StdRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    // A deadlock ends one transaction; the next one goes on.
                    match transaction(&mut conn, &database, rows, &mut random).await {
                        Ok(()) => committed.fetch_add(1, Ordering::Relaxed),
                        Err(_) => conn.query_drop("ROLLBACK").await.map_or(0, |()| 0),
                    };
                }
            })
        });
        Writers { tasks: tasks.collect(), stop, committed }
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Ends the writers; returns how many transactions they committed.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.committed.load(Ordering::Relaxed)
    }
}

async fn transaction(conn: &mut Conn, database: &str, rows: usize, random: &mut StdRng) -> mysql_async::Result<()> {
    let table = format!("{database}.sbtest{}", random.random_range(1..=TABLES));
    let mut id = || random.random_range(1..=rows);
    let (first, second, third, moved) = (id(), id(), id(), rows + id());
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!("UPDATE {table} SET k = k + 1 WHERE id = {first}")).await?;
    conn.query_drop(format!("UPDATE {table} SET c = CONCAT(RAND(), c) WHERE id = {second} AND LENGTH(c) < 80")).await?;
    conn.query_drop(format!("DELETE FROM {table} WHERE id IN ({third}, {moved})")).await?;
    conn.query_drop(format!("INSERT INTO {table} (id, k, c, pad) VALUES ({third}, {first}, 'again', 'pad')")).await?;
    // A key change: the old key must go, the new one come.
    conn.query_drop(format!("UPDATE {table} SET id = {moved} WHERE id = {second}")).await?;
    conn.query_drop("COMMIT").await
}
