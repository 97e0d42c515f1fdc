//! What a directory tree shows without a file being opened: which `.tgz` files are there, and in
//! which state. An unchanged file costs one `stat`.

use crate::files::{Root, Stamp, failed, is_settled, stamp};
use crate::storage::{Error, ErrorKind};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deepest folder that is looked into: more than any repository name has components.
const MAX_FOLDER_DEPTH: usize = 16;
/// Most names in all folders that are looked at: each takes some 200 bytes of memory.
const MAX_NAMES: usize = 250_000;
/// What an archive's file name ends with.
const ARCHIVE: &str = ".tgz";
/// What the name of its provenance file adds to that.
const PROVENANCE: &str = ".prov";

/// A file or folder that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sighting {
    /// An archive, and the provenance file beside it.
    Archive(Stamp, Option<Stamp>),
    /// What isn't opened, and why.
    Refused(String),
}

impl Sighting {
    /// Whether the files had been left alone for a while at `now`.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        match self {
            Sighting::Archive(archive, provenance) => [Some(archive), provenance.as_ref()]
                .into_iter()
                .flatten()
                .all(|stamp| is_settled(stamp, now)),
            Sighting::Refused(_) => true,
        }
    }
}

/// By the path below the root.
pub(super) type Sightings = BTreeMap<PathBuf, Sighting>;

/// Looks through the tree. Links are followed as long as they stay inside; hidden files and folders
/// are passed over.
///
/// Errors when a folder can't be listed, for then there is no telling what is missing; one that we may
/// not list (a disk has its `lost+found`) is only noted.
pub(super) fn look(root: &Root) -> Result<Sightings, Error> {
    let mut look = Look {
        root,
        visited: HashSet::new(),
        names: 0,
        seen: Sightings::new(),
        provenance: BTreeMap::new(),
    };
    look.visit(Path::new(""), &root.locate(Path::new(""))?, 0)?;
    for (mut path, stamp) in look.provenance {
        path.set_extension("");
        if let Some(Sighting::Archive(_, beside)) = look.seen.get_mut(&path) {
            *beside = Some(stamp);
        }
    }
    Ok(look.seen)
}

struct Look<'a> {
    root: &'a Root,
    /// Folders by device and inode, so that links in circles end.
    visited: HashSet<(u64, u64)>,
    names: usize,
    seen: Sightings,
    provenance: BTreeMap<PathBuf, Stamp>,
}

impl Look<'_> {
    /// Looks into a folder, which is really at `place`.
    fn visit(&mut self, folder: &Path, place: &Path, depth: usize) -> Result<(), Error> {
        let failed = |cause| failed(Path::new(&self.root.show(folder)), cause);
        let metadata = fs::metadata(place).map_err(failed)?;
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let entries = match fs::read_dir(place) {
            Err(cause) if depth > 0 && cause.kind() == io::ErrorKind::PermissionDenied => {
                self.refuse(folder.to_owned(), "a folder that may not be listed");
                return Ok(());
            }
            entries => entries.map_err(failed)?,
        };
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        self.names += entries.len();
        if self.names > MAX_NAMES {
            let text = format!("{}: over {MAX_NAMES} files", self.root.show(Path::new("")));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        // A folder that is linked to often is found by the same path on every machine.
        entries.sort_by_cached_key(DirEntry::file_name);
        entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        for entry in entries {
            self.look_at(folder.join(entry.file_name()), &entry, depth + 1)?;
        }
        Ok(())
    }

    fn look_at(&mut self, inner: PathBuf, entry: &DirEntry, depth: usize) -> Result<(), Error> {
        let is_named = |ending: &str| {
            inner
                .as_os_str()
                .as_encoded_bytes()
                .ends_with(ending.as_bytes())
        };
        let is_provenance = is_named(&[ARCHIVE, PROVENANCE].concat());
        let counts = is_named(ARCHIVE) || is_provenance;
        let kind = entry.file_type().ok();
        let is = |of: fn(&fs::FileType) -> bool| kind.as_ref().is_some_and(of);
        if !counts && !is(fs::FileType::is_dir) && !is(fs::FileType::is_symlink) {
            return Ok(());
        }
        let place = match self.place(&inner, entry, is(fs::FileType::is_symlink)) {
            Ok(place) => place,
            // What is gone by now, or a link that leads nowhere, isn't there.
            Err(error) if error.kind() != ErrorKind::Invalid => return Ok(()),
            Err(_) => {
                self.refuse(inner, "a link that leads out of the directory");
                return Ok(());
            }
        };
        // Of a regular file, the entry knows the state for one call to the system.
        let metadata = match is(fs::FileType::is_symlink) {
            true => fs::metadata(&place),
            false => entry.metadata(),
        };
        let Ok(metadata) = metadata else {
            return Ok(());
        };
        if metadata.is_dir() {
            match depth <= MAX_FOLDER_DEPTH {
                true => self.visit(&inner, &place, depth)?,
                false => self.refuse(inner, &format!("more than {MAX_FOLDER_DEPTH} folders deep")),
            }
        } else if is_provenance && metadata.is_file() {
            self.provenance.insert(inner, stamp(&metadata));
        } else if is_named(ARCHIVE) && metadata.is_file() {
            let archive = Sighting::Archive(stamp(&metadata), None);
            self.seen.insert(inner, archive);
        } else if is_named(ARCHIVE) {
            self.refuse(inner, "not a regular file");
        }
        Ok(())
    }

    fn place(&self, inner: &Path, entry: &DirEntry, is_link: bool) -> Result<PathBuf, Error> {
        match is_link {
            true => self.root.locate(inner),
            false => Ok(entry.path()),
        }
    }

    fn refuse(&mut self, inner: PathBuf, why: &str) {
        self.seen.insert(inner, Sighting::Refused(why.to_owned()));
    }
}
