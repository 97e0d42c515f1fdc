//! What the numbers were measured on, and with.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::children::tool;
use crate::support::tools::{self, NEWEST_HELM};

/// Lines of Markdown.
pub fn shape() -> String {
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kilobytes: f64 = memory
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let (wrk, helm) = (
        version(&tool("wrk"), "--version"),
        version(&helm(), "version"),
    );
    let registry = version(&tools::tool("docker-registry"), "--version");
    format!(
        "Measured by `make bench` at {} on {processors} processors ({model}), {:.0} GB of memory, Linux {kernel}, \
         load {load} before it began, all over loopback;\n{}, wrk {wrk}, docker-registry {registry}, helm {helm}.\n",
        revision(),
        kilobytes / 1e6,
        version(&tool("nginx"), "-v"),
    )
}

fn helm() -> std::path::PathBuf {
    tools::tool(&format!("helm-{NEWEST_HELM}"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned())
}

/// The first word with a version's look in what a program says.
fn version(program: &Path, flag: &str) -> String {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .expect("run a tool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let numbered = |word: &&str| {
        word.matches('.').count() >= 2 && word.contains(|next: char| next.is_ascii_digit())
    };
    let words = |next: char| next.is_whitespace() || next == ',' || next == '"';
    said.split(words)
        .find(numbered)
        .unwrap_or("of unknown version")
        .to_owned()
}

fn revision() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git")
        .args(["-C", root, "rev-parse", "--short", "HEAD"])
        .output();
    let told = output.ok().filter(|output| output.status.success());
    told.map_or("an unknown revision".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
