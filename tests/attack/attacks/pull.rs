//! Harmless clients that pull charts from a registry that is harmful.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::crowd::{Client, Crowd, Next};
use crate::field::Field;
use crate::scene::Registry;
use crate::support::fake_registry::{Fault, Reply};

/// What a flood brings, in bytes, whatever was asked for.
const FLOOD: usize = 64 << 20;
/// The length of a header of a flood, in bytes.
const HEADER: usize = 1 << 20;

/// Reads all of a chart, and connects again for the next.
struct Pull {
    request: Option<String>,
}

impl Client for Pull {
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next> {
        if let Some(request) = &self.request {
            stream.write_all(request.as_bytes())?;
            self.request = None;
        }
        let mut chunk = vec![0; 64 * 1024];
        match stream.read(&mut chunk)? {
            0 => Ok(Next::Leave),
            _ => Ok(Next::After(Duration::ZERO)),
        }
    }
}

pub fn charts(field: &Field) {
    Crowd {
        size: field.strength,
        ..Crowd::default()
    }
    .attack(field, |number| {
        let path = &field.charts[number % field.charts.len()];
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: charts.example\r\nConnection: close\r\n\r\n");
        Box::new(Pull {
            request: Some(request),
        })
    });
}

/// The registry as it should be.
pub fn honest(_: &Registry) {}

/// No archive is answered.
pub fn hangs(registry: &Registry) {
    archives(registry, |_| vec![Fault::Hang]);
}

/// Nothing is answered, not even the requests of a refresh.
pub fn hangs_wholly(registry: &Registry) {
    registry.fake.spoil("GET *").with(Fault::Hang);
}

/// A byte a second.
pub fn drips(registry: &Registry) {
    archives(registry, |_| vec![Fault::Drip(1, Duration::from_secs(1))]);
}

/// Far more than was promised: in the body, with a length and without, or in the head.
pub fn floods(registry: &Registry) {
    let body = Reply::new(200).body(vec![b'x'; FLOOD]);
    archives(registry, |number| match number % 3 {
        0 => vec![Fault::Answer(body.clone())],
        1 => vec![Fault::Answer(body.clone()), Fault::Chunked],
        _ => vec![Fault::Header("X-Flood", "x".repeat(HEADER))],
    });
}

/// Instead of an answer, or in its middle.
pub fn resets(registry: &Registry) {
    archives(registry, |number| match number % 2 {
        0 => vec![Fault::Reset],
        _ => vec![Fault::Cut(1_000)],
    });
}

pub fn redirects_in_circles(registry: &Registry) {
    let paths: Vec<String> = registry
        .charts
        .iter()
        .map(|chart| chart.archive_path())
        .collect();
    archives(registry, |number| {
        let next = &paths[(number + 1) % paths.len()];
        vec![Fault::Answer(Reply::redirect(307, next))]
    });
}

/// Puts faults in front of each archive, by its number.
fn archives(registry: &Registry, faults: impl Fn(usize) -> Vec<Fault>) {
    for (number, chart) in registry.charts.iter().enumerate() {
        for fault in faults(number) {
            registry
                .fake
                .spoil(&format!("GET {}", chart.archive_path()))
                .with(fault);
        }
    }
}
