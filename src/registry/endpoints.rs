//! The endpoints of the distribution-spec (v1.1.0) that are called: tags, manifests and blobs of one
//! repository. A body that isn't what the endpoint returns is an error, never an empty result.

use super::client::{Ask, Client, Scope, UpstreamResponse, error};
use super::paging::{Names, PagedListing, TagText, texts};
use crate::oci::{Blob, Digest, Reference, RepositoryName};
use crate::storage::{MAX_MANIFEST, Result, Skip};
use crate::sync::lock;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// All manifest types, because some registries answer 404 if the type that they have isn't accepted,
/// and an old one converts to schema 1.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Most manifests whose digest of another algorithm is remembered: 15 MB. When there are more, they are
/// read again.
const MAX_NAMED_OTHERWISE: usize = 65_536;
/// Longest digest of another algorithm that is remembered, in bytes: sha512's has 135.
const LONGEST_DIGEST: usize = 256;

/// The endpoints of one registry.
pub(super) struct Endpoints {
    pub(super) client: Client,
    /// Whether the registry has shown that its `HEAD` of a manifest returns no digest.
    without_head: AtomicBool,
    /// By what the registry calls a manifest, where that isn't its sha256: what we call it. An unchanged
    /// tag costs one `HEAD` so, whatever algorithm the registry prefers.
    named_otherwise: Mutex<HashMap<String, Digest>>,
}

impl Endpoints {
    pub(super) fn new(client: Client) -> Endpoints {
        Endpoints {
            client,
            without_head: AtomicBool::new(false),
            named_otherwise: Mutex::default(),
        }
    }

    /// `GET /v2/<name>/tags/list` (end-8a and end-8b).
    pub(super) fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let listing = PagedListing {
            client: &self.client,
            path: &format!("/v2/{repository}/tags/list"),
            scope: Scope::Pull(repository.as_str()),
            is_numbered: false,
            names: tags_on,
        };
        Ok(listing.read()?.into_iter().collect())
    }

    /// `GET /v2/<name>/manifests/<reference>` (end-3).
    pub(super) fn manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        let path = format!("/v2/{name}/manifests/{}", reference.as_str());
        let ask = Ask::MANIFEST.accepting(MANIFEST_TYPES);
        let response = self.client.get(&path, ask, Scope::Pull(name.as_str()))?;
        let what = response.what().to_owned();
        let told = told_digest(&response);
        let bytes = response.read(MAX_MANIFEST)?;
        // The page of an ingress or a log-in may come with 200 too, and says nothing about the tag.
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice::<IgnoredAny>(&bytes) {
            Ok(_) if is_object => {
                self.note_digest(told, &bytes);
                Ok(bytes)
            }
            _ => Err(error::unexpected_body(&what, "not a manifest")),
        }
    }

    fn note_digest(&self, told: Option<String>, manifest: &[u8]) {
        let ours = Digest::sha256(manifest);
        let told = told.filter(|told| told.len() <= LONGEST_DIGEST && *told != ours.to_string());
        if let Some(told) = told {
            let mut named_otherwise = lock(&self.named_otherwise);
            if named_otherwise.len() >= MAX_NAMED_OTHERWISE {
                named_otherwise.clear();
            }
            named_otherwise.insert(told, ours);
        }
    }

    /// `HEAD /v2/<name>/manifests/<reference>` (end-3), which neither Harbor nor Docker Hub counts as a
    /// pull. The digest is optional ("Checking if content exists in the registry"), and so, in the wild, is
    /// the answer; without a digest a `GET` decides.
    pub(super) fn digest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>> {
        if self.without_head.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let path = format!("/v2/{name}/manifests/{}", reference.as_str());
        let ask = Ask::CHECK.accepting(MANIFEST_TYPES);
        let response = self.client.send(&path, ask, Scope::Pull(name.as_str()))?;
        let told = told_digest(&response).filter(|_| response.status() == 200);
        let known = |told: &String| lock(&self.named_otherwise).get(told).cloned();
        let digest = told.as_ref();
        let digest = digest.and_then(|told| known(told).or_else(|| told.parse().ok()));
        // The page of an ingress says nothing about the registry.
        let types = response.texts("content-type");
        let is_page = types.iter().any(|kind| kind.starts_with("text/"));
        let lacks_digest = matches!(response.status(), 200 | 405 | 501) && told.is_none();
        // Several threads may find out at the same time; one of them says it.
        if lacks_digest && !is_page && !self.without_head.swap(true, Ordering::Relaxed) {
            let what = response.what();
            log::info!("{what}: no digest in the response; using GET for manifests from now on");
        }
        Ok(digest)
    }

    /// `GET /v2/<name>/blobs/<digest>` (end-2), from `start` on. A registry that ignores the range sends
    /// the whole, of which the beginning is left out.
    pub(super) fn blob_from(
        &self,
        repository: &RepositoryName,
        blob: &Blob,
        start: u64,
    ) -> Result<impl Read + Send + use<>> {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let scope = Scope::Pull(repository.as_str());
        let response = self.client.send(&path, Ask::BLOB.from(start), scope)?;
        let (size, left_out) = match response.status() {
            200 => (blob.size, start),
            _ if start > 0 && response.begins_at(start) => (blob.size - start, 0),
            _ => return Err(self.client.refusal(response)),
        };
        Ok(Skip::new(response.into_reader(size), left_out))
    }
}

/// What a registry calls the manifest in its response: by any algorithm that there may be.
fn told_digest(response: &UpstreamResponse) -> Option<String> {
    let told = response.texts("docker-content-digest").into_iter().next()?;
    told.contains(':').then_some(told)
}

#[derive(Deserialize)]
struct TagList {
    name: Option<IgnoredAny>,
    tags: Option<Names<TagText>>,
}

/// A repository without tags still has a name; a body that has neither is a gateway's JSON, and must not
/// take all tags away.
fn tags_on(page: &[u8]) -> Option<Vec<String>> {
    let list: TagList = serde_json::from_slice(page).ok()?;
    match (list.tags, list.name) {
        (None, None) => None,
        (tags, _) => texts(tags.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty repositories with tags of 15 MB took 3.5 GB.
    #[test]
    fn a_tag_that_is_too_long_counts_in_its_page_and_takes_no_more_room_than_others() {
        let long = "1".repeat(1000);
        let page = format!(r#"{{"name":"a","tags":["1.0.0","{long}"]}}"#);
        let tags = tags_on(page.as_bytes()).unwrap();
        assert_eq!(tags[0], "1.0.0");
        assert_eq!((tags.len(), tags[1].len()), (2, 129));
        assert!(tags[1].parse::<Reference>().is_err(), "it names no tag");
        assert_eq!(tags_on(br#"{"name":"a","tags":["1.0.0",1]}"#), None);
    }
}
