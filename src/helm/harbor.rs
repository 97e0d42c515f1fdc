//! Charts as Harbor's API listed them until 2.8 (`src/chartserver/chart_operator.go` at 0063430). What it
//! read from inside an archive, `values` and `files`, is left out, because no archive is read for a list.

use super::index::{ChartVersion, IndexFile, rfc3339, write_line};
use super::json;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// One chart of a list; dates that are not known are left out.
#[derive(Serialize)]
struct HarborChart<'a> {
    name: &'a str,
    total_versions: usize,
    latest_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<String>,
    icon: Value,
    home: Value,
    deprecated: Value,
}

impl<'a> HarborChart<'a> {
    /// Of all versions of a chart but the newest one, which is given apart.
    fn new(latest: &ChartVersion<'a>, others: &[ChartVersion<'a>]) -> HarborChart<'a> {
        let mut metadata = parsed(latest);
        let mut field = |name: &str, absent: Value| match metadata.get_mut(name) {
            Some(value) => value.take(),
            None => absent,
        };
        let others_created = others.iter().map(|chart| chart.created);
        let created = others_created.chain([latest.created]).flatten().min();
        HarborChart {
            name: latest.metadata.name(),
            total_versions: 1 + others.len(),
            latest_version: latest.metadata.version(),
            created: created.map(rfc3339),
            updated: latest.created.map(rfc3339),
            icon: field("icon", "".into()),
            home: field("home", "".into()),
            deprecated: field("deprecated", false.into()),
        }
    }
}

fn parsed(chart: &ChartVersion) -> Value {
    serde_json::from_str(chart.metadata.json()).unwrap_or_default()
}

impl<'a, C: Iterator<Item = ChartVersion<'a>> + Clone> IndexFile<C> {
    /// Writes one entry for each chart.
    pub fn write_harbor_charts(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, |out| {
            let (mut charts, mut separator) = (self.charts.clone().peekable(), "[");
            while let Some(latest) = charts.next() {
                let mut others = Vec::new();
                let name = latest.metadata.name();
                while let Some(other) = charts.next_if(|next| next.metadata.name() == name) {
                    others.push(other);
                }
                out(separator)?;
                separator = ",";
                out(&json::to_string(&HarborChart::new(&latest, &others)))?;
            }
            out(if separator == "[" { "[]" } else { "]" })
        })
    }

    /// Writes the versions, which are all of one chart.
    pub fn write_harbor_versions(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, |out| {
            out("[")?;
            for (at, chart) in self.charts.clone().enumerate() {
                out(if at == 0 { "" } else { "," })?;
                chart.write(out, r#","labels":[]"#)?;
            }
            out("]")
        })
    }

    /// Writes the first version.
    pub fn write_harbor_version(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(out, |out| {
            let Some(chart) = self.charts.clone().next() else {
                return Ok(());
            };
            out(r#"{"metadata":"#)?;
            chart.write(out, "")?;
            out(r#","dependencies":"#)?;
            let mut metadata = parsed(&chart);
            let dependencies = metadata.get_mut("dependencies").map(Value::take);
            out(&json::to_string(
                &dependencies.unwrap_or_else(|| Vec::<Value>::new().into()),
            ))?;
            let provenance = match chart.is_signed {
                true => format!("{}.prov", chart.url()),
                false => String::new(),
            };
            out(&format!(
                r#","security":{{"signature":{{"signed":{},"prov_file":"{provenance}"}}}},"labels":[]}}"#,
                chart.is_signed
            ))
        })
    }
}
