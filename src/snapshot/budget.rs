//! How much of the charts' own words is held. Anybody who may push can have config blobs of a megabyte,
//! and all of them are kept in memory and stand in the index; so each repository has its share, and all
//! together have a bound. What is over is decided by the order of names and by what manifests say alone:
//! never by what was read when, so that every replica leaves out the same. Pure.

use super::tag::{Place, Tag, Verdict};
use super::walk::Found;
use crate::oci::{Descriptor, Digest, RepositoryName};
use std::collections::HashSet;
use std::sync::Arc;

/// Most bytes of config blobs in one repository: 5,000 versions of a chart with many words.
const MAX_REPOSITORY: u64 = 8 * 1024 * 1024;
/// Most bytes of config blobs in all: 60,000 versions. The snapshot and its index take four times
/// as much while they're made.
const MAX_ALL: u64 = 64 * 1024 * 1024;

/// What is left of the bounds. Charts are counted in the order of their names, so one repository after
/// the other.
#[derive(Default)]
pub(super) struct Budget<'a> {
    repository: Option<&'a RepositoryName>,
    /// What has its share in that one.
    counted: HashSet<&'a Digest>,
    here: u64,
    in_all: u64,
}

impl<'a> Budget<'a> {
    /// Takes a config blob's share; one that several tags have is counted once.
    ///
    /// Errors with the reason why there's none left.
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

    /// What is to be told of a tag.
    pub(super) fn listing(&mut self, repository: &'a RepositoryName, tag: &'a Tag) -> Listing<'a> {
        let Some(verdict) = tag.verdict() else {
            return Listing::Unknown;
        };
        if let Some(Err(reason)) = verdict
            .config()
            .map(|config| self.spend(repository, config))
        {
            return Listing::Skipped(reason.into());
        }
        match verdict {
            Verdict::Chart(found) => Listing::Listed(found),
            Verdict::NoChart(reason) => Listing::Skipped(reason.clone()),
            Verdict::Unkept(unkept) => match &unkept.reason {
                Some(reason) => Listing::Skipped(reason.clone()),
                None if tag.trouble.is_none() => {
                    Listing::Skipped("its config blob is still to be read".into())
                }
                None => Listing::Unknown,
            },
        }
    }
}

/// Those of `tags`, which are all there are in order, that have a share; and whether there's room for it.
pub(super) fn shares<'a>(
    tags: impl Iterator<Item = (&'a RepositoryName, &'a Tag)>,
) -> impl Iterator<Item = (Place<'a>, &'a Tag, bool)> {
    let mut budget = Budget::default();
    tags.filter_map(move |(name, tag)| {
        let config = tag.verdict()?.config()?;
        Some(((name, &*tag.text), tag, budget.spend(name, config).is_ok()))
    })
}

/// What is told of a tag.
pub(super) enum Listing<'a> {
    Listed(&'a Arc<Found>),
    /// It isn't listed, for this reason.
    Skipped(Arc<str>),
    /// Nothing, but that it couldn't be asked.
    Unknown,
}
