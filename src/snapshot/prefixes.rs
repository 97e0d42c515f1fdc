//! The chart repository of what lies below a prefix: as if the registry held nothing else. Its index
//! is made when it's first asked for; an archive needs no index.

use super::chart_repository::ChartRepository;
use super::kept::{NoPage, Page};
use super::walk::Found;
use super::{IndexFormat, Snapshot};
use crate::helm::ChartVersion;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use std::ops::Range;
use std::sync::Arc;

/// Where Harbor served the charts of a project before it kept them as OCI artifacts (until 2.8).
const HARBORS_OLD_ADDRESS: &str = "chartrepo/";

/// A prefix below which there are charts.
struct Place {
    prefix: RepositoryName,
    /// Theirs among what was found, in order of precedence.
    charts: Vec<Range<usize>>,
}

impl Snapshot {
    /// `/PREFIX/index.yaml`, if there are charts; `/index.yaml` without a prefix.
    pub fn index_below(
        &self,
        prefix: Option<&RepositoryName>,
    ) -> Result<Arc<Representation>, NoPage> {
        match prefix {
            None => Ok(self.root.index.clone()),
            Some(prefix) => self.index_in(self.format, self.place(prefix)),
        }
    }

    /// `/PREFIX/index.json`, and `/index.json`.
    pub fn index_json_below(
        &self,
        prefix: Option<&RepositoryName>,
    ) -> Result<Arc<Representation>, NoPage> {
        match prefix {
            None => Ok(self.root.index_json(&self.found).clone()),
            Some(prefix) => self.index_in(IndexFormat::Json, self.place(prefix)),
        }
    }

    /// The chart whose archive is `/PREFIX/charts/NAME-VERSION.tgz`, by file name.
    pub fn chart_below(
        &self,
        prefix: Option<&RepositoryName>,
        archive_name: &str,
    ) -> Option<&Found> {
        let Some(prefix) = prefix else {
            return self.root.chart(archive_name, &self.found);
        };
        let charts = self
            .place(prefix)?
            .charts
            .into_iter()
            .flat_map(|range| &self.found[range]);
        // The first, as in its index.
        charts
            .map(|chart| &**chart)
            .find(|chart| ChartVersion::cmp_archive_name(&chart.metadata, archive_name).is_eq())
    }

    /// All that was found below a prefix, in order of precedence.
    pub(super) fn found_below(&self, prefix: &RepositoryName) -> Vec<Arc<Found>> {
        self.places
            .below(prefix)
            .into_iter()
            .flat_map(|range| self.found[range].iter().cloned())
            .collect()
    }

    /// Harbor's old address of a project stands for the project, unless a chart lies where it leads.
    fn place(&self, prefix: &RepositoryName) -> Option<Place> {
        let place = |prefix: RepositoryName| {
            let charts = self.places.below(&prefix);
            (!charts.is_empty()).then_some(Place { prefix, charts })
        };
        let project = || {
            prefix
                .as_str()
                .strip_prefix(HARBORS_OLD_ADDRESS)?
                .parse()
                .ok()
        };
        place(prefix.clone()).or_else(|| place(project()?))
    }

    fn index_in(
        &self,
        format: IndexFormat,
        place: Option<Place>,
    ) -> Result<Arc<Representation>, NoPage> {
        let nothing =
            || NoPage::NotListed("no repository below this path holds a chart".to_owned());
        let place = place.ok_or_else(nothing)?;
        if place.charts.iter().map(Range::len).sum::<usize>() == self.found.len() {
            return if format == self.format {
                self.index_below(None)
            } else {
                self.index_json_below(None)
            };
        }
        let make = || ChartRepository::new(&self.found_below(&place.prefix), format).index;
        self.kept
            .get(Page::Index(place.prefix.clone(), format), make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::assemble::assemble;
    use crate::snapshot::assemble::tests::{found, harvest, snapshot};

    fn below(snapshot: &Snapshot, prefix: &str) -> Option<Arc<Representation>> {
        snapshot.index_below(Some(&prefix.parse().unwrap())).ok()
    }

    fn teams() -> Vec<Found> {
        vec![
            found("team/a/web", "1.0.0", "web", "1.0.0", "a"),
            found("team/b/web", "1.0.0", "web", "1.0.0", "b"),
            found("lib/db", "1.0.0", "db", "1.0.0", "db"),
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
                index.identity().bytes,
                alone.index().identity().bytes,
                "{prefix}"
            );
            let json = all
                .index_json_below(Some(&prefix.parse().unwrap()))
                .unwrap();
            assert_eq!(
                json.identity().etag,
                alone.index_json().identity().etag,
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
        let real = found("chartrepo/team/b/web", "1.0.0", "web", "1.0.0", "c");
        let real = snapshot(teams().into_iter().chain([real]).collect());
        assert_eq!(archive(&real), "chartrepo/team/b/web");
        let other = |prefix| below(&real, prefix).unwrap().identity().etag.clone();
        assert_ne!(other("chartrepo/team"), other("team"));
        assert_eq!(other("chartrepo/team/a"), other("team/a"));
    }

    #[test]
    fn an_index_below_a_prefix_is_kept_while_nothing_changes_there() {
        let first = snapshot(teams());
        let (a, b) = (
            below(&first, "team/a").unwrap(),
            below(&first, "team/b").unwrap(),
        );
        assert!(Arc::ptr_eq(&a, &below(&first, "team/a").unwrap()));
        let mut changed = teams();
        changed[1] = found("team/b/web", "1.0.0", "web", "1.0.0", "another");
        changed.insert(
            0,
            found("a", "1.0.0", "a", "1.0.0", "moves the places of all others"),
        );
        let next = assemble(harvest(changed), IndexFormat::Yaml, Some(&first));
        assert!(Arc::ptr_eq(&a, &below(&next, "team/a").unwrap()));
        assert_ne!(
            below(&next, "team/b").unwrap().identity().etag,
            b.identity().etag
        );
        let gone = assemble(
            harvest(teams().drain(2..).collect()),
            IndexFormat::Yaml,
            Some(&next),
        );
        assert!(below(&gone, "team/a").is_none());
    }

    #[test]
    fn a_prefix_of_all_there_is_has_the_index_of_all() {
        let all = snapshot(teams().drain(..2).collect());
        assert!(std::ptr::eq(&*below(&all, "team").unwrap(), all.index()));
        let json = all
            .index_json_below(Some(&"team".parse().unwrap()))
            .unwrap();
        assert!(std::ptr::eq(&*json, all.index_json()));
    }
}
