//! Archives in memory, by digest, and one request to the storage for all who ask for the same one
//! at a time. Nothing is kept that hasn't been verified, and no failure is.
//!
//! What is counted is what is in memory: an archive from before its first byte is asked for until its
//! last reader has it, kept or not. The sum never exceeds `--chart-cache-size`. Where that leaves no
//! room, even after all have gone that nobody reads, there's nothing to be had here, and the archive
//! is streamed. So slow readers can fill the cache, but not the memory.

mod fetch;
mod memory;

pub(super) use fetch::{Lead, Obtained, Outcome, Waiter};
pub(super) use memory::Buffer;

use crate::oci::{Descriptor, Digest};
use fetch::Fetch;
use memory::{Memory, blocks_for};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest archive that is kept, in bytes: hardly a chart is larger, and each that is would push out
/// a hundred others.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Most who wait for others' fetches. Each holds a place in the house, as those do who wait for a slot;
/// beyond it, that is where they go.
const MAX_WAITING: usize = 192;

/// The cache.
pub(super) struct ChartCache {
    memory: Arc<Memory>,
    /// Under its lock alone, memory is taken.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Digest, Kept>,
    fetches: HashMap<Digest, Arc<Fetch>>,
    /// Counts the uses.
    clock: u64,
    waiting: usize,
}

struct Kept {
    archive: Arc<Buffer>,
    used: u64,
}

/// What there is of an archive.
pub(super) enum Claim<'a> {
    /// All of it.
    Kept(Arc<Buffer>),
    /// Someone fetches it.
    Join(Waiter<'a>),
    /// It's yours to fetch.
    Lead(Lead<'a>),
    /// Nothing.
    Nothing,
}

impl ChartCache {
    /// An empty one of so many bytes; of 0, it stays empty.
    pub(super) fn new(size: usize) -> ChartCache {
        ChartCache {
            memory: Memory::new(size),
            state: Mutex::default(),
        }
    }

    /// Whether such a blob is ever kept.
    pub(super) fn takes(&self, blob: &Descriptor) -> bool {
        blob.size <= LARGEST && blocks_for(blob.size) <= self.memory.most()
    }

    /// What there is of `blob`. Who `may_fetch` it gets the lead where nobody has it, and may wait with
    /// the others however many they are.
    pub(super) fn claim(&self, blob: &Descriptor, may_fetch: bool) -> Claim<'_> {
        if !self.takes(blob) {
            return Claim::Nothing;
        }
        let mut state = self.lock();
        if let Some(archive) = state.kept(&blob.digest) {
            return Claim::Kept(archive);
        }
        if let Some(fetch) = state.fetches.get(&blob.digest).cloned() {
            if !may_fetch && state.waiting >= MAX_WAITING {
                return Claim::Nothing;
            }
            state.waiting += 1;
            return Claim::Join(Waiter::new(self, fetch));
        }
        match may_fetch
            .then(|| self.reserve(&mut state, blob.size))
            .flatten()
        {
            Some(buffer) => {
                let fetch = state
                    .fetches
                    .entry(blob.digest.clone())
                    .or_default()
                    .clone();
                Claim::Lead(Lead::new(self, blob.clone(), fetch, buffer))
            }
            None => Claim::Nothing,
        }
    }

    /// Takes memory for so many bytes, if it's there or can be made free.
    fn reserve(&self, state: &mut State, length: u64) -> Option<Buffer> {
        let blocks = blocks_for(length);
        if blocks > self.memory.free() {
            let mut idle: Vec<_> = state
                .kept
                .iter()
                .filter(|(_, kept)| kept.is_idle())
                .collect();
            let gain: usize = idle.iter().map(|(_, kept)| kept.archive.blocks()).sum();
            if blocks > self.memory.free() + gain {
                return None;
            }
            idle.sort_unstable_by_key(|(_, kept)| kept.used);
            let oldest: Vec<Digest> = idle.into_iter().map(|(digest, _)| digest.clone()).collect();
            let mut oldest = oldest.iter();
            while blocks > self.memory.free() {
                state.kept.remove(oldest.next()?);
            }
        }
        self.memory.take(usize::try_from(length).ok()?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, digest: &Digest) -> Option<Arc<Buffer>> {
        self.clock += 1;
        let kept = self.kept.get_mut(digest)?;
        kept.used = self.clock;
        Some(kept.archive.clone())
    }

    fn keep(&mut self, digest: Digest, archive: Arc<Buffer>) {
        self.clock += 1;
        self.kept.insert(
            digest,
            Kept {
                archive,
                used: self.clock,
            },
        );
    }
}

impl Kept {
    /// Whether nobody reads it: only then does it leave the memory when it leaves the cache.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.archive) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::memory::BLOCK;
    use super::*;
    use crate::oci::MediaType;
    use std::io::{self, Read};

    fn blob(bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: MediaType::default(),
            digest: Digest::sha256(bytes),
            size: bytes.len() as u64,
        }
    }

    /// Fetches what isn't kept; whether it was kept.
    fn fetch(cache: &ChartCache, bytes: &[u8]) -> Option<(bool, Arc<Buffer>)> {
        match cache.claim(&blob(bytes), true) {
            Claim::Kept(archive) => Some((true, archive)),
            Claim::Lead(lead) => match lead.read(Box::new(io::Cursor::new(bytes.to_vec()))) {
                Ok(Obtained::Whole(archive)) => Some((false, archive)),
                _ => panic!("it is there, and quick"),
            },
            _ => None,
        }
    }

    fn was_kept(cache: &ChartCache, bytes: &[u8]) -> Option<bool> {
        fetch(cache, bytes).map(|(kept, archive)| {
            assert_eq!(
                archive.part(0..archive.len()).collect::<Vec<_>>().concat(),
                bytes
            );
            kept
        })
    }

    /// Archives that differ.
    fn archive(number: u8) -> Vec<u8> {
        vec![number; BLOCK + 1]
    }

    /// What one of them takes.
    const ONE: usize = 2 * BLOCK;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = ChartCache::new(3 * ONE);
        for number in [1, 2, 3] {
            assert_eq!(was_kept(&cache, &archive(number)), Some(false));
        }
        assert_eq!(was_kept(&cache, &archive(1)), Some(true));
        assert_eq!(was_kept(&cache, &archive(4)), Some(false));
        let kept = [1, 2, 3, 4]
            .map(|number| matches!(cache.claim(&blob(&archive(number)), false), Claim::Kept(_)));
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(cache.memory.free(), 0);
    }

    #[test]
    fn what_is_being_read_is_counted_and_not_pushed_out_in_vain() {
        let cache = ChartCache::new(2 * ONE);
        let reader = fetch(&cache, &archive(1)).unwrap().1;
        let other = fetch(&cache, &archive(2)).unwrap().1;
        assert_eq!(was_kept(&cache, &archive(3)), None);
        drop(other);
        assert_eq!(was_kept(&cache, &archive(3)), Some(false));
        assert_eq!(was_kept(&cache, &archive(1)), Some(true));
        drop(reader);
        assert_eq!(was_kept(&cache, &archive(4)), Some(false));
        assert_eq!(cache.memory.free(), 0);
    }

    #[test]
    fn a_fetch_takes_its_room_before_it_begins_and_gives_it_back_when_it_fails() {
        let cache = ChartCache::new(ONE);
        let Claim::Lead(lead) = cache.claim(&blob(&archive(1)), true) else {
            panic!("nobody has it")
        };
        assert_eq!(was_kept(&cache, &archive(2)), None);
        assert!(lead.read(Box::new(io::Cursor::new(archive(2)))).is_err());
        assert_eq!(cache.memory.free(), 2);
        assert!(cache.lock().kept.is_empty() && cache.lock().fetches.is_empty());
    }

    #[test]
    fn what_is_larger_than_the_cache_or_than_four_mebibytes_is_not_taken() {
        let mut large = blob(b"");
        large.size = LARGEST;
        assert!(ChartCache::new(usize::MAX).takes(&large));
        large.size += 1;
        assert!(!ChartCache::new(usize::MAX).takes(&large));
        assert!(ChartCache::new(ONE).takes(&blob(&archive(1))));
        assert!(!ChartCache::new(ONE - 1).takes(&blob(&archive(1))));
        assert!(!ChartCache::new(0).takes(&blob(b"")));
    }

    #[test]
    fn an_empty_archive_is_an_archive() {
        let cache = ChartCache::new(ONE);
        assert_eq!(was_kept(&cache, b""), Some(false));
        assert_eq!(was_kept(&cache, b""), Some(true));
    }

    #[test]
    fn a_fetch_that_is_given_up_leaves_no_one_waiting() {
        let cache = ChartCache::new(ONE);
        let wanted = blob(&archive(1));
        let Claim::Lead(lead) = cache.claim(&wanted, true) else {
            panic!("nobody has it")
        };
        let Claim::Join(waiter) = cache.claim(&wanted, false) else {
            panic!("someone fetches it")
        };
        assert_eq!(cache.lock().waiting, 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _lead = lead;
            panic!("a defect");
        }));
        assert!(panicked.is_err());
        assert!(matches!(waiter.wait(), Outcome::Failed(_)));
        assert_eq!(cache.lock().waiting, 0);
        assert_eq!(was_kept(&cache, &archive(1)), Some(false));
    }

    #[test]
    fn one_too_many_is_sent_to_the_slots() {
        let cache = ChartCache::new(ONE);
        let wanted = blob(&archive(1));
        let Claim::Lead(_lead) = cache.claim(&wanted, true) else {
            panic!("nobody has it")
        };
        cache.lock().waiting = MAX_WAITING;
        assert!(matches!(cache.claim(&wanted, false), Claim::Nothing));
        assert!(matches!(cache.claim(&wanted, true), Claim::Join(_)));
    }

    #[test]
    fn a_slow_fetch_hands_over_what_has_come_and_the_rest() {
        struct Drip(Vec<u8>);
        impl Read for Drip {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0
                    .get(..1)
                    .unwrap_or_default()
                    .read(buffer)
                    .inspect(|count| drop(self.0.drain(..count)))
            }
        }
        let cache = ChartCache::new(ONE);
        let wanted = blob(&archive(1));
        let Claim::Lead(lead) = cache.claim(&wanted, true) else {
            panic!("nobody has it")
        };
        let Claim::Join(waiter) = cache.claim(&wanted, false) else {
            panic!("someone fetches it")
        };
        let Ok(Obtained::Stream(mut rest)) = lead.impatiently().read(Box::new(Drip(archive(1))))
        else {
            panic!("it is slow")
        };
        assert!(matches!(waiter.wait(), Outcome::Slow));
        assert_eq!(cache.memory.free(), 0);
        let mut all = Vec::new();
        rest.read_to_end(&mut all).unwrap();
        assert_eq!(all, archive(1));
        drop(rest);
        assert_eq!(cache.memory.free(), 2);
    }
}
