//! When a failed request is repeated and when requests wait or aren't sent at all, for all threads
//! together: a registry in trouble isn't helped by three times as many requests, and a registry that
//! hangs must not hold up a scan for a deadline times its repositories. Each host is judged by itself: a
//! storage that blobs are redirected to must not silence the registry. The clock is a parameter, but for
//! [`Retries`].

use super::url::{self, Origin};
use crate::observe::metrics;
use crate::pacing::RatePacer;
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::lock;
use std::collections::hash_map::{HashMap, RandomState};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use ureq::http::Uri;

/// Most hosts that are told apart: a registry redirects to a few. A hostile one names many, and then all
/// are forgotten.
const MAX_HOSTS: usize = 64;

/// How often a request is sent before it has failed: enough for a connection that was just closed, and a
/// registry that throttles or restarts.
const ATTEMPTS: u32 = 3;
/// The same for a request that is refused by a registry that limits its clients, while others pass: that
/// is not the fault of what it asks for, and seldom happens twice.
const REFUSALS: u32 = 5;
/// Longest time that a request waits for its turn, while the registry limits its clients.
const LONGEST_TURN: Duration = Duration::from_secs(60);
/// First pause before a request is repeated; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest `Retry-After` that is waited out within one request. If the registry asks for more, no request
/// is sent until then.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Successful requests needed to earn one retry: at most one request in ten is a repeated one.
const PRICE: u32 = 10;
/// Most that retries may cost before successful requests make up for it: thirty retries in a row, for a
/// short failure in the midst of a scan.
const MAX_DEBT: u32 = 30 * PRICE;
/// So many requests without any answer, one after the other, and the registry is taken to be down: two
/// rounds of the usual concurrency.
const UNANSWERED: u32 = 16;
/// Then no request is sent for so long: short, because all that it saves is requests that fail.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(5);

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Send the request again after this time.
    After(Duration),
    GiveUp,
}

/// Where a request was last sent, after redirects, and when.
pub(super) struct Hop {
    origin: Origin,
    sent: Instant,
}

/// The policies for all hosts that requests are sent to.
#[derive(Default)]
pub(super) struct Retries {
    hosts: Mutex<HashMap<Origin, RetryPolicy>>,
}

impl Hop {
    /// To the host of `target`, now.
    pub(super) fn to(target: &Uri) -> Hop {
        Hop {
            origin: url::origin(target).unwrap_or_default(),
            sent: Instant::now(),
        }
    }
}

impl Retries {
    /// Waits until the request `what` may be sent to the host of `target`.
    pub(super) fn wait(&self, target: &Uri, is_blob: bool, what: &str) -> Result<Hop> {
        let began = Instant::now();
        loop {
            let hop = Hop::to(target);
            let (waited, now) = (hop.sent - began, hop.sent);
            let turn = self.at(&hop, |policy| policy.turn(is_blob, waited, now));
            match turn.map_err(|paused| paused.error(what, now))? {
                Duration::ZERO => return Ok(hop),
                wait => thread::sleep(wait),
            }
        }
    }

    /// Notes a response; it may be a refusal that won't pass.
    pub(super) fn answered(&self, hop: &Hop) {
        self.at(hop, |policy| policy.answered(hop.sent));
    }

    /// Notes that a request has failed for the `attempt`th time, in a way that may pass.
    pub(super) fn failed(&self, hop: &Hop, is_blob: bool, error: &Error, attempt: u32) -> Retry {
        let now = Instant::now();
        self.at(hop, |policy| {
            policy.failed(is_blob, error, attempt, hop.sent, now)
        })
    }

    fn at<R>(&self, hop: &Hop, act: impl FnOnce(&mut RetryPolicy) -> R) -> R {
        let mut hosts = lock(&self.hosts);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&hop.origin) {
            hosts.clear();
        }
        act(hosts.entry(hop.origin.clone()).or_default())
    }
}

/// What earlier requests to a host have taught about when to send the next.
#[derive(Debug, Default)]
struct RetryPolicy {
    /// The pauses of all requests, and those of blobs alone: what a blob was asked for may say nothing about
    /// tags and manifests, which often come from elsewhere.
    pauses: [Pauses; 2],
    /// What retries have cost, in successful requests that were not yet made up for.
    debt: u32,
    /// Requests without any answer since the last answer.
    unanswered: u32,
    /// The rate that a registry allows which limits its clients without `Retry-After`.
    pacer: RatePacer,
}

#[derive(Debug, Default)]
struct Pauses {
    /// Requests wait until this time.
    throttled_until: Option<Instant>,
    /// Requests fail at once until this time.
    paused: Option<Paused>,
}

/// Why a request isn't sent now, and when it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paused {
    until: Instant,
    why: PauseReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PauseReason {
    /// The registry asked for it.
    Asked,
    /// The registry has stopped answering.
    Unanswered,
    /// The registry limits its clients, and too many requests want to be sent.
    Limited,
}

impl Paused {
    /// The error of the request `what` that isn't sent at `now`.
    fn error(self, what: &str, now: Instant) -> Error {
        let left = self.until.saturating_duration_since(now).as_secs() + 1;
        let why: &dyn fmt::Display = match self.why {
            PauseReason::Asked => {
                &format_args!("waiting {left} s more, as the server asked (Retry-After)")
            }
            PauseReason::Unanswered => &format_args!(
                "the last {UNANSWERED} requests got no answer, the next is sent in {left} s"
            ),
            PauseReason::Limited => {
                &"the server limits its clients, and others were first for a minute"
            }
        };
        Error::new(ErrorKind::Paused, format!("{what}: not sent: {why}"))
            .with_retry_at(Some(self.until))
    }
}

impl RetryPolicy {
    /// How long a request that has waited for so long has to wait before it asks again; if that's zero, it
    /// is sent now.
    ///
    /// Errors when it isn't to be sent at all.
    fn turn(&mut self, is_blob: bool, waited: Duration, now: Instant) -> Result<Duration, Paused> {
        let pauses = &self.pauses[..=usize::from(is_blob)];
        let mut paused = pauses.iter().filter_map(|pauses| pauses.paused);
        if let Some(paused) = paused.find(|paused| paused.until > now) {
            return Err(paused);
        }
        let until = pauses.iter().filter_map(|pauses| pauses.throttled_until);
        let until = until.max().unwrap_or(now);
        let left = until.saturating_duration_since(now);
        if !left.is_zero() {
            // Not all at once when it's over.
            return Ok(left + jitter(left / 4));
        }
        if waited > LONGEST_TURN {
            let (until, why) = (now, PauseReason::Limited);
            return Err(Paused { until, why });
        }
        Ok(self.pacer.turn(now))
    }

    /// Notes a response to a request that was sent then; it may be a refusal that won't pass.
    fn answered(&mut self, sent: Instant) {
        self.unanswered = 0;
        self.debt = self.debt.saturating_sub(1);
        self.pacer.passed(sent);
    }

    /// Notes that a request which was sent then has failed for the `attempt`th time, in a way that may pass.
    fn failed(
        &mut self,
        is_blob: bool,
        error: &Error,
        attempt: u32,
        sent: Instant,
        now: Instant,
    ) -> Retry {
        self.note_answer(error.status().is_some(), now);
        if error.kind() == ErrorKind::TimedOut {
            // The next attempt would take as long.
            return Retry::GiveUp;
        }
        let until = error.retry_at();
        let asked = until.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if asked > LONGEST_WAIT {
            let pause = asked.as_secs_f64().round();
            let requests = if is_blob { "downloads" } else { "requests" };
            log::warn!(status = error.status(); "{error:#}: it sent Retry-After, no {requests} for {pause} s");
            metrics::REGISTRY_PAUSES.count(&[]);
            let why = PauseReason::Asked;
            self.pauses[usize::from(is_blob)].paused = until.map(|until| Paused { until, why });
            return Retry::GiveUp;
        }
        let is_refused = until.is_none() && matches!(error.status(), Some(429 | 503));
        if is_refused && self.is_limited(error, sent, now) {
            let most = match self.pacer.is_fruitless() {
                true => ATTEMPTS,
                false => REFUSALS,
            };
            return match attempt < most {
                true => Retry::After(Duration::ZERO),
                false => Retry::GiveUp,
            };
        }
        let own = FIRST_PAUSE * 2u32.saturating_pow(attempt - 1);
        let pause = asked.max(own - jitter(own / 2));
        if error.status() == Some(429) || !asked.is_zero() {
            let throttled = &mut self.pauses[usize::from(is_blob)].throttled_until;
            *throttled = (*throttled).max(Some(now + pause));
            metrics::REGISTRY_PAUSES.count(&[]);
        }
        if attempt >= ATTEMPTS || self.debt + PRICE > MAX_DEBT {
            return Retry::GiveUp;
        }
        self.debt += PRICE;
        Retry::After(pause)
    }

    /// Whether a registry that refuses a request limits the rate of requests; else it is in trouble.
    fn is_limited(&mut self, error: &Error, sent: Instant, now: Instant) -> bool {
        let was_limited = self.pacer.is_limited();
        let is_limited = self.pacer.refused(sent, now);
        match (was_limited, is_limited) {
            (false, true) => {
                log::info!("{error:#}: requests are sent more slowly, at the rate that passes");
            }
            (true, false) => log::info!("{error:#}: it isn't the rate of requests"),
            _ => {}
        }
        is_limited
    }

    fn note_answer(&mut self, was_answered: bool, now: Instant) {
        if was_answered {
            self.unanswered = 0;
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        let (until, why) = (now + UNANSWERED_PAUSE, PauseReason::Unanswered);
        let paused = &mut self.pauses[0].paused;
        if self.unanswered >= UNANSWERED && paused.is_none_or(|paused| paused.until <= until) {
            *paused = Some(Paused { until, why });
            metrics::REGISTRY_PAUSES.count(&[]);
        }
    }
}

/// A random part of `most`. Replicas that start together must not send in step; the standard library's
/// only source of chance is good enough for that.
fn jitter(most: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    most * chance as u32 / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    /// How long a request has waited that has just come.
    const NOT_YET: Duration = Duration::ZERO;

    fn status(status: u16, retry_at: Option<Instant>) -> Error {
        let error = Error::new(ErrorKind::Unavailable, "GET x");
        error.with_status(status).with_retry_at(retry_at)
    }

    fn unanswered(kind: ErrorKind) -> Error {
        Error::new(kind, "GET x")
    }

    #[test]
    fn a_request_is_sent_three_times_with_pauses_that_grow_and_differ() {
        let (mut policy, now) = (RetryPolicy::default(), Instant::now());
        let mut pause = |attempt| match policy.failed(false, &status(500, None), attempt, now, now)
        {
            Retry::After(pause) => pause,
            other => panic!("{other:?}"),
        };
        let (first, second) = (pause(1), pause(2));
        let expected = FIRST_PAUSE / 2..=FIRST_PAUSE;
        assert!(expected.contains(&first), "{first:?}");
        let expected = FIRST_PAUSE..=FIRST_PAUSE * 2;
        assert!(expected.contains(&second), "{second:?}");
        assert_eq!(
            policy.failed(false, &status(500, None), 3, now, now),
            Retry::GiveUp
        );
        let waits = policy.turn(false, NOT_YET, now);
        assert_eq!(waits, Ok(Duration::ZERO), "other requests don't wait");
    }

    #[test]
    fn all_requests_wait_as_long_as_a_registry_that_throttles_asks() {
        let (mut policy, now) = (RetryPolicy::default(), Instant::now());
        let throttled = status(429, Some(now + 3 * S));
        assert_eq!(
            policy.failed(false, &throttled, 1, now, now),
            Retry::After(3 * S)
        );
        assert!(
            policy
                .turn(false, NOT_YET, now)
                .is_ok_and(|wait| wait >= 3 * S)
        );
        assert_eq!(policy.turn(false, NOT_YET, now + 3 * S), Ok(Duration::ZERO));
    }

    #[test]
    fn a_request_that_a_limit_refuses_is_repeated_in_its_turn_and_all_requests_are_sent_more_slowly()
     {
        for code in [429, 503] {
            let (mut policy, now) = (RetryPolicy::default(), Instant::now());
            let refused = status(code, None);
            let failed = policy.failed(false, &refused, 1, now, now);
            assert_eq!(failed, Retry::After(Duration::ZERO));
            assert_eq!(policy.turn(false, NOT_YET, now), Ok(S / 4));
            let again = now + S / 4;
            assert_eq!(policy.turn(false, NOT_YET, again), Ok(Duration::ZERO));
            assert_eq!(policy.turn(false, NOT_YET, again), Ok(S / 4));
            assert!(policy.turn(false, 61 * S, again).is_err(), "not for ever");
            // What is refused while others pass is at fault itself.
            let failed = policy.failed(false, &refused, REFUSALS, now, again);
            assert_eq!(failed, Retry::GiveUp);
        }
    }

    #[test]
    fn a_registry_that_refuses_every_request_is_in_trouble_and_keeps_none_waiting() {
        let (mut policy, mut now) = (RetryPolicy::default(), Instant::now());
        for attempt in 1..ATTEMPTS {
            let failed = policy.failed(false, &status(503, None), attempt, now, now);
            assert_eq!(failed, Retry::After(Duration::ZERO));
            now += policy.turn(false, NOT_YET, now).unwrap();
        }
        let failed = policy.failed(false, &status(503, None), ATTEMPTS, now, now);
        assert_eq!(failed, Retry::GiveUp);
        now += policy.turn(false, NOT_YET, now).unwrap();
        policy.failed(false, &status(503, None), 1, now, now);
        assert_eq!(policy.turn(false, NOT_YET, now), Ok(Duration::ZERO));
    }

    #[test]
    fn during_a_long_pause_that_the_registry_asked_for_no_request_is_sent() {
        let (mut policy, now) = (RetryPolicy::default(), Instant::now());
        let until = now + 60 * S;
        let failed = policy.failed(false, &status(503, Some(until)), 1, now, now);
        assert_eq!(failed, Retry::GiveUp);
        let error = policy
            .turn(false, NOT_YET, now)
            .unwrap_err()
            .error("GET y", now);
        let text = "GET y: not sent: waiting 61 s more, as the server asked (Retry-After)";
        assert_eq!(format!("{error:#}"), text);
        assert_eq!(
            (error.kind(), error.retry_at()),
            (ErrorKind::Paused, Some(until))
        );
        assert_eq!(policy.turn(false, NOT_YET, until), Ok(Duration::ZERO));
    }

    #[test]
    fn few_requests_are_repeated_when_most_fail() {
        let (mut policy, now) = (RetryPolicy::default(), Instant::now());
        let fails =
            |policy: &mut RetryPolicy| policy.failed(false, &status(500, None), 1, now, now);
        let mut repeated = 0;
        for _ in 0..1000 {
            repeated += u32::from(fails(&mut policy) != Retry::GiveUp);
        }
        assert_eq!(repeated, MAX_DEBT / PRICE);
        (0..PRICE).for_each(|_| policy.answered(now));
        assert_ne!(fails(&mut policy), Retry::GiveUp);
        assert_eq!(fails(&mut policy), Retry::GiveUp);
    }

    #[test]
    fn a_registry_that_never_answers_gets_no_requests_for_a_moment_until_it_does() {
        let (mut policy, now) = (RetryPolicy::default(), Instant::now());
        let late = unanswered(ErrorKind::TimedOut);
        for _ in 1..UNANSWERED {
            policy.failed(false, &late, 1, now, now);
        }
        assert_eq!(policy.turn(false, NOT_YET, now), Ok(Duration::ZERO));
        policy.failed(false, &unanswered(ErrorKind::Unavailable), 1, now, now);
        assert!(policy.turn(false, NOT_YET, now).is_err());
        let later = now + UNANSWERED_PAUSE;
        assert_eq!(policy.turn(false, NOT_YET, later), Ok(Duration::ZERO));
        policy.failed(false, &late, 1, later, later);
        assert!(
            policy.turn(false, NOT_YET, later).is_err(),
            "still no answer"
        );
        policy.answered(now);
        let later = later + UNANSWERED_PAUSE;
        policy.failed(false, &late, 1, later, later);
        assert_eq!(policy.turn(false, NOT_YET, later), Ok(Duration::ZERO));
    }

    /// One blob's `Retry-After` silenced the registry for up to 900 s. Issue 17, 5.
    #[test]
    fn a_pause_that_a_blob_was_answered_by_holds_for_blobs_alone_and_one_for_all_for_blobs_too() {
        for (first, pauses) in [(true, [false, true]), (false, [true, true])] {
            for asked in [60 * S, 3 * S] {
                let (mut policy, now) = (RetryPolicy::default(), Instant::now());
                policy.failed(first, &status(503, Some(now + asked)), 1, now, now);
                for is_blob in [false, true] {
                    let turn = policy.turn(is_blob, NOT_YET, now);
                    let is_paused = turn != Ok(Duration::ZERO);
                    assert_eq!(is_paused, pauses[usize::from(is_blob)], "{asked:?}");
                }
            }
        }
    }

    #[test]
    fn the_failures_of_a_host_say_nothing_about_another() {
        let retries = Retries::default();
        let [one, other]: [Uri; 2] = ["http://a/x", "http://b/x"].map(|url| url.parse().unwrap());
        let until = Instant::now() + 60 * S;
        retries.failed(&Hop::to(&one), false, &status(503, Some(until)), 1);
        assert!(retries.wait(&one, false, "GET").is_err());
        assert!(retries.wait(&other, false, "GET").is_ok());
    }
}
