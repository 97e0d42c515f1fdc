//! The calls that a scan and a download make to the place that holds the charts, and the error of all
//! of them. The words are the distribution-spec's: repositories, tags, manifest, blob.

use crate::budget::make_room;
use crate::oci::{Blob, Digest, Reference, RepositoryName, Verifying, excerpt};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

/// Where charts are read from: an OCI registry, OCI image layouts, or a folder of chart archives.
pub trait Storage: Send + Sync {
    /// The repositories to scan, each once, in any order.
    fn repositories(&self) -> Result<Vec<RepositoryName>>;

    /// The tags of a repository as they are listed, each once, in any order, not yet checked against the
    /// grammar of a tag. A manifest without a tag is listed by its digest.
    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>>;

    /// A manifest of at most [`MAX_MANIFEST`] bytes.
    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>>;

    /// The digest of the manifest that a reference stands for, if it costs less than the manifest and
    /// doesn't count as a pull. With `None` the manifest must be read.
    fn digest(&self, _: &RepositoryName, _: &Reference) -> Result<Option<Digest>> {
        Ok(None)
    }

    /// A blob's bytes as they arrive. They are *not* verified: wrap them in
    /// [`Verifying`].
    fn blob(&self, repository: &RepositoryName, blob: &Blob) -> Result<Box<dyn Read + Send>>;

    /// A blob's bytes from `start` on, as they arrive. They can't be verified, because only the whole has a
    /// digest.
    fn blob_from(
        &self,
        repository: &RepositoryName,
        blob: &Blob,
        start: u64,
    ) -> Result<Box<dyn Read + Send>> {
        let source = self.blob(repository, blob)?;
        Ok(Box::new(Skip::new(source, start)))
    }

    /// A file that holds a blob and nothing else, if its bytes were verified so short a time ago that they
    /// needn't be again, and it has not changed since.
    fn verified_file(&self, _: &RepositoryName, _: &Blob) -> Option<VerifiedFile> {
        None
    }

    /// Checks that a blob can be read, where that is cheap. A registry accepts no manifest before its
    /// blobs (distribution-spec v1.1.0, "Pushing Manifests"), so for a registry no request is made.
    fn check(&self, _: &RepositoryName, _: &Blob) -> Result<()> {
        Ok(())
    }

    /// The state that the storage is in, if that is known without reading everything: while it stays the
    /// same, a scan would find what the last one found.
    fn revision(&self) -> Option<Revision> {
        None
    }

    /// How a chart is added, for the client that tries to upload one.
    fn how_to_add(&self) -> &'static str {
        "helm push NAME-VERSION.tgz oci://REGISTRY/REPOSITORY, to the registry that this chart repository reads"
    }

    /// How many requests have been sent so far; 0 where reading costs no request.
    fn requests(&self) -> u64 {
        0
    }

    /// What former scans have left on disk: it is read at the start, before the storage itself is asked.
    fn former(&self) -> Option<Former<'_>> {
        None
    }

    /// The tags of a repository of which a former scan has decided that they name no chart.
    fn decisions(&self, _: &RepositoryName) -> Vec<KeptTag> {
        Vec::new()
    }

    /// Takes note of what is known by now, where that is kept for the next start. `known` costs something,
    /// and returns nothing new unless it `has_changed`.
    fn keep(&self, _has_changed: bool, _known: &dyn Fn() -> Known) {}
}

/// An open file whose bytes are those of a blob.
pub type VerifiedFile = std::fs::File;

/// What former scans have left on disk.
pub struct Former<'a> {
    /// What they have read, as a storage of that alone.
    pub storage: Box<dyn Storage + 'a>,
    /// When the repositories were last listed (RFC 3339); empty if that is not known.
    pub as_of: String,
}

/// What is known of every repository that there is; without tags, if they could not be listed.
pub type Known = Vec<(RepositoryName, Option<Vec<KeptTag>>)>;

/// What is known of a tag.
pub struct KeptTag {
    /// The tag.
    pub tag: Arc<str>,
    /// The manifest that it names.
    pub manifest: Digest,
    /// What that stands for.
    pub standing: Standing,
}

impl KeptTag {
    /// Whether it is in the index.
    pub fn is_listed(&self) -> bool {
        matches!(self.standing, Standing::Listed)
    }
}

/// Whether a manifest is in the index.
pub enum Standing {
    /// It is listed there.
    Listed,
    /// It is a chart that is not listed: it is over a budget, or not all of it was read.
    Unlisted,
    /// It is no chart, for this reason.
    NotAChart(Arc<str>),
}

/// Leaves out the first bytes of a source.
pub struct Skip<R> {
    source: R,
    left: u64,
}

impl<R: Read> Skip<R> {
    /// Leaves out so many.
    pub fn new(source: R, start: u64) -> Skip<R> {
        Skip {
            source,
            left: start,
        }
    }
}

impl<R: Read> Read for Skip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left > 0 {
            let mut start = (&mut self.source).take(self.left);
            self.left -= io::copy(&mut start, &mut io::sink())?;
            if self.left > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.source.read(buffer)
    }
}

/// So many bytes of a source; it's an error if there are fewer.
pub struct Exactly<R> {
    source: R,
    left: u64,
}

impl<R: Read> Exactly<R> {
    /// Lets so many pass.
    pub fn new(source: R, left: u64) -> Exactly<R> {
        Exactly { source, left }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.source).take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// One state of a storage, to be compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u64);

pub use crate::budget::MAX_MANIFEST;
/// Most bytes for which there is room before a small blob is read: as much as nearly all config blobs have.
const FIRST_ROOM: u64 = 64 * 1024;

/// What a failure means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It definitely doesn't exist (404).
    NotFound,
    /// It may exist, but access is denied: credentials, rights, a policy (other 4xx).
    Refused,
    /// No answer in time.
    TimedOut,
    /// No connection, or a server that fails or throttles: later it may work.
    Unavailable,
    /// The request was never sent, because the registry asked for a pause or has stopped answering: it
    /// says nothing about what was asked for. [`Error::retry_at`] is when it may be sent.
    Paused,
    /// An answer that breaks the protocol, its own length or its own digest.
    Invalid,
}

impl From<&std::io::Error> for ErrorKind {
    /// The kind of a failure to read a blob to its end through
    /// [`Verifying`].
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
        use ErrorKind::{Paused, TimedOut, Unavailable};
        matches!(self, TimedOut | Unavailable | Paused)
    }
}

impl fmt::Display for ErrorKind {
    /// In words that name no host and no path, so that they may be shown to anyone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotFound => "not found",
            ErrorKind::Refused => "access denied",
            ErrorKind::TimedOut => "no answer in time",
            ErrorKind::Unavailable => "unreachable or failing",
            ErrorKind::Paused => "requests are paused",
            ErrorKind::Invalid => "invalid response",
        })
    }
}

/// Why a call failed. `{}` may be shown to anyone: the meaning in our own words, which hold no word of
/// the storage's but a status and a code. `{:#}` is for the log: method, URL, status, the registry's
/// code and message. Both end with the advice, if there is any.
///
/// Callers branch on the kind and the status, never on a text. Each text is an [`excerpt`]: it may hold
/// words of others, and stays as long as the failure.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    detail: String,
    status: Option<u16>,
    public: Option<String>,
    advice: Option<String>,
    retry_at: Option<Instant>,
}

impl Error {
    /// `what` says in our own words what was tried, on what, and why it failed. It is for the log; the
    /// public text is the kind's.
    pub fn new(kind: ErrorKind, what: impl AsRef<str>) -> Error {
        Error {
            kind,
            what: excerpt(what.as_ref()),
            detail: String::new(),
            status: None,
            public: None,
            advice: None,
            retry_at: None,
        }
    }

    /// Appends words for the log alone: of the storage, which may repeat what it was sent, or about
    /// secrets.
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Error {
        self.detail = excerpt(&format!("{}{detail}", self.detail));
        self
    }

    /// Replaces the public text by one that says more, in no words of the storage's.
    pub fn with_public(mut self, text: impl AsRef<str>) -> Error {
        self.public = Some(excerpt(text.as_ref()));
        self
    }

    /// Adds what helps, such as a flag. It may be shown to anyone.
    pub fn advise(mut self, advice: impl Into<String>) -> Error {
        self.advice = Some(advice.into());
        self
    }

    /// Adds the HTTP status that was answered.
    pub fn with_status(mut self, status: u16) -> Error {
        self.status = Some(status);
        self
    }

    /// Adds when the request may be sent again.
    pub fn with_retry_at(mut self, at: Option<Instant>) -> Error {
        self.retry_at = at;
        self
    }

    /// Puts in front of `what` the thing that the call was made for.
    pub fn in_context(mut self, context: &str) -> Error {
        self.what = excerpt(&format!("{context}: {}", self.what));
        self
    }

    /// What it means to the caller.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried and why it failed, in our own words; it holds a URL or a path.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The HTTP status, if the failure is an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// When the request may be sent again, if the registry asked for a pause or requests are paused.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.public, &self.advice) {
            _ if f.alternate() => write!(f, "{}{}", self.what, self.detail)?,
            (Some(text), _) => f.write_str(text)?,
            (None, Some(_)) => write!(f, "{}", self.kind)?,
            (None, None) => write!(f, "{}; see the log", self.kind)?,
        }
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A result of a call to a storage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Reads a small blob whole, verified.
///
/// Errors as [`Storage::blob`] does, and `Invalid` when the bytes don't match the digest. The caller
/// bounds `blob.size`.
pub fn read_blob(
    storage: &dyn Storage,
    repository: &RepositoryName,
    blob: &Blob,
) -> Result<Vec<u8>> {
    read_verified(storage.blob(repository, blob)?, repository, blob)
}

/// Reads the bytes of a small blob from `source`, verified; errors as [`read_blob`] does.
pub fn read_verified(
    source: impl Read,
    repository: &RepositoryName,
    blob: &Blob,
) -> Result<Vec<u8>> {
    // Room for all at once, or else a small file takes seven reads; but a length may be a lie.
    let mut bytes = Vec::with_capacity(blob.size.min(FIRST_ROOM) as usize);
    make_room(&mut bytes, blob.size as usize);
    let read = Verifying::new(source, &blob.digest, blob.size).read_to_end(&mut bytes);
    read.map_err(|error| {
        let text = format!("blob {repository}@{}: {error}", blob.digest);
        Error::new(ErrorKind::from(&error), text)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_ignores_a_range_is_skipped_to_its_start() {
        let rest = |start| {
            let mut rest = String::new();
            let read = Skip::new(&b"hello"[..], start).read_to_string(&mut rest);
            read.map(|_| rest)
        };
        assert_eq!(rest(0).unwrap(), "hello");
        assert_eq!(rest(3).unwrap(), "lo");
        assert_eq!(rest(5).unwrap(), "");
        assert!(rest(6).is_err());
    }

    #[test]
    fn the_public_text_holds_no_word_of_the_storage_and_the_log_text_all() {
        let error = Error::new(ErrorKind::Refused, "GET https://reg/x: 401 DENIED")
            .with_status(401)
            .with_detail(": hunter2");
        assert_eq!(error.to_string(), "access denied; see the log");
        let logged = "GET https://reg/x: 401 DENIED: hunter2";
        assert_eq!(format!("{error:#}"), logged);
        let error = error.advise("use --flag");
        assert_eq!(error.to_string(), "access denied; use --flag");
        assert_eq!(format!("{error:#}"), format!("{logged}; use --flag"));
        assert_eq!(
            error.with_public("closed").to_string(),
            "closed; use --flag"
        );
    }
}
