//! HTTP and URLs as proxies, sidecars and clients in the field send them (issue 11, E and F).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::http;
use crate::support::process::DEADLINE;
use crate::support::story::{Index, ready_daemon};

const SIZE: usize = 32 << 20;

fn team_and_db() -> FakeRegistry {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("db", "2.0.0"));
    fake
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", daemon.port())).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

/// Varnish kept a 404 for 120 s, so that a chart stayed missing after its push
/// (<https://varnish-cache.org/docs/trunk/users-guide/increasing-your-hitrate.html>).
#[test]
fn no_cache_keeps_an_answer_that_is_no_chart_and_no_index() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    for (method, path, headers, status) in [
        ("GET", "/charts/web-9.9.9.tgz", &[][..], 404),
        ("GET", "/api/charts/nothing", &[], 404),
        ("GET", "/nowhere", &[], 404),
        ("GET", "/%", &[], 400),
        ("POST", "/index.yaml", &[], 405),
        ("GET", "/", &[("Content-Length", "5")], 413),
        ("GET", "//index.yaml", &[], 308),
        (
            "GET",
            "/charts/web-1.0.0.tgz",
            &[("Range", "bytes=99999-")],
            416,
        ),
        ("GET", "/readyz", &[], 200),
        // It names the host of the request, which may be another's.
        ("GET", "/", &[], 200),
    ] {
        let answer = daemon.request(method, path, headers);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(
            answer.header("Cache-Control"),
            Some("no-store"),
            "{method} {path}"
        );
    }
    for path in ["/index.yaml", "/charts/web-1.0.0.tgz"] {
        let answer = daemon.get(path);
        let named = [("If-None-Match", answer.header("ETag").expect("an ETag"))];
        let known = daemon.request("GET", path, &named);
        assert_eq!((answer.status, known.status), (200, 304), "{path}");
        for answer in [answer, known] {
            assert_ne!(answer.header("Cache-Control"), Some("no-store"), "{path}");
        }
    }
}

/// Single sign-on in front adds cookies and tokens: a head of more than 8 KiB was 431.
#[test]
fn a_head_of_30_kib_is_answered_and_one_of_40_is_not() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    let ask = |length| daemon.request("GET", "/index.yaml", &[("Cookie", &"x".repeat(length))]);
    assert_eq!(ask(30 * 1024).status, 200);
    assert_eq!(ask(40 * 1024).status, 431);
    // A line of that length has no use here.
    let long = format!("/{}", "x".repeat(9 * 1024));
    assert_eq!(daemon.get(&long).status, 414);
}

/// AWS's load balancers keep a connection for 60 s and answered 502 when it was closed after 15 s.
#[test]
fn a_connection_may_be_idle_for_as_long_as_the_flag_says() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--idle-timeout=1s"]);
    let mut idle = connect(&daemon);
    assert_eq!(idle.read(&mut [0]).expect("closed in order"), 0);
    let default = ready_daemon(&fake, &[]);
    let idle = connect(&default);
    let two = Duration::from_secs(2);
    idle.set_read_timeout(Some(two)).expect("a deadline");
    assert!((&idle).read(&mut [0]).is_err(), "it is still open");
}

/// The 5 s of the write time-out met kernels that open a large window in steps, and cut a steady
/// reader at 40 KB/s.
#[test]
fn a_reader_that_takes_nothing_for_seven_seconds_gets_all_of_it() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0").archive(vec![b'x'; SIZE]));
    let daemon = ready_daemon(&fake, &[]);
    let mut stream = connect(&daemon);
    let request = b"GET /charts/web-1.0.0.tgz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut first = vec![0; 1000];
    stream.read_exact(&mut first).expect("the first bytes");
    std::thread::sleep(Duration::from_secs(7));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the rest");
    assert!(first.len() + rest.len() > SIZE, "{}", daemon.log());
}

/// Slow readers on two addresses kept all other clients from any archive that is not in memory, for as
/// long as they liked (issue 12, item 6): the request was 503 after 10 s.
#[test]
fn slow_downloads_make_room_for_one_that_waits() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0").archive(vec![b'x'; SIZE]));
    let daemon = ready_daemon(&fake, &["--chart-cache-size=0"]);
    let request = b"GET /charts/web-1.0.0.tgz HTTP/1.1\r\nHost: x\r\n\r\n";
    let slow: Vec<TcpStream> = (0..48)
        .map(|number| {
            let mut stream = connect_from([127, 0, 0, 2 + number % 2], daemon.port());
            stream.write_all(request).expect("sent");
            stream.read_exact(&mut [0; 100]).expect("it has begun");
            stream
        })
        .collect();
    let answer = daemon.get("/charts/web-1.0.0.tgz");
    assert_eq!((answer.status, answer.body.len()), (200, SIZE));
    drop(slow);
}

fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = (address, 0).into();
    let to: SocketAddr = ([127, 0, 0, 1], port).into();
    socket
        .bind(&from.into())
        .expect("an address of this machine");
    socket.connect(&to.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

/// Sidecars and Java's clients send GET with an empty body in chunks, which was 411.
#[test]
fn a_get_with_an_empty_chunked_body_is_answered_and_the_next_request_too() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    let mut stream = connect(&daemon);
    let head = "GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    for part in [
        head,
        "\r\n0\r",
        "\n\r\n",
        head,
        "Connection: close\r\n\r\n0\r\n\r\n",
    ] {
        stream.write_all(part.as_bytes()).expect("sent");
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");

    let smuggled = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for body in ["5\r\nhello\r\n0\r\n\r\n", "0\r\nA: b\r\n\r\n"] {
        let mut stream = connect(&daemon);
        let request = format!("{head}\r\n{body}{smuggled}");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("answers");
        assert!(answers.starts_with("HTTP/1.1 411 "), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
}

/// `helm cm-push` posts the archive and shows the `error` of the answer's JSON
/// (<https://github.com/chartmuseum/helm-push>).
#[test]
fn a_chart_that_is_pushed_to_the_api_is_refused_with_a_sentence_that_says_where_to_push() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    let archive = vec![b'x'; 1 << 20];
    let answer = http::send(daemon.port(), "POST", "/api/charts", &[], &archive);
    let answer = answer.expect("the answer isn't overtaken by a reset");
    assert_eq!((answer.status, answer.complete), (405, true));
    assert_eq!(answer.header("Allow"), Some("GET, HEAD"));
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let told = told["error"].as_str().expect("a sentence");
    assert!(told.contains("helm push NAME-VERSION.tgz oci://"), "{told}");
}

/// OpenShift's console, Nova and Spinnaker append `/index.yaml` to a URL that ends in `/`
/// (<https://github.com/updatecli/updatecli/issues/797>). It is a redirect and no answer, so that a
/// proxy whose rules guard `/team/` isn't passed by `//team/`; relative, because it is below `/helm/`
/// for this client.
#[test]
fn double_slashes_are_redirected_to_a_path_that_holds_behind_a_prefix() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    for (path, location) in [
        ("//index.yaml", "../index.yaml"),
        ("/team//index.yaml?a=b", "../index.yaml?a=b"),
        ("//charts/db-2.0.0.tgz", "../../charts/db-2.0.0.tgz"),
        ("//team/index.yaml", "../../team/index.yaml"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = daemon.request(method, path, &[]);
            assert_eq!(answer.status, 308, "{path}");
            assert_eq!(answer.header("Location"), Some(location), "{path}");
            let body = answer.body_text();
            assert!(!body.contains("apiVersion"), "not served at once: {body}");
        }
    }
    assert_eq!(daemon.get("//evil.example/").status, 404);
}

/// AWS's ALB and GKE's ingress can't cut a prefix off.
#[test]
fn all_paths_are_below_a_context_path_and_the_probes_beside_it_too() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--context-path=/helm"]);
    let answer = daemon.get("/helm/index.yaml");
    assert_eq!(
        Index::parse(&answer.body).charts(),
        ["db 2.0.0", "web 1.0.0"]
    );
    for path in [
        "/helm",
        "/helm/",
        "/helm/charts/db-2.0.0.tgz",
        "/helm/team/index.yaml",
        "/helm/team/charts/web-1.0.0.tgz",
        "/helm/api/charts",
        "/helm/livez",
        "/livez",
        "/readyz",
    ] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    for path in [
        "/",
        "/index.yaml",
        "/charts/db-2.0.0.tgz",
        "/helmet/index.yaml",
    ] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
    let home = daemon.get("/helm").body_text();
    let add = format!("helm repo add charts {}/helm\n", daemon.url());
    assert!(home.contains(&add), "{home}");
}

/// Artifactory tests the base URL of a remote repository, and gives up on 404
/// (<https://github.com/bitnami-labs/sealed-secrets/issues/556>).
#[test]
fn the_base_url_of_a_chart_repository_is_answered() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    for path in ["/team", "/team/", "/team/web", "/team/web/", "/db"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
        assert_eq!(daemon.head(path).status, 200, "{path}");
        assert_eq!(daemon.request("POST", path, &[]).status, 405, "{path}");
    }
    for path in ["/tea", "/team/we/", "/charts", "/Team"] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
}

/// ChartMuseum's flag, for clients that want absolute URLs: issue 11, E14.
#[test]
fn a_chart_url_makes_the_urls_of_archives_absolute() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--chart-url=https://charts.example/helm/"]);
    let url = |path: &str, name: &str, version: &str| {
        let index = Index::parse(&daemon.get(path).body);
        index.entry(name, version)["urls"][0].clone()
    };
    let below = "https://charts.example/helm";
    let web = "charts/web-1.0.0.tgz";
    assert_eq!(url("/index.yaml", "web", "1.0.0"), format!("{below}/{web}"));
    assert_eq!(
        url("/team/index.yaml", "web", "1.0.0"),
        format!("{below}/team/{web}")
    );
    let version: Value = serde_json::from_slice(&daemon.get("/api/charts/web/1.0.0").body).unwrap();
    assert_eq!(version["urls"][0], format!("{below}/{web}"));
    assert_eq!(daemon.get(&format!("/{web}")).status, 200);
}
