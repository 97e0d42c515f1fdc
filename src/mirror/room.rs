//! How many bytes of archives the mirror holds at most. Those that were not used for longest make room;
//! manifests and config blobs stay, because without them a chart would leave the index. When a blob was
//! last used is the time of its file, so that a restart forgets none of it.

use super::directory::{INDEX, MirrorDirectory};
use super::disk::Incoming;
use super::parts::Parts;
use crate::helm::chart::MAX_CONFIG;
use crate::oci::{Blob, RepositoryName};
use crate::sorting;
use crate::storage::MAX_MANIFEST;
use crate::sync::lock;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

/// The directory of a mirror, and how much of it archives may take.
pub(super) struct Room {
    pub(super) directory: MirrorDirectory,
    /// In bytes.
    most: Option<u64>,
    /// The bytes of all archives, or somewhat more, once they have been counted.
    held: Mutex<Option<u64>>,
}

impl Room {
    /// Counts nothing yet.
    pub(super) fn new(directory: MirrorDirectory, most: Option<u64>) -> Room {
        Room {
            directory,
            most,
            held: Mutex::new(None),
        }
    }

    /// For how many more bytes of archives there is room, counted anew.
    pub(super) fn left(&self) -> u64 {
        self.most.map_or(u64::MAX, |most| {
            let held = self.archives().iter().map(|(_, size, _)| size).sum();
            *lock(&self.held) = Some(held);
            most.saturating_sub(held)
        })
    }

    /// Begins the file of a blob, unless it could not be kept.
    pub(super) fn create(&self, size: u64) -> Option<Incoming> {
        let most = self.most.map(|most| most.max(MAX_CONFIG));
        match most {
            Some(most) if size > most => None,
            _ => self.directory.disk.create(),
        }
    }

    /// Puts a blob in its place, and removes archives if there are too many then.
    pub(super) fn place(&self, file: Incoming, repository: &RepositoryName, blob: &Blob) -> bool {
        let placed = self.directory.place(file, repository, &blob.digest);
        if let Some(most) = self.most.filter(|_| placed) {
            self.bound(most, blob.size);
        }
        placed
    }

    /// Opens a verified blob, which is now the one that was used last.
    pub(super) fn open(&self, repository: &RepositoryName, blob: &Blob) -> Option<File> {
        let file = self.directory.open_proven(repository, blob)?;
        Some(self.used(file, blob))
    }

    /// The same if it was verified seconds ago.
    pub(super) fn open_fresh(&self, repository: &RepositoryName, blob: &Blob) -> Option<File> {
        let file = self.directory.open_fresh(repository, blob)?;
        Some(self.used(file, blob))
    }

    fn used(&self, file: File, blob: &Blob) -> File {
        if self.most.is_some() {
            self.directory.touch(&file, &blob.digest);
        }
        file
    }

    /// Removes archives until a tenth of the room is free, if it's full: to find them costs a look at
    /// each manifest.
    fn bound(&self, most: u64, added: u64) {
        let mut held = lock(&self.held);
        *held = held.map(|held| held + added);
        if held.is_some_and(|held| held <= most) {
            return;
        }
        let mut archives = self.archives();
        sorting::ascending(&mut archives);
        let mut sum: u64 = archives.iter().map(|(_, size, _)| size).sum();
        let wanted = if sum > most { most - most / 10 } else { most };
        for (_, size, path) in archives {
            if sum > wanted && self.directory.disk.remove(&path) {
                sum -= size;
            }
        }
        *held = Some(sum);
    }

    /// All archives and provenance files on disk: when they were used, their sizes and paths.
    fn archives(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let directory = &self.directory;
        let mut found = Vec::new();
        for repository in directory.repositories() {
            let read = |digest: &_| directory.read(&repository, digest, MAX_MANIFEST);
            for listed in directory.list(&directory.folder(&repository).join(INDEX)) {
                let bytes = read(&listed.digest).unwrap_or_default();
                let Some(chart) = Parts::of(&bytes, &read).chart else {
                    continue;
                };
                for blob in [Some(chart.archive), chart.provenance.map(|blob| *blob)] {
                    let path = blob.map(|blob| directory.blob(&repository, &blob.digest));
                    let file = path.and_then(|path| Some((fs::metadata(&path).ok()?, path)));
                    let used = file
                        .and_then(|(file, path)| Some((file.modified().ok()?, file.len(), path)));
                    found.extend(used);
                }
            }
        }
        sorting::by(&mut found, &|one, other| one.2.cmp(&other.2));
        found.dedup_by(|one, other| one.2 == other.2);
        found
    }
}
