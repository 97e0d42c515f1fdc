//! The gold test: our index of the zoo says of every chart exactly what `helm repo index` says of
//! the same archives, whoever reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::daemon::Daemon;
use crate::support::helm::Helm;
use crate::support::readers::{by_helm, by_pyyaml, index_of};
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::{LADDER, Part, Specimen, zoo};

/// The helms that can write an index as JSON.
const JSON_WRITERS: [&str; 2] = ["3.17.3", NEWEST_HELM];

/// Charts some of whose versions `helm repo index --merge` takes for one (1.2 and 1.2.3, or two
/// that differ in build metadata). What it drops of these it has read without complaint, and
/// PyYAML, which drops nothing, is asked for them.
const MERGED_AWAY: [&str; 2] = ["build-metadata", "short"];

/// Name and version → all the rest.
pub type Entries = BTreeMap<(String, String), Value>;

#[test]
fn the_zoo_is_large_enough() {
    let charts = [&zoo().plain, &zoo().traps].map(|part| {
        let names: BTreeSet<_> = part.specimens.iter().map(Specimen::name).collect();
        assert_eq!(
            gold(part).len(),
            part.specimens.len(),
            "helm indexes all of {}",
            part.prefix
        );
        names.len()
    });
    assert!(charts.iter().sum::<usize>() >= 60, "{charts:?} charts");
}

#[test]
fn an_index_says_what_helm_says_of_the_same_archives() {
    same_for_every_reader(&zoo().plain, &index(&zoo().plain));
}

#[test]
fn an_index_of_strings_that_look_like_other_types_says_what_helm_says_of_the_same_archives() {
    same_for_every_reader(&zoo().traps, &index(&zoo().traps));
}

#[test]
fn the_whole_registry_is_the_sum_of_its_parts() {
    let whole = index_at(&zoo().registry.host());
    let mut sum = gold(&zoo().plain);
    sum.extend(gold(&zoo().traps));
    assert_same(
        "PyYAML",
        &sum,
        &entries(&by_pyyaml(&whole), &["created"]),
        &[],
    );
}

#[test]
fn versions_are_listed_as_helm_sorts_them_newest_first() {
    for part in [&zoo().plain, &zoo().traps] {
        let ours = by_pyyaml(&index(part));
        let gold = index_of(&Helm::new(NEWEST_HELM), &part.archives);
        for (name, versions) in object(&ours["entries"]) {
            assert_eq!(
                order(versions),
                order(&gold["entries"][name]),
                "the order of {name}"
            );
        }
    }
    let ours = by_pyyaml(&index(&zoo().plain));
    let ladder = ours["entries"]["ladder"].as_array().expect("a list");
    let ladder: Vec<_> = ladder.iter().map(|one| string(&one["version"])).collect();
    assert_eq!(ladder, LADDER);
}

#[test]
fn created_is_what_the_manifest_says_if_it_is_a_date() {
    for part in [&zoo().plain, &zoo().traps] {
        let ours = by_pyyaml(&index(part));
        let entries = entries(&ours, &[]);
        for specimen in &part.specimens {
            let repository = format!("{}/{}", part.prefix, specimen.repository);
            let manifest = zoo().registry.manifest(&repository, &specimen.tag);
            let told = &manifest["annotations"]["org.opencontainers.image.created"];
            let key = (specimen.name().to_owned(), specimen.version().to_owned());
            let created = &entries[&key]["created"];
            assert_eq!(date(created), date(told), "{key:?}: {created} of {told}");
            assert!(
                date(created).is_some() || created.is_null(),
                "{key:?}: {created}"
            );
        }
        let newest = entries
            .values()
            .filter_map(|entry| date(&entry["created"]))
            .max();
        assert!(newest.is_some(), "newer helms date their manifests");
        assert_eq!(
            date(&ours["generated"]),
            newest,
            "generated is the newest change"
        );
    }
}

fn date(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

fn same_for_every_reader(part: &Part, index: &[u8]) {
    assert!(index.starts_with(b"apiVersion: \"v1\"\nentries:\n"));
    let gold = gold(part);
    let python = by_pyyaml(index);
    assert_eq!(python["apiVersion"], "v1");
    assert_same("PyYAML", &gold, &entries(&python, &["created"]), &[]);
    for version in JSON_WRITERS {
        let read = entries(&by_helm(&Helm::new(version), index), &["created"]);
        assert_same(&format!("helm {version}"), &gold, &read, &MERGED_AWAY);
    }
}

/// Fails with every difference, field by field. Of the charts in `may_lack`, a reader may lack
/// versions, but not all.
pub fn assert_same(reader: &str, gold: &Entries, ours: &Entries, may_lack: &[&str]) {
    let mut differences = Vec::new();
    for (key, expected) in gold {
        let lackable = may_lack.contains(&key.0.as_str());
        match ours.get(key) {
            Some(entry) => differences.extend(differing_fields(key, expected, entry)),
            None if lackable && ours.keys().any(|other| other.0 == key.0) => {}
            None => differences.push(format!("{key:?} is missing")),
        }
    }
    let invented = ours.keys().filter(|key| !gold.contains_key(*key));
    differences.extend(invented.map(|key| format!("{key:?} is invented")));
    assert!(
        differences.is_empty(),
        "as {reader} reads it:\n{}",
        differences.join("\n")
    );
}

fn differing_fields(key: &(String, String), expected: &Value, ours: &Value) -> Vec<String> {
    let both = object(expected).keys().chain(object(ours).keys());
    let fields: BTreeSet<_> = both.collect();
    let differing = fields
        .into_iter()
        .filter(|field| expected.get(field) != ours.get(field));
    let told = |field: &String| {
        let (helms, ours) = (expected.get(field), ours.get(field));
        format!("{key:?} {field}: helm has {helms:?}, we have {ours:?}")
    };
    differing.map(told).collect()
}

pub fn gold(part: &Part) -> Entries {
    entries(
        &index_of(&Helm::new(NEWEST_HELM), &part.archives),
        &["created"],
    )
}

/// All entries of an index, without the fields that are no fact of the archive.
pub fn entries(index: &Value, without: &[&str]) -> Entries {
    let lists = object(&index["entries"]).values();
    let all = lists.flat_map(|list| list.as_array().expect("a list of versions"));
    let mut entries = Entries::new();
    for entry in all {
        let mut rest = object(entry).clone();
        rest.retain(|field, _| !without.contains(&field.as_str()));
        let key = (
            string(&entry["name"]).to_owned(),
            string(&entry["version"]).to_owned(),
        );
        let twice = entries.insert(key.clone(), Value::Object(rest));
        assert!(twice.is_none(), "{key:?} is listed twice");
    }
    entries
}

fn index(part: &Part) -> Vec<u8> {
    index_at(&part.storage(&zoo().registry))
}

fn index_at(storage: &str) -> Vec<u8> {
    let daemon = Daemon::start_ready(&["--storage-registry-repo", storage]);
    let answer = daemon.get("/index.yaml");
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    answer.body
}

fn order(versions: &Value) -> Vec<&str> {
    let versions = versions.as_array().expect("a list of versions").iter();
    versions
        .map(|one| precedence(string(&one["version"])))
        .collect()
}

/// A version without its build metadata, which has no say in the order.
fn precedence(version: &str) -> &str {
    version.split('+').next().expect("a first part")
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
}

fn string(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no string: {value}"))
}
