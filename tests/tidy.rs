//! The map of the house, held against the source: which room may use which, that only one room
//! dials, only one listens, and that the pure rooms stay pure. A direction that nobody checks rots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms of ours that it may use besides itself.
const ROOMS: [(&str, &[&str]); 24] = [
    (
        "archives",
        &[
            "files", "helm", "observe", "oci", "sorting", "storage", "sync",
        ],
    ),
    ("args", &[]),
    ("budget", &[]),
    (
        "config",
        &[
            "args",
            "credentials",
            "inventory",
            "mirror",
            "observe",
            "oci",
            "refresh",
            "registry",
            "server",
            "snapshot",
            "sorting",
        ],
    ),
    ("credentials", &["sorting", "sync"]),
    ("files", &["storage"]),
    ("fuzzing", &["layout", "observe", "registry", "server"]),
    ("helm", &["budget", "oci", "sorting"]),
    (
        "inventory",
        &[
            "archives", "budget", "helm", "observe", "oci", "pacing", "sorting", "storage", "sync",
        ],
    ),
    (
        "layout",
        &[
            "budget", "files", "observe", "oci", "sorting", "storage", "sync",
        ],
    ),
    (
        "mirror",
        &[
            "budget", "files", "helm", "observe", "oci", "pacing", "sorting", "storage", "sync",
        ],
    ),
    ("observe", &["budget"]),
    ("oci", &["budget"]),
    ("pacing", &[]),
    (
        "refresh",
        &[
            "inventory",
            "observe",
            "oci",
            "pacing",
            "snapshot",
            "storage",
            "sync",
        ],
    ),
    (
        "registry",
        &[
            "budget",
            "credentials",
            "observe",
            "oci",
            "pacing",
            "storage",
            "sync",
        ],
    ),
    ("representation", &["budget", "oci"]),
    (
        "server",
        &[
            "budget",
            "inventory",
            "observe",
            "oci",
            "pacing",
            "refresh",
            "representation",
            "snapshot",
            "storage",
            "sync",
        ],
    ),
    (
        "snapshot",
        &[
            "budget",
            "helm",
            "inventory",
            "oci",
            "representation",
            "sorting",
            "sync",
        ],
    ),
    ("storage", &["budget", "oci"]),
    ("sorting", &[]),
    ("sync", &["sorting"]),
    ("system", &["observe"]),
    (
        "lib",
        &[
            "archives", "config", "layout", "mirror", "observe", "refresh", "registry", "server",
            "snapshot", "storage", "system",
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
        &[
            "archives",
            "config",
            "credentials",
            "files",
            "layout",
            "mirror",
            "observe",
            "storage",
        ],
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
/// Most files that the inherent `impl`s of one type are spread over.
const MOST_IMPL_FILES: usize = 2;
/// Rooms that are still to be rebuilt: their circles, and names that only they use twice, are not
/// reported yet.
const NOT_REBUILT: [&str; 0] = [];

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
        let bare = |room: &&&str| {
            let mut found = source
                .code
                .match_indices(**room)
                .filter(|(at, _)| source.code[at + room.len()..].starts_with("::"));
            found.any(|(at, _)| !source.code[..at].ends_with([':', '_']))
        };
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

impl Source {
    fn is_rebuilt(&self) -> bool {
        !NOT_REBUILT.contains(&self.room.as_str())
    }

    /// The path of the module, `registry/client/mod.rs` as `[registry, client]`.
    fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        let mut parts: Vec<String> = parts.collect();
        parts.pop_if(|last| last == "mod");
        parts
    }

    /// The paths that are named behind `crate::` or `super::`, as absolute ones. `use` lists in braces are
    /// spread out.
    fn named_paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for start in ["crate::", "super::"] {
            for (at, _) in self.code.match_indices(start) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let mut base = match start {
                    "crate::" => Vec::new(),
                    _ => self.module(),
                };
                let mut rest = &self.code[at..];
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
                rest = rest.strip_prefix("crate::").unwrap_or(rest);
                spread(&base, rest, &mut paths);
            }
        }
        paths
    }
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Adds the paths that `rest` continues `base` by: `a::b`, or `{a, b::c}` with a path for each.
fn spread(base: &[String], rest: &str, paths: &mut Vec<Vec<String>>) {
    let Some(list) = rest.strip_prefix('{') else {
        let name = identifier(rest);
        let mut path = base.to_vec();
        path.push(name.to_owned());
        match rest[name.len()..].strip_prefix("::") {
            Some(further) if !name.is_empty() => spread(&path, further, paths),
            _ => paths.push(path),
        }
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                spread(base, list[start..at].trim_start(), paths);
                start = at + 1;
                if c == '}' {
                    return;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// Which entries of the folder `folder` each of its entries uses. A folder's own `mod.rs` is the entry
/// `mod`; a folder inside is one entry, with all files in it.
fn uses_within(folder: &[String], sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let entry_of = |module: &[String]| {
        let inner = module.strip_prefix(folder)?;
        Some(inner.first().map_or("mod", String::as_str).to_owned())
    };
    let modules: BTreeSet<Vec<String>> = sources.iter().map(Source::module).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(user) = entry_of(&source.module()) else {
            continue;
        };
        uses.entry(user.clone()).or_default();
        for mut path in source.named_paths() {
            // Of `a::b::Name`, the longest part that is a module.
            while !path.is_empty() && !modules.contains(&path) {
                path.pop();
            }
            let used = entry_of(&path).filter(|used| *used != user && !path.is_empty());
            uses.entry(user.clone()).or_default().extend(used);
        }
        // A `mod.rs` uses its children without `super::` or `crate::`.
        if source.module() == folder {
            for (at, _) in source.code.match_indices("use ") {
                let name = identifier(&source.code[at + "use ".len()..]);
                let child = [folder, &[name.to_owned()]].concat();
                if modules.contains(&child) && !folder.is_empty() {
                    uses.entry("mod".into()).or_default().insert(name.into());
                }
            }
        }
    }
    uses
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    let sources: Vec<Source> = sources().into_iter().filter(Source::is_rebuilt).collect();
    let folders: BTreeSet<Vec<String>> = sources
        .iter()
        .filter(|source| source.path.ends_with("mod.rs"))
        .map(Source::module)
        .collect();
    assert!(folders.len() > 5, "{folders:?}");
    for folder in folders {
        let mut uses = uses_within(&folder, &sources);
        // Entries that use none of the rest are removed until a circle is left, or nothing.
        while let Some(leaf) = uses.keys().find(|entry| uses[*entry].is_empty()).cloned() {
            uses.remove(&leaf);
            let known: BTreeSet<String> = uses.keys().cloned().collect();
            uses.values_mut()
                .for_each(|used| used.retain(|one| known.contains(one)));
        }
        assert!(uses.is_empty(), "{}: {uses:?}", folder.join("/"));
    }
}

/// The name behind a keyword at the beginning of a line, perhaps behind a visibility.
fn declared<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = line.strip_prefix(keyword)?.strip_prefix(' ')?;
    Some(identifier(name))
}

#[test]
fn no_type_name_is_used_twice() {
    let sources = sources();
    let mut places: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in &sources {
        for line in source.code.lines() {
            let keywords = ["struct", "enum", "trait", "type"];
            let name = keywords.iter().find_map(|keyword| declared(line, keyword));
            if let Some(name) = name.filter(|name| *name != "Result") {
                places.entry(name).or_default().push(source);
            }
        }
    }
    assert!(places.len() > 100, "only {} types found", places.len());
    for (name, places) in places {
        let rebuilt = places.iter().filter(|source| source.is_rebuilt()).count();
        let paths: Vec<_> = places.iter().map(|source| &source.path).collect();
        assert!(paths.len() < 2 || rebuilt < 2, "{name}: {paths:?}");
    }
}

#[test]
fn the_methods_of_a_type_stand_in_few_files() {
    let mut files: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for source in sources().into_iter().filter(Source::is_rebuilt) {
        for line in source.code.lines().filter(|line| !line.contains(" for ")) {
            let Some(rest) = line.strip_prefix("impl") else {
                continue;
            };
            let name = match rest.strip_prefix('<') {
                Some(generics) => generics.split_once("> ").map_or("", |(_, name)| name),
                None => rest.trim_start(),
            };
            let files = files.entry(identifier(name).to_owned()).or_default();
            files.insert(source.path.clone());
        }
    }
    assert!(files.len() > 50, "only {} types with methods", files.len());
    for (name, files) in files {
        assert!(files.len() <= MOST_IMPL_FILES, "{name}: {files:?}");
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
fn unsafe_code_is_two_calls_in_one_room() {
    for source in sources() {
        let parts = source.code.matches("unsafe ").count();
        let most = if source.room == "system" { 2 } else { 0 };
        assert!(parts <= most, "{}", source.path.display());
    }
}

#[test]
fn there_is_no_unfinished_code() {
    for source in sources() {
        for word in ["todo!", "unimplemented!", "dbg!", "#[allow(dead_code)]"] {
            assert!(
                !source.code.contains(word),
                "{}: {word}",
                source.path.display()
            );
        }
    }
}

/// Persons that programs are not, and words that leave a reader guessing who is meant.
const VAGUE: [&str; 7] = [
    "whoever",
    "nobody",
    "anybody",
    "somebody",
    "everybody",
    "stranger",
    "for good",
];

#[test]
fn sentences_name_their_subject() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.path)).expect("source can be read");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let text = text.to_lowercase();
        for word in VAGUE {
            assert!(!text.contains(word), "{}: {word}", source.path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_not_too_long() {
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
