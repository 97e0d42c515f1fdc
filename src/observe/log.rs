//! One line per event on stderr: time, level, text. The levels are a contract: ERROR, an operator
//! must act; WARN, degraded but still serving; INFO, start, stop and what is served has changed;
//! DEBUG, each upstream call and each artifact skipped; TRACE, each request answered. Never a secret.
//!
//! A line is one write, so that threads don't mix, and control characters in it are escaped, so
//! that nothing a registry says can forge a line. A logging crate would bring filters, targets and
//! formats that nobody here sets.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How much an event matters, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the house's contract is in the room's paragraph
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const ALL: [(Level, &str); 5] = [
        (Level::Error, "error"),
        (Level::Warn, "warn"),
        (Level::Info, "info"),
        (Level::Debug, "debug"),
        (Level::Trace, "trace"),
    ];
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Level, &'static str> {
        let named = Level::ALL
            .iter()
            .find(|(_, name)| text.eq_ignore_ascii_case(name));
        named
            .map(|(level, _)| *level)
            .ok_or("not one of error, warn, info, debug, trace")
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"][*self as usize])
    }
}

static MOST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets the least grave level that is written.
pub fn set_level(level: Level) {
    MOST.store(level as u8, Ordering::Relaxed);
}

/// Whether an event of `level` would be written.
pub fn enabled(level: Level) -> bool {
    level as u8 <= MOST.load(Ordering::Relaxed)
}

/// Writes one event. Prefer the macros, which don't format what isn't written.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    let now = OffsetDateTime::now_utc();
    let now = now
        .replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default();
    let line = format!("{now} {level} {}\n", one_line(&text.to_string()));
    put(&line, false);
}

/// Whether a person is likely to watch stderr.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Tells how far something has come: on a terminal in one line that is drawn anew, elsewhere as an
/// event at [`Level::Info`].
pub fn progress(text: fmt::Arguments<'_>) {
    if !is_terminal() {
        crate::info!("{text}");
    } else if enabled(Level::Info) {
        put(&one_line(&text.to_string()), true);
    }
}

/// Takes the line of [`progress`] off the terminal.
pub fn end_progress() {
    put("", false);
}

/// Whether a line of progress stands on the terminal. Changed only while stderr is locked.
static DRAWN: AtomicBool = AtomicBool::new(false);
/// Back to the start of the line, which is cleared (ECMA-48 §8.3.41).
const REDRAW: &str = "\r\x1b[K";

fn put(text: &str, drawn: bool) {
    let mut stderr = std::io::stderr().lock();
    let redraw = if DRAWN.swap(drawn, Ordering::Relaxed) {
        REDRAW
    } else {
        ""
    };
    // Nobody is left to tell when stderr is gone.
    let _ = stderr.write_all(format!("{redraw}{text}").as_bytes());
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

/// Logs at the given [`Level`] if it's enabled.
#[macro_export]
macro_rules! log_at {
    ($level:expr, $($text:tt)*) => {
        if $crate::observe::log::enabled($level) {
            $crate::observe::log::write($level, format_args!($($text)*));
        }
    };
}

/// An operator must act.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => { $crate::log_at!($crate::observe::log::Level::Error, $($text)*) };
}

/// Degraded, still serving.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::log_at!($crate::observe::log::Level::Warn, $($text)*) };
}

/// Start, stop, and what is served has changed.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { $crate::log_at!($crate::observe::log::Level::Info, $($text)*) };
}

/// Each upstream call and each skip.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => { $crate::log_at!($crate::observe::log::Level::Debug, $($text)*) };
}

/// Each request that is answered.
#[macro_export]
macro_rules! trace {
    ($($text:tt)*) => { $crate::log_at!($crate::observe::log::Level::Trace, $($text)*) };
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
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert!("loud".parse::<Level>().is_err());
        assert!(Level::Error < Level::Debug);
    }
}
