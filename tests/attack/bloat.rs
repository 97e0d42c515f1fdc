//! Rows about memory: what a pusher writes to be kept, and what a client reads to be held. Each plays
//! on a fresh daemon with the default budgets, and the most memory that the daemon ever had is held
//! against the size of what it serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::scene::binary;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, media};
use crate::trial::Scale;
use crate::watch::Status;

/// Most memory, in MiB, above what the content takes when it's rendered.
const ABOVE_CONTENT: usize = 64;
/// Most memory in all, in MiB.
const IN_ALL: usize = 128;
const MIB: usize = 1 << 20;
/// How long another client may wait for a page, on a machine that is busy too.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a browser asks for.
const HTML: (&str, &str) = ("Accept", "text/html");
/// A refresh at each request for the index, however long it takes.
const FRESH: [&str; 2] = ["--max-stale=0s", "--max-wait=60s"];

/// One row.
pub struct Bloat {
    name: &'static str,
    full: usize,
    reduced: usize,
    play: fn(usize, Duration) -> Bloated,
}

/// What came of it.
pub struct Bloated {
    /// How many bytes the largest response has that lists the content.
    rendered: usize,
    /// The most memory that the daemon ever had resident, in KiB.
    peak: usize,
    /// What else should not be so.
    fault: Option<String>,
}

pub const ALL: [Bloat; 10] = [
    Bloat {
        name: "manifests with a media type of 1 MB",
        full: 300,
        reduced: 30,
        play: media_types,
    },
    Bloat {
        name: "tags of one manifest of 4 MB",
        full: 200,
        reduced: 30,
        play: one_manifest,
    },
    Bloat {
        name: "slow readers of one entry of 0.9 MB",
        full: 200,
        reduced: 60,
        play: one_entry,
    },
    Bloat {
        name: "slow readers of many entries of 0.9 MB",
        full: 200,
        reduced: 60,
        play: many_entries,
    },
    Bloat {
        name: "MiB of config blobs of 1 MiB to be escaped",
        full: 64,
        reduced: 24,
        play: |count, _| escapes(count, 1_048_000),
    },
    Bloat {
        name: "MiB of config blobs of 250 KB to be escaped",
        full: 64,
        reduced: 24,
        play: |count, _| escapes(4 * count, 250_000),
    },
    Bloat {
        name: "changes of 20 MiB under slow readers",
        full: 20,
        reduced: 5,
        play: changes,
    },
    Bloat {
        name: "small config blobs with empty dependencies",
        full: 1_400,
        reduced: 200,
        play: dependencies,
    },
    Bloat {
        name: "of one address that ask for pages of prefixes",
        full: 56,
        reduced: 16,
        play: prefixes,
    },
    Bloat {
        name: "of one address that ask for searches and charts as pages",
        full: 56,
        reduced: 16,
        play: pages,
    },
];

impl Bloat {
    fn strength(&self, scale: &Scale) -> usize {
        if scale.full { self.full } else { self.reduced }
    }

    pub fn title(&self, scale: &Scale) -> String {
        format!("{} {}", self.strength(scale), self.name)
    }

    pub fn play(&self, scale: &Scale) -> Bloated {
        (self.play)(self.strength(scale), scale.attack)
    }
}

impl Bloated {
    fn of(daemon: &Daemon, rendered: usize) -> Bloated {
        let index = daemon.get("/index.yaml").status;
        let peak = Status::of(daemon.pid()).map_or(usize::MAX, |status| status.peak_memory);
        Bloated {
            rendered,
            peak,
            fault: (index != 200).then(|| format!("the index is {index} afterwards")),
        }
    }

    /// The numbers of its line.
    pub fn line(&self) -> String {
        format!(
            "{:>6.1} MiB are served, {:>6.1} MiB of memory at its peak",
            self.rendered as f64 / MIB as f64,
            self.peak as f64 / 1024.0
        )
    }

    /// What should not be so.
    pub fn faults(&self) -> Vec<String> {
        let most = (self.rendered.div_ceil(MIB) + ABOVE_CONTENT).min(IN_ALL);
        let peak = self.peak / 1024;
        let memory = (peak > most).then(|| format!("{peak} MiB of memory, more than {most}"));
        memory.into_iter().chain(self.fault.clone()).collect()
    }
}

fn daemon(fake: &FakeRegistry, flags: &[&str]) -> Daemon {
    let registry = fake.flag();
    let flags = [&[&*registry, "--log-level=info"], flags].concat();
    let daemon = Daemon::start_as(Command::new(binary()), &flags);
    daemon.wait_ready();
    daemon
}

/// A manifest of no chart, whose config has a media type of so many bytes.
fn manifest(number: usize, length: usize) -> Vec<u8> {
    let kind = format!("{number}/{}", "\u{202e}x".repeat(length / 4));
    let blob = json!({"mediaType": kind, "digest": format!("sha256:{:064}", 0), "size": 2});
    json!({"schemaVersion": 2, "config": blob, "layers": []})
        .to_string()
        .into_bytes()
}

fn media_types(count: usize, _: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    for number in 0..count {
        let (tag, bytes) = (format!("1.0.{number}"), manifest(number, 1_000_000));
        fake.push_manifest("images/app", &tag, media::OCI_MANIFEST, &bytes);
    }
    skipped(&fake)
}

fn one_manifest(count: usize, _: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    let bytes = manifest(0, 4_100_000);
    for number in 0..count {
        let tag = format!("1.0.{number}");
        fake.push_manifest("images/app", &tag, media::OCI_MANIFEST, &bytes);
    }
    skipped(&fake)
}

/// Some clients ask what isn't listed. Its own size is no excuse.
fn skipped(fake: &FakeRegistry) -> Bloated {
    fake.push(&Chart::new("db", "1.0.0"));
    let daemon = daemon(fake, &[]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| daemon.get("/api/skipped"));
        }
    });
    Bloated::of(&daemon, 0)
}

/// Pushes a version whose description is `text`, as often as it fits into so many bytes of JSON.
fn push(fake: &FakeRegistry, repository: &str, version: &str, text: &str, length: usize) {
    let description = text.repeat(length / text.len());
    let name = repository.rsplit('/').next().unwrap_or_default();
    let config =
        json!({"apiVersion": "v2", "name": name, "version": version, "description": description});
    fake.push(&Chart::new(repository, version).config(&config));
}

fn one_entry(readers: usize, time: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    push(&fake, "team/web", "1.0.0", "what it is for. ", 900_000);
    entries(&fake, readers, time, |_| "/api/charts/web/1.0.0".to_owned())
}

fn many_entries(readers: usize, time: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    for number in 0..64 {
        let (repository, version) = (format!("team/web{}", number / 8), number % 8);
        let text = format!("what it is for: {number}. ");
        push(
            &fake,
            &repository,
            &format!("{version}.0.0"),
            &text,
            900_000,
        );
    }
    entries(&fake, readers, time, |number| {
        format!("/api/charts/web{}/{}.0.0", number / 8 % 8, number % 8)
    })
}

fn entries(
    fake: &FakeRegistry,
    readers: usize,
    time: Duration,
    path: impl Fn(usize) -> String,
) -> Bloated {
    let daemon = daemon(fake, &[]);
    let address = address(&daemon);
    let mut slow: Vec<Slow> = (0..readers)
        .map(|number| Slow::begin(address, &path(number)))
        .collect();
    let until = Instant::now() + time;
    while Instant::now() < until {
        slow.iter_mut().for_each(Slow::sip);
        thread::sleep(Duration::from_millis(100));
    }
    let rendered = daemon.get("/index.yaml").body.len();
    Bloated::of(&daemon, rendered)
}

fn escapes(count: usize, length: usize) -> Bloated {
    let fake = FakeRegistry::start();
    // Of 10 bytes come 40 when they are escaped.
    let text = "\u{7f}\u{7f}\u{7f}\u{80}\u{90}\u{9f}a";
    for number in 0..count {
        let (repository, version) = (format!("team/web{}", number % 8), number / 8);
        push(&fake, &repository, &format!("{version}.0.0"), text, length);
    }
    let daemon = daemon(&fake, &[]);
    thread::scope(|scope| {
        for path in [
            "/index.yaml",
            "/index.json",
            "/api/charts",
            "/team/index.json",
        ] {
            let daemon = &daemon;
            scope.spawn(move || daemon.get(path));
            scope.spawn(move || daemon.request("GET", path, &[("Accept-Encoding", "gzip")]));
        }
    });
    let rendered = daemon.get("/index.yaml").body.len();
    Bloated::of(&daemon, rendered)
}

/// Metadata of four times its config blob's length. What comes of all is only known when they are read.
fn dependencies(count: usize, _: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    let dependencies = vec![json!({}); 4_000];
    for number in 0..count {
        let (repository, version) = (format!("team/web{}", number / 100), number % 100);
        let config = json!({
            "apiVersion": "v2", "name": format!("web{}", number / 100), "version": format!("{version}.0.0"),
            "description": "what it is for. ".repeat(1_500), "dependencies": dependencies,
        });
        fake.push(&Chart::new(&repository, &format!("{version}.0.0")).config(&config));
    }
    let daemon = daemon(&fake, &[]);
    let rendered = daemon.get("/index.yaml").body.len();
    Bloated::of(&daemon, rendered)
}

/// More pages than are kept, each asked for again and again, while another client asks for one of each size.
fn prefixes(askers: usize, time: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    let teams = askers / 2;
    for number in 0..2 * teams {
        let team = number / 2;
        let repository = format!("team{team}/web{team}");
        let version = format!("{}.0.0", number % 2);
        push(&fake, &repository, &version, "what it is for. ", 900_000);
    }
    push(&fake, "own/large", "1.0.0", "what it is for. ", 900_000);
    push(&fake, "own/large", "2.0.0", "what it is for. ", 900_000);
    push(&fake, "own/small/web", "1.0.0", "what it is for. ", 1_000);
    let path = |number, _| format!("/team{}/index.yaml", number % teams);
    let own = ["/own/large/index.yaml", "/own/small/index.yaml"];
    asked_by_one_address(&fake, askers, time, &path, &own)
}

/// Searches and charts' pages, each another, of hosts without end; each reads much that pushers wrote.
fn pages(askers: usize, time: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    for number in 0..40 {
        let repository = format!("team/web{number}");
        push(&fake, &repository, "1.0.0", "what it is for. ", 900_000);
    }
    for number in 0..200 {
        push(
            &fake,
            "own/small",
            &format!("1.{number}.0"),
            "\"<&> ",
            10_000,
        );
    }
    let path = |number, round| match round % 3 {
        0 => format!("/?q=what+it+is+for.&x={number}-{round}"),
        1 => format!("/?q={number}x{round}"),
        _ => format!(
            "/charts/small?version=1.{}.0&page=2",
            (number + round) % 200
        ),
    };
    let own = ["/", "/charts/small", "/own/", "/?q=small"];
    asked_by_one_address(&fake, askers, time, &path, &own)
}

/// So many clients of one address ask for a path by their number and the round, while another client asks
/// for paths of its own.
fn asked_by_one_address(
    fake: &FakeRegistry,
    askers: usize,
    time: Duration,
    path: &(dyn Fn(usize, usize) -> String + Sync),
    own: &[&str],
) -> Bloated {
    let daemon = daemon(fake, &[]);
    let (address, until) = (address(&daemon), Instant::now() + time);
    let (mut asked, mut fault) = (0, None);
    thread::scope(|scope| {
        for number in 0..askers {
            scope.spawn(move || {
                for round in 0.. {
                    if Instant::now() >= until {
                        return;
                    }
                    fetch(
                        address,
                        &path(number, round),
                        &format!("h{number}.r{round}"),
                    );
                }
            });
        }
        while Instant::now() < until {
            for path in own {
                let began = Instant::now();
                let status = daemon.request("GET", path, &[HTML]).status;
                asked += 1;
                if status != 200 || began.elapsed() > PATIENCE {
                    let took = began.elapsed();
                    fault = Some(format!(
                        "another client: {status} after {took:?} for {path}"
                    ));
                }
            }
        }
    });
    let rendered = daemon.get("/index.yaml").body.len();
    let mut bloated = Bloated::of(&daemon, rendered);
    let too_few = (asked < 4).then(|| format!("another client got {asked} pages"));
    bloated.fault = bloated.fault.or(fault).or(too_few);
    bloated
}

/// Asks from an address of its own, and reads the whole answer.
fn fetch(address: SocketAddr, path: &str, host: &str) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(&own.into()).expect("a loopback address");
    if socket.connect(&address.into()).is_ok() {
        let mut stream = TcpStream::from(socket);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        );
        let _ = stream.write_all(request.as_bytes());
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

/// Each change replaces every chart, and brings a further client that reads the index at 4 KB/s.
fn changes(count: usize, time: Duration) -> Bloated {
    let fake = FakeRegistry::start();
    let all = || (0..21).map(|number| format!("team{}/web{number}", number / 7));
    let change = |version: usize| {
        for repository in all() {
            let text = format!("what {repository} is for in its version {version}. ");
            push(
                &fake,
                &repository,
                &format!("{version}.0.0"),
                &text,
                1_000_000,
            );
            if version > 0 {
                fake.delete_tag(&repository, &format!("{}.0.0", version - 1));
            }
        }
    };
    change(0);
    let daemon = daemon(&fake, &FRESH);
    let mut slow = vec![Slow::begin(address(&daemon), "/index.yaml")];
    for version in 1..=count {
        change(version);
        slow.push(Slow::begin(address(&daemon), "/index.yaml"));
        let until = Instant::now() + time / 4;
        while Instant::now() < until {
            slow.iter_mut().for_each(Slow::sip);
            thread::sleep(Duration::from_millis(100));
        }
    }
    let rendered = daemon.get("/index.yaml").body.len();
    Bloated::of(&daemon, rendered)
}

/// A client that reads 4 KB a second.
struct Slow(TcpStream);

impl Slow {
    fn begin(address: SocketAddr, path: &str) -> Slow {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(&address.into()).expect("the daemon accepts");
        let mut stream = TcpStream::from(socket);
        let request = format!("GET {path} HTTP/1.1\r\nHost: charts.example\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it's short");
        stream.set_nonblocking(true).expect("non-blocking");
        Slow(stream)
    }

    /// Called ten times a second. A client that was cut off has nothing more to read.
    fn sip(&mut self) {
        let _ = self.0.read(&mut [0; 400]);
    }
}

fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port()))
}
