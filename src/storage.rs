//! The calls that a walk and a download need of whatever holds the charts. The words are the
//! distribution-spec's: repositories, tags, manifest, blob.

use crate::oci::{Descriptor, Digest, Reference, RepositoryName};
use std::error::Error as StdError;
use std::fmt;
use std::io::Read;

/// Where charts are read from: an OCI registry, or an OCI image layout.
pub trait Storage: Send + Sync {
    /// The repositories to walk, each once, in any order.
    fn repositories(&self) -> Result<Vec<RepositoryName>, Error>;

    /// What a repository holds: its tags as they are listed, each once, in any order, not yet checked
    /// against the grammar of a tag. A manifest without a tag is listed by its digest.
    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error>;

    /// A manifest of at most [`MAX_MANIFEST`] bytes.
    fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Vec<u8>, Error>;

    /// Which manifest a reference stands for, if that is had for less than the manifest itself, and
    /// without counting as a pull. `None` says nothing: the manifest must be read.
    fn digest(&self, _: &RepositoryName, _: &Reference) -> Result<Option<Digest>, Error> {
        Ok(None)
    }

    /// A blob's bytes as they arrive. They are *not* verified: wrap them in
    /// [`Verifying`](crate::oci::Verifying).
    fn blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, Error>;

    /// Whether a blob is there to be handed out, as far as that is cheap to know. A registry takes
    /// no manifest before its blobs (distribution-spec v1.1.0, "Pushing Manifests"), so it isn't
    /// asked.
    fn check(&self, _: &RepositoryName, _: &Descriptor) -> Result<(), Error> {
        Ok(())
    }

    /// Which state the storage is in, if that can be told without looking at everything: while it
    /// stays the same, a walk would find what the last one found.
    fn revision(&self) -> Option<Revision> {
        None
    }

    /// What adds a chart, for a client that tries to upload one.
    fn how_to_add(&self) -> &'static str {
        "helm push it to the registry"
    }

    /// How many requests have been made of it so far, if they cost anything.
    fn requests(&self) -> u64 {
        0
    }
}

/// One state of a storage; only good for telling it from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u64);

/// Largest manifest that is read: 4 MiB, the size that distribution-spec v1.1.0 ("Pushing
/// Manifests") asks registries to take at least.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// What a failure means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It's definitely not there (404).
    NotFound,
    /// It may be there, but we're refused: credentials, rights, a policy (other 4xx).
    Refused,
    /// No answer in time.
    TimedOut,
    /// No connection, or a server that fails or throttles: later it may work.
    Unavailable,
    /// An answer that breaks the protocol, its own length or its own digest.
    Invalid,
}

impl From<&std::io::Error> for ErrorKind {
    /// What it means that a blob can't be read to its end, through
    /// [`Verifying`](crate::oci::Verifying).
    fn from(error: &std::io::Error) -> ErrorKind {
        match error.kind() {
            std::io::ErrorKind::InvalidData => ErrorKind::Invalid,
            std::io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::Unavailable,
        }
    }
}

impl ErrorKind {
    /// Whether there was no answer at all, so that the next attempt may well succeed.
    pub fn is_no_answer(self) -> bool {
        matches!(self, ErrorKind::TimedOut | ErrorKind::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    /// In words that tell nothing of where, so that everybody may read them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotFound => "nothing is there",
            ErrorKind::Refused => "access was refused",
            ErrorKind::TimedOut => "no answer came in time",
            ErrorKind::Unavailable => "no answer, or a failure at the other end",
            ErrorKind::Invalid => "an answer that makes no sense",
        })
    }
}

/// Why a call failed: what was tried, on what, and what came of it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    told: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `text` says what was tried, on what, and why it failed.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error {
            kind,
            text: text.into(),
            told: None,
            source: None,
        }
    }

    /// The same, with the cause for `source()`; `text` already tells it.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// The same, with what everybody may read of it: it holds no word of the storage's, which may
    /// repeat what it was sent.
    pub fn telling(mut self, told: impl Into<String>) -> Error {
        self.told = Some(told.into());
        self
    }

    /// What everybody may read of it: of most errors, only of which kind it is.
    pub fn told(&self) -> String {
        self.told
            .clone()
            .unwrap_or_else(|| format!("{}; the log says more", self.kind))
    }

    /// The same, and what can be done about it.
    pub fn advise(mut self, advice: &str) -> Error {
        self.text = format!("{}; {advice}", self.text);
        self
    }

    /// What it means to the caller.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Reads a small blob whole, verified.
///
/// Errors as [`Storage::blob`] does, and `Invalid` when the bytes aren't the digest's. The caller
/// bounds `blob.size`.
pub fn read_blob(
    storage: &dyn Storage,
    repository: &RepositoryName,
    blob: &Descriptor,
) -> Result<Vec<u8>, Error> {
    let source = storage.blob(repository, blob)?;
    let mut bytes = Vec::new();
    match crate::oci::Verifying::new(source, &blob.digest, blob.size).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(read_failed(repository, &blob.digest, error)),
    }
}

/// The error for bytes that failed on their way.
fn read_failed(repository: &RepositoryName, digest: &Digest, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::from(&error),
        format!("blob {repository}@{digest}: {error}"),
    )
    .with_source(error)
}
