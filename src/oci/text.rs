//! Texts that others write, as far as they are kept, logged or shown: cut to a bound, so that a pushed
//! megabyte is not held once for each tag, and without characters that a terminal or a reader obeys
//! instead of showing them.

use crate::budget::TEXT;

/// The longest start of `text` that has at most `most` bytes and ends with a whole character.
pub fn start_of(text: &str, most: usize) -> &str {
    let mut ends = (0..=most.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or("")
}

/// The first [`TEXT`] characters of `text`, with control and format characters escaped.
pub fn excerpt(text: &str) -> String {
    let mut excerpt = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == TEXT {
            excerpt.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => excerpt.push(c),
            _ => excerpt.extend(c.escape_debug()),
        }
    }
    excerpt
}

/// A path segment, percent-encoded (RFC 3986 §3.3). `+` stays, because Helm requests it as it is.
pub fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_what_does_not_show_is_escaped() {
        assert_eq!(excerpt("it's \"é\" \\ 1"), "it's \"é\" \\ 1");
        assert_eq!(
            excerpt("a\nb\u{202e}c\u{200b}\u{1b}"),
            r"a\nb\u{202e}c\u{200b}\u{1b}"
        );
        let long = excerpt(&"\u{202e}".repeat(1_000_000));
        assert_eq!(long, format!("{}…", r"\u{202e}".repeat(TEXT)));
    }
}
