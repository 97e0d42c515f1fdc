//! Downloads from a registry without faults: the archive's bytes, length and digest, by whichever
//! spelling of its path, in flat memory (contracts C3 and C4).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, sha256};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::served::{PATH, Served, UNCACHED};
use crate::support::story::ready_daemon;

#[test]
fn an_archive_comes_with_its_length_its_digest_and_its_bytes() {
    for size in [1, 1000, 70_000, 1 << 20] {
        for served in Served::each_way(size) {
            let answer = served.daemon.get(PATH);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, served.archive);
            assert_eq!(answer.header("Content-Length"), Some(&*size.to_string()));
            assert_eq!(answer.header("Content-Type"), Some("application/x-tar"));
            let etag = format!("\"{}\"", served.chart.archive.digest);
            assert_eq!(answer.header("ETag"), Some(&*etag));
            assert_eq!(
                answer.header("Cache-Control"),
                Some("max-age=60, immutable")
            );
            assert_eq!(answer.header("Transfer-Encoding"), None);
            assert_eq!(answer.header("Content-Encoding"), None);
        }
    }
}

#[test]
fn head_says_what_get_says_and_asks_the_registry_for_no_bytes() {
    let served = Served::of_size(4096);
    for path in [PATH, "/charts/web-1.0.0.tgz.prov", "/charts/none-1.0.0.tgz"] {
        let asked = served.fake.count("GET /v2/web/blobs/*");
        let head = served.daemon.head(path);
        assert_eq!(served.fake.count("GET /v2/web/blobs/*"), asked, "{path}");
        let get = served.daemon.get(path);
        assert_eq!(head.status, get.status, "{path}");
        for name in [
            "Content-Length",
            "Content-Type",
            "ETag",
            "Cache-Control",
            "Accept-Ranges",
        ] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert!(head.body.is_empty());
    }
}

#[test]
fn a_client_that_has_the_archive_already_gets_304_without_bytes() {
    let served = Served::of_size(4096);
    let etag = format!("\"{}\"", served.chart.archive.digest);
    for known in [&*etag, "*", &format!("\"other\", W/{etag}")] {
        let answer = served
            .daemon
            .request("GET", PATH, &[("If-None-Match", known)]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
        assert_eq!(answer.header("ETag"), Some(&*etag));
        assert_eq!(
            answer.header("Cache-Control"),
            Some("max-age=60, immutable")
        );
    }
    assert_eq!(served.fetches(), 0);
    let other = served
        .daemon
        .request("GET", PATH, &[("If-None-Match", "\"other\"")]);
    assert_eq!(other.body, served.archive);
}

#[test]
fn a_signed_charts_provenance_is_beside_it() {
    let served = Served::of_size(10);
    let answer = served.daemon.get("/charts/web-1.0.0.tgz.prov");
    assert_eq!((answer.status, answer.body_text().as_str()), (200, "PGP"));
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/pgp-signature")
    );
    let provenance = served.chart.provenance.as_ref().expect("it is signed");
    let etag = format!("\"{}\"", provenance.digest);
    assert_eq!(answer.header("ETag"), Some(&*etag));
}

#[test]
fn a_chart_that_is_not_in_the_index_is_not_found_and_costs_the_registry_nothing() {
    let served = Served::of_size(10);
    let asked = served.fake.requests("* *").len();
    for path in [
        "/charts/web-1.0.1.tgz",
        "/charts/web-1.0.0.tar",
        "/charts/web-1.0.0",
        "/charts/web.tgz",
        "/charts/",
        "/charts/../charts/web-1.0.1.tgz",
        "/charts/%2e%2e%2fetc%2fpasswd",
        "/charts/web-1.0.0.tgz/",
        "/charts/web-1.0.0.tgz.prov.prov",
        "/charts/WEB-1.0.0.tgz",
        "/charts/web-1.0.0.tgz%00",
        "/charts/web-1.0.0%",
        "/charts/%ff%fe-1.0.0.tgz",
    ] {
        let answer = served.daemon.get(path);
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.body.is_empty(), "{path} is told why");
    }
    assert_eq!(served.fake.requests("* *").len(), asked);
}

#[test]
fn a_plus_may_be_written_plainly_or_as_a_percent_code_and_queries_are_ignored() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.2.3+build.5").signed("PGP"));
    let daemon = ready_daemon(&fake, &[]);
    for name in [
        "web-1.2.3+build.5",
        "web-1.2.3%2Bbuild.5",
        "web-1.2.3%2bbuild.5",
        "%77eb-1%2e2.3+build.5",
    ] {
        for query in ["", "?", "?token=a&b=c", "?a=%2F..%2F"] {
            let answer = daemon.get(&format!("/charts/{name}.tgz{query}"));
            assert_eq!(
                answer.body_text(),
                "archive of web 1.2.3+build.5",
                "{name}{query}"
            );
        }
        assert_eq!(
            daemon.get(&format!("/charts/{name}.tgz.prov")).body_text(),
            "PGP"
        );
    }
    assert_eq!(daemon.get("/charts/web-1.2.3%20build.5.tgz").status, 404);
    assert_eq!(daemon.get("/charts/web-1.2.3_build.5.tgz").status, 404);
}

#[test]
fn names_that_give_one_file_name_get_one_archive_and_the_index_agrees() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("amb", "1.0.0-x-1.0.0"));
    fake.push(&Chart::new("amb-1.0.0-x", "1.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    let index = daemon.get("/index.yaml").body_text();
    assert_eq!(
        index.matches("charts/amb-1.0.0-x-1.0.0.tgz").count(),
        1,
        "{index}"
    );
    let served = daemon.get("/charts/amb-1.0.0-x-1.0.0.tgz");
    let digest = sha256(&served.body);
    assert!(
        index.contains(digest.trim_start_matches("sha256:")),
        "{index}"
    );
}

#[test]
fn a_version_that_was_pushed_again_is_found_when_its_old_archive_is_gone() {
    let served = Served::of_size(1000);
    let again = served.fake.push(
        &Chart::new("web", "1.0.0")
            .archive("other bytes")
            .signed("PGP"),
    );
    served.fake.delete_blob("web", &served.chart.archive.digest);
    // Without a request for the index, and long before a known tag is due.
    let first = served.daemon.get(PATH);
    assert_eq!(first.status, 404, "{}", first.body_text());
    let lacking = || format!("the new archive; the log:\n{}", served.daemon.log());
    wait_until(DEADLINE, lacking, || {
        (served.daemon.get(PATH).status == 200).then_some(())
    });
    assert_eq!(served.daemon.get(PATH).body_text(), "other bytes");
    assert!(
        served
            .daemon
            .get("/index.json")
            .body_text()
            .contains(again.archive.digest.trim_start_matches("sha256:"))
    );
}

#[test]
fn a_registry_that_drips_is_passed_on_as_it_comes() {
    let served = Served::with(300_000, &[UNCACHED]);
    served.spoil(Fault::Drip(50_000, Duration::from_millis(100)));
    let mut stream = TcpStream::connect(("127.0.0.1", served.daemon.port())).expect("it listens");
    let start = Instant::now();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut first = [0; 50_000];
    stream.read_exact(&mut first).expect("the first bytes");
    let early = start.elapsed();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the rest");
    assert!(
        early * 2 < start.elapsed(),
        "{early:?} of {:?}",
        start.elapsed()
    );
    assert!(rest.ends_with(&served.archive[299_000..]));
}

#[test]
fn memory_stays_flat_while_a_large_archive_passes() {
    const SIZE: usize = 200 << 20;
    let served = Served::of_size(SIZE);
    let before = peak_memory(&served.daemon);
    let answer = served.daemon.get(PATH);
    assert!(answer.body == served.archive, "200 MB arrive as they are");
    let peak = peak_memory(&served.daemon);
    println!("peak memory: {before} kB before, {peak} kB after a 200 MB archive");
    assert!(peak < before + 4 * 1024, "{before} kB grew to {peak} kB");
}

/// `VmHWM` in kB.
fn peak_memory(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.pid());
    let status = fs::read_to_string(path).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.trim().split(' ').next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}
