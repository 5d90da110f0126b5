//! kill -9 at random moments, of the job and of its target, while the source is written to.
//!
//! `TOWPATH_SOAK_KILLS=200 cargo test --test it crash::kills -- --nocapture`, or `make soak-kill`, goes on for longer.

use std::time::{Duration, Instant};

use rand::Rng as _;
use towpath::demo::server::Product;

use super::history::{Observer, Shop, Writer};
use super::outside::Outside;
use crate::harness::{Job, assert_equal_at};
use crate::servers::{self, Shared};

/// Kills of an ordinary test run.
const ORDINARY: u32 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_nothing_double_nothing_and_turn_nothing_back() {
    let kills = std::env::var("TOWPATH_SOAK_KILLS").map_or(ORDINARY, |text| text.parse().unwrap());
    killed(Product::Mysql, servers::mysql().await, kills).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_nothing_double_nothing_and_turn_nothing_back_on_mariadb() {
    let kills = std::env::var("TOWPATH_SOAK_KILLS").map_or(ORDINARY / 3, |text| text.parse().unwrap());
    killed(Product::Mariadb, servers::mariadb().await, kills).await;
}

async fn killed(product: Product, source: &Shared, kills: u32) {
    let database = source.database("kills").await;
    let shop = Shop::open(product, &mut source.connect().await, &database).await;
    let mut target = Outside::start().await;
    // Small epochs, several loads each.
    let settings = "params: {realFlushPauseSec: 0, increBatchSize: 40}";
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", settings);
    let mut child = job.start();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;
    let writer = Writer::start(&shop, source.port());
    let observer = Observer::start(&shop, target.mysql_port());
    let (begin, mut of_job, mut of_target) = (Instant::now(), 0, 0);
    for number in 1..=kills {
        // From the first steps of a start to well within the epochs.
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..1200))).await;
        let victim = rand::rng().random_range(0..6);
        if victim < 5 {
            assert!(child.try_wait().unwrap().is_none(), "the job has ended by itself\n{}", job.log());
            child.kill().await.unwrap();
            of_job += 1;
        }
        if victim >= 4 {
            target.die().await;
            target.come_back().await;
            of_target += 1;
        }
        if victim < 5 {
            shop.assert_not_behind(&mut target.connect().await, &job.status().await).await;
            child = job.start();
        }
        if observer.has_failed() {
            break;
        }
        if number % 50 == 0 {
            println!("{product:?}: {number} kills in {} s", begin.elapsed().as_secs());
        }
    }
    let transactions = writer.stop().await;
    child.kill().await.unwrap();
    job.run_to_end().await;
    let looks = observer.stop().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
    let status = job.status().await;
    shop.assert_counted_once(&status);
    let mut loads = target.loads_of_epochs();
    let all = loads.len();
    loads.sort();
    loads.dedup();
    assert_eq!(loads.len(), all, "a load is in twice");
    println!(
        "{product:?}: {of_job} kills of the job and {of_target} of the target in {} s, {transactions} transactions in {} \
         epochs, {looks} looks: nothing lost, doubled or turned back",
        begin.elapsed().as_secs(),
        status["epochs"]
    );
    assert!(looks > u64::from(kills), "{looks} looks");
}
