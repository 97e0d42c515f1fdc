//! Large charts through us beside asking the registry directly: the same registry on the same machine,
//! where all that is done takes the processors from each other, and one at the other end of a line.

use std::time::Duration;

use super::{Comparison, Line, Setting, Table, in_turns};
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::filled::docker_registry;
use crate::load::Load;
use crate::relay::{Distance, Relay};
use crate::support::fake_registry::sha256;
use crate::table::{Goal, digits};

const CONNECTIONS: usize = 8;
/// Name, bytes, and seconds of one turn.
const SIZES: [(&str, usize, usize); 2] = [("1 MB", 1_000_000, 1), ("50 MB", 50_000_000, 3)];
/// Another machine of the same data centre: a gigabit a second.
const LINE: Distance = Distance {
    latency: Duration::from_millis(1),
    pace: Some(125e6),
};

pub fn play(setting: &Setting, table: &mut Table) {
    for (name, size, seconds) in SIZES {
        let shape = Shape {
            archive: Some(size),
            ..Shape::new(1, 1)
        };
        let registry = docker_registry(shape);
        let case = Case { shape, seconds };
        let what = format!("{name} chart, uncached, ×8");
        case.measure(setting, table, what, "the registry", registry.port());
        let relay = Relay::start(registry.port(), LINE);
        let what = "the same from a registry behind 1 Gbit/s".to_owned();
        case.measure(setting, table, what, "that registry", relay.port());
    }
}

struct Case {
    shape: Shape,
    seconds: usize,
}

impl Case {
    fn measure(
        &self,
        setting: &Setting,
        table: &mut Table,
        what: String,
        name: &str,
        registry: u16,
    ) {
        let flag = format!("--storage-registry-repo=http://127.0.0.1:{registry}");
        let daemon = daemon(&setting.daemon, &[&flag, "--chart-cache-size=0"]);
        let chart = self.shape.charts().next().expect("a chart");
        let archive = chart.archive();
        let blob = format!("/v2/{}/blobs/{}", chart.repository(), sha256(&archive));
        let load = |port, path: &str| {
            let load = Load::new(address(port), path, CONNECTIONS);
            Load {
                seconds: self.seconds,
                ..load
            }
        };
        let loads = [load(daemon.port(), &chart.path()), load(registry, &blob)];
        loads
            .iter()
            .for_each(|load| load.assert_answered_with(&archive));
        let speeds = in_turns(&loads.each_ref(), |load| load.run().megabytes);
        let Comparison {
            ours,
            theirs,
            ratio,
        } = Comparison::of(&speeds[0], &speeds[1]);
        table.add(&Line {
            what,
            ours: format!("{ours} MB/s"),
            beside: format!("{name} {} MB/s", digits(theirs.median())),
            measured: ratio,
            unit: "",
            goal: Goal::AtLeast(0.9),
        });
    }
}
