//! Registries that limit their clients: what was read is kept and never paid for twice (contract C10), and
//! the newest versions come first.

use std::collections::BTreeMap;
use std::thread;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::nginx::Nginx;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, starting_daemon};

const MANIFESTS: &str = "GET /v2/*/manifests/*";
/// Manifests that pass in one window.
const WINDOW: usize = 100;
/// Requests that may be under way when the pause begins.
const CONCURRENCY: usize = 8;

/// From now on so many manifests pass, and then none; the pause is longer than a request waits itself.
fn open_window(fake: &FakeRegistry) {
    let throttled = Reply::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "11");
    fake.spoil(MANIFESTS)
        .after(WINDOW)
        .with(Fault::Answer(throttled));
}

/// How often each manifest was read.
fn reads(fake: &FakeRegistry) -> BTreeMap<String, usize> {
    let mut reads = BTreeMap::new();
    let answered = fake.requests(MANIFESTS).into_iter();
    for request in answered.filter(|request| request.status == 200) {
        *reads.entry(request.target).or_default() += 1;
    }
    reads
}

fn wait_for_listed(daemon: &Daemon, least: usize) -> Vec<String> {
    let lacking = || format!("{least} versions; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        let answer = daemon.get("/index.yaml");
        let charts = (answer.status == 200).then(|| Index::parse(&answer.body).charts());
        charts.filter(|charts| charts.len() >= least)
    })
}

/// All manifests were read before any config blob, so the pause threw them away: 600 reads and eleven
/// windows for 300 charts, the oldest first. Issue 11, A1 and A3 (vmware-tanzu/kubeapps#6804,
/// docker/hub-feedback#2093).
#[test]
fn a_registry_that_lets_100_manifests_pass_per_window_is_read_in_three_windows_newest_first() {
    let fake = registry_of(3 * WINDOW);
    open_window(&fake);
    let daemon = starting_daemon(&fake, &[]);
    for window in 1..3 {
        let charts = wait_for_listed(&daemon, window * (WINDOW - CONCURRENCY));
        // Those that were refused when the pause began come a little later.
        let newest = (3 - window) * WINDOW..3 * WINDOW;
        let newest = newest.map(|minor| format!("web 1.{minor}.0"));
        let lacking: Vec<String> = newest.filter(|chart| !charts.contains(chart)).collect();
        assert!(
            lacking.len() <= 2 * window * CONCURRENCY,
            "{lacking:?} in window {window}"
        );
        let ready = daemon.get("/readyz").body_text();
        assert!(ready.contains("tags could not be read yet"), "{ready}");
        let read = reads(&fake);
        assert!(read.len() <= window * WINDOW, "{} in {window}", read.len());
        fake.heal(MANIFESTS);
        if window < 2 {
            open_window(&fake);
        }
    }
    wait_for_listed(&daemon, 3 * WINDOW);
    let read = reads(&fake);
    assert_eq!(read.len(), 3 * WINDOW);
    let twice: Vec<_> = read.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// A registry of so many versions of a chart.
fn registry_of(versions: usize) -> FakeRegistry {
    let fake = FakeRegistry::start();
    for minor in 0..versions {
        fake.push(&Chart::new("web", &format!("1.{minor}.0")));
    }
    fake
}

/// All versions are listed by the first scan, which has lost none of its requests to the limit.
fn assert_walked(daemon: &Daemon, versions: usize, refused: usize) {
    let log = daemon.log();
    assert_eq!(Index::of(daemon).charts().len(), versions, "{log}");
    for complaint in [" WARN ", " ERROR ", " DEBUG skipped "] {
        assert!(!log.contains(complaint), "{complaint} in {log}");
    }
    // The catalog, the tags, and two requests for each version.
    let share = refused as f64 / (2 + 2 * versions + refused) as f64;
    println!("{refused} refused, {share:.3} of all");
    assert!(refused > 0 && share <= 0.1, "{refused} refused: {share}");
}

/// Behind a limit of 20 requests a second with 1,000 versions it was ready after 15 s with one version,
/// and sent 72 requests a second: issue 11, A4 (the `limit-rps` of ingress-nginx answers 503 without
/// `Retry-After`: <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#rate-limiting>).
#[test]
fn a_registry_that_limits_the_rate_of_requests_refuses_few_of_them() {
    let story = |rate: f64, burst: f64, versions: usize, status: u16| {
        let fake = registry_of(versions);
        fake.limit(rate, burst, Reply::new(status));
        let daemon = starting_daemon(&fake, &[]);
        daemon.wait_ready();
        let requests = fake.requests("* *");
        let refused = requests.iter().filter(|one| one.status == status).count();
        let took = requests[requests.len() - 1].at - requests[0].at;
        let allowed = (2.0 + 2.0 * versions as f64 - burst) / rate;
        println!("{rate}/s, burst {burst}, {status}: {took:.1?} of {allowed:.1} s");
        assert_walked(&daemon, versions, refused);
    };
    thread::scope(|scope| {
        for status in [429, 503] {
            scope.spawn(move || story(20.0, 100.0, 250, status));
            scope.spawn(move || story(10.0, 10.0, 100, status));
            scope.spawn(move || story(5.0, 5.0, 75, status));
        }
    });
}

/// The same report, with the part that does it in the field.
#[test]
fn a_registry_behind_the_limit_of_nginx_is_read_whole_and_few_requests_are_refused() {
    let versions = 100;
    let fake = registry_of(versions);
    let certificates = Certificates::new();
    let nginx = Nginx::limiting(&certificates, 20, 20, &fake.host());
    let daemon = Daemon::start_ready(&[
        &format!("--storage-registry-repo=https://{}", nginx.host()),
        &format!(
            "--storage-registry-ca-file={}",
            certificates.authority().display()
        ),
    ]);
    let log = daemon.log();
    let refused = log.lines().filter(|line| line.ends_with(": 503")).count();
    assert_eq!(fake.count("* *"), 2 + 2 * versions, "{}", fake.seen());
    assert_walked(&daemon, versions, refused);
}
