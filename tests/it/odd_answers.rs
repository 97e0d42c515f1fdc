//! Registries that answer otherwise than the specifications say (issue 11, B2 and D): they are read all the
//! same, at no higher price than once, and what the log says of them is so.

use serde_json::json;

use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, ready_daemon};

const TAGS: &str = "GET /v2/*/tags/list";

/// zuul-registry's answer (CherryPy's) to a query that it doesn't know.
fn page_404() -> Fault {
    let page =
        "<!DOCTYPE html><title>404 Not Found</title><p>Unexpected query string parameters: n</p>";
    Fault::Answer(
        Reply::new(404)
            .header("Content-Type", "text/html")
            .body(page),
    )
}

/// A registry of so many repositories with a chart each, in order.
fn registry_of(repositories: usize) -> FakeRegistry {
    let fake = FakeRegistry::start();
    for number in 0..repositories {
        fake.push(&Chart::new(&format!("c{number}"), "1.0.0"));
    }
    fake
}

/// Each listing was begun anew with the longest page: 8,752 requests instead of 6,252 where `n` may be 50 at
/// most; and a registry that knows no `n` at all could not be read. Issue 11, 6e (F5 and F7 of
/// `facts/registries-run.md`).
#[test]
fn the_page_length_that_a_registry_takes_is_found_once_and_remembered() {
    let too_long = || Fault::Answer(Reply::error(400, "PAGINATION_NUMBER_INVALID", "n"));
    // A page that is not the registry's may be there for a moment only, so the first length is asked for twice.
    for (fault, in_vain) in [(page_404 as fn() -> Fault, 3), (too_long, 2)] {
        let fake = registry_of(5);
        fake.spoil("GET /v2/*?n=*").with(fault());
        let daemon = ready_daemon(&fake, &["--concurrency=1", EACH_TIME, LONG_WAIT]);
        assert_eq!(Index::of(&daemon).charts().len(), 5, "{}", daemon.log());
        let refreshes = 2;
        for (listing, each_time) in [("GET /v2/_catalog", 1), (TAGS, 5)] {
            let count = fake.count(listing);
            assert_eq!(count, in_vain + each_time * refreshes, "{}", fake.seen());
        }
    }
}

/// An ingress answers so for every path while its registry restarts.
#[test]
fn a_page_in_the_registrys_place_for_a_moment_does_not_shorten_its_pages() {
    let fake = registry_of(3);
    fake.spoil("GET /v2/c0/tags/list?n=1000")
        .first(1)
        .with(page_404());
    let daemon = ready_daemon(&fake, &["--concurrency=1"]);
    assert_eq!(Index::of(&daemon).charts().len(), 3);
    assert_eq!(
        fake.count("GET /v2/*/tags/list?n=1000"),
        1 + 3,
        "{}",
        fake.seen()
    );
}

/// zuul-registry lists the digest of each manifest that helm 4 has put by its digest, and they were asked for as
/// versions: 369 requests instead of 227. Issue 11, 6f (F6).
#[test]
fn a_digest_that_a_registry_lists_among_its_tags_is_not_asked_for() {
    let fake = FakeRegistry::start();
    let chart = fake.push(&Chart::new("web", "1.0.0"));
    let tags =
        json!({ "name": "web", "tags": ["1.0.0", chart.manifest, format!("sha256:{:064}", 1)] });
    fake.spoil(TAGS).with(Fault::Body(tags.to_string().into()));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert_eq!(
        fake.count("* /v2/web/manifests/sha256:*"),
        0,
        "{}",
        fake.seen()
    );
}
