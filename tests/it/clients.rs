//! Real helms, oldest to newest, use us as they use any chart repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::helm::{Helm, argument};
use crate::support::keyring::Keyring;
use crate::support::process::Scratch;
use crate::support::readers::index_of;
use crate::support::shop::{Shop, parts, reference, with_each_helm};
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::{Packing, Part, Specimen, zoo};

#[test]
fn every_helm_adds_updates_and_finds_every_version() {
    let gold = parts().map(|part| {
        (
            part.prefix,
            index_of(&Helm::new(NEWEST_HELM), &part.archives),
        )
    });
    let expected: Vec<_> = gold
        .iter()
        .flat_map(|(prefix, index)| listing(prefix, index))
        .collect();
    with_each_helm(|shop| {
        shop.helm.run(&["repo", "update"]);
        // Without a range helm leaves prereleases out.
        let all = [
            "search",
            "repo",
            "--versions",
            "--version",
            ">=0.0.0-0",
            "--output",
            "json",
        ];
        let found: Vec<Value> = serde_json::from_str(&shop.helm.run(&all)).expect("JSON");
        let found = found
            .iter()
            .map(|one| FOUND_FIELDS.map(|field| one[field].clone()));
        assert_eq!(
            sorted(found),
            sorted(expected.clone()),
            "helm {}",
            shop.helm.version()
        );
    });
}

/// What `helm search` prints, by its names and by those of an index.
const FOUND_FIELDS: [&str; 4] = ["name", "version", "app_version", "description"];
const INDEX_FIELDS: [&str; 4] = ["name", "version", "appVersion", "description"];

/// What `helm search` should print of an index added under a name.
fn listing(prefix: &str, index: &Value) -> Vec<[Value; 4]> {
    let lists = index["entries"].as_object().expect("entries").values();
    let entries = lists.flat_map(|list| list.as_array().expect("a list"));
    let line = |entry: &Value| {
        let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let mut line = INDEX_FIELDS.map(field);
        line[0] = format!("{prefix}/{}", line[0]);
        line.map(Value::from)
    };
    entries.map(line).collect()
}

#[test]
fn every_helm_pulls_every_version_as_it_was_pushed() {
    with_each_helm(|shop| {
        for part in parts() {
            let mut by_version = BTreeMap::<_, Vec<_>>::new();
            for specimen in &part.specimens {
                by_version
                    .entry(specimen.version())
                    .or_default()
                    .push(specimen);
            }
            for (version, specimens) in by_version {
                pull(shop, part, version, &specimens);
            }
        }
    });
}

/// One call for all charts that have the version, into a directory of their own.
fn pull(shop: &Shop, part: &Part, version: &str, specimens: &[&Specimen]) {
    let directory = shop.helm.directory(&format!("{}-{version}", part.prefix));
    let charts: Vec<_> = specimens.iter().map(|one| reference(part, one)).collect();
    let mut arguments = vec![
        "pull",
        "--version",
        version,
        "--destination",
        argument(&directory),
    ];
    arguments.extend(charts.iter().map(String::as_str));
    shop.helm.run(&arguments);
    for specimen in specimens {
        assert_pulled(&directory, part, specimen, shop.helm.version());
    }
}

#[test]
fn every_helm_verifies_what_is_signed_and_refuses_what_is_not() {
    let scratch = Scratch::new("stranger");
    let stranger = Keyring::new(scratch.join("gpg"), "stranger").public();
    let known = zoo().keyring.public();
    with_each_helm(|shop| {
        let part = &zoo().plain;
        let signed = part
            .specimens
            .iter()
            .filter(|one| one.packing == Packing::Signed);
        let signed: Vec<_> = signed.collect();
        assert_eq!(signed.len(), 3);
        for specimen in signed {
            let directory = shop
                .helm
                .directory(&format!("verified-{}", specimen.version()));
            let chart = reference(part, specimen);
            let pull = |keyring: &Path| {
                let how = [
                    "--verify",
                    "--keyring",
                    argument(keyring),
                    "--version",
                    specimen.version(),
                ];
                let what = ["pull", &chart, "--destination", argument(&directory)];
                [&what[..], &how]
                    .concat()
                    .into_iter()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let refused = shop.helm.fails(&borrowed(&pull(&stranger)));
            assert!(
                refused.contains("signature made by unknown entity"),
                "{refused}"
            );
            shop.helm.run(&borrowed(&pull(&known)));
            assert_pulled(&directory, part, specimen, shop.helm.version());
            let name = format!("{}.prov", specimen.archive_name());
            assert_eq!(
                read(&directory.join(&name)),
                read(&part.archives.join(&name)),
                "{name}"
            );
        }
        let unsigned = [
            "pull",
            "plain/bare",
            "--verify",
            "--keyring",
            argument(&known),
        ];
        let refused = shop.helm.fails(&unsigned);
        assert!(refused.contains(".tgz.prov"), "{refused}");
    });
}

#[test]
fn every_helm_shows_and_templates_charts() {
    with_each_helm(|shop| {
        for part in parts() {
            // A few of each kind: showing is of the archive, which is compared elsewhere.
            let few = part.specimens.iter().step_by(9);
            for specimen in few.filter(|one| one.chart["type"] != "library") {
                let (chart, version) = (reference(part, specimen), specimen.version());
                let shown = shop
                    .helm
                    .run(&["show", "chart", &chart, "--version", version]);
                assert!(shows(&shown, "name", specimen.name()), "{shown}");
                assert!(shows(&shown, "version", version), "{shown}");
                let rendered =
                    shop.helm
                        .run(&["template", "release", &chart, "--version", version]);
                let line = format!("chart: \"{}-{version}\"\n", specimen.name());
                assert!(rendered.contains(&line), "{rendered}");
            }
        }
    });
}

#[test]
fn every_helm_updates_dependencies_from_us() {
    with_each_helm(|shop| {
        let wanted = [
            ("bare", 0),
            ("sealed", 0),
            ("legacy-renamed", 0),
            ("ladder", 0),
            ("on", 1),
            ("key-characters", 1),
        ];
        let wanted = wanted.map(|(name, part)| {
            let part = parts()[part];
            let specimen = part.specimens.iter().find(|one| one.name() == name);
            (
                part,
                specimen.unwrap_or_else(|| panic!("{name} is in the zoo")),
            )
        });
        for by_alias in [false, true] {
            let dependencies = wanted.map(|(part, specimen)| {
                let alias = format!("@{}", part.prefix);
                let repository = if by_alias { alias } else { shop.url(part) };
                json!({"name": specimen.name(), "version": specimen.version(), "repository": repository})
            });
            let parent = json!({
                "apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": dependencies,
            });
            let directory = shop.helm.directory(if by_alias {
                "by-alias/parent"
            } else {
                "by-url/parent"
            });
            fs::write(directory.join("Chart.yaml"), parent.to_string()).expect("write");
            shop.helm
                .run(&["dependency", "update", argument(&directory)]);
            for (part, specimen) in wanted {
                assert_pulled(
                    &directory.join("charts"),
                    part,
                    specimen,
                    shop.helm.version(),
                );
            }
            assert!(directory.join("Chart.lock").is_file());
        }
    });
}

fn assert_pulled(directory: &Path, part: &Part, specimen: &Specimen, helm: &str) {
    let pulled = read(&directory.join(specimen.archive_name()));
    let same = pulled == part.archive(specimen);
    assert!(
        same,
        "helm {helm} pulled another {}",
        specimen.archive_name()
    );
}

/// Whether `key: value` is a line of a chart's YAML, quoted or not.
fn shows(chart: &str, key: &str, value: &str) -> bool {
    let forms = [
        format!("{key}: {value}"),
        format!("{key}: \"{value}\""),
        format!("{key}: '{value}'"),
    ];
    chart
        .lines()
        .any(|line| forms.iter().any(|form| form == line))
}

fn sorted(listing: impl IntoIterator<Item = [Value; 4]>) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for line in listing {
        let line = format!("{line:?}");
        assert!(set.insert(line.clone()), "{line} is listed twice");
    }
    set
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
