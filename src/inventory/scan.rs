//! One scan of the storage: repositories, tags, manifests, config blobs. The only place of this room that
//! asks the storage. It asks only for what isn't known, and records the answers in the [`Inventory`]. A
//! failure stays with the repository or tag that it concerns; only a failure to list the repositories
//! ends a refresh, and that is the caller's to handle.

use super::artifact::{Artifact, ChartConfig, CheckResult, Reader};
use super::known::Inventory;
use super::listing::{self, Listings};
use super::progress::Progress;
use super::tag::{CheckScope, ConfigKey, PendingTag, TagCheck};
use crate::budget::SMALL_CONFIG;
use crate::helm::ChartLayers;
use crate::oci::{Blob, Digest, RepositoryName};
use crate::sorting;
use crate::storage::{Error, ErrorKind, Storage, read_blob};
use crate::sync::{in_parallel, lock};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// A check of due tags asks for no more of them after this, so that a refresh that is wanted meanwhile
/// doesn't wait for long: as long as a request waits for a refresh by default. The others stay due.
const LONGEST_CHECK: Duration = Duration::from_secs(2);

/// After this, what was read so far is recorded and kept, and then the rest is read: a scan may take
/// hours, and a crash costs no more than this.
const LONGEST_ROUND: Duration = Duration::from_secs(30);

/// How to scan.
pub(crate) struct Scan<'a> {
    pub(crate) storage: &'a dyn Storage,
    /// Requests at a time.
    pub(crate) concurrency: usize,
    /// After how long a known tag is checked again; none if every scan is to check all.
    pub(crate) interval: Option<Duration>,
    progress: Progress,
    /// By the digest of the archive: the config blob that was made of it, or why there is none.
    unpacked: Mutex<HashMap<Digest, Result<Blob, Arc<str>>>>,
}

impl<'a> Scan<'a> {
    /// A scan that logs its progress if it `is_first`.
    pub(crate) fn new(
        storage: &'a dyn Storage,
        concurrency: usize,
        interval: Option<Duration>,
        is_first: bool,
    ) -> Scan<'a> {
        let progress = Progress::new(is_first);
        Scan {
            storage,
            concurrency,
            interval,
            progress,
            unpacked: Mutex::default(),
        }
    }

    /// Lists the tags of `repositories`, which are all there are.
    pub(crate) fn list(
        &self,
        inventory: &Inventory,
        mut repositories: Vec<RepositoryName>,
        scope: CheckScope,
    ) -> Listings {
        sorting::ascending(&mut repositories);
        let (may_wait, now) = (matches!(scope, CheckScope::New), Instant::now());
        let mut asked = inventory.included(&repositories);
        let included = asked.len();
        asked.retain(|name| !(may_wait && inventory.is_backing_off(name, now)));
        let (listings, left_out) =
            listing::list(self.storage, self.concurrency, &asked, &self.progress);
        Listings {
            repositories,
            is_partial: asked.len() < included,
            tags: asked.into_iter().zip(listings).collect(),
            left_out,
        }
    }

    /// Records what is listed, and checks the tags in `scope`.
    pub(crate) fn refresh(&self, inventory: &mut Inventory, listings: Listings, scope: CheckScope) {
        inventory.keep(listings.repositories);
        inventory.note_unknown_tags(listings.left_out);
        let now = Instant::now();
        for (repository, tags) in listings.tags {
            inventory.list(&repository, tags, now);
            let due = now + self.interval.unwrap_or_default();
            inventory.decide(&repository, self.storage.decisions(&repository), due);
        }
        inventory.select(now);
        let mut read = self.check(inventory, scope);
        // With --max-versions, a tag that turned out to be no chart makes room for another.
        while read > 0 && inventory.filter.max_versions.is_some() {
            read = self.check(inventory, CheckScope::New);
        }
    }

    /// Reads what former scans have left, where the storage is that alone. What can't be read there is
    /// as if it had never been read.
    pub(crate) fn restore(&self, inventory: &mut Inventory) -> Result<(), Error> {
        let repositories = self.storage.repositories()?;
        let listings = self.list(inventory, repositories, CheckScope::First);
        self.refresh(inventory, listings, CheckScope::First);
        inventory.forget_failures(Instant::now());
        Ok(())
    }

    /// Checks the tags in `scope`, and reads the config blobs that are missing. How many tags could be
    /// read.
    pub(crate) fn check(&self, inventory: &mut Inventory, scope: CheckScope) -> usize {
        let mut checks = inventory.checks(scope, Instant::now());
        self.progress.begin("tags read", checks.len());
        let mut read = 0;
        loop {
            let (count, left) = self.check_round(inventory, checks, scope);
            read += count;
            if left.is_empty() || matches!(scope, CheckScope::Due(_)) {
                return read;
            }
            self.storage.keep(true, &|| inventory.kept());
            checks = left;
        }
    }

    /// Checks as many of `checks` as there is time for. How many tags could be read, and what is left.
    fn check_round(
        &self,
        inventory: &mut Inventory,
        checks: Vec<TagCheck>,
        scope: CheckScope,
    ) -> (usize, Vec<TagCheck>) {
        let configs = Configs::default();
        // Only a scan that finds a new config blob needs to know how much room there is.
        let room = LazyLock::new(|| inventory.config_room(&checks));
        let longest = match scope {
            CheckScope::Due(_) => LONGEST_CHECK,
            _ => LONGEST_ROUND,
        };
        let deadline = Instant::now() + longest;
        let is_in_time = || Instant::now() < deadline;
        let results = in_parallel(&checks, self.concurrency, |check| {
            let is_in_time = is_in_time();
            let has_room = |size: u64| {
                room.get(&check.repository)
                    .is_some_and(|most| size <= *most)
            };
            let check_tag = || self.check_tag(inventory, check, has_room, &configs);
            let result = is_in_time.then(|| contained(check_tag));
            if is_in_time {
                self.progress.count(self.storage);
            }
            result
        });
        drop(room);
        let now = Instant::now();
        // Each tag once: one whose config blob is gone would else count as read the second time.
        let mut read: BTreeSet<(RepositoryName, Arc<str>)> = BTreeSet::new();
        let mut left = Vec::new();
        inventory.learn(&results);
        for (check, result) in checks.into_iter().zip(&results) {
            let Some(result) = result else {
                left.push(check);
                continue;
            };
            if inventory.record(&check, result, now) {
                read.insert((check.repository, check.reference.as_str().into()));
            }
        }
        let mut failed = HashMap::new();
        drop(results);
        inventory.add_configs(&std::mem::take(&mut lock(&configs)), &mut failed);
        loop {
            let pending = inventory.pending(scope, &failed, now);
            let is_last = pending.iter().all(|tag| tag.chart.is_none());
            self.read_configs(&pending, &configs);
            read.extend(pending.into_iter().map(|tag| (tag.repository, tag.text)));
            inventory.add_configs(&std::mem::take(&mut lock(&configs)), &mut failed);
            let is_cut_short = matches!(scope, CheckScope::Due(_)) && !is_in_time();
            if is_last || is_cut_short {
                break;
            }
            // What was read may be over the budget by what came of it, or no chart's, and others have room.
            inventory.drop_unused();
        }
        let (now, interval) = (Instant::now(), self.interval.unwrap_or_default());
        for (repository, tag) in &read {
            inventory.settle(repository, tag, &failed, interval, now);
        }
        inventory.select(now);
        inventory.end_scan();
        (read.len(), left)
    }

    /// Asks which manifest a tag names. It's read only if that is not known, because registries count a
    /// read as a pull, and so is its config blob, at once, so that nothing that was read waits for what
    /// may fail; unless the budget may have no room for it. An error says nothing about the artifact.
    fn check_tag(
        &self,
        inventory: &Inventory,
        check: &TagCheck,
        has_room: impl Fn(u64) -> bool,
        configs: &Configs,
    ) -> Result<CheckResult, Error> {
        let (repository, reference) = (&check.repository, &check.reference);
        let reader = self.reader(repository);
        let known = match &check.expected {
            Some(_) => self.storage.digest(repository, reference)?,
            None => None,
        };
        let known = known.and_then(|digest| inventory.artifacts.get_key_value(&digest));
        let (digest, artifact) = match known {
            Some((digest, _)) => (digest.clone(), None),
            None => {
                let bytes = self.storage.manifest(repository, reference)?;
                let digest = Digest::sha256(&bytes);
                let known = inventory.artifacts.get(&digest);
                let artifact = known.is_none().then(|| {
                    let artifact = reader.artifact(&bytes)?;
                    self.with_config(artifact, repository, &has_room, configs)
                });
                let artifact = artifact.transpose()?;
                known
                    .or(artifact.as_ref())
                    .map_or(Ok(()), |artifact| reader.check_blobs(artifact))?;
                (digest, artifact)
            }
        };
        if let Some(Artifact::Chart { layers, .. }) =
            artifact.as_ref().or(inventory.artifacts.get(&digest))
            && inventory.lacks_metadata(repository, &layers.config)
            && has_room(layers.config.size)
        {
            self.read_config(repository, layers, configs);
        }
        Ok((digest, artifact))
    }

    /// The same, but for a chart whose metadata can be in its archive alone: that is read for it, each
    /// archive once in a scan and one at a time, because it may be large.
    fn with_config(
        &self,
        artifact: Artifact,
        repository: &RepositoryName,
        has_room: impl Fn(u64) -> bool,
        configs: &Configs,
    ) -> Result<Artifact, Error> {
        let Artifact::Chart { layers } = &artifact else {
            return Ok(artifact);
        };
        if !layers.lacks_config() {
            return Ok(artifact);
        }
        let mut unpacked = lock(&self.unpacked);
        let config = match unpacked.get(&layers.archive.digest) {
            Some(known) => known.clone(),
            None => {
                let own = read_blob(self.storage, repository, &layers.config)?;
                let own = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&own);
                if own.map_or(true, |own| own.contains_key("name")) {
                    return Ok(artifact);
                }
                let config = self.reader(repository).unpacked(&layers.archive)?;
                let made = config.map(|config| {
                    let made = Blob::of(&config);
                    if has_room(made.size) {
                        let key = (repository.clone(), made.digest.clone());
                        lock(configs).insert(key, Some(Ok(ChartConfig::parse(&config))));
                    }
                    made
                });
                unpacked.insert(layers.archive.digest.clone(), made.clone());
                made
            }
        };
        Ok(match config {
            Err(reason) => Artifact::NotAChart(reason),
            Ok(config) => Artifact::Chart {
                layers: Arc::new(ChartLayers {
                    config,
                    has_packed_config: true,
                    ..ChartLayers::clone(layers)
                }),
            },
        })
    }

    /// Reads config blobs, the large ones on this thread alone: each thread keeps the memory that it once
    /// took to parse one.
    fn read_configs(&self, pending: &[PendingTag], configs: &Configs) {
        let wanted = |tag: &'_ PendingTag| Some((tag.repository.clone(), tag.chart.clone()?));
        let wanted: Vec<_> = pending.iter().filter_map(wanted).collect();
        let is_small = |(_, chart): &(_, Arc<ChartLayers>)| chart.config.size <= SMALL_CONFIG;
        let (small, large): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_small);
        let read = |(repository, chart): &(_, Arc<ChartLayers>)| {
            self.read_config(repository, chart, configs)
        };
        in_parallel(&small, self.concurrency, read);
        large.iter().for_each(read);
    }

    /// Reads the config blob of a chart, unless that has been done in this scan.
    fn read_config(&self, repository: &RepositoryName, chart: &ChartLayers, configs: &Configs) {
        let key = (repository.clone(), chart.config.digest.clone());
        if let Entry::Vacant(entry) = lock(configs).entry(key.clone()) {
            entry.insert(None);
        } else {
            return;
        }
        let reading = contained(|| self.reader(repository).config(chart));
        lock(configs).insert(key, Some(reading));
    }

    fn reader<'r>(&'r self, repository: &'r RepositoryName) -> Reader<'r> {
        Reader {
            storage: self.storage,
            repository,
        }
    }
}

/// The config blobs of one scan; without a value while they are being read.
type Configs = Mutex<HashMap<ConfigKey, Option<Result<ChartConfig, Error>>>>;

/// Does `work`; a panic, which is a defect of this program, becomes an error of it, so that it costs the
/// one thing that was worked on.
pub(crate) fn contained<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let text = "internal error (panic); please report the message above";
        Err(Error::new(ErrorKind::Invalid, text))
    })
}

#[cfg(test)]
mod tests {
    use super::super::filter::{Filter, NameRule};
    use super::*;
    use crate::helm::chart::{ARCHIVE_TYPE, CONFIG_TYPE};
    use crate::oci::{Reference, qualified};
    use std::collections::BTreeMap;
    use std::io::{Cursor, Read};

    const INTERVAL: Duration = Duration::from_secs(300);

    /// A storage in memory that fails as it's told to, and notes what it's asked for.
    #[derive(Default)]
    struct Shelf {
        /// By `repository:tag`.
        manifests: BTreeMap<String, Vec<u8>>,
        blobs: HashMap<Digest, Vec<u8>>,
        /// By what a request is for.
        failures: Mutex<HashMap<String, ErrorKind>>,
        asked: Mutex<Vec<String>>,
    }

    impl Shelf {
        /// Charts, each named as its repository's last component, whose config blobs have at least so many bytes.
        fn of(charts: &[(&str, &[&str])], size: usize) -> Shelf {
            let mut shelf = Shelf::default();
            for (name, versions) in charts {
                for version in *versions {
                    shelf.put(name, version, size);
                }
            }
            shelf
        }

        fn put(&mut self, name: &str, version: &str, size: usize) {
            let (description, last) = ("a".repeat(size), name.rsplit('/').next());
            let config = serde_json::json!({"apiVersion": "v2", "name": last, "version": version, "description": description});
            self.put_config(name, version, config.to_string().into_bytes());
        }

        fn put_config(&mut self, name: &str, version: &str, config: Vec<u8>) {
            let mut blob = |media_type: &str, bytes: Vec<u8>| {
                let digest = Digest::sha256(&bytes);
                let descriptor = serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
                self.blobs.insert(digest, bytes);
                descriptor
            };
            let config = blob(CONFIG_TYPE, config);
            let archive = blob(ARCHIVE_TYPE, format!("{name} {version}").into_bytes());
            let manifest =
                serde_json::json!({"schemaVersion": 2, "config": config, "layers": [archive]});
            self.manifests.insert(
                format!("{name}:{version}"),
                manifest.to_string().into_bytes(),
            );
        }

        fn fail(&self, what: &str, kind: Option<ErrorKind>) {
            let mut failures = lock(&self.failures);
            match kind {
                Some(kind) => drop(failures.insert(what.to_owned(), kind)),
                None => drop(failures.remove(what)),
            }
        }

        /// What was asked for since the last call, sorted.
        fn asked(&self) -> Vec<String> {
            let mut asked = std::mem::take(&mut *lock(&self.asked));
            asked.sort();
            asked
        }

        fn ask(&self, what: String) -> Result<(), Error> {
            let failure = lock(&self.failures).get(&what).copied();
            lock(&self.asked).push(what);
            failure.map_or(Ok(()), |kind| Err(Error::new(kind, "on purpose")))
        }

        fn manifest_of(
            &self,
            repository: &RepositoryName,
            reference: &Reference,
        ) -> Result<&Vec<u8>, Error> {
            let name = qualified(repository, reference.as_str());
            self.manifests
                .get(&name)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, name))
        }
    }

    impl Storage for Shelf {
        fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
            let names = self
                .manifests
                .keys()
                .filter_map(|key| key.split(':').next()?.parse().ok());
            let mut names: Vec<RepositoryName> = names.collect();
            names.dedup();
            Ok(names)
        }

        fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error> {
            self.ask(format!("tags {repository}"))?;
            let start = format!("{repository}:");
            Ok(self
                .manifests
                .keys()
                .filter_map(|key| Some(key.strip_prefix(&start)?.to_owned()))
                .collect())
        }

        fn manifest(
            &self,
            repository: &RepositoryName,
            reference: &Reference,
        ) -> Result<Vec<u8>, Error> {
            self.ask(format!("GET {}", qualified(repository, reference.as_str())))?;
            self.manifest_of(repository, reference).cloned()
        }

        fn digest(
            &self,
            repository: &RepositoryName,
            reference: &Reference,
        ) -> Result<Option<Digest>, Error> {
            self.ask(format!(
                "HEAD {}",
                qualified(repository, reference.as_str())
            ))?;
            Ok(Some(Digest::sha256(
                self.manifest_of(repository, reference)?,
            )))
        }

        fn blob(
            &self,
            repository: &RepositoryName,
            blob: &Blob,
        ) -> Result<Box<dyn Read + Send>, Error> {
            self.ask(format!("blob {repository}"))?;
            Ok(Box::new(Cursor::new(self.blobs[&blob.digest].clone())))
        }
    }

    fn refresh(shelf: &Shelf, inventory: &mut Inventory, scope: CheckScope) {
        let scan = Scan::new(shelf, 1, Some(INTERVAL), false);
        let listings = scan.list(inventory, shelf.repositories().unwrap(), scope);
        scan.refresh(inventory, listings, scope);
    }

    fn check_due(shelf: &Shelf, inventory: &mut Inventory, most: usize) {
        Scan::new(shelf, 1, Some(INTERVAL), false).check(inventory, CheckScope::Due(most));
    }

    fn scanned(shelf: &Shelf) -> Inventory {
        let mut inventory = Inventory::new(Filter::default());
        refresh(shelf, &mut inventory, CheckScope::First);
        inventory
    }

    fn charts(inventory: &Inventory) -> Vec<String> {
        let charts = inventory.contents().charts.into_iter();
        charts
            .map(|chart| qualified(&chart.repository, chart.reference.as_str()))
            .collect()
    }

    #[test]
    fn what_could_not_be_read_stays_and_only_what_is_gone_goes() {
        for (kind, left) in [
            (ErrorKind::Refused, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::NotFound, 0),
        ] {
            for what in ["HEAD a:1.0.0", "tags a"] {
                let shelf = Shelf::of(&[("a", &["1.0.0"])], 1);
                let mut inventory = scanned(&shelf);
                shelf.fail(what, Some(kind));
                refresh(&shelf, &mut inventory, CheckScope::All);
                assert_eq!(charts(&inventory).len(), left, "{kind:?} {what}");
            }
        }
    }

    #[test]
    fn a_manifest_is_not_read_again_because_its_config_blob_failed() {
        let mut shelf = Shelf::of(&[("a", &["1.0.0"])], 1);
        let mut inventory = scanned(&shelf);
        shelf.put("a", "1.0.0", 2);
        shelf.fail("blob a", Some(ErrorKind::Unavailable));
        shelf.asked();
        refresh(&shelf, &mut inventory, CheckScope::All);
        assert_eq!(
            shelf.asked(),
            ["GET a:1.0.0", "HEAD a:1.0.0", "blob a", "tags a"]
        );
        assert_eq!(
            charts(&inventory),
            ["a:1.0.0"],
            "the old chart stays until the new one is complete"
        );
        shelf.fail("blob a", None);
        refresh(&shelf, &mut inventory, CheckScope::All);
        assert_eq!(shelf.asked(), ["HEAD a:1.0.0", "blob a", "tags a"]);
        assert_eq!((inventory.artifacts.len(), inventory.configs.len()), (1, 1));
    }

    /// The failure was forgotten when the tag was settled a second time: nothing said why it isn't listed.
    #[test]
    fn a_new_tag_without_its_config_blob_is_skipped_with_a_reason_and_left_alone() {
        let shelf = Shelf::of(&[("a", &["1.0.0"])], 1);
        shelf.fail("blob a", Some(ErrorKind::NotFound));
        let mut inventory = scanned(&shelf);
        let skipped = inventory.contents().skipped.kept;
        assert_eq!(skipped.len(), 1);
        assert!(skipped[0].reason.contains("on purpose"), "{}", skipped[0]);
        shelf.asked();
        refresh(&shelf, &mut inventory, CheckScope::New);
        assert_eq!(shelf.asked(), ["tags a"]);
    }

    #[test]
    fn tags_that_name_the_same_manifest_share_what_was_read_of_it() {
        let mut shelf = Shelf::of(&[("a", &["1.0.0"])], 1);
        for alias in ["a:1.0.1", "b/a:1.0.0"] {
            shelf
                .manifests
                .insert(alias.to_owned(), shelf.manifests["a:1.0.0"].clone());
        }
        let inventory = scanned(&shelf);
        assert_eq!(charts(&inventory).len(), 3);
        assert_eq!((inventory.artifacts.len(), inventory.configs.len()), (1, 1));
        let asked = shelf.asked();
        assert_eq!(asked.iter().filter(|what| *what == "blob a").count(), 1);
    }

    #[test]
    fn the_newest_versions_of_all_repositories_are_asked_for_first() {
        let shelf = Shelf::of(
            &[
                ("a", &["1.0.0", "1.10.0", "1.9.0"]),
                ("b", &["2.0.0", "3.0.0-rc.1"]),
            ],
            1,
        );
        let scan = Scan::new(&shelf, 1, Some(INTERVAL), false);
        let mut inventory = Inventory::new(Filter::default());
        let listings = scan.list(&inventory, shelf.repositories().unwrap(), CheckScope::First);
        scan.refresh(&mut inventory, listings, CheckScope::First);
        let asked = lock(&shelf.asked);
        let manifests: Vec<_> = asked
            .iter()
            .filter_map(|what| what.strip_prefix("GET "))
            .collect();
        assert_eq!(
            manifests,
            ["a:1.10.0", "b:3.0.0-rc.1", "a:1.9.0", "b:2.0.0", "a:1.0.0"]
        );
    }

    #[test]
    fn tags_that_fail_each_time_do_not_keep_others_that_are_due_waiting() {
        let shelf = Shelf::of(&[("a", &["1.0.0", "2.0.0"]), ("b", &["1.0.0"])], 1);
        let mut inventory = scanned(&shelf);
        let long_ago = Instant::now() - Duration::from_secs(1);
        for (name, tag) in [("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")] {
            shelf.fail(&format!("HEAD {name}:{tag}"), Some(ErrorKind::Unavailable));
            inventory
                .repositories
                .get_mut(name)
                .unwrap()
                .tag(tag)
                .unwrap()
                .due = Some(long_ago);
        }
        shelf.asked();
        check_due(&shelf, &mut inventory, 2);
        assert_eq!(shelf.asked(), ["HEAD a:1.0.0", "HEAD a:2.0.0"]);
        check_due(&shelf, &mut inventory, 2);
        assert_eq!(
            shelf.asked(),
            ["HEAD b:1.0.0"],
            "the others are left alone for a while"
        );
    }

    #[test]
    fn a_failed_tag_is_asked_again_after_its_pause_in_each_scope_that_may() {
        let second = Duration::from_secs(1);
        for (kind, first) in [(ErrorKind::Unavailable, true), (ErrorKind::Refused, false)] {
            let shelf = Shelf::of(&[("a", &["1.0.0"])], 1);
            shelf.fail("GET a:1.0.0", Some(kind));
            let inventory = scanned(&shelf);
            let now = Instant::now();
            let is_asked = |scope, now| !inventory.checks(scope, now).is_empty();
            assert_eq!(is_asked(CheckScope::First, now), first, "{kind:?}");
            assert!(
                !is_asked(CheckScope::New, now + 61 * second),
                "left to checks"
            );
            assert!(!is_asked(CheckScope::Due(9), now));
            let pause = if first { 1 } else { 30 };
            assert!(
                is_asked(CheckScope::Due(9), now + pause * second),
                "{kind:?}"
            );
            assert!(
                is_asked(CheckScope::First, now + pause * second),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_tag_is_rechecked_at_once_but_not_all_the_time_and_not_its_neighbours() {
        let shelf = Shelf::of(&[("a", &["1.0.0", "2.0.0"])], 1);
        let mut inventory = scanned(&shelf);
        let (name, tag) = ("a".parse().unwrap(), "1.0.0".parse().unwrap());
        let start = Instant::now();
        for (after, is_asked) in [(1, true), (2, false), (7, true)] {
            let now = start + Duration::from_secs(after);
            inventory.recheck(&name, &tag, now);
            let checks = inventory.checks(CheckScope::Due(9), now);
            assert_eq!(checks.len(), usize::from(is_asked), "after {after} s");
            let tag = inventory.repositories.get_mut("a").unwrap().tag("1.0.0");
            tag.unwrap().due = Some(now + INTERVAL);
        }
    }

    #[test]
    fn the_oldest_versions_are_over_the_budget_whatever_came_first() {
        const MIB: usize = 1024 * 1024;
        let all = [
            "1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0", "9.0.0",
        ];
        let contents = |first: &[&str]| {
            let shelf = Shelf::of(&[("a", first), ("b", &["1.0.0"])], MIB - 100);
            let mut inventory = scanned(&shelf);
            let shelf = Shelf::of(&[("a", &all), ("b", &["1.0.0"])], MIB - 100);
            refresh(&shelf, &mut inventory, CheckScope::New);
            assert_eq!(inventory.configs.len(), 9, "what isn't listed isn't kept");
            let skipped: Vec<_> = inventory
                .contents()
                .skipped
                .kept
                .iter()
                .map(ToString::to_string)
                .collect();
            (charts(&inventory), skipped)
        };
        let (charts, skipped) = contents(&all[1..]);
        assert_eq!(charts.len(), 9);
        assert_eq!(
            skipped,
            ["skipped a:1.0.0: over 8388608 bytes of config blobs in a"]
        );
        assert_eq!((charts, skipped), contents(&all));
    }

    /// They were read at each check and dropped again.
    #[test]
    fn config_blobs_over_the_budget_are_never_read() {
        const MIB: usize = 1024 * 1024;
        let versions: Vec<String> = (0..10).map(|minor| format!("1.{minor}.0")).collect();
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let mut shelf = Shelf::of(&[("a", &versions)], MIB - 1000);
        let count = |shelf: &Shelf| {
            let asked = shelf.asked().into_iter();
            asked.filter(|what| what.starts_with("blob")).count()
        };
        let mut inventory = scanned(&shelf);
        assert_eq!(count(&shelf), 8);
        refresh(&shelf, &mut inventory, CheckScope::All);
        assert_eq!(count(&shelf), 0);
        shelf.put("a", "2.0.0", MIB - 1000);
        shelf.put("a", "3.0.0", 10);
        refresh(&shelf, &mut inventory, CheckScope::New);
        assert_eq!(
            count(&shelf),
            2,
            "the newest have room, and no other is read"
        );
    }

    /// 64 MiB of them became 255 MiB of index.
    #[test]
    fn a_config_blob_counts_what_an_index_takes_for_it_and_is_read_once() {
        let mut shelf = Shelf::default();
        let config = |version: &str, length: usize| {
            let description = "\u{7f}".repeat(length);
            let config =
                serde_json::json!({"name": "a", "version": version, "description": description});
            config.to_string().into_bytes()
        };
        // A mebibyte each, and two mebibytes together before they are read.
        for minor in 0..11 {
            let version = format!("1.{minor}.0");
            shelf.put_config("a", &version, config(&version, 180_000));
        }
        shelf.put_config("a", "0.1.0", config("0.1.0", 10));
        let mut inventory = scanned(&shelf);
        let contents = inventory.contents();
        assert_eq!((contents.charts.len(), contents.over_bound), (8, 4));
        shelf.asked();
        refresh(&shelf, &mut inventory, CheckScope::All);
        let again = shelf.asked().into_iter();
        assert_eq!(again.filter(|what| what.starts_with("blob")).count(), 0);
    }

    /// 64 config blobs of a megabyte in repositories that sort first emptied the index.
    #[test]
    fn config_blobs_of_no_chart_take_nothing_from_others_and_are_read_once() {
        const MIB: usize = 1024 * 1024;
        let mut shelf = Shelf::default();
        for (at, minor) in (0..8).flat_map(|at| (0..9).map(move |minor| (at, minor))) {
            let text = format!("{at} {minor} {}", "x".repeat(MIB - 100));
            shelf.put_config(&format!("a{at}"), &format!("1.{minor}.0"), text.into());
        }
        for team in 0..40 {
            shelf.put(&format!("team{team}/web"), "1.0.0", 1000);
        }
        shelf.put("a0", "0.1.0", MIB - 100);
        let mut inventory = scanned(&shelf);
        let contents = inventory.contents();
        assert_eq!((contents.charts.len(), contents.over_bound), (41, 0));
        shelf.asked();
        refresh(&shelf, &mut inventory, CheckScope::New);
        let again = shelf.asked().into_iter();
        assert_eq!(again.filter(|what| what.starts_with("blob")).count(), 0);
    }

    #[test]
    fn a_chart_whose_name_is_not_its_repositorys_is_listed_only_with_any_name() {
        let mut shelf = Shelf::default();
        let config = r#"{"name":"payments","version":"9.9.9"}"#;
        for repository in ["evil/web", "team/payments"] {
            shelf.put_config(repository, "9.9.9", config.into());
        }
        let mut inventory = scanned(&shelf);
        assert_eq!(charts(&inventory), ["team/payments:9.9.9"]);
        let skipped = inventory.contents().skipped;
        assert_eq!(
            skipped.kept[0].to_string(),
            "skipped evil/web:9.9.9: the chart's name \"payments\" is not the repository's last \
             component; --any-name would list it"
        );
        // What its config blob says is forgotten with the last chart that is listed, but not its name.
        shelf.manifests.remove("team/payments:9.9.9");
        shelf.asked();
        for _ in 0..2 {
            refresh(&shelf, &mut inventory, CheckScope::All);
            assert_eq!(shelf.asked(), ["HEAD evil/web:9.9.9", "tags evil/web"]);
        }
        assert!(charts(&inventory).is_empty());
        let filter = Filter {
            names: NameRule::OfAnyRepository,
            ..Filter::default()
        };
        let mut inventory = Inventory::new(filter);
        refresh(&shelf, &mut inventory, CheckScope::First);
        assert_eq!(charts(&inventory), ["evil/web:9.9.9"]);
    }
}
