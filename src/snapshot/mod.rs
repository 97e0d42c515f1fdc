//! What readers see: an immutable [`Snapshot`] of the inventory, swapped whole. Pure: it asks no storage
//! and reads no clock. A request that needs a page that is not rendered yet renders it; see [`pages`].

mod api;
mod build;
mod counts;
mod list;
mod pages;
mod repository;

pub use api::{ApiShape, ChartsAsked, ChartsQuery};
pub use counts::Counts;
pub use list::{ChartList, preferred};
pub use pages::PageError;
pub(crate) use pages::Turn;
pub use repository::{ArchiveUrls, IndexFormat, IndexStyle};

use crate::budget::SKIPPED_PAGE;
use crate::helm::ChartVersion;
use crate::inventory::{Skipped, StoredChart};
use crate::oci::{RepositoryName, qualified};
use crate::representation::Representation;
use crate::sorting;
use core::net::IpAddr;
use list::ListedCharts;
use pages::{PageKey, Pages};
use repository::{ChartRepository, index, length, listed};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where Harbor served the charts of a project before it kept them as OCI artifacts (until 2.8).
const HARBOR_CHARTREPO: &str = "chartrepo/";

/// That a prefix has no index.
const NOTHING_BELOW: &str = "no repository below this path holds a chart";

/// All that is served, as of one scan.
pub struct Snapshot {
    /// What is served at `/`.
    root: Arc<ChartRepository>,
    /// How `/index.yaml` and `/PREFIX/index.yaml` are written.
    style: IndexStyle,
    /// Every chart, listed or not, in order of precedence.
    pub charts: Vec<Arc<StoredChart>>,
    /// Where in `charts` the first of each repository stands.
    repositories: BTreeMap<RepositoryName, usize>,
    pages: Pages,
    /// What isn't listed, and why; sorted. If there is more than the budget allows, `counts` tells of it.
    pub skipped: Vec<Skipped>,
    /// The repositories with Artifact Hub's tag, by name.
    described: Vec<RepositoryName>,
    /// See [`Snapshot::outdated`].
    outdated: usize,
    /// How much it holds.
    pub counts: Counts,
}

impl Snapshot {
    /// `/index.yaml`.
    pub fn index(&self) -> &Arc<Representation> {
        self.root.index()
    }

    /// The versions that `/index.yaml` listed before and lists now with another archive, or from another
    /// repository, in sentences: a client that pinned one gets something else.
    pub fn changes_since(&self, last: &Snapshot) -> Vec<String> {
        let place = |chart: &StoredChart| qualified(&chart.repository, chart.reference.as_str());
        let mut changes = Vec::new();
        let mut last = last.root.by_archive_name.iter().peekable();
        for now in &self.root.by_archive_name {
            let name = ChartVersion::archive_name(&now.metadata);
            let order = |one: &StoredChart| ChartVersion::cmp_archive_name(&one.metadata, &name);
            while last.next_if(|one| order(one).is_lt()).is_some() {}
            let Some(before) = last.next_if(|one| order(one).is_eq()) else {
                continue;
            };
            let (was, is) = (place(before), place(now));
            if before.layers.archive.digest != now.layers.archive.digest {
                changes.push(format!(
                    "{name} has another archive than before: {is}, before {was}"
                ));
            } else if before.repository != now.repository {
                changes.push(format!(
                    "{name} comes from another repository than before: {is}, before {was}"
                ));
            }
        }
        changes
    }

    /// `/PREFIX/index.yaml`, in the configured format: the index of the repositories at or below the prefix,
    /// as if there were no others. `/index.yaml` without a prefix. Requests of one `client` take turns with
    /// those of others, here and for all other pages.
    ///
    /// Errors when no chart lies there, or when too many requests wait for pages.
    pub fn index_below(
        &self,
        prefix: Option<&RepositoryName>,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        self.index_in(self.style.format, prefix, client)
    }

    /// `/PREFIX/index.json`, and `/index.json`. Errors as [`Snapshot::index_below`] does.
    pub fn index_json_below(
        &self,
        prefix: Option<&RepositoryName>,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        self.index_in(IndexFormat::Json, prefix, client)
    }

    fn index_in(
        &self,
        format: IndexFormat,
        prefix: Option<&RepositoryName>,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        let Some((prefix, ranges)) = self.part(prefix)? else {
            return self.root_index(format, client);
        };
        let urls = self.style.urls.below(&prefix);
        let key = PageKey::Index(Some(prefix), format);
        if let Some(page) = self.pages.kept(&key) {
            return Ok(page);
        }
        let charts: Vec<_> = self.in_ranges(ranges).cloned().collect();
        self.pages.get(key, client, length(&charts), || {
            Ok(ChartRepository::new(&charts, format, &urls).index().clone())
        })
    }

    /// The prefix and the charts of a part of all; nothing if it is no part, but all.
    fn part(&self, prefix: Option<&RepositoryName>) -> Result<Option<BelowPrefix>, PageError> {
        let below = match prefix {
            None => None,
            Some(prefix) => Some(self.below(prefix).ok_or_else(|| {
                let why = "no repository below this path holds a chart";
                PageError::NotFound(why.to_owned())
            })?),
        };
        Ok(below.filter(|(_, ranges)| count(ranges) < self.charts.len()))
    }

    /// What `/PREFIX/index.yaml` lists, without rendering it. Errors as [`Snapshot::index_below`] does.
    pub fn listing(
        &self,
        prefix: Option<&RepositoryName>,
        client: IpAddr,
    ) -> Result<Arc<ChartList>, PageError> {
        let Some((prefix, ranges)) = self.part(prefix)? else {
            return Ok(self.root.listing.clone());
        };
        let charts = Vec::from_iter(self.in_ranges(ranges).cloned());
        let make = || ChartList::new(listed(&charts));
        self.pages.listing(prefix, client, make)
    }

    /// A page for people, as `render` makes it; `expected` is how many bytes of metadata it reads. It is kept
    /// under `name`, and not at all without one.
    ///
    /// Errors when too many requests wait for pages.
    pub(crate) fn html(
        &self,
        name: Option<String>,
        client: IpAddr,
        expected: usize,
        render: &dyn Fn() -> String,
    ) -> Result<Arc<Representation>, PageError> {
        let render = || Ok(Arc::new(Representation::new(render().into_bytes())));
        match name {
            Some(name) => self
                .pages
                .get(PageKey::Html(name), client, expected, render),
            None => {
                let _turn = self.turn(client, expected).ok_or(PageError::Busy)?;
                render()
            }
        }
    }

    fn root_index(
        &self,
        format: IndexFormat,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        if format == self.style.format {
            return Ok(self.root.index().clone());
        }
        let charts = self.root.listing.charts.clone();
        let urls = self.style.urls.clone();
        let key = PageKey::Index(None, format);
        let expected = length(&charts);
        self.pages
            .get(key, client, expected, || Ok(index(charts, urls, format)))
    }

    /// The chart whose archive is `/PREFIX/charts/NAME-VERSION.tgz`, by that file name. No index is rendered
    /// for it.
    pub fn chart_below(
        &self,
        prefix: Option<&RepositoryName>,
        archive_name: &str,
    ) -> Option<&StoredChart> {
        let Some(prefix) = prefix else {
            return self.root.chart(archive_name);
        };
        let (_, ranges) = self.below(prefix)?;
        // The first in order of precedence, as in the prefix's index.
        let is_it = |chart: &&Arc<StoredChart>| {
            ChartVersion::cmp_archive_name(&chart.metadata, archive_name).is_eq()
        };
        self.in_ranges(ranges).find(is_it).map(|chart| &**chart)
    }

    /// Whether `/PREFIX/index.yaml` is there.
    pub fn has_charts_below(&self, prefix: &RepositoryName) -> bool {
        self.below(prefix).is_some()
    }

    /// Whether a chart of this name lies at or below a prefix, as far as can be told without sorting them.
    pub fn has_chart_below(&self, prefix: Option<&RepositoryName>, name: &str) -> bool {
        let is_listed = !self.root.listing.versions(name).is_empty();
        is_listed && prefix.is_none_or(|prefix| self.has_charts_below(prefix))
    }

    /// The repository whose tag has the metadata of the chart repository at a prefix, for Artifact Hub: the
    /// one of that very name, or else the only one at or below it. If there are several, none of their
    /// pushers speaks for the others.
    pub fn described_by(&self, prefix: Option<&RepositoryName>) -> Option<&RepositoryName> {
        let prefix = match prefix {
            None => None,
            Some(path) => Some(self.below(path)?.0),
        };
        let is_below =
            |name: &&RepositoryName| prefix.as_ref().is_none_or(|top| name.is_below(top));
        let mut below = self.described.iter().filter(is_below);
        let first = below.next()?;
        (prefix.as_ref() == Some(first) || below.next().is_none()).then_some(first)
    }

    /// The prefix whose charts are served at a path, and where in `charts` they are. Harbor's old address of
    /// a project stands for the project, unless charts lie below that very path.
    fn below(&self, path: &RepositoryName) -> Option<BelowPrefix> {
        let ranges = |prefix: RepositoryName| {
            let own = self.repositories.get(&prefix);
            let inside = format!("{prefix}/");
            let bounds = (Bound::Excluded(inside.as_str()), Bound::Unbounded);
            let inner = self.repositories.range::<str, _>(bounds);
            let inner = inner.take_while(|(name, _)| name.as_str().starts_with(&inside));
            let all = own.into_iter().chain(inner.map(|(_, start)| start));
            let mut starts: Vec<usize> = all.copied().collect();
            sorting::ascending(&mut starts);
            let ranges: Vec<_> = starts
                .into_iter()
                .map(|start| self.range_from(start))
                .collect();
            (!ranges.is_empty()).then_some((prefix, ranges))
        };
        let project = || path.as_str().strip_prefix(HARBOR_CHARTREPO)?.parse().ok();
        ranges(path.clone()).or_else(|| ranges(project()?))
    }

    /// Where the charts of the repository are whose first is at `start`.
    fn range_from(&self, start: usize) -> Range<usize> {
        let charts = &self.charts[start..];
        let is_of_it = |chart: &Arc<StoredChart>| chart.repository == charts[0].repository;
        start..start + charts.partition_point(is_of_it)
    }

    fn in_ranges(&self, ranges: Vec<Range<usize>>) -> impl Iterator<Item = &Arc<StoredChart>> {
        ranges.into_iter().flat_map(|range| &self.charts[range])
    }

    /// `/api/charts` and the like: what `query` asks for.
    ///
    /// Errors when it isn't listed, or when too many requests wait for pages.
    pub fn charts_json(
        &self,
        query: &ChartsQuery,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        let key = PageKey::Charts(query.clone());
        if let Some(page) = self.pages.kept(&key) {
            return Ok(page);
        }
        let (name, mut urls) = (query.what.name(), self.style.urls.clone());
        let (charts, are_listed): (ListedCharts, bool) = match (&query.prefix, name) {
            (None, None) => (self.root.listing.charts.clone(), true),
            (None, Some(name)) => (self.root.listing.versions(name).into(), true),
            (Some(path), _) => {
                let missing = || PageError::NotFound(NOTHING_BELOW.to_owned());
                let (prefix, ranges) = self.below(path).ok_or_else(missing)?;
                urls = urls.below(&prefix);
                let has_name = |chart: &&Arc<StoredChart>| {
                    name.is_none_or(|name| chart.metadata.name() == name)
                };
                let charts = self.in_ranges(ranges).filter(has_name);
                (charts.cloned().collect(), false)
            }
        };
        self.pages.get(key, client, length(&charts), || {
            let charts = if are_listed { charts } else { listed(&charts) };
            api::page(query, charts, urls).map_err(PageError::NotFound)
        })
    }

    /// `/api/skipped`: what isn't listed, and why, from the one at `offset` on, at most `limit` of them and
    /// at most [`SKIPPED_PAGE`].
    ///
    /// Errors when too many requests wait for pages.
    pub fn skipped_json(
        &self,
        offset: usize,
        limit: usize,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        let from = offset.min(self.skipped.len());
        let page = &self.skipped[from..];
        let page = &page[..limit.min(SKIPPED_PAGE).min(page.len())];
        let key = PageKey::Skipped(from, page.len());
        self.pages.get(key, client, 0, || {
            let lines = serde_json::to_vec(&SkippedLines(page)).unwrap_or_default();
            Ok(Arc::new(Representation::new(lines)))
        })
    }

    /// The turn to make something of so many bytes for a client.
    pub(crate) fn turn(&self, client: IpAddr, expected: usize) -> Option<Turn> {
        self.pages.turn(client, expected)
    }

    /// How many bytes of snapshots before this one are in none of its charts. What was taken from such a
    /// snapshot holds at most as many more as this has grown by since.
    pub fn outdated(&self) -> usize {
        self.outdated
    }
}

/// A prefix, and where its charts are among all.
type BelowPrefix = (RepositoryName, Vec<Range<usize>>);

fn count(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

struct SkippedLines<'a>(&'a [Skipped]);

#[derive(Serialize)]
struct SkippedLine<'a> {
    reference: &'a str,
    reason: &'a str,
    since: String,
}

impl Serialize for SkippedLines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|skipped| SkippedLine {
            reference: &skipped.reference,
            reason: skipped.public_reason(),
            since: date(skipped.since),
        }))
    }
}

fn date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::build::tests::{CLIENT, chart, snapshot};
    use super::*;

    fn below(snapshot: &Snapshot, prefix: &str) -> Option<Arc<Representation>> {
        snapshot
            .index_below(Some(&prefix.parse().unwrap()), CLIENT)
            .ok()
    }

    fn teams() -> Vec<StoredChart> {
        vec![
            chart("team/a/web", "1.0.0", "web", "1.0.0", "a"),
            chart("team/b/web", "1.0.0", "web", "1.0.0", "b"),
            chart("lib/db", "1.0.0", "db", "1.0.0", "db"),
        ]
    }

    #[test]
    fn below_a_prefix_it_is_as_if_there_were_nothing_else() {
        let all = snapshot(teams());
        for (prefix, charts) in [
            ("team", 0..2),
            ("team/a", 0..1),
            ("team/b/web", 1..2),
            ("lib", 2..3),
        ] {
            let alone = snapshot(teams().drain(charts).collect());
            let index = below(&all, prefix).unwrap();
            assert_eq!(
                index.identity().to_vec(),
                alone.index().identity().to_vec(),
                "{prefix}"
            );
            let json = all
                .index_json_below(Some(&prefix.parse().unwrap()), CLIENT)
                .unwrap();
            assert_eq!(
                json.identity().etag,
                alone
                    .index_json_below(None, CLIENT)
                    .unwrap()
                    .identity()
                    .etag,
                "{prefix}"
            );
        }
        let archive = |prefix: &str| {
            let chart = all.chart_below(Some(&prefix.parse().unwrap()), "web-1.0.0.tgz")?;
            Some(chart.repository.to_string())
        };
        assert_eq!(archive("team").as_deref(), Some("team/a/web"));
        assert_eq!(archive("team/b").as_deref(), Some("team/b/web"));
        assert_eq!(archive("lib"), None);
        for nothing in ["te", "team/c", "team/a/web/x", "web"] {
            assert!(
                below(&all, nothing).is_none() && archive(nothing).is_none(),
                "{nothing}"
            );
        }
    }

    #[test]
    fn harbors_old_address_stands_for_the_project_unless_charts_lie_there() {
        let plain = snapshot(teams());
        assert!(Arc::ptr_eq(
            &below(&plain, "chartrepo/team").unwrap(),
            &below(&plain, "team").unwrap()
        ));
        assert!(below(&plain, "chartrepo").is_none() && below(&plain, "chartrepo/x").is_none());
        let archive = |snapshot: &Snapshot| {
            let prefix = "chartrepo/team/b".parse().unwrap();
            snapshot
                .chart_below(Some(&prefix), "web-1.0.0.tgz")
                .unwrap()
                .repository
                .to_string()
        };
        assert_eq!(archive(&plain), "team/b/web");
        let real = chart("chartrepo/team/b/web", "1.0.0", "web", "1.0.0", "c");
        let real = snapshot(teams().into_iter().chain([real]).collect());
        assert_eq!(archive(&real), "chartrepo/team/b/web");
        let other = |prefix| below(&real, prefix).unwrap().identity().etag.clone();
        assert_ne!(other("chartrepo/team"), other("team"));
        assert_eq!(other("chartrepo/team/a"), other("team/a"));
    }

    #[test]
    fn a_prefix_of_all_there_is_has_the_index_of_all() {
        let all = snapshot(teams().drain(..2).collect());
        assert!(Arc::ptr_eq(&below(&all, "team").unwrap(), all.index()));
        let json = all
            .index_json_below(Some(&"team".parse().unwrap()), CLIENT)
            .unwrap();
        assert!(Arc::ptr_eq(
            &json,
            &all.index_json_below(None, CLIENT).unwrap()
        ));
    }

    #[test]
    fn the_charts_below_a_prefix_are_found_and_none_beside_it() {
        let names = [
            "team",
            "teams",
            "team-x",
            "team.y",
            "team/a",
            "teams/b",
            "team/a/b",
            "zoo/team/a",
        ];
        let charts = names.iter().flat_map(|name| {
            ["1.0.0", "2.0.0"].map(|tag| chart(name, tag, &name.replace('/', "-"), tag, name))
        });
        let all = snapshot(charts.collect());
        for prefix in [
            "team",
            "teams",
            "team/a",
            "team/a/b",
            "zoo",
            "tea",
            "team/b",
            "zoo/team/a/b",
        ] {
            let prefix: RepositoryName = prefix.parse().unwrap();
            let ranges = all.below(&prefix).map_or(Vec::new(), |(_, ranges)| ranges);
            let found = all
                .in_ranges(ranges)
                .map(|chart| (&chart.repository, &chart.reference));
            let expected = all
                .charts
                .iter()
                .filter(|chart| chart.repository.is_below(&prefix));
            let expected = expected.map(|chart| (&chart.repository, &chart.reference));
            assert!(found.eq(expected), "{prefix}");
        }
    }
}
