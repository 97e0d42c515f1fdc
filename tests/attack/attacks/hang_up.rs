//! Clients that connect and reset the connection.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;

/// How long each stays. A crowd of a tenth of the wanted number a second does it.
const STAY: Duration = Duration::from_millis(50);
const VISITS_A_SECOND: usize = 10;

/// Sends something, or nothing, and resets the connection.
struct HangUp {
    words: Option<Vec<u8>>,
    stay: Duration,
}

impl Client for HangUp {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        match self.words.take() {
            Some(words) => {
                stream.write_all(&words)?;
                Ok(Next::After(self.stay))
            }
            None => Ok(Next::Reset),
        }
    }
}

/// As many a second as the attack is strong: before they send anything, in the middle of a head, with
/// a response on its way, and in the middle of a large one.
pub fn resets(field: &Field) {
    let crowd = Crowd {
        size: field.strength / VISITS_A_SECOND,
        comeback: Duration::from_millis(1_000 / VISITS_A_SECOND as u64).saturating_sub(STAY),
        ..Crowd::default()
    };
    let whole =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: charts.example\r\n\r\n").into_bytes();
    crowd.attack(field, |number| {
        let words = match number % 5 {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(b"GET /index.yaml HT".to_vec()),
            3 => Some(whole("/index.yaml")),
            _ => Some(whole(&field.large)),
        };
        // A client that sends nothing has reset before it's accepted.
        Box::new(HangUp { words, stay: STAY })
    });
}
