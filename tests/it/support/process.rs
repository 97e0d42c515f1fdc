//! What every child process of the tests needs: a directory that goes away, a log that can be
//! waited on, and deadlines. A test must never hang and never leave anything behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// When whatever should happen soon has to have happened: this ends what hangs, and doesn't judge what
/// a busy machine makes slow.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a tool may run: fifty times what the slowest takes on an idle machine.
const TOOL_DEADLINE_SECONDS: &str = "300";

/// A fresh directory under the build directory, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(what: &str) -> Scratch {
        let directory = fresh_path(what);
        fs::create_dir_all(&directory).expect("create a scratch directory");
        Scratch(directory)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and answers where it is.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("mkdir");
        fs::write(&path, text).expect("write a scratch file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A path no other test of this or another run uses.
pub fn fresh_path(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{what}-{}-{number}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Polls until `ready` answers something; at the deadline panics with what `lacking` tells.
pub fn wait_until<T>(
    limit: Duration,
    lacking: impl FnOnce() -> String,
    mut ready: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(found) = ready() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within {limit:?}: {}", lacking());
}

/// Runs a tool to its end, at most [`TOOL_DEADLINE_SECONDS`], in an environment that holds only
/// what `environment` says and the machine's PATH.
pub fn run(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let output = Command::new("timeout")
        .args(["--kill-after=5", TOOL_DEADLINE_SECONDS])
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", machine_path())
        .envs(environment.iter().copied())
        // What a tool drops where it stands doesn't belong into the source.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap_or_else(|error| panic!("timeout {}: {error}", program.display()));
    let late = output.status.code() == Some(124);
    assert!(!late, "{} {arguments:?} took too long", program.display());
    output
}

/// Runs a tool that must succeed and answers its stdout.
pub fn run_ok(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(program, arguments, environment);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}{}",
        program.display(),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn machine_path() -> String {
    std::env::var("PATH").expect("PATH is set")
}

/// What a child has written so far, collected by a thread, and waited on without polling.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

impl Log {
    pub fn collect(stream: impl Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let writer = log.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                writer.change(|written| written.text.push_str(&text(&line)));
                line.clear();
            }
            writer.change(|written| written.ended = true);
        });
        log
    }

    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// The first line, past or to come, that is `wanted`; none if the child ends or `limit`
    /// passes before.
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let missing =
            |written: &mut Written| !written.ended && first_line(written, &wanted).is_none();
        let (written, changed) = &*self.0;
        let guard = written.lock().unwrap();
        let (guard, _) = changed.wait_timeout_while(guard, limit, missing).unwrap();
        first_line(&guard, &wanted)
    }

    fn change(&self, how: impl FnOnce(&mut Written)) {
        how(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }
}

/// Only whole lines count: half a line may lack the part the caller reads next.
fn first_line(written: &Written, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let whole = &written.text[..written.text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().find(|line| wanted(line)).map(str::to_owned)
}
