//! The tags of all repositories, listed side by side. However many a registry lists, and in whatever order
//! it answers, never many more of them are held than may be known: those that come first in the order of
//! repositories.

use super::progress::Progress;
use crate::oci::RepositoryName;
use crate::storage::{Error, ErrorKind, Storage};
use crate::sync::{in_parallel, lock};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Most tags in all: twenty times the largest registry that we aim at.
pub(super) const MAX_TAGS: usize = 1_000_000;

/// What the storage lists; nothing of it is recorded yet, because it may not be credible.
pub(crate) struct Listings {
    /// All repositories.
    pub(super) repositories: Vec<RepositoryName>,
    /// The tags of each repository that was asked for them, in order.
    pub(super) tags: Vec<(RepositoryName, Result<Vec<String>, Error>)>,
    /// Whether others are left alone for a while, because they gave no answer.
    pub(super) is_partial: bool,
}

impl Listings {
    /// Why the storage can't be asked, if not one repository's tags could be listed.
    pub(crate) fn failure(&self) -> Option<&Error> {
        let failures = self.tags.iter().map(|(_, result)| result.as_ref().err());
        let failures: Option<Vec<&Error>> = failures.collect();
        let failures = failures.filter(|all| all.iter().all(|one| one.kind().is_no_answer()))?;
        failures.first().copied()
    }

    /// Whether there is not one tag.
    pub(crate) fn are_empty(&self) -> bool {
        let is_empty = |result: &Result<Vec<String>, Error>| match result {
            Ok(tags) => tags.is_empty(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        !self.is_partial && self.tags.iter().all(|(_, result)| is_empty(result))
    }
}

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
