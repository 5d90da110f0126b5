//! What a log may be written with: checksums, metadata, texts beside the rows, rotations at any point; and what stops the reader. The servers are the tests' own where a global setting changes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use towpath::demo::server::{Options, Product, ScratchServer};

use super::*;
use crate::harness::{Job, Target, text};

async fn own(product: Product) -> (ScratchServer, Conn, Flavor) {
    let server = ScratchServer::start(&Options::new(product).argument("--local-infile=1")).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE d").await.unwrap();
    for table in ["ours", "theirs"] {
        conn.query_drop(format!("CREATE TABLE d.{table} (id INT PRIMARY KEY, mark LONGTEXT)")).await.unwrap();
    }
    let flavor = if product == Product::Mysql { Flavor::Mysql } else { Flavor::Mariadb };
    (server, conn, flavor)
}

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_metadata_and_texts_beside_the_rows_may_change_while_the_log_is_read() {
    for product in [Product::Mysql, Product::Mariadb] {
        let (server, mut conn, flavor) = own(product).await;
        let texts = if flavor == Flavor::Mysql { "binlog_rows_query_log_events" } else { "binlog_annotate_row_events" };
        let start = position::current(&mut conn, flavor).await.unwrap();
        let mut reading = Reading::start(server.port(), flavor, start, false, "d");
        let mut expected = Vec::new();
        let mut connections = BTreeSet::new();
        for (number, checksum) in ["CRC32", "NONE", "NONE", "CRC32", "NONE", "CRC32"].iter().enumerate() {
            let metadata = ["FULL", "MINIMAL"][number % 2];
            let shown = ["ON", "OFF"][number / 2 % 2];
            run(
                &mut conn,
                &[
                    // Begins a new file when it changes.
                    &format!("SET GLOBAL binlog_checksum = {checksum}"),
                    &format!("SET GLOBAL binlog_row_metadata = {metadata}"),
                    &format!("SET SESSION {texts} = {shown}"),
                    &format!("INSERT INTO d.ours VALUES ({number}, '<m{number}>')"),
                    "INSERT INTO d.theirs SELECT id + 1000, mark FROM d.ours WHERE id NOT IN (SELECT id - 1000 FROM d.theirs)",
                ],
            )
            .await;
            expected.push(format!("m{number}"));
            // It is read under these settings, not later.
            reading.until_seen(|reading| reading.commits == number + 1);
            connections.insert(reading.heard.connection());
        }
        assert_eq!(reading.marks(RowsKind::Insert), expected, "{flavor:?}");
        assert_eq!(connections.len(), 1, "one connection saw all of it");
        drop(reading);
    }
}

/// Forwards connections to `server` and changes one byte of what it sends where it says `<flipme>`.
async fn damaging_proxy(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let address: SocketAddr = ([127, 0, 0, 1], server).into();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(address).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let bytes = &mut buffer[..read];
                    if let Some(at) = bytes.windows(8).position(|window| window == b"<flipme>") {
                        bytes[at + 1] ^= 1;
                    }
                    if to_client.write_all(bytes).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_stops_the_reader() {
    for (server, flavor) in both().await {
        let db = prepare(server).await;
        let start = now(server, flavor).await;
        // The marker of one of them arrives in one piece.
        let inserts = (0..20).map(|id| format!("INSERT INTO {db}.ours VALUES ({id}, '<flipme>')"));
        server.run([format!("INSERT INTO {db}.ours VALUES (100, '<before>')")].into_iter().chain(inserts)).await;
        let proxy = damaging_proxy(server.port()).await;
        let mut reading = Reading::start(proxy, flavor, start, false, &db);
        let thread = reading.thread.take().unwrap();
        let error = tokio::task::spawn_blocking(move || {
            while reading.receiver.recv_deadline(Instant::now() + LIMIT).is_ok_and(|entry| entry.is_some()) {}
            // Without an error it would read on.
            reading.cancel.cancel();
            thread.join().unwrap().unwrap_err()
        });
        let error = error.await.unwrap();
        assert!(!error.is_transient(), "{error}");
        let said = error.to_string();
        assert!(said.contains("checksum") && said.contains("binlog.0") && said.contains("mysqlbinlog"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_rotate_under_load_lose_and_repeat_nothing() {
    for product in [Product::Mysql, Product::Mariadb] {
        let (server, mut conn, flavor) = own(product).await;
        let start = position::current(&mut conn, flavor).await.unwrap();
        for by_gtid in [false, true] {
            let first = if by_gtid { 10_000 } else { 0 };
            let start = if by_gtid { position::current(&mut conn, flavor).await.unwrap() } else { start.clone() };
            let mut reading = Reading::start(server.port(), flavor, start, by_gtid, "d");
            let writers = (0..3).map(|writer| {
                let port = server.port();
                tokio::spawn(async move {
                    let mut conn = crate::harness::connect(port).await;
                    for number in 0..40 {
                        let id = first + writer * 1000 + number * 2;
                        let rows = format!("({id}, '<t{id}>'), ({}, '<t{}>')", id + 1, id + 1);
                        run(
                            &mut conn,
                            &[
                                "BEGIN",
                                &format!("INSERT INTO d.ours VALUES {rows}"),
                                "SAVEPOINT s",
                                &format!("DELETE FROM d.ours WHERE id = {id}"),
                                "ROLLBACK TO s",
                                "COMMIT",
                            ],
                        )
                        .await;
                    }
                })
            });
            let writers: Vec<_> = writers.collect();
            for _ in 0..15 {
                run(&mut conn, &["FLUSH BINARY LOGS"]).await;
            }
            for writer in writers {
                writer.await.unwrap();
            }
            let end = position::current(&mut conn, flavor).await.unwrap();
            reading.until(&end);
            let marks: BTreeSet<&str> = reading.marks(RowsKind::Insert).into_iter().collect();
            assert_eq!((marks.len(), reading.marks.len(), reading.commits), (240, 240, 120), "{flavor:?} {by_gtid}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_as_text_are_told_with_what_to_set() {
    for product in [Product::Mysql, Product::Mariadb] {
        let (server, mut conn, flavor) = own(product).await;
        let target = Target::start().await;
        let job = Job::new(server.port(), &target, "d.ours", "", "");
        job.run_to_end().await;
        let start = position::current(&mut conn, flavor).await.unwrap();
        conn.set_infile_handler(async {
            Ok(Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from("7\tx\n"))])) as _)
        });
        let statements = [
            "INSERT INTO d.ours VALUES (1, 'x')",
            "UPDATE d.ours SET mark = 'y' WHERE id = 1",
            "REPLACE INTO d.ours VALUES (1, 'z')",
            "LOAD DATA LOCAL INFILE 'rows' INTO TABLE d.ours",
            "DELETE FROM d.ours WHERE id = 1",
        ];
        run(&mut conn, &["SET binlog_format = STATEMENT", "INSERT INTO d.theirs VALUES (1, 'x')"]).await;
        run(&mut conn, &statements).await;
        let end = position::current(&mut conn, flavor).await.unwrap();
        let mut reading = Reading::start(server.port(), flavor, start, false, "d");
        reading.until(&end);
        assert_eq!(reading.statements.len(), statements.len(), "{:?}", reading.statements);
        for (found, expected) in reading.statements.iter().zip(statements) {
            assert_eq!(found[..6].to_uppercase(), expected[..6], "{found}");
        }
        let output = job.command("run", &["--stop-at-end"]).await;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("binlog_format=ROW") && said.contains("INSERT INTO d.ours"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_reset_is_refused() {
    for product in [Product::Mysql, Product::Mariadb] {
        let (server, mut conn, flavor) = own(product).await;
        let target = Target::start().await;
        // A server that lacks what the job has read is waited for, 240 of these pauses: it may be a replica that lags.
        let job = Job::new(server.port(), &target, "d.ours", "", "params: {retryWaitTimeMs: 10}");
        job.run_to_end().await;
        let reset = if flavor == Flavor::Mysql { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
        run(&mut conn, &[reset]).await;
        let output = job.command("run", &["--stop-at-end"]).await;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("startup: initial"), "{said}");
    }
}
