//! Rows whose values go to and fro in step with the comparison are never called different.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{follow, verify};
use crate::harness::{Job, Target};
use crate::servers::{self, Shared};

const SETTINGS: &str = "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}";

/// Stands before the target's SQL port. Whenever a table is read there its rows have other values than the source shows
/// before and afterwards: they come to the target by the job just before, and are taken back just behind.
struct Flipping {
    source: &'static Shared,
    target: Target,
    database: String,
    /// How often this is still done, for each table.
    left: Mutex<HashMap<&'static str, u32>>,
    away: AtomicI32,
}

impl Flipping {
    async fn to(self) -> (u16, Arc<Flipping>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flipping = Arc::new(self);
        let accepting = Arc::clone(&flipping);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let flipping = Arc::clone(&accepting);
                tokio::spawn(async move { flipping.carry(client).await });
            }
        });
        (port, flipping)
    }

    async fn carry(&self, mut client: TcpStream) {
        let mut server = TcpStream::connect(self.target.server.mysql_addr).await.unwrap();
        let (mut asked, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut flipped = None;
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(length @ 1..) = read else { return };
                    flipped = self.table_of(&asked[..length]);
                    if let Some(table) = flipped {
                        self.away(table).await;
                    }
                    if server.write_all(&asked[..length]).await.is_err() {
                        return;
                    }
                }
                read = server.read(&mut answer) => {
                    let Ok(length @ 1..) = read else { return };
                    if let Some(table) = flipped.take() {
                        self.set(table, 1).await;
                    }
                    if client.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The table that is read, if its turn is not over.
    fn table_of(&self, asked: &[u8]) -> Option<&'static str> {
        let asked = String::from_utf8_lossy(asked);
        let mut left = self.left.lock().unwrap();
        // The job itself, which the rows are waited for from, looks into a table without a key too: at columns of its own.
        let reads = |table: &str| {
            asked.contains(&format!("FROM `{}`.`{table}`", self.database)) && !asked.contains("__towpath_")
        };
        let (table, left) = left.iter_mut().find(|(table, left)| **left > 0 && reads(table))?;
        *left -= 1;
        Some(table)
    }

    async fn set(&self, table: &str, value: i32) {
        self.source.run([format!("UPDATE {}.{table} SET v = {value} WHERE id = 1", self.database)]).await;
    }

    /// Another value at the source, and the target has it. It is a new one each time: the last one may still be at the target,
    /// and be taken back while that is read.
    async fn away(&self, table: &str) {
        let value = -1 - self.away.fetch_add(1, Ordering::Relaxed);
        self.set(table, value).await;
        let look = format!("SELECT v FROM {}.{table} WHERE id = 1", self.database);
        while self.target.text(&look).await != value.to_string() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn in_step(source: &'static Shared) {
    let database = source.database("flipping").await;
    source
        .run([
            format!("USE {database}"),
            "CREATE TABLE t (id INT PRIMARY KEY, v INT)".to_owned(),
            "CREATE TABLE keyless (id INT, v INT)".to_owned(),
            "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)".to_owned(),
            "INSERT INTO keyless VALUES (1, 1), (1, 1), (2, 2)".to_owned(),
        ])
        .await;
    let (target, left) = (Target::start().await, Mutex::default());
    let fe = target.server.fe_addr.port();
    let away = AtomicI32::default();
    let (port, flipping) = Flipping { source, target, database: database.clone(), left, away }.to().await;
    let job = Job::at(source.port(), (port, fe), &format!("{database}.*"), "", SETTINGS);
    let running = follow(&job).await;
    let mut there = flipping.target.connect().await;
    there.query_drop(format!("UPDATE {database}.t SET v = 7 WHERE id = 2")).await.unwrap();
    there.query_drop(format!("DELETE FROM {database}.keyless WHERE id = 2")).await.unwrap();

    // The one goes on for ever, the other rests after a while; and what is really damaged is found beside them.
    *flipping.left.lock().unwrap() = HashMap::from([("t", u32::MAX), ("keyless", 4)]);
    let found = verify(&job, &[]).await;
    found.expect(3, ["different t id=2: v", "missing keyless id=2, v=2 (1, 0)"]);
    assert_eq!(found.table("t")["unjudged"], 1, "{}", found.all);
    assert!(found.table("t")["unjudgedBecause"].is_string(), "{}", found.all);
    assert_eq!(found.table("keyless")["unjudged"], 0, "{}", found.all);
    assert_eq!(flipping.left.lock().unwrap()["keyless"], 0, "{}", found.all);
    assert!(job.stop(running).await.success(), "{}", job.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_to_and_fro_are_never_called_different_on_mysql() {
    in_step(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_to_and_fro_are_never_called_different_on_mariadb() {
    in_step(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_rows_are_not_judged_and_the_reason_is_told() {
    let source = servers::mysql().await;
    let database = source.database("no_log").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 1), (2, 2)"),
            format!("CREATE USER {database}@'%' IDENTIFIED BY ''"),
            format!("GRANT SELECT, REPLICATION CLIENT ON *.* TO {database}@'%'"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", SETTINGS);
    let running = follow(&job).await;
    target.connect().await.query_drop(format!("UPDATE {database}.t SET v = 7 WHERE id = 2")).await.unwrap();
    let text = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), text.replace("username: root, ", &format!("username: {database}, "))).unwrap();
    let found = verify(&job, &[]).await;
    found.expect(1, []);
    let because = found.table("t")["unjudgedBecause"].as_str().unwrap();
    assert!(because.contains("the source's log") && because.contains("cannot be read"), "{because}");
    assert_eq!(found.table("t")["unjudged"], 1, "{}", found.all);
    std::fs::write(job.path(), text).unwrap();
    verify(&job, &[]).await.expect(3, ["different t id=2: v"]);
    assert!(job.stop(running).await.success(), "{}", job.log());
    source.run([format!("DROP USER {database}@'%'")]).await;
}
