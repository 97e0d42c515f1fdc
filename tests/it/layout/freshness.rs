//! An index request sees what has changed in the directory, at once and without a restart; and
//! nothing is read again that hasn't changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::{daemon_on, index};
use crate::support::daemon::Daemon;
use crate::support::layout::{Layout, flags, index as index_json, named};
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::story::Index;

#[test]
fn a_chart_that_is_added_is_in_the_next_index() {
    let scratch = Scratch::new("layout");
    let layout = Layout::at(scratch.join("layout"));
    let chart = |name: &str, version: &str| {
        named(
            &layout.chart(name, version).manifest,
            &format!("{name}:{version}"),
        )
    };
    let (first, second, third) = (
        chart("web", "1.0.0"),
        chart("web", "2.0.0"),
        chart("db", "0.1.0"),
    );
    layout.list(std::slice::from_ref(&first));
    let daemon = daemon_on(layout.flags());
    assert_eq!(charts(&daemon), ["web 1.0.0"]);

    layout.list(&[first.clone(), second.clone()]);
    assert_eq!(
        charts(&daemon),
        ["web 1.0.0", "web 2.0.0"],
        "listed by a new file in the old one's place"
    );
    fs::write(layout.index(), index_json(&[first, second, third.clone()])).expect("write");
    assert_eq!(
        charts(&daemon),
        ["db 0.1.0", "web 1.0.0", "web 2.0.0"],
        "listed by writing over the file"
    );
    layout.list(&[third]);
    assert_eq!(charts(&daemon), ["db 0.1.0"], "not listed any more");
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 404);
}

#[test]
fn a_tag_that_moves_is_followed() {
    let scratch = Scratch::new("layout");
    let layout = Layout::at(scratch.join("layout"));
    let chart = |archive: &str| {
        let chart = layout.chart_with("web", "1.0.0", archive.as_bytes());
        layout.list(&[named(&chart.manifest, "web:1.0.0")]);
        chart.archive["digest"]
            .as_str()
            .expect("a digest")
            .replace("sha256:", "")
    };
    let before = chart("the first bytes");
    let daemon = daemon_on(layout.flags());
    assert_eq!(Index::of(&daemon).entry("web", "1.0.0")["digest"], before);
    let after = chart("the other bytes");
    assert_eq!(Index::of(&daemon).entry("web", "1.0.0")["digest"], after);
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "the other bytes"
    );
}

#[test]
fn a_repository_that_comes_to_a_tree_or_leaves_it_is_seen() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    Layout::with(tree.join("team/web"), &[("web", "1.0.0")]);
    let daemon = daemon_on(flags(&tree));
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    // Written elsewhere and moved in, so that no request can fall into the middle.
    let db = Layout::with(scratch.join("db"), &[("db", "1.0.0")]);
    fs::create_dir_all(tree.join("deep/down/in/it")).expect("mkdir");
    fs::rename(db.path(), tree.join("deep/down/in/it/db")).expect("rename");
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 1.0.0"]);
    fs::rename(tree.join("team/web"), scratch.join("gone")).expect("rename");
    assert_eq!(charts(&daemon), ["db 1.0.0"]);
}

#[test]
fn a_layout_that_is_replaced_by_a_rename_is_seen() {
    let scratch = Scratch::new("layout");
    let layout = Layout::with(scratch.join("layout"), &[("web", "1.0.0")]);
    let daemon = daemon_on(layout.flags());
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    let next = Layout::with(scratch.join("next"), &[("web", "2.0.0")]);
    fs::rename(layout.path(), scratch.join("old")).expect("rename");
    fs::rename(next.path(), layout.path()).expect("rename");
    assert_eq!(charts(&daemon), ["web 2.0.0"]);
    assert_eq!(
        daemon.get("/charts/web-2.0.0.tgz").body_text(),
        "the archive of web 2.0.0"
    );
}

#[test]
fn a_directory_that_is_a_link_is_followed_when_it_is_switched() {
    let scratch = Scratch::new("layout");
    for version in ["1.0.0", "2.0.0"] {
        Layout::with(scratch.join(version), &[("web", version)]);
    }
    let switch = |version| {
        symlink(version, scratch.join("fresh")).expect("link");
        fs::rename(scratch.join("fresh"), scratch.join("current")).expect("rename");
    };
    switch("1.0.0");
    let daemon = daemon_on(flags(&scratch.join("current")));
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    switch("2.0.0");
    assert_eq!(charts(&daemon), ["web 2.0.0"]);
    switch("1.0.0");
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
}

/// As git-sync and kubelet publish: links lead through a hidden folder, where one link is switched.
#[test]
fn a_link_that_is_switched_on_the_way_to_a_repository_is_followed() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    for version in ["1.0.0", "2.0.0"] {
        Layout::with(
            tree.join(".store").join(version).join("web"),
            &[("web", version)],
        );
    }
    let switch = |version| {
        symlink(version, tree.join(".store/fresh")).expect("link");
        fs::rename(tree.join(".store/fresh"), tree.join(".store/current")).expect("rename");
    };
    switch("1.0.0");
    symlink(".store/current/web", tree.join("web")).expect("link");
    let daemon = daemon_on(flags(&tree));
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    // Until the first look is trusted, for it came right after the tree was made.
    let trusted = Instant::now() + Duration::from_millis(200);
    wait_until(
        DEADLINE,
        || "time passes".to_owned(),
        || (Instant::now() > trusted).then_some(()),
    );
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    switch("2.0.0");
    assert_eq!(charts(&daemon), ["web 2.0.0"]);
    switch("1.0.0");
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let scratch = Scratch::new("layout");
    let layout = Layout::with(scratch.join("layout"), &[("web", "1.0.0"), ("db", "1.0.0")]);
    let padded = fs::read_to_string(layout.index()).expect("read") + &" ".repeat(1 << 20);
    fs::write(layout.index(), padded).expect("write");
    let daemon = daemon_on(layout.flags());
    let before = index(&daemon);

    let read = daemon.io("rchar");
    fs::rename(layout.path().join("blobs"), scratch.join("blobs")).expect("rename");
    for _ in 0..20 {
        assert_eq!(index(&daemon), before);
    }
    let read = daemon.io("rchar") - read;
    assert!(
        read < 1 << 20,
        "{read} bytes for 20 requests, so index.json was read again"
    );
    let log = daemon.log();
    assert!(
        !log.contains(" WARN ") && log.matches("snapshot: ").count() == 1,
        "{log}"
    );

    // The counter counts: a change is read.
    fs::rename(scratch.join("blobs"), layout.path().join("blobs")).expect("rename");
    let once = daemon.io("rchar");
    let text = fs::read(layout.index()).expect("read");
    fs::write(layout.index(), text).expect("write");
    assert_eq!(index(&daemon), before);
    assert!(daemon.io("rchar") - once > 1 << 20);
}

fn charts(daemon: &Daemon) -> Vec<String> {
    Index::of(daemon).charts()
}
