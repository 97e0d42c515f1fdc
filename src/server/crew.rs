//! The threads that serve connections: one each, started when needed and kept for a while
//! afterwards, because starting one costs more than a small answer. A job never waits behind
//! another: there's a free thread for it, or a new one, or a refusal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Stack of a thread, in bytes: room for a TLS handshake with the registry, and for the 300 KB of a
/// compressor, which without optimisation is made on the stack and then put on the heap. Memory is used
/// only as far as it's touched.
const STACK: usize = 512 * 1024;
/// How long a thread without work stays: a helm command makes its few connections within this.
const PARKED: Duration = Duration::from_secs(5);
/// Most threads that stay without work. Beyond them, one that has talked to the registry gives back
/// the 60 KB of its stack that this has touched; else a thousand would hold them after a crowd's
/// downloads, and only one in twenty of them at a time needs them.
const MAX_PARKED: usize = 64;

/// What a thread does.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// All threads that serve connections.
#[derive(Default)]
pub(super) struct Crew {
    next: AtomicU64,
    parked: Arc<Parked>,
}

/// The ways to threads without work, by number; the last to come is the first to go.
#[derive(Default)]
struct Parked(Mutex<Vec<(u64, SyncSender<Job>)>>);

impl Parked {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, SyncSender<Job>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// Gives `job` to a free thread, or to a new one; gives it back if the system has none.
    pub(super) fn give(&self, job: Job) -> Result<(), Job> {
        let free = self.parked.lock().pop().map(|(_, sender)| sender);
        match free.or_else(|| self.start()) {
            Some(sender) => sender.send(job).map_err(|refused| refused.0),
            None => Err(job),
        }
    }

    fn start(&self) -> Option<SyncSender<Job>> {
        let (sender, jobs) = sync_channel(1);
        let worker = Worker {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            parked: self.parked.clone(),
            own: sender.clone(),
            jobs,
        };
        let builder = thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK);
        builder.spawn(move || worker.work()).ok()?;
        Some(sender)
    }
}

/// One thread's side.
struct Worker {
    number: u64,
    parked: Arc<Parked>,
    own: SyncSender<Job>,
    jobs: Receiver<Job>,
}

impl Worker {
    fn work(self) {
        while let Some(job) = self.next() {
            // Whatever a job leaves behind is given back by its drop guards.
            let _ = catch_unwind(AssertUnwindSafe(job));
            let mut parked = self.parked.lock();
            if parked.len() >= MAX_PARKED {
                return;
            }
            parked.push((self.number, self.own.clone()));
        }
    }

    /// The next job, or nothing after a while without one.
    fn next(&self) -> Option<Job> {
        if let Ok(job) = self.jobs.recv_timeout(PARKED) {
            return Some(job);
        }
        let mut parked = self.parked.lock();
        if let Some(at) = parked.iter().position(|(number, _)| *number == self.number) {
            parked.swap_remove(at);
            return None;
        }
        drop(parked);
        // Someone has just taken us off the list: the job is on its way.
        self.jobs.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_never_wait_for_each_other_and_threads_are_used_again() {
        let crew = Crew::default();
        let (report, reports) = channel();
        let (release, gate) = sync_channel::<()>(0);
        let give = |word: &'static str, gate: Option<Receiver<()>>| {
            let report = report.clone();
            let job = move || {
                gate.iter().for_each(|gate| gate.recv().unwrap());
                report.send(word).unwrap();
            };
            assert!(crew.give(Box::new(job)).is_ok());
        };
        give("held", Some(gate));
        give("free", None);
        assert_eq!(reports.recv_timeout(PARKED), Ok("free"));
        release.send(()).unwrap();
        assert_eq!(reports.recv_timeout(PARKED), Ok("held"));
        while crew.parked.lock().len() < 2 {
            thread::yield_now();
        }
        give("again", None);
        assert_eq!(reports.recv_timeout(PARKED), Ok("again"));
        assert_eq!(crew.next.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_panic_costs_its_own_job() {
        let crew = Crew::default();
        let (report, reports) = channel();
        assert!(crew.give(Box::new(|| panic!("a defect"))).is_ok());
        assert!(
            crew.give(Box::new(move || report.send(()).unwrap()))
                .is_ok()
        );
        assert_eq!(reports.recv_timeout(PARKED), Ok(()));
    }
}
