//! oci-chartrepo serves the Helm charts of an OCI registry as a classic chart repository.
//!
//! *One room dials out, one room listens, one room is bilingual, two rooms are dictionaries, and
//! what readers see is immutable and swapped whole.*
//!
//! ```text
//!  argv ─ args ─ config ──┐                                observe (log): on the bank, calls no one
//!  dockerconfigjson ─ credentials
//!                         ▼
//!   upstream        ┌─ storage ──────────┐
//!   OCI registry ──▶│ registry/ (dials)  │─ walk ─▶ snapshot ─ render ─▶ index bytes ─▶ server/ ──▶ helm
//!   OCI layout   ──▶│ layout/   (reads)  │
//!   *.tgz folder ──▶│ archives/ (reads)  │
//!                   └────────────────────┘   oci + helm dictionaries      │  GET /index.yaml (never dials)
//!                              ▲                                          └─ GET /charts/N-V.tgz
//!                              └──────────── blob(repository, digest) ───────┘
//! ```
//!
//! Data flows one way. A refresh thread walks the storage and swaps in a new [`snapshot::Snapshot`];
//! requests read the one in force. What a room may use is written down in `tests/tidy.rs`.

#![warn(missing_docs)]

pub mod archives;
pub mod args;
pub mod config;
pub mod credentials;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod helm;
pub mod inventory;
pub mod layout;
pub mod observe;
pub mod oci;
mod pacing;
pub mod refresh;
pub mod registry;
pub mod representation;
pub mod server;
pub mod snapshot;
pub mod storage;
mod sync;

use archives::Archives;
use config::{Config, StorageChoice};
use layout::Layout;
use refresh::{Current, Timing};
use registry::Registry;
use server::Server;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;
use storage::Storage;

/// The longest pause after refreshes that failed: one that is down is asked politely.
const REGISTRY_PAUSE: Duration = Duration::from_secs(30);
/// The same of a directory, which doesn't mind.
const DIRECTORY_PAUSE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then lets running downloads end.
///
/// Errors when the port can't be had, or the system gives no signals or threads at the start.
pub fn run(config: Config) -> io::Result<()> {
    observe::log::init(config.log_level);
    let ended = watch_signals()?;
    let Config {
        max_stale,
        max_wait,
        refresh_interval: interval,
        ..
    } = config;
    // To check a tag again costs a request to a registry, and next to nothing in a directory.
    let (check_interval, longest_pause) = match config.storage {
        StorageChoice::Registry(_) => (Some(interval), REGISTRY_PAUSE),
        StorageChoice::Layout(_) | StorageChoice::Local(_) => (None, DIRECTORY_PAUSE),
    };
    let storage = open(config.storage);
    let timing = Timing {
        max_stale,
        max_wait,
        interval,
        check_interval,
        longest_pause,
    };
    let current = Arc::new(Current::new(timing));
    let host = config.listen_host.as_deref();
    let server = Server::bind(
        host,
        config.port,
        current.clone(),
        storage.clone(),
        config.chart_cache_size,
    )?;
    let server = Arc::new(server);
    log::info!("oci-chartrepo {} starts", env!("CARGO_PKG_VERSION"));
    log::info!("listening on http://{}", server.address());
    spawn("refresh", {
        let current = current.clone();
        move || current.run(&*storage, config.scan)
    })?;
    spawn("accept", {
        let server = server.clone();
        move || server.run()
    })?;

    let signal = ended.recv().unwrap_or("the end of the signal thread");
    log::info!(
        "{signal} received: no new requests, running downloads have {:?}",
        config.shutdown_grace
    );
    current.stop();
    if !server.drain(config.shutdown_grace) {
        log::warn!("the grace is over, running downloads are cut off");
    }
    log::info!("stopped");
    Ok(())
}

/// Walks once and writes the index to stdout.
///
/// Errors when there's no telling whether the index would be whole: who publishes it would take charts
/// away from everyone.
pub fn index(config: Config) -> io::Result<()> {
    observe::log::init(config.log_level);
    let snapshot = refresh::once(&*open(config.storage), config.scan)
        .map_err(|error| io::Error::other(format!("{error:#}")))?;
    io::stdout().write_all(&snapshot.index().identity().bytes)
}

fn open(choice: StorageChoice) -> Arc<dyn Storage> {
    match choice {
        StorageChoice::Registry(options) => Arc::new(registry(options)),
        StorageChoice::Layout(directory) => Arc::new(Layout::new(directory)),
        StorageChoice::Local(directory) => Arc::new(Archives::new(directory)),
    }
}

fn registry(options: registry::RegistryOptions) -> Registry {
    if options.tls.insecure {
        log::warn!(
            "certificates of the registry are not checked (--storage-registry-insecure-skip-tls-verify)"
        );
    }
    if options.credentials.current().0.needs_helper {
        log::warn!(
            "--storage-registry-config leaves credentials to a helper program, which can't be run here: \
             only those in the file itself are used"
        );
    }
    Registry::new(options)
}

/// Tells of the first SIGTERM or SIGINT; the second ends the process at once. Set up before anything
/// else runs, for as PID 1 a signal without a handler is ignored, and while there still is a thread
/// to be had.
fn watch_signals() -> io::Result<Receiver<&'static str>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (tell, told) = mpsc::channel();
    spawn("signals", move || {
        let mut coming = signals.forever();
        let first = coming.next();
        let _ = tell.send(if first == Some(SIGINT) {
            "SIGINT"
        } else {
            "SIGTERM"
        });
        if coming.next().is_some() {
            std::process::exit(1);
        }
    })?;
    Ok(told)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map(drop)
}
