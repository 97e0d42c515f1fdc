//! A chart's metadata as pages read it, field by field. What isn't there is empty.

use crate::inventory::StoredChart;
use serde_json::Value;

/// All fields.
#[inline(never)]
pub(super) fn fields(chart: &StoredChart) -> Value {
    serde_json::from_str(&chart.metadata.json()).unwrap_or_default()
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
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether name, description or keywords hold what [`needle`] made. The metadata isn't parsed for it: a search
/// looks at thousands.
pub(super) fn is_found(chart: &StoredChart, needle: &str) -> bool {
    let parts = chart.metadata.json_parts().into_iter();
    parts.flat_map(raw_fields).any(|field| {
        let (name, value) = field.split_once(':').unwrap_or_default();
        let is_searched = matches!(name, "\"name\"" | "\"description\"" | "\"keywords\"");
        is_searched && lower(value).contains(needle)
    })
}

/// What is searched for, in lower case and as JSON spells it.
pub(super) fn needle(query: &str) -> String {
    let json = serde_json::to_string(&lower(query)).unwrap_or_default();
    json.get(1..json.len() - 1).unwrap_or_default().to_owned()
}

/// The fields of an object, as they stand in JSON without white space.
fn raw_fields(object: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    let inner = object.get(1..).unwrap_or_default();
    inner.split(move |c| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' => return depth == 0,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_object_are_told_apart_whatever_their_strings_hold() {
        let object = r#"{"a":"x,\"y\\","b":[{"c":1,"d":[2,3]},"]"],"e":{},"f":true}"#;
        let fields: Vec<&str> = raw_fields(object).collect();
        let expected = [
            r#""a":"x,\"y\\""#,
            r#""b":[{"c":1,"d":[2,3]},"]"]"#,
            r#""e":{}"#,
            r#""f":true}"#,
        ];
        assert_eq!(fields, expected);
        assert_eq!(needle("A\"b\\C\""), r#"a\"b\\c\""#);
    }
}
