//! A registry in memory that is as fast as a few lines can be: for rows where the registry's own
//! costs, or fifty thousand pushes, would drown what is measured. It answers a walk and downloads
//! as docker-registry does, counts what it's asked, and knows nothing else.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::json;

use crate::census::{Asked, Census};
use crate::charts::Shape;
use crate::filled::manifest;
use crate::support::fake_registry::{media, sha256};

/// The longest page of the catalog that docker-registry gives.
pub const PAGE: usize = 1000;

pub struct Synthetic {
    port: u16,
    content: Arc<Content>,
}

#[derive(Default)]
struct Content {
    /// In the catalog's order.
    repositories: Vec<String>,
    tags: HashMap<String, Vec<String>>,
    /// By `repository/tag`.
    manifests: HashMap<String, Document>,
    /// By digest.
    blobs: HashMap<String, Vec<u8>>,
    census: Census,
}

struct Document {
    digest: String,
    bytes: Vec<u8>,
}

impl Synthetic {
    /// For as long as this process runs.
    pub fn start(shape: Shape) -> Synthetic {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let content = Arc::new(Content::of(shape));
        let synthetic = Synthetic {
            port,
            content: content.clone(),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let content = content.clone();
                // A client that goes is no failure.
                std::thread::spawn(move || content.serve(client));
            }
        });
        synthetic
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
        self.content.census.take()
    }
}

impl Content {
    fn of(shape: Shape) -> Content {
        let mut content = Content::default();
        for chart in shape.charts() {
            let (config, archive) = (chart.metadata().to_string().into_bytes(), chart.archive());
            let bytes = manifest(&config, &archive).to_string().into_bytes();
            let (repository, tag) = (chart.repository(), chart.version());
            let document = Document {
                digest: sha256(&bytes),
                bytes,
            };
            content
                .manifests
                .insert(format!("{repository}/{}", document.digest), document.copy());
            content
                .manifests
                .insert(format!("{repository}/{tag}"), document);
            content.blobs.insert(sha256(&config), config);
            content.blobs.insert(sha256(&archive), archive);
            content.tags.entry(repository).or_default().push(tag);
        }
        content.repositories = content.tags.keys().cloned().collect();
        content.repositories.sort();
        content
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut requests = BufReader::new(&client);
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut field = String::new();
            while field != "\r\n" {
                field.clear();
                if requests.read_line(&mut field)? == 0 {
                    return Ok(());
                }
            }
            self.census.count(&line);
            self.answer(&line, &client)?;
        }
    }

    fn answer(&self, line: &str, mut client: &TcpStream) -> io::Result<()> {
        let mut words = line.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let answer = path
            .strip_prefix("/v2/")
            .and_then(|rest| self.find(rest, query));
        let (status, fields, body) =
            answer.unwrap_or(("404 Not Found", String::new(), Body::Text("{}".into())));
        let body = body.bytes();
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        if method == "HEAD" {
            return client.write_all(head.as_bytes());
        }
        // A small answer goes in one packet.
        if body.len() <= 64 * 1024 {
            return client.write_all(&[head.as_bytes(), body].concat());
        }
        client.write_all(head.as_bytes())?;
        client.write_all(body)
    }

    /// Status, header fields and body of what is there.
    fn find(&self, rest: &str, query: &str) -> Option<(&'static str, String, Body<'_>)> {
        let ok = |fields: String, body| Some(("200 OK", fields, body));
        let json = || "Content-Type: application/json\r\n".to_owned();
        if rest.is_empty() {
            return ok(json(), Body::Text("{}".into()));
        }
        if rest == "_catalog" {
            let (fields, page) = self.catalog(query);
            return ok(json() + &fields, Body::Text(page));
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            let tags = self.tags.get(repository)?;
            return ok(
                json(),
                Body::Text(json!({ "name": repository, "tags": tags }).to_string()),
            );
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            let Document { digest, bytes } =
                self.manifests.get(&format!("{repository}/{reference}"))?;
            let fields = format!(
                "Content-Type: {}\r\nDocker-Content-Digest: {digest}\r\nETag: \"{digest}\"\r\n",
                media::OCI_MANIFEST
            );
            return ok(fields, Body::Bytes(bytes));
        }
        let (_, digest) = rest.split_once("/blobs/")?;
        let blob = self.blobs.get(digest)?;
        ok(
            format!(
                "Content-Type: application/octet-stream\r\nDocker-Content-Digest: {digest}\r\n"
            ),
            Body::Bytes(blob),
        )
    }

    /// The `Link` to the next page if there is one, and this one.
    fn catalog(&self, query: &str) -> (String, String) {
        let last = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("last="))
            .unwrap_or_default();
        let last = last.replace("%2F", "/").replace("%2f", "/");
        let begin = self
            .repositories
            .partition_point(|repository| *repository <= last);
        let page = &self.repositories[begin..self.repositories.len().min(begin + PAGE)];
        let link = match page.last() {
            Some(last) if begin + page.len() < self.repositories.len() => {
                let last = last.replace('/', "%2F");
                format!("Link: </v2/_catalog?last={last}&n={PAGE}>; rel=\"next\"\r\n")
            }
            _ => String::new(),
        };
        (link, json!({ "repositories": page }).to_string())
    }
}

impl Document {
    fn copy(&self) -> Document {
        Document {
            digest: self.digest.clone(),
            bytes: self.bytes.clone(),
        }
    }
}

enum Body<'a> {
    Text(String),
    Bytes(&'a [u8]),
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Text(text) => text.as_bytes(),
            Body::Bytes(bytes) => bytes,
        }
    }
}
