//! When to refresh, when to check known tags, and how long a request waits for a refresh. Pure: the clock
//! is a parameter.
//!
//! A *refresh* lists everything and reads what is new. A *check* asks for some of the known tags that
//! are due, and lists nothing; it's short, so that a refresh never waits long for it.

use crate::pacing::Backoff;
use std::time::{Duration, Instant};

/// Shortest pause after a refresh that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time from a refresh that failed to the next that a request wants: an outage is noticed to be
/// over soon, and costs the registry an attempt each time.
const LONGEST_WANTED_PAUSE: Duration = Duration::from_secs(5);
/// A refresh that a request wants begins after this many times the duration of the last one, so that
/// however often indexes are asked for, a registry that is slow to list is busy a fifth of the time. The
/// first refresh doesn't count: it reads what no later one reads again.
const REST_FACTOR: u32 = 4;
/// Shortest time from the end of one check to the next: thousands of tags that are due at once are asked
/// for in batches, and the registry has other clients too.
const CHECK_PAUSE: Duration = Duration::from_millis(100);

/// How fresh an index has to be.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A snapshot older than this is refreshed before an index is answered.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
    /// A refresh is made at least this often, wanted or not.
    pub interval: Duration,
    /// After how long a known tag is checked again; none if each refresh is to check all of them.
    pub check_interval: Option<Duration>,
    /// The longest pause after refreshes that failed, while no request wants one: how late a storage that
    /// is well again is noticed.
    pub longest_pause: Duration,
}

/// What has happened, and what is wanted.
pub(super) struct Schedule {
    timing: Timing,
    /// When the refresh began that the snapshot comes from: it knows nothing of what came later.
    as_of: Option<Instant>,
    /// What is under way, and since when.
    under_way: Option<(Task, Instant)>,
    /// Whether a request wants a refresh that hasn't begun.
    is_wanted: bool,
    /// When a refresh that a request wants may begin; at once, until the second has ended.
    wanted_from: Option<Instant>,
    /// Since when refreshes fail, and when to try again.
    backoff: Option<Backoff>,
    /// When to check tags.
    check_at: Option<Instant>,
    /// When the last check ended.
    checked_at: Option<Instant>,
    is_stopped: bool,
}

/// What the refresh thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Refresh,
    Check,
}

/// What the refresh thread is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A refresh, a check, or both in this order.
    Work {
        refresh: bool,
        check: bool,
    },
    /// Nothing, before that time or something else happens.
    Wait(Option<Instant>),
    Stop,
}

/// What a request for an index is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attend {
    /// Take the snapshot that is there.
    Serve,
    /// Wait until then, or until something happens.
    WaitUntil(Instant),
}

impl Schedule {
    /// The first refresh is wanted at once.
    pub(super) fn new(timing: Timing) -> Schedule {
        Schedule {
            timing,
            as_of: None,
            under_way: None,
            is_wanted: true,
            wanted_from: None,
            backoff: None,
            check_at: None,
            checked_at: None,
            is_stopped: false,
        }
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// What is to be done now.
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.is_stopped {
            return Next::Stop;
        }
        let in_turn = self.as_of.map(|as_of| {
            let at = as_of + self.timing.interval;
            self.backoff.map_or(at, |backoff| at.max(backoff.retry_at))
        });
        let wanted = self.is_wanted.then(|| self.wanted_from.unwrap_or(now));
        let refresh_at = in_turn.into_iter().chain(wanted).min();
        // A first refresh asks itself for everything that has failed.
        let check_at = self.check_at.filter(|_| self.as_of.is_some());
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match (is_due(refresh_at), is_due(check_at)) {
            (false, false) => Next::Wait(refresh_at.into_iter().chain(check_at).min()),
            (refresh, check) => Next::Work { refresh, check },
        }
    }

    /// A task begins. A request that comes from now on and wants a refresh wants another one than this, which
    /// may miss what was pushed meanwhile.
    pub(super) fn begin(&mut self, task: Task, now: Instant) {
        self.is_wanted &= task != Task::Refresh;
        self.under_way = Some((task, now));
    }

    /// The refresh that began then has succeeded now.
    pub(super) fn succeed(&mut self, began: Instant, now: Instant) {
        let is_first = self.as_of.replace(began).is_none();
        self.backoff = None;
        let took = now.saturating_duration_since(began);
        self.wanted_from = (!is_first).then(|| now + REST_FACTOR * took);
    }

    /// The refresh has failed: since when they fail, and when it is tried again. Without a snapshot no request
    /// can want it, so it's wanted anyway.
    pub(super) fn fail(&mut self, now: Instant) -> Backoff {
        let pauses = FIRST_PAUSE..=self.timing.longest_pause;
        let backoff = Backoff::after(self.backoff, pauses, now);
        self.backoff = Some(backoff);
        self.wanted_from = Some(backoff.retry_at.min(now + LONGEST_WANTED_PAUSE));
        self.is_wanted = self.as_of.is_none();
        backoff
    }

    /// All tasks have ended, and the next tag is due then.
    pub(super) fn rest(&mut self, next_due: Option<Instant>, now: Instant) {
        if let Some((Task::Check, _)) = self.under_way.take() {
            self.checked_at = Some(now);
        }
        let soonest = self
            .checked_at
            .map_or(now, |checked_at| checked_at + CHECK_PAUSE);
        let next_check = next_due.map(|due| due.max(soonest));
        self.check_at = next_check.filter(|_| self.timing.check_interval.is_some());
    }

    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// What a request that arrived then is to do now; notes that a refresh is wanted if it needs one. It gets
    /// a snapshot from a refresh that began at most `max_stale` before it arrived, unless it would wait
    /// longer than allowed or refreshes fail: then the last good one, and at once if no refresh may begin
    /// in time. A task that takes long keeps only those requests waiting that arrive in its first moments.
    pub(super) fn attend(&mut self, arrived: Instant, now: Instant) -> Attend {
        let Timing {
            max_stale,
            max_wait,
            ..
        } = self.timing;
        let helps = |began: Instant| arrived.saturating_duration_since(began) <= max_stale;
        // Before the first refresh has succeeded there is nothing to wait for: it may take minutes.
        let is_fresh = self.as_of.is_none_or(helps);
        let is_slow = |task| {
            self.under_way
                .is_some_and(|(under_way, began)| under_way == task && arrived >= began + max_wait)
        };
        if is_fresh || is_slow(Task::Refresh) || self.is_stopped {
            return Attend::Serve;
        }
        // Also for a request that doesn't wait: the next one profits from it.
        let helped = matches!(self.under_way, Some((Task::Refresh, began)) if helps(began));
        let deadline = arrived + max_wait;
        let waits_until = if self.backoff.is_some() {
            now
        } else {
            deadline
        };
        let begins_too_late = !helped && self.wanted_from.is_some_and(|from| from > waits_until);
        let is_slow = is_slow(Task::Check);
        self.is_wanted |= !helped;
        match begins_too_late || is_slow || deadline <= now {
            true => Attend::Serve,
            false => Attend::WaitUntil(deadline),
        }
    }

    /// When a refresh that a request wants may begin; at once, until the second has ended.
    pub(super) fn wanted_from(&self) -> Option<Instant> {
        self.wanted_from
    }

    /// How old what is served is: since the refresh began that it comes from.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.as_of.map(|as_of| now.saturating_duration_since(as_of))
    }

    /// For how long what is under way has been so.
    pub(super) fn under_way_for(&self, now: Instant) -> Option<Duration> {
        let (_, began) = self.under_way?;
        Some(now.saturating_duration_since(began))
    }

    /// Whether a refresh is wanted that hasn't begun.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
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
        check_interval: Some(Duration::from_secs(300)),
        longest_pause: Duration::from_secs(4),
    };
    const REFRESH: Next = Next::Work {
        refresh: true,
        check: false,
    };
    const CHECK: Next = Next::Work {
        refresh: false,
        check: true,
    };

    /// A schedule after a refresh that began at the time given back.
    fn refreshed(timing: Timing) -> (Schedule, Instant) {
        let now = Instant::now();
        let mut schedule = Schedule::new(timing);
        assert_eq!(schedule.next(now), REFRESH);
        refresh(&mut schedule, now);
        (schedule, now)
    }

    fn refresh(schedule: &mut Schedule, began: Instant) {
        schedule.begin(Task::Refresh, began);
        schedule.succeed(began, began);
        schedule.rest(None, began);
    }

    #[test]
    fn a_refresh_is_made_when_the_interval_is_over_and_not_before() {
        let (schedule, began) = refreshed(TIMING);
        assert_eq!(
            schedule.next(began + 299 * S),
            Next::Wait(Some(began + 300 * S))
        );
        assert_eq!(schedule.next(began + 300 * S), REFRESH);
    }

    #[test]
    fn a_snapshot_is_served_at_once_until_it_is_stale_and_then_refreshed() {
        let (mut schedule, began) = refreshed(TIMING);
        assert_eq!(schedule.attend(began + 5 * S, began + 5 * S), Attend::Serve);
        let now = began + 6 * S;
        assert_eq!(schedule.attend(now, now), Attend::WaitUntil(now + 2 * S));
        assert_eq!(schedule.next(now), REFRESH);
        schedule.begin(Task::Refresh, now);
        assert_eq!(
            schedule.attend(now, now + S),
            Attend::WaitUntil(now + 2 * S)
        );
        assert!(!schedule.is_wanted(), "the one under way will do");
        schedule.succeed(now, now + S);
        assert_eq!(schedule.attend(now, now + S), Attend::Serve);
    }

    #[test]
    fn a_refresh_that_began_too_early_is_followed_by_another() {
        let (mut schedule, began) = refreshed(Timing {
            max_stale: Duration::ZERO,
            ..TIMING
        });
        schedule.begin(Task::Refresh, began + S);
        let arrived = began + 2 * S;
        assert_eq!(
            schedule.attend(arrived, arrived),
            Attend::WaitUntil(began + 4 * S)
        );
        schedule.succeed(began + S, began + S);
        assert_eq!(
            schedule.attend(arrived, began + 3 * S),
            Attend::WaitUntil(began + 4 * S)
        );
        assert_eq!(schedule.next(began + 3 * S), REFRESH);
    }

    #[test]
    fn no_request_waits_longer_than_allowed_and_those_that_come_late_to_a_slow_refresh_not_at_all()
    {
        let (mut schedule, began) = refreshed(TIMING);
        let now = began + 10 * S;
        schedule.begin(Task::Refresh, now);
        assert_eq!(
            schedule.attend(now + S, now + S),
            Attend::WaitUntil(now + 3 * S)
        );
        assert_eq!(schedule.attend(now + S, now + 3 * S), Attend::Serve);
        assert_eq!(schedule.attend(now + 2 * S, now + 2 * S), Attend::Serve);
    }

    #[test]
    fn after_a_failure_the_last_good_snapshot_is_served_and_pauses_grow_to_a_bound() {
        let (mut schedule, began) = refreshed(TIMING);
        let mut now = began + 10 * S;
        let arrived = now;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            schedule.begin(Task::Refresh, now);
            let retry_at = schedule.fail(now).retry_at;
            pauses.push(retry_at - now);
            schedule.rest(None, now);
            assert_eq!(schedule.attend(arrived, now), Attend::Serve);
            assert_eq!(schedule.attend(now, now), Attend::Serve);
            now = retry_at;
        }
        assert_eq!(pauses, [S, S, 2 * S, 4 * S, 4 * S]);
        assert_eq!(schedule.attend(now, now), Attend::WaitUntil(now + 2 * S));
        refresh(&mut schedule, now);
        schedule.begin(Task::Refresh, now);
        assert_eq!(
            schedule.fail(now).retry_at,
            now + S,
            "a new row of failures"
        );
    }

    #[test]
    fn a_refresh_is_not_wanted_sooner_than_four_times_the_duration_of_the_last_after_its_end() {
        let (mut schedule, began) = refreshed(TIMING);
        let now = began + 10 * S;
        schedule.begin(Task::Refresh, now);
        schedule.succeed(now, now + 3 * S);
        schedule.rest(None, now + 3 * S);
        let again = now + 15 * S;
        let arrived = now + 6 * S;
        assert_eq!(schedule.attend(arrived, arrived), Attend::Serve, "at once");
        assert_eq!(schedule.next(arrived), Next::Wait(Some(again)));
        let arrived = again - S;
        assert_eq!(
            schedule.attend(arrived, arrived),
            Attend::WaitUntil(again + S)
        );
        assert_eq!(schedule.next(again), REFRESH);
    }

    #[test]
    fn the_duration_of_the_first_refresh_puts_off_none() {
        let (mut schedule, began) = (Schedule::new(TIMING), Instant::now());
        schedule.begin(Task::Refresh, began);
        schedule.succeed(began, began + 60 * S);
        schedule.rest(None, began + 60 * S);
        let arrived = began + 61 * S;
        let deadline = arrived + 2 * S;
        assert_eq!(
            schedule.attend(arrived, arrived),
            Attend::WaitUntil(deadline)
        );
        assert_eq!(schedule.next(arrived), REFRESH);
    }

    #[test]
    fn a_request_wants_an_attempt_five_seconds_after_the_last_one_that_failed() {
        let (mut schedule, mut now) = refreshed(Timing {
            longest_pause: 30 * S,
            ..TIMING
        });
        for _ in 0..20 {
            schedule.begin(Task::Refresh, now);
            let retry_at = schedule.fail(now).retry_at;
            schedule.rest(None, now);
            now = retry_at;
        }
        schedule.begin(Task::Refresh, now);
        let retry_at = schedule.fail(now).retry_at;
        schedule.rest(None, now);
        assert_eq!(retry_at, now + 30 * S);
        assert!(matches!(schedule.next(now), Next::Wait(Some(at)) if at >= retry_at));
        assert_eq!(schedule.attend(now, now), Attend::Serve);
        assert_eq!(schedule.next(now), Next::Wait(Some(now + 5 * S)));
        assert_eq!(schedule.next(now + 5 * S), REFRESH);
    }

    #[test]
    fn a_first_refresh_that_failed_is_tried_again_after_its_pause() {
        let now = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        schedule.begin(Task::Refresh, now);
        schedule.fail(now);
        schedule.rest(Some(now), now);
        assert_eq!(
            schedule.next(now),
            Next::Wait(Some(now + S)),
            "and no tag is checked"
        );
        assert_eq!(schedule.next(now + S), REFRESH);
    }

    #[test]
    fn tags_are_checked_when_they_are_due_however_often_refreshes_are_wanted() {
        let (mut schedule, began) = refreshed(TIMING);
        schedule.rest(Some(began + 20 * S), began);
        assert_eq!(
            schedule.next(began + 10 * S),
            Next::Wait(Some(began + 20 * S))
        );
        assert_eq!(schedule.next(began + 20 * S), CHECK);
        let now = began + 20 * S;
        schedule.attend(now, now);
        let both = Next::Work {
            refresh: true,
            check: true,
        };
        assert_eq!(schedule.next(now), both);
    }

    #[test]
    fn one_check_does_not_follow_another_at_once() {
        let (mut schedule, began) = refreshed(TIMING);
        schedule.begin(Task::Check, began);
        schedule.rest(Some(began), began);
        assert_eq!(schedule.next(began), Next::Wait(Some(began + CHECK_PAUSE)));
        assert_eq!(schedule.next(began + CHECK_PAUSE), CHECK);
    }

    #[test]
    fn refreshes_that_follow_one_another_do_not_put_off_a_check() {
        let (mut schedule, began) = refreshed(TIMING);
        schedule.begin(Task::Check, began);
        schedule.rest(Some(began), began);
        for step in 1..20 {
            let now = began + step * CHECK_PAUSE / 10;
            schedule.begin(Task::Refresh, now);
            schedule.succeed(now, now);
            schedule.rest(Some(began), now);
        }
        assert_eq!(schedule.next(began + CHECK_PAUSE * 2), CHECK);
    }

    #[test]
    fn a_check_that_hangs_keeps_those_waiting_that_come_in_its_first_moments() {
        let (mut schedule, began) = refreshed(TIMING);
        let now = began + 10 * S;
        schedule.begin(Task::Check, now);
        assert_eq!(
            schedule.attend(now + S, now + S),
            Attend::WaitUntil(now + 3 * S)
        );
        assert_eq!(schedule.attend(now + 2 * S, now + 2 * S), Attend::Serve);
        assert!(schedule.is_wanted(), "but a refresh comes next");
        schedule.rest(None, now + 30 * S);
        assert_eq!(schedule.next(now + 30 * S), REFRESH);
    }

    #[test]
    fn a_request_that_never_waits_wants_a_refresh_nevertheless() {
        let (mut schedule, began) = refreshed(Timing {
            max_wait: Duration::ZERO,
            ..TIMING
        });
        let now = began + 6 * S;
        assert_eq!(schedule.attend(now, now), Attend::Serve);
        assert_eq!(schedule.next(now), REFRESH);
    }

    #[test]
    fn a_schedule_that_is_stopped_neither_works_nor_lets_requests_wait() {
        let (mut schedule, began) = refreshed(TIMING);
        schedule.stop();
        assert_eq!(schedule.next(began + 10 * S), Next::Stop);
        assert_eq!(
            schedule.attend(began + 10 * S, began + 10 * S),
            Attend::Serve
        );
    }
}
