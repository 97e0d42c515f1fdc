//! How many downloads run at once. Each holds a connection to the registry and the buffers of both
//! sides, and lasts as long as the slower side likes; so they're counted, and who comes too many
//! waits a moment for a slot.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most downloads at a time: some 200 KB each with a registry's connection over TLS, so that they
/// fit beside a full cache and a full house, and as many as one registry serves well.
const MAX_DOWNLOADS: usize = 48;
/// Most requests that wait for a slot. Each holds a place in the house, which must not be full of
/// them.
const MAX_WAITING: usize = 448;
/// Most downloads of one address: a few slow readers must not hold them all. An ingress is one
/// address too, so it's most of them.
const MAX_OF_ONE: usize = 36;
/// How long a request waits for a slot: a chart passes in less.
const WAIT: Duration = Duration::from_secs(10);

/// The slots.
#[derive(Default)]
pub(super) struct Slots(Mutex<Count>);

#[derive(Default)]
struct Count {
    taken: usize,
    by_peer: HashMap<IpAddr, usize>,
    /// In the order they came. None of them has room: who frees a slot hands it on.
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
}

struct Waiting {
    ticket: u64,
    peer: IpAddr,
    call: SyncSender<Slot>,
}

/// One of them, given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    peer: IpAddr,
}

impl Slots {
    /// A slot for `peer`, if one is free in time. Who has waited for it is asked whether it `has_hung_up`
    /// meanwhile: then the registry needn't be asked.
    pub(super) fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        has_hung_up: impl FnOnce() -> bool,
    ) -> Option<Slot> {
        let mut count = self.lock();
        if count.has_room(peer) {
            count.enter(peer);
            return Some(Slot {
                slots: self.clone(),
                peer,
            });
        }
        if count.waiting.len() >= MAX_WAITING {
            return None;
        }
        let (call, called) = sync_channel(1);
        let ticket = count.next_ticket;
        count.next_ticket += 1;
        count.waiting.push_back(Waiting { ticket, peer, call });
        drop(count);
        let slot = called.recv_timeout(WAIT).ok();
        if slot.is_none() {
            self.lock().waiting.retain(|one| one.ticket != ticket);
        }
        // One that is handed over at the last moment is dropped with `called`, and so handed on.
        slot.filter(|_| !has_hung_up())
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn has_room(&self, peer: IpAddr) -> bool {
        self.taken < MAX_DOWNLOADS
            && self
                .by_peer
                .get(&peer)
                .is_none_or(|held| *held < MAX_OF_ONE)
    }

    fn enter(&mut self, peer: IpAddr) {
        self.taken += 1;
        *self.by_peer.entry(peer).or_default() += 1;
    }

    fn leave(&mut self, peer: IpAddr) {
        self.taken -= 1;
        if let Some(held) = self.by_peer.get_mut(&peer) {
            *held -= 1;
        }
        self.by_peer.retain(|_, held| *held > 0);
    }

    /// The first in line who has room now, already counted.
    fn call(&mut self) -> Option<Waiting> {
        let at = self
            .waiting
            .iter()
            .position(|one| self.has_room(one.peer))?;
        let next = self.waiting.remove(at)?;
        self.enter(next.peer);
        Some(next)
    }
}

impl Drop for Slot {
    /// Wakes the one whose turn it is, and nobody else: woken all at once, hundreds would look in vain.
    fn drop(&mut self) {
        let mut count = self.slots.lock();
        count.leave(self.peer);
        let next = count.call();
        drop(count);
        if let Some(Waiting { peer, call, .. }) = next {
            // Who has just given up leaves the slot to be dropped here, which hands it on.
            let _ = call.send(Slot {
                slots: self.slots.clone(),
                peer,
            });
        }
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
        let mut held: Vec<_> = (0..MAX_DOWNLOADS)
            .map(|n| slots.take(peer(n as u8), || false).unwrap())
            .collect();
        let waiting = slots.clone();
        let waiter = thread::spawn(move || waiting.take(peer(200), || false));
        while slots.lock().waiting.is_empty() {
            thread::yield_now();
        }
        held.pop();
        held.extend(waiter.join().unwrap());
        assert_eq!(
            (held.len(), slots.lock().taken),
            (MAX_DOWNLOADS, MAX_DOWNLOADS)
        );
        drop(held);
        assert!(slots.lock().taken == 0 && slots.lock().by_peer.is_empty());
    }

    #[test]
    fn one_address_does_not_get_them_all_and_who_has_room_is_called_first() {
        let mut count = Count::default();
        (0..MAX_OF_ONE).for_each(|_| count.enter(peer(1)));
        assert!(!count.has_room(peer(1)) && count.has_room(peer(2)));
        for (ticket, of) in [1, 1, 2, 2].into_iter().enumerate() {
            count.waiting.push_back(Waiting {
                ticket: ticket as u64,
                peer: peer(of),
                call: sync_channel(1).0,
            });
        }
        assert_eq!(count.call().map(|next| next.ticket), Some(2));
        count.leave(peer(1));
        assert_eq!(count.call().map(|next| next.ticket), Some(0));
    }

    #[test]
    fn who_has_hung_up_while_waiting_takes_none() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..MAX_DOWNLOADS)
            .map(|n| slots.take(peer(n as u8), || true).unwrap())
            .collect();
        let waiting = slots.clone();
        let waiter = thread::spawn(move || waiting.take(peer(200), || true).is_none());
        while slots.lock().waiting.is_empty() {
            thread::yield_now();
        }
        held.pop();
        assert!(waiter.join().unwrap());
        assert_eq!(slots.lock().taken, MAX_DOWNLOADS - 1);
    }

    #[test]
    fn a_slot_for_one_who_has_given_up_goes_to_the_next_in_line() {
        let slots = Arc::new(Slots::default());
        let mut held: Vec<_> = (0..MAX_DOWNLOADS)
            .map(|n| slots.take(peer(n as u8), || false).unwrap())
            .collect();
        let (gone, (call, called)) = (sync_channel(1).0, sync_channel(1));
        let line = [(0, gone), (1, call)];
        slots
            .lock()
            .waiting
            .extend(line.map(|(ticket, call)| Waiting {
                ticket,
                peer: peer(200),
                call,
            }));
        held.pop();
        assert!(called.try_recv().is_ok());
        assert_eq!(slots.lock().taken, MAX_DOWNLOADS - 1);
    }

    #[test]
    fn who_comes_too_many_is_told_at_once() {
        let slots = Arc::new(Slots::default());
        slots.lock().taken = MAX_DOWNLOADS;
        let line = (0..MAX_WAITING as u64).map(|ticket| Waiting {
            ticket,
            peer: peer(2),
            call: sync_channel(1).0,
        });
        slots.lock().waiting.extend(line);
        assert!(slots.take(peer(1), || false).is_none());
    }
}
