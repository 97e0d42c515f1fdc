//! What the daemon holds in memory: with next to nothing, for each chart, and while it streams.

use super::{Line, REFRESH_AT_EACH_GET, Setting, Spread, Table};
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::load;
use crate::memory::Memory;
use crate::support::daemon::Daemon;
use crate::synthetic::Synthetic;
use crate::table::Goal;

const ROUNDS: usize = 3;
/// Refreshes before a look: the second holds two snapshots for a moment.
const REFRESHES: usize = 3;
const CLIENTS: usize = 32;
/// Charts of 50 MB, other ones for a few clients each.
const LARGE: Shape = Shape {
    archive: Some(50_000_000),
    ..Shape::new(4, 1)
};

pub fn play(setting: &Setting, table: &mut Table) {
    let [few, thousand, eleven] =
        [(1, 1), (100, 10), (100, 110)].map(|(repositories, versions)| {
            let shape = Shape {
                archive: Some(1000),
                ..Shape::new(repositories, versions)
            };
            (0..ROUNDS)
                .map(|_| used(setting, shape))
                .collect::<Vec<_>>()
        });
    let line = |what: &str, ours: String, measured, most| Line {
        what: what.into(),
        ours,
        beside: String::new(),
        measured,
        unit: "MB",
        goal: Goal::AtMost(most),
    };
    table.add(&line("memory: idle", String::new(), Spread::of(few), 6.0));
    let growth = eleven
        .iter()
        .zip(&thousand)
        .map(|(eleven, thousand)| (eleven - thousand) / 10.0);
    let growth = Spread::of(growth);
    let (thousand, eleven) = (Spread::of(thousand), Spread::of(eleven));
    let ours = format!("{:.1} and {:.1} MB", thousand.median(), eleven.median());
    table.add(&line(
        "memory: each 1,000 versions (between 1,000 and 11,000)",
        ours,
        growth,
        2.0,
    ));
    let peaks = Spread::of((0..ROUNDS).map(|_| streaming(setting)));
    table.add(&line(
        "memory: peak over idle while 32 clients pull 50 MB charts",
        String::new(),
        peaks,
        40.0,
    ));
}

/// Megabytes resident after a few refreshes, each seen by somebody.
fn used(setting: &Setting, shape: Shape) -> f64 {
    let registry = Synthetic::start(shape);
    let daemon = daemon(
        &setting.daemon,
        &[&[&*registry.flag()], &REFRESH_AT_EACH_GET[..]].concat(),
    );
    for fields in [&[][..], &[("Accept-Encoding", "gzip")]]
        .iter()
        .cycle()
        .take(REFRESHES)
    {
        let answer = load::get(address(daemon.port()), "/index.yaml", fields).expect("an answer");
        assert_eq!(answer.status, 200, "{}", daemon.log());
    }
    Memory::of(daemon.pid()).resident
}

/// Megabytes more at the worst moment than before.
fn streaming(setting: &Setting) -> f64 {
    let registry = Synthetic::start(LARGE);
    let daemon = daemon(&setting.daemon, &[&registry.flag()]);
    let idle = Memory::of(daemon.pid()).resident;
    pull_all(&daemon);
    Memory::of(daemon.pid()).peak - idle
}

fn pull_all(daemon: &Daemon) {
    let paths: Vec<String> = LARGE.charts().map(|chart| chart.path()).collect();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (path, address) = (&paths[client % paths.len()], address(daemon.port()));
            scope.spawn(move || {
                let bytes = load::pull(address, path).expect("a whole answer");
                assert!(
                    Some(bytes) > LARGE.archive,
                    "{path} was cut after {bytes} bytes"
                );
            });
        }
    });
}
