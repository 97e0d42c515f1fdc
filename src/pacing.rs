//! When to try again after a failure ([`Backoff`]), what is too slow to wait for ([`Pace`]), and how fast
//! requests may be sent to a server that refuses some ([`RatePacer`]).
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

/// How fast requests are sent to a server that refuses those above a limit which it doesn't tell. Nothing
/// waits before the first refusal. Then the rate begins low and grows until the next refusal; what has
/// passed between the two is the limit. From there on the rate grows by equal steps, and each refusal
/// lowers it below what has passed (additive increase, multiplicative decrease). All callers share one.
#[derive(Debug, Default)]
pub(crate) struct RatePacer {
    limit: Option<RateLimit>,
    /// Until when refusals are not taken for those of a limit.
    off_until: Option<Instant>,
}

#[derive(Debug)]
struct RateLimit {
    /// Requests a second.
    rate: f64,
    /// What a request that passes adds to the rate, once a limit was measured.
    step: Option<f64>,
    /// When the rate was last lowered, and how many of the requests that were sent since have passed.
    since: Instant,
    passed: u32,
    /// Whether none had passed before the last refusal.
    is_fruitless: bool,
    /// When the last request was sent, and whether another one has had to wait since.
    sent: Instant,
    is_binding: bool,
}

impl RatePacer {
    /// The rate after the first refusal, in requests a second.
    const FIRST: f64 = 4.0;
    /// A server that refuses requests even at this rate doesn't do so because of the rate.
    const LEAST: f64 = 0.5;
    /// What a refusal leaves of the rate that has passed, and what it leaves if nothing has passed.
    const DECREASE: f64 = 0.9;
    const FRUITLESS: f64 = 0.5;
    /// So many steps lead back to the rate at which the last request was refused: of fifty requests, one
    /// is refused. After them the rate grows faster, because the limit has risen.
    const STEPS: u32 = 48;
    /// By this part the rate grows with each request that passes, while no limit is known.
    const GROWTH: f64 = 1.0 / 8.0;
    /// For so long refusals are not taken for those of a limit, after it turned out that they aren't.
    const OFF: Duration = Duration::from_secs(60);

    /// How long a request has to wait before it asks again; if that's zero, it is sent now.
    pub(crate) fn turn(&mut self, now: Instant) -> Duration {
        let Some(limit) = &mut self.limit else {
            return Duration::ZERO;
        };
        let interval = Duration::from_secs_f64(1.0 / limit.rate);
        let next = limit.sent + interval;
        if next > now {
            limit.is_binding = true;
        } else {
            // A thread that wakes late doesn't lower the rate.
            limit.sent = next.max(now - interval);
        }
        next.saturating_duration_since(now)
    }

    /// Notes that a request which was sent then has passed.
    pub(crate) fn passed(&mut self, sent: Instant) {
        let Some(limit) = self.limit.as_mut().filter(|limit| sent > limit.since) else {
            return;
        };
        limit.passed += 1;
        // A rate that nothing waits for isn't the one at which requests pass.
        if std::mem::take(&mut limit.is_binding) {
            let step = limit.step.filter(|_| limit.passed <= RatePacer::STEPS);
            limit.rate += step.unwrap_or(limit.rate * RatePacer::GROWTH);
        }
    }

    /// Notes that a request which was sent then was refused. Whether that is taken for a limit, so that the
    /// request may pass when it's sent again in its turn.
    pub(crate) fn refused(&mut self, sent: Instant, now: Instant) -> bool {
        if self.off_until.is_some_and(|until| now < until) {
            return false;
        }
        let (rate, step) = match &self.limit {
            // The rate was lowered since.
            Some(limit) if sent <= limit.since => return true,
            Some(limit) => {
                let rate = limit.lowered(now);
                let is_measured = limit.step.is_some() || limit.passed > 0;
                let step = (limit.rate - rate) / f64::from(RatePacer::STEPS);
                (rate, is_measured.then_some(step))
            }
            None => (RatePacer::FIRST, None),
        };
        let is_limit = rate > RatePacer::LEAST;
        self.off_until = (!is_limit).then(|| now + RatePacer::OFF);
        self.limit = is_limit.then_some(RateLimit {
            rate,
            step,
            since: now,
            passed: 0,
            is_fruitless: self.limit.as_ref().is_some_and(|limit| limit.passed == 0),
            sent: now,
            is_binding: false,
        });
        is_limit
    }

    /// Whether no request has passed between the last two refusals.
    pub(crate) fn is_fruitless(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.is_fruitless)
    }

    /// Whether requests wait for their turn.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }
}

impl RateLimit {
    /// The rate after a refusal.
    fn lowered(&self, now: Instant) -> f64 {
        let lasted = now.saturating_duration_since(self.since).as_secs_f64();
        match self.passed {
            0 => self.rate * RatePacer::FRUITLESS,
            passed => RatePacer::DECREASE * self.rate.min(f64::from(passed) / lasted),
        }
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

    /// A server that lets so many requests a second pass, and so many more at first, and answers after so
    /// long.
    struct Limited {
        rate: f64,
        burst: f64,
        latency: Duration,
    }

    /// Eight callers make so many requests, and repeat those that are refused: how many are, and how long
    /// it takes as a multiple of what the server allows.
    fn walk(server: &Limited, requests: usize) -> (usize, f64) {
        let start = Instant::now();
        let (mut pacer, mut tokens, mut filled) = (RatePacer::default(), server.burst, start);
        // When each caller does something next, and the request that is under way: when it was sent, and
        // whether it passes.
        let mut callers: Vec<(Instant, Option<(Instant, bool)>)> = vec![(start, None); 8];
        let (mut passed, mut refused) = (0, 0);
        while passed < requests {
            let (at, under_way) = callers.iter_mut().min_by_key(|(at, _)| *at).unwrap();
            let now = *at;
            match under_way.take() {
                Some((sent, true)) => {
                    pacer.passed(sent);
                    passed += 1;
                }
                Some((sent, false)) => {
                    assert!(pacer.refused(sent, now), "taken for an outage");
                    refused += 1;
                }
                None => {
                    let wait = pacer.turn(now);
                    if wait.is_zero() {
                        let rest = (now - filled).as_secs_f64() * server.rate;
                        (tokens, filled) = (server.burst.min(tokens + rest), now);
                        let passes = tokens >= 1.0;
                        tokens -= f64::from(u8::from(passes));
                        *under_way = Some((now, passes));
                        *at += server.latency;
                    }
                    // Threads wake late.
                    *at += wait + Duration::from_micros(200);
                }
            }
        }
        let took = callers.iter().map(|(at, _)| *at - start).min().unwrap();
        let allowed = (requests as f64 - server.burst) / server.rate;
        (refused, took.as_secs_f64() / allowed)
    }

    #[test]
    fn the_limit_of_a_server_is_found_with_few_refusals_and_made_use_of() {
        for (rate, burst, requests) in [
            (20.0, 100.0, 1000),
            (10.0, 10.0, 200),
            (5.0, 5.0, 200),
            (5.0, 1.0, 500),
            (50.0, 50.0, 1000),
            (300.0, 10.0, 3000),
        ] {
            for latency in [1, 20].map(Duration::from_millis) {
                let server = Limited {
                    rate,
                    burst,
                    latency,
                };
                let (refused, times) = walk(&server, requests);
                let share = refused as f64 / (requests + refused) as f64;
                assert!(
                    share <= 0.1 && times <= 1.3,
                    "{rate}/s, burst {burst}, {latency:?}: {share:.3} refused, {times:.2} times as long"
                );
            }
        }
    }

    #[test]
    fn refusals_at_any_rate_are_not_taken_for_those_of_a_limit() {
        let (mut pacer, mut now) = (RatePacer::default(), Instant::now());
        let start = now;
        for _ in 0..8 {
            assert!(pacer.refused(start, now), "sent before the first came");
        }
        for is_limit in [true, true, false] {
            now += pacer.turn(now);
            assert_eq!(pacer.turn(now), Duration::ZERO);
            assert_eq!(pacer.refused(now, now), is_limit);
        }
        assert!(now - start < 2 * S);
        assert_eq!(pacer.turn(now), Duration::ZERO, "nothing waits in vain");
        assert!(!pacer.refused(now, now + 59 * S));
        assert!(pacer.refused(now, now + 60 * S));
    }

    #[test]
    fn a_refusal_that_is_not_repeated_is_soon_forgotten() {
        let (mut pacer, start) = (RatePacer::default(), Instant::now());
        pacer.refused(start, start);
        let mut now = start;
        for _ in 0..100 {
            now += pacer.turn(now);
            assert_eq!(pacer.turn(now), Duration::ZERO);
            pacer.passed(now);
        }
        assert!(now - start < 3 * S, "{:?}", now - start);
    }
}
