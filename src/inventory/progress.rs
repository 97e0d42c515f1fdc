//! How far a first scan has come: an INFO line every few seconds, so that an operator who waits for the
//! first index knows that it comes, and when. Later scans are short and silent.

use crate::storage::Storage;
use crate::sync::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Counts what is done. The thread that counts something when a line is due logs it, so that no further
/// thread is needed.
pub(super) struct Progress(Mutex<Phase>);

struct Phase {
    what: &'static str,
    done: usize,
    of: usize,
    /// Never, if the scan is to be silent.
    next_line: Option<Instant>,
}

impl Progress {
    /// Of a scan that begins now.
    pub(super) fn new(is_logged: bool) -> Progress {
        Progress(Mutex::new(Phase {
            what: "",
            done: 0,
            of: 0,
            next_line: is_logged.then(|| Instant::now() + INTERVAL),
        }))
    }

    /// From now on that many of these are counted.
    pub(super) fn begin(&self, what: &'static str, of: usize) {
        let mut phase = lock(&self.0);
        (phase.what, phase.done, phase.of) = (what, 0, of);
    }

    /// Counts one.
    pub(super) fn count(&self, storage: &dyn Storage) {
        let mut phase = lock(&self.0);
        phase.done += 1;
        let now = Instant::now();
        if phase.next_line.is_some_and(|at| at <= now) {
            phase.next_line = Some(now + INTERVAL);
            let Phase { what, done, of, .. } = *phase;
            let requests = storage.requests();
            log::info!("first scan: {done} of {of} {what}, {requests} requests so far");
        }
    }
}
