//! Keys of every kind, also those that the servers order differently.

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target};
use crate::servers;

#[tokio::test(flavor = "multi_thread")]
async fn string_keys_in_a_collation_without_case_are_found_missing_extra_and_different() {
    for (source, collation) in
        [(servers::mysql().await, "utf8mb4_0900_ai_ci"), (servers::mariadb().await, "latin1_swedish_ci")]
    {
        let database = source.database("ci").await;
        let charset = collation.split_once('_').unwrap().0;
        let rows: Vec<String> = (0..700).map(|n| format!("('Key-{n} \u{e4}', {})", n % 3,)).collect();
        source
            .run([
                format!(
                    "CREATE TABLE {database}.t (name VARCHAR(20) CHARACTER SET {charset} COLLATE {collation}, n INT, v INT DEFAULT 1, \
                     PRIMARY KEY (name, n))"
                ),
                format!("INSERT INTO {database}.t (name, n) VALUES {}", rows.join(", ")),
            ])
            .await;
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
        let _running = follow(&job).await;
        let clean = verify(&job, &[]).await;
        clean.expect(0, []);
        assert_eq!(clean.table("t")["way"], "keys");
        assert_eq!(clean.table("t")["rows"], 700);
        let mut conn = target.connect().await;
        for statement in [
            "DELETE FROM {t} WHERE name = 'Key-5 \u{e4}'",
            // The source's collation takes it for the same.
            "DELETE FROM {t} WHERE name = 'Key-6 \u{e4}'",
            "INSERT INTO {t} VALUES ('KEY-6 \u{c4}', 0, 1), ('other', 0, 1)",
            "UPDATE {t} SET v = NULL WHERE name = 'Key-699 \u{e4}'",
        ] {
            conn.query_drop(statement.replace("{t}", &format!("{database}.t"))).await.unwrap();
        }
        verify(&job, &[]).await.expect(
            3,
            [
                "missing t name=Key-5 \u{e4}, n=2",
                "missing t name=Key-6 \u{e4}, n=0",
                "extra t name=KEY-6 \u{c4}, n=0",
                "extra t name=other, n=0",
                "different t name=Key-699 \u{e4}, n=0: v",
            ],
        );
    }
}

/// Each type as a key, first and last of a compound one: equal as it is; and one row deleted at the target, one added.
#[tokio::test(flavor = "multi_thread")]
async fn any_type_can_be_a_key() {
    let source = servers::mysql().await;
    let database = source.database("anykey").await;
    let types: &[(&str, &[&str], &str)] = &[
        ("BIGINT UNSIGNED", &["0", "18446744073709551615", "9223372036854775808"], "7"),
        ("TINYINT", &["-128", "0", "127"], "7"),
        ("FLOAT", &["0.1", "-3.40282e38", "16777216"], "'0.7'"),
        ("DOUBLE", &["0.125", "-1", "1e15"], "'0.7'"),
        ("DECIMAL(30,10)", &["0", "-1.0000000001", "9999999999"], "'0.7000000000'"),
        ("BIT(64)", &["0", "1", "b'1000000000000000000000000000000000000000000000000000000000000000'"], "7"),
        ("BIT(1)", &["0"], "1"),
        ("BINARY(4)", &["''", "'a'", "x'FF00FF00'"], "'00000007'"),
        ("VARBINARY(4)", &["''", "'a'", "x'6100'"], "'07'"),
        ("VARCHAR(20)", &["''", "'\u{e4}'", "'b'", "'\u{1F980}'", "'it''s\\\\\\n'"], "'new'"),
        ("VARCHAR(20) COLLATE utf8mb4_0900_bin", &["''", "'\u{e4}'", "'b'", "'B'", "'a '", "'a'", "'a\\t'"], "'new'"),
        ("CHAR(5) CHARACTER SET latin1", &["'\u{e9}'", "'o '", "'z'"], "'new'"),
        (
            "DATETIME(6)",
            &["'2024-02-29 00:00:00.000001'", "'1000-01-01'", "'9999-12-31 23:59:59.999999'"],
            "'2000-01-01'",
        ),
        ("TIMESTAMP(2)", &["'2024-02-29 12:00:00.25'", "'2001-01-01'"], "'2000-01-01'"),
        ("TIME(3)", &["'-838:59:59'", "'00:00:00.001'", "'838:59:59'"], "'01:00:00.000'"),
        ("DATE", &["'2024-02-29'", "'1000-01-01'"], "'2000-01-01'"),
        ("YEAR", &["0", "1901", "2155"], "2000"),
        ("ENUM('b','a','c')", &["'a'", "'b'"], "'c'"),
        ("SET('b','a','c')", &["''", "'a'", "'b,a'"], "'c'"),
    ];
    let mut statements = Vec::new();
    for (number, (ty, values, _)) in types.iter().enumerate() {
        for (table, key) in [("one", "k"), ("first", "k, n"), ("last", "n, k")] {
            let name = format!("{database}.{table}{number}");
            let rows = values.iter().map(|value| format!("({value}, 1)")).collect::<Vec<_>>().join(", ");
            statements.push(format!("CREATE TABLE {name} (k {ty} NOT NULL, n INT NOT NULL, PRIMARY KEY ({key}))"));
            statements.push(format!("INSERT INTO {name} VALUES {rows}"));
        }
    }
    source.run(statements).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let _running = follow(&job).await;
    let clean = verify(&job, &[]).await;
    clean.expect(0, []);

    let mut conn = target.connect().await;
    for (number, (_, _, new)) in types.iter().enumerate() {
        for table in ["one", "first", "last"] {
            let name = format!("{database}.{table}{number}");
            let mut keys: Vec<String> = conn.query(format!("SELECT k FROM {name}")).await.unwrap();
            let gone = keys.pop().unwrap().replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
            conn.query_drop(format!("DELETE FROM {name} WHERE k = '{gone}'")).await.unwrap();
            conn.query_drop(format!("INSERT INTO {name} (k, n) VALUES ({new}, 1)")).await.unwrap();
        }
    }
    let found = verify(&job, &[]).await;
    for (number, (ty, ..)) in types.iter().enumerate() {
        for table in ["one", "first", "last"] {
            let report = found.table(&format!("{table}{number}"));
            let counts = [&report["missing"], &report["extra"], &report["different"]].map(serde_json::Value::as_u64);
            assert_eq!(counts, [Some(1), Some(1), Some(0)], "{ty} {table}: {report}\n{}", found.all);
        }
    }
    assert_eq!(found.code, Some(3));
}
