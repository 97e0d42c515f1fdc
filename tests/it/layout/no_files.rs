//! FIFOs, sockets, directories and devices where a layout has files: none of them is opened for
//! reading, so none can hold the daemon up or feed it for ever.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::Value;

use super::hostile::{
    assert_alive_and_small, assert_nothing_served, assert_only_good, layout_with_good,
};
use super::{daemon_on, reading_daemon_on};
use crate::support::daemon::Daemon;
use crate::support::helm::argument;
use crate::support::layout::{Chart, Layout, flags, named};
use crate::support::process::{Scratch, run_ok};

/// What can stand at a path instead of a file.
#[derive(Clone, Copy, Debug)]
enum Instead {
    Fifo,
    Socket,
    Directory,
}

impl Instead {
    fn put(self, path: &Path) {
        let _ = fs::remove_file(path);
        match self {
            Instead::Fifo => drop(run_ok(Path::new("mkfifo"), &[argument(path)], &[])),
            Instead::Socket => socket(path),
            Instead::Directory => fs::create_dir(path).expect("mkdir"),
        }
    }
}

/// A socket's path has little room, so it's made by way of a link.
fn socket(path: &Path) {
    let unique = format!(
        "oci-chartrepo-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let short = std::env::temp_dir().join(unique);
    std::os::unix::fs::symlink(path.parent().expect("a parent"), &short).expect("link");
    UnixListener::bind(short.join(path.file_name().expect("a name"))).expect("bind");
    fs::remove_file(&short).expect("remove");
}

/// A file of a chart's.
type Part = fn(&Chart) -> &Value;

const KINDS: [Instead; 3] = [Instead::Fifo, Instead::Socket, Instead::Directory];

#[test]
fn what_is_no_file_is_not_read_as_a_blob() {
    let scratch = Scratch::new("layout");
    let (layout, good) = layout_with_good(&scratch);
    let mut listed = vec![good];
    let parts: [(&str, Part); 3] = [
        ("manifest", |chart| &chart.manifest),
        ("config", |chart| &chart.config),
        ("archive", |chart| &chart.archive),
    ];
    for kind in KINDS {
        for (part, of) in parts {
            let name = format!("{part}-{kind:?}").to_lowercase();
            let chart = layout.chart(&name, "1.0.0");
            kind.put(&layout.place(of(&chart)));
            listed.push(named(&chart.manifest, &format!("{name}:1.0.0")));
        }
    }
    layout.list(&listed);
    let mut daemon = daemon_on(layout.flags());
    assert_only_good(&mut daemon);
    for name in ["manifest-fifo", "config-directory", "archive-fifo"] {
        let told = daemon.wait_for_log(&format!("skipped {name}:1.0.0: "));
        assert!(told.contains("not a regular file"), "{told}");
    }
    daemon.wait_for_log("skipped config-socket:1.0.0: ");
}

#[test]
fn an_archive_that_turns_into_something_else_is_not_served() {
    for kind in KINDS {
        let scratch = Scratch::new("layout");
        let (layout, good) = layout_with_good(&scratch);
        layout.list(&[good]);
        let mut daemon = reading_daemon_on(layout.flags());
        assert_only_good(&mut daemon);
        kind.put(&layout.place(&layout.chart("good", "1.0.0").archive));
        assert_eq!(daemon.get("/charts/good-1.0.0.tgz").status, 502, "{kind:?}");
        daemon.wait_for_complaint(&["good-1.0.0.tgz"]);
        assert_alive_and_small(&mut daemon);
    }
}

#[test]
fn what_is_no_file_is_not_read_as_an_index() {
    for kind in KINDS {
        let scratch = Scratch::new("layout");
        let (layout, _) = layout_with_good(&scratch);
        kind.put(&layout.index());
        let mut daemon = Daemon::start(&layout.flags().each_ref().map(String::as_str));
        assert_nothing_served(&mut daemon, &[argument(&layout.index())]);
    }
}

/// Under `/dev`, because only there anybody has a device below the directory that is served.
#[test]
fn a_device_is_neither_a_blob_nor_an_index() {
    let place = format!("/dev/shm/oci-chartrepo-{}", std::process::id());
    let removed = RemovedAtTheEnd(Path::new(&place));
    let inner = |name: &str| removed.0.join(name);
    let zero = |path: &Path| {
        fs::remove_file(path).expect("remove");
        std::os::unix::fs::symlink("/dev/zero", path).expect("link");
    };
    let good = Layout::with(inner("good"), &[("good", "1.0.0")]);
    let blob = Layout::with(inner("blob"), &[("blob", "1.0.0")]);
    zero(&blob.place(&blob.chart("blob", "1.0.0").archive));
    let index = Layout::with(inner("index"), &[("index", "1.0.0")]);
    zero(&index.index());
    assert!(good.index().is_file());
    let mut daemon = daemon_on(flags(Path::new("/dev")));
    assert_only_good(&mut daemon);
    for what in ["blob", "index"] {
        let told = daemon.wait_for_log(&format!("/{what}"));
        assert!(told.contains("not a regular file"), "{told}");
    }
}

struct RemovedAtTheEnd<'a>(&'a Path);

impl Drop for RemovedAtTheEnd<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}
