//! Serves charts over HTTP. No other room listens or knows `tiny_http`, and a GET of an index never
//! sends a request to the registry itself.
//!
//! `tiny_http` 0.12 lends us its HTTP types, but the listening loop is our own. The crate's was
//! measured, a thread per request, while a normal client sent 20 requests a second during each attack
//! (two cores, loopback):
//!
//! | attack | the crate's own loop | this one (`make attack`) |
//! |---|---|---|
//! | 10,000 idle connections | 36 % answered, then deaf | 100 %, p99 3 to 10 ms, 20 MB |
//! | 8 endless request heads | 2,360 MB | 100 %, 4 MB |
//! | 2,000 clients that never read | 93 %, p99 1.7 s | 100 %, p99 4 to 39 ms, 24 MB; 64 MB beside a full cache |
//! | four clients pipelining | 16 %, 16,000 threads, 1.5 GB | 100 %, 4 MB |
//! | one huge `Content-Length` | the process aborts | 100 % |
//! | 256 descriptors or 60 threads | 15 %, then deaf | 100 % |
//!
//! Its `accept` loop ends for ever at the first error; nothing times out; and it can't cut a
//! connection, so that a download whose upstream fails in the middle hangs or, chunked, looks
//! complete. That can't be changed from outside the crate.
//!
//! One thread accepts. Each connection ([`connection`]) has a thread of its own ([`threads`]), an entry
//! in a table ([`connections`]), and deadlines for what it reads ([`request`]) and writes
//! ([`response`]). A full table evicts the connections that wait longest or have stalled, never one
//! that moves. Downloads at a time and archives in memory are bounded too ([`downloads`]). `make attack`
//! checks every row above.

mod access;
mod address;
mod api;
mod archive;
mod blocks;
mod client;
mod connection;
mod connections;
mod downloads;
mod flight;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod html;
mod metadata_file;
mod metrics;
mod page;
mod request;
mod respond;
mod response;
mod route;
mod stuck;
mod threads;
mod writer;

pub use address::Addressing;
pub use metadata_file::{MAX_METADATA_FILE, MetadataFile};

use crate::refresh::Current;
use crate::storage::Storage;
use connections::{ConnectionTable, TableEntry};
use downloads::Downloads;
use metadata_file::RepositoryMetadata;
use request::ReadLimits;
use respond::Responder;
use response::Response;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs,
};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use threads::{Job, Threads};

/// Connections that the kernel holds for us until we accept them.
const BACKLOG: i32 = 1024;
/// What the kernel buffers for one client, in bytes: with a thousand that don't read, a quarter of a
/// gigabyte instead of four.
const SEND_BUFFER: usize = 256 * 1024;
/// Pause after an `accept` that failed, and between attempts to get a thread: an evicted connection
/// needs a moment to give back what it holds.
const PAUSE: Duration = Duration::from_millis(2);
/// How often a thread is asked for before a connection is given up: for as long as an evicted one may
/// take to leave.
const ATTEMPTS: u32 = 150;

/// How charts are served.
pub struct ServerOptions {
    /// Address to listen on; none means all, of both families where the kernel has both.
    pub listen_host: Option<String>,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Where clients find it.
    pub addressing: Addressing,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How many bytes of archives are kept in memory.
    pub chart_cache_size: usize,
    /// Whether each request is logged.
    pub log_requests: bool,
    /// The origin whose pages may read all responses but those to probes, or `*` for any.
    pub cors_allow_origin: Option<String>,
    /// What `artifacthub-repo.yml` holds, if not what the storage has.
    pub artifacthub_repo: Option<Box<MetadataFile>>,
}

/// A listening server.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<ConnectionTable>,
    threads: Threads,
    responder: Arc<Responder>,
}

impl Server {
    /// Listens. An error names the flags.
    pub fn bind(
        options: ServerOptions,
        current: Arc<Current>,
        storage: Arc<dyn Storage>,
    ) -> io::Result<Server> {
        let (host, port) = (options.listen_host.as_deref(), options.port);
        let listener = listen(host, port).map_err(|error| {
            let host = host.unwrap_or("all addresses");
            let text =
                format!("can't listen on {host}, port {port} (--listen-host, --port): {error}");
            io::Error::new(error.kind(), text)
        })?;
        // Each connection needs one; a soft limit below the hard one is for programs that use select.
        let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
        let connections = Arc::new(ConnectionTable::new(descriptors));
        Ok(Server {
            address: listener.local_addr()?,
            listener,
            connections: connections.clone(),
            threads: Threads::default(),
            responder: Arc::new(Responder {
                current,
                downloads: Downloads::new(storage, options.chart_cache_size, connections.clone()),
                connections,
                in_flight: Arc::default(),
                read_limits: ReadLimits::new(options.idle_timeout),
                addressing: options.addressing,
                log_requests: options.log_requests,
                cors_allow_origin: options.cors_allow_origin,
                repository_metadata: RepositoryMetadata::new(options.artifacthub_repo),
            }),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until [`Server::drain`]. No failure ends it.
    pub fn run(&self) {
        while !self.connections.is_stopping() {
            match self.listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer.ip().to_canonical()),
                // The client has closed the connection already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.connections.is_stopping() => {}
                Err(error) => {
                    log::debug!("accept: {error}");
                    self.connections.shrink();
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Cuts off the clients whose responses have made no progress for minutes.
    pub fn watch(&self, now: Instant) {
        stuck::cut_stuck(&self.connections, now);
    }

    /// Takes no more requests and waits up to `grace` for the responses under way; whether all ended.
    pub fn drain(&self, grace: Duration) -> bool {
        self.connections.stop();
        // Ends `accept`, and lets the kernel refuse new connections rather than keep them waiting.
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
            log::debug!("the listening socket can't be shut down: {error}");
        }
        self.connections.drain(grace)
    }

    fn admit(&self, stream: TcpStream, peer: IpAddr) {
        match self.connections.enter(stream, peer) {
            Ok(entry) => self.serve(entry),
            Err(_) if self.connections.is_stopping() => {}
            Err(stream) => {
                let response = Response::text(503, "too many connections").retry_later();
                let _ = response.send_at_once(&stream);
            }
        }
    }

    /// Gives the connection to a thread, and evicts others as long as the system has none.
    fn serve(&self, entry: TableEntry) {
        let responder = self.responder.clone();
        let mut job: Job = Box::new(move || {
            let _ = connection::serve(&entry, &responder);
        });
        for _ in 0..ATTEMPTS {
            job = match self.threads.give(job) {
                Ok(()) => return,
                Err(job) => job,
            };
            self.connections.shrink();
            thread::sleep(PAUSE);
        }
        log::warn!("no thread for a connection: it is closed");
    }
}

fn listen(host: Option<&str>, port: u16) -> io::Result<TcpListener> {
    match host {
        Some(host) => {
            let mut result = Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
            for address in addresses(host, port)? {
                result = listen_on(address);
                if result.is_ok() {
                    break;
                }
            }
            result
        }
        None => listen_on((Ipv6Addr::UNSPECIFIED, port).into())
            .or_else(|_| listen_on((Ipv4Addr::UNSPECIFIED, port).into())),
    }
}

/// Accepted connections inherit what is set here, which saves a few calls for each.
fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The addresses that `host` stands for; an IPv6 address may stand in brackets.
fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    (bare, port).to_socket_addrs().map(Iterator::collect)
}
