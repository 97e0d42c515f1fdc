//! What readers see: an immutable [`Snapshot`] of the inventory, swapped whole. Pure: it asks no storage
//! and reads no clock. A request that needs a page that is not rendered yet renders it; see [`pages`].

mod build;
mod pages;
mod repository;

pub use pages::PageError;
pub(crate) use pages::Turn;
pub use repository::{ArchiveUrls, IndexFormat, IndexStyle};

use crate::budget::{SKIPPED_PAGE, WHOLE_JSON};
use crate::helm::index::is_release;
use crate::helm::{ChartVersion, IndexFile};
use crate::inventory::{Skipped, StoredChart};
use crate::oci::{RepositoryName, qualified};
use crate::representation::Representation;
use crate::sorting;
use core::net::IpAddr;
use pages::{PageKey, Pages};
use repository::{ChartRepository, ListedCharts, Versions, index, length, rendered};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::ops::{Bound, Range};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where Harbor served the charts of a project before it kept them as OCI artifacts (until 2.8).
const HARBOR_CHARTREPO: &str = "chartrepo/";

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
    /// See [`Snapshot::outdated`].
    outdated: usize,
    /// How much it holds.
    pub counts: Counts,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub charts: usize,
    pub versions: usize,
    pub skipped: usize,
    /// Tags that are not listed because a bound is reached.
    pub over_bound: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            charts,
            versions,
            skipped,
            over_bound,
        } = self;
        let s = |count: &usize| if *count == 1 { "" } else { "s" };
        write!(
            f,
            "{charts} chart{}, {versions} version{}, {skipped} skipped",
            s(charts),
            s(versions)
        )?;
        match over_bound {
            0 => Ok(()),
            _ => write!(
                f,
                "; a bound is reached, {over_bound} tag{} left out",
                if *over_bound == 1 { " is" } else { "s are" }
            ),
        }
    }
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
        let below = match prefix {
            None => None,
            Some(prefix) => Some(self.below(prefix).ok_or_else(|| {
                let why = "no repository below this path holds a chart";
                PageError::NotFound(why.to_owned())
            })?),
        };
        let is_part = |(_, ranges): &(_, Vec<Range<usize>>)| count(ranges) < self.charts.len();
        let Some((prefix, ranges)) = below.filter(is_part) else {
            return self.root_index(format, client);
        };
        let urls = self.style.urls.below(&prefix);
        let key = PageKey::Index(Some(prefix), format);
        if let Some(page) = self.pages.kept(&key) {
            return Ok(page);
        }
        let charts: Vec<_> = self.in_ranges(ranges).cloned().collect();
        self.pages.get(key, client, length(&charts), || {
            ChartRepository::new(&charts, format, &urls).index().clone()
        })
    }

    fn root_index(
        &self,
        format: IndexFormat,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        if format == self.style.format {
            return Ok(self.root.index().clone());
        }
        let (charts, urls) = (self.root.charts.clone(), self.style.urls.clone());
        let key = PageKey::Index(None, format);
        let expected = length(&charts);
        self.pages
            .get(key, client, expected, || index(charts, urls, format))
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

    /// The prefix whose charts are served at a path, and where in `charts` they are. Harbor's old address of
    /// a project stands for the project, unless charts lie below that very path.
    fn below(&self, path: &RepositoryName) -> Option<(RepositoryName, Vec<Range<usize>>)> {
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

    /// `/api/charts`, as ChartMuseum's API has it (`pkg/chartmuseum/server/multitenant/api.go` at 01b1309),
    /// without its pages (`offset`, `limit`): all versions of all charts, by name, newest first.
    ///
    /// Errors when too many requests wait for pages.
    pub fn charts_json(&self, client: IpAddr) -> Result<Arc<Representation>, PageError> {
        let all = || self.root.charts.clone();
        self.page(PageKey::Charts, client, &all, |file, out| {
            file.write_entries(out)
        })
    }

    /// `/api/charts/NAME`: all versions of one chart, newest first.
    ///
    /// Errors when there are none, or when too many requests wait for pages.
    pub fn chart_json(&self, name: &str, client: IpAddr) -> Result<Arc<Representation>, PageError> {
        let versions = self.root.versions(name);
        if versions.is_empty() {
            return Err(PageError::NotFound("chart not found".to_owned()));
        }
        let key = PageKey::Chart(name.to_owned());
        self.page(key, client, &|| versions.into(), |file, out| {
            file.write_versions(out)
        })
    }

    /// `/api/charts/NAME/VERSION`: one version; `latest` is the newest one that is no prerelease.
    ///
    /// Errors when it isn't listed, or when too many requests wait for pages.
    pub fn chart_version_json(
        &self,
        name: &str,
        version: &str,
        client: IpAddr,
    ) -> Result<Arc<Representation>, PageError> {
        let versions = self.root.versions(name);
        if versions.is_empty() {
            return Err(PageError::NotFound("no chart name found".to_owned()));
        }
        let is_it = |chart: &&Arc<StoredChart>| match version {
            "latest" => is_release(&chart.metadata),
            _ => chart.metadata.version() == version,
        };
        let missing = format!("no chart version found for {name}-{version}");
        let chart = versions.iter().find(is_it);
        let chart = chart.ok_or(PageError::NotFound(missing))?;
        let found = chart.metadata.version();
        let key = PageKey::Version(name.to_owned(), found.to_owned());
        let one = || [chart.clone()].into();
        self.page(key, client, &one, |file, out| file.write_one(out))
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
            Arc::new(Representation::new(lines))
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

    /// The JSON that `write` makes of some charts.
    fn page(
        &self,
        key: PageKey,
        client: IpAddr,
        charts: &dyn Fn() -> ListedCharts,
        write: fn(&IndexFile<Versions>, &mut dyn Write) -> io::Result<()>,
    ) -> Result<Arc<Representation>, PageError> {
        if let Some(page) = self.pages.kept(&key) {
            return Ok(page);
        }
        let charts = charts();
        let (expected, urls) = (length(&charts), self.style.urls.clone());
        self.pages.get(key, client, expected, || {
            rendered(charts, urls, WHOLE_JSON, write)
        })
    }
}

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
