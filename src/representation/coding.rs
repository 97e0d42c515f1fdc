//! Chooses the content coding of a response by `Accept-Encoding` (RFC 9110 §12.5.3). Pure.

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Identity,
    /// Compressed (RFC 1952).
    Gzip,
}

/// The weights in an `Accept-Encoding`, in thousandths: 0 is "no", none is "not named".
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    identity: Option<u16>,
    /// `*`: all codings that aren't named.
    other: Option<u16>,
}

/// The coding to respond with; `worthwhile` says whether compression gains anything. A client that
/// refuses both gets the bytes as they are: that helps more than a 406, and §12.1 allows it.
pub(super) fn select(accept_encoding: &str, worthwhile: bool) -> Coding {
    let weights = Weights::read(accept_encoding);
    let gzip = weights.gzip.or(weights.other).unwrap_or(0);
    let identity = weights
        .identity
        .or(weights.other.filter(|weight| *weight == 0));
    let asked = gzip > 0 && identity.is_none_or(|identity| identity <= gzip);
    if asked && (worthwhile || identity == Some(0)) {
        Coding::Gzip
    } else {
        Coding::Identity
    }
}

impl Weights {
    /// Members that can't be read are ignored.
    fn read(accept_encoding: &str) -> Weights {
        let mut weights = Weights::default();
        for member in accept_encoding.split(',') {
            let (name, weight) = member.split_once(';').unwrap_or((member, "q=1"));
            let Some(weight) = thousandths(weight.trim()) else {
                continue;
            };
            match name.trim() {
                "*" => weights.other = Some(weight),
                name if name.eq_ignore_ascii_case("gzip") => weights.gzip = Some(weight),
                name if name.eq_ignore_ascii_case("x-gzip") => weights.gzip = Some(weight),
                name if name.eq_ignore_ascii_case("identity") => weights.identity = Some(weight),
                _ => {}
            }
        }
        weights
    }
}

/// `q=0.5` (§12.4.2): one digit, and up to three behind the point.
fn thousandths(weight: &str) -> Option<u16> {
    let value = weight.strip_prefix("q=").or(weight.strip_prefix("Q="))?;
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match (whole, format!("{rest:0<3}").parse()) {
        ("0", Ok(thousandths)) => Some(thousandths),
        ("1", Ok(0)) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_on_request() {
        for asks in [
            "gzip",
            "GZip",
            "x-gzip",
            "br, gzip, deflate",
            "gzip;q=0.001",
            "gzip ; q=1.000",
            "gzip;Q=0.5",
            "*",
            "br, *;q=0.1",
            "identity;q=0.5, gzip;q=0.5",
            "identity;q=0, gzip;q=0.1",
            ",,gzip,",
        ] {
            assert_eq!(select(asks, true), Coding::Gzip, "{asks}");
        }
    }

    #[test]
    fn gzip_is_not_sent_without_a_request() {
        for asks in [
            "",
            "identity",
            "br, deflate",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, *",
            "*;q=0",
            "identity, gzip;q=0.9",
            "gzipped",
            "gzip;q=2",
            "gzip;q=1.5",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;level=9",
            "identity;q=0",
        ] {
            assert_eq!(select(asks, true), Coding::Identity, "{asks}");
        }
    }

    #[test]
    fn small_bodies_are_compressed_only_for_a_client_that_refuses_identity() {
        assert_eq!(select("gzip", false), Coding::Identity);
        for refuses in ["gzip, identity;q=0", "gzip, *;q=0", "*, identity;q=0"] {
            assert_eq!(select(refuses, false), Coding::Gzip, "{refuses}");
        }
    }
}
