//! TLS in front of a plain port of this machine, as an ingress puts it there: one request a
//! connection, marked on its way so that the registry's side can tell who came by TLS, and how.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificates::Certificates;

/// The mark of a request that came by TLS.
pub const MARK: (&str, &str) = ("Via", "1.1 tls-front");
/// The field that tells how its session began: `Full` or `Resumed`.
pub const HANDSHAKE: &str = "Tls-Handshake";

/// Listens on a free port of 127.0.0.1 for as long as the test process runs, and answers which.
pub fn tls_before(target: u16, certificates: &Certificates) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(config(certificates));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = config.clone();
            // A client that goes away, or speaks no TLS, is its own affair.
            std::thread::spawn(move || relay(client, target, config));
        }
    });
    port
}

fn config(certificates: &Certificates) -> ServerConfig {
    let certificate =
        CertificateDer::from_pem_file(certificates.certificate()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificates.key()).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key is the certificate's")
}

fn relay(client: TcpStream, target: u16, config: Arc<ServerConfig>) -> io::Result<()> {
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(session, client));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let lines = head
        .trim_end()
        .split("\r\n")
        .filter(|line| !line.starts_with("Connection:"));
    let lines = lines.collect::<Vec<_>>().join("\r\n");
    let handshake = client
        .get_ref()
        .conn
        .handshake_kind()
        .expect("a head came through it");
    let (name, value) = MARK;
    let marks = format!("{name}: {value}\r\n{HANDSHAKE}: {handshake:?}\r\nConnection: close");
    let head = format!("{lines}\r\n{marks}\r\n\r\n");
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    server.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let client = client.get_mut();
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
