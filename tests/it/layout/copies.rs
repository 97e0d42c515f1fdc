//! The zoo, copied from a real registry into layouts of every shape: the same index to the byte,
//! and the same archives, as the registry gives.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use super::{daemon_on, index};
use crate::support::daemon::Daemon;
use crate::support::docker_registry::DockerRegistry;
use crate::support::helm::argument;
use crate::support::layout::{Layout, flags, named, repositories, skopeo_copy};
use crate::support::process::run_ok;
use crate::support::zoo::{Part, zoo};

/// A layout for each repository, filled by skopeo, in a tree as olareg and zot keep it.
pub fn tree() -> PathBuf {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    let fill = || {
        // Within the registry's directory, for that one goes when the test process goes.
        let tree = registry().directory().join("tree");
        let queue = Mutex::new(repositories(registry()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let next = || {
                        queue
                            .lock()
                            .expect("no copier panicked holding the queue")
                            .pop()
                    };
                    while let Some(repository) = next() {
                        skopeo_copy(registry(), &repository, &tree.join(&repository));
                    }
                });
            }
        });
        tree
    };
    TREE.get_or_init(fill).clone()
}

/// One layout that holds everything, in a directory of its own, and what is in it by
/// `repository:tag`. Lists nothing yet.
fn single(directory: &str) -> (Layout, Vec<(String, Value)>) {
    static COPY: OnceLock<(PathBuf, Vec<(String, Value)>)> = OnceLock::new();
    let copy = || {
        let layout = Layout::at(registry().directory().join("single"));
        let copy = |repository: &String| {
            let copied = layout.copy_from(registry(), repository).into_iter();
            copied
                .map(|(tag, manifest)| (format!("{repository}:{tag}"), manifest))
                .collect::<Vec<_>>()
        };
        let manifests = repositories(registry()).iter().flat_map(copy).collect();
        (layout.path().to_owned(), manifests)
    };
    let (from, manifests) = COPY.get_or_init(copy);
    let directory = registry().directory().join(directory);
    // As links: many small files.
    run_ok(
        Path::new("cp"),
        &["-rl", argument(from), argument(&directory)],
        &[],
    );
    (Layout::at(directory), manifests.clone())
}

#[test]
fn a_tree_filled_by_skopeo_gives_the_registrys_index_and_archives() {
    let daemon = daemon_on(flags(&tree()));
    assert_eq!(index(&daemon), of_registry(""));
    assert_archives(&daemon, &[&zoo().plain, &zoo().traps]);
}

#[test]
fn a_part_of_a_tree_gives_the_index_of_that_part_of_the_registry() {
    for part in [&zoo().plain, &zoo().traps] {
        let daemon = daemon_on(flags(&tree().join(part.prefix)));
        assert_eq!(index(&daemon), of_registry(part.prefix));
        assert_archives(&daemon, &[part]);
    }
}

#[test]
fn a_single_layout_with_bare_tags_gives_the_index_of_its_repository() {
    let [storage, directory] = flags(&tree().join("plain/ladder"));
    let daemon = daemon_on([storage, directory, "--any-name".to_owned()]);
    assert_eq!(index(&daemon), of_registry("plain/ladder"));
}

#[test]
fn a_single_layout_with_whole_references_gives_the_registrys_index_and_archives() {
    let (layout, manifests) = single("referenced");
    let expected = of_registry("");
    for host in ["", "registry.example/", "localhost/", "127.0.0.1:5000/"] {
        let name = |(reference, manifest): &(String, Value)| {
            named(manifest, &format!("{host}{reference}"))
        };
        layout.list(&manifests.iter().map(name).collect::<Vec<_>>());
        let daemon = daemon_on(layout.flags());
        assert_eq!(index(&daemon), expected, "names that begin with {host:?}");
        if host.is_empty() {
            assert_archives(&daemon, &[&zoo().plain, &zoo().traps]);
        }
    }
}

#[test]
fn image_indexes_that_only_group_change_nothing() {
    let (layout, manifests) = single("grouped");
    let listed: Vec<_> = manifests
        .iter()
        .map(|(name, manifest)| named(manifest, name))
        .collect();
    let groups: Vec<_> = listed
        .chunks(10)
        .map(|group| layout.nested(group))
        .collect();
    let groups_of_groups: Vec<_> = groups.chunks(3).map(|group| layout.nested(group)).collect();
    layout.list(&groups_of_groups);
    let daemon = daemon_on(layout.flags());
    assert_eq!(index(&daemon), of_registry(""));
}

fn registry() -> &'static DockerRegistry {
    &zoo().registry
}

/// The index of what lies below a prefix of the registry.
fn of_registry(prefix: &str) -> String {
    let storage = format!("{}/{prefix}", registry().host());
    let index = index(&Daemon::start_ready(&["--storage-registry-repo", &storage]));
    assert!(index.len() > 1000, "{index}");
    index
}

fn assert_archives(daemon: &Daemon, parts: &[&Part]) {
    for part in parts {
        for specimen in &part.specimens {
            let name = specimen.archive_name();
            let answer = daemon.get(&format!("/charts/{}", name.replace(' ', "%20")));
            assert_eq!(answer.status, 200, "{name}: {}", answer.body_text());
            assert!(answer.body == part.archive(specimen), "another {name}");
            let provenance = part.archives.join(format!("{name}.prov"));
            let answer = daemon.get(&format!("/charts/{name}.prov"));
            assert_eq!(
                answer.status,
                if provenance.exists() { 200 } else { 404 },
                "{name}.prov"
            );
            assert!(
                !provenance.exists() || answer.body == std::fs::read(&provenance).expect("read")
            );
        }
    }
}
