//! The next index shows what has changed in the folder, and a file that isn't whole yet is left out
//! until it is.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::daemon::Daemon;
use crate::support::folder::{Folder, packed, packed_chart, replace};
use crate::support::story::{Index, wait_for_charts};

fn charts(daemon: &Daemon) -> Vec<String> {
    Index::of(daemon).charts()
}

#[test]
fn a_file_that_is_copied_in_replaced_or_removed_is_in_the_next_index() {
    let folder = Folder::new();
    folder.chart("web.tgz", "web", "1.0.0");
    let daemon = folder.daemon();
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    folder.chart("new/folder/db.tgz", "db", "1.0.0");
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 1.0.0"], "copied in");
    replace(&folder.join("web.tgz"), &packed_chart("web", "2.0.0"));
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 2.0.0"], "replaced");
    fs::write(folder.join("web.tgz"), packed_chart("web", "3.0.0")).expect("write");
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 3.0.0"], "written over");
    fs::rename(folder.join("new"), folder.join("renamed")).expect("rename");
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 3.0.0"], "moved");
    fs::remove_file(folder.join("web.tgz")).expect("remove");
    assert_eq!(charts(&daemon), ["db 1.0.0"], "removed");
    assert_eq!(daemon.get("/charts/web-3.0.0.tgz").status, 404);
}

/// As `cp -p`, `rsync -t` and `tar` leave it: other bytes of the same length and date.
#[test]
fn a_file_whose_size_and_date_are_those_of_the_old_one_is_seen() {
    let folder = Folder::new();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let write = |version: &str| {
        let bytes = folder.chart("web.tgz", "web", version);
        let file = File::options()
            .append(true)
            .open(folder.join("web.tgz"))
            .expect("open");
        file.set_modified(date).expect("a date");
        bytes.len()
    };
    let before = write("1.0.0");
    let daemon = folder.daemon();
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    assert_eq!(write("1.0.1"), before, "the archives have one length");
    assert_eq!(charts(&daemon), ["web 1.0.1"]);
}

#[test]
fn a_half_copied_archive_is_left_out_until_it_is_whole() {
    let folder = Folder::new();
    folder.chart("db.tgz", "db", "1.0.0");
    let daemon = folder.daemon();
    // Chart.yaml is in the first bytes, and what follows it doesn't compress.
    let noise: Vec<u8> = (0..200_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    let chart = b"apiVersion: v2\nname: web\nversion: 1.0.0\n";
    let whole = packed(&[("web/Chart.yaml", chart), ("web/noise", &noise)]);
    for part in [0, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(folder.join("web.tgz"), &whole[..part]).expect("write");
        assert_eq!(
            charts(&daemon),
            ["db 1.0.0"],
            "{part} of {} bytes",
            whole.len()
        );
    }
    let skipped = daemon.get("/api/skipped").body_text();
    assert!(
        skipped.contains(r#"could not be read: \"web.tgz\": ends early"#),
        "{skipped}"
    );
    fs::write(folder.join("web.tgz"), &whole).expect("write");
    assert_eq!(charts(&daemon), ["db 1.0.0", "web 1.0.0"]);
    assert_eq!(daemon.get("/api/skipped").body_text().trim(), "[]");
}

#[test]
fn a_provenance_file_that_comes_later_is_served() {
    let folder = Folder::new();
    folder.chart("web.tgz", "web", "1.0.0");
    let daemon = folder.daemon();
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz.prov").status, 404);
    folder.file("web.tgz.prov", b"signed");
    wait_for_charts(&daemon, &["web 1.0.0"]);
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz.prov").body_text(),
        "signed"
    );
}

#[test]
fn a_folder_that_disappears_leaves_the_last_good_index() {
    let folder = Folder::new();
    folder.chart("charts/web.tgz", "web", "1.0.0");
    let flags = crate::support::folder::flags(&folder.join("charts"));
    let daemon = Daemon::start_ready(&flags.each_ref().map(String::as_str));
    fs::rename(folder.join("charts"), folder.join("away")).expect("rename");
    assert_eq!(charts(&daemon), ["web 1.0.0"]);
    daemon.wait_for_complaint(&["last good index stays"]);
    fs::rename(folder.join("away"), folder.join("charts")).expect("rename");
    folder.chart("charts/db.tgz", "db", "1.0.0");
    wait_for_charts(&daemon, &["db 1.0.0", "web 1.0.0"]);
}

#[test]
fn what_has_not_changed_is_not_read_again_broken_or_not() {
    let folder = Folder::new();
    let whole = packed_chart("web", "1.0.0");
    let files = [
        folder.file("web.tgz", &whole),
        folder.file("broken.tgz", &whole[..whole.len() - 1]),
        folder.file("none.tgz", b"no archive"),
    ];
    let daemon = folder.daemon();
    std::thread::sleep(Duration::from_millis(200));
    charts(&daemon);
    files.iter().for_each(|file| age_access(file));
    // That has changed the files' states, so that they are read once more.
    charts(&daemon);
    std::thread::sleep(Duration::from_millis(200));
    charts(&daemon);
    let read = || files.each_ref().map(|file| accessed(file));
    let last = read();
    for _ in 0..20 {
        // Another file's change starts a scan.
        folder.chart("db.tgz", "db", "1.0.0");
        charts(&daemon);
    }
    assert_eq!(read(), last);
}

/// Dates the last access before all others: then the next read updates it, even with `relatime`.
fn age_access(path: &Path) {
    let file = File::options().append(true).open(path).expect("open");
    let modified = file.metadata().and_then(|state| state.modified());
    let times = fs::FileTimes::new()
        .set_accessed(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
        .set_modified(modified.expect("a date"));
    file.set_times(times).expect("a date");
}

fn accessed(path: &Path) -> SystemTime {
    let state = fs::metadata(path).expect("its state");
    state.accessed().expect("a date")
}
