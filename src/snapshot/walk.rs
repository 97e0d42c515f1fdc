//! One walk: repositories → tags → manifests → config blobs → chart versions, and a reason for
//! everything that is none. A failure stays where it happened: what a repository or a tag held
//! before stays in force unless the answer is a definite "not found"; only a failure to learn the
//! repositories at all ends the walk.

use super::Snapshot;
use crate::helm::index::parse_created;
use crate::helm::{ChartLayers, ChartMetadata};
use crate::oci::{ImageManifest, Manifest, Reference, RepositoryName, qualified};
use crate::storage::{Error, ErrorKind, Storage, read_blob};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use time::OffsetDateTime;

/// The annotation that says when a chart was made (image-spec v1.1.0, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";

/// Most artifacts of one walk: twenty times the largest registry that we aim at.
const MAX_ARTIFACTS: usize = 1_000_000;
/// Most bytes of config blobs that are kept of one walk: a hundred thousand charts' worth. Configs
/// may be a megabyte each, and all of them stand in the index.
const MAX_METADATA: u64 = 256 * 1024 * 1024;

/// A chart version, and the tag it was found under.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was found.
    pub repository: RepositoryName,
    /// Under which name.
    pub reference: Reference,
    /// The config blob's words.
    pub metadata: ChartMetadata,
    /// The manifest's word on its date.
    pub created: Option<OffsetDateTime>,
    /// The archive and the provenance file.
    pub layers: ChartLayers,
}

/// Something that isn't listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// `repository`, or `repository:tag`.
    pub reference: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.reference, self.reason)
    }
}

/// What a walk brings home, in an order that doesn't depend on the answers'.
#[derive(Default)]
pub struct Harvest {
    /// Every chart version, aliases included.
    pub found: Vec<Found>,
    /// Everything else.
    pub skipped: Vec<Skipped>,
    /// How many repositories and tags couldn't be asked: a further walk may find more.
    pub missed: usize,
    /// Whether the storage lists no repository at all.
    pub empty: bool,
}

/// Walks the whole storage with `concurrency` requests at a time. `last` is what the walk before
/// has found.
///
/// Errors when the repositories can't be listed; whatever else fails is counted as `missed`, and kept or skipped.
pub fn walk(storage: &dyn Storage, concurrency: usize, last: Option<&Snapshot>) -> Result<Harvest, Error> {
    let mut repositories = storage.repositories()?;
    repositories.sort();
    let known = Known::of(last);
    let listings = in_parallel(&repositories, concurrency, |repository| storage.tags(repository));
    let mut harvest = Harvest { empty: repositories.is_empty(), ..Harvest::default() };
    let mut artifacts = Vec::new();
    for (repository, listing) in repositories.iter().zip(listings) {
        match listing {
            Ok(mut tags) => {
                tags.sort();
                tags.dedup();
                let room = MAX_ARTIFACTS - artifacts.len();
                if tags.len() > room {
                    crate::warn!("over {MAX_ARTIFACTS} tags in all: some of {repository} are left out");
                }
                artifacts.extend(tags.into_iter().take(room).map(|tag| (repository, tag)));
            }
            Err(error) => harvest.missed(repository.to_string(), known.repository(repository), error),
        }
    }
    let metadata = AtomicU64::new(0);
    let verdicts = in_parallel(&artifacts, concurrency, |(repository, tag)| {
        inspect(storage, repository, tag, &metadata)
    });
    for ((repository, tag), verdict) in artifacts.iter().zip(verdicts) {
        let reference = || qualified(repository, tag);
        match verdict {
            Ok(Verdict::Chart(found)) => harvest.found.push(*found),
            Ok(Verdict::NoChart(reason)) => harvest.skipped.push(Skipped { reference: reference(), reason }),
            Err(error) => harvest.missed(reference(), known.artifact(repository, tag), error),
        }
    }
    Ok(harvest)
}

impl Harvest {
    /// Notes a repository or tag that couldn't be asked: what was known of it stays, unless it's
    /// definitely gone.
    fn missed<'a>(&mut self, reference: String, known: impl Iterator<Item = &'a Found>, error: Error) {
        self.missed += 1;
        let before = self.found.len();
        if error.kind() != ErrorKind::NotFound {
            self.found.extend(known.cloned());
        }
        if self.found.len() > before {
            crate::warn!("{reference} stays as it was: {error}");
        } else {
            self.skipped.push(Skipped { reference, reason: error.to_string() });
        }
    }
}

/// What the walk before has found, by repository.
struct Known<'a>(HashMap<&'a RepositoryName, Vec<&'a Found>>);

impl<'a> Known<'a> {
    fn of(last: Option<&'a Snapshot>) -> Known<'a> {
        let mut by_repository: HashMap<_, Vec<_>> = HashMap::new();
        for found in last.iter().flat_map(|last| &last.found) {
            by_repository.entry(&found.repository).or_default().push(found);
        }
        Known(by_repository)
    }

    fn repository(&self, name: &RepositoryName) -> impl Iterator<Item = &'a Found> {
        self.0.get(name).into_iter().flatten().copied()
    }

    fn artifact(&self, name: &RepositoryName, tag: &str) -> impl Iterator<Item = &'a Found> {
        self.repository(name).filter(move |found| found.reference.as_str() == tag)
    }
}

/// What an artifact turned out to be.
enum Verdict {
    Chart(Box<Found>),
    NoChart(String),
}

impl Verdict {
    fn no_chart(reason: impl fmt::Display) -> Result<Verdict, Error> {
        Ok(Verdict::NoChart(reason.to_string()))
    }
}

/// Looks at one tag. An `Err` says nothing about the artifact: it couldn't be asked.
/// `metadata` counts what all config blobs come to.
fn inspect(
    storage: &dyn Storage,
    repository: &RepositoryName,
    tag: &str,
    metadata: &AtomicU64,
) -> Result<Verdict, Error> {
    let reference = match tag.parse::<Reference>() {
        Ok(_) if is_companion(tag) => {
            return Verdict::no_chart("the tag names a signature, attestation or other companion");
        }
        Ok(reference) => reference,
        Err(error) => return Verdict::no_chart(error),
    };
    let bytes = storage.manifest(repository, &reference)?;
    let manifest = match Manifest::parse(&bytes) {
        Ok(Manifest::Image(manifest)) => manifest,
        Ok(Manifest::Index) => return Verdict::no_chart("an image index, not a chart's manifest"),
        Ok(Manifest::Schema1) => return Verdict::no_chart("a Docker image of schema 1"),
        Err(error) => return Verdict::no_chart(error),
    };
    let layers = match ChartLayers::find(&manifest) {
        Ok(layers) => layers,
        Err(reason) => return Verdict::no_chart(reason),
    };
    if metadata.fetch_add(layers.config.size, Ordering::Relaxed) > MAX_METADATA {
        return Verdict::no_chart(format!("all charts together have over {MAX_METADATA} bytes of metadata"));
    }
    let config = read_blob(storage, repository, &layers.config)?;
    for blob in layers.provenance.iter().chain([&layers.archive]) {
        storage.check(repository, blob)?;
    }
    match ChartMetadata::parse(&config) {
        Ok(metadata) => Ok(Verdict::Chart(Box::new(Found {
            repository: repository.clone(),
            reference,
            metadata,
            created: created(&manifest),
            layers,
        }))),
        Err(reason) => Verdict::no_chart(reason),
    }
}

fn created(manifest: &ImageManifest) -> Option<OffsetDateTime> {
    manifest.annotations.get(CREATED).and_then(|text| parse_created(text))
}

/// Tags that by convention belong to another artifact: cosign's `sha256-….sig`, `.att` and `.sbom`,
/// the referrers tag schema (distribution-spec v1.1.0), and Artifact Hub's metadata. They outnumber
/// charts where everything is signed, and aren't worth a request each.
fn is_companion(tag: &str) -> bool {
    let of_digest = ["sha256-", "sha512-"].iter().find_map(|algorithm| tag.strip_prefix(algorithm));
    let hex = of_digest.map_or("", |rest| rest.split('.').next().unwrap_or_default());
    tag == "artifacthub.io" || (hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `work` on every one of `all`, `concurrency` at a time; results in the order of `all`.
fn in_parallel<T: Sync, R: Send>(all: &[T], concurrency: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return done };
            done.push((at, work(one)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let helpers = concurrency.min(all.len()).saturating_sub(1);
        // A thread that can't be started leaves its share to the others.
        let spawn = |_| thread::Builder::new().name("walk".into()).spawn_scoped(scope, worker).ok();
        let handles: Vec<_> = (0..helpers).filter_map(spawn).collect();
        let mut results = worker();
        for handle in handles {
            results.extend(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_known_by_their_tag() {
        let hex = "0".repeat(64);
        for tag in [
            format!("sha256-{hex}"),
            format!("sha256-{hex}.sig"),
            format!("sha512-{hex}.att"),
            "artifacthub.io".into(),
        ] {
            assert!(is_companion(&tag), "{tag}");
        }
        for tag in ["1.0.0", "sha256-abc", "latest", "sha256-1.0.0"] {
            assert!(!is_companion(tag), "{tag}");
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_work() {
        let all: Vec<usize> = (0..100).collect();
        for concurrency in [1, 8, 1000] {
            assert_eq!(in_parallel(&all, concurrency, |n| n * 2), (0..200).step_by(2).collect::<Vec<_>>());
        }
        assert!(in_parallel(&[] as &[usize], 8, |n| *n).is_empty());
    }
}
