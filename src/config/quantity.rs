//! Times and sizes, as they're typed.

use std::time::Duration;

/// One number, and one unit or none.
fn quantity(text: &str) -> Option<(u64, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    Some((number.parse().ok()?, unit))
}

/// `300ms`, `10s`, `5m`, `1h`, as Go writes them.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    match quantity(text) {
        Some((number, "ms")) => Ok(Duration::from_millis(number)),
        Some((number, "s")) => Ok(Duration::from_secs(number)),
        Some((number, "m")) => Ok(Duration::from_secs(number.saturating_mul(60))),
        Some((number, "h")) => Ok(Duration::from_secs(number.saturating_mul(3600))),
        Some((0, "")) => Ok(Duration::ZERO),
        _ => Err("not a duration such as 300ms, 10s or 5m"),
    }
}

/// A time as it would be typed.
pub(super) fn typed(time: Duration) -> String {
    match time.as_secs() {
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// `32MiB`, `10MB`, `4096`.
pub(super) fn size(text: &str) -> Result<usize, &'static str> {
    let bytes = quantity(text).and_then(|(number, unit)| {
        let unit = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        usize::try_from(number).ok()?.checked_mul(unit)
    });
    bytes.ok_or("not a size: a number and its unit, such as 32MiB or 10MB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "10", "s", "-1s", "1.5s", "1d", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_told_as_it_would_be_typed() {
        for text in ["24h", "90m", "1m", "61s"] {
            assert_eq!(duration(text).map(typed), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_size_is_a_number_with_or_without_a_unit() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("500KiB", 512_000),
            ("32MiB", 32 << 20),
            ("1GiB", 1 << 30),
            ("10MB", 10_000_000),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "32 MiB",
            "32mib",
            "32M",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
