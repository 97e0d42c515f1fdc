//! Manifests and descriptors, read from bytes that any client may have pushed. The kind of a manifest
//! is decided by its body, never by the `Content-Type` of the response: registries send none, a generic
//! one, or a wrong one. The caller must bound the length.

use super::digest::Digest;
use super::json::{MAX_VALUES, holds_over, reason};
use super::text::start_of;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The media types of an image index and of a Docker manifest list.
const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A media type (RFC 6838), as it stands in a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MediaType(Box<str>);

/// Most bytes of a media type that are kept: one more than RFC 6838 §4.2 allows.
const MAX_MEDIA_TYPE: usize = 256;

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MediaType, D::Error> {
        deserializer.deserialize_str(MediaTypeVisitor)
    }
}

struct MediaTypeVisitor;

impl Visitor<'_> for MediaTypeVisitor {
    type Value = MediaType;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a media type")
    }

    fn visit_str<E>(self, text: &str) -> Result<MediaType, E> {
        Ok(MediaType(start_of(text, MAX_MEDIA_TYPE).into()))
    }
}

impl MediaType {
    /// The type as it was sent.
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
        // RFC 6838 §4.2 bounds each name by 127 characters of these.
        let in_name = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+/; =".contains(&b);
        let is_plain = self.0.len() <= 255 && self.0.contains('/') && self.0.bytes().all(in_name);
        f.write_str(match &*self.0 {
            "" => "(none)",
            plain if is_plain => plain,
            _ => "(not a media type)",
        })
    }
}

/// The type, digest and size of a blob or manifest (image-spec v1.1.0, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the content.
    #[serde(default)]
    pub media_type: MediaType,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content, in bytes.
    pub size: u64,
}

impl Descriptor {
    /// What it describes, without its type: a snapshot holds thousands, of which the type is known.
    pub fn blob(&self) -> Blob {
        Blob {
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// A blob, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

impl Blob {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Blob {
        Blob {
            digest: Digest::sha256(bytes),
            size: bytes.len() as u64,
        }
    }
}

/// A manifest of one artifact (image-spec v1.1.0, manifest.md).
#[derive(Clone, Debug)]
pub struct ImageManifest {
    /// The config blob; its media type is the kind of artifact.
    pub config: Descriptor,
    /// The layers, in the order of the manifest. Those that are not valid descriptors are left out, so
    /// that a strange extra layer does not hide a chart.
    pub layers: Vec<Descriptor>,
    /// The annotations whose values are strings; others are left out.
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests (image-spec v1.1.0, image-index.md), which Docker calls a manifest list.
#[derive(Clone, Debug)]
pub struct ImageIndex {
    /// The manifests, in the order of the index. Those without a valid descriptor are left out.
    pub manifests: Vec<ListedManifest>,
}

/// One of the manifests that an image index lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedManifest {
    /// The descriptor of the manifest.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// The kind of artifact, if the index says so.
    pub artifact_type: Option<MediaType>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
}

impl ListedManifest {
    /// Whether the index names both its operating system and its architecture, as for each image of a
    /// multi-platform image. Some tools set one of them for other artifacts (buildx: only `os`).
    pub fn has_platform(&self) -> bool {
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        self.platform
            .as_ref()
            .is_some_and(|platform| is_set(&platform.os) && is_set(&platform.architecture))
    }

    /// Whether this is an image index itself, by its media type.
    pub fn is_index(&self) -> bool {
        let own = &self.descriptor.media_type;
        INDEX_TYPES.iter().any(|name| own.is(name))
    }
}

/// A manifest of any kind.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// An artifact with a config and layers, OCI's or Docker's.
    Image(ImageManifest),
    /// A list of manifests.
    Index(ImageIndex),
    /// Docker's schema 1, which has no config blob.
    Schema1,
}

impl Manifest {
    /// Reads a manifest from the bytes that a registry holds.
    ///
    /// Errors with a reason when the bytes are not a JSON object, hold too many values, lack a field
    /// that every manifest has, or could be read as two kinds at once (image-spec security advisory
    /// GHSA-77vh-xpmg-72qh).
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        if holds_over(MAX_VALUES, bytes) {
            return Err(format!("manifest holds over {MAX_VALUES} values"));
        }
        let body: Body = serde_json::from_slice(bytes)
            .map_err(|error| format!("manifest can't be read: {}", reason(&error)))?;
        if body.manifests.is_some() && (body.config.is_some() || body.layers.is_some()) {
            return Err("manifest is both an image index and an image manifest".into());
        }
        if let Some(manifests) = body.manifests {
            return Ok(Manifest::Index(ImageIndex {
                manifests: readable(manifests),
            }));
        }
        if body.schema_version == Some(1.into()) {
            return Ok(Manifest::Schema1);
        }
        Ok(Manifest::Image(ImageManifest {
            config: body.config.ok_or("manifest has no config")?,
            layers: readable(body.layers.unwrap_or_default()),
            annotations: strings(body.annotations),
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<Value>,
    config: Option<Descriptor>,
    layers: Option<Vec<Value>>,
    manifests: Option<Vec<Value>>,
    annotations: Option<Value>,
}

/// The items of `list` that can be read as a `T`.
fn readable<T: DeserializeOwned>(list: Vec<Value>) -> Vec<T> {
    list.into_iter()
        .filter_map(|one| serde_json::from_value(one).ok())
        .collect()
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
    fn an_image_manifest_is_recognised_without_a_media_type() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[{CONFIG},{{"digest":"blake3:aa","size":1}},null],"annotations":{{"a":"b","c":1}}}}"#
        );
        let Ok(Manifest::Image(manifest)) = Manifest::parse(text.as_bytes()) else {
            panic!("not read as an image manifest");
        };
        assert!(manifest.config.media_type.is("A/B"));
        assert_eq!(manifest.layers.len(), 1);
        assert_eq!(
            manifest.annotations,
            BTreeMap::from([("a".into(), "b".into())])
        );
    }

    #[test]
    fn other_kinds_of_manifest_are_recognised_by_their_body() {
        assert!(matches!(
            Manifest::parse(br#"{"schemaVersion":2,"manifests":[]}"#),
            Ok(Manifest::Index(_))
        ));
        assert!(matches!(
            Manifest::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#),
            Ok(Manifest::Schema1)
        ));
    }

    #[test]
    fn platforms_and_nested_indexes_are_recognised_in_an_image_index() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let listed = |more: &str| format!(r#"{{"digest":"{digest}","size":5{more}}}"#);
        let entries = [
            listed(r#","artifactType":"a/b","platform":{"os":"linux","architecture":""}"#),
            listed(r#","artifactType":null,"platform":{"os":"unknown","architecture":"unknown"}"#),
            listed(r#","mediaType":"application/vnd.OCI.image.index.v1+json","platform":null"#),
            r#"{"size":5},null,[],"manifest""#.to_owned(),
        ];
        let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
        let Ok(Manifest::Index(index)) = Manifest::parse(text.as_bytes()) else {
            panic!("not read as an image index");
        };
        let [half, image, nested] = &*index.manifests else {
            panic!("{:?}", index.manifests)
        };
        assert!(
            half.artifact_type
                .as_ref()
                .is_some_and(|kind| kind.is("a/b"))
        );
        assert_eq!(
            [half, image, nested].map(ListedManifest::has_platform),
            [false, true, false]
        );
        assert_eq!(
            [half, image, nested].map(ListedManifest::is_index),
            [false, false, true]
        );
    }

    #[test]
    fn an_ambiguous_or_broken_manifest_is_refused_with_the_reason() {
        let both = format!(r#"{{"config":{CONFIG},"manifests":[]}}"#);
        for (text, reason) in [
            (
                both.as_str(),
                "manifest is both an image index and an image manifest",
            ),
            ("{}", "manifest has no config"),
            (
                &format!("[{}0]", "[0],".repeat(MAX_VALUES / 2)),
                "manifest holds over 8192 values",
            ),
            ("[]", "manifest can't be read"),
            ("<html>", "manifest can't be read"),
            (
                r#"{"config":{"digest":"sha256:..","size":1}}"#,
                "not a sha256 or sha512 digest",
            ),
            (
                r#"{"config":{"digest":"x","size":-1}}"#,
                "manifest can't be read",
            ),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
