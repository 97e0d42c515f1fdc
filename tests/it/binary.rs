//! The binary that is shipped: static, small, quick to answer, and well behaved as PID 1.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::daemon::{Daemon, signal};
use crate::support::docker_registry::DockerRegistry;
use crate::support::helm::{Helm, argument};
use crate::support::namespace::unshare;
use crate::support::process::{DEADLINE, run_ok, wait_until};
use crate::support::tools::NEWEST_HELM;
use crate::support::zoo::zoo;

/// What the README promises, by the machine that the file's header names.
const LARGEST_BINARY: [(&str, u64); 3] = [
    ("X86-64", 4_500_000),
    ("AArch64", 4_100_000),
    ("ARM", 4_100_000),
];
/// Where nothing listens: these stories need no registry.
const NOWHERE: [&str; 2] = ["--storage-registry-repo", "127.0.0.1:1"];

/// sched(7), SCHED_BATCH: with a thread for each connection, one would else be interrupted for the other.
#[test]
fn no_thread_interrupts_another_when_it_wakes() {
    let daemon = Daemon::start(&NOWHERE);
    assert_eq!(daemon.get("/livez").status, 200);
    let threads = format!("/proc/{}/task", daemon.pid());
    let threads = fs::read_dir(threads).expect("/proc").flatten();
    let policies: Vec<(String, String)> = threads
        .map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).expect("/proc");
            let (name, fields) = stat.rsplit_once(") ").expect("a name");
            // The 41st field, of which two precede (proc_pid_stat(5)).
            let policy = fields.split(' ').nth(38).expect("a policy");
            (name.to_owned(), policy.to_owned())
        })
        .collect();
    let connections = policies
        .iter()
        .filter(|(name, _)| name.ends_with("(connection"));
    assert!(connections.count() > 0, "{policies:?}");
    for (name, policy) in &policies {
        assert!(policy == "3" || name.ends_with("(log"), "{policies:?}");
    }
}

#[test]
fn the_release_binary_is_static_movable_and_under_4_5_megabytes() {
    let binary = release();
    let headers = [
        "--wide",
        "--file-header",
        "--program-headers",
        "--dynamic",
        argument(&binary),
    ];
    let headers = run_ok(Path::new("readelf"), &headers, &[]);
    // A script that runs a binary has no such headers, and is none.
    assert!(
        headers.contains("LOAD"),
        "readelf read something:\n{headers}"
    );
    let machine = headers.lines().find(|line| line.contains("Machine:"));
    let machine = machine.and_then(|line| line.split_whitespace().last());
    // glibc for armv7 can't start a static program elsewhere than at a fixed address.
    assert!(
        machine == Some("ARM") || headers.contains("DYN (Position-Independent"),
        "it is loaded at a fixed address:\n{headers}"
    );
    let largest = LARGEST_BINARY
        .iter()
        .find(|(name, _)| machine == Some(name));
    let (_, largest) = largest.unwrap_or_else(|| panic!("no bound for {machine:?}"));
    assert!(!headers.contains("INTERP"), "it wants a loader:\n{headers}");
    assert!(
        !headers.contains("(NEEDED)"),
        "it wants libraries:\n{headers}"
    );
    let size = fs::metadata(&binary).expect("the binary").len();
    report(&format!("size of the release binary: {size} bytes"));
    assert!(size < *largest, "{size} bytes");
}

#[test]
fn idle_memory_and_the_first_answer_are_measured() {
    let registry = DockerRegistry::plain();
    let bare = zoo().plain.archives.join("bare-1.0.0.tgz");
    let target = format!("oci://{}", registry.host());
    Helm::new(NEWEST_HELM).run(&["push", argument(&bare), &target, "--plain-http"]);
    let start = Instant::now();
    let daemon = Daemon::start_as(
        Command::new(runnable()),
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
        let mut daemon = Daemon::start_as(Command::new(runnable()), &NOWHERE);
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
    let mut unshare = unshare(&["--pid", "--fork", "--kill-child"]);
    unshare.arg(runnable());
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

/// What runs it: an emulator, for the binary of another architecture.
fn runnable() -> PathBuf {
    std::env::var_os("OCI_CHARTREPO_PROGRAM").map_or_else(release, PathBuf::from)
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
