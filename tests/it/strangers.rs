//! Registries that let strangers in without asking who they are, and keep something from them all the
//! same (zot, Quay): what our credentials open is listed too, and they are shown to nobody else.

use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Fault, Guard, Reply};
use crate::support::guarded::{Guarded, assert_nothing_secret};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{
    EACH_TIME, Index, LONG_WAIT, ready_daemon, refresh_until_logged, wait_for_charts,
};

const WRONG: &str = r#"{"auths":{"HOST":{"username":"reader","password":"wrong"}}}"#;
const RIGHT: &str = r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#;
const ONLY_STRANGERS: &str = " WARN listing public repositories only: ";

/// `team/web` is there for everyone, `team/db` only for who says who he is.
fn half_public(guard: Guard, hides_private: bool) -> Guarded {
    let guarded = Guarded::by(guard);
    guarded
        .fake
        .open_to_strangers_but(&["team/db"], hides_private);
    guarded
}

/// A daemon that refreshes whenever it's asked for the index.
fn ready(guarded: &Guarded) -> Daemon {
    ready_daemon(
        &guarded.fake,
        &[&guarded.flag, EACH_TIME, LONG_WAIT, "--log-level=trace"],
    )
}

/// The scheme of each `Authorization` that was sent with such a request.
fn sent(guarded: &Guarded, pattern: &str) -> Vec<String> {
    let scheme = |value: &str| value.split(' ').next().unwrap_or_default().to_owned();
    let requests = guarded.fake.requests(pattern);
    requests
        .iter()
        .map(|request| {
            request
                .header("Authorization")
                .map_or_else(String::new, scheme)
        })
        .collect()
}

/// Asks for the index until the catalog was asked so many times.
fn refresh_until_asked(daemon: &Daemon, guarded: &Guarded, count: usize) {
    let lacking = || format!("{count} catalogs in:\n{}", guarded.fake.seen());
    wait_until(DEADLINE, lacking, || {
        daemon.get("/index.yaml");
        (guarded.fake.count("GET /v2/_catalog") >= count).then_some(())
    });
}

#[test]
fn what_is_kept_from_strangers_is_listed_to_who_has_a_password_though_nobody_asks_for_it() {
    for (guard, asked) in [
        (Guard::Basic, vec!["", "Basic"]),
        (Guard::Bearer, vec!["", "Basic", "Bearer"]),
    ] {
        for hides_private in [false, true] {
            let guarded = half_public(guard, hides_private);
            let daemon = ready(&guarded);
            assert_eq!(
                sent(&guarded, "GET /v2/_catalog"),
                asked,
                "{}",
                guarded.fake.seen()
            );
            assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
            assert_eq!(daemon.get("/charts/db-0.1.0.tgz").status, 200);
            assert_nothing_secret(&daemon);
            // From then on it's one question again.
            refresh_until_asked(&daemon, &guarded, asked.len() + 2);
            let later = sent(&guarded, "GET /v2/_catalog").split_off(asked.len());
            assert!(
                later.iter().all(|scheme| Some(&&**scheme) == asked.last()),
                "{later:?}"
            );
        }
    }
}

#[test]
fn a_password_that_is_refused_is_warned_of_once_and_what_is_public_is_read_as_a_stranger() {
    for guard in [Guard::Basic, Guard::Bearer] {
        let guarded = half_public(guard, false).credentials(WRONG);
        let daemon = ready(&guarded);
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
        let told = daemon.wait_for_log(ONLY_STRANGERS);
        assert!(
            told.contains(": 401 UNAUTHORIZED") && told.contains("was refused, or lacks the right"),
            "{told}"
        );
        refresh_until_asked(&daemon, &guarded, 5);
        assert_eq!(
            daemon.log().matches(ONLY_STRANGERS).count(),
            1,
            "{}",
            daemon.log()
        );
        assert_eq!(
            sent(&guarded, "GET /v2/_catalog")
                .iter()
                .filter(|scheme| !scheme.is_empty())
                .count(),
            1
        );
        assert!(
            sent(&guarded, "* /v2/team/*").iter().all(String::is_empty),
            "{}",
            guarded.fake.seen()
        );

        let guarded = guarded.credentials(RIGHT);
        wait_for_charts(&daemon, &["db 0.1.0", "web 1.0.0"]);
        guarded.fake.remove_user("reader");
        guarded.fake.advance(Duration::from_secs(120));
        refresh_until_logged(&daemon, " WARN refresh failed", 1);
        assert_eq!(
            Index::of(&daemon).charts(),
            ["db 0.1.0", "web 1.0.0"],
            "nothing shrinks"
        );
        assert_nothing_secret(&daemon);
    }
}

#[test]
fn a_catalog_that_stumbles_when_it_is_told_who_we_are_is_asked_again_and_not_as_a_stranger() {
    let guarded = half_public(Guard::Basic, false);
    let stumble = Fault::Answer(Reply::new(503));
    guarded
        .fake
        .spoil("GET /v2/_catalog")
        .after(1)
        .first(3)
        .with(stumble);
    let daemon = guarded.assert_served();
    daemon.wait_for_log(" ERROR first walk failed");
    assert!(!daemon.log().contains(ONLY_STRANGERS), "{}", daemon.log());
}

#[test]
fn over_http_that_was_only_found_out_no_password_is_sent_unasked() {
    let guarded = half_public(Guard::Basic, false);
    guarded.fake.open_to_strangers_but(&["team/db"], true);
    let registry = format!("--storage-registry-repo={}", guarded.fake.host());
    let daemon = Daemon::start_ready(&[&registry, &guarded.flag, EACH_TIME, LONG_WAIT]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let told = daemon.wait_for_log(ONLY_STRANGERS);
    assert!(
        told.contains("unless --storage-registry-scheme=HTTP says so"),
        "{told}"
    );
    refresh_until_asked(&daemon, &guarded, 4);
    assert!(
        sent(&guarded, "* *").iter().all(String::is_empty),
        "{}",
        guarded.fake.seen()
    );
    assert_eq!(
        daemon.log().matches(ONLY_STRANGERS).count(),
        1,
        "{}",
        daemon.log()
    );
    let said = ["--storage-registry-scheme=HTTP", &guarded.flag];
    let daemon = Daemon::start_ready(&[&[&*registry], &said[..]].concat());
    assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
}

#[test]
fn without_a_password_for_this_very_host_a_stranger_is_what_we_are() {
    let elsewhere = r#"{"auths":{"another.example":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#;
    let below = r#"{"auths":{"HOST/team":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#;
    let identity = r#"{"auths":{"HOST":{"identitytoken":"identity-token-7"}}}"#;
    for text in [elsewhere, below, identity, "{}"] {
        let guarded = half_public(Guard::Basic, true).credentials(text);
        let daemon = ready(&guarded);
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"], "{text}");
        assert!(
            sent(&guarded, "* *").iter().all(String::is_empty),
            "{}",
            guarded.fake.seen()
        );
        assert!(!daemon.log().contains(" WARN "), "{}", daemon.log());
    }
}
