//! What an operator reads: one line per event on stderr, with time, level and text. The levels are a
//! contract: ERROR, an operator must act; WARN, degraded but still serving; INFO, start, stop, and
//! what is served has changed; DEBUG, each upstream call and each artifact skipped; TRACE, each
//! request answered. Never a secret.
//!
//! Logging never blocks: lines wait in a bounded queue for one thread that writes them. A stderr that
//! takes nothing costs lines, which are counted, but no request, no refresh and no shutdown waits for
//! it. The code logs through the `log` crate; only this program's own events are written, because the HTTP
//! client's would show `Authorization` headers.

use super::event::line;
use crate::budget::MAX_QUEUED;
use ::log::{Level, Log, Metadata, Record};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::mem::take;
use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use super::event::LogFormat;

/// Events of this crate and its modules have a target that begins so.
const OWN_TARGET: &str = env!("CARGO_CRATE_NAME");
/// How long the end of the process waits for the last lines: a reader that is alive takes them sooner.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Pause before a stderr that is full, and was made non-blocking by another process, is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// What waits for the thread that writes.
struct Queue {
    has_writer: bool,
    lines: String,
    /// Lines that found no room since `lines` was last taken.
    lost: u64,
    is_writing: bool,
    format: LogFormat,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());
static CHANGED: Condvar = Condvar::new();

struct Stderr;

/// Writes events of `level` and of all graver ones from now on in this format, and panics as events.
///
/// Errors when the system has no thread for it.
pub fn init(level: Level, format: LogFormat) -> io::Result<()> {
    thread::Builder::new()
        .name("log".into())
        .spawn(write_queue)?;
    let mut queue = queue();
    (queue.has_writer, queue.format) = (true, format);
    drop(queue);
    // The default hook writes to stderr itself, and so would wait for it.
    panic::set_hook(Box::new(|panic| ::log::error!("{panic}")));
    // An error means that a logger is set already, which is this one.
    let _ = ::log::set_logger(&Stderr);
    ::log::set_max_level(level.to_level_filter());
    Ok(())
}

/// Writes a line that is no event, and plain text in each format: the reason for which the process ends.
pub fn report(reason: impl Display) {
    let line = format!("oci-chartrepo: {reason}\n");
    let mut queue = queue();
    if queue.has_writer {
        queue.push(&line);
        CHANGED.notify_all();
    } else {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Waits for the lines that are queued to be written, but not long. Each end of the process calls it.
pub fn flush() {
    let is_pending = |queue: &mut Queue| queue.is_writing || !queue.is_empty();
    let waited = CHANGED.wait_timeout_while(queue(), LAST_LINES, is_pending);
    drop(waited);
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
        .map_err(|_| "not one of: error, warn, info, debug, trace")
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with(OWN_TARGET) && metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let (format, text) = (queue().format, record.args().to_string());
            let line = line(format, record.level(), &text, record.key_values());
            queue().push(&line);
            CHANGED.notify_all();
        }
    }

    fn flush(&self) {
        flush();
    }
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            has_writer: false,
            lines: String::new(),
            lost: 0,
            is_writing: false,
            format: LogFormat::Text,
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0
    }

    /// Adds a line, or counts it as lost.
    fn push(&mut self, line: &str) {
        if self.lines.len() + line.len() <= MAX_QUEUED {
            self.lines += line;
        } else {
            self.lost += 1;
        }
    }

    /// Takes all lines, and says at their end how many were lost.
    fn take(&mut self) -> String {
        let mut lines = take(&mut self.lines);
        match take(&mut self.lost) {
            0 => {}
            lost => {
                let text = format!("{lost} log lines are lost here: stderr was read too slowly");
                lines += &line(self.format, Level::Warn, &text, &("lines", lost));
            }
        }
        lines
    }
}

/// A panic leaves nothing half done under this lock.
fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that writes. It alone waits for stderr, and it never ends.
fn write_queue() {
    let mut queue = queue();
    loop {
        let waited = CHANGED.wait_while(queue, |queue| queue.is_empty());
        queue = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = queue.take();
        queue.is_writing = true;
        drop(queue);
        write(lines.as_bytes());
        queue = self::queue();
        queue.is_writing = false;
        CHANGED.notify_all();
    }
}

/// Writes to stderr. There is no other place to report that it is gone.
fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_counted_and_told_when_there_is_room_again() {
        let mut queue = Queue::new();
        let line = "x".repeat(MAX_QUEUED / 2);
        for _ in 0..5 {
            queue.push(&line);
        }
        let taken = queue.take();
        assert!(taken.starts_with(&line.repeat(2)), "what had room is kept");
        assert!(
            taken[MAX_QUEUED..].contains(" WARN 3 log lines are lost here"),
            "{}",
            &taken[MAX_QUEUED..]
        );
        assert!(queue.is_empty());
        queue.push("y\n");
        assert_eq!(queue.take(), "y\n");
    }

    #[test]
    fn levels_are_named_in_any_case() {
        assert_eq!(level("WARN"), Ok(Level::Warn));
        assert!(level("loud").is_err());
    }

    #[test]
    fn only_events_of_this_program_are_written() {
        ::log::set_max_level(::log::LevelFilter::Info);
        let written = |target, level| {
            let metadata = Metadata::builder().target(target).level(level).build();
            Stderr.enabled(&metadata)
        };
        assert!(written("oci_chartrepo::registry", Level::Info));
        assert!(!written("oci_chartrepo::registry", Level::Debug));
        assert!(!written("ureq::run", Level::Error));
    }
}
