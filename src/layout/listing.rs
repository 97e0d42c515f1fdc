//! The manifests that an `index.json` lists, by name (image-spec v1.1.0, image-layout.md). Pure: the
//! image indexes below it are opened by the caller.
//!
//! The name is the annotation `org.opencontainers.image.ref.name`, and tools disagree on what
//! belongs there: skopeo and oras write a bare tag, Helm's cache and containerd a whole
//! `host/repository:tag`.

use crate::oci::json::{BoundedList, BoundedText, reason};
use crate::oci::{Digest, RepositoryName, Tag};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

/// Most manifests of one layout, nested ones included: they fill the largest `index.json` read.
pub(super) const MAX_MANIFESTS: usize = 100_000;
/// Deepest nesting of image indexes: tools make one level, hostile ones loops.
pub(super) const MAX_DEPTH: usize = 4;

/// Longest name of an entry, in bytes: a host, a repository, a tag and a digest have 800 at most.
const MAX_NAME: usize = 1024;
/// Longest part of an invalid digest that is shown, in characters: more than any digest has.
const MAX_SHOWN: usize = 150;

/// Repository → the tag or digest that a manifest is listed by → manifest. An entry with an invalid digest
/// is listed by that, quoted, and has no manifest, so that it's reported as skipped.
pub(super) type Listing = BTreeMap<RepositoryName, Manifests>;
type Manifests = BTreeMap<String, Option<Digest>>;

/// An `index.json`, or an image index below it.
#[derive(Deserialize)]
pub(super) struct Index {
    manifests: BoundedList<ListedEntry, MAX_MANIFESTS>,
}

impl Index {
    /// Parses an image index.
    ///
    /// Errors with a reason when it is none, or lists too many manifests.
    pub(super) fn parse(bytes: &[u8]) -> Result<Index, String> {
        let why = match serde_json::from_slice::<Index>(bytes) {
            Ok(index) if index.manifests.0.len() <= MAX_MANIFESTS => return Ok(index),
            Ok(_) => format!("over {MAX_MANIFESTS} manifests"),
            Err(cause) => reason(&cause),
        };
        Err(format!("not an image index: {why}"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedEntry {
    #[serde(default)]
    media_type: String,
    /// Checked one by one, so that an invalid digest costs only its own entry.
    digest: String,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// Only the one that counts here, because a pusher may write any number of others.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    ref_name: Option<BoundedText<{ MAX_NAME + 1 }>>,
}

impl ListedEntry {
    fn is_index(&self) -> bool {
        self.media_type.contains("image.index") || self.media_type.contains("manifest.list")
    }

    fn name(&self) -> Option<&str> {
        let name = self.annotations.as_ref()?.ref_name.as_ref()?.0.as_deref();
        name.filter(|name| name.len() <= MAX_NAME)
    }
}

/// Merges the entries of an `index.json` and of the image indexes below it.
pub(super) struct Lister<'a> {
    /// The repository of an entry whose name gives none; in a tree of layouts, of every entry.
    home: &'a RepositoryName,
    /// Whether the directory decides the repository, so that only the tag in an entry's name counts.
    fixed: bool,
    listing: Listing,
    seen: HashSet<Digest>,
    count: usize,
}

impl<'a> Lister<'a> {
    /// Lists `index`, and the image indexes in it, which `open` returns. An image index without a name only
    /// groups its entries; one with a name is an artifact itself, and only those of its entries count that
    /// have names of their own.
    pub(super) fn list<E>(
        home: &'a RepositoryName,
        fixed: bool,
        index: Index,
        open: &impl Fn(&Digest) -> Result<Index, E>,
    ) -> Result<Listing, E> {
        let mut lister = Lister {
            home,
            fixed,
            listing: Listing::new(),
            seen: HashSet::new(),
            count: 0,
        };
        lister.descend(index, open, true, 0)?;
        Ok(lister.listing)
    }

    fn descend<E>(
        &mut self,
        index: Index,
        open: &impl Fn(&Digest) -> Result<Index, E>,
        nameless: bool,
        depth: usize,
    ) -> Result<(), E> {
        for entry in index.manifests.0 {
            self.count += 1;
            if self.count > MAX_MANIFESTS {
                log::warn!("over {MAX_MANIFESTS} manifests in one layout: the rest is skipped");
                return Ok(());
            }
            let named = entry.name().is_some();
            let Ok(digest) = entry.digest.parse::<Digest>() else {
                self.refuse(&entry);
                continue;
            };
            if named || (nameless && !entry.is_index()) {
                self.add(&entry, &digest);
            }
            // Each index once, so that a loop ends.
            if entry.is_index() && depth < MAX_DEPTH && self.seen.insert(digest.clone()) {
                let inner = open(&digest)?;
                self.descend(inner, open, nameless && !named, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The first entry with a tag gets it; a second one is listed by its digest.
    fn add(&mut self, entry: &ListedEntry, digest: &Digest) {
        let (held, tag) = self.place(entry);
        let holder = tag.as_ref().and_then(|tag| held.get(tag.as_str()));
        let is_free = holder.is_none_or(|holder| holder.as_ref() == Some(digest));
        let reference = match tag.filter(|_| is_free) {
            Some(tag) => tag.as_str().to_owned(),
            None => digest.to_string(),
        };
        held.insert(reference, Some(digest.clone()));
    }

    /// Lists an entry by its invalid digest: quoted, so it can't be taken for a tag.
    fn refuse(&mut self, entry: &ListedEntry) {
        let shown: String = entry.digest.chars().take(MAX_SHOWN).collect();
        self.place(entry).0.insert(format!("{shown:?}"), None);
    }

    /// The listing of the entry's repository, and the entry's tag.
    fn place(&mut self, entry: &ListedEntry) -> (&mut Manifests, Option<Tag>) {
        let (repository, tag) = entry.name().map_or((None, None), parse_name);
        let repository = repository.filter(|_| !self.fixed);
        let repository = repository.unwrap_or_else(|| self.home.clone());
        (self.listing.entry(repository).or_default(), tag)
    }
}

/// `tag`, `repository:tag`, `host/repository:tag`, each perhaps with `@digest` behind it.
fn parse_name(name: &str) -> (Option<RepositoryName>, Option<Tag>) {
    let name = name.split('@').next().unwrap_or_default();
    let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let (path, tag) = match tag_at {
        Some(at) => (&name[..at], &name[at + 1..]),
        None if name.contains('/') => (name, ""),
        None => ("", name),
    };
    // A host has a dot or a port, or is localhost; no path component is any of these and first.
    let repository = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => path,
    };
    (repository.parse().ok(), tag.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        format!("sha256:{n:064}").parse().unwrap()
    }

    fn entry(n: usize, name: Option<&str>, index: bool) -> String {
        let kind = if index { "index" } else { "manifest" };
        let name = name.map_or(String::new(), |name| {
            format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#)
        });
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}.v1+json","digest":"{}","size":1{name}}}"#,
            digest(n)
        )
    }

    fn index(entries: &[String]) -> Index {
        serde_json::from_str(&format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        ))
        .unwrap()
    }

    fn listed(root: Index, fixed: bool, inner: impl Fn(&Digest) -> Index) -> Vec<String> {
        let home = "home".parse().unwrap();
        let open = |digest: &Digest| Ok::<_, ()>(inner(digest));
        let listing = Lister::list(&home, fixed, root, &open).unwrap();
        let show = |(repository, held): (RepositoryName, BTreeMap<String, Option<Digest>>)| {
            let line = move |(reference, digest): (String, Option<Digest>)| {
                let Some(digest) = digest else {
                    return format!("{repository} refuses {reference}");
                };
                let number: usize = digest.parts().1.parse().unwrap();
                match reference.contains(':') {
                    false => format!("{repository}:{reference}={number}"),
                    true => format!("{repository}@{number}"),
                }
            };
            held.into_iter().map(line).collect::<Vec<_>>()
        };
        listing.into_iter().flat_map(show).collect()
    }

    fn no_index(_: &Digest) -> Index {
        index(&[])
    }

    #[test]
    fn a_name_is_a_tag_a_reference_or_absent() {
        let names = [
            Some("1.0.0"),
            Some("team/web:1.0.0"),
            Some("reg:5000/team/db:2_a"),
            Some("localhost/x:1"),
            None,
            Some("a b"),
        ];
        let entries: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, name)| entry(n, *name, false))
            .collect();
        let expected = [
            "home:1.0.0=0",
            "home@4",
            "home@5",
            "team/db:2_a=2",
            "team/web:1.0.0=1",
            "x:1=3",
        ];
        assert_eq!(listed(index(&entries), false, no_index), expected);
    }

    /// A name of 31 MiB of `[[],[],…]` took 3 GB.
    #[test]
    fn a_name_that_is_no_text_or_too_long_is_none() {
        let entries = [
            entry(1, Some("1.0.0"), false).replace("\"1.0.0\"", r#"[[],{"a":[1]}]"#),
            entry(2, Some("1.0.0"), false).replace("\"1.0.0\"", "17"),
            entry(3, Some(&"1".repeat(MAX_NAME + 1)), false),
        ];
        let expected = ["home@1", "home@2", "home@3"];
        assert_eq!(listed(index(&entries), false, no_index), expected);
    }

    #[test]
    fn in_a_tree_the_place_names_the_repository() {
        let entries = [
            entry(1, Some("1.0.0"), false),
            entry(2, Some("elsewhere/web:2.0.0"), false),
        ];
        assert_eq!(
            listed(index(&entries), true, no_index),
            ["home:1.0.0=1", "home:2.0.0=2"]
        );
    }

    #[test]
    fn a_second_manifest_of_one_tag_is_listed_by_digest() {
        let entries = [
            entry(1, Some("1"), false),
            entry(2, Some("1"), false),
            entry(1, Some("1"), false),
        ];
        assert_eq!(
            listed(index(&entries), false, no_index),
            ["home:1=1", "home@2"]
        );
    }

    #[test]
    fn an_index_without_a_name_groups_and_one_with_a_name_is_an_artifact() {
        let root = index(&[entry(10, None, true), entry(20, Some("multi"), true)]);
        let inner = |digest: &Digest| match digest.parts().1.ends_with("10") {
            true => index(&[entry(1, None, false), entry(2, Some("2"), false)]),
            false => index(&[entry(3, None, false), entry(4, Some("4"), false)]),
        };
        assert_eq!(
            listed(root, false, inner),
            ["home:2=2", "home:4=4", "home:multi=20", "home@1"]
        );
    }

    #[test]
    fn what_is_no_digest_is_listed_as_that_and_harms_no_other() {
        let bad = |text: &str| entry(0, Some("1.0.0"), false).replace(&digest(0).to_string(), text);
        let entries = [
            bad("sha256:../../x"),
            bad("1.0.0"),
            entry(1, Some("1.0.0"), false),
        ];
        let expected = [
            r#"home refuses "1.0.0""#,
            r#"home refuses "sha256:../../x""#,
            "home:1.0.0=1",
        ];
        assert_eq!(listed(index(&entries), false, no_index), expected);
    }

    #[test]
    fn a_list_is_read_up_to_its_limit() {
        let list = |count| {
            format!(
                r#"{{"manifests":[{}]}}"#,
                vec![r#"{"digest":""}"#; count].join(",")
            )
        };
        assert!(Index::parse(list(MAX_MANIFESTS).as_bytes()).is_ok());
        let error = Index::parse(list(MAX_MANIFESTS + 1).as_bytes()).err();
        let expected = "not an image index: over 100000 manifests";
        assert_eq!(error.as_deref(), Some(expected));
    }

    #[test]
    fn loops_and_deep_nests_end() {
        let itself = |_: &Digest| index(&[entry(1, None, true), entry(2, None, false)]);
        assert_eq!(
            listed(index(&[entry(1, None, true)]), false, itself),
            ["home@2"]
        );
        let deeper = |digest: &Digest| {
            index(&[entry(
                digest.parts().1.parse::<usize>().unwrap() + 1,
                None,
                true,
            )])
        };
        assert!(listed(index(&[entry(1, None, true)]), false, deeper).is_empty());
    }
}
