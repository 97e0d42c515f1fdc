//! Representations (RFC 9110): the bytes of a response in each content coding, the validators that
//! name them, and which of them a request selects. Pure: it neither sends nor waits.

mod coding;
mod range;

pub use coding::Coding;
pub use range::{Part, part};

use crate::oci::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

/// Fewest bytes that are sent compressed: a body that fits into one packet with its head arrives no
/// sooner when it's smaller.
const LEAST_COMPRESSED: usize = 1200;

/// The bytes behind one URL, ready to be sent any number of times, in any coding.
#[derive(Debug)]
pub struct Representation {
    identity: Coded,
    /// Made on the first request for it: Helm sends none.
    gzip: OnceLock<Coded>,
}

/// A representation in one coding.
#[derive(Debug)]
pub struct Coded {
    /// The coding.
    pub coding: Coding,
    /// As they are sent. Boxed, because an `Arc` of bare bytes would copy them to get there.
    pub bytes: Arc<Box<[u8]>>,
    /// A strong validator (§8.8.3), quotes included: equal bytes have equal ones on every replica.
    pub etag: String,
}

impl Representation {
    /// Names `bytes` by their sha256.
    pub fn new(bytes: Vec<u8>) -> Representation {
        Representation {
            identity: Coded::new(Coding::Identity, bytes),
            gzip: OnceLock::new(),
        }
    }

    /// The bytes as they are.
    pub fn identity(&self) -> &Coded {
        &self.identity
    }

    /// The bytes for a request with this `Accept-Encoding`. The first request for gzip compresses them;
    /// others wait for that meanwhile, which is sooner than doing it once more.
    pub fn select(&self, accept_encoding: Option<&str>) -> &Coded {
        let worthwhile = self.identity.bytes.len() >= LEAST_COMPRESSED;
        match coding::select(accept_encoding.unwrap_or_default(), worthwhile) {
            Coding::Identity => &self.identity,
            Coding::Gzip => self
                .gzip
                .get_or_init(|| Coded::new(Coding::Gzip, gzip(&self.identity.bytes))),
        }
    }
}

impl Coded {
    fn new(coding: Coding, bytes: Vec<u8>) -> Coded {
        let etag = etag(&Digest::sha256(&bytes));
        Coded {
            coding,
            bytes: Arc::new(bytes.into_boxed_slice()),
            etag,
        }
    }
}

/// Equal on every replica for equal bytes: without a date or a file's name.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let compressed = || -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    compressed().expect("writing into memory can't fail")
}

/// The strong validator of content that a digest names.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether `If-None-Match` (RFC 9110 §13.1.2) names `etag`, by the weak comparison that it
/// prescribes.
pub fn matches(if_none_match: &str, etag: &str) -> bool {
    let listed = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()) == etag;
    if_none_match.trim() == "*" || if_none_match.split(',').any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn equal_bytes_have_equal_validators() {
        let etag = |text: &str| Representation::new(text.into()).identity.etag;
        assert_eq!(etag("a"), etag("a"));
        assert_ne!(etag("a"), etag("b"));
        assert!(etag("a").starts_with("\"sha256:"));
    }

    #[test]
    fn gzip_is_made_once_and_alike_and_has_a_validator_of_its_own() {
        let text = "some charts\n".repeat(LEAST_COMPRESSED);
        let (one, other) = (
            Representation::new(text.clone().into()),
            Representation::new(text.clone().into()),
        );
        let coded = one.select(Some("gzip"));
        assert_eq!(coded.coding, Coding::Gzip);
        assert!(Arc::ptr_eq(&coded.bytes, &one.select(Some("gzip")).bytes));
        assert_eq!(coded.bytes, other.select(Some("gzip")).bytes);
        assert_ne!(coded.etag, one.identity.etag);
        let mut unpacked = String::new();
        GzDecoder::new(&coded.bytes[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, text);
        // RFC 1952 §2.3.1: no flags, no time, no system.
        assert_eq!(coded.bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn small_bodies_are_not_compressed_unless_identity_is_refused() {
        let small = Representation::new(vec![b'a'; LEAST_COMPRESSED - 1]);
        assert_eq!(small.select(Some("gzip")).coding, Coding::Identity);
        assert_eq!(
            small.select(Some("gzip, identity;q=0")).coding,
            Coding::Gzip
        );
        assert_eq!(small.select(None).coding, Coding::Identity);
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
