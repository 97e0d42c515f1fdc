//! Charts in a directory tree of `.tgz` files, as `helm package` and `helm pull` write them. Each
//! archive is presented as the OCI artifact that `helm push` would make of it: a generated manifest, a
//! config blob made of its Chart.yaml, the file itself as its layer, and the provenance file beside it.
//! Nothing is ever written, and nothing outside the tree is ever read.
//!
//! The repository of a chart is its folder and its name: `team/a/web-1.0.0.tgz` is in `team/a/web`.
//! Components that the grammar of repository names excludes (it has no capitals) are left out from the
//! right: `team/A B/Web-1.0.0.tgz` is in `team`. If none is left, the chart is in [`NAMELESS`].

mod archive;
mod folder;
mod metadata;
mod scalar;
mod yaml;

use crate::files::{Root, stamp};
use crate::helm::Version;
use crate::helm::chart::{ARCHIVE_TYPE, CONFIG_TYPE, PROVENANCE_TYPE};
use crate::oci::{Blob, Digest, Reference, RepositoryName, Tag, qualified};
use crate::storage::{Error, ErrorKind, Result, Revision, Storage};
use crate::sync::{in_parallel, lock};
pub(crate) use archive::MAX_UNPACKED;
use archive::{PackedChart, broken, unreadable};
use folder::{ArchiveState, search};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The repository of charts whose folder and name fit no repository name.
const NAMELESS: &str = "archives";
/// Most bytes of config blobs that are kept until the scan reads them: those of 10,000 charts. For
/// others, the archive is unpacked again.
const MAX_CONFIGS: usize = 8 * 1024 * 1024;
/// Most archives that are unpacked at a time: an ordinary one takes 200 KB of memory, a hostile one
/// 10 MB.
const MAX_AT_ONCE: usize = 4;
/// Largest provenance file, in bytes: a Chart.yaml and a signature.
const MAX_PROVENANCE: u64 = 2 * 1024 * 1024;

/// A directory of chart archives.
pub struct Archives {
    root: Root,
    found: Mutex<Arc<ArchiveSet>>,
    unread: Mutex<UnreadConfigs>,
}

/// All archives of the tree, as of one search.
#[derive(Default)]
struct ArchiveSet {
    files: BTreeMap<PathBuf, Arc<ArchiveFile>>,
    repositories: BTreeMap<RepositoryName, BTreeMap<String, Arc<ArchiveFile>>>,
    blobs: HashMap<Digest, (Arc<ArchiveFile>, BlobKind)>,
}

/// A file, and the chart in it.
struct ArchiveFile {
    path: PathBuf,
    state: ArchiveState,
    /// The same state means the same content.
    settled: bool,
    chart: Result<LocalChart>,
}

struct LocalChart {
    name: String,
    version: String,
    manifest: Vec<u8>,
    digest: Digest,
    config: Digest,
    archive: Digest,
    provenance: Option<Digest>,
}

#[derive(Clone, Copy)]
enum BlobKind {
    Config,
    Archive,
    Provenance,
}

/// Config blobs of archives that were just unpacked. The scan reads each once.
#[derive(Default)]
struct UnreadConfigs {
    blobs: HashMap<Digest, Vec<u8>>,
    bytes: usize,
}

/// The config blob that `helm push` would make of a chart archive. Errors as [`PackedChart::read`].
pub(crate) fn config_of(archive: &mut dyn Read) -> Result<Vec<u8>> {
    Ok(PackedChart::read(archive)?.config)
}

impl Archives {
    /// Reads nothing yet.
    pub fn new(directory: PathBuf) -> Archives {
        Archives {
            root: Root::new(directory),
            found: Mutex::default(),
            unread: Mutex::default(),
        }
    }

    fn found(&self) -> Arc<ArchiveSet> {
        lock(&self.found).clone()
    }

    /// Searches the tree. Only files whose state has changed are read.
    fn search(&self) -> Result<Arc<ArchiveSet>> {
        let before = self.found();
        let states: Vec<_> = search(&self.root)?.into_iter().collect();
        *lock(&self.unread) = UnreadConfigs::default();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let files = in_parallel(&states, cores.min(MAX_AT_ONCE), |(path, state)| {
            let known = before.files.get(path);
            match known.filter(|known| known.settled && known.state == *state) {
                Some(known) => known.clone(),
                None => Arc::new(self.read(path, state)),
            }
        });
        let found = Arc::new(ArchiveSet::of(files));
        *lock(&self.found) = found.clone();
        Ok(found)
    }

    /// Reads a file. A broken one is read again when its state changes, as a whole one is.
    fn read(&self, path: &Path, state: &ArchiveState) -> ArchiveFile {
        let began = SystemTime::now();
        let chart = match state {
            ArchiveState::Refused(why) => Err(broken(*why)),
            ArchiveState::Archive(_, provenance) => self.read_chart(path, provenance.is_some()),
        };
        let is_failing = |error: &Error| error.kind().is_no_answer();
        ArchiveFile {
            path: path.to_owned(),
            state: state.clone(),
            settled: state.is_settled(began) && !chart.as_ref().is_err_and(is_failing),
            chart: chart.map_err(|error| in_file(path, &error)),
        }
    }

    fn read_chart(&self, path: &Path, has_provenance: bool) -> Result<LocalChart> {
        let (file, metadata) = self.root.open(path, MAX_UNPACKED)?;
        let packed = PackedChart::read(&mut &file)?;
        let after = file.metadata().map_err(unreadable)?;
        if stamp(&metadata) != stamp(&after) {
            return Err(broken("is being written"));
        }
        let provenance = has_provenance.then(|| {
            let read = self.root.read(&provenance_path(path), MAX_PROVENANCE);
            read.map(|(bytes, _)| bytes)
        });
        // The chart is listed without a provenance file that can't be read.
        let provenance = provenance.and_then(Result::ok);
        let chart = LocalChart::new(&packed, provenance.as_deref(), metadata.mtime());
        lock(&self.unread).keep(&chart.config, packed.config);
        Ok(chart)
    }

    /// The config blob, kept from the search or read from the archive again.
    fn config(&self, file: &ArchiveFile, digest: &Digest) -> Result<Vec<u8>> {
        if let Some(config) = lock(&self.unread).take(digest) {
            return Ok(config);
        }
        let (mut archive, _) = self.root.open(&file.path, MAX_UNPACKED)?;
        let chart = PackedChart::read(&mut archive).map_err(|error| in_file(&file.path, &error))?;
        Ok(chart.config)
    }
}

impl UnreadConfigs {
    fn keep(&mut self, digest: &Digest, config: Vec<u8>) {
        let bytes = self.bytes + config.len();
        if bytes <= MAX_CONFIGS && !self.blobs.contains_key(digest) {
            self.bytes = bytes;
            self.blobs.insert(digest.clone(), config);
        }
    }

    fn take(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let config = self.blobs.remove(digest)?;
        self.bytes -= config.len();
        Some(config)
    }
}

impl LocalChart {
    /// Writes the manifest. `modified` is the date of the file, in seconds since 1970.
    fn new(packed: &PackedChart, provenance: Option<&[u8]>, modified: i64) -> LocalChart {
        let config = Digest::sha256(&packed.config);
        let mut layers = vec![descriptor(ARCHIVE_TYPE, &packed.digest, packed.size)];
        let provenance = provenance.map(|bytes| {
            let digest = Digest::sha256(bytes);
            layers.push(descriptor(PROVENANCE_TYPE, &digest, bytes.len() as u64));
            digest
        });
        let created = OffsetDateTime::from_unix_timestamp(modified).ok();
        let created = created.and_then(|created| created.format(&Rfc3339).ok());
        let manifest = json!({
            "schemaVersion": 2,
            "config": descriptor(CONFIG_TYPE, &config, packed.config.len() as u64),
            "layers": layers,
            "annotations": created.map(|date| json!({"org.opencontainers.image.created": date})),
        });
        let manifest = manifest.to_string().into_bytes();
        LocalChart {
            name: packed.name.clone(),
            version: packed.version.clone(),
            digest: Digest::sha256(&manifest),
            manifest,
            config,
            archive: packed.digest.clone(),
            provenance,
        }
    }

    fn blobs(&self) -> impl Iterator<Item = (&Digest, BlobKind)> {
        let provenance = self.provenance.as_ref();
        [
            (&self.config, BlobKind::Config),
            (&self.archive, BlobKind::Archive),
        ]
        .into_iter()
        .chain(provenance.map(|digest| (digest, BlobKind::Provenance)))
    }
}

impl ArchiveSet {
    fn of(files: Vec<Arc<ArchiveFile>>) -> ArchiveSet {
        let mut set = ArchiveSet::default();
        for file in files {
            let tags = set.repositories.entry(file.repository()).or_default();
            tags.insert(file.reference(tags), file.clone());
            for (digest, kind) in file.chart.iter().flat_map(LocalChart::blobs) {
                let place = (file.clone(), kind);
                set.blobs.entry(digest.clone()).or_insert(place);
            }
            set.files.insert(file.path.clone(), file);
        }
        set
    }

    fn chart(&self, repository: &RepositoryName, reference: &Reference) -> Result<&LocalChart> {
        let tags = self.repositories.get(repository);
        let file = tags.and_then(|tags| tags.get(reference.as_str()));
        let file = file.ok_or_else(|| removed(&qualified(repository, reference.as_str())))?;
        file.chart.as_ref().map_err(Error::clone)
    }
}

impl ArchiveFile {
    /// The longest beginning of its folder and the chart's name that is a repository's name.
    fn repository(&self) -> RepositoryName {
        let folder = self.path.parent().into_iter().flat_map(Path::iter);
        let names = folder.map(|name| name.to_str().unwrap_or_default());
        let names = names.chain(self.chart.iter().map(|chart| chart.name.as_str()));
        let names: Vec<&str> = names.collect();
        let mut beginnings = (1..=names.len())
            .rev()
            .map(|count| names[..count].join("/"));
        let fitting = beginnings.find_map(|name| name.parse().ok());
        fitting.unwrap_or_else(|| NAMELESS.parse().expect("a plain word is a repository name"))
    }

    /// The version as a tag. A chart whose tag is another one's (by the order of paths) is listed by its
    /// digest, and a file without a chart by a digest that is no other file's.
    fn reference(&self, tags: &BTreeMap<String, Arc<ArchiveFile>>) -> String {
        let Ok(chart) = &self.chart else {
            return Digest::sha256(self.path.as_os_str().as_encoded_bytes()).to_string();
        };
        let tag = Version::parse(&chart.version).map(|version| version.tag());
        tag.filter(|tag| tag.parse::<Tag>().is_ok() && !tags.contains_key(tag))
            .unwrap_or_else(|| chart.digest.to_string())
    }
}

impl Storage for Archives {
    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        Ok(self.search()?.repositories.keys().cloned().collect())
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let found = self.found();
        let tags = found.repositories.get(repository);
        let tags = tags.ok_or_else(|| removed(repository.as_str()))?;
        Ok(tags.keys().cloned().collect())
    }

    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        Ok(self.found().chart(repository, reference)?.manifest.clone())
    }

    fn digest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>> {
        let found = self.found();
        Ok(Some(found.chart(repository, reference)?.digest.clone()))
    }

    fn blob(&self, _: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>> {
        let found = self.found();
        let place = found.blobs.get(&blob.digest);
        let (file, kind) = place.ok_or_else(|| removed(&blob.digest.to_string()))?;
        let path = match kind {
            BlobKind::Config => return Ok(Box::new(Cursor::new(self.config(file, &blob.digest)?))),
            BlobKind::Archive => file.path.clone(),
            BlobKind::Provenance => provenance_path(&file.path),
        };
        let (open, metadata) = self.root.open(&path, u64::MAX)?;
        match metadata.len() == blob.size {
            true => Ok(Box::new(open)),
            false => Err(in_file(&path, &broken("has changed"))),
        }
    }

    fn how_to_add(&self) -> &'static str {
        "copy the .tgz file into the directory of --storage-local-rootdir"
    }

    /// Changes whenever an archive or a provenance file appears, disappears, or is written or replaced.
    /// `None` while one has just been written.
    fn revision(&self) -> Option<Revision> {
        let now = SystemTime::now();
        let states = search(&self.root).ok()?;
        let mut hasher = DefaultHasher::new();
        states.hash(&mut hasher);
        let is_settled = states.values().all(|state| state.is_settled(now));
        is_settled.then(|| Revision(hasher.finish()))
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

fn provenance_path(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".prov");
    name.into()
}

/// The error of a file, by its path below the root. That path and the file's content may be shown to
/// anyone: the charts beside it are.
fn in_file(path: &Path, error: &Error) -> Error {
    let text = format!("{path:?}: {error}");
    Error::new(error.kind(), &text).with_public(text)
}

fn removed(what: &str) -> Error {
    let text = format!("{what} is no longer in the directory");
    Error::new(ErrorKind::NotFound, &text).with_public(text)
}
