//! The readers on paper (`support/paper`), held against the real ones: helms from the oldest to the
//! newest, and PyYAML. What they agree on here, the property tests and the fuzzer may rely on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::helm::{Helm, argument};
use crate::support::odd::{awkward_characters, index_of, scalars};
use crate::support::paper::{Meaning, Reader, go, pyyaml, sanitize};
use crate::support::process::{Scratch, run_ok};
use crate::support::readers::{by_helm, by_pyyaml};
use crate::support::tools::python_path;

/// Helms that read YAML alone, helms that read JSON as JSON, and the newest.
const OLD: &str = "3.5.4";
const NEW: [&str; 2] = ["3.17.3", "4.3.1"];

/// The traps that can stand plain in a block list, each on a line of its own. JSON, in which helm
/// answers, has no `.inf`; and `<<` means something only where a key stands.
fn plain_scalars() -> Vec<&'static str> {
    let fits = |text: &&str| {
        let plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._~=:".contains(c));
        let punctuation =
            text.trim_matches('-').is_empty() || text.ends_with(':') || *text == "...";
        plain
            && !punctuation
            && !text.to_lowercase().contains(".inf")
            && !text.to_lowercase().contains(".nan")
    };
    let plain: Vec<_> = scalars().iter().map(String::as_str).filter(fits).collect();
    assert!(plain.len() > 150, "only {} traps are left", plain.len());
    plain
}

fn block_list(scalars: &[&str]) -> String {
    let lines = scalars.iter().map(|scalar| format!("- {scalar}\n"));
    lines.collect()
}

#[test]
fn plain_scalars_mean_to_helm_what_they_mean_on_paper() {
    let scalars = plain_scalars();
    let scratch = Scratch::new("chart");
    scratch.file(
        "Chart.yaml",
        "apiVersion: v2\nname: traps\nversion: 1.0.0\n",
    );
    scratch.file("values.yaml", format!("list:\n{}", block_list(&scalars)));
    scratch.file(
        "templates/list.yaml",
        "read: {{ .Values.list | toJson | b64enc }}\n",
    );
    for version in [OLD, NEW[0], NEW[1]] {
        let said = Helm::new(version).run(&["template", "traps", argument(scratch.path())]);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("read: "))
            .expect("helm rendered the list");
        let read: Vec<Value> = serde_json::from_slice(&STANDARD.decode(line).expect("base64"))
            .expect("JSON from helm");
        assert_eq!(read.len(), scalars.len());
        for (scalar, read) in scalars.iter().zip(&read) {
            let meaning = match read {
                Value::Null => Meaning::Null,
                Value::Bool(true) => Meaning::True,
                Value::Bool(false) => Meaning::False,
                Value::Number(_) => Meaning::Number,
                _ => Meaning::Text,
            };
            assert_eq!(
                go(scalar),
                meaning,
                "helm {version} reads {scalar} as {read}"
            );
            assert!(
                meaning != Meaning::Text || read == scalar,
                "helm {version} reads {scalar} as {read}"
            );
        }
    }
}

/// Answers for each line what type it has, or `error` where the value is beyond Python.
const PYTHON_TYPES: &str = r#"
import json, sys, yaml
def kind(line):
    try: value = yaml.safe_load(line)
    except (ValueError, yaml.YAMLError): return "error"
    return str(value) if type(value) is bool else type(value).__name__
print(json.dumps([kind(line) for line in json.load(open(sys.argv[1]))]))
"#;

#[test]
fn plain_scalars_mean_to_python_what_they_mean_on_paper() {
    let scalars = plain_scalars();
    let scratch = Scratch::new("scalars");
    let file = scratch.file("scalars.json", json!(scalars).to_string());
    let packages = python_path();
    let environment = [("PYTHONPATH", argument(&packages))];
    let said = run_ok(
        Path::new("python3"),
        &["-c", PYTHON_TYPES, argument(&file)],
        &environment,
    );
    let read: Vec<String> = serde_json::from_str(&said).expect("JSON from python");
    assert_eq!(read.len(), scalars.len());
    for (scalar, read) in scalars.iter().zip(&read) {
        let expected: &[&str] = match pyyaml(scalar) {
            Meaning::Null => &["NoneType"],
            Meaning::True => &["True"],
            Meaning::False => &["False"],
            // A number or date by its looks that Python can't make one of is an error, which is worse.
            Meaning::Number => &["int", "float", "error"],
            Meaning::Timestamp => &["date", "datetime", "error"],
            Meaning::Merge => &["error"],
            Meaning::Text => &["str"],
        };
        assert!(
            expected.contains(&read.as_str()),
            "PyYAML reads {scalar} as {read}"
        );
    }
}

/// Every trap and every awkward character: as a value, as a key, and, where it may be, as a name.
fn configs() -> Vec<Value> {
    let characters = awkward_characters().iter();
    let around = characters.flat_map(|c| {
        [
            c.to_string(),
            format!("a{c}b"),
            format!("a {c} b{c}"),
            format!("{c}{c}a"),
        ]
    });
    let texts: Vec<String> = scalars().iter().cloned().chain(around).collect();
    let chart = |(at, text): (usize, &String)| {
        // A number behind it, so that Helm's sanitising doesn't make two names one.
        let named = !text.contains(|c: char| c.is_control() || "/\\".contains(c));
        let name = if named {
            format!("{text}-{at}")
        } else {
            format!("trap-{at}")
        };
        json!({
            "apiVersion": "v2", "name": name, "version": "1.0.0", "appVersion": text, "description": text, "home": text,
            "keywords": [text], "sources": [text, "x"], "annotations": {text: text, format!("{text}k"): "v"},
            "maintainers": [{"name": text}], "dependencies": [{"name": text, "version": text, "repository": text}],
        })
    };
    let is_name = |text: &&String| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let bare = scalars().iter().filter(is_name);
    let bare = bare.map(|text| json!({"apiVersion": "v1", "name": text, "version": "1.0.0"}));
    texts.iter().enumerate().map(chart).chain(bare).collect()
}

/// The index of the traps, as YAML and as JSON.
static INDEXES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let blobs: Vec<_> = configs()
        .iter()
        .map(|config| config.to_string().into_bytes())
        .collect();
    let snapshot = index_of(&blobs, "2021-01-01T00:00:00Z");
    // And the good one.
    assert_eq!(snapshot.counts.versions, blobs.len() + 1);
    [
        snapshot.index().clone(),
        snapshot
            .index_json_below(None, [127, 0, 0, 1].into())
            .expect("it is rendered"),
    ]
    .map(|index| index.identity().to_vec())
});

#[test]
fn new_helms_and_python_read_an_index_of_traps_as_paper_does() {
    for index in INDEXES.iter() {
        let paper = Reader::NewHelm.read(index).expect("paper reads it");
        for reader in [Reader::PyYaml, Reader::Other] {
            assert!(reader.read(index).as_ref() == Ok(&paper), "{reader:?}");
        }
        let python = by_pyyaml(index);
        for (name, entry) in paper["entries"].as_object().expect("entries") {
            assert_eq!(python["entries"][name], *entry, "PyYAML: {name:?}");
        }
        let expected = sanitized(&paper);
        for version in NEW {
            let mut read = by_helm(&Helm::new(version), index);
            for entry in read["entries"]
                .as_object_mut()
                .expect("entries")
                .values_mut()
            {
                let fields = entry[0].as_object_mut().expect("an entry");
                // Go writes the zero of a date that isn't there.
                fields.retain(|key, value| {
                    key != "created" || *value != json!("0001-01-01T00:00:00Z")
                });
            }
            for (name, entry) in &expected {
                assert_eq!(read["entries"][name][0], *entry, "helm {version}: {name:?}");
            }
            assert_eq!(
                read["entries"].as_object().map(|map| map.len()),
                Some(expected.len()),
                "helm {version}"
            );
        }
    }
}

/// The first version of each chart, with the strings that Helm sanitises as it reads.
fn sanitized(index: &Value) -> BTreeMap<String, Value> {
    let mut entries = BTreeMap::new();
    for versions in index["entries"].as_object().expect("entries").values() {
        let mut entry = versions[0].clone();
        for pointer in [
            "/name",
            "/description",
            "/home",
            "/appVersion",
            "/keywords/0",
            "/sources/0",
            "/maintainers/0/name",
            "/dependencies/0/name",
            "/dependencies/0/version",
            "/dependencies/0/repository",
        ] {
            if let Some(value) = entry.pointer_mut(pointer) {
                *value = sanitize(value.as_str().unwrap_or_default()).into();
            }
        }
        let fields = entry.as_object_mut().expect("an entry");
        // What has become empty isn't written again.
        fields.retain(|_, value| *value != json!(""));
        if let Some(dependency) = fields
            .get_mut("dependencies")
            .and_then(|list| list[0].as_object_mut())
        {
            dependency.retain(|key, value| key != "version" || *value != json!(""));
        }
        if fields.get("maintainers") == Some(&json!([{"name": ""}])) {
            fields.insert("maintainers".into(), json!([{}]));
        }
        entries.insert(entry["name"].as_str().unwrap_or_default().to_owned(), entry);
    }
    entries
}

/// All that a helm finds in an index, as if it had been fetched; nothing, if it can't read it.
fn search(helm: &Helm, index: &[u8]) -> Vec<Value> {
    let repositories = json!({"apiVersion": "v1", "repositories": [{"name": "r", "url": "http://charts.invalid"}]});
    std::fs::write(
        helm.directory("config").join("repositories.yaml"),
        repositories.to_string(),
    )
    .expect("write");
    std::fs::write(
        helm.directory("cache/repository").join("r-index.yaml"),
        index,
    )
    .expect("write");
    let said = helm.run(&["search", "repo", "--versions", "--output", "json"]);
    serde_json::from_str(&said).expect("JSON from helm")
}

/// An old helm has no way to write what it has read without spoiling it, but searches it as JSON.
#[test]
fn an_old_helm_reads_an_index_of_traps_as_paper_does() {
    for index in INDEXES.iter() {
        let paper = Reader::OldHelm.read(index).expect("paper reads it");
        let found = search(&Helm::new(OLD), index);
        let found: BTreeMap<&str, &Value> = found
            .iter()
            .map(|chart| (chart["name"].as_str().unwrap_or_default(), chart))
            .collect();
        let entries = paper["entries"].as_object().expect("entries");
        assert_eq!(found.len(), entries.len());
        for (key, versions) in entries {
            let chart = found.get(format!("r/{key}").as_str());
            let chart = chart.unwrap_or_else(|| panic!("{key:?} isn't found"));
            for (searched, field) in [
                ("version", "version"),
                ("app_version", "appVersion"),
                ("description", "description"),
            ] {
                let expected = sanitize(versions[0][field].as_str().unwrap_or_default());
                assert_eq!(chart[searched], expected, "{field} of {key:?}");
            }
        }
    }
}

/// An entry that everybody reads, but for what is put in it.
fn with(field: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","entries":{{"a":[{{"name":"a","version":"1.0.0","urls":["a.tgz"]{field}}}]}}}}"#
    )
}

/// Documents, and which readers refuse them: an old helm, a new one.
fn refused() -> Vec<(String, bool, bool)> {
    let long = "k".repeat(1100);
    let yaml = |text: &str| {
        format!(
            "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    urls: [a.tgz]\n    {text}\n"
        )
    };
    vec![
        (with(""), false, false),
        (
            with(r#","description":"\u007f \u0085 \ufffe""#),
            false,
            false,
        ),
        (with(",\"description\":\"\u{7f}\""), true, false),
        (with(",\"description\":\"\u{9f}\""), true, false),
        (with(",\"description\":\"\u{fffe}\""), true, false),
        (with(r#","description":"\ud83d\ude00""#), true, false),
        (with(r#","annotations":{"a":true}"#), true, true),
        (with(r#","appVersion":1"#), true, true),
        (with(r#","created":"""#), true, true),
        (with(r#","created":"2024-01-02 03:04:05""#), true, true),
        (with(r#","created":"2023-02-29T00:00:00Z""#), true, true),
        (
            with(&format!(r#","annotations":{{"{long}":"v"}}"#)),
            true,
            false,
        ),
        (with(r#","description":"a","description":"b""#), true, false),
        (yaml("description: plain"), false, false),
        (yaml("description: yes"), true, true),
        (yaml("description: 1_000"), true, true),
        (yaml("description: 0b+1"), true, true),
        (yaml("unknown: field"), true, true),
        (yaml("annotations: {on: v}"), false, false),
        (yaml("annotations: {a: v, a: w}"), true, true),
        (yaml("annotations: {<<: v}"), true, true),
        (yaml("created: 2024-01-02T03:04:05Z"), false, false),
        (yaml("created: 2024-01-02"), true, true),
        (yaml("description: \"\u{7f}\""), true, true),
        (yaml("- a"), true, true),
    ]
}

#[test]
fn what_a_helm_refuses_is_refused_on_paper() {
    let old = Helm::new(OLD);
    let new = NEW.map(Helm::new);
    for (text, by_old, by_new) in refused() {
        for (helm, refuses) in [(&old, by_old), (&new[0], by_new), (&new[1], by_new)] {
            let found = search(helm, text.as_bytes());
            assert_eq!(
                found.is_empty(),
                refuses,
                "helm {} finds {found:?} in {text}",
                helm.version()
            );
        }
        // Paper may be stricter than helm, never laxer.
        for (reader, refuses) in [(Reader::OldHelm, by_old), (Reader::NewHelm, by_new)] {
            let read = reader.read(text.as_bytes());
            assert!(!refuses || read.is_err(), "{reader:?} reads {text}");
        }
    }
}
