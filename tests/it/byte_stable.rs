//! Contract C2: the same registry content gives the same bytes and the same ETag, from every
//! replica, after every restart, whatever order the answers came in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::http::Answer;
use crate::support::process::wait_until;
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, ready_daemon, wait_for_charts};

/// The same charts, pushed in the order of this seed, and listed in another.
fn registry(seed: u64, charts: &[Chart]) -> FakeRegistry {
    let fake = FakeRegistry::start();
    let start = seed as usize % charts.len();
    for chart in charts[start..].iter().chain(&charts[..start]) {
        fake.push(chart);
    }
    fake.listing(|listing| listing.seed = Some(seed));
    fake
}

/// Charts whose order matters somewhere: aliases, equal precedence, clashes, names that collide.
fn charts() -> Vec<Chart> {
    const CREATED: &str = "org.opencontainers.image.created";
    let web = Chart::new("team/web", "1.0.0").annotation(CREATED, "2024-01-02T03:04:05Z");
    let mut charts = vec![
        web.clone(),
        web.tag("latest"),
        Chart::new("team/web", "1.0.0+a"),
        Chart::new("team/web", "1.0.0+b"),
        Chart::new("team/web", "v1.0.0"),
        Chart::new("copy/web", "1.0.0+a").archive("another archive"),
        Chart::new("aaaa/web", "1.0.0+a").archive("a third archive"),
        Chart::new("amb", "1.0.0-x-1.0.0"),
        Chart::new("amb-1.0.0-x", "1.0.0"),
        Chart::new("team/twice", "1.0.0")
            .tag("one")
            .archive("first"),
        Chart::new("team/twice", "1.0.0")
            .tag("two")
            .archive("second"),
        Chart::new("team/bad", "1.0.0").config_bytes("{}"),
    ];
    let many = (0..40).map(|n| Chart::new(&format!("many/c{}", n % 8), &format!("0.{n}.0")));
    charts.extend(many);
    charts
}

/// An answer that must not depend on who gives it.
fn told(answer: &Answer) -> (u16, &[u8], Option<&str>) {
    (answer.status, &answer.body, answer.header("ETag"))
}

#[test]
fn replicas_that_hear_the_answers_in_different_orders_give_identical_bytes() {
    let charts = charts();
    let one = registry(1, &charts);
    let daemon = ready_daemon(&one, &["--concurrency=1"]);
    let first = daemon.get("/index.yaml");
    let etag = first.header("ETag").expect("an ETag");
    assert!(
        etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10,
        "{etag}"
    );

    for seed in [7, 20, 33] {
        let other = registry(seed, &charts);
        other
            .spoil("GET /v2/team/*")
            .with(Fault::Wait(Duration::from_millis(seed)));
        let replica = ready_daemon(&other, &["--concurrency=8"]);
        let answer = replica.get("/index.yaml");
        assert_eq!(answer.body_text(), first.body_text(), "seed {seed}");
        assert_eq!(told(&answer), told(&first), "seed {seed}");
        for chart in ["web-1.0.0+a", "amb-1.0.0-x-1.0.0", "twice-1.0.0"] {
            let path = format!("/charts/{chart}.tgz");
            assert_eq!(
                told(&replica.get(&path)),
                told(&daemon.get(&path)),
                "{path}"
            );
        }
    }
}

#[test]
fn a_restart_and_a_refresh_give_the_same_bytes_again() {
    let fake = registry(3, &charts());
    let first = ready_daemon(&fake, &[]).get("/index.yaml");
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(told(&daemon.get("/index.yaml")), told(&first));

    // There and back again: what was once listed leaves no trace.
    let before = list(&daemon);
    fake.push(&Chart::new("team/new", "9.0.0"));
    let mut with_new = before.clone();
    with_new.push("new 9.0.0".to_owned());
    with_new.sort();
    wait_for(&daemon, &with_new);
    assert_ne!(told(&daemon.get("/index.yaml")), told(&first));
    fake.delete_tag("team/new", "9.0.0");
    wait_for(&daemon, &before);
    assert_eq!(told(&daemon.get("/index.yaml")), told(&first));
}

/// A chart with a config blob of a million bytes: eight have room in a repository's 8 MiB.
fn wordy(version: &str) -> Chart {
    let words = "x".repeat(1_000_000);
    let config = json!({ "apiVersion": "v2", "name": "wordy", "version": version, "words": words });
    Chart::new("team/wordy", version).config(&config)
}

/// What isn't listed and why, without its dates.
fn skipped(daemon: &Daemon) -> Vec<(String, String)> {
    let answer: Vec<Value> =
        serde_json::from_slice(&daemon.get("/api/skipped").body).expect("JSON");
    let text = |line: &Value, field: &str| line[field].as_str().expect("a string").to_owned();
    answer
        .iter()
        .map(|line| (text(line, "reference"), text(line, "reason")))
        .collect()
}

#[test]
fn what_is_beyond_the_budget_is_left_out_alike_by_replicas_that_have_seen_different_things() {
    let fake = FakeRegistry::start();
    fake.spoil("GET /v2/team/*")
        .with(Fault::Wait(Duration::from_millis(3)));
    let version = |minor: usize| format!("1.{minor}.0");
    (2..10).for_each(|minor| drop(fake.push(&wordy(&version(minor)))));
    let veteran = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    let alike = |first: usize, end: usize| {
        let listed: Vec<String> = (first..end)
            .map(|minor| format!("wordy {}", version(minor)))
            .collect();
        let novice = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
        for daemon in [&veteran, &novice] {
            assert_eq!(list(daemon), listed, "{}", daemon.log());
        }
        assert_eq!(
            told(&veteran.get("/index.yaml")),
            told(&novice.get("/index.yaml"))
        );
        assert_eq!(skipped(&veteran), skipped(&novice));
        novice
    };
    alike(2, 10);
    // Older ones take nothing from them.
    (0..2).for_each(|minor| drop(fake.push(&wordy(&version(minor)))));
    let second = alike(2, 10);
    // When one goes, the next in order has room; and at once.
    fake.delete_tag("team/wordy", &version(9));
    alike(1, 9);
    assert_eq!(list(&second), list(&veteran), "{}", second.log());
    // What is no chart's has no share, for a replica that has read it and for one that hasn't.
    (0..8).for_each(|patch| {
        let nonsense = format!("{patch}{}", "x".repeat(900_000));
        drop(fake.push(&Chart::new("team/wordy", &format!("2.0.{patch}")).config_bytes(nonsense)))
    });
    alike(1, 9);
    fake.delete_tag("team/wordy", &version(8));
    let last = alike(0, 8);
    assert_eq!(list(&second), list(&last), "{}", second.log());
    assert_eq!(skipped(&second), skipped(&last));
}

/// A little of everything that happens to a registry, in an order of this seed.
fn live(fake: &FakeRegistry, daemon: &Daemon, seed: u64) {
    let mut state = seed;
    let mut any = |most: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let patterns = [
        "GET /v2/_catalog",
        "GET /v2/*/tags/list",
        "* /v2/*/manifests/*",
        "GET /v2/*/blobs/*",
    ];
    let mut there = BTreeSet::new();
    for step in 0..60 {
        let version = format!("0.{}.0", any(12));
        let repository = ["team/wordy", "team/c1", "team/c2"][any(3) as usize];
        let place = (repository, version.clone());
        match any(8) {
            0..4 => {
                let archive = format!("archive of step {step}");
                let chart = if repository == "team/wordy" {
                    wordy(&version)
                } else {
                    Chart::new(repository, &version)
                };
                fake.push(&chart.archive(archive));
                there.insert(place);
            }
            4 => {
                fake.push_image(repository, &version);
                there.insert(place);
            }
            5 | 6 => {
                if there.remove(&place) {
                    fake.delete_tag(repository, &version);
                }
            }
            _ => {
                let status = [404, 500, 503][any(3) as usize];
                let pattern = patterns[any(4) as usize];
                let before = fake.count(pattern);
                fake.spoil(pattern)
                    .with(Fault::Answer(Reply::error(status, "UNKNOWN", "trouble")));
                let told = || format!("{pattern}:\n{}", daemon.log());
                // A new chart has its blobs asked for.
                fake.push(&Chart::new("team/new", &format!("{step}.0.0")));
                wait_until(Duration::from_secs(60), told, || {
                    daemon.get("/index.yaml");
                    (fake.count(pattern) > before + any(4) as usize).then_some(())
                });
                fake.heal(pattern);
            }
        }
        daemon.get("/index.yaml");
    }
}

#[test]
fn when_trouble_is_over_a_replica_tells_what_one_does_that_has_seen_none_of_it() {
    let seed = 1;
    let fake = registry(seed, &charts());
    let flags = [EACH_TIME, LONG_WAIT, "--refresh-interval=1s"];
    let veteran = ready_daemon(&fake, &flags);
    live(&fake, &veteran, seed);
    let novice = ready_daemon(&fake, &flags);
    let all = |daemon: &Daemon| (daemon.get("/index.yaml").body_text(), skipped(daemon));
    let lacking = || {
        format!(
            "the same of both: {:#?}\n{}",
            [all(&veteran), all(&novice)],
            veteran.log()
        )
    };
    // What has failed for long is asked again after as long.
    wait_until(Duration::from_secs(60), lacking, || {
        (all(&veteran) == all(&novice)).then_some(())
    });
}

fn list(daemon: &Daemon) -> Vec<String> {
    Index::of(daemon).charts()
}

fn wait_for(daemon: &Daemon, charts: &[String]) {
    let charts: Vec<&str> = charts.iter().map(String::as_str).collect();
    wait_for_charts(daemon, &charts);
}
