//! Clients that hold a connection and do next to nothing with it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;

/// How often an idle client looks whether it was disconnected.
const LOOK: Duration = Duration::from_millis(500);
/// When a disconnected client connects again: there are thousands, and the row is about idle
/// connections, not about new ones.
const SULK: Duration = Duration::from_secs(4);
/// Between two bytes of a client that drips.
const DRIP: Duration = Duration::from_secs(1);
/// The start of a request that never ends.
const UNENDING: &[u8] = b"GET /index.yaml HTTP/1.1\r\nHost: charts.example\r\nX-Drip: ";

/// Connects and says nothing.
struct Idle;

impl Client for Idle {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        hear(stream)?;
        Ok(Next::After(LOOK))
    }
}

/// Sends a byte of a request head at a time, and never the last.
struct Drip {
    sent: usize,
}

impl Client for Drip {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        hear(stream)?;
        let byte = UNENDING.get(self.sent).unwrap_or(&b'a');
        self.sent += stream.write(&[*byte])?;
        Ok(Next::After(DRIP))
    }
}

/// Asks for the index once in a while and keeps the connection in between.
struct Regular;

impl Client for Regular {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        hear(stream)?;
        stream.write_all(b"GET /index.yaml HTTP/1.1\r\nHost: charts.example\r\n\r\n")?;
        Ok(Next::After(DRIP))
    }
}

/// Reads what has come. An error if the other side has hung up.
pub fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

pub fn idle(field: &Field) {
    let crowd = Crowd {
        size: field.strength,
        comeback: SULK,
        ..Crowd::default()
    };
    crowd.attack(field, |_| Box::new(Idle));
}

pub fn idle_from_everywhere(field: &Field) {
    let crowd = Crowd {
        size: field.strength,
        comeback: SULK,
        from_everywhere: true,
        ..Crowd::default()
    };
    crowd.attack(field, |_| Box::new(Idle));
}

pub fn drip(field: &Field) {
    Crowd {
        size: field.strength,
        ..Crowd::default()
    }
    .attack(field, |_| Box::new(Drip { sent: 0 }));
}

/// Of each kind: idle clients, dripping ones, and polite ones.
pub fn all_kinds(field: &Field) {
    Crowd {
        size: field.strength,
        ..Crowd::default()
    }
    .attack(field, |number| match number % 3 {
        0 => Box::new(Idle),
        1 => Box::new(Drip { sent: 0 }),
        _ => Box::new(Regular),
    });
}
