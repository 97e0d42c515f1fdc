//! A chart repository: what one base URL serves, an index in its formats and the archives beside it.

use crate::helm::{ChartVersion, IndexFile};
use crate::inventory::{Skipped, StoredChart};
use crate::oci::qualified;
use crate::representation::Representation;
use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Arc, OnceLock};

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
    /// What is listed, in the order of the archives' file names.
    pub(super) charts: Box<[Arc<StoredChart>]>,
    index: Arc<Representation>,
    index_json: OnceLock<Arc<Representation>>,
    /// What isn't listed, because another archive has its file name.
    pub(super) shadowed: Vec<Skipped>,
    /// How many charts there are, of one or several versions each.
    pub(super) names: usize,
}

impl ChartRepository {
    /// Lists `charts`, which are in order of precedence: of those with the same archive name the first.
    pub(super) fn new(charts: &[Arc<StoredChart>], format: IndexFormat) -> ChartRepository {
        let mut by_archive_name: HashMap<String, &Arc<StoredChart>> = HashMap::new();
        let mut shadowed = Vec::new();
        for chart in charts {
            match by_archive_name.entry(ChartVersion::archive_name(&chart.metadata)) {
                Entry::Vacant(free) => drop(free.insert(chart)),
                Entry::Occupied(taken) => shadowed.extend(shadow(taken.key(), taken.get(), chart)),
            }
        }
        let mut listed: Vec<_> = by_archive_name.into_iter().collect();
        listed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let charts: Box<[_]> = listed.into_iter().map(|(_, chart)| chart.clone()).collect();
        let file = index_file(&charts);
        let (names, _) = file.counts();
        let index = Arc::new(Representation::new(match format {
            IndexFormat::Yaml => file.to_yaml(),
            IndexFormat::Json => file.to_json(),
        }));
        let index_json = OnceLock::new();
        if format == IndexFormat::Json {
            let _ = index_json.set(index.clone());
        }
        ChartRepository {
            charts,
            index,
            index_json,
            shadowed,
            names,
        }
    }

    /// The index in the format it was made for.
    pub(super) fn index(&self) -> &Arc<Representation> {
        &self.index
    }

    /// The index as JSON, rendered when it's first asked for.
    pub(super) fn index_json(&self) -> &Arc<Representation> {
        self.index_json
            .get_or_init(|| Arc::new(Representation::new(self.index_file().to_json())))
    }

    /// What the index is rendered from.
    pub(super) fn index_file(&self) -> IndexFile<'_> {
        index_file(&self.charts)
    }

    /// The chart of an archive's file name.
    pub(super) fn chart(&self, archive_name: &str) -> Option<&StoredChart> {
        let compare = |chart: &Arc<StoredChart>| {
            ChartVersion::cmp_archive_name(&chart.metadata, archive_name)
        };
        let at = self.charts.binary_search_by(compare).ok()?;
        Some(&self.charts[at])
    }

    /// The versions of one chart, in no particular order.
    pub(super) fn versions(&self, name: &str) -> Vec<Arc<StoredChart>> {
        let start = format!("{name}-");
        let archive_name = |chart: &Arc<StoredChart>| ChartVersion::archive_name(&chart.metadata);
        let first = self
            .charts
            .partition_point(|chart| archive_name(chart) < start);
        // Among them are those of charts whose names begin alike.
        let charts = self.charts[first..].iter();
        let charts = charts.take_while(|chart| archive_name(chart).starts_with(&start));
        charts
            .filter(|chart| chart.metadata.name() == name)
            .cloned()
            .collect()
    }
}

/// Another tag of the same archive is an alias, and no loss.
fn shadow(name: &str, listed: &StoredChart, other: &StoredChart) -> Option<Skipped> {
    let reference = |chart: &StoredChart| qualified(&chart.repository, chart.reference.as_str());
    let reason = || format!("{name} is shadowed by {}", reference(listed));
    let is_alias = listed.layers.archive.digest == other.layers.archive.digest;
    (!is_alias).then(|| Skipped::new(reference(other), reason()))
}

/// The index of those charts.
pub(super) fn index_file(charts: &[Arc<StoredChart>]) -> IndexFile<'_> {
    IndexFile::new(charts.iter().map(|chart| chart_version(chart)))
}

/// A chart as an index lists it.
pub(super) fn chart_version(chart: &StoredChart) -> ChartVersion<'_> {
    ChartVersion {
        metadata: &chart.metadata,
        created: chart.created,
        digest: &chart.layers.archive.digest,
    }
}
