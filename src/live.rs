//! What may change while a job runs: the parameters of `towpath set`, and whether it is paused.
//!
//! The stages ask [`Live`] for the value of the moment each time they need one. [`Limiter`] holds a stage back that reads
//! more than `rateLimitRps` rows or `rateLimitMbps` MB a second, and every stage while the job is paused: it takes nothing
//! new then, what it has goes on into the target, and the source waits in TCP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Params;
use crate::state::Settings;

/// How often whoever is held back by a pause looks again.
const LOOK: Duration = Duration::from_millis(100);
/// So much may be read ahead of time.
const BURST: Duration = Duration::from_millis(200);

/// The values of this moment, shared by the stages of a run.
#[derive(Debug)]
pub struct Live {
    file: Params,
    paused: AtomicBool,
    flush_pause_micros: AtomicU64,
    incre_batch_rows: AtomicU64,
    full_batch_rows: AtomicU64,
    /// 0: no limit.
    rows_a_second: AtomicU64,
    bytes_a_second: AtomicU64,
    /// What was applied last.
    settings: Mutex<Settings>,
}

impl Live {
    /// `file` is what the job file says.
    pub fn new(file: &Params) -> Self {
        let live = Live {
            file: file.clone(),
            paused: AtomicBool::new(false),
            flush_pause_micros: AtomicU64::new(0),
            incre_batch_rows: AtomicU64::new(0),
            full_batch_rows: AtomicU64::new(0),
            rows_a_second: AtomicU64::new(0),
            bytes_a_second: AtomicU64::new(0),
            settings: Mutex::default(),
        };
        live.take(file);
        live
    }

    /// `true`: something is other than before.
    pub fn apply(&self, settings: &Settings) -> bool {
        let mut last = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == *settings {
            return false;
        }
        let mut params = self.file.clone();
        for (key, value) in &settings.params {
            params.set(key, *value);
        }
        self.take(&params);
        self.paused.store(settings.paused, Relaxed);
        *last = settings.clone();
        true
    }

    fn take(&self, params: &Params) {
        self.flush_pause_micros.store((params.real_flush_pause_sec * 1e6) as u64, Relaxed);
        self.incre_batch_rows.store(params.incre_batch_size as u64, Relaxed);
        self.full_batch_rows.store(params.full_batch_size as u64, Relaxed);
        self.rows_a_second.store(params.rate_limit_rps, Relaxed);
        self.bytes_a_second.store((params.rate_limit_mbps * 1e6) as u64, Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// Between two epochs.
    pub(crate) fn flush_pause(&self) -> Duration {
        Duration::from_micros(self.flush_pause_micros.load(Relaxed))
    }

    pub(crate) fn incre_batch_rows(&self) -> usize {
        self.incre_batch_rows.load(Relaxed) as usize
    }

    pub(crate) fn full_batch_rows(&self) -> u64 {
        self.full_batch_rows.load(Relaxed)
    }
}

/// Keeps what is read within the limits of the moment. Each stage has its own.
#[derive(Debug)]
pub struct Limiter {
    live: Arc<Live>,
    debt: Mutex<Debt>,
}

/// What was read and is not paid off by time yet. It is kept in rows and bytes, so that a limit that is raised counts at once.
#[derive(Debug)]
struct Debt {
    rows: f64,
    bytes: f64,
    at: Instant,
}

impl Debt {
    /// The time up to `now` pays at these rates; without a limit nothing is owed.
    fn pay(&mut self, rows_a_second: f64, bytes_a_second: f64, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let left = |debt: f64, rate: f64| if rate > 0.0 { (debt - seconds * rate).max(0.0) } else { 0.0 };
        (self.rows, self.bytes, self.at) = (left(self.rows, rows_a_second), left(self.bytes, bytes_a_second), now);
    }
}

impl Limiter {
    pub fn new(live: Arc<Live>) -> Self {
        Limiter { live, debt: Mutex::new(Debt { rows: 0.0, bytes: 0.0, at: Instant::now() }) }
    }

    /// This much was read.
    pub(crate) fn took(&self, rows: u64, bytes: u64) {
        self.took_at(rows, bytes, Instant::now());
    }

    /// How long not to read on; `None`: go on.
    pub(crate) fn held_back(&self) -> Option<Duration> {
        self.held_back_at(Instant::now())
    }

    /// Rows and bytes a second; `None`: neither has a limit.
    fn limits(&self) -> Option<(f64, f64)> {
        let limits = (self.live.rows_a_second.load(Relaxed), self.live.bytes_a_second.load(Relaxed));
        (limits != (0, 0)).then_some((limits.0 as f64, limits.1 as f64))
    }

    fn took_at(&self, rows: u64, bytes: u64, now: Instant) {
        if let Some((rows_a_second, bytes_a_second)) = self.limits() {
            let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
            debt.pay(rows_a_second, bytes_a_second, now);
            debt.rows += rows as f64;
            debt.bytes += bytes as f64;
        }
    }

    fn held_back_at(&self, now: Instant) -> Option<Duration> {
        if self.live.is_paused() {
            return Some(LOOK);
        }
        let (rows_a_second, bytes_a_second) = self.limits()?;
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        debt.pay(rows_a_second, bytes_a_second, now);
        let seconds = |debt: f64, rate: f64| if rate > 0.0 { debt / rate } else { 0.0 };
        let owed = seconds(debt.rows, rows_a_second).max(seconds(debt.bytes, bytes_a_second)) - BURST.as_secs_f64();
        // Looked at again before long: the limit may be another one then.
        (owed > 0.0).then(|| Duration::from_secs_f64(owed.min(LOOK.as_secs_f64())))
    }

    /// Waits until reading may go on.
    pub(crate) async fn pass(&self) {
        while let Some(wait) = self.held_back() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(params: &[(&str, f64)]) -> Settings {
        Settings { paused: false, params: params.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect() }
    }

    #[test]
    fn a_setting_holds_until_it_is_taken_back() {
        let live = Live::new(&Params::default());
        assert_eq!((live.flush_pause(), live.incre_batch_rows()), (Duration::from_secs(10), 50_000));
        assert!(live.apply(&settings(&[("realFlushPauseSec", 0.25), ("increBatchSize", 7.0)])));
        assert_eq!((live.flush_pause(), live.incre_batch_rows()), (Duration::from_millis(250), 7));
        assert!(!live.apply(&settings(&[("realFlushPauseSec", 0.25), ("increBatchSize", 7.0)])), "nothing is new");
        assert!(live.apply(&settings(&[("increBatchSize", 8.0)])));
        assert_eq!((live.flush_pause(), live.incre_batch_rows()), (Duration::from_secs(10), 8));
    }

    #[test]
    fn what_is_read_too_fast_is_paid_for_by_waiting() {
        let live = Arc::new(Live::new(&Params::default()));
        let limiter = Limiter::new(Arc::clone(&live));
        let now = Instant::now();
        limiter.took_at(1_000_000, 1 << 30, now);
        assert_eq!(limiter.held_back_at(now), None, "there is no limit");
        live.apply(&settings(&[("rateLimitRps", 1000.0), ("rateLimitMbps", 1.0)]));
        // 2 s worth of rows, 3 s worth of bytes, read in steps of a tenth.
        for _ in 0..10 {
            limiter.took_at(200, 300_000, now);
        }
        let held = |seconds: f64| limiter.held_back_at(now + Duration::from_secs_f64(seconds)).is_some();
        assert!(held(0.0) && held(2.5));
        assert!(!held(2.9), "at the end of it reading goes on");
    }

    #[test]
    fn a_limit_that_is_raised_or_taken_away_counts_at_once() {
        let live = Arc::new(Live::new(&Params::default()));
        let limiter = Limiter::new(Arc::clone(&live));
        let now = Instant::now();
        live.apply(&settings(&[("rateLimitRps", 1.0)]));
        limiter.took_at(1000, 0, now);
        assert!(limiter.held_back_at(now + Duration::from_secs(100)).is_some());
        live.apply(&settings(&[("rateLimitRps", 900.0)]));
        assert!(limiter.held_back_at(now + Duration::from_secs(100)).is_some());
        assert_eq!(limiter.held_back_at(now + Duration::from_secs(101)), None);
        live.apply(&settings(&[("rateLimitRps", 1.0)]));
        limiter.took_at(1000, 0, now + Duration::from_secs(101));
        live.apply(&settings(&[]));
        assert_eq!(limiter.held_back_at(now + Duration::from_secs(101)), None);
    }

    #[test]
    fn a_paused_job_is_held_back_with_and_without_limits() {
        let live = Arc::new(Live::new(&Params::default()));
        let limiter = Limiter::new(Arc::clone(&live));
        live.apply(&Settings { paused: true, ..Settings::default() });
        assert_eq!(limiter.held_back(), Some(LOOK));
        live.apply(&Settings::default());
        assert_eq!(limiter.held_back(), None);
    }
}
