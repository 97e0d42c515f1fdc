//! The index as its readers ask for it: compressed or as it is, as YAML or as JSON, or not at all
//! because they have it already. Helm asks for none of this, and must get what it always got.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::Helm;
use crate::support::http::Answer;
use crate::support::process::Scratch;
use crate::support::story::{Index, ready_daemon, refresh_until_logged, wait_for_charts};
use crate::support::tools::HELM_VERSIONS;

const PATHS: [&str; 2] = ["/index.yaml", "/index.json"];

/// Enough charts for an index that is worth compressing.
fn registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for number in 0..20 {
        fake.push(&Chart::new("team/web", &format!("1.{number}.0")));
    }
    fake
}

fn accepting(daemon: &Daemon, path: &str, codings: &str) -> Answer {
    daemon.request("GET", path, &[("Accept-Encoding", codings)])
}

fn unpack(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(&answer.body[..])
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
}

fn etag(answer: &Answer) -> &str {
    answer.header("ETag").expect("an ETag")
}

#[test]
fn the_index_is_compressed_only_on_request() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[]);
    for path in PATHS {
        let plain = daemon.get(path);
        assert_eq!(plain.header("Content-Encoding"), None);
        for asks in ["gzip", "GZIP", "br, gzip;q=0.1", "*", "identity;q=0, gzip"] {
            let packed = accepting(&daemon, path, asks);
            assert_eq!(packed.header("Content-Encoding"), Some("gzip"), "{asks}");
            assert_eq!(unpack(&packed), plain.body, "{asks}");
            assert!(
                packed.body.len() * 2 < plain.body.len(),
                "{} bytes",
                packed.body.len()
            );
            assert_eq!(
                packed.header("Content-Length"),
                Some(&*packed.body.len().to_string())
            );
            assert_eq!(packed.header("Content-Type"), plain.header("Content-Type"));
        }
        for does_not in [
            "",
            "identity",
            "gzip;q=0",
            "*;q=0",
            "br",
            "deflate",
            "identity, gzip;q=0.5",
        ] {
            let answer = accepting(&daemon, path, does_not);
            assert_eq!(answer.header("Content-Encoding"), None, "{does_not}");
            assert_eq!(answer.body, plain.body, "{does_not}");
        }
        let twice = [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")];
        assert_eq!(
            daemon
                .request("GET", path, &twice)
                .header("Content-Encoding"),
            Some("gzip")
        );
    }
    let archive = accepting(&daemon, "/charts/web-1.0.0.tgz", "gzip");
    assert_eq!(
        archive.header("Content-Encoding"),
        None,
        "an archive is compressed already"
    );
}

#[test]
fn each_coding_has_a_validator_of_its_own_and_vary_says_so() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[]);
    for path in PATHS {
        let (plain, packed) = (daemon.get(path), accepting(&daemon, path, "gzip"));
        assert_ne!(etag(&plain), etag(&packed));
        for answer in [&plain, &packed] {
            assert!(
                etag(answer).starts_with("\"sha256:"),
                "strong: {}",
                etag(answer)
            );
            assert_eq!(answer.header("Vary"), Some("Accept-Encoding"));
            assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
        }
        let head = daemon.request("HEAD", path, &[("Accept-Encoding", "gzip")]);
        assert!(head.body.is_empty());
        for name in [
            "Content-Length",
            "Content-Encoding",
            "ETag",
            "Vary",
            "Cache-Control",
            "Content-Type",
        ] {
            assert_eq!(head.header(name), packed.header(name), "{name}");
        }
    }
}

#[test]
fn a_client_that_has_the_index_in_that_coding_gets_304() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[]);
    for path in PATHS {
        let etags =
            ["identity", "gzip"].map(|coding| etag(&accepting(&daemon, path, coding)).to_owned());
        for (asks, own, other) in [
            ("identity", &etags[0], &etags[1]),
            ("gzip", &etags[1], &etags[0]),
        ] {
            for method in ["GET", "HEAD"] {
                for known in [own, &format!("{other}, {own}"), &format!("W/{own}"), "*"] {
                    let headers = [("Accept-Encoding", asks), ("If-None-Match", known)];
                    let answer = daemon.request(method, path, &headers);
                    assert_eq!(
                        (answer.status, answer.body.len()),
                        (304, 0),
                        "{method} {asks} {known}"
                    );
                    assert_eq!(etag(&answer), own);
                    assert_eq!(answer.header("Vary"), Some("Accept-Encoding"));
                    assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
                    assert_eq!(answer.header("Content-Encoding"), None);
                }
            }
            // What it has can't be unpacked, or must be, and isn't what it would get now.
            let headers = [("Accept-Encoding", asks), ("If-None-Match", other)];
            let answer = daemon.request("GET", path, &headers);
            assert_eq!((answer.status, etag(&answer)), (200, &**own));
        }
        let lists = [
            ("If-None-Match", "\"other\""),
            ("If-None-Match", &*etags[0]),
        ];
        assert_eq!(
            daemon.request("GET", path, &lists).status,
            304,
            "a list in two fields is one"
        );
    }
}

#[test]
fn replicas_compress_alike_and_a_change_is_a_new_validator() {
    let fake = registry();
    let replicas = [(); 2].map(|()| ready_daemon(&fake, &[]));
    let [one, other] = replicas
        .each_ref()
        .map(|daemon| accepting(daemon, "/index.yaml", "gzip"));
    assert_eq!(one.body, other.body);
    assert_eq!(etag(&one), etag(&other));

    fake.delete_tag("team/web", "1.0.0");
    let left: Vec<String> = (1..20).map(|number| format!("web 1.{number}.0")).collect();
    let mut left: Vec<&str> = left.iter().map(String::as_str).collect();
    left.sort();
    wait_for_charts(&replicas[0], &left);
    let headers = [("Accept-Encoding", "gzip"), ("If-None-Match", etag(&one))];
    let answer = replicas[0].request("GET", "/index.yaml", &headers);
    assert_eq!(answer.status, 200);
    assert_eq!(unpack(&answer), replicas[0].get("/index.yaml").body);
}

#[test]
fn an_index_that_fits_into_a_packet_is_not_compressed() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    let answer = accepting(&daemon, "/index.yaml", "gzip");
    assert_eq!(answer.header("Content-Encoding"), None);
    assert_eq!(
        answer.header("Vary"),
        Some("Accept-Encoding"),
        "it may grow"
    );
    assert!(Index::parse(&answer.body).0["entries"]["web"].is_array());
}

#[test]
fn index_json_is_always_json_and_says_what_index_yaml_says() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[]);
    let (yaml, json) = (daemon.get("/index.yaml"), daemon.get("/index.json"));
    assert_eq!(json.header("Content-Type"), Some("application/json"));
    assert!(yaml.body.starts_with(b"apiVersion: \"v1\"\n"));
    let parsed: Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(parsed, Index::parse(&yaml.body).0);
    assert_ne!(etag(&yaml), etag(&json));
}

#[test]
fn an_index_that_is_json_is_the_same_under_both_names() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &["--index-format=json"]);
    let (yaml, json) = (daemon.get("/index.yaml"), daemon.get("/index.json"));
    assert!(serde_json::from_slice::<Value>(&yaml.body).is_ok());
    assert_eq!(yaml.body, json.body);
    assert_eq!(etag(&yaml), etag(&json));
    assert_eq!(yaml.header("Content-Type"), Some("application/x-yaml"));
    assert_eq!(json.header("Content-Type"), Some("application/json"));
}

#[test]
fn every_helm_reads_an_index_in_json() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &["--index-format=json"]);
    for version in HELM_VERSIONS {
        let (helm, folder) = (Helm::new(version), Scratch::new("codings"));
        helm.run(&["repo", "add", "charts", &daemon.url()]);
        let found = helm.run(&[
            "search",
            "repo",
            "charts/web",
            "--versions",
            "--output",
            "json",
        ]);
        let found: Vec<Value> = serde_json::from_str(&found).expect("JSON");
        assert_eq!(found.len(), 20, "helm {version}");
        let destination = folder.path().display().to_string();
        helm.run(&[
            "pull",
            "charts/web",
            "--version",
            "1.7.0",
            "--destination",
            &destination,
        ]);
        assert!(folder.join("web-1.7.0.tgz").is_file(), "helm {version}");
    }
}

#[test]
fn an_index_beyond_what_rancher_reads_is_complained_about_once() {
    let fake = FakeRegistry::start();
    for number in 0..11 {
        let name = format!("c{number}");
        fake.push(&Chart::new(&name, "1.0.0").config(&json!({
            "apiVersion": "v2", "name": name, "version": "1.0.0", "description": "x".repeat(500_000),
        })));
    }
    let daemon = ready_daemon(&fake, &[]);
    daemon.wait_for_complaint(&["Rancher", "5 MiB"]);
    // Further walks, of which one finds something new, say nothing of it.
    fake.push(&Chart::new("new", "1.0.0"));
    refresh_until_logged(&daemon, "snapshot: 12 charts", 1);
    fake.delete_repository("c0");
    fake.delete_repository("c1");
    refresh_until_logged(&daemon, "Rancher reads it again", 1);
    assert_eq!(
        daemon.log().matches("Rancher").count(),
        2,
        "{}",
        daemon.log()
    );
    assert!(!daemon.log().contains("Flux"));
}
