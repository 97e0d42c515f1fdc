//! Namespaces of the kernel, for stories that must not reach outside: by `unshare`, as root, or as any other
//! user inside a user namespace.

use std::env;
use std::path::Path;
use std::process::Command;

use super::process::{run, text};

/// Set in the test process that is inside.
const INSIDE: &str = "OCI_CHARTREPO_INSIDE";

/// `unshare` into namespaces of these kinds.
pub fn unshare(kinds: &[&str]) -> Command {
    let as_root = kinds.to_vec();
    let as_user = [&["--user", "--map-root-user"], kinds].concat();
    let works = |way: &Vec<&str>| {
        run(Path::new("unshare"), &[way, &["true"][..]].concat(), &[])
            .status
            .success()
    };
    let way = [as_root, as_user].into_iter().find(works);
    let mut command = Command::new("unshare");
    command.args(way.unwrap_or_else(|| panic!("unshare may not {kinds:?}")));
    command
}

/// Plays a story where no network leads out: the only interface is `lo`, which has `addresses` besides its
/// own. For that the test, named as the harness names it, is begun anew in a process inside.
pub fn without_a_way_out(test: &str, addresses: &[&str], story: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return story();
    }
    let mut script = String::from("ip link set lo up");
    for address in addresses {
        script += &format!(" && ip address add {address} dev lo");
    }
    script += r#" && exec "$0" --exact "$1" --nocapture"#;
    let mut inside = unshare(&["--net"]);
    inside.args(["timeout", "120", "sh", "-c", &script]);
    inside.arg(env::current_exe().expect("a path")).arg(test);
    let output = inside.env(INSIDE, "1").output().expect("run unshare");
    let told = text(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{}\n{told}{}",
        output.status,
        text(&output.stderr)
    );
}
