//! A chart repository for each prefix: what lies below it, as if there were nothing else. Two teams
//! may have a chart of one name, and each serves its own.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::{Helm, argument};
use crate::support::http::Answer;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{
    EACH_TIME, Index, LONG_WAIT, assert_skipped, ready_daemon, wait_for_charts,
};
use crate::support::tools::{HELM_VERSIONS, NEWEST_HELM};

/// Nothing is walked again during a test.
const ONCE: &str = "--max-stale=1h";

/// Two teams with a chart of one name and version, and a library.
fn registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/a/web", "1.0.0+a").signed("signed by a"));
    fake.push(&Chart::new("team/b/web", "1.0.0+a"));
    fake.push(&Chart::new("team/b/web", "1.1.0"));
    fake.push(&Chart::new("team-x/web", "3.0.0"));
    fake.push(&Chart::new("lib/db", "1.0.0"));
    fake.push_image("images/app", "1.0.0");
    fake
}

fn charts_at(daemon: &Daemon, path: &str) -> Vec<String> {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body_text());
    Index::parse(&answer.body).charts()
}

fn told(answer: &Answer) -> (u16, String, Option<&str>) {
    (answer.status, answer.body_text(), answer.header("ETag"))
}

#[test]
fn an_index_below_a_prefix_lists_what_lies_there_with_the_same_relative_urls() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    let all = ["db 1.0.0", "web 1.0.0+a", "web 1.1.0", "web 3.0.0"];
    assert_eq!(charts_at(&daemon, "/index.yaml"), all);
    for (prefix, expected) in [
        ("team", &["web 1.0.0+a", "web 1.1.0"][..]),
        ("team/a", &["web 1.0.0+a"]),
        ("team/a/web", &["web 1.0.0+a"]),
        ("team/b", &["web 1.0.0+a", "web 1.1.0"]),
        ("team-x", &["web 3.0.0"]),
        ("lib", &["db 1.0.0"]),
    ] {
        for file in ["index.yaml", "index.json"] {
            assert_eq!(
                charts_at(&daemon, &format!("/{prefix}/{file}")),
                expected,
                "{prefix}/{file}"
            );
        }
    }
    let index = Index::parse(&daemon.get("/team/b/index.yaml").body);
    assert_eq!(
        index.entry("web", "1.0.0+a")["urls"][0],
        "charts/web-1.0.0+a.tgz"
    );
    let json = daemon.get("/team/b/index.json");
    assert_eq!(json.header("Content-Type"), Some("application/json"));
    assert!(
        json.body_text().starts_with("{\"apiVersion\":\"v1\""),
        "{}",
        json.body_text()
    );
}

#[test]
fn an_archive_below_a_prefix_is_the_one_that_its_index_lists() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    for (base, repository) in [
        ("", "team/a/web"),
        ("/team", "team/a/web"),
        ("/team/a", "team/a/web"),
        ("/team/b", "team/b/web"),
        ("/team/b/web", "team/b/web"),
    ] {
        for plus in ["+", "%2B", "%2b"] {
            let path = format!("{base}/charts/web-1.0.0{plus}a.tgz");
            let answer = daemon.get(&path);
            let expected = format!("archive of {repository} 1.0.0+a");
            assert_eq!(
                (answer.status, answer.body_text()),
                (200, expected),
                "{path}"
            );
            assert_eq!(
                daemon.head(&path).header("ETag"),
                answer.header("ETag"),
                "{path}"
            );
        }
    }
    assert_eq!(
        daemon
            .get("/team/a/charts/web-1.0.0+a.tgz.prov")
            .body_text(),
        "signed by a"
    );
    for nothing in [
        "/team/b/charts/web-1.0.0+a.tgz.prov",
        "/team/a/charts/web-1.1.0.tgz",
        "/lib/charts/web-1.1.0.tgz",
        "/nowhere/charts/web-1.1.0.tgz",
    ] {
        assert_eq!(daemon.get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn where_no_chart_lies_there_is_no_index_and_a_sentence_says_so() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    for nothing in [
        "nowhere",
        "tea",
        "team/c",
        "team/a/web/x",
        "images",
        "images/app",
        "chartrepo",
    ] {
        for file in ["index.yaml", "index.json"] {
            let answer = daemon.get(&format!("/{nothing}/{file}"));
            assert_eq!(answer.status, 404, "{nothing}");
            assert_eq!(
                answer.body_text(),
                "not found: no repository below this path holds a chart\n",
                "{nothing}"
            );
        }
    }
    for odd in [
        "/Team/a/index.yaml",
        "/team%2Fa/index.yaml",
        "/team/a/index.yaml/",
    ] {
        assert_eq!(daemon.get(odd).status, 404, "{odd}");
    }
    assert_eq!(daemon.get("/team/../index.yaml").status, 400);
    for path in [
        "/team/a/index.yaml",
        "/nowhere/index.json",
        "/team/a/charts/web-1.0.0+a.tgz",
    ] {
        let refused = daemon.request("DELETE", path, &[]);
        assert_eq!(
            (refused.status, refused.header("Allow")),
            (405, Some("GET, HEAD")),
            "{path}"
        );
    }
}

#[test]
fn a_repository_may_be_named_as_one_of_our_files_is() {
    let fake = FakeRegistry::start();
    for repository in [
        "index.yaml",
        "charts",
        "charts/charts",
        "livez",
        "web-1.tgz/charts",
    ] {
        fake.push(
            &Chart::new(repository, "1.0.0")
                .config_bytes(r#"{"name":"web","version":"1.0.0","apiVersion":"v2"}"#),
        );
    }
    let daemon = ready_daemon(&fake, &[ONCE, "--any-name"]);
    for (base, repository) in [
        ("/index.yaml", "index.yaml"),
        ("/charts", "charts"),
        ("/charts/charts", "charts/charts"),
        ("/livez", "livez"),
        ("/web-1.tgz", "web-1.tgz/charts"),
        ("", "livez"),
    ] {
        assert_eq!(
            charts_at(&daemon, &format!("{base}/index.yaml")),
            ["web 1.0.0"],
            "{base}"
        );
        let archive = daemon.get(&format!("{base}/charts/web-1.0.0.tgz"));
        assert_eq!(
            archive.body_text(),
            format!("archive of {repository} 1.0.0"),
            "{base}"
        );
    }
}

#[test]
fn an_index_below_a_prefix_is_conditional_compressed_and_the_same_after_a_restart() {
    let fake = registry();
    for number in 0..20 {
        fake.push(&Chart::new("team/b/web", &format!("2.{number}.0")));
    }
    let (one, other) = (
        ready_daemon(&fake, &[ONCE]),
        ready_daemon(&fake, &[ONCE, "--concurrency=1"]),
    );
    for path in ["/team/b/index.yaml", "/team/b/index.json"] {
        let first = one.get(path);
        let etag = first.header("ETag").expect("an ETag");
        assert_eq!(told(&other.get(path)), told(&first), "{path}");
        assert_eq!(told(&one.get(path)), told(&first), "{path}");
        let head = one.head(path);
        assert_eq!(
            (head.status, head.header("ETag"), head.body.len()),
            (200, Some(etag), 0)
        );
        let known = one.request("GET", path, &[("If-None-Match", etag)]);
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        let packed = one.request("GET", path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
        let mut text = String::new();
        GzDecoder::new(&packed.body[..])
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(text, first.body_text());
    }
}

#[test]
fn an_index_below_a_prefix_costs_the_registry_no_more_than_the_one_of_all() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    let walked = fake.count("* /v2/*");
    let paths = [
        "/team/a/index.yaml",
        "/team/index.json",
        "/nowhere/index.yaml",
        "/chartrepo/lib/index.yaml",
    ];
    for path in paths.repeat(3) {
        daemon.get(path);
    }
    assert_eq!(fake.count("* /v2/*"), walked, "{}", fake.seen());

    let fake = registry();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let walked = fake.count("* /v2/*");
    for count in 1..=3 {
        daemon.get("/team/a/index.yaml");
        // The catalog, and a listing for each of five repositories.
        assert_eq!(fake.count("* /v2/*"), walked + 6 * count, "{}", fake.seen());
    }
    fake.push(&Chart::new("team/a/new", "1.0.0"));
    assert_eq!(
        charts_at(&daemon, "/team/a/index.yaml"),
        ["new 1.0.0", "web 1.0.0+a"]
    );
    fake.delete_repository("team/a/new");
    fake.delete_repository("team/a/web");
    let gone = || (daemon.get("/team/a/index.yaml").status == 404).then_some(());
    let lacking = || format!("nothing is left below team/a:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, gone);
}

#[test]
fn two_teams_charts_of_one_name_are_both_pulled_by_real_helm_each_from_its_prefix() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[ONCE]);
    for version in [HELM_VERSIONS[0], NEWEST_HELM] {
        let helm = Helm::new(version);
        for team in ["a", "b"] {
            helm.run(&[
                "repo",
                "add",
                team,
                &format!("{}/team/{team}", daemon.url()),
            ]);
        }
        helm.run(&["repo", "update"]);
        for team in ["a", "b"] {
            let directory = helm.directory(team);
            let chart = format!("{team}/web");
            let place = ["--destination", argument(&directory)];
            helm.run(&[&["pull", &*chart, "--version", "1.0.0+a"], &place[..]].concat());
            let pulled = fs::read_to_string(directory.join("web-1.0.0+a.tgz")).expect("pulled");
            assert_eq!(
                pulled,
                format!("archive of team/{team}/web 1.0.0+a"),
                "helm {version}"
            );
        }
        let found = helm.run(&[
            "search",
            "repo",
            "a/",
            "--versions",
            "--version",
            ">=0.0.0-0",
        ]);
        assert!(
            found.contains("1.0.0+a") && !found.contains("1.1.0"),
            "helm {version}: {found}"
        );
    }
}

#[test]
fn who_loses_its_name_to_another_is_skipped_and_served_below_its_prefix() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/b/web", "1.0.0"));
    fake.push(&Chart::new("team/a/web", "1.0.0"));
    fake.push(&Chart::new("longer/team/web", "1.0.0").archive("archive of team/a/web 1.0.0"));
    fake.push(&Chart::new("amb", "1.0.0-x-1.0.0"));
    fake.push(&Chart::new("amb-1.0.0-x", "1.0.0"));
    let daemon = ready_daemon(&fake, &[ONCE]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["amb 1.0.0-x-1.0.0", "web 1.0.0"]
    );
    assert_skipped(
        &daemon,
        &[
            (
                "team/b/web:1.0.0",
                "web-1.0.0.tgz is shadowed by team/a/web:1.0.0",
            ),
            (
                "amb-1.0.0-x:1.0.0",
                "amb-1.0.0-x-1.0.0.tgz is shadowed by amb:1.0.0-x-1.0.0",
            ),
        ],
    );
    let archive =
        |base: &str, name: &str| daemon.get(&format!("{base}/charts/{name}.tgz")).body_text();
    assert_eq!(archive("", "web-1.0.0"), "archive of team/a/web 1.0.0");
    assert_eq!(
        archive("/team/b", "web-1.0.0"),
        "archive of team/b/web 1.0.0"
    );
    assert_eq!(
        archive("", "amb-1.0.0-x-1.0.0"),
        "archive of amb 1.0.0-x-1.0.0"
    );
    assert_eq!(
        archive("/amb-1.0.0-x", "amb-1.0.0-x-1.0.0"),
        "archive of amb-1.0.0-x 1.0.0"
    );
    assert_eq!(
        charts_at(&daemon, "/amb-1.0.0-x/index.yaml"),
        ["amb-1.0.0-x 1.0.0"]
    );
}

#[test]
fn harbors_old_address_of_a_project_serves_the_project() {
    let fake = registry();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let (old, new) = (
        daemon.get("/chartrepo/team/index.yaml"),
        daemon.get("/team/index.yaml"),
    );
    assert_eq!(told(&old), told(&new));
    assert_eq!(daemon.get("/chartrepo/nowhere/index.yaml").status, 404);
    let helm = Helm::new(NEWEST_HELM);
    helm.run(&[
        "repo",
        "add",
        "old",
        &format!("{}/chartrepo/team", daemon.url()),
    ]);
    let directory = helm.directory("pulled");
    helm.run(&[
        "pull",
        "old/web",
        "--version",
        "1.1.0",
        "--destination",
        argument(&directory),
    ]);
    let pulled = fs::read_to_string(directory.join("web-1.1.0.tgz")).expect("pulled");
    assert_eq!(pulled, "archive of team/b/web 1.1.0");

    // A repository that really is there goes first.
    fake.push(&Chart::new("chartrepo/team/own", "1.0.0"));
    assert_eq!(
        charts_at(&daemon, "/chartrepo/team/index.yaml"),
        ["own 1.0.0"]
    );
    assert_eq!(charts_at(&daemon, "/chartrepo/index.yaml"), ["own 1.0.0"]);
    assert_eq!(
        charts_at(&daemon, "/chartrepo/lib/index.yaml"),
        ["db 1.0.0"]
    );
}

#[test]
fn a_prefix_in_the_registrys_address_stays_part_of_every_name() {
    let fake = registry();
    let registry = format!("--storage-registry-repo={}/team", fake.host());
    let daemon = Daemon::start_ready(&[&registry, "--storage-registry-scheme=HTTP", ONCE]);
    wait_for_charts(&daemon, &["web 1.0.0+a", "web 1.1.0"]);
    assert_eq!(charts_at(&daemon, "/team/a/index.yaml"), ["web 1.0.0+a"]);
    assert_eq!(daemon.get("/a/index.yaml").status, 404);
    let (all, team) = (daemon.get("/index.yaml"), daemon.get("/team/index.yaml"));
    assert_eq!(told(&all), told(&team));
}
