//! The chart zoo in a real registry: the same index to the byte, however it gets to us; and the directory
//! as other programs read it.

use std::path::Path;
use std::process::Command;

use super::{Place, index};
use crate::support::daemon::Daemon;
use crate::support::docker_registry::{DockerRegistry, Options};
use crate::support::helm::{Helm, argument};
use crate::support::layout;
use crate::support::process::{run_ok, text};
use crate::support::tools::{NEWEST_HELM, tool};
use crate::support::zoo::zoo;

fn mirror(registry: &str, place: &Place) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oci-chartrepo"));
    let registry = format!("--storage-registry-repo={registry}");
    command
        .args(["mirror", &registry, &place.flag()])
        .env_clear();
    let output = command.output().expect("it runs");
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
}

#[test]
fn the_index_of_the_zoo_is_the_same_with_a_mirror_after_a_restart_and_from_its_layouts() {
    let host = zoo().registry.host();
    let registry = format!("--storage-registry-repo={host}");
    let expected = index(&Daemon::start_ready(&[&registry]));
    let place = Place::new();
    let with_mirror = [&*registry, &place.flag()];
    assert_eq!(index(&Daemon::start_ready(&with_mirror)), expected);
    mirror(&host, &place);
    assert_eq!(index(&Daemon::start_ready(&with_mirror)), expected);

    let layout = Daemon::start_ready(&place.as_layout().each_ref().map(String::as_str));
    assert_eq!(index(&layout), expected);
    for part in [&zoo().plain, &zoo().traps] {
        for specimen in &part.specimens {
            let name = specimen.archive_name();
            let answer = layout.get(&format!("/charts/{}", name.replace(' ', "%20")));
            assert_eq!(answer.status, 200, "{name}: {}", answer.body_text());
            assert!(answer.body == part.archive(specimen), "another {name}");
        }
    }
}

#[test]
fn skopeo_reads_the_directory_and_finds_the_registrys_manifests() {
    let place = Place::new();
    let storage = format!("{}/plain/ladder", zoo().registry.host());
    mirror(&storage, &place);
    let tags = layout::tags(&zoo().registry, "plain/ladder");
    assert!(tags.len() > 5);
    for tag in tags {
        let source = format!("oci:{}:{tag}", argument(&place.path().join("plain/ladder")));
        let raw = run_ok(&tool("skopeo/skopeo"), &["inspect", "--raw", &source], &[]);
        let read: serde_json::Value = serde_json::from_str(&raw).expect("JSON");
        assert_eq!(read, zoo().registry.manifest("plain/ladder", &tag), "{tag}");
        // All blobs are there, and are those of the manifest.
        let copy = format!("dir:{}", argument(&place.0.join(&format!("copy-{tag}"))));
        let arguments = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--preserve-digests",
            &source,
            &copy,
        ];
        run_ok(&tool("skopeo/skopeo"), &arguments, &[]);
    }
}

#[test]
fn helm_installs_from_a_mirror_while_its_registry_is_killed_and_comes_back() {
    let storage = zoo().registry.storage();
    let start = |port| {
        DockerRegistry::start(Options {
            storage: Some(storage.clone()),
            port,
            ..Options::default()
        })
    };
    let mut registry = start(0);
    let (place, port) = (Place::new(), registry.port());
    let storage = format!("{}/plain", registry.host());
    mirror(&storage, &place);
    let flag = format!("--storage-registry-repo={storage}");
    let online = index(&Daemon::start_ready(&[&flag, &place.flag()]));
    registry.stop();

    let daemon = Daemon::start_ready(&[&flag, &place.flag()]);
    assert_eq!(index(&daemon), online);
    let (helm, pulled) = (Helm::new(NEWEST_HELM), place.0.join("pulled"));
    std::fs::create_dir_all(&pulled).expect("mkdir");
    helm.run(&["repo", "add", "charts", &daemon.url()]);
    let specimen = zoo()
        .plain
        .specimens
        .iter()
        .find(|one| one.name() == "ladder");
    let specimen = specimen.expect("a ladder");
    let version = specimen.version();
    let destination = argument(&pulled);
    helm.run(&[
        "pull",
        "charts/ladder",
        "--version",
        version,
        "--destination",
        destination,
    ]);
    let archive = std::fs::read(pulled.join(specimen.archive_name())).expect("pulled");
    assert!(archive == zoo().plain.archive(specimen));

    let back = start(port);
    assert_eq!(back.port(), port);
    daemon.wait_for_log(" INFO refreshes succeed again");
    assert_eq!(index(&daemon), online);
    assert!(
        Path::new(&place.path())
            .join("plain/ladder/index.json")
            .exists()
    );
}
