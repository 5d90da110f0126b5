//! The chunk reader against real servers: every row once, whatever the key's type, while rows change.

use std::collections::BTreeMap;
use std::sync::Arc;

use mysql_async::Value;
use mysql_async::prelude::Queryable as _;
use towpath::mysql::connect::{Patience, Session, connector};
use towpath::mysql::snapshot::{Chunk, ChunkPlanner, SnapshotTable, prepare_session, read_chunk};
use towpath::mysql::wire::{Connection, Page};
use towpath::schema::{Column, ColumnType, IntegerSize, LobSize, Table, TableName};

use crate::servers::{self, Shared};

fn integer(size: IntegerSize, unsigned: bool) -> ColumnType {
    ColumnType::Integer { size, unsigned }
}

fn varchar(charset: &str) -> ColumnType {
    ColumnType::Varchar { chars: 20, charset: charset.into() }
}

/// A table with key columns k0, k1, … and a number `v`, and the same at the server.
async fn create(server: &Shared, database: &str, name: &str, keys: &[(&str, ColumnType)]) -> Table {
    let definitions: Vec<String> =
        keys.iter().enumerate().map(|(at, (sql, _))| format!("k{at} {sql} NOT NULL")).collect();
    let names: Vec<String> = (0..keys.len()).map(|at| format!("k{at}")).collect();
    let (definitions, names) = (definitions.join(", "), names.join(", "));
    server
        .run([format!(
            "CREATE TABLE {database}.{name} ({definitions}, v INT NOT NULL, PRIMARY KEY ({names}), KEY other (v))"
        )])
        .await;
    let mut columns: Vec<Column> =
        keys.iter().enumerate().map(|(at, (_, ty))| Column::new(format!("k{at}"), ty.clone())).collect();
    columns.push(Column::new("v", integer(IntegerSize::Int, false)));
    Table {
        name: TableName::new(database, name),
        columns,
        key: (0..keys.len()).collect(),
        primary: true,
        charset: None,
        indexes: Vec::new(),
        comment: String::new(),
    }
}

/// A connection over which tables are read.
async fn open(server: &Shared) -> Connection {
    let job = crate::source_catalog::job(server.port(), "root", "", "a.b", "");
    let mut conn = connector(&job.source, Patience::default()).tables(None).await.unwrap();
    prepare_session(&mut conn).await.unwrap();
    conn
}

/// A chunk's `v` values in the order read.
async fn values(conn: &mut Connection, table: &SnapshotTable, chunk: &Chunk) -> Vec<i64> {
    let mut values = Vec::new();
    let read = read_chunk(conn, table, chunk, "v", async |page: Page| {
        values.extend(page.rows().map(|row| match row.values().unwrap()[..] {
            [Value::Int(value)] => value,
            ref other => panic!("{other:?}"),
        }));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(read, values.len() as u64);
    values
}

/// Rows that the server has looked at.
const READ: &str = "Handler_read_%";

/// A counter of this session, since it began: to set it back (FLUSH STATUS) would set back every session's.
async fn status(conn: &mut Connection, name: &str) -> u64 {
    let rows = conn.rows(&format!("SHOW SESSION STATUS LIKE '{name}'")).await.unwrap();
    rows.iter().map(|row| row.get::<u64, _>(1).unwrap()).sum()
}

/// Fills a table by SQL literals, copies it in chunks, and checks that each row came once and by its index.
async fn copies_completely(
    server: &Shared,
    database: &str,
    name: &str,
    keys: &[(&str, ColumnType)],
    rows: &[Vec<String>],
) {
    let table = create(server, database, name, keys).await;
    let tuples: Vec<String> = rows.iter().enumerate().map(|(v, key)| format!("({}, {v})", key.join(", "))).collect();
    server
        .run([
            "SET NAMES utf8mb4".to_owned(),
            "SET sql_mode = '', time_zone = '+00:00'".into(),
            format!("INSERT INTO {database}.{name} VALUES {}", tuples.join(", ")),
            format!("ANALYZE TABLE {database}.{name}"),
        ])
        .await;
    let mut conn = open(server).await;
    let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
    let mut planner = ChunkPlanner::new(Arc::clone(&described));
    let mut seen = vec![0; rows.len()];
    let mut chunks = 0;
    while let Some(chunk) = planner.next(&mut conn, 37).await.unwrap_or_else(|error| panic!("{name}: {error}")) {
        let stored = serde_json::to_string(&chunk).unwrap();
        let chunk: Chunk = serde_json::from_str(&stored).unwrap();
        let before = (status(&mut conn, READ).await, status(&mut conn, "Sort_rows").await);
        let values = values(&mut conn, &described, &chunk).await;
        let handled = status(&mut conn, READ).await - before.0;
        assert!(values.len() == 37 || chunk.is_last(), "{name}: {} rows in {stored}", values.len());
        let few = values.len() as u64 + 5;
        assert!(handled <= few, "{name}: {handled} rows touched for {} in {stored}", values.len());
        assert_eq!(status(&mut conn, "Sort_rows").await, before.1, "{name}: sorted for {stored}");
        for value in values {
            seen[value as usize] += 1;
        }
        chunks += 1;
    }
    assert!(seen.iter().all(|&times| times == 1), "{name}: {seen:?}");
    assert_eq!(chunks, rows.len() / 37 + 1, "{name}");
}

fn one(count: usize, literal: impl Fn(usize) -> String) -> Vec<Vec<String>> {
    (0..count).map(|i| vec![literal(i)]).collect()
}

/// Numbers spread over a range in no order, all different (13 is prime to the count).
fn spread(i: usize) -> usize {
    i * 13 % 400
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_times_as_keys_are_copied_completely() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let decimal = ColumnType::Decimal { precision: 20, scale: 5 };
        let cases: Vec<(&str, &str, ColumnType, Vec<Vec<String>>)> = vec![
            (
                "big",
                "BIGINT",
                integer(IntegerSize::Big, false),
                one(400, |i| format!("{}", spread(i) as i64 * 7 - 1200)),
            ),
            (
                "huge",
                "BIGINT UNSIGNED",
                integer(IntegerSize::Big, true),
                one(400, |i| (u64::MAX - spread(i) as u64 * 3).to_string()),
            ),
            ("dec", "DECIMAL(20,5)", decimal, one(400, |i| format!("{}.{:05}", spread(i) as i64 - 200, i * 17))),
            ("fl", "FLOAT", ColumnType::Float, one(400, |i| format!("{}e-1", spread(i) as i64 - 200))),
            ("dbl", "DOUBLE", ColumnType::Double, one(400, |i| format!("{}.1e-7", spread(i) as i64 - 200))),
            ("bits", "BIT(20)", ColumnType::Bit { bits: 20 }, one(400, |i| (spread(i) * 2500).to_string())),
            ("day", "DATE", ColumnType::Date, one(400, |i| format!("'2020-01-01' + INTERVAL {} DAY", spread(i)))),
            (
                "moment",
                "DATETIME(6)",
                ColumnType::DateTime { digits: 6 },
                one(400, |i| format!("'2020-01-01 00:00:00.000001' + INTERVAL {} MICROSECOND", spread(i))),
            ),
            (
                "stamp",
                "TIMESTAMP(3)",
                ColumnType::Timestamp { digits: 3 },
                one(400, |i| format!("'2020-03-29 00:00:00.5' + INTERVAL {} MINUTE", spread(i))),
            ),
            (
                "clock",
                "TIME(2)",
                ColumnType::Time { digits: 2 },
                one(400, |i| format!("'{}{:03}:10:11.25'", if i % 2 == 0 { "-" } else { "" }, spread(i))),
            ),
            ("year", "YEAR", ColumnType::Year, one(150, |i| (1901 + i * 7 % 150).to_string())),
            ("zero", "DATE", ColumnType::Date, one(100, |i| format!("'0000-{:02}-{:02}'", i / 10, i % 10))),
        ];
        for (name, sql, ty, rows) in cases {
            copies_completely(server, &db, name, &[(sql, ty)], &rows).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_bytes_as_keys_are_copied_in_the_servers_order() {
    const STARTS: [&str; 10] = ["a", "Ä", "b", "ß", "Z", "_", "é", "O''", "\\\\", "ÿ"];
    let words = |count| one(count, |i| format!("'{}{}'", STARTS[i % 10], spread(i)));
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let words_of = |charset: &str| vec![(varchar(charset), words(400))];
        for (name, sql, charset) in [
            ("ci", "VARCHAR(20) CHARACTER SET utf8mb4", "utf8mb4"),
            ("bin", "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "utf8mb4"),
            ("swedish", "VARCHAR(20) CHARACTER SET latin1", "latin1"),
            ("wide", "VARCHAR(20) CHARACTER SET utf16", "utf16"),
        ] {
            for (ty, rows) in words_of(charset) {
                copies_completely(server, &db, name, &[(sql, ty)], &rows).await;
            }
        }
        let chinese = one(400, |i| format!("'{}{}'", ["你", "好", "a", "Z"][i % 4], spread(i)));
        copies_completely(server, &db, "gbk", &[("VARCHAR(20) CHARACTER SET gbk", varchar("gbk"))], &chinese).await;
        let char = ColumnType::Char { chars: 8, charset: "utf8mb4".into() };
        copies_completely(server, &db, "fixed", &[("CHAR(8) CHARACTER SET utf8mb4", char)], &words(400)).await;
        let bytes = one(400, |i| format!("X'{:02x}{:02x}27'", spread(i) / 2, i % 256));
        let varbinary = ColumnType::Varbinary { bytes: 16 };
        copies_completely(server, &db, "raw", &[("VARBINARY(16)", varbinary)], &bytes).await;
        copies_completely(server, &db, "padded", &[("BINARY(5)", ColumnType::Binary { bytes: 5 })], &bytes).await;
    }
    let mariadb = servers::mariadb().await;
    let db = mariadb.database("chunks").await;
    let uuids = one(400, |i| format!("'{:08x}-0000-1000-8000-{:012x}'", spread(i) * 77_777, i));
    copies_completely(mariadb, &db, "uuid", &[("UUID", ColumnType::Uuid)], &uuids).await;
    let addresses = one(400, |i| format!("'2001:db8::{:x}'", spread(i)));
    copies_completely(mariadb, &db, "inet6", &[("INET6", ColumnType::Inet6)], &addresses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compound_keys_are_copied_completely_and_by_their_index() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let int = integer(IntegerSize::Int, false);
        let members = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let skewed = |i: usize| if i < 300 { 1 } else { i };
        let rows: Vec<_> = (0..400)
            .map(|i| {
                vec![
                    skewed(i).to_string(),
                    format!("'w{}'", spread(i) % 20),
                    format!("'2020-01-01' + INTERVAL {i} DAY"),
                ]
            })
            .collect();
        let keys = [("INT", int.clone()), ("VARCHAR(20)", varchar("utf8mb4")), ("DATE", ColumnType::Date)];
        copies_completely(server, &db, "three", &keys, &rows).await;

        let rows: Vec<_> =
            (0..400).map(|i| vec![format!("'{}'", ["z", "a", "m"][i % 3]), spread(i).to_string()]).collect();
        let keys =
            [("ENUM('z','a','m')", ColumnType::Enum { members: members(&["z", "a", "m"]) }), ("INT", int.clone())];
        copies_completely(server, &db, "enumerated", &keys, &rows).await;

        let rows: Vec<_> =
            (0..400).map(|i| vec![spread(i).to_string(), format!("'{}'", ["", "a", "a,b"][i % 3])]).collect();
        let keys = [("INT", int.clone()), ("SET('a','b')", ColumnType::Set { members: members(&["a", "b"]) })];
        copies_completely(server, &db, "flags", &keys, &rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_stay_are_read_once_while_others_come_and_go() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let table = create(server, &db, "busy", &[("INT", integer(IntegerSize::Int, false))]).await;
        // Even keys stay, odd ones go, those from 10,000 on come.
        let tuples: Vec<String> = (0..2000).map(|i| format!("({i}, {i})")).collect();
        server.run([format!("INSERT INTO {db}.busy VALUES {}", tuples.join(", "))]).await;
        let mut conn = open(server).await;
        let mut writer = server.connect().await;
        let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
        let mut planner = ChunkPlanner::new(Arc::clone(&described));
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        let mut number = 0;
        while let Some(chunk) = planner.next(&mut conn, 50).await.unwrap() {
            assert_eq!(chunk.number, number);
            number += 1;
            // The bounds' own rows go, and others on either side of what is being read.
            writer.query_drop(format!("DELETE FROM {db}.busy WHERE k0 % 2 = 1 ORDER BY k0 LIMIT 20")).await.unwrap();
            writer.query_drop(format!("DELETE FROM {db}.busy WHERE k0 % 2 = 1 AND k0 % 50 = 49")).await.unwrap();
            writer
                .query_drop(format!("INSERT INTO {db}.busy VALUES ({}, {})", 10_000 + number, 10_000 + number))
                .await
                .unwrap();
            writer.query_drop(format!("UPDATE {db}.busy SET v = v WHERE k0 < 100")).await.unwrap();
            for value in values(&mut conn, &described, &chunk).await {
                *seen.entry(value).or_default() += 1;
            }
        }
        for key in (0..2000).step_by(2) {
            assert_eq!(seen.get(&key), Some(&1), "{key}");
        }
        assert!(seen.values().all(|&times| times == 1));
    }
}

/// Dense, thin, empty for long, dense again.
#[tokio::test(flavor = "multi_thread")]
async fn larger_chunks_are_cut_by_estimates_and_have_about_the_same_rows() {
    const ROWS: usize = 120_000;
    const CHUNK: u64 = 11_000;
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let table = create(server, &db, "spread", &[("BIGINT", integer(IntegerSize::Big, false))]).await;
        let key = |row: usize| match row as i64 {
            row @ 0..40_000 => row - 20_000,
            row @ 40_000..80_000 => 20_000 + (row - 40_000) * 1000,
            row => 9_000_000_000_000_000_000 + row,
        };
        for first in (0..ROWS).step_by(20_000) {
            let rows: Vec<String> = (first..first + 20_000).map(|row| format!("({},{row})", key(row))).collect();
            server.run([format!("INSERT INTO {db}.spread VALUES {}", rows.join(","))]).await;
        }
        server.run([format!("ANALYZE TABLE {db}.spread")]).await;
        let mut conn = open(server).await;
        let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
        let mut planner = ChunkPlanner::new(Arc::clone(&described));
        let mut seen = vec![0; ROWS];
        let mut sizes = Vec::new();
        let before = status(&mut conn, READ).await;
        let mut chunks = Vec::new();
        while let Some(chunk) = planner.next(&mut conn, CHUNK).await.unwrap() {
            chunks.push(serde_json::from_str(&serde_json::to_string(&chunk).unwrap()).unwrap());
        }
        // To the last bound, and to one or the other beside a gap, it is walked.
        let handled = status(&mut conn, READ).await - before;
        assert!(handled < ROWS as u64 / 2, "{handled} rows touched");
        for chunk in chunks {
            let values = values(&mut conn, &described, &chunk).await;
            sizes.push(values.len() as u64);
            for value in values {
                seen[value as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&times| times == 1), "{sizes:?}");
        let (_, but_the_last) = sizes.split_last().unwrap();
        assert!(but_the_last.iter().all(|size| (CHUNK / 5..=CHUNK * 2).contains(size)), "{sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn larger_chunks_of_text_and_of_compound_keys_are_cut_by_estimates() {
    const ROWS: u64 = 60_000;
    const CHUNK: u64 = 10_500;
    let scattered = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = |row| format!("'user-{:016X}'", scattered(row));
    let bytes = |row| format!("X'{:016x}'", scattered(row));
    let line = |row: u64| format!("{},'{}'", row / 5, row % 5);
    type Case<'a> = (&'a str, &'a [(&'a str, ColumnType)], &'a dyn Fn(u64) -> String);
    let cases: [Case<'_>; 3] = [
        ("text", &[("VARCHAR(40) CHARACTER SET utf8mb4", varchar("utf8mb4"))], &text),
        ("bytes", &[("BINARY(8)", ColumnType::Binary { bytes: 8 })], &bytes),
        ("lines", &[("INT", integer(IntegerSize::Int, false)), ("VARCHAR(20)", varchar("utf8mb4"))], &line),
    ];
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let mut conn = open(server).await;
        for (name, keys, key) in &cases {
            let table = create(server, &db, name, keys).await;
            for first in (0..ROWS).step_by(20_000) {
                let rows: Vec<String> = (first..first + 20_000).map(|row| format!("({},{row})", key(row))).collect();
                server.run([format!("INSERT INTO {db}.{name} VALUES {}", rows.join(","))]).await;
            }
            server.run([format!("ANALYZE TABLE {db}.{name}")]).await;
            let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
            let mut planner = ChunkPlanner::new(Arc::clone(&described));
            let mut chunks = Vec::new();
            let before = status(&mut conn, READ).await;
            while let Some(chunk) = planner.next(&mut conn, CHUNK).await.unwrap() {
                chunks.push(chunk);
            }
            // What is left at the end is walked, and now and then what a guess has missed.
            let handled = status(&mut conn, READ).await - before;
            assert!(handled < ROWS / 2, "{name}: {handled} rows touched");
            let (mut seen, mut sizes) = (vec![0; ROWS as usize], Vec::new());
            for chunk in &chunks {
                let values = values(&mut conn, &described, chunk).await;
                sizes.push(values.len() as u64);
                values.into_iter().for_each(|value| seen[value as usize] += 1);
            }
            assert!(seen.iter().all(|&times| times == 1), "{name}: {sizes:?}");
            let (_, but_the_last) = sizes.split_last().unwrap();
            let few = but_the_last.iter().filter(|size| !(CHUNK / 5..=CHUNK * 2).contains(size)).count();
            assert!(few <= 1 && sizes.iter().all(|size| *size <= CHUNK * 2), "{name}: {sizes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_counted_up_are_cut_without_a_look_at_rows_also_those_that_come_meanwhile() {
    const CHUNK: u64 = 12_000;
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let table = create(server, &db, "counted", &[("INT", integer(IntegerSize::Int, false))]).await;
        let fill = async |from: usize, to: usize| {
            let rows: Vec<String> = (from..to).map(|row| format!("({row},{row})")).collect();
            server.run([format!("INSERT INTO {db}.counted VALUES {}", rows.join(","))]).await;
        };
        let mut conn = open(server).await;
        let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
        let only = ChunkPlanner::new(Arc::clone(&described)).next(&mut conn, CHUNK).await.unwrap().unwrap();
        assert!(only.is_last(), "an empty table");
        fill(0, 60_000).await;
        server.run([format!("ANALYZE TABLE {db}.counted")]).await;
        let before = status(&mut conn, READ).await;
        let mut planner = ChunkPlanner::new(Arc::clone(&described));
        let mut chunks = Vec::new();
        while let Some(chunk) = planner.next(&mut conn, CHUNK).await.unwrap() {
            chunks.push(chunk);
            if chunks.len() == 4 {
                // A chunk is left, and another one comes.
                fill(60_000, 70_000).await;
            }
        }
        let handled = status(&mut conn, READ).await - before;
        assert!(handled < 100, "{handled} rows touched");
        let mut all = Vec::new();
        for chunk in &chunks {
            let values = values(&mut conn, &described, chunk).await;
            assert!(values.len() as u64 <= CHUNK * 3 / 2, "{} rows in {chunk:?}", values.len());
            all.extend(values);
        }
        assert!(all.into_iter().eq(0..70_000), "each once, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_are_described_with_three_statements() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let mut tables = Vec::new();
        for number in 0..20 {
            tables.push(create(server, &db, &format!("t{number}"), &[("VARCHAR(20)", varchar("utf8mb4"))]).await);
        }
        server.run([format!("INSERT INTO {db}.t3 VALUES ('a', 1), ('b', 2)"), format!("DROP TABLE {db}.t7")]).await;
        let mut conn = open(server).await;
        let questions = status(&mut conn, "Questions").await;
        let all: Vec<&Table> = tables.iter().collect();
        let described = SnapshotTable::describe_all(&mut conn, &all).await.unwrap();
        // The last of them asks for their number.
        assert_eq!(status(&mut conn, "Questions").await - questions, 4);
        for (number, described) in described.into_iter().enumerate() {
            let described = match (number, described) {
                (7, Err(error)) => {
                    assert!(!error.is_transient() && error.to_string().contains("does not exist"), "{error}");
                    continue;
                }
                (_, described) => Arc::new(described.unwrap()),
            };
            assert_eq!(described.name(), &tables[number].name);
            // With a bound, which needs the collation.
            let mut planner = ChunkPlanner::new(Arc::clone(&described));
            let mut seen = Vec::new();
            while let Some(chunk) = planner.next(&mut conn, 1).await.unwrap() {
                seen.extend(values(&mut conn, &described, &chunk).await);
            }
            assert_eq!(seen, if number == 3 { vec![1, 2] } else { vec![] });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_tables_and_a_resumed_plan() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        let table = create(server, &db, "small", &[("INT", integer(IntegerSize::Int, false))]).await;
        let mut conn = open(server).await;
        let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
        let mut planner = ChunkPlanner::new(Arc::clone(&described));
        let only = planner.next(&mut conn, 5).await.unwrap().unwrap();
        assert!(only.is_last() && only.lower.is_none());
        assert_eq!(values(&mut conn, &described, &only).await, Vec::<i64>::new());
        assert!(planner.next(&mut conn, 5).await.unwrap().is_none());
        assert!(ChunkPlanner::new(Arc::clone(&described)).resume(&only).next(&mut conn, 5).await.unwrap().is_none());

        server.run([format!("INSERT INTO {db}.small VALUES (7, 7)")]).await;
        assert_eq!(values(&mut conn, &described, &only).await, [7]);

        server.run([format!("INSERT INTO {db}.small VALUES (1,1),(2,2),(3,3),(4,4),(5,5),(6,6)")]).await;
        let first = ChunkPlanner::new(Arc::clone(&described)).next(&mut conn, 5).await.unwrap().unwrap();
        let stored: Chunk = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        let second =
            ChunkPlanner::new(Arc::clone(&described)).resume(&stored).next(&mut conn, 5).await.unwrap().unwrap();
        assert_eq!((second.number, second.is_last()), (1, true));
        assert_eq!(values(&mut conn, &described, &first).await, [1, 2, 3, 4, 5]);
        assert_eq!(values(&mut conn, &described, &second).await, [6, 7]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nullable_key_is_one_chunk_with_every_row() {
    let server = servers::mysql().await;
    let db = server.database("chunks").await;
    server
        .run([
            format!("CREATE TABLE {db}.nulls (k INT NULL UNIQUE, v INT NOT NULL)"),
            format!("INSERT INTO {db}.nulls VALUES (NULL, 1), (NULL, 2), (3, 3)"),
        ])
        .await;
    let mut key = Column::new("k", integer(IntegerSize::Int, false));
    key.nullable = true;
    let table = Table {
        primary: true,
        charset: None,
        indexes: Vec::new(),
        name: TableName::new(&db, "nulls"),
        columns: vec![key, Column::new("v", integer(IntegerSize::Int, false))],
        key: vec![0],
        comment: String::new(),
    };
    let mut conn = open(server).await;
    let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
    let mut planner = ChunkPlanner::new(Arc::clone(&described));
    let chunk = planner.next(&mut conn, 1).await.unwrap().unwrap();
    let mut found = values(&mut conn, &described, &chunk).await;
    found.sort_unstable();
    assert_eq!((found, planner.next(&mut conn, 1).await.unwrap()), (vec![1, 2, 3], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_row_is_a_page_of_its_own() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("chunks").await;
        server
            .run([
                format!("CREATE TABLE {db}.large (k INT PRIMARY KEY, v LONGTEXT)"),
                format!("INSERT INTO {db}.large VALUES (1,''),(2,''),(3,''),(4,''),(5,''),(6,'')"),
                format!("UPDATE {db}.large SET v = REPEAT('x', 3000000)"),
            ])
            .await;
        let text = ColumnType::Text { size: LobSize::Long, charset: "utf8mb4".into() };
        let table = Table {
            primary: true,
            charset: None,
            indexes: Vec::new(),
            name: TableName::new(&db, "large"),
            columns: vec![Column::new("k", integer(IntegerSize::Int, false)), Column::new("v", text)],
            key: vec![0],
            comment: String::new(),
        };
        let mut conn = open(server).await;
        let described = Arc::new(SnapshotTable::describe(&mut conn, &table).await.unwrap());
        let chunk = ChunkPlanner::new(Arc::clone(&described)).next(&mut conn, 100).await.unwrap().unwrap();
        let mut pages = Vec::new();
        read_chunk(&mut conn, &described, &chunk, "k, v", async |page: Page| {
            pages.push((page.count(), page.size() / 1_000_000));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(pages, [(1, 3); 6]);
    }
}
