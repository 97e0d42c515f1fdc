//! The programs that rows start: the daemon, and who is measured beside it. None outlives us.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load;
use crate::support::daemon::{Daemon, signal};
use crate::support::process::{Scratch, wait_until};

/// From start to the first answer.
const START: Duration = Duration::from_secs(20);

/// A program that is told to end when we end, however that may be. It keeps the command's process.
pub fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    // nginx' workers outlive a parent that is killed, but not one that is asked.
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// One of the tools that `make bench-tools` fetches. They bring their libraries along, so that each
/// is a directory.
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools")
        .join(name)
        .join(name);
    assert!(
        path.is_file(),
        "{} is missing: `make bench-tools` fetches it",
        path.display()
    );
    path
}

/// A daemon with these flags, from its start on.
pub fn start_daemon(program: &Path, flags: &[&str]) -> Daemon {
    Daemon::start_as(bound(program), &[&["--log-level=info"], flags].concat())
}

/// The same after its first walk.
pub fn daemon(program: &Path, flags: &[&str]) -> Daemon {
    let daemon = start_daemon(program, flags);
    daemon.wait_ready();
    daemon
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port is free").port()
}

/// Somebody else's server, with files of ours.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _site: Scratch,
}

impl Server {
    /// nginx as somebody sets it up who wants files served fast.
    pub fn nginx(files: &[(&str, &[u8])]) -> Server {
        let site = Scratch::new("nginx");
        files
            .iter()
            .for_each(|(path, bytes)| drop(site.file(path.trim_start_matches('/'), bytes)));
        let (address, place) = (address(free_port()), site.path().display().to_string());
        // Root's nginx would serve as somebody who may not see a scratch directory.
        let user = if is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} daemon off; worker_processes auto; pid {place}/nginx.pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;\n\
             client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
             uwsgi_temp_path {place}/d; scgi_temp_path {place}/e; open_file_cache max=10;\n\
             server {{ listen {address} backlog=4096; root {place}; }} }}\n"
        );
        let config = site.file("nginx.conf", text);
        let mut command = bound(&tool("nginx"));
        command
            .args(["-e", "stderr", "-p"])
            .arg(site.path())
            .arg("-c")
            .arg(config);
        let child = command.spawn().expect("run setpriv");
        let (first, bytes) = files[0];
        let server = Server {
            child,
            address,
            _site: site,
        };
        let right = || {
            load::get(address, first, &[])
                .ok()
                .filter(|answer| answer.body == bytes)
                .map(drop)
        };
        wait_until(START, || format!("nginx serves {first}"), right);
        server
    }

    /// The plainest server that `tiny_http` makes, with one file for every path.
    pub fn reference(program: &Path, bytes: &[u8]) -> Server {
        let site = Scratch::new("reference");
        let file = site.file("file", bytes);
        let mut child = bound(program)
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("run setpriv");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line
            .trim()
            .rsplit('/')
            .next()
            .and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Server {
            child,
            address,
            _site: site,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
