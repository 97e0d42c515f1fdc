//! What real helms make of an index, rule by rule (`tests/golden/helm-rules`), and what we make of a
//! registry that would lead there (`tests/golden/index`): our bytes, compared with goldens that each
//! helm reads. `UPDATE_GOLDEN=1` rewrites ours, and fails to say so; Helm's rules are written by hand.

mod rules;
mod stories;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::fake_registry::{FakeRegistry, Reply};
use crate::support::helm::{Helm, argument};
use crate::support::paper::Reader;
use crate::support::process::{Scratch, run, text};
use crate::support::readers::by_pyyaml;
use crate::support::story::ready_daemon;
use crate::support::tools::HELM_VERSIONS;
use rules::{PULLS, Pull, RULES, Then};
use stories::STORIES;

const RULES_DIRECTORY: &str = "helm-rules";
const INDEX_DIRECTORY: &str = "index";

#[test]
fn each_helm_does_with_an_index_what_its_version_is_known_for() {
    let server = serve(RULES_DIRECTORY);
    with_each_helm(|number, helm| {
        let mut added = BTreeSet::new();
        for (file, odd, then) in RULES {
            let then = then[number];
            let add = ["repo", "add", file, &address(&server, file)];
            if let Then::Refuses | Then::Panics = then {
                assert_complains(file, &helm.fails(&add), then);
                continue;
            }
            helm.run(&add);
            added.extend(listed(file, "good 1.0.0"));
            if then == Then::Lists {
                added.extend(listed(file, odd));
            }
        }
        assert_finds(helm, &added);
        for pull in PULLS {
            assert_pulls(helm, number, &pull);
        }
    });
}

/// An index that is refused is one thing, a helm that dies of it another.
fn assert_complains(file: &str, said: &str, then: Then) {
    let word = if then == Then::Panics {
        "panic:"
    } else {
        "looks like"
    };
    assert!(said.contains(word), "{file}: {said}");
}

fn assert_pulls(helm: &Helm, number: usize, pull: &Pull) {
    let directory = helm.directory(&format!("pulled-{}-{}", pull.file, pull.version));
    let chart = format!("{}/odd", pull.file);
    let mut arguments = vec!["pull", &chart, "--destination", argument(&directory)];
    if !pull.version.is_empty() {
        arguments.extend(["--version", pull.version]);
    }
    match pull.then[number] {
        Ok(archive) => {
            helm.run(&arguments);
            assert_eq!(
                fs::read(directory.join(archive)).ok().as_deref(),
                Some(ARCHIVE),
                "{pull:?}"
            );
        }
        Err(why) => {
            let said = helm.fails(&arguments);
            assert!(
                said.contains(why),
                "helm {} {pull:?}: {said}",
                helm.version()
            );
        }
    }
}

/// The stories with charts whose names are not their repositories'.
const ANY_NAME: [(&str, &str); 2] = [("names", "--any-name"), ("strings", "--any-name")];

#[test]
fn what_a_registry_holds_becomes_an_index_byte_for_byte() {
    let mut differences = String::new();
    for story in STORIES {
        let fake = FakeRegistry::start();
        for chart in (story.charts)() {
            fake.push(&chart);
        }
        let flags = ANY_NAME.iter().filter(|(name, _)| *name == story.name);
        let flags: Vec<&str> = flags.map(|(_, flag)| *flag).collect();
        let daemon = ready_daemon(&fake, &flags);
        for format in ["yaml", "json"] {
            let served = daemon.get(&format!("/index.{format}"));
            assert_eq!(
                served.status,
                200,
                "{}\n{}",
                served.body_text(),
                daemon.log()
            );
            let golden = golden(INDEX_DIRECTORY).join(format!("{}.{format}", story.name));
            differences.extend(difference(&golden, &served.body));
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

/// How what is served differs from a golden, which becomes what is served if that is asked for.
fn difference(golden: &Path, served: &[u8]) -> Option<String> {
    let wanted = fs::read(golden).unwrap_or_default();
    if wanted == served {
        return None;
    }
    let scratch = Scratch::new("difference");
    let old = scratch.file("golden", unfolded(&wanted));
    let new = scratch.file("served", unfolded(served));
    let how = [
        "--unified",
        "--text",
        "--label=golden",
        "--label=served",
        argument(&old),
        argument(&new),
    ];
    let shown = text(&run(Path::new("diff"), &how, &[]).stdout);
    let what = if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(golden, served).expect("write a golden");
        "is rewritten; look at it, and run again without UPDATE_GOLDEN"
    } else {
        "isn't what is served (UPDATE_GOLDEN=1 rewrites it)"
    };
    Some(format!("{} {what}:\n{shown}\n", golden.display()))
}

/// The one line of JSON as a line a field, so that a difference is small.
fn unfolded(index: &[u8]) -> String {
    text(index).replace(",\"", ",\n\"").replace(",{", ",\n{")
}

#[test]
fn each_helm_lists_of_our_goldens_exactly_the_good() {
    let server = serve(INDEX_DIRECTORY);
    with_each_helm(|_, helm| {
        let mut expected = BTreeSet::new();
        for story in STORIES {
            for format in ["json", "yaml"] {
                let file = format!("{}.{format}", story.name);
                helm.run(&["repo", "add", &file, &address(&server, &file)]);
                expected.extend(listed(&file, story.listed));
            }
        }
        assert_finds(helm, &expected);
    });
}

#[test]
fn every_yaml_reader_finds_in_a_golden_what_the_json_beside_it_says() {
    for story in STORIES {
        let read = |format: &str| {
            let file = format!("{}.{format}", story.name);
            fs::read(golden(INDEX_DIRECTORY).join(file)).expect("a golden")
        };
        let (yaml, json) = (read("yaml"), read("json"));
        let wanted: Value = serde_json::from_slice(&json).expect("JSON");
        for index in [&yaml, &json] {
            assert!(by_pyyaml(index) == wanted, "PyYAML: {}", story.name);
            for reader in Reader::ALL {
                assert!(
                    reader.read(index).as_ref() == Ok(&wanted),
                    "{reader:?}: {}",
                    story.name
                );
            }
        }
    }
}

#[test]
fn every_rule_has_its_golden_and_a_story_of_ours_and_every_golden_is_read() {
    let rules: BTreeSet<_> = RULES.iter().map(|(file, ..)| (*file).to_owned()).collect();
    assert_eq!(files(RULES_DIRECTORY), rules);
    let ours = STORIES
        .iter()
        .flat_map(|story| ["json", "yaml"].map(|form| format!("{}.{form}", story.name)));
    assert_eq!(files(INDEX_DIRECTORY), ours.collect());
    let fake = FakeRegistry::start();
    let charts = STORIES.iter().flat_map(|story| (story.charts)());
    let told: BTreeSet<_> = charts.map(|chart| fake.push(&chart).repository).collect();
    for rule in rules {
        let (stem, _) = rule.split_once('.').expect("NAME.FORMAT");
        assert!(
            told.contains(&format!("rules/{stem}")),
            "no story pushes to rules/{stem}"
        );
    }
}

/// Any bytes: helm doesn't open what it pulls.
const ARCHIVE: &[u8] = b"an archive";

/// Each file of a directory of goldens as `/FILE/index.yaml`, and what is pulled of it.
fn serve(directory: &str) -> FakeRegistry {
    let server = FakeRegistry::start();
    for file in files(directory) {
        let index = fs::read(golden(directory).join(&file)).expect("a golden");
        server.page(&format!("/{file}/index.yaml"), Reply::new(200).body(index));
    }
    for pull in PULLS {
        for archive in pull.then.into_iter().flatten() {
            for path in [archive.to_owned(), archive.replace('+', "%2B")] {
                server.page(
                    &format!("/{}/{path}", pull.file),
                    Reply::new(200).body(ARCHIVE),
                );
            }
        }
    }
    server
}

fn address(server: &FakeRegistry, file: &str) -> String {
    format!("{}/{file}", server.url())
}

fn golden(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(directory)
}

fn files(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(golden(directory)).expect("the goldens");
    entries
        .map(|entry| {
            entry
                .expect("a golden")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect()
}

/// `NAME VERSION, NAME VERSION` as what helm finds in the repository of that name.
fn listed(repository: &str, charts: &str) -> BTreeSet<String> {
    let charts = charts.split(", ").filter(|chart| !chart.is_empty());
    charts
        .map(|chart| format!("{repository}/{chart}"))
        .collect()
}

/// Helm finds exactly these charts in all that it has added.
fn assert_finds(helm: &Helm, expected: &BTreeSet<String>) {
    let every = [
        "search",
        "repo",
        "--versions",
        "--devel",
        "--output",
        "json",
    ];
    let found: Vec<Value> = serde_json::from_str(&helm.run(&every)).expect("JSON from helm");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let found = found
        .iter()
        .map(|one| format!("{} {}", text(&one["name"]), text(&one["version"])));
    let found: BTreeSet<_> = found.collect();
    let lacking: Vec<_> = expected.difference(&found).collect();
    let invented: Vec<_> = found.difference(expected).collect();
    let told = lacking.is_empty() && invented.is_empty();
    assert!(
        told,
        "helm {} lacks {lacking:#?} and invents {invented:#?}",
        helm.version()
    );
}

/// Tells the story to each helm, all at a time, and with the place that its version has in tables.
fn with_each_helm(story: impl Fn(usize, &Helm) + Sync) {
    std::thread::scope(|scope| {
        for (number, version) in HELM_VERSIONS.into_iter().enumerate() {
            let story = &story;
            scope.spawn(move || story(number, &Helm::new(version)));
        }
    });
}
