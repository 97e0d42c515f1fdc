//! argv → exit code: 0 after an orderly end, 1 when the world fails us, 2 for a mistake in the flags.
//! The only place that prints a fatal error.

use oci_chartrepo::args::{Args, Command, HELP};
use oci_chartrepo::config::Config;
use oci_chartrepo::observe::log;
use std::io::{self, Write};
use std::process::ExitCode;

/// A panic is a defect of this program, and the log has told of it: exit code 1 as for any failure.
fn main() -> ExitCode {
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        log::flush();
        ExitCode::from(1)
    })
}

fn run() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(args) => args,
        Err(mistake) => return fail(2, mistake),
    };
    if args.has("--help") {
        return print(HELP);
    }
    if args.has("--version") {
        return print(concat!("oci-chartrepo ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let config = match Config::new(&args) {
        Ok(config) => config,
        Err(mistake) => return fail(2, mistake),
    };
    let result = match config.command {
        Command::Serve => oci_chartrepo::run(config),
        Command::Index => oci_chartrepo::index(config),
        Command::Mirror => oci_chartrepo::mirror(config),
    };
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, error),
    };
    log::flush();
    code
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, format_args!("stdout: {error}")),
    }
}

fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    log::report(why);
    ExitCode::from(code)
}
