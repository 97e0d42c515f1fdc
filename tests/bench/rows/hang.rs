//! `GET /index.yaml` while the registry says nothing more.

use std::time::{Duration, Instant};

use super::{Line, Setting, Spread, Table};
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::filled::docker_registry;
use crate::load;
use crate::relay::{Distance, Relay};
use crate::table::{Goal, digits};

const SHAPE: Shape = Shape::new(10, 10);
/// The default of `--max-wait`.
const MAX_WAIT: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;
/// How long they go on, and what each of them waits between two answers.
const HANGING: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// A processor that is busy with other things may keep an answer for as long.
const TOLERANCE_MS: f64 = 50.0;

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = docker_registry(SHAPE);
    let relay = Relay::start(registry.port(), Distance::default());
    let daemon = daemon(
        &setting.daemon,
        &[&relay.flag(), "--max-stale=0s", "--max-wait=2s"],
    );
    let address = address(daemon.port());
    let good = load::get(address, "/index.yaml", &[])
        .expect("an answer")
        .body;
    relay.hang();
    let until = Instant::now() + HANGING;
    let ask = || {
        let mut answers = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let answer = load::get(address, "/index.yaml", &[]).expect("an answer");
            answers.push((began.elapsed(), answer.status == 200 && answer.body == good));
            std::thread::sleep(PAUSE);
        }
        answers
    };
    let answers: Vec<(Duration, bool)> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        asking
            .into_iter()
            .flat_map(|one| one.join().expect("asking doesn't panic"))
            .collect()
    });
    report(table, &answers);
}

fn report(table: &mut Table, answers: &[(Duration, bool)]) {
    let longest = answers
        .iter()
        .map(|(took, _)| *took)
        .max()
        .unwrap_or_default();
    let good = answers.iter().filter(|(_, good)| *good).count();
    table.add(&Line {
        what: "GET /index.yaml while the registry hangs: time".into(),
        ours: format!("at most {} s", digits(longest.as_secs_f64())),
        beside: format!("--max-wait {} s + {TOLERANCE_MS} ms", MAX_WAIT.as_secs()),
        measured: Spread::of(answers.iter().map(|(took, _)| took.as_secs_f64() * 1e3)),
        unit: "ms",
        goal: Goal::NeverOver(MAX_WAIT.as_secs_f64() * 1e3 + TOLERANCE_MS),
    });
    table.add(&Line {
        what: "the same: the last good bytes".into(),
        ours: format!("{good} of {}", answers.len()),
        beside: String::new(),
        measured: Spread::of([good as f64 / answers.len() as f64]),
        unit: "",
        goal: Goal::AtLeast(1.0),
    });
}
