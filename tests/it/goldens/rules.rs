//! What the fetched helms make of `tests/golden/helm-rules`: a table that a new helm must be held
//! against, because a rule that it changes is one that our index must keep or may leave behind.

use Then::{Drops, Lists, Panics, Refuses};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// The odd chart is listed beside the good one.
    Lists,
    /// The good chart alone is listed.
    Drops,
    /// The whole index is refused.
    Refuses,
    /// Helm dies.
    Panics,
}

/// A golden, which holds `good 1.0.0` and something odd; what is odd in it, as helm lists it; what
/// the helms do, oldest to newest.
pub const RULES: [(&str, &str, [Then; 4]); 27] = [
    ("alias-odd.yaml", "odd 1.0.0", [Lists, Lists, Drops, Drops]),
    (
        "annotation-bool.json",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "created-empty.json",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "created-empty.yaml",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "created-with-a-blank.json",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "digests.yaml",
        "odd 1.0.0, odd 2.0.0, odd 3.0.0, odd 4.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    // Who reads JSON as JSON takes the last.
    (
        "duplicate-key.json",
        "odd 2.0.0",
        [Refuses, Refuses, Lists, Lists],
    ),
    (
        "duplicate-key.yaml",
        "odd 2.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "key-is-not-name.yaml",
        "other 1.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    (
        "no-api-version.yaml",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "no-entry-api-version.yaml",
        "odd 1.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    (
        "null-maintainer.json",
        "odd 1.0.0",
        [Panics, Panics, Drops, Drops],
    ),
    (
        "null-version.json",
        "odd 1.0.0",
        [Panics, Panics, Panics, Lists],
    ),
    ("plain.json", "odd 1.0.0", [Lists, Lists, Lists, Lists]),
    ("plain.yaml", "odd 1.0.0", [Lists, Lists, Lists, Lists]),
    (
        "slash-in-key.yaml",
        "team-a/odd 1.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    (
        "slash-in-name.yaml",
        "odd 1.0.0",
        [Lists, Lists, Drops, Drops],
    ),
    // Old helms drop an entry only if another stands behind it in its list to take its place.
    (
        "type-weird-beside-another.yaml",
        "odd 1.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    ("type-weird.yaml", "odd 1.0.0", [Lists, Lists, Drops, Drops]),
    ("undated.yaml", "odd 1.0.0", [Lists, Lists, Lists, Lists]),
    (
        "unknown-field.json",
        "odd 1.0.0",
        [Refuses, Refuses, Lists, Lists],
    ),
    (
        "unknown-field.yaml",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "unknown-top-level.json",
        "odd 1.0.0",
        [Refuses, Refuses, Lists, Lists],
    ),
    (
        "unknown-top-level.yaml",
        "odd 1.0.0",
        [Refuses, Refuses, Refuses, Refuses],
    ),
    (
        "unsorted.yaml",
        "odd 1.10.0, odd 1.2.0, odd 1.9.0",
        [Lists, Lists, Lists, Lists],
    ),
    (
        "v-and-plus.yaml",
        "odd 2.0.0+build.1, odd 2.1.0+build.1, odd v1.0.0",
        [Lists, Lists, Lists, Lists],
    ),
    (
        "version-latest.yaml",
        "odd latest",
        [Drops, Drops, Drops, Drops],
    ),
];

/// A version of the odd chart, empty for the newest; the file that each helm saves, or what it says.
#[derive(Clone, Copy, Debug)]
pub struct Pull {
    pub file: &'static str,
    pub version: &'static str,
    pub then: [Result<&'static str, &'static str>; 4],
}

const fn pull(file: &'static str, version: &'static str, archive: &'static str) -> Pull {
    Pull {
        file,
        version,
        then: [Ok(archive); 4],
    }
}

pub const PULLS: [Pull; 8] = [
    pull("digests.yaml", "1.0.0", "odd-1.0.0.tgz"),
    pull("digests.yaml", "2.0.0", "odd-2.0.0.tgz"),
    pull("digests.yaml", "3.0.0", "odd-3.0.0.tgz"),
    Pull {
        file: "digests.yaml",
        version: "4.0.0",
        then: [
            Ok("odd-4.0.0.tgz"),
            Ok("odd-4.0.0.tgz"),
            Ok("odd-4.0.0.tgz"),
            Err("invalid digest length"),
        ],
    },
    pull("unsorted.yaml", "", "odd-1.10.0.tgz"),
    pull("v-and-plus.yaml", "v1.0.0", "odd-v1.0.0.tgz"),
    pull("v-and-plus.yaml", "2.0.0+build.1", "odd-2.0.0+build.1.tgz"),
    pull("v-and-plus.yaml", "2.1.0+build.1", "odd-2.1.0+build.1.tgz"),
];
