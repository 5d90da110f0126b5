//! What a running job can tell about itself: counters that the stages raise and anyone may read.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::mysql::binlog::Heard;
use crate::mysql::position::Position;
use crate::ring::{Fill, Gauge};
use crate::state::{Checkpoint, RowCounts, Stage, now_micros};

#[derive(Debug, Default)]
pub struct Progress {
    stage: AtomicU8,
    rate: Mutex<Rate>,
    full: Full,
    incremental: Incremental,
    /// The ring of the stage that runs.
    ring: Mutex<Option<Gauge>>,
    heard: Mutex<Option<Heard>>,
    /// Bytes of log that earlier readers of this process have read.
    read_before: AtomicU64,
    /// The target's.
    retries: Mutex<Retries>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Full {
    rows_estimated: AtomicU64,
    rows_done: AtomicU64,
    tables: AtomicU64,
    tables_done: AtomicU64,
}

#[derive(Debug, Default)]
struct Incremental {
    /// Rows waiting in the batch.
    waiting: AtomicU64,
    inserts: AtomicU64,
    updates: AtomicU64,
    deletes: AtomicU64,
    loaded: AtomicU64,
    epochs: AtomicU64,
    /// Commit time of the oldest transaction in the batch, and in the epoch under way; microseconds since
    /// 1970, 0 = none.
    filling_since: AtomicU64,
    in_flight_since: AtomicU64,
    /// Milliseconds between two epochs while that is more than the job file says; else 0.
    widened_pause: AtomicU64,
    /// When the schema change began that the target works on, microseconds since 1970; 0 = none.
    changing_since: AtomicU64,
    position: Mutex<Option<Position>>,
    paused: AtomicBool,
    /// Bytes of log that the source has behind the checkpoint, and one more; 0: not known.
    behind: AtomicU64,
    /// Everything that the source had then is in the target; microseconds since 1970, 0 = not known.
    complete_at: AtomicU64,
    /// Seconds for which the source keeps its log; 0: no end is known.
    retention: AtomicU64,
}

/// How often a target's client has tried something again, loads and questions alike; one count for all its clones, that grows
/// while a load is still being tried.
#[derive(Debug, Clone, Default)]
pub struct Retries(Arc<AtomicU64>);

impl Retries {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn total(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Progress at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub stage: Stage,
    /// Rows a second that came into the target, over the last second or more.
    pub rate: u64,
    /// Rows and tables of the full copy; the estimate is the source's.
    pub full_rows: u64,
    pub full_rows_estimated: u64,
    pub full_tables: u64,
    pub full_tables_done: u64,
    /// Rows read from the log and in the target.
    pub read: RowCounts,
    /// Bytes of log that this process has read.
    pub log_bytes: u64,
    /// Rows read and not yet in the target.
    pub waiting: u64,
    pub loaded: u64,
    pub epochs: u64,
    /// Tries of loads after the first.
    pub load_retries: u64,
    pub position: Option<Position>,
    /// Microseconds since the commit of the oldest transaction that is read and not yet in the target;
    /// 0 when nothing is waiting. It compares the source's clock with ours.
    pub delay_micros: u64,
    /// How long the source will at least keep the log behind the position, when everything that was read and is not in
    /// the target is counted; `None`: no end is known.
    pub retention_left: Option<Duration>,
    /// Nothing new is read until somebody resumes the job.
    pub paused: bool,
    /// Bytes of log that the source has behind the checkpoint, as it was asked the last time; `None`: it does not tell.
    pub behind_bytes: Option<u64>,
    /// Since a moment of which the target is known to hold everything that the source had; `None`: none is known yet. It grows
    /// while the source is away.
    pub behind: Option<Duration>,
    /// The pause between two epochs while the target has it widened.
    pub widened_pause: Option<Duration>,
    /// How long the target has been working on a schema change; zero when it does not.
    pub changing: Duration,
    /// Since the source sent anything, heartbeats included; zero before the log is followed.
    pub silence: Duration,
    pub ring: Fill,
}

impl Progress {
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        [Stage::Schema, Stage::Full, Stage::Incremental, Stage::Done][usize::from(self.stage.load(Relaxed)).min(3)]
    }

    /// What the stages raise as it happens.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn count_retries(&self, retries: Retries) {
        *self.retries.lock().unwrap_or_else(PoisonError::into_inner) = retries;
    }

    /// Shows this ring from now on, and when the binlog's reader heard from the source.
    pub(crate) fn watch(&self, ring: Gauge, heard: Option<Heard>) {
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        let before = std::mem::replace(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner), heard);
        self.read_before.fetch_add(before.map_or(0, |heard| heard.bytes()), Relaxed);
    }

    pub(crate) fn log_is_kept(&self, retention: Option<Duration>) {
        self.incremental.retention.store(retention.map_or(0, |kept| kept.as_secs()), Relaxed);
    }

    pub(crate) fn full_begins(&self, tables: u64, tables_done: u64, rows_estimated: u64, rows_done: u64) {
        self.full.tables.store(tables, Relaxed);
        self.full.tables_done.store(tables_done, Relaxed);
        self.full.rows_estimated.store(rows_estimated, Relaxed);
        self.full.rows_done.store(rows_done, Relaxed);
    }

    pub(crate) fn full_rows(&self, rows: u64) {
        self.full.rows_done.fetch_add(rows, Relaxed);
    }

    pub(crate) fn full_table_done(&self) {
        self.full.tables_done.fetch_add(1, Relaxed);
    }

    /// A transaction's end was read, with `waiting` rows now in the batch.
    pub(crate) fn read_to(&self, committed_at: u64, waiting: u64) {
        let here = &self.incremental;
        here.waiting.store(waiting, Relaxed);
        if waiting > 0 && here.filling_since.load(Relaxed) == 0 {
            here.filling_since.store(committed_at, Relaxed);
        }
    }

    /// The batch was handed over.
    pub(crate) fn closed(&self) {
        let here = &self.incremental;
        here.in_flight_since.store(here.filling_since.swap(0, Relaxed), Relaxed);
        here.waiting.store(0, Relaxed);
    }

    pub(crate) fn committed(&self, checkpoint: &Checkpoint) {
        let here = &self.incremental;
        here.inserts.store(checkpoint.read.inserts, Relaxed);
        here.updates.store(checkpoint.read.updates, Relaxed);
        here.deletes.store(checkpoint.read.deletes, Relaxed);
        here.loaded.store(checkpoint.loaded, Relaxed);
        here.epochs.store(checkpoint.epoch, Relaxed);
        here.complete_at.fetch_max(checkpoint.committed_at, Relaxed);
        let oldest = here.in_flight_since.swap(0, Relaxed);
        if oldest > 0 {
            self.metrics.visible(Duration::from_micros(now_micros().saturating_sub(oldest)));
        }
        *here.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint.position.clone());
    }

    /// The target works on a schema change since then (microseconds since 1970), or on none.
    pub(crate) fn changing(&self, since: Option<u64>) {
        self.incremental.changing_since.store(since.unwrap_or(0), Relaxed);
    }

    /// The source was asked at `asked_at` (microseconds since 1970) and has so many bytes of log behind the checkpoint.
    pub(crate) fn set_behind(&self, bytes: Option<u64>, asked_at: u64) {
        self.incremental.behind.store(bytes.map_or(0, |bytes| bytes + 1), Relaxed);
        if bytes == Some(0) {
            self.incremental.complete_at.fetch_max(asked_at, Relaxed);
        }
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.incremental.paused.store(paused, Relaxed);
    }

    /// `None`: the configured pause holds.
    pub(crate) fn set_widened_pause(&self, pause: Option<Duration>) {
        let millis = pause.map_or(0, |pause| pause.as_millis() as u64);
        self.incremental.widened_pause.store(millis, Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        let here = &self.incremental;
        let read = RowCounts {
            inserts: here.inserts.load(Relaxed),
            updates: here.updates.load(Relaxed),
            deletes: here.deletes.load(Relaxed),
        };
        let full_rows = self.full.rows_done.load(Relaxed);
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner).update(full_rows + read.total());
        let (silence, log_bytes) = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = heard.as_ref().map_or(0, Heard::bytes);
            (heard.as_ref().and_then(Heard::silence), bytes + self.read_before.load(Relaxed))
        };
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Gauge::read);
        let waiting = [&here.in_flight_since, &here.filling_since].map(|since| since.load(Relaxed));
        let oldest = waiting.into_iter().find(|&since| since > 0);
        let delay_micros = oldest.map_or(0, |since| now_micros().saturating_sub(since));
        let retention = Some(here.retention.load(Relaxed)).filter(|&seconds| seconds > 0).map(Duration::from_secs);
        Snapshot {
            stage: self.stage(),
            full_rows,
            full_rows_estimated: self.full.rows_estimated.load(Relaxed),
            full_tables: self.full.tables.load(Relaxed),
            full_tables_done: self.full.tables_done.load(Relaxed),
            read,
            rate,
            log_bytes,
            waiting: here.waiting.load(Relaxed),
            loaded: here.loaded.load(Relaxed),
            epochs: here.epochs.load(Relaxed),
            load_retries: self.retries.lock().unwrap_or_else(PoisonError::into_inner).total(),
            position: here.position.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            delay_micros,
            retention_left: retention.map(|kept| kept.saturating_sub(Duration::from_micros(delay_micros))),
            behind_bytes: here.behind.load(Relaxed).checked_sub(1),
            behind: Some(here.complete_at.load(Relaxed))
                .filter(|&at| at > 0)
                .map(|at| Duration::from_micros(now_micros().saturating_sub(at))),
            paused: here.paused.load(Relaxed),
            widened_pause: Some(here.widened_pause.load(Relaxed))
                .filter(|&millis| millis > 0)
                .map(Duration::from_millis),
            changing: match here.changing_since.load(Relaxed) {
                0 => Duration::ZERO,
                since => Duration::from_micros(now_micros().saturating_sub(since)),
            },
            silence: silence.unwrap_or_default(),
            ring: ring.unwrap_or_default(),
        }
    }
}

impl Snapshot {
    /// One line that says where the job stands.
    pub fn line(&self) -> String {
        let line = self.stage_line();
        if self.paused { format!("paused; {line}") } else { line }
    }

    fn stage_line(&self) -> String {
        match self.stage {
            Stage::Schema => "schema: making tables".to_owned(),
            Stage::Full => {
                let left = self.full_rows_estimated.saturating_sub(self.full_rows);
                let remaining = match left.checked_div(self.rate) {
                    Some(seconds) if left > 0 => format!(", about {seconds} s left"),
                    _ => String::new(),
                };
                format!(
                    "full: {} of about {} rows, {} rows/s{remaining}, {} of {} tables done",
                    self.full_rows, self.full_rows_estimated, self.rate, self.full_tables_done, self.full_tables
                )
            }
            Stage::Incremental => {
                let place = self.position.as_ref().map(|at| format!(", {}:{}", at.file, at.offset)).unwrap_or_default();
                let copies = match self.full_tables_done < self.full_tables {
                    true => format!(", copying: {} of about {} rows", self.full_rows, self.full_rows_estimated),
                    false => String::new(),
                };
                let pause = self.widened_pause.map(|pause| format!(", {} s between epochs", pause.as_secs_f64()));
                let changing = Some(self.changing.as_secs()).filter(|_| !self.changing.is_zero());
                let changing = changing.map(|seconds| format!(", schema change for {seconds} s")).unwrap_or_default();
                format!(
                    "incremental: {} inserts, {} updates, {} deletes, {} rows/s, {} waiting, {:.1} s behind{place}{}{changing}{copies}",
                    self.read.inserts,
                    self.read.updates,
                    self.read.deletes,
                    self.rate,
                    self.waiting,
                    self.delay_micros as f64 / 1e6,
                    pause.unwrap_or_default(),
                )
            }
            Stage::Done => "done".to_owned(),
        }
    }
}

/// Rows per second, over the last second or more.
#[derive(Debug)]
struct Rate {
    since: Instant,
    count: u64,
    last: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { since: Instant::now(), count: 0, last: 0 }
    }
}

impl Rate {
    /// `count` is what has been counted up to now.
    fn update(&mut self, count: u64) -> u64 {
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            self.last = (count.saturating_sub(self.count) as f64 / elapsed.as_secs_f64()) as u64;
            (self.count, self.since) = (count, Instant::now());
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_old_the_target_may_be_is_told_by_the_last_commit_and_by_a_source_that_has_nothing_more() {
        let progress = Progress::default();
        let behind = || progress.snapshot().behind.map(|behind| behind.as_secs());
        let ago = |seconds: u64| now_micros() - seconds * 1_000_000;
        let at = Position { file: "b.1".into(), offset: 4, gtids: None };
        assert_eq!(behind(), None);
        progress.committed(&Checkpoint { committed_at: ago(500), ..Checkpoint::at(at.clone()) });
        assert_eq!(behind(), Some(500));
        progress.set_behind(Some(7), ago(90));
        assert_eq!(behind(), Some(500), "there is more");
        progress.set_behind(Some(0), ago(60));
        assert_eq!(behind(), Some(60));
        // While the source is away nothing is learnt.
        progress.set_behind(Some(0), 0);
        progress.committed(&Checkpoint { committed_at: ago(500), ..Checkpoint::at(at) });
        assert_eq!(behind(), Some(60));
    }
}
