//! Addresses at which clouds keep the secrets of their machines are never asked, whatever a registry says
//! (issue 17.9). Played where each of them is this machine, and would answer.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::guarded::Guarded;
use crate::support::namespace::without_a_way_out;
use crate::support::served::{PATH, Served, UNCACHED};
use crate::support::story::Index;

/// Addresses of the services, and of one machine that may be asked.
const ADDRESSES: [&str; 9] = [
    "169.254.169.254/32",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "64:ff9b::a9fe:a9fe/128",
    "2002:a9fe:a9fe::1/128",
    "10.9.8.7/32",
];
/// How a URL names them.
const SPELLINGS: [&str; 15] = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xA9FEA9FE",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[::169.254.169.254]",
    "metadata.google.internal",
];
const ALLOWED: &str = "10.9.8.7";
const SIZE: usize = 10;

/// Answers on port 80 of every address, and counts who came.
struct Everywhere(Arc<AtomicUsize>);

impl Everywhere {
    fn listen(body: &[u8]) -> Everywhere {
        let listener = TcpListener::bind("[::]:80").expect("listen, in a namespace of its own");
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let answer = [head.as_bytes(), body].concat();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(&answer);
            }
        });
        Everywhere(count)
    }

    fn visits(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn redirect_to(host: &str) -> Fault {
    Fault::Answer(Reply::redirect(307, &format!("http://{host}/latest")))
}

#[test]
fn a_redirect_to_a_metadata_service_is_refused_however_it_is_spelled() {
    let name = "no_way_out::a_redirect_to_a_metadata_service_is_refused_however_it_is_spelled";
    without_a_way_out(name, &ADDRESSES, || {
        let served = Served::with(SIZE, &[UNCACHED]);
        let everywhere = Everywhere::listen(&served.archive);
        served.spoil(redirect_to(ALLOWED));
        assert_eq!(served.daemon.get(PATH).body, served.archive);
        assert_eq!(everywhere.visits(), 1, "a redirect is followed");
        for spelling in SPELLINGS {
            served.spoil(redirect_to(spelling));
            assert_eq!(served.daemon.get(PATH).status, 502, "{spelling}");
            let target = format!("http://{spelling}/latest");
            let told = served
                .daemon
                .wait_for_complaint(&["web-1.0.0.tgz can't be served", &target]);
            assert!(told.contains("link-local address"), "{told}");
        }
        assert_eq!(everywhere.visits(), 1);
    });
}

#[test]
fn a_proxy_is_not_asked_for_a_metadata_service() {
    let name = "no_way_out::a_proxy_is_not_asked_for_a_metadata_service";
    without_a_way_out(name, &ADDRESSES, || {
        let (fake, proxy) = (FakeRegistry::start(), ForwardProxy::start());
        let chart = fake.push(&Chart::new("web", "1.0.0").archive(vec![7; SIZE]));
        let mut command = Command::new("/usr/bin/env");
        command.arg(format!("HTTP_PROXY=http://{}", proxy.host()));
        command.arg(program());
        let daemon = Daemon::start_as(command, &[&fake.flag(), UNCACHED]);
        daemon.wait_ready();
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
        let everywhere = Everywhere::listen(&[7; SIZE]);
        let spoil = |host: &str| {
            let archive = format!("GET {}", chart.archive_path());
            fake.spoil(&archive).with(redirect_to(host));
        };
        // The proxy wants a port.
        spoil(&format!("{ALLOWED}:80"));
        assert_eq!(daemon.get(PATH).body, [7; SIZE]);
        assert_eq!(everywhere.visits(), 1, "by way of the proxy");
        for spelling in SPELLINGS {
            spoil(spelling);
            assert_eq!(daemon.get(PATH).status, 502, "{spelling}");
        }
        let is_it = |head: &&String| head.contains("/latest") && !head.contains(ALLOWED);
        let heads = proxy.heads();
        assert_eq!(heads.iter().find(is_it), None);
        assert_eq!(everywhere.visits(), 1);
    });
}

#[test]
fn a_metadata_service_is_never_asked_for_a_token() {
    let name = "no_way_out::a_metadata_service_is_never_asked_for_a_token";
    without_a_way_out(name, &ADDRESSES, || {
        let everywhere = Everywhere::listen(br#"{"token":"t"}"#);
        for spelling in SPELLINGS {
            let realm = format!("http://{spelling}/token");
            let guarded = Guarded::with_tokens(|tokens| tokens.realm = realm.clone());
            let daemon = guarded.assert_refused(&[]);
            let told = daemon.wait_for_log(": not trusted");
            assert!(told.contains(&realm), "{told}");
        }
        assert_eq!(everywhere.visits(), 0);
    });
}
