//! JSON that YAML 1.1 readers read as JSON readers do: each string of it may stand in a YAML document
//! as it is. Everything that an index holds passes [`write`], and nothing else.
//!
//! YAML readers refuse some characters unless they are escaped (DEL, C1 controls, non-characters),
//! fold others to a blank (NEL, LS, PS), and the older ones in Go know no surrogate pairs. So the
//! former are escaped, and characters beyond the basic plane never are. That is done while an index is
//! written and not before: one such character takes six bytes, and what is kept would be six times as
//! large as what was pushed.

use serde::Serialize;
use std::io::{self, Write};

/// `value` as one line of JSON, without a line break at its end; still to be passed through [`write`].
pub(super) fn to_string(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and maps of strings are written to memory")
}

/// Writes a piece of JSON. The characters that are escaped stand in its strings alone.
pub(super) fn write(out: &mut dyn Write, json: &str) -> io::Result<()> {
    // Of all bytes at once, which takes a tenth of the time of a search.
    let is_plain = !json.bytes().fold(false, |any, byte| any | (byte >= 0x7f));
    if is_plain {
        return out.write_all(json.as_bytes());
    }
    let mut rest = json;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| must_escape(*c)) {
        out.write_all(&rest.as_bytes()[..at])?;
        write!(out, "\\u{:04x}", c as u32)?;
        rest = &rest[at + c.len_utf8()..];
    }
    out.write_all(rest.as_bytes())
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

/// How many bytes `json` takes once it is written.
pub(super) fn escaped_length(json: &str) -> usize {
    let more = |c: char| if must_escape(c) { 6 - c.len_utf8() } else { 0 };
    json.len() + json.chars().map(more).sum::<usize>()
}

fn must_escape(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}')
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
            let mut written = Vec::new();
            write(&mut written, &to_string(&text)).unwrap();
            assert_eq!(written, format!("\"{json}\"").as_bytes());
            assert_eq!(length(text), json.len(), "{json}");
        }
    }
}
