//! Values through the whole job that a load format or a column could fail to carry: they arrive as they are, or the
//! job stops and names them.

use crate::proof;

use super::*;
use crate::harness::{Job, Target, assert_equal, assert_equal_by, text};

const QUICK: &str = "params: {realFlushPauseSec: 0}";

/// Runs the job, which must fail and say all of this.
async fn fails(job: &Job, texts: &[&str]) {
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for expected in texts {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

/// The same from the copy and from the log: rows first in the table and then behind its copy.
async fn stops(server: &Shared, ddl: &str, fine: &[&str], wrong: &str, texts: &[&str]) {
    for copied in [true, false] {
        let database = server.database("limits").await;
        server.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, c {ddl})")]).await;
        let insert = |id: usize, literal: &str| format!("INSERT INTO {database}.t VALUES ({id}, {literal})");
        let fine: Vec<String> = fine.iter().enumerate().map(|(id, literal)| insert(id, literal)).collect();
        let target = Target::start().await;
        let job = Job::new(server.port(), &target, &format!("{database}.*"), "", QUICK);
        server.run(&fine).await;
        if !copied {
            job.run_to_end().await;
            assert_equal(server.port(), &target, &database).await;
            server.run([format!("UPDATE {database}.t SET id = id + 100")]).await;
            job.run_to_end().await;
            assert_equal(server.port(), &target, &database).await;
        }
        server.run(["SET sql_mode = ''".to_owned(), insert(99, wrong)]).await;
        let table = format!("{database}.t");
        let mut all = vec![table.as_str(), "column c"];
        all.extend(texts);
        if !copied {
            all.push("in the log between ");
        }
        fails(&job, &all).await;
        let cut = target.text(&format!("SELECT COUNT(*) FROM {database}.t WHERE id = 99")).await;
        assert_eq!(cut, "0", "nothing is cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_longer_than_its_column_stops_the_job_with_its_length() {
    let texts = ["a value of 1048578 bytes", "takes 1048576"];
    stops(servers::mysql().await, "LONGTEXT", &["REPEAT('é', 524288)"], "REPEAT('é', 524289)", &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_longer_than_their_column_stop_the_job_with_their_length() {
    let texts = ["a value of 1048577 bytes", "takes 1048576"];
    stops(servers::mariadb().await, "LONGBLOB", &["REPEAT(X'00', 1048576)"], "REPEAT(X'00', 1048577)", &texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_none_in_its_character_set_stops_the_job_with_its_bytes() {
    let texts = ["the bytes 8162 at offset 1 are no text"];
    stops(servers::mysql().await, "VARCHAR(9) CHARACTER SET cp1250", &["'č'"], "X'618162'", &texts).await;
}

/// Separators, CSV's NULL, blanks, and bytes of every kind, as texts and as bytes; on a StarRocks that reads bytes as
/// hexadecimal digits and on one that reads base64.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_format_gives_a_meaning_is_carried_as_it_is() {
    const TEXTS: &[&str] = &[
        "",
        " ",
        "\\N",
        "\\\\N",
        "\\",
        "NULL",
        "\u{1}",
        "\u{2}",
        "a\u{1}",
        "\u{2}b",
        "\n",
        "\r\n",
        "\t",
        "\"",
        "\"a,b\"",
        "'",
        "\0",
        "\u{7f}",
        "{\"__op\": 1}",
        "\u{2028}",
        "\u{feff}x",
        "😀",
    ];
    for (server, (major, minor)) in [(servers::mysql().await, (3, 1)), (servers::mariadb().await, (3, 2))] {
        let database = server.database("carried").await;
        let row = |id: usize, text: &str| {
            let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
            format!("({id}, CONVERT(X'{hex}' USING utf8mb4), X'{hex}FF', X'{hex}')")
        };
        let rows = |from: usize| {
            let rows: Vec<String> = TEXTS.iter().enumerate().map(|(id, text)| row(from + id, text)).collect();
            rows.join(", ")
        };
        server
            .run([
                format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4, b BLOB, k VARBINARY(40))"),
                // Only a key: the row's one cell may be blank.
                format!("CREATE TABLE {database}.one (k VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY)"),
                format!("INSERT INTO {database}.t VALUES {}", rows(0)),
                format!("INSERT INTO {database}.one VALUES (''), ('\\\\N'), ('a'), (X'01')"),
            ])
            .await;
        let target = Target::of(major, minor).await;
        let job = Job::new(server.port(), &target, &format!("{database}.*"), "", QUICK);
        job.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
        server
            .run([
                format!("INSERT INTO {database}.t VALUES {}", rows(100)),
                format!("DELETE FROM {database}.t WHERE id < 10"),
                format!("UPDATE {database}.t SET c = k WHERE id < 20"),
                format!("DELETE FROM {database}.one WHERE k = ''"),
                format!("UPDATE {database}.one SET k = '' WHERE k = 'a'"),
            ])
            .await;
        job.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_dates_go_by_the_jobs_policy_in_rows_keys_and_defaults() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let database = server.database("zero").await;
        server
            .run([
                "SET sql_mode = ''".to_owned(),
                format!("USE {database}"),
                "CREATE TABLE t (id INT PRIMARY KEY, d DATE NULL, m DATETIME(3) NOT NULL DEFAULT '0000-00-00', \
                 s TIMESTAMP NULL DEFAULT '0000-00-00 00:00:00', p DATE NOT NULL DEFAULT '2024-00-10')"
                    .to_owned(),
                "INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00', '2024-00-10')".to_owned(),
                "INSERT INTO t VALUES (2, '2024-01-00', '2024-01-02 03:04:05.6', '2024-01-01', '2024-01-01')"
                    .to_owned(),
            ])
            .await;
        let more = [
            "SET sql_mode = ''".to_owned(),
            format!("INSERT INTO {database}.t (id) VALUES (3)"),
            format!("UPDATE {database}.t SET d = '2024-02-00', m = '0000-00-00' WHERE id = 2"),
        ];
        let target = Target::start().await;
        let name = format!("{database}.*");
        let errors = Job::new(server.port(), &target, &name, "", "defaultZeroDate: error");
        fails(&errors, &[&format!("{database}.t"), "column d", "0000-00-00 is a zero date", "defaultZeroDate"]).await;
        let target = Target::start().await;
        let nulls = Job::new(server.port(), &target, &name, "", QUICK);
        nulls.run_to_end().await;
        server.run(&more).await;
        nulls.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
        let cells = format!(
            "SELECT CONCAT_WS(',', IFNULL(d, 'null'), IFNULL(m, 'null'), IFNULL(s, 'null'), IFNULL(p, 'null')) FROM {database}.t WHERE id = 1"
        );
        assert_eq!(target.text(&cells).await, "null,null,null,null");

        // A key has no NULL, so that job stops; with a date it goes on.
        server
            .run([
                "SET sql_mode = ''".to_owned(),
                format!("CREATE TABLE {database}.k (d DATE, n INT, PRIMARY KEY (d, n))"),
                format!("INSERT INTO {database}.k VALUES ('0000-00-00', 1), ('2024-01-01', 1)"),
            ])
            .await;
        let target = Target::start().await;
        let nulls = Job::new(server.port(), &target, &name, "", QUICK);
        fails(&nulls, &[&format!("{database}.k"), "column d", "NULL cannot stand for it"]).await;
        let target = Target::start().await;
        let dates = Job::new(server.port(), &target, &name, "", &format!("defaultZeroDate: 1000-01-01\n{QUICK}"));
        dates.run_to_end().await;
        server
            .run([
                "SET sql_mode = ''".to_owned(),
                format!("INSERT INTO {database}.k VALUES ('0000-00-00', 2)"),
                format!("UPDATE {database}.k SET d = '0000-00-00', n = 3 WHERE d > '0000-00-00'"),
            ])
            .await;
        dates.run_to_end().await;
        let proof = proof::Options { zero_date: Some("1000-01-01".into()), ..proof::Options::default() };
        assert_equal_by(server.port(), &target, &database, &proof).await;
        assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.k WHERE d = '1000-01-01'")).await, "3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalogue_cannot_show_is_refused_or_left_out() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let database = server.database("unshown").await;
        let default = "VARCHAR(9) CHARACTER SET utf8mb4 DEFAULT '\u{1f600}'";
        let members = "ENUM('x', '\u{1f600}') CHARACTER SET utf8mb4";
        server
            .run([
                "SET NAMES utf8mb4".to_owned(),
                format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, c {default})"),
                format!("CREATE TABLE {database}.e (id INT PRIMARY KEY, c {members})"),
                format!("INSERT INTO {database}.t VALUES (1, DEFAULT)"),
            ])
            .await;
        let target = Target::start().await;
        let job = Job::new(server.port(), &target, &format!("{database}.*"), "", QUICK);
        fails(&job, &[&format!("{database}.e.c"), "member '?'", "U+FFFF", "utf8mb3"]).await;
        server.run([format!("DROP TABLE {database}.e")]).await;
        job.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
        let default = format!(
            "SELECT IFNULL(COLUMN_DEFAULT, 'none') FROM information_schema.columns WHERE TABLE_SCHEMA = '{database}' \
             AND COLUMN_NAME = 'c'"
        );
        assert_eq!(target.text(&default).await, "none");
    }
}

/// A copy compares keys as the index is ordered, whatever collation that is.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_of_collation_are_copied_in_chunks() {
    const TEXTS: &[&str] = &["a", "A", "a ", "b", "ä", "é", "e", "ss", "ß", "z", "", " ", "ソ", "1", "10", "2"];
    let mysql =
        ["utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs", "utf8mb4_0900_bin", "latin1_german2_ci", "sjis_japanese_ci"];
    let mariadb =
        ["utf8mb4_uca1400_ai_ci", "utf8mb4_uca1400_nopad_as_cs", "utf8mb4_nopad_bin", "gbk_chinese_ci", "utf16_bin"];
    for (server, collations) in [(servers::mysql().await, mysql), (servers::mariadb().await, mariadb)] {
        let database = server.database("collated").await;
        for (number, collation) in collations.iter().enumerate() {
            let charset = collation.split('_').next().unwrap();
            let key = format!("k VARCHAR(9) CHARACTER SET {charset} COLLATE {collation} PRIMARY KEY");
            let rows: Vec<String> = TEXTS.iter().map(|text| format!("('{text}', 1)")).collect();
            server
                .run([
                    "SET NAMES utf8mb4, sql_mode = ''".to_owned(),
                    format!("CREATE TABLE {database}.t{number} ({key}, v INT)"),
                    // Where two of them are equal one row stays.
                    format!("INSERT IGNORE INTO {database}.t{number} VALUES {}", rows.join(", ")),
                ])
                .await;
        }
        let target = Target::start().await;
        let params = "params: {realFlushPauseSec: 0, fullBatchSize: 2}";
        let job = Job::new(server.port(), &target, &format!("{database}.*"), "", params);
        job.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
        let changes = (0..collations.len()).flat_map(|number| {
            [
                format!("UPDATE IGNORE {database}.t{number} SET k = 'E', v = 2 WHERE k = 'e'"),
                format!("DELETE FROM {database}.t{number} WHERE k = 'A'"),
            ]
        });
        server.run(["SET NAMES utf8mb4".to_owned()].into_iter().chain(changes)).await;
        job.run_to_end().await;
        assert_equal(server.port(), &target, &database).await;
    }
}
