//! One event as a line of the log: a sentence, or the same as JSON with the values that the sentence
//! tells. Nothing that a registry or a client says can forge a line, end it, or hide what it says:
//! characters that can't be seen are escaped.

use ::log::Level;
use ::log::kv::{Error, Key, Source, Value, VisitSource, VisitValue};
use std::fmt::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and sentence.
    Text,
    /// A JSON object: `time`, `level`, `message`, and the event's own fields.
    Json,
}

/// An event that happens now, as its line.
pub(super) fn line(format: LogFormat, level: Level, text: &str, fields: &dyn Source) -> String {
    let now = OffsetDateTime::now_utc();
    let second = now.replace_nanosecond(0).unwrap_or(now);
    let second = second.format(&Rfc3339).unwrap_or_default();
    if format == LogFormat::Text {
        return format!("{second} {level} {}\n", one_line(text));
    }
    let (second, millisecond) = (second.trim_end_matches('Z'), now.millisecond());
    let level = level.as_str().to_ascii_lowercase();
    let text = quoted(text);
    let mut object = JsonFields(format!(
        r#"{{"time":"{second}.{millisecond:03}Z","level":"{level}","message":{text}"#
    ));
    // The visitor below returns no error.
    let _ = fields.visit(&mut object);
    object.0 + "}\n"
}

/// A text without characters that break a line, turn its direction or can't be seen.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_visible(c) => line.push(c),
            c => line.extend(c.escape_default()),
        }
    }
    line
}

/// The same as a JSON string, from which a reader gets the text as it was.
fn quoted(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            c if is_visible(c) => string.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(string, "\\u{unit:04x}");
            }),
        }
    }
    string.push('"');
    string
}

fn is_visible(c: char) -> bool {
    // What `escape_debug` leaves as it is can be printed.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// A JSON object that is still open; its last field has been written.
struct JsonFields(String);

impl<'kvs> VisitSource<'kvs> for JsonFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut text = JsonValue(None);
        value.visit(&mut text)?;
        if let Some(value) = text.0 {
            let _ = write!(self.0, ",\"{key}\":{value}");
        }
        Ok(())
    }
}

/// A value as JSON; none for one that is absent.
struct JsonValue(Option<String>);

impl VisitValue<'_> for JsonValue {
    /// Fields are texts and numbers: others would bring the formatting of each kind of number there is.
    fn visit_any(&mut self, value: Value) -> Result<(), Error> {
        debug_assert!(false, "{value:?}");
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = Some(quoted(value));
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = Some(value.to_string());
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = Some(format!("{value:.6}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(
            one_line("a\nERROR forged\u{1b}[31m é"),
            "a\\nERROR forged\\u{1b}[31m é"
        );
        assert_eq!(
            one_line("\"we\u{200b}b\" 'a\\b' \u{202e}x\u{2028}\u{feff}\u{a0}."),
            "\"we\\u{200b}b\" 'a\\b' \\u{202e}x\\u{2028}\\u{feff}\\u{a0}."
        );
    }

    #[test]
    fn every_text_comes_out_of_its_json_as_it_was_and_shows_nothing_that_is_obeyed() {
        let every: String = (0..=0x2_0000).filter_map(char::from_u32).collect();
        let tag = "\u{e0041}";
        for text in [&every, "", "\"}\n{\"level\":\"error\"}", "a\\nb", tag] {
            let quoted = quoted(text);
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
            assert!(quoted.chars().all(is_visible), "{quoted:.100}");
        }
    }

    #[test]
    fn an_event_is_an_object_with_its_fields_and_without_those_that_are_absent() {
        let fields: [(&str, Value); 5] = [
            ("tag", "1.0.0\n".into()),
            ("status", 404_u16.into()),
            ("duration", 0.001234567.into()),
            ("created", "\"x\"".into()),
            ("agent", Value::null()),
        ];
        let line = line(LogFormat::Json, Level::Warn, "a \"b\"\nc", &fields);
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        let mut object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time = object["time"].take();
        let time = time.as_str().unwrap();
        assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
        assert_eq!(time.len(), "2026-11-29T11:05:00.000Z".len());
        let expected = json!({
            "time": null, "level": "warn", "message": "a \"b\"\nc", "tag": "1.0.0\n",
            "status": 404, "duration": 0.001235, "created": "\"x\"",
        });
        assert_eq!(object, expected);
    }
}
