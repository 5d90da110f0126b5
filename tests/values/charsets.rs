//! Every character of every character set, read as the server converts it.

use super::*;

/// What the server cannot convert itself it prints as `?`, or as U+FFFD; such bytes are not compared.
async fn compare(server: &Shared, sets: &[&str]) {
    let database = server.database("charsets").await;
    let mut conn = server.connect().await;
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let start = position::current(&mut conn, flavor).await.unwrap();
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop("SET NAMES utf8mb4, sql_mode = ''").await.unwrap();
    conn.query_drop("CREATE TEMPORARY TABLE byte (b BINARY(1))").await.unwrap();
    let bytes: Vec<String> = (0..256).map(|byte| format!("(UNHEX('{byte:02X}'))")).collect();
    conn.query_drop(format!("INSERT INTO byte VALUES {}", bytes.join(","))).await.unwrap();
    conn.query_drop("CREATE TEMPORARY TABLE byte2 SELECT * FROM byte").await.unwrap();
    for set in sets {
        let mut sequences = vec!["SELECT b AS s FROM byte".to_owned()];
        let pairs = "SELECT CONCAT(byte.b, byte2.b) AS s FROM byte, byte2";
        if !SINGLE.contains(set) {
            sequences.push(format!("{pairs} WHERE byte.b >= 0x80"));
        }
        if ["ujis", "eucjpms"].contains(set) {
            sequences.push(
                "SELECT CONCAT(0x8F, byte.b, byte2.b) AS s FROM byte, byte2 WHERE byte.b > 0xA0 AND byte2.b > 0xA0"
                    .into(),
            );
        }
        if *set == "gb18030" {
            // Every character of the basic plane and one block of another, most of them in four bytes.
            for lead in ["", "D83D"] {
                let utf16 = format!("CONVERT(CONCAT(UNHEX('{lead}'), byte.b, byte2.b) USING utf16)");
                sequences.push(format!("SELECT CONVERT({utf16} USING gb18030) AS s FROM byte, byte2"));
            }
        }
        conn.query_drop(format!(
            "CREATE TABLE {set} (id INT AUTO_INCREMENT PRIMARY KEY, c VARCHAR(4) CHARACTER SET {set}, expected VARCHAR(4)) \
             CHARSET utf8mb4"
        ))
        .await
        .unwrap();
        for sequence in sequences {
            // A sequence that is no character of the set becomes NULL, and what has no other form `?`.
            conn.query_drop(format!(
                "INSERT INTO {set} (c, expected) SELECT c, e FROM (SELECT c, CONVERT(c USING utf8mb4) e FROM (SELECT \
                 CONVERT(s USING {set}) c FROM ({sequence}) x) y WHERE c IS NOT NULL) z \
                 WHERE CHAR_LENGTH(c) = 1 AND (e <> '?' OR HEX(c) = '3F')"
            ))
            .await
            .unwrap_or_else(|error| panic!("{set}: {error}"));
        }
    }
    let tables = tables(&mut conn, &database).await;
    let events = log(server, start, &database).await;
    let mut failures = Vec::new();
    let mut compared = 0;
    for table in &tables {
        let mapping = mapping(table);
        let from_log = images(&events, &mapping, &options());
        assert!(from_log.len() >= 127, "{}: {}", table.name, from_log.len());
        assert_eq!(from_log, snapshot(server, &mapping, &options()).await);
        let query = format!("SELECT HEX(c), expected FROM {} ORDER BY id", table.name.quoted());
        let converted: Vec<(String, String)> = conn.query(query).await.unwrap();
        for (cells, (bytes, expected)) in from_log.iter().zip(converted) {
            if expected == "\u{fffd}" {
                continue;
            }
            compared += 1;
            let expected = format!("text {expected}");
            if cells[1] != expected {
                failures
                    .push(format!("{} {bytes} reads as {:?}, the server has {expected:?}", table.name.table, cells[1]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} characters differ:\n{}", failures.len(), failures.join("\n"));
}

const SINGLE: &[&str] = &[
    "ascii", "armscii8", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8", "geostd8", "greek",
    "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce", "macroman", "swe7",
    "tis620",
];

const DOUBLE: &[&str] = &["gbk", "gb2312", "big5", "sjis", "cp932", "ujis", "eucjpms", "euckr"];

#[tokio::test]
async fn single_byte_sets_read_as_the_server_reads_them() {
    compare(servers::mysql().await, SINGLE).await;
}

#[tokio::test]
async fn multi_byte_sets_of_mysql_read_as_the_server_reads_them() {
    compare(servers::mysql().await, DOUBLE).await;
    compare(servers::mysql().await, &["gb18030"]).await;
}

#[tokio::test]
async fn multi_byte_sets_of_mariadb_read_as_the_server_reads_them() {
    compare(servers::mariadb().await, DOUBLE).await;
}
