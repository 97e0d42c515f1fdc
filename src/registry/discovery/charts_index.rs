//! The charts index: an artifact `charts-index:latest` beside the charts of one folder, in which
//! Bitnami and VMware's catalogs list them, because Docker Hub can't (read by Kubeapps v2.12,
//! cmd/asset-syncer/server/utils.go, and charts-syncer, internal/indexer). Its one layer is JSON,
//! `{"apiVersion":"v1","entries":{NAME:{"versions":[…]}}}`, and NAME lies beside the index. Only the
//! names are used: any pusher may have written it, and what is below them the registry itself says.

use super::prefix::Prefix;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::registry::client::error;
use crate::registry::endpoints::Endpoints;
use crate::storage::{Result, read_verified};
use crate::sync::lock;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The repository, below the prefix, and the tag.
const REPOSITORY: &str = "charts-index";
const TAG: &str = "latest";
/// The layer's type.
const LAYER: &str = "application/vnd.vmware.charts.index.layer.v1+json";
/// Largest index read, in bytes: it takes 350 for a version, and Bitnami has 20,000 of 150 charts.
const MAX_INDEX: u64 = 32 * 1024 * 1024;

/// The charts index of one registry: the manifest that was last read, and what it lists.
#[derive(Default)]
pub(super) struct ChartsIndex {
    last: Mutex<Option<(Digest, Vec<RepositoryName>)>>,
}

impl ChartsIndex {
    /// The repositories that the charts index lists. While it stays the same, that costs one `HEAD`, which
    /// Docker Hub doesn't count.
    pub(super) fn repositories(
        &self,
        endpoints: &Endpoints,
        prefix: &Prefix,
    ) -> Result<Vec<RepositoryName>> {
        let what = format!("{}:{TAG}", prefix.join(REPOSITORY));
        let (Ok(home), Ok(tag)) = (prefix.join(REPOSITORY).parse(), TAG.parse()) else {
            return Err(error::unexpected_body(&what, "too long a name"));
        };
        let last = lock(&self.last).clone();
        let (last, listed) = last.unzip();
        let is_last = |digest: Option<Digest>| digest.is_some() && digest == last;
        if last.is_some() && is_last(endpoints.digest(&home, &tag)?) {
            return Ok(listed.unwrap_or_default());
        }
        let bytes = endpoints.manifest(&home, &tag)?;
        let manifest = Digest::sha256(&bytes);
        if is_last(Some(manifest.clone())) {
            return Ok(listed.unwrap_or_default());
        }
        let names = names_in(endpoints, &home, &what, &bytes)?;
        let listed = prefix.wanted(names.iter().map(|name| prefix.join(name)));
        *lock(&self.last) = Some((manifest, listed.clone()));
        Ok(listed)
    }
}

fn names_in(
    endpoints: &Endpoints,
    home: &RepositoryName,
    what: &str,
    manifest: &[u8],
) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        entries: BTreeMap<String, IgnoredAny>,
    }
    let no_index = || error::unexpected_body(what, "not a charts index");
    let layer = index_layer(manifest).ok_or_else(no_index)?;
    if layer.size > MAX_INDEX {
        let why = format!("over {MAX_INDEX} bytes");
        return Err(error::unexpected_body(what, &why));
    }
    let bytes = read_verified(endpoints.blob(home, &layer)?, home, &layer)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| no_index())?;
    Ok(index.entries.into_keys().collect())
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
