//! Registries that limit their clients: what was read is kept and never paid for twice (contract C10), and
//! the newest versions come first.

use std::collections::BTreeMap;
use std::thread;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::nginx::Nginx;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, starting_daemon, wait_for_charts};

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

/// One blob's `Retry-After`, from the storage that it was redirected to, silenced the registry for up to 900 s.
/// Issue 17, 5.
#[test]
fn a_pause_that_a_redirect_target_asks_for_is_that_hosts_alone() {
    let (fake, storage) = (FakeRegistry::start(), FakeRegistry::start_on("127.0.0.2"));
    fake.push(&Chart::new("a/web", "1.0.0"));
    let far = fake.push(&Chart::new("b/far", "1.0.0"));
    let down = Reply::new(503).header("Retry-After", "900");
    storage.page("/bucket/archive", down.clone());
    storage.page("/bucket/config", down);
    let moved = |name: &str| {
        let target = format!("{}/bucket/{name}", storage.url());
        Fault::Answer(Reply::redirect(307, &target))
    };
    let archive = format!("GET {}", far.archive_path());
    fake.spoil(&archive).with(moved("archive"));
    let daemon = starting_daemon(&fake, &["--refresh-interval=1s"]);
    daemon.wait_ready();
    for _ in 0..2 {
        assert_eq!(daemon.get("/charts/far-1.0.0.tgz").status, 502);
    }
    assert_eq!(storage.count("* *"), 1, "the pause holds there");
    daemon.wait_for_complaint(&["no downloads for 900 s"]);

    // A config blob that lies there too costs its own tag alone.
    let config = fake.push(&Chart::new("b/far", "2.0.0"));
    let config = format!("GET {}", config.config_path());
    fake.spoil(&config).with(moved("config"));
    fake.wait_for(&config, 1);
    fake.push(&Chart::new("a/web", "2.0.0"));
    let charts = ["far 1.0.0", "web 1.0.0", "web 2.0.0"];
    wait_for_charts(&daemon, &charts);
    let moved = fake.push(&Chart::new("a/web", "1.0.0").archive("other bytes"));
    wait_until(
        DEADLINE,
        || daemon.log(),
        || {
            let digest = Index::of(&daemon).entry("web", "1.0.0")["digest"].clone();
            (digest == moved.hex()).then_some(())
        },
    );
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "other bytes"
    );
    assert_eq!(storage.count("* *"), 1, "{}", storage.seen());
    assert_eq!(Index::of(&daemon).charts(), charts);
}

/// The same where the registry serves its blobs itself: tags and manifests are read meanwhile.
#[test]
fn a_pause_that_a_blob_is_answered_by_stops_no_listing_and_no_check() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a/web", "1.0.0"));
    let daemon = starting_daemon(&fake, &["--refresh-interval=1s"]);
    daemon.wait_ready();
    let blobs = "GET /v2/*/blobs/*";
    let throttled = Reply::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "12");
    let began = std::time::Instant::now();
    fake.spoil(blobs).first(1).with(Fault::Answer(throttled));
    fake.push(&Chart::new("a/web", "2.0.0"));
    let wait_for = |pattern: &str, count: usize| {
        wait_until(
            DEADLINE,
            || fake.seen(),
            || {
                daemon.get("/index.yaml");
                (fake.count(pattern) >= count).then_some(())
            },
        );
    };
    let read = fake.count(blobs);
    wait_for(blobs, read + 1);
    fake.push(&Chart::new("a/web", "3.0.0"));
    wait_for("GET /v2/a/web/manifests/3.0.0", 1);
    let checks = fake.count("HEAD /v2/a/web/manifests/1.0.0");
    wait_for("HEAD /v2/a/web/manifests/1.0.0", checks + 1);
    assert!(began.elapsed().as_secs() < 12, "{}", daemon.log());
    assert_eq!(
        fake.count(blobs),
        read + 1,
        "no blob meanwhile: {}",
        fake.seen()
    );
    wait_for_charts(&daemon, &["web 1.0.0", "web 2.0.0", "web 3.0.0"]);
}
