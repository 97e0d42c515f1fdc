//! From a blob's descriptor to its bytes: out of memory, or by a download that all clients share
//! which want it at that time, or as a stream of one client's own. Nothing is kept in memory that
//! hasn't been verified, and no failure is.
//!
//! An archive in memory is counted from before its first byte is asked for until its last reader has
//! it, and the sum never exceeds `--chart-cache-size`. Where that leaves no room, even after all
//! archives are evicted that no client reads, the archive is streamed: slow readers can fill the
//! cache, but not the memory.

use super::blocks::{BlockMemory, Buffer, blocks_for};
use super::connections::Connection;
use super::response::{ArchiveStream, ResponseBody};
use crate::oci::{Descriptor, Digest, RepositoryName, Verifying};
use crate::storage::{ErrorKind, Storage};
use crate::sync::{Gate, GateLimits, Lru, Once, Pass, lock};
use std::fmt::Display;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bounds of downloads. Each holds a connection to the registry and the buffers of both sides, for as
/// long as the slower side takes.
const LIMITS: GateLimits = GateLimits {
    // Some 200 KB each with a registry's connection over TLS: they fit beside a full cache and a full
    // connection table, and are as many as one registry serves well.
    at_once: 48,
    // A few slow readers must not hold all of them; but an ingress is one address too.
    per_key: 36,
    // Each holds a connection, and the table must not be full of them.
    waiting: 448,
};
/// How long a request waits until it may download: a chart passes in less.
const TURN: Duration = Duration::from_secs(10);
/// Most requests that wait for downloads of others; further ones wait until they may download
/// themselves. Each holds a connection too.
const MAX_SHARING: usize = 192;
/// How long they wait: longer than such a download waits for its turn, and then for the registry.
const SHARED: Duration = Duration::from_secs(70);
/// How long an archive is read into memory before it is passed on as it comes. Ingresses close
/// connections on which nothing comes for a minute, and people give up before that.
const READ_AHEAD: Duration = Duration::from_secs(5);
/// Largest archive that is kept, in bytes: hardly any chart is larger, and one that is would evict a
/// hundred others.
const LARGEST: u64 = 4 * 1024 * 1024;

/// All archives that are in memory or on their way.
pub(super) struct Downloads {
    storage: Arc<dyn Storage>,
    gate: Arc<Gate<IpAddr>>,
    memory: Arc<BlockMemory>,
    /// Memory is taken under its lock only. Weights are in blocks.
    cache: Mutex<Lru<Digest, Arc<Buffer>>>,
    running: Once<Digest, Outcome>,
}

/// What a request wants.
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) blob: &'a Descriptor,
    /// The file in the log.
    pub(super) file_name: &'a str,
    pub(super) connection: &'a Connection,
}

/// How a shared download ended.
#[derive(Clone)]
enum Outcome {
    Whole(Arc<Buffer>),
    Failed(Refusal),
    /// It is too slow to wait for, or there is no memory: each client gets a stream of its own.
    Unshared,
    /// The client that led it was not let through the gate.
    NotStarted,
}

/// Why a request gets no archive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// Too many downloads at once.
    Busy,
    /// The storage doesn't hand it out.
    Storage(ErrorKind),
}

impl Downloads {
    /// Downloads from `storage`, with at most `cache_size` bytes in memory.
    pub(super) fn new(storage: Arc<dyn Storage>, cache_size: usize) -> Downloads {
        let memory = BlockMemory::new(cache_size);
        Downloads {
            storage,
            gate: Gate::new(LIMITS),
            cache: Mutex::new(Lru::new(memory.most())),
            memory,
            running: Once::new(MAX_SHARING),
        }
    }

    /// Whether parts of such a blob can be served, because it's read into memory: a stream is sent
    /// whole.
    pub(super) fn has_parts(&self, blob: &Descriptor) -> bool {
        blob.size <= LARGEST && blocks_for(blob.size) <= self.memory.most()
    }

    /// The wanted bytes: all of them in memory, or a stream.
    pub(super) fn obtain(&self, wanted: &Wanted) -> Result<ResponseBody, Refusal> {
        let mut pass = None;
        while self.has_parts(wanted.blob) {
            if let Some(result) = self.share(wanted, &mut pass) {
                return result;
            }
            if pass.is_some() {
                break;
            }
            pass = Some(self.enter(wanted)?);
        }
        self.stream(wanted, pass)
    }

    /// Takes it from memory, or from a download that others have begun, or else begins one for all.
    /// `None` when that came to nothing for this request; it may try again with a pass.
    fn share(
        &self,
        wanted: &Wanted,
        pass: &mut Option<Pass<IpAddr>>,
    ) -> Option<Result<ResponseBody, Refusal>> {
        let digest = &wanted.blob.digest;
        if let Some(archive) = lock(&self.cache).get(digest) {
            return Some(Ok(whole(archive)));
        }
        let mut own = None;
        let outcome = self.running.get(digest, SHARED, || {
            let (outcome, result) = self.lead(wanted, pass);
            own = result;
            outcome
        });
        own.or_else(|| match outcome? {
            Outcome::Whole(archive) => Some(Ok(whole(archive))),
            Outcome::Failed(refusal) => Some(Err(refusal)),
            Outcome::Unshared => Some(self.stream(wanted, pass.take())),
            Outcome::NotStarted => None,
        })
    }

    /// Downloads it for all requests that want it; what comes of it, and the result of this request
    /// if it's another.
    fn lead(
        &self,
        wanted: &Wanted,
        pass: &mut Option<Pass<IpAddr>>,
    ) -> (Outcome, Option<Result<ResponseBody, Refusal>>) {
        // Another download may have ended since this request looked.
        if let Some(archive) = lock(&self.cache).get(&wanted.blob.digest) {
            return (Outcome::Whole(archive), None);
        }
        if pass.is_none() {
            match self.enter(wanted) {
                Ok(entered) => *pass = Some(entered),
                Err(refusal) => return (Outcome::NotStarted, Some(Err(refusal))),
            }
        }
        let Some(buffer) = self.reserve(wanted.blob.size) else {
            return (Outcome::Unshared, None);
        };
        let mut source = match self.open(wanted) {
            Ok(source) => source,
            Err(refusal) => return (Outcome::Failed(refusal), None),
        };
        let buffer = match read_ahead(&mut source, buffer, READ_AHEAD) {
            Ok(buffer) => buffer,
            Err(error) => {
                let refusal = refused(wanted, ErrorKind::from(&error), error);
                return (Outcome::Failed(refusal), None);
            }
        };
        if !buffer.is_full() {
            let rest = buffer.into_reader().chain(source);
            let own = pass.take().map(|pass| Ok(stream(wanted, rest, pass)));
            return (Outcome::Unshared, own);
        }
        // Lets the connection be used again.
        let _ = source.read(&mut []);
        (Outcome::Whole(self.keep(&wanted.blob.digest, buffer)), None)
    }

    /// Lets a request download when it's its turn. A client that hung up while it waited costs the
    /// registry no request.
    fn enter(&self, wanted: &Wanted) -> Result<Pass<IpAddr>, Refusal> {
        let peer = wanted.connection.peer;
        let waited = || {
            let pass = self.gate.enter(peer, TURN);
            pass.filter(|_| !wanted.connection.has_hung_up())
        };
        let pass = self.gate.enter(peer, Duration::ZERO).or_else(waited);
        pass.ok_or(Refusal::Busy)
    }

    /// Memory for so many bytes, if there is enough, or enough can be freed. An archive that a client
    /// still reads would leave the cache but not the memory, and stays in both.
    fn reserve(&self, length: u64) -> Option<Buffer> {
        let mut cache = lock(&self.cache);
        let missing = blocks_for(length).saturating_sub(self.memory.free());
        let is_idle = |archive: &Arc<Buffer>| Arc::strong_count(archive) == 1;
        let freed = cache.evict(missing, is_idle);
        freed.then(|| self.memory.take(length)).flatten()
    }

    /// Its memory is taken already, so no other archive has to leave for it.
    fn keep(&self, digest: &Digest, buffer: Buffer) -> Arc<Buffer> {
        let (blocks, archive) = (buffer.blocks(), Arc::new(buffer));
        lock(&self.cache).insert(digest.clone(), archive.clone(), blocks);
        archive
    }

    /// A stream for one client alone.
    fn stream(&self, wanted: &Wanted, pass: Option<Pass<IpAddr>>) -> Result<ResponseBody, Refusal> {
        let pass = pass.map_or_else(|| self.enter(wanted), Ok)?;
        Ok(stream(wanted, self.open(wanted)?, pass))
    }

    fn open(&self, wanted: &Wanted) -> Result<impl Read + Send + use<>, Refusal> {
        let Descriptor { digest, size, .. } = wanted.blob;
        match self.storage.blob(wanted.repository, wanted.blob) {
            Ok(source) => Ok(Verifying::new(source, digest, *size)),
            Err(error) => Err(refused(wanted, error.kind(), format_args!("{error:#}"))),
        }
    }
}

/// Reads all of `source`, or as much as arrives within `longest`.
///
/// Errors when it ends early, fails, or is not what its digest names.
fn read_ahead(source: &mut impl Read, mut buffer: Buffer, longest: Duration) -> io::Result<Buffer> {
    let deadline = Instant::now() + longest;
    loop {
        match buffer.fill(&mut *source) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ if buffer.is_full() || Instant::now() >= deadline => return Ok(buffer),
            _ => {}
        }
    }
}

fn whole(archive: Arc<Buffer>) -> ResponseBody {
    let length = archive.len();
    ResponseBody::Archive(archive, 0..length)
}

fn stream(wanted: &Wanted, source: impl Read + Send + 'static, pass: Pass<IpAddr>) -> ResponseBody {
    ResponseBody::Stream(ArchiveStream {
        source: Box::new(source),
        length: wanted.blob.size,
        name: wanted.file_name.to_owned(),
        _pass: pass,
    })
}

/// Logs a failure once, where the storage was asked, however many requests share it.
fn refused(wanted: &Wanted, kind: ErrorKind, error: impl Display) -> Refusal {
    log::warn!("{} can't be served: {error}", wanted.file_name);
    Refusal::Storage(kind)
}
