//! A chart that was not pushed by helm but by `oras push`, with a config blob that says nothing: every
//! helm pulls it, so it is listed, by the Chart.yaml in its archive (oras-project/oras#318).

use serde_json::Value;

use crate::gold::{Entries, assert_same, entries, gold};
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Pushed};
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::readers::by_pyyaml;
use crate::support::story::{Index, LONG_WAIT, ready_daemon, skip_reason, wait_for_charts};
use crate::support::zoo::{Specimen, zoo};

/// A chart of the zoo with all fields that there are.
fn specimen() -> &'static Specimen {
    let mut all = zoo().plain.specimens.iter();
    all.find(|one| one.name() == "everything")
        .expect("in the zoo")
}

fn by_hand(repository: &str, tag: &str, config: &str) -> Chart {
    Chart::new(repository, tag)
        .config_bytes(config)
        .archive(zoo().plain.archive(specimen()))
}

fn assert_lists_as_helm_does(daemon: &Daemon) {
    let mut expected: Entries = gold(&zoo().plain);
    expected.retain(|(name, version), _| {
        (&**name, &**version) == (specimen().name(), specimen().version())
    });
    let index = daemon.get("/index.yaml").body;
    let ours = entries(&by_pyyaml(&index), &["created"]);
    assert_same("PyYAML", &expected, &ours, &[]);
    let path = format!("/charts/{}", specimen().archive_name());
    assert!(daemon.get(&path).body == zoo().plain.archive(specimen()));
}

fn archive_reads(fake: &FakeRegistry, pushed: &Pushed) -> usize {
    fake.count(&format!("GET {}", pushed.archive_path()))
}

#[test]
fn a_chart_pushed_by_hand_with_an_empty_config_is_listed_by_the_metadata_in_its_archive() {
    for config in ["{}", r#"{"version":"1"}"#] {
        let fake = FakeRegistry::start();
        let pushed = fake.push(&by_hand("everything", "some-tag", config));
        let daemon = ready_daemon(&fake, &["--all-tags"]);
        assert_eq!(archive_reads(&fake, &pushed), 1, "{}", fake.seen());
        assert_lists_as_helm_does(&daemon);
    }
}

#[test]
fn an_archive_is_read_once_for_its_metadata_whatever_tags_name_it() {
    let fake = FakeRegistry::start();
    let version = specimen().version();
    let pushed = fake.push(&by_hand("everything", version, "{}"));
    fake.push(&by_hand("everything", "latest", "{}"));
    let daemon = ready_daemon(&fake, &["--all-tags", "--max-stale=0", LONG_WAIT]);
    fake.push(&Chart::new("web", "1.0.0"));
    let listed = format!("everything {version}");
    wait_for_charts(&daemon, &[&listed, "web 1.0.0"]);
    assert_eq!(archive_reads(&fake, &pushed), 1, "{}", fake.seen());
}

#[test]
fn two_charts_with_the_same_empty_config_are_told_apart() {
    let fake = FakeRegistry::start();
    fake.push(&by_hand("everything", specimen().version(), "{}"));
    let other = zoo()
        .plain
        .specimens
        .iter()
        .find(|one| one.name() == "bare");
    let other = other.expect("in the zoo");
    let archive = zoo().plain.archive(other);
    let chart = Chart::new("bare", other.version()).config_bytes("{}");
    fake.push(&chart.archive(archive));
    let daemon = ready_daemon(&fake, &[]);
    let listed = [other, specimen()].map(|one| format!("{} {}", one.name(), one.version()));
    assert_eq!(Index::of(&daemon).charts(), listed);
}

#[test]
fn an_empty_config_with_an_archive_that_is_no_chart_is_skipped_with_the_reason() {
    let fake = FakeRegistry::start();
    let chart = Chart::new("web", "1.0.0").config_bytes("{}");
    let pushed = fake.push(&chart.archive("no archive at all"));
    let daemon = ready_daemon(&fake, &["--log-level=debug", "--max-stale=0", LONG_WAIT]);
    let reason = skip_reason(&daemon, "web:1.0.0");
    let expected = "its config blob has no name, and its archive is no whole .tgz";
    assert!(reason.contains(expected), "{reason}");
    fake.push(&Chart::new("db", "1.0.0"));
    wait_for_charts(&daemon, &["db 1.0.0"]);
    assert_eq!(archive_reads(&fake, &pushed), 1, "{}", fake.seen());
}

#[test]
fn an_archive_that_is_cut_short_on_its_way_is_read_again() {
    let fake = FakeRegistry::start();
    let pushed = fake.push(&by_hand("everything", specimen().version(), "{}"));
    let path = format!("GET {}", pushed.archive_path());
    fake.spoil(&path).first(1).with(Fault::Cut(100));
    let daemon = ready_daemon(&fake, &["--max-stale=0", LONG_WAIT]);
    let listed = format!("everything {}", specimen().version());
    wait_for_charts(&daemon, &[&listed]);
    assert_lists_as_helm_does(&daemon);
}

#[test]
fn a_mirror_lists_a_chart_pushed_by_hand_after_a_restart_without_its_registry() {
    let mut fake = FakeRegistry::start();
    fake.push(&by_hand("everything", specimen().version(), "{}"));
    let scratch = Scratch::new("mirror");
    let mirror = format!("--mirror-dir={}", scratch.path().display());
    let daemon = ready_daemon(&fake, &[&mirror]);
    let list = scratch.join("everything/index.json");
    let lacking = || format!("{} in the mirror; {}", list.display(), daemon.log());
    wait_until(DEADLINE, lacking, || list.is_file().then_some(()));
    drop(daemon);
    fake.close();
    let daemon = ready_daemon(&fake, &[&mirror]);
    assert_lists_as_helm_does(&daemon);
}

#[test]
fn an_image_layout_lists_a_chart_pushed_by_hand() {
    let scratch = Scratch::new("layout");
    let archive = zoo().plain.archive(specimen());
    let blob = |bytes: &[u8]| {
        let digest = oci_chartrepo::oci::Digest::sha256(bytes).to_string();
        scratch.file(
            &format!("everything/blobs/{}", digest.replace(':', "/")),
            bytes,
        );
        serde_json::json!({"digest": digest, "size": bytes.len()})
    };
    let typed = |mut descriptor: Value, kind: &str| {
        descriptor["mediaType"] = kind.into();
        descriptor
    };
    let config = typed(blob(b"{}"), "application/vnd.cncf.helm.config.v1+json");
    let layer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let layer = typed(blob(&archive), layer);
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = blob(manifest.to_string().as_bytes());
    let mut manifest = typed(manifest, "application/vnd.oci.image.manifest.v1+json");
    let tag = specimen().version().replace('+', "_");
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": tag});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    scratch.file("everything/index.json", index.to_string());
    scratch.file("everything/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let root = format!("--storage-layout-dir={}", scratch.path().display());
    let daemon = Daemon::start_ready(&["--storage=layout", &root]);
    assert_lists_as_helm_does(&daemon);
}
