//! What cannot work is refused, with what to do about it and the right exit code.

use crate::harness::{Job, Port, Target, text};
use crate::servers;
use towpath::demo::server::{Options, Product, ScratchServer};

/// Runs `command` on the job and expects the exit code and every one of the texts.
async fn refused(job: &Job, command: &str, code: i32, texts: &[&str]) {
    let output = job.command(command, if command == "run" { &["--stop-at-end"] } else { &[] }).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{command}: {said}");
    for expected in texts {
        assert!(said.contains(expected), "{command}: {expected:?} is not in:\n{said}");
    }
}

async fn check_and_run(job: &Job, texts: &[&str]) {
    refused(job, "check", 1, texts).await;
    refused(job, "run", 1, texts).await;
}

fn job(source: &str, target: &str) -> Job {
    Job::from_text(&format!("name: it\nsource: {{{source}}}\ntarget: {{{target}}}\n"))
}

fn target_settings(target: &Target) -> String {
    let server = &target.server;
    format!(
        "type: starrocks, clientAddress: '127.0.0.1:{}', httpAddress: ['127.0.0.1:{}'], username: root",
        server.mysql_addr.port(),
        server.fe_addr.port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let job = Job::from_text(
        "name: it\nsource: {host: h, username: u, tabels: ['a.*']}\ntarget: {clientAddress: 'h:1', httpAddress: 'h:2', username: u}\n",
    );
    for command in ["check", "ddl", "run", "status"] {
        refused(&job, command, 2, &["source.tabels", "tables", "job.yaml"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_job_file_is_named() {
    let job = Job::from_text("");
    std::fs::remove_file(job.path()).unwrap();
    refused(&job, "run", 2, &["job.yaml"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_at_the_source_is_told_and_never_shown() {
    let source = servers::mysql().await;
    let target = Target::start().await;
    let user = source.database("nopass").await;
    source.run([format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'right'")]).await;
    let job = job(
        &format!("host: 127.0.0.1, port: {}, username: {user}, password: s3cr3t-guess, tables: ['a.*']", source.port()),
        &target_settings(&target),
    );
    let output = job.command("run", &["--stop-at-end"]).await;
    assert!(!text(&output).contains("s3cr3t-guess"));
    check_and_run(&job, &["password", &user]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_source_is_named() {
    let target = Target::start().await;
    let job = job("host: 127.0.0.1, port: 1, username: root, tables: ['a.*']", &target_settings(&target));
    check_and_run(&job, &["127.0.0.1:1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_is_named() {
    let source = servers::mysql().await;
    let database = source.database("away").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let job = job(
        &format!("host: 127.0.0.1, port: {}, username: root, tables: ['{database}.*']", source.port()),
        "type: starrocks, clientAddress: '127.0.0.1:1', httpAddress: ['127.0.0.1:2'], username: root",
    );
    check_and_run(&job, &["127.0.0.1:1", "127.0.0.1:2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_at_the_target_is_told_and_never_shown() {
    let source = servers::mysql().await;
    let database = source.database("tpass").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let target = Target::start().await;
    let job = job(
        &format!("host: 127.0.0.1, port: {}, username: root, tables: ['{database}.*']", source.port()),
        &format!("{}, password: s3cr3t-guess", target_settings(&target)),
    );
    let output = job.command("check", &[]).await;
    assert!(!text(&output).contains("s3cr3t-guess"));
    check_and_run(&job, &["target.password"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_refused_with_the_ways_out() {
    let source = servers::mysql().await;
    let database = source.database("nokey").await;
    source.run([format!("CREATE TABLE {database}.log (line TEXT)")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    check_and_run(&job, &[&format!("{database}.log"), "key", "excludeTables"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_the_target_cannot_have_is_refused() {
    let source = servers::mysql().await;
    let database = source.database("reserved").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, `__op` INT)")]).await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    check_and_run(&job, &[&format!("{database}.t"), "__op"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_named_with_the_grant() {
    let source = servers::mysql().await;
    let database = source.database("grants").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("CREATE USER '{database}'@'%'"),
            format!("GRANT SELECT ON {database}.* TO '{database}'@'%'"),
        ])
        .await;
    let target = Target::start().await;
    let job = job(
        &format!("host: 127.0.0.1, port: {}, username: {database}, tables: ['{database}.*']", source.port()),
        &target_settings(&target),
    );
    check_and_run(&job, &["REPLICATION SLAVE", "GRANT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_table_that_does_not_fit_is_refused() {
    use mysql_async::prelude::Queryable as _;
    let source = servers::mysql().await;
    let database = source.database("misfit").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, name VARCHAR(100))")]).await;
    let target = Target::start().await;
    let mut conn = target.connect().await;
    conn.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    conn.query_drop(format!(
        "CREATE TABLE {database}.t (id INT NOT NULL, name VARCHAR(10)) PRIMARY KEY (id) DISTRIBUTED BY HASH (id)
         PROPERTIES ('replication_num' = '1')"
    ))
    .await
    .unwrap();
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    check_and_run(&job, &[&format!("{database}.t"), "name"]).await;
}

/// Free ports; the last one is ten above the one before it, where the embedded target's BE listens.
fn ports_with_a_be() -> [Port; 4] {
    loop {
        let [http, mysql, fe] = [(); 3].map(|()| Port::free());
        if let Ok(be) = Port::try_at(fe.number().saturating_add(10)) {
            return [http, mysql, fe, be];
        }
    }
}

/// The first process has the ports of `http.listen` and of the embedded target; a second one is told what is wrong all the
/// same.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_told_of_the_first_and_not_of_its_ports() {
    let source = servers::mysql().await;
    let database = source.database("second").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let ports = ports_with_a_be();
    let [http, mysql, fe, _] = ports.each_ref().map(Port::number);
    let data = tempfile::tempdir().unwrap();
    let data_dir = data.path().display();
    let job = Job::from_text(&format!(
        "name: second
source: {{host: 127.0.0.1, port: {}, username: root, tables: ['{database}.*']}}
target: {{type: embedded, clientAddress: '127.0.0.1:{mysql}', httpAddress: '127.0.0.1:{fe}', dataDir: '{data_dir}'}}
http: {{listen: '127.0.0.1:{http}'}}
",
        source.port()
    ));
    let first = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    refused(&job, "run", 1, &["job second is running already", "stateDir"]).await;
    // Commands beside it use the running job's target.
    let check = job.command("check", &[]).await;
    assert!(check.status.success() && text(&check).contains("the running job"), "{}", text(&check));
    assert!(job.stop(first).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_refused_with_the_first_that_exists() {
    use mysql_async::prelude::Queryable as _;
    let source = ScratchServer::start(&Options::new(Product::Mysql)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)").await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "shop.*", "", "");
    job.run_to_end().await;
    conn.query_drop("INSERT INTO shop.t VALUES (1); FLUSH BINARY LOGS").await.unwrap();
    let (first, _): (String, u64) = {
        let row: mysql_async::Row = conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
        (row.get(0).unwrap(), row.get(1).unwrap())
    };
    conn.query_drop(format!("PURGE BINARY LOGS TO '{first}'")).await.unwrap();
    check_and_run(&job, &[&first, "purged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_ddl_show_what_run_would_do_and_change_nothing() {
    let source = servers::mysql().await;
    let database = source.database("shown").await;
    source
        .run([format!("CREATE TABLE {database}.t (v VARCHAR(10), id INT UNSIGNED PRIMARY KEY COMMENT 'the key')")])
        .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", "");
    let check = job.command("check", &[]).await;
    assert!(check.status.success(), "{}", text(&check));
    assert!(text(&check).contains("ready: 1 table(s)"), "{}", text(&check));
    let ddl = job.command("ddl", &[]).await;
    assert!(ddl.status.success(), "{}", text(&ddl));
    let statements = String::from_utf8_lossy(&ddl.stdout).into_owned();
    for expected in ["`id` BIGINT NOT NULL", "the key", "`v` VARCHAR(40)", "PRIMARY KEY (`id`)"] {
        assert!(statements.contains(expected), "{expected:?} is not in\n{statements}");
    }
    let count = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ";
    assert_eq!(target.text(&format!("{count}'{database}'")).await, "0");
    let status = job.command("status", &[]).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status).contains("has not been run yet"), "{}", text(&status));
}
