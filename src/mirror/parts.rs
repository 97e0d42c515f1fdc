//! What a manifest refers to: all blobs that its layout holds, and those of its chart. Pure, but for the
//! manifests in an image index, which the caller reads.

use crate::helm::ChartLayers;
use crate::helm::chart::CONFIG_TYPE;
use crate::oci::{Digest, ImageIndex, ImageManifest, ListedManifest, Manifest};
use serde_json::Value;

/// Most manifests of an image index that are looked at: as many as a scan reads.
const MAX_INNER: usize = 32;

/// What a manifest refers to.
#[derive(Default)]
pub(super) struct Parts {
    /// Its blobs and manifests, and theirs.
    pub(super) used: Vec<Digest>,
    /// The parts of its chart.
    pub(super) chart: Option<ChartLayers>,
}

impl Parts {
    /// Finds them in the bytes of a manifest. `read` returns those of a manifest in an image index.
    pub(super) fn of(bytes: &[u8], read: &dyn Fn(&Digest) -> Option<Vec<u8>>) -> Parts {
        let mut parts = Parts::default();
        match Manifest::parse(bytes) {
            Ok(Manifest::Image(manifest)) => parts.add(&manifest),
            Ok(Manifest::Index(index)) => {
                for listed in candidates(&index).take(MAX_INNER) {
                    let digest = &listed.descriptor.digest;
                    let Some(bytes) = read(digest) else { continue };
                    parts.used.push(digest.clone());
                    if let Ok(Manifest::Image(manifest)) = Manifest::parse(&bytes) {
                        parts.add(&manifest);
                    }
                }
            }
            Ok(Manifest::Schema1) | Err(_) => {}
        }
        parts
    }

    fn add(&mut self, manifest: &ImageManifest) {
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        self.used.extend(blobs.map(|blob| blob.digest.clone()));
        self.chart = self.chart.take().or(ChartLayers::find(manifest).ok());
    }
}

/// The manifests of an image index that may be a chart's.
fn candidates(index: &ImageIndex) -> impl Iterator<Item = &ListedManifest> {
    index.manifests.iter().filter(|listed| {
        let declared = listed.artifact_type.as_ref();
        declared.is_some_and(|kind| kind.is(CONFIG_TYPE))
            || !(listed.has_platform() || listed.is_index())
    })
}

/// Whether a manifest is worth to be kept: it may be a chart's, or list one.
pub(super) fn may_hold_chart(bytes: &[u8]) -> bool {
    match Manifest::parse(bytes) {
        Ok(Manifest::Image(manifest)) => manifest.config.media_type.is(CONFIG_TYPE),
        Ok(Manifest::Index(index)) => candidates(&index).next().is_some(),
        Ok(Manifest::Schema1) | Err(_) => false,
    }
}

/// The media type for the descriptor of a manifest.
pub(super) fn media_type(bytes: &[u8]) -> String {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let kind = if body["manifests"].is_array() {
        "index"
    } else {
        "manifest"
    };
    let own = body["mediaType"].as_str().filter(|own| !own.is_empty());
    own.map_or_else(
        || format!("application/vnd.oci.image.{kind}.v1+json"),
        str::to_owned,
    )
}
