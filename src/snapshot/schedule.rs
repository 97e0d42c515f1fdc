//! When to walk, and how long a request waits for it. Pure: the clock is a parameter.
//!
//! A *refresh* lists everything and looks at what is new. A *check* looks at some of the known tags
//! whose time has come, and at no listing; it's short, so that a refresh never waits long for it.

use std::time::{Duration, Instant};

/// First pause after a refresh that failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often the checks of tags may follow one another at the most.
const CHECK_PAUSE: Duration = Duration::from_millis(100);

/// How fresh an index has to be.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A snapshot older than this is refreshed before an index is answered.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
    /// A refresh is made at least this often, asked for or not.
    pub interval: Duration,
    /// How long a tag that is known needn't be looked at again; none if each refresh is to look at
    /// all of them.
    pub trust: Option<Duration>,
    /// The longest pause after refreshes that failed: how late we may notice that all is well again.
    pub longest_pause: Duration,
}

/// What has happened, and what is wanted.
pub(super) struct Schedule {
    timing: Timing,
    /// When the refresh began that the snapshot comes from: it knows nothing of what came later.
    as_of: Option<Instant>,
    /// When the refresh under way began.
    refreshing_since: Option<Instant>,
    /// Whether someone waits for a refresh that hasn't begun.
    wanted: bool,
    not_before: Option<Instant>,
    pause: Duration,
    /// How many refreshes have failed.
    failures: u64,
    /// When the next known tag is to be looked at.
    check_at: Option<Instant>,
    /// Whether a check may go before a refresh that is wanted: the last one to have its turn was a
    /// refresh. Where one is always wanted, nothing known would ever be looked at again.
    checks_turn: bool,
    /// When the check under way began.
    checking_since: Option<Instant>,
    /// Whether the last check took longer than anybody waits.
    checks_are_slow: bool,
    stopped: bool,
}

/// What the one who walks is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Refresh,
    Check,
    /// Nothing, before that time or something else happens.
    Wait(Option<Instant>),
    Stop,
}

/// A request for an index.
pub(super) struct Visit {
    came: Instant,
    failures: u64,
}

/// What a request is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attend {
    /// Take the snapshot that is there.
    Serve,
    /// Wait until then, or until something happens.
    Wait(Instant),
}

impl Schedule {
    /// The first refresh is wanted at once.
    pub(super) fn new(timing: Timing) -> Schedule {
        Schedule {
            timing,
            as_of: None,
            refreshing_since: None,
            wanted: true,
            not_before: None,
            pause: FIRST_PAUSE,
            failures: 0,
            check_at: None,
            checks_turn: false,
            checking_since: None,
            checks_are_slow: false,
            stopped: false,
        }
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// What is to be done now.
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.stopped {
            return Next::Stop;
        }
        let background = self.as_of.map(|as_of| as_of + self.timing.interval);
        let refresh_at = if self.wanted { Some(now) } else { background };
        let refresh_at =
            refresh_at.map(|at| self.not_before.map_or(at, |not_before| at.max(not_before)));
        // A first walk asks itself for all that has failed.
        let check_at = self.check_at.filter(|_| self.as_of.is_some());
        let check = check_at.is_some_and(|at| at <= now);
        if refresh_at.is_some_and(|at| at <= now) && !(check && self.checks_turn) {
            return Next::Refresh;
        }
        if check {
            return Next::Check;
        }
        Next::Wait(refresh_at.into_iter().chain(check_at).min())
    }

    /// A refresh begins. Who wants one from now on wants another: this one may miss what is to be seen.
    pub(super) fn begin(&mut self, now: Instant) {
        self.wanted = false;
        self.refreshing_since = Some(now);
        self.checks_turn = true;
    }

    /// A check begins.
    pub(super) fn begin_check(&mut self, now: Instant) {
        self.checks_turn = false;
        self.checking_since = Some(now);
    }

    /// The refresh that began then has ended well.
    pub(super) fn succeed(&mut self, began: Instant) {
        self.as_of = Some(began);
        self.refreshing_since = None;
        self.not_before = None;
        self.pause = FIRST_PAUSE;
    }

    /// The refresh has failed; how long it will be before the next. Without a snapshot nobody can ask
    /// for it, so it's wanted anyway.
    pub(super) fn fail(&mut self, now: Instant) -> Duration {
        let pause = self.pause;
        self.wanted = self.as_of.is_none();
        self.refreshing_since = None;
        self.not_before = Some(now + pause);
        self.pause = (pause * 2).min(self.timing.longest_pause);
        self.failures += 1;
        pause
    }

    /// Whatever was under way is over, and the next tags are to be checked then; not at once after a
    /// check, or tags that can't be asked would keep us busy.
    pub(super) fn check(&mut self, at: Option<Instant>, now: Instant) {
        if let Some(began) = self.checking_since.take() {
            self.checks_are_slow = now >= began + self.timing.max_wait;
        }
        let soonest = if self.checks_turn {
            now
        } else {
            now + CHECK_PAUSE
        };
        self.check_at = at
            .map(|at| at.max(soonest))
            .filter(|_| self.timing.trust.is_some());
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// A request comes.
    pub(super) fn visit(&self, now: Instant) -> Visit {
        Visit {
            came: now,
            failures: self.failures,
        }
    }

    /// What the visitor is to do now; asks for a refresh if it needs one. It gets a snapshot from a
    /// refresh that began at most `max_stale` before it came, unless it would wait longer than allowed
    /// or refreshes fail: then the last good one. A refresh that is slow keeps those waiting who came
    /// in its first moments, not everyone after; and a check that is slow before it does the same once.
    pub(super) fn attend(&mut self, visit: &Visit, now: Instant) -> Attend {
        let Timing {
            max_stale,
            max_wait,
            ..
        } = self.timing;
        let helps = |began: Instant| visit.came.saturating_duration_since(began) <= max_stale;
        // Before the first refresh there is nothing to wait for: that may take minutes.
        let fresh = self.as_of.is_none_or(helps);
        let resting = self.not_before.is_some_and(|at| at > now);
        let slow = self
            .refreshing_since
            .is_some_and(|began| visit.came >= began + max_wait);
        if fresh || resting || slow || self.stopped || self.failures != visit.failures {
            return Attend::Serve;
        }
        // Also for who doesn't wait: the next to come has something of it.
        self.wanted |= !self.refreshing_since.is_some_and(helps);
        let is_held_up = |began: Instant| self.checks_are_slow || visit.came >= began + max_wait;
        let held_up = self.checking_since.is_some_and(is_held_up);
        let deadline = visit.came + max_wait;
        if held_up || deadline <= now {
            Attend::Serve
        } else {
            Attend::Wait(deadline)
        }
    }

    /// Whether a refresh is wanted that hasn't begun.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const TIMING: Timing = Timing {
        max_stale: Duration::from_secs(5),
        max_wait: Duration::from_secs(2),
        interval: Duration::from_secs(300),
        trust: Some(Duration::from_secs(300)),
        longest_pause: Duration::from_secs(4),
    };

    /// A schedule after a refresh that began at the time given back.
    fn refreshed() -> (Schedule, Instant) {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        assert_eq!(schedule.next(now), Next::Refresh);
        schedule.begin(now);
        schedule.succeed(now);
        (schedule, now)
    }

    #[test]
    fn a_refresh_is_made_when_the_interval_is_over_and_not_before() {
        let (schedule, began) = refreshed();
        assert_eq!(
            schedule.next(began + 299 * S),
            Next::Wait(Some(began + 300 * S))
        );
        assert_eq!(schedule.next(began + 300 * S), Next::Refresh);
    }

    #[test]
    fn a_snapshot_is_served_at_once_until_it_is_stale_and_then_refreshed() {
        let (mut schedule, began) = refreshed();
        let visit = schedule.visit(began + 5 * S);
        assert_eq!(schedule.attend(&visit, began + 5 * S), Attend::Serve);
        let now = began + 6 * S;
        let visit = schedule.visit(now);
        assert_eq!(schedule.attend(&visit, now), Attend::Wait(now + 2 * S));
        assert_eq!(schedule.next(now), Next::Refresh);
        schedule.begin(now);
        assert_eq!(schedule.attend(&visit, now + S), Attend::Wait(now + 2 * S));
        assert!(!schedule.is_wanted(), "the one under way will do");
        schedule.succeed(now);
        assert_eq!(schedule.attend(&visit, now + S), Attend::Serve);
    }

    #[test]
    fn a_refresh_that_began_too_early_is_followed_by_another() {
        let mut schedule = Schedule::new(Timing {
            max_stale: Duration::ZERO,
            ..TIMING
        });
        let began = Instant::now();
        schedule.begin(began);
        schedule.succeed(began);
        schedule.begin(began + S);
        let visit = schedule.visit(began + 2 * S);
        assert_eq!(
            schedule.attend(&visit, began + 2 * S),
            Attend::Wait(began + 4 * S)
        );
        schedule.succeed(began + S);
        assert_eq!(
            schedule.attend(&visit, began + 3 * S),
            Attend::Wait(began + 4 * S)
        );
        assert_eq!(schedule.next(began + 3 * S), Next::Refresh);
    }

    #[test]
    fn nobody_waits_longer_than_allowed_and_latecomers_to_a_slow_refresh_not_at_all() {
        let (mut schedule, began) = refreshed();
        let now = began + 10 * S;
        schedule.begin(now);
        let visit = schedule.visit(now + S);
        assert_eq!(schedule.attend(&visit, now + S), Attend::Wait(now + 3 * S));
        assert_eq!(schedule.attend(&visit, now + 3 * S), Attend::Serve);
        let late = schedule.visit(now + 2 * S);
        assert_eq!(schedule.attend(&late, now + 2 * S), Attend::Serve);
    }

    #[test]
    fn after_a_failure_the_last_good_is_served_and_pauses_grow_to_a_bound() {
        let (mut schedule, began) = refreshed();
        let mut now = began + 10 * S;
        let visit = schedule.visit(now);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            schedule.begin(now);
            pauses.push(schedule.fail(now));
            assert_eq!(schedule.attend(&visit, now), Attend::Serve);
            let during = schedule.visit(now);
            assert_eq!(schedule.attend(&during, now), Attend::Serve);
            now += 10 * S;
        }
        assert_eq!(pauses, [S, 2 * S, 4 * S, 4 * S]);
        let after = schedule.visit(now);
        assert_eq!(schedule.attend(&after, now), Attend::Wait(now + 2 * S));
        schedule.begin(now);
        schedule.succeed(now);
        schedule.begin(now);
        assert_eq!(schedule.fail(now), S);
    }

    #[test]
    fn a_first_refresh_that_failed_is_wanted_again_after_its_pause() {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        schedule.begin(now);
        schedule.fail(now);
        assert_eq!(schedule.next(now), Next::Wait(Some(now + S)));
        assert_eq!(schedule.next(now + S), Next::Refresh);
    }

    #[test]
    fn tags_are_checked_when_they_are_due_in_turn_with_refreshes_however_many_are_wanted() {
        let (mut schedule, began) = refreshed();
        schedule.check(Some(began + 20 * S), began);
        assert_eq!(
            schedule.next(began + 10 * S),
            Next::Wait(Some(began + 20 * S))
        );
        assert_eq!(schedule.next(began + 20 * S), Next::Check);
        for round in 2..5 {
            let now = began + round * 10 * S;
            let visit = schedule.visit(now);
            schedule.attend(&visit, now);
            assert_eq!(schedule.next(now), Next::Check);
            schedule.begin_check(now);
            schedule.check(Some(began), now);
            assert_eq!(schedule.next(now + S), Next::Refresh);
            schedule.begin(now + S);
            schedule.succeed(now + S);
            schedule.check(Some(began), now + 2 * S);
        }
    }

    #[test]
    fn one_check_does_not_follow_another_at_once() {
        let (mut schedule, began) = refreshed();
        schedule.begin_check(began);
        schedule.check(Some(began), began);
        assert_eq!(schedule.next(began), Next::Wait(Some(began + CHECK_PAUSE)));
        assert_eq!(schedule.next(began + CHECK_PAUSE), Next::Check);
    }

    #[test]
    fn a_check_that_hangs_keeps_few_waiting_and_the_next_one_nobody() {
        let (mut schedule, began) = refreshed();
        let visit = |schedule: &mut Schedule, now| {
            let visit = schedule.visit(now);
            schedule.attend(&visit, now)
        };
        let now = began + 10 * S;
        schedule.begin_check(now);
        assert_eq!(visit(&mut schedule, now + S), Attend::Wait(now + 3 * S));
        assert_eq!(visit(&mut schedule, now + 2 * S), Attend::Serve);
        assert!(schedule.is_wanted(), "but a refresh comes next");
        schedule.check(None, now + 30 * S);
        assert_eq!(schedule.next(now + 30 * S), Next::Refresh);
        assert_eq!(
            visit(&mut schedule, now + 30 * S),
            Attend::Wait(now + 32 * S)
        );
        schedule.begin_check(now + 40 * S);
        assert_eq!(visit(&mut schedule, now + 40 * S), Attend::Serve);
        // A quick one is waited for again.
        schedule.check(None, now + 41 * S);
        schedule.begin_check(now + 50 * S);
        assert_eq!(
            visit(&mut schedule, now + 50 * S),
            Attend::Wait(now + 52 * S)
        );
    }

    #[test]
    fn who_never_waits_asks_for_a_refresh_nevertheless() {
        let mut schedule = Schedule::new(Timing {
            max_wait: Duration::ZERO,
            ..TIMING
        });
        let began = Instant::now();
        schedule.begin(began);
        schedule.succeed(began);
        let now = began + 6 * S;
        let visit = schedule.visit(now);
        assert_eq!(schedule.attend(&visit, now), Attend::Serve);
        assert_eq!(schedule.next(now), Next::Refresh);
    }

    #[test]
    fn who_is_stopped_neither_walks_nor_waits() {
        let (mut schedule, began) = refreshed();
        schedule.stop();
        assert_eq!(schedule.next(began + 10 * S), Next::Stop);
        let visit = schedule.visit(began + 10 * S);
        assert_eq!(schedule.attend(&visit, began + 10 * S), Attend::Serve);
    }
    #[test]
    fn before_the_first_snapshot_nothing_is_checked() {
        let began = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        schedule.begin(began);
        schedule.fail(began);
        schedule.check(Some(began + S), began);
        assert_eq!(schedule.next(began + S), Next::Refresh);
    }
}
