//! What a job tells Prometheus: one registry a job, with the job's name as a constant label.
//!
//! Names follow Prometheus' rules: a prefix, the unit in the name, `_total` on what only grows. Labels are bounded:
//! an operation, a phase, a result, and the job's tables up to [`TABLES`]. Stages raise what has to be seen as it
//! happens (phases, loads, latency); everything that the progress counters or the state store know
//! anyway is filled in when somebody asks.

mod verify;

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::progress::Snapshot;
use crate::state::{Stage, TableProgress, Verification, now_micros};
use crate::{Error, Result};
use verify::VerifyMetrics;

/// Tables with series of their own; of a job with more, only the sums are shown.
pub(crate) const TABLES: usize = 200;

/// 1 ms to 2 minutes.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0];

/// The parts of an epoch's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Ready to go out, waiting for the epoch before it.
    Wait,
    /// From row images to bodies.
    Encode,
    /// From the first byte sent to the last load known to be in, publishing included.
    Send,
    /// Writing the intent and its labels.
    Intent,
    /// Writing the checkpoint.
    Checkpoint,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Wait => "wait",
            Phase::Encode => "encode",
            Phase::Send => "send",
            Phase::Intent => "intent",
            Phase::Checkpoint => "checkpoint",
        }
    }
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadResult {
    Success,
    /// It was in from an earlier try or run.
    AlreadyIn,
    Failed,
}

impl LoadResult {
    fn name(self) -> &'static str {
        match self {
            LoadResult::Success => "success",
            LoadResult::AlreadyIn => "already_in",
            LoadResult::Failed => "failed",
        }
    }
}

/// The collectors of one job.
#[derive(Debug)]
pub struct Metrics {
    phases: HistogramVec,
    visible: Histogram,
    loads: IntCounterVec,
    load_seconds: Histogram,
    publish_seconds: Histogram,
    retries: IntCounter,
    loaded_bytes: IntCounter,
    log_bytes: IntCounter,
    schema_changes: IntCounterVec,
    // Filled in when asked for.
    build: IntGaugeVec,
    stage: IntGaugeVec,
    read: IntCounterVec,
    loaded: IntCounter,
    epochs: IntCounter,
    waiting: IntGauge,
    delay: Gauge,
    silence: Gauge,
    behind: IntGauge,
    behind_seconds: Gauge,
    merged: IntCounter,
    widened_pause: Gauge,
    changing: Gauge,
    paused: Gauge,
    retention_left: Gauge,
    dead_letters: IntGauge,
    position: IntGauge,
    ring_slots: IntGauge,
    ring_capacity: IntGauge,
    memory_used: IntGauge,
    memory_budget: IntGauge,
    full_rows: IntGauge,
    full_rows_estimated: IntGauge,
    full_tables: IntGauge,
    full_tables_done: IntGauge,
    table_rows: IntGaugeVec,
    table_rows_estimated: IntGaugeVec,
    verify: VerifyMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let counter = |name, help| of(IntCounter::new(name, help));
        let counters = |name, help, label| of(IntCounterVec::new(Opts::new(name, help), &[label]));
        let gauge = |name, help| of(IntGauge::new(name, help));
        let gauges = |name, help, label| of(IntGaugeVec::new(Opts::new(name, help), &[label]));
        let seconds = |name, help| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        Metrics {
            phases: of(HistogramVec::new(
                seconds(
                    "epoch_phase_seconds",
                    "Duration of the phases of an epoch: wait, encode, intent, send, checkpoint",
                ),
                &["phase"],
            )),
            visible: of(Histogram::with_opts(seconds(
                "commit_to_visible_seconds",
                "From the source's commit of an epoch's oldest transaction until the epoch is in the target",
            ))),
            loads: counters("stream_loads_total", "Stream Loads by how they ended", "result"),
            load_seconds: of(Histogram::with_opts(seconds(
                "stream_load_seconds",
                "Duration of one Stream Load, its retries included",
            ))),
            publish_seconds: of(Histogram::with_opts(seconds(
                "stream_load_publish_seconds",
                "How long the target took to commit a load and make it visible, as it tells itself",
            ))),
            retries: counter("stream_load_retries_total", "Tries of a Stream Load after the first"),
            loaded_bytes: counter("loaded_bytes_total", "Bytes of the bodies of Stream Loads that are in"),
            log_bytes: counter(
                "binlog_read_bytes_total",
                "Bytes of log that came from the source, compressed transactions as they are packed",
            ),
            schema_changes: of(IntCounterVec::new(
                Opts::new("schema_changes_total", "Clauses of schema changes by kind and what became of them"),
                &["kind", "outcome"],
            )),
            changing: of(Gauge::new(
                "schema_change_seconds",
                "How long the target has been working on a schema change; 0 = it does not",
            )),
            build: gauges("build_info", "1, with the version of this program", "version"),
            stage: gauges("stage", "1 for the stage the job is in, 0 for the others", "stage"),
            read: counters(
                "rows_read_total",
                "Rows read from the binlog and in the target, since the job began",
                "operation",
            ),
            loaded: counter("rows_loaded_total", "Rows sent to the target after merging by key, since the job began"),
            merged: counter(
                "rows_merged_total",
                "Rows read that needed no row of their own, because a later one of the same key came in the same epoch",
            ),
            behind: gauge(
                "source_behind_bytes",
                "Bytes of log that the source has behind the checkpoint, as it was last asked, every 10 s; -1 = not known",
            ),
            behind_seconds: of(Gauge::new(
                "source_behind_seconds",
                "Seconds since a moment of which the target is known to hold everything that the source had; grows while the source \
                 is away; -1 = not known",
            )),
            epochs: counter("epochs_total", "Epochs that are in the target, since the job began"),
            waiting: gauge("rows_waiting", "Rows read from the binlog and waiting for the next epoch"),
            delay: of(Gauge::new(
                "delay_seconds",
                "Age of the oldest transaction that is read and not yet in the target; 0 = nothing is waiting",
            )),
            retention_left: of(Gauge::new(
                "binlog_retention_left_seconds",
                "How long the source will at least keep the log behind the job's position; -1 = no end is known",
            )),
            dead_letters: gauge("dead_letters", "Refused rows that wait to be settled"),
            paused: of(Gauge::new("paused", "1 while `towpath pause` holds the job back.")),
            widened_pause: of(Gauge::new(
                "widened_pause_seconds",
                "Pause between epochs while the target has no room for more loads; 0 while the job file's pause holds",
            )),
            silence: of(Gauge::new(
                "source_silence_seconds",
                "Seconds since the source sent anything, heartbeats included; 0 before the binlog is followed",
            )),
            position: gauge("binlog_position_bytes", "Offset of the checkpoint in its binlog file"),
            ring_slots: gauge("ring_slots", "Slots of the ring in use"),
            ring_capacity: gauge("ring_capacity_slots", "Slots of the ring"),
            memory_used: gauge("memory_used_bytes", "Bytes held of the budget for events and bodies"),
            memory_budget: gauge("memory_budget_bytes", "The budget for events and bodies"),
            full_rows: gauge("full_rows", "Rows of full data that are in the target"),
            full_rows_estimated: gauge("full_rows_estimated", "Rows of full data, by the source's estimate"),
            full_tables: gauge("full_tables", "Tables to copy"),
            full_tables_done: gauge("full_tables_done", "Tables copied"),
            table_rows: gauges("full_table_rows", "Rows of full data that are in the target, by table", "table"),
            table_rows_estimated: gauges(
                "full_table_rows_estimated",
                "Rows of full data by the source's estimate, by table",
                "table",
            ),
            verify: VerifyMetrics::default(),
        }
    }
}

/// Names and help texts are constants, so that a collector that cannot be made is this file's mistake.
fn of<C>(made: prometheus::Result<C>) -> C {
    made.unwrap_or_else(|error| unreachable!("a metric's definition: {error}"))
}

impl Metrics {
    /// Does the work of a phase and notes how long it took.
    pub(crate) fn timed<R>(&self, phase: Phase, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let done = work();
        self.phases.with_label_values(&[phase.name()]).observe(began.elapsed().as_secs_f64());
        done
    }

    /// An epoch is in; `latency` is that of its oldest transaction.
    pub(crate) fn visible(&self, latency: Duration) {
        self.visible.observe(latency.as_secs_f64());
    }

    pub(crate) fn load(&self, result: LoadResult, bytes: usize, took: Duration) {
        self.loads.with_label_values(&[result.name()]).inc();
        self.load_seconds.observe(took.as_secs_f64());
        if result != LoadResult::Failed {
            self.loaded_bytes.inc_by(bytes as u64);
        }
    }

    /// A load was committed and made visible within this time.
    pub(crate) fn published(&self, took: Duration) {
        self.publish_seconds.observe(took.as_secs_f64());
    }

    /// A clause of a schema change is done with: `addColumn`, `applied`.
    pub(crate) fn schema_change(&self, kind: &str, outcome: &str) {
        self.schema_changes.with_label_values(&[kind, outcome]).inc();
    }

    /// All collectors and the process's own, under the name of the job.
    ///
    /// # Errors
    /// Definite: a second registration, which is a mistake of this file.
    pub(crate) fn exposition(&self, job: &str) -> Result<Exposition> {
        let failed = |error: prometheus::Error| Error::definite("cannot register metrics").caused_by(error);
        let registry = |prefix: Option<&str>| {
            let labels = [("job".to_owned(), job.to_owned())].into();
            Registry::new_custom(prefix.map(str::to_owned), Some(labels)).map_err(failed)
        };
        let (ours, process) = (registry(Some("towpath"))?, registry(None)?);
        for collector in self.collectors() {
            ours.register(collector).map_err(failed)?;
        }
        process.register(Box::new(ProcessCollector::for_self())).map_err(failed)?;
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Exposition { ours, process })
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let vectors = [&self.build, &self.stage, &self.table_rows, &self.table_rows_estimated].map(boxed);
        let gauges = [
            &self.waiting,
            &self.behind,
            &self.position,
            &self.ring_slots,
            &self.ring_capacity,
            &self.memory_used,
            &self.memory_budget,
            &self.full_rows,
            &self.full_rows_estimated,
            &self.full_tables,
            &self.full_tables_done,
        ]
        .map(boxed);
        let counters =
            [&self.retries, &self.loaded_bytes, &self.log_bytes, &self.loaded, &self.merged, &self.epochs].map(boxed);
        let others = [
            boxed(&self.phases),
            boxed(&self.visible),
            boxed(&self.load_seconds),
            boxed(&self.publish_seconds),
            boxed(&self.loads),
            boxed(&self.read),
            boxed(&self.delay),
            boxed(&self.behind_seconds),
            boxed(&self.silence),
            boxed(&self.widened_pause),
            boxed(&self.schema_changes),
            boxed(&self.changing),
            boxed(&self.paused),
            boxed(&self.retention_left),
            boxed(&self.dead_letters),
        ];
        vectors.into_iter().chain(gauges).chain(counters).chain(others).chain(self.verify.collectors()).collect()
    }

    /// Those of the process too.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::BTreeSet<String> {
        let names = |collectors: &[Box<dyn Collector>], prefix: &str| -> Vec<String> {
            let descs = collectors.iter().flat_map(|collector| collector.desc());
            descs.map(|desc| format!("{prefix}{}", desc.fq_name)).collect()
        };
        let process: [Box<dyn Collector>; 1] = [Box::new(ProcessCollector::for_self())];
        names(&self.collectors(), "towpath_").into_iter().chain(names(&process, "")).collect()
    }

    /// Sets what the progress counters know.
    pub(crate) fn fill(&self, now: &Snapshot) {
        for stage in [Stage::Schema, Stage::Full, Stage::Incremental, Stage::Done] {
            self.stage.with_label_values(&[stage.as_str()]).set((stage == now.stage).into());
        }
        for (operation, rows) in
            [("insert", now.read.inserts), ("update", now.read.updates), ("delete", now.read.deletes)]
        {
            raise(&self.read.with_label_values(&[operation]), rows);
        }
        raise(&self.log_bytes, now.log_bytes);
        raise(&self.loaded, now.loaded);
        raise(&self.merged, now.read.total().saturating_sub(now.loaded));
        self.behind.set(now.behind_bytes.map_or(-1, |bytes| bytes as i64));
        self.behind_seconds.set(now.behind.map_or(-1.0, |behind| behind.as_secs_f64()));
        raise(&self.epochs, now.epochs);
        raise(&self.retries, now.load_retries);
        self.waiting.set(now.waiting as i64);
        self.delay.set(now.delay_micros as f64 / 1e6);
        self.silence.set(now.silence.as_secs_f64());
        self.retention_left.set(now.retention_left.map_or(-1.0, |left| left.as_secs_f64()));
        self.changing.set(now.changing.as_secs_f64());
        self.paused.set(f64::from(u8::from(now.paused)));
        self.widened_pause.set(now.widened_pause.unwrap_or_default().as_secs_f64());
        self.position.set(now.position.as_ref().map_or(0, |at| at.offset as i64));
        self.ring_slots.set(now.ring.slots as i64);
        self.ring_capacity.set(now.ring.capacity as i64);
        self.memory_used.set(now.ring.used as i64);
        self.memory_budget.set(now.ring.budget as i64);
        self.full_rows.set(now.full_rows as i64);
        self.full_rows_estimated.set(now.full_rows_estimated as i64);
        self.full_tables.set(now.full_tables as i64);
        self.full_tables_done.set(now.full_tables_done as i64);
    }

    pub(crate) fn fill_dead_letters(&self, waiting: u64) {
        self.dead_letters.set(waiting as i64);
    }

    pub(crate) fn fill_verification(&self, known: &Verification) {
        self.verify.fill(known, now_micros());
    }

    /// Sets what the state store knows of the full copy, table by table.
    pub(crate) fn fill_tables(&self, tables: &[TableProgress]) {
        if tables.len() > TABLES {
            return;
        }
        for table in tables {
            let name = table.table.to_string();
            self.table_rows.with_label_values(&[&name]).set(table.rows_done as i64);
            self.table_rows_estimated.with_label_values(&[&name]).set(table.estimated as i64);
        }
    }
}

fn boxed<C: Collector + Clone + 'static>(collector: &C) -> Box<dyn Collector> {
    Box::new(collector.clone())
}

/// Raises a counter to a value that is counted elsewhere.
fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// What is shown to Prometheus: the job's series, with the prefix, and the process's, by their usual names.
pub(crate) struct Exposition {
    ours: Registry,
    process: Registry,
}

impl Exposition {
    /// Prometheus' text format.
    ///
    /// # Errors
    /// Definite: a metric that cannot be written.
    pub(crate) fn text(&self) -> Result<String> {
        let mut families = self.ours.gather();
        families.extend(self.process.gather());
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(|error| Error::definite("cannot write the metrics").caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schedule;
    use crate::progress::Progress;
    use crate::state::{LastRun, RunOutcome, TableResult, VerifyPlan};

    fn shown(metrics: &Metrics) -> String {
        let exposition = metrics.exposition("shop").unwrap();
        metrics.fill(&Progress::default().snapshot());
        exposition.text().unwrap()
    }

    #[test]
    fn every_series_has_the_prefix_and_the_job() {
        let metrics = Metrics::default();
        assert_eq!(metrics.timed(Phase::Encode, || 7), 7);
        metrics.load(LoadResult::Success, 1000, Duration::from_millis(40));
        let text = shown(&metrics);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("towpath_") || line.starts_with("process_"), "{line}");
            assert!(line.contains("job=\"shop\""), "{line}");
        }
        for line in [
            "towpath_epoch_phase_seconds_count{phase=\"encode\",job=\"shop\"} 1",
            "towpath_stream_loads_total{result=\"success\",job=\"shop\"} 1",
            "towpath_stream_load_retries_total{job=\"shop\"} 0",
            "towpath_loaded_bytes_total{job=\"shop\"} 1000",
            "towpath_stage{stage=\"schema\",job=\"shop\"} 1",
            "towpath_stage{stage=\"full\",job=\"shop\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }

    fn verified() -> Verification {
        let table = |name: &str, missing| TableResult {
            table: crate::schema::TableName::new("shop", name),
            rows: 50,
            missing,
            extra: 1,
            different: 0,
            schema: 2,
            mended: 2,
        };
        let last = LastRun {
            id: 9,
            scheduled: true,
            begun_at: 7_000_000,
            ended_at: 9_500_000,
            outcome: RunOutcome::Different,
            rows: 50,
            differences: 6,
            error: None,
        };
        let tables = vec![table("a", 3), table("b", 0)];
        let schedule = Schedule::parse("* * * * *", Some("UTC")).unwrap();
        let plan = Some(VerifyPlan { schedule, since: 0, next_at: 9_000_000, begun_at: Some(1) });
        Verification { last: Some(last), different: 4, sent: 4, tables, plan, ..Verification::default() }
    }

    #[test]
    fn what_comparisons_have_found_is_shown_by_table_and_as_a_sum() {
        let metrics = Metrics::default();
        metrics.fill_verification(&verified());
        let text = shown(&metrics);
        for line in [
            "towpath_verify_runs_total{outcome=\"different\",job=\"shop\"} 4",
            "towpath_verify_last_outcome{outcome=\"different\",job=\"shop\"} 1",
            "towpath_verify_last_outcome{outcome=\"equal\",job=\"shop\"} 0",
            "towpath_verify_last_run_timestamp_seconds{job=\"shop\"} 9.5",
            "towpath_verify_last_run_seconds{job=\"shop\"} 2.5",
            "towpath_verify_last_good_timestamp_seconds{job=\"shop\"} 0",
            "towpath_verify_rows{job=\"shop\"} 100",
            "towpath_verify_differences{kind=\"missing\",job=\"shop\"} 3",
            "towpath_verify_differences{kind=\"schema\",job=\"shop\"} 4",
            // 6 of a and 3 of b, less 2 and 2.
            "towpath_verify_open_differences{job=\"shop\"} 5",
            "towpath_verify_table_differences{kind=\"missing\",table=\"shop.a\",job=\"shop\"} 3",
            "towpath_verify_corrected_rows_total{outcome=\"sent\",job=\"shop\"} 4",
            "towpath_verify_overdue_times{job=\"shop\"} 100",
            "towpath_verify_next_timestamp_seconds{job=\"shop\"} 9",
            "towpath_verify_running{job=\"shop\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        metrics.fill_verification(&Verification { tables: Vec::new(), ..verified() });
        assert!(!shown(&metrics).contains("verify_table_rows{"), "a table that is gone leaves nothing behind");
    }

    #[test]
    fn a_counter_follows_what_is_counted_elsewhere_and_never_falls() {
        let counter = IntCounter::new("a", "b").unwrap();
        for (value, shown) in [(5, 5), (9, 9), (2, 9)] {
            raise(&counter, value);
            assert_eq!(counter.get(), shown);
        }
    }

    #[test]
    fn a_job_of_very_many_tables_shows_no_series_by_table() {
        let metrics = Metrics::default();
        let tables: Vec<TableProgress> = (0..=TABLES)
            .map(|number| TableProgress {
                table: crate::schema::TableName::new("shop", format!("t{number}")),
                estimated: 1,
                planned: true,
                chunks: 1,
                chunks_done: 1,
                rows_done: 1,
                given_up: None,
            })
            .collect();
        metrics.fill_tables(&tables);
        assert!(!shown(&metrics).contains("full_table_rows{"));
        metrics.fill_tables(&tables[..TABLES]);
        assert_eq!(shown(&metrics).matches("full_table_rows{").count(), TABLES);
    }
}
