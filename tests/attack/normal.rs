//! The normal client: fetches the index twenty times a second, each time on a new connection, and
//! notes what it got.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two requests, whether the one before was answered or not.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a request may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// One request.
#[derive(Clone, Debug)]
pub struct Visit {
    pub at: Instant,
    pub took: Duration,
    /// Why it wasn't answered with 200 and the right bytes.
    pub failure: Option<String>,
}

/// The client at work.
pub struct Normal {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Vec<Visit>>>,
    clock: JoinHandle<()>,
}

impl Normal {
    pub fn start(address: SocketAddr, expected: Arc<Vec<u8>>) -> Normal {
        let stop = Arc::new(AtomicBool::new(false));
        let visits: Arc<Mutex<Vec<Visit>>> = Arc::default();
        let (told, notes) = (stop.clone(), visits.clone());
        let clock = std::thread::spawn(move || {
            let mut next = Instant::now();
            let mut under_way = Vec::new();
            while !told.load(Relaxed) {
                let (expected, notes) = (expected.clone(), notes.clone());
                under_way.push(std::thread::spawn(move || {
                    let visit = visit(address, &expected);
                    notes.lock().expect("noting doesn't panic").push(visit);
                }));
                next += INTERVAL;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            under_way
                .into_iter()
                .for_each(|visit| visit.join().expect("a visit doesn't panic"));
        });
        Normal {
            stop,
            visits,
            clock,
        }
    }

    /// Ends, and tells all visits in the order they began.
    pub fn finish(self) -> Vec<Visit> {
        self.stop.store(true, Relaxed);
        self.clock.join().expect("the normal client doesn't panic");
        let mut visits = std::mem::take(&mut *self.visits.lock().expect("noting doesn't panic"));
        visits.sort_by_key(|visit| visit.at);
        visits
    }
}

/// Fetches the index once.
pub fn visit(address: SocketAddr, expected: &[u8]) -> Visit {
    let at = Instant::now();
    let failure = match fetch(address, at + PATIENCE) {
        Ok(answer) if is_right(&answer, expected) => None,
        Ok(answer) => Some(first_line(&answer)),
        Err(error) => Some(error.to_string()),
    };
    Visit {
        at,
        took: at.elapsed(),
        failure,
    }
}

/// The body of a good answer, however long it takes.
pub fn body(address: SocketAddr) -> Option<Vec<u8>> {
    let answer = fetch(address, Instant::now() + PATIENCE).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    answer
        .starts_with(b"HTTP/1.1 200 ")
        .then(|| answer[end + 4..].to_vec())
}

fn fetch(address: SocketAddr, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_nodelay(true)?;
    stream.write_all(
        b"GET /index.yaml HTTP/1.1\r\nHost: charts.example\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

fn is_right(answer: &[u8], expected: &[u8]) -> bool {
    let head = answer.strip_suffix(expected);
    head.is_some_and(|head| head.starts_with(b"HTTP/1.1 200 ") && head.ends_with(b"\r\n\r\n"))
}

fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    match text.lines().next() {
        Some(line) => format!("{line} ({} bytes in all)", answer.len()),
        None => "hung up on without an answer".to_owned(),
    }
}
