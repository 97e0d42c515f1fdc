//! What a user can get wrong about `--storage=local` is said at the start, and names the flag.

use std::path::Path;

use crate::support::daemon::program;
use crate::support::folder::{Folder, flags};
use crate::support::helm::argument;
use crate::support::layout::Layout;
use crate::support::process::{run, text};

/// Runs the daemon with flags that are a mistake and answers what it said.
fn refused(flags: &[&str]) -> String {
    let output = run(Path::new(program()), flags, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
    said
}

#[test]
fn a_mistake_names_its_flag() {
    let folder = Folder::new();
    let file = folder.file("file", b"");
    let [local, directory] = folder.flags();
    let [_, missing] = flags(&folder.join("missing"));
    let [_, no_folder] = flags(&file);
    for (flags, said) in [
        (
            vec!["--storage=local"],
            "--storage=local needs --storage-local-rootdir",
        ),
        (vec![&*local, &*missing], "No such file"),
        (vec![&*local, &*no_folder], "Not a directory"),
        (
            vec![&*directory],
            "--storage-local-rootdir goes with --storage=local",
        ),
        (
            vec![&*local, &*directory, "--storage-layout-dir=."],
            "--storage-layout-dir goes with --storage=layout",
        ),
        (
            vec!["--storage=layout", "--storage-layout-dir=.", &*directory],
            "--storage-local-rootdir goes with --storage=local",
        ),
        (
            vec![
                &*local,
                &*directory,
                "--storage-registry-repo=localhost:5000",
            ],
            "--storage-registry-repo goes with --storage=registry",
        ),
    ] {
        let told = refused(&flags);
        assert!(told.contains(said), "{flags:?}: {told}");
    }
}

#[test]
fn a_folder_of_the_other_kind_is_told_with_the_flags_that_serve_it() {
    let folder = Folder::new();
    folder.chart("web-1.0.0.tgz", "web", "1.0.0");
    let given = format!("--storage-layout-dir={}", argument(folder.path()));
    let said = refused(&["--storage=layout", &given]);
    assert!(
        said.contains("--storage=local --storage-local-rootdir"),
        "{said}"
    );
    let layout = Layout::at(folder.join("layout"));
    let [local, directory] = flags(layout.path());
    let said = refused(&[&local, &directory]);
    assert!(
        said.contains("--storage=layout --storage-layout-dir"),
        "{said}"
    );
}
