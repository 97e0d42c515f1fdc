//! The first walk from afar: the requests that it makes can't be faster than as many at a time as
//! are allowed, each taking as long as the way there and back. A real registry takes a millisecond
//! of a processor for each besides, so the same is measured in front of one that doesn't.

use std::time::{Duration, Instant};

use super::{Line, Setting, Spread, Table};
use crate::children::start_daemon;
use crate::filled::{THOUSAND, thousand};
use crate::relay::{Distance, Relay};
use crate::synthetic::Synthetic;
use crate::table::{Goal, seconds, thousands};

/// What is added to each answer.
pub const LATENCY: Duration = Duration::from_millis(20);
pub const CONCURRENCY: usize = 16;
const ROUNDS: usize = 3;

pub fn play(setting: &Setting, table: &mut Table) {
    let what = "first walk, 1,000 versions in 100 repositories, 20 ms away";
    measure(setting, table, what, thousand().port());
    let in_memory = Synthetic::start(THOUSAND);
    measure(
        setting,
        table,
        "the same from a registry that takes no time itself",
        in_memory.port(),
    );
}

fn measure(setting: &Setting, table: &mut Table, what: &str, registry: u16) {
    let walks: Vec<Walk> = (0..ROUNDS).map(|_| walk(setting, registry)).collect();
    let requests = walks[0].requests;
    table.add(&Line {
        what: what.into(),
        ours: format!(
            "{} s",
            Spread::of(walks.iter().map(|walk| walk.took.as_secs_f64()))
        ),
        beside: format!(
            "{} requests ÷ 16: {}",
            thousands(requests),
            seconds(walks[0].bound())
        ),
        measured: Spread::of(
            walks
                .iter()
                .map(|walk| walk.took.div_duration_f64(walk.bound())),
        ),
        unit: "",
        goal: Goal::AtMost(1.3),
    });
}

struct Walk {
    took: Duration,
    requests: usize,
}

impl Walk {
    /// No walk of so many requests can be faster.
    fn bound(&self) -> Duration {
        LATENCY.mul_f64(self.requests as f64 / CONCURRENCY as f64)
    }
}

fn walk(setting: &Setting, registry: u16) -> Walk {
    let relay = Relay::start(
        registry,
        Distance {
            latency: LATENCY,
            pace: None,
        },
    );
    let began = Instant::now();
    let daemon = start_daemon(
        &setting.daemon,
        &[&relay.flag(), &format!("--concurrency={CONCURRENCY}")],
    );
    daemon.wait_ready();
    Walk {
        took: began.elapsed(),
        requests: relay.asked().all(),
    }
}
