//! What is kept of a registry on disk, so that a restart needs no registry: a [`Storage`] in front of the
//! registry's that writes down what it has read, and reads that first.
//!
//! ```text
//!  scan, downloads ──▶ Mirror ──▶ registry        what passes is written (copying)
//!                        │ ▲
//!                        ▼ │                      a manifest or blob that is there is not asked for again
//!   DIR/.oci-chartrepo/             lock, registry, as-of, and the files that are being written
//!   DIR/team/web/oci-layout         an image layout for each repository (list, directory), as skopeo,
//!               index.json          oras and `--storage=layout` read it: the tags that are listed
//!               blobs/sha256/…
//!               .oci-chartrepo-….json   the tags that are not: what is no chart, and why
//! ```
//!
//! The mirror decides nothing about charts. After each scan it's told what is known ([`Storage::keep`]), and
//! a thread of its own ([`pass`]) makes the directory agree with that: lists are written, blobs that no list
//! refers to are removed, and what is missing is fetched. So what leaves the index leaves the disk, and only
//! a definite answer of the registry removes anything. At the start it's the other way round: what the
//! directory holds is scanned ([`former`]) before the registry is asked.
//!
//! Content is named by its digest and verified before it's used, so a damaged file costs a request, and
//! never a wrong byte; what was verified seconds ago, and has not changed, is not verified again. A disk that
//! fails costs the mirror and nothing else.

mod copying;
mod directory;
mod disk;
mod former;
mod list;
mod parts;
mod pass;
mod progress;
mod room;

use crate::observe::metrics;
use crate::oci::{Blob, Digest, Reference, RepositoryName};
use crate::storage::{Former, Known, MAX_MANIFEST, Result, Storage, VerifiedFile};
use crate::sync::lock;
use copying::Copying;
use directory::MirrorDirectory;
use former::FormerScans;
use parts::may_hold_chart;
use room::Room;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How often it's written down when the registry was last listed: more often would wear out a flash card.
const AS_OF_PAUSE: Duration = Duration::from_secs(60);
/// Longest name of a registry and date that is read from the mirror's own files, in bytes.
const MAX_OWN: u64 = 4096;

/// What a [`Mirror`] needs to know.
pub struct MirrorOptions {
    /// Where it is kept.
    pub directory: PathBuf,
    /// Whether all listed archives are fetched, and not only those that are downloaded.
    pub all: bool,
    /// Most bytes of archives.
    pub most: Option<u64>,
    /// `host[:port]` of the registry.
    pub registry: String,
    /// Only repositories below this are served.
    pub prefix: Option<RepositoryName>,
    /// Only these are served, unless empty.
    pub repositories: Vec<RepositoryName>,
    /// How many requests [`Mirror::complete`] makes at a time.
    pub concurrency: usize,
}

/// A registry, and what is kept of it on disk.
pub struct Mirror {
    registry: Arc<dyn Storage>,
    room: Arc<Room>,
    options: MirrorOptions,
    /// Requests to the registry that are under way for clients and scans: the mirror's own ones wait.
    busy: Arc<AtomicUsize>,
    /// Whether this process has listed a chart so far.
    has_seen_chart: AtomicBool,
    state: Mutex<MirrorState>,
    changed: Condvar,
}

#[derive(Default)]
struct MirrorState {
    /// What the directory is to agree with; taken when that is begun.
    known: Option<Told>,
    /// Whether that was ever told.
    was_told: bool,
    /// When it was last written down that the registry was listed.
    as_of: Option<Instant>,
}

/// What is known of the registry.
#[derive(Default)]
struct Told {
    /// How many times something was told before, and this time.
    count: u64,
    known: Known,
}

impl Mirror {
    /// Takes the directory for this process.
    ///
    /// Errors when another process uses it, when it can't be made, and when it holds something else, be it
    /// the mirror of another registry.
    pub fn open(registry: Arc<dyn Storage>, options: MirrorOptions) -> io::Result<Mirror> {
        let directory = MirrorDirectory::open(options.directory.clone());
        let directory = directory
            .and_then(|directory| check_registry(&directory, &options.registry).map(|()| directory))
            .map_err(|error| {
                let shown = options.directory.display();
                io::Error::new(error.kind(), format!("--mirror-dir {shown}: {error}"))
            })?;
        Ok(Mirror {
            registry,
            room: Arc::new(Room::new(directory, options.most)),
            options,
            busy: Arc::default(),
            has_seen_chart: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn directory(&self) -> &MirrorDirectory {
        &self.room.directory
    }

    /// Counts a request to the registry until the result is dropped.
    fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.busy.clone())
    }

    /// A manifest by its digest: from disk, or from the registry, and then on disk.
    fn manifest_of(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<u8>> {
        if let Some(bytes) = self.directory().read(repository, digest, MAX_MANIFEST) {
            return Ok(bytes);
        }
        let reference = Reference::from(digest);
        let bytes = self.registry.manifest(repository, &reference)?;
        if digest.names(&bytes) {
            self.keep_manifest(repository, digest, &bytes);
        }
        Ok(bytes)
    }

    fn keep_manifest(&self, repository: &RepositoryName, digest: &Digest, bytes: &[u8]) {
        let directory = self.directory();
        let is_there = directory.length(repository, digest).is_some();
        if is_there || !MirrorDirectory::has_place(repository) {
            return;
        }
        let path = directory.blob(repository, digest);
        if let Some(mut file) = directory.disk.create()
            && directory
                .disk
                .attempt(&path, || file.write_all(bytes))
                .is_some()
        {
            directory.place(file, repository, digest);
        }
    }

    /// A download that is written to disk as it passes.
    fn copying<R: Read>(&self, source: R, repository: &RepositoryName, blob: &Blob) -> Copying<R> {
        Copying::new(source, self.room.clone(), repository, blob)
    }

    fn note_listing(&self) {
        let (mut state, now) = (lock(&self.state), Instant::now());
        if state.as_of.is_none_or(|at| now >= at + AS_OF_PAUSE) {
            state.as_of = Some(now);
            drop(state);
            let date = OffsetDateTime::now_utc().replace_nanosecond(0);
            let date = date.map(|date| date.format(&Rfc3339).unwrap_or_default());
            let path = self.directory().own("as-of");
            self.directory()
                .disk
                .write(&path, date.unwrap_or_default().as_bytes());
        }
    }
}

impl Storage for Mirror {
    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        let _busy = self.busy();
        let listed = self.registry.repositories()?;
        self.note_listing();
        Ok(listed)
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let _busy = self.busy();
        self.registry.tags(repository)
    }

    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        let _busy = self.busy();
        if let Ok(digest) = reference.as_str().parse() {
            return self.manifest_of(repository, &digest);
        }
        let bytes = self.registry.manifest(repository, reference)?;
        if may_hold_chart(&bytes) {
            self.keep_manifest(repository, &Digest::sha256(&bytes), &bytes);
        }
        Ok(bytes)
    }

    fn digest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>> {
        let _busy = self.busy();
        self.registry.digest(repository, reference)
    }

    fn blob(&self, repository: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>> {
        self.blob_from(repository, blob, 0)
    }

    /// A part of a blob that is not on disk is not kept: only the whole has a digest.
    fn blob_from(
        &self,
        repository: &RepositoryName,
        blob: &Blob,
        start: u64,
    ) -> Result<Box<dyn Read + Send>> {
        if let Some(mut file) = self.room.open(repository, blob)
            && file.seek(SeekFrom::Start(start)).is_ok()
        {
            metrics::MIRROR.count(&["hit"]);
            let room = self.room.clone();
            let digest = blob.digest.clone();
            return Ok(Box::new(ProvenFile {
                file,
                room,
                digest,
                has_ended: false,
            }));
        }
        metrics::MIRROR.count(&["miss"]);
        let busy = self.busy();
        let source = self.registry.blob_from(repository, blob, start)?;
        let source = Counted {
            source,
            _busy: busy,
        };
        match start == 0 && MirrorDirectory::has_place(repository) {
            true => Ok(Box::new(self.copying(source, repository, blob))),
            false => Ok(Box::new(source)),
        }
    }

    fn verified_file(&self, repository: &RepositoryName, blob: &Blob) -> Option<VerifiedFile> {
        let file = self.room.open_fresh(repository, blob);
        if file.is_some() {
            metrics::MIRROR.count(&["hit"]);
        }
        file
    }

    fn check(&self, repository: &RepositoryName, blob: &Blob) -> Result<()> {
        self.registry.check(repository, blob)
    }

    fn how_to_add(&self) -> &'static str {
        self.registry.how_to_add()
    }

    fn requests(&self) -> u64 {
        self.registry.requests()
    }

    fn former(&self) -> Option<Former<'_>> {
        let MirrorOptions {
            prefix,
            repositories,
            concurrency,
            ..
        } = &self.options;
        let is_wanted = |name: &RepositoryName| {
            let is_below = prefix.as_ref().is_none_or(|prefix| name.is_below(prefix));
            is_below && (repositories.is_empty() || repositories.contains(name))
        };
        let as_of = self
            .directory()
            .disk
            .content(&self.directory().own("as-of"), MAX_OWN);
        let as_of = String::from_utf8(as_of.unwrap_or_default()).unwrap_or_default();
        let is_date = OffsetDateTime::parse(&as_of, &Rfc3339).is_ok();
        Some(Former {
            storage: Box::new(FormerScans::read(
                self.room.clone(),
                is_wanted,
                *concurrency,
            )),
            as_of: if is_date { as_of } else { String::new() },
        })
    }

    fn keep(&self, has_changed: bool, known: &dyn Fn() -> Known) {
        if !has_changed && lock(&self.state).was_told {
            return;
        }
        let known = known();
        let count = self.directory().tell();
        let mut state = lock(&self.state);
        (state.known, state.was_told) = (Some(Told { count, known }), true);
        self.changed.notify_all();
    }
}

/// Writes down whose mirror this is.
///
/// Errors when it is another registry's: its charts would be served as this one's.
fn check_registry(directory: &MirrorDirectory, registry: &str) -> io::Result<()> {
    let path = directory.own("registry");
    let text = |name: &str| format!("{name}\n{}\n", Digest::sha256(name.as_bytes()));
    let found = directory.disk.content(&path, MAX_OWN).unwrap_or_default();
    let found = String::from_utf8(found).unwrap_or_default();
    if found == text(registry) {
        return Ok(());
    }
    let other = found.lines().next().unwrap_or_default();
    if !other.is_empty() && found == text(other) {
        let text = format!("is the mirror of {other}, and not of {registry}");
        return Err(io::Error::other(text));
    }
    if !found.is_empty() {
        log::warn!("mirror: {} is damaged, and is written anew", path.display());
    }
    directory.disk.write(&path, text(registry).as_bytes());
    Ok(())
}

/// One request that is under way.
struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A download that is counted until it's dropped.
struct Counted<R> {
    source: R,
    _busy: Busy,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer)
    }
}

/// A file whose bytes were verified once. A reader that verifies them again asks for the end of the file
/// only if they were still right, which is noted; else they are verified before their next use.
struct ProvenFile {
    file: File,
    room: Arc<Room>,
    digest: Digest,
    has_ended: bool,
}

impl Read for ProvenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.has_ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

impl Drop for ProvenFile {
    fn drop(&mut self) {
        let directory = &self.room.directory;
        match self.has_ended {
            true => directory.confirm(&self.digest),
            false => directory.doubt(&self.digest),
        }
    }
}
