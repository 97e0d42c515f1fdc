//! Large charts through us beside asking the registry directly.

use super::{Comparison, Line, Setting, Table, in_turns};
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::filled::docker_registry;
use crate::load::Load;
use crate::support::fake_registry::sha256;
use crate::table::{Goal, digits};

const CONNECTIONS: usize = 8;
/// Name, bytes, and seconds of one turn.
const SIZES: [(&str, usize, usize); 2] = [("1 MB", 1_000_000, 2), ("50 MB", 50_000_000, 4)];

pub fn play(setting: &Setting, table: &mut Table) {
    for (name, size, seconds) in SIZES {
        let shape = Shape { archive: Some(size), ..Shape::new(1, 1) };
        let registry = docker_registry(shape);
        let flag = format!("--storage-registry-repo=http://{}", registry.host());
        let daemon = daemon(&setting.daemon, &[&flag, "--chart-cache-size=0"]);
        let chart = shape.charts().next().expect("a chart");
        let archive = chart.archive();
        let blob = format!("/v2/{}/blobs/{}", chart.repository(), sha256(&archive));
        let load = |port, path: &str| Load { seconds, ..Load::new(address(port), path, CONNECTIONS) };
        let loads = [load(daemon.port(), &chart.path()), load(registry.port(), &blob)];
        loads.iter().for_each(|load| load.assert_answered_with(&archive));
        let speeds = in_turns(&loads.each_ref(), |load| load.run().megabytes);
        let Comparison { ours, theirs, ratio } = Comparison::of(&speeds[0], &speeds[1]);
        table.add(&Line {
            what: format!("{name} chart, uncached, ×8"),
            ours: format!("{ours} MB/s"),
            beside: format!("the registry {} MB/s", digits(theirs.median())),
            measured: ratio,
            unit: "",
            goal: Goal::AtLeast(0.9),
        });
    }
}
