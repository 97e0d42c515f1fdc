//! Bodies that are being sent and take memory for it: what slow clients hold in their sum, however many
//! they are and however often the index changes meanwhile. A body that many clients read counts once.
//! Beyond the budget the slowest client of the oldest body is cut off first; if that isn't enough, a
//! response waits for a moment, and is refused then.

use super::connections::Connection;
use super::response::{Response, ResponseBody};
use crate::budget::{IN_FLIGHT, LEAST_IN_FLIGHT};
use crate::representation::Content;
use crate::sync::{lock, wait_while};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a response waits for room: a fast client has read all of a large body by then.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often it looks meanwhile for a client that has turned out to be slow.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All bodies that are being sent.
#[derive(Default)]
pub(super) struct InFlight {
    bodies: Mutex<Bodies>,
    left: Condvar,
}

#[derive(Default)]
struct Bodies {
    /// By their address in memory, which they keep while they are here.
    all: HashMap<usize, Body>,
    next: u64,
    /// How many bytes of older snapshots are in none of the charts of the one in force.
    outdated: usize,
}

struct Body {
    /// Counts up: which one is older.
    number: u64,
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
    /// Counts the body of a response, or makes a refusal of it. `outdated` is that of the snapshot in
    /// force.
    pub(super) fn admit(
        self: &Arc<Self>,
        mut response: Response,
        reader: &Arc<Connection>,
        outdated: usize,
    ) -> Response {
        let ResponseBody::Page(page) = &mut response.body else {
            return response;
        };
        let (key, made) = match &page.content {
            Content::Whole(bytes) => (Arc::as_ptr(bytes).addr(), None),
            Content::Made(render) => (Arc::as_ptr(render).addr(), Some(page.outdated)),
        };
        if page.length < LEAST_IN_FLIGHT {
            return response;
        }
        let mut bodies = lock(&self.bodies);
        bodies.outdated = bodies.outdated.max(outdated);
        bodies.add(key, page.length, made, reader);
        page.flight = Some(Flight {
            all: self.clone(),
            key,
            reader: reader.clone(),
        });
        let deadline = Instant::now() + LONGEST_WAIT;
        bodies.evict();
        while bodies.size() > IN_FLIGHT {
            // What waits holds its body too.
            if bodies.size() > 2 * IN_FLIGHT || Instant::now() >= deadline {
                drop(bodies);
                return Response::text(503, "too many slow clients").retry_later();
            }
            bodies = wait_while(&self.left, bodies, LOOK_AGAIN, |bodies| {
                bodies.size() > IN_FLIGHT
            });
            bodies.evict();
        }
        drop(bodies);
        response
    }
}

impl Bodies {
    fn add(&mut self, key: usize, length: usize, made: Option<usize>, reader: &Arc<Connection>) {
        let number = self.next;
        self.next += 1;
        let body = self.all.entry(key).or_insert(Body {
            number,
            length,
            made,
            readers: Vec::new(),
        });
        body.readers.push(reader.clone());
    }

    fn remove(&mut self, key: usize, reader: &Arc<Connection>) {
        let Some(body) = self.all.get_mut(&key) else {
            return;
        };
        body.readers.retain(|one| !Arc::ptr_eq(one, reader));
        if body.readers.is_empty() {
            self.all.remove(&key);
        }
    }

    /// How many bytes they hold. What is made from the snapshot in force takes no memory of its own; what is
    /// made from older ones holds at most what has become outdated since the oldest of them, and no more
    /// than their lengths.
    fn size(&self) -> usize {
        let (mut whole, mut made, mut oldest) = (0, 0, self.outdated);
        for body in self.all.values() {
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
            let holds = |body: &Body| body.made.is_none_or(|then| then < self.outdated);
            let slowest = |(key, body): (&usize, &Body)| {
                let slow = body
                    .readers
                    .iter()
                    .filter_map(|one| Some((one.slow_pace()?, one)));
                let (pace, one) = slow.min_by_key(|(pace, _)| *pace)?;
                Some((body.number, pace, *key, one.clone()))
            };
            let holding = self.all.iter().filter(|(_, body)| holds(body));
            let oldest = holding
                .filter_map(slowest)
                .min_by_key(|(number, ..)| *number);
            let Some((_, pace, key, reader)) = oldest else {
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
