//! [`Storage`] by dialling an OCI registry (distribution-spec v1.1.0): the only room that knows
//! `ureq`, and one that has never heard of a chart. Nothing that a registry answers is trusted: not
//! its lengths, its links, its redirects or its types.

mod answer;
mod auth;
mod catalog;
mod challenge;
mod charts_index;
mod discovery;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod harbor;
mod listing;
mod page;
mod patience;
mod probe;
mod shared;
mod token;
mod transport;
mod url;

pub use probe::Scheme;
pub use transport::{Tls, certificates};

use crate::credentials::Source;
use crate::oci::{Descriptor, Digest, Reference, RepositoryName};
use crate::storage::{Error, MAX_MANIFEST, Storage};
use answer::Answer;
use auth::{Authenticator, Scope};
use discovery::Discovery;
use listing::TagList;
use patience::{Patience, Then};
use serde::de::IgnoredAny;
use shared::Shared;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use transport::{Ask, Transport};
use ureq::http::Uri;

/// All manifest types, because some registries answer 404 to whoever doesn't accept what they have,
/// and an old one converts to schema 1.
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
/// For when a registry wants to know who we are: what everybody may read of it. The log says more.
const CREDENTIALS_ADVICE: &str = "check what --storage-registry-config holds for this registry";
/// For what a port of TLS answers to plain HTTP (Go's `net/http` and nginx do, with 400).
const HTTPS_ADVICE: &str = "should it speak TLS, say --storage-registry-scheme=HTTPS";

/// What a [`Registry`] needs to know.
pub struct Options {
    /// `host[:port]`.
    pub authority: String,
    /// The scheme, if it's known; else it's probed.
    pub scheme: Option<Scheme>,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// Where the credentials are.
    pub credentials: Arc<Source>,
    /// Only what lies below this is walked.
    pub prefix: Option<RepositoryName>,
    /// Walked instead of what the registry lists, unless empty.
    pub repositories: Vec<RepositoryName>,
    /// How many requests are made at a time, and connections kept alive.
    pub connections: usize,
}

/// A registry, dialled when asked.
pub struct Registry {
    options: Options,
    transport: Transport,
    authenticator: Authenticator,
    scheme: Shared<Scheme>,
    discovery: Discovery,
    patience: Mutex<Patience>,
    /// Whether the registry has shown that it answers no `HEAD` of a manifest.
    without_head: AtomicBool,
}

impl Registry {
    /// Dials nothing yet.
    pub fn new(options: Options) -> Registry {
        Registry {
            transport: Transport::new(&options.tls, options.connections, &options.authority),
            authenticator: Authenticator::new(
                options.authority.clone(),
                options.credentials.clone(),
            ),
            scheme: Shared::new(options.scheme),
            discovery: Discovery::default(),
            patience: Mutex::default(),
            without_head: AtomicBool::new(false),
            options,
        }
    }

    /// The scheme, probed the first time.
    fn scheme(&self) -> Result<Scheme, Error> {
        self.scheme.get(
            |_| true,
            || {
                let scheme = probe::scheme(&self.transport, &self.options.authority)?;
                log::info!("{} speaks {scheme}", self.options.authority);
                Ok(scheme)
            },
        )
    }

    /// `GET path`; only a 200 is `Ok`.
    fn get(&self, path: &str, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let answer = self.fetch(path, ask, scope)?;
        match answer.status() {
            200 => Ok(answer),
            _ => Err(self.refusal(answer)),
        }
    }

    /// The error that an answer is, with what may help.
    fn refusal(&self, answer: Answer) -> Error {
        match answer.status() {
            401 | 403 => answer.into_error().advise(&self.explain_refusal()),
            400 if answer.url().scheme_str() == Some("http") => {
                answer.into_error().advise(HTTPS_ADVICE)
            }
            _ => answer.into_error(),
        }
    }

    fn explain_refusal(&self) -> String {
        self.options
            .credentials
            .explain_refusal(&self.options.authority)
    }

    /// Asks for `path`, with credentials as they're asked for, again while that may help. Any status
    /// that won't pass by itself is `Ok`.
    fn fetch(&self, path: &str, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let text = format!("{}://{}{path}", self.scheme()?, self.options.authority);
        let target: Uri = text
            .parse()
            .map_err(|cause| error::protocol(&format!("GET {path}"), cause))?;
        let what = transport::what(ask, &target);
        let mut attempt = 1;
        loop {
            let turn = self.patience().turn(Instant::now());
            thread::sleep(turn.map_err(|resting| error::unavailable(&what, resting))?);
            let error = match self.fetch_once(&target, ask, scope) {
                Ok(answer) if error::may_pass(answer.status()) => answer.into_error(),
                Err(error) if error.kind().is_no_answer() => error,
                result => {
                    self.patience().answered();
                    return result;
                }
            };
            match self
                .patience()
                .failed(error::failure(&error), attempt, Instant::now())
            {
                Then::AskAgain(pause) => {
                    log::debug!("{error}: tried again");
                    thread::sleep(pause);
                }
                Then::GiveUp => return Err(error),
                Then::Rest(asked) => {
                    log::warn!(
                        "{error}: the registry asks for a rest of {} s",
                        asked.as_secs()
                    );
                    return Err(error);
                }
            }
            attempt += 1;
        }
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, and a second one if the first is answered by a challenge we can meet.
    fn fetch_once(&self, target: &Uri, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let known = self.authenticator.known(&self.transport, scope)?;
        let call = |known| {
            self.transport
                .call(target, ask, known)
                .map_err(error::about_scheme)
        };
        let answer = call(known.as_deref())?;
        // A challenge from where a redirect has led is not the registry's, and gets nothing.
        if answer.status() != 401 || url::origin(answer.url()) != url::origin(target) {
            return Ok(answer);
        }
        match self
            .authenticator
            .respond(&self.transport, scope, &answer, known.as_deref())?
        {
            Some(authorization) => call(Some(&authorization)),
            None => Ok(answer),
        }
    }
}

impl Storage for Registry {
    fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        self.discover()
    }

    /// `GET /v2/<name>/tags/list` (distribution-spec v1.1.0, end-8a and end-8b).
    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error> {
        let path = format!("/v2/{repository}/tags/list");
        let tags = self
            .list::<TagList>(&path, Scope::Repository(repository))
            .map_err(error::of_registry);
        self.note_named(repository, tags.as_ref().map(drop));
        Ok(tags?.into_iter().collect())
    }

    /// `GET /v2/<name>/manifests/<reference>` (end-3).
    fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Vec<u8>, Error> {
        let path = format!("/v2/{repository}/manifests/{}", reference.as_str());
        let answer = self.get(
            &path,
            Ask::Get {
                accept: ACCEPT_MANIFEST,
            },
            Scope::Repository(repository),
        );
        let answer = answer.map_err(error::of_registry)?;
        let what = answer.what().to_owned();
        let bytes = answer.read(MAX_MANIFEST)?;
        // A page of an ingress or a log-in may come with 200 too, and says nothing about the tag.
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        match serde_json::from_slice::<IgnoredAny>(&bytes) {
            Ok(_) if is_object => Ok(bytes),
            _ => Err(error::unfit(&what, "not a manifest")),
        }
    }

    /// `HEAD /v2/<name>/manifests/<reference>` (end-3), which neither Harbor nor Docker Hub counts as a
    /// pull. The digest is optional ("Checking if content exists in the registry"), and so, in the wild, is
    /// the answer; whatever isn't a digest leaves the decision to a `GET`.
    fn digest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, Error> {
        if self.without_head.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let path = format!("/v2/{repository}/manifests/{}", reference.as_str());
        let answer = self.fetch(
            &path,
            Ask::Head {
                accept: ACCEPT_MANIFEST,
            },
            Scope::Repository(repository),
        )?;
        let digest = answer
            .texts("docker-content-digest")
            .first()
            .and_then(|text| text.parse().ok());
        let answers = answer.status() == 200 && digest.is_some();
        // Nor does a page of an ingress tell anything about the registry.
        let is_page = answer
            .texts("content-type")
            .iter()
            .any(|kind| kind.starts_with("text/"));
        if matches!(answer.status(), 200 | 405 | 501) && !answers && !is_page {
            log::info!(
                "{}: tells no digest; manifests are read instead",
                answer.what()
            );
            self.without_head.store(true, Ordering::Relaxed);
        }
        Ok(digest.filter(|_| answers))
    }

    /// `GET /v2/<name>/blobs/<digest>` (end-2).
    fn blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, Error> {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let answer = self.get(&path, Ask::GetBlob, Scope::Repository(repository))?;
        Ok(Box::new(answer.into_reader(blob.size)))
    }

    fn requests(&self) -> u64 {
        self.transport.requests()
    }
}
