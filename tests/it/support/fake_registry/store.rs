//! What the registry holds: repositories, their tags, manifests and blobs, all by digest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ring::digest::{SHA256, digest};

use super::artifacts::Descriptor;

/// `sha256:` and the hex digest of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex = hash.as_ref().iter().map(|b| format!("{b:02x}"));
    format!("sha256:{}", hex.collect::<String>())
}

#[derive(Default)]
pub(super) struct Store {
    repositories: BTreeMap<String, Repository>,
}

#[derive(Default)]
pub(super) struct Repository {
    /// In the order they were first pushed: registries promise no other.
    tags: Vec<(String, String)>,
    manifests: HashMap<String, Manifest>,
    blobs: HashMap<String, Arc<Vec<u8>>>,
}

pub(super) struct Manifest {
    pub media_type: String,
    pub digest: String,
    pub bytes: Arc<Vec<u8>>,
}

impl Store {
    pub fn names(&self) -> Vec<&str> {
        self.repositories.keys().map(String::as_str).collect()
    }

    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub fn push_blob(&mut self, repository: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = sha256(bytes);
        let blobs = &mut self.repository_mut(repository).blobs;
        blobs.insert(digest.clone(), Arc::new(bytes.to_vec()));
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len(),
        }
    }

    pub fn push_manifest(
        &mut self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = sha256(bytes);
        let manifest = Manifest {
            media_type: media_type.to_owned(),
            digest: digest.clone(),
            bytes: Arc::new(bytes.to_vec()),
        };
        let repository = self.repository_mut(repository);
        repository.manifests.insert(digest.clone(), manifest);
        match repository.tags.iter_mut().find(|(t, _)| t == tag) {
            Some(known) => known.1 = digest.clone(),
            None => repository.tags.push((tag.to_owned(), digest.clone())),
        }
        digest
    }

    pub fn delete_tag(&mut self, repository: &str, tag: &str) {
        let tags = &mut self.repository_mut(repository).tags;
        let before = tags.len();
        tags.retain(|(t, _)| t != tag);
        assert!(tags.len() < before, "{repository}:{tag} was never pushed");
    }

    pub fn delete_repository(&mut self, repository: &str) {
        let gone = self.repositories.remove(repository);
        assert!(gone.is_some(), "{repository} was never pushed");
    }

    pub fn delete_blob(&mut self, repository: &str, digest: &str) {
        let gone = self.repository_mut(repository).blobs.remove(digest);
        assert!(gone.is_some(), "{repository} never held {digest}");
    }

    fn repository_mut(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}

impl Repository {
    pub fn tags(&self) -> Vec<&str> {
        self.tags.iter().map(|(tag, _)| tag.as_str()).collect()
    }

    /// By tag or by digest.
    pub fn manifest(&self, reference: &str) -> Option<&Manifest> {
        let tagged = self.tags.iter().find(|(tag, _)| tag == reference);
        let digest = tagged.map_or(reference, |(_, digest)| digest);
        self.manifests.get(digest)
    }

    pub fn blob(&self, digest: &str) -> Option<&Arc<Vec<u8>>> {
        self.blobs.get(digest)
    }
}
