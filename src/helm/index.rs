//! The index file of a classic chart repository (Helm's pkg/repo/v1/index.go): newest version first,
//! only fields that Helm knows, and the same bytes for the same content. It is put together from the
//! metadata's own JSON, so that rendering parses nothing.

use super::json;
use super::packed::PackedMetadata;
use super::version::Version;
use super::yaml::BlockYaml;
use crate::oci::{Digest, percent_encoded};
use crate::sorting;
use std::cmp::{Ordering, Reverse};
use std::io::{self, BufWriter, Write};
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
    /// Where the archive is, percent-encoded; none if it is beside the index.
    pub url: Option<String>,
    /// Whether there is a provenance file beside it.
    pub is_signed: bool,
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
        let parts = [metadata.name(), "-", metadata.version(), ".tgz"].into_iter();
        parts.flat_map(str::bytes).cmp(file_name.bytes())
    }

    /// Where the archive is, relative to the index.
    pub fn relative_url(metadata: &PackedMetadata) -> String {
        let name = ChartVersion::archive_name(metadata);
        format!("charts/{}", percent_encoded(&name))
    }

    /// Where the archive is; nothing of it needs an escape in JSON.
    pub(super) fn url(&self) -> String {
        let relative = || ChartVersion::relative_url(self.metadata);
        self.url.clone().unwrap_or_else(relative)
    }

    /// The metadata's JSON with three more fields, and with `more` of them, which begin with a comma. None
    /// of their values needs an escape.
    pub(super) fn write(&self, out: &mut Out, more: &str) -> io::Result<()> {
        let [before, common, behind] = self.metadata.json_parts();
        [before, common, &behind[..behind.len() - 1]]
            .into_iter()
            .try_for_each(&mut *out)?;
        let mut rest = format!(r#","urls":["{}"]"#, self.url());
        if let Some(created) = self.created {
            rest += &format!(r#","created":"{}""#, rfc3339(created));
        }
        if let Some(hex) = self.digest.sha256_hex() {
            rest += &format!(r#","digest":"{hex}""#);
        }
        rest += more;
        rest.push('}');
        out(&rest)
    }
}

/// Takes JSON in pieces that are whole tokens.
pub(super) type Out<'o> = dyn FnMut(&str) -> io::Result<()> + 'o;

/// Reads the annotation `org.opencontainers.image.created` as a time in UTC. `None` unless it is
/// RFC 3339, in years that RFC 3339 can write: Helm refuses a whole index for one other date.
pub fn parse_created(annotation: &str) -> Option<OffsetDateTime> {
    // RFC 3339 allows a blank in place of the `T`; Go doesn't.
    if !matches!(annotation.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let time = OffsetDateTime::parse(annotation, &Rfc3339).ok()?;
    let utc = time.checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&utc.year()).then_some(utc)
}

pub(super) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339)
        .expect("a time in UTC and in years of four digits")
}

/// How much is written at a time, in bytes: each client that reads an index while it is rendered has a
/// buffer of that size.
const BUFFER: usize = 16 * 1024;

/// Puts charts in the order of an index: by name, the newest version first. Among versions that are equal
/// to Helm, a later date is newer than a higher build number. `of` is what a chart is sorted by.
pub fn sort<T>(
    charts: &mut [T],
    of: impl for<'t> Fn(&'t T) -> (&'t PackedMetadata, Option<OffsetDateTime>),
) {
    sorting::by_key(charts, |chart| {
        let (metadata, created) = of(chart);
        let version = Version::parse(metadata.version());
        let precedence = version.as_ref().map(Version::precedence);
        let newest_first = Reverse((precedence, created, version));
        (metadata.name().to_owned(), newest_first)
    });
}

/// Whether Helm takes this version when it is asked for none: it is no prerelease.
pub fn is_release(metadata: &PackedMetadata) -> bool {
    let version = metadata.version();
    !version
        .split('+')
        .next()
        .is_some_and(|core| core.contains('-'))
}

/// A whole index. It is written piece by piece and never held, whatever its size.
pub struct IndexFile<C> {
    pub(super) charts: C,
}

impl<'a, C: Iterator<Item = ChartVersion<'a>> + Clone> IndexFile<C> {
    /// An index of `charts`, in the order that [`sort`] gives them.
    pub fn new(charts: C) -> IndexFile<C> {
        IndexFile { charts }
    }

    /// Writes it as block-style YAML. See [`yaml`](super::yaml) for why every string is quoted.
    pub fn write_yaml(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        let mut yaml = BlockYaml::new(&mut out);
        self.write(&mut |json| yaml.push(json))?;
        yaml.finish()
    }

    /// Writes it as one line of JSON.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, &|out| self.write(out))
    }

    /// Writes the versions of all charts, by name, as one line of JSON.
    pub fn write_entries(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, &|out| self.entries(out))
    }

    /// Writes the versions, which are all of one chart, as one line of JSON.
    pub fn write_versions(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, &|out| self.versions(out, ""))
    }

    /// The versions as a list, each with `more` fields, which begin with a comma.
    pub(super) fn versions(&self, out: &mut Out, more: &str) -> io::Result<()> {
        out("[")?;
        for (at, chart) in self.charts.clone().enumerate() {
            out(if at == 0 { "" } else { "," })?;
            chart.write(out, more)?;
        }
        out("]")
    }

    /// Writes the first version as one line of JSON.
    pub fn write_one(&self, out: &mut dyn Write) -> io::Result<()> {
        let chart = self.charts.clone().next();
        write_line(out, &|out| {
            let chart = chart.as_ref();
            chart.map_or(Ok(()), |chart| chart.write(out, ""))
        })
    }

    /// `generated` is the newest date among the charts: the newest change of content, so that equal content
    /// gives equal bytes.
    fn write(&self, out: &mut Out) -> io::Result<()> {
        out(r#"{"apiVersion":"v1","entries":"#)?;
        self.entries(out)?;
        let created = self.charts.clone().filter_map(|chart| chart.created);
        if let Some(generated) = created.max() {
            out(&format!(r#","generated":"{}""#, rfc3339(generated)))?;
        }
        out("}")
    }

    fn entries(&self, out: &mut Out) -> io::Result<()> {
        let mut last = None;
        out("{")?;
        for chart in self.charts.clone() {
            let name = chart.metadata.name();
            if last == Some(name) {
                out(",")?;
            } else {
                out(if last.is_some() { "]," } else { "" })?;
                out(&json::to_string(&name))?;
                out(":[")?;
            }
            last = Some(name);
            chart.write(out, "")?;
        }
        out(if last.is_some() { "]}" } else { "}" })
    }
}

/// Writes pieces of JSON and a line break.
pub(super) fn write_line(
    out: &mut dyn Write,
    pieces: &dyn Fn(&mut Out) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    pieces(&mut |json| json::write(&mut out, json))?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::ChartMetadata;
    use std::sync::LazyLock;
    use std::vec::IntoIter;

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
            url: None,
            is_signed: false,
        }
    }

    /// What `write` makes of the charts in their order.
    fn written<'a>(
        mut charts: Vec<ChartVersion<'a>>,
        write: impl Fn(&IndexFile<IntoIter<ChartVersion<'a>>>, &mut dyn Write) -> io::Result<()>,
    ) -> String {
        sort(&mut charts, |chart| (chart.metadata, chart.created));
        let mut text = Vec::new();
        write(&IndexFile::new(charts.into_iter()), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn yaml_of(charts: Vec<ChartVersion>) -> String {
        written(charts, IndexFile::write_yaml)
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
    fn a_prerelease_is_no_release() {
        let is_release = |version| is_release(&metadata("web", version));
        assert!(is_release("1.10.0+b") && !is_release("2.0.0-rc.1"));
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
            percent_encoded("my chart-1.0.0+b%.tgz"),
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
        let charts = || vec![chart(&old, Some("2024-01-02T03:04:05Z")), chart(&new, None)];
        let old = r#"{"apiVersion":"v2","name":"web","version":"1.0.0","urls":["charts/web-1.0.0.tgz"],"created":"2024-01-02T03:04:05Z"}"#;
        let new =
            r#"{"apiVersion":"v2","name":"web","version":"1.1.0","urls":["charts/web-1.1.0.tgz"]}"#;
        let versions = format!("[{new},{old}]");
        assert_eq!(
            written(charts(), IndexFile::write_versions),
            format!("{versions}\n")
        );
        let entries = format!(r#"{{"web":{versions}}}"#);
        assert_eq!(
            written(charts(), IndexFile::write_entries),
            format!("{entries}\n")
        );
        assert_eq!(
            written(charts(), IndexFile::write_json),
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
