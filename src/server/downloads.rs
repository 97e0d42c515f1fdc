//! From a blob's descriptor to its bytes: out of memory, or by a download that all clients share
//! which want it at that time, or as a stream of one client's own. Nothing is kept in memory that
//! hasn't been verified, and no failure is.
//!
//! An archive in memory is counted from before its first byte is asked for until its last reader has
//! it, and the sum never exceeds `--chart-cache-size`. Where that leaves no room, even after all
//! archives are evicted that no client reads, the archive is streamed: slow readers can fill the
//! cache, but not the memory.

use super::blocks::{BLOCK, BlockMemory, Buffer, blocks_for};
use super::client::Connection;
use super::connections::ConnectionTable;
use super::response::{ArchiveStream, Response, ResponseBody, SentFile};
use crate::observe::metrics;
use crate::oci::{Blob, Digest, RepositoryName, Verifying};
use crate::storage::{ErrorKind, Exactly, Storage};
use crate::sync::{Gate, GateLimits, Lru, Once, Pass, lock};
use std::fmt::Display;
use std::io::{self, Read};
use std::net::IpAddr;
use std::ops::Range;
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
/// How often it looks meanwhile for a download that can make room: a client is judged every 5 s.
const LOOKS: u32 = 5;
/// Most requests that wait for downloads of others; further ones wait until they may download
/// themselves. Each holds a connection too.
const MAX_SHARING: usize = 192;
/// How long they wait. The registry's own deadlines, for a connection and an answer, end before.
const SHARED: Duration = Duration::from_secs(60);
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
    connections: Arc<ConnectionTable>,
    memory: Arc<BlockMemory>,
    /// Memory is taken under its lock only. Weights are in blocks.
    cache: Mutex<Lru<Digest, Arc<Buffer>>>,
    running: Once<Digest, Outcome>,
}

/// What a request wants.
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) blob: &'a Blob,
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
    /// The request that would have led it had to wait for its turn: each waits for its own.
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

impl Refusal {
    /// Says what failed, but not in the registry's words: they are in the log, because the client may not
    /// be meant to know where the charts come from.
    pub(super) fn response(self) -> Response {
        let (status, what) = match self {
            Refusal::Busy => {
                return Response::text(503, "too many downloads at once").retry_later();
            }
            Refusal::Storage(ErrorKind::NotFound) => {
                let text = "this chart version is listed, but gone from where it was stored";
                return Response::text(404, text);
            }
            Refusal::Storage(ErrorKind::TimedOut) => (504, "did not answer in time"),
            Refusal::Storage(ErrorKind::Refused) => (502, "refused to hand it out"),
            Refusal::Storage(ErrorKind::Paused) => (502, "takes no requests for now"),
            Refusal::Storage(ErrorKind::Unavailable) => (502, "can't be reached or fails"),
            Refusal::Storage(ErrorKind::Invalid) => (502, "gave an invalid answer"),
        };
        let text = format!("the registry behind this chart repository {what}");
        Response::text(status, text)
    }
}

impl Downloads {
    /// Downloads from `storage`, with at most `cache_size` bytes in memory.
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        cache_size: usize,
        connections: Arc<ConnectionTable>,
    ) -> Downloads {
        let memory = BlockMemory::new(cache_size);
        Downloads {
            storage,
            gate: Gate::new(LIMITS),
            connections,
            cache: Mutex::new(Lru::new(memory.most())),
            memory,
            running: Once::new(MAX_SHARING),
        }
    }

    /// The storage, and the right to ask it for something small as long as the pass lasts.
    pub(super) fn storage(
        &self,
        connection: &Connection,
    ) -> Result<(&dyn Storage, Pass<IpAddr>), Refusal> {
        Ok((&*self.storage, self.enter(connection)?))
    }

    /// How a chart is added to the storage.
    pub(super) fn how_to_add(&self) -> &'static str {
        self.storage.how_to_add()
    }

    /// How many downloads are under way, and how many bytes of archives are in memory.
    pub(super) fn in_use(&self) -> (usize, usize) {
        let blocks = self.memory.most() - self.memory.free();
        (self.gate.passed(), blocks * BLOCK)
    }

    /// Whether such a blob is read into memory, if there is room: all others are streamed.
    pub(super) fn is_kept(&self, blob: &Blob) -> bool {
        blob.size <= LARGEST && blocks_for(blob.size) <= self.memory.most()
    }

    /// The wanted bytes: all of them in memory, or a stream.
    pub(super) fn obtain(&self, wanted: &Wanted) -> Result<ResponseBody, Refusal> {
        if let Some(archive) = lock(&self.cache).get(&wanted.blob.digest) {
            metrics::CHART_CACHE.count(&["hit"]);
            return Ok(whole(archive));
        }
        metrics::CHART_CACHE.count(&["miss"]);
        let mut pass = None;
        if self.is_kept(wanted.blob) {
            if let Some(result) = self.share(wanted, &mut pass) {
                return result;
            }
            pass = Some(self.enter(wanted.connection)?);
            if let Some(result) = self.share(wanted, &mut pass) {
                return result;
            }
        }
        self.stream(wanted, pass)
    }

    /// Gets the archive from a download that another request has begun, or by beginning one
    /// that other requests can share. `None` if no shared download could be used; the request may then
    /// wait for a pass and try again.
    fn share(
        &self,
        wanted: &Wanted,
        pass: &mut Option<Pass<IpAddr>>,
    ) -> Option<Result<ResponseBody, Refusal>> {
        let mut own = None;
        let outcome = self.running.get(&wanted.blob.digest, SHARED, || {
            let (outcome, stream) = self.lead(wanted, pass);
            own = stream;
            outcome
        });
        if let Some(stream) = own {
            return Some(Ok(stream));
        }
        match outcome? {
            Outcome::Whole(archive) => Some(Ok(whole(archive))),
            Outcome::Failed(refusal) => Some(Err(refusal)),
            Outcome::Unshared => Some(self.stream(wanted, pass.take())),
            Outcome::NotStarted => None,
        }
    }

    /// Downloads it for all requests that want it, if this one needn't wait for its turn: requests
    /// from other addresses may not have to.
    fn lead(
        &self,
        wanted: &Wanted,
        pass: &mut Option<Pass<IpAddr>>,
    ) -> (Outcome, Option<ResponseBody>) {
        // Another download may have ended since this request looked.
        if let Some(archive) = lock(&self.cache).get(&wanted.blob.digest) {
            return (Outcome::Whole(archive), None);
        }
        let immediate = || self.gate.enter(wanted.connection.client, Duration::ZERO);
        *pass = pass.take().or_else(immediate);
        match pass {
            Some(_) => self.download(wanted, pass),
            None => (Outcome::NotStarted, None),
        }
    }

    /// Downloads it into memory and keeps it there. When that takes too long, what has arrived and
    /// the rest are this request's own stream.
    fn download(
        &self,
        wanted: &Wanted,
        pass: &mut Option<Pass<IpAddr>>,
    ) -> (Outcome, Option<ResponseBody>) {
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
            let own = pass
                .take()
                .map(|pass| stream(wanted, wanted.blob.size, rest, pass));
            return (Outcome::Unshared, own);
        }
        // Lets the connection be used again.
        let _ = source.read(&mut []);
        (Outcome::Whole(self.keep(&wanted.blob.digest, buffer)), None)
    }

    /// Waits for a pass to download. Meanwhile a slow download may be cut to make room. For a client that
    /// hung up while it waited no request is sent.
    fn enter(&self, connection: &Connection) -> Result<Pass<IpAddr>, Refusal> {
        let client = connection.client;
        if let Some(pass) = self.gate.enter(client, Duration::ZERO) {
            return Ok(pass);
        }
        for _ in 0..LOOKS {
            self.connections.evict_stream(client);
            if let Some(pass) = self.gate.enter(client, TURN / LOOKS) {
                return match connection.has_hung_up() {
                    true => Err(Refusal::Busy),
                    false => Ok(pass),
                };
            }
        }
        Err(Refusal::Busy)
    }

    /// Memory for so many bytes, if there is enough, or enough can be freed. An archive that a client
    /// still reads would leave the cache but not the memory, and stays in both.
    fn reserve(&self, length: u64) -> Option<Buffer> {
        let mut cache = lock(&self.cache);
        let missing = blocks_for(length).saturating_sub(self.memory.free());
        let is_idle = |archive: &Arc<Buffer>| Arc::strong_count(archive) == 1;
        let freed = cache.evict(missing, is_idle);
        if freed && missing > 0 {
            metrics::CHART_CACHE_EVICTIONS.count(&[]);
        }
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
        let pass = pass.map_or_else(|| self.enter(wanted.connection), Ok)?;
        let whole = usize::try_from(wanted.blob.size).map(|size| 0..size);
        let file = match whole {
            Ok(whole) => self.file(wanted, whole, pass),
            Err(_) => Err(pass),
        };
        file.or_else(|pass| {
            let source = self.open(wanted)?;
            Ok(stream(wanted, wanted.blob.size, source, pass))
        })
    }

    /// A file that holds the archive, if it needn't be verified; else the pass comes back.
    fn file(
        &self,
        wanted: &Wanted,
        part: Range<usize>,
        pass: Pass<IpAddr>,
    ) -> Result<ResponseBody, Pass<IpAddr>> {
        let name = wanted.file_name.to_owned();
        match self.storage.verified_file(wanted.repository, wanted.blob) {
            Some(file) => Ok(ResponseBody::File(SentFile {
                file,
                part,
                name,
                pass,
            })),
            None => Err(pass),
        }
    }

    /// A part of an archive that is not kept in memory, as it arrives. It can't be verified, because only
    /// the whole has a digest. `If-Range` with that digest makes sure that a client puts together parts of
    /// one archive; what it has in the end it must check itself, as it does when a proxy has sent a part.
    pub(super) fn stream_part(
        &self,
        wanted: &Wanted,
        part: Range<usize>,
    ) -> Result<ResponseBody, Refusal> {
        let pass = self.enter(wanted.connection)?;
        let (start, left) = (part.start as u64, part.len() as u64);
        self.file(wanted, part, pass).or_else(|pass| {
            let rest = self
                .storage
                .blob_from(wanted.repository, wanted.blob, start);
            match rest {
                Ok(source) => Ok(stream(wanted, left, Exactly::new(source, left), pass)),
                Err(error) => Err(refused(wanted, error.kind(), format_args!("{error:#}"))),
            }
        })
    }

    fn open(&self, wanted: &Wanted) -> Result<impl Read + Send + use<>, Refusal> {
        let Blob { digest, size } = wanted.blob;
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

fn stream(
    wanted: &Wanted,
    length: u64,
    source: impl Read + Send + 'static,
    pass: Pass<IpAddr>,
) -> ResponseBody {
    ResponseBody::Stream(ArchiveStream {
        source: Box::new(source),
        length,
        name: wanted.file_name.to_owned(),
        _pass: pass,
    })
}

/// Logs a failure once, where the storage was asked, however many requests share it.
fn refused(wanted: &Wanted, kind: ErrorKind, error: impl Display) -> Refusal {
    let (repository, file) = (wanted.repository.as_str(), wanted.file_name);
    log::warn!(repository = repository, file = file; "{file} can't be served: {error}");
    Refusal::Storage(kind)
}

#[cfg(test)]
mod tests {
    use super::super::connections::TableEntry;
    use super::*;
    use crate::oci::Reference;
    use crate::storage::Error;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Hands out `archive(n)` for its descriptor, and something else of the same length if it lies.
    #[derive(Default)]
    struct Archives {
        lies: bool,
        asked: AtomicUsize,
    }

    impl Storage for Archives {
        fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
            Ok(Vec::new())
        }

        fn tags(&self, _: &RepositoryName) -> Result<Vec<String>, Error> {
            Ok(Vec::new())
        }

        fn manifest(&self, _: &RepositoryName, _: &Reference) -> Result<Vec<u8>, Error> {
            Ok(Vec::new())
        }

        fn blob(&self, _: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>, Error> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_it = |number: &u8| !self.lies && descriptor(*number).digest == blob.digest;
            let number = (0..9).find(is_it).unwrap_or(9);
            Ok(Box::new(io::Cursor::new(archive(number))))
        }
    }

    fn archive(number: u8) -> Vec<u8> {
        vec![number; BLOCK + 1]
    }

    /// What an archive takes of the memory.
    const ONE: usize = 2 * BLOCK;

    fn descriptor(number: u8) -> Blob {
        Blob {
            digest: Digest::sha256(&archive(number)),
            size: archive(number).len() as u64,
        }
    }

    fn table() -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable::new(u64::MAX))
    }

    /// A client's connection, and the client's end of it.
    fn client() -> (TableEntry, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let entry = table().enter(stream, address.ip()).ok().unwrap();
        (entry, client)
    }

    fn obtain(
        downloads: &Downloads,
        number: u8,
        connection: &Connection,
    ) -> Result<ResponseBody, Refusal> {
        downloads.obtain(&Wanted {
            repository: &"team/web".parse().unwrap(),
            blob: &descriptor(number),
            file_name: "web-1.0.0.tgz",
            connection,
        })
    }

    fn in_memory(downloads: &Downloads, number: u8) -> Option<Arc<Buffer>> {
        match obtain(downloads, number, &client().0).unwrap() {
            ResponseBody::Archive(buffer, part) => {
                assert_eq!(
                    buffer.part(part).collect::<Vec<_>>().concat(),
                    archive(number)
                );
                Some(buffer)
            }
            _ => None,
        }
    }

    fn downloads(size: usize) -> (Arc<Archives>, Downloads) {
        let storage = Arc::new(Archives::default());
        (storage.clone(), Downloads::new(storage, size, table()))
    }

    fn take_all_passes(downloads: &Downloads) -> Vec<Pass<IpAddr>> {
        let peer = |n: usize| IpAddr::from([10, 0, 0, n as u8]);
        let enter = |n| downloads.gate.enter(peer(n), Duration::ZERO).unwrap();
        (0..LIMITS.at_once).map(enter).collect()
    }

    #[test]
    fn an_archive_that_is_read_is_counted_and_not_evicted_in_vain() {
        let (storage, downloads) = downloads(2 * ONE);
        let reader = in_memory(&downloads, 1).unwrap();
        let other = in_memory(&downloads, 2).unwrap();
        assert!(in_memory(&downloads, 3).is_none(), "a stream");
        drop(other);
        assert!(in_memory(&downloads, 3).is_some());
        assert!(in_memory(&downloads, 1).is_some());
        assert_eq!(storage.asked.load(Ordering::Relaxed), 4);
        drop(reader);
        assert!(in_memory(&downloads, 4).is_some());
        assert_eq!(downloads.memory.free(), 0);
    }

    #[test]
    fn a_download_that_fails_gives_its_memory_back_and_is_not_kept() {
        let storage = Archives {
            lies: true,
            ..Archives::default()
        };
        let downloads = Downloads::new(Arc::new(storage), ONE, table());
        let result = obtain(&downloads, 1, &client().0);
        assert!(matches!(result, Err(Refusal::Storage(ErrorKind::Invalid))));
        assert_eq!(downloads.memory.free(), 2);
        assert!(lock(&downloads.cache).get(&descriptor(1).digest).is_none());
    }

    #[test]
    fn an_archive_larger_than_the_cache_or_than_four_mebibytes_is_streamed() {
        let (_, all) = downloads(usize::MAX);
        let mut large = descriptor(1);
        large.size = LARGEST;
        assert!(all.is_kept(&large));
        large.size += 1;
        assert!(!all.is_kept(&large));
        assert!(downloads(ONE).1.is_kept(&descriptor(1)));
        assert!(!downloads(ONE - 1).1.is_kept(&descriptor(1)));
        large.size = 0;
        assert!(!downloads(0).1.is_kept(&large));
    }

    #[test]
    fn requests_that_must_wait_for_their_turn_share_a_download_afterwards() {
        let (storage, downloads) = downloads(ONE);
        let passes = take_all_passes(&downloads);
        thread::scope(|scope| {
            let ask = || scope.spawn(|| in_memory(&downloads, 1).is_some());
            let asked = [ask(), ask(), ask()];
            while downloads.gate.waiting() < asked.len() {
                thread::yield_now();
            }
            assert_eq!(storage.asked.load(Ordering::Relaxed), 0);
            drop(passes);
            assert!(
                asked
                    .map(|one| one.join().unwrap())
                    .iter()
                    .all(|in_memory| *in_memory)
            );
        });
        assert_eq!(storage.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_client_that_hung_up_while_it_waited_costs_the_storage_no_request() {
        let (storage, downloads) = downloads(ONE);
        let passes = take_all_passes(&downloads);
        let (connection, client) = client();
        drop(client);
        thread::scope(|scope| {
            let asked = scope.spawn(|| obtain(&downloads, 1, &connection).err());
            while downloads.gate.waiting() == 0 {
                thread::yield_now();
            }
            drop(passes);
            assert!(matches!(asked.join().unwrap(), Some(Refusal::Busy)));
        });
        assert_eq!(storage.asked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_archive_that_comes_slowly_is_what_has_arrived_and_the_rest() {
        let (_, downloads) = downloads(ONE);
        let buffer = downloads.reserve(ONE as u64).unwrap();
        let bytes = archive(1);
        let mut source = &bytes[..];
        let buffer = read_ahead(&mut source, buffer, Duration::ZERO).unwrap();
        assert!(!buffer.is_full() && buffer.len() > 0);
        assert_eq!(downloads.memory.free(), 0);
        let mut all = Vec::new();
        let mut rest = buffer.into_reader().chain(source);
        rest.read_to_end(&mut all).unwrap();
        assert!(all == bytes);
        drop(rest);
        assert_eq!(downloads.memory.free(), 2);
    }
}
