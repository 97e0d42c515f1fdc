//! `make throughput`: requests a second, ours beside others' in the same run, in turns, the median
//! of several. Beside us stand `tiny_http`'s own server with a thread for each request (`reference`),
//! which is what the front door replaces, and nginx with the same bytes as a file, if it's there.

mod load;
mod servers;

#[allow(dead_code, unused_imports)] // the stories in tests/it use what isn't used here
#[path = "../it/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use load::{Load, Loader};
use servers::{Server, Servers};

/// Rounds. Each server has its turn in each.
const ROUNDS: usize = 5;
/// The share of the reference's speed below which we're called slower: turns differ by less.
const WORSE: f64 = 0.9;

/// Charts, and how much each has to say in bytes. The small index and its head fit into the kilobyte
/// that `tiny_http` writes at once: else it would be compared while it waits for an acknowledgement.
/// The large one has few charts, because each is asked for upstream every few seconds.
const SMALL: (usize, usize) = (1, 200);
const LARGE: (usize, usize) = (25, 40_000);

/// What is measured.
struct Case {
    name: &'static str,
    large: bool,
    known: bool,
    connections: usize,
    keep_alive: bool,
}

const fn case(name: &'static str, connections: usize, keep_alive: bool) -> Case {
    Case { name, large: false, known: false, connections, keep_alive }
}

const CASES: [Case; 9] = [
    case("small, keep-alive", 16, true),
    case("small, keep-alive", 64, true),
    Case { known: true, ..case("304, keep-alive", 16, true) },
    Case { known: true, ..case("304, keep-alive", 64, true) },
    Case { large: true, ..case("1 MB, keep-alive", 16, true) },
    Case { large: true, ..case("1 MB, keep-alive", 64, true) },
    case("small, new connections", 16, false),
    Case { known: true, ..case("304, new connections", 16, false) },
    Case { large: true, ..case("1 MB, new connections", 16, false) },
];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [daemon, reference] = &arguments[..] else {
        eprintln!("usage: throughput DAEMON REFERENCE (`make throughput` says both)");
        return ExitCode::from(2);
    };
    let (small, large) = (Servers::start(daemon, reference, SMALL), Servers::start(daemon, reference, LARGE));
    let loader = Loader::of_this_machine();
    println!(
        "\nRequests a second on {} processors, loaded by {loader}; the index has {} and {} bytes.\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        small.bytes,
        large.bytes
    );
    println!(
        "{:<24} {:>11} │ {:>10} │ {:>10} {:>7} │ {:>10} {:>7}",
        "answer", "connections", "we", "tiny_http", "we ÷ it", "nginx", "we ÷ it"
    );
    println!("{0:─<37}┼{0:─<12}┼{0:─<20}┼{0:─<20}", "");
    let worse = CASES.iter().filter(|case| {
        let servers = if case.large { &large } else { &small };
        !measure(case, servers, &loader)
    });
    match worse.count() {
        0 => ExitCode::SUCCESS,
        count => {
            println!("\n✗ slower than `tiny_http` in {count} of {}", CASES.len());
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints one case; whether we're no worse than the reference.
fn measure(case: &Case, servers: &Servers, loader: &Loader) -> bool {
    let mut speeds = vec![Vec::new(); servers.all.len()];
    for _ in 0..ROUNDS {
        for (server, speeds) in servers.all.iter().zip(&mut speeds) {
            speeds.push(loader.run(&load(case, server)));
        }
    }
    let medians: Vec<f64> = speeds.into_iter().map(median).collect();
    let beside = |number: usize| match medians.get(number) {
        Some(speed) => format!("{speed:>10.0} {:>7.2}", medians[0] / speed),
        None => format!("{:>10} {:>7}", "–", "–"),
    };
    let worse = medians[0] < WORSE * medians[1];
    let verdict = if worse { " ✗" } else { "" };
    let (name, connections) = (case.name, case.connections);
    println!("{name:<24} {connections:>11} │ {:>10.0} │ {} │ {}{verdict}", medians[0], beside(1), beside(2));
    !worse
}

fn load<'a>(case: &Case, server: &'a Server) -> Load<'a> {
    Load {
        address: server.address,
        known: case.known.then_some(server.etag.as_str()),
        connections: case.connections,
        keep_alive: case.keep_alive,
    }
}

fn median(mut speeds: Vec<f64>) -> f64 {
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}
