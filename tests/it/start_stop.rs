//! Start and stop: the daemon listens at once, is ready when it has walked, survives a registry
//! that is down, and leaves when it is told to, with code 0 and no download cut short.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, ready_daemon, starting_daemon, wait_for_charts};

const SIGNALS: [&str; 2] = ["TERM", "INT"];
const SIZE: usize = 400_000;
/// Longer than a test waits for an end: a daemon that uses it up doesn't end in time.
const LONG_GRACE: &str = "--shutdown-grace=10m";

/// A registry whose one chart's archive takes twenty of these pauses to come.
fn slow_download(pause: Duration) -> FakeRegistry {
    let fake = FakeRegistry::start();
    let chart = fake.push(&Chart::new("web", "1.0.0").archive(vec![b'x'; SIZE]));
    let drip = Fault::Drip(SIZE / 20, pause);
    fake.spoil(&format!("GET {}", chart.archive_path()))
        .with(drip);
    fake
}

/// A download that has begun: its head and first bytes are here.
fn begun_download(daemon: &Daemon) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let request = b"GET /charts/web-1.0.0.tgz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut first = vec![0; 1000];
    stream.read_exact(&mut first).expect("the first bytes");
    assert!(
        first.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&first)
    );
    (stream, first)
}

fn body_length(mut stream: TcpStream, mut bytes: Vec<u8>) -> usize {
    let end = stream.read_to_end(&mut bytes);
    assert!(end.is_ok_and(|_| true) || bytes.len() < SIZE);
    let head = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head")
        + 4;
    bytes.len() - head
}

#[test]
fn it_answers_at_once_and_says_that_it_is_not_ready_until_the_first_walk_has_ended() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.spoil("GET /v2/_catalog").with(Fault::Hang);
    let start = Instant::now();
    let daemon = starting_daemon(&fake, &[]);
    assert_eq!(daemon.get("/livez").status, 200);
    println!(
        "the first answer came {:?} after the start",
        start.elapsed()
    );

    let index = daemon.get("/index.yaml");
    assert_eq!(index.status, 503, "{}", index.body_text());
    let retry: u32 = index
        .header("Retry-After")
        .expect("when")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&retry), "{retry}");
    assert!(!index.body.is_empty());
    assert_eq!(daemon.head("/index.yaml").status, 503);
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").status,
        503,
        "it may exist: nobody knows yet"
    );
    assert_eq!(daemon.get("/").status, 200);

    fake.wait_for("GET /v2/_catalog", 1);
    fake.heal("GET /v2/_catalog");
    daemon.wait_ready();
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

#[test]
fn a_registry_that_is_down_at_the_start_is_tried_again_until_it_is_there() {
    let mut fake = FakeRegistry::start_on("127.0.0.7");
    fake.push(&Chart::new("web", "1.0.0"));
    fake.close();
    // Without a scheme, so that the probe for it has to be tried again too.
    let registry = format!("--storage-registry-repo={}", fake.host());
    let mut daemon = Daemon::start(&[&registry]);
    let failed = " ERROR first scan failed";
    let told = daemon.wait_for_log(failed);
    assert!(told.contains(&fake.host()), "{told}");
    let more = || (daemon.log().matches(failed).count() >= 2).then_some(());
    wait_until(DEADLINE, || daemon.log(), more);
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(daemon.get("/livez").status, 200);
    fake.reopen();
    daemon.wait_ready();
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert!(daemon.is_running());
}

#[test]
fn one_tag_that_never_answers_delays_the_first_index_and_does_not_prevent_it() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("web", "2.0.0"));
    fake.push(&Chart::new("db", "1.0.0"));
    let silent = "* /v2/web/manifests/2.0.0";
    fake.spoil(silent)
        .with(Fault::Answer(Reply::error(503, "UNAVAILABLE", "try later")));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    assert_eq!(
        daemon.log().matches(" ERROR first scan failed").count(),
        2,
        "{}",
        daemon.log()
    );
    daemon.wait_for_complaint(&[
        "1 repository or tag could not be read",
        "web:2.0.0",
        "503 UNAVAILABLE",
    ]);
    fake.heal(silent);
    wait_for_charts(&daemon, &["db 1.0.0", "web 1.0.0", "web 2.0.0"]);
    assert_eq!(
        fake.count("GET /v2/web/manifests/1.0.0"),
        1,
        "once is enough:\n{}",
        fake.seen()
    );
}

/// A replica that knew nothing turned ready with `entries: {}` after three attempts, and a rolling update
/// ended the one that knew all: issue 11, A2.
#[test]
fn it_is_not_ready_until_something_was_learnt_of_a_registry_that_only_lists() {
    let story = |pattern: &str| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.push(&Chart::new("web", "2.0.0"));
        fake.push(&Chart::new("db", "1.0.0"));
        fake.spoil(pattern)
            .with(Fault::Answer(Reply::error(503, "UNAVAILABLE", "try later")));
        let daemon = starting_daemon(&fake, &[]);
        let failed = " ERROR first scan failed";
        let more = || {
            let index = daemon.get("/index.yaml");
            assert_eq!(index.status, 503, "{}", index.body_text());
            assert!(index.header("Retry-After").is_some());
            (daemon.log().matches(failed).count() >= 4).then_some(())
        };
        wait_until(DEADLINE, || daemon.log(), more);
        let ready = daemon.get("/readyz");
        assert_eq!(ready.status, 503);
        assert!(ready.header("Retry-After").is_some());
        let text = ready.body_text();
        assert!(
            text.contains("3 repositories or tags could not be read"),
            "{text}"
        );
        fake.heal(pattern);
        daemon.wait_ready();
        assert_eq!(
            Index::of(&daemon).charts(),
            ["db 1.0.0", "web 1.0.0", "web 2.0.0"]
        );
    };
    thread::scope(|scope| {
        scope.spawn(|| story("* /v2/*/manifests/*"));
        scope.spawn(|| story("* /v2/*/blobs/*"));
    });
}

/// The same report: a partial first index says how much is missing.
#[test]
fn a_first_index_that_is_partial_says_in_readyz_how_much_is_missing() {
    let fake = FakeRegistry::start();
    for chart in ["web", "db", "cache"] {
        fake.push(&Chart::new(chart, "1.0.0"));
    }
    let silent = ["* /v2/web/manifests/*", "* /v2/db/blobs/*"];
    for pattern in silent {
        fake.spoil(pattern)
            .with(Fault::Answer(Reply::error(503, "UNAVAILABLE", "try later")));
    }
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["cache 1.0.0"]);
    let text = daemon.get("/readyz").body_text();
    assert!(
        text.contains("; 2 repositories or tags could not be read yet"),
        "{text}"
    );
    silent.iter().for_each(|pattern| fake.heal(pattern));
    wait_for_charts(&daemon, &["cache 1.0.0", "db 1.0.0", "web 1.0.0"]);
    let text = daemon.get("/readyz").body_text();
    assert!(!text.contains("could not be read"), "{text}");
}

#[test]
fn a_signal_ends_it_with_code_0_when_idle() {
    for signal in SIGNALS {
        let fake = FakeRegistry::start();
        let mut daemon = ready_daemon(&fake, &[LONG_GRACE]);
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit(), Some(0), "{signal}: {}", daemon.log());
    }
}

#[test]
fn a_signal_ends_it_with_code_0_while_it_walks() {
    for signal in SIGNALS {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.spoil("GET /v2/web/manifests/*").with(Fault::Hang);
        let mut daemon = starting_daemon(&fake, &[LONG_GRACE]);
        fake.wait_for("GET /v2/web/manifests/*", 1);
        let start = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit(), Some(0), "{signal}: {}", daemon.log());
        // The registry would be waited for half a minute.
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{signal}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_signal_while_the_registry_is_down_does_not_wait_for_the_next_try() {
    let mut fake = FakeRegistry::start_on("127.0.0.6");
    fake.close();
    let mut daemon = starting_daemon(&fake, &[]);
    daemon.wait_for_log(" ERROR first scan failed");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0), "{}", daemon.log());
}

#[test]
fn a_running_download_is_finished_before_it_ends() {
    for signal in SIGNALS {
        let fake = slow_download(Duration::from_millis(50));
        let mut daemon = ready_daemon(&fake, &[]);
        let (stream, first) = begun_download(&daemon);
        daemon.signal(signal);
        assert_eq!(
            body_length(stream, first),
            SIZE,
            "{signal}: {}",
            daemon.log()
        );
        assert_eq!(daemon.wait_exit(), Some(0), "{signal}: {}", daemon.log());
    }
}

#[test]
fn a_download_that_outlasts_the_grace_is_cut_and_the_code_is_still_0() {
    let fake = slow_download(Duration::from_millis(400));
    let mut daemon = ready_daemon(&fake, &["--shutdown-grace=200ms"]);
    let (stream, first) = begun_download(&daemon);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0), "{}", daemon.log());
    assert!(body_length(stream, first) < SIZE);
}

#[test]
fn a_registry_without_charts_and_with_a_repository_that_is_closed_to_us_is_an_empty_one() {
    let fake = FakeRegistry::start();
    fake.push_image("images/app", "1.0.0");
    fake.push_image("private/app", "1.0.0");
    let denied = Reply::error(403, "DENIED", "requested access to the resource is denied");
    fake.spoil("GET /v2/private/app/tags/list")
        .with(Fault::Answer(denied));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), [""; 0]);
    assert_eq!(
        daemon.log().matches(" ERROR first scan failed").count(),
        2,
        "{}",
        daemon.log()
    );
}

#[test]
fn new_connections_are_refused_at_once_while_it_waits_for_a_download() {
    let fake = slow_download(Duration::from_millis(200));
    let mut daemon = ready_daemon(&fake, &["--chart-cache-size=0"]);
    let (stream, first) = begun_download(&daemon);
    daemon.signal("TERM");
    daemon.wait_for_log("SIGTERM received");

    // Between the signal and the end of the port, a connection may still be accepted, to be closed.
    let address = ([127, 0, 0, 1], daemon.port()).into();
    let refused = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).err();
    let error = wait_until(DEADLINE, || "a connection is refused".to_owned(), refused);

    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(
        daemon.is_running(),
        "it refuses, and not only because it's gone"
    );
    assert_eq!(body_length(stream, first), SIZE, "{}", daemon.log());
    assert_eq!(daemon.wait_exit(), Some(0), "{}", daemon.log());
}

#[test]
fn a_second_signal_ends_it_at_once_whatever_is_under_way() {
    for signal in SIGNALS {
        let fake = slow_download(Duration::from_secs(1));
        let mut daemon = ready_daemon(&fake, &[LONG_GRACE]);
        let (stream, first) = begun_download(&daemon);
        daemon.signal("TERM");
        daemon.wait_for_log("SIGTERM received");
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit(), Some(1), "{signal}: {}", daemon.log());
        assert!(body_length(stream, first) < SIZE);
    }
}

#[test]
fn an_idle_client_does_not_keep_it_from_ending() {
    let fake = FakeRegistry::start();
    let mut daemon = ready_daemon(&fake, &[LONG_GRACE]);
    let idle = TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    let mut half = TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    half.write_all(b"GET /index.yaml HTTP/1.1\r\nHo")
        .expect("sent");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0), "{}", daemon.log());
    drop((idle, half));
}

#[test]
fn the_port_is_free_again_at_once_after_it_ended() {
    let fake = FakeRegistry::start();
    let mut daemon = ready_daemon(&fake, &[]);
    let port = daemon.port();
    assert_eq!(daemon.get("/livez").status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
    let again = ready_daemon(&fake, &[&format!("--port={port}")]);
    assert_eq!(again.port(), port);
}

#[test]
fn a_limit_of_the_address_space_is_told_with_what_it_means_and_what_to_do() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let mut limited = Command::new("prlimit");
    limited.args(["--as=2000000000", program()]);
    let daemon = Daemon::start_as(limited, &[&fake.flag()]);
    daemon.wait_ready();
    let told = daemon.wait_for_complaint(&["RLIMIT_AS", "2000 MB"]);
    for word in ["aborted", "MemoryMax=", "MALLOC_ARENA_MAX=1"] {
        assert!(told.contains(word), "{told}");
    }
    let daemon = ready_daemon(&fake, &[]);
    assert!(!daemon.log().contains("RLIMIT_AS"), "{}", daemon.log());
}
