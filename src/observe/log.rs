//! What an operator reads: one line per event on stderr, with time, level and text. The levels are a
//! contract: ERROR, an operator must act; WARN, degraded but still serving; INFO, start, stop, and
//! what is served has changed; DEBUG, each upstream call and each artifact skipped; TRACE, each
//! request answered. Never a secret.
//!
//! A line is one write, so that threads don't mix, and control characters in it are escaped, so
//! that nothing a registry says can forge a line. The code logs through the `log` crate; only this
//! program's own events are written, for the HTTP client's would show `Authorization` headers.

use ::log::{Level, Log, Metadata, Record};
use std::fmt::Write as _;
use std::io::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Events of this crate and its modules have a target that begins so.
const OWN_TARGET: &str = env!("CARGO_CRATE_NAME");

struct Stderr;

/// Writes events of `level` and of all graver ones from now on.
pub fn init(level: Level) {
    // An error means that a logger is set already, which is this one.
    let _ = ::log::set_logger(&Stderr);
    ::log::set_max_level(level.to_level_filter());
}

/// Writes nothing.
#[cfg(fuzzing)]
pub fn silence() {
    ::log::set_max_level(::log::LevelFilter::Off);
}

/// The level of that name, in any case.
///
/// Errors with what would be right.
pub fn level(name: &str) -> Result<Level, &'static str> {
    name.parse()
        .map_err(|_| "not one of error, warn, info, debug, trace")
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with(OWN_TARGET) && metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = OffsetDateTime::now_utc();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let now = now.format(&Rfc3339).unwrap_or_default();
        let text = one_line(&record.args().to_string());
        let line = format!("{now} {} {text}\n", record.level());
        // There is no other place to report that stderr is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(
            one_line("a\nERROR forged\u{1b}[31m é"),
            "a\\nERROR forged\\u{1b}[31m é"
        );
    }

    #[test]
    fn levels_are_named_in_any_case() {
        assert_eq!(level("WARN"), Ok(Level::Warn));
        assert!(level("loud").is_err());
    }

    #[test]
    fn only_events_of_this_program_are_written() {
        init(Level::Info);
        let written = |target, level| {
            let metadata = Metadata::builder().target(target).level(level).build();
            Stderr.enabled(&metadata)
        };
        assert!(written("oci_chartrepo::registry", Level::Info));
        assert!(!written("oci_chartrepo::registry", Level::Debug));
        assert!(!written("ureq::run", Level::Error));
    }
}
