//! `oci-chartrepo index`: one walk, the index on stdout, for who publishes it elsewhere. Never half
//! an index: whoever follows it would lose charts.

use std::process::{Command, Output};

use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::layout::Layout;
use crate::support::process::Scratch;
use crate::support::story::{Index, ready_daemon};

fn index(flags: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command
        .args(["60", env!("CARGO_BIN_EXE_oci-chartrepo"), "index"])
        .args(flags)
        .env_clear();
    command.output().expect("timeout runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_index_on_stdout_is_the_one_that_is_served() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("team/db", "0.1.0"));
    let flags = [&*fake.flag(), "--exclude=nothing"];
    let output = index(&flags);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let daemon = ready_daemon(&fake, &[]);
    assert_eq!(output.stdout, daemon.get("/index.yaml").body);
    let json = index(&[&*fake.flag(), "--index-format=json"]);
    assert_eq!(json.stdout, daemon.get("/index.json").body);
}

/// An index on a static host needs URLs that lead elsewhere; Helm pulls `oci://` ones from 3.8 on.
#[test]
fn an_index_may_name_the_registrys_own_urls_or_those_below_another() {
    let fake = FakeRegistry::start();
    let web = r#"{"name":"web","version":"1.0.0+b","apiVersion":"v2"}"#;
    fake.push(&Chart::new("team/web", "1.0.0_b").config_bytes(web));
    for (flag, expected) in [
        ("oci", format!("oci://{}/team/web:1.0.0_b", fake.host())),
        ("oci://h", "oci://h/team/web:1.0.0_b".to_owned()),
        (
            "https://h/x",
            "https://h/x/charts/web-1.0.0+b.tgz".to_owned(),
        ),
    ] {
        let flags = [&*fake.flag(), &format!("--chart-url={flag}")];
        let output = index(&flags);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let read = Index::parse(&output.stdout);
        assert_eq!(read.entry("web", "1.0.0+b")["urls"][0], expected);
        assert_eq!(
            output.stdout,
            index(&flags).stdout,
            "the same bytes each time"
        );
    }
}

#[test]
fn a_registry_that_stumbles_is_asked_again_and_one_that_fails_leaves_stdout_empty() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("a", "1.0.0"));
    fake.push(&Chart::new("b", "1.0.0"));
    let broken = || Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    fake.spoil("GET /v2/b/manifests/*").first(4).with(broken());
    let output = index(&[&fake.flag()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        Index::parse(&output.stdout).charts(),
        ["a 1.0.0", "b 1.0.0"]
    );

    fake.spoil("GET /v2/b/manifests/*").with(broken());
    let output = index(&[&fake.flag()]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let told = stderr(&output);
    assert!(
        told.contains("oci-chartrepo: 1 repository or tag could not be read"),
        "{told}"
    );
}

#[test]
fn a_registry_that_is_not_there_ends_it_with_1_and_a_mistake_with_2() {
    let output = index(&["--storage-registry-repo=http://127.0.0.1:1"]);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(1), &b""[..]),
        "{}",
        stderr(&output)
    );
    for (flags, word) in [
        (vec!["--max-wait=soon"], "--max-wait"),
        (vec!["again"], "again"),
    ] {
        let output = index(&flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_oci-chartrepo"))
        .arg("indexes")
        .env_clear()
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn an_index_without_a_chart_is_taken_for_a_mistake() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    for (flag, told) in [
        (
            "--repository=team/wbe",
            "no chart was found; 1 skipped, such as team/wbe: GET ",
        ),
        (
            "--include=web",
            "no chart was found; 1 skipped, such as team/web: left out: no --include matches",
        ),
    ] {
        let output = index(&[&fake.flag(), flag]);
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(1), &b""[..]),
            "{flag}"
        );
        assert!(
            stderr(&output).contains(&format!("oci-chartrepo: {told}")),
            "{}",
            stderr(&output)
        );
    }
    let daemon = ready_daemon(&fake, &["--include=web"]);
    daemon.wait_for_complaint(&[" WARN no chart was found", "team/web", "--include"]);
}

#[test]
fn a_directory_has_an_index_too() {
    let scratch = Scratch::new("index-of-a-directory");
    let layout = Layout::with(scratch.path(), &[("web", "1.0.0"), ("db", "0.1.0")]);
    let flags = layout.flags();
    let output = index(&[&flags[0], &flags[1]]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        Index::parse(&output.stdout).charts(),
        ["db 0.1.0", "web 1.0.0"]
    );
}
