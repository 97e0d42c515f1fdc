//! Doors for the fuzzer: see [`crate::fuzzing`].

use super::listing::Lister;
use crate::oci::{Digest, RepositoryName};
use std::collections::BTreeMap;

/// Repository → what a manifest is listed as → manifest.
pub type Listing = BTreeMap<RepositoryName, BTreeMap<String, Option<Digest>>>;

/// What an `index.json` lists, if it is one. `open` finds the image indexes below it.
pub fn layout_listing(
    index: &[u8],
    fixed: bool,
    open: &dyn Fn(&Digest) -> Vec<u8>,
) -> Option<Listing> {
    let home = "home".parse().ok()?;
    let mut lister = Lister::new(&home, fixed);
    let inner = |digest: &Digest| serde_json::from_slice(&open(digest));
    lister
        .list(serde_json::from_slice(index).ok()?, &inner)
        .ok()?;
    Some(lister.finish())
}
