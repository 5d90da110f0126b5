//! A MySQL without GTIDs whose log has what its tables do not show yet: a commit waits for a replica's word that does not come
//! (semi-synchronous replication), while the job has brought it to the target already.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::process::Child;
use towpath::demo::server::{Options, Product, ScratchServer};

use super::{follow, read};
use crate::harness::{Job, Target, towpath};

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn start(command: &str, job: &Job, options: &[&str]) -> Child {
    let mut child = towpath(command);
    child.arg(job.path()).args(options).stdout(std::process::Stdio::piped());
    child.spawn().unwrap()
}

/// Until somebody waits for a lock that the hidden transaction holds, or the command ends without having asked for one.
async fn until_it_waits(conn: &mut Conn, child: &mut Child) {
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE '%metadata lock%' OR INFO LIKE '%LOCK IN SHARE MODE'";
    while child.try_wait().unwrap().is_none() {
        let count: Option<u64> = conn.query_first(waiting).await.unwrap();
        if count >= Some(1) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_and_the_source_does_not_show_yet_is_neither_different_nor_written_over() {
    let options = Options::new(Product::Mysql).argument("--gtid-mode=OFF").argument("--enforce-gtid-consistency=OFF");
    let source = ScratchServer::start(&options).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    let mut writer = source.connect().await.unwrap();
    run(
        &mut conn,
        &[
            "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
            "SET GLOBAL rpl_semi_sync_source_timeout = 3600000",
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE d.keyless (id INT, v INT)",
            "INSERT INTO d.t VALUES (1, 1), (2, 2), (3, 3)",
            "INSERT INTO d.keyless VALUES (1, 1), (1, 1), (2, 2)",
        ],
    )
    .await;
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "d.*", "", "noKeyTables: rowHash\nparams: {realFlushPauseSec: 0}");
    let running = follow(&job).await;
    let mut there = target.connect().await;
    run(&mut there, &["DELETE FROM d.t WHERE id = 3"]).await;
    read(&job.command("verify", &["--json"]).await).expect(3, ["missing t id=3"]);

    for (round, (command, options)) in [
        ("verify", &["--json", "--tables", "*.t"][..]),
        ("verify", &["--json", "--tables", "*.keyless"]),
        ("correct", &["--run", "1"]),
    ]
    .into_iter()
    .enumerate()
    {
        run(&mut conn, &["SET GLOBAL rpl_semi_sync_source_enabled = 1"]).await;
        let (id, fresh) = (10 + round, 100 + round);
        let hidden = tokio::spawn(async move {
            let insert = format!("INSERT INTO d.t VALUES ({id}, {id}); INSERT INTO d.keyless VALUES ({id}, 1)");
            let third = if round == 2 { "UPDATE d.t SET v = 33 WHERE id = 3;" } else { "" };
            writer
                .query_drop(format!(
                    "BEGIN; UPDATE d.t SET v = {fresh} WHERE id = 1; UPDATE d.keyless SET v = {fresh} WHERE id = 1; {third} {insert}; COMMIT"
                ))
                .await
                .unwrap();
            writer
        });
        let look = format!("SELECT COUNT(*) FROM d.t WHERE v = {fresh}");
        while target.text(&look).await != "1" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut child = start(command, &job, options);
        until_it_waits(&mut conn, &mut child).await;
        assert_eq!(
            conn.query_first::<u64, _>(format!("SELECT COUNT(*) FROM d.t WHERE v = {fresh}")).await.unwrap(),
            Some(0),
            "the source shows what is to be hidden"
        );
        run(&mut conn, &["SET GLOBAL rpl_semi_sync_source_enabled = 0"]).await;
        writer = hidden.await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        match round {
            0 => read(&output).expect(3, ["missing t id=3"]),
            1 => read(&output).expect(0, []),
            _ => assert_eq!(output.status.code(), Some(0), "{}\n{}", crate::harness::text(&output), job.log()),
        }
    }
    read(&job.command("verify", &["--json"]).await).expect(0, []);
    assert_eq!(target.text("SELECT v FROM d.t WHERE id = 3").await, "33");
    assert!(job.stop(running).await.success(), "{}", job.log());
}
