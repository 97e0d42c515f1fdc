//! Charts as they should be: every field there is, every kind of dependency, version and place, signed
//! and legacy, and strings that any writer of YAML quotes, folds or escapes. Strings that a careless
//! one leaves plain and YAML 1.1 misreads are in `traps`.

use serde_json::json;

use super::specimen::{Specimen, chart};

pub fn specimens() -> Vec<Specimen> {
    [
        fields(),
        texts(),
        dependencies(),
        versions(),
        places(),
        signed(),
        legacy(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Each field of Chart.yaml alone, then all at once.
fn fields() -> Vec<Specimen> {
    let one = |name: &str, fields| chart(name, "1.0.0", fields);
    vec![
        one("bare", json!({})),
        one(
            "described",
            json!({"description": "A chart with a description"}),
        ),
        one("housed", json!({"home": "https://charts.test/housed"})).by("3.9.4"),
        one(
            "sourced",
            json!({"sources": ["https://git.test/a", "https://git.test/b"]}),
        ),
        one("worded", json!({"keywords": ["database", "sql", "nosql"]})).by("3.17.3"),
        one(
            "maintained",
            json!({"maintainers": [
                {"name": "Ada", "email": "ada@charts.test", "url": "https://ada.test"},
                {"name": "Grace"},
            ]}),
        ),
        one("drawn", json!({"icon": "https://charts.test/icon.svg"})).by("3.9.4"),
        one(
            "conditional",
            json!({"condition": "conditional.enabled,global.conditional"}),
        ),
        one("tagged", json!({"tags": "front,back"})),
        one("versioned", json!({"appVersion": "1.16.0"})).by("3.17.3"),
        one("deprecated", json!({"deprecated": true})),
        one("undeprecated", json!({"deprecated": false})),
        one(
            "annotated",
            json!({"annotations": {"category": "Database", "licenses": "MIT"}}),
        ),
        one("demanding", json!({"kubeVersion": ">=1.25.0-0 <2.0.0"})).by("3.9.4"),
        one("application", json!({"type": "application"})),
        one("library", json!({"type": "library"})),
        one(
            "emptyish",
            json!({"keywords": [], "annotations": {}, "description": ""}),
        ),
        one(
            "first-api",
            json!({"apiVersion": "v1", "description": "As Helm 2 had it"}),
        ),
        chart("everything", "4.5.6-rc.1+build.7", everything()),
        chart("everything", "4.5.5", everything()).by("3.9.4"),
    ]
}

pub fn everything() -> serde_json::Value {
    json!({
        "home": "https://charts.test/everything", "type": "application", "deprecated": true,
        "sources": ["https://git.test/everything"], "description": "All there is",
        "keywords": ["all", "of", "it"], "icon": "https://charts.test/everything.png",
        "maintainers": [{"name": "Ada", "email": "ada@charts.test", "url": "https://ada.test"}],
        "condition": "everything.enabled", "tags": "everything", "appVersion": "v2.0.0-beta",
        "annotations": {"category": "Everything", "charts.test/long-key_name": "value"},
        "kubeVersion": ">=1.20.0-0",
        "dependencies": [{
            "name": "part", "version": "^1.0.0", "repository": "https://charts.test/parts",
            "condition": "part.enabled", "tags": ["parts", "all"], "enabled": true,
            "alias": "piece", "import-values": ["defaults", {"child": "a.b", "parent": "c.d"}],
        }],
    })
}

/// Strings that a YAML writer must quote, fold or escape, in sanitised and in raw fields.
fn texts() -> Vec<Specimen> {
    let indicators = json!([
        "- dash",
        "? question",
        ": colon",
        "a: b",
        "a:",
        "#hash",
        "a #b",
        "{brace}",
        "[bracket]",
        "*star",
        "&amp",
        "!bang",
        "|pipe",
        ">greater",
        "%percent",
        "@at",
        "`tick`",
        "'single'",
        "\"double\"",
        "---",
        "...",
        "\\back\\slash",
        "a,b",
        "-",
        "?",
        "",
        " led",
        "trailed ",
        "<b>&amp;</b>",
        "={{ .Values.x }}",
        "C:\\charts",
        "it's",
        "\u{feff}mark",
        "$HOME",
        "--",
    ]);
    // Number-like, boolean-like and null-like words of YAML 1.2.
    let quoted = json!([
        "1e3", "0x10", "1.10", ".5", "null", "Null", "~", "true", "False", "1.0", "123", "-7",
        "+1", "0o7", "0b1", ".nan", ".inf", "-.inf", "1.", "0", "00.5", "1E-5",
    ]);
    let changes = "- kind: added\n  description: \"new: things\"\n- kind: fixed\n";
    vec![
        chart("indicators", "1.0.0", json!({"keywords": indicators})),
        chart(
            "quoted",
            "1.0.0",
            json!({"keywords": quoted, "appVersion": "1.10"}),
        ),
        chart(
            "wide",
            "1.0.0",
            json!({"description": "long words ".repeat(400)}),
        )
        .by("3.17.3"),
        chart(
            "worldly",
            "1.0.0",
            json!({"description": "Ünïcode, 漢字, עברית, 😀 and e\u{301}"}),
        ),
        chart(
            "lined",
            "1.0.0",
            json!({"annotations": {
                "artifacthub.io/changes": changes, "kept": "a\n\n\nb\n\n\n", "stripped": "a\nb",
                "indented": "  two\n    four\nnone\n", "tabbed": "\tone\n\t\ttwo\n",
                "windows": "a\r\nb\r\n", "blank": "\n", "blanks": "  \n  ", "ends": "a \nb \n",
                "document": "---\na: 1\n...\n", "comment": "# one\n# two\n", "bar": "a\rb",
            }}),
        ),
        chart(
            "keyed",
            "1.0.0",
            json!({"annotations": {
                "a: b": "x", "- a": "x", "#a": "x", "a#b": "x", "{a}": "x", "": "x", " a ": "x",
                "'a'": "x", "\"a\"": "x", "?": "x", "1.5": "x", "null": "x", "true": "x", "a\nb": "x",
                "漢字": "x", "😀": "x",
            }}),
        ),
    ]
}

fn dependencies() -> Vec<Specimen> {
    let on = |name: &str, dependency: serde_json::Value| {
        let mut whole = json!({"name": "part", "version": "1.0.0", "repository": "https://p.test"});
        let fields = dependency.as_object().expect("an object").clone();
        whole.as_object_mut().expect("an object").extend(fields);
        chart(name, "1.0.0", json!({"dependencies": [whole]}))
    };
    let twins = json!([
        {"name": "part", "version": "1.x", "repository": "https://p.test", "alias": "left"},
        {"name": "part", "version": ">= 2 < 3", "repository": "@parts", "alias": "right"},
    ]);
    vec![
        on("needs", json!({})),
        on("needs-if", json!({"condition": "part.enabled,global.part"})).by("3.9.4"),
        on("needs-tagged", json!({"tags": ["front", "back"]})),
        on("needs-alias", json!({"alias": "other_Name-1"})).by("3.17.3"),
        on("needs-enabled", json!({"enabled": true})),
        on(
            "needs-oci",
            json!({"repository": "oci://registry.test/parts", "version": "~20"}),
        ),
        on("needs-nearby", json!({"repository": "file://../part"})),
        on("needs-vendored", json!({"repository": ""})),
        on("imports", json!({"import-values": ["defaults", "more"]})),
        on(
            "imports-paths",
            json!({"import-values": [
                {"child": "exports.defaults", "parent": "."},
                {"child": "default.data", "parent": "imported.data"},
            ]}),
        ),
        on(
            "imports-both",
            json!({"import-values": ["x", {"child": "a", "parent": "b"}]}),
        ),
        chart("needs-twins", "1.0.0", json!({"dependencies": twins})),
        chart("required", "1.0.0", json!({})).with_requirements(twins),
    ]
}

fn versions() -> Vec<Specimen> {
    let each = |name: &'static str, versions: &'static [&'static str]| {
        versions
            .iter()
            .map(move |version| chart(name, version, json!({"appVersion": version})))
    };
    each("ladder", LADDER)
        .chain(each(
            "build-metadata",
            &["1.2.3+build.5", "1.2.3+build.6", "1.2.4+b-1"],
        ))
        .chain(each("short", &["1", "1.2", "1.2.3", "2.0"]))
        .chain(each("lettered", &["v1.2.3", "v2.0.0-rc.1", "1.9.0"]))
        .chain(each("padded", &["01.0.0", "1.01.5"]))
        .chain(each("dated", &["20210101", "2021.1.1"]))
        .chain(each("zeroes", &["0.0.0-0", "0.0.0"]))
        .collect()
}

/// One chart's versions as SemVer orders them, newest first.
pub const LADDER: &[&str] = &[
    "10.0.0",
    "9.0.0",
    "2.0.0+meta",
    "1.0.1-0",
    "1.0.0",
    "1.0.0-rc.1",
    "1.0.0-beta.11",
    "1.0.0-beta.2",
    "1.0.0-beta",
    "1.0.0-alpha.beta",
    "1.0.0-alpha.10",
    "1.0.0-alpha.9",
    "1.0.0-alpha.1",
    "1.0.0-alpha",
    "0.9.9",
];

fn places() -> Vec<Specimen> {
    vec![
        chart("deep", "1.0.0", json!({})).below("team/a/staging"),
        chart("deep", "1.1.0", json!({}))
            .below("team/a/staging")
            .by("3.9.4"),
        // One chart, two repositories, different versions: one list.
        chart("shared", "1.0.0", json!({})).below("team/a"),
        chart("shared", "2.0.0", json!({}))
            .below("team/b")
            .by("3.17.3"),
        chart("separated", "1.0.0", json!({})).below("a__b/c-d.e"),
        chart("dotted.name", "1.0.0", json!({})),
        chart("dashed--name", "1.0.0", json!({})),
        chart("scored_name", "1.0.0", json!({})),
        // One manifest under four tags: one entry.
        chart("aliased", "1.0.0", json!({})).aliased(&["1", "1.0", "latest"]),
        chart(
            "undated",
            "1.0.0",
            json!({"annotations": {
                "org.opencontainers.image.created": "the day before yesterday",
            }}),
        ),
    ]
}

fn signed() -> Vec<Specimen> {
    vec![
        chart("sealed", "1.0.0", json!({"description": "Signed"})).signed(),
        chart("sealed", "1.1.0+build.1", json!({}))
            .signed()
            .by("3.17.3"),
        chart("sealed-early", "1.0.0", json!({}))
            .signed()
            .by("3.9.4")
            .below("team/a"),
    ]
}

fn legacy() -> Vec<Specimen> {
    vec![
        chart("legacy", "1.0.0", json!({})).legacy("legacy", "1.0.0"),
        chart("legacy-renamed", "1.2.3", json!({})).legacy("old/somewhere/legacy-renamed", "0.0.0"),
        chart("legacy-plus", "1.2.3+build.5", json!({})).legacy("old/legacy-plus", "1.2.3"),
        chart("legacy-everything", "2.0.0", everything()).legacy("old/legacy-everything", "2.0.0"),
    ]
}
