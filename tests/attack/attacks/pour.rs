//! Clients that send without an end, as fast as they can.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::sit::hear;
use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;

/// How much of what is repeated is sent at once, in bytes.
const BLOCK: usize = 64 * 1024;
/// A pause after a full socket: short, for these are few.
const PAUSE: Duration = Duration::from_millis(1);

/// A beginning, and then the same again and again.
struct Pour {
    text: Arc<Text>,
    sent: usize,
    /// Whether it reads the responses.
    hears: bool,
}

struct Text {
    bytes: Vec<u8>,
    /// Where the part begins that is repeated.
    again: usize,
}

impl Text {
    fn new(beginning: impl Into<Vec<u8>>, again: impl AsRef<[u8]>) -> Arc<Text> {
        let mut bytes = beginning.into();
        let begins = bytes.len();
        while bytes.len() < begins + BLOCK {
            bytes.extend_from_slice(again.as_ref());
        }
        Arc::new(Text {
            bytes,
            again: begins,
        })
    }
}

impl Client for Pour {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        if self.hears {
            hear(stream)?;
        }
        match stream.write(&self.text.bytes[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::After(PAUSE)),
            Err(error) => return Err(error),
        }
        if self.sent == self.text.bytes.len() {
            self.sent = self.text.again;
        }
        Ok(Next::After(Duration::ZERO))
    }
}

fn pour(field: &Field, texts: &[Arc<Text>], hears: fn(usize) -> bool) {
    let crowd = Crowd {
        size: field.strength,
        comeback: Duration::from_millis(100),
        ..Crowd::default()
    };
    crowd.attack(field, |number| {
        let text = texts[number % texts.len()].clone();
        Box::new(Pour {
            text,
            sent: 0,
            hears: hears(number),
        })
    });
}

/// A header's value, a header's name, a target, a method.
pub fn endless_header(field: &Field) {
    let texts = [
        Text::new("GET /index.yaml HTTP/1.1\r\nX-Endless: ", "a"),
        Text::new("GET /index.yaml HTTP/1.1\r\nX-", "a"),
        Text::new("GET /", "a"),
        Text::new("", "A"),
    ];
    pour(field, &texts, |_| false);
}

/// A hundred thousand header fields and more.
pub fn endless_headers(field: &Field) {
    pour(
        field,
        &[Text::new("GET /index.yaml HTTP/1.1\r\n", "X-One: more\r\n")],
        |_| false,
    );
}

/// Request after request, from clients that read the responses and from clients that don't.
pub fn pipeline(field: &Field) {
    let of = |target: &str| {
        Text::new(
            "",
            format!("GET {target} HTTP/1.1\r\nHost: charts.example\r\n\r\n"),
        )
    };
    let texts = [of("/index.yaml"), of("/livez"), of(&field.charts[0])];
    pour(field, &texts, |number| number % 2 == 0);
}

/// A body in chunks, without an end.
pub fn endless_chunks(field: &Field) {
    let head =
        "POST /index.yaml HTTP/1.1\r\nHost: charts.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let get = head.replace("POST", "GET");
    let chunk = "10\r\nGET / HTTP/1.1\r\n\r\n";
    pour(
        field,
        &[Text::new(head, chunk), Text::new(get, chunk)],
        |number| number % 4 < 2,
    );
}

/// Empty lines before a request that never comes.
pub fn empty_lines(field: &Field) {
    pour(field, &[Text::new("", "\r\n"), Text::new("", "\n")], |_| {
        false
    });
}
