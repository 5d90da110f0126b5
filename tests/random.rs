//! Random tables, rows and transactions through the whole job, which is stopped and killed meanwhile, and the proof.
//!
//! A case follows from its seed: the tables, the statements, the job's parameters, and where it is stopped. Only the
//! moment of a kill is the machine's. Statements may fail at the source, as an application's do.
//!
//! - `TOWPATH_SEED=7 cargo test --test it random` repeats one case.
//! - `TOWPATH_SOAK_SECONDS=600 …`, or `make soak`, runs new cases until the time is over.
//!
//! Not generated, because they are limits that the README states: values longer than 1,048,576 bytes, keys longer than
//! 128 bytes, XA transactions, schema changes, foreign keys that cascade; of zero dates in NOT NULL columns those that have
//! no replacement, and in keys those of which only one could have it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::proof;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use towpath::demo::server::{Options, Product, ScratchServer};

use crate::harness::{Job, Target, assert_equal_by};

mod schema;
mod statements;
mod values;

use schema::Table;

/// Seeds that failed once.
const FORMER: &[u64] = &[];
/// Seeds of an ordinary test run.
const ORDINARY: std::ops::RangeInclusive<u64> = 1..=3;

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_random_tables_of_mysql() {
    run(Product::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_random_tables_of_mariadb() {
    run(Product::Mariadb).await;
}

async fn run(product: Product) {
    // Cases change global settings, so the server is no other test's. Logs and row events are small: many seams.
    let mut options =
        Options::new(product).argument("--max-binlog-size=65536").argument("--binlog-row-event-max-size=512");
    if product == Product::Mariadb {
        options = options.argument("--log-bin-compress-min-len=10");
    }
    let server = ScratchServer::start(&options).await.unwrap();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("TOWPATH_SEED") {
        case(&server, seed).await;
    } else if let Some(seconds) = number("TOWPATH_SOAK_SECONDS") {
        let start = Instant::now();
        let (mut cases, mut seed) = (0, u64::from(rand::random::<u32>()) << 20);
        while start.elapsed().as_secs() < seconds {
            case(&server, seed).await;
            (cases, seed) = (cases + 1, seed + 1);
            if cases % 10 == 0 {
                eprintln!("{product:?}: {cases} cases in {} s", start.elapsed().as_secs());
            }
        }
        eprintln!("{product:?}: {cases} cases, all equal");
    } else {
        for seed in FORMER.iter().copied().chain(ORDINARY) {
            case(&server, seed).await;
        }
    }
}

/// What a case did; it is told when the case fails.
struct Story {
    product: Product,
    seed: u64,
    statements: Vec<String>,
    failed: usize,
}

impl Story {
    async fn run(&mut self, conn: &mut Conn, statement: &str) {
        let ended = match conn.query_drop(statement).await {
            Ok(()) => "",
            Err(mysql_async::Error::Server(error)) => {
                self.failed += 1;
                &format!(" -- {error}")
            }
            Err(error) => panic!("{statement}: {error}"),
        };
        self.statements.push(format!("{statement};{ended}"));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{:?}-{}.sql", self.product, self.seed));
            let written = fs::write(&file, self.statements.join("\n"));
            eprintln!(
                "{:?} failed: TOWPATH_SEED={} repeats it; its statements are in {} {written:?}",
                self.product,
                self.seed,
                file.display()
            );
        }
    }
}

async fn case(server: &ScratchServer, seed: u64) {
    let (product, port) = (server.product(), server.port());
    let mut random = StdRng::seed_from_u64(seed);
    let random = &mut random;
    let mut story = Story { product, seed, statements: Vec::new(), failed: 0 };
    let database = format!("random_{seed}");
    let mut conn = server.connect().await.unwrap();
    conn.query_drop(format!("CREATE DATABASE {database}")).await.unwrap();
    conn.query_drop(format!("USE {database}")).await.unwrap();
    conn.query_drop("SET NAMES utf8mb4").await.unwrap();

    let settings = Settings::random(random);
    let replaced = settings.proof.zero_date.is_some();
    let tables: Vec<Table> = (0..random.random_range(1..=3))
        .map(|number| Table::random(random, product, &database, number, replaced))
        .collect();
    for table in &tables {
        if product == Product::Mariadb {
            let format = if random.random_bool(0.2) { "OFF" } else { "ON" };
            story.run(&mut conn, &format!("SET GLOBAL mysql56_temporal_format = {format}")).await;
        }
        story.run(&mut conn, &table.ddl).await;
        assert_eq!(story.failed, 0, "{}", story.statements.join("\n"));
    }
    for _ in 0..random.random_range(0..40) {
        let table = tables.choose(random).unwrap();
        let insert = statements::insert(random, table, "REPLACE INTO");
        story.run(&mut conn, &insert).await;
    }

    let target = Target::start().await;
    let job = Job::new(port, &target, &format!("{database}.*"), &settings.source, &settings.more);
    let mut child = Some(job.start());
    // Some jobs are killed in the copy already.
    if let Some(running) = child.as_mut().filter(|_| random.random_bool(0.3)) {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..400))).await;
        running.kill().await.unwrap();
        child = Some(job.start());
    }
    for _ in 0..random.random_range(20..80) {
        for statement in statements::transaction(random, product, &tables) {
            story.run(&mut conn, &statement).await;
        }
        match random.random_range(0..24) {
            0 => conn.query_drop("FLUSH BINARY LOGS").await.unwrap(),
            1..4 => tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await,
            4 => {
                if let Some(mut running) = child.take() {
                    running.kill().await.unwrap();
                }
            }
            5 => {
                if let Some(running) = child.take() {
                    let status = job.stop(running).await;
                    // A signal that comes before the job listens ends it without a code.
                    assert!(matches!(status.code(), Some(0) | None), "{status}\n{}", job.log());
                }
            }
            6..9 if child.is_none() => child = Some(job.start()),
            _ => {}
        }
        if let Some(running) = &mut child {
            let ended = running.try_wait().unwrap();
            assert!(ended.is_none(), "the job has ended by itself: {ended:?}\n{}", job.log());
        }
    }
    if let Some(mut running) = child {
        running.kill().await.unwrap();
    }
    job.run_to_end().await;
    assert_equal_by(port, &target, &database, &settings.proof).await;
    assert!(story.failed * 2 < story.statements.len(), "most statements failed: {}", story.statements.join("\n"));
    conn.query_drop(format!("DROP DATABASE {database}")).await.unwrap();
}

/// The job file's lines, and how the proof has to read.
struct Settings {
    source: String,
    more: String,
    proof: proof::Options,
}

impl Settings {
    fn random(random: &mut StdRng) -> Settings {
        let timezone = *["+00:00", "+00:00", "+05:30", "-11:00", "+13:00"].choose(random).unwrap();
        // A date that no literal gives: in a key it would have company.
        let zero_date = random.random_bool(0.3).then(|| "1234-05-06".to_owned());
        let policy = zero_date.as_ref().map_or(String::new(), |date| format!("\ndefaultZeroDate: {date}"));
        Settings {
            source: format!("timezone: '{timezone}'"),
            more: params(random) + "\nnoKeyTables: rowHash" + &policy,
            proof: proof::Options { timezone: timezone.to_owned(), zero_date, ..proof::Options::default() },
        }
    }
}

fn params(random: &mut StdRng) -> String {
    let mut one = |values: &[f64]| *values.choose(random).unwrap();
    format!(
        "params: {{realFlushPauseSec: {}, increBatchSize: {}, fullBatchSize: {}, fullParallel: {}, writeParallel: {}, \
         increRingBufferSize: {}, fullRingBufferSize: {}, flushBatchMb: 1, totalDataInMemMb: {}}}",
        one(&[0.0, 0.0, 0.05, 0.5]),
        one(&[1.0, 3.0, 50.0, 1000.0]),
        one(&[1.0, 7.0, 50.0, 1000.0]),
        one(&[1.0, 2.0, 4.0]),
        one(&[1.0, 3.0]),
        one(&[1.0, 16.0, 4096.0]),
        one(&[1.0, 16.0]),
        one(&[8.0, 32.0]),
    )
}
