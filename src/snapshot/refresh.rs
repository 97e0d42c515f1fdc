//! What is shown: the last good snapshot, always. The only loop that waits.
//!
//! One thread walks, when [`schedule`](super::schedule) says so; requests ask it to and wait a bounded
//! time. A walk that fails leaves the snapshot as it is and is followed by a pause that doubles, so that
//! a registry that is down is asked politely.

use super::defect::contained;
use super::schedule::{Attend, Next, Schedule, Timing};
use super::walker::Walker;
use super::{Found, Options, Snapshot};
use crate::oci::{Reference, RepositoryName};
use crate::storage::{Error, Storage};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most tags that are doubted at a time: the rest wait until they are due.
const MAX_DOUBTS: usize = 1000;

/// The snapshot in force, and the walk that will replace it.
pub struct Current {
    state: Mutex<State>,
    /// Told of every change of `state`.
    changed: Condvar,
}

struct State {
    schedule: Schedule,
    snapshot: Option<Arc<Snapshot>>,
    doubts: BTreeSet<(RepositoryName, Reference)>,
    failing: Option<Failing>,
}

/// Refreshes that fail, one after the other.
#[derive(Clone)]
pub struct Failing {
    /// Why the last one failed, as everybody may read it.
    pub why: Arc<str>,
    /// When the first of those ended that have all failed.
    pub since: Instant,
}

/// What the one who walks is to do.
enum Task {
    /// List everything, and look at what is new. It began then.
    Refresh(Instant),
    /// Look at the tags that are due, and at all of these.
    Check(BTreeSet<(RepositoryName, Reference)>),
}

impl Current {
    /// Nothing yet; the first walk is wanted at once.
    pub fn new(timing: Timing) -> Current {
        let schedule = Schedule::new(timing);
        let state = State {
            schedule,
            snapshot: None,
            doubts: BTreeSet::new(),
            failing: None,
        };
        Current {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The snapshot in force, however old.
    pub fn get(&self) -> Option<Arc<Snapshot>> {
        self.lock().snapshot.clone()
    }

    /// Why and since when refreshes fail, if the last one did.
    pub fn failing(&self) -> Option<Failing> {
        self.lock().failing.clone()
    }

    /// The snapshot for an index: one that a walk found which began at most `max_stale` before now,
    /// but never waited for longer than allowed. After a failed walk the last good one is given at
    /// once until the next is due.
    pub fn fresh(&self) -> Option<Arc<Snapshot>> {
        let mut state = self.lock();
        let visit = state.schedule.visit(Instant::now());
        loop {
            let now = Instant::now();
            let was_wanted = state.schedule.is_wanted();
            let attend = state.schedule.attend(&visit, now);
            // Told once: those who wait would else wake one another for as long as they wait.
            if state.schedule.is_wanted() && !was_wanted {
                self.changed.notify_all();
            }
            match attend {
                Attend::Serve => return state.snapshot.clone(),
                Attend::Wait(until) => {
                    state = self.wait(state, Some(until.saturating_duration_since(now)));
                }
            }
        }
    }

    /// A blob of a chart is gone: what it was found under is looked at again now.
    pub fn doubt(&self, chart: &Found) {
        let mut state = self.lock();
        let place = (chart.repository.clone(), chart.reference.clone());
        if state.doubts.len() < MAX_DOUBTS && state.doubts.insert(place) {
            self.changed.notify_all();
        }
    }

    /// Walks whenever it's wanted, until [`Current::stop`].
    pub fn run(&self, storage: &dyn Storage, options: Options) {
        let trust = self.lock().schedule.timing().trust;
        let mut walker = Walker::new(storage, options, trust);
        while let Some(task) = self.wait_for_task() {
            match task {
                Task::Refresh(began) => self.refresh(&mut walker, began),
                Task::Check(doubts) => self.check(&mut walker, &doubts),
            }
            let (next_due, now) = (walker.next_due(), Instant::now());
            let mut state = self.lock();
            let next_due = if state.doubts.is_empty() {
                next_due
            } else {
                Some(now)
            };
            state.schedule.check(next_due, now);
        }
    }

    /// Ends [`Current::run`] after the walk under way, and all waiting at once.
    pub fn stop(&self) {
        self.lock().schedule.stop();
        self.changed.notify_all();
    }

    fn refresh(&self, walker: &mut Walker, began: Instant) {
        let last = self.get();
        match contained(|| walker.refresh(last.as_deref())) {
            Ok(snapshot) => self.publish(snapshot, Some(began)),
            Err(error) => {
                let pause = self.fail(&error);
                report_failure(&error, last.is_some(), pause);
            }
        }
    }

    /// How long it will be before the next refresh.
    fn fail(&self, error: &Error) -> Duration {
        let mut state = self.lock();
        let since = state
            .failing
            .as_ref()
            .map_or_else(Instant::now, |failing| failing.since);
        state.failing = Some(Failing {
            why: error.to_string().into(),
            since,
        });
        self.changed.notify_all();
        state.schedule.fail(Instant::now())
    }

    fn check(&self, walker: &mut Walker, doubts: &BTreeSet<(RepositoryName, Reference)>) {
        let last = self.get();
        match contained(|| Ok(walker.check(last.as_deref(), doubts))) {
            Ok(snapshot) => self.publish(snapshot, None),
            Err(error) => log::error!("{error:#}"),
        }
    }

    fn wait_for_task(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let pause = match state.schedule.next(now) {
                Next::Stop => return None,
                Next::Refresh => {
                    state.schedule.begin(now);
                    return Some(Task::Refresh(now));
                }
                Next::Wait(until) if state.doubts.is_empty() => {
                    until.map(|until| until.saturating_duration_since(now))
                }
                Next::Check | Next::Wait(_) => {
                    state.schedule.begin_check(now);
                    return Some(Task::Check(std::mem::take(&mut state.doubts)));
                }
            };
            state = self.wait(state, pause);
        }
    }

    /// Puts a snapshot in force; without one, the last stays. `as_of`: a refresh that began then has
    /// found it.
    fn publish(&self, snapshot: Option<Snapshot>, as_of: Option<Instant>) {
        let mut state = self.lock();
        let before = snapshot.and_then(|snapshot| state.snapshot.replace(Arc::new(snapshot)));
        let mut recovered = None;
        if let Some(began) = as_of {
            state.schedule.succeed(began);
            recovered = state.failing.take();
        }
        self.changed.notify_all();
        drop(state);
        if let Some(Failing { since, .. }) = recovered {
            log::info!(
                "refreshes succeed again, after {} s",
                since.elapsed().as_secs()
            );
        }
        // The last reader frees a snapshot, and if that's us, then not while others wait for the lock.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        longest: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match longest {
            Some(longest) => {
                self.changed
                    .wait_timeout(state, longest)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

fn report_failure(error: &Error, serving: bool, pause: Duration) {
    let pause = pause.as_secs();
    if serving {
        log::warn!(
            "refresh failed, the last good index stays: {error:#} (next in {pause} s at the earliest)"
        );
    } else {
        log::error!("first walk failed, nothing is served yet: {error:#} (again in {pause} s)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    /// How often this thread has gone to sleep so far.
    fn sleeps() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn those_who_wait_for_the_same_refresh_do_not_keep_one_another_awake() {
        let current = Current::new(Timing {
            max_stale: Duration::ZERO,
            max_wait: Duration::from_millis(500),
            interval: Duration::from_secs(300),
            trust: None,
            longest_pause: Duration::from_secs(1),
        });
        let began = Instant::now();
        current.lock().schedule.begin(began);
        current.lock().schedule.succeed(began);
        // One is under way, and all who come from now on want the next.
        current.lock().schedule.begin(began);
        let wait = || {
            let before = sleeps();
            current.fresh();
            sleeps() - before
        };
        let sleeps: Vec<u64> = thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(wait)).collect();
            waiting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(sleeps.iter().all(|count| *count < 20), "{sleeps:?}");
    }
}
