//! What a running job shows over HTTP, scraped while it copies, follows, idles and loses its source.

mod families;

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::demo::server::{Options, Product, ScratchServer};

use crate::harness::{Job, Port, Target, assert_equal};
use crate::servers;

const TOKEN: &str = "planted-token-of-the-metrics-test";

/// The HTTP server of one job.
pub(crate) struct Http {
    port: Port,
}

impl Http {
    /// On a port that nobody has.
    pub(crate) fn free() -> Http {
        Http { port: Port::free() }
    }

    /// What the job file has under `http`.
    pub(crate) fn keys(&self) -> String {
        self.keys_and("")
    }

    /// And more of it: `, maxDelaySec: 30`.
    fn keys_and(&self, more: &str) -> String {
        format!("{{listen: '127.0.0.1:{}', token: {TOKEN}{more}}}", self.port.number())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port.number());
        let asked = reqwest::Client::new().get(url).header("Authorization", format!("Bearer {TOKEN}"));
        match asked.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(_) => (0, String::new()),
        }
    }

    /// Series, with their labels but the job's, and values.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let (code, text) = self.get("/metrics").await;
        // Not listening yet, or the state store is just being made.
        if code != 200 {
            return BTreeMap::new();
        }
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let plain = |name: &str| {
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let labels: Vec<&str> = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.starts_with("job=") && !label.is_empty())
                .collect();
            if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
        };
        series.map(|(name, value)| (plain(name), value.parse().unwrap())).collect()
    }

    pub(crate) async fn wait_for(
        &self,
        what: &str,
        job: &Job,
        reached: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> BTreeMap<String, f64> {
        for _ in 0..1200 {
            let metrics = self.metrics().await;
            if reached(&metrics) {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never came to: {what}\n{:#?}\n{}", self.metrics().await, job.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_a_job_through_its_stages() {
    let source = servers::mysql().await;
    let mut conn = source.connect().await;
    conn.query_drop("CREATE DATABASE metrics_stages").await.unwrap();
    conn.query_drop("CREATE TABLE metrics_stages.t (id INT PRIMARY KEY, v VARCHAR(20))").await.unwrap();
    conn.query_drop("INSERT INTO metrics_stages.t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await.unwrap();
    let target = Target::start().await;
    let http = Http::free();
    let more = format!("params: {{realFlushPauseSec: 0}}\nhttp: {}", http.keys_and(", maxDelaySec: 30"));
    let job = Job::new(source.port(), &target, "metrics_stages.*", "", &more);
    let child = job.start();
    http.wait_for("incremental", &job, |metrics| metrics.get("towpath_stage{stage=\"incremental\"}") == Some(&1.0))
        .await;

    conn.query_drop("INSERT INTO metrics_stages.t VALUES (4, 'd')").await.unwrap();
    conn.query_drop("UPDATE metrics_stages.t SET v = 'x' WHERE id < 3").await.unwrap();
    conn.query_drop("DELETE FROM metrics_stages.t WHERE id = 3").await.unwrap();
    // And all that is told of its epoch, which is counted one after the other.
    let metrics = http
        .wait_for("the delete", &job, |metrics| {
            let epochs = metrics.get("towpath_epochs_total");
            metrics.get("towpath_rows_read_total{operation=\"delete\"}") == Some(&1.0)
                && metrics.get("towpath_commit_to_visible_seconds_count") == epochs
                && metrics.get("towpath_epoch_phase_seconds_count{phase=\"checkpoint\"}") >= epochs
                && metrics.get("towpath_delay_seconds") == Some(&0.0)
        })
        .await;
    let value = |name: &str| *metrics.get(name).unwrap_or_else(|| panic!("no {name} in {metrics:#?}"));
    assert_eq!(value("towpath_rows_read_total{operation=\"insert\"}"), 1.0);
    assert_eq!(value("towpath_rows_read_total{operation=\"update\"}"), 2.0);
    assert_eq!(value("towpath_full_rows"), 3.0);
    assert_eq!(value("towpath_full_table_rows{table=\"metrics_stages.t\"}"), 3.0);
    assert_eq!((value("towpath_full_tables"), value("towpath_full_tables_done")), (1.0, 1.0));
    assert!((1.0..=4.0).contains(&value("towpath_rows_loaded_total")));
    let epochs = value("towpath_epochs_total");
    assert!((1.0..=3.0).contains(&epochs));
    // One load of the copy, and one an epoch.
    assert_eq!(value("towpath_stream_loads_total{result=\"success\"}"), 1.0 + epochs);
    assert_eq!(value("towpath_stream_load_seconds_count"), 1.0 + epochs);
    assert_eq!(value("towpath_commit_to_visible_seconds_count"), epochs);
    assert_eq!(value("towpath_stream_load_publish_seconds_count"), 1.0 + epochs);
    assert!((0.0..60.0).contains(&value("towpath_source_behind_seconds")));
    for phase in ["encode", "intent", "send", "checkpoint"] {
        assert!(value(&format!("towpath_epoch_phase_seconds_count{{phase=\"{phase}\"}}")) >= epochs, "{phase}");
    }
    assert!(value("towpath_loaded_bytes_total") > 10.0);
    assert_eq!(value("towpath_ring_capacity_slots"), 4096.0);
    assert!(value("towpath_memory_budget_bytes") > 1e6);
    assert_eq!(value("towpath_delay_seconds"), 0.0);
    assert!(value("towpath_source_silence_seconds") < 30.0);
    assert!(value("towpath_binlog_position_bytes") > 4.0);
    assert_eq!(http.get("/readyz").await, (200, "ready\n".to_owned()));

    let (code, status) = http.get("/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["stage"], &status["running"]), (200, &"incremental".into(), &true.into()));
    assert_eq!(status["deletes"], 1);
    assert!(job.stop(child).await.success());
    assert!(!job.log().contains(TOKEN));
    assert_equal(source.port(), &target, "metrics_stages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_source_is_gone_is_not_ready() {
    let mut source = ScratchServer::start(&Options::new(Product::Mysql)).await.unwrap();
    let mut conn = source.connect().await.unwrap();
    conn.query_drop("CREATE DATABASE d").await.unwrap();
    conn.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").await.unwrap();
    let target = Target::start().await;
    let http = Http::free();
    let more = format!("params: {{realFlushPauseSec: 0}}\nhttp: {}", http.keys_and(", maxDelaySec: 1.5"));
    let job = Job::new(source.port(), &target, "d.*", "", &more);
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    conn.query_drop("INSERT INTO d.t VALUES (1)").await.unwrap();
    http.wait_for("a row", &job, |metrics| metrics.get("towpath_rows_loaded_total") == Some(&1.0)).await;
    source.kill();
    http.wait_for("silence", &job, |metrics| metrics.get("towpath_source_silence_seconds") > Some(&1.5)).await;
    // What lay behind the checkpoint still does, and the target is no fresher than it was.
    let gone = http.wait_for("age", &job, |metrics| metrics.get("towpath_source_behind_seconds") > Some(&1.5)).await;
    assert!(gone["towpath_source_behind_bytes"] >= 0.0, "{gone:#?}");
    let (code, reason) = http.get("/readyz").await;
    assert!(code == 503 && reason.starts_with("the source has sent nothing for "), "{code} {reason}");
    assert_eq!(http.get("/healthz").await.0, 200);
    assert!(job.stop(child).await.success(), "{}", job.log());
}
