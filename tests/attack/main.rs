//! `make attack`: what hostile clients can do to the daemon, and what a normal client notices.
//!
//! Each row of the table is one attack on a fresh daemon, over loopback only, bounded in number and
//! time. Meanwhile a normal client fetches `/index.yaml` twenty times a second on new connections;
//! afterwards the same attack goes on while the daemon is told to stop. Without `--full` the rows
//! are small and short and only times that no load excuses are judged: that form is part of
//! `cargo test`. Words pick the attacks whose names hold one of them.

mod attacks;
mod bloat;
mod crowd;
mod field;
mod goal;
mod limits;
mod normal;
mod report;
mod rows;
mod scene;
mod trial;
mod watch;

#[allow(dead_code, unused_imports)] // the stories in tests/it use what isn't used here
#[path = "../it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;

use bloat::Bloat;
use report::Report;
use rows::Row;
use trial::Scale;

/// Flags of the test harness that `cargo test -- …` hands to every test program alike.
const HARNESS: [&str; 6] = [
    "--exact",
    "--include-ignored",
    "--no-capture",
    "--nocapture",
    "--quiet",
    "-q",
];
/// Flags of ours.
const OURS: [&str; 2] = ["--full", "--list"];

fn main() -> ExitCode {
    let (flags, words): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    let is_known = |flag: &str| {
        OURS.contains(&flag) || HARNESS.contains(&flag) || flag.starts_with("--test-threads")
    };
    if let Some(flag) = flags.iter().find(|flag| !is_known(flag)) {
        eprintln!(
            "unknown flag {flag}: there are {}, and words of the attacks' names",
            OURS.join(" and ")
        );
        return ExitCode::from(2);
    }
    let given = |flag: &str| flags.iter().any(|given| given == flag);
    let scale = if given("--full") {
        Scale::full()
    } else {
        Scale::reduced()
    };
    let wanted =
        |row: &Row| words.is_empty() || words.iter().any(|word| row.title(&scale).contains(word));
    let rows: Vec<Row> = rows::all().into_iter().filter(wanted).collect();
    let is_wanted = |row: &&Bloat| {
        words.is_empty() || words.iter().any(|word| row.title(&scale).contains(word))
    };
    let bloats: Vec<&Bloat> = bloat::ALL.iter().filter(is_wanted).collect();
    if given("--list") {
        let titles = rows.iter().map(|row| row.title(&scale));
        let titles = titles.chain(bloats.iter().map(|row| row.title(&scale)));
        titles.for_each(|title| println!("{title}: test"));
        return ExitCode::SUCCESS;
    }
    limits::raise_own_descriptors();
    let mut report = Mutex::new(Report::begin(&scale));
    run(&rows, &scale, &report);
    for row in bloats {
        let outcome = catch_unwind(AssertUnwindSafe(|| row.play(&scale)));
        let report = report.get_mut().expect("no row panics while it reports");
        report.add_bloat(row, &scale, outcome.ok());
    }
    report
        .into_inner()
        .expect("no row panics while it reports")
        .end()
}

/// Runs the rows, as many at a time as the scale says, and reports each as it ends.
fn run(rows: &[Row], scale: &Scale, report: &Mutex<Report>) {
    let left = Mutex::new(rows.iter());
    std::thread::scope(|scope| {
        for _ in 0..scale.at_a_time {
            scope.spawn(|| {
                while let Some(row) = next(&left) {
                    let outcome = catch_unwind(AssertUnwindSafe(|| trial::run(row, scale)));
                    report.lock().expect("no row panics while it reports").add(
                        row,
                        scale,
                        outcome.ok(),
                    );
                }
            });
        }
    });
}

fn next<'a>(left: &Mutex<std::slice::Iter<'a, Row>>) -> Option<&'a Row> {
    left.lock().expect("taking a row doesn't panic").next()
}
