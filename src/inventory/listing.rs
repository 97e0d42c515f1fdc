//! The tags of all repositories, listed side by side. However many a registry lists, and in whatever order
//! it answers, never many more of them are held than may be known: those that come first in the order of
//! repositories.

use super::progress::Progress;
use crate::oci::RepositoryName;
use crate::storage::{Error, Storage};
use crate::sync::{in_parallel, lock};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Most tags in all: twenty times the largest registry that we aim at.
pub(super) const MAX_TAGS: usize = 1_000_000;

/// The listing of each of `repositories`; an empty one where those before it leave no room.
pub(super) fn list(
    storage: &dyn Storage,
    concurrency: usize,
    repositories: &[RepositoryName],
    progress: &Progress,
) -> Vec<Result<Vec<String>, Error>> {
    progress.begin("repositories listed", repositories.len());
    let held = Mutex::new(Held::new(MAX_TAGS));
    let positions: Vec<usize> = (0..repositories.len()).collect();
    let results = in_parallel(&positions, concurrency, |at| {
        let tags = storage.tags(&repositories[*at]);
        progress.count(storage);
        tags.map(|tags| lock(&held).admit(*at, tags))
    });
    let mut listings = std::mem::take(&mut lock(&held).all);
    let mut listing = |(at, result): (usize, Result<(), Error>)| {
        result.map(|()| listings.remove(&at).unwrap_or_default())
    };
    results.into_iter().enumerate().map(&mut listing).collect()
}

/// Listings by the position of their repository.
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

    /// Adds a listing. Drops the last ones if those before them leave them no room: listings that are still
    /// to come can only leave them less.
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
    fn the_same_listings_are_held_in_whatever_order_they_come_and_no_more_than_have_room() {
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
