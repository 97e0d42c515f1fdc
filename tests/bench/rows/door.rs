//! The front door beside what it replaces, `tiny_http`'s own server with a thread for each request,
//! and beside nginx.

use super::{Comparison, Line, Setting, Table, requests_in_turns};
use crate::charts::Shape;
use crate::children::{Server, address, daemon};
use crate::load::{self, Load};
use crate::support::daemon::Daemon;
use crate::synthetic::Synthetic;
use crate::table::{Goal, digits};

/// The share of the reference's speed below which we're slower: turns differ by less.
const NO_WORSE: f64 = 0.9;

/// The small index and its head fit into the kilobyte that `tiny_http` writes at once: else it would
/// be compared while it waits for an acknowledgement. The large one has 1 MB.
const SMALL: Shape = Shape {
    description: 16,
    ..Shape::new(1, 1)
};
const LARGE: Shape = Shape {
    description: 40_000,
    ..Shape::new(25, 1)
};

struct Case {
    what: &'static str,
    large: bool,
    known: bool,
    connections: usize,
    keep_alive: bool,
}

const fn case(what: &'static str, connections: usize, keep_alive: bool) -> Case {
    Case {
        what,
        large: false,
        known: false,
        connections,
        keep_alive,
    }
}

const CASES: [Case; 9] = [
    case("small, keep-alive ×16", 16, true),
    case("small, keep-alive ×64", 64, true),
    Case {
        known: true,
        ..case("304, keep-alive ×16", 16, true)
    },
    Case {
        known: true,
        ..case("304, keep-alive ×64", 64, true)
    },
    Case {
        large: true,
        ..case("1 MB, keep-alive ×16", 16, true)
    },
    Case {
        large: true,
        ..case("1 MB, keep-alive ×64", 64, true)
    },
    case("small, new connections ×16", 16, false),
    Case {
        known: true,
        ..case("304, new connections ×16", 16, false)
    },
    Case {
        large: true,
        ..case("1 MB, new connections ×16", 16, false)
    },
];

pub fn play(setting: &Setting, table: &mut Table) {
    let (small, large) = (
        Servers::start(setting, SMALL),
        Servers::start(setting, LARGE),
    );
    for case in &CASES {
        measure(case, if case.large { &large } else { &small }, table);
    }
}

/// All that serve the same index.
struct Servers {
    daemon: Daemon,
    reference: Server,
    nginx: Server,
    index: Vec<u8>,
    _registry: Synthetic,
}

impl Servers {
    fn start(setting: &Setting, shape: Shape) -> Servers {
        let registry = Synthetic::start(shape);
        let daemon = daemon(&setting.daemon, &[&registry.flag()]);
        let index = load::get(address(daemon.port()), "/index.yaml", &[])
            .expect("an answer")
            .body;
        let reference = Server::reference(&setting.reference, &index);
        let nginx = Server::nginx(&[("/index.yaml", &index)]);
        Servers {
            daemon,
            reference,
            nginx,
            index,
            _registry: registry,
        }
    }
}

fn measure(case: &Case, servers: &Servers, table: &mut Table) {
    let all = [
        address(servers.daemon.port()),
        servers.reference.address,
        servers.nginx.address,
    ];
    let loads = all.map(|server| {
        let answer = load::get(server, "/index.yaml", &[]).expect("an answer");
        let etag = answer
            .header("ETag")
            .expect("each server names its bytes")
            .to_owned();
        let load = Load::new(server, "/index.yaml", case.connections);
        Load {
            keep_alive: case.keep_alive,
            known: case.known.then_some(etag),
            ..load
        }
    });
    loads
        .iter()
        .for_each(|load| load.assert_answered_with(&servers.index));
    let speeds = requests_in_turns(&loads.each_ref());
    let beside = [
        ("tiny_http", &speeds[1], Goal::AtLeast(NO_WORSE)),
        ("nginx", &speeds[2], Goal::None),
    ];
    for (name, theirs, goal) in beside {
        let Comparison {
            ours,
            theirs,
            ratio,
        } = Comparison::of(&speeds[0], theirs);
        table.add(&Line {
            what: format!("front door: {}", case.what),
            ours: format!("{ours} requests a second"),
            beside: format!("{name} {}", digits(theirs.median())),
            measured: ratio,
            unit: "",
            goal,
        });
    }
}
