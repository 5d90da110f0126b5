//! Which of several addresses to speak to: the first of the job file that works.
//!
//! An address that failed rests, longer each time, so that one that is gone for good costs little; when its rest is over
//! the next call goes back to it, as the order of the job file is the user's wish. While all of them rest, the one that
//! has rested longest for its part is tried: there is always an address to try now.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Address;

const FIRST_REST: Duration = Duration::from_secs(15);
const LONGEST_REST: Duration = Duration::from_secs(300);

pub(super) struct Addresses {
    all: Vec<Address>,
    /// One for each.
    rests: Mutex<Vec<Option<Rest>>>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Addresses {
    /// `all` is not empty.
    pub(super) fn new(all: Vec<Address>) -> Self {
        Addresses { rests: Mutex::new(vec![None; all.len()]), all }
    }

    pub(super) fn all(&self) -> &[Address] {
        &self.all
    }

    /// The address to try now.
    pub(super) fn current(&self) -> &Address {
        &self.all[self.order(Instant::now())[0]]
    }

    /// All of them, the one to try now first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Address> {
        self.order(Instant::now()).into_iter().map(|at| &self.all[at])
    }

    /// It did not answer, or cannot serve.
    pub(super) fn failed(&self, address: &Address) {
        self.failed_at(address, Instant::now());
    }

    /// It answers.
    pub(super) fn worked(&self, address: &Address) {
        if let Some(at) = self.position(address) {
            self.lock()[at] = None;
        }
    }

    fn failed_at(&self, address: &Address, now: Instant) {
        let Some(at) = self.position(address) else { return };
        let rest = &mut self.lock()[at];
        let length = rest.map_or(FIRST_REST, |rest| (rest.length * 2).min(LONGEST_REST));
        *rest = Some(Rest { until: now + length, length });
    }

    fn order(&self, now: Instant) -> Vec<usize> {
        let rests = self.lock();
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        // Stable: those that do not rest keep the order of the job file.
        order.sort_by_key(|at| rests[*at].map(|rest| rest.until).filter(|until| *until > now));
        order
    }

    /// A BE that a redirect led to is in no list.
    fn position(&self, address: &Address) -> Option<usize> {
        self.all.iter().position(|one| one == address)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Rest>>> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address { host: host.into(), port: 8030 }
    }

    #[test]
    fn an_address_that_fails_rests_and_is_gone_back_to() {
        let addresses = Addresses::new(["a", "b", "c"].map(address).to_vec());
        let now = Instant::now();
        let host = |after: u64| {
            let at = addresses.order(now + Duration::from_secs(after))[0];
            addresses.all()[at].host.clone()
        };
        assert_eq!(host(0), "a");
        addresses.failed_at(&address("a"), now);
        assert_eq!((host(0), host(14), host(15)), ("b".into(), "b".into(), "a".into()));
        // Gone for longer: it rests twice as long.
        addresses.failed_at(&address("a"), now + Duration::from_secs(15));
        assert_eq!((host(44), host(45)), ("b".into(), "a".into()));
        addresses.failed_at(&address("b"), now + Duration::from_secs(16));
        addresses.failed_at(&address("c"), now + Duration::from_secs(17));
        assert_eq!(host(18), "b", "all rest: the one that is back first");
        addresses.worked(&address("a"));
        assert_eq!(host(18), "a");
        addresses.failed_at(&address("elsewhere"), now);
        assert_eq!(host(18), "a");
    }
}
