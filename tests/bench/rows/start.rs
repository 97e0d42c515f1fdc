//! From the start of the process to its first answer.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Line, Setting, Spread, Table};
use crate::charts::Shape;
use crate::children::{address, free_port};
use crate::load;
use crate::synthetic::Synthetic;
use crate::table::Goal;

const ROUNDS: usize = 20;
/// Between two attempts: each takes processor time from the daemon that is measured.
const PAUSE: Duration = Duration::from_millis(1);
/// When it's no start any more.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = Synthetic::start(Shape::new(10, 10));
    let times = (0..ROUNDS).map(|_| first_answer(setting, &[&registry.flag()], "/livez"));
    table.add(&Line {
        what: "start to first answer of /livez".into(),
        ours: format!("{ROUNDS} starts"),
        beside: String::new(),
        measured: Spread::of(times),
        unit: "ms",
        goal: Goal::AtMost(20.0),
    });
}

/// Milliseconds from the start of a daemon with these flags to its first answer of 200 for `path`.
pub(super) fn first_answer(setting: &Setting, flags: &[&str], path: &str) -> f64 {
    let port = free_port();
    // Nobody between us and it, as everywhere else, for that would be measured as well.
    let mut command = Command::new(&setting.daemon);
    command.args([&format!("--port={port}"), "--listen-host=127.0.0.1"]);
    command.args(flags);
    command.env_clear();
    let began = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run the daemon");
    let _ended = Ended(child);
    loop {
        match load::get(address(port), path, &[]) {
            Ok(answer) if answer.status == 200 => return began.elapsed().as_secs_f64() * 1e3,
            _ => assert!(began.elapsed() < PATIENCE, "no answer within {PATIENCE:?}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends the process when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
