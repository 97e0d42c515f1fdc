//! Bytes as they are sent, with the validator that names them (RFC 9110 §8.8.3). Pure.

use crate::oci::Digest;
use std::sync::Arc;

/// What one URL answers, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Representation {
    /// The bytes.
    pub identity: Arc<[u8]>,
    /// A strong validator, quotes included: equal bytes have equal ones on every replica.
    pub etag: Arc<str>,
}

impl Representation {
    /// Names `bytes` by their sha256.
    pub fn new(bytes: Vec<u8>) -> Representation {
        let etag = etag(&Digest::sha256(&bytes));
        Representation { identity: bytes.into(), etag: etag.into() }
    }
}

/// The strong validator of content that a digest names.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether `If-None-Match` (RFC 9110 §13.1.2) names `etag`: weakly compared, as it's laid down
/// there.
pub fn matches(if_none_match: &str, etag: &str) -> bool {
    let listed = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()) == etag;
    if_none_match.trim() == "*" || if_none_match.split(',').any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_equal_validators() {
        let etag = |text: &str| Representation::new(text.into()).etag;
        assert_eq!(etag("a"), etag("a"));
        assert_ne!(etag("a"), etag("b"));
        assert!(etag("a").starts_with("\"sha256:"));
    }

    #[test]
    fn if_none_match_is_a_list_or_a_star() {
        for good in ["\"a\"", "W/\"a\"", " \"b\" , \"a\"", "*"] {
            assert!(matches(good, "\"a\""), "{good}");
        }
        for bad in ["", "a", "\"b\"", "\"aa\"", "W/a"] {
            assert!(!matches(bad, "\"a\""), "{bad}");
        }
    }
}
