//! What goes wrong at the source: connections that are cut or fall silent, servers that are replaced, passwords that
//! change, logs that are purged.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath::demo::server::{Options, Product, ScratchServer};

use crate::harness::{Job, Target, assert_equal, text};
use crate::proxy::Proxy;
use crate::servers::{self, Shared};

/// Short pauses, so that tests need not wait long.
const QUICK: &str = "params: {realFlushPauseSec: 0, retryWaitTimeMs: 20, soTimeoutSec: 2}";

async fn run(conn: &mut Conn, statement: impl AsRef<str>) {
    let statement = statement.as_ref();
    conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// One transaction of `rows` rows of 200 bytes, each in an event of its own.
async fn insert(conn: &mut Conn, table: &str, first: usize, rows: usize) {
    run(conn, "BEGIN").await;
    for id in first..first + rows {
        run(conn, format!("INSERT INTO {table} VALUES ({id}, REPEAT('{}', 200))", id % 10)).await;
    }
    run(conn, "COMMIT").await;
}

fn count(status: &serde_json::Value, what: &str) -> usize {
    status[what].as_u64().unwrap_or_default() as usize
}

async fn wait_for_log(job: &Job, text: &str) {
    for _ in 0..1200 {
        if job.log().contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job never said {text:?}\n{}", job.log());
}

/// The binlog connections of one user.
async fn dumps(conn: &mut Conn, user: &str) -> Vec<u64> {
    let list =
        format!("SELECT id FROM information_schema.processlist WHERE user = '{user}' AND command LIKE 'Binlog Dump%'");
    conn.query(list).await.unwrap()
}

/// Ends them.
async fn kill_dumps(conn: &mut Conn, user: &str) {
    for dump in dumps(conn, user).await {
        let _ = conn.query_drop(format!("KILL {dump}")).await;
    }
}

async fn user(conn: &mut Conn, name: &str, password: &str) {
    run(conn, format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")).await;
    run(conn, format!("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{name}'@'%'")).await;
}

/// Cut between transactions and within one, killed by the server, silent: nothing is lost, and nothing counted twice.
async fn lost_connections(server: &Shared) {
    let db = server.database("lost").await;
    let mut conn = server.connect().await;
    run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v VARCHAR(200))")).await;
    user(&mut conn, &db, "p").await;
    let proxy = Proxy::to(server.port()).await;
    let target = Target::start().await;
    let source = format!("username: {db}, password: p");
    let job = Job::new(proxy.port(), &target, &format!("{db}.*"), &source, QUICK);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let table = format!("{db}.t");
    let mut total = 0;
    while dumps(&mut conn, &db).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for round in 0..6 {
        match round {
            0 | 3 => proxy.cut(),
            1 => kill_dumps(&mut conn, &db).await,
            2 => proxy.silence(true),
            _ => proxy.cut_after(20_000),
        }
        insert(&mut conn, &table, total, 300).await;
        total += 300;
        match round {
            2 => {
                wait_for_log(&job, "the source was silent for").await;
                proxy.silence(false);
            }
            4 | 5 => {
                while !proxy.has_cut() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                proxy.down(false);
            }
            _ => {}
        }
        job.wait_for("all rows", |status| count(status, "inserts") >= total).await;
    }
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert!(job.log().matches(" again").count() >= 6, "{}", job.log());
    assert_eq!(count(&job.status().await, "inserts"), total, "{}", job.log());
    assert_equal(server.port(), &target, &db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_lose_nothing_on_mysql() {
    lost_connections(servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_lose_nothing_on_mariadb() {
    lost_connections(servers::mariadb().await).await;
}

/// Pieces of it are in the target when the connection is lost.
/// The rows that came before the cut are sent once more, and counted once.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_cut_off_is_read_again() {
    for server in [servers::mysql().await, servers::mariadb().await] {
        let db = server.database("cut_chunk").await;
        let mut conn = server.connect().await;
        run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v VARCHAR(200))")).await;
        let rows: Vec<String> = (0..6000).map(|id| format!("({id}, REPEAT('{}', 200))", id % 10)).collect();
        run(&mut conn, format!("INSERT INTO {db}.t VALUES {}", rows.join(", "))).await;
        let proxy = Proxy::to(server.port()).await;
        let target = Target::start().await;
        // Behind what the start of a job asks, and before the chunk's last row.
        proxy.cut_after(400_000);
        let job = Job::new(proxy.port(), &target, &format!("{db}.*"), "", QUICK);
        let child = job.start();
        while !proxy.has_cut() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.down(false);
        job.wait_for("incremental", |status| status["stage"] == "incremental").await;
        assert!(job.stop(child).await.success(), "{}", job.log());
        let log = job.log();
        assert!(log.contains("reading the source failed, trying again") && log.contains("reading table"), "{log}");
        assert_eq!(job.status().await["fullData"][0]["rows"], 6000, "{log}");
        assert_equal(server.port(), &target, &db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_memory_that_is_cut_off_comes_again() {
    let server = servers::mysql().await;
    let db = server.database("large").await;
    let mut conn = server.connect().await;
    run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v TEXT)")).await;
    let proxy = Proxy::to(server.port()).await;
    let target = Target::start().await;
    let params = "params: {realFlushPauseSec: 0, retryWaitTimeMs: 20, totalDataInMemMb: 8, flushBatchMb: 1}";
    let job = Job::new(proxy.port(), &target, &format!("{db}.*"), "", params);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    proxy.cut_after(6 << 20);
    run(&mut conn, "SET SESSION cte_max_recursion_depth = 10000").await;
    run(
        &mut conn,
        format!(
            "INSERT INTO {db}.t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
             SELECT i, REPEAT(CHAR(65 + i % 26), 1000) FROM n"
        ),
    )
    .await;
    while !proxy.has_cut() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut looks = 0;
    while target.text(&format!("SELECT COUNT(*) FROM {db}.t")).await == "0" {
        looks += 1;
        assert!(looks < 1200, "no piece came into the target: the test shows nothing\n{}", job.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.down(false);
    job.wait_for("all rows", |status| count(status, "inserts") >= 10_000).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_eq!(count(&job.status().await, "inserts"), 10_000);
    assert_equal(server.port(), &target, &db).await;
}

/// Nothing but one event cannot be carried: that is not tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_breaks_every_connection_stops_the_job_and_says_where() {
    let server = servers::mysql().await;
    let db = server.database("poison").await;
    let mut conn = server.connect().await;
    run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v VARCHAR(200))")).await;
    let proxy = Proxy::to(server.port()).await;
    let target = Target::start().await;
    let job = Job::new(proxy.port(), &target, &format!("{db}.*"), "tls: {mode: disabled}", QUICK);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let poison = format!("poison of {db}");
    proxy.poison(Some(poison.as_bytes()));
    run(&mut conn, format!("INSERT INTO {db}.t VALUES (1, 'good')")).await;
    run(&mut conn, format!("INSERT INTO {db}.t VALUES (2, '{poison}')")).await;
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait()).await;
    assert_eq!(ended.expect("the job tries for ever").unwrap().code(), Some(1), "{}", job.log());
    assert!(job.log().contains("the binlog connection broke here 8 times in a row"), "{}", job.log());
    proxy.poison(None);
    job.run_to_end().await;
    assert_equal(server.port(), &target, &db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_waited_for_and_read_again_from_its_file() {
    let server = servers::mysql().await;
    let db = server.database("rotated").await;
    let mut conn = server.connect().await;
    run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v VARCHAR(200))")).await;
    user(&mut conn, &db, "first").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let target = Target::start().await;
    let source = format!("username: {db}, passwordFile: '{}'", file.display());
    let job = Job::new(server.port(), &target, &format!("{db}.*"), &source, QUICK);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    run(&mut conn, format!("ALTER USER '{db}'@'%' IDENTIFIED BY 'second'")).await;
    kill_dumps(&mut conn, &db).await;
    wait_for_log(&job, &format!("refuses user '{db}'")).await;
    std::fs::write(&file, "second\n").unwrap();
    insert(&mut conn, &format!("{db}.t"), 1, 10).await;
    job.wait_for("rows", |status| count(status, "inserts") == 10).await;

    run(&mut conn, format!("ALTER USER '{db}'@'%' IDENTIFIED BY 'third'")).await;
    kill_dumps(&mut conn, &db).await;
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait()).await;
    assert_eq!(ended.expect("the job tries for ever").unwrap().code(), Some(1), "{}", job.log());
    assert!(job.log().contains("error: the source") && !job.log().contains("second"), "{}", job.log());
    std::fs::write(&file, "third\n").unwrap();
    job.run_to_end().await;
    assert_equal(server.port(), &target, &db).await;
}

/// A source and its replica, both with binlogs, and a table `d.t` on them.
struct Pair {
    product: Product,
    first: ScratchServer,
    second: ScratchServer,
}

impl Pair {
    async fn start(product: Product) -> Pair {
        let second = Options::new(product).argument("--server-id=2");
        let second = match product {
            Product::Mysql => second,
            Product::Mariadb => second.argument("--log-slave-updates=1"),
        };
        let first = Options::new(product);
        let (first, second) = tokio::join!(ScratchServer::start(&first), ScratchServer::start(&second));
        let pair = Pair { product, first: first.unwrap(), second: second.unwrap() };
        let mut conn = pair.second.connect().await.unwrap();
        let port = pair.first.port();
        let change = match product {
            Product::Mysql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root', \
                 SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1"
            ),
            Product::Mariadb => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', \
                 MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1"
            ),
        };
        run(&mut conn, change).await;
        pair.replicate(true).await;
        let mut conn = pair.first.connect().await.unwrap();
        run(&mut conn, "CREATE DATABASE d").await;
        run(&mut conn, "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(200))").await;
        pair
    }

    async fn replicate(&self, on: bool) {
        let verb = if on { "START" } else { "STOP" };
        let noun = if self.product == Product::Mysql { "REPLICA" } else { "SLAVE" };
        run(&mut self.second.connect().await.unwrap(), format!("{verb} {noun}")).await;
    }

    /// Waits until the second server has so many rows.
    async fn replicated(&self, rows: usize) {
        let mut conn = self.second.connect().await.unwrap();
        for _ in 0..1200 {
            let found: Result<Option<usize>, _> = conn.query_first("SELECT COUNT(*) FROM d.t").await;
            if matches!(found, Ok(Some(found)) if found == rows) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the replica never had {rows} rows");
    }

    async fn promote(&self) {
        self.replicate(false).await;
        let statement = if self.product == Product::Mysql { "RESET REPLICA ALL" } else { "RESET SLAVE ALL" };
        run(&mut self.second.connect().await.unwrap(), statement).await;
    }
}

/// A replica that lags is not read; a promoted one goes on, without what its predecessor took along; and a predecessor
/// that comes back with transactions of its own, and without those of the new source, is refused.
async fn switch_over(product: Product) {
    let mut pair = Pair::start(product).await;
    let mut first = pair.first.connect().await.unwrap();
    insert(&mut first, "d.t", 0, 50).await;
    let proxy = Proxy::to(pair.first.port()).await;
    let target = Target::start().await;
    let hosts = format!("hosts: ['127.0.0.1:{}', '127.0.0.1:{}']", proxy.port(), pair.second.port());
    let params = "params: {realFlushPauseSec: 0, retryWaitTimeMs: 200}";
    let job = Job::new(0, &target, "d.*", &hosts, params);
    pair.replicated(50).await;
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;

    pair.replicate(false).await;
    insert(&mut first, "d.t", 50, 10).await;
    job.wait_for("rows of the first server", |status| count(status, "inserts") == 10).await;
    proxy.down(true);
    wait_for_log(&job, "the source lacks transactions that the job has read").await;
    pair.replicate(true).await;
    wait_for_log(&job, "going on at another server").await;
    insert(&mut first, "d.t", 60, 10).await;
    job.wait_for("rows over the replica", |status| count(status, "inserts") == 20).await;
    pair.replicated(70).await;

    // Back to the first server, whose next transaction is lost when half of it has been read.
    proxy.down(false);
    pair.replicate(false).await;
    pair.second.restart().await.unwrap();
    wait_for_log(&job, &format!("to=127.0.0.1:{}", proxy.port())).await;
    pair.replicate(false).await;
    proxy.cut_after(60_000);
    insert(&mut first, "d.t", 1000, 1000).await;
    while !proxy.has_cut() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.down(true);
    pair.promote().await;
    let mut second = pair.second.connect().await.unwrap();
    for id in 70..75 {
        insert(&mut second, "d.t", id, 1).await;
    }
    job.wait_for("rows of the promoted server", |status| count(status, "inserts") == 25).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_equal(pair.second.port(), &target, "d").await;

    proxy.down(false);
    pair.second.kill();
    let quick = std::fs::read_to_string(job.path()).unwrap().replace("retryWaitTimeMs: 200", "retryWaitTimeMs: 10");
    std::fs::write(job.path(), quick).unwrap();
    let output = job.command("run", &["--stop-at-end"]).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("none of source.hosts serves the job"), "{said}");
    assert!(said.contains("The job has read ") && said.contains(", the source has executed "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_at_a_promoted_mysql_and_refuses_one_that_lacks_what_it_read() {
    switch_over(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_at_a_promoted_mariadb_and_refuses_one_that_lacks_what_it_read() {
    switch_over(Product::Mariadb).await;
}

/// The log behind the position is gone; the operator chooses another place.
async fn purged(product: Product) {
    let source = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    run(&mut conn, "CREATE DATABASE d").await;
    run(&mut conn, "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(200))").await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.*", "", QUICK);
    job.run_to_end().await;
    run(&mut conn, "INSERT INTO d.t VALUES (-1, 'committed at a known time')").await;
    job.run_to_end().await;
    insert(&mut conn, "d.t", 0, 10).await;
    run(&mut conn, "FLUSH BINARY LOGS").await;
    // The position is in the file before the last, and a second old at least.
    run(&mut conn, "SET GLOBAL binlog_expire_logs_seconds = 1").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = text(&job.command("check", &[]).await);
    assert!(said.contains("the source deletes its binlog after 1 seconds: run the job any moment now"), "{said}");
    run(&mut conn, "SET GLOBAL binlog_expire_logs_seconds = 0").await;
    let logs: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let (last, size): (String, u64) = {
        let row = logs.last().unwrap();
        (row.get(0).unwrap(), row.get(1).unwrap())
    };
    run(&mut conn, format!("PURGE BINARY LOGS TO '{last}'")).await;
    insert(&mut conn, "d.t", 10, 10).await;

    let said = text(&job.command("run", &["--stop-at-end"]).await);
    assert!(
        said.contains("the source has purged") && said.contains(&last) && said.contains("towpath reposition"),
        "{said}"
    );
    let output = job.command("reposition", &["earliest"]).await;
    assert!(!output.status.success() && text(&output).contains("--accept-loss"), "{}", text(&output));
    let output = job.command("reposition", &["earliest", "--accept-loss"]).await;
    assert!(output.status.success(), "{}", text(&output));
    job.run_to_end().await;
    let rows = "SELECT COUNT(*) FROM d.t";
    assert_eq!(target.text(rows).await, "11");

    // A move back needs no word; the rows are written again.
    let mut target_conn = target.connect().await;
    run(&mut target_conn, "DELETE FROM d.t WHERE id >= 15").await;
    assert_eq!(target.text(rows).await, "6");
    let inside = format!("{last}:{}", size + 100);
    let output = job.command("reposition", &[&inside]).await;
    assert!(text(&output).contains("is not between two transactions"), "{}", text(&output));
    let output = job.command("reposition", &[&format!("{last}:{size}")]).await;
    assert!(output.status.success(), "{}", text(&output));
    let child = job.start();
    job.wait_for("the rows again", |status| count(status, "inserts") >= 20).await;
    let refused = text(&job.command("reposition", &["latest", "--accept-loss"]).await);
    assert!(refused.contains("is running already"), "{refused}");
    let refused = text(&job.command("run", &[]).await);
    assert!(refused.contains("is running already"), "{refused}");
    assert!(job.stop(child).await.success());
    assert_eq!(target.text(rows).await, "11");

    if product == Product::Mysql {
        // A transaction that counts as executed and is in no log must not be waited for.
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        run(&mut conn, "SET sql_log_bin = 0").await;
        run(&mut conn, format!("SET gtid_next = '{uuid}:7'")).await;
        for statement in ["BEGIN", "INSERT INTO d.t VALUES (100, 'unlogged')", "COMMIT"] {
            run(&mut conn, statement).await;
        }
        run(&mut conn, "SET gtid_next = AUTOMATIC").await;
        let executed: String = conn.query_first("SELECT @@GLOBAL.gtid_executed").await.unwrap().unwrap();
        assert!(executed.contains(uuid), "{executed}");
        let running = job.command("run", &["--stop-at-end"]);
        let output = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it never ended");
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_told_and_another_can_be_chosen_on_mysql() {
    purged(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_told_and_another_can_be_chosen_on_mariadb() {
    purged(Product::Mariadb).await;
}

/// One event takes longer on the line than the silence that is borne: it must come in all the same, and count once.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_slow_source_needs_long_for_comes_in() {
    let server = servers::mysql().await;
    let db = server.database("slow").await;
    let mut conn = server.connect().await;
    run(&mut conn, format!("CREATE TABLE {db}.t (id INT PRIMARY KEY, v LONGTEXT)")).await;
    let proxy = Proxy::to(server.port()).await;
    let target = Target::start().await;
    let job = Job::new(proxy.port(), &target, &format!("{db}.*"), "", QUICK);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    // 61 pieces, 3.6 seconds.
    proxy.slow(Duration::from_millis(60));
    run(&mut conn, format!("INSERT INTO {db}.t VALUES (1, REPEAT('v', 1000000))")).await;
    wait_for_log(&job, "the source was silent for 2s").await;
    job.wait_for("the row", |status| count(status, "inserts") >= 1).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_eq!(count(&job.status().await, "inserts"), 1, "{}", job.log());
    assert_equal(server.port(), &target, &db).await;
}

/// The log holds an event that is larger than what the server now takes in a packet.
async fn packet_limit(product: Product) {
    let source = ScratchServer::start(&Options::new(product)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    run(&mut conn, "SET GLOBAL max_allowed_packet = 67108864").await;
    let mut conn_large = source.connect().await.unwrap();
    run(&mut conn, "CREATE DATABASE d").await;
    for table in ["ours", "others"] {
        run(&mut conn, format!("CREATE TABLE d.{table} (id INT PRIMARY KEY, v LONGTEXT)")).await;
    }
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.ours", "", QUICK);
    job.run_to_end().await;
    run(&mut conn_large, "INSERT INTO d.others VALUES (1, REPEAT('v', 20000000))").await;
    run(&mut conn, "INSERT INTO d.ours VALUES (1, 'behind it')").await;
    run(&mut conn, "SET GLOBAL max_allowed_packet = 1048576").await;
    job.run_to_end().await;
    assert_eq!(target.text("SELECT v FROM d.ours").await, "behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_above_the_servers_packet_limit_is_passed_on_mysql() {
    packet_limit(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_above_the_servers_packet_limit_is_passed_on_mariadb() {
    packet_limit(Product::Mariadb).await;
}
