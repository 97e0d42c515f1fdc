//! A relay in front of a registry that notes the first byte of each connection: enough to tell
//! TLS from plain HTTP without trusting anybody's log.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
pub const TLS_HANDSHAKE: u8 = 0x16;

pub struct Wiretap {
    port: u16,
    first_bytes: Arc<Mutex<Vec<u8>>>,
}

impl Wiretap {
    /// Relays to a port of this machine for as long as the test process runs.
    pub fn on(target: u16) -> Wiretap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let first_bytes = Arc::<Mutex<Vec<u8>>>::default();
        let noted = first_bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = noted.clone();
                std::thread::spawn(move || relay(client, target, &noted));
            }
        });
        Wiretap { port, first_bytes }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Of every connection on which anything was said.
    pub fn first_bytes(&self) -> Vec<u8> {
        self.first_bytes.lock().expect("no relay panicked").clone()
    }
}

fn relay(mut client: TcpStream, target: u16, noted: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    noted.lock().expect("no relay panicked").push(first[0]);
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    server.write_all(&first)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)
}
