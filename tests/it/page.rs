//! The page for people, and the address that it tells them to add: issue 15, 4.

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::story::ready_daemon;

fn team_and_db() -> FakeRegistry {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("db", "2.0.0"));
    fake
}

/// The URL behind `helm repo add charts`.
fn told(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> String {
    let text = daemon.request("GET", path, headers).body_text();
    let (_, rest) = text.split_once("helm repo add charts ").expect(&text);
    let end = rest.find(['\n', '<']).expect("an end");
    rest[..end].to_owned()
}

const CLAIMED: &[(&str, &str)] = &[
    ("X-Forwarded-Host", "charts.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/outer"),
];

/// Behind any proxy the line was wrong, because it was always `http://` and the `Host` header.
#[test]
fn the_address_is_that_of_a_trusted_proxy_else_the_configured_else_that_of_the_request() {
    let fake = team_and_db();
    let own = ready_daemon(&fake, &["--context-path=/helm"]);
    let address = format!("{}/helm", own.url());
    assert_eq!(told(&own, "/helm", CLAIMED), address);
    assert_eq!(told(&own, "/helm/team", &[]), format!("{address}/team"));

    let external = [
        "--external-url=https://e.example/x/",
        "--context-path=/helm",
    ];
    let external = ready_daemon(&fake, &external);
    for claimed in [&[], CLAIMED] {
        assert_eq!(told(&external, "/helm/", claimed), "https://e.example/x");
    }
    assert_eq!(told(&external, "/helm/db", &[]), "https://e.example/x/db");

    let trusting = ["--trust-forwarded", "--external-url=https://e.example"];
    let trusting = ready_daemon(&fake, &trusting);
    let outer = "https://charts.example/outer";
    assert_eq!(told(&trusting, "/", CLAIMED), outer);
    assert_eq!(told(&trusting, "/team/", CLAIMED), format!("{outer}/team"));
    assert_eq!(told(&trusting, "/", &[]), "https://e.example");
    let standard = [(
        "Forwarded",
        "for=10.0.0.1;proto=https;host=\"f.example:8443\"",
    )];
    assert_eq!(told(&trusting, "/", &standard), "https://f.example:8443");
    let bad = [
        ("X-Forwarded-Host", "$(reboot)"),
        ("X-Forwarded-Proto", "ftp"),
    ];
    assert_eq!(told(&trusting, "/", &bad), "https://e.example");
}

/// Even if there are many of them: they count for the 8 KiB of a head that matter.
#[test]
fn a_long_claim_of_an_address_is_ignored_and_the_request_answered() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--trust-forwarded"]);
    let long = "h".repeat(7000);
    let claims = [("Forwarded", &*long), ("X-Forwarded-Host", &*long)];
    let answer = daemon.request("GET", "/index.yaml", &claims);
    assert_eq!(answer.status, 200);
    assert_eq!(told(&daemon, "/", &claims), daemon.url());
}
