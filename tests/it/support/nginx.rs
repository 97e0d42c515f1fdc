//! nginx with TLS in front of a registry, as people put it there. It listens from its first moment on,
//! on a port that we have opened for it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use super::certificates::Certificates;
use super::daemon::signal;
use super::process::{Scratch, machine_path};
use super::tools::tool;

pub struct Nginx {
    child: Child,
    port: u16,
    _scratch: Scratch,
}

impl Nginx {
    /// `locations` are those of its only server, in nginx's own words.
    pub fn with_tls(certificates: &Certificates, locations: &str) -> Nginx {
        Nginx::start(certificates, "", locations)
    }

    /// In front of a registry, of which it lets so many requests a second pass, and so many more at first;
    /// the others get the 503 that is its default.
    pub fn limiting(certificates: &Certificates, rate: u32, burst: u32, registry: &str) -> Nginx {
        let zone = format!(
            "limit_req_zone $binary_remote_addr zone=all:1m rate={rate}r/s;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\";"
        );
        let location = format!(
            "location / {{ limit_req zone=all burst={burst} nodelay; proxy_pass http://{registry}; }}"
        );
        Nginx::start(certificates, &zone, &location)
    }

    /// `http` is for all servers.
    fn start(certificates: &Certificates, http: &str, locations: &str) -> Nginx {
        let scratch = Scratch::new("nginx");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("an address").port();
        let place = scratch.path().display();
        let (certificate, key) = (certificates.certificate(), certificates.key());
        // Root's nginx would work as somebody who may not see a scratch directory.
        let text = format!(
            "user root; daemon off; worker_processes 1; pid {place}/pid;\n\
             events {{}}\n\
             http {{ access_log off; client_max_body_size 0;\n\
             client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
             uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
             {http}\n\
             proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;\n\
             server {{ listen 127.0.0.1:{port} ssl;\n\
             ssl_certificate {}; ssl_certificate_key {};\n{locations}\n}} }}\n",
            certificate.display(),
            key.display()
        );
        let config = scratch.file("nginx.conf", text);
        // It outlives a parent that is killed, but not one whose end it is told of.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(tool("nginx/nginx"))
            .arg("-e")
            .arg(scratch.join("log"))
            .arg("-p")
            .arg(scratch.path())
            .arg("-c")
            .arg(config)
            .env_clear()
            .env("PATH", machine_path())
            // The descriptors on which it finds itself listening: its stdin.
            .env("NGINX", "0;")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("run setpriv");
        Nginx {
            child,
            port,
            _scratch: scratch,
        }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}
