//! A chart's metadata as it is kept: one text instead of some forty small ones. A snapshot holds
//! thousands of them, and an index is put together from their JSON.

use super::json;
use super::metadata::ChartMetadata;
use super::yaml::entry_length;
use crate::budget::{METADATA_GROWTH, RENDERED_VERSION};
use std::sync::Arc;

/// What an entry takes in addition to its metadata, in bytes: URL, date, digest and their names.
const REST_OF_ENTRY: usize = 256;

/// A [`ChartMetadata`] as JSON, with the two fields that are needed most. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMetadata {
    /// The chart's name, its version, and all of the metadata as JSON that YAML readers accept too.
    text: Arc<str>,
    version_at: u32,
    json_at: u32,
    /// How many bytes it takes in an index.
    rendered: u32,
}

impl PackedMetadata {
    /// Reads a config blob, as [`ChartMetadata::parse`] does.
    ///
    /// Errors as it does, when an index would take too many bytes for it, and when the metadata is so much
    /// longer than the config blob that the blob's length would not bound the memory it takes.
    pub fn parse(config: &[u8]) -> Result<PackedMetadata, String> {
        let packed = PackedMetadata::from(ChartMetadata::parse(config)?);
        let (before, after) = (config.len() as u64, packed.size() as u64);
        if packed.rendered() > RENDERED_VERSION {
            return Err(format!(
                "over {RENDERED_VERSION} bytes of an index come of its config blob"
            ));
        }
        if after > before * METADATA_GROWTH {
            return Err(format!(
                "config blob of {before} bytes becomes {after} bytes of metadata, over {METADATA_GROWTH} \
                 times as many"
            ));
        }
        Ok(packed)
    }

    /// The chart's name.
    pub fn name(&self) -> &str {
        &self.text[..self.version_at as usize]
    }

    /// The chart's version.
    pub fn version(&self) -> &str {
        &self.text[self.version_at as usize..self.json_at as usize]
    }

    /// All fields: a JSON object on one line, with at least the name in it.
    pub fn json(&self) -> &str {
        &self.text[self.json_at as usize..]
    }

    /// How many bytes an index takes for all fields, as YAML or as JSON, whichever is more.
    pub fn rendered(&self) -> u64 {
        self.rendered.into()
    }

    /// How many bytes an index takes for its entry at most, by an estimate of URL, date and digest.
    pub fn entry_length(&self) -> usize {
        self.rendered as usize + REST_OF_ENTRY + 3 * self.name().len() + self.version().len()
    }

    /// What it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        self.text.len()
    }
}

impl From<ChartMetadata> for PackedMetadata {
    fn from(metadata: ChartMetadata) -> PackedMetadata {
        let (name, version) = (metadata.name(), metadata.version());
        // A config blob is at most a megabyte, so both offsets fit.
        let (version_at, json_at) = (name.len() as u32, (name.len() + version.len()) as u32);
        let mut text = [name, version].concat();
        json::append(&mut text, &metadata);
        let json = &text[json_at as usize..];
        let rendered = entry_length(json).max(json::escaped_length(json));
        PackedMetadata {
            text: text.into(),
            version_at,
            json_at,
            // Of a megabyte come six at most, and as many line breaks as it has values.
            rendered: rendered as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_blob_whose_metadata_is_far_longer_than_itself_is_refused() {
        let config = |of: &str| {
            let dependencies = vec![of; 100].join(",");
            format!(r#"{{"name":"web","version":"1.0.0","dependencies":[{dependencies}]}}"#)
        };
        assert!(PackedMetadata::parse(config(r#"{"name":"d"}"#).as_bytes()).is_ok());
        let refused = PackedMetadata::parse(config("{}").as_bytes()).unwrap_err();
        assert_eq!(
            refused,
            "config blob of 349 bytes becomes 2875 bytes of metadata, over 4 times as many"
        );
    }

    #[test]
    fn packed_metadata_has_all_fields_unchanged() {
        for config in [
            r#"{"name":"web","version":"1.0.0"}"#,
            r#"{"apiVersion":"v2","name":"web","version":"1.0.0","appVersion":"","description":"d","type":"library",
                "deprecated":true,"kubeVersion":">= 1","home":"h","icon":"i","sources":["s"],"keywords":["k",""],
                "maintainers":[{"name":"n","email":"e","url":"u"},{}],"annotations":{"a":"b","":""},
                "dependencies":[{"name":"d","version":"1","repository":"r","condition":"c","tags":["t"],
                    "enabled":true,"import-values":["v",{"child":"c","parent":"p"}],"alias":"x"}],
                "condition":"c","tags":"t"}"#,
            "{\"name\":\"web\",\"version\":\"1.0.0\",\"description\":\"\\u0000\\ud83d\\ude00\\u2028\\\"\\\\\\n\"}",
        ] {
            let metadata = ChartMetadata::parse(config.as_bytes()).unwrap();
            let packed = PackedMetadata::from(metadata.clone());
            assert_eq!((packed.name(), packed.version()), ("web", "1.0.0"));
            let fields: serde_json::Value = serde_json::from_str(packed.json()).unwrap();
            assert_eq!(fields, serde_json::to_value(&metadata).unwrap());
        }
    }
}
