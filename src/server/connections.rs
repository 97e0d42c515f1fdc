//! Which connections are open and what each is doing, so that a full house can show the one to the
//! door that has been idle longest, and a shutdown knows whom it waits for.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or in the middle of a head.
    Waiting,
    /// An answer is being found or sent.
    Answering,
}

struct Connection {
    stream: Arc<TcpStream>,
    phase: Phase,
    since: Instant,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
    stopping: bool,
}

/// The table of open connections.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    changed: Condvar,
}

impl Connections {
    /// Notes a new connection; it's forgotten when the place is dropped, whatever happens. `None`
    /// when the house is full of connections that are all being answered, or closing.
    pub(super) fn enter(self: &Arc<Self>, stream: Arc<TcpStream>, most: usize) -> Option<Place> {
        let mut open = self.lock();
        if open.stopping || (open.connections.len() >= most && !open.evict()) {
            return None;
        }
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Connection { stream, phase: Phase::Waiting, since: Instant::now() });
        Some(Place { connections: self.clone(), id })
    }

    /// Shows the longest idle one to the door; whether there was one.
    pub(super) fn evict(&self) -> bool {
        self.lock().evict()
    }

    /// Whether no new request is to be begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Hangs up on everyone who waits, lets no one in any more, and waits up to `grace` for the
    /// answers under way; whether all of them ended.
    pub(super) fn drain(&self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut open = self.lock();
        open.stopping = true;
        while open.evict() {}
        while !open.connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            open = self.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn evict(&mut self) -> bool {
        let waiting = self.connections.iter().filter(|(_, connection)| connection.phase == Phase::Waiting);
        let Some(id) = waiting.min_by_key(|(_, connection)| connection.since).map(|(id, _)| *id) else {
            return false;
        };
        // Its thread notices and leaves; the entry goes now, so that nobody waits for that.
        if let Some(connection) = self.connections.remove(&id) {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        true
    }
}

/// A connection's place in the table.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
}

impl Place {
    /// Notes what the connection does now; whether it still has its place.
    pub(super) fn set(&self, phase: Phase) -> bool {
        let mut open = self.connections.lock();
        let stopping = open.stopping;
        match open.connections.get_mut(&self.id) {
            Some(connection) if !(stopping && phase == Phase::Waiting) => {
                connection.phase = phase;
                connection.since = Instant::now();
                true
            }
            _ => false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.id);
        self.connections.changed.notify_all();
    }
}
