//! What the mirror's directory holds, and where: lists and blobs of each repository. What is read is
//! verified, so that a damaged file is found, told and removed, and never handed out.

use super::disk::{Disk, Incoming};
use super::list::{self, NamedManifest};
use crate::budget::MAX_LAYOUT_INDEX;
use crate::files::{Stamp, stamp};
use crate::oci::{Blob, Digest, RepositoryName, Verifying};
use crate::sync::lock;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// The folder of what is about the whole mirror. No repository's name begins with a dot, and readers of
/// image layouts pass it by.
pub(super) const OWN: &str = ".oci-chartrepo";
/// The file beside a repository's `index.json` that names the tags which are not listed there. Another
/// version of this program may decide otherwise, so it reads none of this one's.
pub(super) const UNLISTED: &str = concat!(".oci-chartrepo-", env!("CARGO_PKG_VERSION"), ".json");
pub(super) const INDEX: &str = "index.json";
pub(super) const MARKER: &str = "oci-layout";
/// What every `oci-layout` says (image-spec v1.1.0, image-layout.md "oci-layout file").
pub(super) const MARKER_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const BLOBS: &str = "blobs";
/// Components of repository names that are files of a layout: a repository named so has no place.
const RESERVED: [&str; 3] = [INDEX, MARKER, BLOBS];

/// Of so many files it is remembered that their bytes were verified, and need not be before each use:
/// each takes some 100 bytes of memory.
const MOST_PROVEN: usize = 4096;
/// For how long verified bytes are sent without being verified again as they pass: long enough that of many
/// clients at once few cost a hash, and too short for a disk to decay. A file that changes has another stamp.
const FRESH: Duration = Duration::from_secs(10);

/// The directory of a mirror. Nothing outside of it is read or written.
pub(super) struct MirrorDirectory {
    pub(super) disk: Disk,
    root: PathBuf,
    state: Mutex<DirectoryState>,
}

#[derive(Default)]
struct DirectoryState {
    /// How often the mirror was told what is known.
    told_known: u64,
    /// Blobs that were written lately, and `told_known` of that time: what is told later takes them into
    /// account.
    fresh: HashMap<Digest, u64>,
    /// Files whose bytes were verified.
    proven: HashMap<Digest, Proof>,
}

/// That the bytes of a file are those of its digest.
#[derive(Clone, Copy)]
struct Proof {
    /// The file's, as long as it has not changed since.
    stamp: Stamp,
    /// When they were verified.
    at: Instant,
}

impl MirrorDirectory {
    /// Opens the directory for this process alone, makes it if it's not there, and removes what a crash has
    /// left.
    pub(super) fn open(root: PathBuf) -> io::Result<MirrorDirectory> {
        let own = root.join(OWN);
        fs::create_dir_all(&root)?;
        if !own.is_dir() && holds_other_files(&root)? {
            let text = "holds other files; a mirror needs a directory of its own";
            return Err(io::Error::other(text));
        }
        Ok(MirrorDirectory {
            disk: Disk::open(own)?,
            root,
            state: Mutex::default(),
        })
    }

    /// Whether a repository of this name has a place.
    pub(super) fn has_place(repository: &RepositoryName) -> bool {
        let is_reserved = |part: &str| RESERVED.contains(&part);
        !repository.as_str().split('/').any(is_reserved)
    }

    /// The folder of a repository.
    pub(super) fn folder(&self, repository: &RepositoryName) -> PathBuf {
        self.root.join(repository.as_str())
    }

    /// The file of a blob; a digest's grammar allows no path out of there.
    pub(super) fn blob(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = digest.parts();
        let blobs = self.folder(repository).join(BLOBS);
        blobs.join(algorithm).join(hex)
    }

    /// A file that is about the whole mirror.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        self.root.join(OWN).join(name)
    }

    // --- reading -------------------------------------------------------------------------------

    /// The length of a blob's file, if there is one. Its bytes may be damaged.
    pub(super) fn length(&self, repository: &RepositoryName, digest: &Digest) -> Option<u64> {
        let found = fs::metadata(self.blob(repository, digest)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// All bytes of a blob of at most `limit`, verified.
    pub(super) fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: u64,
    ) -> Option<Vec<u8>> {
        let path = self.blob(repository, digest);
        let bytes = self.disk.content(&path, limit)?;
        if !digest.names(&bytes) {
            self.remove_damaged(&path, "its bytes are not those of its digest");
            return None;
        }
        Some(bytes)
    }

    /// The manifests that a list names; none if there is no list, or a damaged one.
    pub(super) fn list(&self, path: &Path) -> Vec<NamedManifest> {
        let Some(bytes) = self.disk.content(path, MAX_LAYOUT_INDEX) else {
            return Vec::new();
        };
        list::parse(&bytes).unwrap_or_else(|| {
            tell_damaged(path);
            Vec::new()
        })
    }

    /// Tells of a marker of a layout that is damaged: no reader would take the folder for a layout.
    pub(super) fn check_marker(&self, repository: &RepositoryName) {
        let path = self.folder(repository).join(MARKER);
        let found = self.disk.content(&path, MAX_LAYOUT_INDEX);
        if found.is_some_and(|found| found != MARKER_TEXT.as_bytes()) {
            tell_damaged(&path);
        }
    }

    /// Opens a blob whose bytes have been verified, unless they have changed since.
    pub(super) fn open_proven(&self, repository: &RepositoryName, blob: &Blob) -> Option<File> {
        let path = self.blob(repository, &blob.digest);
        let (mut file, metadata) = self.disk.open_file(&path)?;
        let found = stamp(&metadata);
        if self.proof(blob, &found).is_some() {
            return Some(file);
        }
        let mut verified = Verifying::new(&file, &blob.digest, metadata.len());
        let read = io::copy(&mut verified, &mut io::sink()).and_then(|_| file.rewind());
        match read {
            Ok(()) if metadata.len() == blob.size => {}
            Ok(()) => return None,
            Err(error) => {
                self.remove_damaged(&path, error);
                return None;
            }
        }
        self.prove(&blob.digest, found);
        Some(file)
    }

    /// Opens a blob whose bytes were verified seconds ago, and have not changed since.
    pub(super) fn open_fresh(&self, repository: &RepositoryName, blob: &Blob) -> Option<File> {
        let (file, metadata) = self.disk.open_file(&self.blob(repository, &blob.digest))?;
        let proof = self.proof(blob, &stamp(&metadata))?;
        (metadata.len() == blob.size && proof.at.elapsed() < FRESH).then_some(file)
    }

    /// What is noted of a file that is still the same.
    fn proof(&self, blob: &Blob, found: &Stamp) -> Option<Proof> {
        let proof = lock(&self.state).proven.get(&blob.digest).copied();
        proof.filter(|proof| proof.stamp == *found)
    }

    /// Notes that the bytes of a file are those of its digest.
    fn prove(&self, digest: &Digest, stamp: Stamp) {
        let proven = &mut lock(&self.state).proven;
        if proven.len() >= MOST_PROVEN {
            proven.clear();
        }
        let at = Instant::now();
        proven.insert(digest.clone(), Proof { stamp, at });
    }

    /// Notes that the bytes were verified again.
    pub(super) fn confirm(&self, digest: &Digest) {
        if let Some(proof) = lock(&self.state).proven.get_mut(digest) {
            proof.at = Instant::now();
        }
    }

    /// Has a blob verified before its next use.
    pub(super) fn doubt(&self, digest: &Digest) {
        lock(&self.state).proven.remove(digest);
    }

    fn remove_damaged(&self, path: &Path, why: impl Display) {
        let shown = path.display();
        log::warn!("mirror: {shown} is damaged, and is removed: {why}");
        self.disk.remove(path);
    }

    /// The repositories that have a folder with files.
    pub(super) fn repositories(&self) -> BTreeSet<RepositoryName> {
        let mut found = BTreeSet::new();
        self.visit(&self.root, "", &mut found);
        found
    }

    /// Whether a repository lists anything.
    pub(super) fn holds_charts(&self) -> bool {
        let repositories = self.repositories();
        let mut folders = repositories.iter().map(|name| self.folder(name));
        folders.any(|folder| folder.join(INDEX).exists())
    }

    fn visit(&self, folder: &Path, name: &str, found: &mut BTreeSet<RepositoryName>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(file) = file.to_str() else { continue };
            if file == BLOBS || file == INDEX || file == UNLISTED {
                found.extend(name.parse::<RepositoryName>().ok());
            } else if !file.starts_with('.') && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let separator = if name.is_empty() { "" } else { "/" };
                let inner = format!("{name}{separator}{file}");
                self.visit(&entry.path(), &inner, found);
            }
        }
    }

    // --- writing -------------------------------------------------------------------------------

    /// Puts a file that was written, and whose bytes were verified, in the place of its blob. Whether that
    /// succeeded.
    pub(super) fn place(
        &self,
        file: Incoming,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> bool {
        let path = self.blob(repository, digest);
        let mut state = lock(&self.state);
        let now = state.told_known;
        state.fresh.insert(digest.clone(), now);
        drop(state);
        let placed = self.disk.attempt(&path, || file.place(&path));
        if let Some(metadata) = &placed {
            self.prove(digest, stamp(metadata));
        }
        placed.is_some()
    }

    /// Removes all files of a repository, the list of its manifests first.
    pub(super) fn remove_repository(&self, repository: &RepositoryName) {
        let folder = self.folder(repository);
        let files = [INDEX, MARKER, UNLISTED].map(|name| self.disk.remove(&folder.join(name)));
        if files != [true; 3] {
            return;
        }
        let _ = fs::remove_dir_all(folder.join(BLOBS));
        // A folder that holds another repository stays.
        let inner = folder.ancestors().take_while(|one| *one != self.root);
        inner.take_while(|one| fs::remove_dir(one).is_ok()).count();
    }

    /// Removes the blobs of a repository that are not `used`, but for those that were written after it was
    /// told for the `told`th time what is known.
    pub(super) fn sweep(&self, repository: &RepositoryName, used: &HashSet<Digest>, told: u64) {
        let blobs = self.folder(repository).join(BLOBS);
        let is_fresh = |digest: &Digest| {
            let at = lock(&self.state).fresh.get(digest).copied();
            at.is_some_and(|at| at >= told)
        };
        for algorithm in ["sha256", "sha512"] {
            let listed = fs::read_dir(blobs.join(algorithm)).into_iter();
            for entry in listed.flatten().flatten() {
                let name = entry.file_name();
                let digest = format!("{algorithm}:{}", name.to_string_lossy());
                let digest = digest.parse().ok();
                if digest.is_some_and(|digest| !used.contains(&digest) && !is_fresh(&digest)) {
                    self.disk.remove(&entry.path());
                }
            }
        }
    }

    /// Counts that it was told what is known.
    pub(super) fn tell(&self) -> u64 {
        let mut state = lock(&self.state);
        state.told_known += 1;
        state.told_known
    }

    /// Forgets which blobs were written before it was told for the `told`th time what is known.
    pub(super) fn age(&self, told: u64) {
        lock(&self.state).fresh.retain(|_, at| *at >= told);
    }

    /// Notes that a blob was used, for [`Room`](super::room::Room).
    pub(super) fn touch(&self, file: &File, digest: &Digest) {
        let touched = file.set_modified(SystemTime::now());
        if let Ok(metadata) = touched.and_then(|()| file.metadata())
            && let Some(proof) = lock(&self.state).proven.get_mut(digest)
        {
            proof.stamp = stamp(&metadata);
        }
    }
}

fn holds_other_files(root: &Path) -> io::Result<bool> {
    let mut names = fs::read_dir(root)?.flatten().map(|entry| entry.file_name());
    // A disk has its `lost+found`, and a volume of Kubernetes its `..data`.
    Ok(names.any(|name| name != "lost+found" && !name.as_encoded_bytes().starts_with(b".")))
}

fn tell_damaged(path: &Path) {
    let shown = path.display();
    log::warn!("mirror: {shown} is damaged, and is written anew when the registry answers");
}
