//! A relay in front of a registry that stands for distance: each answer comes later by the time that
//! it's told and no faster than the line allows, or, while the registry is to hang, not at all. It
//! counts what is asked.
//!
//! It carries bytes and understands nothing but where a request ends. That is enough: a request
//! to a registry is a head without a body, and the next one on a connection follows its answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::census::{Asked, Census};

/// Most bytes carried at a time: what a socket's buffer holds.
const PIECE: usize = 64 * 1024;

/// How far the registry is.
#[derive(Clone, Copy, Default)]
pub struct Distance {
    /// What is added to each answer.
    pub latency: Duration,
    /// Bytes a second of all answers together, if that's limited.
    pub pace: Option<f64>,
}

pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    distance: Distance,
    /// When the line is free again.
    free: Mutex<Instant>,
    census: Census,
    hangs: Mutex<bool>,
    healed: Condvar,
}

impl Relay {
    /// To a port of this machine, for as long as this process runs.
    pub fn start(target: u16, distance: Distance) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let shared = Arc::new(Shared {
            target,
            distance,
            free: Mutex::new(Instant::now()),
            census: Census::default(),
            hangs: Mutex::new(false),
            healed: Condvar::new(),
        });
        let relay = Relay {
            port,
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = shared.clone();
                // Whoever goes first, on either side, ends the connection; that's no failure.
                std::thread::spawn(move || shared.carry(&client));
            }
        });
        relay
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The flag that points a daemon here.
    pub fn flag(&self) -> String {
        format!("--storage-registry-repo=http://127.0.0.1:{}", self.port)
    }

    /// What was asked since this was last called.
    pub fn asked(&self) -> Asked {
        self.shared.census.take()
    }

    /// From now on no answer passes.
    pub fn hang(&self) {
        *self.shared.hangs.lock().expect("hanging doesn't panic") = true;
    }
}

impl Drop for Relay {
    /// Whatever hangs goes on, so that its thread ends.
    fn drop(&mut self) {
        *self.shared.hangs.lock().expect("hanging doesn't panic") = false;
        self.shared.healed.notify_all();
    }
}

impl Shared {
    fn carry(&self, client: &TcpStream) -> io::Result<()> {
        let registry = TcpStream::connect(("127.0.0.1", self.target))?;
        client.set_nodelay(true)?;
        registry.set_nodelay(true)?;
        let asked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.answers(&registry, client, &asked);
                client.shutdown(Shutdown::Both)
            });
            let _ = self.requests(client, &registry, &asked);
            registry.shutdown(Shutdown::Both)
        })
    }

    /// Passes requests on at once, and counts them.
    fn requests(
        &self,
        mut client: &TcpStream,
        mut registry: &TcpStream,
        asked: &AtomicBool,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut head = Vec::new();
        loop {
            let count = client.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            head.extend_from_slice(&piece[..count]);
            if let Some(line) = first_line(&head) {
                self.census.count(&line);
                head.clear();
                asked.store(true, SeqCst);
            }
            registry.write_all(&piece[..count])?;
        }
    }

    /// Passes answers on, the first bytes of each when its time has come.
    fn answers(
        &self,
        mut registry: &TcpStream,
        mut client: &TcpStream,
        asked: &AtomicBool,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = registry.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            if asked.swap(false, SeqCst) {
                std::thread::sleep(self.distance.latency);
            }
            self.wait_for_the_line(count);
            let hangs = self.hangs.lock().expect("hanging doesn't panic");
            drop(
                self.healed
                    .wait_while(hangs, |hangs| *hangs)
                    .expect("hanging doesn't panic"),
            );
            client.write_all(&piece[..count])?;
        }
    }

    /// Until so many bytes have gone over a line that all connections share.
    fn wait_for_the_line(&self, bytes: usize) {
        let Some(pace) = self.distance.pace else {
            return;
        };
        let mut free = self.free.lock().expect("waiting doesn't panic");
        *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / pace);
        let until = *free;
        drop(free);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// The first line of a whole head.
fn first_line(head: &[u8]) -> Option<String> {
    head.ends_with(b"\r\n\r\n").then_some(())?;
    let end = head.iter().position(|byte| *byte == b'\r')?;
    Some(String::from_utf8_lossy(&head[..end]).into_owned())
}
