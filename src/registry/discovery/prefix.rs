//! Which of the listed repositories are wanted: those at or below the prefix in
//! `--storage-registry-repo`, or all without one.

use crate::oci::RepositoryName;
use crate::registry::endpoints::Endpoints;
use crate::storage::Result;
use std::collections::BTreeSet;

/// The path that limits a listing.
pub(super) struct Prefix(pub(super) Option<RepositoryName>);

impl Prefix {
    /// The valid names among these that lie below the prefix.
    pub(super) fn wanted(&self, names: &BTreeSet<String>) -> Vec<RepositoryName> {
        let parse = |name: &String| {
            let parsed = name.parse();
            parsed.inspect_err(|error| log::debug!("skipped repository {name:?}: {error}"))
        };
        let is_below = |name: &RepositoryName| self.0.as_ref().is_none_or(|top| name.is_below(top));
        let valid = names.iter().filter_map(|name| parse(name).ok());
        valid.filter(is_below).collect()
    }

    /// A sentence about a catalog that holds repositories, but none below the prefix: how many, and the one
    /// whose name is most like the prefix.
    pub(super) fn elsewhere(&self, catalog: &BTreeSet<String>) -> Option<String> {
        let prefix = self.0.as_ref()?;
        let is_valid = |name: &&String| name.parse::<RepositoryName>().is_ok();
        let valid: Vec<&String> = catalog.iter().filter(is_valid).collect();
        let count = valid.len();
        let last_first = valid.into_iter().rev();
        let alike = last_first.max_by_key(|name| likeness(name, prefix.as_str()))?;
        Some(format!(
            "none of the repositories that the catalog lists ({count}, such as {alike}) lies below the \
             prefix {prefix}"
        ))
    }

    /// The prefix, if it is a repository that has tags.
    pub(super) fn as_repository(&self, endpoints: &Endpoints) -> Result<BTreeSet<String>> {
        let Some(name) = &self.0 else {
            return Ok(BTreeSet::new());
        };
        let has_tags = !endpoints.tags(name)?.is_empty();
        Ok(has_tags.then(|| name.to_string()).into_iter().collect())
    }

    /// The first component.
    pub(super) fn key(&self) -> &str {
        let name = self.0.as_ref().map_or("", |name| name.as_str());
        name.split('/').next().unwrap_or_default()
    }

    /// A repository's name below the prefix.
    pub(super) fn join(&self, name: &str) -> String {
        match &self.0 {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        }
    }
}

/// How many bytes two names begin with in common.
fn likeness(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    pairs.take_while(|(a, b)| a == b).count()
}
