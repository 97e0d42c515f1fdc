//! A response and how it is written: only as long as the client reads it. A client that takes
//! nothing, or a byte at a time, or never comes to an end, is cut off. A response whose body fails in
//! the middle is never completed.

use super::blocks::{BLOCK, Buffer};
use super::client::{Connection, ConnectionPhase, NO_STREAM, UNJUDGED};
use super::flight::Page;
use super::request::is_timeout;
use super::route::UNKNOWN;
use crate::pacing::Pace;
use crate::representation::Content;
use crate::sync::Pass;
use std::borrow::Cow;
use std::io::{self, IoSlice, Read, Write};
use std::iter::once;
use std::net::{IpAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tiny_http::StatusCode;

/// How long a client may take nothing at all of what is sent to it, as long as no other client needs
/// its place: kernels open a large window in steps, between which a client at 10 KB/s takes nothing
/// for longer than 20 s.
const STALL: Duration = Duration::from_secs(30);
/// How long a write may wait, and over which time a pace is judged by which a download may have to make
/// room for others.
pub(super) const JUDGED: Duration = Duration::from_secs(5);
/// The least pace of a client, in bytes per second of our waiting for it: a tenth of a bad phone
/// line. Judged after [`STALL`].
const LEAST_PACE: u64 = 4 * 1024;
/// How long a client may take for an index or a page, which holds memory as long: its least pace grows with
/// the size of what it reads.
const WHOLE_PAGE: Duration = Duration::from_secs(10 * 60);
/// The longest that one response may take: 100 MB at half a megabit per second.
const WHOLE_RESPONSE: Duration = Duration::from_secs(30 * 60);
/// Most blocks handed to the kernel at once, 256 KiB: pace and progress are noted after each.
const BLOCKS_AT_ONCE: usize = 16;
/// How much of a streamed body is held at a time, in bytes: with half of it, a download takes a tenth
/// more of a processor; with twice as much, hardly less.
const CHUNK: usize = 32 * 1024;
/// Room for a head, in bytes: ours have some 300.
const HEAD_ROOM: usize = 512;
/// When to ask again while there is no index yet, in seconds: a first scan takes this order of time.
const RETRY_AFTER: &str = "2";

const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const YAML: &str = "application/x-yaml";
pub(super) const JSON: &str = "application/json";

/// What is sent back.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) body: ResponseBody,
    /// What the request is counted as.
    pub(super) route: &'static str,
}

/// The bytes after a head. Their number is always known beforehand.
pub(super) enum ResponseBody {
    /// A sentence.
    Text(Vec<u8>),
    /// A representation, in memory or made while it's sent.
    Page(Page),
    /// An archive in memory, or a part of it.
    Archive(Arc<Buffer>, Range<usize>),
    /// An archive as it arrives.
    Stream(ArchiveStream),
    /// So many bytes that are announced, but not sent: for `HEAD`.
    Withheld(u64),
    /// Not even announced: for 304 (RFC 9110 §15.4.5). With a length, some clients wait for it.
    Absent,
}

/// An archive that is sent while it is downloaded. A read that fails means that the connection must
/// be cut.
pub(super) struct ArchiveStream {
    pub(super) source: Box<dyn Read + Send>,
    pub(super) length: u64,
    /// The archive in the log.
    pub(super) name: String,
    /// Counts the download until it ends.
    pub(super) _pass: Pass<IpAddr>,
}

impl ResponseBody {
    /// How many bytes are announced.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            ResponseBody::Text(bytes) => Some(bytes.len() as u64),
            ResponseBody::Page(page) => Some(page.length as u64),
            ResponseBody::Archive(_, part) => Some(part.len() as u64),
            ResponseBody::Stream(stream) => Some(stream.length),
            ResponseBody::Withheld(length) => Some(*length),
            ResponseBody::Absent => None,
        }
    }
}

impl Response {
    /// A status without header fields.
    pub(super) fn new(status: u16, body: ResponseBody) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body,
            route: UNKNOWN,
        }
    }

    /// A sentence for a person.
    pub(super) fn text(status: u16, text: impl AsRef<str>) -> Response {
        Response::line(status, TEXT, text.as_ref())
    }

    /// One line.
    pub(super) fn line(status: u16, content_type: &'static str, line: &str) -> Response {
        Response::lines(status, content_type, format!("{line}\n"))
    }

    /// A text of whole lines.
    pub(super) fn lines(status: u16, content_type: &'static str, text: String) -> Response {
        Response::new(status, ResponseBody::Text(text.into_bytes()))
            .with("Content-Type", content_type)
    }

    /// 304 for a client that has what `etag` names already.
    pub(super) fn not_modified(etag: &str) -> Response {
        Response::new(304, ResponseBody::Absent).with("ETag", etag.to_owned())
    }

    /// The same with another header field.
    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with the advice to ask again soon.
    pub(super) fn retry_later(self) -> Response {
        self.with("Retry-After", RETRY_AFTER)
    }

    /// The head alone (RFC 9110 §9.3.2).
    pub(super) fn without_body(mut self) -> Response {
        if let Some(length) = self.body.length() {
            self.body = ResponseBody::Withheld(length);
        }
        self
    }

    /// Writes a short response at once, and nothing of it that would have to wait for the client.
    pub(super) fn send_at_once(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut bytes = self.head(false);
        if let ResponseBody::Text(body) = &self.body {
            bytes.extend_from_slice(body);
        }
        stream.set_nonblocking(true)?;
        stream.write_all(&bytes)
    }

    fn head(&self, keep_alive: bool) -> Vec<u8> {
        let reason = StatusCode(self.status).default_reason_phrase();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let length = self.body.length().map(|length| length.to_string().into());
        let length = length.map(|length| ("Content-Length", length));
        // Caches keep even a 404 for minutes unless they are told not to, and what is missing now may
        // be pushed soon. What may be kept says for how long.
        let named = |(name, _): &(&str, _)| *name == "Cache-Control";
        let unnamed = !self.headers.iter().any(named);
        let store = unnamed.then_some(("Cache-Control", Cow::Borrowed("no-store")));
        let close = (!keep_alive).then_some(("Connection", Cow::Borrowed("close")));
        let mut head = String::with_capacity(HEAD_ROOM);
        head += &format!(
            "HTTP/1.1 {} {reason}\r\nDate: {date}\r\nServer: oci-chartrepo\r\n",
            self.status
        );
        for (name, value) in length
            .iter()
            .chain(&store)
            .chain(&self.headers)
            .chain(&close)
        {
            for text in [name, ": ", value, "\r\n"] {
                head += text;
            }
        }
        head += "\r\n";
        head.into_bytes()
    }
}

/// Writes one response.
pub(super) struct ResponseWriter<'a> {
    connection: &'a Connection,
    began: Instant,
    /// Only time spent on the client counts: a slow registry is not its fault.
    pace: Pace,
    /// The same since it was last judged.
    recent: Pace,
    /// How long the client has taken nothing.
    stalled: Duration,
    /// Fewest bytes a second that it must take.
    least_pace: u64,
    is_stream: bool,
    /// How many bytes of heads have been sent, or were to be.
    heads: u64,
}

impl ResponseWriter<'_> {
    /// The stream's write timeout must be [`JUDGED`].
    pub(super) fn new(connection: &Connection) -> ResponseWriter<'_> {
        connection.begin_response();
        ResponseWriter {
            connection,
            began: Instant::now(),
            pace: Pace::default(),
            recent: Pace::default(),
            stalled: Duration::ZERO,
            least_pace: LEAST_PACE,
            is_stream: false,
            heads: 0,
        }
    }

    /// How many bytes of the body have been sent.
    pub(super) fn sent(&self) -> u64 {
        self.pace.bytes().saturating_sub(self.heads)
    }

    /// Writes all of it.
    ///
    /// Errors when the connection is of no more use: the client is gone or too slow, the connection
    /// was evicted, or the body failed.
    pub(super) fn send(&mut self, response: Response, keep_alive: bool) -> io::Result<()> {
        let head = response.head(keep_alive);
        self.heads += head.len() as u64;
        match response.body {
            ResponseBody::Withheld(_) | ResponseBody::Absent => self.send_all(once(&head[..])),
            ResponseBody::Text(text) => self.send_all([&head[..], &text].into_iter()),
            ResponseBody::Page(page) => {
                self.least_pace = least_pace(page.length);
                match &page.content {
                    Content::Whole(bytes) => {
                        self.send_all(once(&head[..]).chain(bytes.chunks(BLOCK)))
                    }
                    Content::Made(render) => {
                        self.send_all(once(&head[..]))?;
                        render(self)
                    }
                }
            }
            ResponseBody::Archive(archive, part) => {
                self.send_all(once(&head[..]).chain(archive.part(part)))
            }
            ResponseBody::Stream(stream) => {
                self.is_stream = true;
                self.connection.set_stream_pace(UNJUDGED);
                let sent = self.pass_on(&head, stream);
                self.connection.set_stream_pace(NO_STREAM);
                sent
            }
        }
    }

    /// Passes a body on as it arrives. When the source fails, the rest is left out: the caller closes
    /// the connection, and the client gets fewer bytes than were announced. As long as nothing has
    /// been sent, it gets a sentence instead.
    fn pass_on(&mut self, head: &[u8], mut stream: ArchiveStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        // The head goes out with the first bytes that have arrived, and not before.
        chunk[..head.len()].copy_from_slice(head);
        let mut held = head.len();
        loop {
            let count = match stream.source.read(&mut chunk[held..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let file = &*stream.name;
                    log::warn!(file = file; "{file} can't be served whole: {error}");
                    if self.pace.bytes() == 0 {
                        let why =
                            "the registry behind this chart repository handed out a broken file";
                        self.send(Response::text(502, why), false)?;
                    }
                    return Err(error);
                }
            };
            self.write_pieces(&mut [IoSlice::new(&chunk[..held + count])])?;
            held = 0;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Writes one piece after the other, several at a time.
    fn send_all<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<()> {
        let mut pieces: Vec<IoSlice> = pieces.map(IoSlice::new).collect();
        let mut groups = pieces.chunks_mut(BLOCKS_AT_ONCE);
        groups.try_for_each(|group| self.write_pieces(group))
    }

    fn write_pieces(&mut self, mut pieces: &mut [IoSlice]) -> io::Result<()> {
        // Empty ones at the beginning would look like the end of the connection.
        IoSlice::advance_slices(&mut pieces, 0);
        self.connection.enter(ConnectionPhase::Sending)?;
        while !pieces.is_empty() {
            let asked = Instant::now();
            let count = match (&self.connection.stream).write_vectored(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if is_timeout(&error) => 0,
                Err(error) => return Err(error),
            };
            IoSlice::advance_slices(&mut pieces, count);
            self.note(count, asked.elapsed())?;
        }
        Ok(())
    }

    /// Notes how much the client has taken in which time.
    ///
    /// Errors when that is too slow.
    fn note(&mut self, count: usize, waited: Duration) -> io::Result<()> {
        self.pace.note(count, waited);
        self.recent.note(count, waited);
        self.connection.set_sent(self.pace.bytes());
        if let Some(pace) = self.recent.after(JUDGED) {
            if self.is_stream {
                self.connection.set_stream_pace(pace);
            }
            self.recent = Pace::default();
        }
        if count > 0 {
            self.connection.enter(ConnectionPhase::Sending)?;
            self.stalled = Duration::ZERO;
        } else {
            self.stalled += waited;
        }
        let is_slow = self.stalled >= STALL || self.pace.is_below(self.least_pace, STALL);
        if is_slow || self.began.elapsed() > WHOLE_RESPONSE {
            let text = "the client reads too slowly";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }
}

/// The least pace of a client that gets a page of so many bytes.
fn least_pace(length: usize) -> u64 {
    LEAST_PACE.max(length as u64 / WHOLE_PAGE.as_secs())
}

/// What is made while it's sent is written to the client as it comes.
impl Write for ResponseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_all(bytes.chunks(BLOCK))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, length: Option<u64>, keep_alive: bool) -> String {
        let body = length.map_or(ResponseBody::Absent, ResponseBody::Withheld);
        let response = Response::new(status, body).with("ETag", "\"x\"");
        String::from_utf8(response.head(keep_alive)).unwrap()
    }

    #[test]
    fn a_head_has_a_length_whatever_the_size_and_says_when_it_closes() {
        let kept = head(200, Some(5_000_000), true);
        assert!(kept.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{kept}");
        for field in ["Content-Length: 5000000", "Server: oci-chartrepo"] {
            assert!(kept.contains(&format!("\r\n{field}\r\n")), "{kept}");
        }
        for field in ["Transfer-Encoding", "Connection"] {
            assert!(!kept.contains(field), "{kept}");
        }
        assert!(kept.ends_with("\r\nETag: \"x\"\r\n\r\n"), "{kept}");
        assert!(kept.contains("\r\nCache-Control: no-store\r\n"), "{kept}");
        let closing = head(200, Some(5_000_000), false);
        assert!(closing.ends_with("\r\nETag: \"x\"\r\nConnection: close\r\n\r\n"));
        let bare = head(304, None, true);
        assert!(
            bare.ends_with("\r\nETag: \"x\"\r\n\r\n") && !bare.contains("Length"),
            "{bare}"
        );
    }

    #[test]
    fn the_least_pace_of_a_client_grows_with_what_it_reads() {
        assert_eq!(least_pace(1024 * 1024), LEAST_PACE);
        assert_eq!(least_pace(60_000_000), 100_000);
    }
}
