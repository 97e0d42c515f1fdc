//! The small endpoints that ChartMuseum's and Harbor's users, browsers and Artifact Hub ask for, and what
//! holds for each endpoint: HEAD, the request's id, and other origins.

use std::fs;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, media};
use crate::support::http::Answer;
use crate::support::process::{DEADLINE, Scratch, run, text, wait_until};
use crate::support::story::{EACH_TIME, LONG_WAIT, ready_daemon};

const ONCE: &str = "--max-stale=1h";
/// A time, and one before it.
const LATE: &str = "2026-02-01T00:00:00Z";
const EARLY: &str = "2026-01-01T00:00:00Z";
const CREATED: &str = "org.opencontainers.image.created";
const HUB_TAG: &str = "artifacthub.io";
const HUB_LAYER: &str = "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml";

fn registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    let full = json!({"apiVersion": "v2", "name": "web", "version": "1.10.0", "icon": "https://i/x.png",
        "home": "https://h", "deprecated": true,
        "dependencies": [{"name": "db", "version": "1", "repository": ""}]});
    fake.push(&Chart::new("team/a/web", "1.9.0").annotation(CREATED, EARLY));
    fake.push(
        &Chart::new("team/a/web", "1.10.0")
            .config(&full)
            .annotation(CREATED, LATE)
            .signed("signed"),
    );
    fake.push(&Chart::new("team/b/web", "1.10.0").archive("another"));
    fake.push(&Chart::new("team/b/db", "2.0.0-rc.1"));
    fake.push(&Chart::new("lib/api", "1.0.0"));
    fake
}

fn told(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn json_at(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body_text());
    told(&answer)
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[test]
fn health_and_info_are_told_as_chartmuseum_tells_them() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE, "--context-path=/helm"]);
    for path in ["/health", "/helm/health"] {
        assert_eq!(json_at(&daemon, path), json!({"healthy": true}), "{path}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(json_at(&daemon, "/helm/info"), json!({"version": version}));
    assert_eq!(daemon.get("/info").status, 404);
}

#[test]
fn charts_below_a_prefix_are_told_as_its_index_lists_them() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    for prefix in ["team", "team/a", "team/b/web", "lib"] {
        let index = json_at(&daemon, &format!("/{prefix}/index.json"));
        let charts = format!("/api/{prefix}/charts");
        assert_eq!(json_at(&daemon, &charts), index["entries"], "{prefix}");
        for (name, versions) in index["entries"].as_object().expect("entries") {
            assert_eq!(&json_at(&daemon, &format!("{charts}/{name}")), versions);
            for entry in versions.as_array().expect("versions") {
                let version = entry["version"].as_str().expect("a version");
                let path = format!("{charts}/{name}/{version}");
                assert_eq!(&json_at(&daemon, &path), entry, "{path}");
            }
        }
    }
    let latest = json_at(&daemon, "/api/team/a/charts/web/latest");
    assert_eq!(latest["version"], "1.10.0");
    for (path, error) in [
        ("/api/team/a/charts/db", "chart not found"),
        ("/api/lib/charts/db/1.0.0", "no chart name found"),
        (
            "/api/team/b/charts/db/latest",
            "no chart version found for db-latest",
        ),
        (
            "/api/nowhere/charts",
            "no repository below this path holds a chart",
        ),
    ] {
        let answer = daemon.get(path);
        assert_eq!(
            (answer.status, told(&answer)),
            (404, json!({ "error": error })),
            "{path}"
        );
    }
    let refused = daemon.request("POST", "/api/team/a/charts", &[]);
    assert_eq!(
        (refused.status, refused.header("Allow")),
        (405, Some("GET, HEAD"))
    );
}

#[test]
fn a_part_of_the_charts_is_told_by_number_as_chartmuseum_does() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    let names = |path: &str| {
        let charts = json_at(&daemon, path);
        keys(&charts).join(" ")
    };
    for (query, expected) in [
        ("", "api db web"),
        ("?x=y", "api db web"),
        ("?offset=0&limit=1", "api"),
        ("?limit=2", "api db"),
        ("?offset=1", "db web"),
        ("?offset=2&limit=9", "web"),
        ("?offset=3", ""),
        ("?limit=18446744073709551615&offset=1", "db web"),
    ] {
        assert_eq!(names(&format!("/api/charts{query}")), expected, "{query}");
    }
    assert_eq!(names("/api/team/charts?offset=1&limit=1"), "web");
    let versions = json_at(&daemon, "/api/charts?offset=2")["web"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(2), "all of a chart");
    for (query, error) in [
        ("offset=-1", "offset is not a valid non-negative integer"),
        ("offset=", "offset is not a valid non-negative integer"),
        ("offset", "offset is not a valid non-negative integer"),
        ("offset=1&limit=0", "limit is not a valid positive integer"),
        ("limit=x", "limit is not a valid positive integer"),
        (
            "limit=99999999999999999999",
            "limit is not a valid positive integer",
        ),
    ] {
        let answer = daemon.get(&format!("/api/charts?{query}"));
        let expected = (400, json!({ "error": error }));
        assert_eq!((answer.status, told(&answer)), expected, "{query}");
    }
    // Helm copies the query of the repository's URL onto everything.
    assert_eq!(daemon.get("/api/charts/web?limit=x").status, 200);
}

#[test]
fn a_project_is_told_as_harbor_told_it_before_its_charts_were_artifacts() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let charts = "/api/chartrepo/team/charts";
    assert_eq!(
        json_at(&daemon, charts),
        json!([
            {"name": "db", "total_versions": 1, "latest_version": "2.0.0-rc.1", "icon": "", "home": "",
                "deprecated": false},
            {"name": "web", "total_versions": 2, "latest_version": "1.10.0", "created": EARLY,
                "updated": LATE, "icon": "https://i/x.png", "home": "https://h", "deprecated": true},
        ])
    );
    let index = json_at(&daemon, "/team/index.json");
    let mut versions = index["entries"]["web"].clone();
    for version in versions.as_array_mut().expect("versions") {
        version["labels"] = json!([]);
    }
    assert_eq!(json_at(&daemon, &format!("{charts}/web")), versions);
    let newest = &index["entries"]["web"][0];
    assert_eq!(
        json_at(&daemon, &format!("{charts}/web/1.10.0")),
        json!({
            "metadata": newest,
            "dependencies": newest["dependencies"],
            "security": {"signature": {"signed": true, "prov_file": "charts/web-1.10.0.tgz.prov"}},
            "labels": [],
        })
    );
    let unsigned = json_at(&daemon, &format!("{charts}/db/2.0.0-rc.1"));
    assert_eq!(unsigned["dependencies"], json!([]));
    let signature = json!({"signed": false, "prov_file": ""});
    assert_eq!(unsigned["security"]["signature"], signature);
    assert_eq!(daemon.get("/api/chartrepo/nowhere/charts").status, 404);
    // Where the archives of those relative URLs are.
    for path in [
        "index.yaml",
        "charts/web-1.10.0.tgz",
        "charts/web-1.10.0.tgz.prov",
    ] {
        assert_eq!(daemon.get(&format!("/chartrepo/team/{path}")).status, 200);
    }

    // Charts at the very path are told in the same shape, and in place of the project's.
    fake.push(&Chart::new("chartrepo/team/own", "1.0.0"));
    let own = json_at(&daemon, charts);
    assert_eq!((&own[0]["name"], &own[1]), (&json!("own"), &Value::Null));
}

/// Pushes `artifacthub-repo.yml` under Artifact Hub's tag, and returns its digest.
fn describe(fake: &FakeRegistry, repository: &str, file: &[u8]) -> String {
    let config = "application/vnd.cncf.artifacthub.config.v1+yaml";
    let config = fake.push_blob(repository, config, b"").json();
    let layer = fake.push_blob(repository, HUB_LAYER, file).json();
    let digest = layer["digest"].as_str().expect("a digest").to_owned();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = manifest.to_string();
    fake.push_manifest(
        repository,
        HUB_TAG,
        media::OCI_MANIFEST,
        manifest.as_bytes(),
    );
    digest
}

#[test]
fn artifact_hubs_file_is_what_is_pushed_under_its_tag_and_costs_nothing_until_it_is_asked_for() {
    let fake = registry();
    describe(&fake, "team/a/web", b"repositoryID: a\n");
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let asked = || fake.count(&format!("* /v2/*/manifests/{HUB_TAG}"));
    assert_eq!(asked(), 0, "{}", fake.seen());
    let file = |prefix: &str| {
        let answer = daemon.get(&format!("{prefix}/artifacthub-repo.yml"));
        (answer.status, answer.body_text())
    };
    let found = || (200, "repositoryID: a\n".to_owned());
    for prefix in ["", "/team", "/team/a", "/team/a/web", "/chartrepo/team"] {
        assert_eq!(file(prefix), found(), "{prefix}");
    }
    assert_eq!(asked(), 1, "{}", fake.seen());
    for prefix in ["/team/b", "/lib", "/nowhere"] {
        assert_eq!(file(prefix).0, 404, "{prefix}");
    }
    let answer = daemon.get("/artifacthub-repo.yml");
    assert_eq!(answer.header("Content-Type"), Some("application/x-yaml"));
    let etag = answer.header("ETag").expect("an ETag");
    let known = [("If-None-Match", etag)];
    let known = daemon.request("GET", "/artifacthub-repo.yml", &known);
    assert_eq!(known.status, 304);

    // Two below a prefix don't speak for each other; each does for itself, and for the prefix of its name.
    describe(&fake, "team/b/web", b"repositoryID: b\n");
    fake.push(&Chart::new("team", "1.0.0"));
    daemon.get("/index.yaml");
    let ambiguous = || (file("/team").0 == 404).then_some(());
    wait_until(DEADLINE, || "two repositories".to_owned(), ambiguous);
    assert_eq!(file("/team/a"), found());
    assert_eq!(file("/team/b").1, "repositoryID: b\n");
    describe(&fake, "team", b"repositoryID: c\n");
    daemon.get("/index.yaml");
    let own = || (file("/team").1 == "repositoryID: c\n").then_some(());
    wait_until(DEADLINE, || "the repository of that name".to_owned(), own);
    assert_eq!(file("").0, 404);
}

#[test]
fn a_pushed_file_for_artifact_hub_that_is_too_large_damaged_or_something_else_is_not_served() {
    let fake = registry();
    let large = vec![b'#'; 64 * 1024 + 1];
    describe(&fake, "team/a/web", &large);
    let digest = describe(&fake, "team/b/web", b"repositoryID: b\n");
    fake.push_image("lib/api", HUB_TAG);
    fake.spoil(&format!("GET /v2/team/b/web/blobs/{digest}"))
        .with(Fault::Body(b"repositoryID: x\n".to_vec()));
    let daemon = ready_daemon(&fake, &[ONCE]);
    for (prefix, status, why) in [
        ("team/a", 404, "over 65536 bytes"),
        ("team/b/web", 502, "blob team/b/web@sha256:"),
        ("lib", 404, "no layer is of Artifact Hub's type"),
    ] {
        let answer = daemon.get(&format!("/{prefix}/artifacthub-repo.yml"));
        assert_eq!(answer.status, status, "{prefix}: {}", answer.body_text());
        daemon.wait_for_complaint(&[why]);
    }
}

#[test]
fn the_operators_file_for_artifact_hub_wins_and_is_read_again() {
    let fake = registry();
    describe(&fake, "team/a/web", b"repositoryID: a\n");
    let scratch = Scratch::new("hub");
    let path = scratch.file("repo.yml", "repositoryID: own\n");
    let flag = format!("--artifacthub-repo-file={}", path.display());
    let daemon = ready_daemon(&fake, &[ONCE, &flag]);
    for prefix in ["", "/team/a", "/lib"] {
        let answer = daemon.get(&format!("{prefix}/artifacthub-repo.yml"));
        assert_eq!(answer.body_text(), "repositoryID: own\n", "{prefix}");
    }
    assert_eq!(daemon.get("/nowhere/artifacthub-repo.yml").status, 404);
    fs::write(&path, "repositoryID: another\n").expect("it is written");
    let answer = daemon.get("/artifacthub-repo.yml");
    assert_eq!(answer.body_text(), "repositoryID: another\n");

    let large = scratch.file("large", vec![b'#'; 64 * 1024 + 1]);
    for (path, why) in [
        (scratch.join("none").display().to_string(), "No such file"),
        (large.display().to_string(), "over 65536 bytes"),
    ] {
        let flag = format!("--artifacthub-repo-file={path}");
        let output = run(program().as_ref(), &[&flag], &[]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("--artifacthub-repo-file") && told.contains(why),
            "{told}"
        );
    }
}

#[test]
fn a_browser_shows_responses_to_pages_of_the_origin_that_is_allowed() {
    let fake = registry();
    let page = [("Origin", "https://ui.example")];
    let asked = [page[0], ("Access-Control-Request-Method", "GET")];
    let silent = ready_daemon(&fake, &[ONCE]);
    assert_eq!(silent.request("OPTIONS", "/index.yaml", &asked).status, 405);
    let answer = silent.request("GET", "/index.yaml", &page);
    let names = answer.headers.iter().map(|(name, _)| name);
    assert!(!names.clone().any(|name| name.starts_with("Access-Control")));

    for origin in ["*", "https://ui.example"] {
        let flag = format!("--cors-allow-origin={origin}");
        let daemon = ready_daemon(&fake, &[ONCE, &flag]);
        for (method, path, status) in [
            ("GET", "/index.yaml", 200),
            ("HEAD", "/index.yaml", 200),
            ("GET", "/charts/web-1.10.0.tgz", 200),
            ("GET", "/api/charts?limit=x", 400),
            ("GET", "/nothing", 404),
            ("POST", "/api/charts", 405),
        ] {
            let answer = daemon.request(method, path, &page);
            assert_eq!(answer.status, status, "{path}");
            let allowed = answer.header("Access-Control-Allow-Origin");
            assert_eq!(allowed, Some(origin), "{method} {path}");
            let exposed = answer.header("Access-Control-Expose-Headers");
            assert!(
                exposed.is_some_and(|names| names.contains("ETag")),
                "{path}"
            );
            // It is the same for each client.
            let vary = answer.header("Vary").unwrap_or_default();
            assert!(!vary.contains("Origin"), "{path}: {vary}");
        }
        let preflight = daemon.request("OPTIONS", "/api/charts", &asked);
        assert_eq!((preflight.status, preflight.body.len()), (204, 0));
        assert_eq!(preflight.header("Content-Length"), None);
        for (name, value) in [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Methods", "GET, HEAD"),
        ] {
            assert_eq!(preflight.header(name), Some(value), "{name}");
        }
        for probe in ["/livez", "/readyz", "/metrics", "/health"] {
            let answer = daemon.request("GET", probe, &page);
            assert_eq!(
                answer.header("Access-Control-Allow-Origin"),
                None,
                "{probe}"
            );
            assert_eq!(
                daemon.request("OPTIONS", probe, &asked).status,
                405,
                "{probe}"
            );
        }
        assert_eq!(daemon.request("OPTIONS", "/nothing", &asked).status, 404);
    }
}

#[test]
fn the_id_of_a_request_is_sent_back_if_it_is_a_valid_one() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    let etag = daemon.get("/index.yaml");
    let etag = etag.header("ETag").expect("an ETag");
    for (method, path) in [
        ("GET", "/index.yaml"),
        ("HEAD", "/charts/web-1.10.0.tgz"),
        ("GET", "/charts/web-1.10.0.tgz"),
        ("GET", "/livez"),
        ("GET", "/nothing"),
        ("PUT", "/index.yaml"),
        ("GET", "/%zz"),
    ] {
        let id = "Root=1-67891233-abc";
        let headers = [("X-Request-Id", id), ("If-None-Match", etag)];
        let answer = daemon.request(method, path, &headers);
        assert_eq!(answer.header("X-Request-Id"), Some(id), "{method} {path}");
    }
    let long = "a".repeat(129);
    for invalid in ["a b", "<script>", "a,b", "", "\u{e4}", &long] {
        let answer = daemon.request("GET", "/index.yaml", &[("X-Request-Id", invalid)]);
        let told = (answer.status, answer.header("X-Request-Id"));
        assert_eq!(told, (200, None), "{invalid}");
    }
    assert_eq!(daemon.get("/index.yaml").header("X-Request-Id"), None);
}

#[test]
fn head_is_answered_as_get_is_but_without_a_body() {
    let fake = registry();
    describe(&fake, "team/a/web", b"repositoryID: a\n");
    let daemon = ready_daemon(&fake, &[ONCE]);
    for (path, status) in [
        ("/", 200),
        ("/team/a", 200),
        ("/team/a/", 200),
        ("/index.yaml", 200),
        ("/index.json", 200),
        ("/team/index.yaml", 200),
        ("/chartrepo/team/index.json", 200),
        ("/charts/web-1.10.0.tgz", 200),
        ("/charts/web-1.10.0.tgz.prov", 200),
        ("/team/b/charts/web-1.10.0.tgz", 200),
        ("/charts/web-9.9.9.tgz", 404),
        ("/api/charts", 200),
        ("/api/charts?limit=1", 200),
        ("/api/charts?limit=x", 400),
        ("/api/charts/web", 200),
        ("/api/charts/nothing", 404),
        ("/api/charts/web/1.10.0", 200),
        ("/api/charts/web/9.9.9", 404),
        ("/api/team/a/charts", 200),
        ("/api/team/a/charts/web", 200),
        ("/api/chartrepo/team/charts/web/1.10.0", 200),
        ("/api/skipped", 200),
        ("/api/skipped?limit=1", 200),
        ("/artifacthub-repo.yml", 200),
        ("/lib/artifacthub-repo.yml", 404),
        ("/health", 200),
        ("/info", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("//index.yaml", 308),
        ("/nothing", 404),
        ("/%zz", 400),
    ] {
        let (get, head) = (daemon.get(path), daemon.head(path));
        // What changes from one response to the next.
        let varies: &[&str] = match path {
            "/metrics" => &["Date", "Content-Length"],
            _ => &["Date"],
        };
        let fixed = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| !varies.contains(&&**name));
            (answer.status, headers)
        };
        assert_eq!(get.status, status, "{path}");
        assert_eq!(fixed(&head), fixed(&get), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(get.header("Content-Length"), Some(&*length), "{path}");
        assert!(head.header("Content-Length").is_some(), "{path}");
        assert_eq!(head.body.len(), 0, "{path}");
        let etag = [("If-None-Match", get.header("ETag").unwrap_or("\"none\""))];
        let known = ["GET", "HEAD"].map(|method| daemon.request(method, path, &etag));
        assert_eq!(fixed(&known[0]), fixed(&known[1]), "{path}");
    }
}
