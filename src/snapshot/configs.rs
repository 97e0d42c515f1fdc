//! The config blobs of all charts, each read once, within a budget. Anybody who may push can have
//! config blobs of a megabyte, and all of them are held in memory and stand in the index; so each
//! repository has its share, and all together have a bound. What is over is decided by the order of
//! names alone, so that every replica leaves out the same.

use super::memory::Memory;
use super::parallel::in_parallel;
use super::progress::Progress;
use crate::helm::{ChartMetadata, PackedMetadata};
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::storage::{ErrorKind, Storage, read_blob};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most bytes of config blobs in one repository: 5,000 versions of a chart with many words.
const MAX_REPOSITORY: u64 = 8 * 1024 * 1024;
/// Most bytes of config blobs in all: 60,000 versions. The snapshot and its index take four times
/// as much while they're made.
const MAX_ALL: u64 = 64 * 1024 * 1024;

/// A repository and a tag in it.
pub(super) type Place<'a> = (&'a RepositoryName, &'a str);

/// A config blob of a repository.
type Key<'a> = (&'a RepositoryName, &'a Digest);

/// What came of reading a config blob.
#[derive(Clone)]
pub(super) enum Reading {
    Metadata(PackedMetadata),
    /// It's not what a chart needs, for this reason.
    NotAChart(String),
    /// The budget is spent.
    NoRoom(String),
    /// It may be another thing next time.
    Failed(ErrorKind, String),
}

/// What is left of the bounds. Charts are counted in the order of their names.
#[derive(Default)]
pub(super) struct Budget<'a> {
    counted: HashSet<Key<'a>>,
    here: Option<(&'a RepositoryName, u64)>,
    in_all: u64,
}

impl<'a> Budget<'a> {
    /// Takes a config blob's share; one that several tags have is counted once.
    ///
    /// Errors with the reason why there's none left.
    pub(super) fn spend(
        &mut self,
        repository: &'a RepositoryName,
        config: &'a Descriptor,
    ) -> Result<(), String> {
        let key = (repository, &config.digest);
        if self.counted.contains(&key) {
            return Ok(());
        }
        let spent_here = self.here.filter(|(name, _)| *name == repository).map_or(0, |(_, spent)| spent);
        let (here, in_all) = (spent_here + config.size, self.in_all + config.size);
        if here > MAX_REPOSITORY {
            return Err(format!("over {MAX_REPOSITORY} bytes of config blobs in {repository}"));
        }
        if in_all > MAX_ALL {
            return Err(format!("over {MAX_ALL} bytes of config blobs in all"));
        }
        self.counted.insert(key);
        self.here = Some((repository, here));
        self.in_all = in_all;
        Ok(())
    }
}

/// What the config blobs of new charts say.
pub(super) struct Configs<'a>(HashMap<Key<'a>, Reading>);

impl<'a> Configs<'a> {
    /// Reads the config blobs of `candidates` that aren't known already and for which there's room
    /// beside those that are.
    pub(super) fn read(
        storage: &dyn Storage,
        concurrency: usize,
        memory: &'a Memory,
        candidates: &BTreeMap<Place<'a>, &'a Descriptor>,
        progress: &Progress,
    ) -> Configs<'a> {
        let mut readings = HashMap::new();
        if candidates.is_empty() {
            return Configs(readings);
        }
        let known: HashMap<&Digest, &PackedMetadata> =
            memory.charts().map(|found| (&found.layers.config.digest, &found.metadata)).collect();
        let mut wanted = Vec::new();
        let mut budget = Budget::default();
        for ((repository, tag), config) in with_known(memory, candidates) {
            let room = budget.spend(repository, config);
            let key = (repository, &config.digest);
            if !candidates.contains_key(&(repository, tag)) || readings.contains_key(&key) {
                continue;
            }
            let reading = match (room, known.get(&config.digest)) {
                (Err(reason), _) => Reading::NoRoom(reason),
                (Ok(()), Some(metadata)) => Reading::Metadata(PackedMetadata::clone(metadata)),
                (Ok(()), None) => {
                    wanted.push((repository, config));
                    Reading::NotAChart("not read yet".to_owned())
                }
            };
            readings.insert(key, reading);
        }
        let read = in_parallel(&wanted, concurrency, |(repository, config)| {
            let reading = read(storage, repository, config);
            progress.found(matches!(reading, Reading::Metadata(_)));
            reading
        });
        let keys = wanted.iter().map(|(repository, config)| (*repository, &config.digest));
        readings.extend(keys.zip(read));
        Configs(readings)
    }

    /// What a config blob says, if it was asked for.
    pub(super) fn get(&self, repository: &RepositoryName, config: Option<&Descriptor>) -> Reading {
        let reading = config.and_then(|config| self.0.get(&(repository, &config.digest)));
        reading.cloned().unwrap_or_else(|| Reading::Failed(ErrorKind::Unavailable, "not read".to_owned()))
    }
}

/// The config blobs of all charts there will be, in the order of names.
fn with_known<'a>(
    memory: &'a Memory,
    candidates: &BTreeMap<Place<'a>, &'a Descriptor>,
) -> BTreeMap<Place<'a>, &'a Descriptor> {
    let known =
        memory.charts().map(|found| ((&found.repository, found.reference.as_str()), &found.layers.config));
    let mut all: BTreeMap<Place, &Descriptor> = known.collect();
    all.extend(candidates.iter().map(|(place, config)| (*place, *config)));
    all
}

fn read(storage: &dyn Storage, repository: &RepositoryName, config: &Descriptor) -> Reading {
    match read_blob(storage, repository, config) {
        Ok(bytes) => match ChartMetadata::parse(&bytes) {
            Ok(metadata) => Reading::Metadata(metadata.into()),
            Err(reason) => Reading::NotAChart(reason.to_string()),
        },
        Err(error) => Reading::Failed(error.kind(), error.to_string()),
    }
}
