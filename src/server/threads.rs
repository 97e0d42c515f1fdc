//! The threads that serve connections: one each, started when needed and kept for a while
//! afterwards, because starting one costs more than a small response. A job never waits behind
//! another one: it gets an idle thread, or a new one, or it is refused.

use crate::sync::{lock, wait_while};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Stack of a thread, in bytes: room for a TLS handshake with the registry, and for the 300 KB of a
/// compressor, which an unoptimised build makes on the stack before it moves it to the heap. Only
/// what is touched takes memory.
const STACK: usize = 512 * 1024;
/// How long an idle thread is kept: a helm command makes its few connections within this.
const KEPT_IDLE: Duration = Duration::from_secs(5);
/// Most idle threads that are kept. A thread that has called the registry has touched 60 KB of its
/// stack; without this bound, a thousand threads would hold that after a burst of downloads.
const MAX_IDLE: usize = 64;

/// What a thread does.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// All threads that serve connections.
#[derive(Default)]
pub(super) struct Threads(Arc<Workers>);

#[derive(Default)]
struct Workers {
    queue: Mutex<JobQueue>,
    given: Condvar,
}

/// The jobs that no thread has taken yet: never more than there are idle or starting threads.
#[derive(Default)]
struct JobQueue {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Threads {
    /// Gives `job` to an idle thread, or to a new one; gives it back if the system has none.
    ///
    /// Called by one thread only, the one that accepts connections.
    pub(super) fn give(&self, job: Job) -> Result<(), Job> {
        let mut queue = lock(&self.0.queue);
        queue.jobs.push_back(job);
        if queue.jobs.len() <= queue.idle {
            self.0.given.notify_one();
            return Ok(());
        }
        drop(queue);
        let workers = self.0.clone();
        let builder = thread::Builder::new().name("connection".into());
        match builder.stack_size(STACK).spawn(move || workers.work()) {
            Ok(_) => Ok(()),
            // Unless another thread has become idle and taken it meanwhile.
            Err(_) => lock(&self.0.queue).jobs.pop_back().map_or(Ok(()), Err),
        }
    }
}

impl Workers {
    /// Does jobs until there has been none for a while, or until enough other threads are idle.
    fn work(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // The drop guards of a job give back what it held.
                let _ = catch_unwind(AssertUnwindSafe(job));
                queue = lock(&self.queue);
                continue;
            }
            if queue.idle >= MAX_IDLE {
                return;
            }
            queue.idle += 1;
            queue = wait_while(&self.given, queue, KEPT_IDLE, |queue| queue.jobs.is_empty());
            queue.idle -= 1;
            if queue.jobs.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel, sync_channel};

    #[test]
    fn jobs_never_wait_for_each_other_and_threads_are_used_again() {
        let threads = Threads::default();
        let (report, reports) = channel();
        let (release, gate) = sync_channel::<()>(0);
        let give = |word: &'static str, gate: Option<Receiver<()>>| {
            let report = report.clone();
            let job = move || {
                gate.iter().for_each(|gate| gate.recv().unwrap());
                report.send((word, thread::current().id())).unwrap();
            };
            assert!(threads.give(Box::new(job)).is_ok());
        };
        give("held", Some(gate));
        give("free", None);
        let (free, one) = reports.recv_timeout(KEPT_IDLE).unwrap();
        release.send(()).unwrap();
        let (held, two) = reports.recv_timeout(KEPT_IDLE).unwrap();
        assert_eq!((free, held), ("free", "held"));
        while lock(&threads.0.queue).idle < 2 {
            thread::yield_now();
        }
        give("again", None);
        let (_, again) = reports.recv_timeout(KEPT_IDLE).unwrap();
        assert!(again == one || again == two);
    }

    #[test]
    fn a_panic_costs_its_own_job() {
        let threads = Threads::default();
        let (report, reports) = channel();
        assert!(threads.give(Box::new(|| panic!("on purpose"))).is_ok());
        let job = move || report.send(()).unwrap();
        assert!(threads.give(Box::new(job)).is_ok());
        assert_eq!(reports.recv_timeout(KEPT_IDLE), Ok(()));
    }
}
