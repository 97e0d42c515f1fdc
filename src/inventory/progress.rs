//! How far the first walk has come: an INFO line every few seconds, so that an operator who waits for
//! the first index knows that it comes, and when. Later walks are short and silent.

use crate::storage::Storage;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Counters of one walk. A line is logged by the thread that counts something when one is due, so that
/// no thread is needed for it.
pub(super) struct Progress {
    began: Instant,
    /// When the next line is due, in milliseconds after `began`.
    next_line: AtomicU64,
    repositories: AtomicUsize,
    listed: AtomicUsize,
    tags: AtomicUsize,
    checked: AtomicUsize,
    charts: AtomicUsize,
}

impl Progress {
    /// Of a walk that begins now; silent unless it's `told`.
    pub(super) fn new(told: bool) -> Progress {
        let first = if told { millis(INTERVAL) } else { u64::MAX };
        Progress {
            began: Instant::now(),
            next_line: AtomicU64::new(first),
            repositories: AtomicUsize::new(0),
            listed: AtomicUsize::new(0),
            tags: AtomicUsize::new(0),
            checked: AtomicUsize::new(0),
            charts: AtomicUsize::new(0),
        }
    }

    pub(super) fn expect_listings(&self, count: usize) {
        self.repositories.store(count, Ordering::Relaxed);
    }

    pub(super) fn expect_checks(&self, count: usize) {
        self.tags.store(count, Ordering::Relaxed);
    }

    pub(super) fn listed(&self, storage: &dyn Storage) {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.tell(storage);
    }

    pub(super) fn checked(&self, storage: &dyn Storage) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        self.tell(storage);
    }

    pub(super) fn found(&self, is_chart: bool) {
        self.charts
            .fetch_add(usize::from(is_chart), Ordering::Relaxed);
    }

    /// Logs a line if one is due and no other thread does.
    fn tell(&self, storage: &dyn Storage) {
        let elapsed = self.began.elapsed();
        let due = self.next_line.load(Ordering::Relaxed);
        let next = millis(elapsed) + millis(INTERVAL);
        let is_due = millis(elapsed) >= due;
        let exchange = |due| {
            self.next_line
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
        };
        if is_due && exchange(due).is_ok() {
            let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
            log::info!(
                "first walk: {} of {} repositories listed, {} of {} tags read, {} charts, {} requests, {} s",
                count(&self.listed),
                count(&self.repositories),
                count(&self.checked),
                count(&self.tags),
                count(&self.charts),
                storage.requests(),
                elapsed.as_secs(),
            );
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
