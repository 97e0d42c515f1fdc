//! What a directory tree shows without a file being opened: which `.tgz` files are there, and in
//! which state. An unchanged file costs one `stat`.

use crate::files::{Root, Stamp, failed, is_settled, stamp};
use crate::storage::{Error, ErrorKind};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
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
/// What the name of a provenance file ends with.
const PROVENANCE: &str = ".tgz.prov";

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
        let mut named = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            named.push((entry.file_name(), entry));
        }
        self.names += named.len();
        if self.names > MAX_NAMES {
            let text = format!("{}: over {MAX_NAMES} files", self.root.show(Path::new("")));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        // A folder that is linked to often is found by the same path on every machine.
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, entry) in named {
            if !name.as_encoded_bytes().starts_with(b".") {
                self.look_at(folder, &name, &entry, depth + 1)?;
            }
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        folder: &Path,
        name: &OsStr,
        entry: &DirEntry,
        depth: usize,
    ) -> Result<(), Error> {
        let is_named = |ending: &str| name.as_encoded_bytes().ends_with(ending.as_bytes());
        let (is_archive, is_provenance) = (is_named(ARCHIVE), is_named(PROVENANCE));
        let Ok(kind) = entry.file_type() else {
            return Ok(());
        };
        if !(is_archive || is_provenance || kind.is_dir() || kind.is_symlink()) {
            return Ok(());
        }
        let inner = folder.join(name);
        let place = match kind.is_symlink() {
            true => self.root.locate(&inner),
            false => Ok(entry.path()),
        };
        // Of what is no link, the entry knows the state for one call to the system.
        let metadata = match &place {
            Ok(place) if kind.is_symlink() => fs::metadata(place),
            Ok(_) => entry.metadata(),
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.refuse(inner, "a link that leads out of the directory");
                return Ok(());
            }
            // A link that leads nowhere.
            Err(_) => return Ok(()),
        };
        match (metadata, place) {
            (Ok(folder), Ok(place)) if folder.is_dir() && depth <= MAX_FOLDER_DEPTH => {
                return self.visit(&inner, &place, depth);
            }
            (Ok(folder), _) if folder.is_dir() => {
                self.refuse(inner, &format!("more than {MAX_FOLDER_DEPTH} folders deep"));
            }
            (Ok(file), _) if file.is_file() && is_archive => {
                let archive = Sighting::Archive(stamp(&file), None);
                self.seen.insert(inner, archive);
            }
            (Ok(file), _) if file.is_file() && is_provenance => {
                self.provenance.insert(inner, stamp(&file));
            }
            (Ok(_), _) if is_archive => self.refuse(inner, "not a regular file"),
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, inner: PathBuf, why: &str) {
        self.seen.insert(inner, Sighting::Refused(why.to_owned()));
    }
}
