//! What readers see: an immutable [`Snapshot`], swapped whole. The only room that speaks both
//! dictionaries: [`walk`] reads OCI words and finds Helm's, [`memory`] keeps what was found, [`assemble`]
//! makes an index of it, [`schedule`] says when, [`refresh`] does it.

mod artifact;
pub mod assemble;
mod configs;
mod memory;
mod parallel;
mod progress;
pub mod refresh;
mod schedule;
mod tag;
pub mod walk;
mod walker;

pub use refresh::Current;
pub use schedule::Timing;

use crate::oci::{Descriptor, RepositoryName};
use crate::representation::Representation;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use walk::{Found, Skipped};

/// All that is served, as of one walk.
pub struct Snapshot {
    /// `/index.yaml`.
    pub index: Representation,
    /// `NAME-VERSION.tgz` → where it is.
    pub archives: HashMap<String, Archive>,
    /// What was found where.
    pub found: Vec<Arc<Found>>,
    /// What isn't listed, and why; sorted.
    pub skipped: Vec<Skipped>,
    /// What is counted in it.
    pub counts: Counts,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub charts: usize,
    pub versions: usize,
    pub skipped: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { charts, versions, skipped } = self;
        let s = |count: &usize| if *count == 1 { "" } else { "s" };
        write!(f, "{charts} chart{}, {versions} version{}, {skipped} skipped", s(charts), s(versions))
    }
}

/// Where a chart's bytes are.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The repository to ask.
    pub repository: RepositoryName,
    /// The `.tgz`.
    pub archive: Descriptor,
    /// The `.tgz.prov`, for a signed chart.
    pub provenance: Option<Descriptor>,
}
