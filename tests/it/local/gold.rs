//! The gold test: of every archive, however odd, our index says what `helm repo index` says, and
//! leaves out what Helm leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::odd::archives;
use crate::support::daemon::Daemon;
use crate::support::folder::{Folder, flags};
use crate::support::helm::Helm;
use crate::support::readers::index_of;
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::zoo;

/// The newest Helms of their generations.
const HELMS: [&str; 2] = ["3.17.3", NEWEST_HELM];
/// What is no fact of the archive.
const NOT_COMPARED: [&str; 2] = ["created", "urls"];

/// Digest of the archive → its entry.
type Entries = BTreeMap<String, Value>;

#[test]
fn every_odd_chart_is_listed_as_helm_lists_it_or_left_out_as_helm_leaves_it_out() {
    let folder = Folder::new();
    let odd = archives();
    for (name, bytes) in &odd {
        folder.file(&format!("{name}.tgz"), bytes);
    }
    let listed = assert_same(folder.path());
    assert!(
        odd.len() >= 300 && listed >= 200,
        "{listed} of {}",
        odd.len()
    );
}

#[test]
fn every_chart_of_the_zoo_is_listed_as_helm_lists_it() {
    for part in [&zoo().plain, &zoo().traps] {
        let listed = assert_same(&part.archives);
        assert_eq!(listed, part.specimens.len(), "{}", part.prefix);
    }
}

/// Fails with every difference, field by field. Answers how many are listed.
fn assert_same(directory: &Path) -> usize {
    let daemon = Daemon::start_ready(&flags(directory).each_ref().map(String::as_str));
    let index = daemon.get("/index.json").body;
    let ours = entries(&serde_json::from_slice(&index).expect("JSON"));
    let names: BTreeMap<String, String> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|file| file.expect("a file").path())
        .map(|file| {
            let digest = oci_chartrepo::oci::Digest::sha256(&std::fs::read(&file).expect("read"));
            (
                digest.sha256_hex().expect("sha256"),
                file.display().to_string(),
            )
        })
        .collect();
    for version in HELMS {
        let gold = entries(&index_of(&Helm::new(version), directory));
        let all: BTreeSet<_> = gold.keys().chain(ours.keys()).collect();
        let differing = all
            .into_iter()
            .filter(|digest| gold.get(*digest) != ours.get(*digest));
        let told: Vec<_> = differing
            .map(|digest| {
                let show = |entries: &Entries| match entries.get(digest) {
                    Some(entry) => entry.to_string(),
                    None => "nothing".to_owned(),
                };
                format!(
                    "{}\n  helm: {}\n  ours: {}",
                    names[digest],
                    show(&gold),
                    show(&ours)
                )
            })
            .collect();
        assert!(
            told.is_empty(),
            "helm {version}:\n{}\n{}",
            told.join("\n"),
            daemon.log()
        );
    }
    ours.len()
}

fn entries(index: &Value) -> Entries {
    let lists = index["entries"].as_object().expect("entries").values();
    let all = lists.flat_map(|list| list.as_array().expect("a list"));
    let entry = |entry: &Value| {
        let mut entry = entry.as_object().expect("an object").clone();
        entry.retain(|field, _| !NOT_COMPARED.contains(&field.as_str()));
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        (digest, entry.into())
    };
    all.map(entry).collect()
}
