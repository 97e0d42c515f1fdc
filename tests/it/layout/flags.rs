//! What a user can get wrong about `--storage=layout` is said at the start, and names the flag.

use std::path::Path;

use crate::support::daemon::program;
use crate::support::helm::argument;
use crate::support::layout::Layout;
use crate::support::process::{Scratch, run, text};

/// Runs the daemon with flags that are a mistake and answers what it said.
fn refused(flags: &[&str]) -> String {
    let output = run(Path::new(program()), flags, &[]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{flags:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

#[test]
fn a_layout_needs_its_directory() {
    let said = refused(&["--storage=layout"]);
    assert!(
        said.contains("--storage=layout needs --storage-layout-dir"),
        "{said}"
    );
}

#[test]
fn the_directory_has_to_be_one() {
    let scratch = Scratch::new("flags");
    let missing = scratch.join("missing");
    let file = scratch.file("file", "");
    for (path, why) in [(&missing, "No such file"), (&file, "Not a directory")] {
        let said = refused(&["--storage=layout", "--storage-layout-dir", argument(path)]);
        let named = said.contains("--storage-layout-dir") && said.contains(argument(path));
        assert!(named && said.contains(why), "{said}");
    }
}

#[test]
fn a_layout_takes_no_flag_of_a_registry() {
    let scratch = Scratch::new("flags");
    let layout = Layout::at(scratch.join("layout"));
    let [storage, directory] = layout.flags();
    for flag in [
        "--storage-registry-repo=localhost:5000",
        "--storage-registry-scheme=HTTP",
        "--storage-registry-config=/dev/null",
        "--storage-registry-ca-file=/dev/null",
        "--storage-registry-insecure-skip-tls-verify",
        "--repository=web",
    ] {
        let said = refused(&[&storage, &directory, flag]);
        let name = flag.split('=').next().expect("a name");
        assert!(
            said.contains(&format!("{name} goes with --storage=registry")),
            "{said}"
        );
    }
}

#[test]
fn a_registry_takes_no_layout_directory() {
    let scratch = Scratch::new("flags");
    let layout = Layout::at(scratch.join("layout"));
    let [_, directory] = layout.flags();
    for storage in [&[][..], &["--storage=registry"]] {
        let said = refused(&[storage, &[&directory]].concat());
        assert!(
            said.contains("--storage-layout-dir goes with --storage=layout"),
            "{said}"
        );
    }
}
