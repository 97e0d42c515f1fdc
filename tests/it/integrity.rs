//! Downloads from a registry that lies or fails: a client never gets a whole archive that is not
//! the one listed (contract C4), and is told what failed when there is still time to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::fake_registry::{Fault, Reply};
use crate::support::http;
use crate::support::process::DEADLINE;
use crate::support::served::{PATH, Served, UNCACHED};

#[test]
fn a_flipped_bit_anywhere_costs_the_last_bytes() {
    for (size, at) in [
        (10, 0),
        (10, 9),
        (100_000, 0),
        (100_000, 50_000),
        (100_000, 99_999),
        (1 << 20, 7),
    ] {
        for served in Served::each_way(size) {
            served.spoil(Fault::Flip(at));
            served.assert_never_whole();
        }
    }
}

#[test]
fn a_truncated_archive_is_never_whole() {
    for (size, kept) in [(10, 0), (10, 9), (100_000, 1), (100_000, 99_999)] {
        for served in Served::each_way(size) {
            served.spoil(Fault::Cut(kept));
            served.assert_never_whole();
        }
        // The same, when the registry itself promises nothing or less.
        for framing in [Fault::NoHeader("Content-Length"), Fault::Chunked] {
            for served in Served::each_way(size) {
                served.spoil(Fault::Cut(kept));
                served.spoil(framing.clone());
                served.assert_never_whole();
            }
        }
        // And when it promises less than its manifest did.
        for served in Served::each_way(size) {
            served.spoil(Fault::Body(served.archive[..kept].to_vec()));
            served.assert_never_whole();
        }
    }
}

#[test]
fn a_complete_archive_is_not_held_back_until_the_response_ends() {
    for served in Served::each_way(100_000) {
        // All of it in one chunk; the chunk that ends the body comes a minute later.
        served.spoil(Fault::Chunked);
        served.spoil(Fault::Drip(100_000, Duration::from_secs(60)));
        let began = Instant::now();
        assert_eq!(served.daemon.get(PATH).body, served.archive);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn bytes_after_the_archive_are_not_passed_on() {
    for size in [10, 100_000] {
        for more in [1, 100_000] {
            for framing in [
                None,
                Some(Fault::Chunked),
                Some(Fault::NoHeader("Content-Length")),
            ] {
                for served in Served::each_way(size) {
                    let longer = [&served.archive[..], &vec![0; more]].concat();
                    served.spoil(Fault::Body(longer));
                    framing.iter().for_each(|fault| served.spoil(fault.clone()));
                    let answer = served.daemon.get(PATH);
                    assert_eq!(answer.header("Content-Length"), Some(&*size.to_string()));
                    assert_eq!(answer.body, served.archive);
                }
            }
        }
    }
}

#[test]
fn an_archive_whose_first_byte_was_left_out_is_never_whole() {
    for size in [10, 100_000] {
        for served in Served::each_way(size) {
            let shifted = [&served.archive[1..], b"x"].concat();
            served.spoil(Fault::Body(shifted));
            served.assert_never_whole();
        }
    }
}

#[test]
fn a_spoiled_provenance_is_never_whole() {
    for served in Served::each_way(10) {
        let provenance = served.chart.provenance.as_ref().expect("it is signed");
        let blob = format!("GET /v2/web/blobs/{}", provenance.digest);
        served.fake.spoil(&blob).with(Fault::Flip(1));
        let path = "/charts/web-1.0.0.tgz.prov";
        if let Ok(answer) = http::request(served.daemon.port(), "GET", path, &[]) {
            assert!(answer.status == 502 || !answer.complete && answer.body.len() < 3);
        }
        served.daemon.wait_for_log(" WARN ");
    }
}

#[test]
fn a_cut_connection_ends_and_serves_nothing_more() {
    let served = Served::with(100_000, &[UNCACHED]);
    served.spoil(Fault::Flip(5));
    let mut stream = TcpStream::connect(("127.0.0.1", served.daemon.port())).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    // A reset ends it as well as an end of stream does; a time-out doesn't.
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let head = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head")
        + 4;
    assert!(bytes.len() - head < 100_000);
}

#[test]
fn the_same_archive_is_whole_again_when_the_registry_is() {
    for served in Served::each_way(100_000) {
        served
            .fake
            .spoil(&format!("GET {}", served.chart.archive_path()))
            .first(1)
            .with(Fault::Flip(5));
        served.assert_never_whole();
        assert_eq!(served.daemon.get(PATH).body, served.archive);
    }
}

#[test]
fn a_failure_before_the_first_byte_reaches_the_client_as_a_status_and_the_log_in_detail() {
    let cases = [
        (
            Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            404,
            "404 BLOB_UNKNOWN",
        ),
        (
            Reply::error(403, "DENIED", "not for you"),
            502,
            "403 DENIED",
        ),
        (
            Reply::error(401, "UNAUTHORIZED", "who are you"),
            502,
            "401 UNAUTHORIZED",
        ),
        (
            Reply::error(412, "PROJECT_POLICY_VIOLATION", "not scanned"),
            502,
            "not scanned",
        ),
        (
            Reply::error(500, "UNKNOWN", "unknown error"),
            502,
            "500 UNKNOWN",
        ),
        (
            Reply::error(503, "UNAVAILABLE", "try later"),
            502,
            "503 UNAVAILABLE",
        ),
        (throttled(), 502, "429 TOOMANYREQUESTS"),
        (
            Reply::redirect(307, "/v2/web/blobs/circle"),
            502,
            "redirects",
        ),
        (
            Reply::redirect(307, "ftp://elsewhere.example/blob"),
            502,
            "redirect",
        ),
        (Reply::new(204), 502, "204"),
    ];
    for (reply, status, detail) in cases {
        for served in Served::each_way(10) {
            let circle = Reply::redirect(307, "/v2/web/blobs/circle");
            served.fake.page("/v2/web/blobs/circle", circle);
            served.spoil(Fault::Answer(reply.clone()));
            let answer = served.daemon.get(PATH);
            assert_eq!(answer.status, status, "{detail}: {}", answer.body_text());
            let text = answer.body_text();
            assert!(text.lines().count() == 1 && text.len() > 10, "{text:?}");
            let kind = answer.header("Content-Type").expect("a type");
            assert!(kind.starts_with("text/plain"), "{kind}");
            assert_eq!(answer.header("ETag"), None);
            assert_eq!(answer.header("Cache-Control"), Some("no-store"));
            let told = served.daemon.wait_for_log(" WARN ");
            assert!(told.contains(detail), "{detail} in {told}");
        }
    }
}

#[test]
fn a_registry_that_hangs_is_a_gateway_timeout() {
    let served = Served::of_size(10);
    served.spoil(Fault::Hang);
    let mut stream = TcpStream::connect(("127.0.0.1", served.daemon.port())).expect("it listens");
    // A registry has half a minute to begin its answer.
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer in time");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.ends_with("did not answer in time\n"), "{answer}");
    served
        .daemon
        .wait_for_complaint(&["web-1.0.0.tgz can't be served", "no answer in time"]);
    served
        .fake
        .heal(&format!("GET {}", served.chart.archive_path()));
    assert_eq!(served.daemon.get(PATH).body, served.archive);
}

#[test]
fn an_archive_that_drips_is_given_up() {
    let served = Served::with(100_000, &[UNCACHED]);
    // A hundred bytes a second, so that all of it would take a quarter of an hour.
    served.spoil(Fault::Drip(10, Duration::from_millis(100)));
    let began = Instant::now();
    served.assert_never_whole();
    let taken = began.elapsed();
    // A registry may stall for half a minute.
    assert!(taken >= Duration::from_secs(29), "{taken:?}");
    served
        .daemon
        .wait_for_complaint(&["web-1.0.0.tgz", "the registry sends too slowly"]);
}

fn throttled() -> Reply {
    let reply = Reply::error(429, "TOOMANYREQUESTS", "slow down");
    reply.header("Retry-After", "900")
}

#[test]
fn a_registry_that_is_gone_is_a_bad_gateway() {
    let mut served = Served::of_size(10);
    served.fake.close();
    let answer = served.daemon.get(PATH);
    assert_eq!(answer.status, 502, "{}", answer.body_text());
    assert_eq!(
        served.daemon.get("/index.yaml").status,
        200,
        "the index stays"
    );
}

#[test]
fn a_connection_that_breaks_is_tried_again() {
    let served = Served::of_size(10);
    let path = format!("GET {}", served.chart.archive_path());
    served.fake.spoil(&path).first(1).with(Fault::Reset);
    assert_eq!(served.daemon.get(PATH).body, served.archive);
    assert_eq!(served.fake.count(&path), 2);
}
