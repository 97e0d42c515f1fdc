//! One connection from its first byte to its last: requests in, responses out, one after the other.

use super::access::{self, AccessRecord};
use super::client::{Connection, ConnectionPhase};
use super::connections::TableEntry;
use super::request::{NoRequest, Request, RequestReader};
use super::respond::Responder;
use super::response::{Response, ResponseBody};
use super::route::is_probe;
use super::writer::{JUDGED, ResponseWriter};
use crate::observe::metrics;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long, and how much, is read from a client that was refused, so that a reset doesn't overtake
/// our response (RFC 9112 §9.6): as much as a chart that is pushed to us has.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 4 * 1024 * 1024;

/// Serves one connection until either side ends it.
pub(super) fn serve(connection: &TableEntry, responder: &Responder) -> io::Result<()> {
    let stream = &connection.stream;
    stream.set_read_timeout(Some(responder.read_limits.idle))?;
    stream.set_write_timeout(Some(JUDGED))?;
    let mut reader = RequestReader::new(connection, &responder.read_limits);
    loop {
        let request = match reader.next() {
            Ok(request) => request,
            Err(NoRequest::Closed) => return Ok(()),
            Err(NoRequest::Refused(status, why)) => {
                let mut response = Response::text(status, why);
                if status == 503 {
                    response = response.retry_later();
                }
                metrics::HTTP_REQUESTS.count(&["other", response.route, &status.to_string()]);
                let record = responder
                    .log_requests
                    .then(|| AccessRecord::unreadable(why));
                send(connection, response, false, record)?;
                return linger(stream);
            }
        };
        connection.enter(ConnectionPhase::Responding)?;
        let began = Instant::now();
        let response = respond(responder, &request, connection);
        let response = admit(responder, response, connection);
        let response = responder.complete(&request, response);
        // After a 400, the client and we may disagree on where its next request begins.
        let keep_alive = request.keep_alive && response.status != 400 && connection.may_stay();
        let (has_body, method) = (request.has_body, request.method.clone());
        let is_logged = responder.log_requests && !is_probe(response.route);
        let record = is_logged.then(|| AccessRecord::new(&request, began));
        // Its memory is free while the response is sent.
        drop(request);
        let (route, status) = (response.route, response.status);
        let sent = send(connection, response, keep_alive, record);
        metrics::HTTP_REQUESTS.count(&[method.as_str(), route, &status.to_string()]);
        metrics::HTTP_SECONDS.observe(route, began.elapsed());
        sent?;
        if !keep_alive {
            // Nothing more is to come from a client whose one request is answered: its entry and
            // thread are free at once, as with nginx and Go's server.
            let has_unread = has_body || reader.has_unread() || connection.has_unread();
            return if has_unread { linger(stream) } else { Ok(()) };
        }
        connection.enter(ConnectionPhase::Waiting)?;
    }
}

/// Sends a response, and logs the request if there is a record of it.
fn send(
    connection: &Connection,
    response: Response,
    keep_alive: bool,
    record: Option<AccessRecord>,
) -> io::Result<()> {
    let (status, mut writer) = (response.status, ResponseWriter::new(connection));
    let result = writer.send(response, keep_alive);
    if let Some(record) = record {
        record.log(connection.peer, status, writer.sent(), &result);
    }
    result
}

/// The response, if there is room for what it holds while it's sent.
fn admit(responder: &Responder, mut response: Response, connection: &TableEntry) -> Response {
    let ResponseBody::Page(page) = &mut response.body else {
        return response;
    };
    let outdated = responder.current.get().map_or(0, |now| now.outdated());
    let in_flight = &responder.in_flight;
    match in_flight.admit(page, connection.connection(), outdated) {
        true => response,
        false => Response {
            route: response.route,
            ..Response::text(503, "too many slow clients").retry_later()
        },
    }
}

/// A panic is a defect of this program and costs only the request that led to it.
fn respond(responder: &Responder, request: &Request, connection: &Connection) -> Response {
    let attempt = || responder.respond(request, connection);
    let response = catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
        log::error!("internal error (panic) in a request; please report the message above");
        Response::text(500, "internal error")
    });
    let path = access::path(&request.target);
    let (peer, method, status) = (connection.peer, request.method.as_str(), response.status);
    log::trace!(
        peer = &*peer.to_string(), method = method, path = path, status = status;
        "{peer} {method} {path}: {status}"
    );
    response
}

/// Ends our half of the connection, and reads the client's for a moment.
fn linger(stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER;
    let mut rest = stream.take(LINGER_BYTES);
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        if rest.read(&mut chunk)? == 0 {
            return Ok(());
        }
    }
}
