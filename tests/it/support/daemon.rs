//! The daemon under test: the real binary as a child on a free port, with its log collected.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use super::http::{self, Answer};
use super::process::{DEADLINE, Log, wait_until};

/// To the end of a first walk: twelve daemons may walk the whole zoo at a time.
const READY_DEADLINE: Duration = Duration::from_secs(300);

/// What a test wants unless it says otherwise.
const DEFAULTS: [&str; 3] = ["--port=0", "--listen-host=127.0.0.1", "--log-level=debug"];

/// The program under test: what cargo built, or what runs the binary of another architecture.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let built = env!("CARGO_BIN_EXE_oci-chartrepo");
        env::var("OCI_CHARTREPO_PROGRAM").unwrap_or_else(|_| built.to_owned())
    });
    &PROGRAM
}

pub struct Daemon {
    child: Child,
    port: u16,
    log: Log,
}

impl Daemon {
    /// The daemon with these flags, once it listens.
    pub fn start(arguments: &[&str]) -> Daemon {
        Daemon::start_as(Command::new(program()), arguments)
    }

    /// The same, by another command: another binary, or one that runs it somewhere else.
    pub fn start_as(command: Command, arguments: &[&str]) -> Daemon {
        let mut child = spawn(command, arguments);
        let log = Log::collect(child.stderr.take().expect("stderr is piped"));
        let mut daemon = Daemon {
            child,
            port: 0,
            log,
        };
        daemon.port = daemon.listening_port(arguments);
        daemon
    }

    /// The daemon once it listens, and its stderr, of which nothing more is read.
    pub fn start_unread(arguments: &[&str]) -> (Daemon, BufReader<ChildStderr>) {
        let mut child = spawn(Command::new(program()), arguments);
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !is_listening(&line) {
            line.clear();
            let count = stderr.read_line(&mut line).expect("stderr can be read");
            assert_ne!(count, 0, "it ended before it listened");
        }
        let daemon = Daemon {
            child,
            port: port_in(&line),
            log: Log::collect(io::empty()),
        };
        (daemon, stderr)
    }

    /// Started and walked: `/readyz` answers 200.
    pub fn start_ready(arguments: &[&str]) -> Daemon {
        let daemon = Daemon::start(arguments);
        daemon.wait_ready();
        daemon
    }

    pub fn wait_ready(&self) {
        let lacking = || format!("/readyz answers 200; the log:\n{}", self.log());
        let ready = || (self.get("/readyz").status == 200).then_some(());
        wait_until(READY_DEADLINE, lacking, ready);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A whole answer to `GET path`, the path as given on the wire.
    pub fn get(&self, path: &str) -> Answer {
        self.whole("GET", path)
    }

    pub fn head(&self, path: &str) -> Answer {
        self.whole("HEAD", path)
    }

    /// Whatever came, be it cut: see [`Answer::complete`].
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::request(self.port, method, path, headers)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; the log:\n{}", self.log()))
    }

    /// All of stderr so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The first line of the log, past or to come, that holds `needle`.
    pub fn wait_for_log(&self, needle: &str) -> String {
        self.wait_for_line(&[needle], |_| true)
    }

    /// The first line an operator sees (no debug line) that holds all of these.
    pub fn wait_for_complaint(&self, words: &[&str]) -> String {
        self.wait_for_line(words, |line| {
            line.contains(" ERROR ") || line.contains(" WARN ")
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A counter of /proc/PID/io: `rchar` is all that was read so far, from files and otherwise, `syscr` the
    /// number of calls that did so.
    pub fn io(&self, counter: &str) -> u64 {
        let path = format!("/proc/{}/io", self.pid());
        let counters = fs::read_to_string(path).expect("read the counters");
        let mut lines = counters.lines();
        let value = lines.find_map(|line| line.strip_prefix(counter)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).expect(counter)
    }

    /// Sends `TERM`, `INT`, … to the daemon.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// The exit code, or none if a signal ended it.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let log = self.log.clone();
        let lacking = || format!("the daemon ends; the log:\n{}", log.text());
        let ended = || self.child.try_wait().expect("wait for the daemon");
        wait_until(DEADLINE, lacking, ended).code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    fn wait_for_line(&self, words: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let told = |line: &str| words.iter().all(|word| line.contains(word)) && wanted(line);
        let line = self.log.wait_for(DEADLINE, told);
        line.unwrap_or_else(|| panic!("no line with {words:?} in the log:\n{}", self.log()))
    }

    fn whole(&self, method: &str, path: &str) -> Answer {
        let answer = self.request(method, path, &[]);
        assert!(
            answer.complete,
            "{method} {path} was cut; the log:\n{}",
            self.log()
        );
        answer
    }

    fn listening_port(&self, arguments: &[&str]) -> u16 {
        let line = self.log.wait_for(DEADLINE, is_listening);
        let line = line.unwrap_or_else(|| {
            panic!(
                "no listening line with {arguments:?}; the log:\n{}",
                self.log()
            );
        });
        port_in(&line)
    }
}

/// Whether a line of the log, in either format, tells where the daemon listens.
fn is_listening(line: &str) -> bool {
    let starts = [
        "INFO listening on http://",
        "\"message\":\"listening on http://",
    ];
    starts.iter().any(|start| line.contains(start))
}

fn port_in(line: &str) -> u16 {
    let address = line.split("http://").nth(1).unwrap_or_default();
    let address = address.split(['"', '\n']).next().unwrap_or_default();
    let port = address.rsplit(':').next();
    let port = port.and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {line:?}"))
}

/// The child, with what a test wants unless its arguments say otherwise.
fn spawn(mut command: Command, arguments: &[&str]) -> Child {
    let defaults = DEFAULTS.into_iter().filter(|default| {
        let (flag, _) = default.split_once('=').expect("a flag and its value");
        !arguments
            .iter()
            .any(|argument| argument.split('=').next() == Some(flag))
    });
    command
        .args(defaults)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By the shell's own `kill`, for a bare machine has no other.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(sent.expect("run sh").success(), "kill -{name} {pid}");
}
