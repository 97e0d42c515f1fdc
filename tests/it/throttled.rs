//! Registries that limit their clients: what was read is kept and never paid for twice (contract C10), and
//! the newest versions come first.

use std::collections::BTreeMap;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
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
    let fake = FakeRegistry::start();
    for minor in 0..3 * WINDOW {
        fake.push(&Chart::new("web", &format!("1.{minor}.0")));
    }
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
