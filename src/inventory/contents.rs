//! What an inventory holds, as the snapshot is built from it.

use crate::helm::{ChartLayers, PackedMetadata};
use crate::oci::{Reference, RepositoryName};
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;

/// A chart version, and the tag it was found under.
#[derive(Clone, Debug)]
pub struct StoredChart {
    /// Where it was found.
    pub repository: RepositoryName,
    /// The tag, or the digest of a manifest without one.
    pub reference: Reference,
    /// What its config blob says.
    pub metadata: PackedMetadata,
    /// The date that its manifest tells.
    pub created: Option<OffsetDateTime>,
    /// Its config blob, its archive and its provenance file.
    pub layers: Arc<ChartLayers>,
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
            reference,
            reason: reason.into(),
            public: None,
            since: 0,
        }
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

/// All charts and everything that is skipped, in the order of names, which doesn't depend on the order
/// of answers.
#[derive(Default)]
pub struct Contents {
    /// Every chart version, under each of its tags.
    pub charts: Vec<Arc<StoredChart>>,
    /// Everything else.
    pub skipped: Vec<Skipped>,
    /// How many tags are left out because a bound is reached.
    pub over_bound: usize,
}
