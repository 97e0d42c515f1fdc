//! The charts as JSON for programs, in the shapes of ChartMuseum's API (`pkg/chartmuseum/server/multitenant`
//! at 09d63b8) and of Harbor's before 2.8. Which charts lie where is not decided here.

use super::list::ListedCharts;
use super::repository::{ArchiveUrls, Versions, by_name, rendered};
use crate::budget::WHOLE_JSON;
use crate::helm::IndexFile;
use crate::helm::index::is_release;
use crate::inventory::StoredChart;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use std::io::{self, Write};
use std::sync::Arc;

/// What a program asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChartsQuery {
    /// In which shape.
    pub shape: ApiShape,
    /// Of the repositories at or below this one, as an index of it has them.
    pub prefix: Option<RepositoryName>,
    /// Which charts.
    pub what: ChartsAsked,
}

/// Whose API it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ApiShape {
    ChartMuseum,
    Harbor,
}

/// Which charts are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChartsAsked {
    /// All charts in the order of their names, from the one at `offset` on, and at most so many.
    #[allow(missing_docs)]
    All { offset: usize, limit: usize },
    /// All versions of the chart of this name.
    Chart(String),
    /// The version of a name and a version; `latest` is the newest one that is no prerelease.
    Version(String, String),
}

impl ChartsAsked {
    /// The chart, if it's one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            ChartsAsked::All { .. } => None,
            ChartsAsked::Chart(name) | ChartsAsked::Version(name, _) => Some(name),
        }
    }
}

type WriteJson = fn(&IndexFile<Versions>, &mut dyn Write) -> io::Result<()>;

/// What a query asks for of these charts, which are those of its prefix as an index lists them, or those of
/// them that have the asked name.
///
/// Errors when there is nothing.
pub(super) fn page(
    query: &ChartsQuery,
    charts: ListedCharts,
    urls: ArchiveUrls,
) -> Result<Arc<Representation>, String> {
    let charts = asked(charts, &query.what)?;
    Ok(rendered(charts, urls, WHOLE_JSON, writer(query)))
}

/// Those of the listed charts that are asked for. The errors are ChartMuseum's.
fn asked(charts: ListedCharts, what: &ChartsAsked) -> Result<ListedCharts, String> {
    let missing = |why: &str| Err(why.to_owned());
    match what {
        ChartsAsked::All { offset, limit } => {
            let start: usize = by_name(&charts).take(*offset).map(<[_]>::len).sum();
            let asked = by_name(&charts[start..]).take(*limit).map(<[_]>::len).sum();
            match asked == charts.len() {
                true => Ok(charts),
                false => Ok(charts[start..][..asked].into()),
            }
        }
        ChartsAsked::Chart(_) if charts.is_empty() => missing("chart not found"),
        ChartsAsked::Chart(_) => Ok(charts),
        ChartsAsked::Version(..) if charts.is_empty() => missing("no chart name found"),
        ChartsAsked::Version(name, version) => {
            let is_it = |chart: &&Arc<StoredChart>| match &**version {
                "latest" => is_release(&chart.metadata),
                version => chart.metadata.version() == version,
            };
            match charts.iter().find(is_it) {
                Some(chart) => Ok([chart.clone()].into()),
                None => missing(&format!("no chart version found for {name}-{version}")),
            }
        }
    }
}

fn writer(query: &ChartsQuery) -> WriteJson {
    use ApiShape::{ChartMuseum, Harbor};
    use ChartsAsked::{All, Chart, Version};
    match (query.shape, &query.what) {
        (ChartMuseum, All { .. }) => |file, out| file.write_entries(out),
        (ChartMuseum, Chart(_)) => |file, out| file.write_versions(out),
        (ChartMuseum, Version(..)) => |file, out| file.write_one(out),
        (Harbor, All { .. }) => |file, out| file.write_harbor_charts(out),
        (Harbor, Chart(_)) => |file, out| file.write_harbor_versions(out),
        (Harbor, Version(..)) => |file, out| file.write_harbor_version(out),
    }
}
