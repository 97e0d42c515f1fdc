//! A dockerconfigjson on disk, read again whenever it changes, because secrets rotate: kubelet swaps
//! the directory that a secret is mounted as.

use super::{Auths, canonical_host};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Largest secret that is read: 1 MiB, Kubernetes' own bound for one.
const MAX_FILE: u64 = 1024 * 1024;
/// Most registries named in a message: a developer's own file may have dozens.
const MAX_SHOWN: usize = 5;

/// Why a dockerconfigjson can't be used.
#[derive(Debug)]
pub enum Error {
    /// It can't be read.
    Io(PathBuf, io::Error),
    /// It's read, but is no dockerconfigjson.
    Invalid(PathBuf, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Invalid(path, reason) => {
                write!(f, "{}: not a dockerconfigjson: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(_, error) => Some(error),
            Error::Invalid(..) => None,
        }
    }
}

/// A dockerconfigjson on disk, which may change, come and go while we run.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamp: Option<Stamp>,
    auths: Auths,
    generation: u64,
    /// Whether the last attempt to read the file failed, which has been told then.
    unreadable: bool,
}

/// What tells one state of a file from the next. Kubernetes swaps a directory, so that the path
/// leads to another file.
type Stamp = (SystemTime, u64, u64);

impl Source {
    /// Reads the file for the first time. One that isn't there holds no credentials, unless it's
    /// `required`.
    pub fn open(path: PathBuf, required: bool) -> Result<Source, Error> {
        let stamp = stamp(&path);
        let auths = match (&stamp, required) {
            (None, false) => Auths::default(),
            _ => read(&path)?,
        };
        let state = Mutex::new(State {
            stamp,
            auths,
            generation: 0,
            unreadable: false,
        });
        Ok(Source { path, state })
    }

    /// The credentials as the file has them now, and a number that changes whenever they do. A
    /// file that has become unreadable leaves the last good ones in force; the reason is returned
    /// once.
    pub fn current(&self) -> (Auths, u64, Option<Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        let mut problem = None;
        if now.is_some() && now != state.stamp {
            match read(&self.path) {
                Ok(auths) => {
                    state.auths = auths;
                    state.generation += 1;
                }
                Err(error) => problem = Some(error),
            }
            // An unreadable one may become readable without being written: it's looked at again.
            let unreadable = matches!(problem, Some(Error::Io(..)));
            if !unreadable {
                state.stamp = now;
            }
            if std::mem::replace(&mut state.unreadable, unreadable) && unreadable {
                problem = None;
            }
        }
        (state.auths.clone(), state.generation, problem)
    }

    /// What a refusal by `host[:port]` is about, as far as the file tells: for the log, and without a
    /// secret.
    pub fn explain_refusal(&self, host: &str) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let file = format!("--storage-registry-config {}", self.path.display());
        if state.stamp.is_none() {
            return format!("there is no file with credentials ({file})");
        }
        let hosts = state.auths.hosts();
        if hosts.contains(canonical_host(host).as_str()) {
            return format!("what {file} holds for {host} was refused, or lacks the right");
        }
        let shown: Vec<&str> = hosts.iter().copied().take(MAX_SHOWN).collect();
        match shown.as_slice() {
            [] => format!("{file} holds no credentials"),
            shown => format!(
                "{file} has no entry for {host}, but for {}",
                shown.join(", ")
            ),
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

fn read(path: &Path) -> Result<Auths, Error> {
    let io_error = |error| Error::Io(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io_error)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::Invalid(
            path.to_owned(),
            format!("over {MAX_FILE} bytes"),
        ));
    }
    Auths::parse(&bytes).map_err(|reason| Error::Invalid(path.to_owned(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credential;

    fn username(source: &Source) -> Option<String> {
        match source.current().0.credential("h", None) {
            Some(Credential::Password { username, .. }) => Some(username.clone()),
            _ => None,
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_broken_one_leaves_what_was() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-credentials", std::process::id()));
        let source = Source::open(path.clone(), false).unwrap();
        assert_eq!(username(&source), None);
        for (text, name, generation, complaint) in [
            (r#"{"auths":{"h":{"username":"a"}}}"#, "a", 1, false),
            (r#"{"auths":{"h":{"username":"bb"}}}"#, "bb", 2, false),
            ("{", "bb", 2, true),
        ] {
            fs::write(&path, text).unwrap();
            let (_, now, problem) = source.current();
            assert_eq!((now, problem.is_some()), (generation, complaint), "{text}");
            assert_eq!(username(&source).as_deref(), Some(name));
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(username(&source).as_deref(), Some("bb"));
        assert!(Source::open(path, true).is_err());
    }

    #[test]
    fn a_refusal_is_explained_by_what_the_file_holds_and_without_a_secret() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-refusal", std::process::id()));
        let source = Source::open(path.clone(), false).unwrap();
        let file = format!("--storage-registry-config {}", path.display());
        let lacking = format!("there is no file with credentials ({file})");
        assert_eq!(source.explain_refusal("reg:5000"), lacking);
        let other = r#"{"auths":{"reg":{"auth":"dTpw"},"reg/team":{"auth":"dTpw"},"docker.io":{"auth":"dTpw"}}}"#;
        let own =
            r#"{"auths":{"https://REG:5000/v1/":{"username":"hunter","password":"hunter2"}}}"#;
        for (text, expected) in [
            ("{}", format!("{file} holds no credentials")),
            (
                other,
                format!("{file} has no entry for reg:5000, but for index.docker.io, reg"),
            ),
            (
                own,
                format!("what {file} holds for reg:5000 was refused, or lacks the right"),
            ),
        ] {
            fs::write(&path, text).unwrap();
            source.current();
            assert_eq!(source.explain_refusal("reg:5000"), expected, "{text}");
        }
        fs::remove_file(&path).unwrap();
    }
}
