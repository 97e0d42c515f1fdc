//! A folder of ten thousand archives: from the start to the first index, beside `helm repo index` of
//! the same folder, and an index request when nothing in it has changed.

use std::fs;
use std::time::Instant;

use super::{Comparison, Line, Setting, Spread, Table};
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::load;
use crate::support::folder::flags;
use crate::support::helm::{Helm, argument};
use crate::support::process::Scratch;
use crate::support::tools::NEWEST_HELM;
use crate::table::{Goal, digits};

const CHARTS: Shape = Shape::new(100, 100);
/// Of the start: `helm repo index` takes seconds.
const STARTS: usize = 3;
const REFRESHES: usize = 20;

pub fn play(setting: &Setting, table: &mut Table) {
    let folder = Scratch::new("folder");
    for chart in CHARTS.charts() {
        let file = format!("{}-{}.tgz", chart.name(), chart.version());
        fs::write(folder.join(&file), chart.archive()).expect("write");
    }
    let flags = flags(folder.path());
    let flags = flags.each_ref().map(String::as_str);
    let helm = Helm::new(NEWEST_HELM);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Instant::now();
        let daemon = daemon(&setting.daemon, &flags);
        load::get(address(daemon.port()), "/index.yaml", &[]).expect("an answer");
        ours.push(began.elapsed().as_secs_f64());
        drop(daemon);
        let began = Instant::now();
        helm.run(&["repo", "index", argument(folder.path())]);
        theirs.push(began.elapsed().as_secs_f64());
    }
    let starts = Comparison::of(&ours, &theirs);
    table.add(&Line {
        what: "10,000 archives in a folder: start to first index".into(),
        ours: format!("{} s", digits(starts.ours.median())),
        beside: format!("helm repo index: {} s", digits(starts.theirs.median())),
        measured: starts.ratio,
        unit: "",
        goal: Goal::AtMost(0.5),
    });
    let daemon = daemon(&setting.daemon, &flags);
    let times = (0..REFRESHES).map(|_| {
        let began = Instant::now();
        load::get(address(daemon.port()), "/index.yaml", &[]).expect("an answer");
        began.elapsed().as_secs_f64() * 1e3
    });
    table.add(&Line {
        what: "the same: GET /index.yaml that looks whether anything has changed".into(),
        ours: "10,000 stat".into(),
        beside: String::new(),
        measured: Spread::of(times),
        unit: "ms",
        goal: Goal::None,
    });
}
