//! Charts as Harbor's API listed them until 2.8 (`src/chartserver/chart_operator.go` at 0063430). What it
//! read from inside an archive, `values` and `files`, is left out, because no archive is read for a list.

use super::index::{ChartVersion, IndexFile, Out, rfc3339, write_line};
use super::json;
use serde_json::Value;
use std::io::{self, Write};
use time::OffsetDateTime;

/// All versions of one chart.
struct ChartSummary<'a> {
    latest: ChartVersion<'a>,
    versions: usize,
    oldest: Option<OffsetDateTime>,
}

impl ChartSummary<'_> {
    /// Dates that are not known are left out.
    fn write(&self, out: &mut Out) -> io::Result<()> {
        let (metadata, dates) = (&self.latest.metadata, [self.oldest, self.latest.created]);
        let mut text = format!(
            r#"{{"name":{},"total_versions":{},"latest_version":{}"#,
            json::to_string(&metadata.name()),
            self.versions,
            json::to_string(&metadata.version()),
        );
        for (name, date) in ["created", "updated"].into_iter().zip(dates) {
            if let Some(date) = date {
                text += &format!(r#","{name}":"{}""#, rfc3339(date));
            }
        }
        let all = parsed(&self.latest);
        for (name, absent) in [("icon", "\"\""), ("home", "\"\""), ("deprecated", "false")] {
            text += &format!(r#","{name}":{}"#, field(&all, name, absent));
        }
        out(&(text + "}"))
    }
}

fn parsed(chart: &ChartVersion) -> Value {
    serde_json::from_slice(chart.metadata.json().as_bytes()).unwrap_or_default()
}

/// The JSON of a field.
fn field(metadata: &Value, name: &str, absent: &str) -> String {
    let value = metadata.get(name);
    value.map_or_else(|| absent.to_owned(), Value::to_string)
}

impl<'a, C: Iterator<Item = ChartVersion<'a>> + Clone> IndexFile<C> {
    /// Writes one entry for each chart.
    pub fn write_harbor_charts(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, &|out| {
            let mut open: Option<ChartSummary> = None;
            let mut separator = "[";
            for chart in self.charts.clone() {
                match &mut open {
                    Some(open) if open.latest.metadata.name() == chart.metadata.name() => {
                        open.versions += 1;
                        open.oldest = [open.oldest, chart.created].into_iter().flatten().min();
                        continue;
                    }
                    Some(whole) => {
                        out(separator)?;
                        whole.write(out)?;
                        separator = ",";
                    }
                    None => {}
                }
                open = Some(ChartSummary {
                    oldest: chart.created,
                    latest: chart,
                    versions: 1,
                });
            }
            out(separator)?;
            open.map_or(Ok(()), |last| last.write(out))?;
            out("]")
        })
    }

    /// Writes the versions, which are all of one chart.
    pub fn write_harbor_versions(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, &|out| self.versions(out, r#","labels":[]"#))
    }

    /// Writes the first version.
    pub fn write_harbor_version(&self, out: &mut dyn Write) -> io::Result<()> {
        let chart = self.charts.clone().next();
        write_line(out, &|out| {
            chart.as_ref().map_or(Ok(()), |chart| details(chart, out))
        })
    }
}

fn details(chart: &ChartVersion, out: &mut Out) -> io::Result<()> {
    out(r#"{"metadata":"#)?;
    chart.write(out, "")?;
    let dependencies = field(&parsed(chart), "dependencies", "[]");
    let provenance = match chart.is_signed {
        true => format!("{}.prov", chart.url()),
        false => String::new(),
    };
    out(&format!(
        r#","dependencies":{dependencies},"security":{{"signature":{{"signed":{},"prov_file":"{provenance}"}}}},"labels":[]}}"#,
        chart.is_signed
    ))
}
