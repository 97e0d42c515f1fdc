//! The only room that listens, and that knows `tiny_http`; a GET of an index never dials out itself.
//!
//! Confession: `tiny_http` 0.12 writes our response heads and lends us its HTTP types, but the
//! listening loop is our own from the start. The crate's cannot cut a connection, so a download
//! whose upstream fails in the middle would either hang the client or, chunked, look complete: a
//! chart archive that doesn't match its digest must do neither. (Its loop also ends for ever at the
//! first failed `accept`, aborts the process on a huge `Content-Length`, and never times out.)
//!
//! The shape: one thread accepts; each connection has a thread of its own, a place in a table, and
//! deadlines; a full house shows the longest idle one to the door.

mod connections;
mod door;
mod head;
mod respond;
mod route;

use crate::snapshot::Current;
use crate::storage::Storage;
use connections::Connections;
use respond::Responder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Most connections at a time: each costs a descriptor, a thread and some 20 KB, and the usual
/// limit of descriptors is 1,024 to share with the registry's side.
const MAX_CONNECTIONS: usize = 900;
/// Stack of a connection's thread, in bytes: room for a TLS handshake with the registry. Memory is
/// used as it's touched.
const STACK: usize = 512 * 1024;
/// Pause after an `accept` that failed: descriptors or memory have run out, and someone must leave
/// first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How long the call may take that wakes our own `accept`.
const WAKE: Duration = Duration::from_millis(200);

/// A listening server.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<Connections>,
    responder: Arc<Responder>,
}

impl Server {
    /// Listens on `host`, or on all addresses of both families where the kernel has both. An error
    /// names the flags.
    pub fn bind(
        host: Option<&str>,
        port: u16,
        current: Arc<Current>,
        storage: Arc<dyn Storage>,
    ) -> io::Result<Server> {
        let listener = listen(host, port).map_err(|error| {
            let host = host.unwrap_or("all addresses");
            let text = format!("can't listen on {host}, port {port} (--listen-host, --port): {error}");
            io::Error::new(error.kind(), text)
        })?;
        let address = listener.local_addr()?;
        let responder = Arc::new(Responder { current, storage });
        Ok(Server { listener, address, connections: Arc::default(), responder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until [`Server::drain`]. No failure ends it.
    pub fn run(&self) {
        while !self.connections.is_stopping() {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    crate::debug!("accept: {error}");
                    self.connections.evict();
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Takes no more requests and waits up to `grace` for the answers under way; whether all ended.
    pub fn drain(&self, grace: Duration) -> bool {
        let drained = self.connections.drain(grace);
        let local = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        // `accept` returns for nothing less than a connection.
        let _ = TcpStream::connect_timeout(&SocketAddr::new(local, self.address.port()), WAKE);
        drained
    }

    fn admit(&self, stream: TcpStream) {
        let stream = Arc::new(stream);
        // Without a place, or a thread, the stream is dropped, which hangs up.
        let Some(place) = self.connections.enter(stream.clone(), MAX_CONNECTIONS) else {
            return;
        };
        let responder = self.responder.clone();
        let serve = move || {
            let _ = door::serve(&stream, &place, &responder);
        };
        if let Err(error) = thread::Builder::new().name("connection".into()).stack_size(STACK).spawn(serve) {
            crate::warn!("no thread for a connection: {error}");
            self.connections.evict();
        }
    }
}

fn listen(host: Option<&str>, port: u16) -> io::Result<TcpListener> {
    match host {
        Some(host) => TcpListener::bind(&addresses(host, port)?[..]),
        None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))),
    }
}

/// The addresses that `host` stands for; an IPv6 address may stand in brackets.
fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    (bare, port).to_socket_addrs().map(Iterator::collect)
}
