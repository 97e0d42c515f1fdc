//! The charts index: an artifact `charts-index:latest` beside the charts of one folder, in which
//! Bitnami and VMware's catalogs list them, because Docker Hub can't (read by Kubeapps v2.12,
//! cmd/asset-syncer/server/utils.go, and charts-syncer, internal/indexer). Its one layer is JSON,
//! `{"apiVersion":"v1","entries":{NAME:{"versions":[…]}}}`, and NAME lies beside the index. Only the
//! names are taken: anybody may have pushed it, and what they hold is the registry's to say.

use super::discovery::lock;
use super::{Registry, error};
use crate::oci::{Descriptor, Digest, Manifest, Reference, RepositoryName};
use crate::storage::{Error, Storage, read_blob};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// The repository, below the prefix, and the tag.
const REPOSITORY: &str = "charts-index";
const TAG: &str = "latest";
/// The layer's type.
const LAYER: &str = "application/vnd.vmware.charts.index.layer.v1+json";
/// Largest index read, in bytes: Bitnami's, with all versions of 150 charts, takes a few MB.
const MAX_INDEX: u64 = 64 * 1024 * 1024;

/// An index that was read, and what it lists.
#[derive(Clone)]
pub(super) struct Read {
    layer: Digest,
    repositories: Vec<RepositoryName>,
}

#[derive(Deserialize)]
struct ChartsIndex {
    entries: BTreeMap<String, IgnoredAny>,
}

impl Registry {
    /// What the charts index lists. Asked again, only its manifest is fetched while it stays the same.
    pub(super) fn indexed_repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        let beside = |name: &str| match &self.options.prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        };
        let what = format!("{}:{TAG}", beside(REPOSITORY));
        let (Ok(home), Ok(tag)) = (beside(REPOSITORY).parse::<RepositoryName>(), TAG.parse::<Reference>())
        else {
            return Err(error::unfit(&what, "a name too long"));
        };
        let Some(layer) = index_layer(&self.manifest(&home, &tag)?) else {
            return Err(error::unfit(&what, "not a charts index"));
        };
        if let Some(read) =
            lock(&self.discovery.charts_index).as_ref().filter(|read| read.layer == layer.digest)
        {
            return Ok(read.repositories.clone());
        }
        if layer.size > MAX_INDEX {
            return Err(error::unfit(&what, &format!("over {MAX_INDEX} bytes")));
        }
        let bytes = read_blob(self, &home, &layer)?;
        let index: ChartsIndex =
            serde_json::from_slice(&bytes).map_err(|_| error::unfit(&what, "not a charts index"))?;
        let repositories = self.wanted(index.entries.keys().map(|name| beside(name)));
        *lock(&self.discovery.charts_index) =
            Some(Read { layer: layer.digest, repositories: repositories.clone() });
        Ok(repositories)
    }
}

fn index_layer(manifest: &[u8]) -> Option<Descriptor> {
    match Manifest::parse(manifest) {
        Ok(Manifest::Image(manifest)) => manifest.layers.into_iter().find(|layer| layer.media_type.is(LAYER)),
        _ => None,
    }
}
