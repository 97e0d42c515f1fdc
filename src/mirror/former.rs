//! What former processes have left in the mirror, as a [`Storage`] of that alone: it is read at the start,
//! before the registry is asked for anything, and never asks it.

use super::directory::{INDEX, MirrorDirectory, UNLISTED};
use super::list::NamedManifest;
use super::room::Room;
use crate::helm::chart::MAX_CONFIG;
use crate::oci::{Blob, Digest, Reference, RepositoryName, qualified};
use crate::sorting;
use crate::storage::{Error, ErrorKind, KeptTag, MAX_MANIFEST, Result, Standing, Storage};
use crate::sync::in_parallel;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

/// The lists of all repositories, as they were on disk at the start.
pub(super) struct FormerScans {
    room: Arc<Room>,
    lists: BTreeMap<RepositoryName, Vec<NamedManifest>>,
}

impl FormerScans {
    /// Reads the lists of the repositories that are `wanted`, of so many at a time.
    pub(super) fn read(
        room: Arc<Room>,
        wanted: impl Fn(&RepositoryName) -> bool,
        concurrency: usize,
    ) -> FormerScans {
        let repositories = room.directory.repositories().into_iter().filter(wanted);
        let repositories: Vec<RepositoryName> = repositories.collect();
        let lists = in_parallel(&repositories, concurrency, |repository| {
            lists(&room.directory, repository)
        });
        let lists = repositories.into_iter().zip(lists).collect();
        FormerScans { room, lists }
    }

    fn of(&self, repository: &RepositoryName) -> &[NamedManifest] {
        self.lists.get(repository).map_or(&[], Vec::as_slice)
    }

    fn directory(&self) -> &MirrorDirectory {
        &self.room.directory
    }

    fn named(&self, repository: &RepositoryName, tag: &str) -> Option<&Digest> {
        let list = self.of(repository);
        let at = list.binary_search_by(|one| (*one.tag).cmp(tag)).ok()?;
        Some(&list[at].digest)
    }
}

impl Storage for FormerScans {
    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        Ok(self.lists.keys().cloned().collect())
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let list = self.of(repository).iter();
        Ok(list.map(|one| one.tag.to_string()).collect())
    }

    fn decisions(&self, repository: &RepositoryName) -> Vec<KeptTag> {
        let decided = self.of(repository).iter().filter_map(|one| {
            Some(KeptTag {
                tag: one.tag.clone(),
                manifest: one.digest.clone(),
                standing: Standing::NotAChart(one.reason.clone()?),
            })
        });
        decided.collect()
    }

    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        let parsed = reference.as_str().parse::<Digest>().ok();
        let digest = parsed.as_ref();
        let digest = digest.or_else(|| self.named(repository, reference.as_str()));
        let bytes =
            digest.and_then(|digest| self.directory().read(repository, digest, MAX_MANIFEST));
        bytes.ok_or_else(|| missing(repository, reference.as_str()))
    }

    fn blob(&self, repository: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>> {
        let bytes = self.directory().read(repository, &blob.digest, MAX_CONFIG);
        match bytes {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes))),
            None => Err(missing(repository, &blob.digest.to_string())),
        }
    }
}

/// What both lists of a repository name, in the order of tags.
fn lists(directory: &MirrorDirectory, repository: &RepositoryName) -> Vec<NamedManifest> {
    directory.check_marker(repository);
    let folder = directory.folder(repository);
    let [mut list, unlisted] = [INDEX, UNLISTED].map(|name| directory.list(&folder.join(name)));
    list.extend(unlisted);
    sorting::by(&mut list, &|one, other| one.tag.cmp(&other.tag));
    list
}

fn missing(repository: &RepositoryName, reference: &str) -> Error {
    let name = qualified(repository, reference);
    Error::new(ErrorKind::NotFound, format!("{name}: not in the mirror"))
}
