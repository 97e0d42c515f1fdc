//! The first walk from afar: the requests that it makes can't be faster than as many at a time as
//! are allowed, each taking as long as the way there and back.

use std::time::{Duration, Instant};

use super::{Line, Setting, Spread, Table};
use crate::charts::Shape;
use crate::children::start_daemon;
use crate::filled::docker_registry;
use crate::relay::Relay;
use crate::table::{Goal, seconds, thousands};

/// 1,000 versions in 100 repositories.
pub const SHAPE: Shape = Shape::new(100, 10);
/// What is added to each answer.
pub const LATENCY: Duration = Duration::from_millis(20);
pub const CONCURRENCY: usize = 16;
const ROUNDS: usize = 3;

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = docker_registry(SHAPE);
    let flag = format!("--concurrency={CONCURRENCY}");
    let (mut times, mut bounds, mut requests) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let relay = Relay::start(registry.port(), LATENCY);
        let began = Instant::now();
        let daemon = start_daemon(&setting.daemon, &[&relay.flag(), &flag]);
        daemon.wait_ready();
        times.push(began.elapsed().as_secs_f64());
        requests = relay.asked().all();
        bounds.push(requests as f64 / CONCURRENCY as f64 * LATENCY.as_secs_f64());
    }
    let ratios = times.iter().zip(&bounds).map(|(time, bound)| time / bound);
    let bound = Duration::from_secs_f64(Spread::of(bounds.iter().copied()).median());
    table.add(&Line {
        what: "first walk, 1,000 versions in 100 repositories, 20 ms away".into(),
        ours: format!("{} s", Spread::of(times.iter().copied())),
        beside: format!("{} requests ÷ 16: {}", thousands(requests), seconds(bound)),
        measured: Spread::of(ratios),
        unit: "",
        goal: Goal::AtMost(1.3),
    });
}
