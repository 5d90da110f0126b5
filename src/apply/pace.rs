//! The pause between epochs, when the target has no room for so many loads.
//!
//! Each load is a version of the tablets it touches and a transaction of its database, and StarRocks has a limit for both.
//! A target that says it is at a limit gets fewer and larger loads: the pause doubles with every epoch that was refused, up
//! to a minute, and the number of rows no longer closes an epoch, only its bytes do. The refused load itself is tried again
//! by the client, with pauses of its own; nothing newer goes out before it is in.
//!
//! The pause halves again for every three pauses that pass without a refusal, by time and not by epochs, so that a quiet
//! source comes back as well: the target has had that time for its compaction.
//!
//! The flusher asks how long to wait; the committer tells what the target has refused. Nobody else knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;
use crate::live::Live;
use crate::progress::Progress;
use crate::state::Store;
use crate::target::Pressure;

const LONGEST: Duration = Duration::from_secs(60);
/// Where a job without a pause begins.
const SHORTEST: Duration = Duration::from_secs(1);
/// Pauses without a refusal before it halves.
const CALM: u32 = 3;

/// Shared by the flusher and the committer of one run.
#[derive(Debug)]
pub struct Pace {
    live: Arc<Live>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: u64,
    wide: Option<Wide>,
    /// What the state store says.
    recorded: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wide {
    pause: Duration,
    /// When the pause became what it is, or was needed the last time.
    since: Instant,
    reason: &'static str,
}

/// A pause that is longer than the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widened {
    pub pause: Duration,
    /// What the target has too much or too little of.
    pub reason: &'static str,
}

impl Pace {
    /// `pressure` is the target's at the start: what it refused before is of no interest.
    pub fn new(live: Arc<Live>, pressure: Pressure) -> Pace {
        Pace { live, state: Mutex::new(State { seen: pressure.refusals, wide: None, recorded: None }) }
    }

    /// The pause to keep between two epochs now.
    pub(crate) fn pause(&self) -> Duration {
        self.widened().map_or_else(|| self.live.flush_pause(), |widened| widened.pause)
    }

    /// Whether so many rows close an epoch.
    pub(crate) fn is_full(&self, rows: usize) -> bool {
        rows >= self.live.incre_batch_rows() && self.widened().is_none()
    }

    /// `None`: the configured pause holds.
    pub(crate) fn widened(&self) -> Option<Widened> {
        self.widened_at(Instant::now())
    }

    /// An epoch is in; `pressure` is what the target has refused up to now. Keeps what others are shown true.
    ///
    /// # Errors
    /// The state store's.
    pub(crate) fn epoch_is_in(&self, pressure: Pressure, store: &Store, progress: &Progress) -> Result<()> {
        self.epoch_is_in_at(pressure, Instant::now());
        let widened = self.widened();
        let pause = widened.map(|widened| widened.pause);
        if std::mem::replace(&mut self.lock().recorded, pause) != pause {
            store.set_pace(widened.map(|widened| (widened.pause.as_millis() as u64, widened.reason)))?;
            progress.set_widened_pause(pause);
        }
        Ok(())
    }

    /// A pause, and rows that fill a batch, of their own.
    #[cfg(test)]
    pub(super) fn of(pause: Duration, rows: usize) -> Arc<Pace> {
        let params = crate::config::Params {
            real_flush_pause_sec: pause.as_secs_f64(),
            incre_batch_size: rows,
            ..crate::config::Params::default()
        };
        Arc::new(Pace::new(Arc::new(Live::new(&params)), Pressure::default()))
    }

    #[cfg(test)]
    pub(super) fn widen(&self, pressure: Pressure) {
        self.epoch_is_in_at(pressure, Instant::now());
    }

    /// As if the last refusal were longer ago.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        if let Some(wide) = &mut self.lock().wide {
            wide.since -= by;
        }
    }

    fn widened_at(&self, now: Instant) -> Option<Widened> {
        let mut state = self.lock();
        self.calm_down(&mut state, now);
        state.wide.map(|wide| Widened { pause: wide.pause, reason: wide.reason })
    }

    fn epoch_is_in_at(&self, pressure: Pressure, now: Instant) {
        let mut state = self.lock();
        if pressure.refusals == state.seen {
            return;
        }
        state.seen = pressure.refusals;
        self.calm_down(&mut state, now);
        let configured = self.live.flush_pause();
        let before = state.wide.map_or(configured, |wide| wide.pause);
        let pause = (before.max(SHORTEST) * 2).min(LONGEST).max(configured);
        let reason = pressure.reason;
        if state.wide.is_none() {
            tracing::warn!(
                "the target has {reason}: {} s between epochs now, and fewer and larger loads, until it has room",
                pause.as_secs_f64()
            );
        } else if pause > before {
            tracing::info!("the target still has {reason}: {} s between epochs now", pause.as_secs_f64());
        }
        state.wide = Some(Wide { pause, since: now, reason });
    }

    fn calm_down(&self, state: &mut State, now: Instant) {
        let configured = self.live.flush_pause();
        while let Some(wide) = &mut state.wide {
            let calm = wide.pause * CALM;
            if now.saturating_duration_since(wide.since) < calm {
                return;
            }
            wide.since += calm;
            wide.pause /= 2;
            if wide.pause < configured.max(SHORTEST) || wide.pause == configured {
                state.wide = None;
                tracing::info!("the target has room again: {} s between epochs", configured.as_secs_f64());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Params;

    fn refusals(refusals: u64) -> Pressure {
        Pressure { refusals, reason: "too many versions" }
    }

    fn pace_of(pause_sec: f64, refused: u64) -> Pace {
        let params = Params { real_flush_pause_sec: pause_sec, ..Params::default() };
        Pace::new(Arc::new(Live::new(&params)), refusals(refused))
    }

    fn seconds(pace: &Pace, at: Instant) -> f64 {
        pace.widened_at(at).map_or(0.0, |widened| widened.pause.as_secs_f64())
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute_with_every_refused_epoch() {
        let (pace, now) = (pace_of(10.0, 5), Instant::now());
        pace.epoch_is_in_at(refusals(5), now);
        assert_eq!(seconds(&pace, now), 0.0, "nothing was refused since the start");
        let mut seen = Vec::new();
        for count in [6, 6, 9, 10, 11] {
            pace.epoch_is_in_at(refusals(count), now);
            seen.push(seconds(&pace, now));
        }
        assert_eq!(seen, [20.0, 20.0, 40.0, 60.0, 60.0]);
        assert_eq!(pace.pause(), Duration::from_secs(60));
    }

    #[test]
    fn a_job_without_a_pause_gets_one_and_loses_it_again_with_time() {
        let (pace, now) = (pace_of(0.0, 0), Instant::now());
        pace.epoch_is_in_at(refusals(1), now);
        pace.epoch_is_in_at(refusals(2), now);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(
            [0, 11, 12, 17, 18, 20, 21].map(|at| seconds(&pace, after(at))),
            [4.0, 4.0, 2.0, 2.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(pace.pause(), Duration::ZERO);
    }

    #[test]
    fn a_refusal_keeps_the_pause_long() {
        let (pace, now) = (pace_of(0.0, 0), Instant::now());
        pace.epoch_is_in_at(refusals(1), now);
        let later = now + Duration::from_secs(5);
        pace.epoch_is_in_at(refusals(2), later);
        assert_eq!(seconds(&pace, later + Duration::from_secs(11)), 4.0);
        assert_eq!(seconds(&pace, later + Duration::from_secs(3600)), 0.0);
    }

    #[test]
    fn a_configured_pause_over_the_limit_stays() {
        let (pace, now) = (pace_of(300.0, 0), Instant::now());
        pace.epoch_is_in_at(refusals(1), now);
        assert_eq!(pace.pause(), Duration::from_secs(300));
    }
}
