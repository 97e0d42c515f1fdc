//! The tags of all repositories, which are asked for side by side: never many more of them are held than
//! may be looked at, however many a registry lists, and whoever answers first. Those are kept that come
//! first in the order of repositories.

use super::memory::MAX_TAGS;
use super::progress::Progress;
use crate::oci::RepositoryName;
use crate::storage::{Error, Storage};
use crate::sync::in_parallel;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The listing of each of `repositories` that isn't `resting`; an empty one where there is no room for it
/// beside those of earlier ones.
pub(super) fn list(
    storage: &dyn Storage,
    concurrency: usize,
    repositories: &[RepositoryName],
    resting: impl Fn(&RepositoryName) -> bool + Sync,
    progress: &Progress,
) -> Vec<Option<Result<Vec<String>, Error>>> {
    progress.expect_listings(repositories.len());
    let held = Mutex::new(Held::new(MAX_TAGS));
    let places: Vec<usize> = (0..repositories.len()).collect();
    let heard = in_parallel(&places, concurrency, |at| {
        let asked = Some(&repositories[*at]).filter(|repository| !resting(repository));
        let listing = asked.map(|repository| storage.tags(repository));
        progress.listed(storage);
        let admit = |tags| {
            held.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .admit(*at, tags)
        };
        listing.map(|listing| listing.map(admit))
    });
    let mut held = held.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut take = |at| held.all.remove(&at).unwrap_or_default();
    let listings = heard.into_iter().enumerate();
    listings
        .map(|(at, heard)| heard.map(|heard| heard.map(|()| take(at))))
        .collect()
}

/// Listings by the place of their repository.
struct Held {
    all: BTreeMap<usize, Vec<String>>,
    /// How many tags they list.
    count: usize,
    /// How many are wanted.
    most: usize,
}

impl Held {
    fn new(most: usize) -> Held {
        Held {
            all: BTreeMap::new(),
            count: 0,
            most,
        }
    }

    /// Adds a listing. The last ones go if those before them leave them no room: what is still to come
    /// can but leave them less.
    fn admit(&mut self, at: usize, tags: Vec<String>) {
        self.count += tags.len();
        self.all.insert(at, tags);
        while let Some(last) = self.all.last_entry() {
            let others = self.count - last.get().len();
            if others < self.most {
                return;
            }
            last.remove();
            self.count = others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_first_the_same_listings_are_kept_and_no_more_than_have_room() {
        const MOST: usize = 10;
        let lengths = [3, 0, 4, 5, 1, 9, 2];
        let orders = [
            [0, 1, 2, 3, 4, 5, 6],
            [6, 5, 4, 3, 2, 1, 0],
            [5, 0, 4, 6, 2, 1, 3],
        ];
        for order in orders {
            let mut held = Held::new(MOST);
            for at in order {
                held.admit(at, vec![String::new(); lengths[at]]);
                let count = held.all.values().map(Vec::len).sum::<usize>();
                assert_eq!(count, held.count);
                assert!(
                    count < MOST + 9,
                    "at most one more than there is room for: {count}"
                );
            }
            // 3 + 0 + 4 leave room for some of 5.
            assert_eq!(
                held.all.keys().collect::<Vec<_>>(),
                [&0, &1, &2, &3],
                "{order:?}"
            );
        }
    }
}
