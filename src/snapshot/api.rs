//! What programs ask for besides an index: the charts as ChartMuseum's API tells of them, and what
//! isn't listed and why. Of ChartMuseum (`pkg/chartmuseum/server/multitenant/api.go` at 01b1309) it's
//! the reading half, of the chart repository at the root, without its pages (`offset`, `limit`) and without
//! ranges of versions.

use super::Snapshot;
use super::chart_repository::{entry, index_file};
use super::kept::{NoPage, Page};
use super::walk::Skipped;
use crate::representation::Representation;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

impl Snapshot {
    /// `/api/charts`: all versions of all charts, by name, newest first.
    pub fn charts_json(&self) -> Result<Arc<Representation>, NoPage> {
        let charts = || index_file(&self.root.listed, &self.found).entries_to_json();
        self.kept
            .get(Page::Charts, || Arc::new(Representation::new(charts())))
    }

    /// `/api/charts/NAME`: all versions of one chart.
    ///
    /// Errors when there are none.
    pub fn chart_json(&self, name: &str) -> Result<Arc<Representation>, NoPage> {
        let listed = self.root.versions_of(name, &self.found);
        if listed.is_empty() {
            return Err(NoPage::NotListed("chart not found".to_owned()));
        }
        let versions = || index_file(&listed, &self.found).versions_to_json(name);
        self.kept.get(Page::Chart(name.to_owned()), || {
            Arc::new(Representation::new(versions()))
        })
    }

    /// `/api/charts/NAME/VERSION`: one version; `latest` is the newest that is no prerelease.
    ///
    /// Errors when it isn't listed.
    pub fn chart_version_json(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Arc<Representation>, NoPage> {
        let listed = self.root.versions_of(name, &self.found);
        if listed.is_empty() {
            return Err(NoPage::NotListed("no chart name found".to_owned()));
        }
        let json = if version == "latest" {
            index_file(&listed, &self.found)
                .latest(name)
                .map(|chart| chart.to_json())
        } else {
            let mut charts = listed.iter().map(|at| &self.found[*at as usize]);
            charts
                .find(|chart| chart.metadata.version() == version)
                .map(|chart| entry(chart).to_json())
        };
        match json {
            Some(json) => Ok(Arc::new(Representation::new(json))),
            None => Err(NoPage::NotListed(format!(
                "no chart version found for {name}-{version}"
            ))),
        }
    }

    /// `/api/skipped`: what isn't listed, and why.
    pub fn skipped_json(&self) -> Result<Arc<Representation>, NoPage> {
        let skipped = || serde_json::to_vec(&Listing(&self.skipped)).expect("strings into memory");
        self.kept
            .get(Page::Skipped, || Arc::new(Representation::new(skipped())))
    }
}

struct Listing<'a>(&'a [Skipped]);

#[derive(Serialize)]
struct Line<'a> {
    reference: &'a str,
    reason: Cow<'a, str>,
    since: String,
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|skipped| Line {
            reference: &skipped.reference,
            reason: skipped.told(),
            since: date(skipped.since),
        }))
    }
}

fn date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}
