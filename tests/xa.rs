//! XA transactions through the whole job. Each test has a source of its own: what one prepares, every job that begins on
//! the same server looks for.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use towpath::demo::server::{Options, Product, ScratchServer};

use crate::harness::{Job, Target, assert_equal, text};

const PRODUCTS: [Product; 2] = [Product::Mysql, Product::Mariadb];

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// A source with `d.t` and ten rows in it.
async fn source(product: Product) -> ScratchServer {
    let source = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    run(&mut conn, &["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v MEDIUMTEXT)"]).await;
    run(&mut conn, &["INSERT INTO d.t SELECT seq.id, 'before' FROM JSON_TABLE('[1,2,3,4,5,6,7,8,9,10]', '$[*]' COLUMNS (id INT PATH '$')) seq"]).await;
    source
}

/// Prepares a transaction on a connection of its own, which then goes: only its name is left.
async fn prepare(source: &ScratchServer, name: &str, statements: &[&str]) {
    let mut conn = source.connect().await.unwrap();
    run(&mut conn, &[&format!("XA START '{name}'")]).await;
    run(&mut conn, statements).await;
    run(&mut conn, &[&format!("XA END '{name}'"), &format!("XA PREPARE '{name}'")]).await;
    conn.disconnect().await.unwrap();
}

/// XA COMMIT or XA ROLLBACK. The connection that prepared it may not be gone yet.
async fn decide(conn: &mut Conn, how: &str, name: &str) {
    for _ in 0..2400 {
        if conn.query_drop(format!("XA {how} '{name}'")).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("XA {how} '{name}'");
}

async fn ids(target: &Target) -> String {
    target.text("SELECT GROUP_CONCAT(id ORDER BY id SEPARATOR ',') FROM d.t WHERE id > 10").await
}

/// Prepared before the job begins, before a stop, and decided when the logs are gone.
async fn prepared_rows_wait(product: Product) {
    let source = source(product).await;
    let mut conn = source.connect().await.unwrap();
    let target = Target::start().await;
    prepare(&source, "early", &["INSERT INTO d.t VALUES (11, 'early')", "UPDATE d.t SET v = 'early' WHERE id = 1"])
        .await;
    run(&mut conn, &["FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (12, 'plain')"]).await;
    prepare(&source, "rolled back", &["INSERT INTO d.t VALUES (13, 'no')", "DELETE FROM d.t WHERE id = 2"]).await;
    prepare(&source, "gone", &["INSERT INTO d.t VALUES (14, 'no')"]).await;
    decide(&mut conn, "ROLLBACK", "gone").await;
    let job = Job::new(source.port(), &target, "d.*", "", "params: {totalDataInMemMb: 32}");
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;

    // More than may wait in memory.
    let inserts: Vec<String> =
        (100..130).map(|id| format!("INSERT INTO d.t VALUES ({id}, REPEAT('x', 200000))")).collect();
    prepare(&source, "large", &inserts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    prepare(&source, "late", &["DELETE FROM d.t WHERE id = 3", "UPDATE d.t SET id = 15 WHERE id = 4"]).await;
    run(&mut conn, &["FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (16, 'plain')"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;
    assert_eq!(ids(&target).await, "12,16", "what is prepared is not to be seen");

    let last: Vec<(String, u64)> = conn
        .query_map("SHOW BINARY LOGS", |row: mysql_async::Row| (row.get(0).unwrap(), row.get(1).unwrap()))
        .await
        .unwrap();
    run(&mut conn, &[&format!("PURGE BINARY LOGS TO '{}'", last.last().unwrap().0)]).await;
    decide(&mut conn, "ROLLBACK", "rolled back").await;
    for name in ["late", "large", "early"] {
        decide(&mut conn, "COMMIT", name).await;
    }
    run(
        &mut conn,
        &["XA START 'one'", "INSERT INTO d.t VALUES (17, 'one phase')", "XA END 'one'", "XA COMMIT 'one' ONE PHASE"],
    )
    .await;
    run(&mut conn, &["UPDATE d.t SET v = 'after' WHERE id IN (1, 15)"]).await;
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;
    assert!(ids(&target).await.starts_with("11,12,15,16,17,100,101,"));
    // Nothing waits any more.
    assert_eq!(job.status().await["preparedXa"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_rows_wait_for_their_commit_over_restarts_and_purged_logs_on_mysql() {
    prepared_rows_wait(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_rows_wait_for_their_commit_over_restarts_and_purged_logs_on_mariadb() {
    prepared_rows_wait(Product::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_what_was_prepared_before_a_given_start_is_refused() {
    for product in PRODUCTS {
        let source = source(product).await;
        let mut conn = source.connect().await.unwrap();
        let target = Target::start().await;
        let at_first = Job::new(source.port(), &target, "d.*", "", "");
        at_first.run_to_end().await;
        prepare(&source, "early", &["INSERT INTO d.t VALUES (11, 'early')"]).await;
        let place: mysql_async::Row = match product {
            Product::Mysql => conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap(),
            Product::Mariadb => conn.query_first("SHOW MASTER STATUS").await.unwrap().unwrap(),
        };
        let (file, offset): (String, u64) = (place.get(0).unwrap(), place.get(1).unwrap());
        let startup = format!("startup: {{file: {file}, position: {offset}}}");
        let job = Job::new(source.port(), &target, "d.*", &startup, "");
        run(&mut conn, &["INSERT INTO d.t VALUES (12, 'plain')"]).await;
        decide(&mut conn, "COMMIT", "early").await;
        let output = job.command("run", &["--stop-at-end"]).await;
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output);
        assert!(said.contains("X'6561726c79',X'',1") && said.contains("startup: initial"), "{said}");
        // The first job saw the prepare, and brings everything.
        at_first.run_to_end().await;
        assert_equal(source.port(), &target, "d").await;
    }
}

/// Many transactions in all orders, while the job is killed again and again.
async fn a_killed_job_loses_none(product: Product) {
    let source = source(product).await;
    let target = Target::start().await;
    let mut random = StdRng::seed_from_u64(7);
    let mut conn = source.connect().await.unwrap();
    let job = Job::new(source.port(), &target, "d.*", "", "params: {realFlushPauseSec: 0}");
    let mut prepared: Vec<String> = Vec::new();
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    for number in 0..90 {
        let id = 1000 + number;
        match random.random_range(0..3) {
            0 => run(&mut conn, &[&format!("INSERT INTO d.t VALUES ({id}, 'plain')")]).await,
            _ => {
                let name = format!("x{number}");
                prepare(&source, &name, &[&format!("INSERT INTO d.t VALUES ({id}, '{name}')")]).await;
                prepared.push(name);
            }
        }
        prepared.shuffle(&mut random);
        if (prepared.len() > 4 || random.random_range(0..3) == 0)
            && let Some(name) = prepared.pop()
        {
            decide(&mut conn, if random.random_range(0..3) == 0 { "ROLLBACK" } else { "COMMIT" }, &name).await;
        }
        if number % 25 == 24 {
            child.kill().await.unwrap();
            child = job.start();
        }
    }
    child.kill().await.unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;
    for name in &prepared {
        decide(&mut conn, "COMMIT", name).await;
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, "d").await;
    assert_eq!(job.status().await["preparedXa"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_killed_loses_no_prepared_rows_on_mysql() {
    a_killed_job_loses_none(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_killed_loses_no_prepared_rows_on_mariadb() {
    a_killed_job_loses_none(Product::Mariadb).await;
}
