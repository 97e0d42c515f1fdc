//! What the daemon costs while it's attacked, read from `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// The most memory it ever had resident, in KiB.
    pub peak_memory: usize,
    pub threads: usize,
}

impl Status {
    /// `None` when the process is gone.
    pub fn of(pid: u32) -> Option<Status> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Status {
            peak_memory: field("VmHWM:")?,
            threads: field("Threads:")?,
        })
    }
}

/// A thread that reads it again and again.
pub struct Watch {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Status>,
}

impl Watch {
    pub fn start(pid: u32) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let looking = std::thread::spawn(move || {
            let mut most = Status::default();
            while let (false, Some(now)) = (told.load(Relaxed), Status::of(pid)) {
                most.peak_memory = most.peak_memory.max(now.peak_memory);
                most.threads = most.threads.max(now.threads);
                std::thread::sleep(INTERVAL);
            }
            most
        });
        Watch { stop, looking }
    }

    /// The most of everything.
    pub fn finish(self) -> Status {
        self.stop.store(true, Relaxed);
        self.looking.join().expect("looking doesn't panic")
    }
}
