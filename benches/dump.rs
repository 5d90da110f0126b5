//! What it costs to receive a binlog: our reader (packets, checksums, the follower's rules, no table of ours) against
//! `mysql_async`'s stream of raw events, both to the end of one log of a scratch MySQL.
//!
//! `cargo bench --bench dump [-- MEGABYTES]`. CPU is this process's, as `/proc/self/stat` tells it, without the server's.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Conn};
use tokio_util::sync::CancellationToken;
use towpath::config::Job;
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::mysql::binlog::{ReaderOptions, Slot, spawn};
use towpath::mysql::connect::{Flavor, Patience, connector};
use towpath::mysql::position::{self, Position};
use towpath::ring::{Budget, ring};

const ROUNDS: u32 = 5;

#[tokio::main]
async fn main() {
    let megabytes: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(200);
    let server = ScratchServer::start(&Options::new(Product::Mysql)).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    for statement in [
        "CREATE DATABASE bench",
        "CREATE TABLE bench.t (id INT PRIMARY KEY AUTO_INCREMENT, k INT, c CHAR(120), p CHAR(60))",
        "SET GLOBAL max_binlog_size = 1073741824",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let start = position::current(&mut conn, Flavor::Mysql).await.unwrap();
    let insert = format!(
        "INSERT INTO bench.t (k, c, p) VALUES (7, REPEAT('c', 119), 'pad'){}",
        ", (8, 'c', REPEAT('p', 59))".repeat(99)
    );
    let end = loop {
        conn.query_drop(&insert).await.unwrap();
        let end = position::current(&mut conn, Flavor::Mysql).await.unwrap();
        if end.offset - start.offset >= megabytes << 20 {
            break end;
        }
    };
    let read = (end.offset - start.offset) >> 20;
    for round in 0..ROUNDS {
        measure(&format!("mysql_async raw, round {round}"), read, driver(&server, &start, round)).await;
        measure(&format!("reader,          round {round}"), read, reader(&server, &start, &end, round)).await;
    }
}

async fn measure(what: &str, megabytes: u64, reading: impl Future<Output = u64>) {
    let (began, cpu) = (Instant::now(), cpu_ticks());
    let events = reading.await;
    // A tick is 10 ms everywhere that Linux tells them to programs.
    let (wall, cpu) = (began.elapsed(), Duration::from_millis(10 * (cpu_ticks() - cpu)));
    println!("{what}: {megabytes} MB, {events} events or slots, wall {wall:?}, CPU {:?} a MB", cpu / megabytes as u32);
}

/// User and system time of this process.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

async fn driver(server: &ScratchServer, start: &Position, round: u32) -> u64 {
    let conn: Conn = server.connect().await.unwrap();
    let request = BinlogStreamRequest::new(900 + round)
        .with_filename(start.file.as_bytes())
        .with_pos(start.offset)
        .with_non_blocking();
    let mut stream = conn.get_binlog_stream(request).await.unwrap();
    let mut events = 0;
    while let Some(event) = stream.next().await {
        event.unwrap();
        events += 1;
    }
    events
}

async fn reader(server: &ScratchServer, start: &Position, end: &Position, round: u32) -> u64 {
    let job = format!(
        "name: bench\nsource: {{port: {}, username: root, tables: ['a.b'], tls: {{mode: disabled}}}}\ntarget: {{}}\n",
        server.port()
    );
    let job = Job::parse(&job, "job.yaml", &|_| None).unwrap();
    let (sender, receiver) = ring(1024, &Budget::new(64 << 20));
    let cancel = CancellationToken::new();
    let options = ReaderOptions {
        connect: connector(&job.source, Patience::default()),
        flavor: Flavor::Mysql,
        start: start.clone(),
        by_gtid: false,
        server_id: 950 + round,
        replica_host: "bench".into(),
        wanted: Arc::new(|_| false),
        noticed: Arc::new(|_| false),
        patience: Patience::default(),
        heard: Default::default(),
    };
    let thread = spawn(options, sender, cancel.clone()).unwrap();
    let end = end.clone();
    tokio::task::spawn_blocking(move || {
        let mut slots = 0;
        loop {
            let entry = receiver.recv_deadline(Instant::now() + Duration::from_secs(60)).unwrap().unwrap();
            slots += 1;
            match entry.item {
                Slot::Passed(place, _) | Slot::Commit(place)
                    if *place.file == end.file && place.offset >= end.offset =>
                {
                    break;
                }
                _ => {}
            }
        }
        cancel.cancel();
        drop(receiver);
        thread.join().unwrap().unwrap();
        slots
    })
    .await
    .unwrap()
}
