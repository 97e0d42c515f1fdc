//! Clients that speak another protocol, or malformed HTTP. Each sends its bytes, reads the response,
//! and ends when the daemon closes the connection or after some time.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::sit::hear;
use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;

/// Between two looks for an answer.
const LOOK: Duration = Duration::from_millis(50);
/// How long the server may keep a client that has sent everything.
const PATIENCE: Duration = Duration::from_secs(3);
/// The start of TLS 1.2's and 1.3's first message: a handshake record of 512 bytes, a client hello.
const TLS_HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
/// HTTP/2's connection preface and an empty SETTINGS frame (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Says its piece.
struct Talk {
    piece: Vec<u8>,
    said: usize,
    since: Instant,
}

impl Client for Talk {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        if self.said < self.piece.len() {
            self.said += stream.write(&self.piece[self.said..])?;
            return Ok(Next::After(Duration::ZERO));
        }
        hear(stream)?;
        Ok(if self.since.elapsed() > PATIENCE {
            Next::Leave
        } else {
            Next::After(LOOK)
        })
    }
}

fn talk(field: &Field, piece: impl Fn(usize) -> Vec<u8>) {
    let crowd = Crowd {
        size: field.strength,
        comeback: Duration::from_millis(500),
        ..Crowd::default()
    };
    crowd.attack(field, |number| {
        Box::new(Talk {
            piece: piece(number),
            said: 0,
            since: Instant::now(),
        })
    });
}

pub fn http2(field: &Field) {
    talk(field, |number| {
        match number % 3 {
        0 => HTTP2.to_vec(),
        1 => b"GET /index.yaml HTTP/2.0\r\nHost: charts.example\r\n\r\n".to_vec(),
        _ => b"GET /index.yaml HTTP/1.1\r\nHost: charts.example\r\nConnection: Upgrade, HTTP2-Settings\r\n\
               Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            .to_vec(),
    }
    });
}

pub fn tls(field: &Field) {
    talk(field, |number| {
        let mut hello = TLS_HELLO.to_vec();
        hello.extend(noise(number as u64).take(506));
        hello
    });
}

pub fn random(field: &Field) {
    talk(field, |number| {
        noise(number as u64).take(1 << (number % 16)).collect()
    });
}

/// Lengths that are huge, negative, repeated, contradictory or no numbers at all.
pub fn lengths(field: &Field) {
    const LENGTHS: [&str; 12] = [
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Content-Length: 9223372036854775807",
        "Content-Length: 99999999999999999999999999999999999999",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x10",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length:",
    ];
    talk(field, |number| {
        let method = ["GET", "POST", "HEAD", "PUT"][number % 4];
        let length = LENGTHS[number / 4 % LENGTHS.len()];
        format!("{method} /index.yaml HTTP/1.1\r\nHost: charts.example\r\n{length}\r\n\r\nhello")
            .into_bytes()
    });
}

/// Bytes that look like nothing, the same for the same seed.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}
