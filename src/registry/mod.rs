//! [`Storage`] by HTTP requests to an OCI registry (distribution-spec v1.1.0): the only room that knows
//! `ureq`. [`client`] sends one request, [`endpoints`] are those of the spec, [`discovery`] finds the
//! repositories. It knows nothing of charts, but for the name of an index of them
//! (`discovery/charts_index.rs`).

mod client;
mod discovery;
mod endpoints;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod paging;

pub use client::{Scheme, Tls, TlsFiles};

use crate::credentials::SecretFile;
use crate::oci::{Blob, Digest, Reference, RepositoryName};
use crate::storage::{Result, Storage};
use client::Client;
use discovery::Discovery;
use endpoints::Endpoints;
use std::io::Read;
use std::sync::Arc;

/// What a [`Registry`] needs to know.
pub struct RegistryOptions {
    /// `host[:port]`.
    pub authority: String,
    /// The scheme, if it's known; else it's probed.
    pub scheme: Option<Scheme>,
    /// Which certificates are trusted.
    pub tls: Arc<Tls>,
    /// Where the credentials are.
    pub credentials: Arc<SecretFile>,
    /// Only repositories below this are scanned.
    pub prefix: Option<RepositoryName>,
    /// Scanned instead of what the registry lists, unless empty.
    pub repositories: Vec<RepositoryName>,
    /// How many requests are made at a time, and connections kept alive.
    pub connections: usize,
}

/// A registry. It is asked when one of its methods is called, and never before.
pub struct Registry {
    endpoints: Endpoints,
    discovery: Discovery,
}

impl Registry {
    /// Connects to nothing yet.
    pub fn new(options: RegistryOptions) -> Registry {
        let (scheme, connections) = (options.scheme, options.connections);
        let (authority, credentials) = (options.authority, options.credentials);
        let client = Client::new(authority, scheme, options.tls, credentials, connections);
        Registry {
            endpoints: Endpoints::new(client),
            discovery: Discovery::new(options.prefix, options.repositories, connections),
        }
    }
}

impl Storage for Registry {
    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        self.discovery.repositories(&self.endpoints)
    }

    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>> {
        let mut tags = self.endpoints.tags(repository);
        self.discovery.note_listing(repository, &tags);
        // zuul-registry lists digests as well, which are no tags. In a layout, they stand for what has none.
        if let Ok(tags) = &mut tags {
            tags.retain(|tag| tag.parse::<Digest>().is_err());
        }
        tags
    }

    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>> {
        self.endpoints.manifest(repository, reference)
    }

    fn digest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Option<Digest>> {
        self.endpoints.digest(repository, reference)
    }

    fn blob(&self, repository: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>> {
        self.blob_from(repository, blob, 0)
    }

    fn blob_from(
        &self,
        repository: &RepositoryName,
        blob: &Blob,
        start: u64,
    ) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.endpoints.blob_from(repository, blob, start)?))
    }

    fn requests(&self) -> u64 {
        self.endpoints.client.requests()
    }
}
