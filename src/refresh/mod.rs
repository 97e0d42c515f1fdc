//! Which snapshot is in force, and how it is replaced. The only room whose loop waits: one thread
//! refreshes and checks when the [`schedule`] says so; requests want a refresh and wait for it for a
//! bounded time. A refresh that fails leaves the snapshot in force as it is.

mod refresher;
mod report;
mod schedule;

pub use refresher::{Options, once};
pub use schedule::Timing;

use crate::inventory::{StoredChart, contained};
use crate::observe::metrics;
use crate::oci::{Reference, RepositoryName};
use crate::snapshot::Snapshot;
use crate::storage::{Error, Storage};
use crate::sync::lock;
use log::Level;
use refresher::Refresher;
use schedule::{Attend, Next, Schedule, Task};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most tags that wait to be rechecked out of turn: the rest wait until they are due.
const MAX_RECHECKS: usize = 1000;

/// `/readyz` tells of a refresh that takes so long: most take seconds.
const LONG: Duration = Duration::from_secs(10);
/// The log warns of one that takes so long: the first of a large registry is over by then.
pub const VERY_LONG: Duration = Duration::from_secs(300);

/// How long it's told once that refreshes fail for one reason: they are tried every few seconds.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Tags to check out of turn.
type Rechecks = BTreeSet<(RepositoryName, Reference)>;

/// The snapshot in force, and the schedule of its successors.
pub struct Current {
    state: Mutex<State>,
    /// Notified of every change of `state`.
    changed: Condvar,
}

struct State {
    schedule: Schedule,
    snapshot: Option<Arc<Snapshot>>,
    rechecks: Rechecks,
    failing: Option<Failing>,
    /// While the snapshot is what former scans have left on disk: as of when.
    restored: Option<String>,
    /// How many repositories and tags gave no answer, or were not asked for yet.
    unread: usize,
}

/// A row of refreshes that have all failed.
#[derive(Clone)]
pub struct Failing {
    /// Why the last one failed, as anyone may read it.
    pub why: Arc<str>,
    /// When the first one failed.
    pub since: Instant,
    /// When this reason was last told in the log.
    told: Instant,
}

/// What the refresh thread is to do, in this order.
struct Work {
    refresh: bool,
    check: Option<Rechecks>,
}

impl Current {
    /// No snapshot yet; the first refresh is wanted at once.
    pub fn new(timing: Timing) -> Current {
        let state = State {
            schedule: Schedule::new(timing),
            snapshot: None,
            rechecks: Rechecks::new(),
            failing: None,
            restored: None,
            unread: 0,
        };
        Current {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The snapshot in force, however old.
    pub fn get(&self) -> Option<Arc<Snapshot>> {
        lock(&self.state).snapshot.clone()
    }

    /// Why and since when refreshes fail, if the last one did.
    pub fn failing(&self) -> Option<Failing> {
        lock(&self.state).failing.clone()
    }

    /// How long ago the last refresh that succeeded began.
    pub fn age(&self) -> Option<Duration> {
        lock(&self.state).schedule.age(Instant::now())
    }

    /// That a refresh or check has been under way for long, if so, and how old the index is.
    pub fn overdue(&self) -> Option<String> {
        self.overdue_at(Instant::now()).map(|(_, text)| text)
    }

    fn overdue_at(&self, now: Instant) -> Option<(Duration, String)> {
        let state = lock(&self.state);
        let under_way = state.schedule.under_way_for(now);
        let under_way = under_way.filter(|time| *time >= LONG)?;
        let age = match state.schedule.age(now) {
            Some(age) => format!("the index is {} s old", age.as_secs()),
            None => "there is no index yet".to_owned(),
        };
        let seconds = under_way.as_secs();
        let text = format!("a refresh has been under way for {seconds} s, and {age}");
        Some((under_way, text))
    }

    /// Warns of a refresh that takes very long, and again after twice the time: nothing else tells of one that
    /// never ends, as on a file system that hangs. `warned` is how long it had taken at the last warning;
    /// returns the same of this one.
    pub(crate) fn watch(&self, warned: Duration, now: Instant) -> Duration {
        match self.overdue_at(now) {
            Some((time, text)) if time >= VERY_LONG && time >= warned * 2 => {
                log::warn!("{text}");
                time
            }
            Some(_) => warned,
            None => Duration::ZERO,
        }
    }

    /// As of when the snapshot is (RFC 3339, empty if that is not known), while it is what former scans have
    /// left on disk, because the storage itself could not be asked yet.
    pub fn restored(&self) -> Option<String> {
        lock(&self.state).restored.clone()
    }

    /// How many repositories and tags gave no answer, or were not asked for yet: the snapshot may lack
    /// their charts.
    pub fn unread(&self) -> usize {
        lock(&self.state).unread
    }

    /// The snapshot for an index: from a refresh that began at most `max_stale` before now, unless that
    /// means to wait longer than allowed. After a failed refresh the last good one is given at once until
    /// the next is due.
    pub fn fresh(&self) -> Option<Arc<Snapshot>> {
        let arrived = Instant::now();
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let was_wanted = state.schedule.is_wanted();
            let attend = state.schedule.attend(arrived, now);
            // Once: requests that wait would else wake one another for as long as they wait.
            if state.schedule.is_wanted() && !was_wanted {
                self.changed.notify_all();
            }
            match attend {
                Attend::Serve => return state.snapshot.clone(),
                Attend::WaitUntil(deadline) => state = self.wait(state, Some(deadline), now),
            }
        }
    }

    /// A blob of a chart returned 404: its tag is checked again at once.
    pub fn recheck(&self, chart: &StoredChart) {
        let mut state = lock(&self.state);
        let tag = (chart.repository.clone(), chart.reference.clone());
        if state.rechecks.len() < MAX_RECHECKS && state.rechecks.insert(tag) {
            self.changed.notify_all();
        }
    }

    /// Refreshes and checks whenever that is due, until [`Current::stop`].
    pub fn run(&self, storage: &dyn Storage, options: Options) {
        let check_interval = lock(&self.state).schedule.timing().check_interval;
        let mut refresher = Refresher::new(storage, options, check_interval);
        // Of what is on disk: a file system may hang. The first refresh stays wanted.
        self.begin(Task::Check);
        let restored = refresher.restore();
        let mut state = lock(&self.state);
        if let Some((snapshot, as_of)) = restored {
            let when = match &*as_of {
                "" => String::new(),
                date => format!(", as of {date}"),
            };
            log::info!("that is from the mirror{when}; now the registry is asked");
            (state.snapshot, state.restored) = (Some(Arc::new(snapshot)), Some(as_of));
        }
        state.schedule.rest(None, Instant::now());
        drop(state);
        while let Some(work) = self.wait_for_work() {
            if work.refresh {
                self.refresh(&mut refresher);
            }
            if let Some(rechecks) = work.check {
                self.check(&mut refresher, &rechecks);
            }
            let next_due = refresher.next_due();
            lock(&self.state).schedule.rest(next_due, Instant::now());
        }
    }

    /// Ends [`Current::run`] after the task under way, and all waiting at once.
    pub fn stop(&self) {
        lock(&self.state).schedule.stop();
        self.changed.notify_all();
    }

    fn wait_for_work(&self) -> Option<Work> {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let (refresh, check, until) = match state.schedule.next(now) {
                Next::Stop => return None,
                Next::Work { refresh, check } => (refresh, check, None),
                Next::Wait(until) => (false, false, until),
            };
            let check = check || !state.rechecks.is_empty();
            if refresh || check {
                let check = check.then(|| std::mem::take(&mut state.rechecks));
                return Some(Work { refresh, check });
            }
            state = self.wait(state, until, now);
        }
    }

    fn refresh(&self, refresher: &mut Refresher) {
        let began = self.begin(Task::Refresh);
        let last = self.get();
        let result = contained(|| refresher.refresh(last.as_deref()));
        let outcome = if result.is_ok() { "success" } else { "failure" };
        metrics::REFRESHES.observe(outcome, began.elapsed());
        let unread = refresher.unread();
        let mut state = lock(&self.state);
        state.unread = unread;
        let before = match result {
            Ok(snapshot) => {
                state.schedule.succeed(began, Instant::now());
                state.restored = None;
                if let Some(Failing { since, .. }) = state.failing.take() {
                    let duration = since.elapsed();
                    log::info!(
                        duration = duration.as_secs_f64();
                        "refreshes succeed again, after {} s", duration.as_secs()
                    );
                }
                snapshot.and_then(|snapshot| state.snapshot.replace(Arc::new(snapshot)))
            }
            Err(error) => {
                let backoff = state.schedule.fail(Instant::now());
                let (why, now) = (Arc::from(error.to_string()), Instant::now());
                let is_known = |last: &Failing| last.why == why && now < last.told + TELL_AGAIN;
                let told = state.failing.take().filter(is_known).map(|last| last.told);
                report_failure(
                    &error,
                    last.is_some(),
                    told.is_some(),
                    state.schedule.wanted_from(),
                );
                state.failing = Some(Failing {
                    why,
                    since: backoff.since,
                    told: told.unwrap_or(now),
                });
                None
            }
        };
        self.changed.notify_all();
        drop(state);
        // The last reader frees a snapshot; if that's this thread, then not while others wait for the lock.
        drop(before);
    }

    fn check(&self, refresher: &mut Refresher, rechecks: &Rechecks) {
        self.begin(Task::Check);
        let last = self.get();
        let result = contained(|| Ok(refresher.check(last.as_deref(), rechecks)));
        let unread = refresher.unread();
        lock(&self.state).unread = unread;
        match result {
            Ok(None) => {}
            Ok(Some(snapshot)) => {
                let before = lock(&self.state).snapshot.replace(Arc::new(snapshot));
                self.changed.notify_all();
                drop(before);
            }
            Err(error) => log::error!("{error:#}"),
        }
    }

    fn begin(&self, task: Task) -> Instant {
        let now = Instant::now();
        lock(&self.state).schedule.begin(task, now);
        now
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
        now: Instant,
    ) -> MutexGuard<'a, State> {
        match until.map(|until| until.saturating_duration_since(now)) {
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

/// Tells of a failed refresh. While something is served, a reason that was told not long ago is for debugging
/// only.
fn report_failure(error: &Error, is_serving: bool, is_known: bool, earliest: Option<Instant>) {
    let pause = earliest.map_or(Duration::ZERO, |at| {
        at.saturating_duration_since(Instant::now())
    });
    let pause = pause.as_secs_f32().round();
    if is_serving {
        log::log!(
            if is_known { Level::Debug } else { Level::Warn }, status = error.status();
            "refresh failed, the last good index stays: {error:#} (next in {pause} s at the earliest)"
        );
    } else {
        log::error!(
            status = error.status();
            "first scan failed, nothing is served yet: {error:#} (again in {pause} s)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Filter;
    use crate::oci::Blob;
    use crate::snapshot::IndexStyle;
    use crate::storage::Former;
    use std::fs;
    use std::io::{self, Read};
    use std::sync::mpsc;
    use std::thread;

    /// How often this thread has gone to sleep so far.
    fn sleeps() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// A file system that hangs kept a refresh for ever, and `/readyz` said "ready".
    #[test]
    fn a_refresh_that_never_ends_is_told_and_warned_of_again_after_twice_the_time() {
        let current = Current::new(Timing {
            max_stale: Duration::ZERO,
            max_wait: Duration::ZERO,
            interval: Duration::from_secs(300),
            check_interval: None,
            longest_pause: Duration::from_secs(1),
        });
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let is_told = |seconds| current.overdue_at(at(seconds)).is_some();
        let watch = |warned, seconds| {
            let warned = current.watch(Duration::from_secs(warned), at(seconds));
            warned.as_secs()
        };
        assert!(!is_told(60));
        lock(&current.state).schedule.begin(Task::Refresh, began);
        assert!(!is_told(5) && is_told(60), "most take seconds");
        let (_, text) = current.overdue_at(at(60)).unwrap();
        let expected = "a refresh has been under way for 60 s, and there is no index yet";
        assert_eq!(text, expected);
        assert_eq!([watch(0, 60), watch(0, 400)], [0, 400]);
        assert_eq!([watch(400, 700), watch(400, 900)], [400, 900]);
        lock(&current.state).schedule.rest(None, at(900));
        assert_eq!(watch(900, 901), 0);
    }

    /// A mirror on a file system that hangs.
    struct Hanging(Mutex<mpsc::Receiver<()>>);

    impl Storage for Hanging {
        fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
            Ok(Vec::new())
        }

        fn tags(&self, _: &RepositoryName) -> Result<Vec<String>, Error> {
            Ok(Vec::new())
        }

        fn manifest(&self, _: &RepositoryName, _: &Reference) -> Result<Vec<u8>, Error> {
            Ok(Vec::new())
        }

        fn blob(&self, _: &RepositoryName, _: &Blob) -> Result<Box<dyn Read + Send>, Error> {
            Ok(Box::new(io::empty()))
        }

        fn former(&self) -> Option<Former<'_>> {
            let _ = lock(&self.0).recv();
            None
        }
    }

    /// Nothing told of a mirror that could not be read to its end at the start: issue 17, 4.
    #[test]
    fn a_mirror_that_hangs_at_the_start_is_told_as_a_refresh_is_and_delays_the_first_one_alone() {
        let second = Duration::from_secs(1);
        let current = Current::new(Timing {
            max_stale: Duration::ZERO,
            max_wait: Duration::ZERO,
            interval: 300 * second,
            check_interval: Some(300 * second),
            longest_pause: second,
        });
        let (answer, hanging) = mpsc::channel();
        let storage = Hanging(Mutex::new(hanging));
        let options = Options {
            concurrency: 1,
            filter: Filter::default(),
            style: IndexStyle::default(),
        };
        thread::scope(|scope| {
            scope.spawn(|| current.run(&storage, options));
            let wait_for = |what: &dyn Fn() -> bool| {
                let deadline = Instant::now() + 60 * second;
                while !what() && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                assert!(what());
            };
            let later = Instant::now() + 400 * second;
            wait_for(&|| current.overdue_at(later).is_some());
            assert!(current.get().is_none());
            drop(answer);
            wait_for(&|| current.get().is_some());
            current.stop();
        });
    }

    #[test]
    fn requests_that_wait_for_the_same_refresh_do_not_keep_one_another_awake() {
        let current = Current::new(Timing {
            max_stale: Duration::ZERO,
            max_wait: Duration::from_millis(500),
            interval: Duration::from_secs(300),
            check_interval: None,
            longest_pause: Duration::from_secs(1),
        });
        let began = Instant::now();
        lock(&current.state).schedule.begin(Task::Refresh, began);
        lock(&current.state).schedule.succeed(began, began);
        // One is under way, and all requests from now on want the next.
        lock(&current.state).schedule.begin(Task::Refresh, began);
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
