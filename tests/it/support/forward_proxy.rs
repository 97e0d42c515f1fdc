//! A proxy that requests go out through: tunnels for `CONNECT`, and requests with whole URLs passed on one a
//! connection. It notes the head of each request that it gets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct ForwardProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Listens on a free port of 127.0.0.1 for as long as the test process runs.
    pub fn start() -> ForwardProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = heads.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = noted.clone();
                std::thread::spawn(move || pass_on(client, &noted));
            }
        });
        ForwardProxy { port, heads }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no relay panicked").clone()
    }
}

fn pass_on(client: TcpStream, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    noted.lock().expect("no relay panicked").push(head.clone());
    let target = head.split(' ').nth(1).unwrap_or_default();
    if head.starts_with("CONNECT ") {
        return tunnel(client, target);
    }
    let Some((host, path)) = target
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return (&client).write_all(b"HTTP/1.1 400 Not A Whole URL\r\nContent-Length: 0\r\n\r\n");
    };
    let own = |line: &&str| line.starts_with("Connection:") || line.starts_with("Proxy-");
    let lines: Vec<&str> = head
        .trim_end()
        .split("\r\n")
        .filter(|line| !own(line))
        .collect();
    let head = lines.join("\r\n").replacen(target, &format!("/{path}"), 1);
    let mut server = TcpStream::connect(host)?;
    server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    (&client).write_all(&answer)
}

fn tunnel(mut client: TcpStream, target: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)
}
