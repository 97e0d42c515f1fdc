//! The walk: what is a chart is listed, what is none is skipped with its reason, and a chart is
//! what its manifest and config say, never what its path or tag says (contracts C1 and C7).

use serde_json::{Value, json};

use crate::support::fake_registry::{Chart, FakeRegistry, media};
use crate::support::story::{Index, assert_skipped, ready_daemon, skip_reason};

fn push_json(fake: &FakeRegistry, repository: &str, tag: &str, media_type: &str, body: &Value) {
    fake.push_manifest(repository, tag, media_type, body.to_string().as_bytes());
}

#[test]
fn charts_are_listed_and_everything_beside_them_is_skipped_with_its_reason() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("team/web", "1.1.0+build.5"));
    fake.push_image("team/web", "2.0.0");
    fake.push_image("images/app", "3.1.4");
    let signed = fake.push(&Chart::new("team/db", "0.2.0"));
    let signature = format!("{}.sig", signed.manifest.replace(':', "-"));
    fake.push_image("team/db", &signature);
    let images = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [] });
    push_json(&fake, "images/app", "multi", media::OCI_INDEX, &images);
    let list = json!({ "schemaVersion": 2, "mediaType": media::DOCKER_LIST, "manifests": [] });
    push_json(&fake, "images/app", "list", media::DOCKER_LIST, &list);
    let docker_config = fake
        .push_blob("images/app", media::DOCKER_CONFIG, b"{}")
        .json();
    let docker = json!({
        "schemaVersion": 2, "mediaType": media::DOCKER_MANIFEST, "config": docker_config, "layers": [],
    });
    push_json(
        &fake,
        "images/app",
        "docker",
        media::DOCKER_MANIFEST,
        &docker,
    );
    let ancient =
        json!({ "schemaVersion": 1, "name": "images/app", "fsLayers": [], "history": [] });
    push_json(
        &fake,
        "images/app",
        "ancient",
        media::DOCKER_SCHEMA1,
        &ancient,
    );
    let empty = fake.push_blob("misc/sbom", media::OCI_EMPTY, b"{}").json();
    let artifact = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/spdx+json",
        "config": empty, "layers": [empty],
    });
    push_json(&fake, "misc/sbom", "1.0.0", media::OCI_MANIFEST, &artifact);

    let daemon = ready_daemon(&fake, &["--all-tags"]);

    let charts = ["db 0.2.0", "web 1.0.0", "web 1.1.0+build.5"];
    assert_eq!(Index::of(&daemon).charts(), charts);
    assert_skipped(
        &daemon,
        &[
            ("team/web:2.0.0", media::OCI_CONFIG),
            ("images/app:3.1.4", media::OCI_CONFIG),
            (&format!("team/db:{signature}"), ""),
            ("images/app:multi", "index"),
            ("images/app:list", "index"),
            ("images/app:docker", media::DOCKER_CONFIG),
            ("images/app:ancient", "schema"),
            ("misc/sbom:1.0.0", media::OCI_EMPTY),
        ],
    );
    let summary = daemon.wait_for_log(" INFO snapshot: ");
    assert!(
        summary.contains("2 charts, 3 versions, 8 skipped"),
        "{summary}"
    );
}

#[test]
fn layers_may_be_legacy_swapped_or_beside_others_and_the_right_ones_are_taken() {
    let fake = FakeRegistry::start();
    let legacy = fake.push(&Chart::new("legacy", "1.0.0").legacy());
    let swapped = fake.push(
        &Chart::new("swapped", "1.0.0")
            .signed("a signature")
            .provenance_first(),
    );
    let many = Chart::new("many", "1.0.0")
        .signed("another")
        .layer("text/plain", b"a readme");
    let many = fake.push(&many);
    let image = Chart::new("wrapped", "1.0.0").layer(media::OCI_LAYER, b"an image layer");
    let wrapped = fake.push(&image);

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    for pushed in [&legacy, &swapped, &many, &wrapped] {
        let name = &pushed.repository;
        assert_eq!(index.entry(name, "1.0.0")["digest"], pushed.hex(), "{name}");
        let answer = daemon.get(&format!("/charts/{name}-1.0.0.tgz"));
        assert_eq!(answer.body_text(), format!("archive of {name} 1.0.0"));
    }
    let provenance = |name| daemon.get(&format!("/charts/{name}-1.0.0.tgz.prov"));
    assert_eq!(provenance("swapped").body_text(), "a signature");
    assert_eq!(provenance("many").body_text(), "another");
    assert_eq!(provenance("legacy").status, 404);
}

#[test]
fn several_tags_of_one_chart_version_are_one_entry() {
    let fake = FakeRegistry::start();
    let chart = Chart::new("web", "1.0.0+b");
    for tag in ["latest", "1.0.0_b", "1", "stable"] {
        fake.push(&chart.clone().tag(tag));
    }

    let daemon = ready_daemon(&fake, &["--all-tags"]);

    let index = Index::of(&daemon);
    assert_eq!(index.charts(), ["web 1.0.0+b"]);
    assert_eq!(
        index.entry("web", "1.0.0+b")["urls"],
        json!(["charts/web-1.0.0+b.tgz"])
    );
    let summary = daemon.wait_for_log(" INFO snapshot: ");
    assert!(summary.contains("1 chart, 1 version,"), "{summary}");
}

#[test]
fn with_any_name_name_and_version_are_the_config_blobs_whatever_path_and_tag_say() {
    let fake = FakeRegistry::start();
    let metadata = json!({ "name": "real", "version": "3.2.1", "apiVersion": "v2" });
    fake.push(
        &Chart::new("some/path", "1.0.0")
            .tag("9.9.9")
            .config(&metadata),
    );

    let daemon = ready_daemon(&fake, &["--any-name"]);

    let index = Index::of(&daemon);
    assert_eq!(index.charts(), ["real 3.2.1"]);
    assert_eq!(
        index.entry("real", "3.2.1")["urls"],
        json!(["charts/real-3.2.1.tgz"])
    );
    assert_eq!(daemon.get("/charts/real-3.2.1.tgz").status, 200);
    assert_eq!(daemon.get("/charts/path-9.9.9.tgz").status, 404);
}

#[test]
fn created_is_the_manifests_annotation_when_that_is_a_date_and_absent_otherwise() {
    const CREATED: &str = "org.opencontainers.image.created";
    let fake = FakeRegistry::start();
    let push = |version: &str, created: &str| {
        fake.push(&Chart::new("web", version).annotation(CREATED, created));
    };
    push("1.0.0", "2024-01-02T03:04:05Z");
    push("1.1.0", "2024-01-02T03:04:05.123456789+02:00");
    for (number, junk) in [
        "",
        "yesterday",
        "2024-01-02",
        "2024-01-02 03:04:05",
        "2024-02-30T00:00:00Z",
    ]
    .iter()
    .enumerate()
    {
        push(&format!("2.0.{number}"), junk);
    }
    fake.push(&Chart::new("web", "3.0.0"));

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    assert_eq!(
        index.entry("web", "1.0.0")["created"],
        "2024-01-02T03:04:05Z"
    );
    let precise = index.entry("web", "1.1.0")["created"]
        .as_str()
        .expect("a date");
    assert!(
        [
            "2024-01-02T03:04:05.123456789+02:00",
            "2024-01-02T01:04:05.123456789Z"
        ]
        .contains(&precise),
        "{precise}"
    );
    let dated = index.0["entries"]["web"].as_array().expect("a list");
    assert_eq!(dated.len(), 8);
    assert_eq!(
        dated
            .iter()
            .filter(|entry| entry.get("created").is_some())
            .count(),
        2
    );
    let generated = index.0["generated"].as_str().expect("the newest change");
    assert!(generated.starts_with("2024-01-02T03:04:05"), "{generated}");
}

#[test]
fn versions_are_sorted_newest_first_as_helm_sorts_them() {
    let fake = FakeRegistry::start();
    let newest_first = [
        "10.0.0",
        "2.0.0",
        "2.0.0-rc.10",
        "2.0.0-rc.9",
        "2.0.0-alpha",
        "v1.10.0",
        "1.9.0",
        "1.2",
        "0.9",
    ];
    for (at, version) in newest_first.iter().enumerate() {
        let place = if at % 2 == 0 { "one/web" } else { "two/web" };
        fake.push(&Chart::new(place, version));
    }

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    let listed = index.0["entries"]["web"].as_array().expect("a list");
    let listed: Vec<&str> = listed
        .iter()
        .map(|e| e["version"].as_str().expect("text"))
        .collect();
    assert_eq!(listed, newest_first);
}

/// The order of build numbers as text put `1.0.0+9` before `1.0.0+11`: issue 11, G24.
#[test]
fn versions_that_differ_in_build_metadata_alone_are_sorted_by_date_and_then_by_number() {
    const CREATED: &str = "org.opencontainers.image.created";
    let fake = FakeRegistry::start();
    for version in ["1.0.0+9", "1.0.0+11", "1.0.0+100.b", "1.0.0"] {
        fake.push(&Chart::new("web", version));
    }
    for (version, day) in [("1.0.0+7", "02"), ("1.0.0+8", "01")] {
        let created = format!("2024-01-{day}T00:00:00Z");
        fake.push(&Chart::new("web", version).annotation(CREATED, &created));
    }

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    let listed = index.0["entries"]["web"].as_array().expect("a list");
    let listed: Vec<&str> = listed
        .iter()
        .map(|e| e["version"].as_str().expect("text"))
        .collect();
    assert_eq!(
        listed,
        [
            "1.0.0+7",
            "1.0.0+8",
            "1.0.0+100.b",
            "1.0.0+11",
            "1.0.0+9",
            "1.0.0"
        ]
    );
}

#[test]
fn one_version_in_two_repositories_is_listed_once_from_the_shortest_name() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a/longer/web", "1.0.0").archive("the long one's"));
    let short = fake.push(&Chart::new("z/web", "1.0.0").archive("the short one's"));
    fake.push(&Chart::new("same/web", "2.0.0").archive("both"));
    fake.push(&Chart::new("equal/web", "2.0.0").archive("both"));

    let daemon = ready_daemon(&fake, &[]);

    let index = Index::of(&daemon);
    assert_eq!(index.charts(), ["web 1.0.0", "web 2.0.0"]);
    assert_eq!(index.entry("web", "1.0.0")["digest"], short.hex());
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "the short one's"
    );
    let reason = skip_reason(&daemon, "a/longer/web:1.0.0");
    assert!(
        reason.contains("shadowed") && reason.contains("z/web"),
        "{reason}"
    );
}
