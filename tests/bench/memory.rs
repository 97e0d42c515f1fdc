//! What a process holds in memory, from `/proc`.

use std::fs;

/// In megabytes.
pub struct Memory {
    pub resident: f64,
    /// The most that ever was.
    pub peak: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Memory {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a field of status");
            let kibibytes = line
                .split_whitespace()
                .next()
                .and_then(|number| number.parse::<f64>().ok());
            kibibytes.expect("a number") * 1024.0 / 1e6
        };
        Memory {
            resident: field("VmRSS:"),
            peak: field("VmHWM:"),
        }
    }
}
