//! Registries that answer otherwise than the specifications say (issue 11, B2 and D): they are read all the
//! same, at no higher price than once, and what the log says of them is so.

use std::time::Duration;

use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Guard, Reply, ToTls};
use crate::support::guarded::{Guarded, assert_nothing_secret};
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, ready_daemon, starting_daemon};
use crate::support::tls_front::tls_before;

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

/// Eight lines, one for each worker. Issue 11, 6h (F9).
#[test]
fn a_registry_whose_heads_return_no_digest_is_told_once() {
    let fake = registry_of(8);
    fake.spoil("HEAD /v2/*")
        .with(Fault::NoHeader("Docker-Content-Digest"));
    fake.spoil("HEAD /v2/*")
        .with(Fault::Wait(Duration::from_millis(300)));
    let daemon = ready_daemon(&fake, &["--refresh-interval=1s"]);
    fake.wait_for("GET /v2/*/manifests/*", 2 * 8);
    assert!(fake.count("HEAD /v2/*") > 1, "{}", fake.seen());
    let log = daemon.log();
    assert_eq!(log.matches("using GET for manifests").count(), 1, "{log}");
}

/// drayage has no catalog, and its charts-index failed: which flag helps was not told. Issue 11, 6h (F9).
#[test]
fn a_charts_index_that_fails_does_not_hide_that_the_catalog_was_not_found() {
    let fake = registry_of(1);
    let closed = Reply::error(404, "UNSUPPORTED", "no catalog here");
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(closed));
    let index = "GET /v2/charts-index/manifests/latest";
    fake.spoil(index).with(Fault::Answer(Reply::new(502)));
    let daemon = starting_daemon(&fake, &[]);
    let told = daemon.wait_for_complaint(&["first scan failed"]);
    let (host, url) = (fake.host(), fake.url());
    let catalog = format!("{host} lists no repositories (GET {url}/v2/_catalog: 404 UNSUPPORTED)");
    let logged = format!("{catalog}: {} ", index.replace("/v2", &format!("{url}/v2")));
    assert!(
        told.contains(logged.trim_end()) && told.contains("502"),
        "{logged} in {told}"
    );
    assert!(told.contains("name them with --repository"), "{told}");
    let public = format!(
        "{catalog}; charts-index:latest: unreachable or failing; name them with --repository\n"
    );
    let ready = daemon.get("/readyz").body_text();
    assert!(ready.ends_with(&public), "{ready}");
}

/// Paging could not be followed in the log. Issue 11, 6h (F9).
#[test]
fn the_log_shows_the_query_of_each_page_and_of_nothing_that_a_redirect_leads_to() {
    let fake = registry_of(3);
    fake.listing(|listing| listing.clamp = 2);
    let moved = Reply::redirect(307, "/v2/c1/tags/list?signature=s3cr3t");
    fake.spoil("GET /v2/c1/tags/list?n=*")
        .with(Fault::Answer(moved));
    let daemon = ready_daemon(&fake, &[]);
    let (log, url) = (daemon.log(), fake.url());
    for page in ["n=1000: 200", "last=c1&n=1000: 200"] {
        let line = format!(" DEBUG GET {url}/v2/_catalog?{page}\n");
        assert!(log.contains(&line), "{line} in {log}");
    }
    assert!(!log.contains("s3cr3t"), "{log}");
}

/// A registry that answers only with these credentials, and doesn't say so (no `WWW-Authenticate`).
fn silent(status: u16) -> Guarded {
    let guarded = Guarded::by(Guard::Basic);
    let refusal = Reply::error(status, "DENIED", "no");
    guarded.fake.refuse_strangers(refusal);
    guarded
}

/// What "was refused" had never been sent. Issue 11, D11.
#[test]
fn a_registry_that_refuses_without_a_challenge_is_sent_the_password_once() {
    for status in [401, 403, 404] {
        let guarded = silent(status);
        guarded.assert_served();
        let repository = guarded.fake.requests("GET /v2/team/web/*");
        let bare = repository
            .iter()
            .filter(|one| one.header("Authorization").is_none());
        assert!(bare.count() <= 1, "{}", guarded.fake.seen());
        // The same with named repositories.
        let named = ["--repository=team/web", "--repository=team/db"];
        let daemon = ready_daemon(&guarded.fake, &[&*guarded.flag, named[0], named[1]]);
        assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
        assert_nothing_secret(&daemon);
    }
}

#[test]
fn what_was_sent_in_vain_is_told_as_refused_and_what_was_not_sent_as_that() {
    let wrong = r#"{"auths":{"HOST":{"username":"reader","password":"word-1 mistyped"}}}"#;
    let identity = r#"{"auths":{"HOST":{"identitytoken":"identity-token-7"}}}"#;
    for status in [401, 403] {
        let refused = silent(status).credentials(wrong);
        refused.assert_refused(&["holds for", "was refused, or lacks the right"]);
        let not_sent = silent(status).credentials(identity);
        let daemon = not_sent.assert_refused(&["was not sent", "no WWW-Authenticate"]);
        assert!(!daemon.log().contains("was refused"), "{}", daemon.log());
    }
}

/// Contract C9: neither over an HTTP that was only probed, nor to where a redirect leads.
#[test]
fn a_refusal_without_a_challenge_gets_no_password_over_probed_http_or_elsewhere() {
    for status in [401, 403, 404] {
        let guarded = silent(status);
        let registry = format!("--storage-registry-repo={}", guarded.fake.host());
        let named = "--repository=team/web";
        for flags in [
            &[&*registry, &*guarded.flag][..],
            &[&registry, &guarded.flag, named],
        ] {
            let daemon = Daemon::start(flags);
            guarded
                .fake
                .wait_for("GET /v2/team/web/tags/list", usize::from(flags.len() > 2));
            daemon.wait_for_log(if flags.len() > 2 {
                "/tags/list"
            } else {
                " ERROR first scan"
            });
        }
        let elsewhere = FakeRegistry::start_on("127.0.0.2");
        let refusal = Reply::error(status, "DENIED", "no");
        elsewhere.spoil("GET *").with(Fault::Answer(refusal));
        let moved = Reply::redirect(307, &format!("{}/v2/team/web/tags/list", elsewhere.url()));
        guarded
            .fake
            .spoil("GET /v2/team/web/tags/list")
            .with(Fault::Answer(moved));
        let daemon = starting_daemon(&guarded.fake, &[&guarded.flag, named]);
        elsewhere.wait_for("GET *", 1);
        daemon.wait_for_log("redirected to another host");
        let all = [guarded.fake.requests("* *"), elsewhere.requests("* *")].concat();
        assert!(all.iter().all(|one| one.header("Authorization").is_none()));
    }
}

/// A registry that is reached over HTTP sends its clients to HTTPS, where our credentials don't follow: the log
/// said that they were refused. Issue 11, D11.
#[test]
fn a_redirect_to_https_is_told_with_the_flag_that_helps() {
    let guarded = Guarded::by(Guard::Basic);
    let certificates = Certificates::new();
    let port = tls_before(guarded.fake.port(), &certificates);
    let front = FakeRegistry::start();
    for path in ["/v2/_catalog?n=1000", "/v2/charts-index/manifests/latest"] {
        let moved = Reply::redirect(301, &format!("https://127.0.0.1:{port}{path}"));
        front.spoil(&format!("* {path}")).with(Fault::Answer(moved));
    }
    let authority = format!(
        "--storage-registry-ca-file={}",
        certificates.authority().display()
    );
    let daemon = starting_daemon(&front, &[&authority]);
    let told = daemon.wait_for_complaint(&["first scan failed"]);
    let help =
        "redirects to HTTPS, where credentials don't follow: set --storage-registry-scheme=HTTPS";
    assert!(told.contains(help) && told.contains(": 401"), "{told}");
    assert!(daemon.get("/readyz").body_text().contains(help));
}

/// The log said "no answer in time" for ever. Issue 11, 6b (F2).
#[test]
fn a_port_of_plain_http_that_does_not_answer_a_tls_greeting_is_found_out() {
    for answer in [ToTls::Silence, ToTls::End] {
        let guarded = Guarded::by(Guard::Open);
        guarded.fake.answer_tls(answer);
        let registry = format!("--storage-registry-repo={}", guarded.fake.host());
        let daemon = Daemon::start(&[&registry, &guarded.flag]);
        let told = daemon.wait_for_log(" speaks http");
        assert!(told.contains("--storage-registry-scheme=HTTP"), "{told}");
        daemon.wait_ready();
        let all = guarded.fake.requests("* *");
        assert!(all.iter().all(|one| one.header("Authorization").is_none()));
    }
}

/// A port that answers plain HTTP with 400 or a redirect is rather one of TLS that is slow.
#[test]
fn a_port_that_answers_neither_tls_nor_as_a_registry_is_not_spoken_to_in_plain_http() {
    for status in [400, 301] {
        let fake = registry_of(1);
        fake.answer_tls(ToTls::End);
        fake.spoil("GET /v2/")
            .with(Fault::Answer(Reply::new(status)));
        let registry = format!("--storage-registry-repo={}", fake.host());
        let daemon = Daemon::start(&[&registry]);
        let told = daemon.wait_for_complaint(&["first scan failed", "GET https://"]);
        let help = "if the port does not speak TLS, set --storage-registry-scheme=HTTP";
        assert!(told.contains(help), "{told}");
        assert_eq!(fake.count("* *"), fake.count("GET /v2/"), "{}", fake.seen());
    }
}
