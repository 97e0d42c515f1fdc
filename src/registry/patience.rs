//! Patience with a registry that fails, shared by all requests: how long to wait before one is made
//! again, how often that is done at all, and when everyone leaves it alone. A registry in trouble isn't
//! helped by being asked three times as often, and one that hangs must not hold up a walk for its
//! deadline times its repositories. The clock is a parameter.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// How often a call is made before it has failed: a connection that was just closed, a registry
/// that throttles or restarts.
const ATTEMPTS: u32 = 3;
/// First wait before a call is made again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait that a registry's `Retry-After` is granted within one call. Who asks for more isn't
/// asked anything until then.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Longest rest that a registry is given at a time: a date far in the future must not silence us for
/// good, and a request each quarter of an hour harms nobody.
const MAX_REST: Duration = Duration::from_secs(15 * 60);
/// What repeating a call costs, in answered calls: at most one in ten calls is a repeated one.
const PRICE: u32 = 10;
/// Most that can be saved up: thirty repeated calls in a row, for a stumble in the midst of a walk.
const MAX_SAVED: u32 = 30 * PRICE;
/// So many calls without any answer, one after the other, and the registry is taken to be gone: as many
/// as two rounds of the usual concurrency.
const SILENT_CALLS: u32 = 16;
/// Then it's left alone for so long: short, because a call that fails at once is all that it saves us.
const SILENT_REST: Duration = Duration::from_secs(5);

/// How a call has failed, if it may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// 429, and what the registry has asked for.
    Throttled(Option<Duration>),
    /// Another status that may pass.
    Failed(Option<Duration>),
    /// No connection, or one that broke.
    Broken,
    /// No answer in time: asking again would take as long.
    TimedOut,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Ask again after this time.
    AskAgain(Duration),
    /// Give up.
    GiveUp,
    /// Give up; nobody asks for so long, because the registry said so.
    Rest(Duration),
}

/// What is left of it.
#[derive(Debug)]
pub(super) struct Patience {
    /// Nobody asks before this; who comes waits.
    pause_until: Option<Instant>,
    /// Nobody asks before this; who comes is sent away.
    rest_until: Option<(Instant, Why)>,
    saved: u32,
    silent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    Silent,
}

/// Nobody is to ask now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resting {
    left: Duration,
    why: Why,
}

impl std::fmt::Display for Resting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = self.left.as_secs() + 1;
        match self.why {
            Why::Asked => write!(f, "not asked: the registry wants a rest of {left} s more"),
            Why::Silent => {
                write!(
                    f,
                    "not asked: the last {SILENT_CALLS} requests got no answer, the next is made in {left} s"
                )
            }
        }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            pause_until: None,
            rest_until: None,
            saved: MAX_SAVED,
            silent: 0,
        }
    }
}

impl Patience {
    /// How long a call has to wait for its turn.
    ///
    /// Errors when it isn't to be made at all.
    pub(super) fn turn(&self, now: Instant) -> Result<Duration, Resting> {
        if let Some((until, why)) = self.rest_until.filter(|(until, _)| *until > now) {
            return Err(Resting {
                left: until - now,
                why,
            });
        }
        let left = self
            .pause_until
            .map(|until| until.saturating_duration_since(now))
            .unwrap_or_default();
        // Not all at once when it's over.
        Ok(left + jitter(left / 4))
    }

    /// A call was answered, if only by a refusal.
    pub(super) fn answered(&mut self) {
        self.silent = 0;
        self.saved = (self.saved + 1).min(MAX_SAVED);
    }

    /// A call has failed for the `attempt`th time.
    pub(super) fn failed(&mut self, failure: Failure, attempt: u32, now: Instant) -> Then {
        self.note_silence(failure, now);
        let asked = match failure {
            Failure::Throttled(asked) | Failure::Failed(asked) => asked.unwrap_or_default(),
            Failure::Broken => Duration::ZERO,
            Failure::TimedOut => return Then::GiveUp,
        };
        if asked > MAX_PAUSE {
            let rest = asked.min(MAX_REST);
            self.rest_until = Some((now + rest, Why::Asked));
            return Then::Rest(rest);
        }
        let own = FIRST_PAUSE * 2u32.saturating_pow(attempt - 1);
        let pause = asked.max(own - jitter(own / 2));
        if matches!(failure, Failure::Throttled(_)) || !asked.is_zero() {
            self.pause_until = self.pause_until.max(Some(now + pause));
        }
        if attempt >= ATTEMPTS || self.saved < PRICE {
            return Then::GiveUp;
        }
        self.saved -= PRICE;
        Then::AskAgain(pause)
    }

    fn note_silence(&mut self, failure: Failure, now: Instant) {
        if !matches!(failure, Failure::Broken | Failure::TimedOut) {
            self.silent = 0;
            return;
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent >= SILENT_CALLS {
            let until = now + SILENT_REST;
            self.rest_until = self
                .rest_until
                .filter(|(other, _)| *other > until)
                .or(Some((until, Why::Silent)));
        }
    }
}

/// A random part of `most`. Replicas that start together must not ask in step; the standard library's
/// only source of chance is good enough for that.
fn jitter(most: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    most * chance as u32 / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_is_made_three_times_with_pauses_that_grow_and_differ() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let mut pause = |attempt| match patience.failed(Failure::Failed(None), attempt, now) {
            Then::AskAgain(pause) => pause,
            other => panic!("{other:?}"),
        };
        let (first, second) = (pause(1), pause(2));
        assert!(
            (FIRST_PAUSE / 2..=FIRST_PAUSE).contains(&first),
            "{first:?}"
        );
        assert!(
            (FIRST_PAUSE..=FIRST_PAUSE * 2).contains(&second),
            "{second:?}"
        );
        assert_eq!(patience.failed(Failure::Failed(None), 3, now), Then::GiveUp);
        assert_eq!(
            patience.turn(now),
            Ok(Duration::ZERO),
            "one tag's failure holds nobody up"
        );
    }

    #[test]
    fn who_throttles_is_given_its_time_by_everyone() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert_eq!(
            patience.failed(Failure::Throttled(Some(3 * S)), 1, now),
            Then::AskAgain(3 * S)
        );
        assert!(patience.turn(now).is_ok_and(|wait| wait >= 3 * S));
        assert_eq!(patience.turn(now + 3 * S), Ok(Duration::ZERO));
        let mut patience = Patience::default();
        patience.failed(Failure::Throttled(None), 1, now);
        assert!(patience.turn(now).is_ok_and(|wait| !wait.is_zero()));
    }

    #[test]
    fn who_asks_for_a_long_rest_has_it_but_not_for_ever() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert_eq!(
            patience.failed(Failure::Failed(Some(60 * S)), 1, now),
            Then::Rest(60 * S)
        );
        let told = patience.turn(now).unwrap_err().to_string();
        assert_eq!(told, "not asked: the registry wants a rest of 61 s more");
        assert_eq!(patience.turn(now + 60 * S), Ok(Duration::ZERO));
        let long = Failure::Throttled(Some(Duration::MAX));
        assert_eq!(patience.failed(long, 1, now), Then::Rest(MAX_REST));
    }

    #[test]
    fn few_calls_are_repeated_when_most_fail() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let mut repeated = 0;
        for _ in 0..1000 {
            repeated += u32::from(patience.failed(Failure::Failed(None), 1, now) != Then::GiveUp);
        }
        assert_eq!(repeated, MAX_SAVED / PRICE);
        (0..PRICE).for_each(|_| patience.answered());
        assert_ne!(patience.failed(Failure::Failed(None), 1, now), Then::GiveUp);
        assert_eq!(patience.failed(Failure::Failed(None), 1, now), Then::GiveUp);
    }

    #[test]
    fn who_never_answers_is_left_alone_for_a_moment_until_it_does() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 1..SILENT_CALLS {
            patience.failed(Failure::TimedOut, 1, now);
        }
        assert_eq!(patience.turn(now), Ok(Duration::ZERO));
        patience.failed(Failure::Broken, 1, now);
        assert!(patience.turn(now).is_err());
        let later = now + SILENT_REST;
        assert_eq!(patience.turn(later), Ok(Duration::ZERO));
        patience.failed(Failure::TimedOut, 1, later);
        assert!(
            patience.turn(later).is_err(),
            "one that is still silent is left alone again"
        );
        patience.answered();
        patience.failed(Failure::TimedOut, 1, later + SILENT_REST);
        assert_eq!(patience.turn(later + SILENT_REST), Ok(Duration::ZERO));
    }
}
