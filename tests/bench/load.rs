//! What loads a server: `wrk` for speed, a few lines of our own for what is to be looked at.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::children::{bound, tool};
use crate::support::http::{self, Answer};

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load of one turn.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub path: String,
    pub connections: usize,
    /// A connection for each request, or one for all.
    pub keep_alive: bool,
    /// The tag of what the client has already.
    pub known: Option<String>,
    pub seconds: usize,
}

impl Load {
    pub fn new(address: SocketAddr, path: &str, connections: usize) -> Load {
        Load {
            address,
            path: path.to_owned(),
            connections,
            keep_alive: true,
            known: None,
            seconds: 1,
        }
    }

    /// What is served here has the same length as `body`, or isn't sent because it's known.
    pub fn assert_answered_with(&self, body: &[u8]) {
        let fields: Vec<(&str, &str)> = self
            .known
            .iter()
            .map(|etag| ("If-None-Match", etag.as_str()))
            .collect();
        let answer = get(self.address, &self.path, &fields).expect("an answer");
        let (status, expected) = if self.known.is_some() {
            (304, &[][..])
        } else {
            (200, body)
        };
        let right = answer.status == status && answer.body == expected && answer.complete;
        assert!(
            right,
            "{} of {} answers {}",
            self.path, self.address, answer.status
        );
    }

    /// One turn.
    pub fn run(&self) -> Speed {
        let mut command = bound(&tool("wrk"));
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(self.connections);
        command.args([
            "-t",
            &threads.to_string(),
            "-c",
            &self.connections.to_string(),
        ]);
        command.args(["-d", &format!("{}s", self.seconds), "--timeout", "30s"]);
        if let Some(etag) = &self.known {
            command.args(["-H", &format!("If-None-Match: {etag}")]);
        }
        if !self.keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        let url = format!("http://{}{}", self.address, self.path);
        let output = command
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .expect("run setpriv");
        let text = String::from_utf8_lossy(&output.stdout);
        // wrk takes it for an error when a connection ends as it should, but without being announced.
        let broken = self.keep_alive && text.contains("Socket errors");
        let bad = !output.status.success() || text.contains("Non-2xx") || broken;
        assert!(!bad, "not every answer was a good one:\n{text}");
        Speed::told(&text).unwrap_or_else(|| panic!("no speed in\n{text}"))
    }
}

/// In a second.
#[derive(Clone, Copy)]
pub struct Speed {
    pub requests: f64,
    pub megabytes: f64,
}

impl Speed {
    /// From what wrk says.
    fn told(text: &str) -> Option<Speed> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| Some(line.strip_prefix(name)?.trim()))
        };
        let (requests, transfer) = (field("Requests/sec:")?, field("Transfer/sec:")?);
        let unit_at = transfer.find(|next: char| next.is_ascii_alphabetic())?;
        let (number, unit) = transfer.split_at(unit_at);
        let factor = match unit {
            "B" => 1.0,
            "KB" => 1024.0,
            "MB" => 1024.0 * 1024.0,
            "GB" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let megabytes = number.parse::<f64>().ok()? * factor / 1e6;
        Some(Speed {
            requests: requests.parse().ok()?,
            megabytes,
        })
    }
}

/// A whole answer.
pub fn get(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
    http::request(address.port(), "GET", path, fields)
}

/// Reads a whole answer without keeping it: how many bytes there were, the head's among them.
pub fn pull(address: SocketAddr, path: &str) -> io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: charts\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut buffer, mut all) = (vec![0; 256 * 1024], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(all),
            count => all += count,
        }
    }
}
