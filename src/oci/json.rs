//! Bounds for JSON that others write. A parser makes 700 bytes of the six that `{"":0}` takes, so a
//! pushed megabyte would become a hundred: values are counted before a text is parsed, or lists and texts
//! are cut off while it is.

use super::text::start_of;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

pub use crate::budget::MAX_VALUES;

/// Whether a text holds more than `most` values. Commas and opening brackets outside of strings are
/// counted. In a text that is not JSON, the count holds up to the place where a parser would stop.
pub fn holds_over(most: usize, json: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let begins_value = |byte: &&u8| {
        let was_escaped = escaped;
        escaped = quoted && **byte == b'\\' && !was_escaped;
        quoted ^= **byte == b'"' && !was_escaped;
        !quoted && matches!(**byte, b',' | b'[' | b'{')
    };
    json.iter().filter(begins_value).nth(most).is_some()
}

/// Why a text can't be read as JSON of the expected form, in no words of the text's: serde quotes values, and a
/// redirect may have led to something inside the network that isn't for everyone.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.starts_with("invalid type") || text.starts_with("invalid value") {
        true => {
            let (line, column) = (error.line(), error.column());
            format!("a value of another type than expected at line {line} column {column}")
        }
        false => text,
    }
}

/// A list of which no more than one element over `MOST` is kept, so that a longer one is recognized.
pub struct BoundedList<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for BoundedList<T, MOST> {
    fn default() -> Self {
        BoundedList(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for BoundedList<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
    type Value = BoundedList<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= MOST {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(BoundedList(kept)),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(BoundedList(kept))
    }
}

/// A text, of which at most the first `MOST` bytes are kept; `None` for a value of another type, of which
/// nothing is.
#[derive(Debug, PartialEq, Eq)]
pub struct BoundedText<const MOST: usize>(pub Option<String>);

impl<'de, const MOST: usize> Deserialize<'de> for BoundedText<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for TextVisitor<MOST> {
    type Value = BoundedText<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BoundedText(Some(start_of(text, MOST).to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BoundedText(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(BoundedText(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(BoundedText(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(BoundedText(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(BoundedText(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(BoundedText(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(BoundedText(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: &str, count: usize) -> String {
        format!("[{}]", vec![of; count].join(","))
    }

    #[test]
    fn values_are_counted_and_the_content_of_strings_is_not() {
        assert!(!holds_over(MAX_VALUES, list("0", MAX_VALUES).as_bytes()));
        assert!(holds_over(MAX_VALUES, list("0", MAX_VALUES + 1).as_bytes()));
        assert!(holds_over(
            MAX_VALUES,
            list("{}", MAX_VALUES / 2 + 1).as_bytes()
        ));
        let words = ",[{\\\"\\\\".repeat(MAX_VALUES);
        assert!(!holds_over(
            MAX_VALUES,
            format!("{{\"description\":\"{words}\"}}").as_bytes()
        ));
        assert!(holds_over(
            MAX_VALUES,
            format!("[\"{words}\",{}]", list("0", MAX_VALUES)).as_bytes()
        ));
    }

    #[test]
    fn a_text_is_cut_and_any_other_value_is_passed_over() {
        let read = |text: &str| {
            let read: Vec<BoundedText<4>> = serde_json::from_str(text).unwrap();
            read.into_iter().map(|text| text.0).collect::<Vec<_>>()
        };
        assert_eq!(
            read(r#"["abcd", "abcde", "abc\u00e9", ""]"#),
            ["abcd", "abcd", "abc", ""].map(|text| Some(text.to_owned()))
        );
        assert_eq!(
            read(r#"[null, true, 1, -1, 1.5, [[1]], {"a":{}}]"#),
            [const { None }; 7]
        );
    }

    #[test]
    fn a_reason_quotes_no_value() {
        let error = serde_json::from_str::<Vec<u8>>(r#"["hunter2"]"#).unwrap_err();
        assert!(error.to_string().contains("hunter2"), "what serde says");
        assert_eq!(
            reason(&error),
            "a value of another type than expected at line 1 column 10"
        );
    }

    #[test]
    fn a_list_over_its_bound_keeps_one_element_too_many() {
        let kept = |text: &str| serde_json::from_str::<BoundedList<u8, 2>>(text).map(|list| list.0);
        assert_eq!(kept("[1,2]").unwrap(), [1, 2]);
        assert_eq!(kept("[1,2,3,4,{}]").unwrap(), [1, 2, 3]);
        assert!(kept("{}").is_err());
    }
}
