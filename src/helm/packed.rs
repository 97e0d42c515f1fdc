//! A chart's metadata as it is kept: two texts instead of some forty small ones. A snapshot holds
//! thousands of them, and an index is put together from their JSON. The versions of a chart mostly have
//! the same description, home, icon, sources, keywords and maintainers: one text serves them all.

use super::json;
use super::metadata::ChartMetadata;
use super::yaml::entry_length;
use crate::budget::{METADATA_GROWTH, RENDERED_VERSION};
use std::collections::HashSet;
use std::sync::Arc;

/// What an entry takes in addition to its metadata, in bytes: URL, date, digest and their names.
const REST_OF_ENTRY: usize = 256;

/// A [`ChartMetadata`] as JSON, with the two fields that are needed most. Clones share the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMetadata {
    /// The chart's name, its version, and the JSON before and behind the common part.
    own: Arc<str>,
    /// The part in the middle of the JSON that other versions mostly have too.
    common: Arc<str>,
    version_at: u32,
    json_at: u32,
    /// Where in `own` the JSON behind the common part begins.
    rest_at: u32,
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
        &self.own[..self.version_at as usize]
    }

    /// The chart's version.
    pub fn version(&self) -> &str {
        &self.own[self.version_at as usize..self.json_at as usize]
    }

    /// All fields: a JSON object on one line, with at least the name in it.
    pub fn json(&self) -> String {
        self.json_parts().concat()
    }

    /// The same in three parts of whole fields, each behind a comma but for the first.
    pub fn json_parts(&self) -> [&str; 3] {
        let (json_at, rest_at) = (self.json_at as usize, self.rest_at as usize);
        [
            &self.own[json_at..rest_at],
            &self.common,
            &self.own[rest_at..],
        ]
    }

    /// The same in memory that is allocated now; the common part is shared with all that have the same one
    /// among `texts`.
    pub fn copy(&self, texts: &mut HashSet<Arc<str>>) -> PackedMetadata {
        let common = texts.get(&self.common).cloned().unwrap_or_else(|| {
            let common: Arc<str> = Arc::from(&*self.common);
            texts.insert(common.clone());
            common
        });
        PackedMetadata {
            own: Arc::from(&*self.own),
            common,
            ..*self
        }
    }

    /// How many bytes an index takes for all fields, as YAML or as JSON, whichever is more.
    pub fn rendered(&self) -> u64 {
        self.rendered.into()
    }

    /// How many bytes an index takes for its entry at most, by an estimate of URL, date and digest.
    pub fn entry_length(&self) -> usize {
        self.rendered as usize + REST_OF_ENTRY + 3 * self.name().len() + self.version().len()
    }

    /// What it takes in memory, in bytes, if it shares none.
    pub fn size(&self) -> usize {
        self.own.len() + self.common.len()
    }
}

impl From<ChartMetadata> for PackedMetadata {
    fn from(metadata: ChartMetadata) -> PackedMetadata {
        let (name, version) = (metadata.name(), metadata.version());
        let parts = metadata.json_parts();
        let json = parts.concat();
        let rendered = entry_length(&json).max(json::escaped_length(&json));
        let [before, common, behind] = parts;
        let own = [name, version, &before, &behind].concat();
        PackedMetadata {
            // A config blob is at most a megabyte, so the offsets fit.
            version_at: name.len() as u32,
            json_at: (name.len() + version.len()) as u32,
            rest_at: (own.len() - behind.len()) as u32,
            own: own.into(),
            common: common.into(),
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
    fn versions_of_a_chart_share_what_they_have_in_common() {
        let config = |version: &str, home: &str| {
            let config = format!(
                r#"{{"name":"web","version":"{version}","home":"{home}","annotations":{{"a":"{version}"}}}}"#
            );
            PackedMetadata::parse(config.as_bytes()).unwrap()
        };
        let mut texts = HashSet::new();
        let [one, two, other] = [("1.0.0", "h"), ("2.0.0", "h"), ("3.0.0", "i")]
            .map(|(version, home)| config(version, home).copy(&mut texts));
        assert!(Arc::ptr_eq(&one.common, &two.common));
        assert!(!Arc::ptr_eq(&one.common, &other.common));
        assert_eq!(two, config("2.0.0", "h"));
        assert_eq!(
            two.json(),
            r#"{"apiVersion":"v1","name":"web","version":"2.0.0","home":"h","annotations":{"a":"2.0.0"}}"#
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
            let fields: serde_json::Value = serde_json::from_str(&packed.json()).unwrap();
            assert_eq!(fields, serde_json::to_value(&metadata).unwrap());
        }
    }
}
