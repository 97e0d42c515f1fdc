//! How the inventory learns: what to ask for, and what the answers change. It makes no request and
//! reads no clock. It never holds more than the last listings named.

use super::artifact::{Artifact, ChartConfig, CheckResult};
use super::contents::Skipped;
use super::known::Inventory;
use super::tag::{CheckScope, ConfigKey, KnownTag, PendingTag, TagCheck, rank};
use crate::budget::{
    CONFIGS_AT_ONCE, MAX_TAGS, METADATA_GROWTH, RENDERED, RENDERED_REPOSITORY, SMALL_CONFIG,
};
use crate::oci::{Digest, Reference, RepositoryName, qualified, split};
use crate::sorting;
use crate::storage::{Error, ErrorKind, KeptTag, Standing};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tag is rechecked out of turn no more often than this: a registry that has lost a blob but not its
/// manifest would else be asked at each attempt to download it.
const RECHECK_PAUSE: Duration = Duration::from_secs(5);
/// Most warnings of one scan about what could not be read: a registry that goes down may have 50,000
/// tags, and one reason.
const MAX_WARNINGS: usize = 10;

impl Inventory {
    /// Those of `listed` that the filter doesn't exclude.
    pub(super) fn included(&self, listed: &[RepositoryName]) -> Vec<RepositoryName> {
        let is_included = |name: &&RepositoryName| self.filter.excludes(name).is_none();
        listed.iter().filter(is_included).cloned().collect()
    }

    /// Forgets every repository that isn't among `listed`.
    pub(super) fn keep(&mut self, mut listed: Vec<RepositoryName>) {
        let mut excluded = Vec::new();
        listed.retain(|name| match self.filter.excludes(name) {
            None => true,
            Some(reason) => {
                excluded.push(Skipped::new(name.to_string(), reason));
                false
            }
        });
        let mut before = std::mem::take(&mut self.repositories);
        let known = |name: RepositoryName| {
            let repository = before.remove(&name).unwrap_or_default();
            (name, repository)
        };
        self.repositories = listed.into_iter().map(known).collect();
        self.changed |= !before.is_empty() || excluded != self.excluded;
        self.excluded = excluded;
    }

    /// Notes how many tags are listed and not to be known.
    pub(super) fn note_unknown_tags(&mut self, count: usize) {
        if count > 0 && self.unknown_tags == 0 {
            log::warn!("over {MAX_TAGS} tags are listed in all: {count} of them are left out");
        }
        self.changed |= self.unknown_tags != count;
        self.unknown_tags = count;
    }

    /// Whether a repository's tags are not to be listed yet, because the last attempt gave no answer.
    pub(super) fn is_backing_off(&self, name: &RepositoryName, now: Instant) -> bool {
        self.repositories
            .get(name)
            .is_some_and(|one| one.is_backing_off(now))
    }

    /// Notes what a repository lists.
    pub(super) fn list(
        &mut self,
        name: &RepositoryName,
        listing: Result<Vec<String>, Error>,
        now: Instant,
    ) {
        let Some(repository) = self.repositories.get_mut(name) else {
            return;
        };
        let mut warning = None;
        match listing {
            Ok(tags) => self.changed |= repository.list(tags, &self.filter, now),
            Err(error) => match pause(&error) {
                Some(until) => self.paused_until = self.paused_until.max(Some(until)),
                None => {
                    let is_first = repository.failure.is_none();
                    warning = Some(error.clone()).filter(|_| is_first);
                    self.changed |= repository.fail(error, now);
                }
            },
        }
        let count = repository.tags.len();
        if let Some(error) = warning.filter(|_| count > 0) {
            self.warn(name.to_string(), &error);
        }
    }

    /// Notes which tags of a repository a former scan has found to name no chart; they are due again then.
    pub(super) fn decide(&mut self, name: &RepositoryName, decisions: Vec<KeptTag>, due: Instant) {
        for decided in decisions {
            let known = self.tag(name, &decided.tag).filter(|tag| tag.due.is_some());
            if let (Some(tag), Standing::NotAChart(reason)) = (known, decided.standing) {
                (tag.manifest, tag.due) = (Some(decided.manifest.clone()), Some(due));
                let artifact = Artifact::NotAChart(reason);
                self.artifacts.insert(decided.manifest, artifact);
            }
        }
    }

    /// Forgets what failed, so that it is asked for as if it had never been.
    pub(super) fn forget_failures(&mut self, now: Instant) {
        for repository in self.repositories.values_mut() {
            repository.failure = None;
            for tag in &mut repository.tags {
                if tag.failure.take().is_some() {
                    tag.due = Some(now);
                }
            }
        }
    }

    /// With `--max-versions`: makes those tags due that may be among the newest of their repositories, or
    /// are, and no others.
    pub(super) fn select(&mut self, now: Instant) {
        let Some(most) = self.filter.max_versions else {
            return;
        };
        let mut repositories = std::mem::take(&mut self.repositories);
        for (name, repository) in &mut repositories {
            let is_chart = |digest: &Digest| match self.artifact(Some(digest)) {
                Some(Artifact::Chart { layers, .. }) => {
                    self.unwanted(name, &layers.config).is_none()
                }
                _ => false,
            };
            repository.select(most.get(), is_chart, now);
        }
        self.repositories = repositories;
    }

    /// Makes a tag due, because a blob of its chart returned 404; not the repository's other tags, which
    /// may be thousands.
    pub(crate) fn recheck(&mut self, name: &RepositoryName, reference: &Reference, now: Instant) {
        let is_recent = |when: &Instant| now.saturating_duration_since(*when) < RECHECK_PAUSE;
        self.rechecked.retain(|_, when| is_recent(when));
        let key = (name.clone(), reference.clone());
        if self.rechecked.contains_key(&key) {
            return;
        }
        if let Some(tag) = self.tag(name, reference.as_str()) {
            tag.due = tag.due.map(|due| due.min(now));
            self.rechecked.insert(key, now);
        }
    }

    /// The tags to check, the newest versions of all repositories first. If that's not all that are due,
    /// those that are due for longest, so that tags that fail each time don't keep others waiting.
    pub(super) fn checks(&self, scope: CheckScope, now: Instant) -> Vec<TagCheck> {
        let asked_for = self.tags().filter(|(_, tag)| tag.is_in(scope, now));
        let mut tags: Vec<(usize, &RepositoryName, &KnownTag)> = rank(asked_for.collect());
        let most = match scope {
            CheckScope::Due(most) => Some(most),
            _ => None,
        };
        sorting::by_key(&mut tags, |(rank, _, tag)| (most.and(tag.due), *rank));
        tags.truncate(most.unwrap_or(usize::MAX));
        let check = |(_, repository, tag): (_, &RepositoryName, &KnownTag)| {
            Some(TagCheck {
                repository: repository.clone(),
                reference: Reference::try_from(tag.text.clone()).ok()?,
                expected: tag.target().cloned(),
            })
        };
        tags.into_iter().filter_map(check).collect()
    }

    /// How large a config blob of each repository may be to be within the budget for certain, even if all
    /// of `checks` find one of that size, and whatever comes of it; and small enough for several at a time.
    pub(super) fn config_room(&self, checks: &[TagCheck]) -> HashMap<RepositoryName, u64> {
        let mut counts: HashMap<&RepositoryName, u64> = HashMap::new();
        for check in checks {
            *counts.entry(&check.repository).or_default() += 1;
        }
        let (mut rooms, mut left) = (HashMap::new(), RENDERED);
        for demand in self.demands(KnownTag::target) {
            let bytes = demand.bytes().min(RENDERED_REPOSITORY);
            left = left.saturating_sub(bytes);
            if let Some(count) = counts.get(demand.repository) {
                rooms.insert(
                    demand.repository.clone(),
                    (RENDERED_REPOSITORY - bytes) / count,
                );
            }
        }
        let most = left / (checks.len() as u64).max(1);
        let within = |room: &mut u64| *room = (most.min(*room) / METADATA_GROWTH).min(SMALL_CONFIG);
        rooms.values_mut().for_each(within);
        rooms
    }

    /// Notes what the artifacts are that were read. This comes before anything else is noted of `results`, so
    /// that what is kept lies side by side in memory.
    pub(super) fn learn(&mut self, results: &[Option<Result<CheckResult, Error>>]) {
        for (digest, artifact) in results.iter().flatten().flatten() {
            let artifact = artifact.as_ref().map(Artifact::copy);
            self.artifacts
                .extend(artifact.map(|artifact| (digest.clone(), artifact)));
        }
    }

    /// Notes which manifest a tag names. Whether that is known now.
    pub(super) fn record(
        &mut self,
        check: &TagCheck,
        result: &Result<CheckResult, Error>,
        now: Instant,
    ) -> bool {
        let (name, text) = (&check.repository, check.reference.as_str());
        let (digest, _) = match result {
            Ok(result) => result,
            Err(error) => {
                self.fail(name, text, error.clone(), now);
                return false;
            }
        };
        if let Some(tag) = self.tag(name, text) {
            let is_new = tag.manifest.as_ref() != Some(digest);
            tag.seen = is_new.then(|| Box::new(digest.clone()));
        }
        true
    }

    /// The tags whose manifest was read, but not all that their chart needs, unless reading it has `failed`.
    /// This is the one place where the budget decides what is read: [`CONFIGS_AT_ONCE`] bytes at most, for
    /// what comes of them decides what else has room.
    pub(super) fn pending(
        &self,
        scope: CheckScope,
        failed: &HashMap<ConfigKey, Error>,
        now: Instant,
    ) -> Vec<PendingTag> {
        let plan = self.plan(KnownTag::target);
        let (mut pending, mut bytes) = (Vec::new(), 0);
        for (name, tag) in self.tags().filter(|(_, tag)| tag.due.is_some()) {
            let Some(Artifact::Chart { layers, .. }) = self.artifact(tag.target()) else {
                continue;
            };
            let config = &layers.config;
            let is_missing = self.lacks_metadata(name, config)
                && bytes < CONFIGS_AT_ONCE
                && plan.check(name, config).is_ok()
                && !failed.contains_key(&(name.clone(), config.digest.clone()));
            if (is_missing || tag.seen.is_some()) && tag.may_be_read(scope, now) {
                bytes += if is_missing { config.size } else { 0 };
                pending.push(PendingTag {
                    repository: name.clone(),
                    text: tag.text.clone(),
                    chart: is_missing.then(|| layers.clone()),
                });
            }
        }
        pending
    }

    /// Notes what was read of config blobs, and why others could not be.
    pub(super) fn add_configs(
        &mut self,
        readings: &HashMap<ConfigKey, Option<Result<ChartConfig, Error>>>,
        failed: &mut HashMap<ConfigKey, Error>,
    ) {
        for (key, reading) in readings {
            match reading {
                Some(Ok(config)) => {
                    let config = config.copy(&mut self.common_texts);
                    self.configs.insert(key.1.clone(), config);
                    self.changed = true;
                }
                Some(Err(error)) => drop(failed.insert(key.clone(), error.clone())),
                None => {}
            }
        }
    }

    /// Lists what a tag names by now if all of it was read, or is over the budget; else notes why not.
    /// What is known now is due again after `interval`.
    pub(super) fn settle(
        &mut self,
        name: &RepositoryName,
        text: &str,
        failed: &HashMap<ConfigKey, Error>,
        interval: Duration,
        now: Instant,
    ) {
        let repository = self.repositories.get_mut(name);
        let Some(tag) = repository.and_then(|one| one.tag(text)) else {
            return;
        };
        let artifact = tag.target().and_then(|digest| self.artifacts.get(digest));
        let failure = match artifact {
            Some(Artifact::Chart { layers, .. })
                if !self.configs.contains_key(&layers.config.digest) =>
            {
                failed.get(&(name.clone(), layers.config.digest.clone()))
            }
            _ => None,
        };
        match failure {
            None => self.changed |= tag.complete(now + interval),
            // The pause may be that of blobs alone, so that other tags are still asked for.
            Some(error) if pause(error).is_some() => tag.due = pause(error),
            Some(error) => self.fail(name, text, error.clone(), now),
        }
    }

    /// Notes why a tag could not be read. A request that was not sent says nothing about it.
    fn fail(&mut self, name: &RepositoryName, text: &str, error: Error, now: Instant) {
        if let Some(until) = pause(&error) {
            self.paused_until = self.paused_until.max(Some(until));
            return;
        }
        let repository = self.repositories.get_mut(name);
        let Some(tag) = repository.and_then(|one| one.tag(text)) else {
            return;
        };
        let artifact = tag
            .manifest
            .as_ref()
            .and_then(|digest| self.artifacts.get(digest));
        let is_decided = artifact.is_some_and(|artifact| artifact.is_decided(&self.configs));
        let is_first = tag.failure.is_none();
        let has_changed = tag.fail(error.clone(), is_decided, now);
        let is_kept = tag.manifest.is_some();
        self.changed |= has_changed;
        if is_kept && is_first {
            self.warn(qualified(name, text), &error);
        }
    }

    /// Drops artifacts that no tag names, and of config blobs that are over the budget or too old all but
    /// what decides whether they are wanted.
    pub(super) fn drop_unused(&mut self) {
        let named = self
            .tags()
            .flat_map(|(_, tag)| tag.manifest.iter().chain(tag.seen.as_deref()));
        let named: HashSet<Digest> = named.cloned().collect();
        let mut kept = HashSet::new();
        let targets: [fn(&KnownTag) -> Option<&Digest>; 2] =
            [KnownTag::target, |tag| tag.manifest.as_ref()];
        for target in targets {
            kept.extend(self.plan(target).kept().cloned());
        }
        self.artifacts.retain(|digest, _| named.contains(digest));
        let configs = self.artifacts.values().filter_map(Artifact::config);
        let named: HashSet<&Digest> = configs.collect();
        self.configs.retain(|digest, config| {
            if !kept.contains(digest) {
                config.forget();
            }
            named.contains(digest)
        });
        // Besides this set, metadata holds it, also that of a snapshot.
        self.common_texts.retain(|text| Arc::strong_count(text) > 1);
    }

    fn warn(&mut self, reference: String, error: &Error) {
        self.warned += 1;
        if self.warned <= MAX_WARNINGS {
            let (repository, tag) = split(&reference);
            log::warn!(
                repository = repository, tag = tag, status = error.status();
                "{reference}: could not be read, keeping its last known charts: {error:#}"
            );
        }
    }

    /// Drops what is not needed any more, and says how many more warnings there would have been.
    pub(super) fn end_scan(&mut self) {
        if self.changed {
            self.drop_unused();
        }
        match std::mem::take(&mut self.warned).saturating_sub(MAX_WARNINGS) {
            0 => {}
            1 => log::warn!("1 more repository or tag could not be read"),
            more => log::warn!("{more} more repositories or tags could not be read"),
        }
    }

    fn tag(&mut self, name: &RepositoryName, text: &str) -> Option<&mut KnownTag> {
        self.repositories.get_mut(name)?.tag(text)
    }
}

/// Until when the storage takes no requests, if that is why this one was not sent.
fn pause(error: &Error) -> Option<Instant> {
    error
        .retry_at()
        .filter(|_| error.kind() == ErrorKind::Paused)
}
