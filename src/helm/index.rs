//! The index file of a classic chart repository (Helm's pkg/repo/v1/index.go): newest version first,
//! only fields that Helm knows, and the same bytes for the same content. It is put together from the
//! metadata's own JSON, so that rendering parses nothing.

use super::json;
use super::packed::PackedMetadata;
use super::version::Version;
use super::yaml::BlockYaml;
use crate::oci::Digest;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// One version of one chart, as the index lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartVersion<'a> {
    /// What the chart's config blob says.
    pub metadata: &'a PackedMetadata,
    /// When the chart was made, if its manifest says so.
    pub created: Option<OffsetDateTime>,
    /// The digest of the archive. A sha256 is listed, as bare hex; any other is left out, because
    /// Helm 4 uses it unchecked as a key of its content cache.
    pub digest: &'a Digest,
}

impl ChartVersion<'_> {
    /// The archive's file name, `NAME-VERSION.tgz`: Helm saves the archive under this name, and
    /// looks for it in the provenance file.
    pub fn archive_name(metadata: &PackedMetadata) -> String {
        format!("{}-{}.tgz", metadata.name(), metadata.version())
    }

    /// Compares the archive's file name with `file_name`, without allocating: a search compares
    /// many.
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
        line(self.json())
    }

    /// The metadata's JSON with three more fields. None of their values needs an escape.
    fn json(&self) -> String {
        let mut json = self.metadata.json().to_owned();
        json.pop();
        json += &format!(r#","urls":["{}"]"#, self.url());
        if let Some(created) = self.created {
            json += &format!(r#","created":"{}""#, rfc3339(created));
        }
        if let Some(hex) = self.digest.sha256_hex() {
            json += &format!(r#","digest":"{hex}""#);
        }
        json.push('}');
        json
    }
}

/// Percent-encodes a path segment (RFC 3986 §3.3). `+` stays, because Helm requests it as it is.
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

/// Reads the annotation `org.opencontainers.image.created` as a time in UTC. `None` unless it is
/// RFC 3339, in years that RFC 3339 can write: Helm refuses a whole index for one other date.
pub fn parse_created(annotation: &str) -> Option<OffsetDateTime> {
    // RFC 3339 allows a blank in place of the `T`; Go doesn't.
    if !matches!(annotation.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let utc = OffsetDateTime::parse(annotation, &Rfc3339)
        .ok()?
        .checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&utc.year()).then_some(utc)
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339)
        .expect("a time in UTC and in years of four digits")
}

/// What an entry takes in addition to its metadata, in bytes: URL, date, digest and their names.
const REST_OF_ENTRY: usize = 256;

/// A whole index.
#[derive(Clone, Debug)]
pub struct IndexFile<'a> {
    entries: BTreeMap<&'a str, Vec<ChartVersion<'a>>>,
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
            versions.sort_by_cached_key(|chart| Reverse(Version::parse(chart.metadata.version())));
        }
        let all = entries.values().flatten();
        let generated = all.filter_map(|chart| chart.created).max();
        IndexFile { entries, generated }
    }

    /// How many charts and how many versions of them are listed.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.entries.len(),
            self.entries.values().map(Vec::len).sum(),
        )
    }

    /// The index as block-style YAML. See [`yaml`](super::yaml) for why every string is quoted.
    pub fn to_yaml(&self) -> Vec<u8> {
        let mut yaml = BlockYaml::new(self.room());
        self.write(&mut |json| yaml.push(json));
        yaml.finish().into()
    }

    /// The index as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = self.room();
        self.write(&mut |json| text += json);
        line(text)
    }

    /// The versions of all charts, by name, as one line of JSON.
    pub fn entries_to_json(&self) -> Vec<u8> {
        let mut text = self.room();
        self.write_entries(&mut |json| text += json);
        line(text)
    }

    /// The versions of one chart as one line of JSON.
    pub fn versions_to_json(&self, name: &str) -> Vec<u8> {
        let mut text = String::new();
        let versions = self.entries.get(name).map_or(&[][..], |versions| versions);
        write_list(versions, &mut |json| text += json);
        line(text)
    }

    /// The newest version of a chart that Helm takes when it is asked for no version.
    pub fn latest(&self, name: &str) -> Option<&ChartVersion<'a>> {
        let version = |chart: &ChartVersion| Version::parse(chart.metadata.version());
        let is_release = |version: Version| !version.is_prerelease();
        self.entries
            .get(name)?
            .iter()
            .find(|chart| version(chart).is_some_and(is_release))
    }

    /// Room for the whole index, by estimate: a text that grows while it is written is copied, and
    /// leaves holes in memory.
    fn room(&self) -> String {
        let length = |chart: &ChartVersion| chart.metadata.len() * 3 / 2 + REST_OF_ENTRY;
        String::with_capacity(self.entries.values().flatten().map(length).sum())
    }

    /// Writes the index as JSON, in pieces that are whole tokens.
    fn write(&self, out: &mut impl FnMut(&str)) {
        out(r#"{"apiVersion":"v1","entries":"#);
        self.write_entries(out);
        if let Some(generated) = self.generated {
            out(&format!(r#","generated":"{}""#, rfc3339(generated)));
        }
        out("}");
    }

    fn write_entries(&self, out: &mut impl FnMut(&str)) {
        out("{");
        for (at, (name, versions)) in self.entries.iter().enumerate() {
            out(if at == 0 { "" } else { "," });
            out(&json::to_string(name));
            out(":");
            write_list(versions, out);
        }
        out("}");
    }
}

fn write_list(versions: &[ChartVersion], out: &mut impl FnMut(&str)) {
    out("[");
    for (at, chart) in versions.iter().enumerate() {
        out(if at == 0 { "" } else { "," });
        out(&chart.json());
    }
    out("]");
}

fn line(mut text: String) -> Vec<u8> {
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::ChartMetadata;
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
    fn an_index_lists_the_newest_version_first_and_is_dated_by_its_newest_chart() {
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
            r#"apiVersion: "v1"
entries:
  "db":
  - apiVersion: "v2"
    name: "db"
    version: "0.1.0"
    urls:
    - "charts/db-0.1.0.tgz"
  "web":
  - apiVersion: "v2"
    name: "web"
    version: "1.10.0"
    urls:
    - "charts/web-1.10.0.tgz"
    created: "2024-01-02T03:04:05Z"
  - apiVersion: "v2"
    name: "web"
    version: "1.9.0"
    urls:
    - "charts/web-1.9.0.tgz"
    created: "2024-01-02T03:04:05.5Z"
generated: "2024-01-02T03:04:05.5Z"
"#
        );
    }

    #[test]
    fn the_latest_version_is_never_a_prerelease() {
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
    fn archive_names_compare_as_the_texts_do() {
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
    fn a_file_name_is_percent_encoded_in_its_url() {
        assert_eq!(
            encode_path("my chart-1.0.0+b%.tgz"),
            "my%20chart-1.0.0+b%25.tgz"
        );
    }

    #[test]
    fn an_index_of_no_charts_has_an_empty_map() {
        assert_eq!(yaml_of(vec![]), "apiVersion: \"v1\"\nentries: {}\n");
    }

    #[test]
    fn an_index_is_the_same_in_json() {
        let (old, new) = (metadata("web", "1.0.0"), metadata("web", "1.1.0"));
        let index = IndexFile::new([chart(&old, Some("2024-01-02T03:04:05Z")), chart(&new, None)]);
        let old = r#"{"apiVersion":"v2","name":"web","version":"1.0.0","urls":["charts/web-1.0.0.tgz"],"created":"2024-01-02T03:04:05Z"}"#;
        let new =
            r#"{"apiVersion":"v2","name":"web","version":"1.1.0","urls":["charts/web-1.1.0.tgz"]}"#;
        let json = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            json(index.versions_to_json("web")),
            format!("[{new},{old}]\n")
        );
        assert_eq!(json(index.versions_to_json("db")), "[]\n");
        let entries = format!(r#"{{"web":[{new},{old}]}}"#);
        assert_eq!(json(index.entries_to_json()), format!("{entries}\n"));
        assert_eq!(
            json(index.to_json()),
            format!(
                "{{\"apiVersion\":\"v1\",\"entries\":{entries},\"generated\":\"2024-01-02T03:04:05Z\"}}\n"
            )
        );
    }

    #[test]
    fn a_date_that_is_not_rfc_3339_is_left_out() {
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
