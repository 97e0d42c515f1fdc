//! Links and rights: nothing is read outside the directory, whatever leads there; and inside it
//! nothing is needed but the right to read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{daemon_on, reading_daemon_on};
use crate::support::daemon::Daemon;
use crate::support::helm::argument;
use crate::support::layout::{Layout, flags};
use crate::support::process::{Scratch, run_ok};
use crate::support::story::Index;

/// Any user but root.
const NOBODY: &str = "65534";

/// Moves a file or folder elsewhere and leaves a link in its place.
fn move_out(path: &Path, elsewhere: PathBuf) {
    fs::rename(path, &elsewhere).expect("rename");
    symlink(elsewhere, path).expect("link");
}

#[test]
fn a_link_that_leads_out_is_refused_though_what_it_leads_to_is_right() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    let outside = |name: &str| scratch.join(&format!("outside-{name}"));
    let layout = |name: &str| Layout::with(tree.join(name), &[(name, "1.0.0")]);
    layout("good");
    for part in ["manifest", "config", "archive"] {
        let layout = layout(part);
        let chart = layout.chart(part, "1.0.0");
        let descriptor = match part {
            "manifest" => chart.manifest,
            "config" => chart.config,
            _ => chart.archive,
        };
        move_out(&layout.place(&descriptor), outside(part));
    }
    move_out(
        &layout("blobs-folder").path().join("blobs/sha256"),
        outside("blobs-folder"),
    );
    move_out(&layout("index").index(), outside("index"));
    move_out(layout("folder").path(), outside("folder"));
    symlink("/", tree.join("root")).expect("link");
    symlink("..", tree.join("up")).expect("link");

    let daemon = daemon_on(flags(&tree));
    assert_eq!(
        Index::of(&daemon).charts(),
        ["good 1.0.0"],
        "{}",
        daemon.log()
    );
    for name in [
        "manifest",
        "config",
        "archive",
        "blobs-folder",
        "index",
        "folder",
        "root",
        "up",
    ] {
        let told = daemon.wait_for_log(tree.join(name).to_str().expect("UTF-8"));
        assert!(
            told.contains("a link that leads out of the directory"),
            "{told}"
        );
    }
    for name in ["folder", "root", "up"] {
        daemon.wait_for_complaint(&[tree.join(name).to_str().expect("UTF-8")]);
    }
}

#[test]
fn an_archive_that_is_replaced_by_a_link_out_is_not_served() {
    let scratch = Scratch::new("layout");
    let layout = Layout::with(scratch.join("layout"), &[("web", "1.0.0")]);
    let daemon = reading_daemon_on(layout.flags());
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);
    move_out(
        &layout.place(&layout.chart("web", "1.0.0").archive),
        scratch.join("outside"),
    );
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 502);
    daemon.wait_for_complaint(&["leads out of the directory"]);
}

#[test]
fn links_that_stay_inside_are_followed_and_circles_of_them_end() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    let web = Layout::with(tree.join("store/web"), &[("web", "1.0.0")]);
    // As deduplicated stores have it: blobs and index in one place, links to them in another.
    let chart = web.chart("web", "1.0.0");
    move_out(&web.place(&chart.archive), tree.join("archive"));
    move_out(&web.index(), tree.join("index-of-web"));
    symlink("store/web", tree.join("alias")).expect("link");
    symlink(".", tree.join("itself")).expect("link");
    symlink("../..", tree.join("store/web/up")).expect("link");
    symlink("knot", tree.join("knot")).expect("link");
    symlink("nowhere", tree.join("dangling")).expect("link");
    let daemon = daemon_on(flags(&tree));
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body,
        chart.archive_bytes
    );
    assert!(!daemon.log().contains(" WARN "), "{}", daemon.log());
}

#[test]
fn a_deep_tree_is_read_as_deep_as_names_go() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    let deep = |depth| tree.join(vec!["a"; depth].join("/"));
    Layout::with(deep(12), &[("a", "1.0.0")]);
    Layout::with(deep(100), &[("a", "2.0.0")]);
    let daemon = daemon_on(flags(&tree));
    assert_eq!(Index::of(&daemon).charts(), ["a 1.0.0"]);
}

#[test]
fn a_folder_that_is_no_repository_name_is_told_and_left_out() {
    let scratch = Scratch::new("layout");
    let tree = scratch.join("tree");
    Layout::with(tree.join("good"), &[("good", "1.0.0")]);
    Layout::with(tree.join("Not A Name"), &[("bad", "1.0.0")]);
    let daemon = daemon_on(flags(&tree));
    assert_eq!(Index::of(&daemon).charts(), ["good 1.0.0"]);
    daemon.wait_for_complaint(&["Not A Name", "not a repository name"]);
}

/// As any user that can read, where nobody can write; and what can't be read is passed over.
#[test]
fn a_tree_that_can_only_be_read_is_served_and_left_as_it_is() {
    // Not in the build directory, for another user may not be let into that.
    let name = format!("oci-chartrepo-rights-{}", std::process::id());
    let place = Closed(std::env::temp_dir().join(name));
    let tree = place.0.join("tree");
    Layout::with(tree.join("web"), &[("web", "1.0.0")]);
    let partly = Layout::with(
        tree.join("partly"),
        &[("open", "1.0.0"), ("closed", "1.0.0")],
    );
    fs::create_dir(tree.join("lost+found")).expect("mkdir");
    let program = place.0.join("oci-chartrepo");
    fs::copy(env!("CARGO_BIN_EXE_oci-chartrepo"), &program).expect("copy the daemon");
    let closed = partly.place(&partly.chart("closed", "1.0.0").config);
    chmod("a=rX", &place.0);
    chmod("a=", &tree.join("lost+found"));
    chmod("a=", &closed);
    let before = state_of(&tree);

    let [storage, directory] = flags(&tree);
    let flags = [&*storage, &*directory, "--any-name"];
    let daemon = Daemon::start_as(as_nobody(&program), &flags);
    daemon.wait_ready();
    assert_eq!(
        Index::of(&daemon).charts(),
        ["open 1.0.0", "web 1.0.0"],
        "{}",
        daemon.log()
    );
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "the archive of web 1.0.0"
    );
    daemon.wait_for_complaint(&["lost+found", "Permission denied"]);
    daemon.wait_for_log(&format!("{}: Permission denied", closed.display()));
    drop(daemon);
    assert_eq!(state_of(&tree), before, "something was written");
}

/// A command that any user but root runs: whoever runs the tests, if that isn't root.
fn as_nobody(program: &Path) -> Command {
    if run_ok(Path::new("id"), &["-u"], &[]).trim() != "0" {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            &format!("--reuid={NOBODY}"),
            &format!("--regid={NOBODY}"),
            "--clear-groups",
        ])
        .arg(program);
    command
}

fn chmod(mode: &str, path: &Path) {
    run_ok(Path::new("chmod"), &["-R", mode, argument(path)], &[]);
}

/// Every path in a tree, with its size, its rights and its times.
fn state_of(tree: &Path) -> BTreeSet<String> {
    let listed = run_ok(
        Path::new("find"),
        &[argument(tree), "-printf", "%p %s %m %T@ %C@\n"],
        &[],
    );
    listed.lines().map(str::to_owned).collect()
}

/// A directory that is opened again before it's removed.
struct Closed(PathBuf);

impl Drop for Closed {
    fn drop(&mut self) {
        chmod("u+rwX", &self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}
