//! A chart's metadata as pages read it, field by field. What isn't there is empty.

use crate::inventory::StoredChart;
use serde_json::Value;

/// All fields.
pub(super) fn fields(chart: &StoredChart) -> Value {
    let json = chart.metadata.json().as_bytes();
    serde_json::from_slice(json).unwrap_or_default()
}

/// A text.
pub(super) fn text<'f>(fields: &'f Value, name: &str) -> &'f str {
    let field = fields.get(name).and_then(Value::as_str);
    field.unwrap_or_default()
}

/// A list.
pub(super) fn list<'f>(fields: &'f Value, name: &str) -> &'f [Value] {
    let field = fields.get(name).and_then(Value::as_array);
    field.map_or(&[], Vec::as_slice)
}

/// Whether name, description or keywords hold a text in lower case.
pub(super) fn is_found(chart: &StoredChart, query: &str) -> bool {
    let holds = |text: &str| text.to_lowercase().contains(query);
    // Most charts hold it nowhere. In JSON, what is escaped can't be found.
    let is_plain = !query.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'));
    if is_plain && !holds(chart.metadata.json()) {
        return false;
    }
    let fields = fields(chart);
    let keywords = list(&fields, "keywords").iter().filter_map(Value::as_str);
    let texts = [text(&fields, "name"), text(&fields, "description")];
    texts.into_iter().chain(keywords).any(holds)
}
