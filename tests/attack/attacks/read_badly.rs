//! Clients that ask for much and hardly read it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;

/// Between two looks, or two bytes.
const PAUSE: Duration = Duration::from_millis(100);
/// A small receive buffer, in bytes, so that the response stays with the server.
const BUFFER: usize = 4 * 1024;

/// Asks, and reads so many bytes at a time; perhaps none.
struct Sip {
    request: Option<String>,
    bytes: usize,
}

impl Client for Sip {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        if let Some(request) = &self.request {
            // It's far shorter than what a socket takes at once.
            stream.write_all(request.as_bytes())?;
            self.request = None;
        } else if let Some(error) = stream.take_error()? {
            return Err(error);
        } else if self.bytes > 0 && stream.read(&mut vec![0; self.bytes])? == 0 {
            return Ok(Next::Leave);
        }
        Ok(Next::After(PAUSE))
    }
}

fn sip(field: &Field, bytes: usize, from_everywhere: bool) {
    let crowd = Crowd {
        size: field.strength,
        receive_buffer: Some(BUFFER),
        from_everywhere,
        ..Crowd::default()
    };
    crowd.attack(field, |_| {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: charts.example\r\n\r\n",
            field.large
        );
        Box::new(Sip {
            request: Some(request),
            bytes,
        })
    });
}

pub fn never(field: &Field) {
    sip(field, 0, false);
}

/// One address isn't given all downloads; eight are.
pub fn never_from_everywhere(field: &Field) {
    sip(field, 0, true);
}

pub fn a_byte_at_a_time(field: &Field) {
    sip(field, 1, false);
}

/// 8 KB a second: twice the least pace, so that they may stay and keep all others out, unless they are
/// kept from taking all entries of the connection table.
pub fn just_fast_enough(field: &Field) {
    sip(field, 800, false);
}
