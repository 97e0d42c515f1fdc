//! The mirror: how soon a daemon answers from it while the registry is away, what it takes in memory,
//! and how fast archives leave it, beside nginx with the same files.

use std::process::Stdio;

use super::start::first_answer;
use super::{Comparison, Line, Setting, Spread, Table, requests_in_turns};
use crate::charts::Shape;
use crate::children::{Server, address, bound, daemon};
use crate::load::Load;
use crate::memory::Memory;
use crate::relay::{Distance, Relay};
use crate::support::daemon::Daemon;
use crate::support::process::Scratch;
use crate::synthetic::Synthetic;
use crate::table::{Goal, digits};

const ROUNDS: usize = 5;
/// 1,000 and 10,000 versions.
const SHAPES: [(usize, usize); 2] = [(100, 10), (100, 100)];
const CONNECTIONS: usize = 32;
/// Name and bytes: a chart that the chart cache keeps, and one that it doesn't.
const SIZES: [(&str, usize); 2] = [("50 KB", 50_000), ("5 MB", 5_000_000)];
const INDEX: &str = "/index.yaml";

pub fn play(setting: &Setting, table: &mut Table) {
    starts(setting, table);
    for (name, size) in SIZES {
        pulls(setting, table, name, size);
    }
}

fn starts(setting: &Setting, table: &mut Table) {
    let [few, many] = SHAPES.map(|(repositories, versions)| {
        let shape = Shape {
            archive: Some(1000),
            ..Shape::new(repositories, versions)
        };
        let kept = Kept::of(setting, shape);
        let without = Memory::of(daemon(&setting.daemon, &[&kept.relay.flag()]).pid()).resident;
        let with = Memory::of(kept.daemon(setting).pid()).resident;
        kept.relay.hang();
        let start = || first_answer(setting, &kept.flags().each_ref().map(|flag| &**flag), INDEX);
        let times: Vec<f64> = (0..ROUNDS).map(|_| start()).collect();
        (times, with / without)
    });
    let ratio = many.0.iter().zip(&few.0).map(|(many, few)| many / few);
    let ratio = Spread::of(ratio.collect::<Vec<_>>());
    let mut line = |what: &str, ours: String, measured, unit, most| {
        table.add(&Line {
            what: what.into(),
            ours,
            beside: String::new(),
            measured,
            unit,
            goal: Goal::AtMost(most),
        });
    };
    line(
        "mirror: start to first index of 1,000 versions; the registry hangs",
        format!("{ROUNDS} starts"),
        Spread::of(few.0),
        "ms",
        50.0,
    );
    line(
        "mirror: the same of 10,000 versions ÷ 1,000",
        format!("{} ms", digits(Spread::of(many.0).median())),
        ratio,
        "",
        12.0,
    );
    line(
        "mirror: memory of 10,000 versions ÷ without a mirror",
        String::new(),
        Spread::of([many.1]),
        "",
        1.1,
    );
}

fn pulls(setting: &Setting, table: &mut Table, name: &str, size: usize) {
    let shape = Shape {
        archive: Some(size),
        ..Shape::new(1, 1)
    };
    let kept = Kept::of(setting, shape);
    let daemon = kept.daemon(setting);
    let chart = shape.charts().next().expect("a chart");
    let archive = chart.archive();
    let nginx = Server::nginx(&[(&chart.path(), &archive)]);
    let addresses = [address(daemon.port()), nginx.address];
    let loads = addresses.map(|address| Load::new(address, &chart.path(), CONNECTIONS));
    loads
        .iter()
        .for_each(|load| load.assert_answered_with(&archive));
    let speeds = requests_in_turns(&loads.each_ref());
    let Comparison {
        ours,
        theirs,
        ratio,
    } = Comparison::of(&speeds[0], &speeds[1]);
    table.add(&Line {
        what: format!("mirror: {name} chart, ×{CONNECTIONS}"),
        ours: format!("{ours} requests a second"),
        beside: format!("nginx {}", digits(theirs.median())),
        measured: ratio,
        unit: "",
        goal: Goal::AtLeast(1.0),
    });
}

/// A whole mirror, and the way to its registry.
struct Kept {
    relay: Relay,
    directory: Scratch,
}

impl Kept {
    fn of(setting: &Setting, shape: Shape) -> Kept {
        let registry = Synthetic::start(shape);
        let kept = Kept {
            relay: Relay::start(registry.port(), Distance::default()),
            directory: Scratch::new("mirror"),
        };
        let status = bound(&setting.daemon)
            .arg("mirror")
            .args(kept.flags())
            .stderr(Stdio::null())
            .status()
            .expect("run setpriv");
        assert!(status.success(), "the mirror is not complete");
        kept
    }

    fn flags(&self) -> [String; 2] {
        let directory = self.directory.path().display();
        [self.relay.flag(), format!("--mirror-dir={directory}")]
    }

    fn daemon(&self, setting: &Setting) -> Daemon {
        daemon(
            &setting.daemon,
            &self.flags().each_ref().map(|flag| &**flag),
        )
    }
}
