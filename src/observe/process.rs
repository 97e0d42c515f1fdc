//! What the process takes, as Linux tells it, under the names that all Prometheus clients use. What can't
//! be read is left out.

use super::exposition::{Exposition, Kind};
use std::fs;

/// How often a second the kernel counts for `/proc` (proc(5), USER_HZ): 100 on every machine that we are
/// built for.
const TICKS: f64 = 100.0;

/// Writes processor time, memory, descriptors and the time of the start.
pub fn write(to: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold blanks.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after_name
        .split(' ')
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let ticks = |field: usize| fields.get(field).map(|ticks| ticks / TICKS);
    let mut tell = |name: &str, kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            to.single(name, kind, help, value);
        }
    };
    tell(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of this process.",
        ticks(11).zip(ticks(12)).map(|(user, system)| user + system),
    );
    tell(
        "process_start_time_seconds",
        Kind::Gauge,
        "When this process began, in seconds since 1970.",
        number("/proc/stat", "btime")
            .zip(ticks(19))
            .map(|(boot, after)| boot + after),
    );
    tell(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory of this process.",
        number("/proc/self/status", "VmRSS:").map(|kilobytes| kilobytes * 1024.0),
    );
    tell(
        "process_open_fds",
        Kind::Gauge,
        "Open descriptors.",
        // One of them is that of the search itself.
        fs::read_dir("/proc/self/fd")
            .ok()
            .map(|found| found.count() as f64 - 1.0),
    );
    tell(
        "process_max_fds",
        Kind::Gauge,
        "Most descriptors.",
        rlimit::getrlimit(rlimit::Resource::NOFILE)
            .ok()
            .map(|(soft, _)| soft as f64),
    );
}

/// Tells of a limit that ends this process when it's reached: memory that is refused can't be done without.
pub fn warn_of_limits() {
    match rlimit::getrlimit(rlimit::Resource::AS) {
        Ok((most, _)) if most != rlimit::INFINITY => log::warn!(
            "RLIMIT_AS (ulimit -v) limits the address space to {} MB, and this process is aborted when that is \
             used up; glibc reserves 64 MB of it for every few threads. Limit the memory that is really used, \
             by a container or by MemoryMax= of systemd; or set MALLOC_ARENA_MAX=1 and at least 512 MB",
            most / 1_000_000
        ),
        _ => {}
    }
}

/// The number after a word that begins a line.
fn number(file: &str, word: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}
