//! The index file of a classic chart repository (Helm's pkg/repo/v1/index.go), and how it's
//! written: newest first, whitelisted fields only, the same bytes for the same content.

use super::metadata::ChartMetadata;
use super::packed::PackedMetadata;
use super::version::Version;
use super::yaml;
use crate::oci::Digest;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// One version of one chart, as the index lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartVersion<'a> {
    /// The chart's own words.
    pub metadata: &'a PackedMetadata,
    /// When the chart was made, if its manifest says so.
    pub created: Option<OffsetDateTime>,
    /// The archive's. Its bare hex is listed if it's a sha256: Helm 4 uses that as the key of its content
    /// cache without checking it, so another is left out.
    pub digest: &'a Digest,
}

/// The same as it's written, which is one after the other.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    metadata: ChartMetadata,
    /// Where the archive is, relative to the index. Helm uses the first and ignores the rest.
    urls: [String; 1],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    created: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl ChartVersion<'_> {
    /// The archive's file name, `NAME-VERSION.tgz`: what Helm saves it as and looks for in the
    /// provenance file.
    pub fn archive_name(metadata: &PackedMetadata) -> String {
        format!("{}-{}.tgz", metadata.name(), metadata.version())
    }

    /// How the archive's file name compares with this one. It's looked for among thousands, so none is
    /// put together for it.
    pub fn cmp_archive_name(metadata: &PackedMetadata, file_name: &str) -> Ordering {
        let parts = [metadata.name(), "-", metadata.version(), ".tgz"];
        parts
            .into_iter()
            .flat_map(str::bytes)
            .cmp(file_name.bytes())
    }

    /// Where the archive is, relative to the index.
    pub fn url(&self) -> String {
        format!(
            "charts/{}",
            encode_path(&ChartVersion::archive_name(self.metadata))
        )
    }

    /// The entry as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        line_of_json(self, Vec::new())
    }
}

impl Serialize for ChartVersion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ChartVersion {
            metadata,
            created,
            digest,
        } = *self;
        let (metadata, digest) = (metadata.unpack(), digest.sha256_hex());
        Entry {
            metadata,
            urls: [self.url()],
            created,
            digest,
        }
        .serialize(serializer)
    }
}

/// Percent-encodes a path segment (RFC 3986 §3.3). `+` stays: Helm asks for it as it is.
fn encode_path(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Reads the annotation `org.opencontainers.image.created`. Helm refuses a whole index for one
/// date that isn't RFC 3339, so what isn't is `None`; the rest is brought to UTC, in years that
/// RFC 3339 can write.
pub fn parse_created(annotation: &str) -> Option<OffsetDateTime> {
    // RFC 3339 lets an application allow a blank for the `T`; Go doesn't.
    if !matches!(annotation.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let utc = OffsetDateTime::parse(annotation, &Rfc3339)
        .ok()?
        .checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&utc.year()).then_some(utc)
}

fn rfc3339<S: Serializer>(time: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.serialize(serializer)
}

/// What an entry takes beside its metadata, in bytes: URL, date, digest and their names.
const BESIDES: usize = 256;

/// A whole index.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexFile<'a> {
    api_version: &'static str,
    entries: BTreeMap<&'a str, Vec<ChartVersion<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    generated: Option<OffsetDateTime>,
}

impl<'a> IndexFile<'a> {
    /// Sorts `charts` into an index. `generated` is the newest date among them: the newest change
    /// of content, so that equal content gives equal bytes.
    pub fn new(charts: impl IntoIterator<Item = ChartVersion<'a>>) -> IndexFile<'a> {
        let mut entries: BTreeMap<&str, Vec<ChartVersion>> = BTreeMap::new();
        for chart in charts {
            entries
                .entry(chart.metadata.name())
                .or_default()
                .push(chart);
        }
        for versions in entries.values_mut() {
            versions.sort_by_cached_key(|chart| {
                std::cmp::Reverse(Version::parse(chart.metadata.version()))
            });
        }
        let generated = entries
            .values()
            .flatten()
            .filter_map(|chart| chart.created)
            .max();
        IndexFile {
            api_version: "v1",
            entries,
            generated,
        }
    }

    /// How many charts and how many versions of them are listed.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.entries.len(),
            self.entries.values().map(Vec::len).sum(),
        )
    }

    /// The bytes of `/index.yaml`: YAML where every reader gets every string back, else JSON, which
    /// every YAML reader reads too and which quotes each string. See [`yaml`] for why.
    pub fn to_yaml(&self) -> Vec<u8> {
        let mut bytes = self.room();
        if self.survives_yaml() && serde_yaml::to_writer(&mut bytes, self).is_ok() {
            return bytes;
        }
        self.to_json()
    }

    /// Room for all of it, as far as that can be told: what grows while it's written is moved about and
    /// leaves holes behind.
    fn room(&self) -> Vec<u8> {
        let versions = self.entries.values().flatten();
        Vec::with_capacity(
            versions
                .map(|chart| chart.metadata.len() * 3 / 2 + BESIDES)
                .sum(),
        )
    }

    fn survives_yaml(&self) -> bool {
        // Not the dates: who reads them as dates is right.
        let entry_survives = |chart: &ChartVersion| yaml::survives(&chart.metadata.value());
        let mut entries = self.entries.iter();
        entries.all(|(name, versions)| {
            yaml::string_survives(name) && versions.iter().all(entry_survives)
        })
    }

    /// The index as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        line_of_json(self, self.room())
    }

    /// The versions of all charts, by name, as one line of JSON.
    pub fn entries_to_json(&self) -> Vec<u8> {
        line_of_json(&self.entries, self.room())
    }

    /// The versions of one chart as one line of JSON.
    pub fn versions_to_json(&self, name: &str) -> Vec<u8> {
        let versions = self.entries.get(name).map_or(&[][..], |versions| versions);
        line_of_json(&versions, self.room())
    }

    /// The newest version of a chart that Helm takes when it's asked for none.
    pub fn latest(&self, name: &str) -> Option<&ChartVersion<'a>> {
        let version = |chart: &ChartVersion| Version::parse(chart.metadata.version());
        let is_release = |version: Version| !version.is_prerelease();
        self.entries
            .get(name)?
            .iter()
            .find(|chart| version(chart).is_some_and(is_release))
    }
}

fn line_of_json(value: &impl Serialize, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, YamlSafeJson);
    value
        .serialize(&mut serializer)
        .expect("strings and maps of strings into memory");
    bytes.push(b'\n');
    bytes
}

/// JSON that YAML 1.1 readers read as JSON readers do. Helm up to 3.13 reads JSON with a YAML
/// parser, which refuses some characters raw (DEL, C1 controls, non-characters), folds others to a
/// blank (NEL, LS, PS), and knows no surrogate pairs; so the former are escaped, and everything
/// beyond the basic plane stays raw.
struct YamlSafeJson;

impl YamlSafeJson {
    fn must_escape(c: char) -> bool {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}')
    }
}

impl Formatter for YamlSafeJson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest
            .char_indices()
            .find(|(_, c)| YamlSafeJson::must_escape(*c))
        {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", c as u32)?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// How many bytes `text` takes in our JSON, without its quotes. The worst case is six for one.
pub(super) fn json_length(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' || YamlSafeJson::must_escape(c) => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static UNLISTED: LazyLock<Digest> =
        LazyLock::new(|| format!("sha512:{:0128}", 0).parse().unwrap());

    fn metadata(name: &str, version: &str) -> PackedMetadata {
        let config = serde_json::json!({"apiVersion": "v2", "name": name, "version": version});
        ChartMetadata::parse(config.to_string().as_bytes())
            .unwrap()
            .into()
    }

    fn chart<'a>(metadata: &'a PackedMetadata, created: Option<&str>) -> ChartVersion<'a> {
        ChartVersion {
            metadata,
            created: created.map(|text| parse_created(text).unwrap()),
            digest: &UNLISTED,
        }
    }

    fn yaml_of(charts: Vec<ChartVersion>) -> String {
        String::from_utf8(IndexFile::new(charts).to_yaml()).unwrap()
    }

    #[test]
    fn an_index_is_sorted_newest_first_and_dated_by_its_newest_chart() {
        let (old, new, db) = (
            metadata("web", "1.9.0"),
            metadata("web", "1.10.0"),
            metadata("db", "0.1.0"),
        );
        let charts = vec![
            chart(&old, Some("2024-01-02T03:04:05.5Z")),
            chart(&new, Some("2024-01-02T05:04:05+02:00")),
            chart(&db, None),
        ];
        assert_eq!(
            yaml_of(charts),
            "apiVersion: v1\nentries:\n  db:\n  - apiVersion: v2\n    name: db\n    version: 0.1.0\n    urls:\n    - charts/db-0.1.0.tgz\n  \
             web:\n  - apiVersion: v2\n    name: web\n    version: 1.10.0\n    urls:\n    - charts/web-1.10.0.tgz\n    \
             created: 2024-01-02T03:04:05Z\n  - apiVersion: v2\n    name: web\n    version: 1.9.0\n    urls:\n    \
             - charts/web-1.9.0.tgz\n    created: 2024-01-02T03:04:05.5Z\ngenerated: 2024-01-02T03:04:05.5Z\n"
        );
    }

    #[test]
    fn the_latest_version_is_no_prerelease() {
        let versions =
            ["1.9.0", "2.0.0-rc.1", "1.10.0+b", "0.1.0"].map(|version| metadata("web", version));
        let latest = |versions: &[PackedMetadata]| {
            let index = IndexFile::new(versions.iter().map(|metadata| chart(metadata, None)));
            index
                .latest("web")
                .map(|chart| chart.metadata.version().to_owned())
        };
        assert_eq!(latest(&versions).as_deref(), Some("1.10.0+b"));
        assert_eq!(latest(&versions[1..2]), None);
        assert_eq!(latest(&[]), None);
    }

    #[test]
    fn an_archive_is_known_by_its_file_name_and_ordered_by_it() {
        let web = metadata("my web", "1.0.0-x");
        let name = ChartVersion::archive_name(&web);
        let others = [
            "",
            "my web",
            "my web-1.0.0-x",
            "my web-1.0.0.tgz",
            "my web1.0.0-x.tgz",
            "web-1.0.0-x.tgz",
        ];
        for other in others.into_iter().chain([&*name]) {
            assert_eq!(
                ChartVersion::cmp_archive_name(&web, other),
                (*name).cmp(other),
                "{other}"
            );
        }
    }

    #[test]
    fn a_name_is_made_fit_for_a_url() {
        assert_eq!(
            encode_path("my chart-1.0.0+b%.tgz"),
            "my%20chart-1.0.0+b%25.tgz"
        );
    }

    #[test]
    fn an_empty_index_is_an_index() {
        assert_eq!(yaml_of(vec![]), "apiVersion: v1\nentries: {}\n");
    }

    #[test]
    fn an_index_with_a_string_that_yaml_would_misread_is_json() {
        assert_eq!(
            yaml_of(vec![chart(&metadata("on", "1.0.0"), None)]),
            "{\"apiVersion\":\"v1\",\"entries\":{\"on\":[{\"apiVersion\":\"v2\",\"name\":\"on\",\"version\":\"1.0.0\",\"urls\":[\"charts/on-1.0.0.tgz\"]}]}}\n"
        );
    }

    #[test]
    fn json_escapes_what_yaml_readers_stumble_over() {
        let mut odd = metadata("on", "1.0.0").unpack();
        odd.description = Some("a\u{7f}\u{85}\u{2028}\u{feff}\u{1f600}\u{1}\"".into());
        let text = yaml_of(vec![chart(&odd.into(), None)]);
        assert!(
            text.contains("\"a\\u007f\\u0085\\u2028\\ufeff\u{1f600}\\u0001\\\"\""),
            "{text}"
        );
        assert_eq!(json_length("a\u{7f}\u{1f600}\""), 1 + 6 + 4 + 2);
    }

    #[test]
    fn only_rfc_3339_is_a_date() {
        for good in [
            "2024-01-02T03:04:05Z",
            "2024-01-02t03:04:05.123456789+02:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert!(parse_created(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2024-01-02",
            "2024-01-02 03:04:05Z",
            "2024-13-01T00:00:00Z",
            "now",
            "0000-01-01T00:00:00+23:00",
            "2024-01-02T03:04:05",
        ] {
            assert!(parse_created(bad).is_none(), "{bad}");
        }
    }
}
