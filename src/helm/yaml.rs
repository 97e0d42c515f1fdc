//! Which strings a YAML 1.1 reader would take for something else, although `serde_yaml` (a YAML
//! 1.2 writer) leaves them unquoted.
//!
//! Helm reads an index with Go's YAML, others with PyYAML or Ruby's, all of YAML 1.1. There `yes`
//! and `on` are booleans, `1_000` is a number, `12:30` is 750, `2021-01-01` a date and `<<` a merge
//! key. One such value makes every Helm refuse the whole index ("cannot unmarshal bool into Go
//! struct field"), and `serde_yaml` has no way to ask for quotes. Hence [`survives`]: where it says
//! no, the index is written as JSON.

use serde_json::Value;

/// Whether every string in `value`, keys included, comes back as the same string from any YAML 1.1
/// reader after `serde_yaml` has written it.
pub fn survives(value: &Value) -> bool {
    let mut suspects = Vec::new();
    collect(value, &mut suspects);
    are_quoted(&suspects)
}

/// As [`survives`], of one string.
pub fn string_survives(text: &str) -> bool {
    !is_suspect(text) || are_quoted(&[text])
}

/// The suspects among the strings in `value`.
fn collect<'a>(value: &'a Value, suspects: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => suspects.extend(is_suspect(text).then_some(&**text)),
        Value::Array(list) => list.iter().for_each(|value| collect(value, suspects)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            suspects.extend(is_suspect(key).then_some(&**key));
            collect(value, suspects);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Asks the writer itself, about all at once: to set one up takes as long as to write a hundred. No
/// suspect holds a line break, so each has a line.
fn are_quoted(suspects: &[&str]) -> bool {
    let is_quoted = |line: &str| line.starts_with("- '") || line.starts_with("- \"");
    suspects.is_empty()
        || serde_yaml::to_string(suspects).is_ok_and(|all| all.lines().all(is_quoted))
}

/// The union of what Go's yaml.v2 and v3 (resolve.go) and PyYAML (resolver.py) resolve to
/// something other than a string, taken generously: a wrong suspicion costs one question.
fn is_suspect(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "=",
    ];
    if text == "<<" || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return true;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    // Numbers may hold `_` anywhere: both readers delete them first.
    let plain = text.replace('_', "");
    let number = plain.trim_start_matches(['+', '-']);
    is_decimal(number)
        || is_other_base(number)
        || is_base_60(number)
        || is_special_float(number)
        || is_date(&plain)
}

/// `12`, `012`, `1.5`, `.5`, `1e3`, `1.5E-3`.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    digits(exponent)
        && digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
}

/// `0x1F`, `0o17`, `0b1`; Go's yaml takes a sign behind the prefix too: `0b-1`.
fn is_other_base(text: &str) -> bool {
    let digits = text
        .strip_prefix('0')
        .and_then(|rest| rest.strip_prefix(['x', 'X', 'o', 'O', 'b', 'B']));
    digits.is_some_and(|digits| {
        digits
            .trim_start_matches(['+', '-'])
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
    })
}

/// `12:30`, `1:02:03.5`: minutes and seconds to YAML 1.1.
fn is_base_60(text: &str) -> bool {
    text.contains(':')
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'))
}

/// `.inf`, `.NaN` and their like, the sign already gone.
fn is_special_float(text: &str) -> bool {
    [".inf", ".nan"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// `2021-01-01`, alone or with a time behind it.
fn is_date(text: &str) -> bool {
    let part = |b: u8| {
        b.is_ascii_digit()
            || matches!(
                b,
                b'-' | b':' | b'.' | b'+' | b'T' | b't' | b'Z' | b'z' | b' ' | b'\t'
            )
    };
    let mut parts = text.splitn(3, '-');
    let year = parts
        .next()
        .is_some_and(|year| year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()));
    year && parts.count() == 2 && text.bytes().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_serde_yaml_leaves_plain_and_others_misread_do_not_survive() {
        for trap in [
            "yes",
            "Yes",
            "YES",
            "no",
            "on",
            "ON",
            "off",
            "y",
            "Y",
            "n",
            "N",
            "<<",
            "=",
            "1_000",
            "1__0",
            "1_",
            "-_1",
            "1._1",
            "1_000.5",
            "0x_1",
            "0b1_0",
            "0b+1",
            "0b-1_0",
            "0o1_7",
            "69_00E5",
            "12:30",
            "190:20:30",
            "2021-01-01",
            "2001-12-14t21:59:43.10-05:00",
            "2021-01-01 00:00:00",
            "+_0",
            ".7_7",
            "2e_6",
            "-75E-_9",
            "064_",
            "2001-1-1",
        ] {
            assert!(
                !string_survives(trap),
                "{trap}: {}",
                serde_yaml::to_string(trap).unwrap()
            );
        }
    }

    #[test]
    fn ordinary_strings_survive() {
        for text in [
            "1.0.0",
            "v1.2.3",
            "1.2.3+build.5",
            "nginx",
            "true",
            "1.10",
            "1e3",
            "null",
            "~",
            "",
            "012",
            "none",
            "ny",
            "http://a:80",
            "0xyz",
            "1.2.3_4",
            "_",
            "-",
            "--",
            ".",
            "a_1",
            "2021-01-01 is a day",
            "yes, please",
            "NaN",
        ] {
            assert!(
                string_survives(text),
                "{text}: {}",
                serde_yaml::to_string(text).unwrap()
            );
        }
    }

    #[test]
    fn keys_count_too() {
        assert!(!survives(&serde_json::json!({"annotations": {"on": "a"}})));
        assert!(!survives(&serde_json::json!({"keywords": ["a", "off"]})));
        assert!(survives(
            &serde_json::json!({"deprecated": true, "name": "a"})
        ));
    }
}
