//! The config blobs of all charts, each read once, within a budget. Anybody who may push can have
//! config blobs of a megabyte, and all of them are held in memory and stand in the index; so each
//! repository has its share, and all together have a bound. What is over is decided by the order of
//! names, before anything is read.

use super::artifact::Candidate;
use super::parallel::in_parallel;
use crate::helm::ChartMetadata;
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::storage::{Error, ErrorKind, Storage, read_blob};
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of config blobs in one repository: 5,000 versions of a chart with many words.
const MAX_REPOSITORY: u64 = 8 * 1024 * 1024;
/// Most bytes of config blobs in all: 60,000 versions. The snapshot and its index take four times
/// as much while they're made.
const MAX_ALL: u64 = 64 * 1024 * 1024;

/// What a config blob says, or why it's not known. `Err` may be another thing next time.
pub(super) type Reading = Result<Result<Arc<ChartMetadata>, String>, (ErrorKind, String)>;

/// A config blob of a repository.
type Key<'a> = (&'a RepositoryName, &'a Digest);

/// What all config blobs say.
#[derive(Default)]
pub(super) struct Configs<'a>(HashMap<Key<'a>, Reading>);

impl<'a> Configs<'a> {
    /// Reads the configs of `candidates`, which are in the order of their names.
    pub(super) fn read(
        storage: &dyn Storage,
        concurrency: usize,
        candidates: impl Iterator<Item = (&'a RepositoryName, &'a Candidate)>,
    ) -> Configs<'a> {
        let mut readings = HashMap::new();
        let mut wanted = Vec::new();
        let mut spent = HashMap::<&RepositoryName, u64>::new();
        let mut spent_in_all = 0;
        for (repository, candidate) in candidates {
            let config = &candidate.layers.config;
            let key = (repository, &config.digest);
            if readings.contains_key(&key) {
                continue;
            }
            let spent_here = spent.entry(repository).or_default();
            let over = |bound| {
                Err((ErrorKind::Refused, format!("over {bound} bytes of config blobs in {repository}")))
            };
            let reading = if *spent_here + config.size > MAX_REPOSITORY {
                over(MAX_REPOSITORY)
            } else if spent_in_all + config.size > MAX_ALL {
                Err((ErrorKind::Refused, format!("over {MAX_ALL} bytes of config blobs in all")))
            } else {
                *spent_here += config.size;
                spent_in_all += config.size;
                wanted.push((repository, config));
                Err((ErrorKind::Unavailable, "not read yet".to_owned()))
            };
            readings.insert(key, reading);
        }
        let read =
            in_parallel(&wanted, concurrency, |(repository, config)| read(storage, repository, config));
        let keys = wanted.iter().map(|(repository, config)| (*repository, &config.digest));
        readings.extend(keys.zip(read));
        Configs(readings)
    }

    /// What `candidate`'s config says.
    ///
    /// Errors when it couldn't be read.
    pub(super) fn of(
        &self,
        repository: &'a RepositoryName,
        candidate: &'a Candidate,
    ) -> Result<Result<Arc<ChartMetadata>, String>, Error> {
        match self.0.get(&(repository, &candidate.layers.config.digest)) {
            Some(Ok(verdict)) => Ok(verdict.clone()),
            Some(Err((kind, text))) => Err(Error::new(*kind, text.clone())),
            None => Err(Error::new(ErrorKind::Unavailable, "not read")),
        }
    }
}

fn read(storage: &dyn Storage, repository: &RepositoryName, config: &Descriptor) -> Reading {
    match read_blob(storage, repository, config) {
        Ok(bytes) => Ok(ChartMetadata::parse(&bytes).map(Arc::new).map_err(|reason| reason.to_string())),
        Err(error) => Err((error.kind(), error.to_string())),
    }
}
