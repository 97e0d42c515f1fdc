//! Logging never blocks: neither a stderr that is a full pipe, which no other process reads, nor a
//! closed one keeps the daemon from refreshing, serving or stopping.

use std::io::BufRead;
use std::sync::mpsc;
use std::thread;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::http;
use crate::support::process::DEADLINE;
use crate::support::story::{EACH_TIME, LONG_WAIT, wait_for_charts};

/// Bytes of a path that is asked for: each request leaves a line of this length at the least.
const PATH: usize = 7 * 1024;
/// Requests that fill a pipe of 64 KiB twice over.
const FILL: usize = 20;
/// Requests that do so with lines of 300 bytes.
const SHORT_FILL: usize = 450;
/// Requests that fill the queue as well.
const OVERFLOW: usize = 700;

fn ask(daemon: &Daemon, times: usize) {
    let path = format!("/{}", "x".repeat(PATH));
    for _ in 0..times {
        assert_eq!(daemon.get(&path).status, 404);
    }
}

/// Before, a refresh never ended, a download hung, and SIGTERM did not end the process (issue 12,
/// item 7).
#[test]
fn a_log_reader_that_stops_delays_neither_a_push_nor_a_download_nor_the_end() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let flags = [&*fake.flag(), "--log-level=trace", EACH_TIME, LONG_WAIT];
    let (mut daemon, _stderr) = Daemon::start_unread(&flags);
    daemon.wait_ready();
    ask(&daemon, FILL);
    fake.push(&Chart::new("web", "2.0.0"));
    wait_for_charts(&daemon, &["web 1.0.0", "web 2.0.0"]);
    assert_eq!(daemon.get("/charts/web-2.0.0.tgz").status, 200);
    assert_eq!(daemon.head("/charts/web-1.0.0.tgz").status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
}

#[test]
fn a_log_reader_that_stops_delays_no_request_that_is_logged() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let flags = [&*fake.flag(), "--log-requests", "--log-format=json"];
    let (mut daemon, _stderr) = Daemon::start_unread(&flags);
    daemon.wait_ready();
    ask(&daemon, SHORT_FILL);
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
}

#[test]
fn lines_that_found_no_room_are_counted_and_told_when_stderr_is_read_again() {
    let fake = FakeRegistry::start();
    let (mut daemon, stderr) = Daemon::start_unread(&[&fake.flag(), "--log-level=trace"]);
    ask(&daemon, OVERFLOW);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let lines = stderr.lines().map_while(Result::ok);
        lines
            .filter(|line| line.len() < PATH)
            .try_for_each(|line| tell.send(line))
    });
    let next = || {
        told.recv_timeout(DEADLINE)
            .expect("the lost lines are told")
    };
    let lost = loop {
        let line = next();
        if line.contains("log lines are lost here") {
            break line;
        }
    };
    assert!(lost.contains(" WARN "), "{lost}");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
    let last = told.iter().last();
    assert!(
        last.is_some_and(|line| line.ends_with(" INFO stopped")),
        "the last line is not lost"
    );
}

#[test]
fn a_closed_stderr_harms_nothing() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let (mut daemon, stderr) = Daemon::start_unread(&[&fake.flag(), EACH_TIME]);
    drop(stderr);
    daemon.wait_ready();
    wait_for_charts(&daemon, &["web 1.0.0"]);
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);
    let answer = http::request(daemon.port(), "GET", "/nothing", &[]);
    assert_eq!(answer.expect("an answer").status, 404);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
}
