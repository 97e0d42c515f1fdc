//! What programs ask for: the charts as ChartMuseum's API tells of them, and what isn't listed and
//! why; so that "why is my chart missing?" is one request, of `/readyz` as long as there is no index.

use std::io::Read;
use std::net::TcpListener;
use std::thread;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Guard, Reply, media};
use crate::support::http::Answer;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{EACH_TIME, LONG_WAIT, ready_daemon, starting_daemon};

const ONCE: &str = "--max-stale=1h";

fn registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for version in ["1.0.0+b", "1.1.0", "2.0.0-rc.1"] {
        fake.push(&Chart::new("team/web", version));
    }
    fake.push(&Chart::new("web-1.1.0", "1.0.0"));
    fake.push(&Chart::new("db", "1.0.0"));
    fake.push_image("images/app", "1.0.0");
    fake
}

fn parsed(answer: &Answer) -> Value {
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/json"),
        "{}",
        answer.body_text()
    );
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn json_at(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body_text());
    parsed(&answer)
}

#[test]
fn charts_are_told_as_the_index_lists_them() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    let index = json_at(&daemon, "/index.json");
    assert_eq!(json_at(&daemon, "/api/charts"), index["entries"]);
    for name in ["web", "web-1.1.0", "db"] {
        let versions = &index["entries"][name];
        assert_eq!(
            &json_at(&daemon, &format!("/api/charts/{name}")),
            versions,
            "{name}"
        );
        for entry in versions.as_array().expect("a list") {
            let path = format!(
                "/api/charts/{name}/{}",
                entry["version"].as_str().expect("a version")
            );
            assert_eq!(&json_at(&daemon, &path), entry);
            assert_eq!(&json_at(&daemon, &path.replace('+', "%2B")), entry);
        }
    }
    assert_eq!(
        json_at(&daemon, "/api/charts/web/latest")["version"],
        "1.1.0"
    );
    assert_eq!(
        json_at(&daemon, "/api/charts/web")[0]["version"],
        "2.0.0-rc.1"
    );
}

#[test]
fn what_is_not_listed_is_an_error_as_chartmuseum_tells_it() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    for (path, error) in [
        ("/api/charts/we", "chart not found"),
        ("/api/charts/%22", "chart not found"),
        ("/api/charts/nowhere/1.0.0", "no chart name found"),
        (
            "/api/charts/web/9.9.9",
            "no chart version found for web-9.9.9",
        ),
        (
            "/api/charts/web/1.0.0",
            "no chart version found for web-1.0.0",
        ),
        ("/api/charts/web/%22", "no chart version found for web-\""),
    ] {
        let answer = daemon.get(path);
        assert_eq!(
            (answer.status, parsed(&answer)),
            (404, json!({ "error": error })),
            "{path}"
        );
        let head = daemon.head(path);
        assert_eq!((head.status, head.body.len()), (404, 0), "{path}");
    }
    for path in [
        "/api",
        "/api/",
        "/api/charts/",
        "/api/charts/web/",
        "/api/prov",
        "/api/skipped/x",
    ] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
    for (method, path) in [
        ("POST", "/api/charts"),
        ("DELETE", "/api/charts/web/1.1.0"),
        ("PUT", "/api/skipped"),
    ] {
        let refused = daemon.request(method, path, &[]);
        assert_eq!(
            (refused.status, refused.header("Allow")),
            (405, Some("GET, HEAD")),
            "{method} {path}"
        );
    }
}

#[test]
fn what_is_skipped_is_told_with_its_reason_and_since_when() {
    let fake = registry();
    fake.push(&Chart::new("team/bad", "1.0.0").config_bytes("{}"));
    fake.push(&Chart::new("b/db", "1.0.0").archive("another archive"));
    let began = OffsetDateTime::now_utc().unix_timestamp();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let skipped = json_at(&daemon, "/api/skipped");
    let of = |skipped: &Value, field: &str| {
        let list = skipped.as_array().expect("a list").clone();
        list.iter()
            .map(|one| one[field].as_str().expect("a string").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&skipped, "reference"),
        ["b/db:1.0.0", "images/app:1.0.0", "team/bad:1.0.0"]
    );
    let reasons = of(&skipped, "reason");
    assert_eq!(reasons[0], "db-1.0.0.tgz is shadowed by db:1.0.0");
    assert!(reasons[2].contains("name"), "{reasons:?}");
    for since in of(&skipped, "since") {
        let since = OffsetDateTime::parse(&since, &Rfc3339)
            .expect("RFC 3339")
            .unix_timestamp();
        assert!(
            (began..=OffsetDateTime::now_utc().unix_timestamp()).contains(&since),
            "{since}"
        );
    }

    // A verdict that stands keeps its date, whatever comes and goes beside it.
    let second = OffsetDateTime::now_utc().unix_timestamp() + 1;
    let past = || (OffsetDateTime::now_utc().unix_timestamp() >= second).then_some(());
    wait_until(DEADLINE, || "the next second".to_owned(), past);
    fake.push_image("images/app", "2.0.0");
    fake.delete_tag("team/bad", "1.0.0");
    let later = json_at(&daemon, "/api/skipped");
    assert_eq!(
        of(&later, "reference"),
        ["b/db:1.0.0", "images/app:1.0.0", "images/app:2.0.0"]
    );
    assert_eq!(later[0], skipped[0]);
    assert_eq!(later[1], skipped[1]);
    assert_ne!(later[2]["since"], skipped[1]["since"]);
}

/// A pusher's megabyte was kept, logged and shown once for each tag.
#[test]
fn a_pushed_text_of_a_megabyte_is_cut_before_it_is_a_reason() {
    let fake = registry();
    let long = "\u{202e}x".repeat(300_000);
    let manifest = json!({"schemaVersion": 2, "layers": [], "config": {
        "mediaType": long, "digest": format!("sha256:{:064}", 0), "size": 2}});
    fake.push_manifest(
        "images/app",
        "9.0.0",
        media::OCI_MANIFEST,
        manifest.to_string().as_bytes(),
    );
    for (repository, config) in [
        ("team/bad", json!({"name": "bad", "version": long})),
        (
            "team/odd",
            json!({"name": "odd", "version": format!("1.0.0+{}", "a".repeat(300_000))}),
        ),
        ("team/no", json!({"name": long, "version": "1.0.0"})),
    ] {
        fake.push(&Chart::new(repository, "1.0.0").config(&config));
    }
    let daemon = ready_daemon(&fake, &[ONCE, "--log-level=debug"]);
    let skipped = json_at(&daemon, "/api/skipped");
    assert_eq!(skipped.as_array().map(Vec::len), Some(5), "{skipped}");
    for one in skipped.as_array().expect("a list") {
        let reason = one["reason"].as_str().expect("a reason");
        assert!(
            reason.len() < 3_000,
            "{} bytes: {reason:.100}",
            reason.len()
        );
        assert!(!reason.contains('\u{202e}'), "{reason}");
    }
    let longest = daemon.log().lines().map(str::len).max();
    assert!(longest < Some(4_000), "a log line of {longest:?} bytes");
}

#[test]
fn what_is_skipped_is_told_in_pages_with_a_total() {
    let fake = registry();
    for number in 0..7 {
        fake.push_image("images/app", &format!("2.0.{number}"));
    }
    let daemon = ready_daemon(&fake, &[ONCE]);
    let all = json_at(&daemon, "/api/skipped");
    let all = all.as_array().expect("a list");
    assert_eq!(all.len(), 8);
    let (mut path, mut seen) = ("/api/skipped?x=y&limit=3".to_owned(), Vec::new());
    loop {
        let page = daemon.get(&path);
        assert_eq!(page.header("X-Total-Count"), Some("8"), "{path}");
        let listed = parsed(&page).as_array().expect("a list").clone();
        assert!(listed.len() <= 3, "{path}");
        seen.extend(listed);
        let Some(next) = page.header("Link") else {
            break;
        };
        let next = next.strip_prefix('<').and_then(|link| link.split_once('>'));
        let (target, relation) = next.expect("a link");
        assert_eq!(relation, "; rel=\"next\"");
        path = format!("/api/{target}");
    }
    assert_eq!(&seen, all);
    assert_eq!(json_at(&daemon, "/api/skipped?offset=99"), json!([]));
    for bad in ["offset=-1", "limit=x", "limit="] {
        let answer = daemon.get(&format!("/api/skipped?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[test]
fn what_the_registry_says_in_refusing_stays_in_the_log() {
    let fake = registry();
    let refusal = Fault::Answer(Reply::error(403, "DENIED", "the password is swordfish"));
    fake.spoil("GET /v2/db/manifests/*").with(refusal);
    let daemon = ready_daemon(&fake, &[ONCE]);
    let skipped = json_at(&daemon, "/api/skipped");
    let told = json!("could not be read: access denied; see the log");
    assert_eq!(
        (&skipped[0]["reference"], &skipped[0]["reason"]),
        (&json!("db:1.0.0"), &told)
    );
    assert!(!skipped.to_string().contains(&fake.host()), "{skipped}");
    daemon.wait_for_log("swordfish");
}

#[test]
fn answers_to_programs_are_conditional_and_compressed_and_cost_the_registry_nothing() {
    let fake = registry();
    for number in 0..20 {
        fake.push(&Chart::new("team/web", &format!("3.{number}.0")));
        fake.push_image("images/app", &format!("3.{number}.0"));
    }
    let daemon = ready_daemon(&fake, &[ONCE]);
    let walked = fake.count("* /v2/*");
    for path in ["/api/charts", "/api/charts/web", "/api/skipped"] {
        let plain = daemon.get(path);
        let etag = plain.header("ETag").expect("an ETag");
        assert_eq!(plain.header("Cache-Control"), Some("no-cache"), "{path}");
        assert_eq!(daemon.get(path).header("ETag"), Some(etag), "{path}");
        let head = daemon.head(path);
        assert_eq!(
            (head.status, head.header("ETag"), head.body.len()),
            (200, Some(etag), 0),
            "{path}"
        );
        let known = daemon.request("GET", path, &[("If-None-Match", etag)]);
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        let packed = daemon.request("GET", path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(packed.header("Content-Encoding"), Some("gzip"), "{path}");
        let mut text = String::new();
        GzDecoder::new(&packed.body[..])
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(text, plain.body_text(), "{path}");
    }
    let version = daemon.get("/api/charts/web/1.1.0");
    let etag = version.header("ETag").expect("an ETag");
    assert_eq!(
        daemon
            .request("GET", "/api/charts/web/1.1.0", &[("If-None-Match", etag)])
            .status,
        304
    );
    assert_eq!(fake.count("* /v2/*"), walked, "{}", fake.seen());
}

#[test]
fn a_pushed_chart_is_told_of_at_once_and_a_deleted_one_no_more() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    for path in ["/api/charts", "/api/charts/db", "/api/skipped"] {
        daemon.get(path);
    }
    fake.push(&Chart::new("db", "2.0.0"));
    assert_eq!(
        json_at(&daemon, "/api/charts/db/latest")["version"],
        "2.0.0"
    );
    assert_eq!(json_at(&daemon, "/api/charts/db")[0]["version"], "2.0.0");
    assert_eq!(json_at(&daemon, "/api/charts")["db"][0]["version"], "2.0.0");
    fake.delete_repository("db");
    let gone = || (daemon.get("/api/charts/db").status == 404).then_some(());
    wait_until(DEADLINE, || format!("db is gone:\n{}", daemon.log()), gone);
}

#[test]
fn a_repository_may_lie_where_the_api_is() {
    let fake = registry();
    for repository in ["api/web", "api/charts", "api/charts/web"] {
        fake.push(&Chart::new(repository, "5.0.0"));
    }
    let daemon = ready_daemon(&fake, &[ONCE]);
    let index = json_at(&daemon, "/api/charts/index.json");
    assert_eq!(
        index["entries"].as_object().expect("entries").len(),
        2,
        "{index}"
    );
    assert_eq!(
        daemon.get("/api/charts/web-5.0.0.tgz").body_text(),
        "archive of api/web 5.0.0"
    );
    let archive = daemon.get("/api/charts/charts/web-5.0.0.tgz");
    assert_eq!(archive.body_text(), "archive of api/charts/web 5.0.0");
    assert_eq!(
        json_at(&daemon, "/api/charts/charts/5.0.0")["name"],
        "charts"
    );
}

#[test]
fn while_there_is_no_index_readyz_says_what_was_tried_and_what_helps() {
    let fake = registry();
    let closed = Reply::error(404, "UNSUPPORTED", "swordfish");
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(closed));
    let daemon = starting_daemon(&fake, &[]);
    daemon.wait_for_log(" ERROR first scan failed");
    let answer = daemon.get("/readyz");
    let text = answer.body_text();
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("2")),
        "{text}"
    );
    assert!(text.starts_with("not ready: "), "{text}");
    for word in [
        "/v2/_catalog: 404",
        "/v2/charts-index/manifests/latest: 404",
        "--repository",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert!(
        !text.contains("swordfish") && text.lines().count() == 1,
        "{text}"
    );
    for path in [
        "/index.yaml",
        "/team/index.yaml",
        "/api/charts",
        "/api/skipped",
        "/team/charts/web-1.1.0.tgz",
    ] {
        let early = daemon.get(path);
        assert_eq!(
            (early.status, early.header("Retry-After")),
            (503, Some("2")),
            "{path}"
        );
        assert!(
            !early.body_text().contains("_catalog"),
            "{path}: {}",
            early.body_text()
        );
    }
    fake.heal("GET /v2/_catalog");
    daemon.wait_ready();
    assert!(daemon.get("/readyz").body_text().starts_with("ready: "));
}

#[test]
fn what_a_registry_says_when_it_fails_is_not_for_readyz() {
    for reply in [
        Reply::error(500, "UNKNOWN", "swordfish"),
        Reply::error(429, "TOOMANYREQUESTS", "swordfish"),
    ] {
        let fake = registry();
        fake.spoil("GET /v2/_catalog").with(Fault::Answer(reply));
        let daemon = starting_daemon(&fake, &[]);
        daemon.wait_for_log(" ERROR first scan failed");
        let text = daemon.get("/readyz").body_text();
        assert!(
            text.ends_with(": unreachable or failing; see the log\n"),
            "{text}"
        );
        assert!(
            !text.contains("swordfish") && !text.contains(&fake.host()),
            "{text}"
        );
    }
    let fake = registry();
    fake.guard(Guard::Basic);
    let daemon = starting_daemon(&fake, &[]);
    daemon.wait_for_log(" ERROR first scan failed");
    let text = daemon.get("/readyz").body_text();
    assert!(
        text.contains("401") && text.contains("--storage-registry-config"),
        "{text}"
    );
}

/// It said "unreachable or failing" of each of them. Issue 16, 7.
#[test]
fn readyz_tells_why_there_is_no_connection_to_the_registry_itself() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let refused = closed.local_addr().expect("its address").to_string();
    drop(closed);
    let hasty = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let hung_up = hasty.local_addr().expect("its address").to_string();
    thread::spawn(move || hasty.incoming().for_each(drop));
    // No name server is asked for a label of more than 63 characters.
    let unknown = format!("{}.example", "x".repeat(64));
    for (registry, why) in [
        (refused, "the connection was refused"),
        (hung_up, "the connection was closed without an answer"),
        (unknown, "the host's name can't be looked up"),
    ] {
        for scheme in ["", "HTTP", "HTTPS"] {
            let flags = [
                format!("--storage-registry-repo={registry}"),
                format!("--storage-registry-scheme={scheme}"),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let daemon = Daemon::start(&flags[..2 - usize::from(scheme.is_empty())]);
            daemon.wait_for_log(" ERROR first scan failed");
            let text = daemon.get("/readyz").body_text();
            assert!(
                text.contains(&format!(": {why}; ")) && text.contains(" --storage-registry-"),
                "{scheme} {text}"
            );
            assert!(!text.contains(&registry), "{text}");
        }
    }
}

#[test]
fn readyz_does_not_tell_whether_a_port_is_open_that_a_redirect_leads_to() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = format!("http://{}/", closed.local_addr().expect("its address"));
    drop(closed);
    let fake = registry();
    let reply = Reply::redirect(307, &target);
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(reply));
    let daemon = starting_daemon(&fake, &[]);
    daemon.wait_for_log(" ERROR first scan failed");
    let text = daemon.get("/readyz").body_text();
    assert!(
        text.ends_with(": unreachable or failing; see the log\n"),
        "{text}"
    );
}

/// A redirect may lead to a host inside the network: its URL, its code and its words were in `/readyz`.
#[test]
fn what_a_redirect_leads_to_is_not_for_readyz_but_for_the_log() {
    let (fake, inside) = (registry(), FakeRegistry::start());
    let reply = Reply::error(403, "SWORDFISH", "hunter2");
    inside.spoil("GET *").with(Fault::Answer(reply));
    let target = format!("{}/v2/inner/secret/tags/list", inside.url());
    let reply = Reply::redirect(307, &target);
    fake.spoil("GET /v2/_catalog").with(Fault::Answer(reply));
    let daemon = starting_daemon(&fake, &[]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    let text = daemon.get("/readyz").body_text();
    for word in ["secret", "SWORDFISH", "hunter2", &inside.host()] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(text.contains("redirected to another host"), "{text}");
    let log = daemon.log();
    assert!(log.contains(&format!("GET {target}: 403")), "{told}\n{log}");
}

/// The same where what it leads to is answered with 200: the URL was in `/readyz`. Issue 17, 9.
#[test]
fn a_page_that_a_redirect_leads_to_is_not_for_readyz_but_for_the_log() {
    let (fake, inside) = (registry(), FakeRegistry::start());
    inside.page("/secret", Reply::new(200).body("<html>hunter2"));
    let target = format!("{}/secret", inside.url());
    for path in ["/v2/_catalog", "/v2/charts-index/manifests/latest"] {
        let reply = Reply::redirect(307, &target);
        fake.spoil(&format!("GET {path}"))
            .with(Fault::Answer(reply));
    }
    let daemon = starting_daemon(&fake, &[]);
    daemon.wait_for_log(" ERROR first scan failed");
    let text = daemon.get("/readyz").body_text();
    for word in ["secret", "hunter2", &inside.host()] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(
        text.contains("redirected to another host: not a listing"),
        "{text}"
    );
    let log = daemon.log();
    assert!(log.contains(&format!("GET {target}: 200")), "{log}");
}
