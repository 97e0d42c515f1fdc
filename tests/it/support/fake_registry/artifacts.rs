//! What stories push: charts as every helm has ever pushed them, and the other things that live
//! in registries beside charts.

use serde_json::{Value, json};

use super::store::Store;

/// Media types, spelt once.
pub mod media {
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
    pub const HELM_CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    pub const HELM_CHART_LEGACY: &str = "application/tar+gzip";
    pub const HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
}

#[derive(Clone, Debug)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: usize,
}

impl Descriptor {
    pub fn json(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size })
    }
}

/// What a push left in the registry.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub repository: String,
    pub tag: String,
    pub manifest: String,
    pub config: Descriptor,
    pub archive: Descriptor,
    pub provenance: Option<Descriptor>,
}

impl Pushed {
    /// The archive's bare hex digest, as an index entry has it.
    pub fn hex(&self) -> &str {
        self.archive.digest.trim_start_matches("sha256:")
    }

    pub fn archive_path(&self) -> String {
        format!("/v2/{}/blobs/{}", self.repository, self.archive.digest)
    }

    pub fn config_path(&self) -> String {
        format!("/v2/{}/blobs/{}", self.repository, self.config.digest)
    }

    pub fn manifest_path(&self) -> String {
        format!("/v2/{}/manifests/{}", self.repository, self.tag)
    }
}

/// A chart to be pushed as `helm push` does, unless told otherwise.
#[derive(Clone)]
pub struct Chart {
    repository: String,
    tag: String,
    config: Vec<u8>,
    archive: Vec<u8>,
    provenance: Option<Vec<u8>>,
    provenance_first: bool,
    archive_type: &'static str,
    more_layers: Vec<(String, Vec<u8>)>,
    annotations: Vec<(String, String)>,
}

impl Chart {
    /// The chart named as the repository's last part, tagged as helm ≥ 3.8 tags that version.
    pub fn new(repository: &str, version: &str) -> Chart {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let metadata = json!({
            "name": name,
            "version": version,
            "description": format!("The chart {name}"),
            "apiVersion": "v2",
        });
        Chart {
            repository: repository.to_owned(),
            tag: version.replace('+', "_"),
            config: metadata.to_string().into(),
            archive: format!("archive of {repository} {version}").into(),
            provenance: None,
            provenance_first: false,
            archive_type: media::HELM_CHART,
            more_layers: Vec::new(),
            annotations: Vec::new(),
        }
    }

    pub fn tag(mut self, tag: &str) -> Chart {
        self.tag = tag.to_owned();
        self
    }

    /// The config blob: what helm writes is `json.Marshal(chart.Metadata)`.
    pub fn config(self, metadata: &Value) -> Chart {
        self.config_bytes(metadata.to_string())
    }

    pub fn config_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Chart {
        self.config = bytes.into();
        self
    }

    pub fn archive(mut self, bytes: impl Into<Vec<u8>>) -> Chart {
        self.archive = bytes.into();
        self
    }

    /// With a provenance layer, after the archive.
    pub fn signed(mut self, provenance: &str) -> Chart {
        self.provenance = Some(provenance.into());
        self
    }

    /// The provenance layer comes before the archive: layers are sorted by digest, so it happens.
    pub fn provenance_first(mut self) -> Chart {
        self.provenance_first = true;
        self
    }

    /// As `helm chart push` of Helm 3.0–3.6 did it.
    pub fn legacy(mut self) -> Chart {
        self.archive_type = media::HELM_CHART_LEGACY;
        self
    }

    pub fn layer(mut self, media_type: &str, bytes: &[u8]) -> Chart {
        self.more_layers
            .push((media_type.to_owned(), bytes.to_vec()));
        self
    }

    /// An annotation of the manifest.
    pub fn annotation(mut self, key: &str, value: &str) -> Chart {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn push_to(&self, store: &mut Store) -> Pushed {
        let repository = &self.repository;
        let config = store.push_blob(repository, media::HELM_CONFIG, &self.config);
        let archive = store.push_blob(repository, self.archive_type, &self.archive);
        let provenance = self.provenance.as_ref();
        let provenance =
            provenance.map(|bytes| store.push_blob(repository, media::HELM_PROVENANCE, bytes));
        let mut layers = vec![archive.json()];
        layers.extend(provenance.iter().map(Descriptor::json));
        if self.provenance_first {
            layers.reverse();
        }
        for (media_type, bytes) in &self.more_layers {
            layers.push(store.push_blob(repository, media_type, bytes).json());
        }
        let mut manifest = json!({ "schemaVersion": 2, "config": config.json(), "layers": layers });
        for (key, value) in &self.annotations {
            manifest["annotations"][key] = json!(value);
        }
        let bytes = manifest.to_string();
        let digest =
            store.push_manifest(repository, &self.tag, media::OCI_MANIFEST, bytes.as_bytes());
        Pushed {
            repository: repository.clone(),
            tag: self.tag.clone(),
            manifest: digest,
            config,
            archive,
            provenance,
        }
    }
}

/// An OCI image as a container build pushes it.
pub(super) fn push_image(store: &mut Store, repository: &str, tag: &str) -> String {
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers" } });
    let config = store.push_blob(repository, media::OCI_CONFIG, config.to_string().as_bytes());
    let layer = store.push_blob(repository, media::OCI_LAYER, tag.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": config.json(),
        "layers": [layer.json()],
    });
    let bytes = manifest.to_string();
    store.push_manifest(repository, tag, media::OCI_MANIFEST, bytes.as_bytes())
}
