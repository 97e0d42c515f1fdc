//! How many values a JSON text holds, counted before it's parsed. A parser makes 700 bytes of the six
//! that `{"":0}` takes, so a megabyte that anybody may push would become a hundred.

/// Most values of a manifest or a config blob, as counted here: a hundred times what a chart's own
/// words take, and no more than three megabytes when they're parsed.
pub const MAX_VALUES: usize = 8 * 1024;

/// Whether a text holds more than `most` values: commas, and openings of arrays and objects, outside of
/// strings. What is no JSON is counted as far as a parser would come.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: &str, count: usize) -> String {
        format!("[{}]", vec![of; count].join(","))
    }

    #[test]
    fn values_are_counted_and_words_are_not() {
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
}
