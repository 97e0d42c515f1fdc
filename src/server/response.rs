//! A response: its status, its head and where its body comes from, whose length is always known
//! beforehand.

use super::blocks::Buffer;
use super::flight::Page;
use super::route::UNKNOWN;
use crate::storage::VerifiedFile;
use crate::sync::Pass;
use std::borrow::Cow;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;
use tiny_http::StatusCode;

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
    /// An archive, or a part of it, in a file whose bytes were verified.
    File(SentFile),
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

/// An archive that the kernel sends.
pub(super) struct SentFile {
    pub(super) file: VerifiedFile,
    pub(super) part: Range<usize>,
    /// The archive in the log.
    pub(super) name: String,
    /// Counts the download until it ends.
    pub(super) pass: Pass<IpAddr>,
}

impl SentFile {
    /// What is left from `at` on, to be read by this process.
    pub(super) fn rest(mut self, at: usize) -> io::Result<ArchiveStream> {
        self.file.seek(SeekFrom::Start(at as u64))?;
        let length = (self.part.end - at) as u64;
        Ok(ArchiveStream {
            source: Box::new(self.file.take(length)),
            length,
            name: self.name,
            _pass: self.pass,
        })
    }
}

impl ResponseBody {
    /// How many bytes are announced.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            ResponseBody::Text(bytes) => Some(bytes.len() as u64),
            ResponseBody::Page(page) => Some(page.length as u64),
            ResponseBody::Archive(_, part) => Some(part.len() as u64),
            ResponseBody::Stream(stream) => Some(stream.length),
            ResponseBody::File(file) => Some(file.part.len() as u64),
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

    pub(super) fn head(&self, keep_alive: bool) -> Vec<u8> {
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
}
