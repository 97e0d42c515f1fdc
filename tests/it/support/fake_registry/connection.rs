//! One client's connection, HTTP/1.1 by hand: reads requests, has them answered, and brings the
//! answers over as honestly or as badly as the script says.
//!
//! The last byte of a request stays in the socket until its answer is decided: a socket closed
//! with something unread in it sends a reset, which is how `Fault::Reset` is done.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::door::{Role, Watch};
use super::honest::Route;
use super::limit::Limit;
use super::reply::Reply;
use super::request::Request;
use super::script::Fault;
use super::{Shared, State};

/// Longer than any head a client of ours sends.
const HEAD_LIMIT: usize = 64 * 1024;
/// The first byte of a TLS record that carries a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a TLS greeting is answered with.
#[derive(Clone, Copy, Default)]
pub enum ToTls {
    /// As Go, nginx and most others do.
    #[default]
    BadRequest,
    /// As gunicorn does.
    Silence,
    /// As workerd and gunicorn with gevent do, after a while.
    End,
}

/// How a connection is to be ended.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Orderly,
    Reset,
}

/// After an exchange: the next one on the same connection, or its end.
type Next = ControlFlow<End>;

/// Serves requests until the client goes, or the script ends the connection.
pub(super) fn serve(
    shared: &Shared,
    watch: &Watch,
    mut stream: &TcpStream,
    role: Role,
    number: usize,
) -> End {
    let _ = stream.set_nodelay(true);
    loop {
        match exchange(shared, watch, &mut stream, role, number) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(end)) => return end,
            // Clients leave in every way there is; what they didn't get is the test's to assert.
            Err(_) => return End::Orderly,
        }
    }
}

/// One request and its answer.
fn exchange(
    shared: &Shared,
    watch: &Watch,
    stream: &mut &TcpStream,
    role: Role,
    number: usize,
) -> io::Result<Next> {
    let Some(mut head) = read_head(stream)? else {
        return Ok(Next::Break(End::Orderly));
    };
    if head.first() == Some(&TLS_HANDSHAKE) {
        watch.tls_hellos.fetch_add(1, Ordering::SeqCst);
        let to_tls = shared.state().to_tls;
        match to_tls {
            ToTls::BadRequest => return bad_request(stream),
            // Until the client goes.
            ToTls::Silence => drop(io::copy(stream, &mut io::sink())),
            ToTls::End => {}
        }
        return Ok(Next::Break(End::Orderly));
    }
    let Some(mut request) = parse(&head, role, number) else {
        let line = String::from_utf8_lossy(&head).into_owned();
        shared.state().unexpected.push(line);
        return bad_request(stream);
    };
    if let Some(length) = request.header("Content-Length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        stream.read_exact(&mut [0])?;
        head.clear();
        request.body = vec![0; length];
        stream.read_exact(&mut request.body)?;
    }
    let _underway = Underway::begin(shared);
    let reply = shared.answer(&request);
    shared.pause(reply.delivery.wait);
    if reply.delivery.reset {
        return Ok(Next::Break(End::Reset));
    }
    if !head.is_empty() {
        stream.read_exact(&mut [0])?;
    }
    match deliver(shared, stream, &request, &reply)? {
        true => Ok(Next::Continue(())),
        false => Ok(Next::Break(End::Orderly)),
    }
}

/// Counts a request for as long as it is being answered.
struct Underway<'a>(&'a Shared);

impl<'a> Underway<'a> {
    fn begin(shared: &'a Shared) -> Underway<'a> {
        let mut state = shared.state();
        let (now, most) = &mut state.at_once;
        *now += 1;
        *most = (*most).max(*now);
        drop(state);
        Underway(shared)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.state().at_once.0 -= 1;
    }
}

/// Reads all of a head but its last byte. `None`: the client went.
fn read_head(stream: &mut &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut window = [0; 4096];
    while head.len() < HEAD_LIMIT {
        let seen = stream.peek(&mut window)?;
        if seen == 0 {
            return Ok(None);
        }
        let before = head.len();
        head.extend_from_slice(&window[..seen]);
        if head[0] == TLS_HANDSHAKE {
            return Ok(Some(head));
        }
        if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            head.truncate(end + 3);
            stream.read_exact(&mut window[..end + 3 - before])?;
            return Ok(Some(head));
        }
        stream.read_exact(&mut window[..seen])?;
    }
    Err(ErrorKind::InvalidData.into())
}

fn parse(head: &[u8], role: Role, connection: usize) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if version != "HTTP/1.1" || words.next().is_some() {
        return None;
    }
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        connection,
        role,
        at: Instant::now(),
        status: 0,
    };
    // RFC 9112, 3.2: a request without exactly one Host is a bad one.
    (request.headers_of("Host").len() == 1).then_some(request)
}

/// What Go's server says to bytes that are no HTTP, TLS among them.
fn bad_request(stream: &mut &TcpStream) -> io::Result<Next> {
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                  Connection: close\r\n\r\n400 Bad Request";
    stream.write_all(answer.as_bytes())?;
    // What is left unread would turn the answer into a reset before it arrives.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = io::copy(stream, &mut io::sink());
    Ok(Next::Break(End::Orderly))
}

impl Shared {
    /// Records the request, and answers as the registry would, then as the script wants.
    fn answer(&self, request: &Request) -> Reply {
        let mut state = self.state();
        let place = state.requests.len();
        state.requests.push(request.clone());
        self.changed.notify_all();
        let faults = state.script.meet(request);
        if faults.iter().any(|fault| matches!(fault, Fault::Hang)) {
            while state.script.hangs(request) && !state.closing {
                state = self.changed.wait(state).unwrap();
            }
        }
        let refusal = state.limit.as_mut().and_then(Limit::refuse);
        let mut reply = refusal.unwrap_or_else(|| state.good_answer(request));
        for fault in faults {
            fault.apply(&mut reply);
        }
        if !reply.delivery.reset {
            state.requests[place].status = reply.status;
        }
        reply
    }

    /// Sleeps, but not past the end of the test.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !state.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl State {
    fn good_answer(&mut self, request: &Request) -> Reply {
        if let Some(page) = self.pages.iter().find(|(at, _)| *at == request.target) {
            return page.1.clone();
        }
        if let Some(reply) = self.access.token(request) {
            return reply;
        }
        let ours = request.role == Role::Registry;
        if let Some(route) = Route::of(request.path()).filter(|_| ours) {
            if let Some(refusal) = self.access.refuse(request, &route) {
                return refusal;
            }
            if let Some(reply) = route.answer(request, &self.store, &self.listing) {
                return reply;
            }
        }
        let harbor = self.access.harbor.as_ref().filter(|_| ours);
        if let Some(reply) = harbor.and_then(|harbor| harbor.answer(request, &self.store)) {
            return reply;
        }
        // A catalog below a name, which Artifactory alone has.
        if !(ours && request.path().ends_with("/_catalog")) {
            self.unexpected.push(request.to_string());
        }
        Reply::new(404).body("404 page not found\n")
    }
}

/// Writes the answer; whether another may follow on this connection.
fn deliver(
    shared: &Shared,
    stream: &mut &TcpStream,
    request: &Request,
    reply: &Reply,
) -> io::Result<bool> {
    let asked_to_close = request.header("Connection") == Some("close");
    let bodiless = matches!(reply.status, 204 | 304);
    let framing = reply.framing().filter(|_| !bodiless);
    let close = asked_to_close || (framing.is_none() && !bodiless);
    let mut head = format!("HTTP/1.1 {} Fake\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &framing.unwrap_or_default();
    if close {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" || bodiless {
        return Ok(!close);
    }
    let whole = deliver_body(shared, stream, reply)?;
    Ok(whole && !close)
}

/// Whether all of the body went over.
fn deliver_body(shared: &Shared, stream: &mut &TcpStream, reply: &Reply) -> io::Result<bool> {
    let delivery = &reply.delivery;
    let cut = delivery.cut_after.unwrap_or(usize::MAX);
    let body = &reply.body[..reply.body.len().min(cut)];
    let (piece, pause) = delivery.drip.unwrap_or((64 * 1024, Duration::ZERO));
    for piece in body.chunks(piece) {
        if delivery.chunked {
            write!(stream, "{:x}\r\n", piece.len())?;
        }
        stream.write_all(piece)?;
        if delivery.chunked {
            stream.write_all(b"\r\n")?;
        }
        shared.pause(pause);
    }
    let whole = cut >= reply.body.len();
    if delivery.chunked && whole {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(whole)
}
