//! `artifacthub-repo.yml` beside an index, by which Artifact Hub knows the owner of a chart repository
//! (artifacthub.io/docs/topics/repositories/helm-charts): the operator's file, or what is pushed under the
//! tag `artifacthub.io` of a repository there. It is read from the storage when it is asked for, never in
//! a scan, and served only if it matches its digest.

use super::client::Connection;
use super::downloads::{Downloads, Refusal};
use super::page::Asked;
use super::response::{Response, YAML};
use super::route::Base;
use crate::inventory::METADATA_TAG;
use crate::oci::{Manifest, RepositoryName};
use crate::representation::Representation;
use crate::storage::{Error, ErrorKind, Result, Storage, read_blob};
use crate::sync::{Lru, Once, lock};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The content of the operator's file, whenever it is asked for.
pub type MetadataFile = dyn Fn() -> Vec<u8> + Send + Sync;

/// The layer that is the file.
const LAYER_TYPE: &str = "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml";
/// Largest file, in bytes: an id and some owners take a hundredth.
pub const MAX_METADATA_FILE: u64 = 64 * 1024;
/// How long a file that was read is served without asking again, or that there is none: Artifact Hub asks
/// every half an hour, and a registry counts each manifest as a pull.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Most bytes of files that are kept, and what each counts at least.
const KEPT: usize = 512 * 1024;
const MIN_WEIGHT: usize = 1024;
/// Most requests that wait for a file that another one reads, and for how long: each holds a connection.
const MAX_SHARING: usize = 64;
const SHARED: Duration = Duration::from_secs(60);

/// The files of this chart repository.
pub(super) struct RepositoryMetadata {
    own: Option<Box<MetadataFile>>,
    kept: Mutex<Lru<RepositoryName, Found>>,
    running: Once<RepositoryName, Found>,
}

/// What the storage has said, and until when it counts.
#[derive(Clone)]
struct Found {
    file: Result<Arc<Representation>, Refusal>,
    until: Instant,
}

impl RepositoryMetadata {
    /// With the operator's file, if there is one: it is served in place of all others.
    pub(super) fn new(own: Option<Box<MetadataFile>>) -> RepositoryMetadata {
        RepositoryMetadata {
            own,
            kept: Mutex::new(Lru::new(KEPT)),
            running: Once::new(MAX_SHARING),
        }
    }

    /// The response with the file at this base.
    pub(super) fn respond(
        &self,
        asked: &Asked,
        connection: &Connection,
        base: &Base,
        downloads: &Downloads,
    ) -> Response {
        let missing = || Response::text(404, "there is no artifacthub-repo.yml here");
        let (snapshot, base) = (asked.snapshot, base.as_ref());
        if let Some(own) = &self.own {
            return match base.is_none_or(|base| snapshot.has_charts_below(base)) {
                true => asked.represent(&Representation::new(own()), YAML),
                false => missing(),
            };
        }
        let Some(repository) = snapshot.described_by(base) else {
            return missing();
        };
        match self.of_tag(downloads, connection, repository) {
            Ok(file) => asked.represent(&file, YAML),
            Err(Refusal::Storage(ErrorKind::NotFound)) => missing(),
            Err(refusal) => refusal.response(),
        }
    }

    /// The file of a repository's tag.
    fn of_tag(
        &self,
        downloads: &Downloads,
        connection: &Connection,
        repository: &RepositoryName,
    ) -> Result<Arc<Representation>, Refusal> {
        let kept = lock(&self.kept).get(repository);
        if let Some(found) = kept.filter(|found| found.until > Instant::now()) {
            return found.file;
        }
        let found = self.running.get(repository, SHARED, || {
            let file = downloads.storage(connection).and_then(|(storage, _pass)| {
                read(storage, repository).map_err(|error| {
                    log::warn!(
                        repository = repository.as_str(), tag = METADATA_TAG, status = error.status();
                        "{error:#}"
                    );
                    Refusal::Storage(error.kind())
                })
            });
            let file = file.map(|bytes| Arc::new(Representation::new(bytes)));
            let until = Instant::now() + KEPT_FOR;
            let found = Found { file, until };
            if found.is_definite() {
                let weight = found.file.as_ref().map_or(0, |file| file.weight());
                let weight = weight.max(MIN_WEIGHT);
                lock(&self.kept).insert(repository.clone(), found.clone(), weight);
            }
            found
        });
        found.map_or(Err(Refusal::Busy), |found| found.file)
    }
}

impl Found {
    fn is_definite(&self) -> bool {
        match self.file {
            Ok(_) => true,
            Err(Refusal::Busy) => false,
            Err(Refusal::Storage(kind)) => !kind.is_no_answer(),
        }
    }
}

/// Reads what the tag names. What was pushed wrongly is not there.
fn read(storage: &dyn Storage, repository: &RepositoryName) -> Result<Vec<u8>> {
    let missing = |why: &str| {
        let text = format!("{repository}:{METADATA_TAG}: {why}");
        Error::new(ErrorKind::NotFound, text)
    };
    let tag = METADATA_TAG.parse().map_err(|_| missing("no tag"))?;
    let manifest = storage.manifest(repository, &tag)?;
    let Ok(Manifest::Image(manifest)) = Manifest::parse(&manifest) else {
        return Err(missing("not the manifest of an artifact"));
    };
    let layer = manifest
        .layers
        .iter()
        .find(|layer| layer.media_type.is(LAYER_TYPE));
    match layer {
        None => Err(missing("no layer is of Artifact Hub's type")),
        Some(layer) if layer.size > MAX_METADATA_FILE => {
            Err(missing(&format!("over {MAX_METADATA_FILE} bytes")))
        }
        Some(layer) => read_blob(storage, repository, layer),
    }
}
