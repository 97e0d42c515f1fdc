//! One client's connection: what it's doing, how fast its client reads, and how it's cut off.
//!
//! A connection's thread notes its phase in one atomic word, without a lock. An eviction changes the
//! same word, so that a connection that has just begun to move is never cut off.

use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A client that takes fewer bytes a second than this is slow: what is faster ends soon by itself.
pub(super) const FAST: u64 = 1024 * 1024;
/// After how many milliseconds a client that holds memory is judged by its pace.
const JUDGED_SOON: u64 = 500;
/// Paces of a stream: there is none; it is not judged yet.
pub(super) const NO_STREAM: u64 = u64::MAX;
pub(super) const UNJUDGED: u64 = u64::MAX - 1;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum ConnectionPhase {
    /// It waits for a request, or for the rest of one.
    Waiting,
    /// A response is being sent.
    Sending,
    /// A response is being made, perhaps with the registry's help.
    Responding,
    /// It was cut off.
    Evicted,
}

const PHASES: [ConnectionPhase; 4] = [
    ConnectionPhase::Waiting,
    ConnectionPhase::Sending,
    ConnectionPhase::Responding,
    ConnectionPhase::Evicted,
];

/// One client's connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The client's address.
    pub(super) peer: IpAddr,
    /// The address whose share it counts for: of IPv6, the network of 64 bits that one client has.
    pub(super) client: IpAddr,
    phase: AtomicU8,
    accepted: Instant,
    /// When it last made progress, in milliseconds since it was accepted.
    progress: AtomicU64,
    /// How many bytes a second its client takes of a download that is streamed to it.
    stream_pace: AtomicU64,
    /// When the response that is being sent began, in milliseconds since the connection was accepted, and
    /// how many bytes of it the client has taken.
    began: AtomicU64,
    sent: AtomicU64,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: IpAddr) -> Connection {
        Connection {
            stream,
            peer,
            client: share_address(peer),
            stream_pace: AtomicU64::new(NO_STREAM),
            began: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            phase: AtomicU8::new(ConnectionPhase::Waiting as u8),
            accepted: Instant::now(),
            progress: AtomicU64::new(0),
        }
    }

    /// Notes what it does from now on, or that it made progress with it.
    ///
    /// Errors when it was evicted.
    pub(super) fn enter(&self, phase: ConnectionPhase) -> io::Result<()> {
        self.progress.store(self.age(), Ordering::Relaxed);
        let next = |now| (now != ConnectionPhase::Evicted as u8).then_some(phase as u8);
        let entered = (self.phase).fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let evicted = |_| io::Error::new(io::ErrorKind::ConnectionAborted, "evicted");
        entered.map(drop).map_err(evicted)
    }

    /// How long ago it was accepted, in milliseconds.
    fn age(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that a response begins.
    pub(super) fn begin_response(&self) {
        self.began.store(self.age(), Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
    }

    /// Notes how many bytes of it the client has taken so far.
    pub(super) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes a second the client has taken of the response so far, if it is slow: what is faster
    /// ends soon by itself.
    pub(super) fn slow_pace(&self) -> Option<u64> {
        let took = self
            .age()
            .saturating_sub(self.began.load(Ordering::Relaxed));
        let pace = self.sent.load(Ordering::Relaxed) * 1000 / took.max(1);
        let is_sending = self.phase() == ConnectionPhase::Sending;
        (is_sending && took >= JUDGED_SOON && pace < FAST).then_some(pace)
    }

    /// Cuts it off in the middle of a response.
    pub(super) fn cut_off(&self) -> bool {
        self.evict(ConnectionPhase::Sending)
    }

    pub(super) fn phase(&self) -> ConnectionPhase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire).min(3))]
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.accepted + Duration::from_millis(self.progress.load(Ordering::Relaxed))
    }

    /// Notes how many bytes a second its client takes of the download that is streamed to it.
    pub(super) fn set_stream_pace(&self, pace: u64) {
        self.stream_pace.store(pace, Ordering::Relaxed);
    }

    pub(super) fn stream_pace(&self) -> Option<u64> {
        let pace = self.stream_pace.load(Ordering::Relaxed);
        (pace != NO_STREAM && self.phase() == ConnectionPhase::Sending).then_some(pace)
    }

    /// Cuts it off if it is still in `phase`; its thread notices and ends.
    pub(super) fn evict(&self, phase: ConnectionPhase) -> bool {
        let (old, new) = (phase as u8, ConnectionPhase::Evicted as u8);
        let swapped = (self.phase).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        if swapped.is_ok() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        swapped.is_ok()
    }

    /// Whether the client has sent something that is still unread: closing now would reset the
    /// connection.
    pub(super) fn has_unread(&self) -> bool {
        self.peek().is_ok_and(|count| count > 0)
    }

    /// Whether the client has hung up. A client that has only ended its own half can't be told from
    /// one that is gone; nginx and Go's server don't try either.
    pub(super) fn has_hung_up(&self) -> bool {
        match self.peek() {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// How much is unread, without waiting and without taking it; 0 at the end of the client's half.
    fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        SockRef::from(&self.stream).recv_with_flags(&mut byte, flags)
    }
}

/// The address whose share a client's connections count for.
pub(super) fn share_address(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
    }
}
