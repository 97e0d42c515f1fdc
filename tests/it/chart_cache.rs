//! Archives in memory: the registry gets one request for an archive that many clients want, now or
//! later, and none while it is kept; memory stays within `--chart-cache-size`; and a client may ask for a part.

use std::thread;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::http::Answer;
use crate::support::served::{PATH, Served, UNCACHED};
use crate::support::story::{ready_daemon, wait_for_charts};

/// The largest archive that is kept.
const LARGEST: usize = 4 << 20;
/// Until all clients of one moment have sent their requests.
const GATHERING: Duration = Duration::from_secs(1);

fn in_part(daemon: &Daemon, headers: &[(&str, &str)]) -> Answer {
    daemon.request("GET", PATH, headers)
}

/// So many clients, all at a time.
fn at_once(served: &Served, clients: usize) -> Vec<Answer> {
    thread::scope(|scope| {
        let asked: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| served.daemon.get(PATH)))
            .collect();
        asked
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    })
}

#[test]
fn an_archive_is_fetched_once() {
    for size in [1, 70_000, LARGEST] {
        let served = Served::of_size(size);
        for _ in 0..3 {
            assert!(
                served.daemon.get(PATH).body == served.archive,
                "{size} bytes as they were pushed"
            );
            assert_eq!(
                served.daemon.get("/charts/web-1.0.0.tgz.prov").body_text(),
                "PGP"
            );
        }
        assert_eq!(served.fetches(), 1, "{size}");
        let provenance = served.chart.provenance.as_ref().expect("it is signed");
        assert_eq!(
            served
                .fake
                .count(&format!("GET /v2/web/blobs/{}", provenance.digest)),
            1
        );
    }
}

#[test]
fn an_archive_that_is_too_large_or_has_no_room_is_fetched_each_time() {
    for (size, flag) in [
        (LARGEST + 1, "--chart-cache-size=1GiB"),
        (1000, UNCACHED),
        (600_000, "--chart-cache-size=500KiB"),
    ] {
        let served = Served::with(size, &[flag]);
        for _ in 0..2 {
            let answer = in_part(&served.daemon, &[("Range", "bytes=0-9")]);
            assert_eq!(
                (answer.status, answer.header("Accept-Ranges")),
                (200, None),
                "{flag}"
            );
            assert!(answer.body == served.archive);
        }
        assert_eq!(served.fetches(), 2, "{flag}");
    }
}

#[test]
fn one_archive_under_two_names_is_fetched_once() {
    let fake = FakeRegistry::start();
    for (repository, version) in [("one", "1.0.0"), ("two", "2.0.0")] {
        fake.push(&Chart::new(repository, version).archive("the same bytes"));
    }
    let daemon = ready_daemon(&fake, &[]);
    for path in ["/charts/one-1.0.0.tgz", "/charts/two-2.0.0.tgz"] {
        assert_eq!(daemon.get(path).body_text(), "the same bytes");
    }
    let archive = fake
        .push(&Chart::new("one", "1.0.0").archive("the same bytes"))
        .archive
        .digest;
    let fetches = ["one", "two"].map(|name| fake.count(&format!("GET /v2/{name}/blobs/{archive}")));
    assert_eq!(fetches.iter().sum::<usize>(), 1);
}

#[test]
fn the_cache_keeps_within_its_size_and_evicts_the_least_recently_used() {
    let fake = FakeRegistry::start();
    let charts = ["a", "b", "c", "d"].map(|name| {
        fake.push(&Chart::new(name, "1.0.0").archive(vec![name.as_bytes()[0]; 300_000]))
    });
    let daemon = ready_daemon(&fake, &["--chart-cache-size=1MB"]);
    // Three have room.
    for name in ["a", "b", "c", "a", "d", "a", "c", "d"] {
        let body = daemon.get(&format!("/charts/{name}-1.0.0.tgz")).body;
        assert!(body == vec![name.as_bytes()[0]; 300_000]);
    }
    let fetches = || {
        charts
            .each_ref()
            .map(|chart| fake.count(&format!("GET {}", chart.archive_path())))
    };
    assert_eq!(fetches(), [1, 1, 1, 1]);
    daemon.get("/charts/b-1.0.0.tgz");
    assert_eq!(fetches(), [1, 2, 1, 1]);
}

#[test]
fn clients_that_want_one_archive_at_a_time_make_one_request() {
    let served = Served::of_size(100_000);
    served.spoil(Fault::Wait(GATHERING));
    for answer in at_once(&served, 40) {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, served.archive);
    }
    assert_eq!(served.fetches(), 1);
}

#[test]
fn a_failure_is_shared_by_the_clients_that_waited_for_it_and_by_no_later_one() {
    let kinds = [
        (
            Fault::Answer(Reply::error(403, "DENIED", "not for you")),
            502,
        ),
        (
            Fault::Answer(Reply::error(404, "BLOB_UNKNOWN", "gone")),
            404,
        ),
        (Fault::Flip(7), 502),
        (Fault::Cut(7), 502),
    ];
    for (fault, status) in kinds {
        let served = Served::of_size(1000);
        let archive = format!("GET {}", served.chart.archive_path());
        served.fake.spoil(&archive).first(1).with(fault);
        served.spoil(Fault::Wait(GATHERING));
        for answer in at_once(&served, 8) {
            assert_eq!(answer.status, status, "{}", answer.body_text());
        }
        assert_eq!(served.fetches(), 1);
        served.daemon.wait_for_log(" WARN ");
        assert_eq!(
            served.daemon.log().matches(" WARN ").count(),
            1,
            "{}",
            served.daemon.log()
        );
        assert_eq!(served.daemon.get(PATH).body, served.archive);
        assert_eq!(served.fetches(), 2);
    }
}

#[test]
fn an_archive_that_comes_too_slowly_is_passed_on_and_not_kept() {
    let served = Served::of_size(20_000);
    let archive = format!("GET {}", served.chart.archive_path());
    // Ten seconds for each, if the daemon waited for the end.
    served
        .fake
        .spoil(&archive)
        .first(2)
        .with(Fault::Drip(1000, Duration::from_millis(500)));
    for answer in at_once(&served, 2) {
        assert_eq!(
            (answer.status, answer.header("Content-Length")),
            (200, Some("20000"))
        );
        assert_eq!(answer.body, served.archive);
    }
    assert_eq!(
        served.fetches(),
        2,
        "one was waited for, then each for itself"
    );
    assert_eq!(served.daemon.get(PATH).body, served.archive);
    assert_eq!(served.fetches(), 3);
}

#[test]
fn a_kept_archive_is_served_when_the_registry_is_gone() {
    let mut served = Served::of_size(1000);
    assert_eq!(served.daemon.get(PATH).status, 200);
    served.fake.close();
    assert_eq!(served.daemon.get(PATH).body, served.archive);
    assert_eq!(served.daemon.get("/charts/web-1.0.0.tgz.prov").status, 502);
}

#[test]
fn a_chart_that_is_no_longer_listed_is_not_served_from_memory() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("web", "2.0.0"));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(daemon.get(PATH).status, 200);
    fake.delete_tag("web", "1.0.0");
    wait_for_charts(&daemon, &["web 2.0.0"]);
    assert_eq!(daemon.get(PATH).status, 404);
    fake.push(&Chart::new("web", "1.0.0").archive("pushed again"));
    wait_for_charts(&daemon, &["web 1.0.0", "web 2.0.0"]);
    assert_eq!(daemon.get(PATH).body_text(), "pushed again");
}

#[test]
fn slow_readers_fill_the_cache_and_stop_no_other_client() {
    use std::io::{Read, Write};
    let fake = FakeRegistry::start();
    for name in ["a", "b", "c"] {
        fake.push(&Chart::new(name, "1.0.0").archive(vec![name.as_bytes()[0]; LARGEST]));
    }
    let daemon = ready_daemon(&fake, &["--chart-cache-size=9MiB"]);
    let ask = |name: &str| {
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
        let request = format!("GET /charts/{name}-1.0.0.tgz HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        // It has begun, and doesn't fit into the buffers between us.
        stream.read_exact(&mut [0; 1000]).expect("the first bytes");
        stream
    };
    let _slow = ["a", "b"].map(ask);
    let whole = daemon.get("/charts/c-1.0.0.tgz");
    assert!(whole.body == vec![b'c'; LARGEST]);
    assert!(daemon.get("/charts/a-1.0.0.tgz").body == vec![b'a'; LARGEST]);
    assert_eq!(
        fake.count("GET /v2/a/blobs/*"),
        2,
        "the config and one archive"
    );
}

#[test]
fn a_part_of_an_archive_is_sent_on_request() {
    let served = Served::of_size(70_000);
    let etag = format!("\"{}\"", served.chart.archive.digest);
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-199", 100..200),
        ("bytes=69999-", 69_999..70_000),
        ("bytes=0-", 0..70_000),
        ("bytes=-500", 69_500..70_000),
        ("bytes=-99999999999999999999", 0..70_000),
        ("bytes=65000-99999999999999999999", 65_000..70_000),
    ] {
        let answer = in_part(&served.daemon, &[("Range", range)]);
        assert_eq!(answer.status, 206, "{range}");
        let told = format!("bytes {}-{}/70000", part.start, part.end - 1);
        assert_eq!(answer.header("Content-Range"), Some(&*told), "{range}");
        assert_eq!(
            answer.header("Content-Length"),
            Some(&*part.len().to_string())
        );
        assert_eq!(answer.header("ETag"), Some(&*etag));
        assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
        assert_eq!(answer.header("Content-Type"), Some("application/x-tar"));
        assert_eq!(answer.body, served.archive[part], "{range}");
    }
    assert_eq!(served.fetches(), 1);
}

#[test]
fn a_range_beyond_the_end_is_refused_and_an_odd_one_gets_the_whole() {
    let served = Served::of_size(1000);
    for beyond in ["bytes=1000-", "bytes=1000-2000", "bytes=-0"] {
        let answer = in_part(&served.daemon, &[("Range", beyond)]);
        assert_eq!(
            (answer.status, answer.header("Content-Range")),
            (416, Some("bytes */1000")),
            "{beyond}"
        );
        assert_eq!(
            (answer.header("ETag"), answer.header("Cache-Control")),
            (None, None)
        );
    }
    for odd in [
        "bytes=0-1,5-6",
        "bytes=5-3",
        "bytes=-",
        "lines=0-1",
        "bytes=a-",
        "0-1",
        "",
    ] {
        let answer = in_part(&served.daemon, &[("Range", odd)]);
        assert_eq!(
            (answer.status, &answer.body),
            (200, &served.archive),
            "{odd}"
        );
        assert_eq!(answer.header("Content-Range"), None);
    }
    let twice = in_part(
        &served.daemon,
        &[("Range", "bytes=0-1"), ("Range", "bytes=5-6")],
    );
    assert_eq!(twice.status, 200);
    let head = served
        .daemon
        .request("HEAD", PATH, &[("Range", "bytes=0-1")]);
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("1000")),
        "ranges are for GET"
    );
    let index = served
        .daemon
        .request("GET", "/index.yaml", &[("Range", "bytes=0-1")]);
    assert_eq!((index.status, index.header("Accept-Ranges")), (200, None));
}

#[test]
fn a_part_continues_only_the_archive_it_belongs_to() {
    let served = Served::of_size(1000);
    let etag = format!("\"{}\"", served.chart.archive.digest);
    let with = |validator: &str| {
        in_part(
            &served.daemon,
            &[("Range", "bytes=9-"), ("If-Range", validator)],
        )
    };
    assert_eq!(with(&etag).status, 206);
    for other in [
        "\"other\"",
        &format!("W/{etag}"),
        "Sat, 29 Oct 1994 19:43:31 GMT",
    ] {
        assert_eq!(with(other).status, 200, "{other}");
    }
    let known = [("Range", "bytes=9-"), ("If-None-Match", &*etag)];
    assert_eq!(in_part(&served.daemon, &known).status, 304);
}

#[test]
fn the_memory_of_many_archives_is_bounded_by_the_cache() {
    let fake = FakeRegistry::start();
    for number in 0..24_u8 {
        fake.push(&Chart::new(&format!("c{number}"), "1.0.0").archive(vec![number; 3 << 20]));
    }
    let daemon = ready_daemon(&fake, &["--chart-cache-size=16MiB"]);
    let resident = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("its peak");
        line.trim()
            .split(' ')
            .next()
            .and_then(|kb| kb.parse::<usize>().ok())
            .expect("a number")
            / 1024
    };
    let before = resident();
    thread::scope(|scope| {
        for client in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || {
                for number in 0..24 {
                    let name = (number * 5 + client * 3) % 24;
                    let answer = daemon.get(&format!("/charts/c{name}-1.0.0.tgz"));
                    assert!(answer.body == vec![name as u8; 3 << 20]);
                }
            });
        }
    });
    let peak = resident();
    println!("peak memory: {before} MiB before, {peak} MiB after");
    assert!(peak <= before + 16 + 4, "{before} MiB grew to {peak} MiB");
}
