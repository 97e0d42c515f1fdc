//! The real programs that stories are played with. `make tools` fetches them into `target/tools`
//! of the repository; one that is missing fails the test that needs it.

use std::path::{Path, PathBuf};

/// Oldest to newest. The first is the last kind that pushed `application/tar+gzip`.
pub const HELM_VERSIONS: [&str; 4] = ["3.5.4", "3.9.4", "3.17.3", "4.3.1"];
pub const LEGACY_HELM: &str = "3.5.4";
pub const NEWEST_HELM: &str = "4.3.1";

/// The executable of that name, or of that name and version: `helm-4.3.1`, `docker-registry`.
pub fn tool(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(
        path.is_file(),
        "{} is missing: `make tools` fetches it",
        path.display()
    );
    path
}

/// Where python3 finds PyYAML (for PYTHONPATH).
pub fn python_path() -> PathBuf {
    let path = directory().join("python");
    assert!(
        path.join("yaml").is_dir(),
        "{}/yaml is missing: `make tools` fetches it",
        path.display()
    );
    path
}

/// The definitions of one version of Kubernetes, as JSON schemas.
pub fn kubernetes_schemas(version: &str) -> PathBuf {
    tool(&format!("kubernetes-schemas/{version}.json"))
}

/// The same of kinds that others define.
pub fn custom_resource_schemas() -> PathBuf {
    tool("custom-resource-schemas.json")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}
