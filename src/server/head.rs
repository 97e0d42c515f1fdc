//! Reading one request head (RFC 9112 §2–3), bounded in bytes, fields and time. Only GET and HEAD
//! are served, so a request with a body is refused without reading it, which leaves no way to
//! smuggle a second request inside.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tiny_http::Method;

/// Longest head, in bytes: what nginx and Apache take for a line of it.
const MAX_HEAD: usize = 8 * 1024;
/// How much is read at a time, in bytes: all of most heads. It lies on the stack of each thread, and
/// what a thread has touched of its stack it keeps.
const READ: usize = 2 * 1024;
/// Most header fields: Go's client with a proxy or two in front sends twenty.
const MAX_FIELDS: usize = 64;
/// How long a connection may wait between requests: browsers and ingresses reuse sooner.
pub(super) const IDLE: Duration = Duration::from_secs(15);
/// How long a head may take from its first byte on: it fits into a few packets.
const HEAD: Duration = Duration::from_secs(5);

/// What is looked at of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) host: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) accept_encoding: Option<String>,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    /// Whether the client wants to go on with this connection.
    pub(super) keep_alive: bool,
}

/// Why there's no head.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The client is gone, or silent: nothing to answer.
    Gone,
    /// To be answered with this status and sentence, and hung up on.
    Refuse(u16, &'static str),
}

impl From<io::Error> for NoHead {
    fn from(_: io::Error) -> NoHead {
        NoHead::Gone
    }
}

/// The bytes of one connection that have arrived and aren't used yet.
#[derive(Default)]
pub(super) struct Inbox(pub(super) Vec<u8>);

impl Inbox {
    /// The next head. A slow one isn't given more time for each byte, but one deadline for all.
    ///
    /// The stream's read timeout must be [`IDLE`], and is again afterwards: a head that comes in one
    /// piece, as nearly all do, costs no call to set it.
    pub(super) fn next(&mut self, stream: &TcpStream) -> Result<Head, NoHead> {
        let mut deadline = None;
        loop {
            if let Some(head) = self.take()? {
                if deadline.is_some() {
                    stream.set_read_timeout(Some(IDLE))?;
                }
                return Ok(head);
            }
            let started = !self.0.is_empty();
            if started {
                let now = Instant::now();
                let left = deadline
                    .get_or_insert(now + HEAD)
                    .saturating_duration_since(now);
                if left.is_zero() {
                    return Err(NoHead::Refuse(408, "the request head took too long"));
                }
                stream.set_read_timeout(Some(left))?;
            }
            match self.receive(stream) {
                Ok(0) => return Err(NoHead::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && started => {
                    return Err(NoHead::Refuse(408, "the request head took too long"));
                }
                Err(_) => return Err(NoHead::Gone),
            }
        }
    }

    /// What has arrived, or arrives next. Not inlined, nor is [`Inbox::take`], for else an answer would
    /// be made on top of the 4 KB of stack that are needed here: a page of each thread.
    #[inline(never)]
    fn receive(&mut self, mut stream: &TcpStream) -> io::Result<usize> {
        let mut chunk = [0; READ];
        let room = READ.min(MAX_HEAD - self.0.len());
        let count = stream.read(&mut chunk[..room])?;
        self.0.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// A head that has arrived whole.
    #[inline(never)]
    pub(super) fn take(&mut self) -> Result<Option<Head>, NoHead> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let (length, head) = match request.parse_with_uninit_headers(&self.0, &mut fields) {
            Ok(httparse::Status::Complete(length)) => (length, read(&request)?),
            Ok(httparse::Status::Partial) if self.0.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) if !self.0.contains(&b'\n') => {
                return Err(NoHead::Refuse(414, "the request line is over 8 KiB"));
            }
            Ok(httparse::Status::Partial) => {
                return Err(NoHead::Refuse(431, "the request head is over 8 KiB"));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(NoHead::Refuse(431, "more than 64 header fields"));
            }
            Err(httparse::Error::Version) => {
                return Err(NoHead::Refuse(505, "HTTP/1.1 and HTTP/1.0 are spoken here"));
            }
            Err(_) => return Err(NoHead::Refuse(400, "not an HTTP request")),
        };
        self.0.drain(..length);
        Ok(Some(head))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn read(request: &httparse::Request) -> Result<Head, NoHead> {
    let refuse = |status, why| Err(NoHead::Refuse(status, why));
    let mut fields = Fields::default();
    for field in request.headers.iter() {
        // Not passed over: a length that we don't see would make its body the next request.
        fields.note(field.name, String::from_utf8_lossy(field.value).trim());
    }
    if fields.twice {
        return refuse(400, "Host or Content-Length is given twice");
    }
    if fields.encoded {
        return refuse(411, "a request with a body is not taken");
    }
    match fields.length.as_deref() {
        None | Some("0") => {}
        Some(length) if length.bytes().all(|b| b.is_ascii_digit()) && !length.is_empty() => {
            return refuse(413, "a request with a body is not taken");
        }
        Some(_) => return refuse(400, "Content-Length is not a number"),
    }
    let modern = request.version == Some(1);
    if modern && fields.host.is_none() {
        return refuse(400, "HTTP/1.1 needs a Host");
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return refuse(400, "not an HTTP request");
    };
    let Ok(method) = method.parse::<Method>() else {
        return refuse(501, "the method is unknown here");
    };
    let says = |word| {
        fields
            .connection
            .iter()
            .any(|option| option.eq_ignore_ascii_case(word))
    };
    Ok(Head {
        method,
        target: target.to_owned(),
        // An older client would have to be told that it may go on, or it waits for us to hang up.
        keep_alive: modern && !says("close"),
        host: fields.host,
        if_none_match: fields.if_none_match,
        accept_encoding: fields.accept_encoding,
        range: fields.range,
        if_range: fields.if_range,
    })
}

#[derive(Default)]
struct Fields {
    host: Option<String>,
    length: Option<String>,
    connection: Vec<String>,
    if_none_match: Option<String>,
    accept_encoding: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
    encoded: bool,
    twice: bool,
}

impl Fields {
    fn note(&mut self, name: &str, value: &str) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.twice |= self.host.replace(value.to_owned()).is_some();
        } else if is("content-length") {
            self.twice |= self.length.replace(value.to_owned()).is_some();
        } else if is("transfer-encoding") {
            self.encoded = true;
        } else if is("connection") {
            self.connection
                .extend(value.split(',').map(|option| option.trim().to_owned()));
        } else if is("if-none-match") {
            extend(&mut self.if_none_match, value);
        } else if is("accept-encoding") {
            extend(&mut self.accept_encoding, value);
        } else if is("range") {
            extend(&mut self.range, value);
        } else if is("if-range") {
            extend(&mut self.if_range, value);
        }
    }
}

/// A list may be given in several fields, which are one (RFC 9110 §5.3). What isn't a list and comes
/// twice, is made unreadable by that.
fn extend(list: &mut Option<String>, more: &str) {
    match list {
        Some(list) => *list = format!("{list}, {more}"),
        None => *list = Some(more.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Head>, (u16, &'static str)> {
        Inbox(text.into()).take().map_err(|error| match error {
            NoHead::Refuse(status, why) => (status, why),
            NoHead::Gone => panic!("gone"),
        })
    }

    fn status(text: &str) -> u16 {
        parse(text).unwrap_err().0
    }

    #[test]
    fn a_field_that_is_not_utf_8_is_not_passed_over() {
        for (field, expected) in [
            ("Content-Length: 5", 400),
            ("Transfer-Encoding: chunked", 411),
        ] {
            let head = [
                b"GET / HTTP/1.1\r\nHost: h\r\n",
                field.as_bytes(),
                b"\xff\r\n\r\n",
            ]
            .concat();
            let refused = Inbox(head).take();
            assert!(
                matches!(refused, Err(NoHead::Refuse(status, _)) if status == expected),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_head_is_read_and_the_next_one_left() {
        let two =
            "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\n\r\nHEAD /b HTTP/1.0\r\n\r\n";
        let mut inbox = Inbox(two.into());
        let first = inbox.take().unwrap().unwrap();
        assert_eq!(
            (first.method, first.target.as_str(), first.keep_alive),
            (Method::Get, "/a", true)
        );
        assert_eq!(
            (first.host.as_deref(), first.if_none_match.as_deref()),
            (Some("h"), Some("\"x\""))
        );
        let second = inbox.take().unwrap().unwrap();
        assert_eq!(
            (second.method, second.target.as_str(), second.keep_alive),
            (Method::Head, "/b", false)
        );
        assert_eq!(inbox.take().unwrap(), None);
    }

    #[test]
    fn connections_are_kept_as_the_client_wishes() {
        let keep = |text| parse(text).unwrap().unwrap().keep_alive;
        assert!(!keep(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: TE, Close\r\n\r\n"
        ));
        assert!(keep("GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn bodies_are_refused_without_being_read() {
        let with = |field: &str| status(&format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"));
        assert_eq!(with("Content-Length: 18446744073709551616"), 413);
        assert_eq!(with("Content-Length: 5"), 413);
        assert_eq!(with("Content-Length: -1"), 400);
        assert_eq!(with("Content-Length: 5\u{e4}"), 400);
        assert_eq!(with("Content-Length: 0\r\nContent-Length: 5"), 400);
        assert_eq!(with("Transfer-Encoding: chunked"), 411);
        assert_eq!(with("Content-Length: 5\r\nTransfer-Encoding: chunked"), 411);
        assert!(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").is_ok());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(status("\u{16}\u{3}\u{1}\u{2}\r\n\r\n"), 400);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(status(&format!("GET /{}", "a".repeat(MAX_HEAD))), 414);
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\na: {}", "a".repeat(MAX_HEAD))),
            431
        );
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65))),
            431
        );
    }
}
