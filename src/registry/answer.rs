//! An answer of a registry or its token server, whose body is read within bounds of size and time.

use super::transport::STALL;
use super::{error, token};
use crate::storage::Error;
use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, HeaderMap, LOCATION};
use ureq::http::{Response, Uri};

/// Longest time to read a manifest, config or listing whole.
pub(super) const WHOLE_BODY: Duration = Duration::from_secs(120);
/// Longest time for a blob that is passed on: as long as a client may take for it.
pub(super) const WHOLE_BLOB: Duration = Duration::from_secs(30 * 60);
/// Longest time for the body of an error, which is only told, not used.
const ERROR_BODY: Duration = Duration::from_secs(5);
/// Least pace of a blob that is passed on, in bytes per second, after [`STALL`]: what drips more
/// slowly only holds a connection on either side.
const PACE: u64 = 1024;
/// Most of an error's body that is read, in bytes: enough for the spec's list of errors.
const MAX_ERROR_BODY: u64 = 8 * 1024;

/// The head of an answer, its body still to be read.
pub(super) struct Answer {
    what: String,
    url: Uri,
    response: Response<Body>,
    /// What the request said of who we are, which no message may repeat.
    authorization: Option<String>,
}

impl Answer {
    /// `what` is the method and the URL, for messages; `authorization` is what was sent with them.
    pub(super) fn new(
        what: String,
        url: Uri,
        response: Response<Body>,
        authorization: Option<&str>,
    ) -> Answer {
        Answer {
            what,
            url,
            response,
            authorization: authorization.map(str::to_owned),
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Method and URL, for a message.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// Where the answer came from, after redirects.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header's values, what isn't text in them replaced.
    pub(super) fn texts(&self, name: &'static str) -> Vec<String> {
        let values = self.headers().get_all(name).iter();
        values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }

    /// `Location`, when the status asks to go there.
    pub(super) fn redirect(&self) -> Option<String> {
        let moved = matches!(self.status(), 301 | 302 | 303 | 307 | 308);
        let location = self.headers().get(LOCATION).filter(|_| moved)?;
        location.to_str().ok().map(str::to_owned)
    }

    /// `Retry-After` (RFC 9110 §10.2.3) in seconds, or until a date.
    fn retry_after(&self) -> Option<Duration> {
        let text = self.texts("retry-after").into_iter().next()?;
        match text.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => httpdate::parse_http_date(text.trim())
                .ok()?
                .duration_since(SystemTime::now())
                .ok(),
        }
    }

    /// The error that this answer is.
    pub(super) fn into_error(mut self) -> Error {
        let said = self.authorization.take();
        self.told_by(|what, status, retry_after, body| {
            error::status(what, status, retry_after, body, |text| {
                said.as_ref().is_some_and(|said| token::repeats(text, said))
            })
        })
    }

    /// The error that this answer of a token server is.
    pub(super) fn into_token_error(self) -> Error {
        self.told_by(error::token_status)
    }

    fn told_by(self, tell: impl Fn(&str, u16, Option<Duration>, &[u8]) -> Error) -> Error {
        let (what, status, retry_after) = (self.what.clone(), self.status(), self.retry_after());
        let body = collect(
            self.response.into_body().into_reader(),
            MAX_ERROR_BODY,
            ERROR_BODY,
        );
        tell(&what, status, retry_after, &body.unwrap_or_default())
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) fn read(self, limit: u64) -> Result<Vec<u8>, Error> {
        let what = self.what.clone();
        let bytes = collect(self.into_reader(u64::MAX), limit + 1, WHOLE_BODY);
        let bytes = bytes.map_err(|cause| error::body(&what, cause))?;
        if bytes.len() as u64 > limit {
            return Err(error::protocol(
                &what,
                format!("the answer is over {limit} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// The body as it arrives, if it arrives at a reasonable pace. Who expects `size` bytes of one whose
    /// length isn't told doesn't wait for more: trailers may come for as long as someone likes.
    pub(super) fn into_reader(self, size: u64) -> impl Read + Send + use<> {
        let most = if self.headers().contains_key(CONTENT_LENGTH) {
            u64::MAX
        } else {
            size
        };
        let source = self
            .response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        Paced {
            source: source.take(most),
            waited: Duration::ZERO,
            count: 0,
        }
    }
}

/// Reads to the end, or to `limit` bytes. No single byte gives it more time than `longest`, and one
/// wait for the next of them.
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

/// A body that is given up when it drips. Only time spent on it counts, not the reader's own.
struct Paced<R> {
    source: R,
    waited: Duration,
    count: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        let count = self.source.read(buffer)?;
        self.waited += asked.elapsed();
        self.count += count as u64;
        if self.waited > STALL && count > 0 && self.count / self.waited.as_secs().max(1) < PACE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the registry sends too slowly",
            ));
        }
        Ok(count)
    }
}
