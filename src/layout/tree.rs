//! Finds the layouts: the directory itself, or folders below it. Links never lead outside.

use crate::files::{Root, Stamp, failed, is_settled, stamp};
use crate::storage::{Error, ErrorKind};
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
    /// Whether none of them had changed for a while: the file system's clock ticks slowly, and two
    /// changes within a tick look like one.
    settled: bool,
    /// Path below the root (empty for the root itself) → its real path.
    pub(super) layouts: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// Whether another search would find the same. One system call for each folder, and a few for each
    /// link.
    pub(super) fn is_unchanged(&self) -> bool {
        let same = |(place, seen): &(PathBuf, Stamp)| {
            fs::metadata(place).is_ok_and(|now| stamp(&now) == *seen)
        };
        let leads_there =
            |(link, seen): &(PathBuf, Option<PathBuf>)| fs::canonicalize(link).ok() == *seen;
        self.settled && self.folders.iter().all(same) && self.links.iter().all(leads_there)
    }
}

/// A search for layouts in a tree of folders.
pub(super) struct TreeScan<'a> {
    root: &'a Root,
    /// The real path of the root.
    place: PathBuf,
    /// By device and inode, so that links in circles end.
    seen: HashSet<(u64, u64)>,
    folders: Vec<(PathBuf, Stamp)>,
    links: Vec<(PathBuf, Option<PathBuf>)>,
    layouts: BTreeMap<PathBuf, PathBuf>,
    /// Links that lead outside, and unreadable folders (a disk has its `lost+found`).
    passed: Vec<Error>,
}

impl TreeScan<'_> {
    /// The layouts below `place`, which is the real path of `root`; and why some folders were skipped.
    pub(super) fn of(root: &Root, place: PathBuf) -> Result<(Tree, Vec<Error>), Error> {
        let mut scan = TreeScan {
            root,
            place: place.clone(),
            seen: HashSet::new(),
            folders: Vec::new(),
            links: Vec::new(),
            layouts: BTreeMap::new(),
            passed: Vec::new(),
        };
        let top = PathBuf::new();
        let began = SystemTime::now();
        if is_layout(&place) {
            let metadata = fs::metadata(&place).map_err(|cause| failed(&place, cause))?;
            scan.folders.push((place.clone(), stamp(&metadata)));
            scan.layouts.insert(top, place.clone());
        } else {
            scan.visit(&top, 0)?;
        }
        let TreeScan {
            folders,
            links,
            layouts,
            passed,
            ..
        } = scan;
        let settled = folders.iter().all(|(_, stamp)| is_settled(stamp, began));
        Ok((
            Tree {
                root: place,
                folders,
                links,
                settled,
                layouts,
            },
            passed,
        ))
    }

    fn visit(&mut self, folder: &Path, depth: usize) -> Result<(), Error> {
        let place = self.root.locate(folder)?;
        let failed = |cause| failed(Path::new(&self.root.show(folder)), cause);
        let metadata = fs::metadata(&place).map_err(failed)?;
        if self.seen.len() >= MAX_FOLDERS || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        self.folders.push((place.clone(), stamp(&metadata)));
        let entries = match fs::read_dir(&place) {
            Err(cause) if depth > 0 && cause.kind() == io::ErrorKind::PermissionDenied => {
                self.passed.push(failed(cause));
                return Ok(());
            }
            entries => entries.map_err(failed)?,
        };
        let may_be_folder =
            |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| !kind.is_file());
        let entries = entries.filter(|entry| entry.as_ref().map_or(true, may_be_folder));
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        // A folder with several links to it is found by the same path on every machine.
        names.sort();
        for name in names {
            if name == "blobs" || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.look_at(folder.join(&name), depth + 1)?;
        }
        Ok(())
    }

    /// Searches one entry of a folder; a link is followed if it stays inside.
    fn look_at(&mut self, inner: PathBuf, depth: usize) -> Result<(), Error> {
        let direct = self.place.join(&inner);
        let led = fs::canonicalize(&direct).ok();
        if led.as_ref() != Some(&direct) {
            self.links.push((direct, led));
        }
        match self.root.locate(&inner) {
            Ok(place) if place.is_dir() && depth <= MAX_FOLDER_DEPTH => {
                if is_layout(&place) {
                    self.layouts.insert(inner.clone(), place);
                }
                self.visit(&inner, depth)
            }
            // A missing file or a dangling link isn't worth a warning; a link that leads outside is.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.passed.push(error);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether this folder is meant to be a layout. If its `index.json` is missing or isn't a file, the
/// layout is broken: it can't be read, and must not be taken for empty.
fn is_layout(place: &Path) -> bool {
    let holds = |name| fs::symlink_metadata(place.join(name)).is_ok();
    holds("oci-layout") || (holds("index.json") && holds("blobs"))
}
