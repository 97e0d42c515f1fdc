//! Which part of a representation a range request asks for (RFC 9110 §14). Pure.

use std::ops::Range;

/// The part that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Nothing: it ends before that part begins.
    Unsatisfiable,
}

/// The part that `Range` and `If-Range` ask for, of `length` bytes named by `etag`. For several
/// ranges, other units and ranges that can't be read, the whole is sent, as §14.2 allows.
pub fn part(range: Option<&str>, if_range: Option<&str>, etag: &str, length: usize) -> Part {
    // Strongly compared (§13.1.5): a weak validator doesn't name the same bytes. A date is never
    // ours.
    let changed = if_range.is_some_and(|validator| validator != etag);
    match range.and_then(byte_range) {
        Some(asked) if !changed && length > 0 => asked.within(length),
        _ => Part::Whole,
    }
}

/// One range as it is written.
enum ByteRange {
    /// `3-`, `3-7`.
    From(usize, Option<usize>),
    /// `-5`: so many at the end.
    Last(usize),
}

fn byte_range(range: &str) -> Option<ByteRange> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (position(first), position(last)) {
        (Some(first), None) if last.is_empty() => Some(ByteRange::From(first, None)),
        (Some(first), Some(last)) if first <= last => Some(ByteRange::From(first, Some(last))),
        (None, Some(count)) if first.is_empty() => Some(ByteRange::Last(count)),
        _ => None,
    }
}

/// A number, or the largest that we know for one that is larger.
fn position(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

impl ByteRange {
    fn within(self, length: usize) -> Part {
        match self {
            ByteRange::From(first, _) if first >= length => Part::Unsatisfiable,
            ByteRange::From(first, last) => {
                Part::Bytes(first..last.map_or(length, |last| length.min(last.saturating_add(1))))
            }
            ByteRange::Last(0) => Part::Unsatisfiable,
            ByteRange::Last(count) => Part::Bytes(length.saturating_sub(count)..length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str) -> Part {
        part(Some(range), None, "\"x\"", 10)
    }

    #[test]
    fn one_range_of_bytes_is_answered_in_part() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-", 0..10),
            ("bytes=3-5", 3..6),
            ("bytes=3-99", 3..10),
            ("Bytes = 3-5 ", 3..6),
            ("bytes=9-99999999999999999999999999", 9..10),
            ("bytes=9-18446744073709551615", 9..10),
            ("bytes=-1", 9..10),
            ("bytes=-10", 0..10),
            ("bytes=-99999999999999999999999999", 0..10),
            ("bytes=007-8", 7..9),
        ] {
            assert_eq!(asked(range), Part::Bytes(expected), "{range}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_unsatisfiable() {
        for range in [
            "bytes=10-",
            "bytes=10-20",
            "bytes=99999999999999999999999999-",
            "bytes=-0",
        ] {
            assert_eq!(asked(range), Part::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn an_odd_range_gets_the_whole() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-3",
            "bytes=0-1,3-4",
            "bytes=0-1, bytes=3-4",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=1 - 2",
            "lines=1-2",
        ] {
            assert_eq!(asked(range), Part::Whole, "{range}");
        }
        assert_eq!(part(None, None, "\"x\"", 10), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), None, "\"x\"", 0), Part::Whole);
    }

    #[test]
    fn a_part_continues_only_the_bytes_with_the_same_strong_validator() {
        let with = |validator| part(Some("bytes=3-5"), Some(validator), "\"x\"", 10);
        assert_eq!(with("\"x\""), Part::Bytes(3..6));
        for other in [
            "\"y\"",
            "W/\"x\"",
            "x",
            "*",
            "",
            "Sat, 29 Oct 1994 19:43:31 GMT",
            "\"x\", \"y\"",
        ] {
            assert_eq!(with(other), Part::Whole, "{other}");
        }
    }
}
