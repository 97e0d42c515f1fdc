//! How far the first walk has come: told every few seconds, so that whoever waits for an index knows
//! that it comes, and when. Later walks are short and silent.

use crate::observe::log;
use crate::storage::Storage;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two lines of a log.
const PACE: Duration = Duration::from_secs(5);
/// The same for a line that is redrawn in place.
const TERMINAL_PACE: Duration = Duration::from_millis(200);

/// What is counted.
#[derive(Default)]
pub(super) struct Progress {
    repositories: AtomicUsize,
    listed: AtomicUsize,
    tags: AtomicUsize,
    looked: AtomicUsize,
    charts: AtomicUsize,
}

impl Progress {
    pub(super) fn expect_listings(&self, count: usize) {
        self.repositories.store(count, Ordering::Relaxed);
    }

    pub(super) fn listed(&self) {
        self.listed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expect_looks(&self, count: usize) {
        self.tags.store(count, Ordering::Relaxed);
    }

    pub(super) fn looked(&self) {
        self.looked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn found(&self, is_chart: bool) {
        self.charts
            .fetch_add(usize::from(is_chart), Ordering::Relaxed);
    }

    /// Does `work`, and tells how far it has come meanwhile.
    pub(super) fn told<R>(&self, storage: &dyn Storage, work: impl FnOnce() -> R) -> R {
        let done = Done::default();
        thread::scope(|scope| {
            let tell = || self.tell(storage, &done);
            // Without a thread to tell, the walk is only quieter.
            let _ = thread::Builder::new()
                .name("progress".into())
                .spawn_scoped(scope, tell);
            let _ending = Ending(&done);
            work()
        })
    }

    fn tell(&self, storage: &dyn Storage, done: &Done) {
        let began = Instant::now();
        let pace = if log::is_terminal() {
            TERMINAL_PACE
        } else {
            PACE
        };
        while !done.within(pace) {
            log::progress(format_args!(
                "{}",
                self.line(storage.requests(), began.elapsed())
            ));
        }
        log::end_progress();
    }

    /// Short enough for a terminal of 80 columns.
    fn line(&self, requests: u64, elapsed: Duration) -> String {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let charts = count(&self.charts);
        let s = |is_one: bool| if is_one { "" } else { "s" };
        format!(
            "first walk: {}/{} repositories, {}/{} tags, {charts} chart{}, {requests} request{}, {} s",
            count(&self.listed),
            count(&self.repositories),
            count(&self.looked),
            count(&self.tags),
            s(charts == 1),
            s(requests == 1),
            elapsed.as_secs(),
        )
    }
}

/// Told when the work is done.
#[derive(Default)]
struct Done {
    flag: Mutex<bool>,
    told: Condvar,
}

impl Done {
    /// Waits for the end, so long at most; whether it has come.
    fn within(&self, pace: Duration) -> bool {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.told.wait_timeout_while(flag, pace, |done| !*done);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Tells of the end even when the work panics, or the thread that tells would never end.
struct Ending<'a>(&'a Done);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.0.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.told.notify_all();
    }
}
