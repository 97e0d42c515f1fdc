//! One pass makes the directory agree with what is known of the registry: the lists of each repository are
//! written, what no list refers to is removed, and what is missing is fetched, the newest versions of all
//! repositories first. A daemon makes a pass whenever something has changed, at low priority; the command
//! `mirror` makes one, and says what is still missing.

use super::directory::{INDEX, MARKER, MARKER_TEXT, MirrorDirectory, UNLISTED};
use super::list::{self, NamedManifest};
use super::parts::{Parts, media_type};
use super::progress::FetchProgress;
use super::{Mirror, MirrorState, Told};
use crate::oci::{Blob, Digest, RepositoryName, qualified};
use crate::pacing::Backoff;
use crate::sorting;
use crate::storage::{Error, ErrorKind, KeptTag, Result, Standing};
use crate::sync::{in_parallel, lock, wait_while};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Pauses before a pass that left something undone is repeated.
const PAUSES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// How long the thread sleeps at most while there is nothing to do.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a fetch waits at most for the requests of clients and scans to end, and how often it looks.
const LONGEST_YIELD: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// What the directory held of each repository when it agreed with what is known: the digest of that.
type Agreed = HashMap<RepositoryName, Digest>;

/// A file that is listed and not on disk.
struct Missing {
    repository: RepositoryName,
    tag: Arc<str>,
    /// 0 for the newest version of its repository.
    rank: usize,
    /// What to fetch; nothing, if its manifest can't be had.
    blob: Option<Blob>,
    /// Why it is missing, once that is known.
    why: String,
}

impl Mirror {
    /// Makes a pass whenever there is something to do, for as long as the process runs.
    pub fn run(&self) {
        let mut agreed = Agreed::new();
        let (mut known, mut backoff) = (Told::default(), None);
        loop {
            let wait = backoff.map_or(IDLE, |backoff: Backoff| {
                backoff.retry_at.saturating_duration_since(Instant::now())
            });
            let is_idle = |state: &mut MirrorState| state.known.is_none();
            let mut state = wait_while(&self.changed, lock(&self.state), wait, is_idle);
            let news = state.known.take();
            drop(state);
            if news.is_none() && backoff.is_none() {
                continue;
            }
            known = news.unwrap_or(known);
            let is_done = self.pass(&known, &mut agreed);
            backoff = (!is_done).then(|| Backoff::after(backoff, PAUSES, Instant::now()));
            if is_done {
                known = Told::default();
            }
        }
    }

    /// One pass of a daemon. Whether nothing is left to do; it's given up when there are news.
    fn pass(&self, told: &Told, agreed: &mut Agreed) -> bool {
        let is_first = agreed.is_empty();
        let Some(missing) = self.lay_out(told, agreed) else {
            return true;
        };
        let (missing, without_room) = self.fitting(missing);
        let is_news = self.options.all && (is_first || !missing.is_empty());
        for missing in missing {
            let has_news = lock(&self.state).known.is_some();
            if has_news || self.fetch_late(&missing).is_err() {
                agreed.remove(&missing.repository);
            }
        }
        let mut wanted = told.known.iter().filter(|(_, tags)| tags.is_some());
        let is_done =
            wanted.all(|(name, _)| agreed.contains_key(name) || !MirrorDirectory::has_place(name));
        if is_done && is_news {
            match without_room.len() {
                0 => log::info!("mirror: complete: it holds all charts that are listed"),
                files => log::warn!(
                    "mirror: full: no room is left in --mirror-size for {files} of the files that are listed"
                ),
            }
        }
        is_done
    }

    /// Fetches everything that is listed, after a scan. The lines of what is missing in the end.
    pub fn complete(&self) -> Vec<String> {
        let Some(told) = lock(&self.state).known.take() else {
            return Vec::new();
        };
        let mut agreed = Agreed::new();
        let Some(missing) = self.lay_out(&told, &mut agreed) else {
            return Vec::new();
        };
        let (missing, too_many) = self.fitting(missing);
        let size = |one: &Missing| one.blob.as_ref().map_or(0, |blob| blob.size);
        let progress = FetchProgress::new(missing.len(), missing.iter().map(size).sum());
        let fetched = in_parallel(&missing, self.options.concurrency, |missing| {
            let fetched = self.fetch_missing(missing);
            progress.count(size(missing));
            fetched.err().map(|error| format!("{error:#}"))
        });
        let why = "no room is left in --mirror-size".to_owned();
        let too_many = too_many.iter().map(|one| (one, Some(why.clone())));
        let lines = missing.iter().zip(fetched).chain(too_many);
        let line = |(missing, why): (&Missing, Option<String>)| {
            let name = qualified(&missing.repository, &missing.tag);
            Some(format!("{name}: {}", why?))
        };
        let without_lists = told.known.iter().filter(|(name, tags)| {
            let lists = tags
                .as_ref()
                .is_some_and(|tags| tags.iter().any(KeptTag::is_listed));
            lists && !agreed.contains_key(name)
        });
        let without_lists =
            without_lists.map(|(name, _)| format!("{name}: its list could not be written"));
        lines.filter_map(line).chain(without_lists).collect()
    }

    /// Those files for which there is room, the newest first, and the others.
    fn fitting(&self, missing: Vec<Missing>) -> (Vec<Missing>, Vec<Missing>) {
        let mut left = self.room.left();
        missing.into_iter().partition(|missing| {
            let size = missing.blob.as_ref().map_or(0, |blob| blob.size);
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        })
    }

    /// Fetches one file when no client and no scan asks the registry, or after some time.
    fn fetch_late(&self, missing: &Missing) -> Result<()> {
        let until = Instant::now() + LONGEST_YIELD;
        while self.busy.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            thread::sleep(LOOK);
        }
        let fetched = self.fetch_missing(missing);
        if let Err(error) = &fetched {
            let name = qualified(&missing.repository, &missing.tag);
            let (repository, tag) = (missing.repository.as_str(), &*missing.tag);
            log::debug!(repository = repository, tag = tag; "mirror: {name} is not complete: {error:#}");
        }
        fetched
    }

    fn fetch_missing(&self, missing: &Missing) -> Result<()> {
        let Missing {
            repository, blob, ..
        } = missing;
        match blob {
            None => Err(Error::new(ErrorKind::Unavailable, &*missing.why)),
            Some(blob) => self.fetch(repository, blob),
        }
    }

    /// Fetches a blob to the disk, unless it's there.
    fn fetch(&self, repository: &RepositoryName, blob: &Blob) -> Result<()> {
        if self.directory().length(repository, &blob.digest) == Some(blob.size) {
            return Ok(());
        }
        let source = self.registry.blob(repository, blob)?;
        let name = qualified(repository, &blob.digest.to_string());
        match self.copying(source, repository, blob).finish() {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_written(&name)),
            Err(error) => {
                let kind = ErrorKind::from(&error);
                Err(Error::new(kind, format!("blob {name}: {error}")))
            }
        }
    }

    // --- laying out ----------------------------------------------------------------------------

    /// Makes the lists of all repositories agree with what is known: what they list that is not on disk,
    /// in the order in which it's to be fetched. `None` if that would empty a mirror for a mistyped prefix
    /// or filter: as long as this process has not seen a chart, it removes none.
    fn lay_out(&self, told: &Told, agreed: &mut Agreed) -> Option<Vec<Missing>> {
        let tags = told.known.iter().flat_map(|(_, tags)| tags).flatten();
        if tags.into_iter().any(KeptTag::is_listed) {
            self.has_seen_chart.store(true, Ordering::Relaxed);
        }
        if !self.has_seen_chart.load(Ordering::Relaxed) && self.directory().holds_charts() {
            let shown = self.options.directory.display();
            log::warn!(
                "mirror: {shown} holds charts, and none is listed now, so it is left as it is; is a prefix or \
                 a filter mistyped? To begin anew, remove the folder"
            );
            return None;
        }
        let names: HashSet<&RepositoryName> = told.known.iter().map(|(name, _)| name).collect();
        agreed.retain(|name, _| names.contains(name));
        let on_disk = self.directory().repositories();
        let gone = on_disk.iter().filter(|name| !names.contains(name));
        let gone: Vec<&RepositoryName> = gone.collect();
        for name in &gone {
            self.directory().remove_repository(name);
        }
        if let [first, ..] = &*gone {
            let count = gone.len();
            log::info!(
                "mirror: repositories that are not served any more are removed: {count}, such as {first}"
            );
        }
        let mut missing = Vec::new();
        for (repository, tags) in &told.known {
            let Some(tags) = tags else { continue };
            let state = fingerprint(tags);
            if agreed.get(repository) == Some(&state) || !MirrorDirectory::has_place(repository) {
                continue;
            }
            agreed.remove(repository);
            if self.directory().disk.is_in_trouble() {
                continue;
            }
            if let Some(incomplete) = self.lay_out_one(repository, tags, told.count) {
                missing.extend(incomplete);
                agreed.insert(repository.clone(), state);
            }
        }
        self.directory().age(told.count);
        sorting::by_key(&mut missing, |missing| missing.rank);
        Some(missing)
    }

    /// The same of one repository; `None` if files can't be written now.
    fn lay_out_one(
        &self,
        repository: &RepositoryName,
        tags: &[KeptTag],
        told: u64,
    ) -> Option<Vec<Missing>> {
        let (mut listed, mut unlisted, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        // Several versions may share a file: it's fetched once.
        let (mut used, mut wanted) = (HashSet::new(), HashSet::new());
        for (rank, kept) in tags.iter().enumerate() {
            let mut named = NamedManifest {
                tag: kept.tag.clone(),
                digest: kept.manifest.clone(),
                media_type: String::new(),
                size: 0,
                reason: None,
            };
            if let Standing::NotAChart(reason) = &kept.standing {
                named.reason = Some(reason.clone());
                unlisted.push(named);
                continue;
            }
            let mut lacks = |blob, why: String| {
                missing.push(Missing {
                    repository: repository.clone(),
                    tag: kept.tag.clone(),
                    rank,
                    blob,
                    why,
                });
            };
            let bytes = match self.manifest_of(repository, &kept.manifest) {
                Ok(bytes) => bytes,
                Err(error) => {
                    lacks(None, format!("{error:#}"));
                    continue;
                }
            };
            if self.directory().disk.is_in_trouble() {
                return None;
            }
            (named.media_type, named.size) = (media_type(&bytes), bytes.len() as u64);
            let parts = Parts::of(&bytes, &|inner| self.manifest_of(repository, inner).ok());
            used.extend(parts.used.into_iter().chain([kept.manifest.clone()]));
            let (Standing::Listed, Some(chart)) = (&kept.standing, parts.chart) else {
                unlisted.push(named);
                continue;
            };
            if let Err(error) = self.fetch(repository, &chart.config) {
                lacks(None, format!("{error:#}"));
            }
            for blob in [Some(chart.archive), chart.provenance.map(|blob| *blob)] {
                let blob = blob.filter(|blob| {
                    let length = self.directory().length(repository, &blob.digest);
                    length != Some(blob.size) && wanted.insert(blob.digest.clone())
                });
                if blob.is_some() && self.options.all {
                    lacks(blob, String::new());
                }
            }
            listed.push(named);
        }
        self.write_lists(repository, &listed, &unlisted)?;
        self.directory().sweep(repository, &used, told);
        Some(missing)
    }

    fn write_lists(
        &self,
        repository: &RepositoryName,
        listed: &[NamedManifest],
        unlisted: &[NamedManifest],
    ) -> Option<()> {
        let folder = self.directory().folder(repository);
        let text = |list: &[NamedManifest]| (!list.is_empty()).then(|| list::render(list));
        let marker = (!listed.is_empty()).then(|| MARKER_TEXT.to_owned());
        self.agree(&folder.join(MARKER), marker)?;
        self.agree(&folder.join(INDEX), text(listed))?;
        self.agree(&folder.join(UNLISTED), text(unlisted))
    }

    /// Makes a file hold this text, or removes it.
    fn agree(&self, path: &Path, text: Option<String>) -> Option<()> {
        let disk = &self.directory().disk;
        let Some(text) = text else {
            return disk.remove(path).then_some(());
        };
        let longest = text.len() as u64 + 1;
        let is_same = disk.content(path, longest).as_deref() == Some(text.as_bytes());
        (is_same || disk.write(path, text.as_bytes())).then_some(())
    }
}

/// The digest of what is known of a repository's tags.
fn fingerprint(tags: &[KeptTag]) -> Digest {
    let mut text = String::new();
    for kept in tags {
        let reason = match &kept.standing {
            Standing::Listed => "",
            Standing::Unlisted => "unlisted",
            Standing::NotAChart(reason) => reason,
        };
        let _ = writeln!(text, "{} {} {reason}", kept.tag, kept.manifest);
    }
    Digest::sha256(text.as_bytes())
}

fn not_written(name: &str) -> Error {
    let text = format!("blob {name}: could not be written to the mirror");
    Error::new(ErrorKind::Unavailable, text)
}
