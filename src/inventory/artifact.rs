//! What an artifact is: a chart, or the reason why it isn't one. The manifest's digest stands for all of
//! it, so this is read once for each digest.

use crate::helm::chart::CONFIG_TYPE;
use crate::helm::index::parse_created;
use crate::helm::{ChartLayers, PackedMetadata};
use crate::oci::{
    Descriptor, Digest, ImageIndex, ImageManifest, ListedManifest, Manifest, Reference,
    RepositoryName, qualified,
};
use crate::storage::{Error, ErrorKind, MAX_MANIFEST, Storage, read_blob};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use time::OffsetDateTime;

/// The annotation that says when a chart was made (image-spec v1.1.0, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";
/// Most manifests of one image index that are read: an index of an image and its chart lists a few
/// that aren't plainly images, a hostile one as many as it has room for.
const MAX_CANDIDATES: usize = 32;

/// What an artifact is, by its manifest.
pub(super) enum Artifact {
    /// A chart, if its config blob says so too.
    Chart {
        /// Shared with the snapshots in which it's listed.
        layers: Arc<ChartLayers>,
        created: Option<OffsetDateTime>,
    },
    /// Why it isn't a chart.
    NotAChart(Arc<str>),
}

/// What a config blob says.
pub(super) enum ChartConfig {
    Metadata(PackedMetadata),
    /// Why it isn't a chart's.
    NotAChart(Arc<str>),
}

impl Artifact {
    /// Whether it is known if this is a chart that can be listed.
    pub(super) fn is_decided(&self, configs: &HashMap<Digest, ChartConfig>) -> bool {
        match self {
            Artifact::Chart { layers, .. } => configs.contains_key(&layers.config.digest),
            Artifact::NotAChart(_) => true,
        }
    }
}

/// Reads a config blob.
pub(super) fn read_config(
    storage: &dyn Storage,
    repository: &RepositoryName,
    config: &Descriptor,
) -> Result<ChartConfig, Error> {
    let bytes = read_blob(storage, repository, config)?;
    Ok(match PackedMetadata::parse(&bytes) {
        Ok(metadata) => ChartConfig::Metadata(metadata),
        Err(reason) => ChartConfig::NotAChart(reason.to_string().into()),
    })
}

/// Errors if a blob of a chart is not there to be handed out, as far as that is cheap to know.
pub(super) fn check_blobs(
    storage: &dyn Storage,
    repository: &RepositoryName,
    artifact: &Artifact,
) -> Result<(), Error> {
    let Artifact::Chart { layers, .. } = artifact else {
        return Ok(());
    };
    let blobs = layers
        .provenance
        .as_deref()
        .into_iter()
        .chain([&layers.archive]);
    blobs
        .into_iter()
        .try_for_each(|blob| storage.check(repository, blob))
}

/// What the manifest in these bytes stands for.
///
/// An error says nothing about the artifact: it could not be read.
pub(super) fn read(
    storage: &dyn Storage,
    repository: &RepositoryName,
    manifest: &[u8],
) -> Result<Artifact, Error> {
    match Manifest::parse(manifest) {
        Ok(Manifest::Image(manifest)) => Ok(chart(&manifest)),
        Ok(Manifest::Index(index)) => choose(storage, repository, &index),
        Ok(Manifest::Schema1) => not_a_chart("a Docker image of schema 1"),
        Err(error) => not_a_chart(error),
    }
}

fn chart(manifest: &ImageManifest) -> Artifact {
    match ChartLayers::find(manifest) {
        Ok(layers) => Artifact::Chart {
            layers: Arc::new(layers),
            created: created(manifest),
        },
        Err(reason) => Artifact::NotAChart(reason.to_string().into()),
    }
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
        return not_a_chart(format!(
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
        ([manifest], _) => Ok(chart(manifest)),
        ([], Some(error)) => Err(error),
        ([], None) => not_a_chart("an image index that lists no chart"),
        (several, _) => not_a_chart(format!(
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

fn not_a_chart(reason: impl ToString) -> Result<Artifact, Error> {
    Ok(Artifact::NotAChart(reason.to_string().into()))
}

fn created(manifest: &ImageManifest) -> Option<OffsetDateTime> {
    manifest
        .annotations
        .get(CREATED)
        .and_then(|text| parse_created(text))
}
