//! What is behind one tag: a chart whose config is still to be read, or the reason why there is none.

use super::tag::Question;
use crate::helm::ChartLayers;
use crate::helm::chart::CONFIG_TYPE;
use crate::helm::index::parse_created;
use crate::oci::{
    Digest, ImageIndex, ImageManifest, ListedManifest, Manifest, Reference, RepositoryName,
    qualified,
};
use crate::storage::{Error, ErrorKind, MAX_MANIFEST, Storage};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// The annotation that says when a chart was made (image-spec v1.1.0, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";
/// Most manifests of one image index that are read: an index of an image and its chart lists a few
/// that aren't plainly images, a hostile one as many as it has room for.
const MAX_CANDIDATES: usize = 32;

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
    let Question {
        repository,
        reference,
        known,
    } = question;
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
    if Some(&digest) == known.as_ref() {
        Ok(Look::Same)
    } else {
        Ok(Look::Read(digest, artifact))
    }
}

fn read(
    storage: &dyn Storage,
    repository: &RepositoryName,
    manifest: &[u8],
) -> Result<Artifact, Error> {
    match Manifest::parse(manifest) {
        Ok(Manifest::Image(manifest)) => read_chart(storage, repository, &manifest),
        Ok(Manifest::Index(index)) => choose(storage, repository, &index),
        Ok(Manifest::Schema1) => no_chart("a Docker image of schema 1"),
        Err(error) => no_chart(error),
    }
}

fn read_chart(
    storage: &dyn Storage,
    repository: &RepositoryName,
    manifest: &ImageManifest,
) -> Result<Artifact, Error> {
    let layers = match ChartLayers::find(manifest) {
        Ok(layers) => layers,
        Err(reason) => return no_chart(reason),
    };
    for blob in layers
        .provenance
        .as_deref()
        .into_iter()
        .chain([&layers.archive])
    {
        storage.check(repository, blob)?;
    }
    Ok(Artifact::Chart(Candidate {
        created: created(manifest),
        layers: Box::new(layers),
    }))
}

/// The chart among what an image index lists: an image and its chart may go by one tag (helm#31582).
/// Of several nobody can tell which is meant; helm takes now one, now another (helm#32539).
fn choose(
    storage: &dyn Storage,
    repository: &RepositoryName,
    index: &ImageIndex,
) -> Result<Artifact, Error> {
    let candidates: BTreeSet<&Digest> = index
        .manifests
        .iter()
        .filter(|one| may_be_chart(one))
        .map(|one| &one.descriptor.digest)
        .collect();
    if candidates.len() > MAX_CANDIDATES {
        return no_chart(format!(
            "an image index of over {MAX_CANDIDATES} manifests that may be charts"
        ));
    }
    let (mut charts, mut missing) = (Vec::new(), None);
    for digest in candidates {
        match read_listed(storage, repository, digest) {
            Ok(Some(manifest)) if manifest.config.media_type.is(CONFIG_TYPE) => {
                charts.push(manifest)
            }
            Ok(_) => {}
            // An index may list more than was copied with it.
            Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (&*charts, missing) {
        ([chart], _) => read_chart(storage, repository, chart),
        ([], Some(error)) => Err(error),
        ([], None) => no_chart("an image index that lists no chart"),
        (several, _) => no_chart(format!(
            "an image index that lists {} charts, not one",
            several.len()
        )),
    }
}

/// Whether a manifest of an image index is worth a request. A chart doesn't run on anything; the
/// images of an index do, and BuildKit writes `unknown/unknown` for what it attests of them.
fn may_be_chart(listed: &ListedManifest) -> bool {
    let declared = listed
        .artifact_type
        .as_ref()
        .is_some_and(|kind| kind.is(CONFIG_TYPE));
    let fits = listed.descriptor.size <= MAX_MANIFEST;
    fits && (declared || !(listed.has_platform() || listed.is_index()))
}

/// A manifest that an image index lists; its bytes are the digest's, for that is all that ties it to
/// the tag.
fn read_listed(
    storage: &dyn Storage,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ImageManifest>, Error> {
    let bytes = storage.manifest(repository, &Reference::from(digest))?;
    if !digest.names(&bytes) {
        let text = format!(
            "{}: other bytes than the digest's",
            qualified(repository, &digest.to_string())
        );
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(match Manifest::parse(&bytes) {
        Ok(Manifest::Image(manifest)) => Some(manifest),
        _ => None,
    })
}

fn no_chart(reason: impl ToString) -> Result<Artifact, Error> {
    Ok(Artifact::NoChart(reason.to_string()))
}

fn created(manifest: &ImageManifest) -> Option<OffsetDateTime> {
    manifest
        .annotations
        .get(CREATED)
        .and_then(|text| parse_created(text))
}
