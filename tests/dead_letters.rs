//! Rows that the target refuses: what `strategyOnError` makes of them, and `towpath dead-letters`.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::harness::{Job, Target, assert_equal, text};
use crate::servers;

const BATCH: &str = "strategyOnError: batchDirtyData\nparams: {realFlushPauseSec: 0, fullBatchSize: 10}";

async fn run(conn: &mut Conn, statements: &[String]) {
    for statement in statements {
        conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn dead(status: &Value, state: &str) -> u64 {
    status["deadLetters"][state].as_u64().unwrap_or(u64::MAX)
}

/// `dead-letters ACTION JOB OPTIONS…`
async fn letters(job: &Job, action: &str, options: &[&str]) -> std::process::Output {
    let mut towpath = tokio::process::Command::new(env!("CARGO_BIN_EXE_towpath"));
    towpath.args(["dead-letters", action]).arg(job.path()).args(options).output().await.unwrap()
}

async fn listed(job: &Job, options: &[&str]) -> Vec<Value> {
    let output = letters(job, "list", &[options, &["--json"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

/// Somebody has made the target's table anew, with too little room for `v`; `more` columns stand behind it.
async fn make_narrow(target: &Target, database: &str, more: &str) {
    let mut conn = target.connect().await;
    run(
        &mut conn,
        &[
            format!("DROP TABLE {database}.t FORCE"),
            format!(
                "CREATE TABLE {database}.t (id INT NOT NULL, v VARCHAR(5) NULL{more}) PRIMARY KEY (id) DISTRIBUTED BY HASH (id) \
                 PROPERTIES ('replication_num' = '1')"
            ),
        ],
    )
    .await;
}

async fn widen(target: &Target, database: &str) {
    run(&mut target.connect().await, &[format!("ALTER TABLE {database}.t MODIFY COLUMN v VARCHAR(160) NULL")]).await;
    for _ in 0..1200 {
        let show = format!("SHOW ALTER TABLE COLUMN FROM {database}");
        let jobs: Vec<mysql_async::Row> = target.connect().await.query(show).await.unwrap();
        let state = |row: &mysql_async::Row| row.get::<String, _>("State").unwrap();
        if jobs.iter().all(|row| state(row) == "FINISHED") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the column was never widened");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_set_aside_sent_again_or_superseded() {
    let source = servers::mysql().await;
    let database = source.database("letters").await;
    let mut conn = source.connect().await;
    run(&mut conn, &[format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(40))")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", BATCH);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    make_narrow(&target, &database, "").await;
    let values = |id: i32| match id % 7 {
        0 => format!("({id}, 'too long for five {id}')"),
        _ => format!("({id}, 'v{id}')"),
    };
    let rows: Vec<String> = (1..=30).map(values).collect();
    run(&mut conn, &[format!("INSERT INTO {database}.t VALUES {}", rows.join(", "))]).await;
    job.wait_for("four letters", |status| dead(status, "open") == 4).await;
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.t")).await, "26");

    let found = listed(&job, &["--table", &format!("{database}.t")]).await;
    let letter = &found[1];
    assert_eq!(letter["key"], json!(["14"]));
    assert_eq!(letter["row"], json!({"id": "14", "v": "too long for five 14"}));
    assert_eq!(
        (&letter["operation"], &letter["state"], &letter["column"]),
        (&json!("upsert"), &json!("open"), &json!("v"))
    );
    assert!(letter["begin"]["offset"].as_u64() < letter["end"]["offset"].as_u64(), "{letter}");
    assert!(letter["reason"].as_str().unwrap().contains("VARCHAR"), "{letter}");
    assert_eq!(listed(&job, &["--table", "other"]).await, Vec::<Value>::new());
    let shown = text(&letters(&job, "list", &[]).await);
    assert!(shown.contains("key [\"14\"]") && shown.contains("4 dead letter(s)"), "{shown}");

    // A good change of the same key, and a delete; the old rows must not come back.
    run(
        &mut conn,
        &[format!("UPDATE {database}.t SET v = 'ok' WHERE id = 7"), format!("DELETE FROM {database}.t WHERE id = 21")],
    )
    .await;
    job.wait_for("two superseded", |status| dead(status, "superseded") == 2).await;
    widen(&target, &database).await;

    // One is sent while the job runs and its source is silent, the other when the job is started again.
    let id = letter["id"].to_string();
    let output = letters(&job, "retry", &["--id", &id]).await;
    assert!(
        text(&output).contains("to be sent again: 1") && text(&output).contains("the running job"),
        "{}",
        text(&output)
    );
    job.wait_for("a resolved one", |status| dead(status, "resolved") == 1).await;
    assert_eq!(target.text(&format!("SELECT v FROM {database}.t WHERE id = 14")).await, "too long for five 14");
    job.stop(child).await;
    let output = letters(&job, "retry", &[]).await;
    assert!(
        text(&output).contains("to be sent again: 1") && text(&output).contains("next `towpath run`"),
        "{}",
        text(&output)
    );
    job.run_to_end().await;
    let status = job.status().await;
    assert_eq!((dead(&status, "resolved"), dead(&status, "open")), (2, 0), "{status}");
    assert_equal(source.port(), &target, &database).await;

    let output = letters(&job, "drop", &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(listed(&job, &["--all"]).await.len(), 4);
    assert!(text(&letters(&job, "drop", &["--yes"]).await).contains("dropped: 4"));
    assert_eq!(listed(&job, &["--all"]).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_names_table_key_column_and_the_servers_reason() {
    let source = servers::mysql().await;
    let database = source.database("exits").await;
    let mut conn = source.connect().await;
    run(&mut conn, &[format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(40))")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "params: {realFlushPauseSec: 0}");
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    make_narrow(&target, &database, "").await;
    run(
        &mut conn,
        &[format!("INSERT INTO {database}.t VALUES (1, 'a'), (2, 'b'), (3, 'three three'), (4, 'd'), (5, 'e')")],
    )
    .await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1), "{}", job.log());
    let log = job.log();
    let error = &log[log.find("error: ").unwrap()..];
    for part in [&format!("{database}.t"), "key [\"3\"]", "column v", "VARCHAR(5)", "binlog.", "batchDirtyData"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Nothing is lost: with room, the same epoch goes in.
    widen(&target, &database).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// Keys that StarRocks cannot hold are refused as a whole load, in the copy and in the log.
#[tokio::test(flavor = "multi_thread")]
async fn too_long_keys_of_the_copy_and_of_the_log_are_set_aside() {
    let source = servers::mysql().await;
    let database = source.database("long_keys").await;
    let mut conn = source.connect().await;
    let long = |letter: &str| letter.repeat(140);
    let rows: Vec<String> = (0..25).map(|id| format!("('k{id:03}', {id})")).collect();
    run(
        &mut conn,
        &[
            format!("CREATE TABLE {database}.t (k VARCHAR(200) CHARACTER SET ascii PRIMARY KEY, v INT)"),
            format!(
                "INSERT INTO {database}.t VALUES {}, ('{}', 101), ('{}', 102)",
                rows.join(", "),
                long("a"),
                long("z")
            ),
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", BATCH);
    job.run_to_end().await;
    let status = job.status().await;
    assert_eq!((dead(&status, "open"), &status["fullData"][0]["done"]), (2, &json!(true)), "{status}");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.t")).await, "25");
    run(
        &mut conn,
        &[
            format!("INSERT INTO {database}.t VALUES ('{}', 103), ('short', 104)", long("m")),
            format!("DELETE FROM {database}.t WHERE v = 101"),
            format!("UPDATE {database}.t SET k = 'mended' WHERE v = 102"),
        ],
    )
    .await;
    job.run_to_end().await;
    let found = listed(&job, &["--all"]).await;
    let state = |key: &str, operation: &str| {
        let of = |letter: &&Value| letter["key"] == json!([key]) && letter["operation"] == operation;
        found.iter().find(of).map(|letter| letter["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&long("a"), "upsert").as_deref(), Some("superseded"));
    assert_eq!(state(&long("a"), "delete").as_deref(), Some("open"));
    assert_eq!(state(&long("z"), "upsert").as_deref(), Some("superseded"));
    assert_eq!(state(&long("m"), "upsert").as_deref(), Some("open"));
    assert!(found[0]["reason"].as_str().unwrap().contains("primary key size exceed"), "{}", found[0]);
    assert_eq!(target.text(&format!("SELECT v FROM {database}.t WHERE k = 'mended'")).await, "102");
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.t")).await, "27");
}

/// A value that cannot be written for the target is told with all cells; the row's delete needs only its key.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_written_are_set_aside_in_the_copy_and_in_the_log() {
    let source = servers::mysql().await;
    let database = source.database("unwritable").await;
    let mut conn = source.connect().await;
    run(
        &mut conn,
        &[
            "SET SESSION sql_mode = ''".to_owned(),
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, d DATE NOT NULL, v VARCHAR(9) NOT NULL)"),
            format!(
                "INSERT INTO {database}.t VALUES (1, '2024-01-02', 'a'), (2, '0000-00-00', 'b'), (3, '2024-03-04', 'c')"
            ),
        ],
    )
    .await;
    let target = Target::start().await;
    let more = format!("defaultZeroDate: error\n{BATCH}");
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    job.run_to_end().await;
    run(
        &mut conn,
        &[
            format!("INSERT INTO {database}.t VALUES (4, '0000-00-00', 'd'), (5, '2024-05-06', 'e')"),
            format!("UPDATE {database}.t SET d = '0000-00-00' WHERE id = 3"),
        ],
    )
    .await;
    job.run_to_end().await;
    let found = listed(&job, &[]).await;
    let keys: Vec<&Value> = found.iter().map(|letter| &letter["key"][0]).collect();
    assert_eq!(keys, [&json!("2"), &json!("4"), &json!("3")]);
    assert_eq!((&found[1]["column"], &found[1]["canBeSent"]), (&json!("d"), &json!(false)));
    assert_eq!((&found[1]["row"]["id"], &found[1]["row"]["v"]), (&json!("4"), &json!("d")));
    assert!(text(&letters(&job, "retry", &[]).await).contains("cannot be sent: 3"));
    // Row 3 has an older value at the target; that its delete comes with a date that cannot be written keeps nothing.
    run(
        &mut conn,
        &[
            format!("DELETE FROM {database}.t WHERE id = 3"),
            format!("UPDATE {database}.t SET d = '2024-07-08' WHERE id IN (2, 4)"),
        ],
    )
    .await;
    job.run_to_end().await;
    let status = job.status().await;
    assert_eq!((dead(&status, "open"), dead(&status, "superseded")), (0, 3), "{status}");
    assert_equal(source.port(), &target, &database).await;
}

/// With MINIMAL row images a change tells only what it changed. It does not replace a letter that told more.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_tells_less_than_a_letter_waits_behind_it() {
    let source = servers::mysql().await;
    let database = source.database("behind").await;
    let mut conn = source.connect().await;
    run(
        &mut conn,
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'".to_owned(),
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v VARCHAR(40), w INT)"),
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", BATCH);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    make_narrow(&target, &database, ", w INT NULL").await;
    let new = format!("INSERT INTO {database}.t VALUES (1, 'too long', 1), (2, 'ok', 2)");
    run(&mut conn, &[new]).await;
    job.wait_for("a letter", |status| dead(status, "open") == 1).await;
    run(
        &mut conn,
        &[
            format!("UPDATE {database}.t SET w = 11 WHERE id = 1"),
            format!("UPDATE {database}.t SET v = 'also too long' WHERE id = 2"),
        ],
    )
    .await;
    job.wait_for("three letters", |status| dead(status, "open") == 3).await;
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.t")).await, "1", "half a row was loaded");
    // This one tells all that the letter of row 2 told.
    run(&mut conn, &[format!("UPDATE {database}.t SET v = 'fine' WHERE id = 2")]).await;
    job.wait_for("a superseded one", |status| dead(status, "superseded") == 1).await;
    widen(&target, &database).await;
    letters(&job, "retry", &[]).await;
    job.wait_for("both in", |status| dead(status, "resolved") == 2).await;
    job.stop(child).await;
    assert_equal(source.port(), &target, &database).await;
}
