//! The endpoints of the distribution-spec (v1.1.0) that are called: tags, manifests and blobs of one
//! repository. A body that isn't what the endpoint returns is an error, never an empty result.

use super::client::{Ask, Client, Scope, error};
use super::paging::{Names, PagedListing};
use crate::oci::{Descriptor, Digest, Reference, RepositoryName};
use crate::storage::{MAX_MANIFEST, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

/// All manifest types, because some registries answer 404 if the type that they have isn't accepted,
/// and an old one converts to schema 1.
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The endpoints of one registry.
pub(super) struct Endpoints {
    pub(super) client: Client,
    /// Whether the registry has shown that its `HEAD` of a manifest returns no digest.
    without_head: AtomicBool,
}

impl Endpoints {
    pub(super) fn new(client: Client) -> Endpoints {
        Endpoints {
            client,
            without_head: AtomicBool::new(false),
        }
    }

    /// `GET /v2/<name>/tags/list` (end-8a and end-8b).
    pub(super) fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let listing = PagedListing {
            path: &format!("/v2/{repository}/tags/list"),
            scope: Scope::Pull(repository.as_str()),
            is_numbered: false,
            names: tags_on,
        };
        Ok(listing.read(&self.client)?.into_iter().collect())
    }

    /// `GET /v2/<name>/manifests/<reference>` (end-3).
    pub(super) fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Vec<u8>> {
        let path = format!("/v2/{repository}/manifests/{}", reference.as_str());
        let accept = ACCEPT_MANIFEST;
        let scope = Scope::Pull(repository.as_str());
        let response = self.client.get(&path, Ask::Get { accept }, scope)?;
        let what = response.what().to_owned();
        let bytes = response.read(MAX_MANIFEST)?;
        // The page of an ingress or a log-in may come with 200 too, and says nothing about the tag.
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice::<IgnoredAny>(&bytes) {
            Ok(_) if is_object => Ok(bytes),
            _ => Err(error::unexpected_body(&what, "not a manifest")),
        }
    }

    /// `HEAD /v2/<name>/manifests/<reference>` (end-3), which neither Harbor nor Docker Hub counts as a
    /// pull. The digest is optional ("Checking if content exists in the registry"), and so, in the wild, is
    /// the answer; without a digest a `GET` decides.
    pub(super) fn digest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>> {
        if self.without_head.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let path = format!("/v2/{repository}/manifests/{}", reference.as_str());
        let accept = ACCEPT_MANIFEST;
        let scope = Scope::Pull(repository.as_str());
        let response = self.client.send(&path, Ask::Head { accept }, scope)?;
        let digest = response.texts("docker-content-digest");
        let digest = digest.first().and_then(|text| text.parse().ok());
        let digest = digest.filter(|_| response.status() == 200);
        // The page of an ingress says nothing about the registry.
        let types = response.texts("content-type");
        let is_page = types.iter().any(|kind| kind.starts_with("text/"));
        if matches!(response.status(), 200 | 405 | 501) && digest.is_none() && !is_page {
            log::info!(
                "{}: no digest in the response; using GET for manifests from now on",
                response.what()
            );
            self.without_head.store(true, Ordering::Relaxed);
        }
        Ok(digest)
    }

    /// `GET /v2/<name>/blobs/<digest>` (end-2).
    pub(super) fn blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
    ) -> Result<impl Read + Send + use<>> {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let scope = Scope::Pull(repository.as_str());
        let response = self.client.get(&path, Ask::GetBlob, scope)?;
        Ok(response.into_reader(blob.size))
    }
}

#[derive(Deserialize)]
struct TagList {
    name: Option<IgnoredAny>,
    tags: Option<Names>,
}

/// A repository without tags still has a name; a body that has neither is a gateway's JSON, and must not
/// take all tags away.
fn tags_on(page: &[u8]) -> Option<Vec<String>> {
    let list: TagList = serde_json::from_slice(page).ok()?;
    match (list.tags, list.name) {
        (None, None) => None,
        (tags, _) => Some(tags.unwrap_or_default().0),
    }
}
