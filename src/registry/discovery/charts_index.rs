//! The charts index: an artifact `charts-index:latest` beside the charts of one folder, in which
//! Bitnami and VMware's catalogs list them, because Docker Hub can't (read by Kubeapps v2.12,
//! cmd/asset-syncer/server/utils.go, and charts-syncer, internal/indexer). Its one layer is JSON,
//! `{"apiVersion":"v1","entries":{NAME:{"versions":[…]}}}`, and NAME lies beside the index. Only the
//! names are used: any pusher may have written it, and what is below them the registry itself says.

use super::prefix::Prefix;
use crate::budget::{MAX_CHARTS, MAX_CHARTS_INDEX};
use crate::oci::{Blob, Digest, Manifest};
use crate::registry::client::error;
use crate::registry::endpoints::Endpoints;
use crate::registry::paging::RepositoryText;
use crate::storage::{Result, read_verified};
use crate::sync::lock;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

/// The repository, below the prefix, and the tag.
const REPOSITORY: &str = "charts-index";
const TAG: &str = "latest";
/// The layer's type.
const LAYER: &str = "application/vnd.vmware.charts.index.layer.v1+json";

/// The charts index of one registry: the manifest that was last read, and what it lists.
#[derive(Default)]
pub(super) struct ChartsIndex {
    last: Mutex<Option<(Digest, BTreeSet<String>)>>,
}

impl ChartsIndex {
    /// The names of the repositories that the charts index lists. While it stays the same, that costs one
    /// `HEAD`, which Docker Hub doesn't count.
    pub(super) fn names(&self, endpoints: &Endpoints, prefix: &Prefix) -> Result<BTreeSet<String>> {
        let home = prefix.join(REPOSITORY);
        let what = format!("{home}:{TAG}");
        let (Ok(home), Ok(tag)) = (home.parse(), TAG.parse()) else {
            return Err(error::unexpected_body(&what, "too long a name"));
        };
        let (last, listed) = lock(&self.last).clone().unzip();
        let is_last = |digest: Option<Digest>| digest.is_some() && digest == last;
        if last.is_some() && is_last(endpoints.digest(&home, &tag)?) {
            return Ok(listed.unwrap_or_default());
        }
        let bytes = endpoints.manifest(&home, &tag)?;
        let manifest = Digest::sha256(&bytes);
        if is_last(Some(manifest.clone())) {
            return Ok(listed.unwrap_or_default());
        }
        let no_index = || error::unexpected_body(&what, "not a charts index");
        let layer = index_layer(&bytes).ok_or_else(no_index)?;
        if layer.size > MAX_CHARTS_INDEX {
            let why = format!("over {MAX_CHARTS_INDEX} bytes");
            return Err(error::unexpected_body(&what, &why));
        }
        let bytes = read_verified(endpoints.blob_from(&home, &layer, 0)?, &home, &layer)?;
        let index: IndexContent = serde_json::from_slice(&bytes).map_err(|_| no_index())?;
        if index.entries.is_cut {
            log::warn!("{what} lists over {MAX_CHARTS} charts: the rest is left out");
        }
        let entries = index.entries.names.iter();
        let names: BTreeSet<String> = entries.map(|name| prefix.join(name)).collect();
        *lock(&self.last) = Some((manifest, names.clone()));
        Ok(names)
    }
}

#[derive(serde::Deserialize)]
struct IndexContent {
    entries: ChartNames,
}

/// The keys of a map, as many as are used.
#[derive(Default)]
struct ChartNames {
    names: BTreeSet<String>,
    is_cut: bool,
}

impl<'de> Deserialize<'de> for ChartNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChartNames::default())
    }
}

impl<'de> Visitor<'de> for ChartNames {
    type Value = ChartNames;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<ChartNames, A::Error> {
        while let Some((name, _)) = map.next_entry::<RepositoryText, IgnoredAny>()? {
            match name.0 {
                Some(name) if self.names.len() < MAX_CHARTS => drop(self.names.insert(name)),
                _ => self.is_cut = true,
            }
        }
        Ok(self)
    }
}

fn index_layer(manifest: &[u8]) -> Option<Blob> {
    let Ok(Manifest::Image(manifest)) = Manifest::parse(manifest) else {
        return None;
    };
    let mut layers = manifest.layers.into_iter();
    layers
        .find(|layer| layer.media_type.is(LAYER))
        .map(|layer| layer.blob())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_charts_index_no_more_charts_are_read_than_are_used() {
        let read = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!(r#""c{n}":{{}}"#)).collect();
            let text = format!(r#"{{"entries":{{{}}}}}"#, entries.join(","));
            let index: IndexContent = serde_json::from_str(&text).unwrap();
            (index.entries.names.len(), index.entries.is_cut)
        };
        assert_eq!(read(MAX_CHARTS), (MAX_CHARTS, false));
        assert_eq!(read(MAX_CHARTS + 2), (MAX_CHARTS, true));
    }
}
