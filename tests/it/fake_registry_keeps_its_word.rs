//! The fake registry's faults do what they say and nothing else, and a script that no request met
//! fails its test. A story told with a fault that isn't there proves nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::http;
use crate::support::process::DEADLINE;

#[test]
fn its_faults_do_what_they_say_and_then_the_good_answer_is_back() {
    let fake = FakeRegistry::start();
    let chart = fake.push(&Chart::new("web", "1.0.0").archive(*b"0123456789"));
    let blob = chart.archive_path();
    let get = || http::request(fake.port(), "GET", &blob, &[]);
    let spoiled = |fault: Fault| {
        fake.spoil(&format!("GET {blob}")).first(1).with(fault);
        get()
    };

    let cut = spoiled(Fault::Cut(4)).expect("a head");
    assert_eq!(cut.header("Content-Length"), Some("10"));
    assert_eq!((cut.complete, &*cut.body), (false, &b"0123"[..]));
    let flipped = spoiled(Fault::Flip(9)).expect("an answer");
    assert_eq!(
        (flipped.complete, &*flipped.body),
        (true, &b"0123456788"[..])
    );
    let reset = spoiled(Fault::Reset).expect_err("no answer");
    assert!(reset.to_string().contains("no response head"), "{reset}");
    let unavailable = Reply::new(503).header("Retry-After", "7");
    let unavailable = spoiled(Fault::Answer(unavailable)).expect("an answer");
    assert_eq!(
        (unavailable.status, unavailable.header("Retry-After")),
        (503, Some("7"))
    );
    let chunked = spoiled(Fault::Chunked).expect("an answer");
    assert_eq!(chunked.header("Content-Length"), None);
    assert_eq!(
        (chunked.complete, &*chunked.body),
        (true, &b"0123456789"[..])
    );
    let endless = spoiled(Fault::NoHeader("Content-Length")).expect("an answer");
    assert_eq!(endless.header("Content-Length"), None);
    assert_eq!(&*endless.body, b"0123456789");
    let start = Instant::now();
    let dripped = spoiled(Fault::Drip(2, Duration::from_millis(20))).expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(&*dripped.body, b"0123456789");

    let honest = get().expect("an answer");
    assert_eq!((honest.complete, &*honest.body), (true, &b"0123456789"[..]));
    assert_eq!(fake.count(&format!("GET {blob}")), 8);
}

#[test]
fn a_limit_lets_as_many_requests_pass_as_it_allows_and_then_refuses() {
    let fake = FakeRegistry::start();
    fake.limit(10.0, 3.0, Reply::new(429));
    let status = || {
        let answer = http::request(fake.port(), "GET", "/v2/", &[]);
        answer.expect("an answer").status
    };
    let began = Instant::now();
    let passed = (0..50).filter(|_| status() == 200).count() as f64;
    let allowed = 3.0 + 10.0 * began.elapsed().as_secs_f64();
    assert!((3.0..=allowed).contains(&passed), "{passed} of {allowed}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(status(), 200);
}

#[test]
fn a_hanging_request_waits_until_it_is_healed() {
    let fake = FakeRegistry::start();
    fake.spoil("GET /v2/_catalog").with(Fault::Hang);
    let port = fake.port();
    let asking = std::thread::spawn(move || http::request(port, "GET", "/v2/_catalog", &[]));
    fake.wait_for("GET /v2/_catalog", 1);
    assert!(!asking.is_finished());
    fake.heal("GET /v2/_catalog");
    let answer = asking.join().expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_reset_is_a_reset_and_a_closed_door_refuses() {
    let mut fake = FakeRegistry::start_on("127.0.0.9");
    fake.spoil("GET /v2/").with(Fault::Reset);
    let mut stream = TcpStream::connect(fake.host()).expect("the door is open");
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let end = stream.read(&mut [0]).expect_err("a reset");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    fake.close();
    // A child that another test is just starting holds every descriptor until its exec.
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(fake.host()).is_ok() {
        assert!(Instant::now() < deadline, "the door stays open");
    }
    fake.reopen();
    assert!(TcpStream::connect(fake.host()).is_ok());
}

#[test]
#[should_panic(expected = "requests no registry knows")]
fn a_request_no_registry_knows_fails_the_test() {
    let fake = FakeRegistry::start();
    let answer = http::request(fake.port(), "GET", "/v2/web/charts", &[]);
    assert_eq!(answer.expect("an answer").status, 404);
}

#[test]
#[should_panic(expected = "faults that no request ever met")]
fn a_fault_that_no_request_ever_met_fails_the_test() {
    let fake = FakeRegistry::start();
    fake.spoil("GET /v2/never/*").with(Fault::Reset);
}
