//! Finds the layouts: the directory itself, or folders below it. Links never lead outside.

use crate::files::{Root, Stamp, failed, is_settled, stamp};
use crate::sorting;
use crate::storage::{ErrorKind, Result};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deepest folder of a tree that is searched: more than any repository name has components.
const MAX_FOLDER_DEPTH: usize = 16;
/// Most folders of a tree that are searched.
const MAX_FOLDERS: usize = 100_000;

/// The layouts below a directory, as of one search.
pub(super) struct Tree {
    /// The real path of the directory.
    pub(super) root: PathBuf,
    /// Every folder that was searched: its stamp changes when an entry is added, removed or replaced.
    folders: Vec<(PathBuf, Stamp)>,
    /// Every link, and its target: on the way there may be another link, in a folder that wasn't
    /// searched, which is switched.
    links: Vec<(PathBuf, Option<PathBuf>)>,
    /// When the search began.
    began: SystemTime,
    /// Path below the root (empty for the root itself) → its real path.
    pub(super) layouts: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// Searches `root`, whose real path is `place`, and warns of what is skipped.
    pub(super) fn search(root: &Root, place: PathBuf) -> Result<Tree> {
        let tree = Tree {
            root: place.clone(),
            folders: Vec::new(),
            links: Vec::new(),
            began: SystemTime::now(),
            layouts: BTreeMap::new(),
        };
        let seen = HashSet::new();
        let mut scan = TreeScan { root, seen, tree };
        if is_layout(&place) {
            let metadata = fs::metadata(&place).map_err(|cause| failed(&place, cause))?;
            scan.tree.folders.push((place.clone(), stamp(&metadata)));
            scan.tree.layouts.insert(PathBuf::new(), place);
        } else {
            scan.visit(Path::new(""), 0)?;
        }
        Ok(scan.tree)
    }

    /// Whether another search would find the same. One system call for each folder, and a few for each
    /// link.
    pub(super) fn is_unchanged(&self) -> bool {
        let is_same = |(place, seen): &(PathBuf, Stamp)| {
            let now = fs::metadata(place);
            is_settled(seen, self.began) && now.is_ok_and(|now| stamp(&now) == *seen)
        };
        let leads_there =
            |(link, seen): &(PathBuf, Option<PathBuf>)| fs::canonicalize(link).ok() == *seen;
        self.folders.iter().all(is_same) && self.links.iter().all(leads_there)
    }
}

/// A search for layouts in a tree of folders.
struct TreeScan<'a> {
    root: &'a Root,
    /// By device and inode, so that links in circles end.
    seen: HashSet<(u64, u64)>,
    /// What has been found so far.
    tree: Tree,
}

impl TreeScan<'_> {
    fn visit(&mut self, folder: &Path, depth: usize) -> Result<()> {
        let (path, place) = (self.root.path(folder), self.root.locate(folder)?);
        let failed = |cause| failed(&path, cause);
        let metadata = fs::metadata(&place).map_err(failed)?;
        if self.seen.len() >= MAX_FOLDERS || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        self.tree.folders.push((place.clone(), stamp(&metadata)));
        let entries = match fs::read_dir(&place) {
            // A disk has its `lost+found`.
            Err(cause) if depth > 0 && cause.kind() == io::ErrorKind::PermissionDenied => {
                log::warn!("skipped: {:#}", failed(cause));
                return Ok(());
            }
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let is_hidden = name == "blobs" || name.as_encoded_bytes().starts_with(b".");
            if !is_hidden && entry.file_type().is_ok_and(|kind| !kind.is_file()) {
                names.push(name);
            }
        }
        // A folder with several links to it is found by the same path on every machine.
        sorting::ascending(&mut names);
        names
            .iter()
            .try_for_each(|name| self.look_at(&folder.join(name), depth + 1))
    }

    /// Searches one entry of a folder; a link is followed if it stays inside.
    fn look_at(&mut self, inner: &Path, depth: usize) -> Result<()> {
        let direct = self.tree.root.join(inner);
        let led = fs::canonicalize(&direct).ok();
        if led.as_ref() != Some(&direct) {
            self.tree.links.push((direct, led));
        }
        match self.root.locate(inner) {
            Ok(place) if place.is_dir() && depth <= MAX_FOLDER_DEPTH => {
                if is_layout(&place) {
                    self.tree.layouts.insert(inner.to_owned(), place);
                }
                self.visit(inner, depth)?;
            }
            // A missing file or a dangling link isn't worth a warning; a link that leads outside is.
            Err(error) if error.kind() == ErrorKind::Invalid => log::warn!("skipped: {error:#}"),
            _ => {}
        }
        Ok(())
    }
}

/// Whether this folder is meant to be a layout. If its `index.json` is missing or isn't a file, the
/// layout is broken: it can't be read, and must not be taken for empty.
fn is_layout(place: &Path) -> bool {
    let holds = |name| fs::symlink_metadata(place.join(name)).is_ok();
    holds("oci-layout") || (holds("index.json") && holds("blobs"))
}
