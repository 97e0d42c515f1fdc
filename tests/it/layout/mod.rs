//! Charts with no registry at all: the daemon on OCI image layouts, honest, changing, half-copied
//! and hostile ones.

pub mod clients;
mod copies;
mod demo;
mod flags;
mod freshness;
mod halves;
pub mod hostile;
mod links;
mod no_files;

use crate::support::daemon::Daemon;
use crate::support::served::UNCACHED;

/// A daemon that has walked the layout.
fn daemon_on<const COUNT: usize>(flags: [String; COUNT]) -> Daemon {
    Daemon::start_ready(&flags.each_ref().map(String::as_str))
}

/// One that reads an archive from the directory each time it's asked for it.
fn reading_daemon_on(flags: [String; 2]) -> Daemon {
    let [storage, directory] = flags.each_ref().map(String::as_str);
    Daemon::start_ready(&[storage, directory, UNCACHED])
}

fn index(daemon: &Daemon) -> String {
    let answer = daemon.get("/index.yaml");
    assert_eq!(
        answer.status,
        200,
        "{}; the log:\n{}",
        answer.body_text(),
        daemon.log()
    );
    answer.body_text()
}
