//! The rows. Each starts what it needs, and ends it.

mod charts;
mod door;
mod folder;
mod hang;
mod index;
mod memory;
mod mirror;
mod push;
mod refresh;
mod scale;
mod start;
mod walk;

use std::path::PathBuf;

use crate::load::Load;
use crate::table::{Line, Spread, Table};

/// What is measured.
pub struct Setting {
    /// The release binary.
    pub daemon: PathBuf,
    /// The plainest server that `tiny_http` makes.
    pub reference: PathBuf,
}

pub struct Row {
    /// What picks it.
    pub name: &'static str,
    pub play: fn(&Setting, &mut Table),
}

/// In the order of the table.
pub const ALL: [Row; 12] = [
    Row {
        name: "walk",
        play: walk::play,
    },
    Row {
        name: "refresh",
        play: refresh::play,
    },
    Row {
        name: "push",
        play: push::play,
    },
    Row {
        name: "hang",
        play: hang::play,
    },
    Row {
        name: "index",
        play: index::play,
    },
    Row {
        name: "charts",
        play: charts::play,
    },
    Row {
        name: "memory",
        play: memory::play,
    },
    Row {
        name: "scale",
        play: scale::play,
    },
    Row {
        name: "start",
        play: start::play,
    },
    Row {
        name: "mirror",
        play: mirror::play,
    },
    Row {
        name: "folder",
        play: folder::play,
    },
    Row {
        name: "door",
        play: door::play,
    },
];

/// Rounds of a comparison. Everybody has a turn in each.
const ROUNDS: usize = 5;

/// What both sides did in each round, in the measure that is compared.
struct Comparison {
    ours: Spread,
    theirs: Spread,
    /// Ours ÷ theirs, round by round.
    ratio: Spread,
}

impl Comparison {
    fn of(ours: &[f64], theirs: &[f64]) -> Comparison {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
        let (ours, theirs) = (ours.iter().copied(), theirs.iter().copied());
        Comparison {
            ratio: Spread::of(ratios),
            ours: Spread::of(ours),
            theirs: Spread::of(theirs),
        }
    }
}

/// Requests a second of each, in turns.
fn requests_in_turns(loads: &[&Load]) -> Vec<Vec<f64>> {
    in_turns(loads, |load| load.run().requests)
}

fn in_turns(loads: &[&Load], measure: impl Fn(&Load) -> f64) -> Vec<Vec<f64>> {
    let mut measured = vec![Vec::new(); loads.len()];
    for _ in 0..ROUNDS {
        for (load, measured) in loads.iter().zip(&mut measured) {
            measured.push(measure(load));
        }
    }
    measured
}

/// A daemon for one refresh at each request for an index, however long that takes, and none else.
const REFRESH_AT_EACH_GET: [&str; 3] =
    ["--max-stale=0s", "--max-wait=60s", "--refresh-interval=1h"];
