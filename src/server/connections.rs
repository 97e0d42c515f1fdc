//! The table of open connections: a full table evicts one that is idle or stalled, and a shutdown waits for
//! the responses under way.

use super::client::{Connection, ConnectionPhase, FAST};
use crate::observe::metrics;
use crate::sync::{lock, wait_while};
use std::collections::HashMap;
use std::net::{IpAddr, TcpStream};
use std::ops::{Deref, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Most connections at a time: each costs a descriptor, a thread and some 15 KB; together they stay
/// below half of what an edge container is given.
const MAX_CONNECTIONS: usize = 1024;
/// Fewest connections, however few the system grants.
const MIN_CONNECTIONS: usize = 8;
/// Descriptors that are left to the registry's side (48 downloads and 64 requests of a refresh), the
/// log and the rest.
const RESERVED_DESCRIPTORS: u64 = 144;
/// The share of one client address is that of all divided by the number of addresses, within these
/// bounds: beyond a quarter, its connections are evicted first. Measured while one address opened 500
/// connections a second and read nothing: 8 of 8 downloads of another address, at 400 KB/s, came to
/// their end; without this rule, none did. The upper bound keeps the search for the one to evict short.
const PARTS: RangeInclusive<usize> = 4..=32;
/// A download makes room for a waiting one if its client takes fewer bytes a second than this, or fewer than
/// [`FAST`] if its address has more downloads than that of the waiting one would have.
const SLOW: u64 = 32 * 1024;
/// A connection that made progress within this is not evicted: it may be about to send its request,
/// or to take more of its response.
const STILL: Duration = Duration::from_millis(50);
/// How long an evicted connection may take to give back its thread and descriptor.
const LEAVE: Duration = Duration::from_millis(100);
/// How often a lowered cap is raised again.
const RECOVER: Duration = Duration::from_secs(1);
/// How often, and how many times, a full table looks again for a connection to evict while a new one
/// waits: 200 ms in all.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOKS: usize = 40;

/// The table of open connections.
pub(super) struct ConnectionTable {
    open: Mutex<OpenConnections>,
    left: Condvar,
    ceiling: usize,
    stopping: AtomicBool,
}

struct OpenConnections {
    next_id: u64,
    all: HashMap<u64, Arc<Connection>>,
    by_client: HashMap<IpAddr, usize>,
    /// Most at a time: fewer than the ceiling after the system has refused a descriptor or a thread.
    cap: usize,
    cap_changed: Option<Instant>,
}

impl ConnectionTable {
    /// An empty table, as large as `descriptors` allow.
    pub(super) fn new(descriptors: u64) -> ConnectionTable {
        let affordable = usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS));
        let affordable = affordable.unwrap_or(usize::MAX);
        let ceiling = affordable.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        let open = OpenConnections {
            next_id: 0,
            all: HashMap::new(),
            by_client: HashMap::new(),
            cap: ceiling,
            cap_changed: None,
        };
        ConnectionTable {
            open: Mutex::new(open),
            left: Condvar::new(),
            ceiling,
            stopping: AtomicBool::new(false),
        }
    }

    /// Enters a new connection until the entry is dropped. Gives the stream back when no connection
    /// can be evicted for it in time, or when the server is stopping.
    pub(super) fn enter(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
    ) -> Result<TableEntry, TcpStream> {
        let mut open = lock(&self.open);
        open.recover(self.ceiling);
        for _ in 0..LOOKS {
            if self.is_stopping() {
                break;
            }
            if open.has_room() || open.evict_one(self.ceiling) {
                let (id, connection) = open.add(Connection::new(stream, peer));
                let table = self.clone();
                return Ok(TableEntry {
                    table,
                    id,
                    connection,
                });
            }
            open = wait_while(&self.left, open, LOOK_AGAIN, |open| !open.has_room());
        }
        Err(stream)
    }

    /// Lowers the cap to two fewer than there are, because the system has refused a descriptor or a
    /// thread. While those two are still leaving, it only sees to it that they do.
    pub(super) fn shrink(&self) {
        let mut open = lock(&self.open);
        if open.cap_changed.is_none_or(|when| when.elapsed() > LEAVE) {
            let fewer = open.all.len().saturating_sub(2);
            open.cap = fewer.clamp(MIN_CONNECTIONS, open.cap);
            open.cap_changed = Some(Instant::now());
        }
        while open.all.len() > open.cap && open.evict_one(self.ceiling) {}
    }

    /// Cuts off the download with the lowest pace for one that waits for its turn: of a slow client, or of
    /// one that takes its time and whose address has more downloads than that of the `waiting` client.
    pub(super) fn evict_stream(&self, waiting: IpAddr) {
        let open = lock(&self.open);
        let mut by_client: HashMap<IpAddr, usize> = HashMap::new();
        let streams = || {
            open.all
                .values()
                .filter_map(|one| Some((one.stream_pace()?, one)))
        };
        for (_, one) in streams() {
            *by_client.entry(one.client).or_default() += 1;
        }
        let share = by_client.get(&waiting).map_or(1, |own| own + 1);
        let may_go = |(pace, one): &(u64, &Arc<Connection>)| {
            *pace < SLOW || (*pace < FAST && by_client[&one.client] > share)
        };
        let slowest = streams().filter(may_go).min_by_key(|(pace, _)| *pace);
        if let Some((pace, one)) = slowest {
            log::debug!(
                "{}: cut off at {pace} bytes a second, because another download waits",
                one.peer
            );
            if one.evict(ConnectionPhase::Sending) {
                metrics::EVICTIONS.count(&[]);
            }
        }
    }

    /// Visits all connections.
    pub(super) fn for_each(&self, visit: impl FnMut(&Arc<Connection>)) {
        lock(&self.open).all.values().for_each(visit);
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        lock(&self.open).all.len()
    }

    /// Whether no further request is taken.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes no further connection.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Closes idle connections, and waits up to `grace` for the responses under way; whether all of
    /// them ended.
    pub(super) fn drain(&self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut open = lock(&self.open);
        while !open.all.is_empty() {
            // Each time again: a connection may have been about to wait for its next request.
            open.all
                .retain(|_, one| !one.evict(ConnectionPhase::Waiting));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return open.all.is_empty();
            }
            open = wait_while(&self.left, open, left.min(STILL), |open| {
                !open.all.is_empty()
            });
        }
        true
    }
}

impl OpenConnections {
    fn has_room(&self) -> bool {
        self.all.len() < self.cap
    }

    fn add(&mut self, connection: Connection) -> (u64, Arc<Connection>) {
        let (id, connection) = (self.next_id, Arc::new(connection));
        self.next_id += 1;
        *self.by_client.entry(connection.client).or_default() += 1;
        self.all.insert(id, connection.clone());
        (id, connection)
    }

    fn remove(&mut self, id: u64) {
        let Some(gone) = self.all.remove(&id) else {
            return;
        };
        if let Some(count) = self.by_client.get_mut(&gone.client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&gone.client);
            }
        }
    }

    /// Evicts one, if there is one that is still: first those of an address with more than its share of the
    /// `ceiling`, then those that wait for a request, then those whose response has stalled; of each the
    /// one that has been still the longest.
    fn evict_one(&mut self, ceiling: usize) -> bool {
        let now = Instant::now();
        let share = ceiling / self.by_client.len().clamp(*PARTS.start(), *PARTS.end());
        // Fewer than PARTS. To look each connection's address up takes most of the time.
        let over_share = self.by_client.iter().filter(|(_, count)| **count > share);
        let over_share: Vec<IpAddr> = over_share.map(|(client, _)| *client).collect();
        let candidate = |(id, one): (&u64, &Arc<Connection>)| {
            let (phase, since) = (one.phase(), one.last_progress());
            let still = now.saturating_duration_since(since) >= STILL;
            let may_go =
                still && matches!(phase, ConnectionPhase::Waiting | ConnectionPhase::Sending);
            may_go.then_some((!over_share.contains(&one.client), phase, since, *id))
        };
        let Some((_, phase, _, id)) = self.all.iter().filter_map(candidate).min() else {
            return false;
        };
        let evicted = self.all.get(&id).is_some_and(|one| one.evict(phase));
        if evicted {
            metrics::EVICTIONS.count(&[]);
            self.remove(id);
        }
        evicted
    }

    /// Raises a cap that was lowered, from time to time.
    fn recover(&mut self, ceiling: usize) {
        let is_due = |when: Instant| when.elapsed() > RECOVER;
        if self.cap < ceiling && self.cap_changed.is_some_and(is_due) {
            self.cap = (self.cap + self.cap / 8 + 1).min(ceiling);
            self.cap_changed = Some(Instant::now());
        }
    }
}

/// A connection in the table; it leaves the table when this is dropped.
pub(super) struct TableEntry {
    table: Arc<ConnectionTable>,
    id: u64,
    connection: Arc<Connection>,
}

impl TableEntry {
    /// The connection.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether the connection may serve another request after this one.
    pub(super) fn may_stay(&self) -> bool {
        !self.table.is_stopping()
    }
}

impl Deref for TableEntry {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        lock(&self.table.open).remove(self.id);
        self.table.left.notify_all();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::client::{NO_STREAM, share_address};
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener};

    fn stream() -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    }

    pub(in crate::server) fn table(most: usize) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable::new(RESERVED_DESCRIPTORS + most as u64))
    }

    pub(in crate::server) fn enter(table: &Arc<ConnectionTable>, last: u8) -> Option<TableEntry> {
        let peer = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        table.enter(stream(), peer).ok()
    }

    fn enter_all(table: &Arc<ConnectionTable>, peers: std::ops::Range<u8>) -> Vec<TableEntry> {
        peers.map(|peer| enter(table, peer).unwrap()).collect()
    }

    #[test]
    fn a_full_table_evicts_the_connection_that_has_waited_longest() {
        let table = table(8);
        let entries = enter_all(&table, 0..8);
        entries[0].enter(ConnectionPhase::Responding).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        entries[1].enter(ConnectionPhase::Waiting).unwrap();
        let newest = enter(&table, 9).unwrap();
        let evicted: Vec<_> = entries
            .iter()
            .map(|entry| entry.enter(ConnectionPhase::Sending).is_err())
            .collect();
        assert_eq!(evicted.iter().filter(|evicted| **evicted).count(), 1);
        assert!(!evicted[0] && !evicted[1]);
        assert!(newest.enter(ConnectionPhase::Sending).is_ok());
    }

    #[test]
    fn an_address_with_more_than_its_share_makes_room_first() {
        let table = table(8);
        let modest = enter(&table, 1).unwrap();
        let many: Vec<_> = (0..7).map(|_| enter(&table, 2).unwrap()).collect();
        // All of them may go now: before, only the first would be old enough.
        std::thread::sleep(STILL);
        let _newest = enter(&table, 3).unwrap();
        assert!(modest.enter(ConnectionPhase::Waiting).is_ok());
        let evicted = many
            .iter()
            .filter(|one| one.enter(ConnectionPhase::Waiting).is_err());
        assert_eq!(evicted.count(), 1);
    }

    #[test]
    fn a_moving_connection_is_left_alone_and_a_stalled_one_is_not() {
        let table = table(8);
        let responding = enter_all(&table, 0..7);
        for entry in &responding {
            entry.enter(ConnectionPhase::Responding).unwrap();
        }
        let sending = enter(&table, 8).unwrap();
        sending.enter(ConnectionPhase::Sending).unwrap();
        // It stalls while the new connection waits.
        let newest = enter(&table, 9).unwrap();
        assert!(sending.enter(ConnectionPhase::Sending).is_err());
        newest.enter(ConnectionPhase::Responding).unwrap();
        assert!(enter(&table, 10).is_none());
    }

    #[test]
    fn an_entry_leaves_the_table_and_the_cap_is_lowered_when_the_system_refuses() {
        let table = table(100);
        let entries = enter_all(&table, 0..50);
        std::thread::sleep(STILL);
        table.shrink();
        assert_eq!(lock(&table.open).cap, 48);
        assert_eq!(lock(&table.open).all.len(), 48);
        drop(entries);
        assert!(lock(&table.open).all.is_empty() && lock(&table.open).by_client.is_empty());
    }

    #[test]
    fn the_slowest_download_of_a_slow_client_or_of_a_crowded_address_makes_room() {
        let table = table(8);
        let crowd: Vec<_> = (0..3).map(|_| enter(&table, 1).unwrap()).collect();
        let alone = enter(&table, 2).unwrap();
        let all = crowd.iter().chain([&alone]);
        for (entry, pace) in all.zip([FAST / 2, FAST / 4, FAST, SLOW]) {
            entry.enter(ConnectionPhase::Sending).unwrap();
            entry.set_stream_pace(pace);
        }
        let left = || {
            let is_left = |entry: &&TableEntry| entry.phase() == ConnectionPhase::Sending;
            crowd.iter().chain([&alone]).filter(is_left).count()
        };
        let waiting = |last| IpAddr::from([127, 0, 0, last]);
        table.evict_stream(waiting(1));
        assert_eq!(left(), 4, "its own address has most, and no client is slow");
        table.evict_stream(waiting(3));
        assert_eq!((left(), crowd[1].phase()), (3, ConnectionPhase::Evicted));
        alone.set_stream_pace(SLOW - 1);
        table.evict_stream(waiting(1));
        assert_eq!((left(), alone.phase()), (2, ConnectionPhase::Evicted));
        crowd[0].set_stream_pace(NO_STREAM);
        table.evict_stream(waiting(3));
        assert_eq!(left(), 2);
    }

    #[test]
    fn clients_count_by_their_address_or_their_network_of_ipv6() {
        let of = |text: &str| share_address(text.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.7"), "10.0.0.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn draining_waits_for_responses_alone() {
        let table = table(8);
        let waiting = enter(&table, 1).unwrap();
        let sending = enter(&table, 2).unwrap();
        sending.enter(ConnectionPhase::Sending).unwrap();
        table.stop();
        assert!(!table.drain(Duration::from_millis(20)));
        assert!(waiting.enter(ConnectionPhase::Responding).is_err());
        assert!(enter(&table, 3).is_none());
        drop(sending);
        assert!(table.drain(Duration::from_millis(20)));
    }

    #[test]
    fn a_client_is_silent_or_has_sent_more_or_has_hung_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let connection = Connection::new(stream, address.ip());
        let seen = || (connection.has_unread(), connection.has_hung_up());
        assert_eq!(seen(), (false, false));
        other.write_all(b"GET").unwrap();
        // Waits until it has arrived, and leaves it there.
        connection.stream.peek(&mut [0]).unwrap();
        assert_eq!(seen(), (true, false));
        (&connection.stream).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(seen(), (false, false));
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(connection.stream.peek(&mut [0]).unwrap(), 0);
        assert_eq!(seen(), (false, true));
    }
}
