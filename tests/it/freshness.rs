//! Fresh, and never worse than before (contracts C5 and C6): an index request sees what changed
//! in the registry, waits at most two seconds for it, and a registry that fails keeps the last
//! good index. The daemon refreshes a snapshot older than five seconds, so each story takes that
//! long; they are few.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, ready_daemon, refresh_until_logged, wait_for_charts};

/// Longer than a request may wait for a refresh (2 s), with room for a loaded machine; the registry
/// itself is waited for three times as long.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is known of a tag holds for a second, so that no story takes minutes.
const CHECKS: &str = "--refresh-interval=1s";

/// A registry that fails on its own, not through us.
fn broken() -> Fault {
    Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"))
}

#[test]
fn a_registry_that_asks_for_a_rest_is_left_alone_by_everyone() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a/web", "1.0.0"));
    fake.push(&Chart::new("b/tired", "1.0.0"));
    let daemon = ready_daemon(&fake, &["--concurrency=1", CHECKS]);
    let tired = Reply::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "60");
    fake.spoil("* /v2/b/tired/manifests/*")
        .with(Fault::Answer(tired));

    refresh_until_logged(&daemon, "no requests for 60 s", 1);
    let told = daemon.wait_for_log("no requests for 60 s");
    assert!(told.contains(" WARN ") && told.contains(": 429"), "{told}");
    assert_eq!(Index::of(&daemon).charts(), ["tired 1.0.0", "web 1.0.0"]);
    let asked = fake.count("* *");
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 502);
    assert_eq!(fake.count("* *"), asked);
}

#[test]
fn a_push_a_moved_tag_and_a_deletion_are_seen_without_a_restart() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/stays", "1.0.0"));
    fake.push(&Chart::new("team/moves", "1.0.0"));
    fake.push(&Chart::new("team/goes", "1.0.0"));
    fake.push(&Chart::new("team/goes", "2.0.0"));
    fake.push(&Chart::new("whole/repository", "1.0.0"));
    fake.push(&Chart::new("still/listed", "1.0.0"));
    fake.push(&Chart::new("still/tagged", "1.0.0"));
    let daemon = ready_daemon(&fake, &[CHECKS]);
    let before = daemon.get("/index.yaml");
    assert_eq!(Index::parse(&before.body).charts().len(), 7);

    fake.push(&Chart::new("team/new", "0.1.0"));
    fake.push(&Chart::new("team/stays", "1.1.0"));
    let moved = fake.push(&Chart::new("team/moves", "1.0.0").archive("other bytes"));
    fake.delete_tag("team/goes", "2.0.0");
    fake.delete_repository("whole/repository");
    // distribution#4324: what is deleted may stay listed. 404 is a definite answer.
    let gone = Fault::Answer(Reply::error(
        404,
        "NAME_UNKNOWN",
        "repository name not known",
    ));
    fake.spoil("GET /v2/still/listed/tags/list").with(gone);
    let gone = Fault::Answer(Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    fake.spoil("* /v2/still/tagged/manifests/*").with(gone);

    let after = [
        "goes 1.0.0",
        "moves 1.0.0",
        "new 0.1.0",
        "stays 1.0.0",
        "stays 1.1.0",
    ];
    wait_for_charts(&daemon, &after);
    assert_eq!(
        Index::of(&daemon).entry("moves", "1.0.0")["digest"],
        moved.hex()
    );
    assert_eq!(
        daemon.get("/charts/moves-1.0.0.tgz").body_text(),
        "other bytes"
    );
    assert_eq!(daemon.get("/charts/goes-2.0.0.tgz").status, 404);
    assert_ne!(
        daemon.get("/index.yaml").header("ETag"),
        before.header("ETag")
    );
}

#[test]
fn a_registry_that_goes_down_leaves_the_last_good_index_and_is_seen_again_when_it_is_back() {
    let mut fake = FakeRegistry::start_on("127.0.0.8");
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    let good = daemon.get("/index.yaml").body;

    fake.close();
    refresh_until_logged(&daemon, " WARN ", 1);
    let kept = daemon.get("/index.yaml");
    assert_eq!((kept.status, &kept.body), (200, &good));
    assert_eq!(
        daemon.get("/readyz").status,
        200,
        "an upstream outage takes no Service down"
    );

    fake.push(&Chart::new("web", "1.1.0"));
    fake.reopen();
    wait_for_charts(&daemon, &["web 1.0.0", "web 1.1.0"]);
    daemon.wait_for_log(" INFO refreshes succeed again, after ");
}

#[test]
fn what_fails_in_a_refresh_keeps_its_charts_and_everything_else_moves_on() {
    let fake = FakeRegistry::start();
    for repository in ["a/listing", "b/manifest", "c/config", "d/fine"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    fake.push(&Chart::new("e/throttled", "1.0.0"));
    let daemon = ready_daemon(&fake, &[CHECKS]);
    assert_eq!(Index::of(&daemon).charts().len(), 5);

    fake.spoil("GET /v2/a/listing/tags/list").with(broken());
    fake.spoil("* /v2/b/manifest/manifests/1.0.0")
        .with(Fault::Reset);
    let moved = fake.push(&Chart::new("c/config", "1.0.0").config_bytes(
        r#"{"name":"config","version":"1.0.0","apiVersion":"v2","description":"moved"}"#,
    ));
    fake.spoil(&format!("GET {}", moved.config_path()))
        .with(broken());
    let throttled = Reply::error(429, "TOOMANYREQUESTS", "slow down");
    fake.spoil("GET /v2/e/throttled/tags/list")
        .with(Fault::Answer(throttled));
    fake.push(&Chart::new("d/fine", "2.0.0"));

    let all = [
        "config 1.0.0",
        "fine 1.0.0",
        "fine 2.0.0",
        "listing 1.0.0",
        "manifest 1.0.0",
        "throttled 1.0.0",
    ];
    wait_for_charts(&daemon, &all);
    for told in ["a/listing", "b/manifest", "c/config", "e/throttled"] {
        daemon.wait_for_complaint(&[" WARN ", told]);
    }
    for pattern in [
        "GET /v2/a/listing/tags/list",
        "* /v2/b/manifest/manifests/1.0.0",
        "GET /v2/e/throttled/tags/list",
    ] {
        fake.heal(pattern);
    }
    fake.heal(&format!("GET {}", moved.config_path()));
    refresh_until_logged(
        &daemon,
        " INFO every repository and tag can be read again",
        1,
    );
}

#[test]
fn a_registry_that_turns_empty_is_believed_when_it_has_said_so_twice() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    let walks = fake.count("GET /v2/_catalog");
    fake.delete_repository("web");
    wait_for_charts(&daemon, &[]);
    assert!(
        fake.count("GET /v2/_catalog") >= walks + 2,
        "{}",
        fake.seen()
    );
}

#[test]
fn a_catalog_that_turns_empty_once_is_not_believed() {
    let lies = [
        json!({ "repositories": [] }),
        json!({ "repositories": null }),
    ];
    let story = |lie: &Value| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        let daemon = ready_daemon(&fake, &[]);
        let lie = Fault::Body(lie.to_string().into());
        fake.spoil("GET /v2/_catalog").first(1).with(lie);
        let walks = fake.count("GET /v2/_catalog");
        let told = || {
            format!(
                "two more walks, of which one was lied to:\n{}",
                daemon.log()
            )
        };
        wait_until(DEADLINE, told, || {
            assert_eq!(
                Index::of(&daemon).charts(),
                ["web 1.0.0"],
                "{}",
                daemon.log()
            );
            (fake.count("GET /v2/_catalog") >= walks + 2).then_some(())
        });
        assert_eq!(
            Index::of(&daemon).charts(),
            ["web 1.0.0"],
            "{}",
            daemon.log()
        );
    };
    thread::scope(|scope| {
        lies.iter()
            .for_each(|lie| drop(scope.spawn(move || story(lie))))
    });
}

#[test]
fn what_broke_off_in_the_first_walk_is_made_up_for_in_the_next() {
    let fake = FakeRegistry::start();
    for repository in ["listing", "manifest", "config", "fine"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    for pattern in [
        "GET /v2/listing/tags/list",
        "GET /v2/manifest/manifests/*",
        "GET /v2/config/blobs/*",
    ] {
        fake.spoil(pattern).first(1).with(Fault::Cut(9));
    }
    let daemon = ready_daemon(&fake, &[]);
    assert!(
        Index::of(&daemon)
            .charts()
            .contains(&"fine 1.0.0".to_owned())
    );
    wait_for_charts(
        &daemon,
        &[
            "config 1.0.0",
            "fine 1.0.0",
            "listing 1.0.0",
            "manifest 1.0.0",
        ],
    );
}

#[test]
fn nobody_waits_long_for_a_slow_registry_and_many_requests_share_one_refresh() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    fake.spoil("GET /v2/_catalog").with(Fault::Hang);
    let walks = fake.count("GET /v2/_catalog");
    let told = || format!("a refresh:\n{}", daemon.log());
    wait_until(DEADLINE, told, || {
        assert!(time_of_a_good_answer(&daemon) < LONGEST_WAIT);
        (fake.count("GET /v2/_catalog") > walks).then_some(())
    });

    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert!(time_of_a_good_answer(&daemon) < LONGEST_WAIT));
        }
    });
    assert_eq!(fake.count("GET /v2/_catalog"), walks + 1, "{}", fake.seen());
    fake.push(&Chart::new("web", "2.0.0"));
    fake.heal("GET /v2/_catalog");
    wait_for_charts(&daemon, &["web 1.0.0", "web 2.0.0"]);
}

#[test]
fn a_registry_that_hangs_when_a_tag_is_checked_does_not_hold_up_what_is_new_for_long() {
    let fake = FakeRegistry::start();
    for minor in 0..20 {
        fake.push(&Chart::new("web", &format!("1.{minor}.0")));
    }
    let daemon = ready_daemon(&fake, &[CHECKS, "--concurrency=1"]);
    fake.spoil("HEAD /v2/*").with(Fault::Hang);
    let heads = fake.count("HEAD /v2/*");
    fake.wait_for("HEAD /v2/*", heads + 1);
    fake.push(&Chart::new("web", "2.0.0"));
    // Of one, at a time, there would be eight to wait for.
    let lacking = || format!("web 2.0.0 in:\n{}", daemon.log());
    wait_until(Duration::from_secs(20), lacking, || {
        let index = Index::of(&daemon).charts();
        index.contains(&"web 2.0.0".to_owned()).then_some(())
    });
    fake.heal("HEAD /v2/*");
}

fn time_of_a_good_answer(daemon: &Daemon) -> Duration {
    let start = Instant::now();
    assert_eq!(Index::of(daemon).charts(), ["web 1.0.0"]);
    start.elapsed()
}

#[test]
fn a_page_in_the_registrys_place_takes_no_chart_away() {
    let pages = [
        Reply::new(404)
            .header("Content-Type", "text/plain; charset=utf-8")
            .body("404 page not found\n"),
        Reply::new(404)
            .header("Content-Type", "text/html")
            .body("<html>404 Not Found</html>"),
        Reply::new(200)
            .header("Content-Type", "text/html")
            .body("<html>back in a minute</html>"),
        Reply::new(200).header("Content-Type", "text/html"),
    ];
    let story = |page: Reply| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        let daemon = ready_daemon(&fake, &[CHECKS]);
        fake.spoil("* /v2/*").with(Fault::Answer(page));
        let told =
            daemon.wait_for_log("web:1.0.0: could not be read, keeping its last known charts");
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"], "{told}");
        fake.heal("* /v2/*");
        fake.push(&Chart::new("web", "1.1.0"));
        wait_for_charts(&daemon, &["web 1.0.0", "web 1.1.0"]);
    };
    thread::scope(|scope| {
        pages
            .into_iter()
            .for_each(|page| drop(scope.spawn(|| story(page))))
    });
}

#[test]
fn a_page_in_the_registrys_place_does_not_make_every_check_a_pull() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = ready_daemon(&fake, &[CHECKS]);
    let page = Reply::new(200)
        .header("Content-Type", "text/html")
        .body("<html>back in a minute</html>");
    fake.spoil("* /v2/*").with(Fault::Answer(page));
    daemon.wait_for_log("web:1.0.0: could not be read, keeping its last known charts");
    fake.heal("* /v2/*");
    fake.push(&Chart::new("web", "1.1.0"));
    wait_for_charts(&daemon, &["web 1.0.0", "web 1.1.0"]);
    let lacking = || format!("a HEAD of 1.1.0:\n{}", fake.seen());
    let heads = || fake.count("HEAD /v2/web/manifests/1.1.0");
    wait_until(DEADLINE, lacking, || (heads() > 0).then_some(()));
    assert_eq!(
        fake.count("GET /v2/web/manifests/1.1.0"),
        1,
        "{}",
        fake.seen()
    );
}

#[test]
fn json_that_is_no_listing_takes_no_repositorys_charts_away() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a/web", "1.0.0"));
    fake.push(&Chart::new("b/db", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    fake.spoil("GET /v2/a/web/tags/list")
        .with(Fault::Body(r#"{"message":"back soon"}"#.into()));
    fake.push(&Chart::new("b/db", "1.1.0"));
    wait_for_charts(&daemon, &["db 1.0.0", "db 1.1.0", "web 1.0.0"]);
    daemon.wait_for_complaint(&[
        "a/web: could not be read, keeping its last known charts",
        "not a listing",
    ]);
}
