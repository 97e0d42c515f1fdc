//! `make bench`: what the daemon costs and how fast it is, as a table on stdout.
//!
//! What depends on the machine is measured beside something else, in turns and in the same run, and
//! told as a ratio. No number makes this fail, for a stopwatch proves nothing on a machine that's
//! shared; only a row that couldn't be measured does. Words pick rows by name.

mod census;
mod charts;
mod children;
mod filled;
mod load;
mod machine;
mod memory;
mod relay;
mod rows;
mod synthetic;
mod table;

#[allow(dead_code, unused_imports)] // the stories in tests/it use what isn't used here
#[path = "../it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use rows::{Row, Setting};
use table::Table;

/// All rows together take two thirds of it.
const LONGEST: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [daemon, reference, words @ ..] = &arguments[..] else {
        return mistake(
            "usage: bench DAEMON REFERENCE [ROW...]  (`make bench` says the first two)",
        );
    };
    let unknown = words
        .iter()
        .find(|word| rows::ALL.iter().all(|row| row.name != word.as_str()));
    if let Some(word) = unknown {
        let names = rows::ALL.map(|row| row.name).join(", ");
        return mistake(&format!("no row is called {word}: there are {names}"));
    }
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST);
        eprintln!("not all was measured within {LONGEST:?}");
        std::process::exit(1);
    });
    // It asks the tools for their versions: one that is missing has said so by a panic.
    let Ok(shape) = catch_unwind(machine::shape) else {
        return ExitCode::FAILURE;
    };
    println!("{shape}");
    let setting = Setting {
        daemon: daemon.into(),
        reference: reference.into(),
    };
    let wanted = rows::ALL
        .iter()
        .filter(|row| words.is_empty() || words.iter().any(|word| word == row.name));
    let mut table = Table::begin();
    let failed: Vec<&str> = wanted
        .filter(|row| !play(row, &setting, &mut table))
        .map(|row| row.name)
        .collect();
    table.end();
    match failed.as_slice() {
        [] => ExitCode::SUCCESS,
        failed => {
            println!("\nNot measured, see above: {}", failed.join(", "));
            ExitCode::FAILURE
        }
    }
}

/// Whether the row was played to its end.
fn play(row: &Row, setting: &Setting, table: &mut Table) -> bool {
    catch_unwind(AssertUnwindSafe(|| (row.play)(setting, table))).is_ok()
}

fn mistake(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}
