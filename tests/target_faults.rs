//! Every fault of the target, alone and in pairs, while an application writes: the job lives through it, and afterwards both
//! sides are equal, cell by cell.
//!
//! A load that goes in twice, or late, leaves no mark in a primary key table once a newer one is in. So an observer reads
//! the target all the time: counters that only grow at the source must never go back there.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proof;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use towpath::embedded::fault::{Fault, Mode};

use crate::harness::{Job, Target, assert_equal, connect, text};
use crate::servers::{self, Shared};

const KEYS: u32 = 200;
const COUNTERS: u32 = 5;
const PARAMS: &str = "params: {realFlushPauseSec: 0, retryWaitTimeMs: 20}";

/// A job that follows a source which is written to all the time.
struct Scene {
    source: &'static Shared,
    database: String,
    target: Target,
    job: Job,
    child: Option<Child>,
    /// Held by the writer over each transaction; whoever else holds it stops the writing.
    gate: Arc<Mutex<()>>,
    /// How often a counter at the target was seen to go back.
    steps_back: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
    /// Added so far.
    columns: u32,
    /// The job's status when both sides were equal the last time and nothing was written, as JSON and as text.
    status: (serde_json::Value, String),
}

impl Scene {
    async fn start(name: &str) -> Scene {
        let source = servers::mysql().await;
        let database = source.database(name).await;
        let mut conn = source.connect().await;
        let values: Vec<String> = (1..=COUNTERS).map(|id| format!("({id}, 0)")).collect();
        for statement in [
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT NOT NULL, name VARCHAR(40))"),
            format!("CREATE TABLE {database}.counter (id INT PRIMARY KEY, n BIGINT NOT NULL)"),
            format!("INSERT INTO {database}.counter VALUES {}", values.join(", ")),
        ] {
            conn.query_drop(statement).await.unwrap();
        }
        let target = Target::start().await;
        let job = Job::new(source.port(), &target, &format!("{database}.*"), "", PARAMS);
        let child = Some(job.start());
        job.wait_for("incremental", |status| status["stage"] == "incremental").await;
        let (gate, steps_back) = (Arc::new(Mutex::new(())), Arc::new(AtomicU64::new(0)));
        let tasks = vec![
            tokio::spawn(write(conn, database.clone(), Arc::clone(&gate))),
            tokio::spawn(observe(connect(second_fe(&target)).await, database.clone(), Arc::clone(&steps_back))),
        ];
        Scene { source, database, target, job, child, gate, steps_back, tasks, columns: 0, status: Default::default() }
    }

    /// Switches the faults on, waits until each has struck so often, switches them off and compares.
    async fn survives(&mut self, faults: &[Fault], strikes: u64) {
        let name = faults.iter().map(|fault| format!("{:?}", fault.mode)).collect::<Vec<_>>().join(" + ");
        let back = self.steps_back.load(Ordering::Relaxed);
        let ids: Vec<u64> = faults.iter().map(|fault| self.target.inject(fault.clone())).collect();
        let began = Instant::now();
        while self.target.server.faults().iter().any(|fault| fault.struck < strikes) {
            self.still_runs(&name);
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{name} never struck {strikes} times\n{}",
                self.job.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let struck: Vec<String> = ids.iter().map(|id| self.target.mend(*id).to_string()).collect();
        let found = self.compare(&name, back).await;
        println!("{name}: struck {} times, {found}", struck.join(" + "));
    }

    /// A column comes while the first FE cannot serve. (A job that has left it stays with the other: it begins anew.)
    async fn alters_while(&mut self, mode: Mode) {
        self.restart().await;
        self.columns += 1;
        let (column, back) = (format!("more{}", self.columns), self.steps_back.load(Ordering::Relaxed));
        let fault = self.target.inject(always(mode.clone()));
        self.source.run([format!("ALTER TABLE {}.t ADD COLUMN {column} INT DEFAULT 7", self.database)]).await;
        let shown = format!("SELECT COUNT(*) FROM information_schema.columns WHERE COLUMN_NAME = '{column}'");
        let mut target = connect(second_fe(&self.target)).await;
        while target.query_first::<u64, _>(&shown).await.unwrap() != Some(1) {
            self.still_runs("an ALTER");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.compare(&format!("{mode:?}"), back).await;
        assert!(self.target.mend(fault) > 0, "{mode:?} never struck");
    }

    /// Stops the writing and expects both sides to become equal, and no counter to have gone back since there were `back`
    /// such steps. Says what it found.
    async fn compare(&mut self, after: &str, back: u64) -> String {
        let quiet = Arc::clone(&self.gate).lock_owned().await;
        let report = self.report().await;
        self.status = (self.job.status().await, text(&self.job.command("status", &[]).await));
        drop(quiet);
        let sum = |count: fn(&proof::TableReport) -> u64| report.tables.iter().map(count).sum::<u64>();
        let (lost, extra, wrong) = (sum(|table| table.missing), sum(|table| table.extra), sum(|table| table.different));
        let back = self.steps_back.load(Ordering::Relaxed) - back;
        let found = format!("{lost} lost, {extra} doubled, {wrong} wrong, {back} steps back");
        assert!(report.equal() && back == 0, "after {after}: {found}\n{report}\n{}", self.job.log());
        found
    }

    /// Compares until both sides are equal, or for a minute.
    async fn report(&mut self) -> proof::Report {
        let options = |port: u16| {
            let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("root"));
            mysql_async::Opts::from(options)
        };
        let (source, target) = (options(self.source.port()), options(second_fe(&self.target)));
        let pairs = ["t", "counter"].map(|table| proof::Pair::same(&self.database, table));
        let began = Instant::now();
        loop {
            let report = proof::compare(&source, &target, &pairs, &proof::Options::default()).await.unwrap();
            if report.equal() || began.elapsed() > Duration::from_secs(60) {
                return report;
            }
            self.still_runs("catching up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn still_runs(&mut self, during: &str) {
        let child = self.child.as_mut().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the job has ended during {during}\n{}", self.job.log());
    }

    /// Ends the job and starts it again.
    async fn restart(&mut self) {
        self.stop().await;
        self.child = Some(self.job.start());
        self.job.wait_for("running", |status| status["running"] == true).await;
    }

    async fn stop(&mut self) {
        let status = self.job.stop(self.child.take().unwrap()).await;
        assert!(status.success(), "{}", self.job.log());
    }

    async fn end(mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.stop().await;
    }
}

/// The port of the FE that no fault is about.
fn second_fe(target: &Target) -> u16 {
    target.server.second_mysql_addr.unwrap().port()
}

/// The end of a job that ends by itself.
async fn ended(mut child: Child) -> ExitStatus {
    tokio::time::timeout(Duration::from_secs(120), child.wait()).await.expect("the job goes on").unwrap()
}

/// Rows that come, change, change their key, and go and come again in one transaction; and a counter with each.
async fn write(mut conn: Conn, database: String, gate: Arc<Mutex<()>>) {
    let mut random = StdRng::seed_from_u64(7);
    let mut number = 0;
    loop {
        let quiet = gate.lock().await;
        number += 1;
        let (id, other, counter) =
            (random.random_range(1..=KEYS), random.random_range(1..=KEYS), random.random_range(1..=COUNTERS));
        let statements = [
            "BEGIN".to_owned(),
            format!(
                "INSERT INTO {database}.t (id, v, name) VALUES ({id}, {number}, 'new') ON DUPLICATE KEY UPDATE v = {number}"
            ),
            format!("UPDATE IGNORE {database}.t SET id = {other}, name = 'moved' WHERE id = {id}"),
            format!("DELETE FROM {database}.t WHERE id = {}", (id + 7) % KEYS),
            format!("DELETE FROM {database}.t WHERE id = {}", (id + 11) % KEYS),
            format!("INSERT INTO {database}.t (id, v, name) VALUES ({}, {number}, 'again')", (id + 11) % KEYS),
            format!("UPDATE {database}.counter SET n = n + 1 WHERE id = {counter}"),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            conn.query_drop(statement).await.unwrap();
        }
        drop(quiet);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn observe(mut conn: Conn, database: String, steps_back: Arc<AtomicU64>) {
    let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
    loop {
        let rows: Vec<(u32, u64)> = conn.query(format!("SELECT id, n FROM {database}.counter")).await.unwrap();
        for (id, n) in rows {
            if seen.insert(id, n).is_some_and(|before| before > n) {
                steps_back.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn always(mode: Mode) -> Fault {
    Fault::new(mode)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_tell_the_truth_lose_and_double_nothing() {
    let mut scene = Scene::start("answers").await;
    scene.survives(&[always(Mode::AnswerLost)], 5).await;
    for lands in [true, false] {
        scene.survives(&[Fault::new(Mode::LabelRunning { for_ms: 150, lands }).every(2)], 2).await;
        scene.survives(&[Fault::new(Mode::StatusUnknown { for_ms: 150, lands }).every(2)], 2).await;
    }
    scene.survives(&[always(Mode::PublishTimeout { visible_after_ms: 200 })], 3).await;
    scene.survives(&[always(Mode::LabelsForgotten { keep: 0 })], 20).await;
    scene.survives(&[always(Mode::AnswerLost), always(Mode::LabelsForgotten { keep: 0 })], 3).await;
    scene.survives(&[Fault::new(Mode::AnswerLost).every(2), always(Mode::SlowFe { ms: 60 })], 3).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_target_are_waited_for() {
    let mut scene = Scene::start("limits").await;
    scene.survives(&[always(Mode::DeletesAfterUpserts)], 20).await;
    scene.survives(&[always(Mode::DiskFull)], 6).await;
    scene.survives(&[always(Mode::NoBackend)], 6).await;
    for (mode, reason) in [
        (Mode::TooManyVersions { limit: 0 }, "too many versions of a tablet"),
        (Mode::TooManyTransactions { limit: 0 }, "too many running transactions"),
        (Mode::MemoryLimit, "too little memory"),
    ] {
        scene.survives(&[always(mode)], 6).await;
        let (status, text) = &scene.status;
        let pause = &status["widenedPause"];
        assert!(pause["reason"] == reason && pause["seconds"].as_f64() >= Some(2.0), "{pause}");
        assert!(text.contains(&format!("s between epochs: the target has {reason}")), "{text}");
        let told = format!("the target has {reason}: 2 s between epochs now");
        assert_eq!(scene.job.log().matches(&told).count(), 1, "{}", scene.job.log());
        // A new run begins with the job file's pause.
        scene.restart().await;
        scene.job.wait_for("a pause as ever", |status| status["widenedPause"].is_null()).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_go_and_ways_that_change_lose_nothing() {
    let mut scene = Scene::start("ways").await;
    // By requests, not by a time in which a busy machine sends fewer than are waited for.
    let killed = || Fault::new(Mode::BeGone).times(3);
    let cut_off = || Fault::new(Mode::LabelRunning { for_ms: 150, lands: true }).every(2);
    scene.survives(&[killed()], 3).await;
    scene.survives(&[always(Mode::UnresolvableBe)], 3).await;
    assert!(scene.job.log().contains("target.hostMap: {'be-0.cluster.invalid:"), "{}", scene.job.log());
    scene.survives(&[always(Mode::SlowFe { ms: 100 })], 3).await;
    scene.survives(&[always(Mode::SlowBe { ms: 100 })], 3).await;
    scene.survives(&[always(Mode::ResetInBody)], 4).await;
    scene.survives(&[always(Mode::LeaderElsewhere)], 5).await;
    scene.survives(&[always(Mode::LeaderElsewhere), Fault::new(Mode::AnswerLost).every(2)], 3).await;
    scene.survives(&[killed(), cut_off()], 2).await;
    // Once is enough: the job turns to the second FE and leaves the first alone for a while.
    scene.survives(&[always(Mode::FeGone), cut_off()], 1).await;
    scene.alters_while(Mode::SqlGone).await;
    scene.alters_while(Mode::LeaderLost { carried_out: false }).await;
    scene.alters_while(Mode::LeaderLost { carried_out: true }).await;
    scene.end().await;
}

/// With `strategyOnError: exit` a refused row ends the job; what was refused is told, and nothing else is lost.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_stop_the_job_and_the_next_run_has_them() {
    let mut scene = Scene::start("refused").await;
    let values = (1..=20).map(|value: u32| value.to_string()).collect();
    let table = format!("{}.counter", scene.database);
    let fault = scene.target.inject(Fault::new(Mode::FilteredValues { column: "n".into(), values }).table(&table));
    let status = ended(scene.child.take().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    let log = scene.job.log();
    assert!(
        log.contains("the target refuses the row with key") && log.contains("The column is 'n' of table 'counter'"),
        "{log}"
    );
    assert!(scene.target.mend(fault) > 0);
    scene.child = Some(scene.job.start());
    scene.compare("refused rows", 0).await;
    scene.end().await;
}

/// A load runs on at the target when the user is taken away: its fate cannot be asked for any more. The job stops instead
/// of going on past it, and with the user back the next run finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_to_tell_a_loads_fate_stops_the_job_and_nothing_is_lost() {
    let source = servers::mysql().await;
    let database = source.database("locked_out").await;
    source.run([format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")]).await;
    let target = Target::start().await;
    let mut admin = target.connect().await;
    let user = [
        "CREATE USER 'app'@'%' IDENTIFIED BY 'right'".to_owned(),
        "GRANT ALL ON ALL TABLES IN ALL DATABASES TO USER 'app'@'%'".to_owned(),
        format!("GRANT CREATE TABLE ON DATABASE {database} TO USER 'app'@'%'"),
    ];
    admin.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    for statement in &user {
        admin.query_drop(statement).await.unwrap();
    }
    let job = Job::new(
        source.port(),
        &target,
        &format!("{database}.*"),
        "",
        "params: {realFlushPauseSec: 0, soTimeoutSec: 1}",
    );
    let text = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), text.replace("  username: root\n", "  username: app\n  password: right\n")).unwrap();
    let child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    target.inject(Fault::new(Mode::LabelRunning { for_ms: 4000, lands: true }).times(1));
    source.run([format!("INSERT INTO {database}.t VALUES (1)")]).await;
    while target.server.faults()[0].struck == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admin.query_drop("DROP USER 'app'@'%'").await.unwrap();
    assert_eq!(ended(child).await.code(), Some(1), "{}", job.log());
    let log = job.log();
    assert!(log.contains("whether it is in is not known") && log.contains("Access denied for app@"), "{log}");
    assert!(!job.status().await["openEpoch"].is_null(), "its label is kept");
    source.run([format!("INSERT INTO {database}.t VALUES (2)")]).await;
    for statement in &user {
        admin.query_drop(statement).await.unwrap();
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}
