//! A real docker-registry, filled by its own API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::charts::{Chart, Shape};
use crate::support::docker_registry::{DockerRegistry, Options};
use crate::support::fake_registry::{media, sha256};

/// Charts pushed at a time.
const PUSHERS: usize = 4;
/// A registry in use has a heap that is worth collecting; in this one of 4 MB, Go's collector would
/// take as much of a processor as the requests do.
const COLLECT_SELDOM: [(&str, &str); 1] = [("GOGC", "400")];
/// How long the registry may take over one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// 1,000 versions in 100 repositories.
pub const THOUSAND: Shape = Shape::new(100, 10);

/// A registry that holds them: one for all rows, for filling it costs it a processor for half a
/// minute. It ends with this process.
pub fn thousand() -> &'static DockerRegistry {
    static REGISTRY: OnceLock<DockerRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| docker_registry(THOUSAND))
}

/// A registry that holds the charts of this shape.
pub fn docker_registry(shape: Shape) -> DockerRegistry {
    let registry = DockerRegistry::start(Options {
        environment: &COLLECT_SELDOM,
        ..Options::default()
    });
    let left = Mutex::new(shape.charts());
    std::thread::scope(|scope| {
        for _ in 0..PUSHERS {
            scope.spawn(|| {
                let mut connection = Connection::to(registry.port());
                while let Some(chart) = next(&left) {
                    connection.push(&chart);
                }
            });
        }
    });
    registry
}

fn next(left: &Mutex<impl Iterator<Item = Chart>>) -> Option<Chart> {
    left.lock().expect("taking a chart doesn't panic").next()
}

/// A chart's config and archive, and what names both.
pub fn manifest(config: &[u8], archive: &[u8]) -> Value {
    let descriptor = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() });
    json!({
        "schemaVersion": 2,
        "config": descriptor(media::HELM_CONFIG, config),
        "layers": [descriptor(media::HELM_CHART, archive)],
        "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
    })
}

/// A connection that is kept: five requests a chart, each on one of its own, would take minutes.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the registry listens");
        stream.set_nodelay(true).expect("a socket's option");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket's option");
        Connection(BufReader::new(stream))
    }

    fn push(&mut self, chart: &Chart) {
        let repository = chart.repository();
        let (config, archive) = (chart.metadata().to_string().into_bytes(), chart.archive());
        self.push_blob(&repository, &config);
        self.push_blob(&repository, &archive);
        let path = format!("/v2/{repository}/manifests/{}", chart.version());
        self.send(
            "PUT",
            &path,
            media::OCI_MANIFEST,
            manifest(&config, &archive).to_string().as_bytes(),
        );
    }

    fn push_blob(&mut self, repository: &str, bytes: &[u8]) {
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        let place = begun
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        let (_, place) = place
            .and_then(|url| url.split_once("/v2/"))
            .expect("where to upload to");
        let path = format!("/v2/{place}&digest={}", sha256(bytes));
        self.send("PUT", &path, "application/octet-stream", bytes);
    }

    /// The head of a good answer.
    fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: registry\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        let stream = self.0.get_mut();
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .expect("it reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.0.read_line(&mut head).expect("an answer in time");
            assert!(count > 0, "{method} {path}: no answer");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        self.0.read_exact(&mut body).expect("the whole answer");
        let good = head.starts_with("HTTP/1.1 201 ") || head.starts_with("HTTP/1.1 202 ");
        assert!(
            good,
            "{method} {path}: {head}{}",
            String::from_utf8_lossy(&body)
        );
        head
    }
}
