//! When to try again after a failure ([`Backoff`]), and what is too slow to wait for ([`Pace`]).
//! Pure: the clock is a parameter.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A row of failures: since when it lasts, and when to try again. The pause is as long as the row has
/// lasted, within bounds, so that it doubles from one failure to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// When the first failure of the row was noted.
    pub(crate) since: Instant,
    /// When to try again.
    pub(crate) retry_at: Instant,
}

impl Backoff {
    /// Notes a failure that came `now`, after those that `before` stands for.
    pub(crate) fn after(
        before: Option<Backoff>,
        pauses: RangeInclusive<Duration>,
        now: Instant,
    ) -> Backoff {
        let since = before.map_or(now, |before| before.since);
        let lasted = now.saturating_duration_since(since);
        let retry_at = now + lasted.clamp(*pauses.start(), *pauses.end());
        Backoff { since, retry_at }
    }
}

/// How fast bytes pass, by the time that was spent waiting for the other end alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes that `bytes` have passed after waiting for so long.
    pub(crate) fn note(&mut self, bytes: usize, waited: Duration) {
        self.waited += waited;
        self.bytes += bytes as u64;
    }

    /// How many bytes have passed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes a second have passed, once at least `grace` was spent waiting.
    pub(crate) fn after(&self, grace: Duration) -> Option<u64> {
        (self.waited >= grace).then(|| self.bytes / self.waited.as_secs().max(1))
    }

    /// Whether fewer than `least` bytes a second have passed, once more than `grace` was spent waiting.
    pub(crate) fn is_below(&self, least: u64, grace: Duration) -> bool {
        self.waited > grace && self.bytes / self.waited.as_secs().max(1) < least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_with_the_row_of_failures_within_bounds() {
        let mut now = Instant::now();
        let mut backoff = None;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let next = Backoff::after(backoff, S..=6 * S, now);
            pauses.push((next.retry_at - now).as_secs());
            now = next.retry_at;
            backoff = Some(next);
        }
        assert_eq!(pauses, [1, 1, 2, 4, 6, 6]);
    }

    #[test]
    fn a_pace_is_judged_after_a_grace_and_by_time_spent_waiting() {
        let mut pace = Pace::default();
        pace.note(10, 5 * S);
        assert!(!pace.is_below(100, 5 * S), "within its grace");
        assert_eq!((pace.after(6 * S), pace.after(5 * S)), (None, Some(2)));
        pace.note(0, S);
        assert!(pace.is_below(100, 5 * S));
        pace.note(600, Duration::ZERO);
        assert!(!pace.is_below(100, 5 * S));
        assert_eq!(pace.bytes(), 610);
    }
}
