//! What a list shows of a chart. It is read from the chart's metadata each time, of which the rest is skipped.

use crate::inventory::StoredChart;
use serde::Deserialize;
use std::borrow::Cow;

/// A few fields of a chart's metadata.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    pub(super) description: Cow<'a, str>,
    #[serde(borrow, rename = "appVersion")]
    pub(super) app_version: Cow<'a, str>,
    pub(super) deprecated: bool,
    pub(super) keywords: Vec<String>,
}

impl Summary<'_> {
    pub(super) fn of(chart: &StoredChart) -> Summary<'_> {
        serde_json::from_str(chart.metadata.json()).unwrap_or_default()
    }
}
