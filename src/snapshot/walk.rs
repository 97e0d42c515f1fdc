//! One walk: repositories → tags → manifests → config blobs → chart versions, and a reason for
//! everything that is none. A failure stays where it happened: what a repository or a tag held
//! before stays in force unless the answer is a definite "not found"; only a failure to learn the
//! repositories at all ends the walk.

use super::Snapshot;
use super::artifact::{Artifact, Candidate, look};
use super::configs::Configs;
use super::parallel::in_parallel;
use crate::helm::{ChartLayers, ChartMetadata};
use crate::oci::{Reference, RepositoryName, qualified};
use crate::storage::{Error, ErrorKind, Storage};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;

/// Most artifacts of one walk: twenty times the largest registry that we aim at.
const MAX_ARTIFACTS: usize = 1_000_000;
/// A chart version, and the tag it was found under.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was found.
    pub repository: RepositoryName,
    /// Under which name.
    pub reference: Reference,
    /// The config blob's words.
    pub metadata: Arc<ChartMetadata>,
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
    /// How many repositories and tags couldn't be read, for whatever reason but that they are gone: a
    /// further walk may find more.
    pub missed: usize,
    /// One of them, and why.
    pub example: Option<Skipped>,
    /// How many of them gave no answer: the storage itself is in trouble.
    pub unanswered: usize,
    /// How many of them were refused to us.
    pub refused: usize,
    /// Whether the storage lists no repository at all.
    pub empty: bool,
}

/// Walks the whole storage with `concurrency` requests at a time. `last` is what the walk before
/// has found.
///
/// Errors when the repositories can't be listed; whatever else fails is counted as `missed`, and kept
/// or skipped.
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
            Err(error) => harvest.missed(repository.to_string(), known.repository(repository), &error),
        }
    }
    let looks = in_parallel(&artifacts, concurrency, |(repository, tag)| look(storage, repository, tag));
    let candidates = artifacts.iter().zip(&looks).filter_map(|((repository, _), look)| match look {
        Ok(Artifact::Chart(candidate)) => Some((*repository, &**candidate)),
        _ => None,
    });
    let configs = Configs::read(storage, concurrency, candidates);
    for ((repository, tag), look) in artifacts.iter().zip(&looks) {
        let verdict = match look {
            Ok(Artifact::Chart(candidate)) => match configs.of(repository, candidate) {
                Ok(Ok(metadata)) => Ok(Ok(Found::new(repository, candidate, metadata))),
                Ok(Err(reason)) => Ok(Err(reason)),
                Err(error) => Err(error),
            },
            Ok(Artifact::NoChart(reason)) => Ok(Err(reason.clone())),
            Err(error) => Err(Error::new(error.kind(), error.to_string())),
        };
        let reference = || qualified(repository, tag);
        match verdict {
            Ok(Ok(found)) => harvest.found.push(found),
            Ok(Err(reason)) => harvest.skipped.push(Skipped { reference: reference(), reason }),
            Err(error) => harvest.missed(reference(), known.artifact(repository, tag), &error),
        }
    }
    Ok(harvest)
}

impl Found {
    fn new(repository: &RepositoryName, candidate: &Candidate, metadata: Arc<ChartMetadata>) -> Found {
        Found {
            repository: repository.clone(),
            reference: candidate.reference.clone(),
            metadata,
            created: candidate.created,
            layers: candidate.layers.clone(),
        }
    }
}

impl Harvest {
    /// Notes a repository or tag that couldn't be asked: what was known of it stays, unless it's
    /// definitely gone.
    fn missed<'a>(&mut self, reference: String, known: impl Iterator<Item = &'a Found>, error: &Error) {
        match error.kind() {
            ErrorKind::NotFound => {}
            ErrorKind::TimedOut | ErrorKind::Unavailable => self.unanswered += 1,
            ErrorKind::Refused => self.refused += 1,
            ErrorKind::Invalid => {}
        }
        self.missed += usize::from(error.kind() != ErrorKind::NotFound);
        let before = self.found.len();
        if error.kind() != ErrorKind::NotFound {
            self.found.extend(known.cloned());
        }
        if self.found.len() > before {
            crate::warn!("{reference} stays as it was: {error}");
        } else {
            let skipped = Skipped { reference, reason: error.to_string() };
            self.example.get_or_insert_with(|| skipped.clone());
            self.skipped.push(skipped);
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
