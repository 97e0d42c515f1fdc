//! The config blobs of new charts, each read once, and only as far as there is room.

use super::budget::Budget;
use super::defect::contained;
use super::memory::Memory;
use super::progress::Progress;
use super::tag::Place;
use crate::helm::PackedMetadata;
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::storage::{ErrorKind, Storage, read_blob};
use crate::sync::in_parallel;
use std::collections::{BTreeMap, HashMap};

/// What came of reading a config blob.
#[derive(Clone)]
pub(super) enum Reading {
    Metadata(PackedMetadata),
    /// It's not what a chart needs, for this reason.
    NotAChart(String),
    /// The budget is spent.
    NoRoom,
    /// It may be another thing next time.
    Failed(ErrorKind, String),
}

/// A config blob of a repository.
type Key<'a> = (&'a RepositoryName, &'a Digest);

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
        let known: HashMap<&Digest, &PackedMetadata> = memory
            .charts()
            .map(|found| (&found.layers.config.digest, &found.metadata))
            .collect();
        let mut wanted = Vec::new();
        let mut budget = Budget::default();
        for ((repository, tag), config) in with_known(memory, candidates) {
            let room = budget.spend(repository, config);
            let key = (repository, &config.digest);
            if !candidates.contains_key(&(repository, tag)) || readings.contains_key(&key) {
                continue;
            }
            let reading = match (room, known.get(&config.digest)) {
                (Err(_), _) => Reading::NoRoom,
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
        let keys = wanted
            .iter()
            .map(|(repository, config)| (*repository, &config.digest));
        readings.extend(keys.zip(read));
        Configs(readings)
    }

    /// What a config blob says, if it was asked for.
    pub(super) fn get(&self, repository: &RepositoryName, config: Option<&Descriptor>) -> Reading {
        let reading = config.and_then(|config| self.0.get(&(repository, &config.digest)));
        reading
            .cloned()
            .unwrap_or_else(|| Reading::Failed(ErrorKind::Unavailable, "not read".to_owned()))
    }
}

/// The config blobs of all that will have a share, in the order of names.
fn with_known<'a>(
    memory: &'a Memory,
    candidates: &BTreeMap<Place<'a>, &'a Descriptor>,
) -> BTreeMap<Place<'a>, &'a Descriptor> {
    let mut all: BTreeMap<Place, &Descriptor> = memory.configs().collect();
    all.extend(candidates.iter().map(|(place, config)| (*place, *config)));
    all
}

fn read(storage: &dyn Storage, repository: &RepositoryName, config: &Descriptor) -> Reading {
    let reading = contained(|| {
        let bytes = read_blob(storage, repository, config)?;
        Ok(match PackedMetadata::parse(&bytes) {
            Ok(metadata) => Reading::Metadata(metadata),
            Err(reason) => Reading::NotAChart(reason.to_string()),
        })
    });
    reading.unwrap_or_else(|error| Reading::Failed(error.kind(), format!("{error:#}")))
}
