//! Files that are read again whenever they change: the secret, the certificates to trust, and our own
//! certificate with its key. They rotate while the daemon runs: kubelet swaps the directory that a secret
//! is mounted as. What was read last is never given up for a file that is gone or broken.

use crate::sync::lock;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// Largest file that is read: 1 MiB, Kubernetes' own bound for a secret.
const MAX_FILE: u64 = 1024 * 1024;
/// The kind of the error that a file is which can be read, but not understood.
const INVALID: io::ErrorKind = io::ErrorKind::InvalidData;

/// A file, and the flag that named it: messages show both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The flag.
    pub flag: &'static str,
    /// Where the file is.
    pub path: PathBuf,
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flag, self.path.display())
    }
}

/// What files hold, of which one may mean nothing without the others, such as a certificate without its
/// key. They may appear, change and disappear while we run.
pub struct WatchedFiles<T> {
    files: Vec<NamedFile>,
    parse: Box<Parse<T>>,
    state: Mutex<FilesState<T>>,
}

/// Makes a value of the files' contents, or says what is wrong with which file.
type Parse<T> = dyn Fn(&[(&NamedFile, Vec<u8>)]) -> Result<T, String> + Send + Sync;

struct FilesState<T> {
    /// Of all files; `None` if one was missing.
    stamps: Option<Vec<FileStamp>>,
    value: T,
    generation: u64,
    /// Whether the last attempt to read the files failed, which was reported then.
    is_unreadable: bool,
}

/// Modification time, inode and length: they change when the file does. Kubernetes swaps a directory, so
/// that the path leads to another file.
type FileStamp = (SystemTime, u64, u64);

impl<T: Clone> WatchedFiles<T> {
    /// Reads the files for the first time. `if_missing` stands for them as long as they aren't there.
    ///
    /// Errors with a text that names the file and its flag.
    pub fn open(
        files: Vec<NamedFile>,
        if_missing: Option<T>,
        parse: impl Fn(&[(&NamedFile, Vec<u8>)]) -> Result<T, String> + Send + Sync + 'static,
    ) -> io::Result<WatchedFiles<T>> {
        let stamps = stamps(&files);
        let value = match if_missing.filter(|_| stamps.is_none()) {
            Some(value) => value,
            None => read(&files, &parse)?,
        };
        let state = Mutex::new(FilesState {
            stamps,
            value,
            generation: 0,
            is_unreadable: false,
        });
        let parse = Box::new(parse);
        Ok(WatchedFiles {
            files,
            parse,
            state,
        })
    }

    /// What the files hold now, and a number that changes whenever that does. When a file has become
    /// unreadable, the last good value stays in force, and the reason is returned once.
    pub fn current(&self) -> (T, u64, Option<io::Error>) {
        let mut state = lock(&self.state);
        let now = stamps(&self.files);
        let mut problem = None;
        if now.is_some() && now != state.stamps {
            match read(&self.files, &*self.parse) {
                Ok(value) => {
                    state.value = value;
                    state.generation += 1;
                }
                Err(error) => problem = Some(error),
            }
            // An unreadable file may become readable without being written: it's read again.
            let is_unreadable = matches!(&problem, Some(error) if error.kind() != INVALID);
            if !is_unreadable {
                state.stamps = now;
            }
            if std::mem::replace(&mut state.is_unreadable, is_unreadable) && is_unreadable {
                problem = None;
            }
        }
        (state.value.clone(), state.generation, problem)
    }

    /// The value that was read last, if the files have ever been there.
    pub(super) fn last(&self) -> Option<T> {
        let state = lock(&self.state);
        state.stamps.as_ref().map(|_| state.value.clone())
    }
}

fn stamps(files: &[NamedFile]) -> Option<Vec<FileStamp>> {
    files.iter().map(|file| stamp(&file.path)).collect()
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

fn read<T>(files: &[NamedFile], parse: &Parse<T>) -> io::Result<T> {
    parse(&contents(files)?).map_err(|why| io::Error::new(INVALID, why))
}

fn contents(files: &[NamedFile]) -> io::Result<Vec<(&NamedFile, Vec<u8>)>> {
    let mut contents = Vec::new();
    for file in files {
        let error = |kind, why: &dyn fmt::Display| io::Error::new(kind, format!("{file}: {why}"));
        let unreadable = |cause: io::Error| error(cause.kind(), &cause);
        let mut bytes = Vec::new();
        // Without NONBLOCK the open of a FIFO without a writer would never return.
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let opened = options.open(&file.path).map_err(unreadable)?;
        let kind = opened.metadata().map_err(unreadable)?.file_type();
        if kind.is_fifo() {
            return Err(error(INVALID, &"a pipe, which can't be read again"));
        }
        let read = opened.take(MAX_FILE + 1).read_to_end(&mut bytes);
        if read.map_err(unreadable)? as u64 > MAX_FILE {
            return Err(error(INVALID, &format_args!("over {MAX_FILE} bytes")));
        }
        contents.push((file, bytes));
    }
    Ok(contents)
}
