//! A chart's metadata as pages read it, field by field. What isn't there is empty.

use crate::inventory::StoredChart;
use serde_json::Value;

/// All fields.
#[inline(never)]
pub(super) fn fields(chart: &StoredChart) -> Value {
    let json = chart.metadata.json().as_bytes();
    serde_json::from_slice(json).unwrap_or_default()
}

/// A text.
#[inline(never)]
pub(super) fn text<'f>(fields: &'f Value, name: &str) -> &'f str {
    let field = fields.get(name).and_then(Value::as_str);
    field.unwrap_or_default()
}

/// A list.
#[inline(never)]
pub(super) fn list<'f>(fields: &'f Value, name: &str) -> &'f [Value] {
    let field = fields.get(name).and_then(Value::as_array);
    field.map_or(&[], Vec::as_slice)
}

/// A text in lower case, letter by letter: `str::to_lowercase` knows of Greek words too, for 5 KB of tables.
pub(super) fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether name, description or keywords hold a text in lower case.
pub(super) fn is_found(chart: &StoredChart, query: &str) -> bool {
    // Most charts hold it nowhere, and their metadata isn't parsed. In JSON, what is escaped can't be found.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let json = || chart.metadata.json().to_ascii_lowercase();
    if query.bytes().all(is_plain) && !json().contains(query) {
        return false;
    }
    let fields = fields(chart);
    let keywords = list(&fields, "keywords").iter().filter_map(Value::as_str);
    let texts = [text(&fields, "name"), text(&fields, "description")];
    let mut texts = texts.into_iter().chain(keywords);
    texts.any(|text| lower(text).contains(query))
}
