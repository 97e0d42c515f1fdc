//! Listings in pages: all of them are followed, whatever their links look like, and no registry
//! can lead us in circles or to another host (seen in the field: distribution, Harbor, ECR,
//! Quay, Nexus, Artifactory, Trow, crane).

use std::thread;

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Next, Reply};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, ready_daemon, refresh_until_logged, starting_daemon};

/// Seven repositories, in alphabetical order as the catalog lists them.
const REPOSITORIES: [&str; 7] = ["a/one", "b/two", "c", "d/e/four", "five", "six", "z/seven"];

/// A registry of [`REPOSITORIES`], each with the versions 1.0.0 to 1.4.0, in pages of two.
fn registry_in_pages_of_two() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for repository in REPOSITORIES {
        for minor in 0..5 {
            fake.push(&Chart::new(repository, &format!("1.{minor}.0")));
        }
    }
    fake.listing(|listing| {
        listing.clamp = 2;
        listing.tags_in_pages = true;
    });
    fake
}

fn assert_everything_is_listed(daemon: &Daemon) {
    let count = Index::of(daemon).charts().len();
    assert_eq!(count, 7 * 5, "the log:\n{}", daemon.log());
}

fn assert_listed_with_links(form: impl Fn(&Next) -> String + Send + 'static) {
    let fake = registry_in_pages_of_two();
    fake.listing(|listing| listing.link = Box::new(move |next| Some(form(next))));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(fake.count("GET /v2/_catalog"), 4, "{}", fake.seen());
    assert_everything_is_listed(&daemon);
}

#[test]
fn pages_of_two_are_followed_to_the_last() {
    let fake = registry_in_pages_of_two();
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(fake.count("GET /v2/_catalog"), 4);
    for repository in REPOSITORIES {
        assert_eq!(fake.count(&format!("GET /v2/{repository}/tags/list")), 3);
    }
    assert_everything_is_listed(&daemon);
}

#[test]
fn a_link_may_be_written_in_any_way_that_registries_write_it() {
    assert_listed_with_links(|next| format!("<{}>; rel=next", next.target()));
    assert_listed_with_links(|next| {
        format!("<{}> ;  title=\"a, b\" ; REL = \"next\"", next.target())
    });
    assert_listed_with_links(|next| format!("<{}&orderby=>; rel=\"next\"", next.target()));
    assert_listed_with_links(|next| format!("<{}>; rel=\"next\"", next.opaque()));
    assert_listed_with_links(|next| {
        let first = next.path;
        format!(
            "<{first}?n=2>; rel=\"prev\", <{first}?n=2>; rel=\"first\", {}",
            next.relative()
        )
    });
    // Cloudflare's serverless registry writes no angle brackets (issue 11, 6f).
    assert_listed_with_links(|next| format!("http://127.0.0.1{}; rel=next", next.target()));
    // zot doesn't escape the slash of a repository name.
    assert_listed_with_links(|next| next.relative().replace("%2F", "/"));
}

#[test]
fn a_link_to_another_host_or_path_gives_only_its_query() {
    let stranger = FakeRegistry::start_on("127.0.0.2");
    let elsewhere = stranger.url();
    assert_listed_with_links(move |next| {
        let query = next.target().replace("/v2/", "/repository/charts/v2/");
        format!("<{elsewhere}{query}>; rel=\"next\"")
    });
    assert_listed_with_links(|next| {
        format!("<https://registry.invalid{}>; rel=\"next\"", next.target())
    });
    assert_eq!(stranger.seen(), "");
}

#[test]
fn a_link_that_leads_back_is_a_failed_listing_and_what_was_known_stays() {
    let fake = registry_in_pages_of_two();
    let daemon = ready_daemon(&fake, &[]);
    let before = fake.count("GET /v2/_catalog");
    fake.listing(|listing| {
        listing.link = Box::new(|next| match &*next.last {
            "b%2Ftwo" | "1.1.0" => Some(next.relative()),
            _ => Some(format!("<{}?n=2>; rel=\"next\"", next.path)),
        });
    });

    refresh_until_logged(&daemon, "refresh failed, the last good index stays", 1);

    // Two pages and the first one again, whose link was followed before.
    assert!(
        fake.count("GET /v2/_catalog") >= before + 3,
        "{}",
        fake.seen()
    );
    daemon.wait_for_complaint(&["/v2/_catalog", "links to a page that was read before"]);
    assert_everything_is_listed(&daemon);
}

/// europa#45: a registry may filter a page after it was cut off, so that nothing is left of it.
#[test]
fn an_empty_a_short_and_a_repeated_page_with_a_link_is_followed() {
    let fake = registry_in_pages_of_two();
    let listed = |names: &[&str]| json!({ "repositories": names }).to_string();
    for (from, to, names) in [
        ("n=1000", "cut=1", &[][..]),
        ("cut=1", "cut=2", &["a/one"]),
        ("cut=2", "cut=3", &["a/one"]),
        ("cut=3", "", &REPOSITORIES[1..]),
    ] {
        let mut reply = Reply::new(200).body(listed(names));
        if !to.is_empty() {
            reply = reply.header("Link", &format!("</v2/_catalog?{to}>; rel=\"next\""));
        }
        fake.spoil(&format!("GET /v2/_catalog?{from}"))
            .with(Fault::Answer(reply));
    }
    assert_everything_is_listed(&ready_daemon(&fake, &[]));
}

/// What zot (404) and Harbor (400) say to a cursor whose name has gone meanwhile.
fn lost_cursors() -> [Fault; 2] {
    let unknown = Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    let invalid = Reply::error(400, "BAD_REQUEST", "the cursor is not known");
    [unknown, invalid].map(Fault::Answer)
}

#[test]
fn a_listing_whose_cursor_is_lost_on_the_way_is_begun_again() {
    for fault in lost_cursors() {
        let fake = registry_in_pages_of_two();
        fake.spoil("GET /v2/_catalog?last=d*")
            .first(1)
            .with(fault.clone());
        fake.spoil("GET /v2/b/two/tags/list?last=*")
            .first(1)
            .with(fault);

        let daemon = ready_daemon(&fake, &[]);

        // Two pages and the lost one, then all of them: four of repositories, three of tags.
        assert_eq!(fake.count("GET /v2/_catalog"), 3 + 4, "{}", fake.seen());
        assert_eq!(
            fake.count("GET /v2/b/two/tags/list"),
            2 + 3,
            "{}",
            fake.seen()
        );
        assert_everything_is_listed(&daemon);
    }
}

#[test]
fn a_listing_whose_cursor_is_lost_each_time_leaves_what_it_was_known_to_hold() {
    let story = |lost: Fault| {
        let fake = registry_in_pages_of_two();
        let daemon = ready_daemon(&fake, &[]);
        fake.spoil("GET /v2/b/two/tags/list?last=*")
            .with(lost.clone());
        fake.push(&Chart::new("six", "2.0.0"));
        let count = || Index::of(&daemon).charts().len();
        wait_until(
            DEADLINE,
            || daemon.log(),
            || (count() == 7 * 5 + 1).then_some(()),
        );
        daemon.wait_for_complaint(&[
            "b/two: could not be read, keeping its last known charts",
            "the listing changes while it's read",
        ]);

        fake.spoil("GET /v2/_catalog?last=*").with(lost);
        refresh_until_logged(&daemon, "refresh failed, the last good index stays", 1);
        daemon.wait_for_complaint(&["/v2/_catalog", "the listing changes while it's read"]);
        assert_eq!(count(), 7 * 5 + 1);
    };
    thread::scope(|scope| {
        lost_cursors()
            .map(|lost| scope.spawn(|| story(lost)))
            .map(drop)
    });
}

#[test]
fn a_page_length_that_is_refused_is_shortened() {
    let fake = registry_in_pages_of_two();
    fake.listing(|listing| listing.most = 100);
    assert_everything_is_listed(&ready_daemon(&fake, &[]));

    for status in [400, 405] {
        let fake = registry_in_pages_of_two();
        let refusal = Reply::error(status, "UNSUPPORTED", "Invalid parameter at 'maxResults'");
        fake.spoil("GET /v2/*?n=1000*").with(Fault::Answer(refusal));
        assert_everything_is_listed(&ready_daemon(&fake, &[]));
    }
}

#[test]
fn a_registry_that_takes_no_page_length_at_all_is_asked_without() {
    let fake = registry_in_pages_of_two();
    let refusal = Reply::error(
        400,
        "PAGINATION_NUMBER_INVALID",
        "invalid number of results",
    );
    fake.spoil("GET /v2/_catalog?n=1000")
        .with(Fault::Answer(refusal.clone()));
    fake.spoil("GET /v2/_catalog?n=100")
        .with(Fault::Answer(refusal));
    assert_everything_is_listed(&ready_daemon(&fake, &[]));
}

#[test]
fn a_full_page_without_a_link_is_continued_by_its_last_name() {
    let fake = FakeRegistry::start();
    for number in 0..230 {
        fake.push(&Chart::new(&format!("c{number:03}"), "1.0.0"));
    }
    fake.listing(|listing| {
        listing.most = 100;
        listing.link = Box::new(|_| None);
    });
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts().len(), 230);
}

#[test]
fn a_full_page_that_always_comes_again_ends_the_listing() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let mut names: Vec<String> = (0..999).map(|number| format!("gone/{number}")).collect();
    names.push("web".to_owned());
    let page = json!({ "repositories": names }).to_string();
    fake.spoil("GET /v2/_catalog")
        .with(Fault::Body(page.into()));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(fake.count("GET /v2/_catalog"), 2);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

#[test]
fn a_repository_without_tags_is_no_failure() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("emptied", "1.0.0"));
    fake.delete_tag("emptied", "1.0.0");
    let listed = json!({ "repositories": ["emptied", "unknown", "web", "without"] }).to_string();
    fake.spoil("GET /v2/_catalog")
        .with(Fault::Body(listed.into()));
    let without = Reply::json(200, &json!({ "name": "without" }));
    fake.spoil("GET /v2/without/tags/list")
        .with(Fault::Answer(without));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let log = daemon.log();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}

#[test]
fn an_empty_registry_gives_an_empty_index() {
    for catalog in [
        json!({ "repositories": [] }),
        json!({ "repositories": null }),
        json!({}),
    ] {
        let fake = FakeRegistry::start();
        let body = catalog.to_string().into();
        fake.spoil("GET /v2/_catalog").with(Fault::Body(body));
        let daemon = ready_daemon(&fake, &[]);
        let index = Index::of(&daemon);
        assert_eq!(index.0["apiVersion"], "v1", "{catalog}");
        assert_eq!(index.0["entries"], json!({}), "{catalog}");
    }
}

#[test]
fn a_prefix_narrows_the_walk_to_what_lies_below_it() {
    let fake = FakeRegistry::start();
    for repository in [
        "team/a/web",
        "team/a",
        "team/ab/other",
        "team/b/db",
        "a/web",
    ] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    let registry = format!("--storage-registry-repo={}/team/a", fake.url());
    let daemon = Daemon::start_ready(&[&registry]);
    assert_eq!(Index::of(&daemon).charts(), ["a 1.0.0", "web 1.0.0"]);
    assert_eq!(
        fake.count("GET /v2/team/ab/*") + fake.count("GET /v2/team/b/*"),
        0
    );
}

#[test]
fn repositories_given_by_flag_need_no_catalog() {
    let fake = FakeRegistry::start();
    for repository in ["team/web", "team/db", "team/other"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    let flags = [
        "--repository=team/web",
        "--repository",
        "team/db",
        "--repository=team/nowhere",
    ];
    let daemon = ready_daemon(&fake, &flags);
    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    assert_eq!(
        fake.count("* /v2/_catalog") + fake.count("* /v2/team/other/*"),
        0
    );
}

#[test]
fn a_catalog_that_is_closed_is_told_with_its_answer_and_tried_again() {
    let closed = [
        (
            Reply::error(401, "UNAUTHORIZED", "who are you"),
            "401 UNAUTHORIZED",
        ),
        (Reply::error(403, "DENIED", "not for you"), "403 DENIED"),
        (Reply::new(404).body("404 page not found"), "404"),
        (
            Reply::error(501, "UNSUPPORTED", "no catalog"),
            "501 UNSUPPORTED",
        ),
        (Reply::new(200).body("<html>log in</html>"), "not a listing"),
    ];
    let story = |reply: Reply, words: &str| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.spoil("GET /v2/_catalog").with(Fault::Answer(reply));

        let daemon = starting_daemon(&fake, &[]);

        let told = daemon.wait_for_log(" ERROR first scan failed");
        assert!(
            told.contains("/v2/_catalog") && told.contains(words),
            "{words} in {told}"
        );
        assert_eq!(daemon.get("/readyz").status, 503);
        assert_eq!(daemon.get("/index.yaml").status, 503);
        fake.heal("GET /v2/_catalog");
        daemon.wait_ready();
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    };
    // At the same time, for each waits for the daemon's next try.
    thread::scope(|scope| {
        for (reply, words) in closed {
            scope.spawn(move || story(reply, words));
        }
    });
}
