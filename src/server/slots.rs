//! How many downloads run at once. Each holds a connection to the registry and the buffers of both
//! sides, and lasts as long as the slower side likes; so they're counted, and who comes too many
//! waits a moment for a slot.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most downloads at a time: some 100 KB each, and more than one registry serves well.
const MAX_DOWNLOADS: usize = 256;
/// How long a request waits for a slot: a chart passes in less.
const WAIT: Duration = Duration::from_secs(10);

/// The slots.
#[derive(Default)]
pub(super) struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of them, given back when dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    /// A slot, if one is free in time.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let deadline = Instant::now() + WAIT;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= MAX_DOWNLOADS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            taken = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += 1;
        Some(Slot(self.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}
