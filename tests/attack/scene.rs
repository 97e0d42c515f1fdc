//! What an attack is made on: a registry with a dozen charts, or with as many as fill the daemon's
//! cache, and the daemon in front of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::limits::{self, Copy};
use crate::normal;
use crate::rows::Row;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Pushed};
use crate::support::process::Scratch;
use crate::trial::Scale;

/// The charts, by size of their archives in bytes: ten that are small, and two that aren't; the
/// last at the full scale alone.
const SMALL: (usize, usize) = (10, 20_000);
const LARGE: usize = 5_000_000;
const HUGE: usize = 50_000_000;
/// What fills the daemon's cache of 32 MiB to its last block.
const WARMING: (usize, usize) = (128, 256 * 1024);
/// Bytes of the archive that each client wants of a mirror, and one more for each.
const MIRRORED: usize = 100_000;
/// Length of each chart's description, in bytes, so that the index has the usual 16 KB.
const DESCRIPTION: usize = 1_100;

/// A registry and the daemon in front of it. The daemon is dropped first.
pub struct Scene {
    pub daemon: Daemon,
    pub registry: Registry,
    /// What a normal client should get.
    pub index: Arc<Vec<u8>>,
    _copy: Option<Copy>,
    _mirror: Option<Scratch>,
}

/// The registry, and what was pushed there.
pub struct Registry {
    pub fake: FakeRegistry,
    pub charts: Vec<Pushed>,
}

impl Registry {
    fn stocked(row: &Row, scale: &Scale) -> Registry {
        let fake = FakeRegistry::start();
        let some = |(count, size)| std::iter::repeat_n(size, count);
        let sizes = some(SMALL).chain([LARGE]).chain(scale.full.then_some(HUGE));
        let mut charts: Vec<Pushed> = sizes
            .enumerate()
            .map(|(number, size)| push(&fake, number, size, DESCRIPTION))
            .collect();
        if row.warm_cache {
            let others = some(WARMING).zip(charts.len()..);
            charts.extend(others.map(|(size, number)| push(&fake, number, size, 0)));
        }
        if row.mirror {
            let others = charts.len()..charts.len() + row.strength(scale);
            charts.extend(others.map(|number| push(&fake, number, MIRRORED + number, 0)));
        }
        Registry { fake, charts }
    }

    /// Where a client finds the archives that are small.
    pub fn small(&self) -> Vec<String> {
        (0..SMALL.0).map(path).collect()
    }

    /// Where a client finds the archive of 5 MB.
    pub fn large(&self) -> String {
        path(SMALL.0)
    }

    /// Where a client finds all archives.
    pub fn all(&self) -> Vec<String> {
        (0..self.charts.len()).map(path).collect()
    }
}

/// A chart with so large an archive and so much to say.
fn push(fake: &FakeRegistry, number: usize, size: usize, description: usize) -> Pushed {
    let name = format!("team/chart-{number}");
    let description = format!("{name}: {}", "what it is for. ".repeat(description / 16));
    let metadata = json!({
        "apiVersion": "v2",
        "name": format!("chart-{number}"),
        "version": "1.0.0",
        "description": description,
    });
    fake.push(
        &Chart::new(&name, "1.0.0")
            .config(&metadata)
            .archive(vec![number as u8; size]),
    )
}

fn path(number: usize) -> String {
    format!("/charts/chart-{number}-1.0.0.tgz")
}

impl Scene {
    pub fn set(row: &Row, scale: &Scale) -> Scene {
        let registry = Registry::stocked(row, scale);
        let (command, copy) = limits::command(&binary(), row.limits);
        let grace = format!("--shutdown-grace={}s", scale.grace.as_secs());
        let mirror = row.mirror.then(|| Scratch::new("mirror"));
        let directory = mirror.as_ref().map(|one| one.path().display());
        let kept = directory.map(|path| format!("--mirror-dir={path}"));
        let repository = registry.fake.flag();
        let flags = [&*repository, &grace, "--log-level=info"];
        let flags: Vec<&str> = flags.into_iter().chain(kept.as_deref()).collect();
        let daemon = Daemon::start_as(command, &flags);
        daemon.wait_ready();
        let index =
            normal::body(address(&daemon)).expect("the index is there when the daemon is ready");
        let scene = Scene {
            daemon,
            registry,
            index: Arc::new(index),
            _copy: copy,
            _mirror: mirror,
        };
        if row.warm_cache {
            scene.warm_cache();
        }
        scene
    }

    /// Fills the daemon's cache, and sees that it holds them all.
    fn warm_cache(&self) {
        let (count, size) = WARMING;
        let pull_all = || {
            for path in self.registry.all().iter().rev().take(count) {
                assert_eq!(self.daemon.get(path).body.len(), size, "{path}");
            }
            self.registry.fake.count("GET /v2/*/blobs/*")
        };
        assert_eq!(
            pull_all(),
            pull_all(),
            "the registry was asked again for what the cache should hold"
        );
    }

    pub fn address(&self) -> SocketAddr {
        address(&self.daemon)
    }
}

fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port()))
}

/// The binary that is released, if the caller says where it is.
pub fn binary() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_oci-chartrepo").into();
    std::env::var_os("OCI_CHARTREPO_RELEASE").map_or(built, PathBuf::from)
}
