//! A tag may name an image index, in which an image and its chart stand side by side: the one chart
//! in it is listed (contract C7). Whatever plainly is an image costs no request.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Pushed, Reply, media, sha256};
use crate::support::layout::{Layout, named};
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::story::{Index, assert_skipped, ready_daemon, skip_reason, wait_for_charts};

/// The only repository of most of these stories.
const HOME: &str = "team/web";

/// A chart that only an index leads to, and its descriptor.
fn chart(fake: &FakeRegistry, chart: &Chart) -> (Pushed, Value) {
    let pushed = fake.push(&chart.clone().tag("of-an-index"));
    fake.delete_tag(&pushed.repository, "of-an-index");
    let listed = manifest(&pushed.manifest);
    (pushed, listed)
}

fn manifest(digest: &str) -> Value {
    json!({ "mediaType": media::OCI_MANIFEST, "digest": digest, "size": 400 })
}

/// A descriptor of what was never pushed: a request for it would be answered by 404.
fn absent(number: usize) -> Value {
    manifest(&sha256(number.to_string().as_bytes()))
}

fn with(mut descriptor: Value, field: &str, value: Value) -> Value {
    descriptor[field] = value;
    descriptor
}

fn declared(descriptor: Value) -> Value {
    with(descriptor, "artifactType", json!(media::HELM_CONFIG))
}

/// An image, or what BuildKit attests of one, which isn't to be asked for.
fn image(number: usize, os: &str, architecture: &str) -> Value {
    with(
        absent(number),
        "platform",
        json!({ "os": os, "architecture": architecture }),
    )
}

fn push_index(fake: &FakeRegistry, tag: &str, media_type: &str, manifests: &[Value]) -> String {
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    fake.push_manifest(HOME, tag, media_type, index.to_string().as_bytes())
}

fn assert_serves(daemon: &Daemon, pushed: &Pushed, version: &str) {
    assert_eq!(
        Index::of(daemon).entry("web", version)["digest"],
        pushed.hex()
    );
    let answer = daemon.get(&format!("/charts/web-{version}.tgz"));
    assert_eq!(answer.body_text(), format!("archive of {HOME} {version}"));
}

#[test]
fn a_chart_beside_images_in_an_index_is_listed_and_the_images_are_not_read() {
    let fake = FakeRegistry::start();
    let (one, listed) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    let images = [
        image(1, "linux", "amd64"),
        image(2, "linux", "arm64"),
        image(3, "unknown", "unknown"),
    ];
    let beside = [&images[..], &[declared(listed)]].concat();
    push_index(&fake, "1.0.0", media::OCI_INDEX, &beside);
    // Docker's list knows no artifact type, and wants a platform: buildx leaves half of it empty.
    let (two, listed) = chart(&fake, &Chart::new(HOME, "2.0.0"));
    let listed = with(
        listed,
        "platform",
        json!({ "os": "linux", "architecture": "" }),
    );
    push_index(
        &fake,
        "2.0.0",
        media::DOCKER_LIST,
        &[&[listed], &images[..]].concat(),
    );
    // A declared chart is one whatever it's said to run on.
    let (three, listed) = chart(&fake, &Chart::new(HOME, "3.0.0"));
    let listed = declared(with(
        listed,
        "platform",
        json!({ "os": "linux", "architecture": "amd64" }),
    ));
    push_index(&fake, "3.0.0", media::OCI_INDEX, &[listed.clone(), listed]);

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0", "web 2.0.0", "web 3.0.0"],
        "{}",
        daemon.log()
    );
    assert_serves(&daemon, &one, "1.0.0");
    assert_serves(&daemon, &two, "2.0.0");
    assert_serves(&daemon, &three, "3.0.0");
    assert_eq!(
        fake.count("GET /v2/*/manifests/*"),
        6,
        "each index and each chart once:\n{}",
        fake.seen()
    );
}

#[test]
fn an_index_of_several_charts_or_of_none_is_skipped_with_its_reason() {
    let fake = FakeRegistry::start();
    let (_, one) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    let (_, two) = chart(&fake, &Chart::new(HOME, "2.0.0"));
    push_index(
        &fake,
        "both",
        media::OCI_INDEX,
        &[declared(one.clone()), two],
    );
    push_index(&fake, "empty", media::OCI_INDEX, &[]);
    push_index(
        &fake,
        "image",
        media::OCI_INDEX,
        &[image(1, "linux", "amd64"), image(2, "linux", "arm64")],
    );
    let nested = with(one.clone(), "mediaType", json!(media::OCI_INDEX));
    push_index(&fake, "nested", media::OCI_INDEX, &[nested]);
    let plain = fake.push_image(HOME, "plain");
    push_index(&fake, "a-plain-one", media::OCI_INDEX, &[manifest(&plain)]);
    let inner = push_index(&fake, "inner", media::OCI_INDEX, &[]);
    push_index(&fake, "an-index", media::OCI_INDEX, &[manifest(&inner)]);
    let broken = json!({
        "config": { "mediaType": media::HELM_CONFIG, "digest": sha256(b"{}"), "size": 2 }, "layers": [],
    });
    let broken = fake.push_manifest(
        HOME,
        "broken",
        media::OCI_MANIFEST,
        broken.to_string().as_bytes(),
    );
    push_index(
        &fake,
        "a-broken-one",
        media::OCI_INDEX,
        &[declared(manifest(&broken))],
    );
    let many: Vec<Value> = (10..43).map(absent).collect();
    push_index(
        &fake,
        "many",
        media::OCI_INDEX,
        &[&many[..], &[declared(one)]].concat(),
    );
    fake.push(&Chart::new("other", "1.0.0"));

    let daemon = ready_daemon(&fake, &["--all-tags"]);

    assert_eq!(Index::of(&daemon).charts(), ["other 1.0.0"]);
    let home = |tag: &str| format!("{HOME}:{tag}");
    assert_skipped(
        &daemon,
        &[
            (&home("both"), "an image index that lists 2 charts, not one"),
            (&home("empty"), "an image index that lists no chart"),
            (&home("image"), "an image index that lists no chart"),
            (&home("nested"), "an image index that lists no chart"),
            (&home("plain"), media::OCI_CONFIG),
            (&home("a-plain-one"), "an image index that lists no chart"),
            (&home("inner"), "an image index that lists no chart"),
            (&home("an-index"), "an image index that lists no chart"),
            (&home("broken"), "no layer is a chart archive"),
            (&home("a-broken-one"), "no layer is a chart archive"),
            (
                &home("many"),
                "an image index of over 32 manifests that may be charts",
            ),
        ],
    );
    let read = fake.count("GET /v2/team/web/manifests/sha256:*");
    assert_eq!(
        read,
        5,
        "the two charts, and what may be one:\n{}",
        fake.seen()
    );
}

#[test]
fn a_listed_manifest_counts_only_if_its_bytes_are_the_digests() {
    let fake = FakeRegistry::start();
    let (_, listed) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    let other = fake.push(&Chart::new("other", "6.6.6"));
    push_index(
        &fake,
        "1.0.0",
        media::OCI_INDEX,
        &[declared(listed.clone())],
    );
    let forged = json!({
        "config": other.config.json(), "layers": [other.archive.json()],
    });
    let place = format!(
        "GET /v2/{HOME}/manifests/{}",
        listed["digest"].as_str().expect("a digest")
    );
    fake.spoil(&place)
        .with(Fault::Body(forged.to_string().into()));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["other 6.6.6"]);
    let reason = skip_reason(&daemon, "team/web:1.0.0");
    assert!(reason.contains("other bytes than the digest's"), "{reason}");
}

#[test]
fn a_chart_is_listed_although_the_index_lists_what_was_not_copied_with_it() {
    let fake = FakeRegistry::start();
    let (_, listed) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    push_index(
        &fake,
        "1.0.0",
        media::OCI_INDEX,
        &[absent(1), declared(listed), absent(2)],
    );
    push_index(&fake, "2.0.0", media::OCI_INDEX, &[absent(3)]);

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let reason = skip_reason(&daemon, "team/web:2.0.0");
    assert!(reason.contains("404 MANIFEST_UNKNOWN"), "{reason}");
}

#[test]
fn a_listed_manifest_that_is_refused_leaves_the_index_undecided() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("other", "1.0.0"));
    let (_, listed) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    let (_, refused) = chart(&fake, &Chart::new(HOME, "2.0.0"));
    let place = format!(
        "GET /v2/{HOME}/manifests/{}",
        refused["digest"].as_str().expect("a digest")
    );
    push_index(&fake, "1.0.0", media::OCI_INDEX, &[listed, refused]);
    fake.spoil(&place).with(Fault::Answer(Reply::error(
        403,
        "DENIED",
        "blocked by policy",
    )));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["other 1.0.0"],
        "there may be two of them"
    );
    let reason = skip_reason(&daemon, "team/web:1.0.0");
    assert!(reason.contains("403 DENIED"), "{reason}");
}

#[test]
fn an_index_is_asked_for_its_digest_and_read_again_only_when_it_has_moved() {
    let fake = FakeRegistry::start();
    let (_, one) = chart(&fake, &Chart::new(HOME, "1.0.0"));
    let (_, two) = chart(&fake, &Chart::new(HOME, "2.0.0"));
    push_index(
        &fake,
        "stable",
        media::OCI_INDEX,
        &[one.clone(), image(1, "linux", "amd64")],
    );
    push_index(&fake, "both", media::OCI_INDEX, &[one, two.clone()]);
    let daemon = ready_daemon(&fake, &["--refresh-interval=1s", "--all-tags"]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let reads = fake.count("GET /v2/*/manifests/*");
    let lacking = || format!("heads in:\n{}", fake.seen());
    wait_until(DEADLINE, lacking, || {
        (fake.count("HEAD /v2/*/manifests/*") >= 4).then_some(())
    });
    assert_eq!(
        fake.count("GET /v2/*/manifests/*"),
        reads,
        "{}",
        fake.seen()
    );
    push_index(
        &fake,
        "stable",
        media::OCI_INDEX,
        &[two, image(1, "linux", "amd64")],
    );
    wait_for_charts(&daemon, &["web 2.0.0"]);
    assert_eq!(
        fake.count("GET /v2/*/manifests/*"),
        reads + 2,
        "{}",
        fake.seen()
    );
}

#[test]
fn a_chart_in_an_image_index_of_a_layout_is_served() {
    let scratch = Scratch::new("image-index");
    let layout = Layout::at(scratch.join("charts"));
    let chart = layout.chart("web", "1.0.0");
    let index = layout.nested(&[image(1, "linux", "amd64"), declared(chart.manifest)]);
    layout.list(&[named(&index, "web:1.0.0")]);
    let flags = layout.flags();

    let daemon = Daemon::start_ready(&[&flags[0], &flags[1]]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0"],
        "{}",
        daemon.log()
    );
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body,
        chart.archive_bytes
    );
}
