//! Manifests and descriptors, read from bytes that anybody may have pushed. The body decides what
//! it is, never the `Content-Type` it came with: registries send none, a generic one, or a wrong
//! one. Bounding the bytes is the caller's part.

use super::digest::Digest;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A media type (RFC 6838), as it stands in a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

impl MediaType {
    /// The type as text, as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `name`, in any case (RFC 9110 §8.3.1).
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { &self.0 })
    }
}

/// A typed, sized pointer to content (image-spec v1.1.0, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: MediaType,
    /// Its address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Descriptor {
    /// The same without its type, for when that has been looked at: thousands of them are kept.
    pub fn untyped(&self) -> Descriptor {
        Descriptor { media_type: MediaType::default(), digest: self.digest.clone(), size: self.size }
    }
}

/// A manifest of one artifact (image-spec v1.1.0, manifest.md).
#[derive(Clone, Debug)]
pub struct ImageManifest {
    /// The config blob; its media type says what kind of artifact this is.
    pub config: Descriptor,
    /// The content, in the order of the manifest; without what is no descriptor, for a strange extra
    /// layer is no reason to lose the others.
    pub layers: Vec<Descriptor>,
    /// Annotations whose values are strings; others are left out.
    pub annotations: BTreeMap<String, String>,
}

/// Whatever answers to a reference.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// An artifact with a config and layers, OCI's or Docker's.
    Image(ImageManifest),
    /// A list of further manifests (an OCI image index or a Docker manifest list).
    Index,
    /// Docker's schema 1, which has no config blob.
    Schema1,
}

impl Manifest {
    /// Reads a manifest from the bytes a registry holds.
    ///
    /// Errors with the reason, when the bytes are no JSON object, lack what each manifest has, or
    /// could be read as two kinds at once (image-spec security advisory GHSA-77vh-xpmg-72qh).
    pub fn parse(bytes: &[u8]) -> Result<Manifest, InvalidManifest> {
        let body: Body = serde_json::from_slice(bytes).map_err(InvalidManifest::json)?;
        if body.manifests.is_some() && (body.config.is_some() || body.layers.is_some()) {
            return Err(InvalidManifest("manifest is both an image index and an image manifest".into()));
        }
        if body.manifests.is_some() {
            return Ok(Manifest::Index);
        }
        if body.schema_version == Some(1.into()) {
            return Ok(Manifest::Schema1);
        }
        let Some(config) = body.config else {
            return Err(InvalidManifest("manifest has no config".into()));
        };
        Ok(Manifest::Image(ImageManifest {
            config,
            layers: body
                .layers
                .into_iter()
                .flatten()
                .filter_map(|layer| serde_json::from_value(layer).ok())
                .collect(),
            annotations: strings(body.annotations),
        }))
    }
}

/// Why bytes are no manifest.
#[derive(Debug)]
pub struct InvalidManifest(String);

impl InvalidManifest {
    fn json(error: serde_json::Error) -> InvalidManifest {
        InvalidManifest(format!("manifest can't be read: {error}"))
    }
}

impl fmt::Display for InvalidManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidManifest {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<Value>,
    config: Option<Descriptor>,
    layers: Option<Vec<Value>>,
    manifests: Option<Vec<Value>>,
    annotations: Option<Value>,
}

fn strings(annotations: Option<Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = annotations else {
        return BTreeMap::new();
    };
    let text = |(key, value)| match value {
        Value::String(value) => Some((key, value)),
        _ => None,
    };
    map.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"mediaType":"a/b","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5}"#;

    #[test]
    fn an_image_manifest_needs_no_media_type_of_its_own() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[{CONFIG},{{"digest":"blake3:aa","size":1}},null],"annotations":{{"a":"b","c":1}}}}"#
        );
        let Ok(Manifest::Image(manifest)) = Manifest::parse(text.as_bytes()) else {
            panic!("not read as an image manifest");
        };
        assert!(manifest.config.media_type.is("A/B"));
        assert_eq!(manifest.layers.len(), 1);
        assert_eq!(manifest.annotations, BTreeMap::from([("a".into(), "b".into())]));
    }

    #[test]
    fn other_kinds_are_told_apart_by_their_body() {
        assert!(matches!(Manifest::parse(br#"{"schemaVersion":2,"manifests":[]}"#), Ok(Manifest::Index)));
        assert!(matches!(Manifest::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Ok(Manifest::Schema1)));
    }

    #[test]
    fn an_ambiguous_or_broken_manifest_says_why() {
        let both = format!(r#"{{"config":{CONFIG},"manifests":[]}}"#);
        for (text, reason) in [
            (both.as_str(), "manifest is both an image index and an image manifest"),
            ("{}", "manifest has no config"),
            ("[]", "manifest can't be read"),
            ("<html>", "manifest can't be read"),
            (r#"{"config":{"digest":"sha256:..","size":1}}"#, "not a sha256 or sha512 digest"),
            (r#"{"config":{"digest":"x","size":-1}}"#, "manifest can't be read"),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
