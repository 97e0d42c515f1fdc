//! One connection from its first byte to its last: heads in, answers out, one after the other.

use super::client::Client;
use super::connections::{Phase, Place};
use super::head::{Head, IDLE, Inbox, NoHead};
use super::outlet::{Outlet, STALL};
use super::respond::{Answer, Body, Responder};
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// How much of a stream is in our hands at a time, in bytes: with half of it, a download takes a tenth
/// more of a processor; with twice as much, hardly less.
const CHUNK: usize = 32 * 1024;
/// How much of a body goes out in one write with its head, in bytes: small answers are one packet.
const WITH_HEAD: usize = 16 * 1024;
/// Room for a head, in bytes: ours have some 300.
const HEAD: usize = 512;
/// How long, and how much, a refused client is listened to, so that our answer isn't overtaken by a
/// reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Serves one connection until either side has had enough.
pub(super) fn serve(stream: &TcpStream, place: &Place, responder: &Responder) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(STALL))?;
    let client = Client::new(place.peer(), stream);
    let mut inbox = Inbox::default();
    loop {
        let head = match inbox.next(stream) {
            Ok(head) => head,
            Err(NoHead::Gone) => return Ok(()),
            Err(NoHead::Refuse(status, why)) => {
                send(
                    &mut Outlet::new(stream, place),
                    Answer::text(status, why),
                    false,
                )?;
                return linger(stream);
            }
        };
        place.set(Phase::Finding)?;
        let answer = answer(responder, &head, client);
        log::trace!(
            "{} {} {}: {}",
            client.address,
            head.method,
            path(&head.target),
            answer.status
        );
        // After a 400, the client and we may disagree on where its next request begins.
        let keep = head.keep_alive && answer.status != 400 && place.may_stay();
        send(&mut Outlet::new(stream, place), answer, keep)?;
        if !keep {
            // A client whose one request is answered has nothing more to say: its place and thread are
            // free at once, as with nginx and Go's server.
            return if inbox.0.is_empty() && !client.has_said_more() {
                Ok(())
            } else {
                linger(stream)
            };
        }
        place.set(Phase::Waiting)?;
    }
}

/// A panic is a defect of ours and costs its own request, nobody else's.
fn answer(responder: &Responder, head: &Head, client: Client) -> Answer {
    let attempt = catch_unwind(AssertUnwindSafe(|| responder.answer(head, client)));
    attempt.unwrap_or_else(|_| {
        log::error!("a request has met a defect of this program; please report the panic above");
        Answer::text(500, "a defect of this program")
    })
}

/// A target without its query, which may hold a secret that a client carries along.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// Writes an answer. An error means that the connection is of no more use.
fn send(outlet: &mut Outlet, answer: Answer, keep: bool) -> io::Result<()> {
    match answer.body {
        Body::Withheld { length } => {
            outlet.send(&head(answer.status, &answer.headers, Some(length), keep))
        }
        Body::Absent => outlet.send(&head(answer.status, &answer.headers, None, keep)),
        Body::Bytes(bytes) => {
            let mut first = head(
                answer.status,
                &answer.headers,
                Some(bytes.len() as u64),
                keep,
            );
            let (start, rest) = bytes.split_at(bytes.len().min(WITH_HEAD));
            first.extend_from_slice(start);
            outlet.send(&first)?;
            outlet.send(rest)
        }
        Body::Part(archive, part) => {
            let first = head(
                answer.status,
                &answer.headers,
                Some(part.len() as u64),
                keep,
            );
            outlet.send_all(std::iter::once(&first[..]).chain(archive.part(part)))
        }
        Body::Stream {
            source,
            length,
            name,
            slot,
        } => {
            let first = head(answer.status, &answer.headers, Some(length), keep);
            let sent = stream_body(outlet, &first, source, &name);
            drop(slot);
            sent
        }
    }
}

/// Writes a small answer to a client that there's no thread for, if it takes it at once.
pub(super) fn send_at_once(mut stream: &TcpStream, answer: &Answer) -> io::Result<()> {
    let Body::Bytes(bytes) = &answer.body else {
        return Ok(());
    };
    let mut all = head(
        answer.status,
        &answer.headers,
        Some(bytes.len() as u64),
        false,
    );
    all.extend_from_slice(bytes);
    stream.write_all(&all)
}

/// Passes a body on as it arrives. When the source fails, what is still missing stays missing: the
/// caller hangs up, and the client sees fewer bytes than it was promised. As long as nothing has
/// been sent, it gets a sentence instead.
fn stream_body(
    outlet: &mut Outlet,
    head: &[u8],
    mut source: impl Read,
    name: &str,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    // The head goes out with the first bytes that have come, and not before.
    chunk[..head.len()].copy_from_slice(head);
    let mut kept = head.len();
    loop {
        let count = match source.read(&mut chunk[kept..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                log::warn!("{name} can't be served whole: {error}");
                if outlet.is_untouched() {
                    let sentence =
                        "the registry behind this chart repository handed out a broken file";
                    send(outlet, Answer::text(502, sentence), false)?;
                }
                return Err(error);
            }
        };
        outlet.send(&chunk[..kept + count])?;
        kept = 0;
        if count == 0 {
            return Ok(());
        }
    }
}

/// The head of an answer. `tiny_http` writes its first line, the date, who we are and, last, the
/// length: that it won't let us leave out, nor `Connection` put in. The fields that it only copies,
/// after it has made two strings of each, come behind. A threshold keeps it from chunking what has a
/// length.
fn head(status: u16, headers: &[(&str, Cow<str>)], length: Option<u64>, keep: bool) -> Vec<u8> {
    let announced = usize::try_from(length.unwrap_or_default()).unwrap_or(usize::MAX);
    let server = Header::from_bytes("Server", "oci-chartrepo")
        .into_iter()
        .collect();
    let response = Response::new(
        StatusCode(status),
        server,
        io::empty(),
        Some(announced),
        None,
    );
    let response = response.with_chunked_threshold(usize::MAX);
    let mut bytes = Vec::with_capacity(HEAD);
    // Writing into memory can't fail.
    let _ = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], true, None);
    let last: &[u8] = if length.is_some() {
        b"\r\n"
    } else {
        b"Content-Length: 0\r\n\r\n"
    };
    bytes.truncate(bytes.strip_suffix(last).map_or(bytes.len(), <[u8]>::len));
    let close = (!keep).then_some(("Connection", Cow::Borrowed("close")));
    for (name, value) in headers.iter().chain(&close) {
        [name, ": ", value, "\r\n"]
            .iter()
            .for_each(|text| bytes.extend_from_slice(text.as_bytes()));
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Says that we're done and hears the client out for a moment.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_a_length_whatever_the_size_and_says_when_it_closes() {
        let text = |keep| {
            String::from_utf8(head(
                200,
                &[("ETag", "\"x\"".into())],
                Some(5_000_000),
                keep,
            ))
            .unwrap()
        };
        let kept = text(true);
        assert!(kept.starts_with("HTTP/1.1 200 OK\r\n"), "{kept}");
        assert!(
            kept.contains("\r\nContent-Length: 5000000\r\n") && !kept.contains("Transfer-Encoding"),
            "{kept}"
        );
        assert!(
            kept.contains("\r\nServer: oci-chartrepo\r\n") && !kept.contains("Connection"),
            "{kept}"
        );
        assert!(kept.ends_with("\r\nETag: \"x\"\r\n\r\n"), "{kept}");
        assert!(text(false).ends_with("\r\nETag: \"x\"\r\nConnection: close\r\n\r\n"));
        let bare = String::from_utf8(head(304, &[("ETag", "\"x\"".into())], None, true)).unwrap();
        assert!(
            bare.ends_with("\r\nETag: \"x\"\r\n\r\n") && !bare.contains("Length"),
            "{bare}"
        );
    }
}
