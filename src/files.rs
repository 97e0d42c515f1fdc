//! Reads files of one directory tree and of nothing else. Links are followed as long as they stay
//! inside; only regular files of a sane size are opened.
//!
//! A process that can write to the tree could swap a folder for a link between the check and `open`.
//! That gains nothing: the bytes that are served have to hash to the digest that was asked for.

use crate::storage::{Error, ErrorKind, Result};
use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How coarse the times of files may be: a kernel's tick is 10 ms at most.
const TICK: Duration = Duration::from_millis(50);

/// A directory, resolved anew for each call, because it may be a link that is switched.
#[derive(Debug)]
pub(crate) struct Root(PathBuf);

/// Device, inode, size and both times of a file: they change when the file does.
pub(crate) type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Root {
    pub(crate) fn new(path: PathBuf) -> Root {
        Root(path)
    }

    /// The real path of `inner`, if it lies inside.
    pub(crate) fn locate(&self, inner: &Path) -> Result<PathBuf> {
        let path = self.path(inner);
        let root = fs::canonicalize(&self.0).map_err(|cause| failed(&self.0, cause))?;
        let place = fs::canonicalize(&path).map_err(|cause| failed(&path, cause))?;
        match place.starts_with(&root) {
            true => Ok(place),
            false => Err(refused(&path, "a link that leads out of the directory")),
        }
    }

    /// Opens a regular file of at most `limit` bytes.
    pub(crate) fn open(&self, inner: &Path, limit: u64) -> Result<(File, Metadata)> {
        let (path, place) = (self.path(inner), self.locate(inner)?);
        let failed = |cause| failed(&path, cause);
        // Without NONBLOCK the open of a FIFO without a writer would never return.
        let mut options = OpenOptions::new();
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.read(true).open(place).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        match metadata.len() {
            _ if !metadata.is_file() => Err(refused(&path, "not a regular file")),
            length if length > limit => {
                Err(refused(&path, format!("{length} bytes, over {limit}")))
            }
            _ => Ok((file, metadata)),
        }
    }

    /// A file's whole content. If it grows while it's read, it is cut off at `limit`.
    pub(crate) fn read(&self, inner: &Path, limit: u64) -> Result<(Vec<u8>, Stamp)> {
        let (file, metadata) = self.open(inner, limit)?;
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(|cause| failed(&self.path(inner), cause))?;
        Ok((bytes, stamp(&metadata)))
    }

    /// The path for a message.
    pub(crate) fn path(&self, inner: &Path) -> PathBuf {
        self.0.join(inner)
    }
}

pub(crate) fn stamp(metadata: &Metadata) -> Stamp {
    let (device, inode) = (metadata.dev(), metadata.ino());
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    (device, inode, metadata.len(), modified, changed)
}

/// Whether a file had not changed for a while at `now`. Two changes within a tick of the file system's
/// clock look like one.
pub(crate) fn is_settled(stamp: &Stamp, now: SystemTime) -> bool {
    let (.., (seconds, nanoseconds)) = *stamp;
    let (seconds, nanoseconds) = (seconds.try_into(), nanoseconds.try_into());
    let changed = Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0));
    let now = now.duration_since(UNIX_EPOCH);
    now.is_ok_and(|now| changed + TICK < now)
}

/// The error for a file or folder that can't be read. A missing one is `Unavailable` and not `NotFound`,
/// because it may still be being copied.
pub(crate) fn failed(path: &Path, cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Refused,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{}: {cause}", path.display())).with_public(cause.to_string())
}

pub(crate) fn refused(path: &Path, why: impl Display) -> Error {
    let text = format!("{}: {why}", path.display());
    Error::new(ErrorKind::Invalid, text).with_public(why.to_string())
}
