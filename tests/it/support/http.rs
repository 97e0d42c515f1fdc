//! A client of a few lines over a bare socket, so that a test sees what is on the wire: the path
//! as it was typed, every header, and whether the connection was cut before the body was whole.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::process::DEADLINE;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// False when the connection ended before the body that the head promised.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_str())
    }

    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on its own connection to a port of this machine.
pub fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Answer> {
    send(port, method, path, headers, &[])
}

/// The same with a body.
pub fn send(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let (bytes, cut) = read_to_end(stream)?;
    parse(&bytes, cut, method == "HEAD")
}

/// All bytes until the connection ends, and whether it ended by a reset.
fn read_to_end(mut stream: TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, false)),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok((bytes, true)),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8], cut: bool, bodyless: bool) -> io::Result<Answer> {
    let no_head = || io::Error::new(ErrorKind::UnexpectedEof, "no response head");
    let end = find(bytes, b"\r\n\r\n").ok_or_else(no_head)?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let mut answer = Answer {
        status: status.ok_or_else(no_head)?,
        headers: lines.filter_map(field).collect(),
        body: bytes[end + 4..].to_vec(),
        complete: !cut,
    };
    if bodyless {
        return Ok(answer);
    }
    if answer
        .header("transfer-encoding")
        .is_some_and(|coding| coding == "chunked")
    {
        let (body, whole) = dechunk(&answer.body);
        answer.complete = whole;
        answer.body = body;
    } else if let Some(length) = answer.header("content-length") {
        let promised: usize = length.parse().expect("Content-Length is a number");
        answer.complete = answer.body.len() == promised;
    }
    Ok(answer)
}

/// The body of a chunked answer, and whether its last chunk came.
fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok();
        let Some(size) = size.and_then(|hex| usize::from_str_radix(hex, 16).ok()) else {
            break;
        };
        rest = &rest[end + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
