//! Which connections are open and what each is doing, so that a full house can show someone to the
//! door, and a shutdown knows whom it waits for.
//!
//! A connection's thread notes its phase without a lock; whoever takes its place away does so by
//! the same atomic word, so that nobody is cut off who has just begun to move.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections at a time: each costs a descriptor, a thread and some 15 KB; together they stay
/// below half of what an edge container is given.
const MAX_CONNECTIONS: usize = 1024;
/// Descriptors that are left to the registry's side (48 downloads and 64 requests of a walk), the
/// log and the rest.
const RESERVED_DESCRIPTORS: u64 = 144;
/// Fewest connections, however little the system bears.
const MIN_CONNECTIONS: usize = 8;
/// The share of one address, in parts of all: beyond a quarter it's the first to make room.
const CLIENT_SHARE: usize = 4;
/// A connection that has been still for less may be about to say what it wants, or to take more of its
/// answer; past it, it may be shown out of a full house.
const STILL: Duration = Duration::from_millis(50);
/// How long one who is shown out may take to give back its thread and descriptor.
const LEAVE: Duration = Duration::from_millis(100);
/// How often a lowered cap is raised again.
const RECOVER: Duration = Duration::from_secs(1);
/// How often it's looked again for someone who may go, while a newcomer waits.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long a newcomer waits for someone to leave or stall.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between requests, or in the middle of a head.
    Waiting,
    /// An answer is being sent.
    Sending,
    /// An answer is being looked for, perhaps upstream.
    Finding,
    /// Its place has been taken away.
    Evicted,
}

impl Phase {
    fn from(byte: u8) -> Phase {
        [
            Phase::Waiting,
            Phase::Sending,
            Phase::Finding,
            Phase::Evicted,
        ][usize::from(byte.min(3))]
    }
}

/// What a connection's thread notes for the others.
struct Status {
    phase: AtomicU8,
    /// When it last moved, in milliseconds since the house was opened.
    since: AtomicU64,
}

struct Connection {
    stream: Arc<TcpStream>,
    peer: IpAddr,
    status: Arc<Status>,
}

struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
    peers: HashMap<IpAddr, usize>,
    /// How many may be open: less than [`Connections::ceiling`] after the system has refused more.
    most: usize,
    changed_most: Option<Instant>,
}

/// The table of open connections.
pub(super) struct Connections {
    open: Mutex<Open>,
    left: Condvar,
    ceiling: usize,
    opened: Instant,
    stopping: AtomicBool,
    crowded: AtomicBool,
}

impl Connections {
    /// An empty table, as large as `descriptors` allow.
    pub(super) fn new(descriptors: u64) -> Connections {
        let affordable =
            usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
        let ceiling = affordable.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        let now = Instant::now();
        let open = Open {
            next: 0,
            connections: HashMap::new(),
            peers: HashMap::new(),
            most: ceiling,
            changed_most: None,
        };
        Connections {
            open: Mutex::new(open),
            left: Condvar::new(),
            ceiling,
            opened: now,
            stopping: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
        }
    }

    /// A place for a new connection; it's given back when it is dropped, whatever happens. `None`
    /// when the house is full of answers that are moving, or closing.
    pub(super) fn enter(self: &Arc<Self>, stream: Arc<TcpStream>, peer: IpAddr) -> Option<Place> {
        let deadline = Instant::now() + PATIENCE;
        let mut open = self.lock();
        self.recover(&mut open);
        while open.connections.len() >= open.most && !self.evict_one(&mut open) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return None;
            }
            // Every few milliseconds someone grows old enough to go.
            open = self
                .left
                .wait_timeout(open, left.min(LOOK_AGAIN))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if self.is_stopping() {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let status = Arc::new(Status {
            phase: AtomicU8::new(Phase::Waiting as u8),
            since: AtomicU64::new(self.now()),
        });
        *open.peers.entry(peer).or_default() += 1;
        open.connections.insert(
            id,
            Connection {
                stream,
                peer,
                status: status.clone(),
            },
        );
        self.note_crowd(&open);
        drop(open);
        Some(Place {
            connections: self.clone(),
            id,
            peer,
            status,
        })
    }

    /// The system has refused a descriptor or a thread: from now on two fewer than there are. Asked
    /// again while those two are still leaving, it only sees to it that they go.
    pub(super) fn shrink(&self) {
        let mut open = self.lock();
        if open.changed_most.is_none_or(|when| when.elapsed() > LEAVE) {
            let fewer = open.connections.len().saturating_sub(2);
            open.most = fewer.clamp(MIN_CONNECTIONS, open.most);
            open.changed_most = Some(Instant::now());
        }
        while open.connections.len() > open.most && self.evict_one(&mut open) {}
        self.note_crowd(&open);
    }

    /// Whether three quarters of the places are taken: no time to keep idle connections.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Whether no new request is to be begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets no one in any more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Hangs up on everyone who waits, and waits up to `grace` for the answers under way; whether
    /// all of them ended.
    pub(super) fn drain(&self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut open = self.lock();
        while !open.connections.is_empty() {
            // Again each time: a connection may have been on its way back to waiting.
            let waiting =
                |status: &Status| status.phase.load(Ordering::Acquire) == Phase::Waiting as u8;
            let idle: Vec<u64> = open
                .connections
                .iter()
                .filter(|(_, one)| waiting(&one.status))
                .map(|(id, _)| *id)
                .collect();
            for id in idle {
                open.cut(id, Phase::Waiting);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return open.connections.is_empty();
            }
            open = self
                .left
                .wait_timeout(open, left.min(STILL))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Takes the place of who is missed least: first those of an address with more than its share,
    /// then who waits, then whose answer has stalled; the longest first. Whether there was one.
    fn evict_one(&self, open: &mut Open) -> bool {
        let now = self.now();
        let share = self.ceiling / CLIENT_SHARE;
        // Fewer than [`CLIENT_SHARE`]; looking each connection's address up would take most of the time.
        let greedy: Vec<IpAddr> = open
            .peers
            .iter()
            .filter(|(_, count)| **count > share)
            .map(|(peer, _)| *peer)
            .collect();
        let candidate = |(id, one): (&u64, &Connection)| {
            let phase = Phase::from(one.status.phase.load(Ordering::Acquire));
            let since = one.status.since.load(Ordering::Relaxed);
            let still = Duration::from_millis(now.saturating_sub(since));
            let may_go = matches!(phase, Phase::Waiting | Phase::Sending) && still >= STILL;
            may_go.then_some((!greedy.contains(&one.peer), phase, since, *id))
        };
        let victim = open.connections.iter().filter_map(candidate).min();
        victim.is_some_and(|(_, phase, _, id)| open.cut(id, phase))
    }

    fn recover(&self, open: &mut Open) {
        if open.most < self.ceiling
            && open
                .changed_most
                .is_some_and(|when| when.elapsed() > RECOVER)
        {
            open.most = (open.most + open.most / 8 + 1).min(self.ceiling);
            open.changed_most = Some(Instant::now());
        }
    }

    fn note_crowd(&self, open: &Open) {
        self.crowded.store(
            open.connections.len() * 4 > open.most * 3,
            Ordering::Relaxed,
        );
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Takes a place away if its connection is still in `phase`; its thread notices and leaves.
    fn cut(&mut self, id: u64, phase: Phase) -> bool {
        let Some(one) = self.connections.get(&id) else {
            return false;
        };
        let word = &one.status.phase;
        if word
            .compare_exchange(
                phase as u8,
                Phase::Evicted as u8,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_err()
        {
            return false;
        }
        let _ = one.stream.shutdown(Shutdown::Both);
        self.forget(id);
        true
    }

    fn forget(&mut self, id: u64) {
        let Some(gone) = self.connections.remove(&id) else {
            return;
        };
        if let Some(count) = self.peers.get_mut(&gone.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&gone.peer);
            }
        }
    }
}

/// A connection's place in the table.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    peer: IpAddr,
    status: Arc<Status>,
}

impl Place {
    /// Notes what the connection does from now on, or that it has moved.
    ///
    /// Errors when its place has been taken away.
    pub(super) fn set(&self, phase: Phase) -> io::Result<()> {
        self.status
            .since
            .store(self.connections.now(), Ordering::Relaxed);
        let step = |now| {
            if now == Phase::Evicted as u8 {
                None
            } else {
                Some(phase as u8)
            }
        };
        match self
            .status
            .phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "made room for others",
            )),
        }
    }

    /// Whose connection it is.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether the connection may stay open after this answer.
    pub(super) fn may_stay(&self) -> bool {
        !self.connections.is_stopping() && !self.connections.is_crowded()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.forget(self.id);
        self.connections.note_crowd(&open);
        drop(open);
        self.connections.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn stream() -> Arc<TcpStream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    }

    fn house(most: usize) -> Arc<Connections> {
        Arc::new(Connections::new(RESERVED_DESCRIPTORS + most as u64))
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    #[test]
    fn a_full_house_shows_out_who_waits_longest() {
        let house = house(8);
        let places: Vec<_> = (0..8)
            .map(|n| house.enter(stream(), peer(n)).unwrap())
            .collect();
        places[0].set(Phase::Finding).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        places[1].set(Phase::Waiting).unwrap();
        let newcomer = house.enter(stream(), peer(9)).unwrap();
        let evicted: Vec<_> = places
            .iter()
            .map(|place| place.set(Phase::Sending).is_err())
            .collect();
        assert_eq!(evicted.iter().filter(|gone| **gone).count(), 1);
        assert!(!evicted[0] && !evicted[1]);
        assert!(newcomer.set(Phase::Sending).is_ok());
    }

    #[test]
    fn an_address_with_more_than_its_share_makes_room_first() {
        let house = house(8);
        let modest = house.enter(stream(), peer(1)).unwrap();
        let greedy: Vec<_> = (0..7)
            .map(|_| house.enter(stream(), peer(2)).unwrap())
            .collect();
        // All of them may go now: before, the modest one would be the only one old enough.
        std::thread::sleep(STILL);
        let _newcomer = house.enter(stream(), peer(3)).unwrap();
        assert!(modest.set(Phase::Waiting).is_ok());
        assert_eq!(
            greedy
                .iter()
                .filter(|place| place.set(Phase::Waiting).is_err())
                .count(),
            1
        );
    }

    #[test]
    fn who_moves_is_left_alone_and_who_stalls_is_not() {
        let house = house(8);
        let finding: Vec<_> = (0..7)
            .map(|n| house.enter(stream(), peer(n)).unwrap())
            .collect();
        finding
            .iter()
            .for_each(|place| place.set(Phase::Finding).unwrap());
        let sending = house.enter(stream(), peer(8)).unwrap();
        sending.set(Phase::Sending).unwrap();
        // It stalls while the newcomer waits.
        let newcomer = house.enter(stream(), peer(9)).unwrap();
        assert!(sending.set(Phase::Sending).is_err());
        newcomer.set(Phase::Finding).unwrap();
        assert!(house.enter(stream(), peer(10)).is_none());
    }

    #[test]
    fn a_place_is_given_back_and_the_cap_lowered_when_the_system_refuses() {
        let house = house(100);
        let places: Vec<_> = (0..50)
            .map(|n| house.enter(stream(), peer(n)).unwrap())
            .collect();
        std::thread::sleep(STILL);
        house.shrink();
        assert_eq!(house.lock().most, 48);
        assert_eq!(house.lock().connections.len(), 48);
        drop(places);
        assert!(house.lock().connections.is_empty() && house.lock().peers.is_empty());
    }

    #[test]
    fn draining_waits_for_answers_alone() {
        let house = house(8);
        let waiting = house.enter(stream(), peer(1)).unwrap();
        let sending = house.enter(stream(), peer(2)).unwrap();
        sending.set(Phase::Sending).unwrap();
        house.stop();
        assert!(!house.drain(Duration::from_millis(20)));
        assert!(waiting.set(Phase::Finding).is_err());
        assert!(house.enter(stream(), peer(3)).is_none());
        drop(sending);
        assert!(house.drain(Duration::from_millis(20)));
    }
}
