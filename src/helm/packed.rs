//! A chart's metadata as it's kept: one text instead of some forty small ones. A snapshot holds
//! thousands of them, and needs all their fields only for as long as it takes to write an index.

use super::chart::{NotAChart, refuse};
use super::metadata::ChartMetadata;
use serde_json::Value;
use std::sync::Arc;

/// How many times as long as its config blob a chart's metadata may be, when all that Helm writes is
/// written: an honest one is twice as long at most, but an empty dependency, two bytes, becomes 28.
const UNFOLDED: usize = 4;

/// A [`ChartMetadata`], with the two fields that are asked for all the time. A clone shares its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMetadata {
    /// The chart's name, its version, and all of it as JSON of our own writing.
    text: Arc<str>,
    version_at: u32,
    json_at: u32,
}

impl PackedMetadata {
    /// Reads a config blob, as [`ChartMetadata::parse`] does.
    ///
    /// Errors as it does, and when what the blob says is so much longer than the blob that its length
    /// would be no measure of what it costs.
    pub fn parse(config: &[u8]) -> Result<PackedMetadata, NotAChart> {
        let packed = PackedMetadata::from(ChartMetadata::parse(config)?);
        match packed.len() > config.len() * UNFOLDED {
            true => refuse(format!(
                "config blob of {} bytes unfolds to {}",
                config.len(),
                packed.len()
            )),
            false => Ok(packed),
        }
    }

    /// The chart's name.
    pub fn name(&self) -> &str {
        &self.text[..self.version_at as usize]
    }

    /// The chart's version.
    pub fn version(&self) -> &str {
        &self.text[self.version_at as usize..self.json_at as usize]
    }

    /// How much text it is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// All fields.
    pub fn unpack(&self) -> ChartMetadata {
        serde_json::from_str(self.json()).expect("it was written by `from` of the same type")
    }

    /// All fields, of whatever type.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(self.json()).expect("it's JSON")
    }

    fn json(&self) -> &str {
        &self.text[self.json_at as usize..]
    }
}

impl From<ChartMetadata> for PackedMetadata {
    fn from(metadata: ChartMetadata) -> PackedMetadata {
        let json =
            serde_json::to_string(&metadata).expect("strings and maps of strings into memory");
        let ChartMetadata { name, version, .. } = metadata;
        // A config blob is at most a megabyte, so each place fits.
        let (version_at, json_at) = (name.len() as u32, (name.len() + version.len()) as u32);
        PackedMetadata {
            text: [name, version, json].concat().into(),
            version_at,
            json_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_blob_that_says_far_more_than_it_is_long_is_no_charts() {
        let config = |of: &str| {
            let dependencies = vec![of; 100].join(",");
            format!(r#"{{"name":"web","version":"1.0.0","dependencies":[{dependencies}]}}"#)
        };
        assert!(PackedMetadata::parse(config(r#"{"name":"d"}"#).as_bytes()).is_ok());
        let refused = PackedMetadata::parse(config("{}").as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "config blob of 349 bytes unfolds to 2875"
        );
    }

    #[test]
    fn what_is_packed_comes_out_as_it_was() {
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
            assert_eq!(packed.unpack(), metadata, "{config}");
        }
    }
}
