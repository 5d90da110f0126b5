//! Times as MariaDB stored and logged them before it took over MySQL's forms, and still does for tables that were made
//! with `mysql56_temporal_format=OFF`. Without digits of a second they are also the forms of MySQL before 5.6.

use towpath::demo::server::{Options, Product, ScratchServer};

use super::*;

/// Each of a column with as many digits.
const TEXTS: &[&str] = &["2024-02-29 23:59:59.999999", "1970-01-01 00:00:01.000001", "2037-12-31 00:00:00.500000"];
const DATES: &[&str] = &["9999-12-31 23:59:59.999999", "0001-01-01 00:00:00.000001", "1000-10-10 10:10:10.101010"];
const TIMES: &[&str] = &["-838:59:59.999999", "838:59:59.999999", "-00:00:00.000001", "00:00:00", "-01:02:03.450000"];

#[tokio::test]
async fn old_times_read_the_same_from_the_select_and_the_log() {
    // The format is a global setting, so the server is no other test's.
    let options_of = Options::new(Product::Mariadb).argument("--mysql56-temporal-format=OFF");
    let server = ScratchServer::start(&options_of).await.unwrap();
    let mut conn = server.connect().await.unwrap();
    let start = position::current(&mut conn, connect::Flavor::Mariadb).await.unwrap();
    for setup in ["CREATE DATABASE old", "USE old", "SET NAMES utf8mb4, sql_mode = '', time_zone = '+00:00'"] {
        conn.query_drop(setup).await.unwrap();
    }
    let mut kinds = Vec::new();
    for (kind, texts) in [("TIMESTAMP", TEXTS), ("DATETIME", TEXTS), ("DATETIME", DATES), ("TIME", TIMES)] {
        for digits in 0..=6 {
            let table = format!("t{:02}", kinds.len());
            conn.query_drop(format!("CREATE TABLE {table} (id INT PRIMARY KEY, c {kind}({digits}) NULL, z INT)"))
                .await
                .unwrap();
            for (id, text) in texts.iter().chain(&["0000-00-00 00:00:00"][..usize::from(kind != "TIME")]).enumerate() {
                conn.query_drop(format!("INSERT INTO {table} VALUES ({id}, '{text}', {id})")).await.unwrap();
            }
            conn.query_drop(format!("INSERT INTO {table} VALUES (9, NULL, 9)")).await.unwrap();
            kinds.push((table, kind));
        }
    }
    let tables = tables(&mut conn, "old").await;
    let events = log(&server, start, "old").await;
    for (name, kind) in kinds {
        let table = tables.iter().find(|table| table.name.table == name).unwrap();
        let ty: String = conn
            .query_first(format!(
                "SELECT COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_NAME = '{name}' AND \
                 COLUMN_NAME = 'c'"
            ))
            .await
            .unwrap()
            .unwrap();
        assert!(ty.contains("mariadb-5.3"), "{kind}: {ty}");
        let mapping = mapping(table);
        let from_log = images(&events, &mapping, &options());
        assert_eq!(from_log, snapshot(&server, &mapping, &options()).await, "{ty}");
        let shown: Vec<(Option<String>, i32)> =
            conn.query(format!("SELECT CAST(c AS CHAR), z FROM {} ORDER BY id", table.name.quoted())).await.unwrap();
        for (cells, (text, z)) in from_log.iter().zip(shown) {
            let expected = match text {
                Some(text) if !text.starts_with("0000-00-00") => format!("plain {text}"),
                _ => "null".to_owned(),
            };
            assert_eq!(cells[1..], [expected, format!("number {z}")], "{ty}");
        }
    }
}
