//! `oci-chartrepo mirror`: one pass that fetches everything, for cron jobs and USB sticks; and the flags of
//! a mirror.

use std::fs;
use std::process::{Command, Output};

use super::{Place, index};
use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::story::{Index, ready_daemon};

fn oci_chartrepo(arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", program()]).args(arguments).env_clear();
    command.output().expect("timeout runs")
}

/// One pass; the exit code and stderr.
fn mirror(fake: &FakeRegistry, place: &Place, flags: &[&str]) -> (i32, String) {
    let own = ["mirror", &fake.flag(), &place.flag()];
    let output = oci_chartrepo(&[&own, flags].concat());
    let code = output.status.code().expect("it ends by itself");
    (code, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn filled() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        fake.push(&Chart::new("team/web", version).signed("PGP"));
        fake.push(&Chart::new("other/db", version));
    }
    fake.push_image("team/app", "1.0.0");
    fake
}

#[test]
fn one_pass_copies_everything_and_the_directory_is_a_chart_repository_without_a_registry() {
    let (fake, place) = (filled(), Place::new());
    let of_registry = index(&ready_daemon(&fake, &[]));
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 0, "{told}");
    // Six archives, and the provenance file that three of them share.
    assert!(told.contains("7 of 7 files"), "{told}");
    assert!(told.contains("INFO the mirror is complete: "), "{told}");
    let daemon = Daemon::start_ready(&place.as_layout().each_ref().map(String::as_str));
    assert_eq!(index(&daemon), of_registry);
    let archive = daemon.get("/charts/web-1.1.0.tgz").body_text();
    assert_eq!(archive, "archive of team/web 1.1.0");
    assert_eq!(daemon.get("/charts/web-1.1.0.tgz.prov").body_text(), "PGP");
}

#[test]
fn on_a_terminal_the_state_is_a_bar_that_fills() {
    let (fake, place) = (filled(), Place::new());
    // The terminal is made by script(1).
    let command = format!("{} mirror {} {}", program(), fake.flag(), place.flag());
    let mut terminal = Command::new("timeout");
    terminal.args(["60", "script", "--quiet", "--return", "--command"]);
    let output = terminal.args([&command, "/dev/null"]).output();
    let output = output.expect("timeout runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let full = format!("\r\x1b[K[{}] 7 of 7 files", "#".repeat(24));
    assert!(shown.contains(&full), "{shown:?}");
    assert!(!shown.contains("mirror: 7 of 7"), "{shown:?}");
}

#[test]
fn a_second_pass_fetches_only_what_is_new() {
    let (fake, place) = (filled(), Place::new());
    assert_eq!(mirror(&fake, &place, &[]).0, 0);
    let costs = || ["GET /v2/*/manifests/*", "GET /v2/*/blobs/*"].map(|what| fake.count(what));
    let before = costs();
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!((code, costs()), (0, before), "{told}");

    let moved = fake.push(&Chart::new("other/db", "1.0.0").archive("another"));
    fake.delete_tag("team/web", "1.0.0");
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(costs(), [before[0] + 1, before[1] + 1], "{}", fake.seen());
    assert!(place.blob("other/db", &moved.archive.digest).exists());
    assert_eq!(place.listed().len(), 5, "{:?}", place.listed());
}

#[test]
fn a_pass_that_lacks_something_says_what_and_the_next_one_fetches_it() {
    let (fake, place) = (filled(), Place::new());
    let chart = fake.push(&Chart::new("team/web", "2.0.0").archive("withheld"));
    let broken = Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    let archive = format!("GET {}", chart.archive_path());
    fake.spoil(&archive).with(broken);
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("1 file is missing in the mirror"), "{told}");
    let line = told
        .lines()
        .find(|line| line.starts_with("  team/web:2.0.0: "));
    assert!(line.is_some_and(|line| line.contains("500")), "{told}");

    fake.heal(&archive);
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("1 of 1 files"), "{told}");
    // Four config blobs, three other archives, and the provenance file that all versions share.
    assert_eq!(
        fake.count("GET /v2/team/web/blobs/*"),
        8 + fake.count(&archive),
        "{}",
        fake.seen()
    );
}

#[test]
fn a_pass_that_can_not_write_is_not_complete() {
    let (fake, place) = (filled(), Place::new());
    // Where the folders of team/web belong.
    fs::create_dir_all(place.path().join(".oci-chartrepo")).expect("a folder");
    fs::write(place.path().join("team"), "").expect("a file");
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("team/web: its list could not be written"),
        "{told}"
    );
    assert!(!told.contains("the mirror is complete"), "{told}");
}

#[test]
fn a_mistyped_prefix_or_filter_empties_no_mirror() {
    let (fake, place) = (filled(), Place::new());
    assert_eq!(mirror(&fake, &place, &[]).0, 0);
    let (listed, files) = (place.listed(), place.blobs());
    for mistyped in ["--include=tem/**", "--repository=team/wbe"] {
        let (code, told) = mirror(&fake, &place, &[mistyped]);
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("no chart was found"), "{told}");
        assert!(told.contains("is left as it is"), "{told}");
        assert_eq!(
            (place.listed(), place.blobs()),
            (listed.clone(), files.clone())
        );
    }
    let daemon = place.ready(&fake, &["--include=tem/**"]);
    daemon.wait_for_complaint(&["is left as it is", "mistyped"]);
    assert_eq!((place.listed(), place.blobs()), (listed, files));
    drop(daemon);
    // What a narrower filter leaves out is removed, and told.
    let (code, told) = mirror(&fake, &place, &["--repository=other/db"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("are removed: 2, such as team/"), "{told}");
}

#[test]
fn filters_and_max_versions_choose_what_is_mirrored() {
    let (fake, place) = (filled(), Place::new());
    let flags = ["--include=team/**", "--max-versions=2"];
    let of_registry = index(&ready_daemon(&fake, &flags));
    let (code, told) = mirror(&fake, &place, &flags);
    assert_eq!(code, 0, "{told}");
    let daemon = Daemon::start_ready(&place.as_layout().each_ref().map(String::as_str));
    assert_eq!(index(&daemon), of_registry);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.1.0", "web 1.2.0"]);
    let listed: Vec<String> = place.listed().into_iter().collect();
    assert_eq!(listed, ["team/web:1.1.0", "team/web:1.2.0"]);
}

#[test]
fn archives_take_no_more_room_than_is_given_to_them() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    for minor in 0..8 {
        let archive = vec![b'0' + minor; 10_000];
        fake.push(&Chart::new("web", &format!("1.{minor}.0")).archive(archive));
    }
    let archives = || {
        let sizes = place
            .files()
            .into_iter()
            .map(|file| file.metadata().expect("there").len());
        sizes.filter(|size| *size == 10_000).count()
    };
    let (code, told) = mirror(&fake, &place, &["--mirror-size=50000"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("--mirror-size"), "{told}");
    assert_eq!(archives(), 5);
    assert!(
        told.contains("  web:1.2.0: ") && !told.contains("  web:1.3.0: "),
        "the newest: {told}"
    );

    // Those that were not used for longest make room for what is downloaded.
    let daemon = place.ready(&fake, &["--mirror-size=50000", "--chart-cache-size=0"]);
    assert_eq!(place.listed().len(), 8);
    for minor in [3, 0, 3, 1] {
        let answer = daemon.get(&format!("/charts/web-1.{minor}.0.tgz"));
        assert_eq!((answer.status, answer.body.len()), (200, 10_000));
    }
    drop(daemon);
    assert!(archives() <= 5, "{}", archives());
    let asked = fake.count("GET /v2/web/blobs/*");
    let daemon = place.ready(&fake, &["--mirror-size=50000", "--chart-cache-size=0"]);
    for minor in [0, 1, 3] {
        daemon.get(&format!("/charts/web-1.{minor}.0.tgz"));
    }
    assert_eq!(fake.count("GET /v2/web/blobs/*"), asked, "{}", daemon.log());
}

#[test]
fn a_directory_belongs_to_one_process_and_one_registry() {
    let (fake, place) = (filled(), Place::new());
    let daemon = place.ready(&fake, &[]);
    let (code, told) = mirror(&fake, &place, &[]);
    assert_eq!(code, 1);
    assert!(
        told.contains("--mirror-dir") && told.contains("another process uses it"),
        "{told}"
    );
    daemon.signal("KILL");
    drop(daemon);
    assert_eq!(
        mirror(&fake, &place, &[]).0,
        0,
        "the lock dies with its process"
    );

    let other = FakeRegistry::start();
    let (code, told) = mirror(&other, &place, &[]);
    assert_eq!(code, 1);
    assert!(
        told.contains(&format!("is the mirror of {}", fake.host())),
        "{told}"
    );

    let stranger = Place::new();
    std::fs::create_dir_all(stranger.path()).expect("mkdir");
    std::fs::write(stranger.path().join("thesis.txt"), "all there is").expect("write");
    let (code, told) = mirror(&fake, &stranger, &[]);
    assert_eq!(code, 1);
    assert!(told.contains("holds other files"), "{told}");
    assert_eq!(stranger.files().len(), 1);
}

#[test]
fn mistakes_about_a_mirror_name_their_flag() {
    for (line, expected) in [
        ("mirror", "mirror needs --mirror-dir"),
        ("--mirror=all", "--mirror needs --mirror-dir"),
        ("--mirror-size=1GiB", "--mirror-size needs --mirror-dir"),
        (
            "--mirror-dir=x --mirror=some",
            "--mirror \"some\": not one of: on-demand, all",
        ),
        (
            "--mirror-dir=x --mirror-size=much",
            "--mirror-size \"much\": not a size",
        ),
        (
            "--storage=local --mirror-dir=x",
            "--mirror-dir goes with --storage=registry",
        ),
        (
            "mirror --storage=layout",
            "mirror goes with --storage=registry",
        ),
    ] {
        let output = oci_chartrepo(&line.split(' ').collect::<Vec<_>>());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}: {told}");
        assert!(told.contains(expected), "{line}: {told}");
    }
}
