//! A response of a registry or its token server, whose body is read within bounds of size and time.
//! No error made of it repeats the credentials that were sent.

use super::error;
use super::timeouts::{BODY, ERROR_BODY, STALL};
use crate::pacing::Pace;
use crate::storage::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, HeaderMap, LOCATION};
use ureq::http::{Response, Uri};

/// Least pace of a body, in bytes per second, after [`STALL`]: one that drips more slowly only holds a
/// connection on either side.
const LEAST_PACE: u64 = 1024;
/// Most of an error's body that is read, in bytes: enough for the spec's list of errors.
const MAX_ERROR_BODY: u64 = 8 * 1024;
/// Longest pause that a registry's `Retry-After` gets: a date far in the future must not stop all
/// requests for ever, and one request each quarter of an hour does no harm.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// For a registry that is asked in plain HTTP and redirects to HTTPS.
pub(crate) const UPGRADE_ADVICE: &str = "the registry redirects to HTTPS, where credentials don't follow: set \
                                         --storage-registry-scheme=HTTPS";

/// The head of a response, its body still to be read.
pub(crate) struct UpstreamResponse {
    pub(super) what: String,
    pub(super) url: Uri,
    pub(super) response: Response<Body>,
    /// The `Authorization` that was sent, which no message may repeat.
    pub(super) authorization: Option<String>,
    /// Whether a blob was asked for, which may lie in a storage behind the registry.
    pub(super) is_blob: bool,
    /// The redirect that has led to another origin, if one has. What that says may be meant for this network
    /// alone, so only the log tells of it.
    pub(super) away: Option<Away>,
}

/// A redirect to another origin.
pub(super) struct Away {
    /// Method and URL of the request that was redirected.
    pub(super) request: String,
    /// Whether it has led from HTTP to HTTPS of the same host.
    pub(super) is_upgrade: bool,
}

impl UpstreamResponse {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Method and URL, for a message.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Where the response came from, after redirects.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Whether it is the part of a body that begins with the byte at `start` (RFC 9110 §14.4).
    pub(crate) fn begins_at(&self, start: u64) -> bool {
        let range = self.headers().get("content-range");
        let range = range.and_then(|range| range.to_str().ok());
        let start = format!("bytes {start}-");
        self.status() == 206 && range.is_some_and(|range| range.starts_with(&start))
    }

    fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header's values; bytes that aren't text are replaced.
    pub(crate) fn texts(&self, name: &'static str) -> Vec<String> {
        let values = self.headers().get_all(name).iter();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        values.map(|value| text(value.as_bytes())).collect()
    }

    /// `Location`, when the status asks to go there.
    pub(super) fn redirect(&self) -> Option<String> {
        let moved = matches!(self.status(), 301 | 302 | 303 | 307 | 308);
        let location = self.headers().get(LOCATION).filter(|_| moved)?;
        location.to_str().ok().map(str::to_owned)
    }

    /// When `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date, allows the next request.
    fn retry_at(&self) -> Option<Instant> {
        let text = self.texts("retry-after").into_iter().next()?;
        let pause = match (text.trim().parse(), httpdate::parse_http_date(text.trim())) {
            (Ok(seconds), _) => Duration::from_secs(seconds),
            (_, date) => date.ok()?.duration_since(SystemTime::now()).ok()?,
        };
        Some(Instant::now() + pause.min(MAX_RETRY_AFTER))
    }

    /// The error that this response is.
    pub(super) fn into_error(mut self) -> Error {
        let sent = self.authorization.take();
        let is_blob = self.is_blob;
        if let Some(Away {
            request,
            is_upgrade,
        }) = self.away.take()
        {
            let place = self.what.clone();
            return self.error(|_, status, _| {
                let to = if is_upgrade { "HTTPS" } else { "another host" };
                let what = format!("{request}: redirected to {to}");
                let error = error::status(&what, status, b"", |_| false);
                let error = error.with_detail(format_args!(" ({place})"));
                match is_upgrade && matches!(status, 401 | 403 | 404) {
                    true => error.advise(UPGRADE_ADVICE),
                    false => error,
                }
            });
        }
        self.error(|what, status, body| match status {
            // Of an ingress, which answers so for every path while the registry restarts.
            404 if !is_blob && error::is_foreign(body) => {
                Error::new(ErrorKind::Unavailable, format!("{what}: 404"))
                    .with_status(404)
                    .with_detail(" with a body that is not the registry's")
            }
            _ => error::status(what, status, body, |words| {
                sent.as_ref().is_none_or(|sent| !repeats(words, sent))
            }),
        })
    }

    /// The error that this response of a token server is. Nothing of it is quoted, because it may repeat
    /// any secret, and its 404 says nothing about what the registry holds.
    pub(super) fn into_token_error(self) -> Error {
        self.error(|what, status, body| {
            let error = error::status(what, status, body, |_| false);
            match status {
                404 => Error::new(ErrorKind::Refused, error.what()).with_status(404),
                _ => error,
            }
        })
    }

    fn error(self, make: impl Fn(&str, u16, &[u8]) -> Error) -> Error {
        let (what, status, retry_at) = (self.what.clone(), self.status(), self.retry_at());
        let source = self.response.into_body().into_reader();
        let body = collect(source, MAX_ERROR_BODY, ERROR_BODY).unwrap_or_default();
        make(&what, status, &body).with_retry_at(retry_at)
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) fn read(self, limit: u64) -> Result<Vec<u8>> {
        let what = self.what.clone();
        let bytes = collect(self.into_reader(u64::MAX), limit + 1, BODY);
        let bytes = bytes.map_err(|cause| error::body(&what, cause))?;
        if bytes.len() as u64 > limit {
            let why = format!("the response is over {limit} bytes");
            return Err(error::protocol(&what, why));
        }
        Ok(bytes)
    }

    /// The body as it arrives, if it arrives at a reasonable pace. A body without a declared length ends
    /// after `size` bytes, because the trailers behind it may take any time.
    pub(crate) fn into_reader(self, size: u64) -> impl Read + Send + use<> {
        let most = match self.headers().contains_key(CONTENT_LENGTH) {
            true => u64::MAX,
            false => size,
        };
        let body = self.response.into_body().into_with_config();
        Paced {
            source: body.limit(u64::MAX).reader().take(most),
            pace: Pace::default(),
        }
    }
}

/// Whether a text repeats a secret of an `Authorization`: its token, or the password in it, as it is or
/// encoded.
pub(super) fn repeats(text: &str, authorization: &str) -> bool {
    let secret = authorization.split_once(' ');
    let secret = secret.map_or(authorization, |(_, secret)| secret);
    let decoded = String::from_utf8(STANDARD.decode(secret).unwrap_or_default());
    let decoded = decoded.unwrap_or_default();
    let password = decoded.split_once(':').map_or("", |(_, password)| password);
    let texts = [text, &*percent_decoded(text)].map(str::to_ascii_lowercase);
    let encodings = [secret, password].into_iter().flat_map(encodings);
    let mut encodings = encodings.map(|encoded| encoded.to_ascii_lowercase());
    encodings.any(|one| !one.is_empty() && texts.iter().any(|text| text.contains(&one)))
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(code.unwrap_or(b'%'));
        decoded.extend_from_slice(&part.as_bytes()[code.map_or(0, |_| 2)..]);
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A secret as an error text may hold it: as it is, in hex, or in base64, also of a longer text that it is a
/// part of.
fn encodings(secret: &str) -> Vec<String> {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let in_base64 = |before: usize| {
        let all = [&vec![0; before], secret.as_bytes()].concat();
        // Characters that depend on what stands before or behind say nothing.
        let (start, end) = ((before * 8).div_ceil(6), all.len() * 8 / 6);
        let encoded = STANDARD.encode(&all);
        encoded.get(start..end).unwrap_or_default().to_owned()
    };
    // A few characters of base64 stand in any text.
    let in_base64 = (0..3).map(in_base64).filter(|encoded| encoded.len() >= 4);
    let in_base64: Vec<String> = in_base64.collect();
    let for_urls = in_base64
        .iter()
        .map(|one| one.replace('+', "-").replace('/', "_"));
    let plain = [secret.to_owned(), hex];
    plain
        .into_iter()
        .chain(for_urls)
        .chain(in_base64.clone())
        .collect()
}

/// Reads to the end, or to `limit` bytes, for `longest` and one more read at most.
fn collect(source: impl Read, limit: u64, longest: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + longest;
    let mut source = source.take(limit);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let count = source.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..count]);
        if count == 0 {
            return Ok(bytes);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
        }
    }
}

/// A body that fails when it drips. Only the time spent waiting for it counts, not the reader's own.
struct Paced<R> {
    source: R,
    pace: Pace,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let count = self.source.read(buffer)?;
        self.pace.note(count, began.elapsed());
        if count > 0 && self.pace.is_below(LEAST_PACE, STALL) {
            let text = "the registry sends too slowly";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_repeats_a_password_or_a_token_is_recognized() {
        let ours = format!("Basic {}", STANDARD.encode("reader:s3cret:x"));
        for text in [
            "denied: s3cret:x",
            &*format!("bad header {ours}"),
            &ours[6..],
        ] {
            assert!(repeats(text, &ours), "{text}");
        }
        for text in [
            format!("of {}", STANDARD.encode("s3cret:x")),
            format!("of {}", STANDARD.encode("reader=s3cret:x;")),
            format!("of {}", STANDARD.encode("user=s3cret:x")),
            "s3cret%3Ax".to_owned(),
            "s3cret%3ax".to_owned(),
            "%73%33%63%72%65%74%3A%78".to_owned(),
            "7333637265743A78".to_owned(),
        ] {
            assert!(repeats(&text, &ours), "{text}");
        }
        assert!(repeats("token abc.def is over", "Bearer abc.def"));
        let empty = format!("Basic {}", STANDARD.encode("reader:"));
        assert!(!repeats("reader is denied", &ours) && !repeats("denied", &empty));
    }
}
