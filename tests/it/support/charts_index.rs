//! The artifact `charts-index`, as Bitnami's pipelines push it beside the charts of a folder.

use serde_json::{Value, json};

use super::fake_registry::{FakeRegistry, media};

/// The type of its one layer.
pub const LAYER: &str = "application/vnd.vmware.charts.index.layer.v1+json";
const CONFIG: &str = "application/vnd.vmware.charts.index.config.v1+json";

/// Pushes a charts index of these entries beside the charts of a folder.
pub fn push_charts_index(fake: &FakeRegistry, repository: &str, entries: &[&str]) {
    let version =
        json!({ "versions": [{ "version": "1.0.0", "urls": ["example.com/charts/x:1.0.0"] }] });
    let entries = entries
        .iter()
        .map(|name| ((*name).to_owned(), version.clone()));
    let index = json!({ "apiVersion": "v1", "entries": Value::Object(entries.collect()) });
    push_as_charts_index(fake, repository, LAYER, index.to_string().as_bytes());
}

/// Any bytes in its place.
pub fn push_as_charts_index(fake: &FakeRegistry, repository: &str, layer_type: &str, bytes: &[u8]) {
    let config = fake.push_blob(repository, CONFIG, b"{}");
    let layer = fake.push_blob(repository, layer_type, bytes);
    let manifest = json!({ "schemaVersion": 2, "config": config.json(), "layers": [layer.json()] });
    fake.push_manifest(
        repository,
        "latest",
        media::OCI_MANIFEST,
        manifest.to_string().as_bytes(),
    );
}
