//! Reading one request head (RFC 9112 §2–3), bounded in bytes, fields and time. Only GET and HEAD
//! are served, so a request with a body is refused without reading it, and no other request is taken
//! from its connection, which leaves no way to smuggle a second request inside.

use super::address::ForwardedFields;
use super::client::Connection;
use crate::representation;
use crate::sync::{Gate, GateLimits, Pass};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::Method;

/// Longest head, in bytes: a single sign-on in front adds cookies and tokens of 10 KB and more.
const MAX_HEAD: usize = 32 * 1024;
/// A head up to this size, in bytes, is held for each connection; larger ones are counted. It is also
/// the most that is kept of a head once it has arrived.
const SMALL_HEAD: usize = 8 * 1024;
/// Bounds of the large heads that are arriving: 4 MiB in all, however many connections there are. An
/// ingress is one address.
const LARGE_HEADS: GateLimits = GateLimits {
    at_once: 128,
    per_key: 96,
    waiting: 0,
};
/// How much is read at a time, in bytes: all of most heads. It lies on the stack of each thread, and
/// a thread keeps what it has touched of its stack.
const READ: usize = 2 * 1024;
/// Most header fields: Go's client with a proxy or two in front sends twenty.
const MAX_FIELDS: usize = 64;
/// Most characters that are kept of a client's name: all of Helm's, and what tells others apart.
const USER_AGENT: usize = 100;
/// Longest id of a request, in bytes: twice a UUID and a name.
const MAX_REQUEST_ID: usize = 128;
/// The last chunk of a body without any other (RFC 9112 §7.1), and no trailer.
const EMPTY_BODY: &[u8] = b"0\r\n\r\n";
/// How long a head may take from its first byte on: it fits into a few packets.
const WHOLE_HEAD: Duration = Duration::from_secs(5);

/// One request, as far as it decides the response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: RequestHeaders,
    /// Whether the client may send another request on this connection.
    pub(super) keep_alive: bool,
    /// Whether a body follows, which is not read.
    pub(super) has_body: bool,
}

impl Request {
    /// Whether the client has what `etag` names already.
    pub(super) fn knows(&self, etag: &str) -> bool {
        let known = self.headers.if_none_match.as_deref();
        known.is_some_and(|tags| representation::matches(tags, etag))
    }
}

/// The header fields that are looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHeaders {
    pub(super) host: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) accept_encoding: Option<String>,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) forwarded: ForwardedFields,
    /// The beginning of `User-Agent`.
    pub(super) user_agent: Option<String>,
    /// Empty if it's not valid, or given twice.
    request_id: Option<String>,
    connection: Option<String>,
    content_length: Option<String>,
    transfer_encoding: Option<String>,
    /// Whether Host or Content-Length is given twice.
    repeated: bool,
}

/// Why there is no further request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The client is gone, or silent: there is nothing to respond to.
    Closed,
    /// It is answered with this status and sentence, and the connection closed.
    Refused(u16, &'static str),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> NoRequest {
        NoRequest::Closed
    }
}

/// Bounds of all connections together.
pub(super) struct ReadLimits {
    /// How long a connection may be idle between requests.
    pub(super) idle: Duration,
    large_heads: Arc<Gate<IpAddr>>,
}

impl ReadLimits {
    /// Connections may be idle for `idle`.
    pub(super) fn new(idle: Duration) -> ReadLimits {
        ReadLimits {
            idle,
            large_heads: Gate::new(LARGE_HEADS),
        }
    }
}

/// Reads the requests of one connection.
pub(super) struct RequestReader<'a> {
    connection: &'a Connection,
    limits: &'a ReadLimits,
    /// What has arrived beyond the last request.
    unread: Vec<u8>,
    /// While that is a large head.
    large: Option<Pass<IpAddr>>,
}

impl RequestReader<'_> {
    /// The stream's read timeout must be [`ReadLimits::idle`].
    pub(super) fn new<'a>(connection: &'a Connection, limits: &'a ReadLimits) -> RequestReader<'a> {
        RequestReader {
            connection,
            limits,
            unread: Vec::new(),
            large: None,
        }
    }

    /// Whether a part of a further request has been read.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The next request. A slow head has one deadline and gets no more time for each byte.
    ///
    /// The read timeout is the idle one again afterwards: a head that comes in one piece, as nearly all
    /// do, costs no call to set it.
    pub(super) fn next(&mut self) -> Result<Request, NoRequest> {
        let too_slow = NoRequest::Refused(408, "the request head took too long");
        let mut deadline = None;
        loop {
            if let Some(request) = parse(&mut self.unread)? {
                if deadline.is_some() {
                    self.connection
                        .stream
                        .set_read_timeout(Some(self.limits.idle))?;
                }
                self.unread.shrink_to(READ);
                self.large = None;
                return Ok(request);
            }
            if self.has_unread() {
                let now = Instant::now();
                let deadline = deadline.get_or_insert(now + WHOLE_HEAD);
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    return Err(too_slow);
                }
                self.connection.stream.set_read_timeout(Some(left))?;
                self.count_large()?;
            }
            match self.receive() {
                Ok(0) => return Err(NoRequest::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && self.has_unread() => return Err(too_slow),
                Err(_) => return Err(NoRequest::Closed),
            }
        }
    }

    /// Errors when too many large heads are arriving already.
    fn count_large(&mut self) -> Result<(), NoRequest> {
        if self.unread.len() >= SMALL_HEAD && self.large.is_none() {
            let client = self.connection.client;
            self.large = self.limits.large_heads.enter(client, Duration::ZERO);
            let refused = NoRequest::Refused(503, "too many large request heads at once");
            return self.large.as_ref().map(drop).ok_or(refused);
        }
        Ok(())
    }

    /// Reads what has arrived, or arrives next. Neither this nor [`parse`] is inlined: the response
    /// would be made on top of the 4 KB of stack that they need, which is a page of each thread.
    #[inline(never)]
    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; READ];
        let room = READ.min(MAX_HEAD - self.unread.len());
        let count = (&self.connection.stream).read(&mut chunk[..room])?;
        self.unread.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

/// Whether a read or a write has met its deadline.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

/// Takes the next request out of `unread`, if its head has arrived whole.
#[inline(never)]
pub(super) fn parse(unread: &mut Vec<u8>) -> Result<Option<Request>, NoRequest> {
    use httparse::{Error, Status};
    if unread.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let (status, why) = match head.parse_with_uninit_headers(unread, &mut fields) {
        Ok(Status::Complete(length)) => {
            let request = read(&head)?;
            let body = match request.has_chunks() {
                true => empty_body(&unread[length..])?,
                false => Some(0),
            };
            let Some(body) = body else { return Ok(None) };
            unread.drain(..length + body);
            return Ok(Some(request));
        }
        Ok(Status::Partial) if unread.len() >= SMALL_HEAD && !unread.contains(&b'\n') => {
            (414, "the request line is over 8 KiB")
        }
        Ok(Status::Partial) if unread.len() < MAX_HEAD => return Ok(None),
        Ok(Status::Partial) => (431, "the request head is over 32 KiB"),
        Err(Error::TooManyHeaders) => (431, "more than 64 header fields"),
        Err(Error::Version) => (505, "HTTP/1.1 and HTTP/1.0 are spoken here"),
        Err(_) => (400, "not an HTTP request"),
    };
    Err(NoRequest::Refused(status, why))
}

/// How long the body in chunks is, if it is empty; `None` while that can't be told yet.
fn empty_body(body: &[u8]) -> Result<Option<usize>, NoRequest> {
    if body.starts_with(EMPTY_BODY) {
        return Ok(Some(EMPTY_BODY.len()));
    }
    match EMPTY_BODY.starts_with(body) {
        true => Ok(None),
        false => Err(NoRequest::Refused(411, NO_BODY)),
    }
}

const NO_BODY: &str = "a request with a body is not taken";

fn read(head: &httparse::Request) -> Result<Request, NoRequest> {
    let refused = |status, why| Err(NoRequest::Refused(status, why));
    let mut headers = RequestHeaders::default();
    for field in head.headers.iter() {
        // A field that isn't UTF-8 isn't skipped: a length that we don't see would make its body the
        // next request.
        headers.note(field.name, String::from_utf8_lossy(field.value).trim());
    }
    if headers.repeated {
        return refused(400, "Host or Content-Length is given twice");
    }
    let modern = head.version == Some(1);
    if modern && headers.host.is_none() {
        return refused(400, "HTTP/1.1 needs a Host");
    }
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return refused(400, "not an HTTP request");
    };
    let Ok(method) = method.parse() else {
        return refused(501, "the method is unknown here");
    };
    if target.len() + headers.size() > SMALL_HEAD {
        return refused(431, "the header fields that matter here are over 8 KiB");
    }
    let mut request = Request {
        method,
        target: target.to_owned(),
        // An HTTP/1.0 client that isn't told to go on waits for us to close.
        keep_alive: modern && !headers.says_close(),
        headers,
        has_body: false,
    };
    request.judge_body(modern)?;
    Ok(request)
}

impl Request {
    /// Errors when a body is announced with a method whose response doesn't say that no body is taken.
    /// As with nginx and Go, GET with an empty body in chunks has none: sidecars and Java send that.
    fn judge_body(&mut self, modern: bool) -> Result<(), NoRequest> {
        let length = self.headers.content_length.as_deref();
        let refusal = match (&self.headers.transfer_encoding, length) {
            (None, None | Some("0")) => return Ok(()),
            (None, Some(length)) if is_number(length) => (413, NO_BODY),
            (None, Some(_)) => (400, "Content-Length is not a number"),
            (Some(_), None) if modern && self.has_chunks() => return Ok(()),
            (Some(_), _) => (411, NO_BODY),
        };
        self.has_body = refusal.0 != 400 && !self.is_read();
        self.keep_alive &= !self.has_body;
        match self.has_body {
            true => Ok(()),
            false => Err(NoRequest::Refused(refusal.0, refusal.1)),
        }
    }

    /// Whether it only reads, as all do that are served.
    fn is_read(&self) -> bool {
        matches!(self.method, Method::Get | Method::Head)
    }

    /// Whether a body in chunks must be empty for the request to be served.
    fn has_chunks(&self) -> bool {
        let coding = self.headers.transfer_encoding.as_deref();
        self.is_read() && coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it may be sent back, and stand in any log: letters, digits and what joins them.
fn is_request_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(is_plain)
}

impl RequestHeaders {
    /// The client's id of the request, if it's valid.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref().filter(|id| !id.is_empty())
    }

    fn note(&mut self, name: &str, value: &str) {
        let list = match name.to_ascii_lowercase().as_str() {
            "host" => {
                self.repeated |= self.host.replace(value.to_owned()).is_some();
                return;
            }
            "content-length" => {
                self.repeated |= self.content_length.replace(value.to_owned()).is_some();
                return;
            }
            "user-agent" => {
                self.user_agent = Some(value.chars().take(USER_AGENT).collect());
                return;
            }
            "x-request-id" => {
                let is_valid = self.request_id.is_none() && is_request_id(value);
                let id = if is_valid { value } else { "" };
                self.request_id = Some(id.to_owned());
                return;
            }
            "transfer-encoding" => &mut self.transfer_encoding,
            "connection" => &mut self.connection,
            "if-none-match" => &mut self.if_none_match,
            "accept" => &mut self.accept,
            "accept-encoding" => &mut self.accept_encoding,
            "range" => &mut self.range,
            "if-range" => &mut self.if_range,
            other => return self.forwarded.note(other, value),
        };
        // A list may be given in several fields, which are one (RFC 9110 §5.3). A field that isn't a
        // list becomes unreadable when it's repeated.
        match list {
            Some(list) => *list = format!("{list}, {value}"),
            None => *list = Some(value.to_owned()),
        }
    }

    /// How many bytes of the client's are kept.
    fn size(&self) -> usize {
        let fields = [
            &self.host,
            &self.if_none_match,
            &self.accept,
            &self.accept_encoding,
            &self.range,
            &self.if_range,
            &self.connection,
            &self.content_length,
            &self.transfer_encoding,
        ];
        let kept = fields.into_iter().flatten().map(String::len);
        kept.sum::<usize>() + self.forwarded.size()
    }

    fn says_close(&self) -> bool {
        let mut options = self.connection.iter().flat_map(|list| list.split(','));
        options.any(|option| option.trim().eq_ignore_ascii_case("close"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, (u16, &'static str)> {
        super::parse(&mut text.into()).map_err(|error| match error {
            NoRequest::Refused(status, why) => (status, why),
            NoRequest::Closed => panic!("closed"),
        })
    }

    fn status(text: &str) -> u16 {
        parse(text).unwrap_err().0
    }

    #[test]
    fn a_field_that_is_not_utf_8_is_not_skipped() {
        for (field, expected) in [
            ("Content-Length: 5", 400),
            ("Transfer-Encoding: chunked", 411),
        ] {
            let mut head = [
                b"GET / HTTP/1.1\r\nHost: h\r\n",
                field.as_bytes(),
                b"\xff\r\n\r\n",
            ]
            .concat();
            let refused = super::parse(&mut head);
            assert!(
                matches!(refused, Err(NoRequest::Refused(status, _)) if status == expected),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_request_is_read_and_the_next_one_left() {
        let two =
            "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\n\r\nHEAD /b HTTP/1.0\r\n\r\n";
        let mut unread = two.into();
        let first = super::parse(&mut unread).unwrap().unwrap();
        assert_eq!(
            (first.method, first.target.as_str(), first.keep_alive),
            (Method::Get, "/a", true)
        );
        assert_eq!(
            (
                first.headers.host.as_deref(),
                first.headers.if_none_match.as_deref()
            ),
            (Some("h"), Some("\"x\""))
        );
        let second = super::parse(&mut unread).unwrap().unwrap();
        assert_eq!(
            (second.method, second.target.as_str(), second.keep_alive),
            (Method::Head, "/b", false)
        );
        assert_eq!(super::parse(&mut unread).unwrap(), None);
    }

    #[test]
    fn an_id_of_a_request_is_taken_if_it_is_plain_and_the_only_one() {
        let id = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let request = parse(&head).unwrap().unwrap();
            request.headers.request_id().map(str::to_owned)
        };
        let longest = "a".repeat(MAX_REQUEST_ID);
        for valid in ["1", "Root=1-67-a/b_c.d:e+f@g", &longest] {
            let taken = id(&format!("x-request-id: {valid}\r\n"));
            assert_eq!(taken.as_deref(), Some(valid));
        }
        let too_long = longest + "a";
        for other in ["", "a b", "a,b", "\u{e4}", "a\"b", "<a>", "a;b", &too_long] {
            assert_eq!(id(&format!("X-Request-Id: {other}\r\n")), None, "{other}");
        }
        assert_eq!(id("X-Request-Id: a\r\nX-Request-Id: a\r\n"), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn connections_are_kept_alive_as_the_client_wishes() {
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
        assert_eq!(with("Transfer-Encoding: gzip, chunked"), 411);
        assert_eq!(
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            411
        );
        assert_eq!(with("Content-Length: 0\r\nTransfer-Encoding: chunked"), 411);
        assert_eq!(with("Content-Length: 5\r\nTransfer-Encoding: chunked"), 411);
        assert!(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").is_ok());
    }

    #[test]
    fn an_empty_body_in_chunks_is_taken_and_no_other() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let mut unread = format!("{head}0\r\n\r\nGET").into();
        let request = super::parse(&mut unread).unwrap().unwrap();
        assert!(request.keep_alive && !request.has_body);
        assert_eq!(unread, b"GET");
        for part in ["", "0", "0\r\n\r"] {
            assert_eq!(parse(&format!("{head}{part}")), Ok(None), "{part:?}");
        }
        for body in ["1\r\nx", "00", "0;a=b\r\n\r\n", "0\r\nA: b\r\n\r\n", "0\n"] {
            assert_eq!(status(&format!("{head}{body}")), 411, "{body:?}");
        }
        let old = head.replace("1.1", "1.0");
        assert_eq!(status(&format!("{old}0\r\n\r\n")), 411);
    }

    #[test]
    fn a_method_that_is_not_served_is_answered_whatever_its_body_and_is_the_last_request() {
        for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\nhello");
            let request = parse(&head).unwrap().unwrap();
            assert!(request.has_body && !request.keep_alive, "{field}");
        }
        assert_eq!(
            status("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n"),
            400
        );
    }

    #[test]
    fn a_head_may_be_large_but_little_of_it_is_kept() {
        let field = |name: &str, length| format!("{name}: {}\r\n", "x".repeat(length));
        let head = |fields: String| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let cookies = head(field("Cookie", 20_000) + &field("Authorization", 11_000));
        assert!(parse(&cookies).unwrap().is_some());
        assert_eq!(status(&head(field("If-None-Match", SMALL_HEAD))), 431);
        let named = head(field("User-Agent", SMALL_HEAD) + &field("X-Request-Id", SMALL_HEAD));
        let kept = parse(&named).unwrap().unwrap().headers;
        assert_eq!(kept.user_agent.unwrap().len(), USER_AGENT);
        assert_eq!(kept.request_id.as_deref(), Some(""));
    }

    #[test]
    fn bytes_that_are_no_request_are_refused() {
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
