//! What a plain YAML scalar means to Helm, and how Helm writes a number where a string is wanted:
//! the rules of Go's yaml.v2 (resolve.go), of Go's `strconv` and of sigs.k8s.io/yaml (yaml.go). A
//! quoted scalar is text, and is never resolved here. Pure.

/// A scalar.
#[derive(Debug)]
pub(super) enum Scalar {
    Null,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// The meaning of a plain scalar. Dates and sexagesimal numbers stay text, as in yaml.v2.
    pub(super) fn of_plain(text: &str) -> Scalar {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Scalar::Flag(true)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => Scalar::Flag(false),
            ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
            _ => number(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
        }
    }

    /// As Helm writes it where a string is wanted; a null is none.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Scalar::Null => None,
            Scalar::Flag(flag) => Some(flag.to_string()),
            Scalar::Integer(value) => Some(value.to_string()),
            Scalar::Float(value) => Some(format_float(*value)),
            Scalar::Text(text) => Some(text.clone()),
        }
    }

    /// As Helm writes it where it is a key.
    pub(super) fn key(&self) -> Option<String> {
        let text = self.text()?;
        Some(match (self, text.as_str()) {
            (Scalar::Float(_), "+Inf") => ".inf".into(),
            (Scalar::Float(_), "-Inf") => "-.inf".into(),
            (Scalar::Float(_), "NaN") => ".nan".into(),
            _ => text,
        })
    }
}

fn number(text: &str) -> Option<Scalar> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    // yaml.v2 deletes underscores wherever they stand, before it looks for a number.
    let plain = text.replace('_', "");
    integer(&plain)
        .map(Scalar::Integer)
        .or_else(|| float(&plain).map(Scalar::Float))
}

/// `strconv.ParseInt` and `ParseUint` with base 0, and the binary numbers that yaml.v2 adds.
fn integer(plain: &str) -> Option<i128> {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let prefix = unsigned.get(..2).map(str::to_ascii_lowercase);
    let (base, digits) = match prefix.as_deref() {
        Some("0x") => (16, &unsigned[2..]),
        Some("0o") => (8, &unsigned[2..]),
        // yaml.v2 reads the rest anew, so that it may have a sign of its own.
        Some("0b") if plain.starts_with("0b") => {
            return i64::from_str_radix(&plain[2..], 2).ok().map(i128::from);
        }
        Some("0b") => (2, &unsigned[2..]),
        Some(_) if unsigned.starts_with('0') => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    // Only `ParseUint` reads more than an i64, and it takes no sign.
    let range = i128::from(i64::MIN)..=i128::from(i64::MAX);
    match plain.as_bytes().first()? {
        b'-' => Some(-value).filter(|value| range.contains(value)),
        b'+' => Some(value).filter(|value| range.contains(value)),
        _ => Some(value).filter(|value| *value <= i128::from(u64::MAX)),
    }
}

fn float(plain: &str) -> Option<f64> {
    let of_floats = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    if !plain.bytes().all(of_floats) {
        return None;
    }
    // `ParseFloat` errs where a float overflows, and the string stays one.
    plain.parse().ok().filter(|value: &f64| value.is_finite())
}

/// As `strconv.FormatFloat(value, 'g', -1, 32)` writes it, which sigs.k8s.io/yaml calls.
fn format_float(value: f64) -> String {
    let value = value as f32;
    if !value.is_finite() {
        return match value {
            f32::INFINITY => "+Inf".into(),
            f32::NEG_INFINITY => "-Inf".into(),
            _ => "NaN".into(),
        };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..6 => value.to_string(),
        exponent @ ..0 => format!("{mantissa}e-{:02}", -exponent),
        exponent => format!("{mantissa}e+{exponent:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(text: &str) -> String {
        match Scalar::of_plain(text) {
            Scalar::Null => "(null)".into(),
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Integer(value) => value.to_string(),
            Scalar::Float(value) => format_float(value),
            Scalar::Text(text) => format!("{text:?}"),
        }
    }

    /// Each as helm 3.17.3 and 4.3.1 list it as an appVersion; quoted here where it stays text.
    #[test]
    fn scalars_mean_what_they_mean_to_helm() {
        for (text, meaning) in [
            ("1.10", "1.1"),
            ("yes", "true"),
            ("y", "true"),
            ("off", "false"),
            ("~", "(null)"),
            ("0x10", "16"),
            ("-0x1F", "-31"),
            ("0o17", "15"),
            ("017", "15"),
            ("08", "8"),
            ("00", "0"),
            ("0b11", "3"),
            ("-0b11", "-3"),
            ("0b-1", "-1"),
            ("0b12", "\"0b12\""),
            ("1_000", "1000"),
            ("1_0.5", "10.5"),
            ("12:30", "\"12:30\""),
            ("2021-01-01", "\"2021-01-01\""),
            ("1e3", "1000"),
            ("1e6", "1e+06"),
            ("1E400", "\"1E400\""),
            ("1e-7", "1e-07"),
            ("1.", "1"),
            (".5", "0.5"),
            ("-0", "0"),
            ("-0.0", "-0"),
            ("18446744073709551615", "18446744073709551615"),
            ("99999999999999999999", "1e+20"),
            ("123456789.123", "1.2345679e+08"),
            ("123456.789", "123456.79"),
            ("+.inf", "+Inf"),
            (".nan", "NaN"),
            ("0x", "\"0x\""),
            ("0x1p4", "\"0x1p4\""),
            ("+", "\"+\""),
            (".", "\".\""),
            ("1.2.3", "\"1.2.3\""),
            ("v1", "\"v1\""),
        ] {
            assert_eq!(spelt(text), meaning, "{text}");
        }
        assert_eq!(Scalar::Float(1e100).key().as_deref(), Some(".inf"));
    }
}
