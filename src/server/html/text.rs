//! Texts of others as a page shows them. What is made here is still to be escaped, which the templates do.
//! Nothing here lets a text execute, hide, turn around or load anything. Pure.

use crate::budget::TEXT;
use crate::oci::percent_encoded;
use std::borrow::Cow;

/// Longest URL that a page links, in bytes: a longer one is shown as a text, cut.
const MAX_LINK: usize = 1000;

/// The first [`TEXT`] characters of `text` on one line; what doesn't show, or turns the text around, is
/// shown by its number.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == TEXT {
            shown.push('…');
            break;
        }
        match c {
            '\t' | '\n' | '\r' => shown.push(' '),
            _ if shows(c) => shown.push(c),
            _ => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// Whether a character can be seen, or changes the one before it, as an accent does.
fn shows(c: char) -> bool {
    let is_quoted = |text: &str| text.escape_debug().count() > text.chars().count();
    match c {
        ' '..='~' => true,
        // A string's escaping takes accents for what they are, unless they come first.
        _ => !is_quoted(&['a', c].iter().collect::<String>()),
    }
}

/// What a URL may be linked as: it leads to a web site or to a mailbox, and is not relative.
pub(super) fn link(url: &str) -> Option<&str> {
    let is_plain = url.chars().all(|c| shows(c) && !c.is_whitespace());
    let (scheme, rest) = url.split_once(':')?;
    let is_scheme = |name: &&str| scheme.eq_ignore_ascii_case(name);
    let is_good = match ["http", "https", "mailto"]
        .iter()
        .find(|name| is_scheme(name))
    {
        Some(&"mailto") => rest.contains('@'),
        Some(_) => rest.starts_with("//") && rest.len() > "//".len(),
        None => false,
    };
    (is_good && is_plain && url.len() <= MAX_LINK).then_some(url)
}

/// A word of a command: a shell takes it as it is.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+:/@%".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", shown(text).replace('\'', r"'\''")).into(),
    }
}

/// A value in a query. A `+` would be a blank there.
pub(super) fn in_query(value: &str) -> String {
    percent_encoded(value).replace('+', "%2B")
}

/// A size in bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{}.{} MiB", bytes >> 20, ((bytes % 1_048_576) * 10) >> 20),
    }
}

/// `1 chart`, `2 charts`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_shown_by_its_number_and_long_texts_are_cut() {
        for (text, expected) in [
            (
                "a\tb\r\nc \"é\" <b> 日本 ไทย e\u{301}",
                "a b  c \"é\" <b> 日本 ไทย e\u{301}",
            ),
            ("a\0b\u{202e}c\u{200b}", r"a\u{0}b\u{202e}c\u{200b}"),
            ("\u{feff}\u{2066}\u{1b}[1m", r"\u{feff}\u{2066}\u{1b}[1m"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"x".repeat(9999)).chars().count(), TEXT + 1);
    }

    #[test]
    fn only_web_sites_and_mailboxes_are_linked() {
        for good in ["https://h/a?b#c", "HTTP://h", "mailto:a@b"] {
            assert_eq!(link(good), Some(good));
        }
        let long = format!("https://{}", "h".repeat(MAX_LINK));
        for bad in [
            "javascript:alert(1)",
            "java\nscript:x",
            "data:text/html,x",
            "//h",
            "/a",
            "h",
            "http:h",
            "http://",
            "https://h/ a",
            "https://h/\u{202e}",
            "vbscript:x",
            " https://h",
            "mailto:",
            "",
            &long,
        ] {
            assert_eq!(link(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_shell_takes_a_word_as_one() {
        for (text, expected) in [
            ("web-1.0.0+b", "web-1.0.0+b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("a;$(b)`c`", "'a;$(b)`c`'"),
            ("a'b", r"'a'\''b'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }

    #[test]
    fn a_size_is_rounded_down() {
        let told = [0, 1023, 1024, 1_048_575, 1_048_576, 1_600_000].map(size);
        assert_eq!(
            told,
            ["0 B", "1023 B", "1 KiB", "1023 KiB", "1.0 MiB", "1.5 MiB"]
        );
    }
}
