//! The binary that is shipped: static, small, quick to answer, and well behaved as PID 1.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::daemon::{Daemon, signal};
use crate::support::docker_registry::DockerRegistry;
use crate::support::helm::{Helm, argument};
use crate::support::process::{DEADLINE, run, run_ok, wait_until};
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::zoo;

/// What the README promises.
const LARGEST_BINARY: u64 = 4_500_000;
/// Where nothing listens: these stories need no registry.
const NOWHERE: [&str; 2] = ["--storage-registry-repo", "127.0.0.1:1"];

#[test]
fn the_release_binary_is_static_and_under_4_5_megabytes() {
    let binary = release();
    let headers = [
        "--wide",
        "--program-headers",
        "--dynamic",
        argument(&binary),
    ];
    let headers = run_ok(Path::new("readelf"), &headers, &[]);
    assert!(
        headers.contains("LOAD"),
        "readelf read something:\n{headers}"
    );
    assert!(!headers.contains("INTERP"), "it wants a loader:\n{headers}");
    assert!(
        !headers.contains("(NEEDED)"),
        "it wants libraries:\n{headers}"
    );
    let size = fs::metadata(&binary).expect("the binary").len();
    report(&format!("size of the release binary: {size} bytes"));
    assert!(size < LARGEST_BINARY, "{size} bytes");
}

#[test]
fn idle_memory_and_the_first_answer_are_measured() {
    let registry = DockerRegistry::plain();
    let bare = zoo().plain.archives.join("bare-1.0.0.tgz");
    let target = format!("oci://{}", registry.host());
    Helm::new(NEWEST_HELM).run(&["push", argument(&bare), &target, "--plain-http"]);
    let start = Instant::now();
    let daemon = Daemon::start_as(
        Command::new(release()),
        &["--storage-registry-repo", &registry.host()],
    );
    assert_eq!(daemon.get("/livez").status, 200);
    report(&format!("first answer after start: {:?}", start.elapsed()));
    daemon.wait_ready();
    assert_eq!(daemon.get("/charts/bare-1.0.0.tgz").status, 200);
    report(&format!(
        "idle memory after a download: {}",
        status(daemon.pid(), "VmRSS:")
    ));
}

#[test]
fn sigterm_and_sigint_end_it_with_success() {
    for name in ["TERM", "INT"] {
        let mut daemon = Daemon::start_as(Command::new(release()), &NOWHERE);
        assert_eq!(daemon.get("/livez").status, 200);
        daemon.signal(name);
        assert_eq!(
            daemon.wait_exit(),
            Some(0),
            "SIG{name}; the log:\n{}",
            daemon.log()
        );
    }
}

#[test]
fn sigterm_ends_it_with_success_as_pid_1() {
    let mut unshare = unshare();
    unshare.arg(release());
    let mut daemon = Daemon::start_as(unshare, &NOWHERE);
    assert_eq!(daemon.get("/livez").status, 200);
    let first = only_child(daemon.pid());
    assert!(
        status(first, "NSpid:").ends_with("\t1"),
        "it is PID 1 in there"
    );
    // The kernel delivers to a PID 1 only the signals it has a handler for.
    signal(first, "TERM");
    assert_eq!(daemon.wait_exit(), Some(0), "the log:\n{}", daemon.log());
}

/// What `make build` made.
fn release() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/oci-chartrepo");
    let path = std::env::var_os("OCI_CHARTREPO_RELEASE").map_or(built, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: `make build` makes it",
        path.display()
    );
    path
}

/// `unshare` into a PID namespace: as root, or as whoever we are by a user namespace.
fn unshare() -> Command {
    let always = ["--pid", "--fork", "--kill-child"];
    let ways = [
        &always[..],
        &[
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ],
    ];
    let works = |way: &&&[&str]| {
        run(Path::new("unshare"), &[way, &["true"][..]].concat(), &[])
            .status
            .success()
    };
    let way = ways
        .iter()
        .find(works)
        .expect("unshare may make a PID namespace");
    let mut command = Command::new("unshare");
    command.args(*way);
    command
}

fn only_child(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let child = || fs::read_to_string(&path).ok()?.trim().parse().ok();
    wait_until(DEADLINE, || path.clone(), child)
}

/// A field of /proc/PID/status.
fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("no {field} in\n{status}"))
        .trim()
        .to_owned()
}

/// Into the test run's output, past the harness, which keeps what passing tests print.
fn report(line: &str) {
    writeln!(std::io::stderr(), "    {line}").expect("write to stderr");
}
