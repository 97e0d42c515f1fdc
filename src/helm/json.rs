//! JSON that YAML 1.1 readers read as JSON readers do: each string of it may stand in a YAML document
//! as it is. Everything that an index holds is written by [`to_string`], and by nothing else.
//!
//! YAML readers refuse some characters unless they are escaped (DEL, C1 controls, non-characters),
//! fold others to a blank (NEL, LS, PS), and the older ones in Go know no surrogate pairs. So the
//! former are escaped, and characters beyond the basic plane never are.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// `value` as one line of JSON, without a line break at its end.
pub(super) fn to_string(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, YamlSafeJson))
        .expect("strings and maps of strings are written to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// How many bytes `text` takes in this JSON, without its quotes: at most six times its own length.
pub(super) fn length(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' || must_escape(c) => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

fn must_escape(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}')
}

struct YamlSafeJson;

impl Formatter for YamlSafeJson {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| must_escape(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", c as u32)?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_yaml_readers_refuse_or_fold_are_escaped() {
        for (text, json) in [
            ("a\u{7f}\u{85}b", r"a\u007f\u0085b"),
            ("\u{2028}\u{2029}\u{feff}", r"\u2028\u2029\ufeff"),
            ("\u{fdd0}\u{fffe}\u{ffff}", r"\ufdd0\ufffe\uffff"),
            ("\0\u{1}\n\t\"\\/", r#"\u0000\u0001\n\t\"\\/"#),
            ("\u{1f600}\u{1fffe}é\u{a0}", "\u{1f600}\u{1fffe}é\u{a0}"),
        ] {
            assert_eq!(to_string(&text), format!("\"{json}\""));
            assert_eq!(length(text), json.len(), "{json}");
        }
    }
}
