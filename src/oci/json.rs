//! Counts the values of a JSON text before it is parsed. Parsed, the six bytes of `{"":0}` take 700
//! bytes of memory, so a manifest of one megabyte would take a hundred.

/// Most values of a manifest or a config blob, as counted here: a hundred times as many as an ordinary
/// chart has, and at most three megabytes of memory when they are parsed.
pub const MAX_VALUES: usize = 8 * 1024;

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
}
