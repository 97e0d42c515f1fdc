//! The servers that are compared, each serving the same bytes at `/index.yaml`.

use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, signal};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::process::Scratch;

/// From start to the first good answer.
const START: Duration = Duration::from_secs(20);

/// One server, ended when dropped.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
    /// Its name for these bytes.
    pub etag: String,
}

/// Dropping it ends the process.
#[allow(dead_code)] // it's there to be dropped
enum Process {
    Ours(Daemon),
    Other(Child),
}

/// All of them: ours, the reference, and perhaps nginx.
pub struct Servers {
    pub all: Vec<Server>,
    /// The length of the index.
    pub bytes: usize,
    _registry: FakeRegistry,
    _site: Scratch,
}

impl Servers {
    /// With an index of so many charts that have so much to say each.
    pub fn start(daemon: &Path, reference: &Path, (charts, description): (usize, usize)) -> Servers {
        let registry = FakeRegistry::start();
        (0..charts).for_each(|number| drop(registry.push(&chart(number, description))));
        let we = Server::daemon(daemon, &registry);
        let index = get(we.address).expect("the daemon is ready").1;
        let site = Scratch::new("site");
        let file = site.file("index.yaml", &index);
        let mut all = vec![we, Server::reference(reference, &file)];
        all.extend(Server::nginx(&site));
        for server in &mut all {
            let (head, body) = get(server.address).expect("a server that is ready answers");
            assert!(body == index, "{}: other bytes than the daemon's", server.address);
            server.etag = etag(&head);
        }
        Servers { all, bytes: index.len(), _registry: registry, _site: site }
    }
}

fn chart(number: usize, description: usize) -> Chart {
    let name = format!("chart-{number}");
    let description = "what it is for. ".repeat(description / 16);
    let metadata =
        json!({ "apiVersion": "v2", "name": name, "version": "1.0.0", "description": description });
    Chart::new(&name, "1.0.0").config(&metadata)
}

impl Server {
    fn daemon(program: &Path, registry: &FakeRegistry) -> Server {
        let daemon = Daemon::start_as(Command::new(program), &[&registry.flag(), "--log-level=info"]);
        daemon.wait_ready();
        let address = SocketAddr::from(([127, 0, 0, 1], daemon.port()));
        Server { process: Process::Ours(daemon), address, etag: String::new() }
    }

    fn reference(program: &Path, file: &Path) -> Server {
        let mut child =
            Command::new(program).arg(file).stdout(Stdio::piped()).spawn().expect("run reference");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Server { process: Process::Other(child), address, etag: String::new() }.ready()
    }

    /// nginx, if this machine has it.
    fn nginx(site: &Scratch) -> Option<Server> {
        Command::new("nginx").arg("-v").stderr(Stdio::null()).status().ok()?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.expect("a port is free");
        let place = site.path().display();
        let text = format!(
            "daemon off; worker_processes 2; pid {place}/nginx.pid; error_log {place}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;\n\
             client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
             uwsgi_temp_path {place}/d; scgi_temp_path {place}/e; open_file_cache max=10;\n\
             server {{ listen {address} backlog=4096; root {place}; }} }}\n"
        );
        // Root's nginx would serve as somebody who may not see a scratch directory.
        let user = if fs::metadata("/proc/self").is_ok_and(|me| is_root(&me)) { "user root;\n" } else { "" };
        let config = site.file("nginx.conf", format!("{user}{text}"));
        let child = Command::new("nginx").arg("-c").arg(&config).spawn().expect("run nginx");
        Some(Server { process: Process::Other(child), address, etag: String::new() }.ready())
    }

    fn ready(self) -> Server {
        let deadline = Instant::now() + START;
        while get(self.address).is_none() {
            assert!(Instant::now() < deadline, "{} isn't ready within {START:?}", self.address);
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }
}

impl Drop for Server {
    /// By SIGTERM, because nginx' workers outlive a parent that is killed.
    fn drop(&mut self) {
        if let Process::Other(child) = &mut self.process {
            signal(child.id(), "TERM");
            let _ = child.wait();
        }
    }
}

fn is_root(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == 0
}

/// Head and body of a good answer.
fn get(address: SocketAddr) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(START)).ok()?;
    stream.write_all(b"GET /index.yaml HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    head.starts_with("HTTP/1.1 200 ").then(|| (head, answer[end + 4..].to_vec()))
}

fn etag(head: &str) -> String {
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("etag").then(|| value.trim().to_owned())
    };
    head.lines().find_map(field).expect("each server names its bytes")
}
