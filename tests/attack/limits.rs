//! The machine's limits: ours are raised, the daemon's lowered, both by the tools of util-linux.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors that we need besides the attackers'.
const OWN_DESCRIPTORS: usize = 1_000;
/// The most downloads that a daemon is thought to run at once. The fake registry has two
/// descriptors for each, and it's a part of this process.
const DOWNLOADS: usize = 2_000;
/// Users that are hardly in use, and that even a small range of users in a container has: the
/// limit of threads counts all threads of a user, so each daemon is a user of its own.
const STRANGERS: std::ops::Range<usize> = 20_000..60_000;

/// What the daemon is limited to.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Limits {
    #[default]
    None,
    Descriptors(usize),
    Threads(usize),
}

/// The command that runs the daemon under these limits, and what must live as long as it.
pub fn command(program: &Path, limits: Limits) -> (Command, Option<Copy>) {
    match limits {
        Limits::None => (Command::new(program), None),
        Limits::Descriptors(most) => (prlimit(&format!("--nofile={most}:{most}"), program), None),
        Limits::Threads(most) if is_root() => {
            // Root is above the limit, so the daemon runs as another user, who may not see our
            // directories.
            let stranger = stranger();
            let copy = Copy::of(program, stranger);
            let mut command = prlimit(&format!("--nproc={most}:{most}"), Path::new("setpriv"));
            command.args([format!("--reuid={stranger}"), format!("--regid={stranger}")]);
            command.arg("--clear-groups").arg(&copy.0);
            (command, Some(copy))
        }
        Limits::Threads(most) => {
            // Any other user is counted separately in a user namespace of the daemon's own.
            let mut command = Command::new("unshare");
            command
                .args(["--user", "prlimit", &format!("--nproc={most}:{most}")])
                .arg(program);
            (command, None)
        }
    }
}

fn prlimit(limit: &str, program: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg(program);
    command
}

/// A copy of a program where everybody may run it, removed when dropped.
pub struct Copy(PathBuf);

impl Copy {
    fn of(program: &Path, user: usize) -> Copy {
        let path = std::env::temp_dir().join(format!("oci-chartrepo-of-{user}"));
        fs::copy(program, &path).expect("copy the daemon");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("let everybody run it");
        Copy(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A user under which no other daemon of this run runs, nor probably one of another run.
fn stranger() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = std::process::id() as usize * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
    STRANGERS.start + number % STRANGERS.len()
}

fn is_root() -> bool {
    fs::metadata("/proc/self")
        .expect("/proc/self is there")
        .uid()
        == 0
}

/// Lets this process have as many descriptors as the machine allows.
pub fn raise_own_descriptors() {
    let most = descriptor_limits().1;
    let arguments = [
        format!("--pid={}", std::process::id()),
        format!("--nofile={most}:{most}"),
    ];
    let raised = Command::new("prlimit")
        .args(arguments)
        .status()
        .expect("run prlimit, of the package util-linux");
    assert!(
        raised.success(),
        "prlimit can't raise our limit of descriptors to {most}"
    );
}

/// How many of `size` clients fit into this process.
pub fn clients_at_most(size: usize) -> usize {
    let for_the_registry = 2 * size.min(DOWNLOADS);
    size.min(
        descriptor_limits()
            .0
            .saturating_sub(OWN_DESCRIPTORS + for_the_registry),
    )
}

/// The soft and the hard limit of this process.
fn descriptor_limits() -> (usize, usize) {
    let text = fs::read_to_string("/proc/self/limits").expect("/proc/self/limits can be read");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .expect("a line for files");
    let mut numbers = line
        .split_whitespace()
        .map(|number| number.parse().unwrap_or(usize::MAX));
    (
        numbers.next().expect("a soft limit"),
        numbers.next().expect("a hard limit"),
    )
}
