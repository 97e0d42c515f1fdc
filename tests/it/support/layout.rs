//! OCI image layouts (image-spec v1.1.0, image-layout.md) as tests fill them: blob by blob, whole
//! from a real registry, or by skopeo. Small enough to leave out or break any part.

use std::fs;
use std::path::{Path, PathBuf};

use oci_chartrepo::oci::Digest;
use serde_json::{Value, json};

use super::docker_registry::DockerRegistry;
use super::helm::argument;
use super::http;
use super::process::run_ok;
use super::tools::tool;

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub struct Layout(PathBuf);

/// A chart in a layout, by its descriptors. `manifest` is ready to be listed.
pub struct Chart {
    pub manifest: Value,
    pub config: Value,
    pub archive: Value,
    pub archive_bytes: Vec<u8>,
}

impl Layout {
    /// A layout that lists nothing yet.
    pub fn at(directory: impl Into<PathBuf>) -> Layout {
        let layout = Layout(directory.into());
        fs::create_dir_all(layout.0.join("blobs/sha256")).expect("mkdir");
        fs::write(
            layout.0.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .expect("write");
        layout.list(&[]);
        layout
    }

    /// A layout that lists one chart for each name and version, by the tag that is the version.
    pub fn with(directory: impl Into<PathBuf>, charts: &[(&str, &str)]) -> Layout {
        let layout = Layout::at(directory);
        let listed = charts.iter().map(|(name, version)| {
            named(
                &layout.chart(name, version).manifest,
                &format!("{name}:{version}"),
            )
        });
        layout.list(&listed.collect::<Vec<_>>());
        layout
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn index(&self) -> PathBuf {
        self.0.join("index.json")
    }

    /// The flags of a daemon on this layout.
    pub fn flags(&self) -> [String; 2] {
        flags(&self.0)
    }

    /// Writes a blob and answers its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let descriptor =
            json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
        fs::write(self.place(&descriptor), bytes).expect("write a blob");
        descriptor
    }

    /// Where a blob is.
    pub fn place(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    /// A chart that isn't listed yet. Its archive is no archive: the daemon never looks into one.
    pub fn chart(&self, name: &str, version: &str) -> Chart {
        self.chart_with(
            name,
            version,
            format!("the archive of {name} {version}").as_bytes(),
        )
    }

    pub fn chart_with(&self, name: &str, version: &str, archive: &[u8]) -> Chart {
        let config = json!({"apiVersion": "v2", "name": name, "version": version}).to_string();
        let config = self.blob(
            "application/vnd.cncf.helm.config.v1+json",
            config.as_bytes(),
        );
        let layer = self.blob(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            archive,
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let manifest = self.blob(MANIFEST_TYPE, manifest.as_bytes());
        Chart {
            manifest,
            config,
            archive: layer,
            archive_bytes: archive.to_vec(),
        }
    }

    /// An image index that is a blob, ready to be listed.
    pub fn nested(&self, manifests: &[Value]) -> Value {
        self.blob(INDEX_TYPE, index(manifests).as_bytes())
    }

    /// Lists these and nothing else, all at once, as tools do it: in a file that takes the old
    /// one's place.
    pub fn list(&self, manifests: &[Value]) {
        let fresh = self.0.join("index.json.fresh");
        fs::write(&fresh, index(manifests)).expect("write an index");
        fs::rename(fresh, self.index()).expect("rename");
    }

    /// Copies all tags of a repository and answers them with their manifests' descriptors. Knows
    /// nothing of charts.
    pub fn copy_from(&self, registry: &DockerRegistry, repository: &str) -> Vec<(String, Value)> {
        let get = |path: &str| fetch(registry, &format!("/v2/{repository}/{path}"));
        let copy = |tag: String| {
            let manifest = get(&format!("manifests/{tag}"));
            let parsed: Value = serde_json::from_slice(&manifest).expect("a manifest is JSON");
            let layers = parsed["layers"].as_array().expect("layers").iter();
            for blob in layers.chain([&parsed["config"]]) {
                let digest = blob["digest"].as_str().expect("a digest");
                self.blob("", &get(&format!("blobs/{digest}")));
            }
            (tag, self.blob(MANIFEST_TYPE, &manifest))
        };
        tags(registry, repository).into_iter().map(copy).collect()
    }
}

pub fn index(manifests: &[Value]) -> String {
    json!({"schemaVersion": 2, "manifests": manifests}).to_string()
}

/// A descriptor with a name for an index to list it by.
pub fn named(descriptor: &Value, name: &str) -> Value {
    let mut named = descriptor.clone();
    named["annotations"] = json!({ REF_NAME: name });
    named
}

pub fn flags(directory: &Path) -> [String; 2] {
    [
        "--storage=layout".to_owned(),
        format!("--storage-layout-dir={}", argument(directory)),
    ]
}

/// Every repository of a registry.
pub fn repositories(registry: &DockerRegistry) -> Vec<String> {
    let listed: Value =
        serde_json::from_slice(&fetch(registry, "/v2/_catalog?n=1000")).expect("JSON");
    strings(&listed["repositories"])
}

pub fn tags(registry: &DockerRegistry, repository: &str) -> Vec<String> {
    let listed = fetch(registry, &format!("/v2/{repository}/tags/list"));
    strings(&serde_json::from_slice::<Value>(&listed).expect("JSON")["tags"])
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|one| one.as_str().expect("a string").to_owned())
        .collect()
}

fn fetch(registry: &DockerRegistry, path: &str) -> Vec<u8> {
    let accept = [("Accept", MANIFEST_TYPE)];
    let answer =
        http::request(registry.port(), "GET", path, &accept).expect("the registry answers");
    assert!(
        answer.status == 200 && answer.complete,
        "GET {path}: {}",
        answer.body_text()
    );
    answer.body
}

/// `skopeo copy` of all tags of a repository into the layout at `directory`.
pub fn skopeo_copy(registry: &DockerRegistry, repository: &str, directory: &Path) {
    // skopeo makes the layout, but not what is above it.
    fs::create_dir_all(directory.parent().expect("a parent")).expect("mkdir");
    for tag in tags(registry, repository) {
        let from = format!("docker://{}/{repository}:{tag}", registry.host());
        let to = format!("oci:{}:{tag}", argument(directory));
        let copy = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--preserve-digests",
            "--src-tls-verify=false",
            &from,
            &to,
        ];
        run_ok(&tool("skopeo/skopeo"), &copy, &[]);
    }
}
