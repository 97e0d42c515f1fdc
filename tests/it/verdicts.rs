//! Verdicts: a manifest or a config blob that is no chart's is skipped with its reason, and one
//! that merely has odd fields is made to fit (contracts C1 and C7).

use serde_json::{Value, json};

use crate::support::fake_registry::{Chart, Descriptor, FakeRegistry, Fault, media, sha256};
use crate::support::story::{
    EACH_TIME, Index, LONG_WAIT, assert_skipped, ready_daemon, refresh_until_logged,
};

fn push_json(fake: &FakeRegistry, repository: &str, tag: &str, media_type: &str, body: &Value) {
    fake.push_manifest(repository, tag, media_type, body.to_string().as_bytes());
}

/// A manifest with this config and these layers, in whatever state they are.
fn push_parts(fake: &FakeRegistry, reference: (&str, &str), config: &Value, layers: &[Value]) {
    let body = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    push_json(fake, reference.0, reference.1, media::OCI_MANIFEST, &body);
}

fn helm_config(fake: &FakeRegistry, repository: &str, version: &str) -> Value {
    let metadata = json!({ "name": "odd", "version": version, "apiVersion": "v2" });
    let bytes = metadata.to_string();
    fake.push_blob(repository, media::HELM_CONFIG, bytes.as_bytes())
        .json()
}

fn archive(fake: &FakeRegistry, repository: &str) -> Value {
    fake.push_blob(repository, media::HELM_CHART, b"an archive")
        .json()
}

#[test]
fn a_manifest_that_holds_no_whole_chart_is_skipped_and_the_next_tag_is_read() {
    let fake = FakeRegistry::start();
    let config = helm_config(&fake, "odd", "1.0.0");
    let good = archive(&fake, "odd");
    let manifest =
        |tag, config: &Value, layers: &[Value]| push_parts(&fake, ("odd", tag), config, layers);
    manifest("0.0.1", &config, &[]);
    let foreign = fake.push_blob("odd", media::OCI_LAYER, b"layer").json();
    manifest("0.0.2", &config, &[foreign]);
    let nothing = fake.push_blob("odd", media::HELM_CHART, b"").json();
    manifest("0.0.3", &config, &[nothing]);
    let climbing =
        json!({ "mediaType": media::HELM_CHART, "digest": "sha256:../../etc/passwd", "size": 9 });
    manifest("0.0.4", &config, &[climbing]);
    let negative = json!({ "mediaType": media::HELM_CHART, "digest": sha256(b"x"), "size": -1 });
    manifest("0.0.5", &config, &[negative]);
    manifest(
        "0.0.6",
        &never_pushed(b"{}").json(),
        std::slice::from_ref(&good),
    );
    push_json(
        &fake,
        "odd",
        "0.0.7",
        media::OCI_MANIFEST,
        &json!([config, good]),
    );
    push_json(
        &fake,
        "odd",
        "0.0.8",
        media::OCI_MANIFEST,
        &json!({ "schemaVersion": 2 }),
    );
    fake.push_manifest(
        "odd",
        "0.0.9",
        media::OCI_MANIFEST,
        b"<html>no manifest</html>",
    );
    fake.push_manifest("odd", "0.0.10", media::OCI_MANIFEST, b"");
    let huge = format!("{}{{}}", " ".repeat(5 << 20));
    fake.push_manifest("odd", "0.0.11", media::OCI_MANIFEST, huge.as_bytes());
    let both = json!({ "schemaVersion": 2, "config": config, "layers": [good], "manifests": [] });
    push_json(&fake, "odd", "0.0.12", media::OCI_MANIFEST, &both);
    manifest("1.0.0", &config, std::slice::from_ref(&good));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["odd 1.0.0"]);
    assert_skipped(
        &daemon,
        &[
            ("odd:0.0.1", "archive"),
            ("odd:0.0.2", "archive"),
            ("odd:0.0.3", "empty"),
            ("odd:0.0.4", "archive"),
            ("odd:0.0.5", "archive"),
            ("odd:0.0.6", "404"),
            ("odd:0.0.7", "manifest"),
            ("odd:0.0.8", "config"),
            ("odd:0.0.9", "manifest"),
            ("odd:0.0.10", "manifest"),
            ("odd:0.0.11", "4194304"),
            ("odd:0.0.12", "both"),
        ],
    );
}

fn never_pushed(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media::HELM_CONFIG.to_owned(),
        digest: sha256(bytes),
        size: bytes.len(),
    }
}

#[test]
fn a_config_blob_that_is_no_charts_metadata_is_skipped_and_says_why() {
    let fake = FakeRegistry::start();
    let mut expected = Vec::new();
    let whole = r#"{"name":"bad","version":"1.0.0","apiVersion":"v2"}"#;
    let refused: [(&[u8], &str); 19] = [
        (b"", "JSON"),
        (b"not json", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\"bad\"", "object"),
        (&whole.as_bytes()[..30], "JSON"),
        (b"{\"name\":\"bad\xff\",\"version\":\"1.0.0\"}", "JSON"),
        (b"{\"version\":\"1.0.0\"}", "name"),
        (b"{\"name\":\"\",\"version\":\"1.0.0\"}", "name"),
        (b"{\"name\":null,\"version\":\"1.0.0\"}", "name"),
        (b"{\"name\":\"bad\"}", "version"),
        (b"{\"name\":\"bad\",\"version\":[]}", "version"),
        (b"{\"name\":\"bad\",\"version\":\"latest\"}", "semver"),
        (b"{\"name\":\"a/b\",\"version\":\"1.0.0\"}", "a/b"),
        (b"{\"name\":\"../x\",\"version\":\"1.0.0\"}", "../x"),
        (b"{\"name\":\"..\",\"version\":\"1.0.0\"}", ".."),
        (b"{\"name\":\"a\\nb\",\"version\":\"1.0.0\"}", "name"),
        (b"{\"name\":\"bad\",\"version\":\"1.0.0\",\"type\":\"weird\"}", "weird"),
        (
            b"{\"name\":\"bad\",\"version\":\"1.0.0\",\"dependencies\":[{\"name\":\"d\",\"alias\":\"a b\"}]}",
            "alias",
        ),
    ];
    for (number, (config, word)) in refused.iter().enumerate() {
        let version = format!("0.0.{number}");
        fake.push(&Chart::new("bad", &version).config_bytes(*config));
        expected.push((format!("bad:{version}"), *word));
    }
    let huge = format!(
        "{{\"name\":\"bad\",\"version\":\"1.0.0\",\"home\":\"{}\"}}",
        "x".repeat(5 << 20)
    );
    fake.push(&Chart::new("bad", "0.1.0").config_bytes(huge));
    expected.push(("bad:0.1.0".to_owned(), "1048576"));
    let forged = fake.push(&Chart::new("bad", "0.2.0").config_bytes(whole));
    fake.spoil(&format!("GET {}", forged.config_path()))
        .with(Fault::Flip(9));
    expected.push(("bad:0.2.0".to_owned(), "hash"));
    let gone = fake.push(&Chart::new("bad", "0.3.0").config_bytes(format!("{whole} ")));
    fake.delete_blob("bad", &gone.config.digest);
    expected.push(("bad:0.3.0".to_owned(), "404"));
    fake.push(&Chart::new("good", "1.0.0"));
    fake.push(&Chart::new("bad", "1.0.0"));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["bad 1.0.0", "good 1.0.0"]);
    let expected: Vec<_> = expected.iter().map(|(r, w)| (&**r, *w)).collect();
    assert_skipped(&daemon, &expected);
}

#[test]
fn odd_fields_of_a_config_blob_are_made_to_fit_or_left_out() {
    let fake = FakeRegistry::start();
    let odd = json!({
        "name": "odd", "version": 1.5, "apiVersion": "v2", "appVersion": 1, "deprecated": "true",
        "home": null, "icon": ["no", "string"], "description": true, "kubeVersion": 1.28,
        "maintainers": [null, { "name": "a", "email": 7, "phone": "1" }, "b"],
        "dependencies": null, "keywords": ["k", null, 3], "sources": "not a list",
        "annotations": { "flag": true, "number": 1, "text": "t", "null": null, "list": [] },
        "urls": ["http://evil.example/odd.tgz"], "digest": "00", "created": "yesterday",
        "removed": true, "unknown": { "field": 1 }, "generated": "x", "engine": "gotpl",
    });
    let pushed = fake.push(&Chart::new("odd", "1.5").config(&odd));
    let nulls = json!({
        "name": "nulls", "version": "1.0.0", "apiVersion": null, "maintainers": null,
        "dependencies": [null], "annotations": null, "keywords": null, "type": null,
    });
    fake.push(&Chart::new("nulls", "1.0.0").config(&nulls));
    let doubled = br#"{"name":"doubled","version":"1.0.0","version":"2.0.0","apiVersion":"v2"}"#;
    fake.push(&Chart::new("doubled", "2.0.0").config_bytes(*doubled));

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    let expected = json!({
        "name": "odd", "version": "1.5", "apiVersion": "v2", "appVersion": "1", "deprecated": true,
        "description": "true", "kubeVersion": "1.28",
        "maintainers": [{ "name": "a", "email": "7" }], "keywords": ["k", "3"],
        "annotations": { "flag": "true", "number": "1", "text": "t" },
        "urls": ["charts/odd-1.5.tgz"], "digest": pushed.hex(),
    });
    assert_eq!(index.entry("odd", "1.5"), &expected);
    let nulls = index.entry("nulls", "1.0.0").as_object().expect("an entry");
    let fields: Vec<&str> = nulls.keys().map(String::as_str).collect();
    assert_eq!(fields, ["apiVersion", "digest", "name", "urls", "version"]);
    assert_eq!(nulls["apiVersion"], "v1");
    index.entry("doubled", "2.0.0");
}

#[test]
fn a_verdict_is_told_once_and_again_when_it_has_changed() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push_image("app", "1.0.0");
    fake.push_image("moves", "1.0.0");
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT, "--refresh-interval=1s"]);
    let times = |reference: &str| {
        daemon
            .log()
            .matches(&format!(" DEBUG skipped {reference}: "))
            .count()
    };
    fake.push(&Chart::new("moves", "1.0.0").config_bytes("{}"));
    refresh_until_logged(&daemon, " DEBUG skipped moves:1.0.0: ", 2);
    for version in ["1.1.0", "1.2.0"] {
        fake.push(&Chart::new("web", version));
        assert!(
            Index::of(&daemon)
                .charts()
                .contains(&format!("web {version}"))
        );
    }
    assert_eq!(times("app:1.0.0"), 1, "{}", daemon.log());
    assert_eq!(times("moves:1.0.0"), 2, "{}", daemon.log());
}
