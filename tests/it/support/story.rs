//! What most stories begin and end with: a daemon in front of a fake registry, and its index.

use std::path::PathBuf;

use serde_json::Value;

use super::daemon::Daemon;
use super::fake_registry::FakeRegistry;
use super::process::{DEADLINE, Scratch, wait_until};

/// An index is refreshed whenever it's asked for …
pub const EACH_TIME: &str = "--max-stale=0";
/// … and that is waited for, however long it takes on a busy machine.
pub const LONG_WAIT: &str = "--max-wait=1m";

/// A daemon in front of this registry, with these further flags, after its first walk.
pub fn ready_daemon(fake: &FakeRegistry, flags: &[&str]) -> Daemon {
    let daemon = starting_daemon(fake, flags);
    daemon.wait_ready();
    daemon
}

/// The same as soon as it listens.
pub fn starting_daemon(fake: &FakeRegistry, flags: &[&str]) -> Daemon {
    let registry = fake.flag();
    Daemon::start(&[&[&*registry], flags].concat())
}

/// A dockerconfigjson in a file, and the flag that names it.
pub fn credentials_flag(scratch: &Scratch, text: impl AsRef<[u8]>) -> String {
    let path: PathBuf = scratch.file("dockerconfigjson", text);
    format!("--storage-registry-config={}", path.display())
}

/// `/index.yaml`, read as YAML (a JSON one is YAML too).
pub struct Index(pub Value);

impl Index {
    pub fn of(daemon: &Daemon) -> Index {
        let answer = daemon.get("/index.yaml");
        assert_eq!(
            answer.status,
            200,
            "{}\n{}",
            answer.body_text(),
            daemon.log()
        );
        Index::parse(&answer.body)
    }

    pub fn parse(bytes: &[u8]) -> Index {
        Index(serde_yaml::from_slice(bytes).expect("the index is YAML"))
    }

    /// `NAME VERSION` of every entry, in alphabetical order.
    pub fn charts(&self) -> Vec<String> {
        let entries = self.0["entries"].as_object().expect("entries is a map");
        let versions = entries
            .values()
            .flat_map(|list| list.as_array().expect("a list"));
        let named = versions.map(|entry| {
            let text = |field: &str| entry[field].as_str().expect("a string").to_owned();
            format!("{} {}", text("name"), text("version"))
        });
        let mut named: Vec<String> = named.collect();
        named.sort();
        named
    }

    /// The one entry of this name and version.
    pub fn entry(&self, name: &str, version: &str) -> &Value {
        let list = self.0["entries"][name].as_array();
        let list = list.unwrap_or_else(|| panic!("no chart {name} in {:#}", self.0));
        let found: Vec<_> = list.iter().filter(|e| e["version"] == version).collect();
        assert_eq!(found.len(), 1, "{name} {version} in {:#}", self.0);
        found[0]
    }
}

/// Asks for the index until it lists exactly these charts.
pub fn wait_for_charts(daemon: &Daemon, expected: &[&str]) {
    let lacking = || {
        let index = Index::of(daemon).charts();
        format!("{expected:?}, but {index:?}; the log:\n{}", daemon.log())
    };
    wait_until(DEADLINE, lacking, || {
        (Index::of(daemon).charts() == expected).then_some(())
    });
}

/// Asks for the index until the log holds so many lines with this in it.
pub fn refresh_until_logged(daemon: &Daemon, needle: &str, times: usize) {
    let lacking = || format!("{times} lines with {needle:?} in:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        daemon.get("/index.yaml");
        (daemon.log().matches(needle).count() >= times).then_some(())
    });
}

/// The reason in the log of a reference that was skipped; fails if it isn't there in time.
pub fn skip_reason(daemon: &Daemon, reference: &str) -> String {
    let needle = format!(" DEBUG skipped {reference}: ");
    let line = daemon.wait_for_log(&needle);
    line.split_once(&needle).expect("the needle").1.to_owned()
}

/// Every reference is skipped, and nothing else is, for a reason that holds its word.
pub fn assert_skipped(daemon: &Daemon, expected: &[(&str, &str)]) {
    for (reference, word) in expected {
        let reason = skip_reason(daemon, reference);
        assert!(
            reason.contains(word),
            "{reference}: {reason:?} says nothing of {word:?}"
        );
    }
    let log = daemon.log();
    let skipped = log
        .lines()
        .filter_map(|line| Some(line.split_once(" DEBUG skipped ")?.1));
    let skipped: Vec<&str> = skipped.collect();
    assert_eq!(
        skipped.len(),
        expected.len(),
        "nothing else is skipped, nor said twice: {skipped:#?}"
    );
}

/// The INFO lines that say where repositories come from.
pub fn sources_told(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let told = log
        .lines()
        .filter_map(|line| Some(line.split_once(" INFO repositories: ")?.1.to_owned()));
    told.collect()
}
