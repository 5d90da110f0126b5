//! Values through the whole job that a load format or a column could fail to carry: they arrive as they are, or the
//! job stops and names them.

use towpath::demo::proof;

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
