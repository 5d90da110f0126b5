//! Every character of every character set that the servers list, read as the server itself converts it.

use super::*;

/// Which sequences of bytes to ask the server about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every byte.
    Single,
    /// Every pair with an upper first byte too, in EUC also behind 8F.
    Double,
    /// As pairs, and every character of the basic plane and one block of another, most of them in four bytes.
    Gb18030,
    /// Unicode's own: every character that there is, 256 in a row.
    Unicode { beyond_plane_0: bool },
    /// No text.
    Binary,
}

/// A set that is not here is one that a newer server has: then this test must learn it, and `charset.rs` too.
fn kind(set: &str) -> Kind {
    match set {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" => Kind::Unicode { beyond_plane_0: true },
        "utf8mb3" | "ucs2" => Kind::Unicode { beyond_plane_0: false },
        "gbk" | "gb2312" | "big5" | "sjis" | "cp932" | "ujis" | "eucjpms" | "euckr" => Kind::Double,
        "gb18030" => Kind::Gb18030,
        "binary" => Kind::Binary,
        "ascii" | "armscii8" | "cp1250" | "cp1251" | "cp1256" | "cp1257" | "cp850" | "cp852" | "cp866" | "dec8"
        | "geostd8" | "greek" | "hebrew" | "hp8" | "keybcs2" | "koi8r" | "koi8u" | "latin1" | "latin2" | "latin5"
        | "latin7" | "macce" | "macroman" | "swe7" | "tis620" => Kind::Single,
        _ => panic!("the server lists {set}, which this test does not know"),
    }
}

/// The sets that the server lists, those of one kind or of the others.
async fn listed(conn: &mut Conn, wanted: fn(Kind) -> bool) -> Vec<String> {
    let rows: Vec<Row> = conn.query("SHOW CHARACTER SET").await.unwrap();
    let names = rows.iter().map(|row| row.get::<String, _>(0).unwrap());
    names.filter(|name| kind(name) != Kind::Binary && wanted(kind(name))).collect()
}

/// SELECTs of byte sequences `s`.
fn sequences(set: &str) -> Vec<String> {
    let mut sequences = vec!["SELECT b AS s FROM byte".to_owned()];
    if kind(set) == Kind::Single {
        return sequences;
    }
    sequences.push("SELECT CONCAT(byte.b, byte2.b) AS s FROM byte, byte2 WHERE byte.b >= 0x80".into());
    if ["ujis", "eucjpms"].contains(&set) {
        sequences.push(
            "SELECT CONCAT(0x8F, byte.b, byte2.b) AS s FROM byte, byte2 WHERE byte.b > 0xA0 AND byte2.b > 0xA0".into(),
        );
    }
    if kind(set) == Kind::Gb18030 {
        for lead in ["", "D83D"] {
            let utf16 = format!("CONVERT(CONCAT(UNHEX('{lead}'), byte.b, byte2.b) USING utf16)");
            sequences.push(format!("SELECT CONVERT({utf16} USING gb18030) AS s FROM byte, byte2"));
        }
    }
    sequences
}

async fn fill_national(conn: &mut Conn, set: &str) {
    conn.query_drop(format!(
        "CREATE TABLE {set} (id INT AUTO_INCREMENT PRIMARY KEY, c VARCHAR(4) CHARACTER SET {set}, expected VARCHAR(4)) \
         CHARSET utf8mb4"
    ))
    .await
    .unwrap();
    for sequence in sequences(set) {
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

/// A row for each 256 code points: as UTF-32, which the server converts into the set.
async fn fill_unicode(conn: &mut Conn, set: &str, beyond_plane_0: bool) {
    conn.query_drop(format!(
        "CREATE TABLE {set} (id INT PRIMARY KEY, c VARCHAR(256) CHARACTER SET {set}, expected VARCHAR(256)) CHARSET utf8mb4"
    ))
    .await
    .unwrap();
    let blocks = (0..if beyond_plane_0 { 0x1100_u32 } else { 0x100 }).filter(|block| !(0xd8..0xe0).contains(block));
    let rows: Vec<String> = blocks
        .map(|block| {
            let code_points: String = (0..256).map(|low| format!("{:08X}", block * 256 + low)).collect();
            format!("({block}, _utf32 X'{code_points}', _utf32 X'{code_points}')")
        })
        .collect();
    for rows in rows.chunks(512) {
        conn.query_drop(format!("INSERT INTO {set} VALUES {}", rows.join(","))).await.unwrap();
    }
}

/// What the server cannot convert itself it prints as `?`, or as U+FFFD; such bytes are not compared.
async fn compare(server: &Shared, wanted: fn(Kind) -> bool) {
    let database = server.database("charsets").await;
    let mut conn = open(server).await;
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let start = position::current(&mut conn, flavor).await.unwrap();
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop("SET NAMES utf8mb4, sql_mode = ''").await.unwrap();
    conn.query_drop("CREATE TEMPORARY TABLE byte (b BINARY(1))").await.unwrap();
    let bytes: Vec<String> = (0..256).map(|byte| format!("(UNHEX('{byte:02X}'))")).collect();
    conn.query_drop(format!("INSERT INTO byte VALUES {}", bytes.join(","))).await.unwrap();
    conn.query_drop("CREATE TEMPORARY TABLE byte2 SELECT * FROM byte").await.unwrap();
    let sets = listed(&mut conn, wanted).await;
    assert!(!sets.is_empty());
    for set in &sets {
        match kind(set) {
            Kind::Unicode { beyond_plane_0 } => fill_unicode(&mut conn, set, beyond_plane_0).await,
            _ => fill_national(&mut conn, set).await,
        }
    }
    let tables = tables(&mut conn, &database).await;
    assert_eq!(tables.len(), sets.len());
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
    assert!(failures.is_empty(), "{} of {compared} texts differ:\n{}", failures.len(), failures.join("\n"));
}

async fn compare_all(server: &Shared) {
    compare(server, |kind| kind == Kind::Single).await;
    compare(server, |kind| matches!(kind, Kind::Unicode { .. })).await;
}

#[tokio::test]
async fn single_byte_sets_and_unicode_of_mysql_read_as_the_server_reads_them() {
    compare_all(servers::mysql().await).await;
}

#[tokio::test]
async fn single_byte_sets_and_unicode_of_mariadb_read_as_the_server_reads_them() {
    compare_all(servers::mariadb().await).await;
}

#[tokio::test]
async fn multi_byte_sets_of_mysql_read_as_the_server_reads_them() {
    compare(servers::mysql().await, |kind| matches!(kind, Kind::Double | Kind::Gb18030)).await;
}

#[tokio::test]
async fn multi_byte_sets_of_mariadb_read_as_the_server_reads_them() {
    compare(servers::mariadb().await, |kind| matches!(kind, Kind::Double | Kind::Gb18030)).await;
}
