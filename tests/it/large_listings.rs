//! Listings that are long or late, and links that lead out of TLS: the catalogs and tag lists of
//! grown registries behind ingresses.

use std::time::Duration;

use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, sha256};
use crate::support::story::{Index, ready_daemon, skip_reason};
use crate::support::tls_front::{MARK, tls_before};

#[test]
fn a_catalog_that_comes_a_hundred_names_at_a_time_is_read_to_the_last() {
    let fake = FakeRegistry::start();
    for number in 0..230 {
        fake.push(&Chart::new(&format!("c{number:03}"), "1.0.0"));
    }
    fake.listing(|listing| listing.clamp = 100);
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts().len(), 230);
    let pages = fake.requests("GET /v2/_catalog");
    assert_eq!(pages.len(), 3, "{}", fake.seen());
    // distribution refuses more, and ECR does.
    assert!(
        pages.iter().all(|page| page.query("n") == ["1000"]),
        "{}",
        fake.seen()
    );
}

#[test]
fn links_to_plain_http_are_followed_over_tls() {
    let fake = FakeRegistry::start();
    for number in 0..5 {
        fake.push(&Chart::new(&format!("c{number}"), "1.0.0"));
    }
    let plain = fake.url();
    fake.listing(|listing| {
        listing.clamp = 2;
        listing.link =
            Box::new(move |next| Some(format!("<{plain}{}>; rel=\"next\"", next.target())));
    });
    let certificates = Certificates::new();
    let port = tls_before(fake.port(), &certificates);
    let daemon = Daemon::start_ready(&[
        &format!("--storage-registry-repo=https://127.0.0.1:{port}"),
        &format!(
            "--storage-registry-ca-file={}",
            certificates.authority().display()
        ),
    ]);
    assert_eq!(Index::of(&daemon).charts().len(), 5);
    assert_eq!(fake.count("GET /v2/_catalog"), 3, "{}", fake.seen());
    let (name, value) = MARK;
    for request in fake.requests("* *") {
        assert_eq!(request.header(name), Some(value), "in the clear: {request}");
    }
}

#[test]
fn a_catalog_that_takes_longer_than_any_other_answer_may_is_waited_for() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    // Half a minute is what every other answer gets (distribution#3678: over a minute on S3).
    fake.spoil("GET /v2/_catalog")
        .first(1)
        .with(Fault::Wait(Duration::from_secs(32)));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert!(
        !daemon.log().contains(" ERROR "),
        "the first walk has waited:\n{}",
        daemon.log()
    );
}

#[test]
fn ten_thousand_tags_on_one_page_without_a_link_are_all_looked_at() {
    let fake = FakeRegistry::start();
    let mut tags: Vec<String> = (0..9_990)
        .map(|number| {
            let digest = sha256(format!("{number}").as_bytes()).replace(':', "-");
            format!("{digest}.sig")
        })
        .collect();
    for minor in 0..10 {
        fake.push(&Chart::new("web", &format!("1.{minor}.0")));
        tags.insert(minor * 1_000, format!("1.{minor}.0"));
    }
    let page = json!({ "name": "web", "tags": tags }).to_string();
    fake.spoil("GET /v2/web/tags/list")
        .with(Fault::Body(page.into()));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts().len(), 10);
    // Whether more follows is asked once; what comes then is the same again.
    assert_eq!(fake.count("GET /v2/web/tags/list"), 2, "{}", fake.seen());
    let looked_at = fake.count("* /v2/web/manifests/*");
    assert!(looked_at <= 20, "{looked_at}: signatures cost nothing");
}

#[test]
fn a_page_of_more_names_than_any_registry_has_is_not_read_into_memory() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("flood", "1.0.0"));
    fake.push(&Chart::new("web", "1.0.0"));
    // Before there was a bound, eight such answers at a time took 1.8 GB.
    let page = json!({ "name": "flood", "tags": vec!["1.0.0"; 200_001] }).to_string();
    fake.spoil("GET /v2/flood/tags/list")
        .with(Fault::Body(page.into()));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let reason = skip_reason(&daemon, "flood");
    assert!(reason.ends_with("over 200000 names"), "{reason}");
}

#[test]
fn what_a_page_tells_besides_its_names_is_none_of_them() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    // As GCR does: each image that was ever pushed, and then the tags.
    let image = |number: usize| {
        let told = json!({ "imageSizeBytes": "1", "layerId": "", "mediaType": "", "tag": [],
            "timeCreatedMs": "1", "timeUploadedMs": "1" });
        (sha256(format!("{number}").as_bytes()), told)
    };
    let images: serde_json::Map<_, _> = (0..30_000).map(image).collect();
    let page =
        json!({ "child": [], "manifest": images, "name": "web", "tags": ["1.0.0"] }).to_string();
    fake.spoil("GET /v2/web/tags/list")
        .with(Fault::Body(page.into()));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}
