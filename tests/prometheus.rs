//! A real Prometheus over a running job: rules, every panel's query, and alerts that fire while the target refuses loads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio::process::Child;
use towpath::embedded::fault::{Fault, Mode};

use crate::harness::{Job, Port, Target, text};
use crate::servers;

/// `tests/servers/get.sh prometheus` brings it.
fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    let program = cache.join("towpath/servers/prometheus").join(name);
    assert!(program.exists(), "`make test` or tests/servers/get.sh gets Prometheus");
    program
}

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

#[test]
fn the_alerts_are_right_by_promtool() {
    for (verb, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let run =
            Command::new(program("promtool")).args([verb, "rules", file]).current_dir(dashboards()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "promtool {verb} rules {file}: {said}");
    }
    // A firing and a quiet case for each.
    let (rules, tests) =
        ["alerts.yml", "alerts_test.yml"].map(|file| std::fs::read_to_string(dashboards().join(file)).unwrap()).into();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let quiet = tests.lines().filter(|line| line.ends_with(&format!("alertname: {alert}}}"))).count();
        let firing = tests.lines().filter(|line| line.ends_with(&format!("alertname: {alert}"))).count();
        assert!(quiet > 0 && firing > 0, "{alert}: {quiet} quiet cases, {firing} firing");
    }
}

struct Prometheus {
    port: Port,
    folder: tempfile::TempDir,
    _process: Child,
}

impl Prometheus {
    /// Scrapes the job every second; `rules` is the text of a rule file.
    fn start(job_port: u16, rules: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nscrape_configs:\n\
             - job_name: towpath\n  honor_labels: true\n  static_configs: [{{targets: ['127.0.0.1:{job_port}']}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = Port::free();
        let process = tokio::process::Command::new(program("prometheus"))
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Prometheus { port, folder, _process: process }
    }

    /// `data` of an answer; `None` while it does not answer yet.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let url =
            reqwest::Url::parse_with_params(&format!("http://127.0.0.1:{}/api/v1/{path}", self.port.number()), query)
                .unwrap();
        let answer: Value = serde_json::from_str(&reqwest::get(url).await.ok()?.text().await.ok()?).ok()?;
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        Some(answer["data"].clone())
    }

    async fn has_data(&self, query: &str) -> bool {
        let data = self.ask("query", &[("query", query)]).await;
        data.is_some_and(|data| data["result"].as_array().is_some_and(|result| !result.is_empty()))
    }

    async fn firing(&self) -> BTreeSet<String> {
        let data = self.ask("alerts", &[]).await.unwrap_or_default();
        let alerts = data["alerts"].as_array().into_iter().flatten().filter(|alert| alert["state"] == "firing");
        alerts.filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned())).collect()
    }

    async fn wait_for(&self, what: &str, reached: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if reached().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("never came to: {what}; firing: {:?}\n{log}", self.firing().await);
    }
}

/// Every query of a dashboard, for this job.
fn queries(file: &str, job: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboards().join(file)).unwrap()).unwrap();
    let targets = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .map(|target| target["expr"].as_str().unwrap().replace("$job", job).replace("$__rate_interval", "10s"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_data_and_alerts_fire_while_the_target_refuses() {
    let source = servers::mysql().await;
    let mut conn = source.connect().await;
    conn.query_drop("CREATE DATABASE scraped").await.unwrap();
    conn.query_drop("CREATE TABLE scraped.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)").await.unwrap();
    conn.query_drop("INSERT INTO scraped.t (v) VALUES (1), (2), (3)").await.unwrap();
    conn.query_drop("CREATE TABLE scraped.still (id INT PRIMARY KEY)").await.unwrap();
    conn.query_drop("INSERT INTO scraped.still VALUES (1)").await.unwrap();
    let target = Target::start().await;
    let listen = Port::free();
    let port = listen.number();
    let more = format!(
        "params: {{realFlushPauseSec: 0}}\nhttp: {{listen: '127.0.0.1:{port}'}}\nverify: {{cron: '0 3 * * *'}}"
    );
    let job = Job::new(source.port(), &target, "scraped.*", "", &more);
    let status = async || job.status().await["job"].as_str().map(str::to_owned);

    // The same rules, for a test that cannot wait for minutes.
    let mut rules = std::fs::read_to_string(dashboards().join("alerts.yml")).unwrap();
    for (slow, quick) in [
        ("for: 5m", "for: 0s"),
        ("for: 2m", "for: 0s"),
        ("for: 1m", "for: 0s"),
        ("> 60", "> 1"),
        ("> 300", "> 1"),
        ("[5m]", "[5s]"),
        ("> 20", "> 0"),
    ] {
        assert!(rules.contains(slow), "{slow}");
        rules = rules.replace(slow, quick);
    }
    let prometheus = Prometheus::start(port, &rules);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let name = status().await.unwrap();

    let writer = tokio::spawn(async move {
        loop {
            conn.query_drop("INSERT INTO scraped.t (v) VALUES (1)").await.unwrap();
            conn.query_drop("UPDATE scraped.t SET v = v + 1 ORDER BY id DESC LIMIT 3").await.unwrap();
            conn.query_drop("DELETE FROM scraped.t ORDER BY id LIMIT 1").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let compared = job.command("verify", &[]).await;
    assert!(compared.status.success(), "{}", text(&compared));
    for file in ["overview.json", "job.json"] {
        for query in queries(file, &name) {
            // Full data is long over; whether it parses is asked all the same.
            if query.contains("stage=\"full\"} == 1") {
                prometheus.ask("query", &[("query", &query)]).await;
                continue;
            }
            prometheus.wait_for(&format!("data for {query}"), || prometheus.has_data(&query)).await;
        }
    }
    let rules = prometheus.ask("rules", &[]).await.unwrap().to_string();
    assert!(rules.contains("TowpathStalled") && !rules.contains("\"health\":\"err\""), "{rules}");

    target.connect().await.query_drop("DELETE FROM scraped.still WHERE id = 1").await.unwrap();
    assert_eq!(job.command("verify", &["--tables", "*.still"]).await.status.code(), Some(3));
    let differ = async || prometheus.firing().await.contains("TowpathRowsDiffer");
    prometheus.wait_for("rows that differ", differ).await;
    let mended = job.command("correct", &[]).await;
    assert!(mended.status.success(), "{}", text(&mended));
    prometheus.wait_for("none that differ", async || !differ().await).await;

    let fault = target.inject(Fault::new(Mode::TooManyVersions { limit: 0 }));
    let stalled = ["TowpathDelayHigh", "TowpathLoadsRetried", "TowpathStalled"];
    prometheus
        .wait_for("stalled", async || {
            let firing = prometheus.firing().await;
            stalled.iter().all(|alert| firing.contains(*alert))
        })
        .await;
    target.mend(fault);
    prometheus
        .wait_for("calm again", async || {
            let firing = prometheus.firing().await;
            !firing.contains("TowpathStalled") && !firing.contains("TowpathDelayHigh")
        })
        .await;
    writer.abort();

    child.start_kill().unwrap();
    prometheus.wait_for("gone", async || prometheus.firing().await.contains("TowpathGone")).await;
}
