//! Which repositories are walked: the best source that will tell is asked, the log says which one,
//! and a stumbling registry never makes us content with less (Docker Hub, GHCR, GAR, ACR, …; Harbor
//! has a module of its own).

use crate::support::charts_index::{LAYER, push_as_charts_index, push_charts_index};
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{
    EACH_TIME, Index, LONG_WAIT, ready_daemon, refresh_until_logged, sources_told, starting_daemon,
    wait_for_charts,
};

/// The catalog is closed for good, as Docker Hub's.
fn close_catalog(fake: &FakeRegistry) {
    let closed = Reply::error(404, "UNSUPPORTED", "no catalog here");
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(closed));
}

#[test]
fn where_nothing_is_listed_a_charts_index_tells_what_lies_beside_it() {
    let fake = FakeRegistry::start();
    for repository in ["bitnami/web", "bitnami/sub/db", "bitnami/unlisted", "web"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    push_charts_index(
        &fake,
        "bitnami/charts-index",
        &["web", "sub/db", "gone", "../web", "Web", ""],
    );
    close_catalog(&fake);
    let registry = format!("--storage-registry-repo={}/bitnami", fake.url());
    let daemon = Daemon::start_ready(&[&registry]);

    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    let told = sources_told(&daemon);
    assert!(
        told[0].contains("charts-index") && told[0].contains("/v2/_catalog: 404 UNSUPPORTED"),
        "{told:?}"
    );
    fake.push(&Chart::new("bitnami/web", "2.0.0"));
    wait_for_charts(&daemon, &["db 1.0.0", "web 1.0.0", "web 2.0.0"]);
    assert_eq!(
        fake.count("GET /v2/bitnami/charts-index/manifests/latest"),
        1,
        "it hasn't changed"
    );
    assert!(
        fake.count("HEAD /v2/bitnami/charts-index/manifests/latest") > 0,
        "{}",
        fake.seen()
    );
    assert_eq!(
        fake.count("GET /v2/_catalog"),
        1,
        "what said no for good isn't asked again"
    );
    push_charts_index(
        &fake,
        "bitnami/charts-index",
        &["web", "sub/db", "unlisted"],
    );
    wait_for_charts(
        &daemon,
        &["db 1.0.0", "unlisted 1.0.0", "web 1.0.0", "web 2.0.0"],
    );
    assert_eq!(sources_told(&daemon).len(), 1, "{}", daemon.log());
}

#[test]
fn what_only_calls_itself_a_charts_index_is_none() {
    let pretenders: [(&str, &[u8]); 5] = [
        ("application/json", b"{\"entries\":{\"web\":{}}}"),
        (LAYER, b"[\"web\"]"),
        (LAYER, b"{\"entries\":[\"web\"]}"),
        (LAYER, b"<html>"),
        (LAYER, b"{}"),
    ];
    std::thread::scope(|scope| {
        for (layer_type, bytes) in pretenders {
            scope.spawn(move || {
                let fake = FakeRegistry::start();
                fake.push(&Chart::new("web", "1.0.0"));
                push_as_charts_index(&fake, "charts-index", layer_type, bytes);
                close_catalog(&fake);
                let daemon = starting_daemon(&fake, &[]);
                let told = daemon.wait_for_log(" ERROR first scan failed");
                assert!(
                    told.contains("charts-index:latest: not a charts index"),
                    "{told}"
                );
            });
        }
    });
}

#[test]
fn an_empty_catalog_may_hide_what_a_charts_index_tells() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    push_charts_index(&fake, "charts-index", &["web"]);
    fake.spoil("GET /v2/_catalog")
        .with(Fault::Body(b"{\"repositories\":[]}".to_vec()));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert!(
        sources_told(&daemon)[0].contains("the catalog lists nothing"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_registry_that_lists_nothing_is_believed_and_the_log_says_what_helps_if_that_is_wrong() {
    let fake = FakeRegistry::start();
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), [""; 0]);
    let told = daemon.wait_for_log(" lists no repositories");
    assert!(told.contains(" INFO "), "{told}");
    assert!(
        told.contains("the catalog lists nothing") && told.contains("--repository"),
        "{told}"
    );
    fake.push(&Chart::new("web", "1.0.0"));
    wait_for_charts(&daemon, &["web 1.0.0"]);
}

#[test]
fn a_prefix_that_nothing_lies_below_is_warned_of_once_with_what_looks_like_it() {
    let fake = FakeRegistry::start();
    for repository in ["apps/a", "platform/charts/db", "platform/charts/web", "zoo"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    let registry = format!("--storage-registry-repo={}/platform/chart", fake.url());
    let daemon = Daemon::start_ready(&[&registry]);
    assert_eq!(Index::of(&daemon).charts(), [""; 0]);
    let told = daemon.wait_for_log(" WARN ");
    let sentence = "none of the repositories that the catalog lists (4, such as platform/charts/db) lies below \
                    the prefix platform/chart";
    assert!(told.ends_with(sentence), "{told}");
    fake.push(&Chart::new("platform/chart/web", "1.0.0"));
    wait_for_charts(&daemon, &["web 1.0.0"]);
    assert_eq!(
        daemon.log().matches(sentence).count(),
        1,
        "{}",
        daemon.log()
    );
    assert!(!daemon.log().contains("--repository"), "{}", daemon.log());
}

#[test]
fn a_catalog_that_stumbles_at_the_start_is_asked_again_and_no_lesser_source_is() {
    for stumble in [Reply::new(503), Reply::new(429), Reply::new(500)] {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.push(&Chart::new("db", "1.0.0"));
        push_charts_index(&fake, "charts-index", &["web"]);
        fake.spoil("GET /v2/_catalog")
            .first(5)
            .with(Fault::Answer(stumble));
        let daemon = ready_daemon(&fake, &[]);
        assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    }
}

#[test]
fn a_catalog_that_has_told_stays_the_source_whatever_it_says_but_that_it_is_gone() {
    let refusals = [
        (Reply::error(401, "UNAUTHORIZED", "who are you"), true),
        (Reply::error(403, "DENIED", "not for you"), true),
        (Reply::new(200).body("<html>maintenance</html>"), true),
        (Reply::new(503), true),
        (
            Reply::error(404, "UNSUPPORTED", "no catalog any more"),
            false,
        ),
    ];
    let story = |reply: Reply, stays: bool| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.push(&Chart::new("db", "1.0.0"));
        push_charts_index(&fake, "charts-index", &["web"]);
        let daemon = ready_daemon(&fake, &[]);
        fake.spoil("GET /v2/_catalog").with(Fault::Answer(reply));
        if stays {
            refresh_until_logged(&daemon, " WARN refresh failed", 1);
            assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
        } else {
            wait_for_charts(&daemon, &["web 1.0.0"]);
        }
        assert_eq!(
            fake.count("GET /v2/charts-index/blobs/*") > 0,
            !stays,
            "{}",
            fake.seen()
        );
    };
    // At the same time, for each waits for the daemon's next walk.
    std::thread::scope(|scope| {
        for (reply, stays) in refusals {
            scope.spawn(move || story(reply, stays));
        }
    });
}

#[test]
fn where_no_source_tells_one_sentence_says_what_each_answered_in_no_words_of_the_registrys() {
    let fake = FakeRegistry::start();
    let closed = Reply::error(403, "DENIED", "password hunter2 is wrong");
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(closed));
    let closed = Reply::error(401, "<script>alert(1)</script>", "");
    fake.spoil("GET /v2/charts-index/manifests/latest")
        .with(Fault::Answer(closed));
    let daemon = starting_daemon(&fake, &[]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    let (url, host) = (fake.url(), fake.host());
    let sentence = format!(
        "{host} lists no repositories (GET {url}/v2/_catalog: 403 DENIED; \
         GET {url}/v2/charts-index/manifests/latest: 401); "
    );
    let logged = format!(
        "{sentence}there is no file with credentials (--storage-registry-config \
         /etc/secret/dockerconfigjson); or name them with --repository"
    );
    assert!(told.contains(&logged), "{logged} in {told}");
    // Not everybody is told which files this machine has.
    let public = format!(
        "{sentence}check what --storage-registry-config holds for this registry; or name them with --repository"
    );
    let body = || daemon.get("/readyz").body_text();
    wait_until(DEADLINE, body, || body().contains(&public).then_some(()));
    fake.heal("GET /v2/_catalog");
    fake.push(&Chart::new("web", "1.0.0"));
    daemon.wait_ready();
}

#[test]
fn a_web_server_that_is_no_registry_is_told_as_one() {
    let fake = FakeRegistry::start();
    let page = Reply::new(200).body("<html>welcome</html>");
    fake.spoil("GET /v2/_catalog")
        .with(Fault::Answer(page.clone()));
    fake.spoil("GET /v2/charts-index/manifests/latest")
        .with(Fault::Answer(page));
    let daemon = starting_daemon(&fake, &[]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    let sentence = format!(
        "; {} doesn't answer like a registry; check address and port",
        fake.host()
    );
    assert!(
        told.contains(&sentence) && !told.contains("--repository"),
        "{told}"
    );
}

#[test]
fn of_named_repositories_one_that_is_not_there_or_not_for_us_is_warned_of_once_and_the_rest_is_served()
 {
    let fake = FakeRegistry::start();
    for repository in ["team/closed", "team/web"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    let closed = Reply::error(403, "DENIED", "not for you");
    fake.spoil("GET /v2/team/closed/tags/list")
        .with(Fault::Answer(closed));
    let names = [
        "--repository=team/closed",
        "--repository=team/wbe",
        "--repository=team/web",
        EACH_TIME,
        LONG_WAIT,
    ];
    let daemon = ready_daemon(&fake, &names);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let told = |name: &str| {
        let needle = format!(" WARN --repository {name}: no charts served: ");
        let log = daemon.log();
        let told = log
            .lines()
            .filter_map(|line| Some(line.split_once(&needle)?.1.to_owned()));
        told.collect::<Vec<_>>()
    };
    let seen = fake.count("GET /v2/team/web/tags/list");
    wait_until(
        DEADLINE,
        || fake.seen(),
        || {
            daemon.get("/index.yaml");
            (fake.count("GET /v2/team/web/tags/list") >= seen + 2).then_some(())
        },
    );
    let url = fake.url();
    let missing = format!(
        "GET {url}/v2/team/wbe/tags/list: 404 NAME_UNKNOWN: repository name not known to registry"
    );
    assert_eq!(told("team/wbe"), std::slice::from_ref(&missing));
    let refused = format!(
        "GET {url}/v2/team/closed/tags/list: 403 DENIED: not for you; there is no file with credentials \
         (--storage-registry-config /etc/secret/dockerconfigjson)"
    );
    assert_eq!(told("team/closed"), [refused]);

    fake.push(&Chart::new("team/wbe", "1.0.0"));
    wait_for_charts(&daemon, &["wbe 1.0.0", "web 1.0.0"]);
    fake.delete_repository("team/wbe");
    wait_for_charts(&daemon, &["web 1.0.0"]);
    assert_eq!(
        told("team/wbe"),
        [missing.clone(), missing],
        "{}",
        daemon.log()
    );
    assert!(told("team/web").is_empty());
}

/// GHCR has no catalog, so that nothing lists what lies below a prefix; but the prefix may be a repository
/// itself, as it stands in `oci://ghcr.io/OWNER/CHART`. Issue 11, E16.
#[test]
fn where_there_is_no_catalog_a_prefix_that_is_a_repository_is_served() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("owner/web", "1.0.0"));
    close_catalog(&fake);
    let registry = format!("--storage-registry-repo={}/owner/web", fake.url());
    let daemon = Daemon::start_ready(&[&registry]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let told = sources_told(&daemon);
    let source = "those that the prefix, as a repository, lists (GET ";
    assert!(told[0].starts_with(source), "{told:?}");
    fake.push(&Chart::new("owner/web", "2.0.0"));
    wait_for_charts(&daemon, &["web 1.0.0", "web 2.0.0"]);
    assert_eq!(fake.count("GET /v2/_catalog"), 1, "{}", fake.seen());
}

/// Artifactory lists each of its own repositories by itself, at `/v2/KEY/_catalog`
/// (<https://github.com/regclient/regclient/issues/820>). Issue 11, E16.
#[test]
fn where_the_hosts_catalog_fails_that_of_the_prefix_is_read() {
    let fake = FakeRegistry::start();
    for repository in ["key/web", "key/sub/db", "other/web"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    close_catalog(&fake);
    let page = |names: &str, next: &str| {
        let reply = Reply::new(200).body(format!("{{\"repositories\":[{names}]}}"));
        reply.header("Link", &format!("</v2/_catalog?{next}>; rel=\"next\""))
    };
    fake.page("/v2/key/_catalog?n=1000", page("\"sub/db\"", "last=sub"));
    let last = Reply::new(200).body("{\"repositories\":[\"web\"]}");
    fake.page("/v2/key/_catalog?last=sub", last);
    for (prefix, charts) in [
        ("key", &["db 1.0.0", "web 1.0.0"][..]),
        ("key/sub", &["db 1.0.0"]),
    ] {
        let registry = format!("--storage-registry-repo={}/{prefix}", fake.url());
        let daemon = Daemon::start_ready(&[&registry]);
        assert_eq!(Index::of(&daemon).charts(), charts, "{prefix}");
        let told = sources_told(&daemon);
        assert!(told[0].contains("the catalog of the prefix"), "{told:?}");
    }
}
