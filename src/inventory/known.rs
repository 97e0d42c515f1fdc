//! The inventory, and what is read from it. How it learns is told in [`record`](super::record).

use super::artifact::{Artifact, ChartConfig};
use super::budget::{Demand, Plan, WantedConfig};
use super::contents::{Contents, Skipped, StoredChart};
use super::filter::{Filter, METADATA_TAG, Newest, TOO_OLD, version_of};
use super::tag::{KnownTag, Repository};
use crate::helm::Version;
use crate::oci::{Blob, Digest, Reference, RepositoryName, qualified};
use crate::sorting;
use crate::storage::{ErrorKind, KeptTag, Known, Standing};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// How much of what the storage lists could not be read.
pub(crate) struct Unread {
    /// Repositories and tags that failed for any reason but that they are gone, or that were not asked
    /// for yet: a further scan may find more.
    pub(crate) count: usize,
    /// Those of them that gave no answer or were not asked: the storage itself may be in trouble.
    pub(crate) unanswered: usize,
    /// Those of them to which access was denied.
    pub(crate) denied: usize,
}

/// Everything that is known.
pub(crate) struct Inventory {
    pub(super) filter: Filter,
    /// Repositories that the filter excludes.
    pub(super) excluded: Vec<Skipped>,
    pub(super) repositories: BTreeMap<RepositoryName, Repository>,
    /// By the digest of the manifest.
    pub(super) artifacts: HashMap<Digest, Artifact>,
    /// How many tags are listed beyond their repositories' shares of what is known.
    pub(super) unknown_tags: usize,
    /// By the digest of the config blob.
    pub(super) configs: HashMap<Digest, ChartConfig>,
    /// What the metadata of several charts has in common.
    pub(super) common_texts: HashSet<Arc<str>>,
    /// Tags that were rechecked out of turn not long ago, and when.
    pub(super) rechecked: BTreeMap<(RepositoryName, Reference), Instant>,
    /// Until when the storage takes no requests.
    pub(super) paused_until: Option<Instant>,
    /// How many were warned of as unreadable in this scan.
    pub(super) warned: usize,
    /// Whether the contents have changed since [`Inventory::take_changed`].
    pub(super) changed: bool,
}

impl Inventory {
    /// Empty; `filter` decides what will be asked for.
    pub(crate) fn new(filter: Filter) -> Inventory {
        Inventory {
            filter,
            excluded: Vec::new(),
            repositories: BTreeMap::new(),
            artifacts: HashMap::new(),
            unknown_tags: 0,
            configs: HashMap::new(),
            common_texts: HashSet::new(),
            rechecked: BTreeMap::new(),
            paused_until: None,
            warned: 0,
            changed: false,
        }
    }

    /// Whether the contents have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether any chart is known.
    pub(crate) fn has_charts(&self) -> bool {
        let is_chart = |tag: &KnownTag| match self.artifact(tag.manifest.as_ref()) {
            Some(Artifact::Chart { layers, .. }) => {
                let config = self.configs.get(&layers.config.digest);
                matches!(config, Some(ChartConfig::Metadata(_)))
            }
            _ => false,
        };
        self.tags().any(|(_, tag)| is_chart(tag))
    }

    /// Whether the storage takes no requests for a while.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// When the next tag is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = self.tags().filter_map(|(_, tag)| tag.due).min();
        due.map(|due| self.paused_until.map_or(due, |until| due.max(until)))
    }

    /// All charts, and all that is skipped.
    pub(crate) fn contents(&self) -> Contents {
        let mut contents = Contents {
            over_bound: self.unknown_tags,
            ..Contents::default()
        };
        let excluded = self.excluded.iter().cloned();
        excluded.for_each(|one| contents.skipped.push(one));
        let plan = self.plan(|tag| tag.manifest.as_ref());
        for (name, repository) in &self.repositories {
            let start = contents.charts.len();
            if repository.lists(METADATA_TAG) {
                contents.described.push(name.clone());
            }
            if let Some(skipped) = repository.skipped(name) {
                contents.skipped.push(skipped);
            }
            for tag in &repository.tags {
                match self.finding(name, tag, &plan, &mut contents.over_bound) {
                    Some(Ok(chart)) => contents.charts.push(Arc::new(chart)),
                    Some(Err(skipped)) => contents.skipped.push(skipped),
                    None => {}
                }
            }
            if let Some(most) = self.filter.max_versions {
                skip_old(&mut contents, start, most.get());
            }
        }
        contents
    }

    /// What is worth to be kept for the next start: all tags that are read with the present flags, the newest
    /// versions of each repository first.
    pub(crate) fn kept(&self) -> Known {
        let listed = self.contents().charts;
        let listed: HashSet<(&str, &str)> = listed
            .iter()
            .map(|chart| (chart.repository.as_str(), chart.reference.as_str()))
            .collect();
        let kept = |(name, repository): (&RepositoryName, &Repository)| {
            let is_known = repository.failure.is_none() || !repository.tags.is_empty();
            let mut tags: Vec<&KnownTag> = repository.tags.iter().collect();
            sorting::by_key(&mut tags, |tag| Reverse(version_of(&tag.text)));
            let kept = tags.into_iter().filter_map(|tag| {
                let is_listed = listed.contains(&(name.as_str(), &tag.text));
                self.kept_tag(tag, is_listed)
            });
            (name.clone(), is_known.then(|| kept.collect()))
        };
        self.repositories.iter().map(kept).collect()
    }

    fn kept_tag(&self, tag: &KnownTag, is_listed: bool) -> Option<KeptTag> {
        tag.due?;
        let manifest = tag.manifest.as_ref().or(tag.seen.as_deref())?;
        let standing = match self.artifacts.get(manifest)? {
            Artifact::NotAChart(reason) => Standing::NotAChart(reason.clone()),
            Artifact::Chart { .. } if is_listed => Standing::Listed,
            Artifact::Chart { layers, .. } => match self.configs.get(&layers.config.digest) {
                Some(ChartConfig::NotAChart(reason)) => Standing::NotAChart(reason.clone()),
                _ => Standing::Unlisted,
            },
        };
        Some(KeptTag {
            tag: tag.text.clone(),
            manifest: manifest.clone(),
            standing,
        })
    }

    /// The chart of a tag, or why it is skipped; nothing before it was asked for.
    fn finding(
        &self,
        name: &RepositoryName,
        tag: &KnownTag,
        plan: &Plan,
        over_bound: &mut usize,
    ) -> Option<Result<StoredChart, Skipped>> {
        let reference = || qualified(name, &tag.text);
        let skip = |reason: Arc<str>| Some(Err(Skipped::new(reference(), reason)));
        if tag.due.is_none() {
            let skipped = self.filter.skips(&tag.text);
            return skip(skipped.unwrap_or_else(|| TOO_OLD.clone()));
        }
        let failed = tag
            .failure
            .as_ref()
            .map(|failure| Err(failure.skipped(reference())));
        let layers = match self.artifact(tag.manifest.as_ref()) {
            None => return failed,
            Some(Artifact::NotAChart(reason)) => return skip(reason.clone()),
            Some(Artifact::Chart { layers }) => layers,
        };
        if let Some(reason) = self.unwanted(name, &layers.config) {
            return skip(reason);
        }
        if let Err(over) = plan.check(name, &layers.config) {
            *over_bound += 1;
            return skip(over.into());
        }
        let Some(ChartConfig::Metadata(metadata)) = self.configs.get(&layers.config.digest) else {
            return failed.or_else(|| skip("its config blob is still to be read".into()));
        };
        Some(Ok(StoredChart {
            repository: name.clone(),
            reference: Reference::try_from(tag.text.clone()).ok()?,
            metadata: metadata.clone(),
            layers: layers.clone(),
        }))
    }

    /// What could not be read.
    pub(crate) fn unread(&self) -> Unread {
        let of_repositories = self
            .repositories
            .values()
            .filter_map(|one| one.failure.as_ref());
        let due = self.tags().filter(|(_, tag)| tag.due.is_some());
        let of_tags = due.filter_map(|(_, tag)| tag.failure.as_ref());
        let failures: Vec<ErrorKind> = of_repositories
            .chain(of_tags)
            .map(|failure| failure.kind())
            .collect();
        let count =
            |is_it: fn(ErrorKind) -> bool| failures.iter().filter(|kind| is_it(**kind)).count();
        let is_unasked =
            |tag: &KnownTag| tag.due.is_some() && tag.manifest.is_none() && tag.failure.is_none();
        let unasked = self.tags().filter(|(_, tag)| is_unasked(tag)).count();
        Unread {
            count: count(|kind| kind != ErrorKind::NotFound) + unasked,
            unanswered: count(ErrorKind::is_no_answer) + unasked,
            denied: count(|kind| kind == ErrorKind::Refused),
        }
    }

    /// Which config blobs are kept, of the manifests that `target` finds.
    pub(super) fn plan(&self, target: fn(&KnownTag) -> Option<&Digest>) -> Plan<'_> {
        Plan::new(self.demands(target))
    }

    /// The config blobs that would be kept if there were room for all.
    pub(super) fn demands(&self, target: fn(&KnownTag) -> Option<&Digest>) -> Vec<Demand<'_>> {
        let mut demands = Vec::new();
        for (name, repository) in &self.repositories {
            let mut configs = Vec::new();
            for tag in repository.tags.iter().filter(|tag| tag.due.is_some()) {
                if let Some(Artifact::Chart { layers, .. }) = self.artifact(target(tag))
                    && self.unwanted(name, &layers.config).is_none()
                {
                    configs.push(WantedConfig {
                        tag: &tag.text,
                        digest: &layers.config.digest,
                        weight: self.weight(&layers.config),
                    });
                }
            }
            demands.push(Demand {
                repository: name,
                configs,
            });
        }
        demands
    }

    /// How many bytes of the budget a config blob takes, as far as is known.
    pub(super) fn weight(&self, config: &Blob) -> u64 {
        let known = self.configs.get(&config.digest);
        known.map_or(config.size, |known| known.rendered().max(config.size))
    }

    /// Why a config blob isn't kept for this repository, as far as is known: it's no chart's, or that of a
    /// chart that belongs elsewhere.
    pub(super) fn unwanted(&self, repository: &RepositoryName, config: &Blob) -> Option<Arc<str>> {
        let config = self.configs.get(&config.digest)?;
        if let ChartConfig::NotAChart(reason) = config {
            return Some(reason.clone());
        }
        let name = config.name()?;
        self.filter.misnamed(repository, name).map(Arc::from)
    }

    /// Whether a config blob is to be read for this repository, as far as is known.
    pub(super) fn lacks_metadata(&self, repository: &RepositoryName, config: &Blob) -> bool {
        let known = self.configs.get(&config.digest);
        !matches!(known, Some(ChartConfig::Metadata(_)))
            && self.unwanted(repository, config).is_none()
    }

    pub(super) fn artifact(&self, manifest: Option<&Digest>) -> Option<&Artifact> {
        self.artifacts.get(manifest?)
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = (&RepositoryName, &KnownTag)> {
        let repositories = self.repositories.iter();
        repositories
            .flat_map(|(name, repository)| repository.tags.iter().map(move |tag| (name, tag)))
    }
}

/// Skips all but the newest versions of each chart, of those from `start` on.
fn skip_old(contents: &mut Contents, start: usize, most: usize) {
    let of_repository = contents.charts.split_off(start);
    let version = |chart: &StoredChart| Version::parse(chart.metadata.version());
    let mut versions = HashMap::<&str, Vec<Version>>::new();
    for chart in &of_repository {
        let of_chart = versions.entry(chart.metadata.name()).or_default();
        of_chart.extend(version(chart));
    }
    let newest = versions.into_iter();
    let newest: HashMap<&str, Option<Newest>> = newest
        .map(|(name, versions)| (name, Newest::of(versions, most)))
        .collect();
    for chart in &of_repository {
        let newest = newest[chart.metadata.name()].as_ref().zip(version(chart));
        if newest.is_none_or(|(newest, version)| newest.includes(&version)) {
            contents.charts.push(chart.clone());
        } else {
            let reference = qualified(&chart.repository, chart.reference.as_str());
            contents
                .skipped
                .push(Skipped::new(reference, TOO_OLD.clone()));
        }
    }
}
