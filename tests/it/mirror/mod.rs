//! A registry, kept on disk: a restart without a registry, the directory read by other programs, and what
//! crashes, full disks and flipped bits do to it.

mod command;
mod crash;
mod disk;
mod restart;
mod zoo;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::argument;
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::story::{EACH_TIME, LONG_WAIT, starting_daemon};

const NAME: &str = "org.opencontainers.image.ref.name";
/// What is known of a tag holds for a second.
const CHECKS: &str = "--refresh-interval=1s";

/// A few charts, and what lives beside them.
fn filled() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        fake.push(&Chart::new("team/web", version).signed("PGP"));
    }
    fake.push(&Chart::new("db", "0.1.0+build.5"));
    fake.push_image("images/app", "1.0.0");
    fake.push_image("team/web", "9.9.9");
    fake
}

const LISTED: [&str; 4] = [
    "db:0.1.0_build.5",
    "team/web:1.0.0",
    "team/web:1.1.0",
    "team/web:2.0.0-rc.1",
];

/// A directory for a mirror.
struct Place(Scratch);

impl Place {
    fn new() -> Place {
        Place(Scratch::new("mirror"))
    }

    fn path(&self) -> PathBuf {
        self.0.join("dir")
    }

    fn flag(&self) -> String {
        format!("--mirror-dir={}", argument(&self.path()))
    }

    /// The flags of a daemon that serves it without a registry.
    fn as_layout(&self) -> [String; 2] {
        crate::support::layout::flags(&self.path())
    }

    /// A daemon in front of this registry that keeps it here, as soon as it listens. Each index is fresh.
    fn daemon(&self, fake: &FakeRegistry, flags: &[&str]) -> Daemon {
        let own = self.flag();
        starting_daemon(fake, &[&[&*own, EACH_TIME, LONG_WAIT], flags].concat())
    }

    /// The same, after its first scan.
    fn ready(&self, fake: &FakeRegistry, flags: &[&str]) -> Daemon {
        let daemon = self.daemon(fake, flags);
        daemon.wait_ready();
        daemon
    }

    fn blob(&self, repository: &str, digest: &str) -> PathBuf {
        let blobs = self.path().join(repository).join("blobs");
        blobs.join(digest.replace(':', "/"))
    }

    /// `repository:tag` of all that its layouts list.
    fn listed(&self) -> BTreeSet<String> {
        let mut listed = BTreeSet::new();
        for file in self.files() {
            let inner = file.strip_prefix(self.path()).expect("below").to_owned();
            if inner.file_name().is_none_or(|name| name != "index.json") {
                continue;
            }
            let repository = argument(inner.parent().expect("a folder")).to_owned();
            let Ok(bytes) = fs::read(&file) else { continue };
            let list: Value = serde_json::from_slice(&bytes).expect("an index.json is JSON");
            for entry in list["manifests"].as_array().expect("a list") {
                let tag = entry["annotations"][NAME].as_str().expect("a tag");
                listed.insert(format!("{repository}:{tag}"));
            }
        }
        listed
    }

    /// All files of it.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.path(), &mut files);
        files.sort();
        files
    }

    /// The names of all blobs, without their folders.
    fn blobs(&self) -> BTreeSet<String> {
        let files = self.files().into_iter();
        let blobs = files.filter(|file| argument(file).contains("/blobs/sha256/"));
        blobs
            .map(|file| argument(Path::new(file.file_name().expect("a name"))).to_owned())
            .collect()
    }

    /// Waits until the layouts list these and no others.
    fn wait_for(&self, daemon: &Daemon, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|one| (*one).to_owned()).collect();
        let lacking = || {
            let listed = self.listed();
            format!("{expected:?}, but {listed:?}; the log:\n{}", daemon.log())
        };
        wait_until(DEADLINE, lacking, || {
            (self.listed() == expected).then_some(())
        });
    }

    /// Waits until a blob is on disk.
    fn wait_for_blob(&self, daemon: &Daemon, repository: &str, digest: &str) {
        let path = self.blob(repository, digest);
        let lacking = || format!("{} is there; the log:\n{}", path.display(), daemon.log());
        wait_until(DEADLINE, lacking, || path.exists().then_some(()));
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), files),
            _ => files.push(entry.path()),
        }
    }
}

fn index(daemon: &Daemon) -> (String, String) {
    let answer = daemon.get("/index.yaml");
    let text = answer.body_text();
    assert_eq!(answer.status, 200, "{text}; the log:\n{}", daemon.log());
    let etag = answer.header("ETag").expect("an ETag").to_owned();
    (text, etag)
}
