//! When to walk, and what to show meanwhile: the last good snapshot, always. The only loop that
//! waits.
//!
//! One thread walks; requests ask it to and wait a bounded time. A walk that fails leaves the
//! snapshot as it is and is followed by a pause that doubles, so that a registry that is down is
//! asked politely.

use super::walk::{self, Harvest};
use super::{Snapshot, assemble::assemble};
use crate::storage::{Error, ErrorKind, Revision, Storage};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First pause after a walk that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A storage that hasn't changed is still walked again after this long if the last walk missed
/// something: a blob that was being copied changes no listing when it's complete.
const MISSED_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause after walks that failed: how late we may notice that a registry is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How fresh an index has to be.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A snapshot older than this is refreshed before an index is answered.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
}

/// The snapshot in force, and the walk that will replace it.
pub struct Current {
    timing: Timing,
    state: Mutex<State>,
    /// Told of every change of `state`.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    /// When the walk that found the snapshot began: it knows nothing of what came later.
    as_of: Option<Instant>,
    /// How many walks have ended, well or not.
    walks: u64,
    /// When the walk under way began.
    walking_since: Option<Instant>,
    wanted: bool,
    not_before: Option<Instant>,
    /// Why there's no snapshot yet.
    problem: Option<String>,
    stopped: bool,
}

impl Current {
    /// Nothing yet; the first walk is wanted at once.
    pub fn new(timing: Timing) -> Current {
        let state = State { wanted: true, ..State::default() };
        Current { timing, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The snapshot in force, however old, or why there is none.
    pub fn get(&self) -> Result<Arc<Snapshot>, String> {
        let state = self.lock();
        state.snapshot.clone().ok_or_else(|| match &state.problem {
            Some(problem) => format!("the first walk has failed so far: {problem}"),
            None => "the first walk has not ended yet".to_owned(),
        })
    }

    /// The snapshot for an index: refreshed first if it's stale, but never waited for longer than
    /// allowed. After a failed walk the last good one is given at once until the next is due.
    pub fn fresh(&self) -> Result<Arc<Snapshot>, String> {
        let mut state = self.lock();
        let stale = state.as_of.is_some_and(|as_of| as_of.elapsed() > self.timing.max_stale);
        let due = state.not_before.is_none_or(|time| time <= Instant::now());
        if stale && due && !state.stopped {
            state.wanted = true;
            self.changed.notify_all();
            // A walk that is slow keeps the first to ask for it waiting, not everyone after.
            let deadline = state.walking_since.unwrap_or_else(Instant::now) + self.timing.max_wait;
            let walks = state.walks;
            while state.walks == walks && !state.stopped {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.wait(state, left);
            }
        }
        drop(state);
        self.get()
    }

    /// Walks whenever it's wanted, until [`Current::stop`].
    pub fn run(&self, storage: &dyn Storage, concurrency: usize) {
        let mut pause = FIRST_PAUSE;
        let mut was_empty = false;
        let mut walked: Option<Walked> = None;
        while self.wait_until_wanted() {
            let began = Instant::now();
            let revision = storage.revision();
            if walked.as_ref().is_some_and(|walked| walked.still_holds(revision)) {
                self.publish(None, began);
                continue;
            }
            let last = self.get().ok();
            self.lock().walking_since = Some(began);
            match walk_guarded(storage, concurrency, last.as_deref())
                .and_then(|harvest| confirm(harvest, last.as_deref(), &mut was_empty))
            {
                Ok(harvest) => {
                    pause = FIRST_PAUSE;
                    walked = Some(Walked { revision, complete: harvest.missed == 0, at: Instant::now() });
                    let snapshot = assemble(harvest);
                    report(&snapshot, last.as_deref(), began);
                    self.publish(Some(snapshot), began);
                }
                Err(error) => {
                    report_failure(&error, last.is_some(), pause);
                    self.fail(&error, pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Ends [`Current::run`] after the walk under way, and all waiting at once.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn wait_until_wanted(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return false;
            }
            let pause = state
                .not_before
                .map_or(Duration::ZERO, |time| time.saturating_duration_since(Instant::now()));
            state = match (state.wanted, pause.is_zero()) {
                (true, true) => return true,
                (true, false) => self.wait(state, pause),
                (false, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Puts a snapshot in force; without one, the last holds as of now.
    fn publish(&self, snapshot: Option<Snapshot>, as_of: Instant) {
        let mut state = self.lock();
        state.snapshot = snapshot.map(Arc::new).or(state.snapshot.take());
        state.as_of = Some(as_of);
        state.wanted = false;
        state.not_before = None;
        state.problem = None;
        state.walks += 1;
        state.walking_since = None;
        self.changed.notify_all();
    }

    fn fail(&self, error: &Error, pause: Duration) {
        let mut state = self.lock();
        // Without a snapshot nobody can ask for the next walk, so it's wanted anyway.
        state.wanted = state.snapshot.is_none();
        state.not_before = Some(Instant::now() + pause);
        state.problem = Some(error.to_string());
        state.walks += 1;
        state.walking_since = None;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, longest: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A walk; a panic in it is a defect of ours, and costs this walk only.
fn walk_guarded(
    storage: &dyn Storage,
    concurrency: usize,
    last: Option<&Snapshot>,
) -> Result<Harvest, Error> {
    let attempt = catch_unwind(AssertUnwindSafe(|| walk::walk(storage, concurrency, last)));
    attempt.unwrap_or_else(|_| {
        let text = "the walk has met a defect of this program; please report the panic above";
        Err(Error::new(ErrorKind::Unavailable, text))
    })
}

/// The last walk that ended well.
struct Walked {
    revision: Option<Revision>,
    complete: bool,
    at: Instant,
}

impl Walked {
    /// Whether a walk of a storage in the state `now` would find nothing else.
    fn still_holds(&self, now: Option<Revision>) -> bool {
        now.is_some() && self.revision == now && (self.complete || self.at.elapsed() < MISSED_PAUSE)
    }
}

/// A listing that turns empty may mean "not permitted" (ACR, GAR and Quay answer so): it's believed
/// when the next walk says it again.
fn confirm(harvest: Harvest, last: Option<&Snapshot>, was_empty: &mut bool) -> Result<Harvest, Error> {
    let suspect = harvest.empty && last.is_some_and(|last| !last.found.is_empty());
    let confirmed = std::mem::replace(was_empty, suspect);
    if suspect && !confirmed {
        let text = "no repository is listed any more; that is believed when it's said twice";
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    Ok(harvest)
}

fn report(snapshot: &Snapshot, last: Option<&Snapshot>, began: Instant) {
    for skipped in &snapshot.skipped {
        crate::debug!("{skipped}");
    }
    let changed =
        last.is_none_or(|last| last.index.etag != snapshot.index.etag || last.counts != snapshot.counts);
    if changed {
        crate::info!("snapshot: {} (walked in {:.1} s)", snapshot.counts, began.elapsed().as_secs_f32());
    }
}

fn report_failure(error: &Error, serving: bool, pause: Duration) {
    let pause = pause.as_secs();
    if serving {
        crate::warn!(
            "refresh failed, the last good index stays: {error} (next in {pause} s at the earliest)"
        );
    } else {
        crate::error!("first walk failed, nothing is served yet: {error} (again in {pause} s)");
    }
}
