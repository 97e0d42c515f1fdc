//! What readers see: an immutable [`Snapshot`], swapped whole. The only room that speaks both
//! dictionaries: [`walk`] reads OCI words and finds Helm's, [`memory`] keeps what was found, [`assemble`]
//! makes an index of it, [`prefixes`] one of a part of it, [`schedule`] says when, [`refresh`] does it.

mod api;
mod artifact;
pub mod assemble;
mod budget;
mod chart_repository;
mod configs;
mod defect;
mod filter;
mod kept;
mod listings;
mod memory;
mod places;
mod prefixes;
mod progress;
pub mod refresh;
mod schedule;
mod staying;
mod tag;
pub mod walk;
mod walker;

pub use chart_repository::IndexFormat;
pub use filter::{Filter, Pattern};
pub use kept::NoPage;
pub use refresh::Current;
pub use schedule::Timing;
pub use walk::Found;
pub use walker::once;

use crate::representation::Representation;
use chart_repository::ChartRepository;
use kept::Kept;
use places::Places;
use std::fmt;
use std::sync::Arc;
use walk::Skipped;

/// What is looked at, and what is made of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests at a time.
    pub concurrency: usize,
    /// What is worth a request.
    pub filter: Filter,
    /// What `/index.yaml` holds.
    pub format: IndexFormat,
}

/// All that is served, as of one walk.
pub struct Snapshot {
    /// What is served at `/`.
    root: Arc<ChartRepository>,
    /// What `/index.yaml` holds, and `/PREFIX/index.yaml` too.
    format: IndexFormat,
    /// What was found where, in order of precedence.
    pub found: Vec<Arc<Found>>,
    /// Which of it lies where.
    places: Places,
    /// What has been made of it besides.
    kept: Kept,
    /// What isn't listed, and why; sorted.
    pub skipped: Vec<Skipped>,
    /// What is counted in it.
    pub counts: Counts,
}

impl Snapshot {
    /// `/index.yaml`.
    pub fn index(&self) -> &Representation {
        &self.root.index
    }

    /// `/index.json`.
    pub fn index_json(&self) -> &Representation {
        self.root.index_json(&self.found)
    }

    /// Says so when the index grows beyond what a client of renown reads, or comes back.
    fn report_size(&self, last: Option<&Snapshot>) {
        self.root.report_size(last.map(|last| &*last.root));
    }
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
        let Counts {
            charts,
            versions,
            skipped,
        } = self;
        let s = |count: &usize| if *count == 1 { "" } else { "s" };
        write!(
            f,
            "{charts} chart{}, {versions} version{}, {skipped} skipped",
            s(charts),
            s(versions)
        )
    }
}
