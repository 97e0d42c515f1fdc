//! What an inventory holds, as the snapshot is built from it.

use crate::budget::SKIPPED;
use crate::helm::{ChartLayers, ChartVersion, PackedMetadata};
use crate::oci::{Reference, RepositoryName, excerpt};
use std::fmt;
use std::sync::Arc;

/// A chart version, and the tag it was found under.
#[derive(Clone, Debug)]
pub struct StoredChart {
    /// Where it was found.
    pub repository: RepositoryName,
    /// The tag, or the digest of a manifest without one.
    pub reference: Reference,
    /// What its config blob says.
    pub metadata: PackedMetadata,
    /// Its config blob, its archive and its provenance file.
    pub layers: Arc<ChartLayers>,
}

impl StoredChart {
    /// The file name of its archive.
    pub fn archive_name(&self) -> String {
        ChartVersion::archive_name(&self.metadata)
    }
}

/// A repository or tag that isn't listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// `repository`, or `repository:tag`.
    pub reference: String,
    /// Why, for the log. Many tags share their reason.
    pub reason: Arc<str>,
    /// Why, for anyone, if it could not be read: the reason then holds words of the storage's.
    pub public: Option<Arc<str>>,
    /// When this was first found, in seconds since 1970; not before this process began.
    pub since: i64,
}

impl Skipped {
    /// What isn't listed for that reason; the snapshot dates it.
    pub(crate) fn new(reference: String, reason: impl Into<Arc<str>>) -> Skipped {
        Skipped {
            reference: excerpt(&reference),
            reason: reason.into(),
            public: None,
            since: 0,
        }
    }

    /// What it takes in memory, in bytes, beside `last`, with which it may share its reason.
    fn size(&self, last: Option<&Skipped>) -> usize {
        let is_shared = |last: &Skipped| Arc::ptr_eq(&last.reason, &self.reason);
        let reason = match last.is_some_and(is_shared) {
            true => 0,
            false => self.reason.len() + self.public.as_ref().map_or(0, |text| text.len()),
        };
        size_of::<Skipped>() + self.reference.len() + reason
    }

    /// In a sentence that names one of many.
    pub(crate) fn example(&self) -> String {
        format!("{}: {}", self.reference, self.reason)
    }

    /// The reason as anyone may read it: where charts come from, and what is said there, is for the log
    /// alone.
    pub(crate) fn public_reason(&self) -> &str {
        self.public.as_deref().unwrap_or(&self.reason)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.reference, self.reason)
    }
}

/// What isn't listed, within [`SKIPPED`] bytes. What is beyond them is only counted.
#[derive(Default)]
pub struct SkippedList {
    /// Those that are kept.
    pub kept: Vec<Skipped>,
    /// How many more there are.
    pub more: usize,
    bytes: usize,
}

impl SkippedList {
    /// Adds one, or counts it.
    pub(crate) fn push(&mut self, skipped: Skipped) {
        let size = skipped.size(self.kept.last());
        if self.more == 0 && self.bytes + size <= SKIPPED {
            self.bytes += size;
            self.kept.push(skipped);
        } else {
            self.more += 1;
        }
    }

    /// How many there are, kept or not.
    pub(crate) fn total(&self) -> usize {
        self.kept.len() + self.more
    }
}

/// All charts and everything that is skipped, in the order of names, which doesn't depend on the order
/// of answers.
#[derive(Default)]
pub struct Contents {
    /// Every chart version, under each of its tags.
    pub charts: Vec<Arc<StoredChart>>,
    /// Everything else.
    pub skipped: SkippedList,
    /// How many tags are left out because a bound is reached.
    pub over_bound: usize,
    /// The repositories that list Artifact Hub's tag, in the order of their names.
    pub described: Vec<RepositoryName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_beyond_its_budget_is_counted_and_a_shared_reason_counts_once() {
        let fill = |reason: &dyn Fn() -> Arc<str>| {
            let mut list = SkippedList::default();
            for number in 0..120_000 {
                list.push(Skipped::new(format!("images/app:{number:06}"), reason()));
            }
            assert_eq!(list.total(), 120_000);
            assert!(list.more > 0);
            list.kept.len()
        };
        let long = "x".repeat(300);
        let own = fill(&|| long.as_str().into());
        let shared: Arc<str> = long.as_str().into();
        let shared = fill(&|| shared.clone());
        assert!(own * 3 < shared, "{own}, {shared}");
    }
}
