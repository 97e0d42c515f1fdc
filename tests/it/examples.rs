//! The files of deploy/examples, each held against the program that reads it, or its schema. What no
//! schema here knows (Rancher's own kind) is only read, and its address compared.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::certificates::Certificates;
use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::{Helm, argument};
use crate::support::kubernetes::{assert_valid, documents};
use crate::support::nginx::Nginx;
use crate::support::process::{Scratch, run, run_ok, text};
use crate::support::story::Index;
use crate::support::tools::{NEWEST_HELM, tool};

fn example(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    examples.join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(example(name)).expect("an example")
}

#[test]
fn the_kubernetes_examples_are_valid_and_name_the_service_of_the_deployment() {
    for file in fs::read_dir(example("kubernetes")).expect("a folder") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("an example");
        let objects = documents(&text);
        assert!(!objects.is_empty(), "{}", path.display());
        assert_valid(&objects);
        let service = [
            "http://oci-chart-registry.charts:8080",
            "name: oci-chart-registry",
        ];
        assert!(service.iter().any(|name| text.contains(name)), "{text}");
    }
}

/// The locations of an example's server, with the daemon's address and files of the test's own.
fn locations(name: &str, daemon: &Daemon, files: &Path) -> String {
    let text = text_of(name);
    let start = text.find("    location").expect("a location");
    let end = text.rfind('}').expect("a server");
    text[start..end]
        .replace("http://127.0.0.1:8080", &daemon.url())
        .replace("/etc/nginx/", &format!("{}/", files.display()))
}

#[test]
fn nginx_takes_the_examples_and_lets_each_team_read_its_own_charts() {
    let scratch = Scratch::new("nginx-example");
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team-a/web", "1.0.0"));
    fake.push(&Chart::new("team-b/db", "1.0.0"));
    for who in ["team-a", "team-b", "all"] {
        scratch.file(
            &format!("{who}.htpasswd"),
            format!("{who}:{{PLAIN}}secret\n"),
        );
    }
    let daemon = Daemon::start_ready(&[&fake.flag(), "--trust-forwarded"]);
    let fields = text_of("nginx/stripping.conf");
    let fields = fields
        .lines()
        .filter(|line| line.contains("proxy_set_header"));
    let fields = fields.collect::<Vec<_>>().join("\n");
    let blocks = locations("nginx/stripping.conf", &daemon, scratch.path());
    let blocks = format!("{fields}\n{blocks}");
    let nginx = Nginx::with_tls(&certificates, &blocks);
    let helm = Helm::new(NEWEST_HELM);
    let add = |name: &str, path: &str, user: &str, is_allowed: bool| {
        let url = format!("https://{}{path}", nginx.host());
        let place = ["repo", "add", name, &url, "--ca-file", argument(&authority)];
        let with = ["--username", user, "--password", "secret"];
        let words = [&place[..], &with].concat();
        match is_allowed {
            true => helm.run(&words),
            false => helm.fails(&words),
        }
    };
    let refused = add("b", "/helm/team-b", "team-a", false);
    assert!(refused.contains("401"), "{refused}");
    add("a", "/helm/team-a", "team-a", true);
    add("all", "/helm", "all", true);
    let found = helm.run(&["search", "repo"]);
    for (chart, is_found) in [
        ("a/web", true),
        ("a/db", false),
        ("all/web", true),
        ("all/db", true),
    ] {
        assert_eq!(found.contains(chart), is_found, "{chart} in {found}");
    }
    helm.run(&["pull", "a/web", "-d", argument(&helm.directory("pulled"))]);

    let daemon = Daemon::start_ready(&[&fake.flag(), "--context-path=/helm"]);
    let blocks = locations("nginx/not-stripping.conf", &daemon, scratch.path());
    let nginx = Nginx::with_tls(&certificates, &blocks);
    let url = format!("https://{}/helm", nginx.host());
    helm.run(&[
        "repo",
        "add",
        "left",
        &url,
        "--ca-file",
        argument(&authority),
    ]);
    helm.run(&["pull", "left/db", "-d", argument(&helm.directory("left"))]);
}

#[test]
fn nginx_finds_no_mistake_in_the_whole_files() {
    let scratch = Scratch::new("nginx-whole");
    let certificates = Certificates::new();
    for name in ["nginx/stripping.conf", "nginx/not-stripping.conf"] {
        let text = text_of(name)
            .replace(
                "/etc/nginx/tls/tls.crt",
                argument(&certificates.certificate()),
            )
            .replace("/etc/nginx/tls/tls.key", argument(&certificates.key()));
        let part = scratch.file("part.conf", text);
        let place = scratch.path().display();
        let whole = scratch.file(
            "whole.conf",
            format!(
                "pid {place}/pid; error_log stderr; events {{}} http {{ access_log off;\n\
                 client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
                 uwsgi_temp_path {place}/d; scgi_temp_path {place}/e; include {}; }}\n",
                part.display()
            ),
        );
        run_ok(
            &tool("nginx/nginx"),
            &["-t", "-e", "stderr", "-c", argument(&whole)],
            &[],
        );
    }
}

#[test]
fn systemd_finds_no_mistake_in_the_units() {
    let scratch = Scratch::new("units");
    let names = [
        "oci-chartrepo.service",
        "oci-chartrepo-mirror.service",
        "oci-chartrepo-mirror.timer",
    ];
    let units = names.map(|name| {
        let text = text_of(&format!("systemd/{name}"));
        // It has to be there to be started.
        scratch.file(
            name,
            text.replace("/usr/local/bin/oci-chartrepo", program()),
        )
    });
    let mut words = vec!["verify", "--man=no"];
    words.extend(units.iter().map(|path| argument(path)));
    let output = run(Path::new("systemd-analyze"), &words, &[]);
    let told = text(&output.stderr);
    assert!(
        output.status.success() && !told.contains("oci-chartrepo"),
        "{told}"
    );
}

#[test]
fn the_compose_file_starts_the_program_with_flags_that_it_has() {
    let compose = &documents(&text_of("compose/compose.yaml"))[0];
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("charts/web", "1.0.0"));
    let scratch = Scratch::new("compose");
    let words = compose["services"]["charts"]["command"]
        .as_array()
        .expect("a list");
    let words: Vec<String> = words
        .iter()
        .map(|word| word.as_str().expect("a flag"))
        .map(|word| word.replace("registry:5000", &fake.host()))
        .map(|word| {
            word.replace(
                "=/mirror",
                &format!("={}", argument(&scratch.join("mirror"))),
            )
        })
        .collect();
    assert!(
        words.len() > 2 && words[0].contains(&fake.host()),
        "{words:?}"
    );
    fs::create_dir(scratch.join("mirror")).expect("mkdir");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let daemon = Daemon::start_ready(&words);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

#[test]
fn the_renovate_example_is_json_that_names_a_repository() {
    let renovate: Value = serde_json::from_str(&text_of("renovate.json")).expect("JSON");
    let rule = &renovate["packageRules"][0];
    assert_eq!(rule["matchDatasources"][0], "helm");
    assert_eq!(rule["registryUrls"][0], "https://charts.example.com/helm");
}
