//! What a walk costs the registry (contract C8), counted request by request: an unchanged one its
//! catalog and a listing for each repository, a tag that is due a `HEAD`, and no manifest or config
//! blob twice.

use std::time::{Duration, Instant};

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply, media};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, ready_daemon, wait_for_charts};
use crate::support::tls_front::{HANDSHAKE, tls_before};

/// So many indexes are wanted of a registry that fails.
const INDEXES: usize = 30;
const MANIFESTS: &str = "GET /v2/*/manifests/*";
const HEADS: &str = "HEAD /v2/*/manifests/*";
const BLOBS: &str = "GET /v2/*/blobs/*";
const LISTINGS: &str = "GET /v2/*/tags/list";
const CATALOG: &str = "GET /v2/_catalog";

fn costs(fake: &FakeRegistry) -> [usize; 5] {
    [CATALOG, LISTINGS, HEADS, MANIFESTS, BLOBS].map(|pattern| fake.count(pattern))
}

/// Waits for so many requests, asking for indexes meanwhile or not.
fn wait_for_count(fake: &FakeRegistry, daemon: &Daemon, pattern: &str, count: usize) {
    let lacking = || {
        format!(
            "{count} times {pattern}:\n{}\n{}",
            fake.seen(),
            daemon.log()
        )
    };
    wait_until(DEADLINE, lacking, || {
        (fake.count(pattern) >= count).then_some(())
    });
}

#[test]
fn an_unchanged_registry_costs_its_catalog_and_a_listing_for_each_repository() {
    let fake = FakeRegistry::start();
    for repository in 0..3 {
        for version in 0..4 {
            fake.push(&Chart::new(
                &format!("team/c{repository}"),
                &format!("1.{version}.0"),
            ));
        }
    }
    fake.push_image("images/app", "1.0.0");
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    assert_eq!(costs(&fake), [1, 4, 0, 13, 12], "{}", fake.seen());
    for _ in 0..3 {
        assert_eq!(Index::of(&daemon).charts().len(), 12);
    }
    assert_eq!(costs(&fake), [4, 16, 0, 13, 12], "{}", fake.seen());
    assert_eq!(
        daemon.log().matches(" INFO snapshot: ").count(),
        1,
        "nothing changed, nothing is made anew"
    );
}

/// A registry as they are: 300 repositories, three of which are of charts, of 20 tags each: versions,
/// moving names and, a quarter of them, signatures.
fn mixed_registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for number in 0..300 {
        let name = format!("team{}/r{number}", number % 10);
        let push = |tag: &str| drop(fake.push_image(&name, tag));
        for minor in 0..12 {
            let version = format!("1.{minor}.0");
            match number % 100 {
                50 => drop(fake.push(&Chart::new(&name, &version))),
                _ => push(&version),
            }
        }
        ["latest", "main", "edge"].into_iter().for_each(push);
        (0..5).for_each(|signed| push(&format!("sha256-{signed:064}.sig")));
    }
    fake
}

#[test]
fn a_walk_of_300_repositories_with_three_of_charts_costs_what_it_must() {
    let fake = mixed_registry();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let first = costs(&fake);
    assert_eq!(Index::of(&daemon).charts().len(), 3 * 12);
    let both = costs(&fake);
    let refresh: [usize; 5] = std::array::from_fn(|kind| both[kind] - first[kind]);
    assert_eq!(
        fake.count("* *"),
        both.iter().sum::<usize>(),
        "and nothing else:\n{}",
        fake.seen()
    );
    drop(daemon);
    let _daemon = ready_daemon(&fake, &["--all-tags"]);
    let all = costs(&fake);
    let all_tags: [usize; 5] = std::array::from_fn(|kind| all[kind] - both[kind]);

    let reasons = [
        ("GET _catalog", "a page of at most 1000 repositories"),
        (
            "GET tags/list",
            "one for each repository: no registry tells which of them have changed",
        ),
        (
            "HEAD manifest",
            "one for each tag that is known, once in each --refresh-interval",
        ),
        (
            "GET manifest",
            "one for each new tag: only its manifest tells a chart from an image",
        ),
        (
            "GET blob",
            "one for each new chart's config: its name, version and all the index says",
        ),
    ];
    println!(
        "{:<14}{:>11}{:>9}{:>12}",
        "", "first walk", "refresh", "--all-tags"
    );
    for (kind, (what, why)) in reasons.iter().enumerate() {
        println!(
            "{what:<14}{:>11}{:>9}{:>12}  {why}",
            first[kind], refresh[kind], all_tags[kind]
        );
    }
    assert_eq!(
        first,
        [1, 300, 0, 300 * 12, 3 * 12],
        "signatures and moving names cost nothing"
    );
    assert_eq!(
        refresh,
        [1, 300, 0, 0, 0],
        "what hasn't changed is only listed"
    );
    assert_eq!(
        all_tags,
        [1, 300, 0, 300 * 15, 3 * 12],
        "signatures cost nothing"
    );
}

#[test]
fn a_new_tag_costs_its_manifest_and_its_config_and_is_seen_by_the_next_request() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        let [.., manifests, blobs] = costs(&fake);
        fake.push(&Chart::new("web", version));
        assert!(
            Index::of(&daemon)
                .charts()
                .contains(&format!("web {version}"))
        );
        assert_eq!(
            costs(&fake)[2..],
            [0, manifests + 1, blobs + 1],
            "{}",
            fake.seen()
        );
    }
}

#[test]
fn a_tag_that_is_due_is_asked_for_its_digest_without_being_pulled() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("web", "1.1.0"));
    let daemon = ready_daemon(&fake, &["--refresh-interval=1s"]);
    wait_for_count(&fake, &daemon, HEADS, 6);
    assert_eq!(
        (fake.count(MANIFESTS), fake.count(BLOBS)),
        (2, 2),
        "{}",
        fake.seen()
    );

    let moved = fake.push(&Chart::new("web", "1.0.0").archive("other bytes"));
    let lacking = || format!("the moved tag, in:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        (Index::of(&daemon).entry("web", "1.0.0")["digest"] == moved.hex()).then_some(())
    });
    assert_eq!(
        fake.count(MANIFESTS),
        3,
        "only what has changed is read:\n{}",
        fake.seen()
    );
    assert_eq!(
        fake.count(BLOBS),
        2,
        "a config that is known isn't:\n{}",
        fake.seen()
    );
}

#[test]
fn a_tag_that_moves_to_a_manifest_that_is_known_costs_no_manifest() {
    let fake = FakeRegistry::start();
    let (old, new) = (Chart::new("web", "1.0.0"), Chart::new("web", "1.1.0"));
    fake.push(&old);
    fake.push(&new);
    fake.push(&old.clone().tag("stable"));
    let daemon = ready_daemon(
        &fake,
        &["--refresh-interval=1s", "--all-tags", EACH_TIME, LONG_WAIT],
    );
    fake.push(&new.tag("stable"));
    let before = fake.count("HEAD /v2/web/manifests/stable");
    wait_for_count(&fake, &daemon, "HEAD /v2/web/manifests/stable", before + 2);
    fake.delete_tag("web", "1.1.0");
    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0", "web 1.1.0"],
        "it's there under another tag"
    );
    assert_eq!(
        fake.count("GET /v2/web/manifests/stable"),
        1,
        "{}",
        fake.seen()
    );
}

#[test]
fn charts_of_one_config_blob_share_it() {
    let fake = FakeRegistry::start();
    let config = r#"{"name":"web","version":"1.0.0","apiVersion":"v2"}"#;
    for (tag, archive) in [("1.0.0", "one"), ("latest", "two"), ("stable", "three")] {
        fake.push(
            &Chart::new("web", "1.0.0")
                .tag(tag)
                .config_bytes(config)
                .archive(archive),
        );
    }
    let _daemon = ready_daemon(&fake, &["--all-tags"]);
    assert_eq!(fake.count(MANIFESTS), 3, "{}", fake.seen());
    assert_eq!(fake.count(BLOBS), 1, "{}", fake.seen());
}

#[test]
fn a_registry_without_heads_or_digests_is_asked_for_manifests_instead() {
    let answers = [
        (
            "it answers 405",
            Fault::Answer(Reply::error(405, "UNSUPPORTED", "unsupported")),
        ),
        (
            "it tells no digest",
            Fault::NoHeader("Docker-Content-Digest"),
        ),
    ];
    for (what, fault) in answers {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.spoil("HEAD /v2/*").with(fault);
        let daemon = ready_daemon(&fake, &["--refresh-interval=1s"]);
        let moved = fake.push(&Chart::new("web", "1.0.0").archive("other bytes"));
        let lacking = || format!("{what}: the moved tag, in:\n{}", daemon.log());
        wait_until(DEADLINE, lacking, || {
            (Index::of(&daemon).entry("web", "1.0.0")["digest"] == moved.hex()).then_some(())
        });
        wait_for_count(&fake, &daemon, MANIFESTS, 4);
        assert_eq!(
            fake.count(HEADS),
            1,
            "{what}: once is enough:\n{}",
            fake.seen()
        );
    }
}

#[test]
fn a_repository_that_fails_is_not_asked_each_time_somebody_wants_an_index() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a/web", "1.0.0"));
    fake.push(&Chart::new("b/db", "1.0.0"));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let listing = "GET /v2/a/web/tags/list";
    fake.spoil(listing)
        .with(Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error")));
    let (began, before) = (Instant::now(), fake.count(listing));
    fake.push(&Chart::new("b/db", "2.0.0"));
    for _ in 0..INDEXES {
        assert_eq!(
            Index::of(&daemon).charts(),
            ["db 1.0.0", "db 2.0.0", "web 1.0.0"]
        );
    }
    let (asked, times) = (fake.count(listing) - before, asked_at_most(began));
    assert!(
        asked <= times && times < INDEXES,
        "{asked} of {times} times:\n{}",
        fake.seen()
    );
    fake.push(&Chart::new("a/web", "2.0.0"));
    fake.heal(listing);
    wait_for_charts(&daemon, &["db 1.0.0", "db 2.0.0", "web 1.0.0", "web 2.0.0"]);
}

/// What fails is asked at once, after a second, and then after twice as long each; three times at most.
fn asked_at_most(since: Instant) -> usize {
    3 * (3 + since
        .elapsed()
        .as_secs()
        .checked_ilog2()
        .unwrap_or_default()) as usize
}

#[test]
fn a_new_tag_that_fails_is_not_asked_each_time_somebody_wants_an_index() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let fails = Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    fake.spoil("* /v2/web/manifests/1.1.0").with(fails);
    fake.push(&Chart::new("web", "1.1.0"));
    fake.push(&Chart::new("web", "1.2.0"));
    let began = Instant::now();
    for _ in 0..INDEXES {
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0", "web 1.2.0"]);
    }
    let asked = fake.count("* /v2/web/manifests/1.1.0");
    let times = asked_at_most(began);
    assert!(
        asked <= times && times < INDEXES,
        "{asked} of {times} times:\n{}",
        fake.seen()
    );
    fake.heal("* /v2/web/manifests/1.1.0");
    wait_for_charts(&daemon, &["web 1.0.0", "web 1.1.0", "web 1.2.0"]);
}

#[test]
fn a_check_in_vain_does_not_silence_those_after_it() {
    let fake = FakeRegistry::start();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let fails = Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    fake.spoil("* /v2/web/manifests/1.0.0").with(fails);
    fake.push(&Chart::new("web", "1.0.0"));
    assert!(Index::of(&daemon).charts().is_empty());
    // Nobody wants an index any more, and a check asks for nothing else.
    fake.wait_for("* /v2/web/manifests/1.0.0", 13);
}

#[test]
fn tags_of_signatures_and_of_other_companions_cost_nothing() {
    let fake = FakeRegistry::start();
    let chart = fake.push(&Chart::new("web", "1.0.0"));
    let of_it = chart.manifest.replace(':', "-");
    for tag in [
        &*format!("{of_it}.sig"),
        &format!("{of_it}.att"),
        &format!("{of_it}.sbom"),
        "artifacthub.io",
    ] {
        fake.push_image("web", tag);
    }
    // What refers to it, where the registry has no API for that (distribution-spec v1.1.0, "Referrers").
    let referrers = r#"{"schemaVersion":2,"manifests":[]}"#;
    fake.push_manifest("web", &of_it, media::OCI_INDEX, referrers.as_bytes());
    let daemon = ready_daemon(
        &fake,
        &["--all-tags", "--refresh-interval=1s", EACH_TIME, LONG_WAIT],
    );
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    wait_for_count(&fake, &daemon, HEADS, 2);
    assert_eq!(
        (fake.count(MANIFESTS), fake.count(BLOBS)),
        (1, 1),
        "{}",
        fake.seen()
    );
    assert_eq!(
        fake.count("HEAD /v2/web/manifests/1.0.0"),
        fake.count(HEADS),
        "{}",
        fake.seen()
    );
    assert_eq!(
        daemon.log().matches(" companion").count(),
        5,
        "{}",
        daemon.log()
    );
}

#[test]
fn a_tag_that_vanishes_between_listings_goes_when_it_is_due() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("web", "2.0.0"));
    let daemon = ready_daemon(&fake, &["--refresh-interval=1s", "--max-stale=1h"]);
    // It stays listed (distribution#4324), but is gone.
    let gone = Fault::Answer(Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    fake.spoil("* /v2/web/manifests/2.0.0").with(gone);
    wait_for_charts(&daemon, &["web 1.0.0"]);
}

#[test]
fn a_first_walk_that_takes_long_says_how_far_it_has_come() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a", "1.0.0"));
    fake.push(&Chart::new("b", "1.0.0"));
    fake.spoil("GET /v2/b/tags/list")
        .with(Fault::Wait(Duration::from_millis(5500)));
    let daemon = ready_daemon(&fake, &[]);
    let told = daemon.wait_for_log(" INFO first scan: ");
    assert!(
        told.contains("2 of 2 repositories listed, 3 requests so far"),
        "{told}"
    );
    daemon.wait_for_log(" INFO snapshot: 2 charts, 2 versions");
}

#[test]
fn an_archive_that_is_gone_costs_a_look_at_its_tag_and_not_at_its_neighbours() {
    let fake = FakeRegistry::start();
    for minor in 0..30 {
        fake.push(&Chart::new("web", &format!("1.{minor}.0")));
    }
    let lost = fake.push(&Chart::new("web", "2.0.0"));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    fake.delete_blob("web", &lost.archive.digest);

    assert_eq!(daemon.get("/charts/web-2.0.0.tgz").status, 404);

    wait_for_count(&fake, &daemon, HEADS, 1);
    // A refresh that begins now begins after all of that.
    assert_eq!(Index::of(&daemon).charts().len(), 31);
    assert_eq!(
        fake.count(HEADS),
        fake.count("HEAD /v2/web/manifests/2.0.0"),
        "{}",
        fake.seen()
    );
}

/// ureq forgot what it had made for TLS after each request: every connection read all trusted
/// certificates anew, 110 KB of them, and began with a whole handshake.
#[test]
fn over_tls_a_session_is_resumed_and_not_begun_anew() {
    let fake = FakeRegistry::start();
    for number in 0..10 {
        fake.push(&Chart::new(&format!("c{number}"), "1.0.0"));
    }
    let certificates = Certificates::new();
    let port = tls_before(fake.port(), &certificates);
    Daemon::start_ready(&[
        &format!("--storage-registry-repo=https://127.0.0.1:{port}"),
        &format!(
            "--storage-registry-ca-file={}",
            certificates.authority().display()
        ),
        "--concurrency=1",
    ]);
    let requests = fake.requests("* *");
    let whole = requests
        .iter()
        .filter(|request| request.header(HANDSHAKE) == Some("Full"))
        .count();
    // The catalog has settings of its own, for its patience, and so keeps nothing for the others.
    assert!(
        whole <= 2 && requests.len() > 20,
        "{whole} of {}:\n{}",
        requests.len(),
        fake.seen()
    );
}

/// With 2,000 repositories, two polls of the index a second kept the registry at 345 requests a second
/// without end: issue 11, I26. The first refresh doesn't count: it reads what no later one reads again.
#[test]
fn a_refresh_is_made_on_demand_no_sooner_than_four_times_the_duration_of_the_last_after_its_end() {
    const LISTING: Duration = Duration::from_millis(200);
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.spoil("GET /v2/_catalog").with(Fault::Wait(LISTING));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    for _ in 0..3 {
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    }
    let listings = fake.requests("GET /v2/_catalog");
    assert!(listings.len() >= 4, "{}", fake.seen());
    for pair in listings[1..].windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= 5 * LISTING, "{pause:?}");
    }
}
