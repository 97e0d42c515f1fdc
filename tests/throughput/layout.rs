//! An OCI image layout whose index has the wanted size: charts without archives worth the name, but
//! with something to say.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Charts, and how much each has to say in bytes. The small index and its head fit into the kilobyte
/// that `tiny_http` writes at once: else it would be compared while it waits for an acknowledgement.
const SMALL: (usize, usize) = (1, 200);
const LARGE: (usize, usize) = (950, 850);

/// A layout on disk.
pub struct Layout {
    pub path: PathBuf,
}

impl Layout {
    /// An index of about half a KB.
    pub fn small(path: &Path) -> Layout {
        Layout::of(path, SMALL)
    }

    /// An index of about 1 MB.
    pub fn large(path: &Path) -> Layout {
        Layout::of(path, LARGE)
    }

    fn of(path: &Path, (charts, description): (usize, usize)) -> Layout {
        let layout = Layout { path: path.to_owned() };
        fs::create_dir_all(path.join("blobs/sha256")).expect("create a layout");
        let manifests: Vec<Value> = (0..charts).map(|number| layout.chart(number, description)).collect();
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        layout.file("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }));
        layout.file("index.json", &index);
        layout
    }

    /// Writes a chart; the descriptor of its manifest.
    fn chart(&self, number: usize, description: usize) -> Value {
        let name = format!("chart-{number}");
        let description = "what it is for. ".repeat(description / 16);
        let metadata =
            json!({ "apiVersion": "v2", "name": name, "version": "1.0.0", "description": description });
        let config = self.blob("application/vnd.cncf.helm.config.v1+json", metadata.to_string().as_bytes());
        let archive = self.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", name.as_bytes());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [archive] });
        let mut descriptor =
            self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": format!("{name}:1.0.0") });
        descriptor
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex: String = Sha256::digest(bytes).into_iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.path.join("blobs/sha256").join(&hex), bytes).expect("write a blob");
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn file(&self, name: &str, value: &Value) {
        fs::write(self.path.join(name), value.to_string()).expect("write a file of a layout");
    }
}
