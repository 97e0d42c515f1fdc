//! How many downloads run at once. Each holds a connection to the registry and the buffers of both
//! sides, and lasts as long as the slower side likes; so they're counted, and who comes too many
//! waits a moment for a slot.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most downloads at a time: some 200 KB each with a registry's connection, and more than one
/// registry serves well.
const MAX_DOWNLOADS: usize = 64;
/// Most requests that wait for a slot. Each holds a place in the house, which must not be full of
/// them.
const MAX_WAITING: usize = 448;
/// How long a request waits for a slot: a chart passes in less.
const WAIT: Duration = Duration::from_secs(10);

/// The slots.
#[derive(Default)]
pub(super) struct Slots {
    count: Mutex<Count>,
    freed: Condvar,
}

#[derive(Default)]
struct Count {
    taken: usize,
    waiting: usize,
}

/// One of them, given back when dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    /// A slot, if one is free in time.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let deadline = Instant::now() + WAIT;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while count.taken >= MAX_DOWNLOADS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || count.waiting >= MAX_WAITING {
                return None;
            }
            count.waiting += 1;
            count = self.freed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
            count.waiting -= 1;
        }
        count.taken += 1;
        Some(Slot(self.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner).taken -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn downloads_are_counted_and_a_freed_slot_goes_to_who_waits() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..MAX_DOWNLOADS).map(|_| slots.take().unwrap()).collect();
        let (waiting, free) = (slots.clone(), move || slots.count.lock().unwrap().waiting);
        let waiter = thread::spawn(move || waiting.take().is_some());
        while free() == 0 {
            thread::yield_now();
        }
        held.pop();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn who_comes_too_many_is_told_at_once() {
        let slots = Arc::new(Slots::default());
        slots.count.lock().unwrap().taken = MAX_DOWNLOADS;
        slots.count.lock().unwrap().waiting = MAX_WAITING;
        assert!(slots.take().is_none());
    }
}
