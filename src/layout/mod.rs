//! [`Storage`] by reading OCI image layouts (image-spec v1.1.0, image-layout.md): one, or a tree of
//! them as olareg and zot keep it. Read-only, never outside its directory; the only reader of a
//! blob directory.
//!
//! Files may be copied into the directory while it is read. So nothing missing is a definite "not
//! found", and only bytes that verify are used.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod listing;
mod tree;

use crate::budget::MAX_LAYOUT_INDEX;
use crate::files::{Root, Stamp, is_settled, refused, stamp};
use crate::oci::{Blob, Digest, Reference, RepositoryName, Verifying, qualified};
use crate::storage::{Error, ErrorKind, MAX_MANIFEST, Result, Revision, Storage};
use crate::sync::lock;
use listing::{Index, Lister, Listing};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tree::Tree;

/// The repository of charts in a single layout whose names don't hold one. Only the log shows it, and
/// it's the same everywhere, so that replicas agree.
const NAMELESS: &str = "layout";

/// A directory that is an image layout, or holds several.
pub struct Layout {
    root: Root,
    nameless: RepositoryName,
    /// What each folder's `index.json` listed, as of its stamp.
    listings: Mutex<HashMap<PathBuf, (Stamp, Arc<Listing>)>>,
    /// Where the layouts were when the directory was last searched.
    tree: Mutex<Option<Arc<Tree>>>,
    /// Where each repository was found by the last [`Storage::repositories`].
    folders: Mutex<BTreeMap<RepositoryName, PathBuf>>,
}

impl Layout {
    /// Reads nothing yet.
    pub fn new(directory: PathBuf) -> Layout {
        Layout {
            root: Root::new(directory),
            nameless: NAMELESS.parse().expect("a plain word is a repository name"),
            listings: Mutex::default(),
            tree: Mutex::default(),
            folders: Mutex::default(),
        }
    }

    /// Where the layouts are now. Searched again only when a folder has changed.
    fn tree(&self) -> Result<Arc<Tree>> {
        let root = self.root.locate(Path::new(""))?;
        let known = lock(&self.tree).clone();
        if let Some(tree) = known.filter(|tree| tree.root == root && tree.is_unchanged()) {
            return Ok(tree);
        }
        let tree = Arc::new(Tree::search(&self.root, root)?);
        *lock(&self.tree) = Some(tree.clone());
        Ok(tree)
    }

    /// The listing of a folder, read again only when its `index.json` has changed.
    fn listing(&self, folder: &Path, home: &RepositoryName) -> Result<Arc<Listing>> {
        let path = folder.join("index.json");
        let began = SystemTime::now();
        let (_, metadata) = self.root.open(&path, MAX_LAYOUT_INDEX)?;
        let known = lock(&self.listings).get(folder).cloned();
        if let Some((_, listing)) = known.filter(|(seen, _)| *seen == stamp(&metadata)) {
            return Ok(listing);
        }
        let (bytes, stamp) = self.root.read(&path, MAX_LAYOUT_INDEX)?;
        let open = |digest: &Digest| {
            let bytes = self.verified(folder, digest)?;
            self.parse_index(&bytes, &digest_path(folder, digest))
        };
        let index = self.parse_index(&bytes, &path)?;
        let is_in_tree = !folder.as_os_str().is_empty();
        let listing = Arc::new(Lister::list(home, is_in_tree, index, &open)?);
        if is_settled(&stamp, began) {
            lock(&self.listings).insert(folder.to_owned(), (stamp, listing.clone()));
        }
        Ok(listing)
    }

    fn parse_index(&self, bytes: &[u8], path: &Path) -> Result<Index> {
        Index::parse(bytes).map_err(|why| refused(&self.root.path(path), why))
    }

    /// A manifest's bytes, proven by its digest.
    fn verified(&self, folder: &Path, digest: &Digest) -> Result<Vec<u8>> {
        let path = digest_path(folder, digest);
        let (file, metadata) = self.root.open(&path, MAX_MANIFEST)?;
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let read = Verifying::new(file, digest, metadata.len()).read_to_end(&mut bytes);
        read.map_err(|cause| refused(&self.root.path(&path), cause))?;
        Ok(bytes)
    }

    /// The folder of a repository: its own in a tree, the root in a single layout.
    fn folder(&self, repository: &RepositoryName) -> PathBuf {
        let folders = lock(&self.folders);
        folders.get(repository).cloned().unwrap_or_default()
    }

    /// The present listing of the repository's folder.
    fn current(&self, repository: &RepositoryName) -> Result<Arc<Listing>> {
        let folder = self.folder(repository);
        let single = folder.as_os_str().is_empty();
        self.listing(&folder, if single { &self.nameless } else { repository })
    }
}

impl Storage for Layout {
    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        let tree = self.tree()?;
        lock(&self.listings).retain(|folder, _| tree.layouts.contains_key(folder));
        let mut folders = BTreeMap::new();
        for folder in tree.layouts.keys() {
            if folder.as_os_str().is_empty() {
                let listing = self.listing(folder, &self.nameless)?;
                folders.extend(listing.keys().map(|name| (name.clone(), PathBuf::new())));
                continue;
            }
            match folder.to_str().unwrap_or_default().parse() {
                Ok(name) => drop(folders.insert(name, folder.clone())),
                Err(error) => {
                    let path = self.root.path(folder);
                    log::warn!("skipped {}: its path is {error}", path.display());
                }
            }
        }
        *lock(&self.folders) = folders.clone();
        Ok(folders.into_keys().collect())
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let listing = self.current(repository)?;
        let held = listing.get(repository).into_iter().flatten();
        Ok(held.map(|(reference, _)| reference.clone()).collect())
    }

    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        // A manifest in an image index needn't be listed by the layout.
        if let Ok(digest) = reference.as_str().parse() {
            return self.verified(&self.folder(repository), &digest);
        }
        let (listing, tag) = (self.current(repository)?, reference.as_str());
        match listing.get(repository).and_then(|held| held.get(tag)) {
            Some(Some(digest)) => self.verified(&self.folder(repository), digest),
            _ => {
                let text = format!("{}: no longer listed", qualified(repository, tag));
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }

    fn blob(&self, repository: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>> {
        self.blob_from(repository, blob, 0)
    }

    fn blob_from(
        &self,
        repository: &RepositoryName,
        blob: &Blob,
        start: u64,
    ) -> Result<Box<dyn Read + Send>> {
        let path = digest_path(&self.folder(repository), &blob.digest);
        let (mut file, metadata) = self.root.open(&path, u64::MAX)?;
        if metadata.len() != blob.size {
            let why = format!("{} bytes instead of {}", metadata.len(), blob.size);
            return Err(refused(&self.root.path(&path), why));
        }
        let seek = file.seek(SeekFrom::Start(start));
        seek.map_err(|error| refused(&self.root.path(&path), error))?;
        Ok(Box::new(file))
    }

    fn check(&self, repository: &RepositoryName, blob: &Blob) -> Result<()> {
        self.blob(repository, blob).map(drop)
    }

    fn how_to_add(&self) -> &'static str {
        "copy it into the layout, with skopeo or oras"
    }

    /// Changes whenever an `index.json` appears, disappears, or is written or replaced. `None` while one has
    /// just been written.
    fn revision(&self) -> Option<Revision> {
        let now = SystemTime::now();
        let mut hasher = DefaultHasher::new();
        for (folder, place) in &self.tree().ok()?.layouts {
            // An unreadable file is a state too: the others needn't be scanned again for it.
            let index = fs::metadata(place.join("index.json"));
            let index = index.ok().as_ref().map(stamp);
            if index.is_some_and(|index| !is_settled(&index, now)) {
                return None;
            }
            (folder, index).hash(&mut hasher);
        }
        Some(Revision(hasher.finish()))
    }
}

/// `blobs/<algorithm>/<hex>`; a digest's grammar allows no path out of there.
fn digest_path(folder: &Path, digest: &Digest) -> PathBuf {
    let (algorithm, hex) = digest.parts();
    folder.join("blobs").join(algorithm).join(hex)
}
