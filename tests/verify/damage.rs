//! Damage that is done to the target by SQL is found exactly: every row and column of it, and nothing else.

use mysql_async::prelude::Queryable as _;

use super::{follow, verify};
use crate::harness::{Job, Target, assert_equal_by, text};
use crate::proof;
use crate::servers::{self, Shared};

const COLUMNS: &str = "id INT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, num DECIMAL(20,5), f FLOAT, dbl DOUBLE, bits BIT(9), \
     flag BIT(1), c CHAR(9) CHARACTER SET latin1, v VARCHAR(40), txt TEXT, bin VARBINARY(9), d DATE, dt DATETIME(3), \
     ts TIMESTAMP(6) NULL, tm TIME(2), y YEAR, e ENUM('a','b'), s SET('x','y'), js JSON, g GEOMETRY, small SMALLINT, \
     medium MEDIUMINT UNSIGNED, i INT UNSIGNED, long_ BIGINT, wide DECIMAL(60,5), bits64 BIT(64), tt TINYTEXT, mt MEDIUMTEXT, \
     lt LONGTEXT, fixed BINARY(4), blob_ BLOB, tiny_blob TINYBLOB";
/// Types that only one of the servers has, a value of each, and what becomes of it.
const OF_MYSQL: (&str, &str, &[(&str, &str)]) =
    (", vec VECTOR(2)", "STRING_TO_VECTOR('[1.5,-2]')", &[("vec", "NULL"), ("vec", "[1.5, -2.5]")]);
const OF_MARIADB: (&str, &str, &[(&str, &str)]) = (
    ", u UUID, i4 INET4, i6 INET6",
    "'123e4567-e89b-12d3-a456-426655440000', '10.0.0.1', '2001:db8::1'",
    &[("u", "'123e4567-e89b-12d3-a456-426655440001'"), ("i4", "'10.0.0.2'"), ("i6", "'::1'")],
);

/// Row `id` of the many.
fn row(id: u32, more: &str) -> String {
    format!(
        "({id}, {}, 18446744073709551{:03}, {id}.12345, {id}.1, 1e{}, {}, 1, 'na\u{ef}ve', 'Text {id}', 'long {id}', X'00FF{:02X}', \
         '2024-02-29', '2024-02-29 01:02:03.{id:03}', '2024-07-01 12:00:00.{id:06}', '-10:00:00.{:02}', 2024, 'a', 'x,y', \
         '{{\"a\": [1, {id}]}}', ST_GeomFromText('POINT({id} 2)'), -{id}, {id}, 4294967295, -9223372036854775808, \
         1234567890123456789012345678901234567890.{id:05}, 18446744073709551615, 'tiny {id}', 'medium', 'long', 'ab', X'00', '', {more})",
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
    let (columns, values, own) = if source.is_mariadb() { OF_MARIADB } else { OF_MYSQL };
    let rows: Vec<String> = (1..=60).map(|id| row(id, values)).collect();
    source
        .run([
            format!("CREATE TABLE {database}.t ({COLUMNS}{columns})"),
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
    let running = follow(&job).await;
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
        ("small", "small - 1"),
        ("medium", "medium + 1"),
        ("i", "4294967294"),
        ("long_", "long_ + 1"),
        ("wide", "'1234567890123456789012345678901234567890.00001'"),
        ("bits64", "18446744073709551614"),
        ("tt", "CONCAT(tt, ' ')"),
        ("mt", "'Medium'"),
        ("lt", "''"),
        ("fixed", "'ab'"),
        ("blob_", "''"),
        ("tiny_blob", "NULL"),
    ];
    // People write all the while, to other rows and to those that are damaged.
    let mut writer = source.connect().await;
    let table = format!("{database}.t");
    let writing = tokio::spawn(async move {
        for n in 2000_u32.. {
            for statement in [
                format!("UPDATE {table} SET small = -small WHERE id IN (58, 59, 60)"),
                format!("INSERT INTO {table} (id, v) VALUES ({n}, 'new')"),
                format!("DELETE FROM {table} WHERE id = {} AND id >= 2000", n - 10),
            ] {
                writer.query_drop(statement).await.unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    let mut expected = Vec::new();
    for (id, (column, value)) in (1..).zip(changes.iter().chain(own)) {
        conn.query_drop(format!("UPDATE {database}.t SET {column} = {value} WHERE id = {id}")).await.unwrap();
        expected.push(format!("different t id={id}: {column}"));
    }
    for statement in [
        "DELETE FROM {t} WHERE id = 50",
        "INSERT INTO {t} (id, v) VALUES (-5, 'added'), (1000, NULL)",
        // Trailing blank, case, NULL for empty, empty for NULL, a value in place of a zero date.
        "UPDATE {t} SET v = 'Text 51 ' WHERE id = 51",
        "UPDATE {t} SET v = 'text 52' WHERE id = 52",
        "UPDATE {t} SET v = NULL WHERE id = 62",
        "UPDATE {t} SET txt = '' WHERE id = 61",
        "UPDATE {t} SET d = '1970-01-01' WHERE id = 63",
        // Two rows with each other's values.
        "UPDATE {t} SET v = 'Text 54' WHERE id = 53",
        "UPDATE {t} SET v = 'Text 53' WHERE id = 54",
    ] {
        conn.query_drop(statement.replace("{t}", &format!("{database}.t"))).await.unwrap();
    }
    expected.extend(
        [
            "missing t id=50",
            "extra t id=-5",
            "extra t id=1000",
            "different t id=51: v",
            "different t id=52: v",
            "different t id=62: v",
            "different t id=61: txt",
            "different t id=63: d",
            "different t id=53: v",
            "different t id=54: v",
        ]
        .map(str::to_owned),
    );
    verify(&job, &[]).await.expect(3, expected.iter().map(String::as_str));

    // A part of it: by columns, by a condition, with the tolerance that was asked for.
    verify(&job, &["--columns", "e,y", "--where", "id > 0 AND id < 100"])
        .await
        .expect(3, ["different t id=16: y", "different t id=17: e", "missing t id=50"]);
    verify(&job, &["--columns", "v,txt", "--where", "id > 60 AND id < 100", "--empty-equals-null"]).await.expect(0, []);
    verify(&job, &["--tables", "*.nothing"]).await.expect_failure(2, "no table of the job matches");

    // All of it is mended.
    let mended = job.command("correct", &["--run", "2"]).await;
    assert_eq!(mended.status.code(), Some(0), "{}\n{}", text(&mended), job.log());
    verify(&job, &[]).await.expect(0, []);
    writing.abort();
    let _ = writing.await;
    assert!(job.stop(running).await.success(), "{}", job.log());
    job.run_to_end().await;
    // The servers know no names of zones; all of the moments are in summer.
    let proof = proof::Options { timezone: "+02:00".to_owned(), ..proof::Options::default() };
    assert_equal_by(source.port(), &target, &database, &proof).await;
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
            format!("CREATE TABLE {database}.keyless (id INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 'a', 1), (2, 'b', 2)"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(
        source.port(),
        &target,
        &format!("{database}.*"),
        "",
        "params: {realFlushPauseSec: 0}\nnoKeyTables: rowHash",
    );
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

/// Whether some range's checksums differed, and what was found.
async fn added_up(job: &Job) -> (bool, super::Verified) {
    let output = job.command("verify", &["--json", "--log-level", "towpath=debug"]).await;
    (String::from_utf8_lossy(&output.stderr).contains("checksums differ"), super::read(&output))
}

async fn checksums(source: &Shared) {
    let database = source.database("sums").await;
    source
        .run([
            "SET sql_mode = 'NO_ZERO_DATE'".to_owned(),
            format!(
                "CREATE TABLE {database}.t (a BIGINT UNSIGNED, b BINARY(2), z INT(6) ZEROFILL, num DECIMAL(20,5), bits BIT(64), \
                 flag BIT(1), c CHAR(9) CHARACTER SET latin1, v VARCHAR(40), txt MEDIUMTEXT, d DATE, t0 DATETIME, t3 DATETIME(3), \
                 ts TIMESTAMP(6) NULL, tm TIME(2), y YEAR, e ENUM('a','b'), s SET('x','y'), PRIMARY KEY (a, b))"
            ),
            format!(
                "INSERT INTO {database}.t VALUES \
                 (18446744073709551615, X'00FF', 42, -1.5, 18446744073709551615, 1, 'na\u{ef}ve', '\u{1F980}, N', REPEAT('long ', 9999), \
                  '2024-02-29', '2024-02-29 01:02:03', '2024-02-29 01:02:03.050', '2024-07-01 12:00:00.000001', '-10:00:00.5', 0, \
                  'b', 'x,y'), \
                 (1, 'ab', 0, 0, 0, 0, '', '', '', '1000-01-01', '9999-12-31 23:59:59', '2024-01-01', '2024-01-01', '838:59:59', \
                  2155, 'a', '')"
            ),
            format!("INSERT INTO {database}.t (a, b) VALUES (2, ''), (3, 'x')"),
        ])
        .await;
    let target = Target::start().await;
    let job = Job::new(
        source.port(),
        &target,
        &format!("{database}.*"),
        "timezone: '-05:30'",
        "params: {realFlushPauseSec: 0}",
    );
    let _running = follow(&job).await;
    let (differed, clean) = added_up(&job).await;
    clean.expect(0, []);
    assert_eq!(
        (&clean.table("t")["way"], &clean.table("t")["rows"]),
        (&"checksums".into(), &4.into()),
        "{}",
        clean.all
    );
    assert!(!differed, "the servers' texts are the same\n{}", clean.all);

    let mut conn = target.connect().await;
    for statement in [
        "UPDATE {t} SET v = 'N' WHERE a = 2",
        "UPDATE {t} SET ts = NULL WHERE a = 1",
        "DELETE FROM {t} WHERE a = 3",
        "INSERT INTO {t} (a, b) VALUES (4, '0000')",
    ] {
        conn.query_drop(statement.replace("{t}", &format!("{database}.t"))).await.unwrap();
    }
    let (differed, found) = added_up(&job).await;
    found.expect(
        3,
        ["different t a=2, b=\0\0: v", "different t a=1, b=ab: ts", "missing t a=3, b=x\0", "extra t a=4, b=\0\0"],
    );
    assert!(differed);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_mysql_and_the_target_add_up_what_they_print_alike() {
    checksums(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_mariadb_and_the_target_add_up_what_they_print_alike() {
    checksums(servers::mariadb().await).await;
}
