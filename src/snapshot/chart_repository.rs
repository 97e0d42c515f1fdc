//! What one base URL serves: an index, in its formats, and the archives beside it. What is made
//! here lasts as long as what was found stays the same, so nothing is rendered twice.
//!
//! It names charts by their place among what was found, and is of no use beside other findings: only
//! [`Snapshot`](super::Snapshot), which has both, hands anything out.

use super::walk::{Found, Skipped};
use crate::helm::{ChartVersion, IndexFile};
use crate::oci::qualified;
use crate::representation::Representation;
use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Arc, OnceLock};

/// Rancher reads no more of an index than this, in bytes.
const RANCHER_READS: usize = 5 * 1024 * 1024;
/// The same for Flux.
const FLUX_READS: usize = 50 * 1024 * 1024;

/// What `/index.yaml` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IndexFormat {
    /// Block-style YAML in which every string is double-quoted.
    #[default]
    Yaml,
    /// JSON, which is YAML too.
    Json,
}

/// An index and its archives.
pub(super) struct ChartRepository {
    /// The places of what is listed among what was found, in the order of its archives' file names.
    pub(super) listed: Box<[u32]>,
    pub(super) index: Arc<Representation>,
    index_json: OnceLock<Arc<Representation>>,
    /// What another chart of its name keeps out.
    pub(super) shadowed: Vec<Skipped>,
    pub(super) charts: usize,
}

impl ChartRepository {
    /// Lists what was found, the first of each name.
    pub(super) fn new(found: &[Arc<Found>], format: IndexFormat) -> ChartRepository {
        let mut archives: HashMap<String, usize> = HashMap::new();
        let mut shadowed = Vec::new();
        for (at, chart) in found.iter().enumerate() {
            match archives.entry(ChartVersion::archive_name(&chart.metadata)) {
                Entry::Vacant(free) => {
                    free.insert(at);
                }
                Entry::Occupied(taken) => {
                    shadowed.extend(shadow(taken.key(), &found[*taken.get()], chart))
                }
            }
        }
        let mut listed: Vec<(String, usize)> = archives.into_iter().collect();
        listed.sort_unstable();
        // No more than a million tags are looked at.
        let listed: Box<[u32]> = listed.into_iter().map(|(_, at)| at as u32).collect();
        let index_file = index_file(&listed, found);
        let (charts, _) = index_file.counts();
        let index = Arc::new(Representation::new(match format {
            IndexFormat::Yaml => index_file.to_yaml(),
            IndexFormat::Json => index_file.to_json(),
        }));
        ChartRepository {
            listed,
            index,
            index_json: OnceLock::new(),
            shadowed,
            charts,
        }
    }

    /// The index as JSON: made when it's first asked for, unless it's JSON anyway.
    pub(super) fn index_json(&self, found: &[Arc<Found>]) -> &Arc<Representation> {
        self.index_json.get_or_init(|| {
            if self.index.identity().bytes.starts_with(b"{") {
                return self.index.clone();
            }
            Arc::new(Representation::new(
                index_file(&self.listed, found).to_json(),
            ))
        })
    }

    /// The chart of an archive's file name.
    pub(super) fn chart<'a>(
        &self,
        archive_name: &str,
        found: &'a [Arc<Found>],
    ) -> Option<&'a Found> {
        let chart = |at: &u32| &*found[*at as usize];
        let compare = |at: &u32| ChartVersion::cmp_archive_name(&chart(at).metadata, archive_name);
        let at = self.listed.binary_search_by(compare).ok()?;
        Some(chart(&self.listed[at]))
    }

    /// The places of one chart's versions.
    pub(super) fn versions_of(&self, name: &str, found: &[Arc<Found>]) -> Vec<u32> {
        let metadata = |at: &u32| &found[*at as usize].metadata;
        let start = format!("{name}-");
        let first = self
            .listed
            .partition_point(|at| ChartVersion::archive_name(metadata(at)) < start);
        // Between them are those of charts whose names begin alike.
        let begins = |at: &&u32| ChartVersion::archive_name(metadata(at)).starts_with(&start);
        let listed = self.listed[first..].iter().take_while(begins);
        listed
            .filter(|at| metadata(at).name() == name)
            .copied()
            .collect()
    }

    /// How many versions are listed.
    pub(super) fn versions(&self) -> usize {
        self.listed.len()
    }

    /// Says so when the index grows beyond what a client of renown reads, or comes back.
    pub(super) fn report_size(&self, last: Option<&ChartRepository>) {
        let length = |repository: &ChartRepository| repository.index.identity().bytes.len();
        let (before, now) = (last.map_or(0, length), length(self));
        for (limit, reader) in [(RANCHER_READS, "Rancher"), (FLUX_READS, "Flux")] {
            let mebibytes = limit / 1024 / 1024;
            if now > limit && before <= limit {
                log::warn!(
                    "the index has grown to {now} bytes: {reader} reads no more than {mebibytes} MiB"
                );
            } else if now <= limit && before > limit {
                log::info!("the index has shrunk to {now} bytes: {reader} reads it again");
            }
        }
    }
}

/// Another tag for the same archive is an alias, and no loss.
fn shadow(name: &str, listed: &Found, other: &Found) -> Option<Skipped> {
    let reason = || format!("{name} is shadowed by {}", place(listed));
    let is_alias = listed.layers.archive.digest == other.layers.archive.digest;
    (!is_alias).then(|| Skipped::new(place(other), reason()))
}

fn place(chart: &Found) -> String {
    qualified(&chart.repository, chart.reference.as_str())
}

/// The index of those places.
pub(super) fn index_file<'a>(listed: &[u32], found: &'a [Arc<Found>]) -> IndexFile<'a> {
    IndexFile::new(listed.iter().map(|at| entry(&found[*at as usize])))
}

pub(super) fn entry(chart: &Found) -> ChartVersion<'_> {
    ChartVersion {
        metadata: &chart.metadata,
        created: chart.created,
        digest: &chart.layers.archive.digest,
    }
}
