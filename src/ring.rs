//! The bounded ring between a reader and the flusher: a lock-free array ring of `N` slots
//! (`crossbeam_channel::bounded`) plus a byte budget over everything that waits in it or behind it.
//!
//! A full ring or an empty budget stops the reader; the server's dump thread or SELECT then waits in TCP.
//! That is all the back-pressure there is.
//!
//! What leaves the ring keeps its share of the budget (`Held`) until it is dropped, that is, until its
//! epoch is in the target. What is still on the ring when the last receiver goes keeps its share until the senders
//! are gone too, so a sender that waits for the budget has to be told: nothing would ever be given back.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crossbeam_channel as channel;

/// A bound on bytes in memory, shared by the stages of one job.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Ledger>);

#[derive(Debug)]
struct Ledger {
    total: usize,
    free: Mutex<isize>,
    freed: Condvar,
}

impl Budget {
    pub fn new(total_bytes: usize) -> Self {
        let total = total_bytes.max(1);
        Budget(Arc::new(Ledger { total, free: Mutex::new(total as isize), freed: Condvar::new() }))
    }

    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Bytes held at this moment.
    pub fn used(&self) -> usize {
        let free = *self.0.lock();
        (self.0.total as isize - free).max(0) as usize
    }

    /// Takes `bytes`, waiting until something is free. One piece may overdraw the budget, so that a row
    /// larger than all of it still passes, alone.
    pub fn hold(&self, bytes: usize) -> Held {
        let mut free = self.0.lock();
        while *free <= 0 {
            free = self.wait(free);
        }
        self.take(free, bytes)
    }

    /// Like `hold`; `None` when nothing is free and `open` says that nothing will be. Whoever makes `open` say so has to
    /// wake the waiting.
    fn hold_while(&self, bytes: usize, open: impl Fn() -> bool) -> Option<Held> {
        let mut free = self.0.lock();
        while *free <= 0 {
            if !open() {
                return None;
            }
            free = self.wait(free);
        }
        Some(self.take(free, bytes))
    }

    fn wait<'a>(&'a self, free: MutexGuard<'a, isize>) -> MutexGuard<'a, isize> {
        self.0.freed.wait(free).unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, mut free: MutexGuard<'_, isize>, bytes: usize) -> Held {
        *free -= bytes as isize;
        Held { bytes, ledger: Arc::clone(&self.0) }
    }
}

impl Budget {
    /// Takes `bytes` without waiting, also when nothing is free: for what must come in before anything can be given back.
    pub fn hold_at_once(&self, bytes: usize) -> Held {
        *self.0.lock() -= bytes as isize;
        Held { bytes, ledger: Arc::clone(&self.0) }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, isize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    ledger: Arc<Ledger>,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.ledger.lock() += self.bytes as isize;
        self.ledger.freed.notify_one();
    }
}

/// One item on the ring with its share of the budget.
#[derive(Debug)]
pub struct Entry<T> {
    pub item: T,
    pub held: Held,
}

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// The writing end. `send` blocks its thread: call it from a thread of its own, never from an async task.
#[derive(Debug)]
pub struct Sender<T> {
    slots: channel::Sender<Entry<T>>,
    budget: Budget,
    receivers: Weak<Receivers>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { slots: self.slots.clone(), budget: self.budget.clone(), receivers: self.receivers.clone() }
    }
}

impl<T> Sender<T> {
    /// What the ring draws on.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Puts `item` on the ring and counts `bytes` for it. Waits while the ring is full or the budget spent.
    pub fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let held = self.budget.hold_while(bytes, || self.receivers.strong_count() > 0).ok_or(Closed)?;
        self.slots.send(Entry { item, held }).map_err(|_| Closed)
    }
}

/// What all receivers of a ring share. It goes with the last of them, and wakes the senders that wait for the budget.
#[derive(Debug)]
struct Receivers(Budget);

impl Drop for Receivers {
    fn drop(&mut self) {
        // Under the lock: a sender has either seen that nobody is left, or waits already.
        let _free = self.0.0.lock();
        self.0.0.freed.notify_all();
    }
}

#[derive(Debug)]
pub struct Receiver<T> {
    /// Shared, so that a [`Gauge`] can look at it without keeping the ring open.
    slots: Arc<channel::Receiver<Entry<T>>>,
    receivers: Arc<Receivers>,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { slots: Arc::clone(&self.slots), receivers: Arc::clone(&self.receivers) }
    }
}

impl<T> Receiver<T> {
    /// The next item; `Ok(None)` when `deadline` passed first.
    pub fn recv_deadline(&self, deadline: std::time::Instant) -> Result<Option<Entry<T>>, Closed> {
        match self.slots.recv_deadline(deadline) {
            Ok(entry) => Ok(Some(entry)),
            Err(channel::RecvTimeoutError::Timeout) => Ok(None),
            Err(channel::RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// For `crossbeam_channel::select!`.
    pub fn inner(&self) -> &channel::Receiver<Entry<T>> {
        &self.slots
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// Tells how full the ring and `budget` are, until the ring is gone.
    pub fn gauge(&self, budget: &Budget) -> Gauge {
        let (slots, budget) = (Arc::downgrade(&self.slots), budget.clone());
        Gauge(Box::new(move || {
            let slots = slots.upgrade()?;
            Some(Fill {
                slots: slots.len(),
                capacity: slots.capacity().unwrap_or_default(),
                used: budget.used(),
                budget: budget.total(),
            })
        }))
    }
}

/// How full a ring is, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    pub slots: usize,
    pub capacity: usize,
    /// Bytes held of the budget.
    pub used: usize,
    pub budget: usize,
}

/// Looks at a ring from outside.
pub struct Gauge(Box<dyn Fn() -> Option<Fill> + Send + Sync>);

impl Gauge {
    /// `None`: the ring is gone.
    pub fn read(&self) -> Option<Fill> {
        (self.0)()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.read()).finish()
    }
}

/// A ring of `slots` entries that draws on `budget`.
pub fn ring<T>(slots: usize, budget: &Budget) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = channel::bounded(slots.max(1));
    let receivers = Arc::new(Receivers(budget.clone()));
    let sender = Sender { slots: sender, budget: budget.clone(), receivers: Arc::downgrade(&receivers) };
    (sender, Receiver { slots: Arc::new(receiver), receivers })
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_spent_budget_stops_the_sender_until_something_is_dropped() {
        let budget = Budget::new(100);
        let (sender, receiver) = ring::<u32>(16, &budget);
        sender.send(1, 100).unwrap();
        let writer = thread::spawn(move || sender.send(2, 10).unwrap());
        let first = receiver.recv_deadline(Instant::now() + Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(first.item, 1);
        assert!(receiver.recv_deadline(Instant::now() + Duration::from_millis(100)).unwrap().is_none());
        drop(first);
        let second = receiver.recv_deadline(Instant::now() + Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(second.item, 2);
        writer.join().unwrap();
    }

    #[test]
    fn a_piece_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(10);
        let held = budget.hold(1000);
        assert_eq!(budget.used(), 1000);
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn senders_that_wait_for_the_budget_are_told_that_the_receivers_are_gone() {
        let budget = Budget::new(10);
        let (sender, receiver) = ring::<u32>(16, &budget);
        sender.send(1, 10).unwrap();
        let other = receiver.clone();
        let waiting: Vec<_> = (2..5)
            .map(|item| {
                let sender = sender.clone();
                thread::spawn(move || sender.send(item, 10))
            })
            .collect();
        drop(receiver);
        thread::sleep(Duration::from_millis(100));
        assert!(waiting.iter().all(|sender| !sender.is_finished()), "another receiver is still there");
        // What is on the ring is not taken off it, and keeps the budget spent.
        drop(other);
        for sender in waiting {
            assert_eq!(sender.join().unwrap(), Err(Closed));
        }
    }

    #[test]
    fn a_gauge_sees_the_ring_and_does_not_keep_it_open() {
        let budget = Budget::new(100);
        let (sender, receiver) = ring::<u32>(4, &budget);
        sender.send(1, 30).unwrap();
        let gauge = receiver.gauge(&budget);
        assert_eq!(gauge.read(), Some(Fill { slots: 1, capacity: 4, used: 30, budget: 100 }));
        drop(receiver);
        assert_eq!(gauge.read(), None);
        assert_eq!(sender.send(2, 1), Err(Closed));
    }

    #[test]
    fn a_gone_receiver_is_told() {
        let (sender, receiver) = ring::<u32>(1, &Budget::new(10));
        drop(receiver);
        assert_eq!(sender.send(1, 1), Err(Closed));
    }
}
