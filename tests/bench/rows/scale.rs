//! Fifty thousand versions.

use std::time::{Duration, Instant};

use super::{Line, REFRESH_AT_EACH_GET, Setting, Spread, Table, refresh};
use crate::charts::Shape;
use crate::children::{address, start_daemon};
use crate::load;
use crate::memory::Memory;
use crate::synthetic::Synthetic;
use crate::table::{Goal, seconds, thousands};

const SHAPE: Shape = Shape {
    archive: Some(1000),
    ..Shape::new(5_000, 10)
};
const REFRESHES: usize = 3;
/// How often each of the other paths is asked for.
const ASKS: usize = 20;
const HTML: [(&str, &str); 1] = [("Accept", "text/html")];

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = Synthetic::start(SHAPE);
    let began = Instant::now();
    let daemon = start_daemon(
        &setting.daemon,
        &[&[&*registry.flag()], &REFRESH_AT_EACH_GET[..]].concat(),
    );
    daemon.wait_ready();
    let walked = began.elapsed();
    let asked = registry.asked().all();
    let (size, took) = served(daemon.port());
    let refreshes: Vec<_> = (0..REFRESHES)
        .map(|_| {
            registry.asked();
            served(daemon.port());
            registry.asked()
        })
        .collect();
    let Memory { resident, peak } = Memory::of(daemon.pid());
    let line = |what: &str, ours, measured, unit, goal| Line {
        what: what.into(),
        ours,
        beside: String::new(),
        measured: Spread::of([measured]),
        unit,
        goal,
    };
    let ours = format!("{} requests", thousands(asked));
    let what = "50,000 versions in 5,000 repositories: first walk";
    table.add(&line(what, ours, walked.as_secs_f64(), "s", Goal::None));
    let ours = format!("served in {} with a refresh", seconds(took));
    table.add(&line(
        "the same: index",
        ours,
        size as f64 / 1e6,
        "MB",
        Goal::None,
    ));
    let ours = format!("{resident:.0} MB after {REFRESHES} refreshes");
    table.add(&line(
        "the same: memory at its peak",
        ours,
        peak,
        "MB",
        Goal::AtMost(150.0),
    ));
    refresh::report(
        table,
        "the same: refresh when nothing changed",
        SHAPE,
        &refreshes,
    );
    // A daemon whose requests wait for no refresh.
    drop(daemon);
    let daemon = start_daemon(
        &setting.daemon,
        &[&*registry.flag(), "--max-stale=1h", "--refresh-interval=1h"],
    );
    daemon.wait_ready();
    let asks = [
        ("the same: GET /metrics", "/metrics", 5.0),
        ("the same: the page with the list", "/", 50.0),
        (
            "the same: a search that finds one chart",
            "/?q=chart-0042",
            100.0,
        ),
        ("the same: a search that finds all", "/?q=chart", 100.0),
    ];
    for (what, path, most) in asks {
        table.add(&Line {
            what: what.into(),
            ours: format!("{ASKS} times"),
            beside: String::new(),
            measured: Spread::of((0..ASKS).map(|_| milliseconds(daemon.port(), path))),
            unit: "ms",
            goal: Goal::AtMost(most),
        });
    }
}

/// How many bytes the index has, all versions being there, and how long it took.
fn served(port: u16) -> (usize, Duration) {
    let began = Instant::now();
    let answer = load::get(address(port), "/index.yaml", &[]).expect("an answer");
    let took = began.elapsed();
    assert_eq!(
        answer.body_text().matches(".tgz").count(),
        SHAPE.len(),
        "versions in the index"
    );
    (answer.body.len(), took)
}

/// How long one answer takes, from the connection on.
fn milliseconds(port: u16, path: &str) -> f64 {
    let began = Instant::now();
    let answer = load::get(address(port), path, &HTML).expect("an answer");
    assert_eq!(answer.status, 200, "{path}");
    began.elapsed().as_secs_f64() * 1e3
}
