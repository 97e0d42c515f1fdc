//! What must be true of a row, and the sentences about each expectation that isn't met.

use std::time::Duration;

use crate::limits::Limits;
use crate::rows::Row;
use crate::trial::{Outcome, Scale};

/// The most memory, in MiB, whatever happens.
const MEMORY: usize = 64;
/// What 99 of 100 answers take at most.
const P99: Duration = Duration::from_millis(100);
/// How many threads more than before an attack may be left after it.
const SPARE_THREADS: usize = 16;
/// What ending may take beyond the grace.
const ENDING: Duration = Duration::from_secs(1);

/// What a normal client may expect while the attack is on.
#[derive(Clone, Copy)]
pub struct Goal {
    /// The least share of its requests that is answered, in percent.
    pub answered: f64,
    /// Whether 99 of 100 answers come within [`P99`].
    pub quick: bool,
}

impl Goal {
    /// Normal clients notice nothing.
    pub const UNIMPRESSED: Goal = Goal {
        answered: 100.0,
        quick: true,
    };
    /// All requests are answered, but perhaps later, as when a registry is slow.
    pub const ANSWERED: Goal = Goal {
        answered: 100.0,
        quick: false,
    };
    /// Hardly a normal client notices anything.
    pub const NEARLY: Goal = Goal {
        answered: 99.0,
        quick: false,
    };
}

/// What is wrong with an outcome; nothing, if all is well. Only the full scale judges times: a small
/// one runs beside other things.
pub fn faults(row: &Row, scale: &Scale, outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, otherwise: String| {
        if !holds {
            faults.push(otherwise);
        }
    };
    let turnout = &outcome.turnout;
    must(
        turnout.shortfall.is_none(),
        turnout.shortfall.clone().unwrap_or_default(),
    );
    must(turnout.connections > 0, "no attacker came".to_owned());
    let failure = outcome.first_failure.as_deref().unwrap_or_default();
    must(
        outcome.answered >= row.goal.answered,
        format!(
            "{:.1} % of the normal requests were answered; the first failure: {failure}",
            outcome.answered
        ),
    );
    must(
        outcome.well,
        "normal requests fail after the attack".to_owned(),
    );
    let threads = outcome.peak.threads;
    let is_limited = !matches!(row.limits, Limits::Threads(most) if threads > most);
    must(
        is_limited,
        format!("the daemon had {threads} threads: this machine didn't hold it to the limit"),
    );
    let memory = outcome.peak.peak_memory / 1024;
    must(
        memory <= MEMORY,
        format!("{memory} MiB of memory were used, more than {MEMORY}"),
    );
    must(
        outcome.exit == Some(0),
        format!(
            "SIGTERM led to {}, not exit 0; its last words: {}",
            exit(outcome.exit),
            outcome.last_words
        ),
    );
    let most = scale.grace + ENDING;
    must(
        outcome.ending <= most * scale.patience,
        format!(
            "it ended {:.1} s after SIGTERM, not within {most:?}",
            outcome.ending.as_secs_f64()
        ),
    );
    if !scale.full {
        return faults;
    }
    let (came, wanted) = (turnout.clients, turnout.wanted);
    must(
        came == wanted,
        format!("only {came} of {wanted} attackers had a connection"),
    );
    let p99 = outcome.p99;
    must(
        !row.goal.quick || p99 <= P99,
        format!("p99 was {:.0} ms, over {P99:?}", p99.as_secs_f64() * 1e3),
    );
    let left = outcome.threads_left.saturating_sub(outcome.threads_before);
    must(
        left <= SPARE_THREADS,
        format!("{left} more threads than before were left in the end"),
    );
    faults
}

/// An exit as a person says it.
pub fn exit(code: Option<i32>) -> String {
    code.map_or("death by a signal".to_owned(), |code| {
        format!("exit {code}")
    })
}
