//! The tags of all repositories, listed side by side. However many a registry lists, and in whatever order
//! it answers, never many more of them are held than may be known: an equal share of each repository, the
//! newest versions, so that one repository with a million tags takes nothing from the others.

use super::filter::version_of;
use super::progress::Progress;
use crate::budget::MAX_TAGS;
use crate::oci::RepositoryName;
use crate::sorting;
use crate::storage::{Error, ErrorKind, Storage};
use crate::sync::{in_parallel, lock};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What the storage lists; nothing of it is recorded yet, because it may not be credible.
pub(crate) struct Listings {
    /// All repositories.
    pub(super) repositories: Vec<RepositoryName>,
    /// The tags of each repository that was asked for them, in order.
    pub(super) tags: Vec<(RepositoryName, Result<Vec<String>, Error>)>,
    /// Whether others are left alone for a while, because they gave no answer.
    pub(super) is_partial: bool,
    /// How many tags are listed that are over the shares of their repositories.
    pub(super) left_out: usize,
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

/// The listing of each of `repositories`, the newest versions of it if it is over its share, and how many
/// tags are left out.
pub(super) fn list(
    storage: &dyn Storage,
    concurrency: usize,
    repositories: &[RepositoryName],
    progress: &Progress,
) -> (Vec<Result<Vec<String>, Error>>, usize) {
    progress.begin("repositories listed", repositories.len());
    let held = Mutex::new(Held::new(MAX_TAGS));
    let positions: Vec<usize> = (0..repositories.len()).collect();
    let results = in_parallel(&positions, concurrency, |at| {
        let tags = storage.tags(&repositories[*at]);
        progress.count(storage);
        tags.map(|tags| lock(&held).admit(*at, tags))
    });
    let Held {
        mut all, left_out, ..
    } = held.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut listing = |(at, result): (usize, Result<(), Error>)| {
        result.map(|()| all.remove(&at).unwrap_or_default())
    };
    let listings = results.into_iter().enumerate().map(&mut listing).collect();
    (listings, left_out)
}

/// Listings by the position of their repository.
struct Held {
    all: BTreeMap<usize, Vec<String>>,
    /// How many tags they list.
    count: usize,
    /// How many are wanted.
    most: usize,
    /// Each repository's share, once there are too many: the most tags that it may have.
    share: usize,
    left_out: usize,
}

impl Held {
    fn new(most: usize) -> Held {
        Held {
            all: BTreeMap::new(),
            count: 0,
            most,
            share: usize::MAX,
            left_out: 0,
        }
    }

    /// Adds a listing. If there are too many tags then, the longest listings are cut to an equal share.
    /// Listings that are still to come can only make it smaller, so what is left out now would be left out
    /// in any order.
    fn admit(&mut self, at: usize, tags: Vec<String>) {
        self.count += tags.len();
        self.all.insert(at, tags);
        if self.count <= self.most && self.share == usize::MAX {
            return;
        }
        let lengths: Vec<usize> = self.all.values().map(Vec::len).collect();
        self.share = self.share.min(share(lengths, self.most));
        for tags in self.all.values_mut().filter(|tags| tags.len() > self.share) {
            self.left_out += tags.len() - self.share;
            sorting::by_key(tags, |tag| (Reverse(version_of(tag)), tag.clone()));
            tags.truncate(self.share);
        }
        self.count = self.all.values().map(Vec::len).sum();
    }
}

/// The largest length to which lists of these lengths can be cut so that they hold at most `most` in all.
fn share(mut lengths: Vec<usize>, most: usize) -> usize {
    sorting::ascending(&mut lengths);
    let (mut left, mut lists) = (most, lengths.len());
    for length in lengths {
        if length > left / lists {
            return left / lists;
        }
        (left, lists) = (left - length, lists - 1);
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tags_are_held_in_whatever_order_listings_come_and_no_more_than_have_room() {
        const MOST: usize = 10;
        let lengths = [9, 0, 4, 5, 1, 9, 2];
        let orders = [
            [0, 1, 2, 3, 4, 5, 6],
            [6, 5, 4, 3, 2, 1, 0],
            [5, 0, 4, 6, 2, 1, 3],
        ];
        for order in orders {
            let mut held = Held::new(MOST);
            for at in order {
                let tags = (0..lengths[at]).map(|minor| format!("1.{minor}.0"));
                held.admit(at, tags.collect());
                let count = held.all.values().map(Vec::len).sum::<usize>();
                assert_eq!(count, held.count);
                assert!(count <= MOST, "{count}");
            }
            let counts: Vec<usize> = held.all.values().map(Vec::len).collect();
            assert_eq!(counts, [1, 0, 1, 1, 1, 1, 1], "{order:?}");
            assert_eq!(held.all[&0], ["1.8.0"], "the newest");
            assert_eq!(held.left_out, 24);
        }
    }

    #[test]
    fn a_long_listing_takes_no_room_that_others_need() {
        assert_eq!(share(vec![1000, 1, 2, 3], 10), 4);
        assert_eq!(share(vec![1000, 1000, 2], 10), 4);
        assert_eq!(share(vec![5, 5], 10), usize::MAX);
    }
}
