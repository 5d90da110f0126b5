//! What ALTER TABLE does to values that exist, on real servers, beside what Towpath says of it.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use towpath::config::NoKeyTables;
use towpath::mysql::{catalog, connect};
use towpath::schema::{Altered, Table, rewrites_rows};

use crate::servers::{self, Shared};
use crate::source_catalog::job;

/// How values are compared: by what a target gets to see.
const NUMBER: &str = "CAST(c AS DECIMAL(65,20))";
const TEXT: &str = "HEX(CONVERT(c USING utf8mb4))";
const BYTES: &str = "HEX(c)";
const MOMENT: &str = "CAST(c AS DATETIME(6))";
const WRITTEN: &str = "CAST(c AS CHAR)";

/// Before, after, how to compare, and values that are hard on the change.
const CASES: [(&str, &str, &str, &str); 46] = [
    ("TINYINT", "SMALLINT", NUMBER, "(-128),(127),(0)"),
    ("INT UNSIGNED", "BIGINT", NUMBER, "(4294967295),(0)"),
    ("BIGINT", "INT", NUMBER, "(3000000000),(5)"),
    ("INT", "INT UNSIGNED", NUMBER, "(-1),(1)"),
    ("INT", "BIGINT UNSIGNED", NUMBER, "(-1),(1)"),
    ("INT", "DECIMAL(10,0)", NUMBER, "(-2147483648),(2147483647)"),
    ("INT", "DECIMAL(10,2)", NUMBER, "(2147483647),(1)"),
    ("INT", "DOUBLE", NUMBER, "(2147483647),(-1)"),
    ("INT", "FLOAT", NUMBER, "(2147483647),(16777217)"),
    ("BIGINT", "DOUBLE", NUMBER, "(9007199254740993)"),
    ("INT", "VARCHAR(20)", TEXT, "(7),(-7)"),
    ("INT ZEROFILL", "VARCHAR(20)", WRITTEN, "(7)"),
    ("DECIMAL(10,2)", "DECIMAL(12,4)", NUMBER, "(99999999.99),(-0.01)"),
    ("DECIMAL(10,2)", "DECIMAL(10,1)", NUMBER, "(1.25),(1.2)"),
    ("DECIMAL(10,2)", "DECIMAL(9,2)", NUMBER, "(99999999.99),(1)"),
    ("DECIMAL(50,2)", "DECIMAL(60,4)", WRITTEN, "(1.25)"),
    ("FLOAT", "DOUBLE", WRITTEN, "(0.1)"),
    ("BIT(3)", "BIT(9)", NUMBER, "(5)"),
    ("BIT(9)", "BIT(3)", NUMBER, "(300),(1)"),
    ("VARCHAR(10) CHARACTER SET latin1", "VARCHAR(10) CHARACTER SET utf8mb4", TEXT, "('grün€'),('a ')"),
    ("VARCHAR(10) CHARACTER SET utf8mb4", "VARCHAR(10) CHARACTER SET latin1", TEXT, "('漢字'),('a')"),
    ("VARCHAR(10) CHARACTER SET utf8mb4", "VARCHAR(12) CHARACTER SET utf8mb4", TEXT, "('😀 '),('')"),
    ("VARCHAR(10)", "VARCHAR(3)", TEXT, "('abcdef'),('ab')"),
    ("VARCHAR(10)", "CHAR(10)", TEXT, "('ab  ')"),
    ("CHAR(10)", "VARCHAR(10)", TEXT, "('ab'),('')"),
    ("VARCHAR(63) CHARACTER SET utf8mb4", "TINYTEXT CHARACTER SET utf8mb4", TEXT, "(REPEAT('😀',63)),(' x ')"),
    ("TEXT CHARACTER SET latin1", "TEXT CHARACTER SET utf8mb4", TEXT, "(REPEAT('ü',60000))"),
    ("TINYTEXT CHARACTER SET latin1", "TEXT CHARACTER SET utf8mb4", TEXT, "(REPEAT('€',255))"),
    ("TEXT", "TINYTEXT", TEXT, "(REPEAT('x',300)),('x')"),
    ("BINARY(4)", "BINARY(6)", BYTES, "('ab')"),
    ("BINARY(4)", "VARBINARY(4)", BYTES, "('ab')"),
    ("VARBINARY(4)", "VARBINARY(9)", BYTES, "(x'6100')"),
    ("VARBINARY(255)", "TINYBLOB", BYTES, "(REPEAT(x'ff',255))"),
    ("DATE", "DATETIME", MOMENT, "('2020-01-02'),(NULL)"),
    ("DATETIME(6)", "DATETIME", MOMENT, "('2020-12-31 23:59:59.9')"),
    ("DATETIME", "DATETIME(6)", MOMENT, "('2020-12-31 23:59:59')"),
    ("DATETIME", "DATE", MOMENT, "('2020-12-31 23:59:59')"),
    ("TIMESTAMP(3) NULL", "TIMESTAMP(6) NULL", MOMENT, "('2020-12-31 23:59:59.123')"),
    ("TIME", "TIME(3)", WRITTEN, "('10:00:00')"),
    ("ENUM('a','b')", "ENUM('c','b','a')", TEXT, "('a'),('b')"),
    ("ENUM('a','b')", "ENUM('a','c')", TEXT, "('b'),('a')"),
    ("ENUM('a','grün')", "VARCHAR(4) CHARACTER SET utf8mb4", TEXT, "('grün'),('a')"),
    ("SET('a','b')", "SET('x','a','b')", TEXT, "('a,b'),('b')"),
    ("SET('a','b')", "SET('b','a')", TEXT, "('a,b')"),
    ("SET('a','b')", "VARCHAR(3) CHARACTER SET utf8mb4", TEXT, "('a,b'),('')"),
    ("INT NULL", "INT NOT NULL", NUMBER, "(NULL),(1)"),
];

async fn tables(server: &Shared, database: &str) -> HashMap<String, Arc<Table>> {
    let job = job(server.port(), "root", "", &format!("{database}.*"), "");
    let mut conn = connect::open(&job.source).await.unwrap();
    let info = connect::server_info(&mut conn).await.unwrap();
    let filter = job.source.table_filter(info.lower_case_table_names).unwrap();
    let tables = catalog::tables(&mut conn, &info, &filter, NoKeyTables::UniqueKey).await.unwrap();
    tables.into_iter().map(|table| (table.name.table.clone(), Arc::new(table))).collect()
}

/// Alters a table for each case and compares what its values were and are. Gives how many changed.
async fn compare(server: &Shared, mode: &str) -> usize {
    let database = server.database("reshape").await;
    let mut conn = server.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop(format!("SET NAMES utf8mb4, SESSION sql_mode = '{mode}'")).await.unwrap();
    let mut values = HashMap::new();
    for (index, (before, _, shown, rows)) in CASES.iter().enumerate() {
        let create = format!("CREATE TABLE t{index} (id INT PRIMARY KEY AUTO_INCREMENT, c {before})");
        conn.query_drop(&create).await.unwrap_or_else(|error| panic!("{create}: {error}"));
        let insert = format!("INSERT INTO t{index} (c) VALUES {rows}");
        conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
        let shown: Vec<Option<String>> = conn.query(format!("SELECT {shown} FROM t{index} ORDER BY id")).await.unwrap();
        values.insert(index, shown);
    }
    let old = tables(server, &database).await;
    let mut done = Vec::new();
    for (index, (_, after, _, _)) in CASES.iter().enumerate() {
        let altered = conn.query_drop(format!("ALTER TABLE t{index} MODIFY c {after}")).await;
        assert!(altered.is_ok() || !mode.is_empty(), "{after}: {altered:?}");
        done.extend(altered.is_ok().then_some(index));
    }
    let new = tables(server, &database).await;
    let mut changed = 0;
    for index in done {
        let (before, after, shown, _) = CASES[index];
        let now: Vec<Option<String>> = conn.query(format!("SELECT {shown} FROM t{index} ORDER BY id")).await.unwrap();
        let name = format!("t{index}");
        let altered = Altered { before: old[&name].clone(), after: new[&name].clone(), was: vec![Some(0), Some(1)] };
        let told = rewrites_rows(&altered, !mode.is_empty());
        if now != values[&index] {
            changed += 1;
            assert!(!told.is_empty(), "{before} to {after} ({mode:?}): {:?} became {now:?}", values[&index]);
        }
    }
    conn.query_drop(format!("DROP DATABASE {database}")).await.unwrap();
    changed
}

#[tokio::test]
async fn values_that_an_alter_changes_are_never_said_to_stay() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let (loose, strict) = (compare(server, "").await, compare(server, "STRICT_ALL_TABLES").await);
        // The servers do change values, or nothing would have been tried.
        assert!(loose >= 15 && strict >= 5, "{loose} {strict}");
    }
}
