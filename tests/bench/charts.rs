//! The charts that registries are filled with: as many as wanted, and as much to say for each as a
//! chart of the real world has, so that a thousand of them make an index of 0.7 MB.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// How many charts, and how large.
#[derive(Clone, Copy)]
pub struct Shape {
    pub repositories: usize,
    /// Of each repository.
    pub versions: usize,
    /// Bytes of each archive, or none for a small real one.
    pub archive: Option<usize>,
    /// Bytes of each description.
    pub description: usize,
}

impl Shape {
    pub const fn new(repositories: usize, versions: usize) -> Shape {
        Shape {
            repositories,
            versions,
            archive: None,
            description: 120,
        }
    }

    pub fn charts(&self) -> impl Iterator<Item = Chart> {
        let shape = *self;
        (0..shape.repositories)
            .flat_map(move |repository| {
                (0..shape.versions).map(move |version| (repository, version))
            })
            .map(move |(repository, version)| Chart {
                shape,
                repository,
                version,
            })
    }

    pub fn len(&self) -> usize {
        self.repositories * self.versions
    }
}

/// One chart version.
pub struct Chart {
    shape: Shape,
    repository: usize,
    version: usize,
}

impl Chart {
    pub fn name(&self) -> String {
        format!("chart-{:04}", self.repository)
    }

    pub fn repository(&self) -> String {
        format!("team-{}/{}", self.repository % 10, self.name())
    }

    pub fn version(&self) -> String {
        format!("1.{}.0", self.version)
    }

    /// Where the daemon serves it.
    pub fn path(&self) -> String {
        format!("/charts/{}-{}.tgz", self.name(), self.version())
    }

    pub fn metadata(&self) -> Value {
        let name = self.name();
        let site = format!("https://charts.example/{name}");
        json!({
            "apiVersion": "v2",
            "name": name,
            "version": self.version(),
            "appVersion": format!("{}.4.2", self.version),
            "kubeVersion": ">=1.25.0-0",
            "type": "application",
            "description": "what it is for. ".repeat(self.shape.description / 16),
            "home": site,
            "icon": format!("{site}/icon.svg"),
            "keywords": ["web", "proxy", "metrics"],
            "maintainers": [{ "name": "A. Maintainer", "email": "maintainer@charts.example" }],
            "sources": [format!("{site}/source")],
        })
    }

    /// A small chart archive as `helm package` makes it, or noise of the size that is wanted.
    pub fn archive(&self) -> Vec<u8> {
        match self.shape.archive {
            Some(size) => noise(size, self.repository * self.shape.versions + self.version),
            None => self.small_archive(),
        }
    }

    fn small_archive(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let files = [
            (
                "Chart.yaml",
                serde_yaml::to_string(&self.metadata()).expect("metadata is YAML"),
            ),
            ("values.yaml", "replicas: 1\n".to_owned()),
        ];
        for (file, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            let path = format!("{}/{file}", self.name());
            archive
                .append_data(&mut header, path, text.as_bytes())
                .expect("a vector takes all");
        }
        let compressed = archive.into_inner().and_then(|encoder| encoder.finish());
        compressed.expect("a vector takes all")
    }
}

/// Bytes that don't compress, other ones for each number.
fn noise(size: usize, number: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (number as u64 + 1);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    let block: Vec<u8> = words
        .flat_map(u64::to_le_bytes)
        .take(size.min(1 << 20))
        .collect();
    block.repeat(size.div_ceil(block.len()))[..size].to_vec()
}
