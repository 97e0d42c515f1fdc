//! Representations (RFC 9110): the bytes of a response in each content coding, the validators that
//! name them, and which of them a request selects. Pure: it neither sends nor waits.

mod coding;
mod range;

pub use coding::Coding;
pub use range::{Part, part};

use crate::budget::{WHOLE, make_room};
use crate::oci::{Digest, Hashing};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

/// Fewest bytes that are sent compressed: a body that fits into one packet with its head arrives no
/// sooner when it's smaller.
const LEAST_COMPRESSED: usize = 1200;

/// The bytes behind one URL, ready to be sent any number of times, in any coding.
pub struct Representation {
    identity: Coded,
    /// Made on the first request for it: Helm sends none. `None` if it isn't worth its memory.
    gzip: OnceLock<Option<Coded>>,
}

/// A representation in one coding.
pub struct Coded {
    /// The coding.
    pub coding: Coding,
    /// What is sent.
    pub content: Content,
    /// How many bytes that is.
    pub length: usize,
    /// A strong validator (§8.8.3), quotes included: equal bytes have equal ones on every replica.
    pub etag: String,
}

/// Where the bytes come from.
#[derive(Clone)]
pub enum Content {
    /// They are in memory. Boxed, because an `Arc` of bare bytes would copy them to get there.
    Whole(Arc<Box<[u8]>>),
    /// They are made each time they are sent, because they would take too much memory.
    Made(Arc<Render>),
    /// They are in memory, but for a few that differ by the request: each byte that is the place of one of the
    /// texts in `gaps` stands for it.
    Filled(Arc<Box<[u8]>>, Arc<[String; GAPS]>),
}

/// How many texts of a page may differ by the request, at most.
pub const GAPS: usize = 2;

/// Writes the same bytes each time. Errors are those of the writer alone.
pub type Render = dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync;

impl Representation {
    /// Names `bytes` by their sha256.
    pub fn new(bytes: Vec<u8>) -> Representation {
        Representation::of(Coded {
            coding: Coding::Identity,
            length: bytes.len(),
            etag: etag(&Digest::sha256(&bytes)),
            content: Content::Whole(Arc::new(bytes.into())),
        })
    }

    /// Names what `render` writes by its sha256. It is kept if it has at most `most` bytes, and made anew
    /// for each response otherwise.
    pub fn rendered(most: usize, render: Arc<Render>) -> Representation {
        let mut kept = Kept {
            bytes: Some(Vec::new()),
            most,
        };
        let mut hashing = Hashing::new(&mut kept);
        render(&mut hashing).expect("writing into memory can't fail");
        let (digest, length) = hashing.finish();
        Representation::of(Coded {
            coding: Coding::Identity,
            // What is sent is counted in `usize`, and so was what was written.
            length: length as usize,
            etag: etag(&digest),
            content: match kept.bytes {
                Some(bytes) => Content::Whole(Arc::new(bytes.into())),
                None => Content::Made(render),
            },
        })
    }

    fn of(identity: Coded) -> Representation {
        Representation {
            identity,
            gzip: OnceLock::new(),
        }
    }

    /// The bytes as they are.
    pub fn identity(&self) -> &Coded {
        &self.identity
    }

    /// How many bytes of memory it takes at most, in all its codings.
    pub fn weight(&self) -> usize {
        let whole = match &self.identity.content {
            Content::Whole(bytes) | Content::Filled(bytes, _) => bytes.len(),
            Content::Made(_) => 0,
        };
        whole + self.most_compressed()
    }

    /// Most bytes of its compressed form: what saves less than half is not worth its memory.
    fn most_compressed(&self) -> usize {
        (self.identity.length / 2).min(WHOLE)
    }

    /// The bytes for a request with this `Accept-Encoding`. The first request for gzip compresses them, if
    /// `turn` gives it its turn; others wait for that meanwhile, which is sooner than doing it once more.
    /// Without a turn, or if the compressed form is too large, they are sent as they are.
    pub fn select<P>(
        &self,
        accept_encoding: Option<&str>,
        turn: impl FnOnce() -> Option<P>,
    ) -> &Coded {
        let worthwhile = self.identity.length >= LEAST_COMPRESSED;
        let coding = coding::select(accept_encoding.unwrap_or_default(), worthwhile);
        if coding == Coding::Identity {
            return &self.identity;
        }
        let gzip = match self.gzip.get() {
            Some(made) => made,
            None => match turn() {
                Some(_turn) => self.gzip.get_or_init(|| self.compressed()),
                None => return &self.identity,
            },
        };
        gzip.as_ref().unwrap_or(&self.identity)
    }

    /// Equal on every replica for equal bytes: without a date or a file's name.
    fn compressed(&self) -> Option<Coded> {
        let most = self.most_compressed().max(LEAST_COMPRESSED);
        let kept = Kept {
            bytes: Some(Vec::new()),
            most,
        };
        let mut encoder = GzEncoder::new(kept, Compression::default());
        self.identity.content.write(&mut encoder).ok()?;
        let bytes = encoder.finish().ok()?.bytes?;
        Some(Coded {
            coding: Coding::Gzip,
            length: bytes.len(),
            etag: etag(&Digest::sha256(&bytes)),
            content: Content::Whole(Arc::new(bytes.into())),
        })
    }
}

impl Coded {
    /// All that is sent. A response writes it piece by piece instead.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        let written = self.content.write(&mut all);
        written.expect("writing into memory can't fail");
        all
    }
}

impl Content {
    /// Writes all of it; errors as `out` does.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Content::Whole(bytes) => out.write_all(bytes),
            Content::Made(render) => render(out),
            Content::Filled(bytes, gaps) => {
                pieces(bytes, gaps).try_for_each(|one| out.write_all(one))
            }
        }
    }
}

/// What a page with gaps consists of.
pub fn pieces<'a>(bytes: &'a [u8], gaps: &'a [String; GAPS]) -> impl Iterator<Item = &'a [u8]> {
    let is_gap = |byte: &u8| usize::from(*byte) < GAPS;
    bytes.split_inclusive(is_gap).flat_map(move |piece| {
        let (last, before) = piece.split_last().unwrap_or((&u8::MAX, &[]));
        match gaps.get(usize::from(*last)) {
            Some(text) => [before, text.as_bytes()],
            None => [piece, &[]],
        }
    })
}

impl Coded {
    /// The same with its gaps filled. Its validator is of what fills them, too: bytes are hashed once for a
    /// page, and not once for each request.
    pub fn filled(&self, gaps: [String; GAPS]) -> Coded {
        let bytes = match &self.content {
            Content::Whole(bytes) | Content::Filled(bytes, _) => bytes.clone(),
            // Only what is kept has gaps.
            Content::Made(_) => Arc::default(),
        };
        let named = [&self.etag, &*gaps.join("\0")].concat();
        Coded {
            coding: Coding::Identity,
            length: pieces(&bytes, &gaps).map(<[u8]>::len).sum(),
            etag: etag(&Digest::sha256(named.as_bytes())),
            content: Content::Filled(bytes, Arc::new(gaps)),
        }
    }
}

/// Keeps what is written, if it isn't more than so many bytes.
struct Kept {
    bytes: Option<Vec<u8>>,
    most: usize,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.most;
        self.bytes.take_if(|kept| kept.len() + bytes.len() > most);
        if let Some(kept) = &mut self.bytes {
            let length = kept.len() + bytes.len();
            make_room(kept, length);
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    fn select<'a>(of: &'a Representation, asks: &str) -> &'a Coded {
        of.select(Some(asks), || Some(()))
    }

    fn whole(coded: &Coded) -> &Arc<Box<[u8]>> {
        match &coded.content {
            Content::Whole(bytes) => bytes,
            _ => panic!("it isn't kept"),
        }
    }

    #[test]
    fn gzip_is_made_once_and_alike_and_has_a_validator_of_its_own() {
        let text = "some charts\n".repeat(LEAST_COMPRESSED);
        let (one, other) = (
            Representation::new(text.clone().into()),
            Representation::new(text.clone().into()),
        );
        let coded = select(&one, "gzip");
        assert_eq!(coded.coding, Coding::Gzip);
        let bytes = whole(coded);
        assert!(Arc::ptr_eq(bytes, whole(select(&one, "gzip"))));
        assert_eq!(bytes, whole(select(&other, "gzip")));
        assert_ne!(coded.etag, one.identity.etag);
        let mut unpacked = String::new();
        GzDecoder::new(&bytes[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, text);
        // RFC 1952 §2.3.1: no flags, no time, no system.
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn a_compressed_form_that_saves_little_or_has_no_turn_is_not_made() {
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        let noise: Vec<u8> = (0..10_000).map(|_| noise()).collect();
        let noise = Representation::new(noise);
        assert_eq!(select(&noise, "gzip").coding, Coding::Identity);
        let plain = Representation::new(vec![b'a'; 10_000]);
        let without = plain.select(Some("gzip"), || None::<()>);
        assert_eq!(without.coding, Coding::Identity);
        assert_eq!(select(&plain, "gzip").coding, Coding::Gzip);
        assert_eq!(plain.weight(), 15_000);
    }

    #[test]
    fn what_is_too_large_is_made_each_time_and_has_the_validator_of_the_whole() {
        let render = |out: &mut dyn Write| (0..100).try_for_each(|_| out.write_all(b"charts"));
        let of = |most| Representation::rendered(most, Arc::new(render));
        let (kept, made) = (of(600), of(599));
        assert_eq!(whole(kept.identity()).len(), 600);
        let coded = made.identity();
        assert!(matches!(coded.content, Content::Made(_)));
        assert_eq!((coded.length, &coded.etag), (600, &kept.identity().etag));
        assert_eq!(coded.to_vec(), kept.identity().to_vec());
        let gzip = select(&made, "gzip, identity;q=0");
        assert_eq!(gzip.coding, Coding::Gzip);
    }

    #[test]
    fn small_bodies_are_not_compressed_unless_identity_is_refused() {
        let small = Representation::new(vec![b'a'; LEAST_COMPRESSED - 1]);
        let coding = |asks| select(&small, asks).coding;
        assert_eq!(coding("gzip"), Coding::Identity);
        assert_eq!(coding("gzip, identity;q=0"), Coding::Gzip);
        assert_eq!(coding(""), Coding::Identity);
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
