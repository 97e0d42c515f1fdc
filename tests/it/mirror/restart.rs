//! A restart, with the registry and without it.

use super::{CHECKS, LISTED, Place, filled, index};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, starting_daemon, wait_for_charts};
use std::path::{Path, PathBuf};

#[test]
fn without_its_registry_a_restarted_daemon_serves_what_it_had_read() {
    let (mut fake, place) = (filled(), Place::new());
    let first = place.ready(&fake, &[]);
    let before = index(&first);
    let skipped = first.get("/api/skipped").body_text();
    let archive = first.get("/charts/web-1.0.0.tgz").body;
    let provenance = first.get("/charts/web-1.0.0.tgz.prov").body;
    place.wait_for(&first, &LISTED);
    drop(first);
    fake.close();

    let second = place.daemon(&fake, &[]);
    second.wait_ready();
    assert_eq!(index(&second), before);
    let without_since = |text: &str| {
        let parts = text.split("\"since\":").map(|part| part.get(22..));
        parts
            .map(|part| part.unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let now = second.get("/api/skipped").body_text();
    assert_eq!(without_since(&now), without_since(&skipped), "{now}");
    assert_eq!(second.get("/charts/web-1.0.0.tgz").body, archive);
    assert_eq!(second.get("/charts/web-1.0.0.tgz.prov").body, provenance);
    // What was never downloaded is listed, and is the registry's to give.
    assert_eq!(second.get("/charts/web-1.1.0.tgz").status, 502);
    let ready = second.get("/readyz").body_text();
    assert!(ready.contains("from the mirror alone, as of 20"), "{ready}");
    second.wait_for_log("that is from the mirror, as of 20");

    fake.reopen();
    fake.push(&Chart::new("team/web", "1.2.0"));
    let charts = [
        "db 0.1.0+build.5",
        "web 1.0.0",
        "web 1.1.0",
        "web 1.2.0",
        "web 2.0.0-rc.1",
    ];
    wait_for_charts(&second, &charts);
    let ready = second.get("/readyz").body_text();
    assert!(!ready.contains("mirror"), "{ready}");
}

#[test]
fn a_restart_of_2000_versions_asks_for_no_manifest_and_no_blob() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    for repository in 0..10 {
        for version in 0..200 {
            fake.push(&Chart::new(
                &format!("team/r{repository}"),
                &format!("1.{version}.0"),
            ));
        }
        fake.push_image(&format!("team/r{repository}"), "3.0.0");
    }
    let first = place.ready(&fake, &[]);
    let before = index(&first);
    let lacking = || format!("2000 listed; the log:\n{}", first.log());
    wait_until(DEADLINE, lacking, || {
        (place.listed().len() == 2000).then_some(())
    });
    drop(first);
    let asked = |pattern: &str| fake.count(pattern);
    let costs = || [asked("* /v2/*/manifests/*"), asked("* /v2/*/blobs/*")];
    let (paid, listings) = (costs(), asked("GET /v2/*/tags/list"));
    assert!(paid[0] >= 2010 && paid[1] >= 2000, "{paid:?}");

    let second = starting_daemon(&fake, &[&place.flag(), "--max-stale=5m"]);
    second.wait_ready();
    assert_eq!(index(&second), before);
    fake.wait_for("GET /v2/*/tags/list", listings + 10);
    let second_scan = || (!second.get("/readyz").body_text().contains("mirror")).then_some(());
    wait_until(DEADLINE, || second.log(), second_scan);
    assert_eq!(index(&second), before);
    assert_eq!(costs(), paid);
    assert_eq!(asked("GET /v2/*/tags/list"), listings + 10);
}

#[test]
fn the_log_says_when_a_mirror_of_all_charts_is_full_and_when_it_is_complete() {
    let (fake, place) = (filled(), Place::new());
    let full = place.ready(&fake, &["--mirror=all", "--mirror-size=1"]);
    full.wait_for_log("mirror: full: no room is left in --mirror-size for 5 of the files");
    drop(full);
    let whole = place.ready(&fake, &[CHECKS, "--mirror=all"]);
    whole.wait_for_log("mirror: complete: it holds all charts that are listed");
    let times = || whole.log().matches("mirror: complete").count();
    fake.push(&Chart::new("team/web", "1.4.0"));
    wait_until(
        DEADLINE,
        || whole.log(),
        || {
            index(&whole);
            (times() == 2).then_some(())
        },
    );
    drop(whole);
    let again = place.ready(&fake, &["--mirror=all"]);
    again.wait_for_log("mirror: complete");
    assert_eq!(place.blobs().len(), 4 * 3 + 1 + 3);
}

#[test]
fn what_has_moved_or_gone_leaves_the_directory_and_its_blobs_with_it() {
    let (fake, place) = (filled(), Place::new());
    let daemon = place.ready(&fake, &[CHECKS, "--mirror=all"]);
    place.wait_for(&daemon, &LISTED);
    let old = fake.push(&Chart::new("team/web", "1.3.0").archive("old bytes"));
    index(&daemon);
    place.wait_for_blob(&daemon, "team/web", &old.archive.digest);

    let new = fake.push(&Chart::new("team/web", "1.3.0").archive("new bytes"));
    fake.delete_tag("team/web", "1.0.0");
    fake.delete_repository("db");
    wait_for_charts(&daemon, &["web 1.1.0", "web 1.3.0", "web 2.0.0-rc.1"]);
    place.wait_for_blob(&daemon, "team/web", &new.archive.digest);
    place.wait_for(
        &daemon,
        &["team/web:1.1.0", "team/web:1.3.0", "team/web:2.0.0-rc.1"],
    );
    let gone = || {
        let moved = [&old.manifest, &old.archive.digest];
        moved
            .iter()
            .all(|digest| !place.blob("team/web", digest).exists())
            && !place.path().join("db").exists()
    };
    wait_until(
        DEADLINE,
        || format!("{:?}", place.files()),
        || gone().then_some(()),
    );
    // Three charts: manifest, config and archive of each, and the provenance that two share.
    assert_eq!(place.blobs().len(), 10, "{:?}", place.files());
}

/// Contract C6: only a definite answer removes anything.
#[test]
fn a_registry_that_fails_or_lists_nothing_takes_nothing_from_the_directory() {
    let (fake, place) = (filled(), Place::new());
    let daemon = place.ready(&fake, &[CHECKS]);
    place.wait_for(&daemon, &LISTED);
    let files = || {
        let all = place.files().into_iter();
        // The time of the last scan is written anew while this looks.
        let folder = Path::new(".oci-chartrepo/tmp");
        let is_temporary = |file: &PathBuf| file.parent().is_some_and(|one| one.ends_with(folder));
        all.filter(|file| !file.ends_with("as-of") && !is_temporary(file))
            .collect::<Vec<_>>()
    };
    // What it writes last.
    let is_decision = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        file.parent().is_some_and(|one| one.ends_with("team/web"))
            && name.is_some_and(|name| name.starts_with(".oci-chartrepo-"))
    };
    let decided = || files().iter().any(is_decision).then_some(());
    wait_until(DEADLINE, || format!("{:?}", files()), decided);
    let before = files();
    let broken = || Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    for pattern in [
        "GET /v2/team/web/tags/list",
        "* /v2/*/manifests/*",
        "GET /v2/_catalog*",
    ] {
        fake.spoil(pattern).with(broken());
        let seen = fake.count(pattern);
        fake.wait_for(pattern, seen + 3);
        assert_eq!(files(), before, "{pattern}");
        fake.heal(pattern);
    }
    drop(daemon);
    let listing = "GET /v2/team/web/tags/list";
    fake.spoil(listing).with(broken());
    let seen = fake.count(listing);
    let again = place.ready(&fake, &[]);
    fake.wait_for(listing, seen + 1);
    assert_eq!(Index::of(&again).charts().len(), 4);
    assert_eq!(files(), before);
}
