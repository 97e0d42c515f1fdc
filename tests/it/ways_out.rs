//! The way to the registry through a proxy that the environment names, as Go's programs take it (issue 11, F23).

use std::process::Command;

use crate::support::certificates::Certificates;
use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{FakeRegistry, Guard};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::guarded::{Guarded, assert_nothing_secret};
use crate::support::story::Index;
use crate::support::tls_front::{MARK, tls_before};

/// base64 of `user:pa55word`.
const PROXY_AUTH: &str = "dXNlcjpwYTU1d29yZA==";

fn daemon(environment: &[(&str, &str)], arguments: &[&str]) -> Daemon {
    let mut command = Command::new("/usr/bin/env");
    command.args(
        environment
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    command.arg(program());
    let daemon = Daemon::start_as(command, arguments);
    daemon.wait_ready();
    assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
    let archive = daemon.get("/charts/web-1.0.0.tgz");
    assert_eq!(archive.body_text(), "archive of team/web 1.0.0");
    daemon
}

/// The registry gets its own password, the proxy its own, and neither the other's.
fn assert_passwords_are_kept_apart(fake: &FakeRegistry, proxy: &ForwardProxy) {
    let proxy_password = format!("Proxy-Authorization: Basic {PROXY_AUTH}");
    for head in proxy.heads() {
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains(&proxy_password.to_ascii_lowercase()),
            "{head}"
        );
    }
    for request in fake.requests("* *") {
        assert_eq!(request.header("Proxy-Authorization"), None, "{request}");
    }
}

/// Squid as shipped refuses tunnels to other ports than 443.
#[test]
fn plain_http_goes_through_a_proxy_by_whole_urls() {
    let (guarded, proxy) = (Guarded::by(Guard::Basic), ForwardProxy::start());
    let fake = &guarded.fake;
    let address = format!("http://user:pa55word@{}", proxy.host());
    let flags = [&*fake.flag(), &guarded.flag];
    let daemon = daemon(&[("HTTP_PROXY", &address)], &flags);
    let heads = proxy.heads();
    assert_eq!(heads.len(), fake.count("* *"), "no request goes past it");
    for head in &heads {
        assert!(
            head.starts_with(&format!("GET {}/v2/", fake.url())),
            "{head}"
        );
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("host: {}\r\n", fake.host()))
        );
    }
    assert_passwords_are_kept_apart(fake, &proxy);
    assert!(!daemon.log().contains("pa55word"));
    assert_nothing_secret(&daemon);
}

#[test]
fn https_goes_through_a_proxy_by_a_tunnel() {
    let (guarded, proxy) = (Guarded::by(Guard::Open), ForwardProxy::start());
    let certificates = Certificates::new();
    let port = tls_before(guarded.fake.port(), &certificates);
    let address = format!("http://user:pa55word@{}", proxy.host());
    let authority = certificates.authority();
    // The scheme is probed through the proxy too.
    let flags = [
        &*format!("--storage-registry-repo=127.0.0.1:{port}"),
        &format!("--storage-registry-ca-file={}", authority.display()),
    ];
    daemon(&[("https_proxy", &address)], &flags);
    for head in proxy.heads() {
        assert!(
            head.starts_with(&format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")),
            "{head}"
        );
    }
    assert!(!proxy.heads().is_empty());
    for request in guarded.fake.requests("* *") {
        assert_eq!(request.header(MARK.0), Some(MARK.1), "{request}");
    }
    assert_passwords_are_kept_apart(&guarded.fake, &proxy);
}

#[test]
fn hosts_in_no_proxy_are_gone_to_directly() {
    for (entries, is_exempt) in [
        ("10.0.0.0/8, 127.0.0.0/8", true),
        ("10.0.0.0/8,128.0.0.0/8", false),
        ("\t 127.0.0.1 ,", true),
        ("reg.example  127.0.0.1", true),
        ("127.0.0.1:PORT", true),
        ("127.0.0.1:1", false),
        ("*", true),
        ("27.0.0.1", false),
    ] {
        let (guarded, proxy) = (Guarded::by(Guard::Open), ForwardProxy::start());
        let entries = entries.replace("PORT", &guarded.fake.port().to_string());
        let environment = [("ALL_PROXY", &*proxy.host()), ("no_proxy", &entries)];
        daemon(&environment, &[&guarded.fake.flag()]);
        assert_eq!(proxy.heads().is_empty(), is_exempt, "{entries}");
    }
}
