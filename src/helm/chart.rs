//! Decides by its manifest whether an artifact is a chart: the config has Helm's media type, and one
//! layer is a chart archive. Reading the config blob is the part of [`metadata`](super::metadata).

use super::index::parse_created;
use crate::oci::{Blob, ImageManifest};
use time::OffsetDateTime;

/// Media type of a Helm chart's config blob.
pub const CONFIG_TYPE: &str = "application/vnd.cncf.helm.config.v1+json";
/// Media type of the chart archive, pushed by Helm 3.7 and later.
pub const ARCHIVE_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Media type of the chart archive, pushed by Helm 3.0 to 3.6.
pub const LEGACY_ARCHIVE_TYPE: &str = "application/tar+gzip";
/// Media type of the provenance file.
pub const PROVENANCE_TYPE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// The annotation that says when a chart was made (image-spec v1.1.0, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";

pub use crate::budget::MAX_CONFIG;

/// Shortest config blob that can hold a name and a version, in bytes: `{"name":"a","version":"1"}`. A
/// chart that was pushed by hand has a shorter one, `{}`, and every Helm pulls it
/// (oras-project/oras#318).
const SHORTEST_CONFIG: u64 = 26;

/// What a manifest says of a chart: its parts, and its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartLayers {
    /// The config blob: the chart's metadata.
    pub config: Blob,
    /// Whether `config` is not the artifact's own, but made of the archive's Chart.yaml.
    pub has_packed_config: bool,
    /// The `.tgz`.
    pub archive: Blob,
    /// The `.tgz.prov`, for a signed chart.
    pub provenance: Option<Box<Blob>>,
    /// The date that the manifest tells.
    pub created: Option<OffsetDateTime>,
}

impl ChartLayers {
    /// Finds the parts of a chart among the layers, in any order; other layers are ignored.
    ///
    /// Errors with the reason when the config is not Helm's or is too large, when no layer is a chart
    /// archive, or when the archive is empty.
    pub fn find(manifest: &ImageManifest) -> Result<ChartLayers, String> {
        let config = &manifest.config;
        let (kind, size) = (&config.media_type, config.size);
        if !kind.is(CONFIG_TYPE) {
            return Err(format!("config media type {kind} is not Helm's"));
        }
        if size > MAX_CONFIG {
            return Err(format!("config blob of {size} bytes is over {MAX_CONFIG}"));
        }
        let layers = manifest.layers.iter();
        let layer = |name| layers.clone().find(|layer| layer.media_type.is(name));
        let archive = layer(ARCHIVE_TYPE).or_else(|| layer(LEGACY_ARCHIVE_TYPE));
        let archive = archive.ok_or("no layer is a chart archive")?;
        if archive.size == 0 {
            return Err("chart archive is empty".into());
        }
        Ok(ChartLayers {
            config: config.blob(),
            has_packed_config: false,
            archive: archive.blob(),
            provenance: layer(PROVENANCE_TYPE).map(|layer| Box::new(layer.blob())),
            created: manifest
                .annotations
                .get(CREATED)
                .and_then(|text| parse_created(text)),
        })
    }

    /// Whether the metadata can be in the archive alone.
    pub fn lacks_config(&self) -> bool {
        !self.has_packed_config && self.config.size < SHORTEST_CONFIG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Manifest;

    fn layers(types: &[&str], size: u64) -> Result<ChartLayers, String> {
        let layer = |(at, name): (usize, &&str)| {
            format!(r#"{{"mediaType":"{name}","size":{size},"digest":"sha256:{at:064}"}}"#)
        };
        let all: Vec<_> = types.iter().enumerate().map(layer).collect();
        let text = format!(
            r#"{{"config":{},"layers":[{}]}}"#,
            all[0],
            all[1..].join(",")
        );
        match Manifest::parse(text.as_bytes()).unwrap() {
            Manifest::Image(manifest) => ChartLayers::find(&manifest),
            _ => panic!("not an image manifest"),
        }
    }

    #[test]
    fn the_parts_of_a_chart_are_found_in_any_order() {
        let found = layers(
            &[CONFIG_TYPE, PROVENANCE_TYPE, "text/plain", ARCHIVE_TYPE],
            9,
        )
        .unwrap();
        assert!(found.archive.digest.to_string().ends_with("3"));
        assert!(found.provenance.unwrap().digest.to_string().ends_with('1'));
        assert!(
            layers(&[CONFIG_TYPE, LEGACY_ARCHIVE_TYPE], 9)
                .unwrap()
                .provenance
                .is_none()
        );
    }

    #[test]
    fn a_manifest_that_is_not_a_chart_is_refused_with_the_reason() {
        let text = |result: Result<ChartLayers, String>| result.unwrap_err();
        assert_eq!(
            text(layers(&["a/b", ARCHIVE_TYPE], 9)),
            "config media type a/b is not Helm's"
        );
        assert_eq!(
            text(layers(&[CONFIG_TYPE, "a/b"], 9)),
            "no layer is a chart archive"
        );
        assert_eq!(
            text(layers(&[CONFIG_TYPE, ARCHIVE_TYPE], 0)),
            "chart archive is empty"
        );
        assert_eq!(
            text(layers(&[CONFIG_TYPE, ARCHIVE_TYPE], 2_000_000)),
            "config blob of 2000000 bytes is over 1048576"
        );
    }
}
