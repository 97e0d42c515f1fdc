//! How far a pass of `oci-chartrepo mirror` has come: a bar on a terminal, elsewhere a line every few
//! seconds.

use crate::sync::lock;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines, and between two states of the bar.
const LINES: Duration = Duration::from_secs(5);
const STEPS: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: u64 = 24;

/// Counts files and bytes of so many.
pub(super) struct FetchProgress {
    files: usize,
    bytes: u64,
    began: Instant,
    is_terminal: bool,
    done: Mutex<Fetched>,
}

struct Fetched {
    files: usize,
    bytes: u64,
    next: Instant,
}

impl FetchProgress {
    /// Of a pass that begins now.
    pub(super) fn new(files: usize, bytes: u64) -> FetchProgress {
        let is_terminal = io::stderr().is_terminal();
        let began = Instant::now();
        let done = Mutex::new(Fetched {
            files: 0,
            bytes: 0,
            next: began + if is_terminal { STEPS } else { LINES },
        });
        FetchProgress {
            files,
            bytes,
            began,
            is_terminal,
            done,
        }
    }

    /// Counts a file, and shows the state if it's time.
    pub(super) fn count(&self, bytes: u64) {
        let (mut done, now) = (lock(&self.done), Instant::now());
        (done.files, done.bytes) = (done.files + 1, done.bytes + bytes);
        if now >= done.next || done.files == self.files {
            done.next = now + if self.is_terminal { STEPS } else { LINES };
            self.show(done.files, done.bytes);
        }
    }

    fn show(&self, files: usize, bytes: u64) {
        let text = self.text(files, bytes, self.began.elapsed());
        if !self.is_terminal {
            log::info!("mirror: {text}");
            return;
        }
        let full = (WIDTH * bytes).checked_div(self.bytes).unwrap_or(WIDTH) as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH as usize - full));
        let end = if files == self.files { "\n" } else { "" };
        let _ = write!(io::stderr(), "\r\x1b[K[{bar}] {text}{end}");
    }

    fn text(&self, files: usize, bytes: u64, elapsed: Duration) -> String {
        let milliseconds = (elapsed.as_millis() as u64).max(1);
        let rate = (bytes.saturating_mul(1000) / milliseconds).max(1);
        let left = self.bytes.saturating_sub(bytes).div_ceil(rate);
        format!(
            "{files} of {} files, {} of {} MB, {} MB/s, {left} s left",
            self.files,
            megabytes(bytes),
            megabytes(self.bytes),
            megabytes(rate),
        )
    }
}

/// With one digit behind the point.
fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_tells_files_bytes_rate_and_time_left() {
        let progress = FetchProgress::new(40, 10_000_000);
        let text = progress.text(12, 2_500_000, Duration::from_secs(5));
        let expected = "12 of 40 files, 2.5 of 10.0 MB, 0.5 MB/s, 15 s left";
        assert_eq!(text, expected);
    }
}
