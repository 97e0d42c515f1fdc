//! What an attack is given: the daemon's address, the charts, the end, and counters of connections.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::limits;

/// One attack on one daemon.
pub struct Field {
    pub address: SocketAddr,
    /// How strong the attack is, in the unit of its row.
    pub strength: usize,
    /// The paths of charts that are small.
    pub charts: Vec<String>,
    /// The path of the chart of 5 MB.
    pub large: String,
    over: AtomicBool,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    open: AtomicUsize,
    most_open: AtomicUsize,
    connections: AtomicUsize,
    clients: AtomicUsize,
    wanted: AtomicUsize,
    shortfall: Mutex<Option<String>>,
}

/// How many clients and connections there were.
pub struct Turnout {
    /// Different clients that had a connection.
    pub clients: usize,
    /// How many clients there should be.
    pub wanted: usize,
    /// Most connections at once, as seen from the attackers' side.
    pub at_once: usize,
    /// All connections.
    pub connections: usize,
    /// Why the attack wasn't as strong as it should have been.
    pub shortfall: Option<String>,
}

impl Field {
    pub fn new(address: SocketAddr, strength: usize, charts: Vec<String>, large: String) -> Field {
        Field {
            address,
            strength,
            charts,
            large,
            over: AtomicBool::default(),
            tally: Tally::default(),
        }
    }

    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub fn turnout(&self) -> Turnout {
        Turnout {
            clients: self.tally.clients.load(Relaxed),
            wanted: self.tally.wanted.load(Relaxed),
            at_once: self.tally.most_open.load(Relaxed),
            connections: self.tally.connections.load(Relaxed),
            shortfall: self.shortfall().clone(),
        }
    }

    /// How many of `size` clients this process can have; fewer than wished are noted.
    pub fn affordable(&self, size: usize) -> usize {
        self.tally.wanted.fetch_add(size, Relaxed);
        let most = limits::clients_at_most(size);
        if most < size {
            self.falls_short(format!(
                "this machine's limit of descriptors allows {most} of {size} clients"
            ));
        }
        most
    }

    pub fn falls_short(&self, why: String) {
        self.shortfall().get_or_insert(why);
    }

    pub fn opened(&self, by_a_new_client: bool) {
        let open = self.tally.open.fetch_add(1, Relaxed) + 1;
        self.tally.most_open.fetch_max(open, Relaxed);
        self.tally.connections.fetch_add(1, Relaxed);
        self.tally
            .clients
            .fetch_add(usize::from(by_a_new_client), Relaxed);
    }

    pub fn closed(&self, count: usize) {
        self.tally.open.fetch_sub(count, Relaxed);
    }

    fn shortfall(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.tally
            .shortfall
            .lock()
            .expect("nobody panics while noting a shortfall")
    }
}
