//! The table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::bloat::{Bloat, Bloated};
use crate::goal::{self, exit};
use crate::rows::Row;
use crate::trial::{Outcome, Scale};

/// What is printed, and what was wrong so far.
pub struct Report {
    began: Instant,
    rows: usize,
    faults: Vec<String>,
}

impl Report {
    pub fn begin(scale: &Scale) -> Report {
        println!(
            "\nA normal client fetches /index.yaml 20 times a second while this goes on for {:?} and {:?} after;\n\
             then the same again, with SIGTERM in the middle.\n",
            scale.attack, scale.after
        );
        println!(
            "{:<58} {:>8} {:>9} │ {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} │ {:>15}",
            "attack",
            "at once",
            "in all",
            "answered",
            "p50",
            "p99",
            "recovery",
            "memory",
            "threads",
            "SIGTERM"
        );
        println!("{0:─<77}┼{0:─<56}┼{0:─<17}", "");
        Report {
            began: Instant::now(),
            rows: 0,
            faults: Vec::new(),
        }
    }

    /// A row's outcome; `None` if it couldn't be played to its end.
    pub fn add(&mut self, row: &Row, scale: &Scale, outcome: Option<Outcome>) {
        self.rows += 1;
        let title = row.title(scale);
        let Some(outcome) = outcome else {
            return self.add_unplayed(&title);
        };
        let faults = goal::faults(row, scale, &outcome);
        let verdict = if faults.is_empty() { "" } else { " ✗" };
        println!("{}{verdict}", line(&title, &outcome));
        self.faults
            .extend(faults.into_iter().map(|fault| format!("{title}: {fault}")));
    }

    fn add_unplayed(&mut self, title: &str) {
        println!("{title:<58} ✗ could not be played");
        self.faults
            .push(format!("{title}: could not be played, see the panic above"));
    }

    /// The same of a row about memory.
    pub fn add_bloat(&mut self, row: &Bloat, scale: &Scale, outcome: Option<Bloated>) {
        self.rows += 1;
        let title = row.title(scale);
        let Some(outcome) = outcome else {
            return self.add_unplayed(&title);
        };
        let faults = outcome.faults();
        let verdict = if faults.is_empty() { "" } else { " ✗" };
        println!("{title:<58} {}{verdict}", outcome.line());
        self.faults
            .extend(faults.into_iter().map(|fault| format!("{title}: {fault}")));
    }

    pub fn end(self) -> ExitCode {
        let seconds = self.began.elapsed().as_secs();
        if self.faults.is_empty() {
            println!("\n{} attacks in {seconds} s: nothing to report.", self.rows);
            return ExitCode::SUCCESS;
        }
        println!(
            "\n{} attacks in {seconds} s; this should not be so:",
            self.rows
        );
        self.faults.iter().for_each(|fault| println!("  ✗ {fault}"));
        ExitCode::FAILURE
    }
}

fn line(title: &str, outcome: &Outcome) -> String {
    let turnout = &outcome.turnout;
    let threads = format!("{}→{}", outcome.peak.threads, outcome.threads_left);
    let ending = format!("{}, {}", exit(outcome.exit), time(outcome.ending));
    format!(
        "{title:<58} {:>8} {:>9} │ {:>6.1} % {:>8} {:>8} {:>8} {:>5} MB {threads:>9} │ {ending:>15}",
        thousands(turnout.at_once),
        thousands(turnout.connections),
        (outcome.answered * 10.0).floor() / 10.0,
        time(outcome.p50),
        time(outcome.p99),
        time(outcome.recovery),
        outcome.peak.peak_memory / 1024,
    )
}

fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

/// A number with its thousands apart.
pub fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}
