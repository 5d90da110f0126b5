//! Comparisons that a running job makes by the clock. `each-second` makes every second a time of the schedule.

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio::process::Child;

use super::{read, verify};
use crate::harness::{Job, Target, assert_equal, text, towpath};
use crate::metrics::Http;
use crate::servers;

pub(super) fn start(job: &Job) -> Child {
    let mut run = towpath("run");
    run.env("FAILPOINTS", "each-second=return");
    job.start_as(run)
}

/// Other keys in the job file, taken over by the running job.
fn change(job: &Job, child: &Child, from: &str, to: &str) {
    let text = std::fs::read_to_string(job.path()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(job.path(), text.replacen(from, to, 1)).unwrap();
    let pid = child.id().expect("the job runs").to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

/// The runs, the oldest first: when each began and ended, in seconds since 1970, and how.
async fn runs(job: &Job) -> Vec<(f64, f64, Value)> {
    let history = job.command("verify", &["--history", "--json"]).await;
    let lines = String::from_utf8_lossy(&history.stdout).into_owned();
    let run = |line: &str| {
        let run: Value = serde_json::from_str(line).unwrap();
        let began: jiff::Timestamp = run["begunAt"].as_str().unwrap().parse().unwrap();
        let began = began.as_microsecond() as f64 / 1e6;
        (began, began + run["seconds"].as_f64().unwrap(), run)
    };
    lines.lines().map(run).collect()
}

fn last(status: &Value) -> &Value {
    &status["verification"]["last"]
}

fn at_least(status: &Value, run: u64) -> bool {
    last(status)["run"].as_u64().is_some_and(|last| last >= run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_compares_by_the_clock_and_mends_when_it_is_told_to() {
    let source = servers::mysql().await;
    let database = source.database("clock").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT)"),
            format!("INSERT INTO {database}.t VALUES (1, 1), (2, 2), (3, 3)"),
            format!("CREATE TABLE {database}.other (id INT PRIMARY KEY)"),
        ])
        .await;
    let target = Target::start().await;
    let http = Http::free();
    let more = format!(
        "params: {{realFlushPauseSec: 0}}\nhttp: {}\nverify: {{cron: '0 3 * * *', timezone: UTC}}",
        http.keys()
    );
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    let child = start(&job);
    job.wait_for("a comparison", |status| last(status)["outcome"] == "equal").await;
    let status = job.status().await;
    let known = &status["verification"];
    assert_eq!((&last(&status)["scheduled"], &last(&status)["rows"]), (&true.into(), &3.into()), "{status}");
    assert_eq!(known["schedule"], "0 3 * * * UTC");
    assert!(known["next"].is_string() && known["lastGoodAgeSeconds"].is_number(), "{status}");
    let shown = text(&job.command("verify", &["--history"]).await);
    assert!(shown.lines().next().is_some_and(|line| line.ends_with("3 rows, 0 differences  by the clock")), "{shown}");
    let shown = text(&job.command("status", &[]).await);
    assert!(shown.contains(", by the clock, ") && shown.contains("(0 3 * * * UTC)"), "{shown}");

    let mut there = target.connect().await;
    there.query_drop(format!("DELETE FROM {database}.t WHERE id = 2")).await.unwrap();
    let table = format!("table=\"{database}.t\"");
    let differs = format!("towpath_verify_table_differences{{kind=\"missing\",{table}}}");
    let found = http.wait_for("the difference", &job, |metrics| metrics.get(&differs) == Some(&1.0)).await;
    let value = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in {found:#?}"));
    assert_eq!(value("towpath_verify_open_differences"), 1.0);
    assert_eq!(value("towpath_verify_differences{kind=\"missing\"}"), 1.0);
    assert_eq!(value("towpath_verify_last_outcome{outcome=\"different\"}"), 1.0);
    assert_eq!((value("towpath_verify_rows"), value(&format!("towpath_verify_table_rows{{{table}}}"))), (3.0, 3.0));
    assert!(value("towpath_verify_runs_total{outcome=\"equal\"}") >= 1.0);
    assert!(value("towpath_verify_runs_total{outcome=\"different\"}") >= 1.0);
    assert!(value("towpath_verify_last_run_seconds") > 0.0);
    let good = value("towpath_verify_last_good_timestamp_seconds");
    assert!(good > 1e9 && good < value("towpath_verify_last_run_timestamp_seconds"));
    assert!(value("towpath_verify_next_timestamp_seconds") > good);

    // What somebody compares beside it is seen too, and a part that is equal makes nothing good.
    verify(&job, &["--tables", "*.other"]).await.expect(0, []);
    let before = job.status().await;
    let run = last(&before)["run"].as_u64().unwrap();
    job.wait_for("another comparison", |status| at_least(status, run + 2)).await;
    let found = http.wait_for("it", &job, |metrics| metrics.contains_key("towpath_verify_open_differences")).await;
    assert_eq!(found["towpath_verify_last_good_timestamp_seconds"], good);
    assert_eq!(found["towpath_verify_open_differences"], 1.0);

    change(&job, &child, "timezone: UTC", "timezone: UTC, autoCorrect: true");
    let found = http.wait_for("good again", &job, |metrics| {
        metrics.get("towpath_verify_last_good_timestamp_seconds") > Some(&good)
    });
    let found = found.await;
    assert_eq!(found["towpath_verify_open_differences"], 0.0);
    assert_eq!(found["towpath_verify_corrected_rows_total{outcome=\"sent\"}"], 1.0);
    assert_equal(source.port(), &target, &database).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    let status = job.status().await;
    assert_eq!((&status["verification"]["next"], &status["verification"]["running"]), (&Value::Null, &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_waits_for_the_copy_and_is_never_met_by_the_next_one() {
    let source = servers::mysql().await;
    let database = source.database("slow_clock").await;
    let rows: Vec<String> = (0..3000).map(|id| format!("({id})")).collect();
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES {}", rows.join(",")),
        ])
        .await;
    let target = Target::start().await;
    let http = Http::free();
    let more = format!(
        "params: {{realFlushPauseSec: 0, rateLimitRps: 5, fullBatchSize: 1000, fullParallel: 1}}\nhttp: {}\n\
         verify: {{cron: '@hourly', rateLimit: 1200}}",
        http.keys()
    );
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    let child = start(&job);
    while !job.log().contains("waits until the tables are copied") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(runs(&job).await.is_empty());
    // Each takes two seconds and a half, and there is a time every second. The first one is looked out for from before it can
    // begin.
    let runs_now =
        |metrics: &std::collections::BTreeMap<String, f64>| metrics.get("towpath_verify_running") == Some(&1.0);
    let (seen, _) =
        tokio::join!(http.wait_for("one that runs", &job, runs_now), job.command("set", &["rateLimitRps=0"]));
    assert_eq!(seen["towpath_verify_last_run_timestamp_seconds"], 0.0);
    job.wait_for("the second", |status| at_least(status, 2)).await;
    let runs = runs(&job).await;
    let met = runs.windows(2).find(|pair| pair[1].0 < pair[0].1);
    assert!(met.is_none(), "{met:?}");
    assert!(runs.iter().all(|(_, _, run)| run["outcome"] == "equal" && run["scheduled"] == true), "{runs:?}");
    http.wait_for("times left out", &job, |metrics| metrics.get("towpath_verify_skipped_total") >= Some(&2.0)).await;
    assert!(job.log().contains("the times in between were left out"));
    // In the middle of a comparison.
    http.wait_for("one that runs", &job, |metrics| metrics.get("towpath_verify_running") == Some(&1.0)).await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    assert_equal(source.port(), &target, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_written_down_and_too_many_deletes_are_left_to_somebody() {
    let source = servers::mysql().await;
    let database = source.database("clock_limit").await;
    source
        .run([
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1), (2)"),
        ])
        .await;
    let target = Target::start().await;
    let http = Http::free();
    let more = format!(
        "params: {{realFlushPauseSec: 0}}\nhttp: {}\nverify: {{cron: '@daily', tables: ['*.gone'], autoCorrect: true}}",
        http.keys()
    );
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    let child = start(&job);
    let failed = "towpath_verify_runs_total{outcome=\"failed\"}";
    http.wait_for("two failures", &job, |metrics| metrics.get(failed) >= Some(&2.0)).await;
    let status = job.status().await;
    let error = last(&status)["error"].as_str().unwrap();
    assert!(error.starts_with("verify.tables *.gone: no table of the job matches"), "{error}");
    let shown = text(&job.command("verify", &["--history"]).await);
    assert!(shown.contains("failed") && shown.contains("\n    verify.tables *.gone: no table"), "{shown}");
    let one = job.command("verify", &["--history", "--run", "1"]).await;
    assert!(one.status.code() == Some(1) && text(&one).contains("verify.tables *.gone"), "{}", text(&one));

    let extra: Vec<String> = (100..150).map(|id| format!("({id})")).collect();
    target.connect().await.query_drop(format!("INSERT INTO {database}.t VALUES {}", extra.join(", "))).await.unwrap();
    change(&job, &child, "['*.gone']", "['*.t']");
    let refused = "towpath_verify_corrections_refused_total";
    let found = http.wait_for("a refusal", &job, |metrics| metrics.get(refused) >= Some(&1.0)).await;
    assert_eq!(found["towpath_verify_differences{kind=\"extra\"}"], 50.0);
    assert_eq!(found["towpath_verify_corrected_rows_total{outcome=\"sent\"}"], 0.0);
    assert!(job.log().contains("50 rows of") && job.log().contains("would be deleted"), "{}", job.log());
    assert_eq!(target.text(&format!("SELECT count(*) FROM {database}.t")).await, "52");
    // Somebody looks, and allows it.
    let run = job.status().await["verification"]["last"]["run"].to_string();
    let mended = job.command("correct", &["--run", &run, "--yes"]).await;
    assert_eq!(mended.status.code(), Some(0), "{}", text(&mended));
    http.wait_for("good", &job, |metrics| metrics.get("towpath_verify_last_good_timestamp_seconds") > Some(&0.0)).await;
    read(&job.command("verify", &["--json"]).await).expect(0, []);
    assert!(job.stop(child).await.success(), "{}", job.log());
}
