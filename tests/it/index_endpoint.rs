//! The paths that clients and probes ask for: the index as YAML in which every string is quoted; the
//! page for people; the probes; `HEAD` everywhere, and refusals that say what to do.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::paper::Reader;
use crate::support::story::{Index, ready_daemon};

const PATHS: [&str; 7] = [
    "/",
    "/index.yaml",
    "/index.json",
    "/livez",
    "/readyz",
    "/charts/web-1.0.0.tgz",
    "/nowhere",
];

fn daemon() -> (FakeRegistry, Daemon) {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    (fake, daemon)
}

fn index_of_chart(metadata: &Value) -> String {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0").config(metadata));
    let daemon = ready_daemon(&fake, &["--any-name"]);
    let answer = daemon.get("/index.yaml");
    assert_eq!(answer.header("Content-Type"), Some("application/x-yaml"));
    let text = answer.body_text();
    let index = Index::parse(&answer.body);
    let (name, version) = (&metadata["name"], &metadata["version"]);
    let name = name.as_str().expect("a name");
    let entry = index.entry(name, version.as_str().expect("a version"));
    for (field, value) in metadata.as_object().expect("an object") {
        assert_eq!(&entry[field], value, "{field} of {text}");
    }
    text
}

#[test]
fn the_index_is_yaml_with_the_type_that_the_field_uses() {
    let (_fake, daemon) = daemon();
    let answer = daemon.get("/index.yaml");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/x-yaml"));
    assert_eq!(
        answer.header("Content-Length"),
        Some(&*answer.body.len().to_string())
    );
    assert_eq!(
        answer.header("Content-Encoding"),
        None,
        "Helm can't read what it never asked for"
    );
    let text = answer.body_text();
    assert!(text.starts_with("apiVersion: \"v1\"\n"), "{text}");
    assert!(text.ends_with('\n'));
}

#[test]
fn a_string_that_looks_like_another_type_is_a_string_to_every_yaml_reader() {
    let chart = |field: &str, value: Value| {
        let mut metadata = json!({ "name": "web", "version": "1.0.0", "apiVersion": "v2" });
        metadata[field] = value;
        index_of_chart(&metadata)
    };
    for trap in [
        "yes",
        "NO",
        "y",
        "1_000",
        "12:30",
        "190:20:30",
        "2021-01-01",
        "0b1_0",
        "1__0",
        "<<",
        "~",
    ] {
        let value = chart("description", json!(trap));
        let key = chart("annotations", json!({ (trap): "v" }));
        let item = chart("keywords", json!(["a", trap]));
        // What no repository may be named is no chart's name.
        let name = (!trap.contains([':', '<', '~'])).then(|| chart("name", json!(trap)));
        for text in [value, key, item].into_iter().chain(name) {
            assert!(text.starts_with("apiVersion: \"v1\"\n"), "{trap}: {text}");
            for reader in Reader::ALL {
                let read = reader.read(text.as_bytes());
                assert!(read.is_ok(), "{trap}: {reader:?}: {read:?} of {text}");
            }
        }
    }
}

#[test]
fn strings_of_every_sort_arrive_as_they_were_pushed() {
    let nasty =
        "tab\there, \"quotes\" 'and' #hash: {a} [b] & * ! | > % @ ` \u{e9}\u{1f600} \\ back ";
    let mut annotations =
        json!({ "text": nasty, " key: # ": "v", "": "empty key", "multi": "a\n\n b\n" });
    for c in [
        '\u{1}',
        '\u{7f}',
        '\u{85}',
        '\u{a0}',
        '\u{2028}',
        '\u{feff}',
        '\u{fffe}',
        '\u{10ffff}',
    ] {
        annotations[format!("key {c} end")] = json!(format!("value {c} end"));
    }
    let metadata = json!({
        "name": "web", "version": "1.0.0", "apiVersion": "v2",
        "description": nasty, "annotations": annotations,
    });
    index_of_chart(&metadata);
}

#[test]
fn a_query_on_the_index_is_tolerated() {
    let (_fake, daemon) = daemon();
    let plain = daemon.get("/index.yaml").body;
    for query in ["?", "?a=b", "?token=%2F..%2F&x", "??"] {
        let answer = daemon.get(&format!("/index.yaml{query}"));
        assert_eq!((answer.status, &answer.body), (200, &plain), "{query}");
    }
}

#[test]
fn the_front_page_tells_a_person_what_this_is_and_how_to_add_it() {
    let (_fake, daemon) = daemon();
    let answer = daemon.get("/");
    assert_eq!(answer.status, 200);
    let text = answer.body_text();
    assert!(text.contains("helm repo add"), "{text}");
    // The address that the person used, as the client sent it.
    let by_name = daemon.request("GET", "/", &[("X-Other", "1")]);
    assert!(
        by_name
            .body_text()
            .contains(&format!("127.0.0.1:{}", daemon.port())),
        "{text}"
    );
}

#[test]
fn a_host_header_cannot_smuggle_markup_into_the_front_page() {
    let (_fake, daemon) = daemon();
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    use std::io::{Read, Write};
    let request =
        b"GET / HTTP/1.1\r\nHost: x\"><script>alert(1)</script>\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("<script>"), "{text}");
}

#[test]
fn head_answers_as_get_does_without_a_body() {
    let (_fake, daemon) = daemon();
    for path in PATHS {
        let get = daemon.get(path);
        let head = daemon.head(path);
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in [
            "Content-Type",
            "Content-Length",
            "ETag",
            "Cache-Control",
            "Vary",
        ] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}

#[test]
fn any_other_method_is_refused_with_an_allow_header() {
    let (_fake, daemon) = daemon();
    for path in [
        "/",
        "/index.yaml",
        "/index.json",
        "/livez",
        "/charts/web-1.0.0.tgz",
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let answer = daemon.request(method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("Allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
}

#[test]
fn probes_answer_shortly_and_never_reach_the_registry() {
    let (fake, daemon) = daemon();
    let before = fake.requests("* *").len();
    for path in ["/livez", "/readyz"] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            (1..200).contains(&answer.body.len()),
            "{path}: {}",
            answer.body_text()
        );
    }
    assert_eq!(fake.requests("* *").len(), before);
}

#[test]
fn any_other_path_is_not_found() {
    let (_fake, daemon) = daemon();
    for path in [
        "/nowhere",
        "/index.yml",
        "/Index.yaml",
        "/charts",
        "/v2/",
        "/index.yaml/",
        "//index.yaml/x",
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.is_empty(), "{path} is told why");
    }
}

#[test]
fn several_requests_share_a_connection() {
    use std::io::{Read, Write};
    let (_fake, daemon) = daemon();
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    let two = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nHEAD /index.yaml HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(two.as_bytes()).expect("sent");
    stream.write_all(last.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .expect("answers, and then the end");
    let text = String::from_utf8_lossy(&bytes);
    let statuses: Vec<&str> = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &text[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "200", "404"], "{text}");
}
