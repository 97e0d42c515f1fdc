//! Which of the listed repositories are wanted: those at or below the prefix in
//! `--storage-registry-repo`, or all without one.

use crate::oci::RepositoryName;
use std::collections::BTreeSet;

/// The path that limits a listing.
pub(super) struct Prefix(pub(super) Option<RepositoryName>);

impl Prefix {
    /// The valid names among these that lie below the prefix.
    pub(super) fn wanted(&self, names: impl IntoIterator<Item = String>) -> Vec<RepositoryName> {
        let parse = |name: String| match name.parse::<RepositoryName>() {
            Ok(name) => Some(name),
            Err(error) => {
                log::debug!("skipped repository {name:?}: {error}");
                None
            }
        };
        let is_wanted = |name: &RepositoryName| {
            let prefix = self.0.as_ref();
            prefix.is_none_or(|prefix| name.is_below(prefix))
        };
        let names = names.into_iter().filter_map(parse);
        names.filter(is_wanted).collect()
    }

    /// A sentence about a catalog that holds repositories, but none below the prefix: how many, and the one
    /// whose name is most like the prefix.
    pub(super) fn elsewhere(&self, catalog: &BTreeSet<String>) -> Option<String> {
        let prefix = self.0.as_ref()?;
        let valid = catalog
            .iter()
            .filter(|name| name.parse::<RepositoryName>().is_ok());
        let alike = valid
            .clone()
            .rev()
            .max_by_key(|name| likeness(name, prefix.as_str()))?;
        Some(format!(
            "none of the repositories that the catalog lists ({}, such as {alike}) lies below the prefix \
             {prefix}",
            valid.count()
        ))
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
