//! What registries hold that would lead to an index that some helm refuses, reads halfway or dies
//! of: for each of Helm's rules something below `rules/`, in the repository of the rule's name.

use serde_json::{Value, json};

use crate::support::fake_registry::Chart;

pub struct Story {
    /// Of the goldens `NAME.yaml` and `NAME.json`.
    pub name: &'static str,
    pub charts: fn() -> Vec<Chart>,
    /// What every helm lists.
    pub listed: &'static str,
}

pub const STORIES: [Story; 7] = [
    Story {
        name: "dates",
        charts: dates,
        listed: "created-empty 1.0.0, created-empty 1.1.0, created-with-a-blank 1.0.0, undated 1.0.0, \
                 undated 1.1.0, undated 1.2.0",
    },
    Story {
        name: "fields",
        charts: fields,
        listed: "alias-odd 1.0.0, annotation-bool 1.0.0, digests 1.0.0, digests 2.0.0, \
                 duplicate-key 2.0.0, no-entry-api-version 1.0.0, null-maintainer 1.0.0, \
                 null-version 1.0.0, type-weird 1.0.0, type-weird 1.1.0, \
                 type-weird-beside-another 1.0.0, type-weird-beside-another 2.0.0, unknown-field 1.0.0, \
                 unknown-top-level 1.0.0",
    },
    Story {
        name: "names",
        charts: names,
        listed: "slash-in-key 1.0.0, slash-in-key 2.0.0, slash-in-name 1.0.0, what-its-config-says 1.0.0",
    },
    Story {
        name: "nothing",
        charts: nothing,
        listed: "",
    },
    Story {
        name: "strings",
        charts: strings,
        listed: "1_000 1.0.0, 2021-01-01 1.0.0, null 1.0.0, plain 1.0.0, plain 20210101, yes 1.0.0",
    },
    Story {
        name: "traps",
        charts: traps,
        listed: "no 1.0.0, plain 1, plain 1.0.0",
    },
    Story {
        name: "versions",
        charts: versions,
        listed: "unsorted 1.10.0, unsorted 1.10.0-rc.1, unsorted 1.2, unsorted 1.9.0, unsorted 20240102, \
                 v-and-plus 2.0.0+build.1, v-and-plus v1.0.0, version-latest 1.0.0",
    },
];

/// Dates that are none, by the annotation that any chart may set for itself.
fn dates() -> Vec<Chart> {
    const CREATED: &str = "org.opencontainers.image.created";
    let chart = |rule: &str, version: &str| Chart::new(&format!("rules/{rule}"), version);
    vec![
        chart("created-empty", "1.0.0").annotation(CREATED, ""),
        chart("created-empty", "1.1.0").annotation(CREATED, "2024-01-02T03:04:05.678901234+02:00"),
        chart("created-with-a-blank", "1.0.0").annotation(CREATED, "2025-01-02 03:04:05"),
        chart("undated", "1.0.0"),
        chart("undated", "1.1.0").annotation(CREATED, "2024-01-01T00:00:00Z"),
        chart("undated", "1.2.0").annotation(CREATED, "2025-02-29T00:00:00Z"),
    ]
}

/// Fields of a config blob that aren't an entry's, of a wrong type, or worth dropping it for.
fn fields() -> Vec<Chart> {
    let dependency = |alias: &str| json!([{ "name": "redis", "version": "~20", "alias": alias }]);
    vec![
        odd("alias-odd", "1.0.0", json!({ "dependencies": dependency("a-b") })),
        odd("alias-odd", "2.0.0", json!({ "dependencies": dependency("a b") })),
        odd("annotation-bool", "1.0.0", json!({ "annotations": { "a": true, "b": 1.5, "c": null, "d": "d" } })),
        odd("digests", "1.0.0", json!({ "digest": "abcd", "urls": ["http://elsewhere.invalid/a.tgz"] })),
        odd("digests", "2.0.0", json!({ "digest": format!("sha256:{:064}", 0), "created": "" })),
        Chart::new("rules/duplicate-key", "2.0.0").config_bytes(
            r#"{"apiVersion":"v2","name":"duplicate-key","version":"1.0.0","version":"2.0.0","home":"a","home":"b"}"#,
        ),
        Chart::new("rules/no-entry-api-version", "1.0.0")
            .config(&json!({ "name": "no-entry-api-version", "version": "1.0.0" })),
        odd("null-maintainer", "1.0.0", json!({ "maintainers": [null, { "name": "a" }], "dependencies": [null] })),
        odd("null-version", "1.0.0", json!({ "keywords": null, "sources": ["a", null], "home": null })),
        Chart::new("rules/null-version", "2.0.0").config_bytes("null"),
        odd("type-weird", "1.0.0", json!({ "type": "library" })),
        odd("type-weird", "1.1.0", json!({ "type": "" })),
        odd("type-weird", "2.0.0", json!({ "type": "weird" })),
        odd("type-weird-beside-another", "1.0.0", json!({ "type": "application" })),
        odd("type-weird-beside-another", "2.0.0", json!({ "type": ["library"] })),
        odd("type-weird-beside-another", "3.0.0", json!({ "type": 1 })),
        odd("unknown-field", "1.0.0", json!({ "flavour": "sweet", "appVersion": 1.5, "description": "d" })),
        odd("unknown-top-level", "1.0.0", json!({ "entries": {}, "generated": "x", "serverInfo": {} })),
    ]
}

/// Names that aren't the repository's, clash, or can't be a file's.
fn names() -> Vec<Chart> {
    let named = |rule: &str, version: &str, name: &str| odd(rule, version, json!({ "name": name }));
    vec![
        Chart::new("rules/slash-in-key", "1.0.0"),
        Chart::new("rules/team-a/slash-in-key", "1.0.0"),
        Chart::new("rules/team-a/slash-in-key", "2.0.0"),
        Chart::new("rules/slash-in-name", "1.0.0"),
        named("slash-in-name", "2.0.0", "team-a/slash-in-name"),
        named("slash-in-name", "3.0.0", ".."),
        named("slash-in-name", "4.0.0", "back\\slash"),
        named("key-is-not-name", "1.0.0", "what-its-config-says"),
    ]
}

/// Nothing that could be listed: an index nonetheless.
fn nothing() -> Vec<Chart> {
    vec![
        Chart::new("rules/no-api-version", "1.0.0").config_bytes("{}"),
        Chart::new("rules/version-latest", "latest"),
    ]
}

/// Words and marks that mean something to YAML unless they are quoted.
#[rustfmt::skip]
const LOOKS: &[&str] = &[
    "yes", "no", "on", "off", "y", "n", "~", "null", "true", "<<", "=", "1_000", "0x1F", "0b1", "012", "1e3",
    ".inf", "12:30", "190:20:30", "2021-01-01", "2021-01-01 00:00:00", "", " ", "-", "---", "...", "- a", "? a",
    "a: b", "a:", "a #b", "#", "{a}", "[a]", "&a", "*a", "!!str a", "%a", "@a", "`a", "|", ">-", ":a", "'a'",
];
/// Blanks at either end, line breaks, and characters that must be escaped, or must not be.
#[rustfmt::skip]
const CHARACTERS: &[&str] = &[
    " leading", "trailing ", "\tleading tab", "trailing tab\t", "\n", "a\nb\n", "\r\n", "\"", "\"a\"", "\\", "\\n",
    "a\\", "\0\u{1}\u{8}\u{c}\u{1b}", "\u{7f}", "\u{80}\u{85}\u{9f}", "\u{2028}\u{2029}", "\u{feff}a",
    "\u{fdd0}\u{fffe}\u{ffff}", "\u{a0}\u{ad}\u{e000}\u{fffd}", "\u{1f600}\u{1fffe}\u{10ffff}", "\u{e9}e\u{301}",
];
const NAMES: [&str; 9] = [
    "yes",
    "null",
    "~",
    "<<",
    "-",
    "1_000",
    "12:30",
    "2021-01-01",
    "a: b #c",
];

/// All of these as values, list items and keys, and some as names, of which those are listed that a repository
/// may have too; and keys as long as they may be.
fn strings() -> Vec<Chart> {
    let keys = |texts: &[&str]| {
        let pairs = texts.iter().map(|text| (text.to_string(), json!(text)));
        Value::Object(pairs.collect())
    };
    let texts = json!({
        "appVersion": "1_000", "description": "long words ".repeat(300), "home": "12:30", "icon": "~",
        "kubeVersion": "=", "sources": LOOKS, "keywords": CHARACTERS, "annotations": keys(LOOKS),
        "dependencies": [
            { "name": "on", "version": "1", "repository": "", "alias": "1_0", "tags": LOOKS, "enabled": true,
              "import-values": ["no", keys(LOOKS), {}, keys(CHARACTERS)] },
            { "name": "2021-01-01", "version": "~", "repository": " # " },
        ],
        "maintainers": [{ "name": "y", "email": "n", "url": "off" }, {}],
    });
    let long_keys = json!({ "annotations": {
        "k".repeat(1000): "listed", "k".repeat(1001): "left out",
        "\u{7f}".repeat(166): "listed", "\"".repeat(500): "listed",
    }});
    let named = |(at, name): (usize, &str)| {
        let metadata = json!({ "apiVersion": "v2", "name": name, "version": "1.0.0" });
        Chart::new(&format!("rules/plain/{at}"), "1.0.0").config(&metadata)
    };
    let mut charts = vec![
        odd("plain", "1.0.0", texts),
        odd("plain", "20210101", long_keys),
    ];
    charts.extend(NAMES.into_iter().enumerate().map(named));
    charts
}

/// Strings that a reader of YAML takes for something else unless they are quoted.
fn traps() -> Vec<Chart> {
    let texts = json!({
        "appVersion": "1.10", "description": "yes", "home": "12:30", "icon": "~",
        "keywords": ["0x_f", "1_000", "null", "2024-01-02"], "condition": " : # ", "tags": "\"quoted\" \\ 'so'",
        "annotations": { "on": "off", "<<": "merge", "": "\u{7f}\u{85}\u{2028}\u{feff}\u{1f600}\n\ttab" },
    });
    vec![
        odd("plain", "1.0.0", texts),
        odd("plain", "1", json!({})),
        Chart::new("rules/no", "1.0.0"),
    ]
}

/// Versions that are none, lax ones, and none in order.
fn versions() -> Vec<Chart> {
    let unsorted = ["1.9.0", "1.10.0", "1.2", "20240102", "1.10.0-rc.1"];
    let unsorted = unsorted.map(|version| Chart::new("rules/unsorted", version));
    let mut charts = vec![
        Chart::new("rules/v-and-plus", "v1.0.0"),
        Chart::new("rules/v-and-plus", "2.0.0+build.1"),
        Chart::new("rules/v-and-plus", "2.0.0+build.1").tag("2"),
        Chart::new("rules/version-latest", "latest"),
        Chart::new("rules/version-latest", "1.0.0"),
        Chart::new("rules/version-latest", "1.0.0").tag("stable"),
    ];
    charts.extend(unsorted);
    charts
}

/// The chart of a rule, with these fields beside or in place of those that each chart has.
fn odd(rule: &str, version: &str, more: Value) -> Chart {
    let mut metadata = json!({ "apiVersion": "v2", "name": rule, "version": version });
    for (field, value) in more.as_object().expect("fields") {
        metadata[field] = value.clone();
    }
    Chart::new(&format!("rules/{rule}"), version).config(&metadata)
}
