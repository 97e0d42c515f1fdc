//! The fake registry, held beside Debian's docker-registry: the same content, the same questions,
//! the same answers. A story told with a lying fake proves nothing, so this one is told first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::docker_registry::{DockerRegistry, Options};
use crate::support::fake_registry::{
    Chart, FakeRegistry, Guard, Pushed, TokenField, media, sha256,
};
use crate::support::http::{self, Answer};

/// The headers that clients decide by.
const COMPARED: [&str; 6] = [
    "Content-Type",
    "Content-Length",
    "Docker-Content-Digest",
    "Etag",
    "Link",
    "Docker-Distribution-Api-Version",
];

const EVERY_TYPE: &str = "application/vnd.oci.image.manifest.v1+json, \
                          application/vnd.oci.image.index.v1+json;q=0.5, \
                          application/vnd.docker.distribution.manifest.v2+json, \
                          application/vnd.docker.distribution.manifest.list.v2+json";

#[test]
fn it_answers_every_reading_request_as_docker_registry_does() {
    let fake = FakeRegistry::start();
    let real = DockerRegistry::plain();
    let chart = fake.push(&Chart::new("team/web", "1.0.0+b").signed("signature"));
    let other = fake.push(&Chart::new("team/web", "1.1.0"));
    let third = fake.push(&Chart::new("alone", "0.1.0"));
    for pushed in [&chart, &other, &third] {
        copy(&fake, &real, pushed);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [] });
    let index = index.to_string();
    fake.push_manifest("alone", "index", media::OCI_INDEX, index.as_bytes());
    put_manifest(&real, "alone", "index", media::OCI_INDEX, index.as_bytes());
    let docker = docker_manifest(&third);
    fake.push_manifest("alone", "docker", media::DOCKER_MANIFEST, &docker);
    put_manifest(&real, "alone", "docker", media::DOCKER_MANIFEST, &docker);

    for (method, path, headers) in questions(&chart) {
        let expected = http::request(real.port(), method, &path, &headers).expect("an answer");
        let answer = http::request(fake.port(), method, &path, &headers).expect("an answer");
        let question = format!("{method} {path} {headers:?}");
        assert_eq!(told(&answer), told(&expected), "{question}");
        assert_eq!(body_of(&answer), body_of(&expected), "{question}");
    }
}

#[test]
fn it_refuses_strangers_as_docker_registry_does() {
    let fake = FakeRegistry::start();
    fake.guard(Guard::Basic);
    fake.add_user("reader", "pass:word");
    let real = DockerRegistry::start(Options {
        htpasswd: true,
        ..Options::default()
    });
    let wrong = [("Authorization", "Basic cmVhZGVyOndyb25n")];
    let digest = sha256(b"never pushed");
    for path in [
        "/v2/",
        "/v2/_catalog",
        "/v2/team/web/tags/list",
        "/v2/team/web/manifests/1.0.0",
        &format!("/v2/team/web/blobs/{digest}"),
    ] {
        for headers in [&[][..], &wrong] {
            let expected = http::request(real.port(), "GET", path, headers).expect("an answer");
            let answer = http::request(fake.port(), "GET", path, headers).expect("an answer");
            assert_eq!(expected.status, 401);
            assert_eq!(told(&answer), told(&expected), "{path}");
            assert_eq!(body_of(&answer), body_of(&expected), "{path}");
            let challenge = answer.header("Www-Authenticate").expect("a challenge");
            assert!(challenge.starts_with("Basic realm=\""), "{challenge}");
        }
    }
    let right = [("Authorization", "Basic cmVhZGVyOnBhc3M6d29yZA==")];
    let answer = http::request(fake.port(), "GET", "/v2/", &right).expect("an answer");
    assert_eq!(answer.status, 200);
}

#[test]
fn its_tokens_are_good_for_their_scope_until_they_expire() {
    let fake = FakeRegistry::start();
    fake.guard(Guard::Bearer);
    fake.add_user("reader", "pass:word");
    fake.tokens(|tokens| {
        tokens.expires_in = Some(60);
        tokens.field = TokenField::Both;
    });
    fake.push(&Chart::new("team/web", "1.0.0"));
    let get = |path: &str, authorization: &str| {
        let headers = [("Authorization", authorization)];
        let headers = if authorization.is_empty() {
            &[][..]
        } else {
            &headers
        };
        http::request(fake.port(), "GET", path, headers).expect("an answer")
    };
    let tags = "/v2/team/web/tags/list";
    let challenged = get(tags, "");
    assert_eq!(challenged.status, 401);
    let expected = format!(
        "Bearer realm=\"{}/token\",service=\"fake-registry\",scope=\"repository:team/web:pull\"",
        fake.url()
    );
    assert_eq!(challenged.header("Www-Authenticate"), Some(&*expected));

    let token_path = "/token?service=fake-registry&scope=repository%3Ateam%2Fweb%3Apull";
    assert_eq!(get(token_path, "").status, 401, "anonymous");
    let granted = get(token_path, "Basic cmVhZGVyOnBhc3M6d29yZA==");
    let granted: Value = serde_json::from_slice(&granted.body).expect("JSON");
    assert_eq!(granted["token"], granted["access_token"]);
    let bearer = format!("Bearer {}", granted["token"].as_str().expect("a token"));

    assert_eq!(get(tags, &bearer).status, 200);
    let catalog = get("/v2/_catalog", &bearer);
    assert_eq!(catalog.status, 401);
    let challenge = catalog.header("Www-Authenticate").expect("a challenge");
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    fake.advance(Duration::from_secs(61));
    assert_eq!(get(tags, &bearer).status, 401, "expired");
}

/// What a walker could ask, and a little more.
type Question = (&'static str, String, Vec<(&'static str, &'static str)>);

fn questions(chart: &Pushed) -> Vec<Question> {
    let accept = ("Accept", EVERY_TYPE);
    let image_only = ("Accept", media::OCI_MANIFEST);
    let mut questions = Vec::new();
    for path in [
        "/v2/",
        "/v2/_catalog",
        "/v2/_catalog?n=1",
        "/v2/_catalog?n=1&last=alone",
        "/v2/_catalog?n=1000&last=alone",
        "/v2/_catalog?last=zzz&n=5",
        "/v2/_catalog?n=1001",
        "/v2/_catalog?n=abc",
        "/v2/team/web/tags/list",
        "/v2/team/web/tags/list?n=1",
        "/v2/nowhere/tags/list",
        "/v2/team/web/blobs/sha256:00",
    ] {
        questions.push(("GET", path.to_owned(), vec![]));
    }
    let nothing = sha256(b"never pushed");
    for method in ["GET", "HEAD"] {
        for reference in [&*chart.tag, &*chart.manifest, "9.9.9", &*nothing] {
            let path = format!("/v2/team/web/manifests/{reference}");
            questions.push((method, path.clone(), vec![accept]));
            questions.push((method, path.clone(), vec![]));
            questions.push((method, path, vec![("Accept", "*/*")]));
        }
        for tag in ["0.1.0", "index", "docker"] {
            let path = format!("/v2/alone/manifests/{tag}");
            questions.push((method, path.clone(), vec![accept]));
            questions.push((method, path, vec![image_only]));
        }
        for digest in [&*chart.archive.digest, &*chart.config.digest, &*nothing] {
            questions.push((method, format!("/v2/team/web/blobs/{digest}"), vec![]));
        }
        questions.push((method, format!("/v2/nowhere/blobs/{nothing}"), vec![]));
        questions.push((method, "/v2/".to_owned(), vec![]));
    }
    for path in [chart.manifest_path(), chart.archive_path()] {
        let etag = match path.contains("blobs") {
            true => format!("\"{}\"", chart.archive.digest),
            false => format!("\"{}\"", chart.manifest),
        };
        let etag: &'static str = etag.leak();
        questions.push(("GET", path.clone(), vec![("If-None-Match", etag), accept]));
        questions.push(("GET", path, vec![("If-None-Match", "\"other\""), accept]));
    }
    questions
}

fn told(answer: &Answer) -> Vec<String> {
    let headers = COMPARED
        .iter()
        .map(|name| format!("{name}: {:?}", answer.header(name)));
    [format!("status {}", answer.status)]
        .into_iter()
        .chain(headers)
        .collect()
}

/// JSON as a value, tags in order: 2.8 lists them in none. Other bodies as they are.
fn body_of(answer: &Answer) -> Value {
    let mut body = match serde_json::from_slice(&answer.body) {
        Ok(value) => value,
        Err(_) => json!(answer.body_text()),
    };
    if let Some(tags) = body.get_mut("tags").and_then(Value::as_array_mut) {
        tags.sort_by_key(Value::to_string);
    }
    body
}

fn copy(fake: &FakeRegistry, real: &DockerRegistry, chart: &Pushed) {
    let get = |path: &str| {
        let accept = [("Accept", media::OCI_MANIFEST)];
        let answer = http::request(fake.port(), "GET", path, &accept).expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    };
    let name = &chart.repository;
    let blobs = [
        Some(&chart.config),
        Some(&chart.archive),
        chart.provenance.as_ref(),
    ];
    for descriptor in blobs.into_iter().flatten() {
        let bytes = get(&format!("/v2/{name}/blobs/{}", descriptor.digest));
        put_blob(real, name, &descriptor.digest, &bytes);
    }
    let manifest = get(&chart.manifest_path());
    put_manifest(real, name, &chart.tag, media::OCI_MANIFEST, &manifest);
}

fn put_blob(real: &DockerRegistry, name: &str, digest: &str, bytes: &[u8]) {
    let path = format!("/v2/{name}/blobs/uploads/");
    let started = http::send(real.port(), "POST", &path, &[], b"").expect("an answer");
    let place = started.header("Location").expect("where to put it");
    let place = place.split_once("/v2/").expect("an upload below /v2/").1;
    let path = format!("/v2/{place}&digest={digest}");
    let done = http::send(real.port(), "PUT", &path, &[], bytes).expect("an answer");
    assert_eq!(done.status, 201, "{}", done.body_text());
}

fn put_manifest(real: &DockerRegistry, name: &str, tag: &str, media_type: &str, bytes: &[u8]) {
    let path = format!("/v2/{name}/manifests/{tag}");
    let headers = [("Content-Type", media_type)];
    let done = http::send(real.port(), "PUT", &path, &headers, bytes).expect("an answer");
    assert_eq!(done.status, 201, "{}", done.body_text());
}

fn docker_manifest(chart: &Pushed) -> Vec<u8> {
    let mut config = chart.config.json();
    config["mediaType"] = json!(media::DOCKER_CONFIG);
    let mut layer = chart.archive.json();
    layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::DOCKER_MANIFEST,
        "config": config,
        "layers": [layer],
    });
    manifest.to_string().into()
}
