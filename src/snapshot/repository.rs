//! A chart repository: what one base URL serves, an index in its formats and the archives beside it.

use super::list::{ChartList, ListedCharts};
use crate::budget::{WHOLE, WHOLE_JSON};
use crate::helm::{ChartVersion, IndexFile, index};
use crate::inventory::{Skipped, StoredChart};
use crate::oci::{RepositoryName, qualified};
use crate::representation::Representation;
use crate::sorting;
use std::io::{self, Write};
use std::slice;
use std::sync::Arc;

/// What an index takes beside its entries, in bytes.
const FRAME: usize = 128;

/// What `/index.yaml` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IndexFormat {
    /// Block-style YAML in which every string is double-quoted.
    #[default]
    Yaml,
    /// JSON, which is YAML too.
    Json,
}

/// Where an index says that archives are.
#[derive(Clone, Debug, Default)]
pub enum ArchiveUrls {
    /// Beside the index: relative URLs, which hold behind any path prefix.
    #[default]
    Relative,
    /// At the same paths below this URL, which has no `/` at its end.
    Below(String),
    /// In the registry of this host and port, as Helm pulls them itself from 3.8 on.
    Registry(String),
}

impl ArchiveUrls {
    /// The same for the index of a prefix.
    pub(super) fn below(&self, prefix: &RepositoryName) -> ArchiveUrls {
        match self {
            ArchiveUrls::Below(url) => ArchiveUrls::Below(format!("{url}/{prefix}")),
            same => same.clone(),
        }
    }

    fn of(&self, chart: &StoredChart) -> Option<String> {
        match self {
            ArchiveUrls::Relative => None,
            ArchiveUrls::Below(url) => {
                let relative = ChartVersion::relative_url(&chart.metadata);
                Some(format!("{url}/{relative}"))
            }
            // The tag is as `helm push` made it: a `+` of the version is a `_`.
            ArchiveUrls::Registry(host) => {
                let reference = qualified(&chart.repository, chart.reference.as_str());
                Some(format!("oci://{host}/{reference}"))
            }
        }
    }
}

/// What is made of the charts: how indexes are written.
#[derive(Clone, Debug, Default)]
pub struct IndexStyle {
    /// What `/index.yaml` holds.
    pub format: IndexFormat,
    /// What they name archives by.
    pub urls: ArchiveUrls,
}

/// An index and its archives.
pub(super) struct ChartRepository {
    /// What is listed.
    pub(super) listing: Arc<ChartList>,
    /// The same, in the order of the archives' file names.
    pub(super) by_archive_name: Box<[Arc<StoredChart>]>,
    index: Arc<Representation>,
    /// What isn't listed, because another archive has its file name.
    pub(super) shadowed: Vec<Skipped>,
}

impl ChartRepository {
    /// Lists `charts`, which are in order of precedence: of those with the same archive name the first.
    pub(super) fn new(
        charts: &[Arc<StoredChart>],
        format: IndexFormat,
        urls: &ArchiveUrls,
    ) -> ChartRepository {
        let (by_archive_name, shadowed) = unshadowed(charts);
        let listing = ChartList::new(in_order(by_archive_name.clone()));
        ChartRepository {
            index: index(listing.charts.clone(), urls.clone(), format),
            listing: Arc::new(listing),
            by_archive_name: by_archive_name.into(),
            shadowed,
        }
    }

    /// The index in the format it was made for.
    pub(super) fn index(&self) -> &Arc<Representation> {
        &self.index
    }

    /// The chart of an archive's file name.
    pub(super) fn chart(&self, archive_name: &str) -> Option<&StoredChart> {
        let compare = |chart: &Arc<StoredChart>| {
            ChartVersion::cmp_archive_name(&chart.metadata, archive_name)
        };
        let at = self.by_archive_name.binary_search_by(compare).ok()?;
        Some(&self.by_archive_name[at])
    }
}

/// Those of `charts`, which are in order of precedence, that an index lists, in its order.
pub(super) fn listed(charts: &[Arc<StoredChart>]) -> ListedCharts {
    in_order(unshadowed(charts).0)
}

fn in_order(mut charts: Vec<Arc<StoredChart>>) -> ListedCharts {
    index::sort(&mut charts, |chart| (&chart.metadata, chart.layers.created));
    charts.into()
}

/// The first chart of each archive name, in the order of those names, and what isn't listed because of it.
fn unshadowed(charts: &[Arc<StoredChart>]) -> (Vec<Arc<StoredChart>>, Vec<Skipped>) {
    let mut in_order = charts.to_vec();
    // Of the same archive name, they stay in order of precedence.
    sorting::by_key(&mut in_order, |chart| {
        ChartVersion::archive_name(&chart.metadata)
    });
    let (mut by_archive_name, mut shadowed) = (Vec::<Arc<StoredChart>>::new(), Vec::new());
    for chart in in_order {
        let name = ChartVersion::archive_name(&chart.metadata);
        let is_it =
            |one: &&Arc<StoredChart>| ChartVersion::cmp_archive_name(&one.metadata, &name).is_eq();
        match by_archive_name.last().filter(is_it) {
            Some(listed) => shadowed.extend(shadow(&name, listed, &chart)),
            None => by_archive_name.push(chart),
        }
    }
    (by_archive_name, shadowed)
}

fn name(chart: &StoredChart) -> &str {
    chart.metadata.name()
}

/// The versions of one chart after those of the other.
pub(super) fn by_name(charts: &[Arc<StoredChart>]) -> impl Iterator<Item = &[Arc<StoredChart>]> {
    charts.chunk_by(|one, other| name(one) == name(other))
}

/// Another tag of the same archive is an alias, and no loss.
fn shadow(name: &str, listed: &StoredChart, other: &StoredChart) -> Option<Skipped> {
    let reference = |chart: &StoredChart| qualified(&chart.repository, chart.reference.as_str());
    let reason = || format!("{name} is shadowed by {}", reference(listed));
    let is_alias = listed.layers.archive.digest == other.layers.archive.digest;
    (!is_alias).then(|| Skipped::new(reference(other), reason()))
}

/// The index of those charts.
pub(super) fn index(
    charts: ListedCharts,
    urls: ArchiveUrls,
    format: IndexFormat,
) -> Arc<Representation> {
    match format {
        IndexFormat::Yaml => rendered(charts, urls, WHOLE, |file, out| file.write_yaml(out)),
        IndexFormat::Json => rendered(charts, urls, WHOLE_JSON, |file, out| file.write_json(out)),
    }
}

/// What `write` makes of the charts.
pub(super) fn rendered(
    charts: ListedCharts,
    urls: ArchiveUrls,
    most: usize,
    write: impl Fn(&IndexFile<Versions>, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
) -> Arc<Representation> {
    let render = move |out: &mut dyn Write| {
        let versions = Versions {
            charts: charts.iter(),
            urls: &urls,
        };
        write(&IndexFile::new(versions), out)
    };
    Arc::new(Representation::rendered(most, Arc::new(render)))
}

/// How many bytes the charts take when they are rendered, at most.
pub(super) fn length(charts: &[Arc<StoredChart>]) -> usize {
    let entries = charts.iter().map(|chart| chart.metadata.entry_length());
    entries.sum::<usize>() + FRAME
}

/// The charts as an index lists them.
#[derive(Clone)]
pub(super) struct Versions<'a> {
    charts: slice::Iter<'a, Arc<StoredChart>>,
    urls: &'a ArchiveUrls,
}

impl<'a> Iterator for Versions<'a> {
    type Item = ChartVersion<'a>;

    fn next(&mut self) -> Option<ChartVersion<'a>> {
        Some(chart_version(self.charts.next()?, self.urls))
    }
}

/// A chart as an index lists it.
fn chart_version<'a>(chart: &'a StoredChart, urls: &ArchiveUrls) -> ChartVersion<'a> {
    ChartVersion {
        metadata: &chart.metadata,
        created: chart.layers.created,
        digest: &chart.layers.archive.digest,
        url: urls.of(chart),
        is_signed: chart.layers.provenance.is_some(),
    }
}
