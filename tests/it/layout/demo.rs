//! `make run`, as a newcomer types it: nothing on the PATH but what builds the daemon.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::helm::{Helm, argument};
use crate::support::http;
use crate::support::process::{DEADLINE, Log, Scratch, machine_path, wait_until};
use crate::support::tools::HELM_VERSIONS;

/// All that `make run` may call: a build's tools, and what POSIX has.
const ALLOWED: [&str; 11] = [
    "make", "sh", "sed", "awk", "getconf", "wc", "printf", "cc", "ld", "as", "ar",
];
/// The packer may have to be built first.
const START_DEADLINE: Duration = Duration::from_secs(300);
const CHARTS: [(&str, &str); 3] = [("common", "0.3.0"), ("web", "1.0.0"), ("web", "1.1.0")];

#[test]
fn make_run_serves_sample_charts_with_nothing_but_cargo_and_make() {
    let demo = Demo::start();
    let index = http::request(demo.port, "GET", "/index.yaml", &[]).expect("an index");
    assert_eq!(index.status, 200, "{}", demo.log.text());
    assert!(!demo.log.text().contains(" WARN "), "{}", demo.log.text());
    let said = demo.said.text();
    assert!(
        said.contains("helm repo add demo http://localhost:0"),
        "{said}"
    );
    assert!(said.contains("helm search repo demo/ --versions"), "{said}");
    for version in HELM_VERSIONS {
        let helm = Helm::new(version);
        helm.run(&[
            "repo",
            "add",
            "demo",
            &format!("http://localhost:{}", demo.port),
        ]);
        for (name, version) in CHARTS {
            let directory = helm.directory(&format!("{name}-{version}"));
            let chart = format!("demo/{name}");
            helm.run(&[
                "pull",
                &chart,
                "--version",
                version,
                "-d",
                argument(&directory),
            ]);
            let archive = directory.join(format!("{name}-{version}.tgz"));
            helm.run(&["lint", "--strict", argument(&archive)]);
        }
        // What the dependency defines is used, so that it has to be there.
        for chart in ["demo/web", "demo/whoami"] {
            let rendered = helm.run(&["template", "release", chart]);
            assert!(rendered.contains("runAsNonRoot: true"), "{rendered}");
        }
    }
}

/// A running `make run`, in a process group of its own as a shell gives it one.
struct Demo {
    make: Child,
    port: u16,
    /// Stdout and stderr.
    said: Log,
    log: Log,
    _path: Scratch,
}

impl Demo {
    fn start() -> Demo {
        let path = bare_path();
        let mut command = Command::new("make");
        command
            .args(["--no-print-directory", "run", "PORT=0"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        command
            .env_clear()
            .env("PATH", path.path())
            .process_group(0);
        // What cargo finds its crates and the compiler by, if it isn't at its default place.
        let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"];
        command.envs(
            kept.into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut make = command.spawn().expect("start make");
        let said = Log::collect(make.stdout.take().expect("stdout is piped"));
        let log = Log::collect(make.stderr.take().expect("stderr is piped"));
        let mut demo = Demo {
            make,
            port: 0,
            said,
            log,
            _path: path,
        };
        let line = demo
            .log
            .wait_for(START_DEADLINE, |line| line.contains("listening on http://"));
        let line =
            line.unwrap_or_else(|| panic!("make run:\n{}{}", demo.said.text(), demo.log.text()));
        demo.port = line
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let ready = || {
            http::request(demo.port, "GET", "/readyz", &[])
                .ok()
                .filter(|answer| answer.status == 200)
        };
        wait_until(
            DEADLINE,
            || format!("/readyz answers 200:\n{}", demo.log.text()),
            ready,
        );
        demo
    }
}

impl Drop for Demo {
    /// As Ctrl-C does it: the whole group is interrupted, and ends by itself.
    fn drop(&mut self) {
        Command::new("sh")
            .args(["-c", &format!("kill -INT -{}", self.make.id())])
            .status()
            .expect("run sh");
        let log = self.log.clone();
        wait_until(
            DEADLINE,
            || format!("make run ends:\n{}", log.text()),
            || self.make.try_wait().expect("wait"),
        );
    }
}

/// A directory that holds links to the allowed programs and to the cargo that runs this test.
fn bare_path() -> Scratch {
    let scratch = Scratch::new("bare-path");
    let link = |program: &Path, name: &str| symlink(program, scratch.join(name)).expect("link");
    let cargo = Path::new(env!("CARGO"));
    link(cargo, "cargo");
    link(&cargo.with_file_name("rustc"), "rustc");
    for name in ALLOWED {
        let found: Vec<PathBuf> = std::env::split_paths(&machine_path())
            .map(|folder| folder.join(name))
            .collect();
        let program = found.iter().find(|path| path.is_file());
        link(
            program.unwrap_or_else(|| panic!("{name} is not on the PATH")),
            name,
        );
    }
    scratch
}
