//! The parts of `towpath demo`: the scratch server, the writer and the proof; and how it is ended.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::proof::{self, Pair};
use mysql_async::Opts;
use mysql_async::prelude::Queryable as _;
use tokio::io::AsyncBufReadExt as _;
use towpath::demo::server::{Options, Product, ScratchServer};
use towpath::demo::shop;
use towpath::demo::writer::{self, Writer};
use towpath::schema::TableName;

use crate::harness::{interrupt, towpath, try_connect};
use crate::servers;

#[tokio::test]
async fn both_servers_write_full_row_images() {
    for shared in [servers::mysql().await, servers::mariadb().await] {
        let mut conn = shared.connect().await;
        let settings: (bool, String, String) =
            conn.query_first("SELECT @@log_bin, @@binlog_format, @@binlog_row_image").await.unwrap().unwrap();
        assert_eq!(settings, (true, "ROW".to_owned(), "FULL".to_owned()));
    }
    let gtid_mode: Option<String> =
        servers::mysql().await.connect().await.query_first("SELECT @@gtid_mode").await.unwrap();
    assert_eq!(gtid_mode.as_deref(), Some("ON"));
}

#[tokio::test]
async fn a_scratch_server_keeps_its_rows_over_restart_and_kill_and_leaves_no_folder() {
    let mut server = ScratchServer::start(&Options::new(Product::Mariadb).argument("--server-id=77")).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE d").await.unwrap();
    conn.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").await.unwrap();
    conn.query_drop("INSERT INTO d.t VALUES (1)").await.unwrap();
    drop(conn);

    server.restart().await.unwrap();
    server.connect().await.unwrap().query_drop("INSERT INTO d.t VALUES (2)").await.unwrap();
    server.kill();
    assert!(server.connect().await.is_err());
    server.restart().await.unwrap();
    let row: Option<(u32, u32)> =
        server.connect().await.unwrap().query_first("SELECT @@server_id, COUNT(*) FROM d.t").await.unwrap();
    assert_eq!(row, Some((77, 2)));

    let folder = server.folder().to_owned();
    drop(server);
    assert!(!folder.exists());
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn child_that_starts_a_server_and_waits() {
    if std::env::var_os("TOWPATH_TEST_CHILD").is_none() {
        return;
    }
    let server = ScratchServer::start(&Options::new(Product::Mariadb)).await.unwrap();
    println!("\nserver {} {} {}", server.pid().unwrap(), server.port(), server.folder().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_scratch_server_dies_with_its_killed_parent() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "demo_parts::child_that_starts_a_server_and_waits", "--nocapture"])
        .env("TOWPATH_TEST_CHILD", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("server ")).expect("the child starts a server");
    let words: Vec<&str> = line.split_whitespace().collect();
    let (port, folder) = (words[2].parse::<u16>().unwrap(), std::path::PathBuf::from(words[3]));
    assert!(folder.exists());

    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(60);
    while folder.exists() || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "server or folder is still there: {line}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_binary_of_the_other_product_is_refused() {
    let binary = towpath::demo::server::find(Product::Mariadb).unwrap();
    let error = ScratchServer::start(&Options::new(Product::Mysql).binary(Some(binary))).await.unwrap_err();
    assert!(error.to_string().contains("is not Mysql"), "{error}");
}

/// A table of `database` on both sides of the proof, as `a` and `b`.
async fn compare(shared: &servers::Shared, database: &str, columns: &str, rows: [&str; 2]) -> proof::TableReport {
    let [a, b] = rows;
    shared
        .run([
            format!("CREATE TABLE {database}.a ({columns})"),
            format!("CREATE TABLE {database}.b ({columns})"),
            format!("INSERT INTO {database}.a VALUES {a}"),
            format!("INSERT INTO {database}.b VALUES {b}"),
        ])
        .await;
    let pair = Pair { source: TableName::new(database, "a"), target: TableName::new(database, "b") };
    let report = proof::compare(&opts(shared), &opts(shared), &[pair], &proof::Options::default()).await.unwrap();
    report.tables.into_iter().next().unwrap()
}

fn opts(shared: &servers::Shared) -> Opts {
    Opts::from_url(&shared.url()).unwrap()
}

#[tokio::test]
async fn the_proof_finds_missing_extra_and_different_rows() {
    for shared in [servers::mysql().await, servers::mariadb().await] {
        let database = shared.database("proof").await;
        let report = compare(
            shared,
            &database,
            "n INT, name VARCHAR(10), v DECIMAL(5,2), w FLOAT, PRIMARY KEY (name, n)",
            [
                "(1,'a',1.5,0.1), (1,'b',1.5,0.1), (2,'a',NULL,0.1), (3,'Z',7,-1e-30)",
                "(1,'a',1.5,0.1), (2,'a',0,0.10000001), (3,'Z',7,-1e-30), (4,'é',7,1)",
            ],
        )
        .await;
        assert_eq!((report.source_rows, report.target_rows), (4, 4));
        assert_eq!((report.missing, report.extra, report.different), (1, 1, 1));
        assert_eq!(
            report.examples,
            [
                "n='2', name='a': v: NULL at the source, '0' at the target; w: '1e-1' at the source, '1.0000001e-1' at the target",
                "only at the target: n='4', name='é'",
                "only at the source: n='1', name='b'",
            ]
        );
    }
}

#[tokio::test]
async fn the_proof_tells_spellings_apart_that_a_collation_does_not() {
    let shared = servers::mysql().await;
    let database = shared.database("proof").await;
    let report =
        compare(shared, &database, "id INT PRIMARY KEY, t TEXT", ["(1,'straße'), (2,'x ')", "(1,'STRASSE'), (2,'x')"])
            .await;
    assert_eq!((report.missing, report.extra, report.different), (0, 0, 2));
}

#[tokio::test]
async fn a_missing_table_is_an_error() {
    let shared = servers::mysql().await;
    let database = shared.database("proof").await;
    let pairs = [Pair::same(&database, "nothing")];
    let error = proof::compare(&opts(shared), &opts(shared), &pairs, &proof::Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("has no table"), "{error}");
}

#[tokio::test]
async fn the_writer_leaves_a_sound_shop_that_the_proof_finds_equal_to_its_copy() {
    for shared in [servers::mysql().await, servers::mariadb().await] {
        let database = shared.database("shop").await;
        let copy = shared.database("copy").await;
        let mut conn = shared.connect().await;
        conn.query_drop(format!("DROP DATABASE {database}")).await.unwrap();
        let size = shop::Size { customers: 50, products: 20, orders: 100, types: 60 };
        shop::create(&mut conn, &database, size).await.unwrap();

        let options = writer::Options { connections: 3, pause: Duration::ZERO };
        let writer = Writer::start(&opts(shared), &database, &options).await.unwrap();
        while writer.is_running() && writer.counts().transactions < 600 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let counts = writer.stop().await.unwrap();
        assert!(counts.inserts > 0 && counts.updates > 0 && counts.deletes > 0 && counts.key_changes > 0, "{counts:?}");

        let wrong_totals: Option<u64> = conn
            .query_first(format!(
                "SELECT COUNT(*) FROM {database}.orders WHERE total <> \
                 (SELECT COALESCE(SUM(quantity * price), 0) FROM {database}.order_items WHERE order_id = orders.id)"
            ))
            .await
            .unwrap();
        assert_eq!(wrong_totals, Some(0));

        let mut pairs = Vec::new();
        for table in shop::TABLES {
            shared
                .run([
                    format!("CREATE TABLE {copy}.{table} LIKE {database}.{table}"),
                    format!("INSERT INTO {copy}.{table} SELECT * FROM {database}.{table}"),
                ])
                .await;
            pairs.push(Pair { source: TableName::new(&database, table), target: TableName::new(&copy, table) });
        }
        let report = proof::compare(&opts(shared), &opts(shared), &pairs, &proof::Options::default()).await.unwrap();
        assert!(report.equal(), "{report}");
        assert!(report.tables.iter().all(|table| table.source_rows > 0), "{report}");

        shared
            .run([
                format!("UPDATE {copy}.types SET f32 = COALESCE(f32, 0) + 1 WHERE bit64 IS NULL LIMIT 1"),
                format!(
                    "UPDATE {copy}.types SET place = ST_GeomFromText('POINT(1 1)') WHERE bit64 IS NOT NULL LIMIT 1"
                ),
            ])
            .await;
        let report = proof::compare(&opts(shared), &opts(shared), &pairs, &proof::Options::default()).await.unwrap();
        assert_eq!(report.tables.iter().map(|table| table.different).sum::<u64>(), 2, "{report}");
    }
}

#[tokio::test]
async fn any_type_can_be_a_key_and_equal_rows_are_found_equal() {
    let shared = servers::mysql().await;
    let database = shared.database("proof").await;
    for (number, (ty, values)) in [
        ("FLOAT", ["0.1", "-3.40282e38", "16777217"].as_slice()),
        ("DOUBLE(20,3)", &["0.125", "-1", "1e15"]),
        ("DECIMAL(65,30)", &["0", "-1.000000000000000000000000000001", "99999999999999999999999999999999999"]),
        ("BIT(64)", &["0", "1", "b'1000000000000000000000000000000000000000000000000000000000000000'"]),
        ("BINARY(4)", &["''", "'a'", "x'FF00FF00'"]),
        ("VARCHAR(20) COLLATE utf8mb4_0900_ai_ci", &["''", "'ä'", "'b'", "'🦀'"]),
        ("CHAR(5) CHARACTER SET latin1", &["'é'", "'o '", "'z'"]),
        ("DATETIME(6)", &["'2024-02-29 00:00:00.000001'", "'1000-01-01'", "'9999-12-31 23:59:59.999999'"]),
        ("TIMESTAMP(2)", &["'2024-02-29 12:00:00.25'", "'2001-01-01'"]),
        ("TIME(3)", &["'-838:59:59'", "'00:00:00.001'", "'838:59:59'"]),
        ("DATE", &["'2024-02-29'", "'0001-01-01'"]),
        ("YEAR", &["0", "1901", "2155"]),
        ("ENUM('b','a')", &["'a'", "'b'"]),
        ("SET('b','a')", &["''", "'a,b'"]),
        ("INT(6) ZEROFILL", &["1", "42"]),
    ]
    .into_iter()
    .enumerate()
    {
        let rows = values.iter().map(|value| format!("({value}, 1)")).collect::<Vec<_>>().join(",");
        let tables = [format!("{database}.a{number}"), format!("{database}.b{number}")];
        for table in &tables {
            let create = format!("CREATE TABLE {table} (k {ty} NOT NULL, n INT NOT NULL, PRIMARY KEY (n, k))");
            shared.run([create, format!("INSERT INTO {table} VALUES {rows}")]).await;
        }
        let [a, b] = [format!("a{number}"), format!("b{number}")];
        let pair = Pair { source: TableName::new(&database, a), target: TableName::new(&database, b) };
        let report = proof::compare(&opts(shared), &opts(shared), &[pair], &proof::Options::default()).await.unwrap();
        assert!(report.equal() && report.tables[0].target_rows == values.len() as u64, "{ty}\n{report}");
    }
}

/// The target's shapes by design.md §7, as far as a MySQL can play them.
#[tokio::test]
async fn values_are_compared_by_meaning_across_the_type_mapping() {
    let shared = servers::mysql().await;
    let database = shared.database("proof").await;
    shared
        .run([
            format!(
                "CREATE TABLE {database}.a (k VARBINARY(20) PRIMARY KEY, b BIT(1), w DECIMAL(65,2), t TIME(2), y YEAR, e ENUM('x','y'), \
                 g GEOMETRY SRID 4326, z DATETIME(3), d DATE, j JSON, s TIMESTAMP(6) NULL, v VECTOR(2))"
            ),
            format!(
                "CREATE TABLE {database}.b (k VARBINARY(20) PRIMARY KEY, b BOOLEAN, w VARCHAR(70), t VARCHAR(17), y SMALLINT, \
                 e VARCHAR(9), g TEXT, z DATETIME(6), d DATE, j JSON, s DATETIME(6), v VECTOR(2))"
            ),
            "SET sql_mode = '', time_zone = '+05:00'".to_owned(),
            format!(
                "INSERT INTO {database}.a VALUES ('k1', 1, -12.5, '-10:00:00.5', 0, 'y', ST_GeomFromText('POINT(10 20)', 4326), \
                 '2024-01-01 00:00:00.5', '0000-00-00', '{{\"b\":1, \"a\":[1.0]}}', '2024-01-01 05:00:00', STRING_TO_VECTOR('[1,0.1]'))"
            ),
            // Stored longitude first, shown latitude first.
            format!(
                "INSERT INTO {database}.b VALUES ('k1', 1, '-12.50', '-10:00:00.50', 0, 'y', 'POINT(20 10)', \
                 '2024-01-01 00:00:00.500000', NULL, '{{\"a\":[1], \"b\":1}}', '2024-01-01 00:00:00', STRING_TO_VECTOR('[1,0.1]'))"
            ),
        ])
        .await;
    let pair = Pair { source: TableName::new(&database, "a"), target: TableName::new(&database, "b") };
    let report = proof::compare(&opts(shared), &opts(shared), &[pair], &proof::Options::default()).await.unwrap();
    assert!(report.equal(), "{report}");
}

#[tokio::test]
async fn sigterm_ends_the_demo_and_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = towpath("demo");
    demo.args(["--seconds", "3600", "--data-dir"]).arg(folder.path().join("demo"));
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut port = None;
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(rest) = line.strip_prefix("source   mysql -h127.0.0.1 -P") {
            port = rest.split(' ').next().unwrap().parse::<u16>().ok();
        }
        if line.contains("rows written") {
            break;
        }
    }
    interrupt(&demo);
    let ended = tokio::time::timeout(Duration::from_secs(120), demo.wait_with_output()).await;
    let output = ended.expect("SIGTERM is not heeded").unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("stopped before the proof"), "{said}");
    assert!(try_connect(port.unwrap()).await.is_err(), "the scratch server is still there");
}
