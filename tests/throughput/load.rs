//! What loads a server: `wrk` if the machine has it, else threads of our own.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long one turn lasts.
const TURN: Duration = Duration::from_secs(1);
/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// One turn's load.
pub struct Load<'a> {
    pub address: SocketAddr,
    /// The tag of what the client has already.
    pub known: Option<&'a str>,
    pub connections: usize,
    pub keep_alive: bool,
}

/// Who makes the load.
pub enum Loader {
    Wrk,
    Threads,
}

impl Loader {
    pub fn of_this_machine() -> Loader {
        let wrk = Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if wrk.is_ok() { Loader::Wrk } else { Loader::Threads }
    }

    /// Requests a second.
    pub fn run(&self, load: &Load) -> f64 {
        match self {
            Loader::Wrk => wrk(load),
            Loader::Threads => threads(load),
        }
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Loader::Wrk => "wrk",
            Loader::Threads => "a thread for each connection (wrk isn't there)",
        })
    }
}

impl Load<'_> {
    /// The header fields beyond `Host`.
    fn fields(&self) -> Vec<String> {
        let known = self.known.map(|etag| format!("If-None-Match: {etag}"));
        let close = (!self.keep_alive).then(|| "Connection: close".to_owned());
        known.into_iter().chain(close).collect()
    }

    fn status(&self) -> &'static [u8] {
        if self.known.is_some() { b"HTTP/1.1 304 " } else { b"HTTP/1.1 200 " }
    }
}

fn wrk(load: &Load) -> f64 {
    let mut command = Command::new("wrk");
    command.args(["-t2", &format!("-c{}", load.connections), &format!("-d{}s", TURN.as_secs())]);
    load.fields().iter().for_each(|field| {
        command.arg("-H").arg(field);
    });
    let output = command.arg(format!("http://{}/index.yaml", load.address)).output().expect("run wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "not every answer was a good one:\n{text}");
    let speed = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    speed.unwrap_or_else(|| panic!("no speed in\n{text}"))
}

fn threads(load: &Load) -> f64 {
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..load.connections {
            scope.spawn(|| {
                client(load, &over, &answers).unwrap_or_else(|error| panic!("{}: {error}", load.address));
            });
        }
        std::thread::sleep(TURN);
        over.store(true, Relaxed);
    });
    answers.load(Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// One connection, or one after the other.
fn client(load: &Load, over: &AtomicBool, answers: &AtomicUsize) -> io::Result<()> {
    let fields: String = load.fields().iter().map(|field| format!("{field}\r\n")).collect();
    let request = format!("GET /index.yaml HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut buffer = vec![0; 256 * 1024];
    while !over.load(Relaxed) {
        let mut stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut length = None;
        loop {
            stream.write_all(request.as_bytes())?;
            length = Some(answer(&mut stream, &mut buffer, load, length)?);
            answers.fetch_add(1, Relaxed);
            if !load.keep_alive || over.load(Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

/// Reads one answer; its length in bytes, which is the next one's too.
fn answer(stream: &mut TcpStream, buffer: &mut [u8], load: &Load, known: Option<usize>) -> io::Result<usize> {
    let (mut seen, mut whole) = (0, known);
    while whole.is_none_or(|whole| seen < whole) {
        let count = stream.read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen == 0 && !buffer.starts_with(load.status()) {
            let line = String::from_utf8_lossy(&buffer[..count.min(80)]).into_owned();
            return Err(io::Error::other(format!("an unexpected answer: {line}")));
        }
        // The first packet brings the whole head.
        whole = whole.or_else(|| length(&buffer[..count], load.known.is_some()));
        seen += count;
    }
    Ok(seen)
}

/// The length of an answer from its head on.
fn length(bytes: &[u8], bodyless: bool) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(end + if bodyless { 0 } else { body? })
}
