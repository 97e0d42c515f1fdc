//! The log for programs: with `--log-format=json` each line is an object whatever registries and clients
//! say, and with `--log-requests` each request leaves one line that holds no secret of its URL.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply, media};
use crate::support::http;
use crate::support::process::{DEADLINE, run, text, wait_until};
use crate::support::story::ready_daemon;

const JSON: &str = "--log-format=json";
const REQUESTS: &str = "--log-requests";
const ONCE: &str = "--max-stale=1h";

/// The lines of a JSON log so far.
fn events(daemon: &Daemon) -> Vec<Value> {
    let log = daemon.log();
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
    log.lines().map(parsed).collect()
}

/// The first event that is `wanted`, past or to come.
fn event(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> Value {
    let lacking = || format!("the event in:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        events(daemon).into_iter().find(&wanted)
    })
}

/// What a client sends that is no HTTP, or hardly.
fn raw(daemon: &Daemon, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).expect("a connection");
    stream.write_all(bytes).expect("it is sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", text(&answer));
}

/// A registry whose texts try to end a line, to forge one, and to turn a terminal.
fn hostile() -> FakeRegistry {
    let fake = FakeRegistry::start();
    let nasty = "\"}\n{\"level\":\"error\"} \u{202e}\u{1b}[31m\\ \u{e0041}\u{0}";
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("team/lost", "1.0.0"));
    fake.push(&Chart::new("team/bad", "1.0.0").config(&json!({"name": nasty, "version": nasty})));
    let manifest = json!({"schemaVersion": 2, "layers": [], "config": {
        "mediaType": nasty, "digest": format!("sha256:{:064}", 0), "size": 2}});
    let manifest = manifest.to_string();
    fake.push_manifest("image", "1.0.0", media::OCI_MANIFEST, manifest.as_bytes());
    let tags = json!({"name": "odd", "tags": [nasty, "1.0.0"]}).to_string();
    fake.push_image("odd", "1.0.0");
    fake.spoil("GET /v2/odd/tags/list*")
        .with(Fault::Body(tags.into()));
    fake.spoil("GET /v2/team/lost/manifests/*")
        .with(Fault::Answer(Reply::error(403, nasty, nasty)));
    fake
}

#[test]
fn each_line_of_a_hostile_session_is_a_json_object_with_the_values_that_it_tells() {
    let fake = hostile();
    let flags = [JSON, REQUESTS, ONCE, "--log-level=trace"];
    let mut daemon = ready_daemon(&fake, &flags);
    for path in ["/index.yaml", "/%0a%22", "/charts/web-1.0.0.tgz", "/x\"y\\"] {
        daemon.get(path);
    }
    let agent = ("User-Agent", "\"}\u{202e}\t{\\\u{e0041}");
    daemon.request("GET", "/index.yaml", &[agent]);
    raw(&daemon, b"\x16\x03\x01\xff\xfe\"\r\n\r\n");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));

    let events = events(&daemon);
    assert!(events.len() > 30, "{}", daemon.log());
    for event in &events {
        let time = event["time"].as_str().expect("a time");
        assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
        assert_eq!(time.len(), "2026-11-29T11:05:00.000Z".len(), "{time}");
        let levels = ["error", "warn", "info", "debug", "trace"];
        let level = event["level"].as_str().expect("a level");
        assert!(levels.contains(&level), "{event}");
        assert!(event["message"].is_string(), "{event}");
    }
    let log = daemon.log();
    let is_obeyed = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{e0041}".contains(c));
    assert!(!log.contains(is_obeyed), "{log:?}");

    let having = |fields: Value| {
        let fields = fields.as_object().expect("fields").clone();
        let has = |event: &&Value| fields.iter().all(|(key, value)| event[key] == *value);
        let found = events.iter().find(has);
        found.unwrap_or_else(|| panic!("no {fields:?} in\n{log}"))
    };
    having(json!({"level": "debug", "repository": "team/bad", "tag": "1.0.0"}));
    let snapshot = having(json!({"level": "info", "charts": 1, "versions": 1, "skipped": 5}));
    assert!(snapshot["duration"].is_f64() && snapshot["requests"].is_u64());
    let asked = having(json!({"operation": "manifest", "status": 403}));
    assert!(asked["duration"].is_f64(), "{asked}");
    having(json!({"peer": "127.0.0.1", "method": "GET", "path": "/%0a%22", "status": 400}));
    having(json!({"user_agent": "\"}\u{202e}\t{\\\u{e0041}", "status": 200}));
}

#[test]
fn the_reason_for_which_it_does_not_start_is_plain_text_in_either_format() {
    let taken = FakeRegistry::start();
    let port = format!("--port={}", taken.port());
    let storage = taken.flag();
    let output = run(
        program().as_ref(),
        &[JSON, &port, "--listen-host=127.0.0.1", &storage],
        &[],
    );
    let told = text(&output.stderr);
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("oci-chartrepo: can't listen on"), "{told}");
    let others = told.lines().filter(|line| *line != last);
    others.for_each(|line| drop(serde_json::from_str::<Value>(line).expect("an object")));
}

#[test]
fn a_request_leaves_a_line_with_its_outcome_and_probes_leave_none() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0").archive("an archive"));
    let daemon = ready_daemon(&fake, &[JSON, REQUESTS, ONCE]);
    for probe in ["/livez", "/readyz", "/metrics", "/health", "/livez?x"] {
        daemon.get(probe);
        daemon.head(probe);
    }
    let helm = ("User-Agent", "Helm/4.3.1");
    let id = ("X-Request-Id", "7f-1");
    daemon.request("GET", "/charts/web-1.0.0.tgz?token=s3cr3t", &[helm, id]);
    daemon.head("/charts/web-1.0.0.tgz");
    daemon.get(&format!("/{}", "x".repeat(5000)));
    let absolute = "http://user:s3cr3t@h/nothing?s3cr3t";
    daemon.request("PUT", absolute, &[("User-Agent", &"u".repeat(5000))]);
    daemon.request("CONNECT", "user:s3cr3t@h:443", &[]);
    raw(&daemon, b"G@T /s3cr3t HTTP/1.1\r\n\r\n");

    let is_last = |event: &Value| event["status"] == 400;
    event(&daemon, is_last);
    let mut logged = events(&daemon);
    logged.retain(|event| event["peer"].is_string());
    assert!(!daemon.log().contains("s3cr3t"), "{}", daemon.log());
    for event in &mut logged {
        assert_eq!(event["level"], "info");
        assert_eq!(event["peer"], "127.0.0.1");
        assert!(event["duration"].is_f64(), "{event}");
        let fields = event.as_object_mut().expect("an object");
        for gone in ["level", "peer", "duration", "time", "message"] {
            fields.remove(gone);
        }
    }
    let long = format!("/{}", "x".repeat(299));
    let missing = daemon.get("/nothing").body.len();
    let refused = daemon.request("PUT", "/nothing", &[]).body.len();
    let unreadable = "not an HTTP request\n".len();
    assert_eq!(
        logged,
        [
            json!({"method": "GET", "path": "/charts/web-1.0.0.tgz", "status": 200, "bytes": 10,
                "user_agent": "Helm/4.3.1", "request_id": "7f-1"}),
            json!({"method": "HEAD", "path": "/charts/web-1.0.0.tgz", "status": 200, "bytes": 0}),
            json!({"method": "GET", "path": long, "status": 404, "bytes": missing}),
            json!({"method": "PUT", "path": "/nothing", "status": 404, "bytes": refused,
                "user_agent": "u".repeat(100)}),
            json!({"method": "CONNECT", "path": "-", "status": 404, "bytes": missing}),
            json!({"status": 400, "bytes": unreadable}),
        ]
    );
}

#[test]
fn requests_are_logged_as_sentences_too_and_only_if_that_is_wanted() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[REQUESTS, ONCE]);
    let headers = [("User-Agent", "Helm/4.3.1"), ("X-Request-Id", "7f-1")];
    daemon.request("GET", "/nothing?x", &headers);
    let line = daemon.wait_for_log("/nothing");
    let (start, end) = line.split_once(" bytes in ").expect("bytes");
    assert!(
        start.contains("Z INFO 127.0.0.1 GET /nothing: 404, "),
        "{line}"
    );
    assert!(end.ends_with("s, agent Helm/4.3.1, id 7f-1"), "{line}");

    let silent = ready_daemon(&fake, &[ONCE]);
    silent.get("/nothing");
    http::request(silent.port(), "BREW", "/nothing", &[]).expect("an answer");
    assert!(!silent.log().contains("/nothing"), "{}", silent.log());
}
