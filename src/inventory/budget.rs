//! How many config blobs are kept. Anyone who may push can push config blobs of a megabyte, and each
//! one that is kept takes memory and stands in the index; so each repository has a bound, and all
//! together have one. The order of names and the sizes in manifests decide what is over a bound, never
//! the order of answers, so that every replica keeps the same. Pure. [`record`](super::record) applies it to
//! what is read and kept, [`known`](super::known) to what is listed.

use crate::oci::{Descriptor, Digest, RepositoryName};
use std::collections::HashSet;

/// Most bytes of config blobs in one repository: 5,000 versions of a chart with many words.
const MAX_REPOSITORY: u64 = 8 * 1024 * 1024;
/// Most bytes of config blobs in all: 60,000 versions. The snapshot and its index take four times
/// as much while they're made.
const MAX_ALL: u64 = 64 * 1024 * 1024;

/// What was spent of the bounds. Charts are counted in the order of their names, so one repository after
/// the other.
#[derive(Default)]
pub(super) struct Budget<'a> {
    repository: Option<&'a RepositoryName>,
    /// The config blobs that were counted in that one.
    counted: HashSet<&'a Digest>,
    here: u64,
    in_all: u64,
}

impl<'a> Budget<'a> {
    /// Counts a config blob; one that several tags of a repository share is counted once.
    ///
    /// Errors with the reason why it is over a bound; then it isn't counted.
    pub(super) fn spend(
        &mut self,
        repository: &'a RepositoryName,
        config: &'a Descriptor,
    ) -> Result<(), String> {
        if self.repository != Some(repository) {
            self.counted.clear();
            (self.repository, self.here) = (Some(repository), 0);
        }
        if self.counted.contains(&config.digest) {
            return Ok(());
        }
        let (here, in_all) = (self.here + config.size, self.in_all + config.size);
        if here > MAX_REPOSITORY {
            return Err(format!(
                "over {MAX_REPOSITORY} bytes of config blobs in {repository}"
            ));
        }
        if in_all > MAX_ALL {
            return Err(format!("over {MAX_ALL} bytes of config blobs in all"));
        }
        self.counted.insert(&config.digest);
        (self.here, self.in_all) = (here, in_all);
        Ok(())
    }

    /// How many bytes are left in `repository`, the last one that was counted or a later one.
    pub(super) fn left_in(&self, repository: &RepositoryName) -> u64 {
        match self.repository == Some(repository) {
            true => MAX_REPOSITORY - self.here,
            false => MAX_REPOSITORY,
        }
    }

    /// How many bytes are left in all.
    pub(super) fn left_in_all(&self) -> u64 {
        MAX_ALL - self.in_all
    }
}
