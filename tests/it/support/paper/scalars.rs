//! What a plain scalar means: the rules of Go's yaml.v2 (resolve.go), which every Helm reads with,
//! and those of PyYAML (resolver.py). A quoted scalar is a string to both.

use std::sync::LazyLock;

use regex::Regex;

/// What a plain scalar is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Null,
    True,
    False,
    Number,
    Timestamp,
    /// `<<`, where it is a key.
    Merge,
    Text,
}

/// As Go's yaml.v2 resolves it. Timestamps stay strings there, whatever they look like.
pub fn go(text: &str) -> Meaning {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Meaning::True
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Meaning::False
        }
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" => Meaning::Number,
        "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => Meaning::Number,
        "<<" => Meaning::Merge,
        _ if go_number(text) => Meaning::Number,
        _ => Meaning::Text,
    }
}

fn go_number(text: &str) -> bool {
    // Digits may be parted by single underscores here, as in Go's own floats.
    static DOTTED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?$"));
    static FLOAT: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"));
    // Wherever they stand, before anything is looked at.
    let plain = text.replace('_', "");
    match text.as_bytes()[0] {
        b'.' => DOTTED.is_match(text) && is_finite(&plain),
        b'0'..=b'9' | b'+' | b'-' if go_timestamp(text) => false,
        b'0'..=b'9' | b'+' | b'-' => {
            go_integer(&plain) || (FLOAT.is_match(&plain) && is_finite(&plain))
        }
        _ => false,
    }
}

/// `strconv.ParseFloat` errs where a float overflows, and the string stays one.
fn is_finite(plain: &str) -> bool {
    plain.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `strconv.ParseInt` and `ParseUint` with base 0, and the binary numbers that yaml.v2 adds.
fn go_integer(plain: &str) -> bool {
    let negative = plain.starts_with('-');
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (base, digits) = match unsigned.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &unsigned[2..]),
        Some("0o") => (8, &unsigned[2..]),
        Some("0b") => (2, &unsigned[2..]),
        _ if unsigned.len() > 1 && unsigned.starts_with('0') => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    let only_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
    let most = if negative {
        1 << 63
    } else {
        u128::from(u64::MAX)
    };
    let most = if plain.starts_with('+') {
        (1 << 63) - 1
    } else {
        most
    };
    let fits = |digits: &str, base, most| {
        u128::from_str_radix(digits, base).is_ok_and(|value| value <= most)
    };
    if only_digits && fits(digits, base, most) {
        return true;
    }
    // `0b` is taken off and the rest read anew, so that it may have a sign of its own.
    plain.strip_prefix("0b").is_some_and(|rest| {
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        !digits.is_empty()
            && digits.bytes().all(|b| matches!(b, b'0' | b'1'))
            && fits(digits, 2, 1 << 63)
    })
}

/// What yaml.v2 takes for a timestamp before it looks for numbers, and then leaves a string.
fn go_timestamp(text: &str) -> bool {
    static DATE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?)?$",
        )
    });
    DATE.is_match(text)
}

/// As PyYAML resolves it: the expressions of its resolver.py as they stand there, joined.
pub fn pyyaml(text: &str) -> Meaning {
    static TRUE: LazyLock<Regex> =
        LazyLock::new(|| regex("^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$"));
    static FALSE: LazyLock<Regex> =
        LazyLock::new(|| regex("^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$"));
    static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?x)^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?
            |\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?
            |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
            |[-+]?\.(?:inf|Inf|INF)
            |\.(?:nan|NaN|NAN))$",
        )
    });
    static INTEGER: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?x)^(?:[-+]?0b[0-1_]+
            |[-+]?0[0-7_]+
            |[-+]?(?:0|[1-9][0-9_]*)
            |[-+]?0x[0-9a-fA-F_]+
            |[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$",
        )
    });
    static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?x)^(?:[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]
            |[0-9][0-9][0-9][0-9]-[0-9][0-9]?-[0-9][0-9]?
             (?:[Tt]|[\ \t]+)[0-9][0-9]?
             :[0-9][0-9]:[0-9][0-9](?:\.[0-9]*)?
             (?:[\ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9][0-9])?))?)$",
        )
    });
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        // `=` is a type of its own, which the safe loader has no use for and refuses.
        "<<" | "=" => Meaning::Merge,
        // PyYAML keeps its expressions by the first character, too.
        _ if !text.starts_with(|c: char| "yYnNtTfFoO-+.0123456789".contains(c)) => Meaning::Text,
        _ if TRUE.is_match(text) => Meaning::True,
        _ if FALSE.is_match(text) => Meaning::False,
        _ if FLOAT.is_match(text) || INTEGER.is_match(text) => Meaning::Number,
        _ if TIMESTAMP.is_match(text) => Meaning::Timestamp,
        _ => Meaning::Text,
    }
}

fn regex(expression: &str) -> Regex {
    Regex::new(expression).expect("the expression is one")
}
