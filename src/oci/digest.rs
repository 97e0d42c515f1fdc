//! Digests, and the reader that verifies content against one. Content that has passed through
//! [`Verifying`] to its end is exactly the content of the digest. Lengths and hashes are counted here,
//! never taken from the sender.

use ring::digest::{Context, SHA256, SHA512, digest};
use serde::Deserialize;
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// A digest of a registered algorithm: `sha256:` and 64, or `sha512:` and 128 lower-case hex
/// digits (image-spec v1.1.0, descriptor.md "Registered algorithms"). Digests of other algorithms can't
/// be verified here, so they are refused. Kept as bytes, because a snapshot holds thousands of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(Hash);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Hash {
    Sha256([u8; 32]),
    Sha512(Box<[u8; 64]>),
}

impl Digest {
    /// The sha256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest::of(digest(&SHA256, bytes))
    }

    /// The algorithm, and the hex digits.
    pub fn parts(&self) -> (&'static str, String) {
        match &self.0 {
            Hash::Sha256(bytes) => ("sha256", hex(bytes)),
            Hash::Sha512(bytes) => ("sha512", hex(&**bytes)),
        }
    }

    /// The hex digits of a sha256, the value of `digest` in a Helm index; `None` for a sha512.
    pub fn sha256_hex(&self) -> Option<String> {
        matches!(self.0, Hash::Sha256(_)).then(|| self.parts().1)
    }

    /// Whether this is the digest of `bytes`.
    pub fn names(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        Digest::of(hasher.finish()) == *self
    }

    /// The digest that one of our two algorithms has come to. Its length tells which.
    fn of(hash: ring::digest::Digest) -> Digest {
        Digest(match hash.as_ref().try_into() {
            Ok(bytes) => Hash::Sha256(bytes),
            Err(_) => {
                let mut bytes = Box::new([0; 64]);
                bytes.copy_from_slice(hash.as_ref());
                Hash::Sha512(bytes)
            }
        })
    }

    /// What hashes by the algorithm of this digest.
    fn hasher(&self) -> Context {
        Context::new(match self.0 {
            Hash::Sha256(_) => &SHA256,
            Hash::Sha512(_) => &SHA512,
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (algorithm, hex) = self.parts();
        write!(f, "{algorithm}:{hex}")
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Digest, &'static str> {
        let hash = match text.split_once(':') {
            Some(("sha256", hex)) => bytes(hex).map(Hash::Sha256),
            Some(("sha512", hex)) => bytes(hex).map(|bytes| Hash::Sha512(Box::new(bytes))),
            _ => None,
        };
        hash.map(Digest).ok_or("not a sha256 or sha512 digest")
    }
}

/// Decodes `N` bytes from exactly `2 * N` lower-case hex digits.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = hex.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect();
    bytes?.try_into().ok()
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digest, &'static str> {
        text.parse()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(DIGITS[usize::from(nibble)].into());
    }
    text
}

/// Counts and hashes a blob while it is read. The last bytes are returned only after length and digest
/// have been verified, so a consumer never receives a complete blob that does not match.
///
/// Errors: `UnexpectedEof` when the source ends early, `InvalidData` when the digest does not match.
/// Bytes beyond the expected length are never returned.
pub struct Verifying<R> {
    source: R,
    digest: Digest,
    hasher: Context,
    size: u64,
    remaining: u64,
    verified: bool,
}

impl<R: Read> Verifying<R> {
    /// Expects exactly `size` bytes of `digest` from `source`.
    pub fn new(source: R, digest: &Digest, size: u64) -> Verifying<R> {
        Verifying {
            source,
            digest: digest.clone(),
            hasher: digest.hasher(),
            size,
            remaining: size,
            verified: false,
        }
    }

    fn verify(&mut self) -> io::Result<()> {
        let actual = Digest::of(self.hasher.clone().finish());
        if actual != self.digest {
            let text = format!("{} turned out to hash to {}", self.digest, actual.parts().1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.verified = true;
        Ok(())
    }
}

/// Counts and hashes what passes, to find out what it is.
pub struct Hashing<R> {
    source: R,
    hasher: Context,
    size: u64,
}

impl<R> Hashing<R> {
    /// Nothing has passed yet.
    pub fn new(source: R) -> Hashing<R> {
        Hashing {
            source,
            hasher: Context::new(&SHA256),
            size: 0,
        }
    }

    /// The sha256 digest and the length of all that has passed.
    pub fn finish(self) -> (Digest, u64) {
        (Digest::of(self.hasher.finish()), self.size)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.source.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.source.flush()
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.verified {
            // The HTTP client reuses a connection only after a read has returned the end of the body.
            let _ = self.source.read(&mut [0]);
            return Ok(0);
        }
        if buffer.is_empty() && self.remaining > 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = match most {
            0 => 0,
            _ => self.source.read(&mut buffer[..most])?,
        };
        if count == 0 && self.remaining > 0 {
            let got = self.size - self.remaining;
            let text = format!("{} ended after {got} of {} bytes", self.digest, self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.hasher.update(&buffer[..count]);
        self.remaining -= count as u64;
        if self.remaining == 0 {
            self.verify()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn read_all(source: &[u8], digest: &str, size: u64) -> (Vec<u8>, io::Result<()>) {
        let mut reader = Verifying::new(source, &digest.parse().unwrap(), size);
        let (mut got, mut buffer) = (Vec::new(), [0; 2]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (got, Ok(())),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) => return (got, Err(error)),
            }
        }
    }

    #[test]
    fn a_digest_is_lower_case_hex_of_a_registered_algorithm() {
        assert!(HELLO.parse::<Digest>().is_ok());
        assert!(
            format!("sha512:{}", "0".repeat(128))
                .parse::<Digest>()
                .is_ok()
        );
        for bad in [
            "",
            "sha256:",
            &HELLO.to_uppercase(),
            &HELLO[..70],
            "sha256:../../../../../../../../../../../../../../../../../etc/passwd000",
            &format!("sha512:{}", "0".repeat(64)),
            &format!("blake3:{}", "0".repeat(64)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_that_match_are_returned_whole() {
        let (got, end) = read_all(b"hello", HELLO, 5);
        assert!(end.is_ok());
        assert_eq!(got, b"hello");
    }

    #[test]
    fn bytes_beyond_the_expected_length_are_not_returned() {
        let (got, end) = read_all(b"hello, and more", HELLO, 5);
        assert!(end.is_ok());
        assert_eq!(got, b"hello");
    }

    #[test]
    fn bytes_that_do_not_match_are_never_returned_completely() {
        let (got, end) = read_all(b"hellO", HELLO, 5);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(got.len() < 5);
    }

    #[test]
    fn a_short_blob_is_an_error() {
        let (_, end) = read_all(b"hell", HELLO, 5);
        let error = end.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            format!("{HELLO} ended after 4 of 5 bytes")
        );
    }

    #[test]
    fn an_empty_blob_is_verified_too() {
        let empty = Digest::sha256(b"");
        assert!(read_all(b"", &empty.to_string(), 0).1.is_ok());
        assert!(read_all(b"", HELLO, 0).1.is_err());
    }
}
