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
/// How often a first walk that couldn't ask for everything is made again before it is served with
/// what is lacking: a replica that starts while the registry stumbles must not show less than the
/// others, and one artifact that never answers must not keep it from starting.
const FIRST_ATTEMPTS: u32 = 3;
/// How fresh an index has to be.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A snapshot older than this is refreshed before an index is answered.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
    /// The longest pause after walks that failed: how late we may notice that all is well again.
    pub longest_pause: Duration,
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
    /// How many walks have failed.
    failures: u64,
    /// When the walk under way began.
    walking_since: Option<Instant>,
    wanted: bool,
    not_before: Option<Instant>,
    stopped: bool,
}

impl Current {
    /// Nothing yet; the first walk is wanted at once.
    pub fn new(timing: Timing) -> Current {
        let state = State { wanted: true, ..State::default() };
        Current { timing, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The snapshot in force, however old.
    pub fn get(&self) -> Option<Arc<Snapshot>> {
        self.lock().snapshot.clone()
    }

    /// The snapshot for an index: one that a walk found which began at most `max_stale` before now,
    /// but never waited for longer than allowed. After a failed walk the last good one is given at
    /// once until the next is due.
    pub fn fresh(&self) -> Option<Arc<Snapshot>> {
        let now = Instant::now();
        let mut state = self.lock();
        let failures = state.failures;
        // A walk that is slow keeps the first to ask for it waiting, not everyone after.
        let deadline = state.walking_since.unwrap_or(now) + self.timing.max_wait;
        while state.is_stale(now, self.timing.max_stale) && state.is_due() && state.failures == failures {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // The walk under way will do, unless it began too early to see what we want to see.
            let helps = |began| now.saturating_duration_since(began) <= self.timing.max_stale;
            if !state.wanted && !state.walking_since.is_some_and(helps) {
                state.wanted = true;
                self.changed.notify_all();
            }
            state = self.wait(state, left);
        }
        state.snapshot.clone()
    }

    /// Walks whenever it's wanted, until [`Current::stop`].
    pub fn run(&self, storage: &dyn Storage, concurrency: usize) {
        let mut pause = FIRST_PAUSE;
        let mut walker = Walker { storage, concurrency, walked: None, was_empty: false, attempts: 0 };
        while let Some(began) = self.wait_until_wanted() {
            let last = self.get();
            // A panic is a defect of ours, and costs this walk only.
            let round = catch_unwind(AssertUnwindSafe(|| walker.round(last.as_deref(), began)));
            match round.unwrap_or_else(|_| Err(defect())) {
                Ok(snapshot) => {
                    pause = FIRST_PAUSE;
                    self.publish(snapshot, began);
                }
                Err(error) => {
                    report_failure(&error, last.is_some(), pause);
                    self.fail(pause);
                    pause = (pause * 2).min(self.timing.longest_pause);
                }
            }
        }
    }

    /// Ends [`Current::run`] after the walk under way, and all waiting at once.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Notes that a walk begins, and when; `None` when there will be none.
    fn wait_until_wanted(&self) -> Option<Instant> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let pause =
                state.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            state = match (state.wanted, pause.is_zero()) {
                (true, true) => break,
                (true, false) => self.wait(state, pause),
                (false, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        // Who wants one from now on wants another one: this one may miss what it wants to see.
        state.wanted = false;
        let now = Instant::now();
        state.walking_since = Some(now);
        Some(now)
    }

    /// Puts a snapshot in force; without one, the last holds as of now.
    fn publish(&self, snapshot: Option<Snapshot>, as_of: Instant) {
        let mut state = self.lock();
        state.snapshot = snapshot.map(Arc::new).or(state.snapshot.take());
        state.as_of = Some(as_of);
        state.not_before = None;
        state.walking_since = None;
        self.changed.notify_all();
    }

    fn fail(&self, pause: Duration) {
        let mut state = self.lock();
        // Without a snapshot nobody can ask for the next walk, so it's wanted anyway.
        state.wanted = state.snapshot.is_none();
        state.not_before = Some(Instant::now() + pause);
        state.failures += 1;
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

impl State {
    fn is_stale(&self, now: Instant, max_stale: Duration) -> bool {
        !self.stopped && self.as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) > max_stale)
    }

    fn is_due(&self) -> bool {
        self.not_before.is_none_or(|time| time <= Instant::now())
    }
}

/// The one who walks, and what it remembers from one walk to the next.
struct Walker<'a> {
    storage: &'a dyn Storage,
    concurrency: usize,
    walked: Option<Walked>,
    was_empty: bool,
    attempts: u32,
}

impl Walker<'_> {
    /// One walk, if it could find anything new: `None` when the last snapshot still holds.
    fn round(&mut self, last: Option<&Snapshot>, began: Instant) -> Result<Option<Snapshot>, Error> {
        let revision = self.storage.revision();
        if self.walked.as_ref().is_some_and(|walked| walked.still_holds(revision)) {
            return Ok(None);
        }
        let harvest = walk::walk(self.storage, self.concurrency, last)?;
        self.believe(&harvest, last)?;
        self.walked = Some(Walked { revision, complete: harvest.missed == 0, at: Instant::now() });
        let snapshot = assemble(harvest);
        report(&snapshot, last, began);
        Ok(Some(snapshot))
    }

    /// Errors when what was found is likely to be less than there is: an index that shrinks takes
    /// charts away from everyone who follows it.
    fn believe(&mut self, harvest: &Harvest, last: Option<&Snapshot>) -> Result<(), Error> {
        let unbelievable = |text: &str| Err(Error::new(ErrorKind::Unavailable, text));
        // A listing that turns empty may mean "not permitted" (ACR, GAR and Quay answer so): it's
        // believed when the next walk says it again.
        let suspect = harvest.empty && last.is_some_and(|last| !last.found.is_empty());
        if suspect && !std::mem::replace(&mut self.was_empty, suspect) {
            return unbelievable("no repository is listed any more; that is believed when it's said twice");
        }
        self.was_empty = suspect;
        let Harvest { unanswered, refused, .. } = harvest;
        let nothing = harvest.found.is_empty() && unanswered + refused > 0;
        let stumbling = *unanswered > 0 && self.attempts + 1 < FIRST_ATTEMPTS;
        if last.is_none() && (nothing || stumbling) {
            self.attempts += 1;
            let example = harvest.example.as_ref().map(|one| format!(", such as {one}")).unwrap_or_default();
            return unbelievable(&format!(
                "{} repositories or tags could not be read{example}",
                harvest.missed
            ));
        }
        Ok(())
    }
}

fn defect() -> Error {
    let text = "the walk has met a defect of this program; please report the panic above";
    Error::new(ErrorKind::Unavailable, text)
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
