//! Two rows must not become one: what a key can hold at the source and could read the same at the target.

use super::*;

/// A column, its literals, and what must come: the cell in a key and the cell of the same column outside of one. A part of
/// an error's text serves too.
type Case = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

const ONLY_ZERO: &str = "in a key only 0000-00-00 can be replaced";
const TAKEN: &str = "also defaultZeroDate";
const NO_NULL: &str = "NULL cannot stand for it";
const REFUSED: &str = "defaultZeroDate is error";
const TWIN: &str = "read as a character that other bytes stand for too";

/// With `defaultZeroDate: 1970-01-01`.
const REPLACED: &[Case] = &[
    (
        "DATE",
        &[
            ("'0000-00-00'", "plain 1970-01-01", "plain 1970-01-01"),
            ("'1970-01-01'", TAKEN, "plain 1970-01-01"),
            ("'2020-00-10'", ONLY_ZERO, "plain 1970-01-01"),
            ("'2021-02-30'", ONLY_ZERO, "plain 1970-01-01"),
            ("'1970-01-02'", "plain 1970-01-02", "plain 1970-01-02"),
        ],
    ),
    (
        "DATETIME(3)",
        &[
            ("'0000-00-00'", "plain 1970-01-01 00:00:00.000", "plain 1970-01-01 00:00:00.000"),
            ("'1970-01-01'", TAKEN, "plain 1970-01-01 00:00:00.000"),
            ("'1970-01-01 00:00:00.001'", "plain 1970-01-01 00:00:00.001", "plain 1970-01-01 00:00:00.001"),
            ("'2020-01-00 10:00:00'", ONLY_ZERO, "plain 1970-01-01 00:00:00.000"),
        ],
    ),
    (
        "TIMESTAMP",
        &[
            ("'0000-00-00 00:00:00'", "plain 1970-01-01 00:00:00", "plain 1970-01-01 00:00:00"),
            ("'1970-01-01 00:00:01'", "plain 1970-01-01 00:00:01", "plain 1970-01-01 00:00:01"),
        ],
    ),
];

const NULLED: &[Case] = &[
    ("DATE", &[("'0000-00-00'", NO_NULL, "null"), ("'2020-01-00'", NO_NULL, "null")]),
    (
        "DATETIME",
        &[
            ("'0000-00-00'", NO_NULL, "null"),
            ("'2020-01-01'", "plain 2020-01-01 00:00:00", "plain 2020-01-01 00:00:00"),
        ],
    ),
    ("TIMESTAMP", &[("'0000-00-00 00:00:00'", NO_NULL, "null")]),
];

const FORBIDDEN: &[Case] = &[
    ("DATE", &[("'0000-00-00'", REFUSED, REFUSED), ("'2020-00-10'", REFUSED, REFUSED)]),
    ("DATETIME(6)", &[("'0000-00-00'", REFUSED, REFUSED)]),
    ("TIMESTAMP", &[("'0000-00-00 00:00:00'", REFUSED, REFUSED)]),
];

/// Whatever stands for zero dates.
const ALWAYS: &[Case] = &[
    (
        "VARCHAR(4) CHARACTER SET sjis COLLATE sjis_bin",
        &[("UNHEX('5C')", TWIN, "text \\"), ("UNHEX('815F')", "text \\", "text \\")],
    ),
    (
        "VARCHAR(4) CHARACTER SET cp932 COLLATE cp932_bin",
        &[("UNHEX('8782')", "text №", "text №"), ("UNHEX('FA59')", TWIN, "text №")],
    ),
    (
        "VARCHAR(4) CHARACTER SET armscii8 COLLATE armscii8_bin",
        &[("')'", "text )", "text )"), ("UNHEX('A4')", TWIN, "text )")],
    ),
    (
        "ENUM('a','')",
        &[("''", "text ", "text "), ("0", "reads as its empty member", "text "), ("'a'", "text a", "text a")],
    ),
    ("ENUM('a','b')", &[("0", "text ", "text "), ("'b'", "text b", "text b")]),
    (
        "CHAR(4) COLLATE utf8mb4_bin",
        &[("'a'", "text a", "text a"), ("'A '", "text A", "text A"), ("'á'", "text á", "text á")],
    ),
    ("FLOAT", &[("0.1", "plain 0.1", "number 0.1"), ("0.10000001", "plain 0.10000001", "number 0.10000001")]),
    ("BINARY(3)", &[("X'00'", "plain 000000", "binary 000000"), ("X'0001'", "plain 000100", "binary 000100")]),
];

async fn check(server: &Shared, zero_date: ZeroDate, cases: &[Case]) {
    let database = server.database("keys").await;
    let mut conn = open(server).await;
    let flavor = connect::server_info(&mut conn).await.unwrap().flavor;
    let start = position::current(&mut conn, flavor).await.unwrap();
    let modes = "SET NAMES utf8mb4, sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', explicit_defaults_for_timestamp = ON";
    for setup in [modes, &format!("USE {database}")] {
        conn.query_drop(setup).await.unwrap();
    }
    for (number, (ty, literals)) in cases.iter().enumerate() {
        for (table, key) in [("keys", "c, id"), ("outside", "id")] {
            let null = if key == "id" { "NULL" } else { "NOT NULL" };
            let ddl =
                format!("CREATE TABLE {table}{number:02} (id INT, c {ty} {null}, PRIMARY KEY ({key})) CHARSET utf8mb4");
            conn.query_drop(&ddl).await.unwrap_or_else(|error| panic!("{ddl}: {error}"));
            for (id, (literal, ..)) in literals.iter().enumerate() {
                let insert = format!("INSERT INTO {table}{number:02} (id, c) VALUES ({id}, {literal})");
                conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
            }
        }
    }
    let options = ValueOptions { zero_date, ..options() };
    let tables = tables(&mut conn, &database).await;
    let events = log(server, start, &database).await;
    for (number, (ty, literals)) in cases.iter().enumerate() {
        for (table, at) in [("keys", 0), ("outside", 1)] {
            let name = format!("{table}{number:02}");
            let table = tables.iter().find(|table| table.name.table == name).unwrap();
            let mapping = mapping(table);
            let from_log = images(&events, &mapping, &options);
            let mut from_select = snapshot(server, &mapping, &options).await;
            if at == 0 {
                // In the order of the keys, and by row.
                from_select.sort();
                let mut sorted = from_log.clone();
                sorted.sort();
                assert_eq!(from_select, sorted, "{ty}");
            } else {
                assert_eq!(from_select, from_log, "{ty}");
            }
            for (cells, (literal, in_key, outside)) in from_log.iter().zip(*literals) {
                let (expected, cell) = if at == 0 { (in_key, &cells[0]) } else { (outside, &cells[1]) };
                let kind =
                    ["plain ", "text ", "number ", "binary ", "null"].iter().any(|kind| expected.starts_with(kind));
                let right =
                    if kind { cell == expected } else { cell.contains(expected) && cell.starts_with("column c: ") };
                assert!(right, "{name} {ty} {literal}: {cell:?}, not {expected:?}");
            }
        }
    }
}

async fn check_all(server: &Shared) {
    check(server, ZeroDate::Value("1970-01-01".into()), REPLACED).await;
    check(server, ZeroDate::Null, NULLED).await;
    check(server, ZeroDate::Error, FORBIDDEN).await;
    check(server, ZeroDate::Null, ALWAYS).await;
}

#[tokio::test]
async fn two_keys_of_mysql_never_become_one() {
    check_all(servers::mysql().await).await;
}

#[tokio::test]
async fn two_keys_of_mariadb_never_become_one() {
    check_all(servers::mariadb().await).await;
}
