//! The main story with registries of other make than docker-registry: a real helm pushes the zoo's
//! charts, the index says of each what `helm repo index` says, and a real helm pulls and verifies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::gold::{assert_same, entries, gold};
use crate::support::daemon::Daemon;
use crate::support::helm::{Helm, argument};
use crate::support::other_registry::{OtherRegistry, PASSWORD};
use crate::support::process::Scratch;
use crate::support::readers::by_pyyaml;
use crate::support::story::credentials_flag;
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::{Packing, Part, Specimen, zoo};

/// Pushes at a time.
const PUSHERS: usize = 4;

/// It answers 404 to a query that it doesn't know, names no service in its challenge, and lists the
/// digests of manifests as tags (facts of zuul-registry 1.3.0; issue 11, 6e and 6f). The catalog it
/// doesn't have is made up for by naming the repositories.
#[test]
fn charts_in_zuul_registry_are_listed_as_helm_lists_them_and_pulled_as_they_were_pushed() {
    tell(&OtherRegistry::zuul(), "3.17.3", Find::ByName);
}

/// `make test-registries` fetches Pulp and PostgreSQL, and runs this.
#[test]
#[ignore = "Pulp takes minutes to fetch and one to start: `make test-registries`"]
fn charts_in_pulp_are_listed_as_helm_lists_them_and_pulled_as_they_were_pushed() {
    tell(&OtherRegistry::pulp(), NEWEST_HELM, Find::InCatalog);
}

enum Find {
    InCatalog,
    ByName,
}

fn tell(registry: &OtherRegistry, helm: &'static str, find: Find) {
    let (part, helm) = (&zoo().plain, Helm::new(helm));
    let pushed: Vec<_> = part.specimens.iter().filter(|one| pushable(one)).collect();
    let scratch = Scratch::new("other-registry");
    let flags = flags(registry, &scratch, &pushed, &find);
    push(registry, &helm, &scratch, &pushed);

    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let daemon = Daemon::start_ready(&flags);

    let keys = pushed
        .iter()
        .map(|one| (one.name().to_owned(), one.version().to_owned()));
    let keys: BTreeSet<_> = keys.collect();
    let mut expected = gold(part);
    expected.retain(|key, _| keys.contains(key));
    assert_eq!(expected.len(), pushed.len(), "helm indexes each of them");
    let index = daemon.get("/index.yaml").body;
    assert_same(
        "PyYAML",
        &expected,
        &entries(&by_pyyaml(&index), &["created"]),
        &[],
    );
    for specimen in &pushed {
        let path = format!("/charts/{}", specimen.archive_name());
        let same = daemon.get(&path).body == part.archive(specimen);
        assert!(same, "GET {path}: other bytes; {}", registry.log());
    }
    verify(&daemon, &helm, part, &pushed);
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
}

/// What any helm pushes as it is, to the repository that is named after the chart.
fn pushable(specimen: &Specimen) -> bool {
    specimen.packing != Packing::Legacy
}

fn flags(
    registry: &OtherRegistry,
    scratch: &Scratch,
    pushed: &[&Specimen],
    find: &Find,
) -> Vec<String> {
    let pair = format!("{}:{PASSWORD}", registry.user());
    let auths = json!({"auths": {registry.host(): {"auth": BASE64_STANDARD.encode(pair)}}});
    let mut flags = vec![
        format!("--storage-registry-repo={}", registry.host()),
        "--storage-registry-scheme=HTTP".to_owned(),
        credentials_flag(scratch, auths.to_string()),
    ];
    if let Find::ByName = find {
        let repositories: BTreeSet<_> = pushed.iter().map(|one| &one.repository).collect();
        flags.extend(
            repositories
                .iter()
                .map(|name| format!("--repository={name}")),
        );
    }
    flags
}

/// The charts of one repository one after another: Pulp answers 429 to the second of two at a time.
fn push(registry: &OtherRegistry, helm: &Helm, scratch: &Scratch, pushed: &[&Specimen]) {
    let credentials = scratch.join("dockerconfigjson");
    let mut repositories = BTreeMap::<_, Vec<_>>::new();
    for specimen in pushed {
        let of_repository = repositories.entry(&specimen.repository).or_default();
        of_repository.push(specimen);
    }
    let queue = Mutex::new(repositories.into_values());
    let next = || queue.lock().unwrap().next();
    let push_one = |specimen: &Specimen| {
        let archive = zoo().plain.archives.join(specimen.archive_name());
        let parent = specimen.repository.strip_suffix(specimen.name());
        let parent = parent.expect("a repository is named after its chart");
        let target = format!("oci://{}/{parent}", registry.host());
        let how = ["--plain-http", "--registry-config", argument(&credentials)];
        let what = ["push", argument(&archive), target.trim_end_matches('/')];
        helm.run(&[&what[..], &how].concat());
    };
    std::thread::scope(|scope| {
        for _ in 0..PUSHERS {
            scope.spawn(|| {
                while let Some(of_repository) = next() {
                    of_repository.into_iter().for_each(|one| push_one(one));
                }
            });
        }
    });
}

/// helm adds the repository, and pulls each signed chart with its provenance file.
fn verify(daemon: &Daemon, helm: &Helm, part: &Part, pushed: &[&Specimen]) {
    let signed = pushed.iter().filter(|one| one.packing == Packing::Signed);
    let signed: Vec<_> = signed.collect();
    assert_eq!(signed.len(), 3);
    helm.run(&["repo", "add", "charts", &daemon.url()]);
    let (keyring, to) = (zoo().keyring.public(), helm.directory("pulled"));
    for specimen in signed {
        let chart = format!("charts/{}", specimen.name());
        let what = ["pull", &chart, "--version", specimen.version(), "--verify"];
        let how = [
            "--keyring",
            argument(&keyring),
            "--destination",
            argument(&to),
        ];
        helm.run(&[&what[..], &how].concat());
        let pulled = std::fs::read(to.join(specimen.archive_name())).expect("pulled");
        assert!(pulled == part.archive(specimen), "{chart}: other bytes");
    }
}
