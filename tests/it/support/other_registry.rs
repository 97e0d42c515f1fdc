//! Registries of other make than docker-registry, each run by a script of `tests/tools` that keeps
//! them in one directory, on a port of their own, with one user. They end with the test process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process::{Log, Scratch, machine_path};

pub const PASSWORD: &str = "chart:secret";
/// What the script says before the port.
const LISTENING: &str = "listening on 127.0.0.1:";
/// Pulp makes a database first, which takes 40 s on an idle machine.
const START: Duration = Duration::from_secs(300);

pub struct OtherRegistry {
    script: Child,
    port: u16,
    user: &'static str,
    log: Log,
    _scratch: Scratch,
}

impl OtherRegistry {
    /// Small, written in Python, with tokens; it knows no catalog, and helm 4 can't push to it.
    pub fn zuul() -> OtherRegistry {
        OtherRegistry::start("run-zuul-registry", "chart-reader")
    }

    /// With tokens, and blobs by a redirect.
    pub fn pulp() -> OtherRegistry {
        OtherRegistry::start("run-pulp", "admin")
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn user(&self) -> &'static str {
        self.user
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    fn start(script: &str, user: &'static str) -> OtherRegistry {
        let scratch = Scratch::new(script);
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/tools")
            .join(script);
        let mut child = Command::new(path)
            .arg(scratch.path())
            .args([user, PASSWORD])
            .env_clear()
            .env("PATH", machine_path())
            // It ends when this pipe closes, be it by the end of the test process.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a script");
        let log = Log::collect(child.stderr.take().expect("stderr is piped"));
        let line = log.wait_for(START, |line| line.contains(LISTENING));
        let line = line.unwrap_or_else(|| panic!("{script} doesn't listen:\n{}", log.text()));
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
        OtherRegistry {
            script: child,
            port: port.unwrap_or_else(|| panic!("no port in {line}")),
            user,
            log,
            _scratch: scratch,
        }
    }
}

impl Drop for OtherRegistry {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
