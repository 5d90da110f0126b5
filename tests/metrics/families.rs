//! Each metric moves in its scenario, and none is without one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use towpath::embedded::fault::{Fault, Mode};

use super::Http;
use crate::harness::{Job, Target, text, towpath};
use crate::servers;

/// What tells the same all the time, and whole seconds of a processor, of which a test may use none.
const STILL: &[&str] =
    &["towpath_build_info", "process_max_fds", "process_start_time_seconds", "process_cpu_seconds_total"];

/// What moves in another test: its file, its name.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("towpath_verify_overdue_times", UNIT, "what_comparisons_have_found_is_shown_by_table_and_as_a_sum"),
    ("towpath_verify_next_timestamp_seconds", CLOCK, COMPARES),
    ("towpath_verify_last_good_timestamp_seconds", CLOCK, COMPARES),
    ("towpath_verify_running", CLOCK, "a_comparison_waits_for_the_copy_and_is_never_met_by_the_next_one"),
    ("towpath_verify_skipped_total", CLOCK, "a_comparison_waits_for_the_copy_and_is_never_met_by_the_next_one"),
    (
        "towpath_verify_corrections_refused_total",
        CLOCK,
        "what_fails_is_written_down_and_too_many_deletes_are_left_to_somebody",
    ),
];
const COMPARES: &str = "a_job_compares_by_the_clock_and_mends_when_it_is_told_to";
const CLOCK: &str = include_str!("../verify/scheduled.rs");
const UNIT: &str = include_str!("../../src/metrics.rs");

/// Each series' values that were seen, one after the other, by family.
#[derive(Default)]
struct Seen {
    looked: bool,
    values: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    types: BTreeMap<String, String>,
}

impl Seen {
    fn add(&mut self, text: &str) {
        let mut family = String::new();
        for line in text.lines() {
            if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').unwrap();
                family = name.to_owned();
                self.types.insert(name.to_owned(), kind.to_owned());
            } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
                let known = self.values.entry(family.clone()).or_default();
                // A series that comes later, as a table's, was nothing before.
                let values =
                    known.entry(series.to_owned()).or_insert_with(|| if self.looked { vec![0.0] } else { Vec::new() });
                let value: f64 = value.parse().unwrap();
                if values.last() != Some(&value) {
                    values.push(value);
                }
            }
        }
        self.looked = true;
    }

    /// A counter begins at 0; a gauge has to be seen with two values.
    fn moved(&self, family: &str) -> bool {
        let counts = self.types.get(family).is_some_and(|kind| kind != "gauge");
        let series = self.values.get(family).into_iter().flat_map(BTreeMap::values);
        series.into_iter().any(|values| values.len() > 1 || counts && values.iter().any(|value| *value > 0.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_metric_moves_in_its_scenario() {
    let source = servers::mysql().await;
    let database = source.database("families").await;
    let t = format!("{database}.t");
    let rows: Vec<String> = (1..=30).map(|id| format!("({id}, 'v{id}', {id})")).collect();
    source
        .run([
            format!("CREATE TABLE {t} (id INT PRIMARY KEY, v VARCHAR(20), n INT)"),
            format!("INSERT INTO {t} VALUES {}", rows.join(", ")),
        ])
        .await;
    let target = Target::start().await;
    let http = Arc::new(Http::free());
    let more = format!(
        "strategyOnError: batchDirtyData\nparams: {{realFlushPauseSec: 3600, fullBatchSize: 10}}\nhttp: {}",
        http.keys()
    );
    let job = Job::new(source.port(), &target, &format!("{database}.*"), "", &more);
    let mut run = towpath("run");
    // Everything is seen as it is before the job has done anything.
    let begin = job.gate("position-found");
    run.env("FAILPOINTS", begin.after(0, "off"));
    let child = job.start_as(run);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let looking = tokio::spawn({
        let (http, seen) = (Arc::clone(&http), Arc::clone(&seen));
        async move {
            loop {
                if let (200, text) = http.get("/metrics").await {
                    seen.lock().unwrap().add(&text);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let until = async |what: &str, family: &str| {
        let name = format!("{what}: {family}");
        http.wait_for(&name, &job, |_| seen.lock().unwrap().moved(family)).await;
    };
    let logged = async |text: &str| {
        while !job.log().contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    begin.reached(&job).await;
    http.wait_for("the first look", &job, |_| seen.lock().unwrap().looked).await;
    begin.open();
    job.wait_for("incremental", |status| status["stage"] == "incremental").await;

    // Rows wait for their flush; the log behind the checkpoint is asked for every ten seconds.
    let mut conn = source.connect().await;
    let mut sql = async |statement: String| conn.query_drop(statement).await.unwrap();
    sql(format!("INSERT INTO {t} VALUES (31, 'a', 0), (32, 'b', 0)")).await;
    sql(format!("UPDATE {t} SET v = 'c' WHERE id > 30")).await;
    until("they wait", "towpath_rows_waiting").await;
    job.command("pause", &[]).await;
    until("it is paused", "towpath_paused").await;
    for id in 33..40 {
        sql(format!("INSERT INTO {t} VALUES ({id}, 'p', 0)")).await;
    }
    until("the ring fills", "towpath_ring_slots").await;
    until("the source was asked again", "towpath_source_behind_bytes").await;
    job.command("set", &["realFlushPauseSec=0"]).await;
    job.command("resume", &[]).await;
    until("rows are merged", "towpath_rows_merged_total").await;

    // The target loses an answer, refuses rows, has no room, and works long on a change.
    target.inject(Fault::new(Mode::AnswerLost).times(1));
    sql(format!("DELETE FROM {t} WHERE id = 1")).await;
    let known = "towpath_stream_loads_total{result=\"already_in\"}";
    http.wait_for("a load that was in", &job, |metrics| metrics.get(known) > Some(&0.0)).await;
    let bad = Mode::FilteredValues { column: "v".into(), values: vec!["bad".into()] };
    let refusing = target.inject(Fault::new(bad));
    sql(format!("INSERT INTO {t} VALUES (50, 'bad', 0), (51, 'good', 0)")).await;
    until("a row is refused", "towpath_dead_letters").await;
    target.mend(refusing);
    target.inject(Fault::new(Mode::TooManyVersions { limit: 0 }).times(2));
    sql(format!("INSERT INTO {t} VALUES (60, 'x', 0)")).await;
    until("it waits longer", "towpath_widened_pause_seconds").await;
    let held = target.inject(Fault::new(Mode::AlterHeld));
    sql(format!("ALTER TABLE {t} MODIFY n BIGINT")).await;
    until("the target works", "towpath_schema_change_seconds").await;
    target.mend(held);
    until("it is followed", "towpath_schema_changes_total").await;
    job.wait_for("no table lags", |status| status["lagging"].as_array().is_some_and(Vec::is_empty)).await;

    // Somebody compares, and mends.
    let mut there = target.connect().await;
    there.query_drop(format!("DELETE FROM {t} WHERE id = 2")).await.unwrap();
    let compared = job.command("verify", &[]).await;
    assert_eq!(compared.status.code(), Some(3), "{}", text(&compared));
    until("they differ", "towpath_verify_open_differences").await;
    job.command("correct", &[]).await;
    until("they are mended", "towpath_verify_corrected_rows_total").await;
    logged("rows corrected").await;
    assert!(job.stop(child).await.success(), "{}", job.log());
    looking.abort();

    let seen = seen.lock().unwrap();
    let families: BTreeSet<&str> = seen.values.keys().map(String::as_str).collect();
    let elsewhere = ELSEWHERE.iter().map(|(family, _, _)| *family);
    let excused: BTreeSet<&str> = STILL.iter().copied().chain(elsewhere).collect();
    let still: Vec<_> =
        families.iter().filter(|family| !excused.contains(*family) && !seen.moved(family)).copied().collect();
    assert!(still.is_empty(), "no scenario moves {still:?}");
    let gone: Vec<_> = excused.iter().filter(|family| !families.contains(*family)).collect();
    assert!(gone.is_empty(), "there is no such family: {gone:?}");
    for (family, file, test) in ELSEWHERE {
        let begin = file.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{family}: there is no test {test}"));
        let end = file[begin..].find("\n}\n").map_or(file.len(), |length| begin + length);
        assert!(file[begin..end].contains(family), "{test} does not look at {family}");
    }
}
