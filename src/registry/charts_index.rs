//! The charts index: an artifact `charts-index:latest` beside the charts of one folder, in which
//! Bitnami and VMware's catalogs list them, because Docker Hub can't (read by Kubeapps v2.12,
//! cmd/asset-syncer/server/utils.go, and charts-syncer, internal/indexer). Its one layer is JSON,
//! `{"apiVersion":"v1","entries":{NAME:{"versions":[…]}}}`, and NAME lies beside the index. Only the
//! names are taken: anybody may have pushed it, and what they hold is the registry's to say.

use super::shared::lock;
use super::{Registry, error};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::storage::{Error, Storage, read_blob};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// The repository, below the prefix, and the tag.
const REPOSITORY: &str = "charts-index";
const TAG: &str = "latest";
/// The layer's type.
const LAYER: &str = "application/vnd.vmware.charts.index.layer.v1+json";
/// Largest index read, in bytes: it takes 350 for a version, and Bitnami has 20,000 of 150 charts.
const MAX_INDEX: u64 = 32 * 1024 * 1024;

/// An index that was read, and what it lists.
#[derive(Clone)]
pub(super) struct Read {
    manifest: Digest,
    repositories: Vec<RepositoryName>,
}

#[derive(Deserialize)]
struct ChartsIndex {
    entries: BTreeMap<String, IgnoredAny>,
}

impl Registry {
    /// What the charts index lists. While it stays the same, knowing that costs one `HEAD`, which
    /// Docker Hub doesn't count.
    pub(super) fn indexed_repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        let what = format!("{}:{TAG}", self.beside(REPOSITORY));
        let (Ok(home), Ok(tag)) = (self.beside(REPOSITORY).parse(), TAG.parse()) else {
            return Err(error::unfit(&what, "too long a name"));
        };
        let known = lock(&self.discovery.charts_index).clone();
        let same = |digest: &Digest| {
            let known = known.as_ref().filter(|known| known.manifest == *digest);
            known.map(|known| known.repositories.clone())
        };
        if known.is_some()
            && let Some(repositories) = self.digest(&home, &tag)?.and_then(|digest| same(&digest))
        {
            return Ok(repositories);
        }
        let bytes = self.manifest(&home, &tag)?;
        let manifest = Digest::sha256(&bytes);
        if let Some(repositories) = same(&manifest) {
            return Ok(repositories);
        }
        let repositories = self.read_index(&home, &what, &bytes)?;
        *lock(&self.discovery.charts_index) = Some(Read {
            manifest,
            repositories: repositories.clone(),
        });
        Ok(repositories)
    }

    fn read_index(
        &self,
        home: &RepositoryName,
        what: &str,
        manifest: &[u8],
    ) -> Result<Vec<RepositoryName>, Error> {
        let no_index = || error::unfit(what, "not a charts index");
        let layer = index_layer(manifest).ok_or_else(no_index)?;
        if layer.size > MAX_INDEX {
            return Err(error::unfit(what, &format!("over {MAX_INDEX} bytes")));
        }
        let index = read_blob(self, home, &layer)?;
        let index = serde_json::from_slice::<ChartsIndex>(&index).map_err(|_| no_index())?;
        Ok(self.wanted(index.entries.keys().map(|name| self.beside(name))))
    }

    /// A repository's name below the prefix.
    fn beside(&self, name: &str) -> String {
        match &self.options.prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        }
    }
}

fn index_layer(manifest: &[u8]) -> Option<Descriptor> {
    match Manifest::parse(manifest) {
        Ok(Manifest::Image(manifest)) => manifest
            .layers
            .into_iter()
            .find(|layer| layer.media_type.is(LAYER)),
        _ => None,
    }
}
