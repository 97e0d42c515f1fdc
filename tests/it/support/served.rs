//! What stories of downloads begin with: one signed chart, and the daemon that serves it.

use std::io::ErrorKind;

use super::daemon::Daemon;
use super::fake_registry::{Chart, FakeRegistry, Fault, Pushed};
use super::http;
use super::story::ready_daemon;

/// One chart of this many bytes, served.
pub struct Served {
    pub fake: FakeRegistry,
    pub chart: Pushed,
    pub archive: Vec<u8>,
    pub daemon: Daemon,
}

pub const PATH: &str = "/charts/web-1.0.0.tgz";
/// Nothing is kept: each archive is passed on as it comes.
pub const UNCACHED: &str = "--chart-cache-size=0";

impl Served {
    pub fn of_size(size: usize) -> Served {
        Served::with(size, &[])
    }

    pub fn with(size: usize, flags: &[&str]) -> Served {
        let fake = FakeRegistry::start();
        let archive = noise(size);
        let chart = fake.push(
            &Chart::new("web", "1.0.0")
                .archive(archive.clone())
                .signed("PGP"),
        );
        let daemon = ready_daemon(&fake, flags);
        Served {
            fake,
            chart,
            archive,
            daemon,
        }
    }

    /// Fetched whole before any of it is sent, and passed on as it comes.
    pub fn each_way(size: usize) -> [Served; 2] {
        [Served::of_size(size), Served::with(size, &[UNCACHED])]
    }

    /// How often the registry was asked for the archive.
    pub fn fetches(&self) -> usize {
        self.fake
            .count(&format!("GET {}", self.chart.archive_path()))
    }

    /// A fault in front of every download of the archive.
    pub fn spoil(&self, fault: Fault) {
        self.fake
            .spoil(&format!("GET {}", self.chart.archive_path()))
            .with(fault);
    }

    /// What a client gets while the registry's bytes are spoiled: never a whole archive. When not
    /// even the first bytes can be trusted there may be an error instead, or no answer at all.
    pub fn assert_never_whole(&self) {
        match http::request(self.daemon.port(), "GET", PATH, &[]) {
            Ok(answer) if answer.status == 200 => {
                let length = self.archive.len().to_string();
                assert_eq!(answer.header("Content-Length"), Some(&*length));
                assert!(!answer.complete && answer.body.len() < self.archive.len());
            }
            Ok(answer) => assert_eq!(answer.status, 502, "{}", answer.body_text()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        }
        let told = self.daemon.wait_for_log(" WARN ");
        assert!(told.contains("web-1.0.0.tgz"), "{told}");
    }
}

/// Bytes without a pattern shorter than a mebibyte.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = std::iter::repeat_with(next).flat_map(u64::to_le_bytes);
    let block: Vec<u8> = words.take(size.min(1 << 20)).collect();
    block.repeat(size.div_ceil(block.len()))[..size].to_vec()
}
