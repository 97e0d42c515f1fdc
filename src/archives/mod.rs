//! Charts in a directory tree of `.tgz` files, as `helm package` and `helm pull` leave them. Each
//! archive is presented as the OCI artifact that `helm push` would make of it: a manifest of our own
//! writing, a config blob out of its Chart.yaml, the file itself as its layer, and the provenance
//! file beside it. Nothing is ever written, and nothing outside the tree is ever read.
//!
//! A chart's repository is the folder it is in and the chart's name: `team/a/web-1.0.0.tgz` is in
//! `team/a/web`. The grammar of repository names knows no capitals, so what doesn't fit it is left
//! off from the right: `team/A B/Web-1.0.0.tgz` is in `team`, and listed wherever that is. If
//! nothing is left, it is in [`NAMELESS`].

mod archive;
mod folder;
mod metadata;
mod scalar;
mod yaml;

use crate::files::{Root, stamp};
use crate::helm::Version;
use crate::helm::chart::{ARCHIVE_TYPE, CONFIG_TYPE, PROVENANCE_TYPE};
use crate::oci::{Descriptor, Digest, Reference, RepositoryName, Tag, qualified};
use crate::storage::{Error, ErrorKind, Revision, Storage};
use crate::sync::{in_parallel, lock};
use archive::{Flaw, PackedChart};
use folder::{Sighting, Sightings, look};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The repository of what has no folder and no name that a repository may have.
const NAMELESS: &str = "archives";
/// Most bytes of config blobs that are kept from one look at an archive to the question for it,
/// which comes once: those of 10,000 charts. What doesn't fit is unpacked again.
const MAX_CONFIGS: usize = 8 * 1024 * 1024;
/// Most archives that are unpacked at a time, whatever the machine has: an honest one takes 200 KB,
/// a hostile one 10 MB.
const MAX_AT_ONCE: usize = 4;
/// Largest provenance file, in bytes: a Chart.yaml and a signature.
const MAX_PROVENANCE: u64 = 2 * 1024 * 1024;

/// A directory of chart archives.
pub struct Archives {
    root: Root,
    /// What the last look has found.
    found: Mutex<Arc<Findings>>,
}

/// All that is in the tree, as of one look.
#[derive(Default)]
struct Findings {
    files: BTreeMap<PathBuf, Arc<ArchiveFile>>,
    repositories: BTreeMap<RepositoryName, BTreeMap<String, Arc<ArchiveFile>>>,
    blobs: HashMap<Digest, (Arc<ArchiveFile>, Content)>,
}

/// A file, and what was found in it.
struct ArchiveFile {
    path: PathBuf,
    sighting: Sighting,
    /// Whether another look may skip the file as long as its state is the same.
    settled: bool,
    chart: Result<FoundChart, Flaw>,
}

struct FoundChart {
    name: String,
    version: String,
    manifest: Vec<u8>,
    digest: Digest,
    blobs: Vec<(Digest, Content)>,
    config: Mutex<Option<Vec<u8>>>,
}

/// Which of an artifact's blobs.
#[derive(Clone, Copy)]
enum Content {
    Config,
    Archive,
    Provenance,
}

impl Archives {
    /// Reads nothing yet.
    pub fn new(directory: PathBuf) -> Archives {
        Archives {
            root: Root::new(directory),
            found: Mutex::default(),
        }
    }

    fn found(&self) -> Arc<Findings> {
        lock(&self.found).clone()
    }

    /// What is in the tree now. Only files that have changed are read.
    fn look(&self) -> Result<Arc<Findings>, Error> {
        let before = self.found();
        let seen: Vec<_> = look(&self.root)?.into_iter().collect();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let kept = before
            .charts()
            .map(|chart| lock(&chart.config).as_ref().map_or(0, Vec::len));
        let room = AtomicUsize::new(MAX_CONFIGS.saturating_sub(kept.sum()));
        let files = in_parallel(&seen, cores.min(MAX_AT_ONCE), |(path, sighting)| {
            let known = before.files.get(path);
            match known.filter(|known| known.settled && known.sighting == *sighting) {
                Some(known) => known.clone(),
                None => Arc::new(self.read(path, sighting, &room)),
            }
        });
        let found = Arc::new(Findings::of(files));
        *lock(&self.found) = found.clone();
        Ok(found)
    }

    /// Keeps the config blob if there is `room` for it.
    fn read(&self, path: &Path, sighting: &Sighting, room: &AtomicUsize) -> ArchiveFile {
        let began = SystemTime::now();
        let chart = match sighting {
            Sighting::Refused(why) => Err(why.clone().into()),
            Sighting::Archive(_, provenance) => self.read_chart(path, provenance.is_some()),
        };
        if let Ok(chart) = &chart {
            let config = &mut *lock(&chart.config);
            let size = config.as_ref().map_or(0, Vec::len);
            let take = |room: usize| room.checked_sub(size);
            if room.fetch_update(Relaxed, Relaxed, take).is_err() {
                *config = None;
            }
        }
        let is_passing = chart.as_ref().is_err_and(|flaw| flaw.is_passing);
        ArchiveFile {
            path: path.to_owned(),
            sighting: sighting.clone(),
            settled: sighting.is_settled(began) && !is_passing,
            chart,
        }
    }

    fn read_chart(&self, path: &Path, signed: bool) -> Result<FoundChart, Flaw> {
        let (file, metadata) = self.root.open(path, u64::MAX).map_err(unopened)?;
        let chart = PackedChart::read(&file)?;
        let after = file.metadata().map_err(|error| Flaw::from(&error))?;
        if stamp(&metadata) != stamp(&after) {
            return Err("is being written".to_owned().into());
        }
        let provenance = signed.then(|| self.root.read(&provenance_path(path), MAX_PROVENANCE));
        // One that can't be read is as good as none.
        let provenance = provenance.and_then(Result::ok).map(|(bytes, _)| bytes);
        Ok(FoundChart::new(chart, provenance, metadata.mtime()))
    }

    /// The config blob, from the last look or from the archive once more.
    fn config(&self, file: &ArchiveFile) -> Result<Vec<u8>, Error> {
        let chart = file.chart.as_ref().map_err(|flaw| refused(file, flaw))?;
        if let Some(config) = lock(&chart.config).take() {
            return Ok(config);
        }
        let (archive, _) = self.root.open(&file.path, u64::MAX)?;
        let chart = PackedChart::read(archive).map_err(|flaw| refused(file, &flaw))?;
        Ok(chart.config)
    }
}

impl FoundChart {
    fn new(chart: PackedChart, provenance: Option<Vec<u8>>, modified: i64) -> FoundChart {
        let config = Digest::sha256(&chart.config);
        let mut blobs = vec![
            (config.clone(), Content::Config),
            (chart.digest.clone(), Content::Archive),
        ];
        let mut layers = vec![descriptor(ARCHIVE_TYPE, &chart.digest, chart.size)];
        if let Some(provenance) = provenance {
            let digest = Digest::sha256(&provenance);
            layers.push(descriptor(
                PROVENANCE_TYPE,
                &digest,
                provenance.len() as u64,
            ));
            blobs.push((digest, Content::Provenance));
        }
        let date = OffsetDateTime::from_unix_timestamp(modified).ok();
        let created = date.and_then(|date| date.format(&Rfc3339).ok());
        let annotations =
            created.map(|created| json!({"org.opencontainers.image.created": created}));
        let manifest = json!({
            "schemaVersion": 2,
            "config": descriptor(CONFIG_TYPE, &config, chart.config.len() as u64),
            "layers": layers,
            "annotations": annotations,
        });
        let manifest = manifest.to_string().into_bytes();
        FoundChart {
            name: chart.name,
            version: chart.version,
            digest: Digest::sha256(&manifest),
            manifest,
            blobs,
            config: Mutex::new(Some(chart.config)),
        }
    }
}

impl Findings {
    /// Of several charts of one version in one repository, the first by its path has the version's
    /// tag. The others, and what is no chart, are listed by a digest, which is never anything else's.
    fn of(files: Vec<Arc<ArchiveFile>>) -> Findings {
        let mut found = Findings::default();
        for file in files {
            let tagged = found.repositories.entry(file.repository()).or_default();
            match &file.chart {
                Ok(chart) => {
                    let tag = Version::parse(&chart.version).map(|version| version.tag());
                    let tag = tag.filter(|tag| tag.parse::<Tag>().is_ok());
                    let tag = tag.filter(|tag| !tagged.contains_key(tag));
                    let reference = tag.unwrap_or_else(|| chart.digest.to_string());
                    tagged.insert(reference, file.clone());
                    for (digest, content) in &chart.blobs {
                        let place = (file.clone(), *content);
                        found.blobs.entry(digest.clone()).or_insert(place);
                    }
                }
                Err(_) => {
                    let path = file.path.as_os_str().as_encoded_bytes();
                    tagged.insert(Digest::sha256(path).to_string(), file.clone());
                }
            }
            found.files.insert(file.path.clone(), file);
        }
        found
    }

    fn charts(&self) -> impl Iterator<Item = &FoundChart> {
        self.files
            .values()
            .filter_map(|file| file.chart.as_ref().ok())
    }

    fn chart(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<&FoundChart, Error> {
        let tagged = self.repositories.get(repository);
        let file = tagged.and_then(|tagged| tagged.get(reference.as_str()));
        let file = file.ok_or_else(|| gone(&qualified(repository, reference.as_str())))?;
        file.chart.as_ref().map_err(|flaw| refused(file, flaw))
    }
}

impl ArchiveFile {
    /// The longest beginning of its folder and the chart's name that is a repository's name.
    fn repository(&self) -> RepositoryName {
        let folder = self.path.parent().into_iter().flat_map(Path::iter);
        let names = folder.map(|name| name.to_str().unwrap_or_default());
        let mut names: Vec<&str> = names.collect();
        names.extend(self.chart.as_ref().ok().map(|chart| chart.name.as_str()));
        let fits = (1..=names.len())
            .rev()
            .find_map(|count| names[..count].join("/").parse().ok());
        fits.unwrap_or_else(|| NAMELESS.parse().expect("a plain word is a repository name"))
    }
}

impl Storage for Archives {
    fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        Ok(self.look()?.repositories.keys().cloned().collect())
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error> {
        let found = self.found();
        let tagged = found.repositories.get(repository);
        let tagged = tagged.ok_or_else(|| gone(repository.as_str()))?;
        Ok(tagged.keys().cloned().collect())
    }

    fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Vec<u8>, Error> {
        Ok(self.found().chart(repository, reference)?.manifest.clone())
    }

    fn digest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, Error> {
        let found = self.found();
        Ok(Some(found.chart(repository, reference)?.digest.clone()))
    }

    fn blob(&self, _: &RepositoryName, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let found = self.found();
        let place = found.blobs.get(&blob.digest);
        let (file, content) = place.ok_or_else(|| gone(&blob.digest.to_string()))?;
        let path = match content {
            Content::Config => return Ok(Box::new(Cursor::new(self.config(file)?))),
            Content::Archive => file.path.clone(),
            Content::Provenance => provenance_path(&file.path),
        };
        let (open, metadata) = self.root.open(&path, u64::MAX)?;
        match metadata.len() == blob.size {
            true => Ok(Box::new(open)),
            false => Err(refused(file, &"has changed".to_owned().into())),
        }
    }

    fn how_to_add(&self) -> &'static str {
        "copy the .tgz file into the directory of --storage-local-rootdir"
    }

    /// Changes whenever an archive or a provenance file comes, goes, or is written or replaced. There's
    /// none while one has just been.
    fn revision(&self) -> Option<Revision> {
        let now = SystemTime::now();
        let seen: Sightings = look(&self.root).ok()?;
        let mut hasher = DefaultHasher::new();
        seen.hash(&mut hasher);
        seen.values()
            .all(|sighting| sighting.is_settled(now))
            .then(|| Revision(hasher.finish()))
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

fn provenance_path(archive: &Path) -> PathBuf {
    archive.with_added_extension("prov")
}

/// What a failure to open a file says of it.
fn unopened(error: Error) -> Flaw {
    match error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(cause) => cause.into(),
        None => error.to_string().into(),
    }
}

/// Why a file isn't listed. The path below the root, and what is in the file, may be told to everybody.
fn refused(file: &ArchiveFile, flaw: &Flaw) -> Error {
    let text = format!("{:?} {}", file.path, flaw.why);
    let kind = match flaw.is_passing {
        true => ErrorKind::Unavailable,
        false => ErrorKind::Invalid,
    };
    Error::new(kind, &text).telling(text)
}

fn gone(what: &str) -> Error {
    let text = format!("{what} is not in the directory any more");
    Error::new(ErrorKind::NotFound, &text).telling(text)
}
