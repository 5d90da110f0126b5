//! The bounded ring between a reader and the flusher: a lock-free array ring
//! (`crossbeam_channel::bounded`) plus a byte budget over everything that waits in it or behind it.
//!
//! A sender may *gather* small items and put them on the ring together, as a parcel. Handing one item over costs more than
//! reading it: a share of the budget, and often waking a thread, which sleeps again at once. So a sender gathers while more
//! is there to be read, and sends what it has before it waits; nothing is ever held back.
//!
//! A full ring or an empty budget stops the reader; the server's dump thread or SELECT then waits in TCP.
//! That is all the back-pressure there is.
//!
//! What leaves the ring keeps its share of the budget (`Held`) until it is dropped, that is, until its
//! epoch is in the target. What is still on the ring when the last receiver goes keeps its share until the senders
//! are gone too, so a sender that waits for the budget has to be told: nothing would ever be given back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crossbeam_channel as channel;

/// A bound on bytes in memory, shared by the stages of one job.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Ledger>);

#[derive(Debug)]
struct Ledger {
    total: usize,
    free: Mutex<Free>,
    freed: Condvar,
}

#[derive(Debug)]
struct Free {
    bytes: isize,
    /// Threads that wait for some. Waking is a call of the kernel, also when nobody waits; so it is asked first.
    waiting: usize,
}

impl Budget {
    pub fn new(total_bytes: usize) -> Self {
        let total = total_bytes.max(1);
        Budget(Arc::new(Ledger {
            total,
            free: Mutex::new(Free { bytes: total as isize, waiting: 0 }),
            freed: Condvar::new(),
        }))
    }

    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Bytes held at this moment.
    pub fn used(&self) -> usize {
        let free = self.0.lock().bytes;
        (self.0.total as isize - free).max(0) as usize
    }

    /// Takes `bytes`, waiting until something is free. One piece may overdraw the budget, so that a row
    /// larger than all of it still passes, alone.
    pub fn hold(&self, bytes: usize) -> Held {
        let mut free = self.0.lock();
        while free.bytes <= 0 {
            free = self.wait(free);
        }
        self.take(free, bytes)
    }

    /// Like `hold`; `None` when nothing is free and `open` says that nothing will be. Whoever makes `open` say so has to
    /// wake the waiting.
    fn hold_while(&self, bytes: usize, open: impl Fn() -> bool) -> Option<Held> {
        let mut free = self.0.lock();
        while free.bytes <= 0 {
            if !open() {
                return None;
            }
            free = self.wait(free);
        }
        Some(self.take(free, bytes))
    }

    fn wait<'a>(&'a self, mut free: MutexGuard<'a, Free>) -> MutexGuard<'a, Free> {
        free.waiting += 1;
        let mut free = self.0.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        free.waiting -= 1;
        free
    }

    fn take(&self, mut free: MutexGuard<'_, Free>, bytes: usize) -> Held {
        free.bytes -= bytes as isize;
        Held { bytes, ledger: Arc::clone(&self.0) }
    }
}

impl Budget {
    /// Takes `bytes` without waiting, also when nothing is free: for what must come in before anything can be given back.
    pub fn hold_at_once(&self, bytes: usize) -> Held {
        self.0.lock().bytes -= bytes as isize;
        Held { bytes, ledger: Arc::clone(&self.0) }
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Free> {
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

    /// A part of this share, as a share of its own.
    fn split(&mut self, bytes: usize) -> Held {
        self.bytes -= bytes;
        Held { bytes, ledger: Arc::clone(&self.ledger) }
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(more) = self.bytes.checked_sub(bytes) {
            drop(self.split(more));
        }
    }

    /// Takes over another share, if it is of the same budget; else gives it back to the caller. The shares of many small
    /// pieces that go together are then given back at once, and not one by one.
    pub(crate) fn join(&mut self, mut other: Held) -> Option<Held> {
        if !Arc::ptr_eq(&self.ledger, &other.ledger) {
            return Some(other);
        }
        self.bytes += std::mem::take(&mut other.bytes);
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut free = self.ledger.lock();
        free.bytes += self.bytes as isize;
        let wake = free.waiting > 0;
        drop(free);
        if wake {
            // All: what is free now may be enough for several.
            self.ledger.freed.notify_all();
        }
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

/// Items that go over the ring together, never none, with one share of the budget. Each gets its own when it is taken: what
/// both threads count on would go to and fro between their cores, for every item twice.
#[derive(Debug)]
pub struct Parcel<T> {
    /// Each with its part of the share.
    items: VecDeque<(T, usize)>,
    held: Held,
}

/// Items in one parcel.
const PARCEL_ITEMS: usize = 64;
/// A parcel with so many bytes is sent. Little, beside the smallest budget.
const PARCEL_BYTES: usize = 64 << 10;

/// The writing end. `send` blocks its thread: call it from a thread of its own, never from an async task.
#[derive(Debug)]
pub struct Sender<T> {
    slots: channel::Sender<Parcel<T>>,
    budget: Budget,
    receivers: Weak<Receivers>,
    gathered: RefCell<Gathered<T>>,
    /// Of a full parcel.
    most: usize,
}

#[derive(Debug)]
struct Gathered<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Gathered<T> {
    const NOTHING: Self = Gathered { items: VecDeque::new(), bytes: 0 };
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            slots: self.slots.clone(),
            budget: self.budget.clone(),
            receivers: self.receivers.clone(),
            gathered: RefCell::new(Gathered::NOTHING),
            most: self.most,
        }
    }
}

impl<T> Sender<T> {
    /// What the ring draws on.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Puts `item` on the ring and counts `bytes` for it. Waits while the ring is full or the budget spent.
    pub fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        self.keep(item, bytes);
        self.flush()
    }

    /// As `send`, but the item may wait for others until [`Sender::flush`], which has to be called before anything else is
    /// waited for.
    pub fn gather(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let full = self.keep(item, bytes);
        if full { self.flush() } else { Ok(()) }
    }

    /// `true`: that fills a parcel.
    fn keep(&self, item: T, bytes: usize) -> bool {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.items.is_empty() {
            gathered.items.reserve(self.most);
        }
        gathered.bytes += bytes;
        gathered.items.push_back((item, bytes));
        gathered.items.len() >= self.most || gathered.bytes >= PARCEL_BYTES
    }

    /// Puts on the ring what was gathered.
    pub fn flush(&self) -> Result<(), Closed> {
        let Gathered { items, bytes } = self.gathered.replace(Gathered::NOTHING);
        if items.is_empty() {
            return Ok(());
        }
        let held = self.budget.hold_while(bytes, || self.receivers.strong_count() > 0).ok_or(Closed)?;
        self.receivers.upgrade().ok_or(Closed)?.waiting.fetch_add(items.len(), Relaxed);
        self.slots.send(Parcel { items, held }).map_err(|_| Closed)
    }
}

/// What all receivers of a ring share. It goes with the last of them, and wakes the senders that wait for the budget.
#[derive(Debug)]
struct Receivers {
    budget: Budget,
    /// Items on the ring, those that are being put there included.
    waiting: AtomicUsize,
}

impl Drop for Receivers {
    fn drop(&mut self) {
        // Under the lock: a sender has either seen that nobody is left, or waits already.
        let _free = self.budget.0.lock();
        self.budget.0.freed.notify_all();
    }
}

#[derive(Debug)]
pub struct Receiver<T> {
    /// Shared, so that a [`Gauge`] can look at it without keeping the ring open.
    slots: Arc<channel::Receiver<Parcel<T>>>,
    receivers: Arc<Receivers>,
    /// The parcel that was opened last, or what is left of it.
    open: RefCell<Option<Parcel<T>>>,
    capacity: usize,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let (slots, receivers) = (Arc::clone(&self.slots), Arc::clone(&self.receivers));
        Receiver { slots, receivers, open: RefCell::default(), capacity: self.capacity }
    }
}

impl<T> Receiver<T> {
    /// The next item, waited for.
    pub fn recv(&self) -> Result<Entry<T>, Closed> {
        loop {
            if let Some(entry) = self.take() {
                return Ok(entry);
            }
            self.open(self.slots.recv().map_err(|_| Closed)?);
        }
    }

    /// The next item; `Ok(None)` when `deadline` passed first.
    pub fn recv_deadline(&self, deadline: std::time::Instant) -> Result<Option<Entry<T>>, Closed> {
        loop {
            if let Some(entry) = self.take() {
                return Ok(Some(entry));
            }
            match self.slots.recv_deadline(deadline) {
                Ok(parcel) => self.open(parcel),
                Err(channel::RecvTimeoutError::Timeout) => return Ok(None),
                Err(channel::RecvTimeoutError::Disconnected) => return Err(Closed),
            }
        }
    }

    /// The next item that is there.
    pub fn take(&self) -> Option<Entry<T>> {
        if let entry @ Some(_) = self.next() {
            return entry;
        }
        self.open(self.slots.try_recv().ok()?);
        self.next()
    }

    /// The next item of the open parcel.
    fn next(&self) -> Option<Entry<T>> {
        let mut open = self.open.borrow_mut();
        let Parcel { items, held } = open.as_mut()?;
        let (item, bytes) = items.pop_front()?;
        Some(Entry { item, held: held.split(bytes) })
    }

    /// For `crossbeam_channel::select!`, when there is nothing to [`Receiver::take`]; what comes out has to be
    /// [`Receiver::open`]ed.
    pub fn inner(&self) -> &channel::Receiver<Parcel<T>> {
        &self.slots
    }

    /// Its items come behind those of the parcel that is open.
    pub fn open(&self, mut parcel: Parcel<T>) {
        self.receivers.waiting.fetch_sub(parcel.items.len(), Relaxed);
        let mut open = self.open.borrow_mut();
        match open.as_mut().filter(|open| !open.items.is_empty()) {
            Some(open) => {
                open.items.append(&mut parcel.items);
                let apart = open.held.join(parcel.held);
                debug_assert!(apart.is_none(), "a ring draws on one budget");
            }
            None => *open = Some(parcel),
        }
    }

    /// An item is there that needs not be waited for, of a parcel that was opened.
    pub(crate) fn has_open(&self) -> bool {
        self.open.borrow().as_ref().is_some_and(|open| !open.items.is_empty())
    }

    pub fn len(&self) -> usize {
        self.receivers.waiting.load(Relaxed) + self.open.borrow().as_ref().map_or(0, |open| open.items.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// Tells how full the ring and `budget` are, until the ring is gone.
    pub fn gauge(&self, budget: &Budget) -> Gauge {
        let (receivers, budget) = (Arc::downgrade(&self.receivers), budget.clone());
        let capacity = self.capacity;
        Gauge(Box::new(move || {
            let slots = receivers.upgrade()?.waiting.load(Relaxed).min(capacity);
            Some(Fill { slots, capacity, used: budget.used(), budget: budget.total() })
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

/// A ring of `slots` entries that draws on `budget`. Nothing is gathered.
pub fn ring<T>(slots: usize, budget: &Budget) -> (Sender<T>, Receiver<T>) {
    with_parcels(slots, 1, budget)
}

/// A ring of `slots` small entries, which go over it in parcels.
pub fn ring_of_parcels<T>(slots: usize, budget: &Budget) -> (Sender<T>, Receiver<T>) {
    with_parcels(slots, PARCEL_ITEMS, budget)
}

fn with_parcels<T>(slots: usize, most: usize, budget: &Budget) -> (Sender<T>, Receiver<T>) {
    let capacity = slots.max(1);
    let most = capacity.min(most);
    let (sender, receiver) = channel::bounded(capacity.div_ceil(most));
    let receivers = Arc::new(Receivers { budget: budget.clone(), waiting: AtomicUsize::new(0) });
    let sender = Sender {
        slots: sender,
        budget: budget.clone(),
        receivers: Arc::downgrade(&receivers),
        gathered: RefCell::new(Gathered::NOTHING),
        most,
    };
    (sender, Receiver { slots: Arc::new(receiver), receivers, open: RefCell::default(), capacity })
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
    fn what_is_gathered_goes_when_there_is_enough_or_when_it_is_told_to() {
        let budget = Budget::new(1 << 20);
        let (sender, receiver) = ring_of_parcels::<usize>(1000, &budget);
        for item in 0..PARCEL_ITEMS - 1 {
            sender.gather(item, 10).unwrap();
        }
        assert!(receiver.is_empty() && receiver.take().is_none());
        sender.gather(PARCEL_ITEMS - 1, 10).unwrap();
        assert_eq!((receiver.len(), budget.used()), (PARCEL_ITEMS, 10 * PARCEL_ITEMS));
        sender.gather(PARCEL_ITEMS, PARCEL_BYTES).unwrap();
        assert_eq!(receiver.len(), PARCEL_ITEMS + 1, "that one is large");
        sender.gather(PARCEL_ITEMS + 1, 10).unwrap();
        sender.flush().unwrap();
        sender.gather(PARCEL_ITEMS + 2, 10).unwrap();
        sender.send(PARCEL_ITEMS + 3, 10).unwrap();
        let items: Vec<usize> = std::iter::from_fn(|| receiver.take().map(|entry| entry.item)).collect();
        assert_eq!(items, (0..PARCEL_ITEMS + 4).collect::<Vec<_>>());
        assert_eq!((receiver.len(), budget.used()), (0, 0));
    }

    #[test]
    fn each_item_of_a_parcel_gives_its_own_share_back() {
        let budget = Budget::new(100);
        let (sender, receiver) = ring_of_parcels::<u32>(16, &budget);
        sender.gather(1, 60).unwrap();
        sender.gather(2, 30).unwrap();
        sender.flush().unwrap();
        let first = receiver.recv().unwrap();
        assert_eq!((first.held.bytes(), budget.used()), (60, 90));
        drop(first);
        assert_eq!(budget.used(), 30);
        drop(sender);
        assert_eq!(receiver.recv().unwrap().item, 2);
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn shares_that_were_joined_are_given_back_together() {
        let budget = Budget::new(100);
        let mut held = budget.hold(40);
        assert!(held.join(budget.hold(30)).is_none());
        assert_eq!((held.bytes(), budget.used()), (70, 70));
        let other = Budget::new(100);
        let apart = held.join(other.hold(20)).unwrap();
        assert_eq!((held.bytes(), apart.bytes()), (70, 20));
        drop(held);
        assert_eq!((budget.used(), other.used()), (0, 20));
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
