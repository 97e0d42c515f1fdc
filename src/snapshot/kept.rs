//! Pages that not everybody wants: made when they're first asked for, once however many ask, and kept
//! for as long as they stay right and there is room. Whoever asks for page after page makes us work
//! for each, but holds no more memory than this.

use super::IndexFormat;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes of pages that are kept: the indexes of a registry of 30,000 versions, each team's once.
/// One that is larger is kept alone.
const ROOM: usize = 32 * 1024 * 1024;
/// What a page takes at least, in bytes; so no more than 8,192 of them are kept, which is room for each
/// prefix of a tree of 5,000 repositories, and few enough to look for the oldest among them all.
const LEAST: usize = 4 * 1024;

/// Most who wait for pages: each holds a place in the house, which must not be full of them.
const MAX_WAITING: usize = 192;
/// How long one waits for others' pages to be made first: the largest take a second each.
const WAIT: Duration = Duration::from_secs(10);

/// Why there's no page.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPage {
    /// Nothing of that name is listed, in these words.
    NotListed(String),
    /// Too many wait for pages.
    Crowded,
}

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Page {
    /// The index of what lies below a prefix.
    Index(RepositoryName, IndexFormat),
    /// All charts, as ChartMuseum lists them.
    Charts,
    /// All versions of one.
    Chart(String),
    /// What isn't listed.
    Skipped,
}

/// Those that were made.
#[derive(Default)]
pub(super) struct Kept {
    pages: Mutex<Pages>,
    queue: Mutex<Queue>,
    /// Told when a page is made.
    made: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Whether someone makes a page: many who make one each would take the memory of them all.
    making: bool,
    waiting: usize,
}

/// Whose turn it is to make one.
struct Turn<'a>(&'a Kept);

#[derive(Default)]
struct Pages {
    all: HashMap<Page, One>,
    /// What they weigh.
    weight: usize,
    /// How often one was asked for.
    clock: u64,
}

#[derive(Clone)]
struct One {
    representation: Arc<Representation>,
    used: u64,
}

impl Kept {
    /// The page, as `make` makes it.
    ///
    /// Errors when it isn't there and many wait for such.
    pub(super) fn get(
        &self,
        page: Page,
        make: impl FnOnce() -> Arc<Representation>,
    ) -> Result<Arc<Representation>, NoPage> {
        if let Some(kept) = lock(&self.pages).find(&page) {
            return Ok(kept);
        }
        let _turn = self.turn(WAIT).ok_or(NoPage::Crowded)?;
        // While we waited, someone may have made it.
        if let Some(kept) = lock(&self.pages).find(&page) {
            return Ok(kept);
        }
        let representation = make();
        lock(&self.pages).keep(page, representation.clone());
        Ok(representation)
    }

    /// `None` where too many wait for theirs, or who asks has waited for `longest`.
    fn turn(&self, longest: Duration) -> Option<Turn<'_>> {
        let mut queue = lock(&self.queue);
        if queue.making && queue.waiting >= MAX_WAITING {
            return None;
        }
        queue.waiting += 1;
        let waited = self
            .made
            .wait_timeout_while(queue, longest, |queue| queue.making);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.waiting -= 1;
        let taken = std::mem::replace(&mut queue.making, true);
        (!taken).then(|| Turn(self))
    }

    /// Those that are `still` right.
    pub(super) fn carried(&self, still: impl Fn(&Page) -> bool) -> Kept {
        let pages = lock(&self.pages);
        let mut carried = Pages {
            clock: pages.clock,
            ..Pages::default()
        };
        for (page, one) in pages.all.iter().filter(|(page, _)| still(page)) {
            carried.weight += one.weight();
            carried.all.insert(page.clone(), one.clone());
        }
        Kept {
            pages: Mutex::new(carried),
            ..Kept::default()
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.queue).making = false;
        self.0.made.notify_one();
    }
}

impl Pages {
    fn find(&mut self, page: &Page) -> Option<Arc<Representation>> {
        let one = self.all.get_mut(page)?;
        self.clock += 1;
        one.used = self.clock;
        Some(one.representation.clone())
    }

    /// Adds a page; those that were asked for least recently make room.
    fn keep(&mut self, page: Page, representation: Arc<Representation>) {
        self.clock += 1;
        let one = One {
            representation,
            used: self.clock,
        };
        self.weight += one.weight();
        while self.weight > ROOM && !self.all.is_empty() {
            let oldest = self
                .all
                .iter()
                .min_by_key(|(_, one)| one.used)
                .map(|(page, _)| page.clone());
            let gone = oldest.and_then(|page| self.all.remove(&page));
            self.weight -= gone.map_or(0, |one| one.weight());
        }
        self.all.insert(page, one);
    }
}

impl One {
    /// Compressed, it's kept a second time, in a quarter of the bytes at most.
    fn weight(&self) -> usize {
        let bytes = self.representation.identity().bytes.len();
        (bytes + bytes / 4).max(LEAST)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    fn page(number: usize) -> Page {
        Page::Index(format!("team/{number}").parse().unwrap(), IndexFormat::Yaml)
    }

    fn bytes(length: usize) -> Arc<Representation> {
        Arc::new(Representation::new(vec![b'a'; length]))
    }

    fn count(kept: &Kept) -> usize {
        lock(&kept.pages).all.len()
    }

    #[test]
    fn many_who_ask_at_once_have_it_made_once() {
        let (kept, made) = (Kept::default(), AtomicUsize::new(0));
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            bytes(10)
        };
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| kept.get(page(1), make).unwrap());
            }
        });
        assert_eq!((made.into_inner(), count(&kept)), (1, 1));
    }

    #[test]
    fn one_too_many_who_wants_what_is_not_there_is_told_so() {
        let kept = Kept::default();
        kept.get(page(1), || bytes(1)).unwrap();
        let turn = kept.turn(WAIT).unwrap();
        assert!(
            kept.turn(Duration::ZERO).is_none() && lock(&kept.queue).making,
            "nobody waits for ever"
        );
        lock(&kept.queue).waiting = MAX_WAITING;
        assert_eq!(kept.get(page(2), || bytes(1)).unwrap_err(), NoPage::Crowded);
        assert!(
            kept.get(page(1), || bytes(2)).is_ok(),
            "what is there needs no turn"
        );
        lock(&kept.queue).waiting = 0;
        drop(turn);
        assert!(kept.get(page(2), || bytes(1)).is_ok());
    }

    #[test]
    fn a_page_whose_making_panics_leaves_the_turn_to_the_next() {
        let kept = Kept::default();
        let make = std::panic::AssertUnwindSafe(|| kept.get(page(1), || panic!("a defect")));
        assert!(std::panic::catch_unwind(make).is_err());
        assert!(kept.get(page(1), || bytes(1)).is_ok());
    }

    #[test]
    fn who_was_not_asked_for_longest_makes_room() {
        let kept = Kept::default();
        let none = || unreachable!("it's kept");
        for number in 0..4 {
            kept.get(page(number), || bytes(ROOM / 5)).unwrap();
        }
        kept.get(page(0), none).unwrap();
        kept.get(page(4), || bytes(ROOM / 5)).unwrap();
        for number in [0, 2, 3, 4] {
            kept.get(page(number), none).unwrap();
        }
        assert_eq!(count(&kept), 4);
        kept.get(page(1), || bytes(2 * ROOM)).unwrap();
        kept.get(page(1), none).unwrap();
        assert_eq!(
            count(&kept),
            1,
            "what is larger than the room is kept alone"
        );
        kept.get(page(2), || bytes(1)).unwrap();
        assert_eq!((count(&kept), lock(&kept.pages).weight), (1, LEAST));
    }

    #[test]
    fn however_many_pages_are_asked_for_their_number_is_bounded() {
        let kept = Kept::default();
        for number in 0..10_000 {
            kept.get(page(number), || bytes(1)).unwrap();
        }
        assert_eq!(
            (count(&kept), lock(&kept.pages).weight),
            (ROOM / LEAST, ROOM)
        );
    }

    #[test]
    fn what_is_still_right_is_carried_on() {
        let kept = Kept::default();
        for number in 0..3 {
            kept.get(page(number), || bytes(1)).unwrap();
        }
        let carried = kept.carried(|one| *one != page(1));
        assert_eq!(
            (count(&carried), lock(&carried.pages).weight),
            (2, 2 * LEAST)
        );
        assert!(Arc::ptr_eq(
            &carried.get(page(0), || bytes(2)).unwrap(),
            &kept.get(page(0), || bytes(3)).unwrap()
        ));
        assert_eq!(
            carried
                .get(page(1), || bytes(2))
                .unwrap()
                .identity()
                .bytes
                .len(),
            2
        );
    }
}
