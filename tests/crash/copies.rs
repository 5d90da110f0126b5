//! kill -9 at every step of a copy, while the source is written to.

use super::outside::Outside;
use crate::harness::{Job, assert_equal_at};
use crate::join::{SETTINGS, Watcher, Writer, fill};
use crate::servers::{self, Shared};

/// Beside each step how often it is passed first.
pub(super) const STEPS: &[(&str, u32)] = &[
    ("change-begun", 0),
    ("change-step-done", 0),
    ("change-step-written", 1),
    ("change-done", 0),
    ("change-written", 0),
    ("copy-read", 1),
    ("copy-load-named", 2),
    ("load-sent", 2),
    ("copy-load-in", 1),
    ("copy-chunk-in", 1),
    ("copy-marked", 0),
    ("copy-swapped", 0),
    ("copy-old-dropped", 0),
    ("copy-finished", 0),
];

async fn killed(source: &Shared, steps: &[(&str, u32)]) {
    let database = source.database("killed_copy").await;
    fill(source.port(), &database, "t").await;
    let target = Outside::start().await;
    let job = Job::at(source.port(), target.job_ports(), &format!("{database}.*"), "", SETTINGS);
    job.run_to_end().await;
    let writer = Writer::start(source.port(), &database, &["t"]);
    let watcher = Watcher::start(target.mysql_port(), format!("{database}.t"));
    for &(step, passed) in steps {
        if job.status().await["copies"].as_array().is_some_and(Vec::is_empty) {
            assert!(job.command("recopy", &["t"]).await.status.success());
        }
        let mut child = job.start_held_at(step, passed).await;
        child.kill().await.unwrap();
    }
    watcher.stop().await;
    writer.stop().await;
    job.run_to_end().await;
    assert_equal_at(source.port(), target.mysql_port(), &database).await;
    assert_eq!(job.status().await["copies"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_a_copy_loses_nothing_and_turns_nothing_back() {
    killed(servers::mysql().await, STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_a_step_of_a_copy_loses_nothing_and_turns_nothing_back_on_mariadb() {
    let at = |step: &&(&str, u32)| ["copy-load-named", "copy-load-in", "copy-swapped"].contains(&step.0);
    let steps: Vec<_> = STEPS.iter().filter(at).copied().collect();
    killed(servers::mariadb().await, &steps).await;
}
