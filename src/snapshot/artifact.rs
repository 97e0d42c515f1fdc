//! What is behind one tag: a chart whose config is still to be read, or the reason why there is none.

use super::tag::Question;
use crate::helm::ChartLayers;
use crate::helm::index::parse_created;
use crate::oci::{Digest, ImageManifest, Manifest, RepositoryName};
use crate::storage::{Error, Storage};
use time::OffsetDateTime;

/// The annotation that says when a chart was made (image-spec v1.1.0, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";

/// What came of looking at a tag.
pub(super) enum Look {
    /// It still names the manifest that is known of it.
    Same,
    /// It names a manifest that is known from another tag.
    Known(Digest),
    /// Its manifest was read.
    Read(Digest, Artifact),
}

/// What an artifact turned out to be, by its manifest.
pub(super) enum Artifact {
    Chart(Candidate),
    NoChart(String),
}

/// A manifest that says it's a chart's.
pub(super) struct Candidate {
    pub(super) created: Option<OffsetDateTime>,
    /// Boxed once for all: it's handed from the thread that has read it to the one that keeps it.
    pub(super) layers: Box<ChartLayers>,
}

/// Looks at one tag. Its manifest is read only if the digest says that it's another one than before
/// and none that `is_known`, because registries count a read as a pull. An `Err` says nothing about
/// the artifact: it couldn't be asked.
pub(super) fn look(
    storage: &dyn Storage,
    question: &Question,
    is_known: impl Fn(&Digest) -> bool,
) -> Result<Look, Error> {
    let Question { repository, reference, known } = question;
    if known.is_some() {
        match storage.digest(repository, reference)? {
            digest if digest == *known => return Ok(Look::Same),
            Some(digest) if is_known(&digest) => return Ok(Look::Known(digest)),
            _ => {}
        }
    }
    let bytes = storage.manifest(repository, reference)?;
    let digest = Digest::sha256(&bytes);
    let artifact = read(storage, repository, &bytes)?;
    if Some(&digest) == known.as_ref() { Ok(Look::Same) } else { Ok(Look::Read(digest, artifact)) }
}

fn read(storage: &dyn Storage, repository: &RepositoryName, manifest: &[u8]) -> Result<Artifact, Error> {
    let no_chart = |reason: String| Ok(Artifact::NoChart(reason));
    let manifest = match Manifest::parse(manifest) {
        Ok(Manifest::Image(manifest)) => manifest,
        Ok(Manifest::Index) => return no_chart("an image index, not a chart's manifest".into()),
        Ok(Manifest::Schema1) => return no_chart("a Docker image of schema 1".into()),
        Err(error) => return no_chart(error.to_string()),
    };
    let layers = match ChartLayers::find(&manifest) {
        Ok(layers) => layers,
        Err(reason) => return no_chart(reason.to_string()),
    };
    for blob in layers.provenance.as_deref().into_iter().chain([&layers.archive]) {
        storage.check(repository, blob)?;
    }
    Ok(Artifact::Chart(Candidate { created: created(&manifest), layers: Box::new(layers) }))
}

fn created(manifest: &ImageManifest) -> Option<OffsetDateTime> {
    manifest.annotations.get(CREATED).and_then(|text| parse_created(text))
}
