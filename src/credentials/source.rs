//! A dockerconfigjson on disk, read again whenever it changes, because secrets rotate: kubelet swaps
//! the directory that a secret is mounted as.

use super::auths::{Auths, canonical_host};
use crate::sync::lock;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// Largest secret that is read: 1 MiB, Kubernetes' own bound for one.
const MAX_FILE: u64 = 1024 * 1024;
/// Most registries named in a message: a developer's own file may list dozens.
const MAX_SHOWN: usize = 5;

/// Why a dockerconfigjson can't be used.
#[derive(Debug)]
pub enum SecretFileError {
    /// It can't be read.
    Io(PathBuf, io::Error),
    /// It can be read, but is no dockerconfigjson.
    Invalid(PathBuf, String),
}

impl fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretFileError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            SecretFileError::Invalid(path, reason) => {
                write!(f, "{}: not a dockerconfigjson: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for SecretFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SecretFileError::Io(_, error) => Some(error),
            SecretFileError::Invalid(..) => None,
        }
    }
}

/// A dockerconfigjson on disk, which may appear, change and disappear while we run.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    stamp: Option<FileStamp>,
    auths: Auths,
    generation: u64,
    /// Whether the last attempt to read the file failed, which was reported then.
    unreadable: bool,
}

/// Modification time, inode and length: they change when the file does. Kubernetes swaps a directory, so
/// that the path leads to another file.
type FileStamp = (SystemTime, u64, u64);

impl SecretFile {
    /// Reads the file for the first time. A missing one means no credentials, unless it's `required`.
    pub fn open(path: PathBuf, required: bool) -> Result<SecretFile, SecretFileError> {
        let stamp = stamp(&path);
        let auths = match (&stamp, required) {
            (None, false) => Auths::default(),
            _ => read(&path)?,
        };
        let state = Mutex::new(FileState {
            stamp,
            auths,
            generation: 0,
            unreadable: false,
        });
        Ok(SecretFile { path, state })
    }

    /// The credentials in the file now, and a number that changes whenever they do. When the file has
    /// become unreadable, the last good credentials stay in force, and the reason is returned once.
    pub fn current(&self) -> (Auths, u64, Option<SecretFileError>) {
        let mut state = lock(&self.state);
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
            // An unreadable file may become readable without being written: it's read again.
            let unreadable = matches!(problem, Some(SecretFileError::Io(..)));
            if !unreadable {
                state.stamp = now;
            }
            if std::mem::replace(&mut state.unreadable, unreadable) && unreadable {
                problem = None;
            }
        }
        (state.auths.clone(), state.generation, problem)
    }

    /// Why `host[:port]` may have refused a request, as far as the file shows: for the log, and without a
    /// secret.
    pub fn explain_refusal(&self, host: &str) -> String {
        let state = lock(&self.state);
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

fn stamp(path: &Path) -> Option<FileStamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

fn read(path: &Path) -> Result<Auths, SecretFileError> {
    let io_error = |error| SecretFileError::Io(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io_error)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(SecretFileError::Invalid(
            path.to_owned(),
            format!("over {MAX_FILE} bytes"),
        ));
    }
    Auths::parse(&bytes).map_err(|reason| SecretFileError::Invalid(path.to_owned(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credential;

    fn username(source: &SecretFile) -> Option<String> {
        match source.current().0.credential("h", None) {
            Some(Credential::Password { username, .. }) => Some(username.clone()),
            _ => None,
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_broken_one_keeps_the_last_credentials() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-credentials", std::process::id()));
        let source = SecretFile::open(path.clone(), false).unwrap();
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
        assert!(SecretFile::open(path, true).is_err());
    }

    #[test]
    fn a_refusal_is_explained_by_the_file_and_without_a_secret() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-refusal", std::process::id()));
        let source = SecretFile::open(path.clone(), false).unwrap();
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
