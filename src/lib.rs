//! oci-chartrepo serves the Helm charts of an OCI registry as a classic chart repository.
//!
//! ```text
//!  argv ─ args ─ config                                        observe (log): called by all, calls nothing
//!  dockerconfigjson ─ credentials
//!                         ▼
//!   upstream        ┌─ storage ──────────────┐
//!   OCI registry ──▶│ registry/   over HTTP  │   refresh/ decides when        server/ ──▶ helm, Rancher, Argo CD
//!   OCI layout   ──▶│ layout/     from disk  │──▶ inventory/ ──▶ snapshot/ ──▶  GET /index.yaml (never dials)
//!   *.tgz folder ──▶│ archives/   from disk  │    what is known   immutable     GET /charts/NAME-VERSION.tgz
//!                   └────────────────────────┘                                  (streams a blob by digest)
//!                              ▲
//!                              └───────── blob(repository, digest) ─────────────┘
//! ```
//!
//! Data flows one way. The inventory is mutable and has one owner, the refresh thread. A snapshot is
//! immutable, built from the inventory, and swapped whole. Requests only read the snapshot in force.
//! `oci`, `helm` and `representation` are pure: no I/O and no clock. `tests/tidy.rs` holds which room may
//! use which.
//!
//! # Glossary
//!
//! From the OCI specifications: *repository name*, *tag*, *reference* (a tag or a digest), *digest*,
//! *descriptor*, *manifest*, *image index*, *config blob*, *layer*; the *catalog* is the listing at
//! `/v2/_catalog` alone. From Helm: *chart version*, *index*, *entries*, *chart archive* (`.tgz`),
//! *provenance file* (`.prov`), *chart repository* (what we serve). From HTTP: *challenge*, *realm*, *scope*,
//! *ETag*, *content coding*. Ours:
//!
//! | word | meaning |
//! |---|---|
//! | storage | where charts are read from: a registry, or a directory |
//! | scan | one pass over the storage: repositories, tags, manifests, config blobs |
//! | refresh | a scan that lists everything and reads what is new |
//! | check | asking of a known tag whether it still names the same manifest |
//! | inventory | what the storage holds, as far as it is known |
//! | artifact | what a manifest stands for: a chart, or the reason why it isn't one |
//! | skipped | a repository or tag that is not listed, and why |
//! | due | the time has come to check a tag |
//! | back-off | the time until something that failed is tried again |
//! | paused | the registry asked for no requests until a time; they are not sent |
//! | snapshot | what is served, as of one scan |
//! | mirror | what is kept of a registry on disk, for a restart without it |
//! | shadowed | not listed, because another chart has the same archive name and precedence |
//! | page | a response that is rendered when it is first asked for |
//! | gap | the place in a page for people of what differs by the request, such as the address |
//! | gate, pass | a bound on how many do something at once, and the right to be one of them |

#![warn(missing_docs)]

pub mod archives;
pub mod args;
mod budget;
pub mod config;
pub mod credentials;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod helm;
pub mod inventory;
pub mod layout;
pub mod mirror;
pub mod observe;
pub mod oci;
mod pacing;
pub mod refresh;
pub mod registry;
pub mod representation;
pub mod server;
pub mod snapshot;
mod sorting;
pub mod storage;
mod sync;
mod system;

use archives::Archives;
use config::{Config, StorageChoice};
use layout::Layout;
use mirror::Mirror;
use refresh::{Current, Timing};
use registry::Registry;
use server::Server;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use storage::Storage;

/// The longest pause after refreshes that failed and that no request wants: a registry that is down is
/// asked politely.
const REGISTRY_PAUSE: Duration = Duration::from_secs(30);
/// The same of a directory, which doesn't mind.
const DIRECTORY_PAUSE: Duration = Duration::from_secs(2);

/// How often it is looked whether a refresh ends, and whether responses make progress.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, then lets running downloads end.
///
/// Errors when the port can't be had, or the system gives no signals or threads at the start.
pub fn run(config: Config) -> io::Result<()> {
    system::keep_little_free_memory();
    start_log(&config)?;
    system::wake_without_interrupting();
    let ended = watch_signals()?;
    let interval = config.refresh_interval;
    // To check a tag again costs a request to a registry, and next to nothing in a directory.
    let (check_interval, longest_pause) = match config.storage {
        StorageChoice::Registry(..) => (Some(interval), REGISTRY_PAUSE),
        StorageChoice::Layout(_) | StorageChoice::Local(_) => (None, DIRECTORY_PAUSE),
    };
    let (storage, mirror) = open(config.storage)?;
    let current = Arc::new(Current::new(Timing {
        max_stale: config.max_stale,
        max_wait: config.max_wait,
        interval,
        check_interval,
        longest_pause,
    }));
    let server = Server::bind(config.server, current.clone(), storage.clone())?;
    let server = Arc::new(server);
    log::info!("oci-chartrepo {} starts", env!("CARGO_PKG_VERSION"));
    log::info!("listening on http://{}", server.address());
    spawn("refresh", {
        let current = current.clone();
        move || current.run(&*storage, config.scan)
    })?;
    if let Some(mirror) = mirror {
        spawn("mirror", move || mirror.run())?;
    }
    spawn("accept", {
        let server = server.clone();
        move || server.run()
    })?;

    let mut warned = Duration::ZERO;
    let signal = loop {
        match ended.recv_timeout(WATCH_INTERVAL) {
            Ok(signal) => break signal,
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                warned = current.watch(warned, now);
                server.watch(now);
            }
            Err(RecvTimeoutError::Disconnected) => break "a signal",
        }
    };
    log::info!(
        "{signal} received: no new requests; running downloads have {:?} to end",
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
    start_log(&config)?;
    watch_scan()?;
    let (storage, _) = open(config.storage)?;
    let snapshot = refresh::once(&*storage, config.scan).map_err(failed)?;
    let index = snapshot.index().identity();
    index.content.write(&mut io::stdout())
}

/// Walks once, and fetches everything that is listed to the mirror's directory.
///
/// Errors with all that is missing there in the end.
pub fn mirror(config: Config) -> io::Result<()> {
    start_log(&config)?;
    watch_scan()?;
    let (storage, mirror) = open(config.storage)?;
    let scanned = refresh::once(&*storage, config.scan);
    let missing = mirror.map_or_else(Vec::new, |mirror| mirror.complete());
    let snapshot = match (scanned, &*missing) {
        (Ok(snapshot), []) => snapshot,
        (Err(error), []) => return Err(failed(error)),
        (scanned, _) => {
            let mut text = match missing.len() {
                1 => "1 file is missing in the mirror".to_owned(),
                many => format!("{many} files are missing in the mirror"),
            };
            for line in missing
                .into_iter()
                .chain(scanned.err().map(|error| format!("{error:#}")))
            {
                text += &format!("\n  {line}");
            }
            return Err(io::Error::other(text));
        }
    };
    log::info!("the mirror is complete: {}", snapshot.counts);
    Ok(())
}

/// Warns while a command takes very long, as on a file system that hangs, for as long as the process lives.
fn watch_scan() -> io::Result<()> {
    spawn("watch", || {
        let (began, mut pause) = (Instant::now(), refresh::VERY_LONG);
        loop {
            thread::sleep(pause);
            pause = began.elapsed();
            log::warn!("this has been under way for {} s", pause.as_secs());
        }
    })
}

fn start_log(config: &Config) -> io::Result<()> {
    observe::log::init(config.log_level, config.log_format)?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    observe::process::warn_of_limits();
    Ok(())
}

fn failed(error: storage::Error) -> io::Error {
    io::Error::other(format!("{error:#}"))
}

/// A storage, and the mirror in it, if there is one.
type Opened = (Arc<dyn Storage>, Option<Arc<Mirror>>);

fn open(choice: StorageChoice) -> io::Result<Opened> {
    let storage: Arc<dyn Storage> = match choice {
        StorageChoice::Registry(options, None) => Arc::new(registry(*options)),
        StorageChoice::Registry(options, Some(mirror)) => {
            let mirror = Arc::new(Mirror::open(Arc::new(registry(*options)), mirror)?);
            return Ok((mirror.clone(), Some(mirror)));
        }
        StorageChoice::Layout(directory) => Arc::new(Layout::new(directory)),
        StorageChoice::Local(directory) => Arc::new(Archives::new(directory)),
    };
    Ok((storage, None))
}

fn registry(options: registry::RegistryOptions) -> Registry {
    if options.tls.is_insecure {
        log::warn!(
            "certificates of the registry are not checked (--storage-registry-insecure-skip-tls-verify)"
        );
    }
    for complaint in options.credentials.complaints() {
        log::warn!("{complaint}");
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
        let is_int = coming.next() == Some(SIGINT);
        let _ = tell.send(if is_int { "SIGINT" } else { "SIGTERM" });
        if coming.next().is_some() {
            observe::log::flush();
            std::process::exit(1);
        }
    })?;
    Ok(told)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    thread.spawn(work).map(drop)
}
