//! What a disk can do: it's full, it can't be written any more, or it loses a bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LISTED, Place, filled, index};
use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::argument;
use crate::support::process::{DEADLINE, wait_until};
use crate::support::served::UNCACHED;
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, wait_for_charts};

/// A daemon whose mirror lies on a file system of its own, of so many KiB, that no other process sees but
/// through [`Small::inner`].
struct Small {
    daemon: Daemon,
    path: PathBuf,
}

impl Small {
    fn start(fake: &FakeRegistry, place: &Place, kib: usize, flags: &[&str]) -> Small {
        let path = place.path();
        fs::create_dir_all(&path).expect("mkdir");
        let mount = format!(
            "mount -t tmpfs -o size={kib}k tmpfs '{0}' && exec \"$@\"",
            argument(&path)
        );
        let mut command = Command::new("unshare");
        let daemon = program();
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &mount,
            "sh",
            daemon,
        ]);
        let own = [&*fake.flag(), &place.flag(), EACH_TIME, LONG_WAIT, UNCACHED];
        let daemon = Daemon::start_as(command, &[&own, flags].concat());
        daemon.wait_ready();
        Small { daemon, path }
    }

    /// A path in the mirror, as this process reaches it.
    fn inner(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.daemon.pid()));
        let inner = self.path.strip_prefix("/").expect("absolute");
        root.join(inner).join(name)
    }

    /// Fills the file system; it's free again when the file is removed.
    fn fill(&self) -> PathBuf {
        let filler = self.inner(".oci-chartrepo/filler");
        let mut size = 1 << 20;
        let mut bytes = Vec::new();
        while size > 0 {
            let more = [&bytes[..], &vec![7; size]].concat();
            match fs::write(&filler, &more) {
                Ok(()) => bytes = more,
                Err(_) => size /= 2,
            }
            if size < 512 {
                break;
            }
        }
        let _ = fs::write(&filler, &bytes);
        filler
    }
}

#[test]
fn a_disk_that_fills_up_in_a_blob_costs_nothing_and_is_used_again_when_there_is_room() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    let large = vec![b'x'; 600_000];
    let web = fake.push(&Chart::new("web", "1.0.0").archive(large.clone()));
    fake.push(&Chart::new("web", "1.1.0").archive("small"));
    let small = Small::start(&fake, &place, 512, &[]);
    let daemon = &small.daemon;
    for _ in 0..3 {
        let answer = daemon.get("/charts/web-1.0.0.tgz");
        assert!(answer.status == 200 && answer.body == large);
    }
    let told = daemon.wait_for_complaint(&["mirror: ", "No space left"]);
    assert!(told.contains("/blobs/sha256/"), "{told}");
    let blob = format!("web/blobs/{}", web.archive.digest.replace(':', "/"));
    assert!(!small.inner(&blob).exists());
    let temporary = fs::read_dir(small.inner(".oci-chartrepo/tmp")).expect("a folder");
    assert_eq!(temporary.count(), 0, "nothing half is left");

    let remount = "mount -o remount,size=4m";
    let target = argument(&small.path).to_owned();
    let pid = daemon.pid().to_string();
    let enter = [
        "-t",
        &pid,
        "--user",
        "--mount",
        "--preserve-credentials",
        "sh",
        "-c",
    ];
    let grown = Command::new("nsenter")
        .args(enter)
        .arg(format!("{remount} '{target}'"))
        .status();
    assert!(grown.expect("nsenter runs").success());
    let lacking = || format!("the archive on disk; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        assert!(daemon.get("/charts/web-1.0.0.tgz").body == large);
        small.inner(&blob).exists().then_some(())
    });
    assert_eq!(
        daemon.log().matches(" WARN mirror: ").count(),
        1,
        "told once: {}",
        daemon.log()
    );
    daemon.wait_for_log(" INFO mirror: files can be written again");
}

#[test]
fn a_disk_that_fills_up_in_a_list_loses_none_and_catches_up() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    fake.push(&Chart::new("web", "1.0.0"));
    let small = Small::start(&fake, &place, 256, &["--mirror=all"]);
    let daemon = &small.daemon;
    let list = || fs::read_to_string(small.inner("web/index.json")).unwrap_or_default();
    wait_until(
        DEADLINE,
        || daemon.log(),
        || list().contains("1.0.0").then_some(()),
    );
    let filler = small.fill();
    let before = list();
    fake.push(&Chart::new("web", "1.1.0"));
    fake.push(&Chart::new("web", "1.2.0"));
    wait_for_charts(daemon, &["web 1.0.0", "web 1.1.0", "web 1.2.0"]);
    daemon.wait_for_complaint(&["mirror: ", "No space left"]);
    assert_eq!(list(), before, "the last list is whole");
    let archive = daemon.get("/charts/web-1.2.0.tgz").body_text();
    assert_eq!(archive, "archive of web 1.2.0");

    fs::remove_file(filler).expect("removed");
    let caught_up = || {
        ["1.0.0", "1.1.0", "1.2.0"]
            .iter()
            .all(|tag| list().contains(tag))
    };
    wait_until(
        DEADLINE,
        || daemon.log(),
        || {
            index(daemon);
            caught_up().then_some(())
        },
    );
}

#[test]
fn a_directory_that_can_not_be_written_is_served_and_told_of_once() {
    let (fake, place) = (filled(), Place::new());
    let first = place.ready(&fake, &[]);
    let before = index(&first);
    place.wait_for(&first, &LISTED);
    drop(first);
    let files = place.files();
    let mount = format!(
        "mount --bind -o ro '{0}' '{0}' && exec \"$@\"",
        argument(&place.path())
    );
    let mut command = Command::new("unshare");
    let program = program();
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &mount,
        "sh",
        program,
    ]);
    let own = [&*fake.flag(), &place.flag(), EACH_TIME, LONG_WAIT];
    let daemon = Daemon::start_as(command, &own);
    daemon.wait_ready();
    assert_eq!(index(&daemon), before);
    fake.push(&Chart::new("db", "3.0.0"));
    fake.push(&Chart::new("db", "3.1.0"));
    let lacking = || daemon.log();
    wait_until(DEADLINE, lacking, || {
        (Index::of(&daemon).charts().len() == 6).then_some(())
    });
    assert_eq!(
        daemon.get("/charts/db-3.0.0.tgz").body_text(),
        "archive of db 3.0.0"
    );
    assert_eq!(
        daemon.log().matches(" WARN mirror: ").count(),
        1,
        "{}",
        daemon.log()
    );
    assert_eq!(place.files(), files);
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).expect("a file of the mirror");
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).expect("written");
}

/// Every kind of file, and bits at its beginning, in its middle and at its end.
#[test]
fn a_flipped_bit_in_any_file_is_told_mended_and_never_served() {
    let (mut fake, place) = (filled(), Place::new());
    let daemon = place.ready(&fake, &["--mirror=all"]);
    let good = index(&daemon);
    place.wait_for(&daemon, &LISTED);
    let file = "/charts/web-1.1.0.tgz";
    let [archive, provenance] =
        [file, "/charts/web-1.1.0.tgz.prov"].map(|path| daemon.get(path).body);
    let whole = || place.blobs().len() == 4 * 3 + 1;
    wait_until(
        DEADLINE,
        || format!("{:?}", place.files()),
        || whole().then_some(()),
    );
    drop(daemon);
    let is_kept = |path: &PathBuf| !path.ends_with("lock") && !path.ends_with("as-of");
    let files: Vec<PathBuf> = place.files().into_iter().filter(is_kept).collect();
    assert!(files.len() >= 18, "{files:?}");
    for (number, path) in files.iter().enumerate() {
        let intact = fs::read(path).expect("read");
        flip(
            path,
            [0, intact.len() * 4, intact.len() * 8 - 1][number % 3],
        );
        fake.close();
        let daemon = place.daemon(&fake, &["--mirror=all", UNCACHED]);
        daemon.wait_ready();
        for (path, right) in [
            (file, &archive),
            ("/charts/web-1.1.0.tgz.prov", &provenance),
        ] {
            let answer = daemon.get(path);
            assert!(answer.status != 200 || answer.body == *right, "{path}");
        }
        let charts = Index::of(&daemon).charts();
        let known = Index::parse(good.0.as_bytes()).charts();
        assert!(
            charts.iter().all(|chart| known.contains(chart)),
            "{charts:?}"
        );
        fake.reopen();
        wait_until(
            DEADLINE,
            || daemon.log(),
            || {
                for chart in [
                    "db-0.1.0+build.5",
                    "web-1.0.0",
                    "web-1.1.0",
                    "web-2.0.0-rc.1",
                ] {
                    daemon.get(&format!("/charts/{chart}.tgz"));
                    daemon.get(&format!("/charts/{chart}.tgz.prov"));
                }
                (index(&daemon) == good && fs::read(path).ok().as_ref() == Some(&intact))
                    .then_some(())
            },
        );
        let name = argument(Path::new(path.file_name().expect("a name"))).to_owned();
        let told = daemon.wait_for_complaint(&["damaged", &name]);
        assert!(told.contains(argument(path)), "{told}");
    }
}

#[test]
fn the_kernel_sends_an_archive_that_was_verified_moments_ago_whole_and_in_parts() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    let archive: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    fake.push(&Chart::new("web", "1.0.0").archive(archive.clone()));
    let daemon = place.ready(&fake, &[UNCACHED]);
    let reads = || daemon.io("syscr");
    let path = "/charts/web-1.0.0.tgz";
    assert!(daemon.get(path).body == archive);
    let before = reads();
    assert!(daemon.get(path).body == archive);
    let part = daemon.request("GET", path, &[("Range", "bytes=2500000-5999998")]);
    assert!(part.status == 206 && part.body == archive[2_500_000..5_999_999]);
    // Reading it would take a hundred calls for each.
    let calls = reads() - before;
    assert!(calls < 60, "{calls} calls to read");
}

#[test]
fn a_bit_that_flips_while_the_daemon_runs_is_found_before_the_file_is_served() {
    let (fake, place) = (FakeRegistry::start(), Place::new());
    let archive: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    let chart = fake.push(&Chart::new("web", "1.0.0").archive(archive.clone()));
    let daemon = place.ready(&fake, &[UNCACHED]);
    let fetches = || fake.count(&format!("GET {}", chart.archive_path()));
    for _ in 0..3 {
        assert!(daemon.get("/charts/web-1.0.0.tgz").body == archive);
    }
    assert_eq!(fetches(), 1);
    flip(&place.blob("web", &chart.archive.digest), 40_000_000);
    for _ in 0..3 {
        assert!(daemon.get("/charts/web-1.0.0.tgz").body == archive);
    }
    assert_eq!(fetches(), 2, "fetched anew, and kept");
    daemon.wait_for_complaint(&["damaged", chart.hex()]);
}
