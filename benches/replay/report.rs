//! Medians and their table.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Cost;

pub(crate) struct Report {
    pub(crate) rounds: usize,
    lines: Vec<Line>,
    notes: Vec<(String, Value)>,
}

struct Line {
    work: String,
    who: &'static str,
    rows: u64,
    bytes: u64,
    costs: Vec<Cost>,
}

impl Report {
    pub(crate) fn new(rounds: usize) -> Report {
        Report { rounds: rounds.max(1), lines: Vec::new(), notes: Vec::new() }
    }

    /// One run of `who` doing `work`, which was `rows` rows in `bytes` bytes at the source.
    pub(crate) fn add(&mut self, work: &str, who: &'static str, rows: u64, bytes: u64, cost: Cost) {
        eprintln!(
            "{work}: {who}: {} rows in {:.2} s, {:.2} s CPU, {} MB",
            rows,
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.peak_bytes >> 20
        );
        match self.lines.iter_mut().find(|line| line.work == work && line.who == who) {
            Some(line) => line.costs.push(cost),
            None => self.lines.push(Line { work: work.to_owned(), who, rows, bytes, costs: vec![cost] }),
        }
    }

    /// A figure that is no rate.
    pub(crate) fn note(&mut self, what: impl Into<String>, value: Value) {
        let what = what.into();
        eprintln!("{what}: {value}");
        self.notes.push((what, value));
    }

    pub(crate) fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            json!({
                "work": line.work, "who": line.who, "rows": line.rows, "bytes": line.bytes, "rounds": line.costs.len(),
                "wall_s": line.wall(), "rows_per_s": line.rate(), "cpu_us_per_row": line.cpu_micros(), "peak_mb": line.peak_mb(),
                "start_s": median(&line.costs, |cost| cost.start.as_secs_f64()),
                "wall_ratio": self.ratio(line),
            })
        });
        let notes: serde_json::Map<String, Value> = self.notes.iter().cloned().collect();
        json!({"measurements": lines.collect::<Vec<_>>(), "figures": notes})
    }

    /// How much longer than the first of those who only read.
    fn ratio(&self, line: &Line) -> Option<f64> {
        let reading = |other: &&Line| other.work == line.work && crate::reading::WHO.contains(&other.who);
        self.lines.iter().find(reading).map(|other| line.wall() / other.wall())
    }
}

impl Line {
    fn wall(&self) -> f64 {
        median(&self.costs, |cost| cost.wall.as_secs_f64())
    }

    fn rate(&self) -> f64 {
        self.rows as f64 / self.wall().max(1e-6)
    }

    fn cpu_micros(&self) -> f64 {
        median(&self.costs, |cost| cost.cpu.as_secs_f64()) * 1e6 / self.rows.max(1) as f64
    }

    fn peak_mb(&self) -> f64 {
        median(&self.costs, |cost| cost.peak_bytes as f64) / f64::from(1 << 20)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return self.notes.iter().try_for_each(|(what, value)| write!(f, "\n- {what}: {value}"));
        }
        writeln!(f, "\nMedians of {} rounds. Ratio: wall time against reading only, same run.\n", self.rounds)?;
        writeln!(f, "| work | who | rows | rows/s | MB/s | CPU us a row | peak MB | ratio |")?;
        writeln!(f, "|---|---|---:|---:|---:|---:|---:|---:|")?;
        for line in &self.lines {
            let ratio = self.ratio(line).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "| {} | {} | {} | {:.0} | {:.0} | {:.2} | {:.0} | {ratio} |",
                line.work,
                line.who,
                line.rows,
                line.rate(),
                line.bytes as f64 / 1e6 / line.wall().max(1e-6),
                line.cpu_micros(),
                line.peak_mb(),
            )?;
        }
        self.notes.iter().try_for_each(|(what, value)| write!(f, "\n- {what}: {value}"))
    }
}

fn median(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    let mut figures: Vec<f64> = costs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The value below which `share` of the times are, in milliseconds.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| (time.as_secs_f64() * 1e4).round() / 10.0)
}
