//! Which `.tgz` files a directory tree holds, and in which state, without opening one: an unchanged
//! file costs one `stat`.

use crate::files::{Root, Stamp, failed, is_settled, refused, stamp};
use crate::sorting;
use crate::storage::{ErrorKind, Result};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deepest folder that is searched: more than any repository name has components.
const MAX_FOLDER_DEPTH: usize = 16;
/// Most archives, provenance files, folders and links in the tree: each takes some 300 bytes of memory.
const MAX_NAMES: usize = 250_000;
/// What an archive's file name ends with.
const ARCHIVE: &str = ".tgz";
/// What the name of a provenance file ends with.
const PROVENANCE: &str = ".tgz.prov";

/// The state of an archive.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum ArchiveState {
    /// The state of its file, and of the provenance file beside it.
    Archive(Stamp, Option<Stamp>),
    /// It isn't opened, for this reason.
    Refused(&'static str),
}

impl ArchiveState {
    /// Whether the files had not changed for a while at `now`.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        match self {
            ArchiveState::Archive(archive, provenance) => {
                let mut stamps = [Some(archive), provenance.as_ref()].into_iter().flatten();
                stamps.all(|stamp| is_settled(stamp, now))
            }
            ArchiveState::Refused(_) => true,
        }
    }
}

/// Archives, and refused folders and links, by their path below the root.
pub(super) type ArchiveStates = BTreeMap<PathBuf, ArchiveState>;

/// Searches the tree. Links are followed if they stay inside; hidden files and folders are left out.
///
/// Errors when a folder can't be listed, because then it's unknown what is missing. A folder without the
/// permission to list it (a disk has its `lost+found`) is refused alone.
pub(super) fn search(root: &Root) -> Result<ArchiveStates> {
    let mut search = Search {
        root,
        visited: HashSet::new(),
        names: 0,
        found: ArchiveStates::new(),
    };
    search.visit(Path::new(""), &root.locate(Path::new(""))?, 0)?;
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Root,
    /// Folders by device and inode, so that links in circles end.
    visited: HashSet<(u64, u64)>,
    names: usize,
    found: ArchiveStates,
}

impl Search<'_> {
    /// Searches a folder; `place` is its real path.
    fn visit(&mut self, folder: &Path, place: &Path, depth: usize) -> Result<()> {
        let failed = |cause| failed(&self.root.path(folder), cause);
        let metadata = fs::metadata(place).map_err(failed)?;
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let listed = match fs::read_dir(place) {
            Err(cause) if depth > 0 && cause.kind() == io::ErrorKind::PermissionDenied => {
                self.refuse(folder, "a folder that may not be listed");
                return Ok(());
            }
            listed => listed.map_err(failed)?,
        };
        let relevant = listed.filter(|entry| entry.as_ref().map_or(true, is_relevant));
        let most = MAX_NAMES - self.names;
        let entries: io::Result<Vec<_>> = relevant.take(most + 1).collect();
        let mut entries = entries.map_err(failed)?;
        if entries.len() > most {
            let why = format!("over {MAX_NAMES} archives and folders in all");
            return Err(refused(&self.root.path(folder), why));
        }
        self.names += entries.len();
        // A folder with several links to it is found by the same path on every machine.
        sorting::by_key(&mut entries, DirEntry::file_name);
        let mut entries = entries.iter();
        entries.try_for_each(|entry| self.add(folder, entry, depth + 1))
    }

    fn add(&mut self, folder: &Path, entry: &DirEntry, depth: usize) -> Result<()> {
        let inner = folder.join(entry.file_name());
        let place = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => self.root.locate(&inner),
            _ => Ok(entry.path()),
        };
        let place = match place {
            Ok(place) => place,
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.refuse(&inner, "a link that leads out of the directory");
                return Ok(());
            }
            // A link that leads nowhere.
            Err(_) => return Ok(()),
        };
        match fs::symlink_metadata(&place) {
            Ok(folder) if folder.is_dir() && depth <= MAX_FOLDER_DEPTH => {
                return self.visit(&inner, &place, depth);
            }
            Ok(folder) if folder.is_dir() => {
                self.refuse(&inner, "a folder that is nested too deep")
            }
            Ok(file) if ends_with(&inner, ARCHIVE) && file.is_file() => {
                let archive = ArchiveState::Archive(stamp(&file), None);
                self.found.insert(inner, archive);
            }
            Ok(_) if ends_with(&inner, ARCHIVE) => self.refuse(&inner, "not a regular file"),
            Ok(file) if ends_with(&inner, PROVENANCE) && file.is_file() => {
                // The archive precedes its provenance file in the order of names.
                let archive = self.found.get_mut(&inner.with_extension(""));
                if let Some(ArchiveState::Archive(_, provenance)) = archive {
                    *provenance = Some(stamp(&file));
                }
            }
            // Another file, or one that was just removed.
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, inner: &Path, why: &'static str) {
        self.found
            .insert(inner.to_owned(), ArchiveState::Refused(why));
    }
}

fn ends_with(path: &Path, ending: &str) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(ending.as_bytes())
}

/// Whether an entry of a folder may be an archive, a provenance file or a folder.
fn is_relevant(entry: &DirEntry) -> bool {
    let name = PathBuf::from(entry.file_name());
    let leads_on = |kind: FileType| kind.is_dir() || kind.is_symlink();
    !name.as_os_str().as_encoded_bytes().starts_with(b".")
        && (ends_with(&name, ARCHIVE)
            || ends_with(&name, PROVENANCE)
            || entry.file_type().is_ok_and(leads_on))
}
