//! What a team that may push to its own repositories can't take from the others: their room in the index,
//! and the names of their charts (contracts C2 and C6).

use std::process::Command;

use serde_json::json;

use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::story::{
    EACH_TIME, Index, LONG_WAIT, ready_daemon, skip_reason, wait_for_charts,
};

/// A chart with a config blob of so many bytes and some more.
fn wordy(repository: &str, version: &str, length: usize) -> Chart {
    let name = repository.rsplit('/').next();
    let words = "x".repeat(length);
    let config = json!({ "apiVersion": "v2", "name": name, "version": version, "words": words });
    Chart::new(repository, version).config(&config)
}

/// The budget went by the order of names: within a second the index was `entries: {}`.
#[test]
fn config_blobs_of_a_megabyte_in_repositories_that_sort_first_take_nothing_from_forty_teams() {
    let fake = FakeRegistry::start();
    let mut teams = Vec::new();
    for team in 10..50 {
        fake.push(&Chart::new(&format!("team-{team}/web{team}"), "1.0.0"));
        teams.push(format!("web{team} 1.0.0"));
    }
    let teams: Vec<&str> = teams.iter().map(String::as_str).collect();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    assert_eq!(Index::of(&daemon).charts(), teams);
    for (at, minor) in (0..8).flat_map(|at| (0..8).map(move |minor| (at, minor))) {
        let nonsense = format!("{at} {minor} {}", "x".repeat(1024 * 1024 - 10));
        let tag = format!("1.{minor}.0");
        fake.push(&Chart::new(&format!("a{at}"), &tag).config_bytes(nonsense));
    }
    for daemon in [&daemon, &ready_daemon(&fake, &[EACH_TIME, LONG_WAIT])] {
        assert_eq!(Index::of(daemon).charts(), teams, "{}", daemon.log());
        let ready = daemon.get("/readyz").body_text();
        assert!(!ready.contains("bound"), "{ready}");
    }
}

/// A partial loss was one INFO line, and the exit code was 0.
#[test]
fn a_bound_that_is_reached_is_told_by_the_log_by_readyz_and_by_the_exit_code() {
    let fake = FakeRegistry::start();
    for minor in 0..10 {
        fake.push(&wordy("team/wordy", &format!("1.{minor}.0"), 1_000_000));
    }
    let daemon = ready_daemon(&fake, &[]);
    let told = "a bound is reached, 2 tags are left out";
    daemon.wait_for_complaint(&[told, "--exclude"]);
    let ready = daemon.get("/readyz").body_text();
    assert!(ready.contains(told), "{ready}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_oci-chartrepo"));
    let output = command
        .args(["index", &fake.flag()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains(told), "{complaint}");
}

/// Over `oci://` the path is the name; `helm upgrade` took the 9.9.9 of any repository.
#[test]
fn a_chart_is_listed_only_from_a_repository_of_its_name_unless_any_name_is_allowed() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("pay/payments", "1.0.0"));
    let payments = r#"{"name":"payments","version":"9.9.9","apiVersion":"v2"}"#;
    fake.push(&Chart::new("e/vil", "9.9.9").config_bytes(payments));
    let same = r#"{"name":"payments","version":"1.0.0","apiVersion":"v2"}"#;
    fake.push(&Chart::new("e/vil", "1.0.0").config_bytes(same));
    let renamed = r#"{"name":"old","version":"1.0.0"}"#;
    fake.push(
        &Chart::new("old/somewhere", "0.0.0")
            .config_bytes(renamed)
            .legacy(),
    );

    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["payments 1.0.0"]);
    for skipped in ["e/vil:9.9.9", "e/vil:1.0.0", "old/somewhere:0.0.0"] {
        let reason = skip_reason(&daemon, skipped);
        assert!(reason.contains("--any-name would list it"), "{reason}");
    }
    let below = daemon.get("/e/index.yaml");
    assert_eq!(below.status, 404, "{}", below.body_text());

    let daemon = ready_daemon(&fake, &["--any-name"]);
    let all = ["old 1.0.0", "payments 1.0.0", "payments 9.9.9"];
    assert_eq!(Index::of(&daemon).charts(), all);
}

/// Each of these looked like `web` or like nothing at all.
#[test]
fn a_name_that_no_repository_may_have_is_not_listed_with_any_name_either() {
    let fake = FakeRegistry::start();
    let names = [
        "we\u{200b}b",
        "\u{202e}bew",
        "web ",
        " web",
        "w\u{435}b",
        "<<",
        "web\u{a0}",
        ".web",
        "web-",
        "a b",
    ];
    for (minor, name) in names.iter().enumerate() {
        let config = json!({ "apiVersion": "v2", "name": name, "version": "1.0.0" });
        fake.push(&Chart::new("team/web", &format!("1.{minor}.0")).config(&config));
    }
    let other = r#"{"name":"Other.Web_1","version":"2.0.0"}"#;
    fake.push(&Chart::new("team/web", "2.0.0").config_bytes(other));
    let daemon = ready_daemon(&fake, &["--any-name"]);
    assert_eq!(Index::of(&daemon).charts(), ["Other.Web_1 2.0.0"]);
    let log = daemon.log();
    assert!(log.is_ascii(), "format characters reach no log: {log}");
}

#[test]
fn a_listed_version_that_changes_its_archive_or_its_repository_is_warned_of() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/a/web", "1.0.0").archive("one"));
    fake.push(&Chart::new("team/db", "1.0.0").archive("db"));
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT]);
    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    fake.push(&Chart::new("web", "1.0.0").archive("two"));
    let warning =
        "web-1.0.0.tgz has another archive than before: web:1.0.0, before team/a/web:1.0.0";
    let wait_for = |warning: &str| {
        wait_for_charts(&daemon, &["db 1.0.0", "web 1.0.0"]);
        daemon.wait_for_complaint(&[warning]);
    };
    wait_for(warning);
    fake.push(&Chart::new("db", "1.0.0").archive("db"));
    wait_for(
        "db-1.0.0.tgz comes from another repository than before: db:1.0.0, before team/db:1.0.0",
    );
    let log = daemon.log();
    assert_eq!(log.matches(" than before: ").count(), 2, "{log}");
}
