//! The servers that are compared, each serving the same bytes at `/index.yaml`.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::layout::Layout;

/// From start to the first good answer.
const START: Duration = Duration::from_secs(20);

/// One server, ended when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Its name for these bytes.
    pub etag: String,
}

/// All of them: ours, the reference, and perhaps nginx.
pub struct Servers {
    pub all: Vec<Server>,
    /// The length of the index.
    pub bytes: usize,
}

impl Servers {
    pub fn start(daemon: &Path, reference: &Path, layout: &Layout) -> Servers {
        let we = Server::daemon(daemon, layout);
        let index = get(we.address).expect("the daemon is ready").1;
        let site = layout.path.join("site");
        fs::create_dir_all(&site).expect("create a directory");
        let file = site.join("index.yaml");
        fs::write(&file, &index).expect("write the index");
        let mut all = vec![we, Server::reference(reference, &file)];
        all.extend(Server::nginx(&site));
        for server in &mut all {
            let (head, body) = get(server.address).expect("a server that is ready answers");
            assert!(body == index, "{}: other bytes than the daemon's", server.address);
            server.etag = etag(&head);
        }
        Servers { all, bytes: index.len() }
    }
}

impl Server {
    fn daemon(program: &Path, layout: &Layout) -> Server {
        let mut command = Command::new(program);
        command.args(["--port=0", "--listen-host=127.0.0.1", "--storage=layout"]);
        command.arg("--storage-layout-dir").arg(&layout.path);
        Server::that_says_where(command)
    }

    fn reference(program: &Path, file: &Path) -> Server {
        let mut command = Command::new(program);
        command.arg(file);
        Server::that_says_where(command)
    }

    /// One that says `listening on http://…` on stderr.
    fn that_says_where(mut command: Command) -> Server {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !line.contains("listening on http://") {
            line.clear();
            assert!(log.read_line(&mut line).expect("stderr is text") > 0, "{command:?} ended");
        }
        // Nobody else reads the rest, and a full pipe would stop the server.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let address = line.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Server { child, address, etag: String::new() }.ready()
    }

    /// nginx, if this machine has it.
    fn nginx(site: &Path) -> Option<Server> {
        Command::new("nginx").arg("-v").stderr(Stdio::null()).status().ok()?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.expect("a port is free");
        let config = site.join("nginx.conf");
        let place = site.display();
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
        fs::write(&config, format!("{user}{text}")).expect("write nginx.conf");
        let child = Command::new("nginx").arg("-c").arg(&config).spawn().expect("run nginx");
        Some(Server { child, address, etag: String::new() }.ready())
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
        let pid = self.child.id();
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status();
        let _ = self.child.wait();
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
