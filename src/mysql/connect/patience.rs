//! How long the source is waited for, and how often it is asked again.

use std::time::Duration;

use crate::config::Params;

/// The pauses' upper end, as a multiple of the first one.
const LONGEST: u32 = 60;
/// How long a refusal that may pass is taken for passing, as a multiple of the first pause.
const REFUSAL: u32 = 240;

/// All waits for the source, made from two of the job's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// `retryWaitTimeMs`
    first_pause: Duration,
    /// `soTimeoutSec`: a binlog connection without any event for so long counts as lost.
    pub(crate) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience::of(&Params::default())
    }
}

impl Patience {
    pub fn of(params: &Params) -> Self {
        Patience {
            first_pause: Duration::from_millis(params.retry_wait_time_ms),
            silence: Duration::from_secs(params.so_timeout_sec),
        }
    }

    /// How often a server with nothing to send is asked to say so: several times within the silence that is borne.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.silence / 12
    }

    /// How long a server may refuse us after it has let us in: passwords are changed at one place and then at the
    /// other, a promotion takes a moment. Two minutes by default.
    pub(crate) fn refusal(&self) -> Duration {
        self.first_pause * REFUSAL
    }

    /// Half a second, doubling up to 30, by default.
    pub fn pauses(&self) -> Pauses {
        let longest = (self.first_pause * LONGEST).min(Duration::from_secs(60));
        Pauses { first: self.first_pause, next: self.first_pause, longest }
    }
}

/// The pauses between tries.
#[derive(Debug, Clone)]
pub struct Pauses {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// The pause before the next try.
    pub fn take(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }

    /// A try has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_longest_and_begin_again_after_a_success() {
        let mut pauses = Patience::default().pauses();
        let seconds: Vec<f64> = (0..8).map(|_| pauses.take().as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        pauses.reset();
        assert_eq!(pauses.take(), Duration::from_millis(500));
    }
}
