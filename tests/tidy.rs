//! The map of the house, held against the source: which room may use which, that only one room
//! dials, only one listens, and that the pure rooms stay pure. A direction that nobody checks rots.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms of ours that it may use besides itself.
const ROOMS: [(&str, &[&str]); 18] = [
    (
        "archives",
        &["files", "helm", "observe", "oci", "storage", "sync"],
    ),
    ("args", &[]),
    (
        "config",
        &[
            "args",
            "credentials",
            "observe",
            "oci",
            "registry",
            "snapshot",
        ],
    ),
    ("credentials", &[]),
    ("files", &["storage"]),
    ("fuzzing", &["layout", "observe", "registry", "server"]),
    ("helm", &["oci"]),
    ("layout", &["files", "observe", "oci", "storage"]),
    ("observe", &[]),
    ("oci", &[]),
    ("pacing", &[]),
    (
        "registry",
        &["credentials", "observe", "oci", "sync", "storage"],
    ),
    ("representation", &["oci"]),
    (
        "server",
        &["observe", "oci", "representation", "snapshot", "storage"],
    ),
    (
        "snapshot",
        &[
            "helm",
            "observe",
            "oci",
            "sync",
            "representation",
            "storage",
        ],
    ),
    ("storage", &["oci"]),
    ("sync", &[]),
    (
        "lib",
        &[
            "archives", "config", "layout", "observe", "registry", "server", "snapshot", "storage",
        ],
    ),
];

/// A crate, or a part of `std`, and the only rooms that may name it.
const KEPT_TO: [(&str, &[&str]); 12] = [
    ("ureq::", &["registry", "config"]),
    ("rustls::", &["registry"]),
    ("tiny_http::", &["server"]),
    ("flate2::", &["archives", "representation"]),
    ("httparse::", &["server"]),
    ("pico_args::", &["args"]),
    ("libyaml_safer::", &["archives"]),
    ("serde_yaml::", &["helm"]),
    ("signal_hook::", &["lib"]),
    ("tar::", &["archives"]),
    (
        "std::fs",
        &["archives", "config", "credentials", "files", "layout"],
    ),
    ("std::net", &["registry", "server"]),
];

/// Rooms without I/O and without a clock.
const PURE: [&str; 4] = ["args", "helm", "oci", "representation"];
const IMPURE: [&str; 6] = [
    "std::fs",
    "std::net",
    "std::time",
    "std::thread",
    "std::env",
    "now_utc",
];

/// Most lines of a file before its tests: one concept, which is not split to fit.
const LONGEST: usize = 400;

struct Source {
    room: String,
    path: PathBuf,
    /// The code alone: no comments, no tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inner = path.strip_prefix(&root).expect("below src").to_owned();
            let first = inner
                .iter()
                .next()
                .expect("a name")
                .to_str()
                .expect("UTF-8");
            let text = fs::read_to_string(&path).expect("source can be read");
            let room = first.trim_end_matches(".rs").to_owned();
            found.push(Source {
                room,
                path: inner,
                code: code_of(&text),
            });
        }
    }
    assert!(
        found.len() > 20,
        "src has moved: only {} files found",
        found.len()
    );
    found
}

fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms named behind `crate::` (in `main.rs`: behind the crate's name; in `lib.rs`: bare).
fn rooms_used(source: &Source) -> BTreeSet<String> {
    let names: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let mut used = BTreeSet::new();
    for (at, _) in source.code.match_indices("crate::") {
        let rest = &source.code[at + "crate::".len()..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        assert!(
            names.contains(name.as_str()),
            "{}: crate::{name} is no room",
            source.path.display()
        );
        used.insert(name);
    }
    if source.room == "lib" {
        // `sync` is a room of ours, and one of std's.
        let code = source.code.replace("std::sync::", "");
        let bare = |room: &&&str| code.contains(&format!("{room}::"));
        used.extend(names.iter().filter(bare).map(|room| (*room).to_owned()));
    }
    used.remove(&source.room);
    used
}

#[test]
fn every_room_uses_only_what_the_map_allows() {
    for source in sources().iter().filter(|source| source.room != "main") {
        let allowed = ROOMS.iter().find(|(room, _)| *room == source.room);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{}: not on the map", source.path.display()));
        for used in rooms_used(source) {
            assert!(
                allowed.contains(&used.as_str()),
                "{}: may not use {used}",
                source.path.display()
            );
        }
    }
}

#[test]
fn crates_are_kept_to_their_rooms() {
    for source in sources() {
        for (name, rooms) in KEPT_TO {
            let named = source.code.contains(name);
            assert!(
                !named || rooms.contains(&source.room.as_str()),
                "{}: may not name {name}",
                source.path.display()
            );
        }
    }
}

#[test]
fn the_dictionaries_are_pure() {
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&source.room.as_str()))
    {
        for name in IMPURE {
            assert!(
                !source.code.contains(name),
                "{}: {name} in a pure room",
                source.path.display()
            );
        }
    }
}

#[test]
fn there_is_no_unsafe_code_and_no_unfinished_one() {
    for source in sources() {
        for word in [
            "unsafe ",
            "todo!",
            "unimplemented!",
            "dbg!",
            "#[allow(dead_code)]",
        ] {
            assert!(
                !source.code.contains(word),
                "{}: {word}",
                source.path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_fits_into_one_head() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.path)).expect("source can be read");
        assert!(
            text.starts_with("//! "),
            "{}: opens without a paragraph",
            source.path.display()
        );
        let lines = source.code.lines().count();
        assert!(lines <= LONGEST, "{}: {lines} lines", source.path.display());
    }
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let lines: Vec<&str> = dependencies
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    for pair in lines.windows(2).filter(|pair| !pair[1].starts_with('#')) {
        assert!(
            pair[0].starts_with('#'),
            "no line says what this is for: {}",
            pair[1]
        );
    }
    assert!(
        lines.len() > 20 && lines[0].starts_with('#'),
        "Cargo.toml has changed its shape"
    );
}
