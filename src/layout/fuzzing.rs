//! Doors for the fuzzer: see [`crate::fuzzing`].

use super::listing::{Index, Lister};
use crate::oci::{Digest, RepositoryName};
use std::collections::BTreeMap;

/// Repository → the name that a manifest is listed by → manifest, as an `index.json` lists them, if it is
/// one. `open` finds the image indexes below it.
pub fn layout_listing(
    index: &[u8],
    fixed: bool,
    open: &dyn Fn(&Digest) -> Vec<u8>,
) -> Option<BTreeMap<RepositoryName, BTreeMap<String, Option<Digest>>>> {
    let home = "home".parse().ok()?;
    let mut lister = Lister::new(&home, fixed);
    let inner = |digest: &Digest| Index::parse(&open(digest));
    lister.list(Index::parse(index).ok()?, &inner).ok()?;
    Some(lister.finish())
}
