//! Real helms, oldest to newest, on charts that lie in a directory.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::copies::tree;
use super::daemon_on;
use crate::support::daemon::Daemon;
use crate::support::helm::{Helm, argument};
use crate::support::layout::flags;
use crate::support::tools::HELM_VERSIONS;
use crate::support::zoo::{Packing, zoo};

#[test]
fn every_helm_adds_searches_pulls_verifies_and_templates_from_a_layout() {
    every_helm_uses(&daemon_on(flags(&tree().join("plain"))));
}

/// Each does what users do, with the charts of the plain zoo.
pub fn every_helm_uses(daemon: &Daemon) {
    std::thread::scope(|scope| {
        let url = daemon.url();
        let told = HELM_VERSIONS.map(|version| {
            let url = url.clone();
            scope.spawn(move || story(&Helm::new(version), &url))
        });
        let failed: Vec<_> = told
            .into_iter()
            .zip(HELM_VERSIONS)
            .filter_map(|(one, version)| one.join().err().map(|_| version))
            .collect();
        assert!(failed.is_empty(), "see above for what helm {failed:?} did");
    });
}

fn story(helm: &Helm, url: &str) {
    let specimens = &zoo().plain.specimens;
    helm.run(&["repo", "add", "layout", url]);
    helm.run(&["repo", "update"]);
    let all = [
        "search",
        "repo",
        "--versions",
        "--version",
        ">=0.0.0-0",
        "--output",
        "json",
    ];
    let found: Vec<Value> = serde_json::from_str(&helm.run(&all)).expect("JSON");
    let text = |one: &Value, field| one[field].as_str().expect("a string").to_owned();
    let found: BTreeSet<_> = found
        .iter()
        .map(|one| (text(one, "name"), text(one, "version")))
        .collect();
    let expected = specimens
        .iter()
        .map(|one| (format!("layout/{}", one.name()), one.version().to_owned()));
    assert_eq!(found, expected.collect(), "helm {}", helm.version());

    let mut kinds = Vec::new();
    let keyring = zoo().keyring.public();
    for specimen in specimens {
        let signed = specimen.packing == Packing::Signed;
        // One of each kind, but all that are signed.
        if kinds.contains(&specimen.packing) && !signed {
            continue;
        }
        kinds.push(specimen.packing);
        let directory = helm.directory(&format!("{}-{}", specimen.name(), specimen.version()));
        let chart = format!("layout/{}", specimen.name());
        let which = ["--version", specimen.version()];
        let to = ["pull", &chart, "--destination", argument(&directory)];
        let how: &[&str] = if signed {
            &["--verify", "--keyring", argument(&keyring)]
        } else {
            &[]
        };
        helm.run(&[&to[..], &which, how].concat());
        let pulled = fs::read(directory.join(specimen.archive_name())).expect("what helm pulled");
        assert!(
            pulled == zoo().plain.archive(specimen),
            "helm {} pulled another",
            helm.version()
        );
        let rendered = helm.run(&[&["template", "release", &chart][..], &which].concat());
        let line = format!("chart: \"{}-{}\"\n", specimen.name(), specimen.version());
        assert!(rendered.contains(&line), "{rendered}");
    }
    assert!(
        kinds.contains(&Packing::Signed) && kinds.contains(&Packing::Legacy),
        "{kinds:?}"
    );
}
