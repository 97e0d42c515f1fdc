//! Where the layouts are: the directory alone, or folders below it.

use crate::files::{Root, Stamp, failed, is_settled, stamp};
use crate::storage::{Error, ErrorKind};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deepest folder of a tree that is looked into: more than any repository name has components.
const MAX_FOLDER_DEPTH: usize = 16;
/// Most folders of a tree that are looked into.
const MAX_FOLDERS: usize = 100_000;
/// The layouts below a directory, as of one look.
pub(super) struct Tree {
    /// Where the directory really was.
    pub(super) root: PathBuf,
    /// Every folder that was looked into: its state changes when something comes, goes or is
    /// replaced in it.
    folders: Vec<(PathBuf, Stamp)>,
    /// Every link, and where it led: on the way there may be another link, in a folder that
    /// wasn't looked into, which is switched.
    links: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether all of them had been left alone for a while: the clock of files ticks slowly, and
    /// two changes within a tick look like one.
    settled: bool,
    /// Path below the root (empty for the root itself) → where it really is.
    pub(super) layouts: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// Whether another look would find the same. One call to the system for each folder, and a few
    /// for each link.
    pub(super) fn is_unchanged(&self) -> bool {
        let same = |(place, seen): &(PathBuf, Stamp)| {
            fs::metadata(place).is_ok_and(|now| stamp(&now) == *seen)
        };
        let leads_there =
            |(link, seen): &(PathBuf, Option<PathBuf>)| fs::canonicalize(link).ok() == *seen;
        self.settled && self.folders.iter().all(same) && self.links.iter().all(leads_there)
    }
}

/// Looks for layouts in a tree of folders.
pub(super) struct Scan<'a> {
    root: &'a Root,
    /// Where the root really is.
    place: PathBuf,
    /// By device and inode, so that links in circles end.
    seen: HashSet<(u64, u64)>,
    folders: Vec<(PathBuf, Stamp)>,
    links: Vec<(PathBuf, Option<PathBuf>)>,
    layouts: BTreeMap<PathBuf, PathBuf>,
    /// Links that lead out, and folders that we may not read (a disk has its `lost+found`).
    passed: Vec<Error>,
}

impl Scan<'_> {
    /// Where the layouts are below `place`, which is where `root` really is; and what was passed
    /// over on the way to them.
    pub(super) fn of(root: &Root, place: PathBuf) -> Result<(Tree, Vec<Error>), Error> {
        let mut scan = Scan {
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
        let Scan {
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
        // A folder that is linked to often is found by the same path on every machine.
        names.sort();
        for name in names {
            if name == "blobs" || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.look_at(folder.join(&name), depth + 1)?;
        }
        Ok(())
    }

    /// Links are looked through, as long as they stay inside.
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
            // What is gone, or leads nowhere, isn't worth a word; what leads out is.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.passed.push(error);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether somebody means this folder to be a layout. One that lacks its `index.json`, or has
/// something else in its place, is a broken layout: not to be read, and not to be taken for empty.
fn is_layout(place: &Path) -> bool {
    let holds = |name| fs::symlink_metadata(place.join(name)).is_ok();
    holds("oci-layout") || (holds("index.json") && holds("blobs"))
}
