//! The zoo: charts of every kind, packaged and pushed by real helms into one real registry. It
//! is built once per test run and only read after that. `plain` charts make an index that can be
//! YAML, `traps` one that must be JSON.

mod build;
mod plain;
mod specimen;
mod traps;

use std::path::PathBuf;
use std::sync::OnceLock;

pub use plain::LADDER;
pub use specimen::{Packing, Specimen};

use super::docker_registry::DockerRegistry;
use super::keyring::Keyring;

pub struct Zoo {
    pub registry: DockerRegistry,
    pub plain: Part,
    pub traps: Part,
    /// What the signed charts were signed with.
    pub keyring: Keyring,
}

/// The charts below one repository prefix.
pub struct Part {
    pub prefix: &'static str,
    pub specimens: Vec<Specimen>,
    /// A directory with the archive of each, byte for byte as the registry holds it.
    pub archives: PathBuf,
}

impl Part {
    /// The value of `--storage-registry-repo` that shows this part alone.
    pub fn storage(&self, registry: &DockerRegistry) -> String {
        format!("{}/{}", registry.host(), self.prefix)
    }

    pub fn archive(&self, specimen: &Specimen) -> Vec<u8> {
        let path = self.archives.join(specimen.archive_name());
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The shared zoo; the first to ask waits for it to be built.
pub fn zoo() -> &'static Zoo {
    static ZOO: OnceLock<Zoo> = OnceLock::new();
    ZOO.get_or_init(build::zoo)
}
