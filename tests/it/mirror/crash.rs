//! `kill -9` at any moment: what is left is whole, and the next start goes on from there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use oci_chartrepo::oci::Digest;
use serde_json::Value;

use super::{Place, walk};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::argument;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::Index;

/// How often the process is killed; each takes some tens of milliseconds. `OCI_CHARTREPO_KILLS=200` is the
/// full form, which takes a minute.
const KILLS: usize = 40;
/// The moments are the same in each run: they are numbers out of this one.
const SEED: u64 = 0x00c0_ffee;

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What the registry holds: `repository version` → the archive's bytes.
type Held = BTreeMap<(String, String), String>;

/// Pushes, moves or deletes something.
fn change(fake: &FakeRegistry, held: &mut Held, random: &mut Random) {
    let repository = format!("team/r{}", random.below(4));
    let version = format!("1.{}.0", random.below(6));
    let key = (repository.clone(), version.clone());
    if random.below(3) == 0 {
        if held.remove(&key).is_some() {
            fake.delete_tag(&repository, &version);
        }
        return;
    }
    let archive = format!("{repository} {version} {}", random.below(u64::MAX)).repeat(200);
    fake.push(&Chart::new(&repository, &version).archive(archive.clone()));
    held.insert(key, archive);
}

/// Fails unless every layout is one by the specification: its marker, its list, and all bytes those of
/// their digests. A blob that is listed and not there yet is allowed there (image-layout.md, "Blobs").
fn assert_valid(place: &Place) {
    for file in place.files() {
        let name = argument(Path::new(file.file_name().expect("a name"))).to_owned();
        let folder = file.parent().expect("a folder");
        let bytes = fs::read(&file).expect("read");
        if folder.ends_with("blobs/sha256") {
            let digest = Digest::sha256(&bytes).parts().1;
            assert_eq!(digest, name, "{} bytes in {}", bytes.len(), file.display());
        }
        if name == "index.json" {
            let marker = fs::read(folder.join("oci-layout")).expect("a marker beside the list");
            let marker: Value = serde_json::from_slice(&marker).expect("JSON");
            assert_eq!(marker["imageLayoutVersion"], "1.0.0");
            let list: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(list["schemaVersion"], 2);
            for entry in list["manifests"].as_array().expect("a list") {
                let digest = entry["digest"].as_str().expect("a digest");
                let blob = folder.join("blobs").join(digest.replace(':', "/"));
                let size = fs::metadata(blob).expect("the manifest is there").len();
                assert_eq!(entry["size"], size);
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_valid_layouts_and_loses_nothing() {
    let kills = std::env::var("OCI_CHARTREPO_KILLS").ok();
    let kills = kills.map_or(KILLS, |text| text.parse().expect("a number"));
    let (fake, place) = (FakeRegistry::start(), Place::new());
    let (mut random, mut held) = (Random(SEED), Held::new());
    for _ in 0..20 {
        change(&fake, &mut held, &mut random);
    }
    for kill in 0..kills {
        let daemon = place.daemon(&fake, &["--mirror=all", "--refresh-interval=1s"]);
        for _ in 0..random.below(3) {
            change(&fake, &mut held, &mut random);
            daemon.get("/index.yaml");
        }
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        daemon.signal("KILL");
        drop(daemon);
        assert_valid(&place);
        if kill % 10 == 9 {
            assert_serves(&fake, &place, &held);
        }
    }
}

/// Fails unless a daemon serves what the registry holds, and its directory holds that and no more.
fn assert_serves(fake: &FakeRegistry, place: &Place, held: &Held) {
    let daemon = place.daemon(fake, &["--mirror=all", "--refresh-interval=1s"]);
    daemon.wait_ready();
    let name = |repository: &str| repository.rsplit('/').next().expect("a name").to_owned();
    let charts: Vec<String> = held
        .keys()
        .map(|(repository, version)| format!("{} {version}", name(repository)))
        .collect();
    let digests = |index: &Index| {
        let right = held.iter().filter(|((repository, version), archive)| {
            let entry = index.entry(&name(repository), version);
            entry["digest"] == Digest::sha256(archive.as_bytes()).parts().1
        });
        right.count() == held.len()
    };
    wait_until(
        DEADLINE,
        || daemon.log(),
        || {
            let index = Index::of(&daemon);
            (index.charts() == charts && digests(&index)).then_some(())
        },
    );
    for ((repository, version), archive) in held {
        let path = format!("/charts/{}-{version}.tgz", name(repository));
        assert_eq!(daemon.get(&path).body_text(), *archive, "{path}");
    }
    // Manifest, config and archive of each chart.
    let lacking = || format!("{} blobs, not {}", place.blobs().len(), 3 * held.len());
    wait_until(DEADLINE, lacking, || {
        (place.blobs().len() == 3 * held.len()).then_some(())
    });
    let mut left = Vec::new();
    walk(&place.path().join(".oci-chartrepo/tmp"), &mut left);
    assert!(left.is_empty(), "{left:?}");
}
