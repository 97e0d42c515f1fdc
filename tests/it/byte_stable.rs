//! Contract C2: the same registry content gives the same bytes and the same ETag, from every
//! replica, after every restart, whatever order the answers came in.

use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault};
use crate::support::http::Answer;
use crate::support::story::{Index, ready_daemon, wait_for_charts};

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
        Chart::new("team/twice", "1.0.0").tag("one").archive("first"),
        Chart::new("team/twice", "1.0.0").tag("two").archive("second"),
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
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");

    for seed in [7, 20, 33] {
        let other = registry(seed, &charts);
        other.spoil("GET /v2/team/*").with(Fault::Wait(Duration::from_millis(seed)));
        let replica = ready_daemon(&other, &["--concurrency=8"]);
        let answer = replica.get("/index.yaml");
        assert_eq!(answer.body_text(), first.body_text(), "seed {seed}");
        assert_eq!(told(&answer), told(&first), "seed {seed}");
        for chart in ["web-1.0.0+a", "amb-1.0.0-x-1.0.0", "twice-1.0.0"] {
            let path = format!("/charts/{chart}.tgz");
            assert_eq!(told(&replica.get(&path)), told(&daemon.get(&path)), "{path}");
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

fn list(daemon: &Daemon) -> Vec<String> {
    Index::of(daemon).charts()
}

fn wait_for(daemon: &Daemon, charts: &[String]) {
    let charts: Vec<&str> = charts.iter().map(String::as_str).collect();
    wait_for_charts(daemon, &charts);
}
