//! Damage that is done to the target by SQL is found exactly: every row and column of it, and nothing else.

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target};
use crate::servers::{self, Shared};

const COLUMNS: &str = "id INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, num DECIMAL(20,5), f FLOAT, dbl DOUBLE, bits BIT(9), \
     flag BIT(1), c CHAR(9) CHARACTER SET latin1, v VARCHAR(40), txt TEXT, bin VARBINARY(9), d DATE, dt DATETIME(3), \
     ts TIMESTAMP(6) NULL, tm TIME(2), y YEAR, e ENUM('a','b'), s SET('x','y'), js JSON, g GEOMETRY";

/// Row `id` of the many.
fn row(id: u32) -> String {
    format!(
        "({id}, {}, 18446744073709551{:03}, {id}.12345, {id}.1, 1e{}, {}, 1, 'na\u{ef}ve', 'Text {id}', 'long {id}', X'00FF{:02X}', \
         '2024-02-29', '2024-02-29 01:02:03.{id:03}', '2024-07-01 12:00:00.{id:06}', '-10:00:00.{:02}', 2024, 'a', 'x,y', \
         '{{\"a\": [1, {id}]}}', ST_GeomFromText('POINT({id} 2)'))",
        id % 100,
        id % 600,
        id % 100,
        id % 512,
        id % 256,
        id % 100,
    )
}

async fn every_kind(source: &Shared) {
    let database = source.database("damage").await;
    let rows: Vec<String> = (1..=60).map(row).collect();
    source
        .run([
            format!("CREATE TABLE {database}.t ({COLUMNS})"),
            format!("INSERT INTO {database}.t VALUES {}", rows.join(", ")),
            format!("INSERT INTO {database}.t (id) VALUES (61)"),
            format!("INSERT INTO {database}.t (id, v, txt) VALUES (62, '', '')"),
            "SET sql_mode = ''".to_owned(),
            format!("INSERT INTO {database}.t (id, d, dt) VALUES (63, '0000-00-00', '2024-00-10')"),
        ])
        .await;
    let target = Target::start().await;
    let settings = "params: {realFlushPauseSec: 0}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "timezone: Europe/Berlin", settings);
    let _running = follow(&job).await;
    let clean = verify(&job, &[]).await;
    clean.expect(0, []);
    assert_eq!((&clean.table("t")["rows"], &clean.table("t")["way"]), (&63.into(), &"ranges".into()), "{}", clean.all);

    let mut conn = target.connect().await;
    let changes = [
        ("tiny", "tiny + 1"),
        ("big", "18446744073709551615"),
        ("num", "num + 0.00001"),
        ("f", "0.1"),
        ("dbl", "0.1"),
        ("bits", "bits + 1"),
        ("flag", "0"),
        ("c", "'naive'"),
        ("v", "'Text'"),
        ("txt", "NULL"),
        ("bin", "'x'"),
        ("d", "'2024-03-01'"),
        ("dt", "'2024-02-29 01:02:03.999'"),
        ("ts", "'2024-07-01 12:00:00'"),
        ("tm", "'10:00:00.15'"),
        ("y", "2025"),
        ("e", "'b'"),
        ("s", "'x'"),
        ("js", "'{\"a\": [1]}'"),
        ("g", "'POINT(2 1)'"),
    ];
    let mut expected = Vec::new();
    for (id, (column, value)) in (1..).zip(changes) {
        conn.query_drop(format!("UPDATE {database}.t SET {column} = {value} WHERE id = {id}")).await.unwrap();
        expected.push(format!("different t id={id}: {column}"));
    }
    for statement in [
        "DELETE FROM {t} WHERE id = 30",
        "INSERT INTO {t} (id, v) VALUES (-5, 'added'), (1000, NULL)",
        // Trailing blank, case, NULL for empty, empty for NULL, a value in place of a zero date.
        "UPDATE {t} SET v = 'Text 31 ' WHERE id = 31",
        "UPDATE {t} SET v = 'text 32' WHERE id = 32",
        "UPDATE {t} SET v = NULL WHERE id = 62",
        "UPDATE {t} SET txt = '' WHERE id = 61",
        "UPDATE {t} SET d = '1970-01-01' WHERE id = 63",
        // Two rows with each other's values.
        "UPDATE {t} SET v = 'Text 34' WHERE id = 33",
        "UPDATE {t} SET v = 'Text 33' WHERE id = 34",
    ] {
        conn.query_drop(statement.replace("{t}", &format!("{database}.t"))).await.unwrap();
    }
    expected.extend(
        [
            "missing t id=30",
            "extra t id=-5",
            "extra t id=1000",
            "different t id=31: v",
            "different t id=32: v",
            "different t id=62: v",
            "different t id=61: txt",
            "different t id=63: d",
            "different t id=33: v",
            "different t id=34: v",
        ]
        .map(str::to_owned),
    );
    verify(&job, &[]).await.expect(3, expected.iter().map(String::as_str));

    // A part of it: by columns, by a condition, with the tolerance that was asked for.
    verify(&job, &["--columns", "e,y", "--where", "id > 0 AND id < 100"])
        .await
        .expect(3, ["different t id=16: y", "different t id=17: e", "missing t id=30"]);
    verify(&job, &["--columns", "v,txt", "--where", "id > 60 AND id < 100", "--empty-equals-null"]).await.expect(0, []);
    verify(&job, &["--tables", "*.nothing"]).await.expect_failure(2, "no table of the job matches");
}

impl super::Verified {
    fn expect_failure(&self, code: i32, why: &str) {
        assert_eq!(self.code, Some(code), "{}", self.all);
        assert!(self.all.contains(why), "{}", self.all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_every_kind_is_found_exactly_on_mysql() {
    every_kind(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_every_kind_is_found_exactly_on_mariadb() {
    every_kind(servers::mariadb().await).await;
}

/// A mapped database name; what the target's table lacks is told, and the rest is compared all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_table_that_lacks_a_column_is_told_and_the_rest_compared() {
    let source = servers::mysql().await;
    let database = source.database("lacks").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(10), w INT)"),
            format!("CREATE TABLE {database}.gone (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1, 'a', 1), (2, 'b', 2)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    job.add_to_target(&format!("databases: {{{database}: renamed}}"));
    let _running = follow(&job).await;
    verify(&job, &[]).await.expect(0, []);
    let mut conn = target.connect().await;
    for statement in [
        "ALTER TABLE renamed.t DROP COLUMN w",
        "UPDATE renamed.t SET v = 'B' WHERE id = 2",
        "DROP TABLE renamed.gone FORCE",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    let found = verify(&job, &[]).await;
    found.expect(3, ["different t id=2: v"]);
    let schema = found.table("t")["schema"].to_string();
    assert!(schema.contains("column w is missing: ALTER TABLE"), "{schema}");
    assert!(found.table("gone")["schema"].to_string().contains("not there"), "{}", found.all);
}
