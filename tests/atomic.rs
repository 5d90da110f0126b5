//! `atomicTransactions`: a reader of the target never sees half a transaction of the source.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use towpath::embedded::fault::{Fault, Mode};
use towpath::target::Version;

use crate::harness::{Job, Target, assert_equal, connect, text};
use crate::servers;

const ACCOUNTS: i64 = 20;
/// In both tables together.
const MONEY: i64 = 2 * ACCOUNTS * 100;

async fn target() -> Target {
    Target::with(|options| options.version = Version { major: 4, minor: 0, patch: 0 }).await
}

/// Two tables of accounts; money moves from one to the other.
async fn bank(conn: &mut Conn, database: &str) {
    for table in ["checking", "savings"] {
        let rows: Vec<String> = (1..=ACCOUNTS).map(|id| format!("({id}, 100, 0)")).collect();
        conn.query_drop(format!(
            "CREATE TABLE {database}.{table} (id INT PRIMARY KEY, balance BIGINT NOT NULL, moves INT NOT NULL);
             INSERT INTO {database}.{table} VALUES {}",
            rows.join(",")
        ))
        .await
        .unwrap();
    }
}

async fn transfer(conn: &mut Conn, database: &str, random: &mut StdRng) -> mysql_async::Result<()> {
    let (from, to, amount) =
        (random.random_range(1..=ACCOUNTS), random.random_range(1..=ACCOUNTS), random.random_range(-50..=50));
    conn.query_drop("BEGIN").await?;
    conn.query_drop(format!(
        "UPDATE {database}.checking SET balance = balance - {amount}, moves = moves + 1 WHERE id = {from}"
    ))
    .await?;
    conn.query_drop(format!(
        "UPDATE {database}.savings SET balance = balance + {amount}, moves = moves + 1 WHERE id = {to}"
    ))
    .await?;
    conn.query_drop("COMMIT").await
}

/// The money in both tables, and how often it has moved in each: one look.
async fn look(conn: &mut Conn, database: &str) -> (i64, i64, i64) {
    conn.query_first(format!(
        "SELECT (SELECT SUM(balance) FROM {database}.checking) + (SELECT SUM(balance) FROM {database}.savings),
                (SELECT SUM(moves) FROM {database}.checking), (SELECT SUM(moves) FROM {database}.savings)"
    ))
    .await
    .unwrap()
    .unwrap()
}

/// Looks on and on until it is stopped, and counts in `seen` how many different states there were.
fn reader(port: u16, database: String, stop: Arc<AtomicBool>, seen: Arc<AtomicUsize>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut conn = connect(port).await;
        let mut states = HashSet::new();
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            let (money, out, into) = look(&mut conn, &database).await;
            assert_eq!((money, out), (MONEY, into), "after {} states", states.len());
            assert!(out >= last, "it went back from {last} moves to {out}");
            last = out;
            states.insert(out);
            seen.store(states.len(), Ordering::Relaxed);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_finds_the_sum_constant_while_money_moves_and_the_job_is_killed() {
    let source = servers::mysql().await;
    let database = source.database("bank").await;
    bank(&mut source.connect().await, &database).await;
    let target = target().await;
    let params = "atomicTransactions: true\nparams: {realFlushPauseSec: 0, retryWaitTimeMs: 20}";
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", params);
    job.run_to_end().await;

    // Commits whose answer is lost, and some that take their time.
    let faults = [
        target.inject(Fault::new(Mode::AnswerLost).every(5)),
        target.inject(Fault::new(Mode::LabelRunning { for_ms: 150, lands: true }).every(11)),
        target.inject(Fault::new(Mode::LabelRunning { for_ms: 100, lands: false }).every(13)),
        target.inject(Fault::new(Mode::ResetInBody).every(23)),
        target.inject(Fault::new(Mode::PublishTimeout { visible_after_ms: 60 }).every(17)),
        target.inject(Fault::new(Mode::LeaderElsewhere).every(3)),
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let states = Arc::new(AtomicUsize::new(0));
    let reader = reader(target.server.mysql_addr.port(), database.clone(), Arc::clone(&stop), Arc::clone(&states));
    let writers: Vec<_> = (0..4)
        .map(|seed| {
            let (database, stop, port) = (database.clone(), Arc::clone(&stop), source.port());
            tokio::spawn(async move {
                let (mut conn, mut random) = (connect(port).await, StdRng::seed_from_u64(seed));
                while !stop.load(Ordering::Relaxed) {
                    if transfer(&mut conn, &database, &mut random).await.is_err() {
                        conn.query_drop("ROLLBACK").await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let mut random = StdRng::seed_from_u64(9);
    // On a busy machine a run may bring in no more than one epoch before it is killed.
    let lost = || target.server.faults().iter().any(|fault| fault.id == faults[0] && fault.struck > 0);
    let shows_enough = || states.load(Ordering::Relaxed) > 12 && lost();
    let mut round = 0;
    while round < 6 || !shows_enough() {
        assert!(round < 60, "the reader has seen {} states only\n{}", states.load(Ordering::Relaxed), job.log());
        // A BE that is killed loses what it holds; an FE that hangs up answers no commit.
        let gone = if round % 2 == 0 { Mode::BeGone } else { Mode::FeGone };
        target.inject(Fault::new(gone).lasting(Duration::from_millis(150)));
        let before = job.status().await["rowsLoaded"].as_u64();
        let mut child = job.start();
        job.wait_for("rows", |status| status["rowsLoaded"].as_u64() > before).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        child.kill().await.unwrap();
        round += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    reader.await.unwrap();
    for fault in faults {
        target.mend(fault);
    }
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}

/// Stands before the FE and passes requests on, one a connection, until one is the awaited step.
struct Gate {
    port: u16,
    armed: Arc<Mutex<Option<Armed>>>,
    /// `commit <label>` and the answer's text, for every call of the transaction interface.
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The request is held back, and passed on when the gate is released: a straggler.
    Before,
    /// The FE has done it; its answer is held back for ever.
    After,
}

struct Armed {
    step: String,
    moment: Moment,
    reached: oneshot::Sender<()>,
    release: oneshot::Receiver<()>,
}

impl Gate {
    async fn start(fe_port: u16) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Gate { port: listener.local_addr().unwrap().port(), armed: Arc::default(), calls: Arc::default() };
        let (armed, calls) = (Arc::clone(&gate.armed), Arc::clone(&gate.calls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, fe_port, Arc::clone(&armed), Arc::clone(&calls)));
            }
        });
        gate
    }

    /// Waits for the next request whose head has `step` in it.
    fn arm(&self, step: String, moment: Moment) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((reached, is_reached), (released, release)) = (oneshot::channel(), oneshot::channel());
        *self.armed.lock().unwrap() = Some(Armed { step, moment, reached, release });
        (is_reached, released)
    }

    fn commits(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(call, _)| call.starts_with("commit")).map(|(_, answer)| answer.clone()).collect()
    }
}

async fn pass(
    mut client: TcpStream,
    fe_port: u16,
    armed: Arc<Mutex<Option<Armed>>>,
    calls: Arc<Mutex<Vec<(String, String)>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut met = None;
    {
        let mut armed = armed.lock().unwrap();
        if armed.as_ref().is_some_and(|armed| head.contains(&armed.step)) {
            met = armed.take();
        }
    }
    if let Some(Armed { moment: Moment::Before, .. }) = &met
        && let Some(Armed { reached, release, .. }) = met.take()
    {
        reached.send(()).unwrap();
        let _ = release.await;
    }
    let mut fe = TcpStream::connect(("127.0.0.1", fe_port)).await.unwrap();
    let asked = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    fe.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = fe.read_to_end(&mut answer).await;
    if let Some((_, rest)) = head.split_once("/api/transaction/") {
        let op = rest.split(' ').next().unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        calls.lock().unwrap().push((op.to_owned(), body.to_owned()));
    }
    if let Some(Armed { reached, release, .. }) = met {
        reached.send(()).unwrap();
        let _ = release.await;
        return;
    }
    let _ = client.write_all(&answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_killed_at_any_step_of_a_transaction_leaves_all_of_it_or_nothing() {
    let source = servers::mysql().await;
    let database = source.database("steps").await;
    let mut conn = source.connect().await;
    bank(&mut conn, &database).await;
    let target = target().await;
    let gate = Gate::start(target.server.fe_addr.port()).await;
    let job = Job::from_text(&format!(
        "name: {database}
source: {{host: 127.0.0.1, port: {}, username: root, tables: ['{database}.*'], timezone: '+00:00'}}
target: {{clientAddress: '127.0.0.1:{}', httpAddress: '127.0.0.1:{}'}}
atomicTransactions: true
params: {{realFlushPauseSec: 0, retryWaitTimeMs: 20}}
",
        source.port(),
        target.server.mysql_addr.port(),
        gate.port
    ));
    job.run_to_end().await;
    let mut reader = target.connect().await;
    let mut random = StdRng::seed_from_u64(1);
    let mut moves = 0;
    // The state is asked for after the commit and before the checkpoint.
    let steps = [
        ("/api/transaction/begin", Moment::After, false),
        ("/api/transaction/load", Moment::After, false),
        ("/api/transaction/commit", Moment::Before, false),
        ("/api/transaction/commit", Moment::After, true),
        ("get_load_state", Moment::After, true),
    ];
    for (step, moment, is_in) in steps {
        let at = format!("{moment:?} {step}");
        gate.calls.lock().unwrap().clear();
        let mut child = job.start();
        job.wait_for("incremental", |status| status["running"] == true && status["stage"] == "incremental").await;
        // Pre-flight asks for states too, of another label.
        let step = if step == "get_load_state" { format!("{step}?label=towpath_{database}_") } else { step.to_owned() };
        let (reached, release) = gate.arm(step, moment);
        transfer(&mut conn, &database, &mut random).await.unwrap();
        let met = tokio::time::timeout(Duration::from_secs(60), reached).await;
        met.unwrap_or_else(|_| panic!("{at}: never reached\n{}", job.log())).unwrap();
        child.kill().await.unwrap();
        assert_eq!(
            look(&mut reader, &database).await,
            (MONEY, moves + i64::from(is_in), moves + i64::from(is_in)),
            "{at}"
        );
        moves += 1;

        job.run_to_end().await;
        assert_eq!(look(&mut reader, &database).await, (MONEY, moves, moves), "{at}");
        // What was held back comes now, behind newer rows: it must do nothing.
        transfer(&mut conn, &database, &mut random).await.unwrap();
        moves += 1;
        job.run_to_end().await;
        let known = gate.commits().len();
        release.send(()).unwrap();
        if moment == Moment::Before {
            while gate.commits().len() == known {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(gate.commits()[known].contains("Can not commit CANCELLED"), "{at}: {:?}", gate.commits());
        }
        assert_eq!(look(&mut reader, &database).await, (MONEY, moves, moves), "{at}");
        let good = gate.commits().iter().filter(|answer| answer.contains(r#""Status":"OK""#)).count();
        assert_eq!(good, 2, "{at}: each transfer goes in once: {:?}", gate.commits());
    }
    assert_equal(source.port(), &target, &database).await;
}

async fn refused(job: &Job, expected: &[&str]) {
    for command in ["check", "run"] {
        let output = job.command(command, &[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        for words in expected {
            assert!(text(&output).contains(words), "{command}: {words:?} is not in\n{}", text(&output));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_share_a_transaction_is_refused_by_check_and_run() {
    let source = servers::mysql().await;
    let (one, two) = (source.database("one").await, source.database("two").await);
    source
        .run([
            format!("CREATE TABLE {one}.t (id INT PRIMARY KEY)"),
            format!("CREATE TABLE {two}.t (id INT PRIMARY KEY, `größe` INT)"),
        ])
        .await;
    let old = Target::start().await;
    let job = Job::new(source.port(), &old, &format!("{one}.*"), "", "atomicTransactions: true");
    refused(&job, &["atomicTransactions needs StarRocks 4.0.0 or later", "is 3.5.0"]).await;

    let target = target().await;
    let (mysql, be) = (target.server.mysql_addr.port(), target.server.be_addr.port());
    let job = Job::from_text(&format!(
        "name: refused
source: {{host: 127.0.0.1, port: {}, username: root, tables: ['{one}.*', '{two}.*']}}
target: {{clientAddress: '127.0.0.1:{mysql}', httpAddress: '127.0.0.1:{be}'}}
atomicTransactions: true
",
        source.port(),
    ));
    let databases = format!("this job has 2: {one}, {two}");
    refused(&job, &[&databases, "target.databases", "größe", &format!("127.0.0.1:{be} is no FE")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_memory_stops_the_job_before_anything_of_it_shows() {
    let source = servers::mysql().await;
    let database = source.database("large").await;
    let mut conn = source.connect().await;
    for table in ["a", "b"] {
        conn.query_drop(format!("CREATE TABLE {database}.{table} (id INT PRIMARY KEY, v TEXT)")).await.unwrap();
    }
    let target = target().await;
    let size = |megabytes: u32| {
        format!(
            "atomicTransactions: true\nparams: {{realFlushPauseSec: 0, flushBatchMb: 1, totalDataInMemMb: {megabytes}}}"
        )
    };
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &size(8));
    job.run_to_end().await;
    // Rows that CSV cannot carry beside rows that it can, in several parts.
    conn.query_drop(format!(
        "BEGIN; INSERT INTO {database}.a VALUES (1, 'plain'), (2, 'one\x01two'), (3, '\\\\N');
         INSERT INTO {database}.b VALUES (1, REPEAT('b', 20000)); COMMIT"
    ))
    .await
    .unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;

    let rows: Vec<String> = (10..110).map(|id| format!("({id}, REPEAT('x', 20000))")).collect();
    conn.query_drop(format!(
        "BEGIN; INSERT INTO {database}.a VALUES {rows}; INSERT INTO {database}.b VALUES {rows}; COMMIT",
        rows = rows.join(",")
    ))
    .await
    .unwrap();
    let output = job.command("run", &["--stop-at-end"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("do not fit into memory"), "{}", text(&output));
    assert_eq!(target.text(&format!("SELECT COUNT(*) FROM {database}.a")).await, "3");

    // With room for it, the same job goes on, in parts of 1 MB.
    let config = std::fs::read_to_string(job.path()).unwrap();
    std::fs::write(job.path(), config.replace("totalDataInMemMb: 8", "totalDataInMemMb: 256")).unwrap();
    job.run_to_end().await;
    assert_equal(source.port(), &target, &database).await;
}
