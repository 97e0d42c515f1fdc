//! How many downloads run at once. Each holds a connection to the registry and the buffers of both
//! sides, and lasts as long as the slower side likes; so they're counted, and who comes too many
//! waits a moment for a slot.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most downloads at a time: some 200 KB each with a registry's connection, and more than one
/// registry serves well.
const MAX_DOWNLOADS: usize = 64;
/// Most requests that wait for a slot. Each holds a place in the house, which must not be full of
/// them.
const MAX_WAITING: usize = 448;
/// Most downloads of one address: a few slow readers must not hold them all. An ingress is one
/// address too, so it's most of them.
const MAX_OF_ONE: usize = 48;
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
    by_peer: HashMap<IpAddr, usize>,
    waiting: usize,
}

/// One of them, given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    peer: IpAddr,
}

impl Slots {
    /// A slot for `peer`, if one is free in time.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let deadline = Instant::now() + WAIT;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while !count.has_room(peer) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || count.waiting >= MAX_WAITING {
                return None;
            }
            count.waiting += 1;
            count = self.freed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
            count.waiting -= 1;
        }
        count.taken += 1;
        *count.by_peer.entry(peer).or_default() += 1;
        Some(Slot { slots: self.clone(), peer })
    }
}

impl Count {
    fn has_room(&self, peer: IpAddr) -> bool {
        self.taken < MAX_DOWNLOADS && self.by_peer.get(&peer).is_none_or(|held| *held < MAX_OF_ONE)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut count = self.slots.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.taken -= 1;
        if let Some(held) = count.by_peer.get_mut(&self.peer) {
            *held -= 1;
        }
        count.by_peer.retain(|_, held| *held > 0);
        drop(count);
        // All: the next in line may be one whose address has its share already.
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn peer(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn downloads_are_counted_and_a_freed_slot_goes_to_who_waits() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..MAX_DOWNLOADS).map(|n| slots.take(peer(n as u8)).unwrap()).collect();
        let (waiting, free) = (slots.clone(), move || slots.count.lock().unwrap().waiting);
        let waiter = thread::spawn(move || waiting.take(peer(200)).is_some());
        while free() == 0 {
            thread::yield_now();
        }
        held.pop();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn one_address_does_not_get_them_all() {
        let count = Count { taken: MAX_OF_ONE, by_peer: HashMap::from([(peer(1), MAX_OF_ONE)]), waiting: 0 };
        assert!(!count.has_room(peer(1)));
        assert!(count.has_room(peer(2)));
    }

    #[test]
    fn who_comes_too_many_is_told_at_once() {
        let slots = Arc::new(Slots::default());
        slots.count.lock().unwrap().taken = MAX_DOWNLOADS;
        slots.count.lock().unwrap().waiting = MAX_WAITING;
        assert!(slots.take(peer(1)).is_none());
    }
}
