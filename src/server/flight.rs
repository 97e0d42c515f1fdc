//! Bodies that are being sent and take memory for it: what slow clients hold in their sum, however many
//! they are and however often the index changes meanwhile. A body that many clients read counts once.
//! Beyond the budget the slowest client of the oldest body is cut off first; if that isn't enough, a
//! response waits for a moment, and is refused then.

use super::client::Connection;
use crate::budget::{IN_FLIGHT, LEAST_IN_FLIGHT};
use crate::representation::Content;
use crate::sync::{lock, wait_while};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a response waits for room: a fast client has read all of a large body by then.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often it looks meanwhile for a client that has turned out to be slow.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A page of a snapshot that is sent.
pub(super) struct Page {
    pub(super) content: Content,
    pub(super) length: usize,
    /// How much was outdated in the snapshot that it's from.
    pub(super) outdated: usize,
    /// Counts what it holds until it's sent.
    pub(super) flight: Option<Flight>,
}

/// All bodies that are being sent.
#[derive(Default)]
pub(super) struct InFlight {
    bodies: Mutex<Bodies>,
    left: Condvar,
}

#[derive(Default)]
struct Bodies {
    /// The oldest first.
    all: Vec<HeldBody>,
    /// How many bytes of older snapshots are in none of the charts of the one in force.
    outdated: usize,
}

struct HeldBody {
    /// Its address in memory, which it keeps while it is here.
    key: usize,
    length: usize,
    /// Of a body that is made from a snapshot: what was outdated then.
    made: Option<usize>,
    readers: Vec<Arc<Connection>>,
}

/// The place of one reader of a body; it leaves when this is dropped.
pub(super) struct Flight {
    all: Arc<InFlight>,
    key: usize,
    reader: Arc<Connection>,
}

impl InFlight {
    /// Counts a page that is about to be sent, until it's dropped. `outdated` is that of the snapshot in
    /// force. Whether there is room for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        page: &mut Page,
        reader: &Arc<Connection>,
        outdated: usize,
    ) -> bool {
        if page.length < LEAST_IN_FLIGHT {
            return true;
        }
        let (key, made) = match &page.content {
            Content::Whole(bytes) | Content::Filled(bytes, _) => (Arc::as_ptr(bytes).addr(), None),
            Content::Made(render) => (Arc::as_ptr(render).addr(), Some(page.outdated)),
        };
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut bodies = lock(&self.bodies);
        bodies.outdated = bodies.outdated.max(outdated);
        bodies.add(key, page.length, made, reader);
        page.flight = Some(Flight {
            all: self.clone(),
            key,
            reader: reader.clone(),
        });
        bodies.evict();
        while bodies.size() > IN_FLIGHT {
            // What waits holds its body too.
            if bodies.size() > 2 * IN_FLIGHT || Instant::now() >= deadline {
                return false;
            }
            let is_full = |bodies: &mut Bodies| bodies.size() > IN_FLIGHT;
            bodies = wait_while(&self.left, bodies, LOOK_AGAIN, is_full);
            bodies.evict();
        }
        true
    }
}

impl Bodies {
    fn add(&mut self, key: usize, length: usize, made: Option<usize>, reader: &Arc<Connection>) {
        let known = self.all.iter_mut().find(|body| body.key == key);
        match known {
            Some(body) => body.readers.push(reader.clone()),
            None => self.all.push(HeldBody {
                key,
                length,
                made,
                readers: vec![reader.clone()],
            }),
        }
    }

    fn remove(&mut self, key: usize, reader: &Arc<Connection>) {
        if let Some(body) = self.all.iter_mut().find(|body| body.key == key) {
            body.readers.retain(|one| !Arc::ptr_eq(one, reader));
        }
        self.all.retain(|body| !body.readers.is_empty());
    }

    /// How many bytes they hold. What is made from the snapshot in force takes no memory of its own; what is
    /// made from older ones holds at most what has become outdated since the oldest of them, and no more
    /// than their lengths.
    fn size(&self) -> usize {
        let (mut whole, mut made, mut oldest) = (0, 0, self.outdated);
        for body in &self.all {
            match body.made {
                None => whole += body.length,
                Some(then) if then < self.outdated => {
                    made += body.length;
                    oldest = oldest.min(then);
                }
                Some(_) => {}
            }
        }
        whole + made.min(self.outdated - oldest)
    }

    /// Cuts off slow readers, the slowest of the oldest body first, as long as that is needed.
    fn evict(&mut self) {
        while self.size() > IN_FLIGHT {
            let holds = |body: &HeldBody| body.made.is_none_or(|then| then < self.outdated);
            let slowest = |body: &HeldBody| {
                let readers = body.readers.iter();
                let slow = readers.filter_map(|one| Some((one.slow_pace()?, one)));
                let (pace, one) = slow.min_by_key(|(pace, _)| *pace)?;
                Some((pace, body.key, one.clone()))
            };
            let mut holding = self.all.iter().filter(|body| holds(body));
            let Some((pace, key, reader)) = holding.find_map(slowest) else {
                return;
            };
            if reader.cut_off() {
                log::debug!(
                    "{}: cut off at {pace} bytes a second, because slow clients hold too much memory",
                    reader.peer
                );
            }
            self.remove(key, &reader);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.all.bodies).remove(self.key, &self.reader);
        self.all.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::ConnectionPhase;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
    use std::thread;

    const MIB: usize = 1024 * 1024;

    /// A client in the middle of a response of which it has taken so many bytes.
    fn reader(sent: u64) -> Arc<Connection> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let reader = Connection::new(stream, IpAddr::V4(Ipv4Addr::LOCALHOST));
        reader.begin_response();
        reader.enter(ConnectionPhase::Sending).unwrap();
        reader.set_sent(sent);
        Arc::new(reader)
    }

    fn whole(length: usize) -> Page {
        Page {
            content: Content::Whole(Arc::new(Vec::new().into())),
            length,
            outdated: 0,
            flight: None,
        }
    }

    fn made(length: usize, outdated: usize) -> Page {
        Page {
            content: Content::Made(Arc::new(move |_| {
                let _own = length;
                Ok(())
            })),
            length,
            outdated,
            flight: None,
        }
    }

    fn is_cut(reader: &Connection) -> bool {
        reader.enter(ConnectionPhase::Sending).is_err()
    }

    #[test]
    fn the_slowest_reader_of_the_oldest_body_is_cut_off_first_and_shared_bodies_count_once() {
        let in_flight = Arc::new(InFlight::default());
        let (old, new) = ([reader(9), reader(5)], reader(0));
        let mut pages = [whole(9 * MIB), whole(9 * MIB), whole(6 * MIB)];
        pages[1].content = pages[0].content.clone();
        for (page, one) in pages[..2].iter_mut().zip(&old) {
            assert!(in_flight.admit(page, one, 0));
        }
        assert!(in_flight.admit(&mut pages[2], &new, 0));
        assert_eq!(lock(&in_flight.bodies).size(), 15 * MIB);
        thread::sleep(Duration::from_millis(600));
        let mut next = whole(4 * MIB);
        assert!(in_flight.admit(&mut next, &reader(0), 0));
        assert!(is_cut(&old[1]) && is_cut(&old[0]) && !is_cut(&new));
        drop((pages, next));
        assert!(lock(&in_flight.bodies).all.is_empty());
    }

    #[test]
    fn fast_readers_are_not_cut_off_and_a_body_beyond_all_room_is_refused() {
        let in_flight = Arc::new(InFlight::default());
        let fast = reader(u64::MAX / 2000);
        thread::sleep(Duration::from_millis(600));
        let (mut first, mut second) = (whole(IN_FLIGHT), whole(2 * IN_FLIGHT));
        assert!(in_flight.admit(&mut first, &fast, 0));
        assert!(!in_flight.admit(&mut second, &reader(0), 0));
        assert!(!is_cut(&fast));
    }

    #[test]
    fn what_is_made_from_an_older_snapshot_counts_what_is_outdated_since() {
        let in_flight = Arc::new(InFlight::default());
        let readers = [0, 0, 0].map(reader);
        let mut pages = [
            made(20 * MIB, 0),
            made(20 * MIB, MIB),
            made(20 * MIB, 3 * MIB),
        ];
        for ((page, one), outdated) in pages.iter_mut().zip(&readers).zip([0, 1, 3]) {
            assert!(in_flight.admit(page, one, outdated * MIB));
        }
        assert_eq!(lock(&in_flight.bodies).size(), 3 * MIB);
        thread::sleep(Duration::from_millis(600));
        let mut next = made(20 * MIB, 18 * MIB);
        assert!(in_flight.admit(&mut next, &reader(0), 18 * MIB));
        assert_eq!(lock(&in_flight.bodies).size(), 15 * MIB);
        assert!(is_cut(&readers[0]) && is_cut(&readers[1]) && !is_cut(&readers[2]));
    }
}
