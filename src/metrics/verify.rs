//! What comparisons have found, for Prometheus. All of it comes from the state store, so it does not matter which process
//! compared, and a restart forgets nothing.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::{TABLES, boxed, of, raise};
use crate::state::{RunOutcome, TableResult, Verification};

/// So far are the times counted for which no good run has been made.
pub(crate) const OVERDUE_UP_TO: u64 = 100;

type Count = fn(&TableResult) -> u64;

const KINDS: [(&str, Count); 4] = [
    ("missing", |table| table.missing),
    ("extra", |table| table.extra),
    ("different", |table| table.different),
    ("schema", |table| table.schema),
];

#[derive(Debug)]
pub(super) struct VerifyMetrics {
    runs: IntCounterVec,
    last_outcome: IntGaugeVec,
    last_run: Gauge,
    last_good: Gauge,
    last_seconds: Gauge,
    rows: IntGauge,
    differences: IntGaugeVec,
    open: IntGauge,
    table_rows: IntGaugeVec,
    table_differences: IntGaugeVec,
    running: IntGauge,
    next: Gauge,
    overdue: IntGauge,
    skipped: IntCounter,
    corrected: IntCounterVec,
    refused: IntCounter,
}

impl Default for VerifyMetrics {
    fn default() -> Self {
        let counter = |name, help| of(IntCounter::new(name, help));
        let counters = |name, help, label| of(IntCounterVec::new(Opts::new(name, help), &[label]));
        let count = |name, help| of(IntGauge::new(name, help));
        let gauge = |name, help| of(Gauge::new(name, help));
        let gauges = |name, help, labels: &[&str]| of(IntGaugeVec::new(Opts::new(name, help), labels));
        VerifyMetrics {
            runs: counters(
                "verify_runs_total",
                "Comparisons of both sides by how they ended, in any process, since the job began",
                "outcome",
            ),
            last_outcome: gauges(
                "verify_last_outcome",
                "1 for how the last comparison ended, 0 for the others",
                &["outcome"],
            ),
            last_run: gauge("verify_last_run_timestamp_seconds", "When the last comparison ended; 0 = there was none"),
            last_good: gauge(
                "verify_last_good_timestamp_seconds",
                "When the last comparison ended that found both sides equal and was not narrowed by hand; 0 = there was none",
            ),
            last_seconds: gauge("verify_last_run_seconds", "How long the last comparison took"),
            rows: count("verify_rows", "Rows of the source that were compared, in each table's last comparison"),
            differences: gauges(
                "verify_differences",
                "Rows that were missing, extra or different in each table's last comparison; schema: what target tables lack",
                &["kind"],
            ),
            open: count(
                "verify_open_differences",
                "Differences of each table's last comparison that nobody has mended",
            ),
            table_rows: gauges(
                "verify_table_rows",
                "Rows that were compared in the table's last comparison",
                &["table"],
            ),
            table_differences: gauges(
                "verify_table_differences",
                "Differences in the table's last comparison",
                &["table", "kind"],
            ),
            running: count("verify_running", "1 while the job compares both sides by itself"),
            next: gauge(
                "verify_next_timestamp_seconds",
                "When the job compares both sides next; 0 = it has no schedule",
            ),
            overdue: count(
                "verify_overdue_times",
                "Times of the schedule that have passed since the last good comparison, or since the schedule is followed; at most 100",
            ),
            skipped: counter(
                "verify_skipped_total",
                "Times of the schedule that were left out, because the last comparison still ran or tables were being copied",
            ),
            corrected: counters(
                "verify_corrected_rows_total",
                "Rows of corrections: sent, overtaken by the stream, failed",
                "outcome",
            ),
            refused: counter(
                "verify_corrections_refused_total",
                "Comparisons whose differences were not corrected, because too many rows would have been deleted",
            ),
        }
    }
}

impl VerifyMetrics {
    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            boxed(&self.runs),
            boxed(&self.last_outcome),
            boxed(&self.last_run),
            boxed(&self.last_good),
            boxed(&self.last_seconds),
            boxed(&self.rows),
            boxed(&self.differences),
            boxed(&self.open),
            boxed(&self.table_rows),
            boxed(&self.table_differences),
            boxed(&self.running),
            boxed(&self.next),
            boxed(&self.overdue),
            boxed(&self.skipped),
            boxed(&self.corrected),
            boxed(&self.refused),
        ]
    }

    /// `now`: microseconds since 1970.
    pub(super) fn fill(&self, known: &Verification, now: u64) {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let last = known.last.as_ref();
        for (outcome, number) in [
            (RunOutcome::Equal, known.equal),
            (RunOutcome::Different, known.different),
            (RunOutcome::Failed, known.failed),
        ] {
            raise(&self.runs.with_label_values(&[outcome.as_str()]), number);
            let is_last = last.is_some_and(|last| last.outcome == outcome);
            self.last_outcome.with_label_values(&[outcome.as_str()]).set(is_last.into());
        }
        self.last_run.set(last.map_or(0.0, |last| seconds(last.ended_at)));
        self.last_good.set(seconds(known.good_at.unwrap_or(0)));
        self.last_seconds.set(last.map_or(0.0, |last| seconds(last.ended_at.saturating_sub(last.begun_at))));
        self.rows.set(known.tables.iter().map(|table| table.rows).sum::<u64>() as i64);
        self.open.set(known.open() as i64);
        // A table that is gone leaves no series behind.
        self.table_rows.reset();
        self.table_differences.reset();
        for (kind, of) in KINDS {
            self.differences.with_label_values(&[kind]).set(known.tables.iter().map(of).sum::<u64>() as i64);
        }
        for table in known.tables.iter().filter(|_| known.tables.len() <= TABLES) {
            let name = table.table.to_string();
            self.table_rows.with_label_values(&[&name]).set(table.rows as i64);
            for (kind, of) in KINDS {
                self.table_differences.with_label_values(&[name.as_str(), kind]).set(of(table) as i64);
            }
        }
        let plan = known.plan.as_ref();
        self.running.set(plan.is_some_and(|plan| plan.begun_at.is_some()).into());
        self.next.set(plan.map_or(0.0, |plan| seconds(plan.next_at)));
        self.overdue.set(known.overdue(now, OVERDUE_UP_TO) as i64);
        raise(&self.skipped, known.skipped);
        for (outcome, rows) in [("sent", known.sent), ("overtaken", known.overtaken), ("failed", known.not_corrected)] {
            raise(&self.corrected.with_label_values(&[outcome]), rows);
        }
        raise(&self.refused, known.refused);
    }
}
