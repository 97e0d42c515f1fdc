//! The two files of a mirrored repository that name its manifests: `index.json` of the image layout
//! (image-spec v1.1.0, image-layout.md), and one of ours beside it for tags that are not listed. Pure.
//!
//! Both hold a checksum, because a flipped bit in a tag would still be JSON: only a file that is, byte for
//! byte, what [`render`] would write is believed.

use crate::oci::Digest;
use serde_json::{Value, json};
use std::sync::Arc;

/// The annotation that names a manifest (image-spec v1.1.0, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";
/// Ours: why a manifest is no chart.
const REASON: &str = "oci-chartrepo.reason";
/// Ours: the digest of all entries.
const CHECKSUM: &str = "oci-chartrepo.checksum";

/// A manifest by the tag that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedManifest {
    pub(super) tag: Arc<str>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
    /// Why it is no chart, if so.
    pub(super) reason: Option<Arc<str>>,
}

/// The file that lists these, in this order.
pub(super) fn render(manifests: &[NamedManifest]) -> String {
    let lines: Vec<String> = manifests.iter().map(line).collect();
    let lines = lines.join(",\n");
    let checksum = Digest::sha256(lines.as_bytes());
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[\n\
         {lines}\n],\"annotations\":{{\"{CHECKSUM}\":\"{checksum}\"}}}}\n"
    )
}

fn line(manifest: &NamedManifest) -> String {
    let (tag, kind) = (json!(*manifest.tag), json!(manifest.media_type));
    let reason = manifest.reason.as_deref();
    let reason = reason.map_or_else(String::new, |why| format!(",\"{REASON}\":{}", json!(why)));
    let (digest, size) = (&manifest.digest, manifest.size);
    format!(
        "{{\"mediaType\":{kind},\"digest\":\"{digest}\",\"size\":{size},\"annotations\":{{\"{NAME}\":{tag}{reason}}}}}"
    )
}

/// What a file lists that [`render`] has written; `None` for any other.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<NamedManifest>> {
    let list: Value = serde_json::from_slice(bytes).ok()?;
    let manifests = list["manifests"].as_array()?.iter().map(manifest);
    let manifests: Vec<NamedManifest> = manifests.collect::<Option<_>>()?;
    (render(&manifests).as_bytes() == bytes).then_some(manifests)
}

fn manifest(entry: &Value) -> Option<NamedManifest> {
    let annotations = &entry["annotations"];
    Some(NamedManifest {
        tag: annotations[NAME].as_str()?.into(),
        digest: entry["digest"].as_str()?.parse().ok()?,
        media_type: entry["mediaType"].as_str()?.to_owned(),
        size: entry["size"].as_u64()?,
        reason: annotations[REASON].as_str().map(Arc::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<NamedManifest> {
        let named = |tag: &str, reason: Option<&str>| NamedManifest {
            tag: tag.into(),
            digest: Digest::sha256(tag.as_bytes()),
            media_type: "a/b".into(),
            size: 7,
            reason: reason.map(Arc::from),
        };
        vec![named("2.0.0", None), named("1.0.0", Some("an \"image\"\n"))]
    }

    #[test]
    fn what_is_written_is_read_again() {
        for list in [some(), Vec::new()] {
            assert_eq!(parse(render(&list).as_bytes()), Some(list));
        }
    }

    #[test]
    fn no_bit_can_be_flipped_unnoticed() {
        let good = render(&some()).into_bytes();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(parse(&bad), None, "bit {at}");
        }
    }
}
