//! How gently the source is read: `--rate-limit`, `--sample`.

use std::time::{Duration, Instant};

/// Keeps to a number of rows a second.
pub(super) struct Pace {
    rate: Option<u64>,
    began: Instant,
    rows: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Pace { rate, began: Instant::now(), rows: 0 }
    }

    pub(super) async fn keep(&mut self, rows: u64) {
        self.rows += rows;
        tokio::time::sleep(self.due().saturating_sub(self.began.elapsed())).await;
    }

    /// How long so many rows may have taken.
    fn due(&self) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        Duration::from_secs_f64(self.rows as f64 / rate.max(1) as f64)
    }
}

/// Every n-th chunk, from one that is drawn.
pub(super) struct Sample {
    stride: u64,
    first: u64,
}

impl Sample {
    pub(super) fn new(share: f64, chunks: u64) -> Sample {
        let stride = (1.0 / share.clamp(1e-6, 1.0)).round() as u64;
        // Of a small table one chunk at least.
        let first = rand::random_range(0..stride.min(chunks.max(1)));
        Sample { stride, first }
    }

    pub(super) fn takes(&self, number: u64) -> bool {
        number >= self.first && (number - self.first).is_multiple_of(self.stride)
    }
}

/// A share of the rows by what they are, so that both sides take the same ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSample {
    /// Of 2^32 digests.
    share: u64,
    shift: u32,
}

impl RowSample {
    /// `None`: all rows.
    pub(super) fn new(share: Option<f64>) -> RowSample {
        let all = f64::from(u32::MAX) + 1.0;
        RowSample { share: (share.unwrap_or(1.0).clamp(0.0, 1.0) * all) as u64, shift: rand::random() }
    }

    pub(super) fn takes(&self, digest: u128) -> bool {
        u64::from((digest as u32).wrapping_add(self.shift)) < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_takes_every_nth_chunk_and_at_least_one() {
        for _ in 0..100 {
            let sample = Sample::new(0.1, 1000);
            assert_eq!((0..1000).filter(|number| sample.takes(*number)).count(), 100);
            let small = Sample::new(0.01, 3);
            assert_eq!((0..3).filter(|number| small.takes(*number)).count(), 1);
        }
        let all = Sample::new(1.0, 5);
        assert!((0..5).all(|number| all.takes(number)));
    }

    #[test]
    fn a_rate_is_kept_over_all_rows_so_far() {
        let pace = |rate| Pace { rows: 1500, ..Pace::new(rate) };
        assert_eq!(pace(Some(1000)).due(), Duration::from_millis(1500));
        assert_eq!(pace(None).due(), Duration::ZERO);
    }

    #[test]
    fn a_sample_of_rows_is_the_same_on_both_sides() {
        let (all, some) = (RowSample::new(None), RowSample::new(Some(0.1)));
        let digests: Vec<u128> = (0..10_000_u128).map(|n| n.wrapping_mul(0x9E37_79B9)).collect();
        assert!(digests.iter().all(|digest| all.takes(*digest)));
        let taken = |sample: RowSample| digests.iter().filter(|digest| sample.takes(**digest)).count();
        assert!((500..2_000).contains(&taken(some)), "{}", taken(some));
        assert_eq!(taken(some), taken(some));
    }
}
