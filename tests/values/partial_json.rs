//! `binlog_row_value_options=PARTIAL_JSON`: documents changed by random JSON_SET, JSON_REPLACE and JSON_REMOVE, read from
//! the log's changes, and what the server itself prints.

use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{images, log, mapping, options, tables};
use crate::servers;
use towpath::mysql::connect::Flavor;
use towpath::mysql::position;

const NAMES: [&str; 10] = ["a", "b", "bb", "k y", "\"q\\", "é", "last", "", "$x", "ccc"];

/// A value as JSON text.
fn value(random: &mut StdRng, depth: usize) -> String {
    let name = |random: &mut StdRng| serde_json::to_string(NAMES.choose(random).unwrap()).unwrap();
    match random.random_range(0..if depth > 2 { 8 } else { 12 }) {
        0 => "null".into(),
        1 => "true".into(),
        2 => random.random_range(-9..9).to_string(),
        3 => random.random::<i64>().to_string(),
        4 => u64::MAX.to_string(),
        5 => format!("{}.5e{}", random.random_range(-9..9), random.random_range(-5..20)),
        6 => "\"short \\u0001 \\\" text\"".into(),
        7 => format!("\"{}\"", "long".repeat(random.random_range(0..200))),
        8 | 9 => {
            let members =
                (0..random.random_range(0..5)).map(|_| format!("{}: {}", name(random), value(random, depth + 1)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        _ => {
            let cells = (0..random.random_range(0..5)).map(|_| value(random, depth + 1));
            format!("[{}]", cells.collect::<Vec<_>>().join(", "))
        }
    }
}

fn path(random: &mut StdRng) -> String {
    let mut path = "$".to_owned();
    for _ in 0..random.random_range(1..4) {
        path += &match random.random_range(0..5) {
            0 => "[last]".to_owned(),
            1 => format!("[{}]", random.random_range(0..4)),
            _ => format!(".{}", serde_json::to_string(NAMES.choose(random).unwrap()).unwrap()),
        };
    }
    path
}

/// An expression that changes `column`, with its parameters.
fn change(random: &mut StdRng, column: &str) -> (String, Vec<String>) {
    let mut parameters = Vec::new();
    let function = *["JSON_SET", "JSON_SET", "JSON_REPLACE", "JSON_REMOVE"].choose(random).unwrap();
    let mut arguments = String::new();
    for _ in 0..random.random_range(1..4) {
        parameters.push(path(random));
        arguments += ", ?";
        if function != "JSON_REMOVE" {
            let typed = ["1.50", "CAST('2020-02-29' AS DATE)", "CAST('-01:02:03.5' AS TIME(3))", "x'00ff'", "'a\"b'"];
            match random.random_range(0..4) {
                0 => arguments += &format!(", {}", typed.choose(random).unwrap()),
                _ => {
                    arguments += ", CAST(? AS JSON)";
                    parameters.push(value(random, 1));
                }
            }
        }
    }
    (format!("{column} = {function}({column}{arguments})"), parameters)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_json_values_give_what_the_server_prints() {
    let mut random = StdRng::seed_from_u64(39);
    let server = servers::mysql().await;
    let database = server.database("partial").await;
    let mut conn = server.connect().await;
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, a JSON, n INT, b JSON)").await.unwrap();
    // Objects and arrays, one larger than 64 KB, and a NULL.
    for id in 0..12 {
        let cells: Vec<String> = (0..3).map(|_| value(&mut random, 1)).collect();
        let long = if id == 3 { "x".repeat(70_000) } else { String::new() };
        let object =
            format!("{{\"a\": [{}], \"bb\": {}, \"long\": \"{long}\"}}", cells.join(", "), value(&mut random, 0));
        let array = format!("[{}]", cells.join(", "));
        let array = (id != 5).then_some(array);
        conn.exec_drop("INSERT INTO t VALUES (?, ?, 0, ?)", (id, object, array)).await.unwrap();
    }
    conn.query_drop("SET binlog_row_value_options = PARTIAL_JSON").await.unwrap();
    let start = position::current(&mut conn, Flavor::Mysql).await.unwrap();
    let mut expected = Vec::new();
    while expected.len() < 300 {
        let id = random.random_range(0..12);
        let (a, mut parameters) = change(&mut random, "a");
        let (b, more) = change(&mut random, "b");
        let sets = match random.random_range(0..3) {
            0 => a,
            1 => {
                parameters.extend(more);
                format!("{a}, n = n + 1, {b}")
            }
            _ => {
                parameters = more;
                b
            }
        };
        let update = format!("UPDATE t SET {sets} WHERE id = {id}");
        conn.exec_drop(update, mysql_async::Params::Positional(parameters.into_iter().map(Into::into).collect()))
            .await
            .unwrap();
        if conn.affected_rows() == 1 {
            let row: (Option<String>, i64, Option<String>) = conn
                .query_first(format!("SELECT CAST(a AS CHAR), n, CAST(b AS CHAR) FROM t WHERE id = {id}"))
                .await
                .unwrap()
                .unwrap();
            let json = |document: Option<String>| document.map_or("null".to_owned(), |text| format!("json {text}"));
            expected.push(vec![format!("number {id}"), json(row.0), format!("number {}", row.1), json(row.2)]);
        }
    }
    // An event of whole values instead would prove nothing.
    let (file, offset) = (start.file.clone(), start.offset);
    let logged: Vec<mysql_async::Row> =
        conn.query(format!("SHOW BINLOG EVENTS IN '{file}' FROM {offset}")).await.unwrap();
    let partial = logged.iter().filter(|row| row.get::<String, _>(2).as_deref() == Some("Update_rows_partial")).count();
    assert!(partial >= 300, "{partial}");
    let table = tables(&mut conn, &database).await.remove(0);
    let mapping = mapping(&table);
    let rows = images(&log(server, start, &database).await, &mapping, &options());
    assert_eq!(rows.len(), 2 * expected.len());
    for (number, (found, expected)) in rows.chunks(2).zip(&expected).enumerate() {
        assert_eq!(&found[1], expected, "update {number}");
    }
}
