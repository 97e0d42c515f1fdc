//! The same charts behind every kind of door: plain, password, TLS; and a registry that comes
//! late or goes away. Whatever the door, the index is the same to the byte.

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::docker_registry::{DockerRegistry, Options, PASSWORD, USER};
use crate::support::helm::argument;
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::wiretap::{TLS_HANDSHAKE, Wiretap};
use crate::support::zoo::{Part, zoo};

#[test]
fn a_plain_registry_is_found_to_speak_http() {
    let (registry, tap) = tapped(Options::default());
    let daemon = Daemon::start_ready(&["--storage-registry-repo", &behind(&tap)]);
    assert_serves_the_zoo(&daemon);
    assert!(
        tap.first_bytes().contains(&TLS_HANDSHAKE),
        "HTTPS is tried first"
    );
    drop(registry);
}

#[test]
fn a_registry_with_htpasswd_is_read_with_the_given_credentials() {
    let registry = DockerRegistry::start(Options {
        htpasswd: true,
        ..on_zoo_storage()
    });
    let scratch = Scratch::new("credentials");
    let pair = json!({"username": USER, "password": PASSWORD});
    let encoded = json!({"auth": BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))});
    for credential in [pair, encoded] {
        let auths = json!({"auths": {registry.host(): credential}});
        let config = scratch.file("dockerconfigjson", auths.to_string());
        let daemon = Daemon::start_ready(&[
            "--storage-registry-repo",
            &below(&registry),
            "--storage-registry-scheme=HTTP",
            "--storage-registry-config",
            argument(&config),
        ]);
        assert_serves_the_zoo(&daemon);
        assert_no_secret_in(&daemon.log());
    }
}

#[test]
fn wrong_credentials_are_told_in_the_log_without_a_secret() {
    let registry = DockerRegistry::start(Options {
        htpasswd: true,
        ..on_zoo_storage()
    });
    let scratch = Scratch::new("credentials");
    let wrong =
        json!({"auths": {registry.host(): {"username": USER, "password": "not-the-password"}}});
    let config = scratch.file("dockerconfigjson", wrong.to_string());
    let storage = below(&registry);
    let arguments = [
        "--storage-registry-repo",
        &storage,
        "--storage-registry-config",
        argument(&config),
    ];
    let daemon = Daemon::start(&arguments);
    daemon.wait_for_complaint(&[": 401 ", &registry.host()]);
    assert_not_ready(&daemon);
    assert_no_secret_in(&daemon.log());
    assert!(
        !daemon.log().contains("not-the-password"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_registry_that_wants_credentials_and_gets_none_is_told_in_the_log() {
    let registry = DockerRegistry::start(Options {
        htpasswd: true,
        ..on_zoo_storage()
    });
    let daemon = Daemon::start(&["--storage-registry-repo", &below(&registry)]);
    daemon.wait_for_complaint(&[": 401 ", &registry.host()]);
    assert_not_ready(&daemon);
}

#[test]
fn a_tls_registry_is_read_with_its_authority_and_over_tls_alone() {
    let certificates = Certificates::new();
    let (registry, tap) = tapped(Options {
        tls: Some(&certificates),
        ..Options::default()
    });
    let authority = certificates.authority();
    for scheme in ["", "HTTPS", "https"] {
        let daemon = Daemon::start_ready(&[
            "--storage-registry-repo",
            &behind(&tap),
            &format!("--storage-registry-scheme={scheme}"),
            &format!("--storage-registry-ca-file={}", argument(&authority)),
        ]);
        assert_serves_the_zoo(&daemon);
    }
    assert_all_tls(&tap);
    drop(registry);
}

#[test]
fn a_tls_registry_with_a_password_is_read_with_both() {
    let certificates = Certificates::new();
    let registry = DockerRegistry::start(Options {
        htpasswd: true,
        tls: Some(&certificates),
        ..on_zoo_storage()
    });
    let scratch = Scratch::new("credentials");
    let auths = json!({"auths": {registry.host(): {"username": USER, "password": PASSWORD}}});
    let config = scratch.file("dockerconfigjson", auths.to_string());
    let daemon = Daemon::start_ready(&[
        "--storage-registry-repo",
        &format!("https://{}", below(&registry)),
        "--storage-registry-config",
        argument(&config),
        "--storage-registry-ca-file",
        argument(&certificates.authority()),
    ]);
    assert_serves_the_zoo(&daemon);
    assert_no_secret_in(&daemon.log());
}

#[test]
fn any_certificate_is_accepted_on_demand_and_the_log_says_so() {
    let certificates = Certificates::new();
    let (registry, tap) = tapped(Options {
        tls: Some(&certificates),
        ..Options::default()
    });
    let insecure = "--storage-registry-insecure-skip-tls-verify";
    let daemon = Daemon::start_ready(&["--storage-registry-repo", &behind(&tap), insecure]);
    assert_serves_the_zoo(&daemon);
    daemon.wait_for_complaint(&["--storage-registry-insecure-skip-tls-verify"]);
    assert_all_tls(&tap);
    drop(registry);
}

#[test]
fn an_unknown_authority_is_refused_with_the_flags_that_help_and_never_by_plain_http() {
    let certificates = Certificates::new();
    let (registry, tap) = tapped(Options {
        tls: Some(&certificates),
        ..Options::default()
    });
    let daemon = Daemon::start(&["--storage-registry-repo", &behind(&tap)]);
    let line = daemon.wait_for_log("certificate");
    assert!(line.contains("--storage-registry-ca-file"), "{line}");
    assert!(
        line.contains("--storage-registry-insecure-skip-tls-verify"),
        "{line}"
    );
    // Retried, and no more trusting the second time.
    let lacking = || format!("another try; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        (tap.first_bytes().len() > 1).then_some(())
    });
    assert_not_ready(&daemon);
    assert_all_tls(&tap);
    drop(registry);
}

#[test]
fn a_plain_registry_said_to_speak_https_is_not_spoken_to_in_the_clear() {
    let (registry, tap) = tapped(Options::default());
    let daemon = Daemon::start(&[
        "--storage-registry-repo",
        &behind(&tap),
        "--storage-registry-scheme=HTTPS",
    ]);
    let lacking = || format!("two tries; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        (tap.first_bytes().len() > 1).then_some(())
    });
    assert_not_ready(&daemon);
    assert_all_tls(&tap);
    let sentence = format!(
        "GET https://{}/v2/_catalog: the port does not speak TLS; is it --storage-registry-scheme=HTTP?",
        tap.host()
    );
    let told = daemon.wait_for_log(" ERROR first scan failed");
    assert!(told.contains(&sentence), "{sentence} in {told}");
    drop(registry);
}

#[test]
fn a_tls_registry_said_to_speak_http_is_told_by_the_flag_that_helps() {
    let certificates = Certificates::new();
    let (registry, tap) = tapped(Options {
        tls: Some(&certificates),
        ..Options::default()
    });
    let daemon = Daemon::start(&[
        "--storage-registry-repo",
        &behind(&tap),
        "--storage-registry-scheme=HTTP",
    ]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    assert!(told.contains("/v2/_catalog: 400"), "{told}");
    let lead = "takes no requests over plain HTTP";
    assert!(told.contains(lead), "{told}");
    let advice = "; if the registry speaks TLS, write https:// in --storage-registry-repo";
    assert!(
        told.contains(advice) && !told.contains("--repository"),
        "{told}"
    );
    drop(registry);
}

#[test]
fn a_registry_that_starts_late_is_found() {
    let mut registry = DockerRegistry::start(on_zoo_storage());
    let (port, storage) = (registry.port(), below(&registry));
    registry.stop();
    let mut daemon = Daemon::start(&["--storage-registry-repo", &storage]);
    daemon.wait_for_complaint(&["refused", &registry.host()]);
    assert_not_ready(&daemon);
    let _late = DockerRegistry::start(Options {
        port,
        ..on_zoo_storage()
    });
    daemon.wait_ready();
    assert_serves_the_zoo(&daemon);
    assert!(daemon.is_running());
}

#[test]
fn when_the_registry_goes_away_the_last_good_index_is_served() {
    let mut registry = DockerRegistry::start(on_zoo_storage());
    let mut daemon = Daemon::start_ready(&["--storage-registry-repo", &below(&registry)]);
    let good = daemon.get("/index.yaml");
    assert_eq!(good.status, 200);
    registry.stop();
    let lacking = || format!("a refresh that fails; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        assert_same_answer(&daemon, &good.body);
        let told = |line: &str| line.contains(" WARN ") && line.contains("refused");
        daemon.log().lines().any(told).then_some(())
    });
    assert_same_answer(&daemon, &good.body);
    assert_eq!(
        daemon.get("/readyz").status,
        200,
        "what it serves is still good"
    );
    assert_eq!(daemon.get("/livez").status, 200);
    let archive = daemon.get("/charts/bare-1.0.0.tgz");
    assert!(
        matches!(archive.status, 502 | 504),
        "an archive: {}",
        archive.status
    );
    assert!(daemon.is_running());
}

/// The plain part of the zoo, below this registry's own door.
fn part() -> &'static Part {
    &zoo().plain
}

fn below(registry: &DockerRegistry) -> String {
    part().storage(registry)
}

fn behind(tap: &Wiretap) -> String {
    format!("{}/{}", tap.host(), part().prefix)
}

/// A second registry on what the zoo's registry holds.
fn on_zoo_storage() -> Options<'static> {
    Options {
        storage: Some(zoo().registry.storage()),
        ..Options::default()
    }
}

fn tapped<'a>(options: Options<'a>) -> (DockerRegistry, Wiretap) {
    let registry = DockerRegistry::start(Options {
        storage: Some(zoo().registry.storage()),
        ..options
    });
    let tap = Wiretap::on(registry.port());
    (registry, tap)
}

/// The index is byte for byte what the zoo's own registry gives, an archive too.
fn assert_serves_the_zoo(daemon: &Daemon) {
    static EXPECTED: OnceLock<Vec<u8>> = OnceLock::new();
    let expected = EXPECTED.get_or_init(|| {
        let direct = Daemon::start_ready(&["--storage-registry-repo", &below(&zoo().registry)]);
        direct.get("/index.yaml").body
    });
    assert_same_answer(daemon, expected);
    let specimen = part()
        .specimens
        .iter()
        .find(|one| one.name() == "everything")
        .expect("in the zoo");
    let archive = daemon.get(&format!("/charts/{}", specimen.archive_name()));
    assert_eq!(archive.status, 200, "{}", archive.body_text());
    assert!(archive.body == part().archive(specimen), "another archive");
}

fn assert_same_answer(daemon: &Daemon, index: &[u8]) {
    let answer = daemon.get("/index.yaml");
    assert_eq!(answer.status, 200, "{}", answer.body_text());
    assert!(
        answer.body == index,
        "another index:\n{}",
        answer.body_text()
    );
}

fn assert_not_ready(daemon: &Daemon) {
    assert_eq!(daemon.get("/readyz").status, 503, "{}", daemon.log());
    assert_eq!(daemon.get("/livez").status, 200);
    let index = daemon.get("/index.yaml");
    assert_eq!(index.status, 503);
    assert!(index.header("Retry-After").is_some(), "{:?}", index.headers);
}

fn assert_all_tls(tap: &Wiretap) {
    let first_bytes = tap.first_bytes();
    assert!(!first_bytes.is_empty());
    assert!(
        first_bytes.iter().all(|byte| *byte == TLS_HANDSHAKE),
        "{first_bytes:?}"
    );
}

fn assert_no_secret_in(log: &str) {
    let encoded = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &encoded] {
        assert!(!log.contains(secret), "{log}");
    }
}
