//! Parameters that change while a job runs, from the command line and over HTTP.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use crate::harness::{Job, Port, Target, assert_equal, text};
use crate::servers;

const TOKEN: &str = "planted-token-of-the-settings-test";

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_takes_another_pause_and_is_paused_and_resumed() {
    let source = servers::mysql().await;
    let mut conn = source.connect().await;
    conn.query_drop("CREATE DATABASE live_pause").await.unwrap();
    conn.query_drop("CREATE TABLE live_pause.t (id INT PRIMARY KEY)").await.unwrap();
    let target = Target::start().await;
    let job = Job::new(source.port(), &target, "live_pause.*", "", "params: {realFlushPauseSec: 3600}");
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let rows = async || target.text("SELECT COUNT(*) FROM live_pause.t").await;

    conn.query_drop("INSERT INTO live_pause.t VALUES (1)").await.unwrap();
    let set = job.command("set", &["realFlushPauseSec=0"]).await;
    assert!(text(&set).contains("realFlushPauseSec = 0\n"), "{}", text(&set));
    job.wait_for("the row", |status| status["rowsLoaded"] == 1).await;
    assert_eq!(rows().await, "1");
    assert_eq!(job.status().await["settings"]["realFlushPauseSec"], 0.0);

    job.command("pause", &[]).await;
    while !job.log().contains("paused=true") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever waits for something to read takes one thing more, if it comes within a fifth of a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    conn.query_drop("INSERT INTO live_pause.t VALUES (2)").await.unwrap();
    // Long enough for a job that is not paused.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rows().await, "1");
    job.command("resume", &[]).await;
    job.wait_for("the second row", |status| status["rowsLoaded"] == 2).await;
    assert!(job.stop(child).await.success());
    assert_equal(source.port(), &target, "live_pause").await;

    // It holds over a restart, until it is taken back.
    assert!(text(&job.command("status", &[]).await).contains("realFlushPauseSec = 0, instead of the job file's"));
    let back = job.command("set", &["realFlushPauseSec="]).await;
    assert!(text(&back).contains("all parameters are those of the job file"));
    let wrong = job.command("set", &["realFlushPauseSex=1"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("did you mean `realFlushPauseSec`?"), "{}", text(&wrong));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_held_back_by_its_limit_until_that_is_raised_over_http() {
    let source = servers::mysql().await;
    let mut conn = source.connect().await;
    conn.query_drop("CREATE DATABASE live_limit").await.unwrap();
    conn.query_drop("CREATE TABLE live_limit.t (id INT PRIMARY KEY)").await.unwrap();
    let ids: Vec<String> = (0..6000).map(|id| format!("({id})")).collect();
    conn.query_drop(format!("INSERT INTO live_limit.t VALUES {}", ids.join(","))).await.unwrap();
    let target = Target::start().await;
    let listen = Port::free();
    let port = listen.number();
    let more = format!(
        "params: {{rateLimitRps: 5, fullBatchSize: 1000, fullParallel: 1}}\nhttp: {{listen: '127.0.0.1:{port}', token: {TOKEN}}}"
    );
    let job = Job::new(source.port(), &target, "live_limit.*", "", &more);
    let child = job.start();
    // The first chunk is read at once and paid for by the second.
    job.wait_for("a chunk", |status| status["fullData"][0]["rows"].as_u64() >= Some(1000)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = job.status().await;
    assert_eq!((&status["stage"], &status["fullData"][0]["done"]), (&"full".into(), &false.into()), "{status}");

    let client = reqwest::Client::new();
    let post = async |path: &str, body: &'static str, token: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer =
            client.post(url).header("Authorization", format!("Bearer {token}")).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(post("/set", "{\"rateLimitRps\": 0}", "guess").await.0, 401);
    let (code, message) = post("/set", "{\"rateLimitRps\": -1}", TOKEN).await;
    assert!(code == 400 && message.contains("is not a whole number"), "{message}");
    let (code, answer) = post("/set", "{\"rateLimitRps\": 1000000}", TOKEN).await;
    assert!(code == 200 && answer.contains("\"rateLimitRps\": 1000000"), "{answer}");
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    assert_equal(source.port(), &target, "live_limit").await;

    // The binlog has the same limit.
    assert_eq!(post("/set", "{\"rateLimitRps\": 1, \"realFlushPauseSec\": 0}", TOKEN).await.0, 200);
    while !job.log().contains("rateLimitRps=1 realFlushPauseSec=0") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    conn.query_drop("DELETE FROM live_limit.t WHERE id < 1000").await.unwrap();
    conn.query_drop("DELETE FROM live_limit.t WHERE id = 1000").await.unwrap();
    job.wait_for("the first", |status| status["deletes"] == 1000).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(job.status().await["deletes"], 1000, "the next waits until the first thousand is paid for");
    assert_eq!(post("/set", "{\"rateLimitRps\": null}", TOKEN).await.0, 200);
    assert_eq!(post("/pause", "", TOKEN).await.0, 200);
    assert_eq!(post("/resume", "", TOKEN).await.0, 200);
    // The job file's own limit is low as well.
    assert_eq!(post("/set", "{\"rateLimitRps\": 0}", TOKEN).await.0, 200);
    job.wait_for("the last", |status| status["deletes"] == 1001).await;
    assert!(job.stop(child).await.success());
    assert_equal(source.port(), &target, "live_limit").await;
}
