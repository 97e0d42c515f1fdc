//! `artifacthub-repo.yml` beside an index, by which Artifact Hub knows the owner of a chart repository
//! (artifacthub.io/docs/topics/repositories/helm-charts): the operator's file, or what is pushed under the
//! tag `artifacthub.io` of a repository there. It is read from the storage when it is asked for, never in
//! a scan, and served only if it matches its digest.

use super::client::Connection;
use super::downloads::{Downloads, Refusal};
use super::page::Asked;
use super::response::{Response, YAML};
use super::route::Base;
use crate::budget::METADATA_FILES;
use crate::inventory::METADATA_TAG;
use crate::oci::{Manifest, RepositoryName};
use crate::representation::Representation;
use crate::storage::{Error, ErrorKind, Result, Storage, read_blob};
use crate::sync::lock;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use crate::budget::MAX_METADATA_FILE;

/// The content of the operator's file, whenever it is asked for.
pub type MetadataFile = dyn Fn() -> Vec<u8> + Send + Sync;

/// The layer that is the file.
const LAYER_TYPE: &str = "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml";
/// How long a file that was read is served without asking again, or that there is none: Artifact Hub asks
/// every half an hour, and a registry counts each manifest as a pull.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The files of this chart repository.
pub(super) struct RepositoryMetadata {
    own: Option<Box<MetadataFile>>,
    /// What was read last.
    kept: Mutex<Vec<Found>>,
}

/// What the storage has said, and until when it counts.
struct Found {
    repository: RepositoryName,
    file: Result<Arc<Representation>, Refusal>,
    until: Instant,
}

impl RepositoryMetadata {
    /// With the operator's file, if there is one: it is served in place of all others.
    pub(super) fn new(own: Option<Box<MetadataFile>>) -> RepositoryMetadata {
        RepositoryMetadata {
            own,
            kept: Mutex::default(),
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
        let now = Instant::now();
        let is_it = |found: &&Found| found.repository == *repository && found.until > now;
        if let Some(found) = lock(&self.kept).iter().find(is_it) {
            return found.file.clone();
        }
        let (storage, _pass) = downloads.storage(connection)?;
        let file = match read(storage, repository) {
            Ok(bytes) => Ok(Arc::new(Representation::new(bytes))),
            Err(error) => {
                let status = error.status();
                log::warn!(
                    repository = repository.as_str(), tag = METADATA_TAG, status = status;
                    "{error:#}"
                );
                let refusal = Err(Refusal::Storage(error.kind()));
                // The next request may get an answer, so this one is not kept.
                if error.kind().is_no_answer() {
                    return refusal;
                }
                refusal
            }
        };
        let mut kept = lock(&self.kept);
        kept.retain(|found| found.repository != *repository);
        kept.truncate(METADATA_FILES - 1);
        let found = Found {
            repository: repository.clone(),
            file: file.clone(),
            until: Instant::now() + KEPT_FOR,
        };
        kept.insert(0, found);
        file
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
        Some(layer) => read_blob(storage, repository, &layer.blob()),
    }
}
